# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares one account with its declaration.

PRIVATE to the collection: it can have breaking changes at any time.

State and quota belong to the operator: an attribute that is not declared gets its default.  Password, forwarding and
auto-reply belong to the user: a run enforces them while a file declares them and then leaves them to the user, so the
directory remembers what a file set last.  Modules set them once and the directory remembers nothing.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from .changes import Options
from .model import UNSET, Account
from .passwords import is_fingerprint_of
from .rows import INVENTORY, AccountRow, autoreply_value, forward_value

_HANDED_BACK: Final[dict[str, Any]] = {"password_applied": None, "password_fingerprint": None}


class Differences(NamedTuple):
    """Columns of directory.account to write, and a plain password to hash into them."""

    fields: dict[str, Any]
    plain: str | None
    enforced: bool  # later runs enforce the plain password again

    def __bool__(self) -> bool:
        return bool(self.fields) or self.plain is not None

    def users_own(self, row: AccountRow) -> bool:
        """Whether only the user's own attributes change, and no file enforces them."""
        password = self.plain is not None or "password" in self.fields
        free = not (password and row.password_applied is not None)
        free &= not ("forward_to" in self.fields and row.forward_applied is not None)
        free &= not ("autoreply" in self.fields and row.autoreply_applied is not None)
        return free and self.fields.keys() <= {"password", "forward_to", "forward_keep", "autoreply"}


def lacks_secret(row: AccountRow, keys: frozenset[str]) -> bool:
    """Whether `row`, of a tenant with legacy_auth, has no secret under one of `keys`; False without keys."""
    return bool(keys) and row.secret_key not in keys


def compare(row: AccountRow, account: Account, options: Options, legacy_auth: bool = False) -> Differences:
    """What has to change in `row` to be as `account` declares; `legacy_auth`: of the tenant's plan."""
    fields: dict[str, Any] = {}
    if row.state != account.state:
        fields["state"] = account.state
    quota = None if account.quota is UNSET else account.quota or 0
    if row.quota != quota:
        fields["quota"] = quota
    remember = options.origin == INVENTORY
    _forward(row, account, remember, fields)
    _autoreply(row, account, remember, fields)
    plain = _password(row, account, options, fields)
    if plain is None and account.password is not None and options.enforce_passwords:
        plain = account.password if legacy_auth and lacks_secret(row, options.secret_keys) else None
    return Differences(fields, plain, remember and options.enforce_passwords)


def _forward(row: AccountRow, account: Account, remember: bool, fields: dict[str, Any]) -> None:
    if account.forward is UNSET:
        if remember and row.forward_applied is not None:
            fields["forward_applied"] = None
        return
    wanted = account.forward if account.forward and account.forward.to else None
    if row.forward != wanted:
        fields["forward_to"] = list(wanted.to) if wanted else None
        fields["forward_keep"] = wanted.keep if wanted else None
    if remember and row.forward_applied != forward_value(wanted):
        fields["forward_applied"] = forward_value(wanted)


def _autoreply(row: AccountRow, account: Account, remember: bool, fields: dict[str, Any]) -> None:
    if account.autoreply is UNSET:
        if remember and row.autoreply_applied is not None:
            fields["autoreply_applied"] = None
        return
    wanted = autoreply_value(account.autoreply)
    if (row.autoreply or {}) != wanted:
        fields["autoreply"] = wanted or None
    if remember and row.autoreply_applied != wanted:
        fields["autoreply_applied"] = wanted


def _password(row: AccountRow, account: Account, options: Options, fields: dict[str, Any]) -> str | None:
    """Add the changes of a declared hash to `fields`, or return the plain password to set."""
    remember = options.origin == INVENTORY
    if account.password_hash is not None:
        if row.password != account.password_hash:
            fields["password"] = account.password_hash
        if remember and (row.password_applied is not True or "password" in fields or row.password_fingerprint):
            fields["password_applied"] = account.password_hash
            fields["password_fingerprint"] = None
        return None
    if account.password is not None:
        if row.password is None:
            return account.password
        if options.enforce_passwords:
            same = row.password_applied is True and is_fingerprint_of(
                account.password, row.password_fingerprint, options.fingerprint_key
            )
            return None if same else account.password
    if remember and row.password_applied is not None:
        fields.update(_HANDED_BACK)
    return None
