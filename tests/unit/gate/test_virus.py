# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the check does with a mail that a plan scans; the scanner is a list of its reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import pytest
from mailhosting.common import keys
from mailhosting.common.errors import DirectoryError, ScannerError
from mailhosting.gate.checks.base import (
    Action,
    AddHeader,
    AddRecipient,
    DeleteRecipient,
    InsertHeader,
    RemoveHeader,
    ReplaceBody,
)
from mailhosting.gate.context import Gate
from mailhosting.gate.mail import OWN_LISTENER
from mailhosting.gate.model import TRY_LATER, Destinations, ExternalTarget, LocalTarget, VirusPolicy
from mailhosting.gate.outbreak import OutbreakGuard
from mailhosting.gate.quarantine import Original, Quarantine, QuarantineError
from mailhosting.gate.scan.findings import CONTENT, PARTS, UNPACKED, Finding, Limits, Report, ScannedPart
from mailhosting.gate.scanner import Scanner
from mailhosting.gate.spool import Spool, Spools
from mailhosting.gate.transaction import Outcome, Transaction

from .test_transaction import ACME, BILL, BOLT, HANAKO, TARO, Told, at_most, begun, gate, tenant, told
from .test_virus_policy import CHECK

__all__ = ["gate", "told"]

HEADER: Final = (
    ("From", " x@far.example"),
    ("Subject", " =?utf-8?Q?=E7=A5=9E?="),
    ("Content-Type", ' multipart/mixed;\n boundary="b"'),
)
FILE: Final = b"Content-Type: application/zip; name=a.zip\r\n\r\nUEsDBA==\r\n"
BODY: Final = b"--b\r\n\r\nHello\r\n\r\n--b\r\n" + FILE + b"\r\n--b--\r\n"
FIELDS: Final = (
    b'From: x@far.example\r\nSubject: =?utf-8?Q?=E7=A5=9E?=\r\nContent-Type: multipart/mixed;\r\n boundary="b"\r\n'
)
WHOLE: Final = FIELDS + b"\r\n" + BODY


def _parts() -> tuple[ScannedPart, ...]:
    body_at, file_at = len(FIELDS) + 2, WHOLE.index(FILE)
    return (
        ScannedPart(0, 0, body_at, len(WHOLE), 0, "multipart/mixed", False, b"", ""),
        ScannedPart(1, body_at + 5, body_at + 7, body_at + 14, 1, "text/plain", False, b"", ""),
        ScannedPart(
            2, file_at, WHOLE.index(b"UEsDBA"), file_at + len(FILE), 1, "application/zip", True, b"name=a.zip", ""
        ),
    )


CLEAN: Final = Report(_parts(), ())
EICAR: Final = Finding("virus", "Eicar", 2)
INFECTED: Final = Report(_parts(), (EICAR,))


@dataclass
class Reports:
    """Answers with one report after the other, the last one on and on, or fails; remembers what it was asked."""

    spools: Any
    answers: list[Report | Exception] = field(default_factory=lambda: [CLEAN])
    octets: list[bytes] = field(default_factory=list)
    limits: list[Limits] = field(default_factory=list)

    def examine(self, spool: Spool, limits: Limits, _deadline: float) -> Report:
        spool.file.seek(0)
        self.octets.append(spool.file.read())
        self.limits.append(limits)
        answer = self.answers.pop(0) if self.answers[1:] else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Kept:
    """A quarantine that remembers for whom it keeps what."""

    originals: list[tuple[bytes, Original]] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    is_full: bool = False

    def keep(self, spool: Any, about: Original) -> tuple[int, ...]:
        if self.is_full:
            raise QuarantineError("the quarantine: full")
        spool.seek(0)
        self.originals.append((spool.read(), about))
        return (7,)

    def drop(self, ids: Sequence[int]) -> None:
        self.dropped += ids


@dataclass
class Guard:
    """Verdicts by name."""

    verdicts: dict[str, str] = field(default_factory=dict)

    def verdict(self, name: str, _tenant_id: int) -> str:
        return self.verdicts.get(name, "accepted")


