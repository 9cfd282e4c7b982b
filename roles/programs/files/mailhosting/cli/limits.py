# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailhosting limits: shows and ends pauses of limits and blocks for bulk mail."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

from ..common import settings
from ..common.errors import SettingsError
from ..common.valkey import Valkey
from ..gate import bulk_mail_counts, held_mail
from ..gate.counters import Counters
from ..gate.held_mail import HeldMail, QueueError
from ..gate.model import Direction, Limit, LimitSubject, Pause, Scope, Window
from ..gate.settings import Sources
from . import host
from .directory import Ask, Subject, ask, names_of, resolve
from .host import Answer, CommandError, Commands, Host, NotHereError
from .words import moment, span

_DONE: Final = {"release": "released", "drop": "dropped"}
_NOTHING: Final = {
    "pauses": "nothing is paused",
    "lifted": "nothing was paused",
    "released": "nothing was stopped",
    "dropped": "no mail waited",
}
_KINDS: Final = {"bulk_mail": "bulk mail", "invalid_recipients": "too many invalid recipients"}


_TEXT: Final = """\
Show or end pauses of limits, and blocks for bulk mail.

A NAME is a tenant's name, an account's address, #NUMBER for a removed account, or
`host` for the whole host.  With a NAME, `show` prints the usage of its limits too.
A lift resets the limits of NAME, a release resets its counts of bulk mail.
For root.

examples:
  mailhosting limits show                            all pauses and blocks
  mailhosting limits show taro@acme.example          those of the account, and its usage
  mailhosting limits lift acme send                  tenant acme can send again
  mailhosting limits release taro@acme.example       it can send again, its held mail is sent
  mailhosting limits drop taro@acme.example          its held mail is deleted
"""


def add_to(commands: Commands) -> None:
    """Add the subcommand."""
    limits = host.add(commands, "limits", "show or end pauses of limits, and blocks for bulk mail", _TEXT)
    actions = limits.add_subparsers(dest="command", metavar="show|lift|release|drop", required=True)
    show = actions.add_parser("show", help="all pauses and blocks, or those of NAME and its usage")
    show.add_argument("name", metavar="NAME", nargs="?", type=host.name)
    lift = actions.add_parser("lift", help="end the pauses of NAME")
    lift.add_argument("name", metavar="NAME", type=host.name)
    lift.add_argument(
        "direction", nargs="?", choices=get_args(Direction), help="only for mail that it sends or receives"
    )
    sends = "let an account send again, and send its held mail, or the held mail to a tenant"
    release = actions.add_parser("release", help=sends)
    deletes = "delete the held mail of NAME; an account stays blocked until a release"
    drop = actions.add_parser("drop", help=deletes)
    for action in (release, drop):
        action.add_argument("name", metavar="NAME", type=host.name)
    for action in (show, lift, release, drop):
        host.add_json(action)
        action.set_defaults(run=_answer)


def _answer(options: argparse.Namespace, on: Host) -> Answer:
    """Raises: CommandError, ValkeyError."""
    try:
        with closing(valkey_of(on)) as valkey:
            found = _run(valkey, partial(ask, sources(on).directory), options)
    except QueueError as error:
        raise CommandError(str(error)) from error
    return Answer(found, list(_sentences(found)))


def sources(on: Host) -> Sources:
    """The gate's settings for the directory and Valkey.  Raises: CommandError."""
    file = on.gate_settings
    if not file.exists():
        raise NotHereError(
            f"{file}: there is none. Limits are the gate's, and the role mailhosting.stack.gate is not on this host"
        )
    try:
        return settings.read(Sources, file)
    except SettingsError as error:
        raise CommandError(f"{error}; the role mailhosting.stack.gate writes it") from error


def valkey_of(on: Host) -> Valkey:
    """Valkey, as the gate's user.  Raises: CommandError."""
    found = sources(on)
    return Valkey(found.valkey_socket, found.valkey_user, _password(found.valkey_password_file))


def _password(file: str) -> str:
    """The gate's password in Valkey; empty without one, as in tests."""
    try:
        return Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}; this is for root") from error


