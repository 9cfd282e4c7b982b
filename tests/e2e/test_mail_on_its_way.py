# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accepted mail is delivered to the account it was accepted for, despite renames while Dovecot was away."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import NamedTuple

import pytest
import testinfra
import yaml
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, arrived, fetched, inbox, receive, subjects, until
from .control import Control, tenants

PASSWORD = "what was promised"
STRANGER = "somebody@outside.example"
SOCKET = "/var/spool/postfix/private/dovecot-lmtp"

#: Recipients, and the user who must get the mail in the end; None: it bounces.
RECIPIENTS = {
    "old@names.example": "new@names.example",
    "old+box@names.example": "new@names.example",
    "alias@names.example": "new@names.example",
    "a@names.example": "b@names.example",
    "b@names.example": "a@names.example",
    "keep@names.example": "keep@names.example",
    "rest@names.example": "rest@names.example",
    "closed@names.example": "closed@names.example",
    "gone@names.example": None,
    "late@names.example": None,
    "nobody@names.example": "catch@names.example",
    "nao@before.example": "nao@after.example",
    "eri@passing.example": "eri@passing.example",
}
BEFORE = {
    "tenants/way.yml": """\
plan: basic
overrides: {max_accounts: 20, renamed_alias: false, renamed_domain: false}
domains:
  names.example: {catch_all: catch}
  before.example:
  passing.example:
""",
    "addresses/way.yml": """\
names.example:
  accounts: {old: , a: , b: , keep: {forward: {to: [catch]}}, rest: , closed: , late: , catch: }
  aliases: {alias: [old]}
before.example: {accounts: {nao: }}
passing.example: {accounts: {eri: }}
""",
    "tenants/else.yml": "plan: basic\n",
}
DURING = {
    "tenants/way.yml": """\
plan: basic
overrides: {max_accounts: 20, renamed_alias: false, renamed_domain: false}
domains:
  names.example: {catch_all: a}
  after.example: {renamed_from: before.example}
  passing.example: {moved_to: else}
""",
    "addresses/way.yml": """\
names.example:
  accounts:
    new: {renamed_from: old}
    old: {restore: false}
    a: {renamed_from: b}
    b: {renamed_from: a}
    keep: {forward: null}
    rest: {state: suspended}
    late:
    catch:
  aliases: {alias: [catch]}
after.example: {accounts: {nao: }}
""",
    "tenants/else.yml": "plan: basic\ndomains:\n  passing.example: {moved_from: way}\n",
    "addresses/else.yml": "passing.example: {accounts: {eri: }}\n",
}


class Held(NamedTuple):
    """Subjects of mail accepted while Dovecot was away, by recipient; then those for the name's new holder."""

    subjects: dict[str, str]
    for_new: str


def write(files: Path, contents: dict[str, str]) -> None:
    """Write tenants' files, with one password for all accounts."""
    for name, text in contents.items():
        (files / name).write_text(text)
        folder, _slash, file = name.partition("/")
        if folder == "addresses":
            sections = yaml.safe_load(text).items()
            addresses = [f"{local}@{domain}" for domain, section in sections for local in section["accounts"]]
            (files / "secrets" / file).write_text("".join(f"{address}: {PASSWORD}\n" for address in addresses))


@contextlib.contextmanager
def dovecot_takes_no_mail(host: testinfra.host.Host) -> Iterator[None]:
    host.check_output(f"mv {SOCKET} {SOCKET}.away")
    try:
        yield
    finally:
        host.check_output(f"mv {SOCKET}.away {SOCKET} && postqueue -f")


def queued(host: testinfra.host.Host) -> dict[str, str]:
    """Ids of mails in the deferred queue, by recipient."""
    mails = map(json.loads, host.check_output("postqueue -j").splitlines())
    waiting = [mail for mail in mails if mail["queue_name"] == "deferred"]
    # Capitals: a name with a former holder.
    return {recipient["address"].lower(): mail["queue_id"] for mail in waiting for recipient in mail["recipients"]}


def waits_too_long(host: testinfra.host.Host, recipient: str) -> bool:
    """Make the queue give up its mail for `recipient`; returns whether it did."""
    queue_id = queued(host)[f"{recipient}.mailbox.invalid"]
    host.check_output(f"postsuper -e {queue_id} && postqueue -i {queue_id}")
    return until(lambda: queue_id not in host.check_output("postqueue -j"))


