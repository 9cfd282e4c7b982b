# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail that Postfix holds because the gate said so: whose it is, how to release it, how to delete it.

The directory has the owner of each held mail, by queue id.  Postfix reuses the ids of mails that have gone, so a mail
with that id is the held one only if it arrived before the gate held it.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Scope = Literal["account", "tenant"]
#: Runs a query with these values, and answers with its rows.
Ask = Callable[..., list[tuple[Any, ...]]]

#: Seconds within which Postfix has put a mail on hold after the gate said so.
ARRIVAL_SECONDS: Final = 60
#: Queue ids of one call of postsuper.
_CHUNK: Final = 1000

_HOLDS: Final = "SELECT account_id, kind, since FROM v1.gate_hold ORDER BY account_id"
_MAILS: Final = "SELECT queue_id, account_id, tenant_id, kind, held_at FROM v1.held_mail"
_RELEASE: Final = "SELECT v1.gate_release(%s)"
_FORGET: Final = "SELECT v1.forget_held_mail(%s, %s)"


class QueueError(Exception):
    """A program of Postfix's failed; the text is what it wrote."""


@dataclass(frozen=True)
class QueuedMail:
    """A mail that the gate held at a time (Unix's)."""

    queue_id: str
    held_at: float


@dataclass(frozen=True)
class HeldMail:
    """The held mail that an account sent or a tenant was to receive.

    The account is blocked since `since` (Unix time); None if it is not, or for a tenant.  `seen` is when this was read,
    `seconds_left` is when the block of one content ends for a tenant.
    """

    scope: Scope
    id: int
    kind: str
    since: int | None
    mails: tuple[QueuedMail, ...]
    seen: float
    seconds_left: int | None = None


def holds(ask: Ask) -> list[HeldMail]:
    """All accounts and tenants that are blocked or have held mail, with the mail that is still in the queue."""
    seen = time.time()
    mails: dict[tuple[Scope, int], list[QueuedMail]] = {}
    kinds: dict[tuple[Scope, int], str] = {}
    known = {}
    for queue_id, account_id, tenant_id, kind, held_at in ask(_MAILS):
        subject: tuple[Scope, int] = ("tenant", tenant_id) if account_id is None else ("account", account_id)
        known[queue_id] = (subject, QueuedMail(queue_id, held_at))
        kinds[subject] = kind
    for queue_id, arrived in _queue() if known else ():
        if queue_id in known and arrived <= known[queue_id][1].held_at:
            subject, mail = known[queue_id]
            mails.setdefault(subject, []).append(mail)
    since: dict[tuple[Scope, int], int] = {}
    for account_id, kind, begun in ask(_HOLDS):
        since["account", account_id] = begun
        kinds["account", account_id] = kind
    return [
        HeldMail(*subject, kinds[subject], since.get(subject), tuple(mails.get(subject, ())), seen)
        for subject in sorted({*mails, *since})
    ]


def release(ask: Ask, hold: HeldMail) -> None:
    """Unblock an account and release its mail, or release the mail for a tenant.  Raises: QueueError."""
    if hold.since is not None:
        ask(_RELEASE, hold.id)
    let_go([mail.queue_id for mail in hold.mails])
    _forget(ask, hold)


def drop(ask: Ask, hold: HeldMail) -> None:
    """Delete the held mail; the account stays blocked.  Raises: QueueError."""
    # In the hold queue only: elsewhere the id may be another mail's.
    postsuper("-d", [mail.queue_id for mail in hold.mails], "hold")
    _forget(ask, hold)


def _forget(ask: Ask, hold: HeldMail) -> None:
    """Forget the released or deleted mail, and what left the queue otherwise; not what Postfix is still to hold."""
    gone = {mail.queue_id: mail.held_at for mail in hold.mails}
    for queue_id, account_id, tenant_id, _kind, held_at in ask(_MAILS):
        mine = (account_id if hold.scope == "account" else tenant_id) == hold.id
        if mine and held_at < hold.seen - ARRIVAL_SECONDS:
            gone.setdefault(queue_id, held_at)
    if gone:
        ask(_FORGET, list(gone), list(gone.values()))


def let_go(queue_ids: Sequence[str]) -> None:
    """Release mail that is on hold.  Raises: QueueError."""
    # In the hold queue only: elsewhere the id may be another mail's.
    postsuper("-H", queue_ids, "hold")
    if queue_ids:
        # Otherwise Postfix tries deferred mail only every few minutes.
        _run(["postqueue", "-f"])


def queue() -> list[dict[str, Any]]:
    """All mails in the queue, as postqueue(1) writes them in JSON.  Raises: QueueError."""
    return [json.loads(line) for line in _run(["postqueue", "-j"]).splitlines()]


def postsuper(action: str, queue_ids: Sequence[str], *queues: str) -> None:
    """Have Postfix delete, hold or release these mails, in its usual queues or in `queues`.  Raises: QueueError.

    `action` is an option of its program: -d, -h or -H.
    """
    for at in range(0, len(queue_ids), _CHUNK):
        _run(["postsuper", action, "-", *queues], "".join(f"{queue_id}\n" for queue_id in queue_ids[at : at + _CHUNK]))


def _queue() -> Iterable[tuple[str, int]]:
    """The queue id of each mail on hold, and when it arrived."""
    return [(mail["queue_id"], mail["arrival_time"]) for mail in queue() if mail["queue_name"] == "hold"]


def _run(command: list[str], given: str = "") -> str:
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise QueueError(f"{command[0]}: {' '.join(said.split())}") from error
    return done.stdout
