# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gate makes of the directory's rows."""

from __future__ import annotations

from typing import Any

import pytest
from mailhosting.common.address import Address
from mailhosting.gate.directory import Directory
from mailhosting.gate.model import Destinations, ExternalTarget, LocalTarget, Mailbox

SETTINGS: dict[str, Any] = {"max_message_size": None, "tenant_quota": None, "bulk_mail": None, "virus": None}
SETTINGS |= {"send_limits": [], "receive_limits": [], "account_send_limits": []}
TARO = Address("taro", "acme.example")


class Rows:
    """Answers by the function that is called; tenant 9 is gone."""

    def __init__(self, **rows: list[tuple[Any, ...]]) -> None:
        self.rows = rows
        self.tenants_asked: list[int] = []

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        if "gate_tenant" in query:
            self.tenants_asked.append(values[0])
            return [] if values[0] == 9 else [(f"t{values[0]}", SETTINGS)]
        return next(rows for name, rows in self.rows.items() if name in query)


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Any:
    def made(**rows: list[tuple[Any, ...]]) -> tuple[Directory, Rows]:
        asked = Rows(**rows)
        found = Directory("dbname=nowhere")
        monkeypatch.setitem(vars(found), "_ask", asked.ask)
        return found, asked

    return made


def test_destinations_bring_their_tenants(directory: Any) -> None:
    forward = (13, 9, "ken@gone.example", None, "ken@far.example")
    rows = [(21, 2, "bill@bolt.example", 50, None), (11, 1, "taro@acme.example", 0, None), forward]
    gate, _asked = directory(gate_destinations=[*rows, (None, None, None, None, "x@far.example")])
    found = gate.destinations(TARO)
    local = (LocalTarget(Mailbox(21, "bill@bolt.example"), 2, 50), LocalTarget(Mailbox(11, "taro@acme.example"), 1, 0))
    external = (ExternalTarget(13, 9), ExternalTarget(None, None))
    assert found == Destinations(local, external, found.tenants)
    assert [tenant.name for tenant in found.tenants] == ["t1", "t2"]
    assert found.leads_elsewhere
    assert not directory(gate_destinations=rows)[0].destinations(TARO).leads_elsewhere


def test_an_owner_brings_the_tenant(directory: Any) -> None:
    row = (11, 1, "taro@acme.example", True, "bulk_mail", True, ["smtp"], None)
    gate, asked = directory(gate_owner=[row])
    found = gate.owner(TARO)
    assert (found.blocked_for, found.tenant.name) == ("bulk_mail", "t1")
    assert gate.owner(TARO) == found
    # Settings are taken for true for a second.
    assert asked.tenants_asked == [1]
    assert directory(gate_owner=[])[0].owner(TARO) is None
    assert directory(gate_owner=[(11, 9, *row[2:])])[0].owner(TARO).tenant is None
