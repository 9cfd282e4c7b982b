# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate: a milter that knows each tenant's limits, pools and rules.

Python of Debian 13; no part of the collection is imported.  From the top down: `milter` speaks with Postfix,
`transaction` follows one mail and asks `checks`; `attribution` tells whose the mail is, `charges` what it costs;
`bounces` reads Postfix's bounces; `blocks`, `notices` and `virus_warnings` record what people are told; `scanner`, with
`scan` below it, examines mail in a `spool`, `virus_records` records what it finds, `quarantine` keeps originals, and
`outbreak` guards against bad signatures; `counters` and `bulk_mail_counts` ask Valkey, `directory` asks the directory,
`decision_log` writes the log; `mail`, `model`, `tenant_settings`, `virus_policy`, `fields`, `fingerprint` and, below
it, `mime` are pure.
"""
