# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared by the modules for one object: they declare that object and leave everything else as it is.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from ._directory import syntax
from ._directory.changes import Hold, HoldOrder
from ._directory.checks_after import declare_tenant
from ._directory.model import HOLD_SCOPES, Tenant
from ._directory.problems import DirectoryError
from ._directory.rows import Current
from ._directory_module import NotMadeYetError, value

#: The argument spec of the doc fragment `_directory.holds`.
HOLD_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "hold": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "scope": {"type": "str", "choices": list(HOLD_SCOPES), "required": True},
            "reason": {"type": "str", "required": True},
            "until": {"type": "str"},
        },
    },
    "release": {"type": "list", "elements": "str", "choices": list(HOLD_SCOPES), "default": []},
}


def holds(parameters: dict[str, Any], address: str | None = None, tenant: str | None = None) -> HoldOrder | None:
    """The order in the hold options.

    Raises: DirectoryError if the options contradict each other.
    """
    place = tuple(Hold(item["scope"], item["reason"], _until(item["until"])) for item in parameters["hold"])
    release = frozenset(parameters["release"])
    scopes = [hold.scope for hold in place]
    if len(set(scopes)) < len(scopes) or release & set(scopes):
        raise DirectoryError("hold, release: each scope may be named once")
    return HoldOrder(address, tenant, place, release) if place or release else None


def split(address: str) -> tuple[str, str, str]:
    """The normal form of an address option, its local part and its domain."""
    normal = value("address", syntax.address, address)
    local_part, _at, domain = normal.rpartition("@")
    return normal, local_part, domain


def target(domain: str) -> Any:
    """A converter of targets: a text without @ is a local part of `domain`."""
    return lambda text: syntax.target(text if "@" in text else f"{text}@{domain}")


def owner(current: Current, domain: str) -> Tenant:
    """The tenant that owns `domain`, as a declaration.

    Raises: NotMadeYetError if no tenant does.
    """
    row = current.domains.get(domain)
    if row is None:
        raise NotMadeYetError(f"no tenant has the domain {domain}: mail_tenant or mail_directory gives it to one")
    return declare_tenant(current, current.tenants[row.tenant])


def refuse_closed(tenant: Tenant) -> None:
    """Check that `tenant` can have accounts.

    Raises: DirectoryError if it is closed.
    """
    if tenant.state == "closed":
        raise DirectoryError(f"tenant {tenant.name} is closed: open it first (state: active)")


def _until(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise DirectoryError(
            f"hold: until: {syntax.shown(text)} is no time in ISO 8601 with an offset, "
            "such as 2026-12-01T00:00:00+00:00"
        )
    return int(moment.timestamp())
