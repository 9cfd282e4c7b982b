# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Automatic replies: to whom, how often, and in which form."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, arrived, message, receive, send, until
from .control import Control, RunFailedError
from .outside import Outside

USER = User("away@e2e.example", "on holiday")
OTHER = User("there@e2e.example", "never away")
SETTINGS = "/etc/dovecot/mail.conf"
PERIOD = "sieve_vacation_default_period = 1s\\nsieve_vacation_min_period = 1s"


class Replies:
    """Sets accounts' automatic replies."""

    def __init__(self, tenant: Control) -> None:
        self.tenant = tenant

    def set(self, address: str, subject: str | None, body: str) -> None:
        texts = {"body": body} if subject is None else {"subject": subject, "body": body}
        self.tenant.module("mail_account", address=address, autoreply=texts)

    def forget(self, address: str) -> bool:
        return bool(self.tenant.module("mail_account", address=address, forget_answered=True)["changed"])


@pytest.fixture(scope="module")
def replies(tenant: Control) -> Replies:
    return Replies(tenant)


@pytest.fixture(scope="module", autouse=True)
def away(tenant: Control, replies: Replies) -> Replies:
    """USER replies with a subject and a text; OTHER does not reply."""
    for user in (USER, OTHER):
        tenant.module("mail_account", address=user.address, password=user.password)
    replies.set(USER.address, SUBJECT, BODY)
    return replies


SUBJECT = "不在のお知らせ: 十一月末まで休みます。その間のご連絡は同僚の鈴木までお願いいたします"
# Escapes, quotes, variables and file names that SQL, userdb or Sieve could misread.
BODY = (
    '</etc/passwd\nいま休みです。\n\n.\n"引用" \\ %{user} %u ${subject} $x\tタブ\n'
    + "長い行" * 100
    + "\nX-Not-A-Header: no\n"
)


def somebody() -> str:
    return f"{uuid.uuid4().hex}@outside.example"


def write_to(server: Server, sender: str, recipient: str, **headers: str) -> EmailMessage:
    """Send a mail as a stranger."""
    mail = message(sender or "mailer-daemon@outside.example", recipient)
    for name, value in headers.items():
        del mail[name]
        mail[name.replace("_", "-")] = value
    with protocols.smtp(server, "smtp") as session:
        session.send_message(mail, from_addr=sender, to_addrs=[USER.address])
    return mail


def text(reply: EmailMessage) -> str:
    return str(reply.get_content()).replace("\r\n", "\n").rstrip("\n")


def no_reply(server: Server, outside: Outside, *senders: str) -> bool:
    """Whether none of `senders` got a reply by the time a later sender got one."""
    later = somebody()
    write_to(server, later, USER.address)
    outside.mail_to(later)
    return not any(outside.mails_to(sender) for sender in senders)


def test_a_reply_says_what_the_account_wants_it_to(server: Server, outside: Outside) -> None:
    sender = somebody()
    mail = write_to(server, sender, USER.address)
    reply = outside.mail_to(sender)
    assert reply.message["Subject"] == SUBJECT
    assert text(reply.message) == BODY.rstrip("\n")
    assert reply.message.get_content_charset() == "utf-8"
    assert b"Subject: =?" in reply.content
    assert reply.message["From"] == USER.address
    assert reply.message["To"] == sender
    assert reply.message["In-Reply-To"] == mail["Message-ID"]
    assert reply.message["Auto-Submitted"].startswith("auto-replied")
    assert reply.sender == ""
    assert reply.recipients == [sender]


def test_what_a_name_sends_that_was_anothers_says_it_as_people_write_it(
    server: Server, outside: Outside, host: testinfra.host.Host, away: Replies
) -> None:
    sender, target, name = somebody(), somebody(), "successor@e2e.example"
    away.tenant.module("mail_account", address=name)
    away.tenant.module("mail_account", address="predecessor@e2e.example", renamed_from="successor")
    away.tenant.module("mail_account", address=name, restore=False, autoreply={"body": "away"})
    script = f'require "copy"; redirect :copy "{target}";'
    host.check_output(f"doveadm sieve put -u {name} -a test <<'END'\n{script}\nEND")
    receive(server, sender, name)
    reply, sent_on = outside.mail_to(sender), outside.mail_to(target)
    assert reply.message["From"] == name
    assert sent_on.message["X-Sieve-Redirected-From"] == name
    said = re.findall("@e2e.example", f"{reply.content!r} {sent_on.content!r}", re.IGNORECASE)
    assert set(said) == {"@e2e.example"}


@pytest.mark.usefixtures("outside")
def test_the_mail_is_delivered_all_the_same(server: Server) -> None:
    assert arrived(server, USER, str(write_to(server, somebody(), USER.address)["Subject"]))


