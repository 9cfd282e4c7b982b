# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reconcile, first of all: domains that get another tenant or another name, with everything in them.

PRIVATE to the collection: it can have breaking changes at any time.

The rest of a run sees the directory as if these domains had always had their new names and tenants, so no account looks
new or gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from .changes import Changes, DomainMove, DomainRename, Options, Settings
from .model import Desired, Domain, Tenant
from .problems import Problem
from .rows import INVENTORY, AccountRow, AliasRow, Current, DomainRow, FormerDomainRow
from .rules_of_items import move_not_said
from .syntax import shown

_DAY = 86400


@dataclass
class Renaming:
    """The moves and renames of a run; `current` is the directory with them done."""

    current: Current
    moves: list[DomainMove] = field(default_factory=list)
    renames: list[DomainRename] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unmovable: bool = False  # `problems` has the reason; addresses of such a domain are not checked further


def move_and_rename_domains(current: Current, desired: Desired, options: Options) -> Renaming:
    """Find every domain that a declared domain's `moved_from` or `renamed_from` refers to.

    Moves and renames that were done before are left out.
    """
    result = Renaming(current)
    if not options.scope.settings:
        return result
    _move_all(desired, result)
    current = result.current
    for tenant in desired.tenants.values():
        for domain in tenant.domains.values():
            if domain.renamed_from is not None:
                _rename(current, tenant, domain, domain.renamed_from, result)
    if result.renames:
        result.current = _renamed(current, result.renames)
    return result


def former_domains(current: Current, settings: Settings) -> dict[str, str]:
    """Present names of renamed domains, by their former names that still take mail."""
    return {
        row.name: row.domain
        for row in current.former_domains.values()
        if row.name not in settings.domains and _remaining(row, current, settings) > 0
    }


def end_former_domains(current: Current, desired: Desired, options: Options, changes: Changes) -> list[Problem]:
    """Drop former names that have expired or that their tenant uses anew; returns the problems with the others."""
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


def still_lead_there(current: Current, changes: Changes) -> list[str]:
    """Warnings of a tenant's targets in domains that another tenant has now."""
    found = []
    for move in changes.moved_domains:
        left = changes.settings.tenants.get(move.before)
        named = [(f"contacts.{role}", address) for role, address in left.contacts.items()] if left else []
        named += [
            (f"catch_all of {row.name}", row.catch_all)
            for row in changes.settings.domains.values()
            if row.tenant == move.before and row.catch_all
        ]
        named += _targets(current, changes, move.before)
        found += [
            f"tenant {move.before}: {what} {address} is an address of tenant {move.after} now"
            for what, address in named
            if address.rpartition("@")[2] == move.name
        ]
    return found


def _targets(current: Current, changes: Changes, tenant: str) -> list[tuple[str, str]]:
    """Targets of a tenant's aliases and forwards after the run, each with the address that has it."""
    goes_to = {
        alias.address: tuple(alias.targets)
        for alias in current.aliases.values()
        if current.alias_tenant(alias) == tenant
    }
    goes_to |= {row.address: tuple(row.forward_to or ()) for row in current.accounts.values() if row.tenant == tenant}
    for alias in changes.aliases:
        if alias.tenant == tenant:
            goes_to[alias.address] = alias.targets or ()
    for change in changes.accounts:
        if change.tenant == tenant and "forward_to" in change.fields:
            goes_to[change.address] = tuple(change.fields["forward_to"] or ())
    return [(f"the target of {address}", target) for address, targets in goes_to.items() for target in targets]


