# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose mail it is, who is charged, and what is answered; with a real Valkey and a directory of a few lines."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from mailhosting.common.address import Address
from mailhosting.common.address import parse as address
from mailhosting.common.errors import DirectoryError
from mailhosting.common.valkey import Valkey
from mailhosting.gate.checks.base import AddHeader, ChangeHeader, ClearSender, InsertHeader
from mailhosting.gate.context import Gate, Texts
from mailhosting.gate.counters import Counters
from mailhosting.gate.directory import Directory
from mailhosting.gate.mail import Mail
from mailhosting.gate.model import (
    TRY_LATER,
    Destinations,
    ExternalTarget,
    Limit,
    LocalTarget,
    Mailbox,
    Owner,
    Reply,
    Tenant,
)
from mailhosting.gate.transaction import (
    LOGIN_ENDED,
    MAY_NOT_SEND,
    ON_HOLD,
    TOO_MANY,
    Outcome,
    Transaction,
)

from .server import Server

ACME, BOLT = 1, 2
TARO, HANAKO, BILL = (
    Mailbox(11, "taro@acme.example"),
    Mailbox(12, "hanako@acme.example"),
    Mailbox(21, "bill@bolt.example"),
)
TEXTS = Texts(
    Reply("552", None, "large"),
    Reply("423", None, "limit"),
    Reply("452", None, "full"),
    Reply("550", None, "mass"),
    Reply("550", None, "unknown"),
    Reply("550", None, "virus"),
    Reply("550", None, "suspicious"),
    Reply("550", None, "encrypted"),
    Reply("550", None, "unreadable"),
    Reply("550", None, "partial"),
    Reply("550", None, "file_type"),
    Reply("552", None, "unpacked_size"),
    Reply("552", None, "content_size"),
    Reply("552", None, "structure"),
)


def tenant(number: int, **settings: Any) -> Tenant:
    absent = {"max_message_size": None, "quota": None, "bulk_mail": None, "virus": None}
    none: dict[str, Any] = {"send_limits": (), "receive_limits": (), "account_send_limits": ()}
    return Tenant(number, f"t{number}", **{**absent, **none, **settings})


def at_most(messages: int, unit: Any = "messages") -> tuple[Limit, ...]:
    return (Limit(unit, messages, 3600, 60, ("send", "receive")),)


LISTENERS = ("smtp", "submission", "submissions")


