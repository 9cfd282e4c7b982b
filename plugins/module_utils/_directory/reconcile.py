# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The changes that make the directory as declared.  Pure: reads and writes nothing.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from .changes import Changes, HoldOrder, Options
from .checks_after import check_final
from .model import UNSET, Desired, Forward
from .problems import BadInputError, DirectoryError
from .reconcile_addresses import Addresses
from .reconcile_domains import move_and_rename_domains, still_lead_there
from .reconcile_tenants import reconcile_settings, release_domains
from .rows import GATE, MODULE, OPERATOR, Current

#: Without confirmation a run closes at most this many accounts, and at most this share of those in its scope.
CLOSING_LIMIT_ACCOUNTS: Final = 10
CLOSING_LIMIT_PERCENT: Final = 2

_NAMED_IN_ERRORS: Final = 10


def reconcile(current: Current, desired: Desired, options: Options) -> Changes:
    """The changes that bring `current` to `desired`, inside `options.scope`.

    `current` holds at least the tenants in scope and those that `unloaded_targets` returns.

    Raises: BadInputError with every mistake; DirectoryError if the run would close too many accounts.
    """
    declared = {name: tenant for name, tenant in desired.tenants.items() if options.scope.has_tenant(name)}
    desired = Desired(desired.plans, declared)
    renaming = move_and_rename_domains(current, desired, options)
    current = renaming.current
    changes, problems = reconcile_settings(current, desired, options, renaming)
    if renaming.unmovable:
        raise BadInputError(problems)
    addresses = Addresses(current, desired, options, changes)
    addresses.reconcile()
    problems += addresses.problems
    problems += release_domains(current, desired, options, changes)
    if not problems:
        problems += check_final(current, desired, changes, addresses)
    if problems:
        raise BadInputError(problems)
    _limit_closing(current, options, changes)
    changes.warnings += [
        *_closed(options, changes),
        *_left_behind(changes, addresses),
        *still_lead_there(current, changes),
    ]
    changes.without_password = _without_password(current, desired, changes)
    changes.warnings += _without_secret(current, options, changes)
    changes.holds = _holds(current, options.holds, changes)
    return changes


