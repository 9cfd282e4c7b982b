# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators' command shows who is locked out, and unlocks them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, may_log_in, until
from .control import Control
from .logins.guessing import banned, guess, limit

USER = User("shut-out@e2e.example", "not for guessing at all")
#: A documentation address, which no test client has.
CLIENT = "192.0.2.9"


@pytest.fixture(autouse=True)
def let_in(host: testinfra.host.Host, no_failures_yet: None) -> Iterator[None]:  # noqa: ARG001
    yield
    host.check_output("fail2ban-client unban --all")


def test_who_is_shut_out_is_told_why_and_let_in_again(
    server: Server, host: testinfra.host.Host, tenant: Control
) -> None:
    hold = [{"scope": "send", "reason": "it was phished"}]
    tenant.module("mail_account", address=USER.address, password=USER.password, hold=hold)
    guess(server, "imaps", [USER.address] * limit(host, "mail-login"))
    assert until(lambda: not may_log_in(server, "imaps", USER), 5)
    host.check_output(f"fail2ban-client set mail-address banip {CLIENT}")

    def asked(*arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(host.check_output(f"mailhosting locked-out --json {' '.join(arguments)}"))
        return found

    everybody = {(each["kind"], each["name"]) for each in asked()["shut_out"]}
    assert everybody >= {("mail-login", USER.address), ("hold", USER.address), ("mail-address", CLIENT)}
    found = asked(USER.address)
    by_kind = {each["kind"]: each for each in found["shut_out"]}
    assert by_kind.keys() == {"mail-login", "hold"}
    assert "it was phished" in by_kind["hold"]["reason"]
    length = by_kind["mail-login"]["until"] - by_kind["mail-login"]["since"]
    assert length == int(host.check_output("fail2ban-client get mail-login bantime"))
    (failing,) = found["failing"]
    assert (failing["client"], failing["logins"]) == (by_kind["mail-login"]["client"], [USER.address])

    lifted = host.check_output(f"mailhosting locked-out {USER.address} --lift")
    assert "can log in again" in lifted
    # An operator's own hold stays.
    assert f"{USER.address} cannot send: hold by operator: it was phished" in lifted
    assert until(lambda: may_log_in(server, "imaps", USER), 5)
    assert [each["kind"] for each in asked(CLIENT, "--lift")["lifted"]] == ["mail-address"]
    assert not banned(host, "mail-address")
    assert CLIENT not in host.check_output("nft list ruleset")
