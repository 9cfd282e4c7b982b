# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate: a milter that knows each tenant's limits, pools and rules.

Python of Debian 13; no part of the collection is imported.  `model`, `tenant_settings`, `charges` and `fingerprint` are
pure, `counters` and `bulk_mail_counts` ask Valkey, `directory` asks the directory, `decision_log` writes the log;
`attribution` tells whose a mail is, `stops` looks for bulk mail, `transaction` decides about one mail, `bounces` reads
Postfix's bounces, `milter` speaks with Postfix.
"""
