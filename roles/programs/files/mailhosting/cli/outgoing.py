# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mail of one account that waits in Postfix's queue."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any, Final

from ..common import address
from ..gate import held_mail
from ..gate.held_mail import QueueError
from .directory import Ask
from .host import CommandError

# Addresses that an account may send from, and whether it alone may.
_SENDERS: Final = """
SELECT s.local_part, s.domain, bool_and(o.account_id = s.account_id)
FROM directory.sender s JOIN directory.sender o ON o.local_part = s.local_part AND o.domain = s.domain
WHERE s.account_id = %s GROUP BY s.local_part, s.domain
"""
_FORMER: Final = "SELECT domain, renamed_to FROM v1.former_domain"
_HELD_BY_GATE: Final = "SELECT queue_id, held_at FROM v1.held_mail"


@dataclass(frozen=True)
class Outgoing:
    """Queue ids of an account's mail: to be delivered, on hold, held by the gate.

    `shared` is mail from aliases that lead to others too, so it may be theirs.
    """

    going: tuple[str, ...] = ()
    on_hold: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()


def look(ask: Ask, account_id: int) -> Outgoing:
    """The account's mail in the queue; none without Postfix.  Raises: CommandError."""
    if shutil.which("postqueue") is None:
        return Outgoing()
    alone = {(local_part, domain): own for local_part, domain, own in ask(_SENDERS, account_id)}
    former: dict[str, str] = dict(ask(_FORMER))
    gates: dict[str, float] = dict(ask(_HELD_BY_GATE))
    found: dict[str, list[str]] = {"going": [], "on_hold": [], "gates": [], "shared": []}
    for mail in _queue():
        sender = address.parse(mail["sender"])
        if sender is None:
            continue
        own = alone.get((sender.local_part, former.get(sender.domain, sender.domain)))
        if own is not None:
            found[_kind(mail, gates) if own else "shared"].append(mail["queue_id"])
    return Outgoing(**{kind: tuple(queue_ids) for kind, queue_ids in found.items()})


def hold(found: Outgoing) -> None:
    """Put the mail to be delivered on hold.  Raises: CommandError."""
    try:
        held_mail.postsuper("-h", found.going)
    except QueueError as error:
        raise CommandError(str(error)) from error


def let_go(found: Outgoing) -> None:
    """Release the mail on hold, except mail that the gate holds.  Raises: CommandError."""
    try:
        held_mail.let_go(found.on_hold)
    except QueueError as error:
        raise CommandError(str(error)) from error


def _queue() -> list[dict[str, Any]]:
    try:
        return held_mail.queue()
    except QueueError as error:
        raise CommandError(str(error)) from error


def _kind(mail: dict[str, Any], gates: dict[str, float]) -> str:
    if mail["queue_name"] != "hold":
        return "going"
    # Postfix reuses the id of a mail that is gone.
    return "gates" if mail["arrival_time"] <= gates.get(mail["queue_id"], 0) else "on_hold"
