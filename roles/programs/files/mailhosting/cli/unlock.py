# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailhosting unlock: undoes `mailhosting lock`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, Final

from mailhosting_directory.rows import ABUSE

from . import host, outgoing
from .host import Answer, Commands, Host
from .lock import SCOPES, account, mails, reason_of

_TEXT: Final = """\
Undo `mailhosting lock`: the account can log in and send again, its forwarding and filters
work again, and its mail on hold in the queue is sent.  Holds that somebody else placed
stay, and so does mail that the gate holds.  For root.

First set another password (`mailhosting password`), delete the stranger's mail (`mailq`,
`postsuper -d`), and look at the forwarding and the filters that `mailhosting lock` lists.

examples:
  mailhosting unlock taro@acme.example
"""

_LIFT: Final = "DELETE FROM directory.hold WHERE account_id = %s AND origin = %s RETURNING scope"
_OTHERS: Final = """
SELECT DISTINCT h.scope FROM directory.hold h JOIN directory.account ac ON ac.id = %s
WHERE (h.account_id = ac.id OR h.tenant_id = ac.tenant_id) AND h.origin <> %s AND h.scope = ANY (%s)
AND coalesce(h.until > now(), true) ORDER BY h.scope
"""


def add_to(commands: Commands) -> None:
    """Add the subcommand."""
    parser = host.add(commands, "unlock", "undo `lock`", _TEXT)
    host.add_address(parser)
    host.add_json(parser)
    parser.set_defaults(run=_answer)


def _answer(options: argparse.Namespace, on: Host) -> Answer:
    """Raises: CommandError."""
    asked, number, called = account(options, on)
    reason = reason_of(asked, number)
    queued = outgoing.look(asked, number)
    lifted: list[str] = []
    if reason is not None:
        # Lifts the holds last: if releasing the mail fails, the account stays locked, and the operator can try again.
        outgoing.let_go(queued)
        lifted = sorted(scope for (scope,) in asked(_LIFT, number, ABUSE))
    data = {
        "address": called,
        "reason": reason,
        "lifted": lifted,
        "released": list(queued.on_hold) if lifted else [],
        "on_hold": [*([] if lifted else queued.on_hold), *queued.gates],
        "other_holds": [scope for (scope,) in asked(_OTHERS, number, ABUSE, list(SCOPES))],
    }
    return Answer(data, list(_lines(data)))


def _lines(data: dict[str, Any]) -> Iterator[str]:
    called = data["address"]
    if data["lifted"]:
        yield f"{called} is unlocked; it was locked: {data['reason']}"
        yield f"    on hold in the queue no longer: {mails(len(data['released']))}"
    else:
        yield f"{called} is not locked"
    if data["on_hold"]:
        yield f"    still on hold in the queue, {mails(len(data['on_hold']))}: {' '.join(data['on_hold'])}"
    if data["other_holds"]:
        cannot = " or ".join(SCOPES[scope] for scope in data["other_holds"])
        yield f"    other holds keep it from this: {cannot}; `mailhosting locked-out {called}` names what ends them"
