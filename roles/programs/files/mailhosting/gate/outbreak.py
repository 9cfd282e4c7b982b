# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guards against a bad signature: a name of a virus that suddenly hits mail of many tenants waits for an operator.

Valkey counts the tenants of each name; `virus:NAME` is a sorted set of tenants by the time of their last mail with it.
The directory has the verdicts, because a restart of Valkey may lose what it counts.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, Literal

from ..common import keys
from ..common.errors import ValkeyError
from ..common.valkey import Valkey, sound

if TYPE_CHECKING:
    from .directory import Directory

LOG: Final = logging.getLogger(__name__)

#: `accepted`: it is a virus, and each tenant's policy says what is done.  `ignored`: the signature is bad, so the mail
#: passes this finding.  `deferred`: the mail waits until an operator decides.
Verdict = Literal["accepted", "ignored", "deferred"]

#: Mail of so many tenants within so many seconds makes a name suspect.
TENANTS: Final = 10
SECONDS: Final = 600

#: Keys of one SCAN: others are served in between.
_CHUNK: Final = 1000


class OutbreakGuard:
    """Safe for many threads."""

    def __init__(self, directory: Directory, valkey: Valkey) -> None:
        self._directory: Final = directory
        self._valkey: Final = valkey

    def verdict(self, name: str, tenant_id: int) -> Verdict:
        """Count that a signature of this name matches mail of a tenant; what is to be done about that finding.

        While Valkey does not answer, mail with a name without a verdict is deferred.  Raises: DirectoryError.
        """
        known = self._directory.virus_verdict(name)
        if known in ("accepted", "ignored"):
            return _verdict(known)
        try:
            tenants = self._count(name, tenant_id)
        except ValkeyError as error:
            LOG.warning("virus %s: mail is deferred, because its tenants are not counted: %s", name, error)
            return "deferred"
        if known is None and tenants >= TENANTS:
            LOG.warning("virus %s: mail is deferred, because it hits %d tenants within %d s", name, tenants, SECONDS)
            known = self._directory.suspect_virus(name, tenants)
        return _verdict(known or "accepted")

    def _count(self, name: str, tenant_id: int) -> int:
        """Add a tenant to those of a name; how many there are now."""
        key, now = keys.virus(name), int(time.time())
        replies = self._valkey.ask(
            ("ZADD", key, now, tenant_id),
            ("EXPIRE", key, SECONDS),
            ("ZREMRANGEBYSCORE", key, "-inf", now - SECONDS),
            ("ZCARD", key),
        )
        return [int(sound(reply)) for reply in replies][-1]


def counted(valkey: Valkey) -> dict[str, int]:
    """The tenants that each name hits now, by name.  Raises: ValkeyError."""
    found: set[str] = set()
    cursor = "0"
    while True:
        (reply,) = valkey.ask(("SCAN", cursor, "MATCH", keys.VIRUSES, "COUNT", _CHUNK))
        after, names = sound(reply)
        found.update(name.decode("utf-8", "surrogateescape") for name in names)
        cursor = after.decode()
        if cursor == "0":
            break
    since = int(time.time()) - SECONDS + 1
    counts = {key: int(sound(valkey.ask(("ZCOUNT", key, since, "+inf"))[0])) for key in sorted(found)}
    return {keys.virus_of(key): count for key, count in counts.items() if count}


def _verdict(text: str) -> Verdict:
    match text:
        case "accepted" | "ignored" | "deferred":
            return text
    raise ValueError(text)
