# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mailboxes, Valkey and the directory, as this program uses them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

from ..common import doveadm, keys, valkey
from ..common.directory import Connection, Connections
from ..common.errors import DoveadmError
from ..common.valkey import Command, sound
from .model import Account

LOG: Final = logging.getLogger(__name__)

#: Keys of one call, so that Valkey can answer other clients in between.
_MANY: Final = 1000
#: Seconds for one run of doveadm.
_DOVEADM_SECONDS: Final = 600


class Directory:
    """The mailboxes, and the place for their usage.  Every method raises DirectoryError."""

    def __init__(self, conninfo: str) -> None:
        self._connections: Final = Connections(conninfo)

    def accounts(self, usernames: Iterable[str] | None = None) -> list[Account]:
        """All mailboxes, or those of `usernames`."""
        query = "SELECT account_id, username, tenant_id FROM v1.usage_account"
        if usernames is None:
            return list(map(Account._make, self._connections.ask(query)))
        return list(map(Account._make, self._connections.ask(f"{query} WHERE username = ANY(%s)", list(usernames))))

    def tenants(self) -> list[int]:
        """Ids of all tenants."""
        return [number for (number,) in self._connections.ask("SELECT tenant_id FROM v1.usage_tenant")]

    def quota_rechecks(self) -> list[Account]:
        """Mailboxes whose quota or thresholds have changed since the last comparison."""
        usernames = [username for (username,) in self._connections.ask("SELECT username FROM v1.quota_rechecks()")]
        return self.accounts(usernames) if usernames else []

    def compare_quotas(self, used: Mapping[Account, int]) -> None:
        """Queue a notice for each mailbox that, with these bytes, has reached a threshold or fallen below one."""
        if used:
            # In KiB, like the function of the release before.
            kibibytes = {account.username: size // 1024 for account, size in used.items()}
            self._connections.ask("SELECT v1.compare_quotas(%s::jsonb)", json.dumps(kibibytes))

    def record(
        self, used: Mapping[int, int], day: date, counters: Mapping[date, Mapping[int, Mapping[str, int]]], epoch: str
    ) -> None:
        """Bytes in use by account id, the state of `day`, and counters of days by tenant id; all or nothing."""
        statements: list[tuple[str, Sequence[object]]] = [("SELECT v1.record_usage(%s)", [json.dumps(used)])]
        statements.append(("SELECT v1.record_day(%s)", [day]))
        for of_day, by_tenant in counters.items():
            statements.append(("SELECT v1.record_counters(%s, %s, %s)", [of_day, epoch, json.dumps(by_tenant)]))
        self._connections.do(lambda connection: _write(connection, statements))

    def record_day(self, day: date) -> None:
        """Write the state of `day` with the bytes that the directory has."""
        self._connections.do(lambda connection: _write(connection, [("SELECT v1.record_day(%s)", [day])]))


def _write(connection: Connection, statements: Iterable[tuple[str, Sequence[object]]]) -> None:
    with connection.transaction():
        for statement, arguments in statements:
            connection.execute(statement.encode(), arguments)


class Valkey:
    """Bytes of mailboxes and counts of days in Valkey.  Every method raises ValkeyError."""

    def __init__(self, path: str, username: str, password: str) -> None:
        # Call a Valkey that did not answer again at once, to learn when it is back.
        self._valkey: Final = valkey.Valkey(path, username, password, rest=0)

    def state(self) -> tuple[str, str | None]:
        """The id of this run of Valkey, and its epoch if it has one."""
        server, epoch = self._ask([("INFO", "server"), ("GET", keys.USAGE_EPOCH)])
        lines = dict(line.split(":", 1) for line in server.decode().splitlines() if ":" in line)
        return lines["run_id"], None if epoch is None else _text(epoch)

    def wanted(self) -> list[str]:
        """Take some of the usernames whose usage a program did not find, and remove them from that list."""
        (names,) = self._ask([("SPOP", keys.USAGE_WANTED, _MANY)])
        return sorted(map(_text, names or ()))

    def used(self, accounts: Sequence[Account]) -> dict[Account, int | None]:
        """Bytes in use; None for a value that is missing or not a number."""
        values: list[bytes | None] = []
        for some in _batches([keys.usage_storage(account.id, account.username) for account in accounts]):
            values += self._ask([("MGET", *some)])[0]
        return {account: _number(value) for account, value in zip(accounts, values, strict=True)}

    def fill(self, used: Mapping[Account, int]) -> int:
        """Write the values that are still missing; return how many."""
        return self._set((account, size, ("NX",)) for account, size in used.items())

    def correct(self, corrections: Mapping[Account, tuple[int, int]]) -> int:
        """Replace each value that is still `before` by `after`; return how many."""
        return self._set((account, after, ("IFEQ", before)) for account, (before, after) in corrections.items())

    def _set(self, values: Iterable[tuple[Account, int, tuple[str | int, ...]]]) -> int:
        commands = [
            ("SET", keys.usage_storage(account.id, account.username), size, *condition)
            for account, size, condition in values
        ]
        return sum(answer is not None for answer in self._ask(commands))

    def forget(self, gone: Iterable[tuple[int, str]]) -> int:
        """Remove the keys of accounts, by id and username."""
        return sum(
            bool(answer)
            for answer in self._ask([("DEL", keys.usage_storage(*of), keys.usage_messages(*of)) for of in gone])
        )

    def known(self) -> set[tuple[int, str]]:
        """Id and username of every account that has a key."""
        found: set[tuple[int, str]] = set()
        cursor = "0"
        while True:
            ((after, names),) = self._ask([("SCAN", cursor, "MATCH", keys.usage_storage("*", "*"), "COUNT", _MANY)])
            accounts = map(keys.account_of_storage, map(_text, names))
            found.update(account for account in accounts if account)
            cursor = after.decode()
            if cursor == "0":
                return found

    def complete(self, epoch: str) -> None:
        """Record that usage is complete."""
        self._ask([("SET", keys.USAGE_EPOCH, epoch)])

    def counters(self, days: Iterable[date], tenant_ids: Iterable[int]) -> dict[date, dict[int, dict[str, int]]]:
        """The counts of these days by tenant, without days and tenants that have none."""
        places = [(day, tenant_id) for day in days for tenant_id in tenant_ids]
        hashes = self._ask([("HGETALL", keys.day(day.isoformat(), tenant_id)) for day, tenant_id in places])
        found: dict[date, dict[int, dict[str, int]]] = {}
        for (day, tenant_id), listed in zip(places, hashes, strict=True):
            if listed:
                pairs = zip(listed[::2], listed[1::2], strict=True)
                found.setdefault(day, {})[tenant_id] = {name.decode(): _number(value) or 0 for name, value in pairs}
        return found

    def _ask(self, commands: Iterable[Command]) -> list[Any]:
        """The replies, a part at a time."""
        return [sound(reply) for some in _batches(list(commands)) for reply in self._valkey.ask(*some)]


def _batches(listed: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(listed), _MANY):
        yield listed[start : start + _MANY]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _number(value: bytes | None) -> int | None:
    return int(value) if value is not None and value.isdigit() else None


class Mailboxes:
    """The mailboxes on the disk, as Dovecot counts them."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def measure(self, accounts: Iterable[Account]) -> dict[Account, int]:
        """Bytes in use, by one process for all.  Accounts that Dovecot does not know or cannot open are left out.

        Raises: DoveadmError.
        """
        used = {}
        by_name = {}
        for account in accounts:
            # Dovecot would create a missing mailbox only to count it.
            if (self._base / f"{account.id % 100:02d}" / str(account.id)).is_dir():
                by_name[account.username] = account
            else:
                used[account] = 0
        if by_name:
            # `quota get` prints KiB.
            said = doveadm.ask(by_name, "mailbox status", "-t", "vsize", "*", timeout=_DOVEADM_SECONDS)
            if said.complaint and not said.rows:
                raise DoveadmError(said.complaint)
            if said.complaint:
                LOG.warning("%s", said.complaint)
            used |= {by_name[row["username"]]: int(row["vsize"]) for row in said.rows}
        return used
