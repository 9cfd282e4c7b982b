# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Former names of keys of plans and of `gate_texts`, and of words in their values.  Pure.

PRIVATE to the collection: it can have breaking changes at any time.

A former name is an error whose message has the present name.  Migrations rename what the directory has stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple


class Present(NamedTuple):
    """The present name, and the release that introduced it."""

    name: str
    since: str


#: Places of keys: of a plan or of overrides, of one limit, of the gate's texts.  A word's place is the plan key that
#: has it.
PLAN: Final = ""
LIMIT: Final = "limit"
GATE_TEXTS: Final = "gate_texts"

#: By place and former name.
FORMER_NAMES: Final[Mapping[str, Mapping[str, Present]]] = {
    PLAN: {
        "mass_mail": Present("bulk_mail", "0.2.0"),
        "max_forwards": Present("max_forward_targets", "0.2.0"),
        "max_quota": Present("max_account_quota", "0.2.0"),
        "quota_notice": Present("quota_warnings", "0.2.0"),
    },
    LIMIT: {"stops": Present("pause_applies_to", "0.2.0")},
    GATE_TEXTS: {
        "mass_mail": Present("bulk_mail", "0.2.0"),
        "unknown_recipients": Present("invalid_recipients", "0.2.0"),
    },
    "bulk_mail": {
        "same_content": Present("recipients_per_content", "0.2.0"),
        "same_content_received": Present("recipients_per_content_received", "0.2.0"),
        "unknown_recipients": Present("invalid_recipients", "0.2.0"),
    },
    "max_account_quota": {"mailbox_quota": Present("plan", "0.2.0")},
    "retention": {"any": Present("received", "0.2.0")},
}


def answer(place: str, name: object, value: object = None) -> str:
    """The message for `name` and for words in its `value` if they are former names; else an empty text."""
    found = FORMER_NAMES.get(place, {}).get(name) if isinstance(name, str) else None
    if found is None:
        return ""
    inside = within(found.name, value)
    return f"is called {found.name} since {found.since}" + (f"; {inside}" if inside else "")


def within(place: str, value: object) -> str:
    """The message for all former names among a mapping's keys, or for a word; empty if there are none."""
    words: Iterable[object] = value if isinstance(value, Mapping) else [value]
    return "; ".join(f"{word}: {said}" for word in words if (said := answer(place, word)))
