# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is recorded of a scanned mail: originals for the quarantine, lines of the log, counts of the day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from .counters import Counters
from .decision_log import write_finding
from .mail import Mail
from .model import DailyCount
from .quarantine import Holder, Original, QuarantineDirection
from .scan.findings import Finding, Report
from .virus_policy import FATES, Fate
from .virus_warnings import Decided

_DIRECTIONS: Final[tuple[QuarantineDirection, ...]] = ("inbound", "outbound")
#: The counts of the day by fate.
_COUNTS: Final[dict[Fate, str]] = {
    "strip": "virus_stripped",
    "quarantine": "virus_deleted",
    "delete": "virus_deleted",
    "reject": "virus_refused",
}


def originals(mail: Mail, subject: str, report: Report, decided: Sequence[Decided]) -> Iterator[Original]:
    """What is to be kept of a mail: for those who would have received it, and for who sent it."""
    for direction in _DIRECTIONS:
        holders = tuple(dict.fromkeys(_holders(mail, decided, direction)))
        if any(holder.seconds for holder in holders):
            yield Original(
                queue_id=mail.queue_id,
                direction=direction,
                sender=mail.written_sender,
                subject=subject,
                policy=max((each.judgement.fate for each in decided), key=FATES.index),
                findings=report.findings,
                holders=holders,
            )


def write_down(counters: Counters, mail: Mail, report: Report, decided: Sequence[Decided], kept: int | None) -> None:
    """Write each finding to the log, and count the mail for each tenant whose policy decides; `kept` is an original."""
    severest: dict[int, Fate] = {}
    seen: set[tuple[int, Finding]] = set()
    for each in decided:
        for concern in each.concerned:
            for finding in report.findings:
                if (concern.tenant.id, finding) not in seen:
                    seen.add((concern.tenant.id, finding))
                    policy = concern.fate(finding, report)
                    write_finding(finding, mail.about(), tenant=concern.tenant, policy=policy, quarantine=kept)
        if each.judgement.concern is not None:
            number = each.judgement.concern.tenant.id
            severest[number] = max(severest.get(number, "keep"), each.judgement.fate, key=FATES.index)
    found = int(any(finding.kind == "virus" for finding in report.findings))
    counts = [DailyCount(number, {"virus_found": found, _COUNTS[fate]: 1}) for number, fate in severest.items()]
    if counts:
        counters.count(counts)


def _holders(mail: Mail, decided: Sequence[Decided], direction: QuarantineDirection) -> Iterator[Holder]:
    for recipient, judgement, concerned in decided:
        concern = judgement.concern
        if concern is None or judgement.fate == "reject" or concern.outbound is not (direction == "outbound"):
            continue
        if concern.outbound:
            account_id = mail.owner.account_id if mail.owner else None
            yield Holder(concern.tenant.id, account_id, decided[0].recipient.name.written, concern.check.keep)
            continue
        seconds = {each.tenant.id: each.check.keep for each in concerned if not each.outbound}
        for tenant_id, account_id in recipient.accounts or ((concern.tenant.id, None),):
            kept = seconds.get(tenant_id, concern.check.keep)
            yield Holder(tenant_id, account_id, recipient.name.written, kept)