@dataclass
class Host:
    """A gate with a scanner, and what it may be told."""

    gate: Gate
    told: Told
    scanner: Reports
    quarantine: Kept
    guard: Guard

    def plan(self, number: int, inbound: Any = "strip", outbound: Any = "strip", **settings: Any) -> None:
        """Have a tenant's mail scanned; of `notify` each direction has its own."""
        received = VirusPolicy(inbound, inbound, settings.pop("notify_in", ("recipient",)))
        sent = VirusPolicy(outbound, outbound, settings.pop("notify_out", ("sender",)))
        check = replace(CHECK, inbound=received, outbound=sent, **settings)
        self.told.tenants[number] = tenant(number, virus=check)

    def mail(self, *recipients: str, **about: Any) -> Outcome:
        """What becomes of a mail."""
        return self.coming(*recipients, **about).end()

    def coming(
        self, *recipients: str, header: tuple[tuple[str, str], ...] = HEADER, sender: str = "x@far.example", **who: Any
    ) -> Transaction:
        """A mail whose end is to come."""
        transaction = begun(self.gate, sender=sender, written_sender=sender, **who)
        assert transaction.begin() is None
        for recipient in recipients:
            assert transaction.recipient(recipient, f"<{recipient.upper()}>") is None
        for name, value in header:
            transaction.header(name, value, len(name) + len(value) + 3)
        transaction.body(BODY)
        return transaction


@pytest.fixture
def host(gate: Gate, told: Told, tmp_path: Path) -> Host:
    found = Host(gate, told, Reports(Spools(str(tmp_path), 1 << 20)), Kept(), Guard())
    found.gate = replace(
        gate,
        scanner=cast("Scanner", found.scanner),
        quarantine=cast("Quarantine", found.quarantine),
        outbreak=cast("OutbreakGuard", found.guard),
    )
    return found


def body_of(outcome: Outcome) -> bytes:
    (replaced,) = [action for action in outcome.actions if isinstance(action, ReplaceBody)]
    return b"".join(replaced.chunks())


def others(outcome: Outcome) -> list[Action]:
    return [action for action in outcome.actions if not isinstance(action, ReplaceBody)]


def removed(virus: str = "Eicar") -> InsertHeader:
    return InsertHeader("X-Virus-Check", f"removed ({virus})")


def test_mail_that_no_plan_scans_costs_nothing(host: Host) -> None:
    host.scanner.spools = None
    assert host.mail(TARO.username) == Outcome()
    assert host.mail("a@far.example", login=BILL.username, sender=BILL.username).reply is None
    assert host.scanner.octets == []


def test_a_clean_mail_passes_as_it_is(host: Host) -> None:
    host.plan(ACME, max_unpacked_size=60, max_content_size=50)
    assert host.mail(TARO.username) == Outcome()
    assert host.scanner.octets == [WHOLE]
    assert host.scanner.limits == [Limits(unpacked=60, content=50)]
    assert host.told.warnings == []


def test_a_mail_without_header_and_body_passes(host: Host) -> None:
    host.plan(ACME)
    transaction = begun(host.gate)
    assert [transaction.begin(), transaction.recipient(TARO.username)] == [None, None]
    assert transaction.end() == Outcome()
    assert host.scanner.octets == [b"\r\n"]


@pytest.mark.requirement("VM-12")
def test_an_infected_part_is_taken_out_and_the_rest_examined_again(host: Host) -> None:
    host.plan(ACME)
    host.scanner.answers = [INFECTED, CLEAN]
    outcome = host.mail(TARO.username)
    body = body_of(outcome)
    assert others(outcome) == [removed()]
    assert host.scanner.octets[1] == FIELDS + b"\r\n" + body
    assert body.startswith(BODY[: BODY.index(FILE)])
    assert b"DELETED1.TXT" in body
    assert b"UEsDBA" not in body
    assert host.told.warnings == [("virus_received", ACME, TARO.account_id, "strip")]


