# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailhosting lock: stops all use of an account whose password a stranger has."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from mailhosting_directory.rows import ABUSE
from mailhosting_dovecot import DovecotError, end_sessions

from . import host, outgoing, traces
from .directory import Ask, ask, conninfo, resolve
from .host import Answer, CommandError, Commands, Host, NotHereError
from .traces import Filter, Login, in_a_line
from .words import moment

#: The scopes of the holds on every locked account, and what they forbid.
SCOPES: Final = {"login": "log in", "send": "send"}

_TEXT: Final = """\
Lock an account that was phished, until `mailhosting unlock`:

  - hold its logins and its sending, with the reason
  - end its open sessions
  - put its mail that is still in the queue on hold
  - suspend its forwarding, and its filters if the active one was changed in the last 7 days

The account still receives mail, all of which stays in its mailbox.  The command prints its
logins of the last 7 days, and what a stranger may have left: forwarding, and filters that
are new or changed.  A repeated lock changes only what is not locked yet, and keeps the
first reason.  For root.

examples:
  mailhosting lock taro@acme.example --reason phished
"""

_HOLD: Final = """
INSERT INTO directory.hold (account_id, scope, reason, origin)
SELECT %s, scope, %s, %s FROM unnest(%s::text[]) AS scope
ON CONFLICT (account_id, tenant_id, scope, origin) DO NOTHING RETURNING scope
"""
_SUSPENDED: Final = "SELECT scope FROM directory.suspension WHERE account_id = %s GROUP BY scope ORDER BY scope"
_REASON: Final = "SELECT reason FROM directory.hold WHERE account_id = %s AND origin = %s ORDER BY id LIMIT 1"


def add_to(commands: Commands) -> None:
    """Add the subcommand."""
    parser = host.add(commands, "lock", "hold a phished account's logins and mail, end its sessions", _TEXT)
    host.add_address(parser)
    parser.add_argument("--reason", metavar="TEXT", type=_reason, required=True, help="the reason, for later readers")
    host.add_json(parser)
    parser.set_defaults(run=_answer)


def account(options: argparse.Namespace, on: Host) -> tuple[Ask, int, str]:
    """A function for queries, and the id and address of the account of an ADDRESS.  Raises: CommandError."""
    if not on.clusters.exists():
        raise NotHereError(
            "accounts are in the directory, and the role mailhosting.stack.directory is not on this host"
        )
    on.needs_root()
    asked = partial(ask, conninfo(on))
    _scope, number, called = resolve(asked, options.address)
    return asked, number, called


def reason_of(asked: Ask, account_id: int) -> str | None:
    """The reason of an account's lock; None without a lock.  Raises: CommandError."""
    return next((reason for (reason,) in asked(_REASON, account_id, ABUSE)), None)


def mails(number: int) -> str:
    """A number of mails in words."""
    return "1 mail" if number == 1 else f"{number} mails"


def _reason(written: str) -> str:
    """The reason as one line.  Raises: ArgumentTypeError, which argparse prints."""
    reason = in_a_line(written)
    if not reason:
        raise argparse.ArgumentTypeError("it is empty")
    return reason


def _answer(options: argparse.Namespace, on: Host) -> Answer:
    """Raises: CommandError."""
    asked, number, called = account(options, on)
    # The holds come first, so that nobody can log in again after the sessions end.
    placed = _hold(asked, number, options.reason, SCOPES)
    complaints: list[str] = []
    # A part that failed stays None.
    ended: bool | None = None
    queued: outgoing.Outgoing | None = None
    logins: list[Login] | None = None
    forwards: list[str] | None = None
    filters: list[Filter] | None = None
    with host.complaining(complaints):
        ended = _end_sessions(called)
    with host.complaining(complaints):
        found = outgoing.look(asked, number)
        outgoing.hold(found)
        queued = found
    with host.complaining(complaints):
        logins = traces.logins(called)
    with host.complaining(complaints):
        forwards = traces.forwards(asked, number)
        if forwards:
            placed += _hold(asked, number, options.reason, ["forward"])
    with host.complaining(complaints):
        filters = traces.filters(called, time.time() - traces.SECONDS)
        if any(script.active for script in filters):
            placed += _hold(asked, number, options.reason, ["filter"])
    data = {
        "address": called,
        "reason": reason_of(asked, number),
        "placed": sorted(placed),
        "suspended": [scope for (scope,) in asked(_SUSPENDED, number)],
        "sessions_ended": ended,
        "held": queued and list(queued.going),
        "on_hold": queued and [*queued.on_hold, *queued.gates],
        "shared": queued and list(queued.shared),
        "logins": None if logins is None else [login._asdict() for login in logins],
        "forwards": forwards,
        "filters": None if filters is None else [script._asdict() for script in filters],
    }
    return Answer(data, list(_lines(data, logins, filters)), complaints)


def _hold(asked: Ask, account_id: int, reason: str, scopes: Iterable[str]) -> list[str]:
    """Place holds; the scopes that had none yet.  Raises: CommandError."""
    return [scope for (scope,) in asked(_HOLD, account_id, reason, ABUSE, list(scopes))]


def _end_sessions(username: str) -> bool:
    """End the sessions; whether there were any.  Raises: CommandError."""
    found: list[str] = []

    def of_username(users: Sequence[str]) -> list[str]:
        found.extend(user for user in users if user == username)
        return found

    try:
        end_sessions(of_username)
    except DovecotError as error:
        raise CommandError(str(error)) from error
    return bool(found)


def _lines(data: dict[str, Any], logins: Sequence[Login] | None, filters: Sequence[Filter] | None) -> Iterator[str]:
    called, placed = data["address"], data["placed"]
    was = "is locked" if placed else "was locked already"
    yield f"{called} {was}: {data['reason']}"
    yield f"    it cannot {' or '.join(SCOPES.values())}; `mailhosting unlock {shlex.quote(called)}` ends that"
    if data["sessions_ended"] is not None:
        yield f"    {'its open sessions were ended' if data['sessions_ended'] else 'it had no open session'}"
    if data["held"] is not None:
        yield f"    put on hold in the queue: {mails(len(data['held']))}; on hold before: {mails(len(data['on_hold']))}"
    if data["shared"]:
        yield f"    left alone: {mails(len(data['shared']))} from aliases of others too: {' '.join(data['shared'])}"
    if logins is not None:
        yield "logins of the last 7 days:" if logins else "no login in the last 7 days"
    yield from (f"    {moment(login.time)} {login.protocol} from {login.client}" for login in logins or ())
    if data["forwards"] or filters:
        yield "what a stranger may have left:"
    if data["forwards"]:
        yield f"    forwarding to {', '.join(data['forwards'])}{_now('forward' in data['suspended'])}"
    for script in filters or ():
        kind = "active filter" if script.active else "filter"
        suspended = _now(script.active and "filter" in data["suspended"])
        yield f"    {kind} {script.name}, changed {moment(script.changed)}{suspended}"


def _now(suspended: bool) -> str:
    return " (suspended)" if suspended else ""
