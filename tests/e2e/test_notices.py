# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notices on every host: about a mailbox filled and emptied by IMAP, and about limits."""

from __future__ import annotations

import json
import re
import shlex
import uuid
from typing import Any

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, arrived, fetched, inbox, message, receive, subjects, until
from .control import Control

WARNING, EXCEEDED, UNDER = (
    "*** Mail quota warning ***",
    "*** Mail quota exceeded ***",
    "*** Mail quota no longer reached ***",
)


def test_filled_and_emptied_by_imap(server: Server, tenant: Control) -> None:
    user = User(f"n{uuid.uuid4().hex[:8]}@e2e.example", "by IMAP this time")
    tenant.module("mail_account", address=user.address, password=user.password, quota="1M")
    with inbox(server, user) as session:
        made = message("someone@outside.example", user.address, 960_000)
        assert session.append("INBOX", None, None, made.as_bytes())[0] == "OK"
    assert arrived(server, user, WARNING)
    # IMAP stores nothing beyond the quota; a delivery may exceed it.
    receive(server, "someone@outside.example", user.address, size=120_000)
    assert arrived(server, user, EXCEEDED)
    with inbox(server, user) as session:
        session.store("1", "+FLAGS", r"(\Deleted)")
        session.expunge()
    assert arrived(server, user, UNDER)
    assert subjects(server, user).count(UNDER) == 1


def queue(host: testinfra.host.Host, kind: str, tenant: str, once: str, **facts: Any) -> None:
    """Queue a notice, as the programs that find its reason do."""
    number = f"(SELECT id FROM directory.tenant WHERE name = '{tenant}')"  # noqa: S608 - of this file
    statement = f"SELECT v1.add_notice('{kind}', {number}, NULL, '{json.dumps(facts)}', '{once}')"
    host.check_output(f"runuser -u postgres -- psql --quiet --dbname=mailhosting --command={shlex.quote(statement)}")


def test_of_a_limit_the_contact_and_the_operator_are_told_once(
    server: Server, host: testinfra.host.Host, taro: User
) -> None:
    limit = uuid.uuid4().hex
    for _time in range(2):
        queue(host, "limit_pause", "acme", limit, limit=limit, count=1001, direction="send", account=None, until=None)

    def texts() -> list[str]:
        with inbox(server, taro) as session:
            numbers = session.search(None, "BODY", limit)[1][0].decode().split()
            return [fetched(session, number, "(BODY.PEEK[])").decode() for number in numbers]

    assert until(lambda: bool(texts()))
    assert until(lambda: f"Limit: {limit}" in host.run("cat /var/mail/root").stdout)
    (text,) = texts()
    assert re.search(r"^Count: 1001\r?$", text, re.MULTILINE)
    assert "Auto-Submitted: auto-generated" in text
    assert host.check_output("cat /var/mail/root").count(f"Limit: {limit}") == 1


@pytest.mark.parametrize("kind", ["nonsense", ""])
def test_an_unknown_kind_is_an_error_in_the_log_and_stops_nothing(
    server: Server, host: testinfra.host.Host, taro: User, kind: str
) -> None:
    queue(host, kind, "acme", uuid.uuid4().hex)
    assert until(
        lambda: (
            f"of kind '{kind}' is given up" in host.check_output("journalctl --unit=mailhosting-notices --output=cat")
        )
    )
    test_of_a_limit_the_contact_and_the_operator_are_told_once(server, host, taro)