@pytest.mark.requirement("VM-16")
def test_what_is_still_infected_loses_its_whole_body_and_is_rejected_only_then(host: Host) -> None:
    host.plan(ACME)
    host.scanner.answers = [INFECTED, INFECTED, CLEAN]
    outcome = host.mail(TARO.username)
    assert body_of(outcome).startswith(b"DELETED1.TXT: ")
    assert others(outcome)[0] == RemoveHeader("content-type", 1)
    assert [action.name for action in others(outcome) if isinstance(action, AddHeader)] == [
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
        "Content-Disposition",
    ]
    host.scanner.answers = [INFECTED]
    assert host.mail(TARO.username) == Outcome(host.gate.texts.virus)


@pytest.mark.requirement("WA-3")
def test_a_deleted_mail_is_taken_and_counts_for_nobody(host: Host) -> None:
    host.plan(ACME, "delete")
    host.told.tenants[ACME] = replace(host.told.tenants[ACME], receive_limits=at_most(1))
    host.scanner.answers = [INFECTED]
    assert [host.mail(TARO.username) for _mail in range(3)] == [Outcome(discard=True)] * 3
    assert host.told.warnings == [("virus_received", ACME, TARO.account_id, "delete")] * 3
    host.scanner.answers = [CLEAN]
    assert host.mail(TARO.username) == Outcome()


def test_who_does_not_get_the_mail_is_taken_out_of_it(host: Host) -> None:
    host.plan(ACME)
    host.plan(BOLT, "delete")
    host.scanner.answers = [INFECTED, CLEAN]
    outcome = host.mail(TARO.username, BILL.username)
    assert others(outcome)[:2] == [DeleteRecipient("<BILL@BOLT.EXAMPLE>"), removed()]
    assert host.told.warnings == [
        ("virus_received", ACME, TARO.account_id, "strip"),
        ("virus_received", BOLT, BILL.account_id, "delete"),
    ]


def test_who_is_taken_out_is_not_counted(host: Host) -> None:
    host.plan(ACME)
    host.plan(BOLT, "delete")
    host.told.tenants[BOLT] = replace(host.told.tenants[BOLT], receive_limits=at_most(1))
    host.scanner.answers = [INFECTED, CLEAN] * 3
    assert [host.mail(TARO.username, BILL.username).reply for _mail in range(3)] == [None] * 3


def test_who_keeps_the_mail_without_a_scan_gets_what_others_get(host: Host) -> None:
    host.plan(BOLT, "delete")
    host.scanner.answers = [INFECTED]
    outcome = host.mail(TARO.username, BILL.username)
    # One recipient is left, and so the mail says what it came for.
    assert outcome.actions == (DeleteRecipient("<BILL@BOLT.EXAMPLE>"),)


def test_an_error_is_only_for_a_mail_that_all_reject(host: Host) -> None:
    host.plan(ACME, "reject")
    host.plan(BOLT, "reject")
    host.scanner.answers = [INFECTED]
    assert host.mail(TARO.username, BILL.username) == Outcome(host.gate.texts.virus)
    assert [warning[0] for warning in host.told.warnings] == ["virus_received"] * 2
    host.plan(BOLT, "delete")
    assert host.mail(TARO.username, BILL.username) == Outcome(discard=True)


def test_a_recipient_that_is_no_address_keeps_the_mail(host: Host) -> None:
    host.plan(ACME, "reject")
    host.scanner.answers = [INFECTED]
    assert host.mail(TARO.username, "root").actions[0] == DeleteRecipient(f"<{TARO.username.upper()}>")


@pytest.mark.parametrize(
    ("finding", "settings", "text"),
    [
        (EICAR, {}, "virus"),
        (Finding("heuristic", "Heuristics.X", 2), {"heuristics": "reject"}, "suspicious"),
        (Finding("encrypted", "ZIP", 2), {"encrypted": "reject"}, "encrypted"),
        (Finding("unreadable", "RAR", 2), {"unreadable": "reject"}, "unreadable"),
        (Finding("partial", "partial", 0), {}, "partial"),
        (Finding("file_type", "executable", 2), {"reject_files": ("executable",)}, "file_type"),
        (Finding("limit", UNPACKED, 2), {}, "unpacked_size"),
        (Finding("limit", CONTENT, 0), {}, "content_size"),
        (Finding("limit", PARTS, 0), {}, "structure"),
    ],
)
def test_the_reply_says_what_was_found(host: Host, finding: Finding, settings: dict[str, Any], text: str) -> None:
    host.plan(ACME, "reject", **settings)
    host.scanner.answers = [Report(_parts(), (finding,))]
    assert host.mail(TARO.username) == Outcome(getattr(host.gate.texts, text))
    # Of mail that is refused for something else than a virus its sender hears, and nobody else.
    assert bool(host.told.warnings) is (finding.kind in ("virus", "heuristic"))


