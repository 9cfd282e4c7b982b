# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users' filters that send mail: with which sender, how much, and what is forbidden."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, arrived, receive, subjects, until
from .control import Control
from .outside import Outside

USER = User("filters@e2e.example", "sorts and sends")
OTHER = User("partner@e2e.example", "sends it back")
Activate = Callable[[User, str], None]


def somebody() -> str:
    """An external address that no other test uses."""
    return f"{uuid.uuid4().hex}@outside.example"


@pytest.fixture
def activate(tenant: Control, host: testinfra.host.Host, no_failures_yet: None) -> Iterator[Activate]:  # noqa: ARG001
    """`activate(…)`: makes a script a user's filter for one test."""
    for user in (USER, OTHER):
        tenant.module("mail_account", address=user.address, password=user.password)

    def put(user: User, script: str) -> None:
        host.check_output(f"doveadm sieve put -u {user.address} -a test <<'END'\n{script}\nEND")

    yield put
    for user in (USER, OTHER):
        host.run(f"doveadm sieve deactivate -u {user.address}")


def test_a_mail_sent_on_to_outside_has_a_sender_of_ours(
    server: Server, outside: Outside, activate: Activate, variables: dict[str, Any]
) -> None:
    target, sender = somebody(), somebody()
    activate(USER, f'require "copy"; redirect :copy "{target}";')
    subject = receive(server, sender, USER.address)
    seen = outside.mail_to(target)
    assert seen.sender.startswith("SRS0=")
    assert seen.sender.endswith(f"@{variables['mail_hostname']}")
    assert (seen.message["Subject"], seen.message["From"]) == (subject, sender)
    assert arrived(server, USER, subject)


def test_a_bounce_of_it_reaches_the_original_sender(server: Server, outside: Outside, activate: Activate) -> None:
    sender = somebody()
    activate(USER, 'redirect "refused@outside.example";')
    receive(server, sender, USER.address)
    assert outside.mail_to(sender).sender == ""


def test_nothing_is_sent_on_when_it_would_be_too_often(server: Server, outside: Outside, activate: Activate) -> None:
    targets = [somebody() for _number in range(5)]
    activate(USER, "".join(f'redirect "{target}";' for target in targets))
    assert arrived(server, USER, receive(server, somebody(), USER.address))
    assert not any(outside.mails_to(target) for target in targets)


@pytest.mark.parametrize("target", [USER, OTHER], ids=["itself", "each other"])
def test_filters_that_send_to_each_other_end(
    server: Server, activate: Activate, host: testinfra.host.Host, target: User
) -> None:
    activate(OTHER, f'require "copy"; redirect :copy "{USER.address}";')
    activate(USER, f'require "copy"; redirect :copy "{target.address}";')
    subject = receive(server, somebody(), USER.address)
    assert arrived(server, USER, subject)
    assert until(lambda: "e2e.example" not in queued(host))
    assert subjects(server, USER).count(subject) <= 2
    assert subjects(server, OTHER).count(subject) <= 2


def test_a_filter_answers_from_its_account_and_once(server: Server, outside: Outside, activate: Activate) -> None:
    sender = somebody()
    activate(USER, 'require "vacation"; vacation :subject "away" "Not here.";')
    for _time in range(2):
        assert arrived(server, USER, receive(server, sender, USER.address))
    reply = outside.mail_to(sender)
    assert (reply.sender, reply.message["From"], reply.message["Subject"]) == ("", USER.address, "away")
    assert len(outside.mails_to(sender)) == 1


@pytest.mark.parametrize(
    "script",
    [
        'require "reject"; reject "no";',
        'require "ereject"; ereject "no";',
        'require "enotify"; notify "mailto:a@outside.example";',
    ],
)
def test_a_filter_cannot_refuse_or_notify(host: testinfra.host.Host, activate: Activate, script: str) -> None:  # noqa: ARG001
    put = host.run(f"doveadm sieve put -u {USER.address} -a test <<'END'\n{script}\nEND")
    assert put.rc != 0
    assert "unknown Sieve capability" in put.stderr


def test_a_mail_that_cannot_be_sent_on_waits(
    server: Server, outside: Outside, activate: Activate, host: testinfra.host.Host
) -> None:
    target = somebody()
    activate(USER, f'redirect "{target}";')
    host.check_output("cp -p /etc/postfix/master.cf /etc/postfix/master.cf.e2e")
    host.check_output("postconf -MX 127.0.0.1:10027/inet && postfix reload")
    try:
        receive(server, somebody(), USER.address)
        assert until(lambda: "temporary failure" in queued(host).lower())
    finally:
        host.check_output("mv /etc/postfix/master.cf.e2e /etc/postfix/master.cf && postfix reload")
    host.check_output("postqueue -f")
    assert outside.mail_to(target).sender.startswith("SRS0=")


def queued(host: testinfra.host.Host) -> str:
    return str(host.check_output("postqueue -j"))
