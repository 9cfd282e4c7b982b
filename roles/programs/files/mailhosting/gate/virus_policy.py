# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a scan's findings mean for a mail by the policies of all whom it concerns: who gets it, and what is changed.

Pure.  For one recipient the severest of the policies that concern it decides; docs/virus.md has the table of two
recipients with different ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from .model import Suspicion, Tenant, VirusAction, VirusCheck, VirusPolicy
from .scan.findings import Finding, Limits, Report

#: What becomes of a mail for one recipient.  keep: it arrives.  strip: the same, without what is infected.
Fate = Literal["keep", "strip", "quarantine", "delete", "reject"]
#: From the mildest to the severest.
FATES: Final[tuple[Fate, ...]] = ("keep", "strip", "quarantine", "delete", "reject")
#: Those with which the mail arrives.
ARRIVES: Final = ("keep", "strip")

#: How names of possibly unwanted applications begin (PUA).
_UNWANTED: Final = "PUA."


@dataclass(frozen=True)
class Concern:
    """A tenant whose plan scans the mail, because it sends it (`outbound`) or receives it."""

    tenant: Tenant
    check: VirusCheck
    outbound: bool

    @property
    def policy(self) -> VirusPolicy:
        """The policy of this direction."""
        return self.check.outbound if self.outbound else self.check.inbound

    def fate(self, finding: Finding, report: Report) -> Fate | Literal["mark"]:
        """What this plan does because of one finding; limits concern the whole mail, and are `exceeded`."""
        check = self.check
        action: Suspicion
        match finding.kind:
            case "virus":
                action = "virus"
            case "heuristic":
                action = check.pua if finding.name.startswith(_UNWANTED) else check.heuristics
            case "encrypted":
                action = check.encrypted
            case "unreadable":
                action = check.unreadable
            case "partial":
                action = check.partial
            case "file_type":
                action = "reject" if finding.name in check.reject_files else "pass"
            case "limit":
                action = "pass"
        if action == "virus":
            return self._infected(finding, report)
        return "keep" if action == "pass" else action

    def _infected(self, finding: Finding, report: Report) -> VirusAction:
        return self.policy.attachment if report.parts[finding.part].is_attachment else self.policy.body


@dataclass(frozen=True)
class Judgement:
    """What becomes of a mail for one recipient, and by which policy and finding; None for a mail that arrives as it is.

    `infected` has the findings in the parts that are taken out, `marked` those that a header field names.
    """

    fate: Fate = "keep"
    concern: Concern | None = None
    finding: Finding | None = None
    infected: tuple[Finding, ...] = ()
    marked: tuple[Finding, ...] = ()


def concerns(sender: Tenant | None, receivers: Iterable[Tenant]) -> tuple[Concern, ...]:
    """The plans that scan a mail for one recipient, the sender's first."""
    sent = ((sender, True),) if sender else ()
    concerned = (*sent, *((tenant, False) for tenant in receivers))
    return tuple(Concern(tenant, tenant.virus, outbound) for tenant, outbound in concerned if tenant.virus)


def limits(concerned: Iterable[Concern]) -> Limits:
    """The strictest limits of these plans."""
    checks = [concern.check for concern in concerned]
    return Limits(
        unpacked=min((check.max_unpacked_size for check in checks), default=None),
        content=min((check.max_content_size for check in checks if check.max_content_size is not None), default=None),
    )


def exceeded(report: Report) -> Finding | None:
    """The first limit that the mail exceeds.  It is rejected for all, because nobody knows what else is in it."""
    return next((finding for finding in report.findings if finding.kind == "limit"), None)


def judge(concerned: Sequence[Concern], report: Report) -> Judgement:
    """What becomes of a mail for one recipient; of two policies that are as severe the first decides."""
    fate: Fate = "keep"
    decisive: tuple[Concern | None, Finding | None] = None, None
    infected: list[Finding] = []
    marked: list[Finding] = []
    for concern in concerned:
        for finding in report.findings:
            found = concern.fate(finding, report)
            if found == "mark":
                marked.append(finding)
                continue
            if found == "strip":
                infected.append(finding)
            if FATES.index(found) > FATES.index(fate):
                fate, decisive = found, (concern, finding)
    return Judgement(fate, *decisive, tuple(dict.fromkeys(infected)), tuple(dict.fromkeys(marked)))
