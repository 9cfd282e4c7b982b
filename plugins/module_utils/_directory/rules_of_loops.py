# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail loops: by aliases, forwards, contacts and catch-alls.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from .model import ROLES, Account, Alias, Desired, Domain, Forward, Tenant
from .problems import Problem
from .syntax import shown

_CYCLE_SHOWN: Final = 6


class _Step(NamedTuple):
    """An address that forwards mail, and the item that declares it."""

    targets: tuple[str, ...]
    file: str
    line: int
    path: str
    is_list: bool = False

    def problem(self, index: int, message: str) -> Problem:
        return Problem(self.file, self.line, f"{self.path}[{index}]" if self.is_list else self.path, message)


def find_loops(desired: Desired, owners: Mapping[str, Tenant], former: Mapping[str, str]) -> Iterator[Problem]:
    """Every target that leads back to an address before it, found by one depth-first walk.

    `owners` has the tenants by domain, `former` the present names of domains by their former ones.
    """
    steps: dict[str, _Step] = {}
    for tenant in desired.tenants.values():
        steps.update(_declared(tenant))
        steps.update(_of_contacts(tenant))
    catch_alls = {domain: step for tenant in desired.tenants.values() for domain, step in _catch_alls(tenant)}

    def place(target: str) -> str:
        """Our address that receives mail for `target`, or the catch-all of its domain."""
        local_part, _at, domain = target.rpartition("@")
        domain = former.get(domain, domain)
        address = f"{local_part.partition('+')[0]}@{domain}"
        if address in steps or domain not in catch_alls or _is_there(address, owners.get(domain)):
            return address
        return f"*@{domain}"

    steps.update((f"*@{domain}", step) for domain, step in catch_alls.items())
    done: set[str] = set()
    for start, first in steps.items():
        if start in done:
            continue
        trail = [start]  # the addresses from `start` to the current one
        depth = {start: 0}  # the index of each in `trail`
        stack = [iter(enumerate(first.targets))]
        while stack:
            index, target = next(stack[-1], (0, None))
            if target is None:
                stack.pop()
                done.add(trail.pop())
                continue
            address = place(target)
            if address in done or address not in steps:
                continue
            if address in depth:
                yield steps[trail[-1]].problem(index, _loop(trail, depth[address]))
            else:
                depth[address] = len(trail)
                trail.append(address)
                stack.append(iter(enumerate(steps[address].targets)))


def _declared(tenant: Tenant) -> Iterator[tuple[str, _Step]]:
    """The targets of aliases and forwards."""
    for address, account in tenant.accounts.items():
        if isinstance(account.forward, Forward):
            path = f"{account.domain}.accounts.{account.local_part}.forward.to"
            yield address, _step(tenant, account, account.forward.to, path)
    for address, alias in tenant.aliases.items():
        yield address, _step(tenant, alias, alias.targets, f"{alias.domain}.aliases.{alias.local_part}")


def _step(tenant: Tenant, item: Account | Alias, targets: tuple[str, ...], path: str) -> _Step:
    return _Step(targets, tenant.addresses_file if item.line else "", item.line, path, is_list=True)


def _of_contacts(tenant: Tenant) -> Iterator[tuple[str, _Step]]:
    """The targets of postmaster@ and abuse@ of each domain that does not declare them."""
    for local_part, roles in ROLES.items():
        role = next((role for role in roles if role in tenant.contacts), None)
        if role is None or tenant.state == "closed":
            continue
        step = _Step((tenant.contacts[role],), tenant.file, tenant.line, f"contacts.{role}")
        for domain in tenant.domains:
            if not _is_there(f"{local_part}@{domain}", tenant):
                yield f"{local_part}@{domain}", step


def _catch_alls(tenant: Tenant) -> Iterator[tuple[str, _Step]]:
    for domain in tenant.domains.values():
        if domain.catch_all and tenant.state != "closed":
            yield domain.name, _of_catch_all(tenant, domain, domain.catch_all)


def _of_catch_all(tenant: Tenant, domain: Domain, target: str) -> _Step:
    return _Step((target,), tenant.file, domain.line, f"domains.{domain.name}.catch_all")


def _is_there(address: str, tenant: Tenant | None) -> bool:
    return tenant is not None and (address in tenant.accounts or address in tenant.aliases)


def _loop(trail: list[str], begin: int) -> str:
    length = len(trail) - begin
    if length == 1:
        return f"{shown(trail[begin])} forwards to itself (a copy in the mailbox is keep: true)"
    cycle = trail[begin:] if length <= _CYCLE_SHOWN else [*trail[begin : begin + 3], "…", *trail[-2:]]
    return f"mail goes round in a loop: {' -> '.join([*cycle, trail[begin]])}; name another target here"