def test_a_sender_is_answered_once(server: Server, outside: Outside) -> None:
    sender = somebody()
    write_to(server, sender, USER.address)
    outside.mail_to(sender)
    write_to(server, sender, USER.address)
    write_to(server, sender.upper(), USER.address)
    assert no_reply(server, outside, sender.upper())
    assert len(outside.mails_to(sender)) == 1


def test_the_record_of_who_was_answered_can_be_cleared(server: Server, outside: Outside, away: Replies) -> None:
    sender = somebody()
    write_to(server, sender, USER.address)
    outside.mail_to(sender)
    assert away.forget(USER.address)
    assert not away.forget(USER.address)
    write_to(server, sender, USER.address)
    assert until(lambda: len(outside.mails_to(sender)) == 2)


def test_it_can_be_cleared_on_the_host(server: Server, outside: Outside, host: testinfra.host.Host) -> None:
    sender = somebody()
    write_to(server, sender, USER.address)
    outside.mail_to(sender)
    forget = f"mailhosting autoreply forget {USER.address}"
    assert "answers everybody again" in host.check_output(forget)
    assert "has no record of answered senders" in host.check_output(forget)
    write_to(server, sender, USER.address)
    assert until(lambda: len(outside.mails_to(sender)) == 2)


@pytest.mark.parametrize("arguments", ["", "forget", "forget nobody@e2e.example", "forget -A", "show away@e2e.example"])
def test_the_command_says_what_it_cannot_do(host: testinfra.host.Host, arguments: str) -> None:
    said = host.run(f"mailhosting autoreply {arguments}")
    assert said.rc != 0
    assert "nobody@e2e.example" in said.stderr if "nobody" in arguments else "forget ADDRESS" in said.stderr


@pytest.fixture
def short_period(host: testinfra.host.Host) -> Iterator[None]:
    """A period of a second instead of days."""
    # Postfix may keep a connection to the old Dovecot, and a mail sent over that waits for minutes.
    reload = "systemctl reload dovecot postfix"
    host.check_output(f"cp -p {SETTINGS} {SETTINGS}.e2e")
    host.check_output(f"sed -i 's/^sieve_vacation_[a-z]*_period = .*/{PERIOD}/' {SETTINGS} && {reload}")
    yield
    host.check_output(f"mv {SETTINGS}.e2e {SETTINGS} && {reload}")


@pytest.mark.usefixtures("short_period")
def test_after_the_period_a_sender_is_answered_again(server: Server, outside: Outside) -> None:
    sender = somebody()
    write_to(server, sender, USER.address)
    first = outside.mail_to(sender)

    def again() -> bool:
        write_to(server, sender, USER.address)
        return len(outside.mails_to(sender)) > 1

    assert until(again)
    assert outside.mails_to(sender)[1].message["Subject"] == first.message["Subject"]


@pytest.mark.parametrize(
    "headers",
    [
        {"List_Id": "<talk.lists.outside.example>"},
        {"List_Unsubscribe": "<mailto:leave@lists.outside.example>"},
        {"Precedence": "bulk"},
        {"Precedence": "list"},
        {"Auto_Submitted": "auto-generated"},
        {"Auto_Submitted": "auto-replied"},
        {"To": "undisclosed@outside.example"},
    ],
)
def test_no_reply_to_lists_machines_and_blind_copies(server: Server, outside: Outside, headers: dict[str, str]) -> None:
    sender = somebody()
    mail = write_to(server, sender, USER.address, **headers)
    assert arrived(server, USER, str(mail["Subject"]))
    assert no_reply(server, outside, sender)


def test_a_reply_to_an_alias_of_its_own_alone(server: Server, outside: Outside, tenant: Control) -> None:
    alone, shared, foreign = (f"{name}@e2e.example" for name in ("a.b-1", "both", "xa.b-1"))
    tenant.module("mail_alias", address=alone, targets=[USER.address])
    tenant.module("mail_alias", address=shared, targets=[USER.address, OTHER.address])
    for header in ("To", "Cc"):
        sender = somebody()
        write_to(server, sender, alone, **({"Cc": f"Eri <{alone.upper()}>", "To": shared} if header == "Cc" else {}))
        reply = outside.mail_to(sender)
        assert reply.message["From"].lower() == alone
        assert reply.message["To"] == sender
    not_answered = [somebody() for _ in range(3)]
    for sender, recipient in zip(not_answered, (shared, "axb-1@e2e.example", foreign), strict=True):
        assert arrived(server, USER, str(write_to(server, sender, recipient)["Subject"]))
    assert no_reply(server, outside, *not_answered)
    for address in (alone, shared):
        tenant.module("mail_alias", address=address, state="absent")


