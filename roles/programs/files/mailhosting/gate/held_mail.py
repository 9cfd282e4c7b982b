# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail that waits in Postfix's queue because the gate stopped it: whose it is, how to let it go on, how to delete it.

The directory says whose a mail is, by its queue id.  Postfix gives an id anew when the mail is gone, so it is that mail
only if it came before the gate held it.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Scope = Literal["account", "tenant"]
#: Rows of a query, with its values.
Ask = Callable[..., list[tuple[Any, ...]]]

#: Seconds in which a mail that the gate holds comes into the queue for held mail.
ARRIVAL_SECONDS: Final = 60
#: Queue ids of one call of postsuper.
_CHUNK: Final = 1000

_HOLDS: Final = "SELECT account_id, kind, since FROM v1.gate_hold ORDER BY account_id"
_MAILS: Final = "SELECT queue_id, account_id, tenant_id, kind, held_at FROM v1.held_mail"
_RELEASE: Final = "SELECT v1.gate_release(%s)"
_FORGET: Final = "SELECT v1.forget_held_mail(%s, %s)"


class QueueError(Exception):
    """Postfix's programs do not do what they should; the text says what they said."""


@dataclass(frozen=True)
class QueuedMail:
    """A mail that the gate held at a time (Unix's)."""

    queue_id: str
    held_at: float


@dataclass(frozen=True)
class HeldMail:
    """What an account sends is stopped since (Unix time), or with None only mail waits: an account's, or for a tenant.

    `seen` is when that was so, `seconds_left` when a tenant's ends by itself.
    """

    scope: Scope
    id: int
    kind: str
    since: int | None
    mails: tuple[QueuedMail, ...]
    seen: float
    seconds_left: int | None = None


def holds(ask: Ask) -> list[HeldMail]:
    """All there are, with the mail that is in the queue."""
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
    """Let an account send again, and its mail, or the mail for a tenant, go on.  QueueError."""
    if hold.since is not None:
        ask(_RELEASE, hold.id)
    let_go([mail.queue_id for mail in hold.mails])
    _forget(ask, hold)


def drop(ask: Ask, hold: HeldMail) -> None:
    """Delete the mail that waits; what the account sends stays stopped.  QueueError."""
    # Of mail on hold only: with the queue's name, whatever the id means elsewhere.
    postsuper("-d", [mail.queue_id for mail in hold.mails], "hold")
    _forget(ask, hold)


def _forget(ask: Ask, hold: HeldMail) -> None:
    """The mail that is done with, and what left the queue without us; not what is on its way into it."""
    gone = {mail.queue_id: mail.held_at for mail in hold.mails}
    for queue_id, account_id, tenant_id, _kind, held_at in ask(_MAILS):
        mine = (account_id if hold.scope == "account" else tenant_id) == hold.id
        if mine and held_at < hold.seen - ARRIVAL_SECONDS:
            gone.setdefault(queue_id, held_at)
    if gone:
        ask(_FORGET, list(gone), list(gone.values()))


def let_go(queue_ids: Sequence[str]) -> None:
    """Have mail that is on hold go on.  QueueError."""
    # Of mail on hold only: with the queue's name, whatever the id means elsewhere.
    postsuper("-H", queue_ids, "hold")
    if queue_ids:
        # What was deferred is looked at every few minutes else.
        _run(["postqueue", "-f"])


def queue() -> list[dict[str, Any]]:
    """All mails in the queue as postqueue(1) has them in JSON.  QueueError."""
    return [json.loads(line) for line in _run(["postqueue", "-j"]).splitlines()]


def postsuper(action: str, queue_ids: Sequence[str], *queues: str) -> None:
    """Do to mails what an option of Postfix's program says, in its usual queues or in `queues`.  QueueError."""
    for at in range(0, len(queue_ids), _CHUNK):
        _run(["postsuper", action, "-", *queues], "".join(f"{queue_id}\n" for queue_id in queue_ids[at : at + _CHUNK]))


def _queue() -> Iterable[tuple[str, int]]:
    """Ids of the mails on hold, and when they came."""
    return [(mail["queue_id"], mail["arrival_time"]) for mail in queue() if mail["queue_name"] == "hold"]


def _run(command: list[str], given: str = "") -> str:
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise QueueError(f"{command[0]}: {' '.join(said.split())}") from error
    return done.stdout