@pytest.mark.requirement("WA-6")
def test_a_mail_beyond_a_limit_is_rejected_for_all(host: Host) -> None:
    host.plan(ACME, "strip")
    host.scanner.answers = [Report(_parts(), (EICAR, Finding("limit", UNPACKED, 2)))]
    assert host.mail(TARO.username, BILL.username) == Outcome(host.gate.texts.unpacked_size)


@pytest.mark.parametrize("error", [ScannerError("clamd: no reply"), DirectoryError("the directory: gone")])
def test_a_mail_that_cannot_be_examined_waits(host: Host, error: Exception) -> None:
    host.plan(ACME)
    host.scanner.answers = [error]
    assert host.mail(TARO.username) == Outcome(TRY_LATER)
    host.scanner.answers = [INFECTED, error]
    assert host.mail(TARO.username) == Outcome(TRY_LATER)
    assert host.told.warnings == []


def test_a_plan_that_scans_since_the_mail_began_has_it_wait(host: Host) -> None:
    transaction = begun(host.gate)
    assert [transaction.begin(), transaction.recipient(TARO.username)] == [None, None]
    host.plan(ACME)
    transaction.mail.recipients[0] = host.told.destinations(cast("Any", TARO.username.split("@")))
    assert transaction.end() == Outcome(TRY_LATER)


@pytest.mark.requirement("VM-14")
def test_a_stripped_mail_is_not_forwarded_elsewhere(host: Host) -> None:
    host.plan(ACME)
    host.told.ends["sales@acme.example"] = Destinations(
        (LocalTarget(TARO, ACME, 0),), (ExternalTarget(13, ACME), ExternalTarget(None, ACME))
    )
    host.scanner.answers = [INFECTED, CLEAN]
    assert others(host.mail("sales@acme.example"))[:3] == [
        DeleteRecipient("<SALES@ACME.EXAMPLE>"),
        AddRecipient(f"<{TARO.account_id}@acme.example.mailbox.invalid>"),
        AddRecipient("<13@acme.example.mailbox.invalid>"),
    ]
    # A clean one is.
    actions = host.mail("sales@acme.example").actions
    assert not any(isinstance(action, DeleteRecipient | AddRecipient) for action in actions)


def test_an_alias_that_leads_only_elsewhere_has_its_contact_told(host: Host) -> None:
    host.plan(ACME)
    host.told.ends["out@acme.example"] = Destinations((), (ExternalTarget(None, ACME),))
    host.scanner.answers = [INFECTED, CLEAN]
    assert host.mail("out@acme.example") == Outcome(discard=True)
    assert host.told.warnings == [("virus_received", ACME, None, "delete")]


@pytest.mark.requirement("VM-12")
def test_what_people_here_send_elsewhere_is_stripped_and_sent(host: Host) -> None:
    host.plan(ACME)
    host.scanner.answers = [INFECTED, CLEAN]
    outcome = host.mail("a@far.example", login=TARO.username, sender=TARO.username, listener="submission")
    assert b"DELETED1.TXT" in body_of(outcome)
    assert not any(isinstance(action, DeleteRecipient) for action in outcome.actions)
    assert host.told.warnings == [("virus_sent", ACME, TARO.account_id, "strip")]


SAME, OTHER = HANAKO.username, BILL.username