@dataclass
class Told:
    """What the gate knows of the directory, and whom it had told."""

    tenants: dict[int, Tenant] = field(default_factory=lambda: {ACME: tenant(ACME), BOLT: tenant(BOLT)})
    logins: list[str] = field(default_factory=list)
    notices: list[tuple[Any, ...]] = field(default_factory=list)
    held: dict[int, str] = field(default_factory=dict)
    kept: list[tuple[Any, ...]] = field(default_factory=list)
    warnings: list[tuple[Any, ...]] = field(default_factory=list)
    ends: dict[str, Destinations] = field(
        default_factory=lambda: {
            "taro@acme.example": Destinations((LocalTarget(TARO, ACME, 0),), ()),
            "hanako@acme.example": Destinations((LocalTarget(HANAKO, ACME, 0),), ()),
            "bill@bolt.example": Destinations((LocalTarget(BILL, BOLT, 0),), ()),
            "ken@acme.example": Destinations((), (ExternalTarget(13, ACME),)),
        }
    )
    may_not_send: tuple[str, ...] = ()
    rights: dict[str, Any] = field(default_factory=dict)  # of TARO, where they are other than everybody's
    down: bool = False

    def ping(self) -> None:
        if self.down:
            raise DirectoryError("the directory: gone")

    def owner(self, whose: Address) -> Owner | None:
        if self.down:
            raise DirectoryError("the directory: gone")
        for mailbox in (TARO, HANAKO, BILL):
            if mailbox.username == "@".join(whose):
                number = mailbox.account_id
                may_send = mailbox.username not in self.may_not_send
                tenant = BOLT if mailbox is BILL else ACME
                owner = Owner(number, tenant, mailbox.username, may_send, self.held.get(number), True, LISTENERS)
                owner = replace(owner, tenant=self.tenant(tenant))
                return replace(owner, **self.rights) if mailbox is TARO else owner
        of_acme = Owner(None, ACME, None, False, tenant=self.tenant(ACME))
        return of_acme if whose.domain == "acme.example" else None

    def destinations(self, to: Address) -> Destinations:
        if self.down:
            raise DirectoryError("the directory: gone")
        outside = Destinations((), (ExternalTarget(None, None),))
        found = self.ends.get("@".join(to), outside)
        numbers = {target.tenant_id for target in found.local} | {target.tenant_id for target in found.external}
        known = (self.tenant(number) for number in sorted(number for number in numbers if number))
        return replace(found, tenants=tuple(tenant for tenant in known if tenant))

    def tenant(self, number: int) -> Tenant | None:
        return self.tenants.get(number)

    def mailboxes(self, number: int) -> list[Mailbox]:
        return [TARO, HANAKO] if number == ACME else [BILL]

    def relay_logins(self, _sender: Address) -> list[str]:
        return self.logins

    def add_notice(self, *notice: Any) -> None:
        self.notices.append(notice)

    def stop(self, account_id: int, kind: str, facts: dict[str, Any]) -> None:
        if self.down:
            raise DirectoryError("the directory: gone")
        if account_id not in self.held:
            self.held[account_id] = kind
            self.notices.append((kind, facts))

    def warn(
        self, kind: str, tenants: list[int], accounts: list[int | None], facts: dict[str, Any], _once: str
    ) -> None:
        if self.down:
            raise DirectoryError("the directory: gone")
        self.warnings += [(kind, *who, facts["action"]) for who in zip(tenants, accounts, strict=True)]

    def queued_mailboxes(self, accounts: list[int]) -> list[str]:
        return [f"{number}@acme.example.mailbox.invalid" for number in sorted(accounts)]

    def keep(self, *mail: Any) -> None:
        self.kept.append(mail)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def gate(told: Told, valkey: Valkey) -> Gate:
    directory = cast("Directory", told)
    return Gate(directory, valkey, Counters(valkey, told.mailboxes), TEXTS, {"send": (), "receive": ()})


def begun(gate: Gate, sender: str = "x@far.example", login: str | None = None, **attributes: Any) -> Transaction:
    known = {"queue_id": "Q", "client": "192.0.2.7", "listener": "smtp", "declared_size": 0, **attributes}
    return Transaction(gate, Mail(login=login, sender=address(sender), **known))


def sent(gate: Gate, *recipients: str, size: int = 100, headers: tuple[tuple[str, str], ...] = (), **who: Any) -> str:
    """The code of the first refusal, 250 for a mail that is taken."""
    mail = begun(gate, **who)
    replies = [mail.begin(), *(mail.recipient(to) for to in recipients)]
    for name, value in headers:
        mail.header(name, value, len(name) + len(value) + 3)
    mail.body(b"x" * size)
    replies += [mail.end().reply] if not any(replies) else []
    return next((reply.code for reply in replies if reply), "250")


def test_a_login_is_charged_whatever_the_envelope_says(gate: Gate, told: Told) -> None:
    told.tenants[ACME] = tenant(ACME, send_limits=at_most(2))
    codes = [sent(gate, "a@far.example", sender="x@elsewhere.example", login=TARO.username) for _mail in range(3)]
    assert codes == ["250", "250", "423"]
    assert sent(gate, "a@far.example", sender=BILL.username, login=BILL.username) == "250"


@pytest.mark.parametrize("login", [TARO.username, "gone@acme.example", "gone@renamed.example"])
def test_a_session_sends_no_longer_than_its_login_may(gate: Gate, told: Told, login: str) -> None:
    told.may_not_send = (TARO.username,)
    told.rights = {"may_login": False}
    for sender in ("", TARO.username):
        mail = begun(gate, sender=sender, login=login)
        assert [mail.begin(), mail.recipient(BILL.username)] == [None, MAY_NOT_SEND]
    # What others send on by it, and what comes for it, is no session's.
    assert sent(gate, TARO.username) == "250"


def test_a_session_on_hold_is_told_so(gate: Gate, told: Told) -> None:
    told.may_not_send = (TARO.username,)
    mail = begun(gate, sender=TARO.username, login=TARO.username)
    assert [mail.begin(), mail.recipient(BILL.username)] == [None, ON_HOLD]


