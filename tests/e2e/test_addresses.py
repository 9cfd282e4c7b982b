# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses without a declaration: roles, all@, a catch-all, former names of accounts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from email import message_from_bytes

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, arrived, fetched, inbox, receive, send, subjects, submission, until
from .control import Control

ANN = User("ann@roles.example", "first of all")
BEN = User("ben@roles.example", "second of all")
SUE = User("sue@roles.example", "a suspended one")


@pytest.fixture(scope="module")
def roles(control: Control) -> Iterator[Control]:
    """A tenant with contacts, all@ for its own senders, and three accounts."""
    declare(control, contacts={})
    for user in (ANN, BEN, SUE):
        control.module("mail_account", address=user.address, password=user.password)
    declare(control, contacts={"technical": ANN.address, "abuse": BEN.address})
    control.module("mail_account", address=SUE.address, state="suspended")
    control.module("mail_alias", address="both@roles.example", targets=[ANN.address, BEN.address])
    yield control
    control.module("mail_tenant", name="roles", state="absent", grace="0s")


def declare(control: Control, catch_all: str | None = None, **options: object) -> None:
    control.module(
        "mail_tenant",
        name="roles",
        plan="basic",
        overrides={"all_address": True, "mailbox_quota": None},
        domains=[{"name": "roles.example", "catch_all": catch_all}],
        **options,
    )


@pytest.mark.requirement("VM-9")
def test_mail_for_the_roles_reaches_the_contacts(server: Server, roles: Control) -> None:  # noqa: ARG001
    assert arrived(server, ANN, receive(server, "someone@outside.example", "postmaster@roles.example"))
    assert arrived(server, BEN, receive(server, "someone@outside.example", "abuse@roles.example"))


def test_a_domain_without_a_contact_has_the_host_s_postmaster(
    server: Server, host: testinfra.host.Host, control: Control
) -> None:
    control.module("mail_tenant", name="nobody", plan="basic", domains=[{"name": "uncontacted.example"}])
    try:
        subject = receive(server, "someone@outside.example", "postmaster@uncontacted.example")
        assert until(lambda: host.run(f"grep -q 'Subject: {subject}' /var/mail/root").rc == 0)
    finally:
        control.module("mail_tenant", name="nobody", state="absent", grace="0s")


def test_a_mailbox_is_told_which_address_a_mail_came_for(server: Server, roles: Control) -> None:
    """The header must not reveal other recipients: one in Bcc of a mail for several stays hidden."""
    declare(roles, catch_all="ben")
    told = {
        ("Whoever+box@roles.example",): "whoever+box@roles.example",
        ("both@roles.example",): "both@roles.example",
        (BEN.address,): None,
        ("whoever@roles.example", ANN.address): None,
    }
    sent = {receive(server, "someone@outside.example", *recipients): recipients for recipients in told}
    for subject, recipients in sent.items():
        assert arrived(server, BEN, subject)
        with inbox(server, BEN) as session:
            number = session.search(None, "SUBJECT", subject)[1][0].decode()
            header = message_from_bytes(fetched(session, number, "(BODY.PEEK[HEADER])"))
        assert header["X-Original-To"] == told[recipients]
        if len(recipients) == 1 and "both" not in recipients[0]:
            assert header["Delivered-To"].startswith("ben")


def test_a_catch_all_as_long_as_the_domain_asks_for_one(server: Server, roles: Control) -> None:
    declare(roles, catch_all="ben")
    assert arrived(server, BEN, receive(server, "someone@outside.example", "whoever@roles.example"))
    to_ann = receive(server, "someone@outside.example", "ann+shop@roles.example")
    assert arrived(server, ANN, to_ann)
    assert to_ann not in subjects(server, BEN)
    with protocols.smtp(server, "smtp") as session:
        session.mail("someone@outside.example")
        assert session.rcpt(SUE.address)[1][:5] == b"5.2.1"
    declare(roles)
    with protocols.smtp(server, "smtp") as session:
        session.mail("someone@outside.example")
        assert session.rcpt("whoever@roles.example")[1][:5] == b"5.1.1"


def test_a_renamed_account_still_gets_mail_for_its_old_address(server: Server, roles: Control) -> None:
    roles.module("mail_account", address="maiden@roles.example", password=ANN.password)
    roles.module("mail_account", address="married@roles.example", renamed_from="maiden")
    now = User("married@roles.example", ANN.password)
    assert arrived(server, now, receive(server, "someone@outside.example", "maiden@roles.example"))


@pytest.mark.requirement("VM-7")
def test_all_reaches_every_account_of_the_domain_once(
    server: Server,
    roles: Control,  # noqa: ARG001
    host: testinfra.host.Host,
) -> None:
    since = time.time()
    subject = send(server, ANN, "all@roles.example")
    for user in (ANN, BEN):
        assert arrived(server, user, subject)
        assert subjects(server, user).count(subject) == 1
    log = host.check_output(f"journalctl -t postfix/lmtp --since=@{int(since)} -o cat")
    # In capitals if the name had a holder before.
    delivered = set(re.findall(r"(?i)to=<(\w+)@roles\.example\.mailbox\.invalid>, orig_to=<all@roles\.example>", log))
    # Without the suspended account; another test may have created a third member.
    assert {"ann", "ben"} <= delivered <= {"ann", "ben", "married"}


def test_all_is_closed_to_everybody_else(server: Server, roles: Control, bill: User) -> None:  # noqa: ARG001
    with protocols.smtp(server, "smtp") as session:
        session.mail("someone@outside.example")
        assert session.rcpt("all@roles.example")[0] == 554
    with submission(server, bill) as session:
        session.mail(bill.address)
        assert session.rcpt("all@roles.example")[0] == 554
