# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules between items: contradictions in a `Desired`.

PRIVATE to the collection: it can have breaking changes at any time.

The controller checks the files with `check`.  The host checks the final state again, in which items that no file
declares have line 0 and only their key path in messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from .model import MAX_TARGETS, UNSET, Account, Alias, Desired, Domain, Forward, Tenant, effective
from .problems import Problem
from .rules_of_loops import find_loops
from .syntax import shown, size_text

#: Local parts that no plan counts (VM-5): every domain has them.
FREE_LOCAL_PARTS: Final = ("postmaster", "all")


def check(desired: Desired, former: Mapping[str, str] | None = None) -> list[Problem]:
    """Every contradiction in `desired`.  Time and memory grow linearly with the number of items.

    `former` has the present names of domains by their former ones; None: taken from `renamed_from`.
    """
    owners = owners_of_domains(desired)
    problems = [*_shared_domains(desired, owners), *_shared_hostnames(desired), *_renamed_domains(desired)]
    seen: dict[str, tuple[Tenant, Account | Alias]] = {}
    for tenant in desired.tenants.values():
        problems.extend(_plan(tenant, desired))
        problems.extend(_foreign_addresses(tenant, owners))
        problems.extend(_duplicates(tenant, seen))
        problems.extend(_accounts(tenant))
        problems.extend(_limits(tenant, desired))
    if former is None:
        former = {domain.renamed_from: domain.name for domain in _domains(desired) if domain.renamed_from}
    problems.extend(find_loops(desired, owners, former))
    return problems


def check_moves(desired: Desired) -> list[Problem]:
    """Problems of domains that move between tenants: both files must declare it.  `desired` has all tenants."""
    problems = []
    for tenant in desired.tenants.values():
        for domain in tenant.domains.values():
            source = desired.tenants.get(domain.moved_from or "")
            # A tenant without a file has ended; the host checks it against the directory.
            if source and (message := move_not_said(tenant, source, domain.name)):
                problems.append(Problem(tenant.file, domain.line, f"domains.{domain.name}.moved_from", message))
        for moved in tenant.moved_to.values():
            taker = desired.tenants.get(moved.to)
            if taker is None:
                message = f"there is no tenant {moved.to}"
            elif moved.name in taker.moved_to or _takes(taker, tenant, moved.name):
                continue
            else:
                message = (
                    f"tenant {taker.name} does not declare the move: {_to_say(taker, moved.name, 'moved_from', tenant)}"
                )
            problems.append(Problem(tenant.file, moved.line, f"domains.{moved.name}.moved_to", message))
    return problems


def move_not_said(taker: Tenant, source: Tenant, domain: str) -> str:
    """The message if `taker` takes a domain from `source` and `source` does not declare that; else empty."""
    moved = source.moved_to.get(domain)
    if moved and moved.to == taker.name and source is not taker:
        return ""
    says = f"says moved_to: {moved.to}" if moved else "does not declare the move"
    return f"tenant {source.name} {says}: {_to_say(source, domain, 'moved_to', taker)}"


def _takes(taker: Tenant, source: Tenant, name: str) -> bool:
    domain = taker.domains.get(name)
    return domain is not None and domain.moved_from == source.name


def _to_say(tenant: Tenant, domain: str, key: str, other: Tenant) -> str:
    return f"write {domain}: {{{key}: {other.name}}} among the domains of {_file(tenant)}, or take it out here"


def owners_of_domains(desired: Desired) -> dict[str, Tenant]:
    """The first tenant that has each domain."""
    owners: dict[str, Tenant] = {}
    for tenant in desired.tenants.values():
        for name in tenant.domains:
            owners.setdefault(name, tenant)
    return owners


def not_owned(domain: str, tenant: Tenant, owner: Tenant | None) -> str:
    """The message for a domain that `tenant` uses and that belongs to `owner`, or to no tenant."""
    if message := is_renamed(domain, tenant) or is_moved(domain, tenant):
        return message
    if owner is None:
        return f"{shown(domain)} is not a domain of tenant {tenant.name}: add it to domains in {_file(tenant)}"
    return f"{shown(domain)} is a domain of tenant {owner.name} ({_file(owner)}), not of {tenant.name}"