ENDS = {
    "may log in no more": {"may_login": False},
    "by a plan without the port": {"protocols": ("submissions", "imaps")},
    "by another password": {"login_since": 1000.5},
}


@pytest.mark.parametrize("rights", ENDS.values(), ids=ENDS)
def test_a_session_ends_with_its_login(gate: Gate, told: Told, rights: dict[str, Any]) -> None:
    """At a recipient, and at the end of a mail that was long in coming."""
    told.rights = {"login_since": 1000.0}
    mail = begun(gate, login=TARO.username, listener="submission", connected=1000.0)
    assert [mail.begin(), mail.recipient(BILL.username)] == [None, None]
    told.rights = rights
    assert mail.end().reply == LOGIN_ENDED
    mail = begun(gate, login=TARO.username, listener="submission", connected=1000.0)
    assert [mail.begin(), mail.recipient(BILL.username)] == [None, LOGIN_ENDED]
    # Of a login that came after it, and of what is no session's.
    later = begun(gate, login=TARO.username, listener="submission", connected=1001.0)
    expected = None if "login_since" in rights else LOGIN_ENDED
    assert [later.begin(), later.recipient(BILL.username)] == [None, expected]
    assert sent(gate, TARO.username) == "250"


def test_an_account_has_limits_of_its_own(gate: Gate, told: Told) -> None:
    stops = (replace(at_most(1)[0], pause_applies_to=("send",)),)
    told.tenants[ACME] = tenant(ACME, account_send_limits=stops)
    assert [sent(gate, "a@far.example", login=TARO.username) for _mail in range(2)] == ["250", "423"]
    assert sent(gate, "a@far.example", login=HANAKO.username) == "250"
    (notice,) = told.notices
    assert notice[:3] == ("limit_pause", ACME, 11)
    assert notice[3]["account"] == TARO.username


def test_recipients_may_be_what_counts(gate: Gate, told: Told) -> None:
    told.tenants[ACME] = tenant(ACME, send_limits=at_most(3, "recipients"))
    assert sent(gate, *(f"{number}@far.example" for number in range(3)), login=TARO.username) == "250"
    assert sent(gate, "a@far.example", login=TARO.username) == "423"


def test_a_pop_login_is_who_relays(gate: Gate, told: Told, server: Server) -> None:
    told.logins = [HANAKO.username, TARO.username]
    server.ask("SET", f"mh:1:login:192.0.2.7/{TARO.username}", 1)
    told.tenants[ACME] = tenant(ACME, account_send_limits=at_most(1))
    assert [sent(gate, "a@far.example", sender=HANAKO.username) for _mail in range(2)] == ["250", "423"]
    assert told.notices[0][2] == TARO.account_id


def test_a_login_that_opened_for_its_tenant_pays_for_it(gate: Gate, told: Told, server: Server) -> None:
    told.logins = [HANAKO.username, "@acme.example"]
    server.ask("SET", "mh:1:login:192.0.2.7/@acme.example", f"1 {TARO.username}")
    told.tenants[ACME] = tenant(ACME, account_send_limits=at_most(1))
    assert [sent(gate, "a@far.example", sender=HANAKO.username) for _mail in range(2)] == ["250", "423"]
    assert told.notices[0][2] == TARO.account_id


def test_a_stranger_who_names_us_is_not_charged_to_us(gate: Gate, told: Told) -> None:
    told.tenants[ACME] = tenant(ACME, send_limits=at_most(0))
    assert sent(gate, BILL.username, sender=TARO.username) == "250"


def test_recipients_of_a_mail_that_is_given_up_begin_no_pause(gate: Gate, told: Told) -> None:
    told.tenants[ACME] = tenant(ACME, send_limits=at_most(3, "recipients"))
    assert sent(gate, "a@far.example", login=TARO.username) == "250"
    for _attempt in range(3):
        mail = begun(gate, login=TARO.username)
        said = [mail.recipient(f"{number}@far.example") for number in range(4) if mail.begin() is None]
        assert said == [None, None, TEXTS.limit, TEXTS.limit]
    assert told.notices == []
    assert sent(gate, "a@far.example", "b@far.example", login=TARO.username) == "250"
    assert [sent(gate, "a@far.example", login=TARO.username) for _mail in range(2)] == ["423", "423"]
    assert len(told.notices) == 1


