# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reconcile, first part: plans, tenants and their domains.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

from typing import Any

from .changes import Changes, DomainChange, Handover, Options, PlanChange, Settings, TenantChange
from .model import Desired, Domain, Tenant
from .problems import Problem
from .reconcile_domains import Renaming, end_former_domains, former_domains
from .rows import INVENTORY, MADE_BY, PANEL, Current, DomainRow, TenantRow


def reconcile_settings(
    current: Current, desired: Desired, options: Options, renaming: Renaming
) -> tuple[Changes, list[Problem]]:
    """The changes to plans, tenants and domains, and the problems with them.  `current` is that of `renaming`.

    A domain that its tenant gives up stays in `Changes.settings` until `release_domains`.
    """
    final = Settings(dict(current.plans), dict(current.tenants), dict(current.domains))
    changes = Changes(
        options.origin,
        final,
        moved_domains=renaming.moves,
        renamed_domains=renaming.renames,
        warnings=renaming.warnings,
    )
    problems = renaming.problems
    if options.scope.settings:
        _plans(current, desired, options, changes)
        _tenants(current, desired, options, changes, problems)
        _domains(current, desired, changes, problems)
        problems += end_former_domains(current, desired, options, changes)
        changes.handovers += _handed_over(current, changes)
    final.former_domains = former_domains(current, final)
    return changes, problems


def release_domains(current: Current, desired: Desired, options: Options, changes: Changes) -> list[Problem]:
    """Remove or pass on the domains that their tenants gave up and that have no address left."""
    if not options.scope.settings:
        return []
    left = [row for row in current.domains.values() if _given_up(row, desired)]
    if not left:
        return []
    closing = {
        row.name: [change.address for change in changes.of("close") if change.domain == row.name] for row in left
    }
    wanted = {name: (tenant, domain) for tenant in desired.tenants.values() for name, domain in tenant.domains.items()}
    inhabitants = _inhabitants(current, changes, {row.name for row in left})
    problems = []
    for row in left:
        there = sorted(inhabitants[row.name])
        taker = wanted.get(row.name)
        if taker and taker[1].moved_from:
            pass  # move_and_rename_domains reports it
        elif taker and closing[row.name]:
            message = (
                f"has {len(closing[row.name])} mailboxes of tenant {row.tenant}, such as {closing[row.name][0]}, which "
                f"this run would close, and {taker[0].name} would have empty ones. {_move(row, *taker)}; or close them "
                "in a run of its own first"
            )
            problems.append(_domain_problem(*taker, message))
        elif not there:
            after = DomainRow(row.name, taker[0].name, taker[1].hostnames, taker[1].catch_all) if taker else None
            _set_domain(changes, row, after)
        elif taker:
            message = (
                f"still has {len(there)} addresses of tenant {row.tenant}, such as {there[0]}; "
                "close or remove them there first: no mailbox passes from one tenant to another unasked. "
                f"{_move(row, *taker)}"
            )
            problems.append(_domain_problem(*taker, message))
        else:
            changes.undeclared.append(row.name)
            changes.warnings.append(
                f"domain {row.name} is no longer declared; it is kept while {len(there)} addresses are left in it"
            )
    return problems


def _plans(current: Current, desired: Desired, options: Options, changes: Changes) -> None:
    limit = options.scope.tenants
    declared = desired.plans
    if limit is not None:
        used = {tenant.plan for tenant in desired.tenants.values()}
        declared = {name: settings for name, settings in declared.items() if name in used}
    for name, settings in declared.items():
        before = current.plans.get(name)
        if before == settings:
            continue
        others = [
            row.name for row in current.tenants.values() if row.plan == name and not options.scope.has_tenant(row.name)
        ]
        if before is not None and others:
            changes.warnings.append(
                f"plan {name} stays as it is in the directory: {len(others)} tenants outside this run have it too"
            )
            continue
        changes.settings.plans[name] = settings
        changes.plans.append(PlanChange(name, before, settings))
    if limit is None:
        kept = {row.plan for row in current.tenants.values() if row.name not in desired.tenants}
        for name in current.plans.keys() - declared.keys() - {tenant.plan for tenant in desired.tenants.values()}:
            if name in kept:
                changes.warnings.append(f"plan {name} is no longer declared; it is kept for the tenants that have it")
            else:
                changes.plans.append(PlanChange(name, changes.settings.plans.pop(name), None))


def _tenants(current: Current, desired: Desired, options: Options, changes: Changes, problems: list[Problem]) -> None:
    for tenant in desired.tenants.values():
        problem = _tenant(current.tenants.get(tenant.name), tenant, options, changes)
        if problem:
            problems.append(problem)
    for row in current.tenants.values():
        if row.name not in desired.tenants and options.scope.has_tenant(row.name):
            problem = _undeclared_tenant(current, row, options, changes)
            if problem:
                problems.append(problem)