@pytest.mark.parametrize("local_part", ["mailer-daemon", "owner-talk", "talk-request"])
def test_no_reply_to_addresses_of_machines(server: Server, outside: Outside, local_part: str) -> None:
    sender = f"{local_part}@{uuid.uuid4().hex}.example"
    write_to(server, sender, USER.address)
    assert no_reply(server, outside, sender)


def test_no_reply_to_bounces(server: Server, outside: Outside) -> None:
    claimed = somebody()
    mail = write_to(server, "", USER.address, From=claimed)
    assert arrived(server, USER, str(mail["Subject"]))
    assert no_reply(server, outside, claimed, "mailer-daemon@outside.example")


def test_no_reply_to_itself(server: Server, outside: Outside) -> None:
    subject = send(server, USER, USER.address)
    assert arrived(server, USER, subject)
    assert no_reply(server, outside)
    assert SUBJECT not in decoded_subjects(server, USER)


def test_the_reply_goes_to_the_envelope_sender_and_nowhere_else(server: Server, outside: Outside) -> None:
    """A forged header sends mail to nobody, and a reply that bounces gets no reply."""
    sender, claimed = somebody(), somebody()
    write_to(server, sender, USER.address, From=claimed, Reply_To=claimed)
    assert outside.mail_to(sender).recipients == [sender]
    assert no_reply(server, outside, claimed)
    refused = len(outside.mails)
    write_to(server, "refused@outside.example", USER.address)
    assert no_reply(server, outside, "refused@outside.example")
    assert len(outside.mails) == refused + 1


def test_a_forged_sender_of_ours_gets_one_reply_at_most(server: Server, outside: Outside) -> None:
    """A reply to a forged sender of ours reaches the owner of that address, once."""
    seen = len(outside.mails)
    subject = receive(server, OTHER.address, USER.address)
    assert arrived(server, USER, subject)
    assert until(lambda: SUBJECT in decoded_subjects(server, OTHER))
    receive(server, OTHER.address, USER.address)
    assert no_reply(server, outside)
    assert decoded_subjects(server, OTHER).count(SUBJECT) == 1
    assert len(outside.mails) == seen + 1


def test_an_account_without_one_answers_nobody(server: Server, outside: Outside) -> None:
    sender = somebody()
    assert arrived(server, OTHER, receive(server, sender, OTHER.address))
    assert no_reply(server, outside, sender)


def test_no_text_becomes_a_header_or_a_recipient(server: Server, outside: Outside, away: Replies) -> None:
    with pytest.raises(RunFailedError, match="subject"):
        away.set(USER.address, "休み\r\nBcc: victim@outside.example", "本文")
    away.set(USER.address, "休み", "本文\r\n.\r\nMAIL FROM:<a@b.example>\r\n\r\nBcc: victim@outside.example")
    sender = somebody()
    write_to(server, sender, USER.address)
    reply = outside.mail_to(sender)
    assert reply.recipients == [sender]
    assert reply.message["Bcc"] is None
    assert "MAIL FROM:<a@b.example>" in reply.message.get_content()
    assert no_reply(server, outside, "victim@outside.example")


@pytest.mark.requirement("AS-4")
def test_the_default_subject(server: Server, outside: Outside, away: Replies) -> None:
    away.set(USER.address, None, "本文")
    sender = somebody()
    write_to(server, sender, USER.address)
    assert outside.mail_to(sender).message["Subject"] == "Notification for your mail."


def test_as_long_a_text_as_there_may_be(server: Server, outside: Outside, away: Replies) -> None:
    aliases = [f"{'long' * 15}{number}@e2e.example" for number in range(6)]
    for address in aliases:
        away.tenant.module("mail_alias", address=address, targets=[USER.address])
    body = ("七十字の行" * 14 + "\n") * 28 + "x" * 200
    assert 6_100 < len(body.encode()) + body.count("\n") <= 6_144
    away.set(USER.address, "𠮷" * 200, body)
    sender = somebody()
    write_to(server, sender, USER.address)
    reply = outside.mail_to(sender).message
    assert (reply["Subject"], text(reply)) == ("𠮷" * 200, body.rstrip("\n"))
    for address in aliases:
        away.tenant.module("mail_alias", address=address, state="absent")


def decoded_subjects(server: Server, user: User) -> list[str]:
    """Subjects in the inbox as a mail program shows them."""
    with protocols.imap(server, "imaps") as session:
        session.login(user.address, user.password)
        session.select("INBOX")
        count = int(session.status("INBOX", "(MESSAGES)")[1][0].split()[-1].rstrip(b")"))
        if not count:
            return []
        _status, data = session.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        return [
            str(message_from_bytes(item[1], policy=policy.default)["Subject"])
            for item in data
            if isinstance(item, tuple)
        ]
