# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is paused by which limit or stopped for mass mail, and an end to it.

A NAME is a tenant's, an account's address, #NUMBER for an account that is gone, or `host` for all of it.  Of a NAME,
what it has used of its limits is shown too.  After a lift its limits begin anew, after a release what was counted of
its mail.  For root.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

from ..common.errors import ValkeyError
from ..common.valkey import Valkey
from ..gate import crowds, held_mail
from ..gate.counters import Counters
from ..gate.held_mail import Ask, Hold, QueueFailed
from ..gate.model import HOST, Direction, Limit, Party, Pause, Scope, Window

#: How root is called in the directory, and what else is not as in the gate's own connections.
_DIRECTORY: Final[dict[str, Any]] = {
    "user": "mailhosting",
    "application_name": "mailhosting-limits",
    "options": "",
    "connect_timeout": "3",
}

# An account's id ends the path of its home.
_TENANTS: Final = "SELECT tenant_id, tenant FROM v1.tenant_settings"
_ACCOUNTS: Final = (
    "SELECT account_id, username FROM (SELECT *, split_part(home, '/', 2)::bigint AS account_id FROM v1.userdb)"
)
_BY_ID: Final[tuple[tuple[Scope, str], ...]] = (
    ("tenant", f"{_TENANTS} WHERE tenant_id = ANY(%s)"),
    ("account", f"{_ACCOUNTS} AS account WHERE account_id = ANY(%s)"),
)

Subject = tuple[Scope, int]

_DONE: Final = {"release": "released", "drop": "dropped"}
_NOTHING: Final = {
    "pauses": "nothing is paused",
    "lifted": "nothing was paused",
    "released": "nothing was stopped",
    "dropped": "no mail waited",
}
_KINDS: Final = {"mass_mail": "mass mail", "unknown_recipients": "too many unknown recipients"}


class Failed(Exception):
    """It cannot be done; the text says what and why."""


def main(file: str, arguments: Sequence[str]) -> int:
    """Do what is asked and print it; the exit code.  `file` has the gate's settings."""
    options = _parse(arguments)
    try:
        settings = _settings(file)
        ask = partial(_ask, settings["directory"])
        password = _password(settings["valkey_password_file"])
        with closing(Valkey(settings["valkey_socket"], settings["valkey_user"], password)) as valkey:
            found = _run(valkey, ask, options)
    except (Failed, ValkeyError, QueueFailed) as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(found))
    else:
        print("\n".join(_sentences(found)))
    return 0


def _settings(file: str) -> dict[str, str]:
    names = ("directory", "valkey_socket", "valkey_user", "valkey_password_file")
    try:
        settings = json.loads(Path(file).read_text(encoding="utf-8"))
        return {name: settings[name] for name in names}
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise Failed(f"{file}: not the gate's settings; the role mailhosting.stack.gate writes them") from error


def _password(file: str) -> str:
    """The gate's in Valkey; none where it has none, as in a trial."""
    try:
        return Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}; this is for root") from error


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mailhosting-limits", description=__doc__)
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="for programs")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", parents=[as_json], help="all pauses, or those of NAME and what it has used")
    show.add_argument("name", metavar="NAME", nargs="?")
    lift = commands.add_parser("lift", parents=[as_json], help="end the pauses of NAME")
    lift.add_argument("name", metavar="NAME")
    lift.add_argument("direction", nargs="?", choices=get_args(Direction), help="only of what it sends or receives")
    goes_on = "let an account send again; its mail, or the mail for a tenant, goes on"
    release = commands.add_parser("release", parents=[as_json], help=goes_on)
    deletes = "delete the mail of NAME that waits; an account stays stopped until a release"
    drop = commands.add_parser("drop", parents=[as_json], help=deletes)
    for command in (release, drop):
        command.add_argument("name", metavar="NAME")
    return parser.parse_args(arguments)


