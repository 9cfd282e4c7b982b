# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A quarantine in a real directory, and what is kept there."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ansible_collections.mailhosting.stack.plugins.module_utils._directory.changes import Options
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import Account, Desired, Domain, Tenant
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.reconcile import reconcile
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Dsn, Store, connect
from mailhosting.gate.directory import Directory
from mailhosting.gate.quarantine import Holder, Original, Quarantine
from mailhosting.gate.scan.findings import Finding

TARO, HANAKO, BILL = "taro@acme.example", "hanako@acme.example", "bill@bolt.example"
EICAR = Finding("virus", "Test.Eicar", 2, "請求書.zip/eicar.com")
WEEK = 7 * 86400
MAIL = b"Subject: x\r\n\r\nevil\r\n"


def desired(*addresses: str) -> Desired:
    """These accounts, each of the tenant that its domain is named after."""
    tenants: dict[str, Tenant] = {}
    for address in addresses:
        local_part, _at, domain = address.partition("@")
        name = domain.partition(".")[0]
        made = Tenant(name, "basic", file=f"{name}.yml", addresses_file=f"{name}.yml", domains={domain: Domain(domain)})
        tenant = tenants.setdefault(name, made)
        tenant.accounts[address] = Account(local_part, domain)
    return Desired(plans={"basic": {}}, tenants=tenants)


def declare(place: Dsn, *addresses: str, purge: bool = False) -> None:
    """Make the directory so; with `purge`, and without a grace, the others are closed."""
    with closing(connect(place)) as connection:
        store = Store(connection)
        store.apply(reconcile(store.load(), desired(*addresses), Options(purge=purge)), grace=0)


def ask(place: Dsn, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of a query of the owner's."""
    with closing(connect(place)) as connection:
        return connection.execute(query, values).fetchall()


@dataclass(frozen=True)
class Kept:
    """A quarantine with taro and hanako of acme, and bill of bolt."""

    place: Dsn
    folder: Path
    directory: Directory

    def quarantine(self, size: int = 1000) -> Quarantine:
        return Quarantine(self.folder, size, self.directory)

    def holder(self, address: str, seconds: int = WEEK, recipient: str = "") -> Holder:
        """One for an account, by its address, or for a tenant, by its name."""
        name = address.rpartition("@")[2].partition(".")[0]
        ((tenant,),) = ask(self.place, "SELECT id FROM directory.tenant WHERE name = %s", name)
        found = ask(self.place, "SELECT account_id FROM v1.usage_account WHERE username = %s", address)
        return Holder(tenant, found[0][0] if found else None, recipient or address, seconds)

    def keep(
        self, *addresses: str, mail: bytes = MAIL, size: int = 1000, holders: Sequence[Holder] = (), **about: Any
    ) -> tuple[int, ...]:
        """Keep a mail for these; the ids of the entries."""
        facts: dict[str, Any] = {
            "queue_id": "4fXY",
            "direction": "inbound",
            "sender": "x@far.example",
            "subject": " =?utf-8?b?6KuL5rGC5pu4?=",
            "policy": "strip",
            "findings": (EICAR,),
        }
        whose = (*holders, *map(self.holder, addresses))
        spool = io.BytesIO(mail)
        # Its position does not matter.
        spool.seek(len(mail) // 2)
        return self.quarantine(size).keep(spool, Original(**{**facts, **about}, holders=whose))

    def files(self) -> list[bytes]:
        """The contents of all files."""
        return sorted(path.read_bytes() for path in self.folder.iterdir())

    def entries(self) -> list[tuple[Any, ...]]:
        """Id, address and tenant of all entries."""
        return ask(self.place, "SELECT id, address, tenant FROM v1.quarantine ORDER BY id")


@contextmanager
def directory_of(place: Dsn) -> Iterator[Directory]:
    """A directory, as the gate sees it."""
    directory = Directory(f"host={place.host} dbname={place.database} user=mailhosting-gate")
    yield directory
    cast("Any", directory._ask).__self__.close()


@contextmanager
def kept(place: Dsn, folder: Path) -> Iterator[Kept]:
    """An empty quarantine, in a folder that is not there yet."""
    folder.mkdir(mode=0o700)
    declare(place, TARO, HANAKO, BILL)
    with directory_of(place) as directory:
        yield Kept(place, folder, directory)