def _tenant(row: TenantRow | None, tenant: Tenant, options: Options, changes: Changes) -> Problem | None:
    after = TenantRow(
        name=tenant.name,
        plan=tenant.plan,
        overrides=tenant.overrides,
        state=tenant.state,
        addresses_managed_by=tenant.addresses_managed_by,
        language=tenant.language,
        contacts=tenant.contacts,
        origin=options.origin,
        mailboxes=row.mailboxes if row else 0,
    )
    if row == after or (row and options.explicit and row == after._replace(origin=row.origin)):
        return None
    if row and row.origin != options.origin:
        return Problem(
            tenant.file, tenant.line, tenant.name, f"tenant {tenant.name} was {MADE_BY[row.origin]}; {_way(row.origin)}"
        )
    changes.settings.tenants[tenant.name] = after
    changes.tenants.append(TenantChange(tenant.name, row, after))
    if row and options.origin == INVENTORY and row.addresses_managed_by != after.addresses_managed_by:
        before, now = (INVENTORY, PANEL) if after.addresses_managed_by == PANEL else (PANEL, INVENTORY)
        changes.handovers.append(Handover(tenant.name, before, now))
    return None


def _way(origin: str) -> str:
    return "change its files and run mail_directory" if origin == INVENTORY else "change it where it was made"


def _undeclared_tenant(current: Current, row: TenantRow, options: Options, changes: Changes) -> Problem | None:
    """Close, remove or only report a tenant that is not declared: its file may be missing."""
    if row.origin != options.origin:
        if options.explicit:
            return Problem("", 0, row.name, f"tenant {row.name} was {MADE_BY[row.origin]}; {_way(row.origin)}")
        return None
    if row.mailboxes == 0 and (options.explicit or (options.purge and row.state == "closed")):
        del changes.settings.tenants[row.name]
        changes.tenants.append(TenantChange(row.name, row, None))
        for domain in [domain for domain in current.domains.values() if domain.tenant == row.name]:
            _set_domain(changes, domain, None)
    elif options.explicit:
        if row.state != "closed":
            after = row._replace(state="closed")
            changes.settings.tenants[row.name] = after
            changes.tenants.append(TenantChange(row.name, row, after))
    else:
        changes.undeclared.append(row.name)
        changes.warnings.append(
            f"tenant {row.name} is in no file; nothing of it was touched (say state: closed to end it)"
        )
    return None


def _domains(current: Current, desired: Desired, changes: Changes, problems: list[Problem]) -> None:
    for tenant in desired.tenants.values():
        for domain in tenant.domains.values():
            row = current.domains.get(domain.name)
            after = DomainRow(domain.name, tenant.name, domain.hostnames, domain.catch_all)
            if row == after:
                continue
            if row is None or row.tenant == tenant.name:
                _set_domain(changes, row, after)
            elif domain.moved_from:
                pass  # move_and_rename_domains reports it
            elif not _given_up(row, desired):
                owner = current.tenants[row.tenant]
                message = f"belongs to tenant {row.tenant}, {MADE_BY[owner.origin]}"
                problems.append(_domain_problem(tenant, domain, message))


def _given_up(row: DomainRow, desired: Desired) -> bool:
    """Whether the domain's tenant no longer declares it."""
    owner = desired.tenants.get(row.tenant)
    return owner is not None and row.name not in owner.domains


def _set_domain(changes: Changes, before: DomainRow | None, after: DomainRow | None) -> None:
    row = after or before
    if row is None:
        return
    if after is None:
        del changes.settings.domains[row.name]
    else:
        changes.settings.domains[row.name] = after
    changes.domains.append(DomainChange(row.name, before, after))


def _domain_problem(tenant: Tenant, domain: Domain, message: str) -> Problem:
    return Problem(tenant.file, domain.line, f"domains.{domain.name}", f"{domain.name} {message}")


def _move(row: DomainRow, tenant: Tenant, domain: Domain) -> str:
    """The instruction by which a domain moves with its mailboxes."""
    return (
        f"To bring them along say moved_from: {row.tenant} here, and {domain.name}: {{moved_to: {tenant.name}}} "
        f"among the domains of {row.tenant}"
    )


def _handed_over(current: Current, changes: Changes) -> list[Handover]:
    """Addresses of moved domains pass to their new tenant's files or panel."""
    found = []
    for move in changes.moved_domains:
        managers = [
            current.tenants[move.before].addresses_managed_by,
            changes.settings.tenants[move.after].addresses_managed_by,
        ]
        before, after = (PANEL if manager == PANEL else INVENTORY for manager in managers)
        if before != after:
            found.append(Handover(move.after, before, after))
    return found


def _inhabitants(current: Current, changes: Changes, domains: set[str]) -> dict[str, list[str]]:
    """The addresses that stay in `domains` after the run."""
    gone: set[Any] = {change.row.address for change in changes.of("close") if change.row}
    gone |= {alias.address for alias in changes.aliases if alias.targets is None}
    there: dict[str, list[str]] = {domain: [] for domain in domains}
    for rows in (current.accounts, current.aliases):
        for address, row in rows.items():
            if row.domain in there and address not in gone:
                there[row.domain].append(address)
    return there
