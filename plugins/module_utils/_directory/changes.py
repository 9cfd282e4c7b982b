# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run is asked to do, and the changes that follow from it.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from .model import effective
from .rows import INVENTORY, AccountRow, AliasRow, DomainRow, FormerDomainRow, TenantRow

Action = Literal["create", "change", "restore", "close"]


@dataclass(frozen=True)
class Scope:
    """The part of the directory that a run is about.  It leaves everything else alone.  None: all of it."""

    tenants: frozenset[str] | None = None
    accounts: frozenset[str] | None = None  # addresses
    aliases: frozenset[str] | None = None  # addresses
    settings: bool = True  # plans, tenants and domains too

    def has_tenant(self, name: str) -> bool:
        return self.tenants is None or name in self.tenants

    def has_account(self, address: str) -> bool:
        return self.accounts is None or address in self.accounts

    def has_alias(self, address: str) -> bool:
        return self.aliases is None or address in self.aliases


@dataclass(frozen=True)
class Hold:
    """A hold to place on one account or tenant."""

    scope: str  # one of HOLD_SCOPES
    reason: str
    until: int | None = None  # seconds since 1970


@dataclass(frozen=True)
class HoldOrder:
    """Holds to place on one account (by address) or tenant (by name), and scopes whose holds it loses."""

    address: str | None
    tenant: str | None
    place: tuple[Hold, ...] = ()
    release: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Options:
    """How a run decides.

    `explicit`: a caller named each object in scope, so an object that is not declared is to be removed.
    Otherwise a file may just be missing.
    """

    origin: str = INVENTORY
    scope: Scope = Scope()
    purge: bool = False
    explicit: bool = False
    expect_closed: int | None = None
    enforce_passwords: bool = False  # set a declared plain password at every run, not only on creation
    fingerprint_key: bytes = b""
    secret_keys: frozenset[str] = frozenset()  # ids of the host's keys to secrets; without one no secret is made
    holds: HoldOrder | None = None


@dataclass
class PlanChange:
    """`before` is None for a new plan, `after` for one that is removed."""

    name: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass
class TenantChange:
    """`before` is None for a new tenant, `after` for one that is removed."""

    name: str
    before: TenantRow | None
    after: TenantRow | None


@dataclass
class DomainChange:
    """`before` is None for a new domain, `after` for one that is removed."""

    name: str
    before: DomainRow | None
    after: DomainRow | None


@dataclass
class DomainRename:
    """A domain gets another name, with everything in it."""

    tenant: str
    before: str
    after: str


@dataclass
class DomainMove:
    """A domain passes from tenant to tenant, with its mailboxes and aliases."""

    name: str
    before: str
    after: str


@dataclass
class AccountChange:
    """`fields` are the columns of directory.account to write; `plain` is hashed into them before."""

    action: Action
    local_part: str
    domain: str
    tenant: str
    row: AccountRow | None  # before the run; None: the account is new
    fields: dict[str, Any] = field(default_factory=dict)
    plain: str | None = None
    enforced: bool = False  # the directory remembers `plain` as the password that a run enforces
    recoverable: bool = False  # the plan has legacy_auth: `plain` is kept encrypted too

    @property
    def address(self) -> str:
        return f"{self.local_part}@{self.domain}"

    @property
    def renamed(self) -> bool:
        return self.action == "change" and self.row is not None and self.row.local_part != self.local_part


@dataclass
class AliasChange:
    """`before` is None for a new alias, `targets` for one that is removed."""

    local_part: str
    domain: str
    tenant: str
    before: AliasRow | None
    targets: tuple[str, ...] | None

    @property
    def address(self) -> str:
        return f"{self.local_part}@{self.domain}"


@dataclass
class Handover:
    """All addresses of a tenant pass from one origin (files or panel) to another."""

    tenant: str
    before: str
    after: str