def test_a_forward_to_outside_is_its_owners(gate: Gate, told: Told) -> None:
    told.tenants[ACME] = tenant(ACME, send_limits=at_most(2))
    assert [sent(gate, "ken@acme.example") for _mail in range(3)] == ["250", "250", "423"]


def test_what_a_filter_sends_on_is_its_owners(gate: Gate, told: Told) -> None:
    told.tenants[ACME] = tenant(ACME, send_limits=at_most(1))
    redirected = (("X-Sieve-Redirected-From", f" {TARO.username}"), ("X-Sieve-Redirected-From", " forged@bolt.example"))
    codes = [sent(gate, "a@far.example", listener="own", headers=redirected) for _mail in range(2)]
    assert codes == ["250", "423"]


def test_what_a_filter_sends_on_is_not_its_writers(gate: Gate, told: Told) -> None:
    told.tenants[ACME] = tenant(ACME, send_limits=at_most(1))
    assert sent(gate, "a@far.example", login=TARO.username) == "250"
    redirected = (("X-Sieve-Redirected-From", f" {BILL.username}"),)
    of_taro: dict[str, Any] = {"sender": TARO.username, "listener": "own"}
    assert sent(gate, "a@far.example", headers=redirected, **of_taro) == "250"
    assert told.notices == []
    redirected = (("X-Sieve-Redirected-From", f" {HANAKO.username}"),)
    assert sent(gate, "a@far.example", headers=redirected, **of_taro) == "423"


SUBMITTED = ("Auto-Submitted", " auto-replied (vacation)")


@pytest.mark.parametrize(
    ("headers", "sender", "codes"),
    [
        ((SUBMITTED,), TARO.username, ["250", "423"]),
        ((SUBMITTED,), "sales@acme.example", ["250", "423"]),
        # A filter says who an answer is from.
        ((("From", f" <{TARO.username}>"), SUBMITTED), BILL.username, ["250", "250"]),
        ((("From", f" <{TARO.username}>"), SUBMITTED), "", ["250", "250"]),
        ((("X-Sieve-Redirected-From", f" {BILL.username}"), SUBMITTED), TARO.username, ["250", "250"]),
        # A filter writes the fields of an answer's text.
        ((SUBMITTED, ("X-Sieve-Redirected-From", f" {TARO.username}")), BILL.username, ["250", "250"]),
        ((SUBMITTED, ("X-Sieve-Redirected-From", f" {BILL.username}")), TARO.username, ["250", "423"]),
    ],
)
def test_an_automatic_answer_is_its_envelopes(
    gate: Gate, told: Told, headers: tuple[tuple[str, str], ...], sender: str, codes: list[str]
) -> None:
    told.tenants[ACME] = tenant(ACME, send_limits=at_most(1))
    assert [sent(gate, "a@far.example", headers=headers, sender=sender, listener="own") for _mail in range(2)] == codes


@pytest.mark.parametrize(
    ("headers", "listener", "no_sender"),
    [
        ((SUBMITTED,), "own", True),
        ((("AUTO-SUBMITTED", "Auto-Replied"),), "own", True),
        ((("Auto-Submitted", " auto-generated"),), "own", False),
        ((), "own", False),
        ((("X-Sieve-Redirected-From", f" {BILL.username}"), SUBMITTED), "own", False),
        ((SUBMITTED, ("X-Sieve-Redirected-From", f" {BILL.username}")), "own", True),
        ((SUBMITTED,), "smtp", False),
    ],
)
def test_an_answer_leaves_without_a_sender(
    gate: Gate, headers: tuple[tuple[str, str], ...], listener: str, no_sender: bool
) -> None:
    mail = begun(gate, sender=TARO.username, listener=listener)
    assert mail.recipient(BILL.username) is None
    for name, value in headers:
        mail.header(name, value, 10)
    assert (ClearSender() in mail.end().actions) is no_sender


def changes(outcome: Outcome) -> list[tuple[str, int, str]]:
    """Name, number and value of the header fields that a mail has otherwise."""
    actions = outcome.actions
    return [(action.name, action.number, action.value) for action in actions if isinstance(action, ChangeHeader)]


