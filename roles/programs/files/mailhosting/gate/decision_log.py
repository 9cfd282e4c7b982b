# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes each decision about a mail, and each finding of its scan, as one line, in the fields of `common.log`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from traceback import extract_tb
from typing import Final, Literal

from ..common import log
from .model import Tenant
from .scan.findings import Finding

LOG: Final = logging.getLogger(__name__)

#: `block` is about later mail: all that an account sends, or one content for a tenant.  `unchecked` means that the mail
#: passed because a check could not be made.
Decision = Literal["pass", "reject", "defer", "hold", "block", "unchecked"]
_LEVELS: Final[dict[Decision, int]] = {
    "pass": logging.DEBUG,  # Postfix has a line of its own for it
    "reject": logging.INFO,
    "defer": logging.WARNING,
    "hold": logging.INFO,
    "block": logging.INFO,
    "unchecked": logging.WARNING,
}
#: Writes a decision about one mail, its reason, and the tenant whose rule it is.
Note = Callable[[Decision, str, Tenant | None], None]


@dataclass(frozen=True)
class About:
    """The mail of a decision; `account` is the login that sends it, `to` the recipient or the first of several."""

    queue_id: str = "-"
    account: str | None = None
    client: str | None = None
    sender: str | None = None
    to: str | None = None


def write(
    decision: Decision,
    reason: str,
    about: About,
    *,
    tenant: Tenant | None = None,
    code: str | None = None,
    level: int | None = None,
) -> None:
    """Write one line; `tenant` is the one whose limit, pool or rule decides, `code` that of the reply."""
    level = _LEVELS[decision] if level is None else level
    if not LOG.isEnabledFor(level):
        return
    values = {**_fields(about, tenant), "decision": decision, "code": code}
    LOG.log(level, "%s reason=%s", log.fields(values), log.quoted(reason))


def write_finding(
    finding: Finding, about: About, *, tenant: Tenant, policy: str, quarantine: int | None = None
) -> None:
    """Write one line: what was found in a mail, and what a tenant's policy does about it.

    `quarantine` is the id of the tenant's entry, if the original is kept.
    """
    values = {
        **_fields(about, tenant),
        "found": finding.kind,
        "name": finding.name,
        "part": str(finding.part),
        "member": finding.member,
        "policy": policy,
        "quarantine": None if quarantine is None else str(quarantine),
    }
    LOG.info("%s", log.fields(values))


def _fields(about: About, tenant: Tenant | None) -> dict[str, str | None]:
    """The fields that every line begins with."""
    return {
        "queue_id": about.queue_id,
        "tenant": tenant.name if tenant else None,
        "sasl_username": about.account,
        "client_address": about.client,
        "from": about.sender,
        "to": about.to,
    }


def describe(error: Exception) -> str:
    """Describe an unexpected error, and where it was raised, innermost first."""
    places = [f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in reversed(extract_tb(error.__traceback__))]
    return f"{type(error).__name__} at {', '.join(places[:4])}: {error}"
