# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Answers for an account. Subject and body come from its row in the directory. The handle is one for all texts, so
# that a new text alone does not answer everybody again.
require ["vacation", "variables", "vnd.dovecot.environment"];

set "subject" "${env.vnd.dovecot.config.autoreply_subject}";
if string :is "${subject}" "" {
    set "subject" "${env.vnd.dovecot.config.autoreply_default_subject}";
}
vacation :handle "autoreply" :subject "${subject}" "${env.vnd.dovecot.config.autoreply_body}";
