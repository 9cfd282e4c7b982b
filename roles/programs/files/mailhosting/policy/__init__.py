# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers to Postfix's access policy requests: POP before SMTP, and the right to write to a whole domain.

Python of Debian 13; no part of the collection is imported.  `protocol` and `decision` are pure, `sources` asks the
directory and Valkey, `logins` reads logins from Dovecot, `service` combines them.
"""