@pytest.mark.requirement("WA-3")
@pytest.mark.parametrize(
    ("sender", "who", "recipient", "expected"),
    [
        (TARO.username, {"login": TARO.username, "listener": "submission"}, SAME, ["virus_received", "virus_sent"]),
        (TARO.username, {"login": TARO.username, "listener": "submission"}, OTHER, ["virus_sent"]),
        (TARO.username, {"listener": "local"}, OTHER, ["virus_sent"]),
        # Of a stranger's mail only the recipient hears, whoever it says that it is from.
        (TARO.username, {}, SAME, ["virus_received"]),
        ("x@far.example", {}, SAME, ["virus_received"]),
    ],
    ids=["to the same domain", "to another domain", "by a web form", "with a forged sender", "from elsewhere"],
)
def test_warnings_as_webarena_has_them(
    host: Host, sender: str, who: dict[str, Any], recipient: str, expected: list[str]
) -> None:
    for number in (ACME, BOLT):
        host.plan(number, "delete", "delete", notify_out=("sender", "recipient_same_domain"))
    host.scanner.answers = [INFECTED]
    assert host.mail(recipient, sender=sender, **who) == Outcome(discard=True)
    assert sorted(warning[0] for warning in host.told.warnings) == expected


def test_a_sender_without_a_mailbox_has_the_contact_told(host: Host) -> None:
    host.plan(ACME, outbound="delete", notify_out=("sender", "contact"))
    host.scanner.answers = [INFECTED]
    assert host.mail(BILL.username, sender="form@acme.example", listener="local") == Outcome(discard=True)
    assert host.told.warnings == [("virus_sent", ACME, None, "delete")]


def test_who_is_named_twice_is_warned_once(host: Host) -> None:
    host.plan(ACME, "delete", notify_in=("recipient", "contact"))
    host.told.ends["sales@acme.example"] = host.told.ends[TARO.username]
    host.scanner.answers = [INFECTED]
    host.mail(TARO.username, "sales@acme.example")
    assert host.told.warnings == [
        ("virus_received", ACME, TARO.account_id, "delete"),
        ("virus_received", ACME, None, "delete"),
    ]


def test_nobody_is_warned_of_a_mail_that_another_check_rejects(host: Host) -> None:
    host.plan(ACME, keep=60)
    host.told.tenants[ACME] = replace(host.told.tenants[ACME], receive_limits=at_most(1))
    host.scanner.answers = [INFECTED, CLEAN, INFECTED, CLEAN]
    first, second = host.coming(TARO.username), host.coming(TARO.username)
    assert first.end().reply is None
    assert len(host.told.warnings) == 1
    assert second.end().reply == host.gate.texts.limit
    assert (len(host.told.warnings), len(host.quarantine.originals)) == (1, 1)


def marked(kind: Any, name: str) -> Report:
    return Report(_parts(), (Finding(kind, name, 2),))


def test_what_could_not_be_checked_is_marked(host: Host) -> None:
    host.plan(ACME, encrypted="mark")
    host.scanner.answers = [marked("encrypted", "Z\u00e9P" * 400)]
    (mark,) = host.mail(TARO.username).actions
    assert isinstance(mark, InsertHeader)
    assert mark.value.startswith("encrypted (Z?PZ?P")
    assert len(mark.value) == 900


def test_the_original_is_kept_for_those_whose_plan_says_so(host: Host) -> None:
    host.plan(ACME, keep=60)
    host.plan(BOLT, "quarantine", keep=90)
    host.scanner.answers = [INFECTED, CLEAN]
    host.mail(TARO.username, BILL.username)
    ((octets, original),) = host.quarantine.originals
    assert octets == WHOLE
    assert (original.direction, original.policy, original.findings) == ("inbound", "quarantine", (EICAR,))
    assert [(holder.tenant_id, holder.account_id, holder.seconds) for holder in original.holders] == [
        (ACME, TARO.account_id, 60),
        (BOLT, BILL.account_id, 90),
    ]


def test_what_is_sent_is_kept_for_its_sender(host: Host) -> None:
    host.plan(ACME, outbound="quarantine", keep=60)
    host.scanner.answers = [INFECTED]
    outcome = host.mail("a@far.example", login=TARO.username, sender=TARO.username, listener="submission")
    assert outcome == Outcome(discard=True)
    ((_octets, original),) = host.quarantine.originals
    assert original.direction == "outbound"
    assert [(holder.account_id, holder.seconds) for holder in original.holders] == [(TARO.account_id, 60)]


