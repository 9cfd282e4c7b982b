# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change in the directory applies at once, and to nothing else."""

from __future__ import annotations

import contextlib
import re
import smtplib
import uuid
from typing import Any

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import (
    LoginRefusedError,
    User,
    arrived,
    log_in,
    may_log_in,
    open_sessions,
    receive,
    subjects,
    submission,
    until,
)
from .control import Control, RunFailedError

USER = User("user@e2e.example", "a new user's password")


@pytest.fixture(autouse=True)
def account(tenant: Control, no_failures_yet: None) -> None:  # noqa: ARG001
    tenant.module("mail_account", address=USER.address, password=USER.password, state="active", forward={"to": []})


def test_a_new_account_can_do_everything_at_once(server: Server, tenant: Control) -> None:
    new = User("new@e2e.example", "brand new")
    assert tenant.module("mail_account", address=new.address, password=new.password)["changed"]
    log_in(server, "pop3s", new)
    assert arrived(server, new, receive(server, "someone@outside.example", new.address))
    with submission(server, new) as session:
        assert session.mail(new.address)[0] == 250
    assert not tenant.module("mail_account", address=new.address, password=new.password)["changed"]


def test_a_changed_password_replaces_the_old_one(server: Server, tenant: Control) -> None:
    tenant.module("mail_account", address=USER.address, password="the next one", update_password="always")
    log_in(server, "pop3s", User(USER.address, "the next one"))
    assert not may_log_in(server, "pop3s", USER)
    tenant.module("mail_account", address=USER.address, password=USER.password, update_password="always")


@pytest.mark.requirement("VM-6")
def test_a_suspended_account_is_told_apart_from_an_unknown_one(server: Server, tenant: Control) -> None:
    kept = receive(server, "someone@outside.example", USER.address)
    assert arrived(server, USER, kept)
    tenant.module("mail_account", address=USER.address, state="suspended")
    assert not may_log_in(server, "pop3s", USER)
    with protocols.smtp(server, "smtp") as session:
        session.mail("someone@outside.example")
        code, text = session.rcpt(USER.address)
        assert (code, text[:5]) == (550, b"5.2.1")
        assert session.rcpt("nobody@e2e.example")[1][:5] == b"5.1.1"
    assert not may_log_in(server, "submission", USER)
    tenant.module("mail_account", address=USER.address, state="active")
    assert kept in subjects(server, USER)


#: A change, its undoing, and the reply that a session on 587 gets after the change.
ENDED = (421, b"4.7.0 This login has ended, please log in again")
ENDS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[int, bytes]]] = {
    "no_login": ({"state": "no_login"}, {"state": "active"}, ENDED),
    "a hold of logins": ({"hold": [{"scope": "login", "reason": "test"}]}, {"release": ["login"]}, ENDED),
    "another password": (
        {"password": "the next one", "update_password": "always"},
        {"password": USER.password, "update_password": "always"},
        ENDED,
    ),
    "a hold of sending": (
        {"hold": [{"scope": "send", "reason": "test"}]},
        {"release": ["send"]},
        (550, b"5.7.1 Sending is on hold for this login"),
    ),
}


@pytest.mark.parametrize(("change", "undo", "told"), ENDS.values(), ids=ENDS)
def test_a_session_that_sends_is_told_when_its_right_ends(
    server: Server, tenant: Control, bill: User, change: dict[str, Any], undo: dict[str, Any], told: tuple[int, bytes]
) -> None:
    with open_sessions(server, USER) as still_there, submission(server, USER) as session:

        def answer() -> tuple[int, bytes]:
            session.rset()
            assert session.mail(USER.address)[0] == 250
            return session.rcpt(bill.address)

        assert answer()[0] == 250
        tenant.module("mail_account", address=USER.address, **change)
        try:
            assert answer() == told
            assert any(still_there().values()) is (told != ENDED)
        finally:
            tenant.module("mail_account", address=USER.address, **undo)
    with submission(server, USER) as session:
        assert session.mail(USER.address)[0] == 250
        assert session.rcpt(bill.address)[0] == 250


