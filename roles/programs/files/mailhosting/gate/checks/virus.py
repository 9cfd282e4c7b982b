# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scans mail for viruses by the plans of all whom it concerns; takes out what is infected, or who does not get it."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from ...common.errors import DirectoryError, ScannerError
from .. import attribution, virus_records, virus_warnings
from ..context import Gate
from ..fields import REDIRECTED_FROM
from ..mail import OWN_LISTENER, Mail
from ..model import Destinations
from ..quarantine import QuarantineError
from ..scan.findings import Finding, Kind, Limits, Report
from ..scan.reader import MOST_SECONDS
from ..scan.strip import MESSAGE, strip
from ..scanner import Scanner
from ..spool import Spool
from ..virus_policy import ARRIVES, Concern, Fate, Judgement, concerns, exceeded, judge, limits
from ..virus_warnings import Decided, Recipient
from .base import (
    PASS,
    Action,
    AddHeader,
    AddRecipient,
    ContentCheck,
    DeleteRecipient,
    Discard,
    InsertHeader,
    Modify,
    Pass,
    Reject,
    RemoveHeader,
    ReplaceBody,
    Verdict,
)

LOG: Final = logging.getLogger(__name__)

#: The header field that says what was taken out of a mail, and what could not be checked.
MARK: Final = "X-Virus-Check"
_STRIPPED: Final = "removed"
#: People are warned of mail that is rejected for one of these.
_INFECTED: Final = ("virus", "heuristic")


