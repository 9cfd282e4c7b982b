# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL admits exactly the users for whom the directory has rights."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.mailhosting.stack.plugins.module_utils._directory.views import DAEMONS

HBA = Path(__file__).parents[3] / "roles/directory/templates/postgresql/pg_hba.conf.j2"


def test_every_daemon_connects_and_nobody_else() -> None:
    records = [line.split() for line in HBA.read_text().splitlines()]
    mine = [record[2:] for record in records if record[:2] == ["local", "mailhosting"]]
    # A user whose role has the same name needs no map.  The first matching record counts.
    assert mine[-2:] == [[",".join(DAEMONS), "peer"], ["all", "reject"]]
