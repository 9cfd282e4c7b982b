# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is paused by which limit, and an end to it.

A NAME is a tenant's, an account's address, or `host` for all of it.  Of a NAME, what it has used of its limits is shown
too.  After a lift its limits begin anew.  For root.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, get_args

# The package lies beside this file.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from mailhosting_gate.counters import Counters
from mailhosting_gate.model import HOST, Direction, Limit, Party, Pause, Scope, Window
from mailhosting_gate.valkey import Down, Valkey

#: Settings of the gate's own units.
DIRECTORY: Final = os.environ.get("GATE_DIRECTORY", "dbname=mailhosting host=/var/run/postgresql user=mailhosting")
SOCKET: Final = os.environ.get("GATE_VALKEY_SOCKET", "/run/valkey/valkey.sock")
USER: Final = os.environ.get("GATE_VALKEY_USER", "gate")
PASSWORD: Final = os.environ.get("GATE_VALKEY_PASSWORD", "")

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


class Failed(Exception):
    """It cannot be done; the text says what and why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked and print it; the exit code."""
    options = _parse(arguments)
    try:
        with closing(Valkey(SOCKET, USER, PASSWORD)) as valkey:
            found = _run(Counters(valkey, lambda _tenant_id: ()), options)
    except (Failed, Down) as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(found))
    else:
        print("\n".join(_sentences(found)))
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mailhosting-limits", description=__doc__)
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="for programs")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", parents=[as_json], help="all pauses, or those of NAME and what it has used")
    show.add_argument("name", metavar="NAME", nargs="?")
    lift = commands.add_parser("lift", parents=[as_json], help="end the pauses of NAME")
    lift.add_argument("name", metavar="NAME")
    lift.add_argument("direction", nargs="?", choices=get_args(Direction), help="only of what it sends or receives")
    return parser.parse_args(arguments)


def _run(counters: Counters, options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    if options.name is None:
        pauses = counters.pauses()
        names = names_of([(pause.party.scope, pause.party.id) for pause in pauses])
        return {"pauses": [_described(pause, names) for pause in pauses]}
    scope, number, name = resolve(options.name)
    names = {(scope, number): name}
    if options.command == "lift":
        directions = (options.direction,) if options.direction else get_args(Direction)
        lifted = [counters.lift(Party(scope, number, direction)) for direction in directions]
        return {"lifted": [_described(pause, names) for pause in lifted if pause]}
    pauses, windows = counters.state(scope, number)
    return {
        "pauses": [_described(pause, names) for pause in pauses],
        "windows": [_described(window, names) for window in windows],
    }


def resolve(name: str) -> tuple[Scope, int, str]:
    """Whom a NAME means, and how it is called; Failed."""
    if name == "host":
        return "host", HOST, name
    local_part, at, domain = name.lower().rpartition("@")
    if at:
        rows = _ask(f"{_ACCOUNTS} AS account WHERE local_part = %s AND domain = %s", local_part, domain)
    else:
        rows = _ask(f"{_TENANTS} WHERE tenant = %s", name)
    for number, called in rows:
        return ("account" if at else "tenant"), number, called
    raise Failed(f"{name}: there is no such {'account' if at else 'tenant'}")


def names_of(subjects: Iterable[Subject]) -> dict[Subject, str]:
    """How each is called; those of which nothing is known, or while the directory is down, by number."""
    names = {subject: "host" if subject[0] == "host" else f"#{subject[1]}" for subject in subjects}
    try:
        for scope, query in _BY_ID:
            numbers = [number for of, number in names if of == scope]
            names |= {(scope, number): name for number, name in (_ask(query, numbers) if numbers else [])}
    except Failed as error:
        print(error, file=sys.stderr)
    return names


def _ask(query: str, *values: object) -> list[tuple[int, str]]:
    import psycopg

    try:
        with psycopg.connect(DIRECTORY, autocommit=True, connect_timeout=3) as connection:
            return connection.execute(query.encode(), values).fetchall()
    except psycopg.Error as error:
        raise Failed(f"the directory: {' '.join(str(error).split())}") from error


def _described(found: Pause | Window, names: dict[Subject, str]) -> dict[str, Any]:
    """As in JSON: the party's fields and its name among the others."""
    fields = asdict(found)
    party = fields.pop("party")
    return {**party, "name": names[party["scope"], party["id"]], **fields}


def _sentences(found: dict[str, list[dict[str, Any]]]) -> Iterable[str]:
    for pause in found.get("lifted", []):
        yield f"{_whom(pause)}: the pause is lifted, its limits begin anew"
    for pause in found.get("pauses", []):
        left = _span(pause["seconds_left"])
        yield f"{_whom(pause)}: paused since {_time(pause['since'])}, {left} left; {_why(pause)}"
    for window in found.get("windows", []):
        used = f"{window['counted']} of {window['most'] or '?'} {window['unit']} in {_span(window['per'])}"
        yield f"{_whom(window)}: {used} since {_time(window['since'])}, {_span(window['seconds_left'])} left"
    if not any(found.values()):
        yield "nothing is paused" if "pauses" in found else "nothing was paused"


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
    sys.exit(main())
