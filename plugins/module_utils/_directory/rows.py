# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the directory, typed: one tuple each.

PRIVATE to the collection: it can have breaking changes at any time.

Tuples, because there may be hundreds of thousands and a run only compares most of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple

from .model import UNSET, Autoreply, Forward, Unset

#: Origins of rows.
INVENTORY: Final = "inventory"
MODULE: Final = "module"
PANEL: Final = "panel"

#: Origin of holds that an operator places through the modules.
OPERATOR: Final = "operator"
#: Origin of holds that the gate places because of bulk mail, and releases.
GATE: Final = "gate"
#: Origin of holds that `mailhosting lock` places on an abused account and `mailhosting unlock` lifts.
ABUSE: Final = "abuse"

MADE_BY: Final = {
    INVENTORY: "declared in the inventory's files",
    MODULE: "made by a module",
    PANEL: "made in the panel",
    "system": "made by the system",
}


class TenantRow(NamedTuple):
    """A row of directory.tenant.  `mailboxes` counts its accounts, closed ones included."""

    name: str
    plan: str
    overrides: dict[str, Any]
    state: str
    addresses_managed_by: str
    language: str
    contacts: dict[str, str]
    origin: str
    mailboxes: int


class DomainRow(NamedTuple):
    """A row of directory.domain."""

    name: str
    tenant: str
    hostnames: tuple[str, ...]
    catch_all: str | None = None


class FormerDomainRow(NamedTuple):
    """A row of directory.former_domain."""

    name: str
    domain: str  # its present name
    age: int  # seconds since the rename


class AccountRow(NamedTuple):
    """An account with its present address or, once closed, its last one."""

    id: int
    local_part: str
    domain: str
    tenant: str
    state: str
    quota: int | None  # bytes; 0: no limit; None: the plan's
    origin: str  # empty once closed
    password: str | None
    password_applied: bool | None  # None: no run enforces it; False: a run does, but the user has changed it since
    password_fingerprint: str | None
    forward_to: list[str] | None
    forward_keep: bool | None
    forward_applied: dict[str, Any] | None  # in the form of `forward_value`; None: no run enforces it
    autoreply: dict[str, Any] | None  # attributes of an `Autoreply`
    autoreply_applied: dict[str, Any] | None  # in the form of `autoreply_value`; None: no run enforces it
    secret_key: str | None  # id of the key that encrypted its secret; None: it has no secret
    swapped_from: str | None  # in a swap of names: the local part that its file gives as renamed_from

    @property
    def address(self) -> str:
        return f"{self.local_part}@{self.domain}"

    @property
    def forward(self) -> Forward | None:
        return Forward(tuple(self.forward_to), bool(self.forward_keep)) if self.forward_to else None

    @property
    def enforced_forward(self) -> Forward | Unset | None:
        if self.forward_applied is None:
            return UNSET
        return (
            Forward(tuple(self.forward_applied["to"]), self.forward_applied["keep"]) if self.forward_applied else None
        )


def new_account_row(local_part: str, domain: str) -> AccountRow:
    """The row of an account that does not exist yet: every declared attribute differs from it."""
    return AccountRow(
        id=0,
        local_part=local_part,
        domain=domain,
        tenant="",
        state="",
        quota=None,
        origin="",
        password=None,
        password_applied=None,
        password_fingerprint=None,
        forward_to=None,
        forward_keep=None,
        forward_applied=None,
        autoreply=None,
        autoreply_applied=None,
        secret_key=None,
        swapped_from=None,
    )


class AliasRow(NamedTuple):
    """An alias; its tenant is the tenant of its domain."""

    local_part: str
    domain: str
    targets: list[str]
    origin: str

    @property
    def address(self) -> str:
        return f"{self.local_part}@{self.domain}"


class HoldRow(NamedTuple):
    """A row of directory.hold; either `account_id` or `tenant` is None."""

    account_id: int | None
    tenant: str | None
    scope: str
    reason: str
    until: int | None  # seconds since 1970; None: until an operator lifts it
    origin: str
    in_force: bool = True


def autoreply_value(autoreply: Autoreply | None) -> dict[str, Any]:
    """`autoreply` in the form of directory.account.autoreply_applied; empty for "no auto-reply"."""
    return asdict(autoreply) if autoreply else {}


def forward_value(forward: Forward | None) -> dict[str, Any]:
    """`forward` in the form of directory.account.forward_applied; empty for "no forwarding"."""
    return {"to": list(forward.to), "keep": forward.keep} if forward else {}


@dataclass
class Current:
    """The directory, or the part of it that was loaded.

    Plans, tenants, domains, former names of domains, and holds are always complete; `accounts`, `aliases` and `closed`
    are those of the `loaded` tenants (None: all).
    """

    plans: dict[str, dict[str, Any]] = field(default_factory=dict)
    tenants: dict[str, TenantRow] = field(default_factory=dict)
    domains: dict[str, DomainRow] = field(default_factory=dict)
    former_domains: dict[str, FormerDomainRow] = field(default_factory=dict)  # some may have expired
    accounts: dict[str, AccountRow] = field(default_factory=dict)  # by address
    aliases: dict[str, AliasRow] = field(default_factory=dict)  # by address
    closed: dict[tuple[str, str], AccountRow] = field(default_factory=dict)  # restorable, by (tenant, address)
    holds: list[HoldRow] = field(default_factory=list)
    loaded: frozenset[str] | None = None

    def alias_tenant(self, row: AliasRow) -> str:
        return self.domains[row.domain].tenant

    def present(self, domain: str) -> str:
        """The present name of a domain."""
        former = self.former_domains.get(domain)
        return former.domain if former and domain not in self.domains else domain

    def holder(self, address: str) -> str:
        """The owner of `address`, for a message: `an account of tenant acme, made by a module`."""
        account = self.accounts.get(address)
        if account is not None:
            return f"an account of tenant {account.tenant}, {MADE_BY[account.origin]}"
        alias = self.aliases[address]
        return f"an alias of tenant {self.alias_tenant(alias)}, {MADE_BY[alias.origin]}"

    def not_loaded(self, addresses: Iterable[str]) -> frozenset[str]:
        """The tenants that own a domain in `addresses` and whose addresses were not loaded."""
        if self.loaded is None:
            return frozenset()
        rows = (self.domains.get(self.present(address.rpartition("@")[2])) for address in addresses)
        return frozenset(row.tenant for row in rows if row is not None) - self.loaded