def inserted(outcome: Outcome) -> list[InsertHeader]:
    return [action for action in outcome.actions if isinstance(action, InsertHeader)]


REDIRECTED = ("X-Sieve-Redirected-From", " taro@Acme.example")
THROUGH_DOVECOT = (("Delivered-To", " taro+box@Acme.example"), ("Received", " by LMTP\n\tfor <taro@Acme.example>; Sun"))


@pytest.mark.parametrize(
    ("headers", "listener", "changed"),
    [
        ((("From", " <taro@Acme.example>"), SUBMITTED), "own", [("From", 1, " <taro@acme.example>")]),
        ((("From", " <me@far.Example>"), SUBMITTED), "own", []),
        # Of what its user says nothing is changed.
        ((("From", " <taro+box@Acme.example>"), SUBMITTED), "own", [("From", 1, " <taro+box@acme.example>")]),
        ((("From", " Taro <taro@ACME.example>"), SUBMITTED, ("Subject", " <taro@Acme.example>")), "own", []),
        ((("From", " <taro@Acme.example>"), SUBMITTED), "smtp", []),
        (
            (("Received", " by another"), REDIRECTED, *THROUGH_DOVECOT, ("From", " <taro@Acme.example>")),
            "own",
            [
                (REDIRECTED[0], 1, " taro@acme.example"),
                ("Delivered-To", 1, " taro+box@acme.example"),
                ("Received", 2, " by LMTP\n\tfor <taro@acme.example>; Sun"),
            ],
        ),
        ((("X-Sieve-Redirected-From", " bill@bolt.example"), *THROUGH_DOVECOT), "own", []),
    ],
)
def test_what_filters_send_says_a_name_as_people_write_it(
    gate: Gate, headers: tuple[tuple[str, str], ...], listener: str, changed: list[tuple[str, int, str]]
) -> None:
    mail = begun(gate, sender=TARO.username, written_sender=TARO.username, listener=listener)
    assert mail.recipient(BILL.username) is None
    for name, value in headers:
        mail.header(name, value, 10)
    assert changes(mail.end()) == changed


DEMANDED = ("Date", "From", "Message-ID")


def added(gate: Gate, *names: str, to: str = "a@far.example", **attributes: Any) -> dict[str, str]:
    """What a mail with fields of these names gets."""
    mail = begun(gate, **attributes)
    assert [mail.begin(), mail.recipient(to)] == [None, None]
    for name in names:
        mail.header(name, " x", len(name) + 5)
    actions = mail.end().actions
    return {action.name: action.value for action in actions if isinstance(action, AddHeader)}


def test_what_our_peoples_programs_leave_out_is_added(gate: Gate, told: Told, server: Server) -> None:
    tokyo = replace(gate, zone=ZoneInfo("Asia/Tokyo"))
    ours = {
        "login": TARO.username,
        "listener": "submission",
        "written_sender": "Sales@acme.example",
        "host": "mx1.example",
    }
    found = added(tokyo, "Subject", **ours)
    assert tuple(found) == DEMANDED
    assert found["From"] == "Sales@acme.example"
    written = parsedate_to_datetime(found["Date"])
    assert written.utcoffset() == timedelta(hours=9)
    assert abs((written - datetime.now(UTC)).total_seconds()) < 60
    assert re.fullmatch(r"<\d{14}\.Q@mx1\.example>", found["Message-ID"])
    assert list(added(gate, "DATE", "from", login=TARO.username)) == ["Message-ID"]
    assert added(gate, *DEMANDED, login=TARO.username) == {}
    # A receipt has no sender.
    assert added(gate, sender="", login=TARO.username)["From"] == TARO.username
    told.logins = [TARO.username]
    server.ask("SET", f"mh:1:login:192.0.2.7/{TARO.username}", 1)
    assert tuple(added(gate, sender=TARO.username, written_sender=TARO.username)) == DEMANDED


def test_what_others_write_stays_as_it_is(gate: Gate) -> None:
    assert added(gate, "Subject", to=BILL.username) == {}
    # A stranger who names us has logged in nowhere.
    assert added(gate, to=BILL.username, sender=TARO.username, written_sender=TARO.username) == {}
    assert added(gate, sender=TARO.username, written_sender=TARO.username, listener="own") == {}