@dataclass
class Settings:
    """Plans, tenants and domains as they are after the run."""

    plans: dict[str, dict[str, Any]]
    tenants: dict[str, TenantRow]
    domains: dict[str, DomainRow]
    former_domains: dict[str, str] = field(default_factory=dict)  # present names by former names that still take mail

    def present(self, domain: str) -> str:
        """The present name of a domain."""
        return self.former_domains.get(domain, domain)

    def legacy_auth(self, tenant: str) -> bool:
        """Whether passwords of `tenant` are stored so that they can be decrypted."""
        row = self.tenants[tenant]
        return bool(effective(self.plans.get(row.plan, {}), row.overrides)["legacy_auth"])

    def renamed_alias(self, tenant: str) -> int:
        """Seconds for which a renamed account of `tenant` keeps its old address."""
        return self._seconds(tenant, "renamed_alias")

    def renamed_domain(self, tenant: str) -> int:
        """Seconds for which a renamed domain of `tenant` takes mail for its old name."""
        return self._seconds(tenant, "renamed_domain")

    def _seconds(self, tenant: str, key: str) -> int:
        row = self.tenants[tenant]
        return int(effective(self.plans.get(row.plan, {}), row.overrides)[key] or 0)


@dataclass
class Changes:
    """Everything that a run will write and report.  Nothing of it is written yet."""

    origin: str
    settings: Settings
    plans: list[PlanChange] = field(default_factory=list)
    tenants: list[TenantChange] = field(default_factory=list)
    domains: list[DomainChange] = field(default_factory=list)  # under their new names
    renamed_domains: list[DomainRename] = field(default_factory=list)
    moved_domains: list[DomainMove] = field(default_factory=list)
    ended_domains: list[FormerDomainRow] = field(default_factory=list)  # former names that the directory forgets
    accounts: list[AccountChange] = field(default_factory=list)
    aliases: list[AliasChange] = field(default_factory=list)
    handovers: list[Handover] = field(default_factory=list)
    holds: HoldOrder | None = None  # None: no hold changes
    unchanged: int = 0  # addresses
    undeclared: list[str] = field(default_factory=list)
    without_password: list[str] = field(default_factory=list)  # declared accounts that may log in but have no password
    warnings: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        rows = (self.plans, self.tenants, self.domains, self.accounts, self.aliases, self.handovers)
        domains = self.renamed_domains or self.moved_domains or self.ended_domains
        return any(rows) or bool(domains) or self.holds is not None

    @property
    def may_end_sessions(self) -> bool:
        """Whether an account may have lost the right to log in."""
        accounts = any(change.action != "create" for change in self.accounts)
        return accounts or bool(self.tenants or self.renamed_domains or self.moved_domains) or self.holds is not None

    @property
    def logins_anew(self) -> frozenset[str]:
        """Logins that got another password or stand for another account.  Their open sessions end."""
        return frozenset(
            change.address
            for change in self.accounts
            if change.action in ("create", "restore") or change.renamed or "password" in change.fields
        )

    def resettled(self) -> list[str]:
        """The tenants whose plan or overrides change."""
        plans = {plan.name for plan in self.plans}
        named = {tenant.name for tenant in self.tenants if tenant.after}
        return [row.name for row in self.settings.tenants.values() if row.plan in plans or row.name in named]

    def of(self, action: Action) -> list[AccountChange]:
        """The accounts to `create`, `change`, `restore` or `close`."""
        return [change for change in self.accounts if change.action == action]

    def counts(self) -> dict[str, int]:
        """Numbers of addresses (accounts and aliases) by what the run did to them."""
        renamed = sum(change.renamed for change in self.accounts)
        return {
            "created": len(self.of("create")) + sum(alias.before is None for alias in self.aliases),
            "changed": len(self.of("change"))
            - renamed
            + sum(alias.before is not None and alias.targets is not None for alias in self.aliases),
            "renamed": renamed,
            "closed": len(self.of("close")),
            "restored": len(self.of("restore")),
            "removed": sum(alias.targets is None for alias in self.aliases),
            "unchanged": self.unchanged,
        }
