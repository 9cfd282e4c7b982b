# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The automatic reply of an account. Subject and body come from its row in the directory. All texts have the same handle, so
# a new text does not answer earlier senders again.
require ["vacation", "variables", "regex", "vnd.dovecot.environment"];

set "subject" "${env.vnd.dovecot.config.autoreply_subject}";
if string :is "${subject}" "" {
    set "subject" "${env.vnd.dovecot.config.autoreply_default_subject}";
}

# Only mail that names the account, or one of its other addresses, gets a reply. Those addresses are a regular expression.
set "other" "${env.vnd.dovecot.config.autoreply_addresses}";
if allof (not string :is "${other}" "", address :regex ["to", "cc"] "^(${other})$") {
    set "named" "${1}";
    vacation :handle "autoreply" :addresses "${named}" :subject "${subject}" "${env.vnd.dovecot.config.autoreply_body}";
} else {
    vacation :handle "autoreply" :subject "${subject}" "${env.vnd.dovecot.config.autoreply_body}";
}