def ended(gate: Gate, *recipients: str, **attributes: Any) -> Outcome:
    mail = begun(gate, **attributes)
    assert not any([mail.begin(), *(mail.recipient(to) for to in recipients)])
    return mail.end()


@pytest.mark.parametrize(
    ("recipients", "told_to"),
    [
        (["Sales@acme.example"], "Sales@acme.example"),
        (["<sales+box@acme.example>"], "sales+box@acme.example"),
        (["kept@acme.example"], "kept@acme.example"),
        # The mailbox's own address, which Dovecot says.
        (["Taro+box@acme.example"], None),
        # Nobody of ours gets it.
        (["a@far.example"], None),
        (["ken@acme.example"], None),
        # Others would get to know who else got it.
        (["sales@acme.example", "bill@bolt.example"], None),
        (["sales@acme.example", "postmaster"], None),
        (["sales\n@acme.example"], None),
    ],
)
def test_a_mailbox_is_told_which_address_a_mail_came_for(
    gate: Gate, told: Told, recipients: list[str], told_to: str | None
) -> None:
    for alias in ("sales@acme.example", "sales\n@acme.example"):
        told.ends[alias] = Destinations((LocalTarget(TARO, ACME, 0),), ())
    told.ends["kept@acme.example"] = Destinations((LocalTarget(TARO, ACME, 0),), (ExternalTarget(13, ACME),))
    expected = [] if told_to is None else [InsertHeader("X-Original-To", told_to)]
    assert inserted(ended(gate, *recipients, login=TARO.username)) == expected


def test_a_recipient_that_was_refused_hides_nothing(gate: Gate, told: Told) -> None:
    told.ends["sales@acme.example"] = Destinations((LocalTarget(TARO, ACME, 0),), ())
    told.tenants[BOLT] = tenant(BOLT, receive_limits=at_most(0))
    mail = begun(gate)
    assert mail.begin() is None
    assert mail.recipient(BILL.username) is not None
    assert mail.recipient("sales@acme.example") is None
    assert inserted(mail.end()) == [InsertHeader("X-Original-To", "sales@acme.example")]


@pytest.mark.parametrize("who", [{"login": TARO.username}, {"listener": "local", "sender": "root@host.example"}])
def test_a_host_counts_each_mail_it_sends_once(gate: Gate, who: dict[str, Any]) -> None:
    few = replace(gate, host_limits={"send": at_most(3), "receive": ()})
    assert [sent(few, "a@far.example", **who) for _mail in range(4)] == ["250"] * 3 + ["423"]


@pytest.mark.parametrize(
    ("who", "recipients", "count"),
    [
        ({"login": TARO.username}, ["a@far.example"], 1),
        ({"login": TARO.username}, ["a@far.example", "b@far.example", BILL.username], 3),
        ({"login": TARO.username}, ["ken@acme.example"], 1),
        ({"login": TARO.username}, ["sales@acme.example"], 2),
        ({}, ["ken@acme.example", "sales@acme.example", BILL.username], 3),
        ({"listener": "local", "sender": "root@host.example"}, ["a@far.example", TARO.username], 1),
    ],
)
def test_what_a_host_sends_is_counted_by_recipients(
    gate: Gate, told: Told, server: Server, who: dict[str, Any], recipients: list[str], count: int
) -> None:
    targets = (ExternalTarget(13, ACME), ExternalTarget(13, ACME))
    told.ends["sales@acme.example"] = Destinations((), targets)
    many = replace(gate, host_limits={"send": at_most(9, "recipients"), "receive": at_most(9)})
    assert sent(many, *recipients, **who) == "250"
    assert server.ask("HGET", "mh:1:rate:host:0:send:recipients:3600", "n") == str(count).encode()


def test_a_host_counts_what_it_receives_once(gate: Gate, told: Told, server: Server) -> None:
    told.ends["both@acme.example"] = Destinations((LocalTarget(TARO, ACME, 0), LocalTarget(BILL, BOLT, 0)), ())
    limits = (*at_most(2), *at_most(9, "recipients"))
    few = replace(gate, host_limits={"send": at_most(0), "receive": limits})
    codes = [sent(few, "both@acme.example", HANAKO.username) for _mail in range(3)]
    assert codes == ["250", "250", "423"]
    assert server.ask("HGET", "mh:1:rate:host:0:receive:recipients:3600", "n") == b"6"