@pytest.mark.requirement("VM-16")
def test_nothing_is_kept_by_a_plan_that_keeps_nothing(host: Host) -> None:
    host.plan(ACME, keep=0)
    host.scanner.answers = [INFECTED, CLEAN]
    assert host.mail(TARO.username).reply is None
    assert host.quarantine.originals == []


def test_a_mail_whose_original_cannot_be_kept_waits(host: Host) -> None:
    host.plan(ACME, keep=60)
    host.quarantine.is_full = True
    host.scanner.answers = [INFECTED, CLEAN]
    assert host.mail(TARO.username) == Outcome(TRY_LATER)
    assert host.told.warnings == []


def test_what_was_kept_of_a_mail_that_waits_is_forgotten(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_warning: Any) -> None:
        raise DirectoryError("the directory: gone")

    host.plan(ACME, keep=60)
    host.scanner.answers = [INFECTED, CLEAN]
    monkeypatch.setattr(host.told, "warn", fail)
    assert host.mail(TARO.username) == Outcome(TRY_LATER)
    assert host.quarantine.dropped == [7]


@pytest.mark.parametrize(
    ("verdict", "expected"), [("deferred", Outcome(TRY_LATER)), ("ignored", Outcome()), ("accepted", None)]
)
def test_a_name_that_hits_many_tenants_waits_for_an_operator(
    host: Host, verdict: str, expected: Outcome | None
) -> None:
    host.plan(ACME)
    host.guard.verdicts = {"Eicar": verdict}
    host.scanner.answers = [INFECTED, INFECTED, CLEAN] if expected is None else [INFECTED]
    outcome = host.mail(TARO.username)
    assert outcome == expected or (expected is None and body_of(outcome))


REDIRECT: Final = ("X-Sieve-Redirected-From", f" {TARO.username}")


def test_what_a_filter_sends_is_scanned_by_its_accounts_plan(host: Host) -> None:
    host.plan(ACME, outbound="delete")
    host.scanner.answers = [INFECTED]
    who = {"listener": OWN_LISTENER, "header": (REDIRECT, *HEADER)}
    assert host.mail("a@far.example", **who) == Outcome(discard=True)
    assert host.told.warnings == [("virus_sent", ACME, TARO.account_id, "delete")]
    host.told.tenants[ACME] = tenant(ACME)
    assert host.mail("a@far.example", **who).reply is None
    assert len(host.scanner.octets) == 1


def test_a_filter_does_not_send_on_what_was_stripped(host: Host) -> None:
    host.plan(ACME)
    stripped = (REDIRECT, ("X-Virus-Check", " removed (Eicar)"), *HEADER)
    assert host.mail("a@far.example", listener=OWN_LISTENER, header=stripped) == Outcome(discard=True)
    assert host.mail(HANAKO.username, listener=OWN_LISTENER, header=stripped).reply is None
    only_marked = (REDIRECT, ("X-Virus-Check", " encrypted (ZIP)"), *HEADER)
    assert host.mail("a@far.example", listener=OWN_LISTENER, header=only_marked).reply is None


def virus_counts(host: Host, number: int) -> dict[str, int]:
    """The counts of today that are about viruses."""
    names = ("virus_found", "virus_stripped", "virus_deleted", "virus_refused")
    key = keys.day(datetime.now(UTC).date(), number)
    (values,) = host.gate.valkey.ask(("HMGET", key, *names))
    counted = zip(names, cast("list[Any]", values), strict=True)
    return {name: int(value) for name, value in counted if value is not None}


def test_each_tenant_has_its_counts(host: Host) -> None:
    host.plan(ACME)
    host.plan(BOLT, "reject")
    host.scanner.answers = [INFECTED, CLEAN]
    host.mail(TARO.username, BILL.username)
    assert virus_counts(host, ACME) == {"virus_found": 1, "virus_stripped": 1}
    assert virus_counts(host, BOLT) == {"virus_found": 1, "virus_refused": 1}
