# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate: a milter that knows each tenant's limits, pools and rules.

Python of Debian 13; no part of the collection is imported.  `model`, `plan`, `costs` and `content` are pure, `counters`
and `crowds` ask Valkey by `valkey`, `directory` asks the directory, `decisions` writes the log; `owners` tells whose a
mail is, `stops` looks for bulk mail, `session` decides about one mail, `reports` reads Postfix's bounces, `glue` is the
milter.
"""
