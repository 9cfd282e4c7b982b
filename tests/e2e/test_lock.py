# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators' command locks a phished account, and unlocks it."""

from __future__ import annotations

import contextlib
import json
import shlex
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import ManageSieve, User, arrived, may_log_in, open_sessions, receive, send, submission, until
from .control import Control
from .outside import Outside

USER = User("phished@e2e.example", "a stranger has it too")
REASON = "フィッシング\n被害 4711"


@pytest.fixture(autouse=True)
def account(tenant: Control, host: testinfra.host.Host, no_failures_yet: None) -> Iterator[None]:  # noqa: ARG001
    tenant.module("mail_account", address=USER.address, password=USER.password)
    yield
    host.run(f"doveadm sieve deactivate -u {USER.address}")
    tenant.module("mail_account", address=USER.address, forward={"to": []})
    for mail in waiting(host):
        host.check_output(f"postsuper -d {mail['queue_id']}")


def waiting(host: testinfra.host.Host) -> list[dict[str, Any]]:
    """The user's mails in the queue."""
    mails = map(json.loads, host.check_output("postqueue -j").splitlines())
    return [mail for mail in mails if mail["sender"] == USER.address]


@contextmanager
def mailboxes_away(host: testinfra.host.Host) -> Iterator[None]:
    """Mail for mailboxes waits in the queue because Postfix may not reach Dovecot."""
    socket = "/var/spool/postfix/private/dovecot-lmtp"
    mode = host.check_output(f"stat --format=%a {socket}")
    host.check_output(f"chmod 000 {socket}")
    try:
        yield
    finally:
        host.check_output(f"chmod {mode} {socket}")


def test_an_account_is_locked_and_unlocked(
    server: Server, host: testinfra.host.Host, tenant: Control, bill: User
) -> None:
    def queue() -> list[str]:
        return [mail["queue_name"] for mail in waiting(host)]

    def asked(*arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(host.check_output(f"mailhosting {shlex.join(arguments)} --json"))
        return found

    with open_sessions(server, USER) as still_there, submission(server, USER) as session:
        assert session.mail(USER.address)[0] == 250
        assert session.rcpt(bill.address)[0] == 250
        session.rset()
        with mailboxes_away(host):
            subject = send(server, USER, bill.address)
            assert until(lambda: queue() == ["deferred"])
            locked = asked("lock", USER.address, "--reason", REASON)
        session.mail(USER.address)
        assert session.rcpt(bill.address) == (550, b"5.7.1 This login may send no mail")
        assert not any(still_there().values())
    assert (locked["placed"], locked["sessions_ended"], len(locked["held"])) == (["login", "send"], True, 1)
    assert {"imap", "submission"} <= {login["protocol"] for login in locked["logins"]}
    assert queue() == ["hold"]
    assert not may_log_in(server, "imaps", USER)
    assert not may_log_in(server, "submission", USER)
    again = asked("lock", USER.address, "--reason", "another")
    assert (again["placed"], again["held"], again["reason"]) == ([], [], "フィッシング 被害 4711")
    # Other changes of the account do not unlock it.
    assert not tenant.module("mail_account", address=USER.address, password=USER.password)["changed"]
    assert not may_log_in(server, "imaps", USER)

    unlocked = asked("unlock", USER.address)
    assert (unlocked["lifted"], unlocked["released"]) == (["login", "send"], locked["held"])
    assert arrived(server, bill, subject)
    assert arrived(server, bill, send(server, USER, bill.address))
    assert until(lambda: may_log_in(server, "imaps", USER), 5)


def test_what_a_stranger_left_behind_sends_nothing_on(
    server: Server, host: testinfra.host.Host, tenant: Control, outside: Outside
) -> None:
    forward, redirect = (f"{uuid.uuid4().hex}@outside.example" for _ in range(2))
    tenant.module("mail_account", address=USER.address, forward={"to": [forward], "keep": False})
    script = f'redirect "{redirect}";'
    with contextlib.closing(ManageSieve(server)) as scripts:
        scripts.login(USER)
        assert scripts.put("backup", script.encode()).startswith("OK")
    host.check_output(f"doveadm sieve activate -u {USER.address} backup")
    host.check_output(f"mailhosting lock {USER.address} --reason phished")
    during = receive(server, "friend@outside.example", USER.address)
    assert until(lambda: during in host.check_output(f"doveadm fetch -u {USER.address} hdr.subject all"))

    tenant.module("mail_account", address=USER.address, forward={"to": [forward], "keep": True})
    host.check_output(f"mailhosting unlock {USER.address}")
    after = receive(server, "friend@outside.example", USER.address)
    # The first mail that either gets is the one after.
    assert outside.mail_to(forward).message["Subject"] == after
    assert outside.mail_to(redirect).message["Subject"] == after
    assert arrived(server, USER, during)