def _limit_closing(current: Current, options: Options, changes: Changes) -> None:
    """Refuse to close many accounts at once without confirmation: an operator reopens them one by one."""
    closing = changes.of("close")
    there = sum(options.scope.has_tenant(row.tenant) for row in current.accounts.values())
    limit = CLOSING_LIMIT_ACCOUNTS
    # Whoever names a tenant to close it means all its accounts.
    if not options.explicit:
        limit = min(limit, max(1, -(-there * CLOSING_LIMIT_PERCENT // 100)))
    if len(closing) <= limit or len(closing) == options.expect_closed:
        return
    named = ", ".join(change.address for change in closing[:_NAMED_IN_ERRORS])
    more = ", …" if len(closing) > _NAMED_IN_ERRORS else ""
    expected = "" if options.expect_closed is None else f" and expect_closed says {options.expect_closed}"
    raise DirectoryError(
        f"this run would close {len(closing)} of {there} accounts ({named}{more}); unasked it closes at most {limit}"
        f"{expected}. Nothing was changed. If they are to be closed, say expect_closed: {len(closing)}"
    )


def _named(addresses: Iterable[str]) -> str:
    """The first few of `addresses`, and how many more there are."""
    ordered = sorted(addresses)
    more = len(ordered) - _NAMED_IN_ERRORS
    return ", ".join(ordered[:_NAMED_IN_ERRORS]) + (f" and {more} more" if more > 0 else "")


def _left_behind(changes: Changes, addresses: Addresses) -> list[str]:
    """A warning of the addresses that no file declares any more but that still work."""
    left = [name for name in changes.undeclared if name in addresses.stay or name in addresses.stay_aliases]
    if not left:
        return []
    text = (
        f"no file declares {len(left)} address{'es' if len(left) > 1 else ''} any more: {_named(left)}; "
        "they work until purge (tenants_purge: true) closes them"
    )
    return [text]


def _without_password(current: Current, desired: Desired, changes: Changes) -> list[str]:
    """The declared accounts that may log in but have no password."""
    changed = {change.address: change for change in changes.accounts}
    found = []
    for tenant in desired.tenants.values():
        for account in tenant.accounts.values() if tenant.state == "active" else ():
            change = changed.get(account.address)
            row = change.row if change else current.accounts.get(account.address)
            gets_one = change is not None and (change.plain is not None or "password" in change.fields)
            goes_to = account.forward if account.forward is not UNSET or row is None else row.forward
            # If all mail is forwarded, the account needs no login.
            reads = not (isinstance(goes_to, Forward) and not goes_to.keep)
            if account.state == "active" and reads and not gets_one and (row is None or row.password is None):
                found.append(account.address)
    return found


def no_password(changes: Changes) -> str:
    """A warning of the accounts in `Changes.without_password`."""
    found = changes.without_password
    have = "s have" if len(found) > 1 else " has"
    give = "give `password`" if changes.origin == MODULE else "write one among the secrets"
    return (
        f"{len(found)} account{have} no password, so nobody can log in: {_named(found)}; {give}, "
        "or set it with mailhosting password ADDRESS on the host"
    )


def _closed(options: Options, changes: Changes) -> list[str]:
    """A warning of accounts that the run closes though no caller named each of them."""
    closing = [change.address for change in changes.of("close")]
    if not closing or options.explicit:
        return []
    return [f"closes {len(closing)} account{'s' if len(closing) > 1 else ''}: {', '.join(closing)}"]


def _without_secret(current: Current, options: Options, changes: Changes) -> list[str]:
    """A warning of accounts in scope whose plan has legacy_auth but that have no secret for APOP."""
    scope, settings = options.scope, changes.settings
    tenants = {name for name in settings.tenants if scope.has_tenant(name) and settings.legacy_auth(name)}
    if not tenants:
        return []
    resettled = set(changes.resettled())
    changed = {change.row.id for change in changes.accounts if change.row}
    found = [
        row.address
        for row in current.accounts.values()
        if row.tenant in tenants
        and row.id not in changed
        and row.password is not None
        and row.secret_key not in options.secret_keys
        and (scope.has_account(row.address) or row.tenant in resettled)
    ]
    for change in changes.accounts:
        if change.tenant in tenants and change.action != "close" and not change.recoverable:
            kept = change.row.secret_key if change.row and "password" not in change.fields else None
            has_password = "password" in change.fields or (change.row and change.row.password is not None)
            if has_password and kept not in options.secret_keys:
                found.append(change.address)
    if not found:
        return []
    text = (
        "legacy_auth: APOP and CRAM-MD5 do not work, because no key of this host opens the secret, for "
        f"{len(found)} account{'s' if len(found) > 1 else ''}: {_named(found)}; set their passwords again: "
        "mailhosting password ADDRESS, or update_password: always where the plain ones are in the files"
    )
    return [text]


def _holds(current: Current, order: HoldOrder | None, changes: Changes) -> HoldOrder | None:
    """The part of `order` that is not done yet.

    Raises: DirectoryError if it would lift a hold of the gate.
    """
    if order is None:
        return None
    # The holds of a renamed or restored account stay with it.
    rows = [change.row for change in changes.accounts if change.row and change.address == order.address]
    row = current.accounts.get(order.address or "")
    ids = {account.id for account in [*rows, *([row] if row else [])]}
    mine = [hold for hold in current.holds if hold.account_id in ids or (order.tenant and hold.tenant == order.tenant)]
    for hold in mine:
        # Such a hold has counters in Valkey and mail in the queue, which only the gate's own command clears.
        if hold.origin == GATE and hold.scope in order.release:
            raise DirectoryError(
                f"{order.address}: release: {hold.scope}: the gate placed this hold ({hold.reason}). "
                "Nothing was changed. mail_limits with state=released lifts it, and delivers the held mail"
            )
    placed = {(hold.scope, hold.reason, hold.until) for hold in mine if hold.origin == OPERATOR}
    place = tuple(hold for hold in order.place if (hold.scope, hold.reason, hold.until) not in placed)
    release = order.release & {hold.scope for hold in mine}
    return replace(order, place=place, release=release) if place or release else None
