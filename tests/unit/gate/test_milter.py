# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a mail that cannot be read, without libmilter: Postfix hears of nothing before the mail's end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, cast

import pytest
from mailhosting.gate.checks.base import (
    AddRecipient,
    ChangeHeader,
    ClearSender,
    DeleteRecipient,
    InsertHeader,
    RemoveHeader,
    ReplaceBody,
)
from mailhosting.gate.context import Gate
from mailhosting.gate.transaction import Outcome, Transaction

from .test_transaction import gate, told

__all__ = ["gate", "told"]


@pytest.fixture
def conversation(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Of a client at port 25, with what the package Milter has of it left out."""
    milter = ModuleType("Milter")
    unchanged = lambda what: what  # noqa: E731
    names = {"Base": object, "noreply": unchanged}
    names |= {"header_leading_space": unchanged, "rejected_recipients": unchanged}
    answers = {"CONTINUE": 0, "REJECT": 1, "DISCARD": 2, "TEMPFAIL": 4}
    milter.__dict__.update(names | answers)
    monkeypatch.setitem(sys.modules, "Milter", milter)
    monkeypatch.delitem(sys.modules, "mailhosting.gate.milter", raising=False)
    from mailhosting.gate.milter import Conversation

    said: list[str] = []
    added: list[tuple[Any, ...]] = []
    attributes = {"getsymval": {"{daemon_name}": "smtp"}.get, "setreply": lambda code, *_rest: said.append(code)}
    attributes["addheader"] = lambda *field: added.append(field)
    senders: list[str] = []
    attributes["chgfrom"] = senders.append
    changed: list[tuple[Any, ...]] = []
    attributes["chgheader"] = lambda *field: changed.append(field)
    heard = {"gate": gate, "said": said, "added": added, "changed": changed, "senders": senders}
    found = cast("Any", type("Heard", (Conversation,), heard))()
    vars(found).update(attributes)
    found.connect("far.example", "inet", ("192.0.2.7", 4000))
    yield found
    sys.modules.pop("mailhosting.gate.milter", None)


def mail(conversation: Any) -> int:
    conversation.envfrom("<x@far.example>", "SIZE=100")
    conversation.envrcpt("<taro@acme.example>")
    conversation.header("Subject", " x")
    conversation.body(b"x")
    answer: int = conversation.eom()
    return answer


@pytest.mark.parametrize("part", ["header", "body"])
def test_a_mail_that_cannot_be_read_is_put_off_at_its_end(
    conversation: Any, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def fail(*_arguments: object) -> None:
        raise ValueError("no such charset")

    with monkeypatch.context() as broken:
        broken.setattr(Transaction, part, fail)
        assert mail(conversation) == 4
    assert conversation.said == ["451"]
    assert mail(conversation) == 0


def test_what_a_submitted_mail_lacks_is_added_to_it(conversation: Any) -> None:
    assert mail(conversation) == 0
    assert conversation.added == []
    macros = {"{daemon_name}": "submission", "{auth_authen}": "taro@acme.example", "{mail_addr}": "sales@acme.example"}
    macros |= {"j": "mx1.example", "i": "4fX"}
    conversation.getsymval = macros.get
    assert mail(conversation) == 0
    assert [name for name, _value in conversation.added] == ["Date", "From", "Message-ID"]
    # The space is ours to give, as it is read (HDR_LEADSPC).
    assert conversation.added[1] == ("From", " sales@acme.example")
    assert conversation.added[2][1].endswith(".4fX@mx1.example>")


def test_what_a_mail_came_for_stands_before_what_it_came_with(
    conversation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = Outcome(actions=(InsertHeader("X-Original-To", "sales@acme.example"),))
    monkeypatch.setattr(Transaction, "end", lambda _mail: outcome)
    assert mail(conversation) == 0
    assert conversation.added == [("X-Original-To", " sales@acme.example", 0)]


OWN_LINE = """ from my_pc (b [192.0.2.9]) (pc.home.example [192.0.2.7])
	(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))
	by mx1.example (Postfix) with ESMTPS id 4fX
	for <x@far.example>; Sun, 29 Nov 2026 02:45:00 +0000 (UTC)"""


@pytest.mark.parametrize(
    ("queue_id", "fields", "number"),
    [
        ("4fX", [OWN_LINE, OWN_LINE], 1),
        ("4f", [OWN_LINE, OWN_LINE], None),
        ("4fX", [OWN_LINE.replace("\n", " ")], None),
        ("4fX", [" by mx1.example (POP before SMTP) id 4fX; Sun, 29 Nov 2026"], None),
        # The policy service was restarted between two recipients, and forgot that it had said so.
        ("4fX", [" by mx1.example (POP before SMTP); Sun, 29 Nov 2026", OWN_LINE], 2),
    ],
    ids=[
        "Postfix's own",
        "another host's",
        "not as Postfix writes it",
        "without a client",
        "below another of the policy service's",
    ],
)
def test_a_received_line_of_postfixs_that_is_seen_loses_its_client(
    conversation: Any, queue_id: str, fields: list[str], number: int | None
) -> None:
    conversation.getsymval = {"{daemon_name}": "smtp", "i": queue_id}.get
    conversation.envfrom("<taro@acme.example>", "SIZE=100")
    conversation.envrcpt("<hanako@acme.example>")
    for received in fields:
        conversation.header("Received", received)
    assert conversation.eom() == 0
    rest = OWN_LINE.partition("\n")[2]
    found = [("Received", number, f" from localhost (localhost [127.0.0.1])\n{rest}")]
    assert conversation.changed == (found if number else [])


def test_a_field_is_changed_by_its_number(conversation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = [("Received", 2, " for <taro@acme.example>"), ("From", 1, " <taro@acme.example>")]
    outcome = Outcome(actions=tuple(ChangeHeader(*change) for change in changes))
    monkeypatch.setattr(Transaction, "end", lambda _mail: outcome)
    assert mail(conversation) == 0
    assert conversation.changed == changes


def test_an_envelope_loses_its_sender(conversation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transaction, "end", lambda _mail: Outcome(actions=(ClearSender(),)))
    assert mail(conversation) == 0
    assert conversation.senders == ["<>"]


def test_a_body_is_replaced_in_pieces_and_recipients_come_and_go(
    conversation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, Any]] = []
    for name in ("replacebody", "delrcpt", "addrcpt"):
        monkeypatch.setattr(conversation, name, lambda what, name=name: done.append((name, what)), raising=False)
    actions = (
        RemoveHeader("content-type", 2),
        ReplaceBody(lambda: iter((b"a", b"b"))),
        DeleteRecipient("<taro@acme.example>"),
        AddRecipient("<hanako@acme.example>"),
    )
    monkeypatch.setattr(Transaction, "end", lambda _mail: Outcome(actions=actions))
    assert mail(conversation) == 0
    assert conversation.changed == [("content-type", 2, "")]
    assert done == [
        ("replacebody", b"a"),
        ("replacebody", b"b"),
        ("delrcpt", "<taro@acme.example>"),
        ("addrcpt", "<hanako@acme.example>"),
    ]


def test_a_discarded_mail_is_taken_for_nobody(conversation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transaction, "end", lambda _mail: Outcome(discard=True))
    assert mail(conversation) == 2
    assert conversation.said == []


def test_a_recipient_is_named_as_the_client_wrote_it(conversation: Any) -> None:
    conversation.getsymval = {"{daemon_name}": "smtp", "{rcpt_addr}": "taro@acme.example"}.get
    conversation.envfrom("<x@far.example>")
    conversation.envrcpt("<TARO@Acme.Example>")
    assert conversation._transaction.mail.recipient_names == [("taro@acme.example", "<TARO@Acme.Example>")]


def test_a_held_mail_is_taken(conversation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transaction, "end", lambda _mail: Outcome(hold="bulk_mail"))
    reasons: list[str] = []
    vars(conversation)["quarantine"] = reasons.append
    assert mail(conversation) == 0
    assert reasons == ["bulk_mail"]
