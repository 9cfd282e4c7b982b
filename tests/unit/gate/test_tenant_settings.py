# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gate reads in a tenant's plan."""

from __future__ import annotations

from typing import Any

from mailhosting.gate.model import Limit, VirusCheck, VirusPolicy
from mailhosting.gate.tenant_settings import read_limits, read_tenant

SETTINGS: dict[str, Any] = {
    "max_message_size": None,
    "tenant_quota": None,
    "send_limits": [],
    "receive_limits": [],
    "account_send_limits": [],
    "bulk_mail": None,
    "virus": None,
}
BOTH = ["send", "receive"]


def test_without_a_pause_a_limit_stops_what_it_counts_and_nothing_else() -> None:
    tenant = read_tenant(
        7,
        "acme",
        {
            **SETTINGS,
            # Both, as releases before this one have written it.
            "send_limits": [{"messages": 1, "per": 86400, "pause": None, "pause_applies_to": BOTH}],
            "receive_limits": [{"recipients": 2, "per": 60, "pause": None, "pause_applies_to": BOTH}],
            "account_send_limits": [{"messages": 3, "per": 60, "pause": None}],
        },
    )
    assert tenant.send_limits == (Limit("messages", 1, 86400, None, ("send",)),)
    assert tenant.receive_limits == (Limit("recipients", 2, 60, None, ("receive",)),)
    assert tenant.account_send_limits == (Limit("messages", 3, 60, None, ("send",)),)


def test_a_pause_stops_what_the_plan_says() -> None:
    written = {"messages": 5, "per": 3600, "pause": 60}
    assert read_limits([{**written, "pause_applies_to": BOTH}], "receive") == (
        Limit("messages", 5, 3600, 60, ("send", "receive")),
    )
    assert read_limits([{**written, "pause_applies_to": ["send"]}], "receive") == (
        Limit("messages", 5, 3600, 60, ("send",)),
    )
    assert read_limits([written], "receive") == (Limit("messages", 5, 3600, 60, ("receive",)),)


def test_a_plan_that_scans() -> None:
    written = {
        "inbound": {"attachment": "strip", "body": "delete", "notify": ["recipient", "contact"]},
        "outbound": {"attachment": "reject", "body": "reject", "notify": []},
        "heuristics": "mark",
        "pua": "virus",
        "encrypted": "pass",
        "unreadable": "reject",
        "partial": "pass",
        "reject_files": ["executable"],
        "max_unpacked_size": 7,
        "max_content_size": None,
        "keep": 0,
    }
    assert read_tenant(7, "acme", {**SETTINGS, "virus": written}).virus == VirusCheck(
        inbound=VirusPolicy("strip", "delete", ("recipient", "contact")),
        outbound=VirusPolicy("reject", "reject", ()),
        heuristics="mark",
        pua="virus",
        encrypted="pass",
        unreadable="reject",
        partial="pass",
        reject_files=("executable",),
        max_unpacked_size=7,
        max_content_size=None,
        keep=0,
    )