def test_all_of_a_large_domain_is_enough_for_one_mail(gate: Gate, told: Told) -> None:
    crowd = tuple(LocalTarget(Mailbox(number, f"u{number}@acme.example"), ACME, 0) for number in range(20000))
    told.ends["all@acme.example"] = Destinations(crowd, ())
    mail = begun(gate)
    written = ["all@acme.example", "all+again@acme.example", BILL.username, "a@far.example"]
    assert [mail.recipient(to) for to in written] == [None, TOO_MANY, TOO_MANY, TOO_MANY]
    assert mail.end().reply is None
    mail = begun(gate)
    written = [BILL.username, "all@acme.example", "a@far.example"]
    assert [mail.recipient(to) for to in written] == [None, TOO_MANY, None]


def test_sizes_are_told_at_mail_at_rcpt_and_at_the_end(gate: Gate, told: Told) -> None:
    told.tenants[ACME] = tenant(ACME, max_message_size=1000)
    assert begun(gate, login=TARO.username, declared_size=1001).begin() == TEXTS.message_size
    assert begun(gate, declared_size=1001).recipient(TARO.username) == TEXTS.message_size
    assert begun(gate, declared_size=1001).recipient(BILL.username) is None
    assert [sent(gate, TARO.username, size=size) for size in (998, 999)] == ["250", "552"]
    assert sent(gate, TARO.username, BILL.username, size=999) == "552"


def test_the_hosts_size_is_that_of_a_plan_without_one(gate: Gate, told: Told) -> None:
    """Another's plan may be larger: Postfix takes what that takes."""
    told.tenants[ACME] = tenant(ACME, max_message_size=1000)
    gate = replace(gate, message_size_limit=500)
    assert begun(gate, declared_size=501).recipient(BILL.username) == TEXTS.message_size
    assert begun(gate, declared_size=501).recipient(TARO.username) is None
    assert [sent(gate, BILL.username, size=size) for size in (498, 499)] == ["250", "552"]


def test_a_full_mailbox_is_refused_alone(gate: Gate, told: Told, server: Server) -> None:
    told.ends[TARO.username] = Destinations((LocalTarget(TARO, ACME, 5000),), ())
    told.ends["both@acme.example"] = Destinations((LocalTarget(TARO, ACME, 5000), LocalTarget(HANAKO, ACME, 0)), ())
    server.ask("SET", f"mh:1:usage:11/{TARO.username}/quota/storage", 4999)
    assert begun(gate).recipient(TARO.username) is None
    server.ask("SET", f"mh:1:usage:11/{TARO.username}/quota/storage", 5000)
    assert begun(gate).recipient(TARO.username) == TEXTS.full
    assert begun(gate).recipient("both@acme.example") is None
    mail = begun(gate)
    assert [mail.recipient(HANAKO.username), mail.recipient(TARO.username)] == [None, TEXTS.full]
    assert mail.end().reply is None


def fill(server: Server, mailbox: Mailbox, used: int) -> None:
    server.ask("SET", f"mh:1:usage:{mailbox.account_id}/{mailbox.username}/quota/storage", used)


@pytest.fixture
def full_pool(told: Told, server: Server) -> int:
    """ACME has room for one mail of 1,000 octets; how many octets are in use."""
    told.tenants[ACME] = tenant(ACME, quota=10_000)
    for mailbox, used in ((TARO, 7_000), (HANAKO, 0), (BILL, 0)):
        fill(server, mailbox, used)
    return 7_000


