# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mailboxes, Valkey and the directory, as far as usage is concerned."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .model import Account, Down, NoValkey

LOG: Final = logging.getLogger(__name__)

#: Keys in Valkey.  An account's: its id, then what Dovecot's dict adds to its prefix.
EPOCH: Final = "mh:1:usage:epoch"
WANTED: Final = "mh:1:usage:wanted"
_STORAGE: Final = "mh:1:usage:{}/{}/quota/storage"
_MESSAGES: Final = "mh:1:usage:{}/{}/quota/messages"
_DAY: Final = "mh:1:day:{}:{}"

#: Seconds for an answer of Valkey.
PATIENCE: Final = 1.0
#: Keys in one question.
_MANY: Final = 1000
#: Seconds for one process of Dovecot.
_DOVEADM_SECONDS: Final = 600

_Value = TypeVar("_Value")


class Directory:
    """PostgreSQL over one connection, opened when it is needed and kept.  Down where it does not answer."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def accounts(self, usernames: Iterable[str] | None = None) -> list[Account]:
        """All mailboxes, or those of `usernames`."""
        query = "SELECT account_id, username, tenant_id FROM v1.usage_account"
        if usernames is None:
            return list(map(Account._make, self._ask(query)))
        return list(map(Account._make, self._ask(f"{query} WHERE username = ANY(%s)", list(usernames))))

    def tenants(self) -> list[int]:
        """Ids of all tenants."""
        return [number for (number,) in self._ask("SELECT tenant_id FROM v1.usage_tenant")]

    def record(
        self, used: Mapping[int, int], day: date, counters: Mapping[date, Mapping[int, Mapping[str, int]]], epoch: str
    ) -> None:
        """Bytes in use by account id, the state of `day`, and counters of days by tenant id; all or nothing."""
        statements: list[tuple[str, Sequence[object]]] = [("SELECT v1.record_usage(%s)", [json.dumps(used)])]
        statements.append(("SELECT v1.record_day(%s)", [day]))
        for of_day, by_tenant in counters.items():
            statements.append(("SELECT v1.record_counters(%s, %s, %s)", [of_day, epoch, json.dumps(by_tenant)]))
        self._with(lambda connection: _write(connection, statements))

    def record_day(self, day: date) -> None:
        """The state of `day` with the bytes that are known already."""
        self._with(lambda connection: _write(connection, [("SELECT v1.record_day(%s)", [day])]))

    def _ask(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        return self._with(lambda connection: connection.execute(query.encode(), arguments).fetchall())

    def _with(self, do: Callable[[psycopg.Connection[tuple[Any, ...]]], _Value]) -> _Value:
        try:
            if self._connection is not None:
                # PostgreSQL may have been restarted since.
                with suppress(psycopg.OperationalError):
                    return do(self._connection)
                self._connection.close()
            self._connection = psycopg.connect(self._conninfo, autocommit=True)
            return do(self._connection)
        except psycopg.Error as error:
            raise Down(f"the directory: {' '.join(str(error).split())}") from error


def _write(connection: psycopg.Connection[tuple[Any, ...]], statements: Iterable[tuple[str, Sequence[object]]]) -> None:
    with connection.transaction():
        for statement, arguments in statements:
            connection.execute(statement.encode(), arguments)


class Valkey:
    """Valkey over one connection, opened when it is needed and kept.  Down where it does not answer in time."""

    def __init__(self, path: str, username: str, password: str) -> None:
        # No second try: a slow answer is what is to be noticed.
        self._client = redis.Redis(
            unix_socket_path=path,
            username=username,
            password=password,
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            lib_name=None,
            lib_version=None,
        )

    def state(self) -> tuple[str, str | None]:
        """Which run of Valkey this is, and its epoch if it has one."""
        server, epoch = self._pipeline([("INFO", "server"), ("GET", EPOCH)])
        return str(server["run_id"]), epoch

    def wanted(self) -> list[str]:
        """Usernames whose usage somebody missed, some at a time; they are wanted no more."""
        (names,) = self._pipeline([("SPOP", WANTED, _MANY)])
        return sorted(names or ())

    def used(self, accounts: Sequence[Account]) -> dict[Account, int | None]:
        """Bytes in use; None for what is missing, or is no number."""
        keys = [_STORAGE.format(account.id, account.username) for account in accounts]
        values: list[str | None] = []
        for start in range(0, len(keys), _MANY):
            values += self._pipeline([("MGET", *keys[start : start + _MANY])])[0]
        return {account: _number(value) for account, value in zip(accounts, values, strict=True)}

    def fill(self, used: Mapping[Account, int]) -> int:
        """Write what is still missing; how many were."""
        return self._set((account, size, ("NX",)) for account, size in used.items())

    def correct(self, corrections: Mapping[Account, tuple[int, int]]) -> int:
        """Replace (before, after) where it still is as before; how many were."""
        return self._set((account, after, ("IFEQ", before)) for account, (before, after) in corrections.items())

    def _set(self, values: Iterable[tuple[Account, int, tuple[object, ...]]]) -> int:
        commands = [
            ("SET", _STORAGE.format(account.id, account.username), size, *condition)
            for account, size, condition in values
        ]
        return sum(answer is not None for answer in self._pipeline(commands))

    def forget(self, gone: Iterable[tuple[int, str]]) -> int:
        """Remove the keys of accounts, by id and username."""
        commands = [("DEL", _STORAGE.format(*of), _MESSAGES.format(*of)) for of in gone]
        return sum(bool(answer) for answer in self._pipeline(commands))

    def known(self) -> set[tuple[int, str]]:
        """Id and username of every account that has a key."""
        found = set()
        try:
            for key in self._client.scan_iter(match=_STORAGE.format("*", "*"), count=_MANY):
                number, _slash, username = key.removeprefix("mh:1:usage:").removesuffix("/quota/storage").partition("/")
                if number.isdecimal() and username:
                    found.add((int(number), username))
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            raise NoValkey(f"Valkey: {error}") from error
        except redis.RedisError as error:
            # It is full, or lets this user do less.
            raise Down(f"Valkey: {error}") from error
        return found

    def complete(self, epoch: str) -> None:
        """Say that nothing is missing any more."""
        self._pipeline([("SET", EPOCH, epoch)])

    def counters(self, days: Iterable[date], tenant_ids: Iterable[int]) -> dict[date, dict[int, dict[str, int]]]:
        """What was counted on these days, by tenant; days and tenants of which nothing was are left out."""
        places = [(day, tenant_id) for day in days for tenant_id in tenant_ids]
        hashes = self._pipeline([("HGETALL", _DAY.format(day.isoformat(), tenant_id)) for day, tenant_id in places])
        found: dict[date, dict[int, dict[str, int]]] = {}
        for (day, tenant_id), counted in zip(places, hashes, strict=True):
            if counted:
                numbers = {name: _number(value) or 0 for name, value in counted.items()}
                found.setdefault(day, {})[tenant_id] = numbers
        return found

    def _pipeline(self, commands: Iterable[Sequence[object]]) -> list[Any]:
        """The answers; in parts, so that Valkey has others to answer in between."""
        listed = list(commands)
        answers: list[Any] = []
        try:
            for start in range(0, len(listed), _MANY):
                pipeline = self._client.pipeline(transaction=False)
                for command in listed[start : start + _MANY]:
                    pipeline.execute_command(*command)
                answers += pipeline.execute()
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            raise NoValkey(f"Valkey: {error}") from error
        except redis.RedisError as error:
            # It is full, or lets this user do less.
            raise Down(f"Valkey: {error}") from error
        return answers


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


class Mailboxes:
    """What lies on the disk, as Dovecot counts it."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def measure(self, accounts: Iterable[Account]) -> dict[Account, int]:
        """Bytes in use, by one process for all; accounts that Dovecot does not know, or cannot open, are left out."""
        used = {}
        by_name = {}
        for account in accounts:
            # Dovecot would make one to count nothing in it.
            if (self._base / f"{account.id % 100:02d}" / str(account.id)).is_dir():
                by_name[account.username] = account
            else:
                used[account] = 0
        for row in _doveadm(by_name) if by_name else ():
            used[by_name[row["username"]]] = int(row["vsize"])
        return used


def _doveadm(usernames: Iterable[str]) -> list[dict[str, str]]:
    """Each mailbox's whole size.  `quota get` says KiB."""
    command = ["doveadm", "-f", "json", "mailbox", "status", "-F", "/dev/stdin", "-t", "vsize", "*"]
    # doveadm takes no list from a pipe.
    with os.fdopen(os.memfd_create("users"), "w") as file:
        file.write("".join(f"{username}\n" for username in usernames))
        file.flush()
        try:
            done = subprocess.run(
                command, stdin=file, capture_output=True, text=True, check=False, cwd="/", timeout=_DOVEADM_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Down(f"doveadm: {error}") from error
    try:
        rows: list[dict[str, str]] = json.loads(done.stdout or "[]")
    except ValueError:
        rows = []
    if done.returncode:
        said = "; ".join((done.stderr.strip().splitlines() or ["no message"])[:3])
        if not rows:
            raise Down(f"doveadm ended with {done.returncode}: {said}")
        # One broken mailbox must not keep all others from being counted.
        LOG.warning("doveadm: %s", said)
    return rows
