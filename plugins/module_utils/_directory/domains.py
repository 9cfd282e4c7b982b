# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reconcile, before anything else: domains that get another name, with everything in them.

PRIVATE to the collection: it can have breaking changes at any time.

The rest of a run sees the directory as if the domains had always been called what they are called now, so
that no account looks new or gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .changes import Changes, DomainRename, Options, Settings
from .model import Desired, Domain, Tenant
from .problems import Problem
from .rows import INVENTORY, AccountRow, AliasRow, Current, FormerDomainRow
from .syntax import shown

_DAY = 86400


@dataclass
class Renaming:
    """What a run renames; `current` is the directory under the new names."""

    current: Current
    renames: list[DomainRename] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def rename_domains(current: Current, desired: Desired, options: Options) -> Renaming:
    """Find every domain that has the name of a declared one's `renamed_from`; a rename that is done already is none."""
    result = Renaming(current)
    if not options.scope.settings:
        return result
    for tenant in desired.tenants.values():
        for domain in tenant.domains.values():
            if domain.renamed_from is not None:
                _rename(current, tenant, domain, domain.renamed_from, result)
    if result.renames:
        result.current = _renamed(current, result.renames)
    return result


def former_domains(current: Current, settings: Settings) -> dict[str, str]:
    """What renamed domains are called now, by their former names that still take mail."""
    return {
        row.name: row.domain
        for row in current.former_domains.values()
        if row.name not in settings.domains and _remaining(row, current, settings) > 0
    }


def end_former_domains(current: Current, desired: Desired, options: Options, changes: Changes) -> list[Problem]:
    """Forget the former names whose time is over or that their tenant uses anew; what is wrong about the others."""
    problems: list[Problem] = []
    takers = {name: (tenant, domain) for tenant in desired.tenants.values() for name, domain in tenant.domains.items()}
    new = {rename.before for rename in changes.renamed_domains}
    for row in current.former_domains.values():
        owner = current.domains[row.domain].tenant
        if owner not in changes.settings.tenants:
            continue
        remaining = _remaining(row, current, changes.settings)
        taker = takers.get(row.name)
        if taker and taker[0].name != owner and remaining > 0:
            problems.append(_taken(row, *taker, owner=desired.tenants.get(owner), name=owner, remaining=remaining))
        elif (taker or (remaining <= 0 and options.scope.has_tenant(owner))) and row.name not in new:
            changes.ended_domains.append(row)
    return problems


def _rename(current: Current, tenant: Tenant, domain: Domain, old: str, result: Renaming) -> None:
    before, after = current.domains.get(old), current.domains.get(domain.name)
    if before is None or before.tenant != tenant.name:
        if after is None and before is not None:
            message = f"{shown(old)} is a domain of tenant {before.tenant}, not of {tenant.name}"
            result.problems.append(_problem(tenant, domain, message))
        elif after is None:
            result.warnings.append(f"domain {domain.name}: there is no {old} that it could come from; it starts empty")
    elif old in tenant.domains:
        pass  # which rules.check says
    elif after is not None:
        owner = "" if after.tenant == tenant.name else f" (tenant {after.tenant})"
        message = (
            f"{shown(old)} cannot become {shown(domain.name)}, which is there already{owner}: "
            "take out renamed_from and move the addresses, or remove the other domain first"
        )
        result.problems.append(_problem(tenant, domain, message))
    else:
        result.renames.append(DomainRename(tenant.name, old, domain.name))


def _renamed(current: Current, renames: list[DomainRename]) -> Current:
    """`current` with `renames` done."""
    names = {rename.before: rename.after for rename in renames}
    former = [row._replace(domain=names.get(row.domain, row.domain)) for row in current.former_domains.values()]
    # In the way of whoever else wants the old name in the same run.
    former += [FormerDomainRow(rename.before, rename.after, age=0) for rename in renames]
    domains = (row._replace(name=names.get(row.name, row.name)) for row in current.domains.values())
    tenants = {rename.tenant for rename in renames}

    def account(row: AccountRow) -> AccountRow:
        if row.tenant in tenants and row.forward_to and row.forward_applied is None:
            row = row._replace(forward_to=_addresses(row.forward_to, names))
        return row._replace(domain=names[row.domain]) if row.domain in names else row

    def alias(row: AliasRow) -> AliasRow:
        if row.origin != INVENTORY and current.alias_tenant(row) in tenants:
            row = row._replace(targets=_addresses(row.targets, names))
        return row._replace(domain=names[row.domain]) if row.domain in names else row

    # A domain may have been another tenant's once, whose closed mailboxes are still kept.
    closed = (account(row) if row.tenant in tenants else row for row in current.closed.values())
    return replace(
        current,
        domains={row.name: row for row in domains},
        former_domains={row.name: row for row in former},
        accounts={row.address: row for row in map(account, current.accounts.values())},
        aliases={row.address: row for row in map(alias, current.aliases.values())},
        closed={(row.tenant, row.address): row for row in closed},
    )


def _addresses(addresses: Iterable[str], names: Mapping[str, str]) -> list[str]:
    parts = (address.rpartition("@") for address in addresses)
    return [f"{local_part}@{names.get(domain, domain)}" for local_part, _at, domain in parts]


def _remaining(row: FormerDomainRow, current: Current, settings: Settings) -> int:
    """Seconds for which a former name still takes mail."""
    owner = current.domains[row.domain].tenant
    return settings.renamed_domain(owner) - row.age if owner in settings.tenants else 0


def _taken(
    row: FormerDomainRow, tenant: Tenant, domain: Domain, *, owner: Tenant | None, name: str, remaining: int
) -> Problem:
    place = owner.file if owner and owner.file else f"tenant {name}"
    message = (
        f"{row.name} was renamed to {row.domain} and takes mail for tenant {name} for {-(-remaining // _DAY)} more "
        f"days: wait, or end it with renamed_domain: false in the overrides of {place}"
    )
    return Problem(tenant.file, domain.line, f"domains.{domain.name}", message)


def _problem(tenant: Tenant, domain: Domain, message: str) -> Problem:
    return Problem(tenant.file, domain.line, f"domains.{domain.name}.renamed_from", message)