def _run(valkey: Valkey, ask: Ask, options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    counters = Counters(valkey, lambda _tenant_id: ())
    if options.name is None:
        pauses, held = counters.pauses(), _holds(valkey, ask)
        names = names_of(
            ask, [*((pause.party.scope, pause.party.id) for pause in pauses), *((h.scope, h.id) for h in held)]
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
        lifted = [counters.lift(Party(scope, number, direction)) for direction in directions]
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
        raise Failed("host: only an account or a tenant has mail that waits")
    found = [hold for hold in _all_holds(valkey, ask) if (hold.scope, hold.id) == (scope, number)]
    if command == "release":
        # First of all: the next mail would stop it again.
        crowds.release(valkey, f"{scope}:{number}")
    for hold in found:
        if command == "release":
            held_mail.release(ask, hold)
        else:
            held_mail.drop(ask, hold)
    return [_described_hold(hold, names) for hold in found if command == "release" or hold.mails]


def _holds(valkey: Valkey, ask: Ask) -> list[Hold]:
    """None of them can be told while the directory is down."""
    try:
        return _all_holds(valkey, ask)
    except Failed as error:
        print(error, file=sys.stderr)
        return []


def _all_holds(valkey: Valkey, ask: Ask) -> list[Hold]:
    found = {(hold.scope, hold.id): hold for hold in held_mail.holds(ask)}
    for number, left in crowds.stopped_tenants(valkey).items():
        hold = found.get(("tenant", number)) or Hold("tenant", number, "mass_mail", None, (), time.time())
        found["tenant", number] = replace(hold, seconds_left=left)
    return [found[subject] for subject in sorted(found)]


def resolve(ask: Ask, name: str) -> tuple[Scope, int, str]:
    """Whom a NAME means, and how it is called; Failed."""
    if name == "host":
        return "host", HOST, name
    if name.startswith("#") and name[1:].isascii() and name[1:].isdigit():
        return "account", int(name[1:]), name
    written = name.lower()
    if not name.isascii():
        # As people see it, and as they may log in.
        octets = name.encode("utf-8", "surrogateescape").hex()
        written = next((username for (username,) in ask("SELECT username FROM v1.spelled(%s)", octets)), written)
    local_part, at, domain = written.rpartition("@")
    if at:
        rows = ask(f"{_ACCOUNTS} AS account WHERE local_part = %s AND domain = %s", local_part, domain)
    else:
        rows = ask(f"{_TENANTS} WHERE tenant = %s", name)
    for number, called in rows:
        return ("account" if at else "tenant"), number, called
    raise Failed(f"{name}: there is no such {'account' if at else 'tenant'}")


def names_of(ask: Ask, subjects: Iterable[Subject]) -> dict[Subject, str]:
    """How each is called; those of which nothing is known, or while the directory is down, by number."""
    names = {subject: "host" if subject[0] == "host" else f"#{subject[1]}" for subject in subjects}
    try:
        for scope, query in _BY_ID:
            numbers = [number for of, number in names if of == scope]
            names |= {(scope, number): name for number, name in (ask(query, numbers) if numbers else [])}
    except Failed as error:
        print(error, file=sys.stderr)
    return names


def _ask(conninfo: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    import psycopg

    try:
        with psycopg.connect(conninfo, autocommit=True, **_DIRECTORY) as connection:
            return connection.execute(query.encode(), values).fetchall()
    except psycopg.Error as error:
        raise Failed(f"the directory: {' '.join(str(error).split())}") from error


def _described(found: Pause | Window, names: dict[Subject, str]) -> dict[str, Any]:
    """As in JSON: the party's fields and its name among the others."""
    fields = asdict(found)
    party = fields.pop("party")
    return {**party, "name": names[party["scope"], party["id"]], **fields}


def _described_hold(hold: Hold, names: dict[Subject, str]) -> dict[str, Any]:
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
        stopped = "" if hold["since"] is None else f"stopped since {_time(hold['since'])}, "
        if hold["seconds_left"] is not None:
            stopped = f"one content is stopped, {_span(hold['seconds_left'])} left, "
        yield f"{_whom(hold)}: {stopped}{hold['mails']} mails wait; {_KINDS.get(hold['kind'], hold['kind'])}"
    for pause in found.get("pauses", []):
        left = _span(pause["seconds_left"])
        yield f"{_whom(pause)}: paused since {_time(pause['since'])}, {left} left; {_why(pause)}"
    for window in found.get("windows", []):
        used = f"{window['counted']} of {window['most'] or '?'} {window['unit']} in {_span(window['per'])}"
        yield f"{_whom(window)}: {used} since {_time(window['since'])}, {_span(window['seconds_left'])} left"
    if not any(found.values()):
        yield from [text for key, text in _NOTHING.items() if key in found][:1]


def _whom(found: dict[str, Any]) -> str:
    name = "host" if found["scope"] == "host" else f"{found['scope']} {found['name']}"
    return f"{name}, {'sending' if found['direction'] == 'send' else 'receiving'}"


def _why(pause: dict[str, Any]) -> str:
    if pause["limit"] is None:
        return "why is not known"
    limit = Limit(**pause["limit"])
    return f"it exceeded {limit.most} {limit.unit} in {_span(limit.per)}"


def _span(seconds: int) -> str:
    """A time in its largest unit and the next: 1 h 30 min."""
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2]) or "0 s"


def _time(since: int) -> str:
    return datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
