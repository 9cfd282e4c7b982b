# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the directory holds, typed: one tuple a row.

PRIVATE to the collection: it can have breaking changes at any time.

Tuples, because there may be hundreds of thousands and most of them are only compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple

from .model import UNSET, Autoreply, Forward, Unset

#: What made a row.
INVENTORY: Final = "inventory"
MODULE: Final = "module"
PANEL: Final = "panel"

#: Who placed a hold through the modules.
OPERATOR: Final = "operator"
#: Who stops an account because of bulk mail, and releases it.
GATE: Final = "gate"
#: Who locked an account that was abused: `mailhosting lock`, whose holds `mailhosting unlock` lifts.
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
    domain: str  # what it is called now
    age: int  # seconds since it was renamed


class AccountRow(NamedTuple):
    """An account with its address: its present one or, once closed, its last."""

    id: int
    local_part: str
    domain: str
    tenant: str
    state: str
    quota: int | None  # bytes; 0: no limit; None: the plan's
    origin: str  # empty once closed
    password: str | None
    password_applied: bool | None  # None: no run enforces it; False: enforced, and changed by the user since
    password_fingerprint: str | None
    forward_to: list[str] | None
    forward_keep: bool | None
    forward_applied: dict[str, Any] | None  # as `forward_value` makes it; None: no run enforces it
    autoreply: dict[str, Any] | None  # an `Autoreply`'s attributes
    autoreply_applied: dict[str, Any] | None  # as `autoreply_value` makes it; None: no run enforces it
    secret_key: str | None  # id of the key that its secret is under; None: it has no secret
    swapped_from: str | None  # local part that a file says it was renamed from, where names were swapped

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


def nobody(local_part: str, domain: str) -> AccountRow:
    """The row of an account that does not exist yet: everything declared differs from it."""
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
    """An alias; its tenant is its domain's."""

    local_part: str
    domain: str
    targets: list[str]
    origin: str

    @property
    def address(self) -> str:
        return f"{self.local_part}@{self.domain}"


class HoldRow(NamedTuple):
    """A row of directory.hold; one of `account_id` and `tenant` is None."""

    account_id: int | None
    tenant: str | None
    scope: str
    reason: str
    until: int | None  # seconds since 1970; None: until it is lifted
    origin: str
    in_force: bool = True


def autoreply_value(autoreply: Autoreply | None) -> dict[str, Any]:
    """`autoreply` as directory.account.autoreply_applied keeps it; empty for "no auto-reply"."""
    return asdict(autoreply) if autoreply else {}


def forward_value(forward: Forward | None) -> dict[str, Any]:
    """`forward` as directory.account.forward_applied keeps it; empty for "no forwarding"."""
    return {"to": list(forward.to), "keep": forward.keep} if forward else {}


@dataclass
class Current:
    """The directory, or the part of it that was loaded.

    Plans, tenants, domains, their former names and holds are always all there; `accounts`, `aliases` and `closed` are
    those of the `loaded` tenants (None: all).
    """

    plans: dict[str, dict[str, Any]] = field(default_factory=dict)
    tenants: dict[str, TenantRow] = field(default_factory=dict)
    domains: dict[str, DomainRow] = field(default_factory=dict)
    former_domains: dict[str, FormerDomainRow] = field(default_factory=dict)  # some may have ended
    accounts: dict[str, AccountRow] = field(default_factory=dict)  # by address
    aliases: dict[str, AliasRow] = field(default_factory=dict)  # by address
    closed: dict[tuple[str, str], AccountRow] = field(default_factory=dict)  # restorable, by (tenant, address)
    holds: list[HoldRow] = field(default_factory=list)
    loaded: frozenset[str] | None = None

    def alias_tenant(self, row: AliasRow) -> str:
        return self.domains[row.domain].tenant

    def present(self, domain: str) -> str:
        """What a domain is called now."""
        former = self.former_domains.get(domain)
        return former.domain if former and domain not in self.domains else domain

    def holder(self, address: str) -> str:
        """What has `address`, for a message: `an account of tenant acme, made by a module`."""
        account = self.accounts.get(address)
        if account is not None:
            return f"an account of tenant {account.tenant}, {MADE_BY[account.origin]}"
        alias = self.aliases[address]
        return f"an alias of tenant {self.alias_tenant(alias)}, {MADE_BY[alias.origin]}"

    def not_loaded(self, addresses: Iterable[str]) -> frozenset[str]:
        """The tenants whose domains are among `addresses` and whose addresses were not loaded."""
        if self.loaded is None:
            return frozenset()
        rows = (self.domains.get(self.present(address.rpartition("@")[2])) for address in addresses)
        return frozenset(row.tenant for row in rows if row is not None) - self.loaded