def is_renamed(domain: str, tenant: Tenant) -> str:
    """The message for a domain of `tenant` that is written by its former name; else empty."""
    for other in tenant.domains.values():
        if other.renamed_from == domain:
            return f"{shown(domain)} is renamed to {shown(other.name)} in {_file(tenant)}: write {other.name} here too"
    return ""


def is_moved(domain: str, tenant: Tenant) -> str:
    """The message for an address in a domain that `tenant` has given to another tenant; else empty."""
    moved = tenant.moved_to.get(domain)
    if moved is None:
        return ""
    return (
        f"{shown(domain)} moves to tenant {moved.to} ({_file(tenant)}:{moved.line}): "
        "what belongs to it moves to that tenant's files"
    )


def path(item: Account | Alias) -> str:
    """The key path of an address in its tenant's addresses file."""
    return f"{item.domain}.{'accounts' if isinstance(item, Account) else 'aliases'}.{item.local_part}"


def _file(tenant: Tenant) -> str:
    return tenant.file or f"the directory's tenant {tenant.name}"


def _problem(tenant: Tenant, item: Account | Alias, rest: str, message: str) -> Problem:
    return Problem(tenant.addresses_file if item.line else "", item.line, path(item) + rest, message)


def _place(tenant: Tenant, item: Account | Alias) -> str:
    """Where the other item is declared, for a message."""
    return f"{tenant.addresses_file}:{item.line}" if item.line else f"tenant {tenant.name}, in no file"


def _shared_domains(desired: Desired, owners: dict[str, Tenant]) -> Iterator[Problem]:
    for tenant in desired.tenants.values():
        for domain in tenant.domains.values():
            owner = owners[domain.name]
            if owner is not tenant:
                message = f"{shown(domain.name)} is already a domain of tenant {owner.name} ({_file(owner)})"
                yield Problem(tenant.file, domain.line, f"domains.{domain.name}", message)


def _shared_hostnames(desired: Desired) -> Iterator[Problem]:
    owners: dict[str, Tenant] = {}
    for tenant in desired.tenants.values():
        for domain in tenant.domains.values():
            for index, hostname in enumerate(domain.hostnames):
                owner = owners.setdefault(hostname, tenant)
                if owner is not tenant:
                    message = f"{shown(hostname)} is already a host name of tenant {owner.name} ({_file(owner)})"
                    key = f"domains.{domain.name}.hostnames[{index}]"
                    yield Problem(tenant.file, domain.line, key, message)


def _domains(desired: Desired) -> Iterator[Domain]:
    for tenant in desired.tenants.values():
        yield from tenant.domains.values()


def _renamed_domains(desired: Desired) -> Iterator[Problem]:
    for tenant in desired.tenants.values():
        renamed: dict[str, Domain] = {}
        for domain in tenant.domains.values():
            old = domain.renamed_from
            if old is None:
                continue
            if domain.moved_from:
                message = "excludes moved_from in one run: do one, take it out in both files, then do the other"
                yield Problem(tenant.file, domain.line, f"domains.{domain.name}.renamed_from", message)
            other = tenant.domains.get(old) or renamed.setdefault(old, domain)
            if other is not domain or old == domain.name:
                reason = "is still a domain" if old in tenant.domains else f"is renamed to {shown(other.name)} too"
                place = f"{_file(tenant)}:{other.line}" if tenant.file else _file(tenant)
                message = f"{shown(old)} {reason} ({place}): take out one of the two"
                yield Problem(tenant.file, domain.line, f"domains.{domain.name}.renamed_from", message)


def _plan(tenant: Tenant, desired: Desired) -> Iterator[Problem]:
    if tenant.plan not in desired.plans:
        known = ", ".join(desired.plans) or "there is none"
        yield Problem(tenant.file, tenant.line, "plan", f"{shown(tenant.plan)} is not a plan; plans: {known}")


def _foreign_addresses(tenant: Tenant, owners: dict[str, Tenant]) -> Iterator[Problem]:
    reported: set[str] = set()
    for items in (tenant.accounts, tenant.aliases):
        for item in items.values():
            if item.domain not in tenant.domains and item.domain not in reported:
                reported.add(item.domain)
                yield _problem(tenant, item, "", not_owned(item.domain, tenant, owners.get(item.domain)))


