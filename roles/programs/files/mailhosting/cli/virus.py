# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailhosting virus: shows names of viruses that hit mail now, and decides about those that wait for an operator."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any, Final

from ..gate.outbreak import SECONDS, TENANTS, counted
from . import host
from .directory import Ask, ask
from .host import Answer, Commands, Host
from .limits import sources, valkey_of
from .traces import in_a_line
from .words import moment, span

_TEXT: Final = f"""\
Show what viruses hit mail now, and decide about a name that waits for you.

When mail of {TENANTS} tenants has a virus of the same name within {span(SECONDS)}, a bad signature
is possible: all mail with it is deferred until you accept or ignore the name.  Nothing is
lost meanwhile, because the sending hosts try again.

  accept    it is a virus: each tenant's policy says what happens, and the name is not
            doubted again
  ignore    it is none: mail with it passes, as long as nothing else is found

A decision stays until you make the other one.  For root.

examples:
  mailhosting virus list
  mailhosting virus accept Win.Trojan.Agent-123
  mailhosting virus ignore Pdf.Exploit.Agent-456
"""

_VERDICTS: Final = "SELECT name, verdict, since FROM v1.virus_name ORDER BY name"
_DECIDE: Final = "SELECT v1.virus_decide(%s, %s)"
_DECISIONS: Final = {"accept": "accepted", "ignore": "ignored"}
_MEANINGS: Final = {
    None: "as the tenants' policies say",
    "deferred": "mail with it is deferred until you accept or ignore it",
    "accepted": "accepted: as the tenants' policies say",
    "ignored": "ignored: mail with it passes",
}


def add_to(commands: Commands) -> None:
    """Add the subcommand."""
    virus = host.add(commands, "virus", "decide about a virus that hits many tenants at once", _TEXT)
    actions = virus.add_subparsers(dest="command", metavar="list|accept|ignore", required=True)
    listed = actions.add_parser("list", help="names that hit mail now, and all decisions")
    host.add_json(listed)
    listed.set_defaults(run=_list)
    for command, purpose in (("accept", "it is a virus"), ("ignore", "it is none, let such mail pass")):
        action = actions.add_parser(command, help=purpose)
        action.add_argument("name", metavar="NAME", type=host.name)
        host.add_json(action)
        action.set_defaults(run=_decide)


def _list(_options: argparse.Namespace, on: Host) -> Answer:
    """Raises: CommandError."""
    asked = _asked(on)
    complaints: list[str] = []
    tenants: dict[str, int] = {}
    with host.complaining(complaints), closing(valkey_of(on)) as valkey:
        tenants = counted(valkey)
    verdicts = {name: (verdict, since) for name, verdict, since in asked(_VERDICTS)}
    names = []
    for name in sorted({*verdicts, *tenants}):
        verdict, since = verdicts.get(name, (None, None))
        names.append({"name": name, "verdict": verdict, "since": since, "tenants": tenants.get(name, 0)})
    return Answer({"names": names}, list(_lines(names)), complaints)


def _decide(options: argparse.Namespace, on: Host) -> Answer:
    """Raises: CommandError."""
    verdict = _DECISIONS[options.command]
    ((changed,),) = _asked(on)(_DECIDE, options.name, verdict)
    said = f"{in_a_line(options.name)}: {_MEANINGS[verdict]}" if changed else f"{in_a_line(options.name)} was {verdict}"
    return Answer({"name": options.name, "verdict": verdict, "changed": changed}, [said])


def _asked(on: Host) -> Ask:
    """A function for queries.  Raises: CommandError."""
    found = sources(on)
    on.needs_root()
    return partial(ask, found.directory)


def _lines(names: list[dict[str, Any]]) -> Iterator[str]:
    for name in names:
        since = "" if name["since"] is None else f", since {moment(name['since'])}"
        hits = f"; mail of {name['tenants']} tenants had it in the last {span(SECONDS)}" if name["tenants"] else ""
        yield f"{in_a_line(name['name'])}: {_MEANINGS[name['verdict']]}{since}{hits}"
    if not names:
        yield f"no virus was found in the last {span(SECONDS)}, and nothing was decided"
