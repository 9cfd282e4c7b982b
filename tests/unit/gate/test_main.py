# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an instance of the gate begins, without libmilter: systemd hears of it when Postfix can connect."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from mailhosting.common.settings import parse
from mailhosting.gate.context import Texts

SETTINGS: dict[str, Any] = {
    "sockets": "/sockets",
    "directory": "dbname=none",
    "valkey_socket": "/nowhere",
    "valkey_user": "gate",
    "valkey_password_file": "/none",
    "texts": {name: ["450", None, name] for name in Texts.__dataclass_fields__},
    "send_limits": [],
    "receive_limits": [],
    "timezone": "UTC",
    "message_size_limit": 1000,
    "spool": "/spool",
    "spool_size": 1000,
    "quarantine": "/quarantine",
    "quarantine_size": 1000,
    "quarantine_lmtp_socket": "/lmtp",
    "clamd_socket": "/none",
    "scans": 1,
}


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What an instance has had done, in its order, until it served."""
    steps: list[str] = []

    def step(name: str) -> Callable[..., None]:
        return lambda *arguments: steps.append(" ".join(map(str, (name, *arguments))))

    unchanged = lambda what: what  # noqa: E731
    low, high = ModuleType("milter"), ModuleType("Milter")
    low.__dict__.update({name: step(name) for name in ("setconn", "register", "opensocket")})
    flags = ("QUARANTINE", "CHGFROM", "ADDHDRS", "CHGHDRS", "CHGBODY", "ADDRCPT", "DELRCPT", "TEMPFAIL")
    high.__dict__.update(dict.fromkeys(flags, 0), Base=object, runmilter=step("runmilter"))
    high.__dict__.update(dict.fromkeys(("noreply", "header_leading_space", "rejected_recipients"), unchanged))
    high.__dict__.update(dict.fromkeys(("set_flags", "set_exception_policy"), unchanged))
    monkeypatch.setitem(sys.modules, "milter", low)
    monkeypatch.setitem(sys.modules, "Milter", high)
    before = set(sys.modules)
    program = importlib.import_module("mailhosting.gate.__main__")
    monkeypatch.setattr(program, "ready", step("READY"))
    monkeypatch.setattr(program.Quarantine, "sweep_on_and_on", lambda _quarantine: steps.append("sweep"))
    monkeypatch.setattr(program.settings, "handed_over", lambda kind: parse(kind, json.dumps(SETTINGS), "it"))
    monkeypatch.setattr(sys, "argv", ["gate", "in"])
    program.main()
    yield steps
    for module in set(sys.modules) - before:
        del sys.modules[module]


def test_it_is_ready_when_its_socket_is_open_and_not_before(done: list[str]) -> None:
    assert done == [
        "setconn unix:/sockets/in",
        "register mailhosting-gate",
        "opensocket True",
        "sweep",
        "READY",
        "runmilter mailhosting-gate unix:/sockets/in 600",
    ]