def _duplicates(tenant: Tenant, seen: dict[str, tuple[Tenant, Account | Alias]]) -> Iterator[Problem]:
    """Addresses that are declared twice; adds the tenant's to `seen`."""
    for items in (tenant.accounts, tenant.aliases):
        for address, item in items.items():
            other_tenant, other = seen.setdefault(address, (tenant, item))
            if other is not item:
                kind = "an account" if isinstance(other, Account) else "an alias"
                yield _problem(tenant, item, "", f"{shown(address)} is already {kind} ({_place(other_tenant, other)})")


def _accounts(tenant: Tenant) -> Iterator[Problem]:
    """Contradictions within and between the accounts of one tenant."""
    renamed: dict[str, Account] = {}
    for account in tenant.accounts.values():
        if account.password is not None and account.password_hash is not None:
            message = f"{shown(account.address)} also has a password among the secrets: keep one of the two"
            yield _problem(tenant, account, ".password_hash", message)
        if account.renamed_from is None:
            continue
        old = f"{account.renamed_from}@{account.domain}"
        other = renamed.setdefault(old, account)
        if other is not account:
            message = f"is renamed to {shown(other.address)} too ({_place(tenant, other)})"
            yield _problem(tenant, account, ".renamed_from", f"{shown(account.renamed_from)} {message}")
            continue
        holder = tenant.accounts.get(old)
        # Another account may take the old name in the same run if its renamed_from or restore says that it is another
        # one.
        if holder and (holder is account or (holder.renamed_from is None and holder.restore is not False)):
            message = (
                f"is still an account ({_place(tenant, holder)}): take out one of the two, "
                "or say restore: false there if a new one, with an empty mailbox, is to have the name"
            )
            yield _problem(tenant, account, ".renamed_from", f"{shown(account.renamed_from)} {message}")


def _limits(tenant: Tenant, desired: Desired) -> Iterator[Problem]:
    """Where the tenant exceeds its plan, if the plan is known."""
    if tenant.plan not in desired.plans:
        return
    settings = effective(desired.plans[tenant.plan], tenant.overrides)
    allowed, targets = settings["max_accounts"], settings["max_forward_targets"]
    most = MAX_TARGETS if targets is None else min(targets, MAX_TARGETS)
    yield from _quotas(tenant, settings)
    if allowed is not None and len(tenant.accounts) + len(tenant.aliases) > allowed:
        yield from _too_many(tenant, allowed)
    for account in tenant.accounts.values():
        if isinstance(account.forward, Forward) and len(account.forward.to) > most:
            yield _problem(tenant, account, ".forward.to", _too_many_targets(tenant, account.forward.to, targets))
    for alias in tenant.aliases.values():
        if len(alias.targets) > most:
            yield _problem(tenant, alias, "", _too_many_targets(tenant, alias.targets, targets))


def _quotas(tenant: Tenant, settings: dict[str, Any]) -> Iterator[Problem]:
    """Quotas in an addresses file above the plan's: a customer may write that file.  Modules belong to the operator."""
    written = settings["max_account_quota"]
    most = settings["mailbox_quota"] if written == "plan" else written
    if most is None or not tenant.addresses_file:
        return
    for account in tenant.accounts.values():
        if account.line and account.quota is not UNSET and (account.quota is None or account.quota > most):
            message = (
                f"{size_text(account.quota)}, and plan {tenant.plan} allows tenant {tenant.name} {size_text(most)} "
                "(max_account_quota, or else mailbox_quota)"
            )
            yield _problem(tenant, account, ".quota", message)


def _too_many(tenant: Tenant, allowed: int) -> Iterator[Problem]:
    """One problem, at the first address beyond the limit."""
    items: list[Account | Alias] = [*tenant.accounts.values(), *tenant.aliases.values()]
    counted = sorted((item for item in items if item.local_part not in FREE_LOCAL_PARTS), key=lambda item: item.line)
    if len(counted) > allowed:
        message = f"{len(counted)} accounts and aliases, and plan {tenant.plan} allows tenant {tenant.name} {allowed}"
        yield _problem(tenant, counted[allowed], "", f"{message} (max_accounts)")


def _too_many_targets(tenant: Tenant, to: tuple[str, ...], allowed: int | None) -> str:
    if allowed is None or allowed > MAX_TARGETS:
        return f"{len(to)} targets, and no address may have more than {MAX_TARGETS}, whatever its plan says"
    return f"{len(to)} targets, and plan {tenant.plan} allows tenant {tenant.name} {allowed} (max_forward_targets)"