def _run(valkey: Valkey, ask: Ask, options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    counters = Counters(valkey, lambda _tenant_id: ())
    if options.name is None:
        pauses, held = counters.pauses(), _holds(valkey, ask)
        names = names_of(
            ask, [*((pause.subject.scope, pause.subject.id) for pause in pauses), *((h.scope, h.id) for h in held)]
        )
        return {
            "pauses": [_described(pause, names) for pause in pauses],
            "holds": [_described_hold(hold, names) for hold in held],
        }
    scope, number, name = resolve(ask, options.name)
    names = {(scope, number): name}
    if options.command in ("release", "drop"):
        return {_DONE[options.command]: _end_hold(valkey, ask, options.command, scope, number, names)}
    if options.command == "lift":
        directions = (options.direction,) if options.direction else get_args(Direction)
        lifted = [counters.lift(LimitSubject(scope, number, direction)) for direction in directions]
        return {"lifted": [_described(pause, names) for pause in lifted if pause]}
    pauses, windows = counters.state(scope, number)
    return {
        "pauses": [_described(pause, names) for pause in pauses],
        "holds": [
            _described_hold(hold, names) for hold in _holds(valkey, ask) if (hold.scope, hold.id) == (scope, number)
        ],
        "windows": [_described(window, names) for window in windows],
    }


def _end_hold(
    valkey: Valkey, ask: Ask, command: str, scope: Scope, number: int, names: dict[Subject, str]
) -> list[dict[str, Any]]:
    if scope == "host":
        raise CommandError("host: only an account or a tenant has mail that waits")
    found = [hold for hold in _all_holds(valkey, ask) if (hold.scope, hold.id) == (scope, number)]
    if command == "release":
        # This comes first, or the next mail would block the account again.
        bulk_mail_counts.release(valkey, f"{scope}:{number}")
    for hold in found:
        if command == "release":
            held_mail.release(ask, hold)
        else:
            held_mail.drop(ask, hold)
    return [_described_hold(hold, names) for hold in found if command == "release" or hold.mails]


def _holds(valkey: Valkey, ask: Ask) -> list[HeldMail]:
    """The holds; none while the directory is down."""
    try:
        return _all_holds(valkey, ask)
    except CommandError as error:
        print(error, file=sys.stderr)
        return []


def _all_holds(valkey: Valkey, ask: Ask) -> list[HeldMail]:
    found = {(hold.scope, hold.id): hold for hold in held_mail.holds(ask)}
    for number, left in bulk_mail_counts.stopped_tenants(valkey).items():
        hold = found.get(("tenant", number)) or HeldMail("tenant", number, "bulk_mail", None, (), time.time())
        found["tenant", number] = replace(hold, seconds_left=left)
    return [found[subject] for subject in sorted(found)]


def _described(found: Pause | Window, names: dict[Subject, str]) -> dict[str, Any]:
    """The object for JSON: the fields of the subject, its name, and the others."""
    fields = asdict(found)
    subject = fields.pop("subject")
    return {**subject, "name": names[subject["scope"], subject["id"]], **fields}


def _described_hold(hold: HeldMail, names: dict[Subject, str]) -> dict[str, Any]:
    return {
        "scope": hold.scope,
        "id": hold.id,
        "name": names[hold.scope, hold.id],
        "direction": "send" if hold.scope == "account" else "receive",
        "kind": hold.kind,
        "since": hold.since,
        "seconds_left": hold.seconds_left,
        "mails": len(hold.mails),
    }


def _sentences(found: dict[str, list[dict[str, Any]]]) -> Iterable[str]:
    for pause in found.get("lifted", []):
        yield f"{_whom(pause)}: the pause is lifted, its limits begin anew"
    for hold in found.get("released", []):
        yield f"{_whom(hold)}: released, {hold['mails']} mails go on"
    for hold in found.get("dropped", []):
        stays = "" if hold["since"] is None else "; it stays stopped until it is released"
        yield f"{_whom(hold)}: {hold['mails']} mails deleted{stays}"
    for hold in found.get("holds", []):
        stopped = "" if hold["since"] is None else f"stopped since {moment(hold['since'])}, "
        if hold["seconds_left"] is not None:
            stopped = f"mail of one content is blocked, {span(hold['seconds_left'])} left, "
        yield f"{_whom(hold)}: {stopped}{hold['mails']} mails wait; {_KINDS.get(hold['kind'], hold['kind'])}"
    for pause in found.get("pauses", []):
        left, limit = span(pause["seconds_left"]), pause["limit"] and Limit(**pause["limit"])
        yield f"{_whom(pause)}: paused since {moment(pause['since'])}, {left} left; {exceeded(limit)}"
    for window in found.get("windows", []):
        used = f"{window['counted']} of {window['most'] or '?'} {window['unit']} in {span(window['per'])}"
        yield f"{_whom(window)}: {used} since {moment(window['since'])}, {span(window['seconds_left'])} left"
    if not any(found.values()):
        yield from [text for key, text in _NOTHING.items() if key in found][:1]


def _whom(found: dict[str, Any]) -> str:
    name = "host" if found["scope"] == "host" else f"{found['scope']} {found['name']}"
    return f"{name}, {'sending' if found['direction'] == 'send' else 'receiving'}"


def exceeded(limit: Limit | None) -> str:
    """The reason of a pause."""
    if limit is None:
        return "the limit is unknown"
    return f"it exceeded {limit.most} {limit.unit} in {span(limit.per)}"