@pytest.mark.usefixtures("full_pool")
@pytest.mark.parametrize(
    "ways",
    [
        Destinations((LocalTarget(TARO, ACME, 0),), ()),
        Destinations((LocalTarget(TARO, ACME, 0),), (ExternalTarget(11, ACME),)),
        Destinations((LocalTarget(TARO, ACME, 0), LocalTarget(BILL, BOLT, 0)), ()),
    ],
    ids=["a mailbox", "a mailbox and elsewhere", "mailboxes of two tenants"],
)
def test_a_full_pool_refuses_a_recipient_whatever_else_it_leads_to(gate: Gate, told: Told, ways: Destinations) -> None:
    told.ends["sales@acme.example"] = ways
    assert begun(gate, declared_size=1000).recipient("sales@acme.example") is None
    mail = begun(gate, declared_size=5000)
    answers = [mail.recipient(to) for to in (BILL.username, "sales@acme.example", "a@far.example")]
    assert answers == [None, TEXTS.full, None]
    assert mail.end().reply is None
    assert sent(gate, "sales@acme.example", size=5000) == "452"


@pytest.mark.usefixtures("full_pool")
@pytest.mark.parametrize("declared", [0, 1])
@pytest.mark.parametrize("other", [BILL.username, "a@far.example"])
def test_at_the_end_a_full_pool_refuses_all_of_the_mail(gate: Gate, server: Server, declared: int, other: str) -> None:
    assert sent(gate, other, TARO.username, size=5000, declared_size=declared, login=BILL.username) == "452"
    for pattern in ("mh:1:day:*", "mh:1:rate:*", "mh:1:room:*"):
        assert server.ask("KEYS", pattern) == []
    assert sent(gate, other, TARO.username, size=1000, declared_size=declared, login=BILL.username) == "250"


@pytest.mark.usefixtures("full_pool")
def test_a_pool_that_fills_after_its_recipient_is_no_matter_of_the_next(gate: Gate, server: Server) -> None:
    mail = begun(gate, declared_size=1000)
    assert mail.recipient(HANAKO.username) is None
    fill(server, TARO, 9_999)
    server.ask("DEL", f"mh:1:total:{ACME}")
    assert mail.recipient(BILL.username) is None
    assert mail.end().reply == TEXTS.full


def test_usage_that_is_not_known_is_not_zero_and_refuses_nobody(gate: Gate, told: Told, server: Server) -> None:
    told.ends[TARO.username] = Destinations((LocalTarget(TARO, ACME, 1),), ())
    assert sent(gate, TARO.username) == "250"
    assert server.ask("SMEMBERS", "mh:1:usage:wanted") == [TARO.username.encode()]


def test_what_is_counted_of_a_day(gate: Gate, server: Server) -> None:
    assert sent(gate, BILL.username, "a@far.example", login=TARO.username, size=98) == "250"
    found: dict[bytes, dict[bytes, bytes]] = {}
    for key in cast("list[bytes]", server.ask("KEYS", "mh:1:day:*")):
        pairs = cast("list[bytes]", server.ask("HGETALL", key.decode()))
        found[key.rpartition(b":")[2]] = dict(zip(pairs[::2], pairs[1::2], strict=True))
    assert found == {
        b"1": {b"sent_messages": b"1", b"sent_recipients": b"2", b"sent_bytes": b"100"},
        b"2": {b"received_messages": b"1", b"received_recipients": b"1", b"received_bytes": b"100"},
    }


def test_a_rejected_recipient_is_counted_of_the_day(gate: Gate, told: Told, server: Server) -> None:
    told.tenants[BOLT] = tenant(BOLT, receive_limits=at_most(0))
    assert sent(gate, "a@far.example", BILL.username, login=TARO.username) == "423"
    counts = {}
    for key in cast("list[bytes]", server.ask("KEYS", "mh:1:day:*")):
        counts[key.rpartition(b":")[2]] = server.ask("HGETALL", key.decode())
    assert counts == {b"1": [b"sent_refused", b"1"], b"2": [b"received_refused", b"1"]}


def test_without_valkey_mail_flows(gate: Gate, told: Told, server: Server) -> None:
    told.tenants[ACME] = tenant(ACME, receive_limits=at_most(0))
    assert sent(gate, TARO.username) == "423"
    with server.hung():
        assert sent(gate, TARO.username) == "250"


def test_without_the_directory_mail_is_put_off(gate: Gate, told: Told) -> None:
    told.down = True
    assert begun(gate, login=TARO.username).begin() == TRY_LATER
    assert begun(gate).recipient(TARO.username) == TRY_LATER
    assert gate.may_log_in("192.0.2.7") == TRY_LATER
    told.down = False
    assert gate.may_log_in("192.0.2.7") is None