@pytest.fixture(scope="module")
def held(server: Server, control: Control, files: Path, host: testinfra.host.Host, bill: User) -> Iterator[Held]:
    write(files, BEFORE)
    tenants(control, files)
    control.module("mail_account", address="gone@names.example")
    # No filter runs while an account is closed.
    host.check_output("echo 'discard;' | doveadm sieve put -u closed@names.example -a all")
    with dovecot_takes_no_mail(host):
        found = {recipient: receive(server, bill.address, recipient) for recipient in RECIPIENTS}
        # One mail has several recipients in the same mailbox.
        assert until(lambda: len(found) - 2 <= len(queued(host)))
        assert waits_too_long(host, "late@names.example")
        control.module("mail_account", address="gone@names.example", state="absent", grace="0s")
        host.check_output("systemctl start mailhosting-remove-mailboxes.service")
        write(files, DURING)
        tenants(control, files, tenants_purge=True)
        for_new = receive(server, bill.address, "old@names.example")
    assert until(lambda: "closed@names.example" not in host.check_output("postqueue -j").lower())
    restored = DURING["addresses/way.yml"].replace("suspended", "active")
    write(
        files, DURING | {"addresses/way.yml": restored.replace("    catch:", "    closed: {restore: true}\n    catch:")}
    )
    tenants(control, files)
    yield Held(found, for_new)
    for name in ("way", "else"):
        (files / "tenants" / f"{name}.yml").write_text("plan: basic\nstate: closed\n")
        for folder in ("addresses", "secrets"):
            (files / folder / f"{name}.yml").unlink()
    tenants(control, files, tenants_grace="0s", tenants_expect_closed=11)
    # Leave nothing for a purge of another test.
    host.check_output("systemctl start mailhosting-remove-mailboxes.service")
    for name in ("way", "else"):
        (files / "tenants" / f"{name}.yml").unlink()
    tenants(control, files, tenants_purge=True)


def mail(server: Server, user: User, subject: str) -> Message:
    """The one mail of that subject."""
    with inbox(server, user) as session:
        (number,) = session.search(None, "SUBJECT", f'"{subject}"')[1][0].split()
        return message_from_bytes(fetched(session, number.decode(), "(RFC822)"))


@pytest.mark.parametrize("recipient", [recipient for recipient, user in RECIPIENTS.items() if user])
def test_it_arrives_where_it_was_accepted_for(server: Server, held: Held, recipient: str) -> None:
    user = User(str(RECIPIENTS[recipient]), PASSWORD)
    assert arrived(server, user, held.subjects[recipient])
    # For a mail to several recipients Dovecot names no address.
    if recipient not in ("alias@names.example", "nobody@names.example", "keep@names.example"):
        assert mail(server, user, held.subjects[recipient])["Delivered-To"].lower() == recipient


def test_the_new_holder_of_a_name_has_its_own_mail_alone(server: Server, held: Held) -> None:
    other = User("old@names.example", PASSWORD)
    assert arrived(server, other, held.for_new)
    assert subjects(server, other) == [held.for_new]
    assert mail(server, other, held.for_new)["Delivered-To"].lower() == other.address
    assert held.for_new not in subjects(server, User("new@names.example", PASSWORD))


@pytest.mark.parametrize("recipient", [recipient for recipient, user in RECIPIENTS.items() if not user])
def test_who_wrote_in_vain_is_told_by_the_address(server: Server, held: Held, bill: User, recipient: str) -> None:
    def bounces() -> list[bytes]:
        with inbox(server, bill) as session:
            numbers = session.search(None, "TEXT", f'"{held.subjects[recipient]}"')[1][0].split()
            return [fetched(session, number.decode(), "(RFC822)") for number in numbers]

    assert until(lambda: bool(bounces()))
    (bounce,) = bounces()
    assert f"<{recipient}>:" in bounce.decode()
    said = bounce.decode().lower()
    assert f"final-recipient: rfc822; {recipient}" in said
    assert f"original-recipient: rfc822;{recipient}" in said
    assert "mailbox.invalid" not in said


@pytest.mark.usefixtures("held")
def test_nobody_can_write_to_what_the_queue_calls_a_mailbox(server: Server, bill: User) -> None:
    with protocols.smtp(server, "smtp") as session:
        session.ehlo()
        session.mail(STRANGER)
        assert session.rcpt(f"{bill.address}.mailbox.invalid")[0] == 550
        session.rset()
        assert session.mail(f"{bill.address}.mailbox.invalid")[0] == 250
        assert session.rcpt(bill.address)[0] == 550
    with protocols.smtp(server, "submission") as session:
        session.login(bill.address, bill.password)
        session.mail(bill.address)
        assert session.rcpt(f"{bill.address}.mailbox.invalid")[0] == 550