@pytest.mark.parametrize(
    ("module", "name", "state"),
    [
        ("mail_account", {"address": USER.address}, "no_login"),
        ("mail_account", {"address": USER.address}, "suspended"),
        ("mail_tenant", {"name": "e2e"}, "no_login"),
        ("mail_tenant", {"name": "e2e"}, "suspended"),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) else value,
)
def test_who_may_log_in_no_more_loses_the_open_sessions(
    server: Server, tenant: Control, bill: User, module: str, name: dict[str, str], state: str
) -> None:
    colleague = User("colleague@e2e.example", "of the same tenant")
    tenant.module("mail_account", address=colleague.address, password=colleague.password)
    people = [USER, colleague, bill]
    with contextlib.ExitStack() as stack:
        mine, of_colleague, of_bill = [stack.enter_context(open_sessions(server, who)) for who in people]
        tenant.module("mail_account", address=USER.address, quota="5M")
        assert all(mine().values())
        tenant.module("mail_account", address=USER.address, quota="plan")
        tenant.module(module, **name, state=state)
        try:
            assert not any(mine().values()), mine()
            assert set(of_colleague().values()) == {module == "mail_account"}, of_colleague()
            assert all(of_bill().values()), of_bill()
            assert [may_log_in(server, "sieve", who) for who in people] == [False, module == "mail_account", True]
        finally:
            tenant.module(module, **name, state="active")
    log_in(server, "pop3s", USER)


@pytest.mark.parametrize("scope", ["send", "receive", "login"])
def test_a_hold_stops_just_what_it_says(server: Server, tenant: Control, bill: User, scope: str) -> None:
    tenant.module("mail_account", address=USER.address, hold=[{"scope": scope, "reason": "e2e"}])
    try:
        logs_in = may_log_in(server, "pop3s", USER)
        with protocols.smtp(server, "smtp") as session:
            session.mail("someone@outside.example")
            may_receive = session.rcpt(USER.address)[0] == 250
        try:
            with submission(server, USER) as session:
                session.mail(USER.address)
                may_send = session.rcpt(bill.address)[0] == 250
        except smtplib.SMTPAuthenticationError:
            may_send = False
        assert logs_in is (scope != "login")
        assert may_receive is (scope != "receive")
        assert may_send is (scope == "receive")
        # Neither a playbook nor a module lifts a hold unasked.
        tenant.module("mail_account", address=USER.address, state="active")
        assert may_log_in(server, "pop3s", USER) is logs_in
    finally:
        tenant.module("mail_account", address=USER.address, release=[scope])
    log_in(server, "pop3s", USER)


@pytest.mark.requirement("VM-8")
def test_a_forward_without_a_copy_and_back(server: Server, tenant: Control, bill: User) -> None:
    tenant.module("mail_account", address=USER.address, forward={"to": [bill.address], "keep": False})
    subject = receive(server, "someone@outside.example", USER.address)
    assert arrived(server, bill, subject)
    assert subject not in subjects(server, USER)
    tenant.module("mail_account", address=USER.address, forward={"to": []})
    assert arrived(server, USER, receive(server, "someone@outside.example", USER.address))


@pytest.mark.requirement("AS-3")
def test_ten_targets_where_the_plan_has_ten(server: Server, tenant: Control, bill: User) -> None:
    ten = [bill.address.replace("@", f"+{number}@") for number in range(10)]
    tenant.module(
        "mail_tenant",
        name="e2e",
        plan="basic",
        overrides={"max_forward_targets": 10},
        domains=[{"name": "e2e.example"}],
    )
    try:
        with pytest.raises(RunFailedError, match="max_forward_targets"):
            tenant.module("mail_account", address=USER.address, forward={"to": [*ten, "one@more.example"]})
        tenant.module("mail_account", address=USER.address, forward={"to": ten, "keep": False})
        subject = receive(server, "someone@outside.example", USER.address)
        assert until(lambda: subjects(server, bill).count(subject) == 10)
    finally:
        tenant.module("mail_account", address=USER.address, forward={"to": []})
        tenant.module("mail_tenant", name="e2e", plan="basic", overrides={}, domains=[{"name": "e2e.example"}])