class Virus(ContentCheck):
    """Reads a mail into a spool if a plan scans it, and applies the plans' policies to what the scan finds."""

    def __init__(self, gate: Gate, mail: Mail) -> None:
        super().__init__(gate, mail)
        self._is_scanned = False
        self._has_begun = False  # the body
        self._spool: Spool | None = None
        self._mime_fields: Counter[str] = Counter()
        self._subject = ""
        self._was_stripped = False
        self._report = Report((), ())
        self._decided: list[Decided] = []
        self._rejected_for: Kind | None = None
        self._deadline = 0.0
        self._kept: list[int] = []

    def recipient(self, latest: Destinations) -> Pass:
        """The mail is read only if a plan scans it."""
        self._is_scanned = self._is_scanned or any(tenant.virus for tenant in self.mail.tenants(latest))
        return PASS

    def header(self, name: str, value: str) -> None:
        """Spool a header field; of a filter's mail only the header says whose it is."""
        if not self._is_scanned and (self.mail.listener != OWN_LISTENER or self.gate.scanner is None):
            return
        self._written().header(name, value)
        known = name.lower()
        if known == "subject":
            self._subject = self._subject or value.strip()
        elif known.startswith("content-"):
            self._mime_fields[known] += 1
        elif known == MARK.lower():
            self._was_stripped = self._was_stripped or _STRIPPED in value

    def body(self, chunk: bytes) -> None:
        """Spool a piece of the body."""
        if not self._has_begun:
            self._has_begun = True
            self._is_scanned = self._is_scanned or self._filter_is_scanned()
            if not self._is_scanned:
                self._spool = None
        if self._is_scanned:
            spool = self._written()
            spool.begin_body()
            spool.write(chunk)

    def end(self) -> Verdict:
        """Scan the mail, and decide for each recipient."""
        sender = self.mail.owner.tenant if self.mail.owner else None
        concerned = [concerns(sender, recipient.tenants) for recipient in self.mail.recipients]
        everyone = tuple(dict.fromkeys(concern for of_recipient in concerned for concern in of_recipient))
        if not everyone:
            return PASS
        # One time for all of it: a stripped mail is examined again.
        self._deadline = time.monotonic() + MOST_SECONDS
        if self._may_not_go_on():
            return Discard("a filter may not send on what was infected", sender)
        strictest = limits(everyone)
        self._report = self._examine(self._original(), strictest, everyone)
        if (limit := exceeded(self._report)) is not None:
            return Reject(self.gate.texts.of_finding(limit), f"beyond a limit: {limit.name}", everyone[0].tenant)
        for number, of_recipient in enumerate(concerned):
            recipient = Recipient(self.mail.recipients[number], self.mail.recipient_names[number])
            self._decided.append(Decided(recipient, judge(of_recipient, self._report), of_recipient))
        return self._decide(strictest, everyone)

    def accepted(self) -> None:
        """Keep the original if a plan says so, and have people told."""
        if not self._decided:
            return
        self._keep()
        self._write_down()
        virus_warnings.warn(self.gate.directory, self.mail, self._subject, self._decided)

    def rejected(self) -> None:
        """Have people told of an infected mail that this check rejects; forget what was kept of one that waits."""
        if self._rejected_for is not None:
            self._write_down()
        if self._rejected_for in _INFECTED:
            virus_warnings.warn_if_possible(self.gate.directory, self.mail, self._subject, self._decided)
        if self._kept and self.gate.quarantine:
            try:
                self.gate.quarantine.drop(self._kept)
            except DirectoryError as error:
                LOG.warning("%s: %s of the quarantine stay: %s", self.mail.queue_id, self._kept, error)

    def _decide(self, strictest: Limits, everyone: Sequence[Concern]) -> Verdict:
        fates = [each.judgement.fate for each in self._decided]
        has_others = len(self.mail.written_recipients) > len(fates)
        if not has_others and set(fates) == {"reject"}:
            return self._reject(self._decided[0].judgement)
        if not has_others and not any(fate in ARRIVES for fate in fates):
            first = self._decided[0].judgement
            return Discard(_reason(first), first.concern.tenant if first.concern else None)
        arriving = [each.judgement for each in self._decided if each.judgement.fate in ARRIVES]
        infected = tuple(dict.fromkeys(finding for judgement in arriving for finding in judgement.infected))
        actions: list[Action] = []
        if infected:
            keepers = dict.fromkeys(
                concern for each in self._decided if each.judgement.fate in ARRIVES for concern in each.concerned
            )
            stripped = self._stripped(infected, strictest, tuple(keepers))
            if stripped is None:
                self._decided = [_decided_anew(each, "reject") for each in self._decided]
                return self._reject(next(judgement for judgement in arriving if judgement.fate == "strip"))
            actions += stripped
        out = [number for number, fate in enumerate(fates) if fate not in ARRIVES]
        actions += [DeleteRecipient(self.mail.recipient_names[number].in_envelope) for number in out]
        if infected:
            more, nowhere = self._kept_here(out)
            actions += more
            out += nowhere
            if not has_others and len(out) == len(fates):
                return Discard(_reason(arriving[0]), everyone[0].tenant)
        self.mail.take_out(out)
        marked = dict.fromkeys(finding for judgement in arriving for finding in judgement.marked)
        if infected or marked:
            actions.append(InsertHeader(MARK, _mark(infected, marked)))
        return Modify(tuple(actions)) if actions else PASS

    def _reject(self, judgement: Judgement) -> Reject:
        concern, finding = judgement.concern, judgement.finding
        if concern is None or finding is None:
            raise ValueError(judgement)
        self._rejected_for = finding.kind
        return Reject(self.gate.texts.of_finding(finding), _reason(judgement), concern.tenant)

    def _stripped(
        self, infected: Iterable[Finding], strictest: Limits, keepers: Sequence[Concern]
    ) -> list[Action] | None:
        """Take the infected parts out, or if the rest is still infected the whole body; None if nothing helps."""
        names: dict[int, str] = {}
        for finding in infected:
            known = names.get(finding.part)
            names[finding.part] = f"{known}, {finding.name}" if known else finding.name
        for taken in (names, {MESSAGE: ", ".join(names.values())}):
            clean = self._scanner().spools.open()
            fields, clean.body_at = strip(self._original().file, self._report, taken, clean.write)
            if judge(keepers, self._examine(clean, strictest, keepers)).fate == "keep":
                removed = self._mime_removed() if fields else ()
                return [*removed, *(AddHeader(*field) for field in fields), ReplaceBody(clean.body)]
        return None

    def _mime_removed(self) -> Iterator[RemoveHeader]:
        """All fields of MIME, the last first, because the numbers of those behind one that is removed change."""
        for name, count in self._mime_fields.items():
            yield from (RemoveHeader(name, number) for number in range(count, 0, -1))

    def _kept_here(self, out: Sequence[int]) -> tuple[list[Action], list[int]]:
        """Have forwards to elsewhere of a stripped mail end in mailboxes here; and the recipients who have none."""
        actions: list[Action] = []
        nowhere: list[int] = []
        for number, recipient in enumerate(self.mail.recipients):
            is_forwarded = any(target.tenant_id is not None for target in recipient.external)
            is_scanned = any(not concern.outbound for concern in self._decided[number].concerned)
            if number in out or not is_forwarded or not is_scanned:
                continue
            accounts = [target.mailbox.account_id for target in recipient.local]
            accounts += [target.account_id for target in recipient.external if target.account_id is not None]
            addresses = self.gate.directory.queued_mailboxes(accounts)
            actions.append(DeleteRecipient(self.mail.recipient_names[number].in_envelope))
            actions += [AddRecipient(f"<{address}>") for address in addresses]
            if not addresses:
                nowhere.append(number)
                self._decided[number] = _decided_anew(self._decided[number], "delete")
            self.mail.recipients[number] = replace(recipient, external=())
        return actions, nowhere

    def _examine(self, spool: Spool, strictest: Limits, everyone: Sequence[Concern]) -> Report:
        """What the scan finds, without what the operator has it ignore.  Raises: ScannerError, DirectoryError."""
        report = self._scanner().examine(spool, strictest, self._deadline)
        guard = self.gate.outbreak
        names = {finding.name for finding in report.findings if finding.kind == "virus"} if guard else set()
        ignored = set()
        for name in sorted(names):
            verdicts = {guard.verdict(name, concern.tenant.id) for concern in everyone} if guard else set()
            if "deferred" in verdicts:
                raise ScannerError(f"{name} hits mail of many tenants: an operator has to accept or ignore it")
            if "ignored" in verdicts:
                ignored.add(name)
        findings = tuple(each for each in report.findings if each.kind != "virus" or each.name not in ignored)
        return replace(report, findings=findings)

    def _keep(self) -> None:
        """Keep the original for those whose plan says so.  Raises: ScannerError, DirectoryError."""
        for original in virus_records.originals(self.mail, self._subject, self._report, self._decided):
            if self.gate.quarantine is None:
                raise ScannerError("there is no quarantine")
            try:
                self._kept += self.gate.quarantine.keep(self._original().file, original)
            except QuarantineError as error:
                raise ScannerError(str(error)) from error

    def _write_down(self) -> None:
        kept = self._kept[0] if self._kept else None
        virus_records.write_down(self.gate.counters, self.mail, self._report, self._decided, kept)

    def _may_not_go_on(self) -> bool:
        """Whether a filter sends on to elsewhere what has been infected."""
        redirects = self.mail.filter_field is not None and self.mail.filter_field[0] == REDIRECTED_FROM
        elsewhere = all(recipient.leads_elsewhere for recipient in self.mail.recipients)
        return self.mail.listener == OWN_LISTENER and redirects and self._was_stripped and elsewhere

    def _filter_is_scanned(self) -> bool:
        """Whether a plan scans what a filter sends; what others send has told whose it is before."""
        if self.mail.listener != OWN_LISTENER or self.gate.scanner is None:
            return False
        owner = attribution.at_end(self.gate.directory, self.mail)
        return bool(owner and owner.tenant and owner.tenant.virus)

    def _written(self) -> Spool:
        if self._spool is None:
            self._spool = self._scanner().spools.open()
        return self._spool

    def _original(self) -> Spool:
        if self._spool is None and not self._is_scanned:
            raise ScannerError("a plan scans the mail since it began")
        # A mail may have neither header nor body.
        spool = self._written()
        spool.begin_body()
        return spool

    def _scanner(self) -> Scanner:
        if self.gate.scanner is None:
            raise ScannerError("there is no scanner")
        return self.gate.scanner


def _decided_anew(decided: Decided, fate: Fate) -> Decided:
    return decided._replace(judgement=replace(decided.judgement, fate=fate))


def _reason(judgement: Judgement) -> str:
    finding = judgement.finding
    return f"{finding.kind}: {finding.name}" if finding else "infected"


def _mark(infected: Iterable[Finding], marked: Iterable[Finding]) -> str:
    """The value of the field MARK: printable, and no longer than a line may be."""
    texts = [f"{_STRIPPED} ({finding.name})" for finding in infected]
    texts += [f"{finding.kind} ({finding.name})" for finding in marked]
    return re.sub(r"[^ -~]", "?", "; ".join(dict.fromkeys(texts)))[:900]
