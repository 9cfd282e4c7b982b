# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Answers for an account. Subject and body come from its row in the directory. The handle is one for all texts, so
# that a new text alone does not answer everybody again.
require ["vacation", "variables", "regex", "vnd.dovecot.environment"];

set "subject" "${env.vnd.dovecot.config.autoreply_subject}";
if string :is "${subject}" "" {
    set "subject" "${env.vnd.dovecot.config.autoreply_default_subject}";
}

# It answers only who names the account, or one of its other addresses: they come as a regular expression.
set "other" "${env.vnd.dovecot.config.autoreply_addresses}";
if allof (not string :is "${other}" "", address :regex ["to", "cc"] "^(${other})$") {
    set "named" "${1}";
    vacation :handle "autoreply" :addresses "${named}" :subject "${subject}" "${env.vnd.dovecot.config.autoreply_body}";
} else {
    vacation :handle "autoreply" :subject "${subject}" "${env.vnd.dovecot.config.autoreply_body}";
}