def _move_all(desired: Desired, result: Renaming) -> None:
    """Find the moves; both tenants must declare them, and both must be in the run."""
    current = result.current
    refused = set()
    for tenant in desired.tenants.values():
        for domain in tenant.domains.values():
            row = current.domains.get(domain.name)
            if domain.moved_from is None or (row and row.tenant == tenant.name):
                continue
            if row is None:
                result.warnings.append(
                    f"domain {domain.name}: tenant {domain.moved_from} has no such domain; it starts empty"
                )
            elif problem := _not_movable(current, desired, tenant, domain, row):
                refused.add(domain.name)
                path = f"domains.{domain.name}.moved_from"
                result.problems.append(Problem(tenant.file, domain.line, path, problem))
            else:
                result.moves.append(DomainMove(domain.name, row.tenant, tenant.name))
    said = refused | {move.name for move in result.moves}
    result.problems += _not_taken(current, desired, said)
    result.unmovable = bool(result.problems)
    if result.moves:
        result.current = _moved(current, result.moves)


def _not_taken(current: Current, desired: Desired, said: set[str]) -> Iterator[Problem]:
    """Problems of domains that one tenant gives away and no other takes, but for those in `said`."""
    for tenant in desired.tenants.values():
        for moved in tenant.moved_to.values():
            row = current.domains.get(moved.name)
            if row and row.tenant == tenant.name and moved.name not in said:
                message = (
                    f"tenant {moved.to} does not take it in this run, so its mailboxes would have no tenant: name both "
                    f"tenants, and write {moved.name}: {{moved_from: {tenant.name}}} among the domains of {moved.to}"
                )
                yield Problem(tenant.file, moved.line, f"domains.{moved.name}.moved_to", message)


def _not_movable(current: Current, desired: Desired, taker: Tenant, domain: Domain, row: DomainRow) -> str:
    """Why a domain cannot move to `taker`; empty if it can."""
    source = desired.tenants.get(row.tenant)
    if row.tenant != domain.moved_from:
        return f"{domain.name} is a domain of tenant {row.tenant}, not of {domain.moved_from}"
    if source is None:
        return (
            f"tenant {row.tenant} must declare the move too, but is not in this run: name both tenants, and write "
            f"{domain.name}: {{moved_to: {taker.name}}} among the domains of {row.tenant}"
        )
    if message := move_not_said(taker, source, domain.name):
        return message
    if taker.state == "closed":
        return f"tenant {taker.name} is closed, so all mailboxes of {domain.name} would be closed: open it first"
    held = sorted({hold.scope for hold in current.holds if hold.tenant == row.tenant and hold.in_force})
    if held:
        return (
            f"tenant {row.tenant} has a hold ({', '.join(held)}), which would not move with {domain.name}: "
            "release it, or hold their accounts or the other tenant too and release it then"
        )
    return ""


def _moved(current: Current, moves: list[DomainMove]) -> Current:
    """`current` with `moves` done."""
    before = {move.name: move.before for move in moves}
    after = {move.name: move.after for move in moves}

    def account(row: AccountRow) -> AccountRow:
        return row._replace(tenant=after[row.domain]) if before.get(row.domain) == row.tenant else row

    closed = map(account, current.closed.values())
    return replace(
        current,
        domains={
            row.name: row._replace(tenant=after[row.name]) if row.name in after else row
            for row in current.domains.values()
        },
        accounts={address: account(row) for address, row in current.accounts.items()},
        closed={(row.tenant, row.address): row for row in closed},
    )


def _rename(current: Current, tenant: Tenant, domain: Domain, old: str, result: Renaming) -> None:
    before, after = current.domains.get(old), current.domains.get(domain.name)
    if before is None or before.tenant != tenant.name:
        if after is None and before is not None:
            message = f"{shown(old)} is a domain of tenant {before.tenant}, not of {tenant.name}"
            result.problems.append(_problem(tenant, domain, message))
        elif after is None:
            result.warnings.append(f"domain {domain.name}: there is no {old} to rename; it starts empty")
    elif old in tenant.domains:
        pass  # rules_of_items reports it
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
    # These block other tenants that want the old name in the same run.
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

    # Closed mailboxes of a former tenant of the domain stay with that tenant.
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