@pytest.mark.requirement("OM-1")
def test_a_protocol_the_plan_lacks_is_refused_with_the_reason(server: Server, tenant: Control) -> None:
    """facts: only the right password gets the reason."""
    tenant.module("mail_tenant", name="e2e", plan="pop", domains=[{"name": "e2e.example"}])
    try:
        for protocol in ("imap", "imaps"):
            with pytest.raises(LoginRefusedError, match="plan"):
                log_in(server, protocol, USER)
            with pytest.raises(LoginRefusedError, match="AUTHENTICATIONFAILED"):
                log_in(server, protocol, User(USER.address, "wrong"))
        log_in(server, "pop3s", USER)
        fewer = {"protocols": ["pop3", "submission"]}
        tenant.module("mail_tenant", name="e2e", plan="pop", overrides=fewer, domains=[{"name": "e2e.example"}])
        log_in(server, "pop3", USER)
        log_in(server, "submission", USER)
        with pytest.raises(LoginRefusedError, match="plan"):
            log_in(server, "pop3s", USER)
        assert not may_log_in(server, "submissions", USER)
    finally:
        tenant.module("mail_tenant", name="e2e", plan="basic", overrides={}, domains=[{"name": "e2e.example"}])


def test_quota_comes_from_the_directory_and_a_full_mailbox_takes_no_mail(server: Server, tenant: Control) -> None:
    tenant.module("mail_account", address=USER.address, quota="100K")
    try:
        assert arrived(server, USER, receive(server, "someone@outside.example", USER.address, size=150_000))
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            receive(server, "someone@outside.example", USER.address)
        assert refused.value.recipients == {USER.address: (452, b"sorry, mailbox is full (#4.5.2)")}
        with protocols.imap(server, "imaps") as session:
            session.login(USER.address, USER.password)
            usage = session.getquotaroot("INBOX")[1][1][0]
        assert re.search(rb"STORAGE [0-9]+ 100\b", usage)
    finally:
        tenant.module("mail_account", address=USER.address, quota="none")
    assert arrived(server, USER, receive(server, "someone@outside.example", USER.address))


def test_a_removed_account_is_closed_and_can_be_restored(server: Server, tenant: Control) -> None:
    gone = User(f"gone-{uuid.uuid4().hex[:8]}@e2e.example", "not for long")
    tenant.module("mail_account", address=gone.address, password=gone.password)
    subject = receive(server, "someone@outside.example", gone.address)
    assert arrived(server, gone, subject)
    tenant.module("mail_account", address=gone.address, state="absent")
    assert not may_log_in(server, "pop3s", gone)
    with protocols.smtp(server, "smtp") as session:
        session.mail("someone@outside.example")
        assert session.rcpt(gone.address)[0] == 550
    with pytest.raises(RunFailedError, match="restore"):
        tenant.module("mail_account", address=gone.address, password="another")
    tenant.module("mail_account", address=gone.address, restore=True)
    assert subject in subjects(server, gone)
    tenant.module("mail_account", address=gone.address, state="absent")
    tenant.module("mail_account", address=gone.address, password="another", restore=False)
    assert subjects(server, User(gone.address, "another")) == []


def test_a_renamed_account_keeps_its_mail_and_the_old_name_starts_empty(server: Server, tenant: Control) -> None:
    old = User("old@e2e.example", "same person")
    tenant.module("mail_account", address=old.address, password=old.password)
    subject = receive(server, "someone@outside.example", old.address)
    assert arrived(server, old, subject)
    tenant.module("mail_account", address="renamed@e2e.example", renamed_from="old")
    assert subject in subjects(server, User("renamed@e2e.example", old.password))
    tenant.module("mail_account", address=old.address, password="somebody else")
    assert subjects(server, User(old.address, "somebody else")) == []


def test_files_of_a_closed_account_go_after_its_grace_and_no_others(
    server: Server, tenant: Control, host: testinfra.host.Host
) -> None:
    gone = User(f"gone-{uuid.uuid4().hex[:8]}@e2e.example", "until the night")
    tenant.module("mail_account", address=gone.address, password=gone.password)
    assert arrived(server, gone, receive(server, "someone@outside.example", gone.address))
    homes = {user: host.check_output(f"doveadm user -f home {user.address}") for user in (gone, USER)}
    assert arrived(server, USER, receive(server, "someone@outside.example", USER.address))
    nightly = "systemctl start mailhosting-remove-mailboxes.service"
    tenant.module("mail_account", address=gone.address, state="absent", grace="1h")
    host.check_output(nightly)
    assert host.file(homes[gone]).is_directory
    tenant.module("mail_account", address=gone.address, restore=True)
    tenant.module("mail_account", address=gone.address, state="absent", grace="0s")
    host.check_output(nightly)
    assert not host.file(homes[gone]).exists
    assert host.file(homes[USER]).is_directory
    # The host keeps no mail, so there is nothing to restore and no question.
    tenant.module("mail_account", address=gone.address, password=gone.password)
    assert subjects(server, gone) == []
