# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The changes of a run as two texts to compare: before and after.

PRIVATE to the collection: it can have breaking changes at any time.

They show only what changes, and never a password: a new one shows as new.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any, Final

from .changes import AccountChange, Changes
from .model import Forward
from .rows import AccountRow, DomainRow, TenantRow, new_account_row

#: Sections by what they list, in the order of the output.
_SECTIONS: Final = ("plans", "tenants", "domains", "accounts", "aliases", "holds")

_MASK: Final = "********"
_USER: Final = "user"

_Text = dict[str, dict[str, dict[str, Any]]]


def diff(changes: Changes, grace: str) -> dict[str, str]:
    """`changes` as Ansible's {before, after}: YAML-like, sorted, one object a block.

    `grace` is how long closed mailboxes are kept, for the reader.
    """
    before: _Text = defaultdict(dict)
    after: _Text = defaultdict(dict)

    def put(section: str, name: str, was: dict[str, Any] | None, will_be: dict[str, Any] | None) -> None:
        if was is not None:
            before[section][name] = was
        if will_be is not None:
            after[section][name] = will_be

    for plan in changes.plans:
        put("plans", plan.name, plan.before, plan.after)
    for tenant in changes.tenants:
        put("tenants", tenant.name, _tenant(tenant.before), _tenant(tenant.after))
    _put_domains(changes, before["domains"], after["domains"])
    for account in changes.accounts:
        _put_account(account, grace, before["accounts"], after["accounts"])
    for alias in changes.aliases:
        put(
            "aliases",
            alias.address,
            {"targets": alias.before.targets} if alias.before else None,
            {"targets": list(alias.targets)} if alias.targets is not None else None,
        )
    if changes.holds:
        subject = changes.holds.address or changes.holds.tenant or ""
        put("holds", subject, dict.fromkeys(changes.holds.release, "held"), {})
        after["holds"][subject] = {hold.scope: hold.reason for hold in changes.holds.place}
    return {"before": _text(before), "after": _text(after)}


def _put_domains(changes: Changes, before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> None:
    renamed = {rename.after: rename.before for rename in changes.renamed_domains}
    before |= {row.name: {"renamed_to": row.domain} for row in changes.ended_domains if row.name not in renamed}
    for name, former in renamed.items():
        owner = {"tenant": changes.settings.domains[name].tenant}
        before[former] = owner
        after[name] = {**owner, "renamed_from": former}
    for domain in changes.domains:
        if domain.before:
            before[renamed.get(domain.name, domain.name)] = _domain(domain.before)
        if domain.after:
            after[domain.name] = {**after.get(domain.name, {}), **_domain(domain.after)}
    for move in changes.moved_domains:
        before.setdefault(move.name, {})["tenant"] = move.before
        after.setdefault(move.name, {}).update(tenant=move.after, moved_from=move.before)


def _put_account(
    change: AccountChange, grace: str, before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]
) -> None:
    closed = {"closed": f"its mail is kept for {grace}"}
    if change.action == "close":
        before[change.address] = _account(change.row) if change.row else {}
        after[change.address] = closed
        return
    if change.row:
        before[change.row.address] = (
            {"closed": "its mail is kept"} if change.action == "restore" else _account(change.row)
        )
    after[change.address] = _account_after(change)


def _tenant(row: TenantRow | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "plan": row.plan,
        "overrides": row.overrides,
        "state": row.state,
        "addresses_managed_by": row.addresses_managed_by,
        "language": row.language,
        **({"contacts": row.contacts} if row.contacts else {}),
    }


def _domain(row: DomainRow) -> dict[str, Any]:
    catch_all = {"catch_all": row.catch_all} if row.catch_all else {}
    return {"tenant": row.tenant, "hostnames": list(row.hostnames), **catch_all}


def _account(row: AccountRow) -> dict[str, Any]:
    forward_by = _USER
    if row.forward_applied is not None:
        forward_by = _enforced(row.enforced_forward == row.forward)
    autoreply = {}
    if row.autoreply_applied is not None:
        in_force = row.autoreply_applied == (row.autoreply or {})
        autoreply = {"autoreply": row.autoreply, "autoreply_by": _enforced(in_force)}
    elif row.autoreply:
        autoreply = {"autoreply": row.autoreply, "autoreply_by": _USER}
    return {
        "state": row.state,
        "quota": _quota(row.quota),
        "password": row.password and _MASK,
        "password_by": _USER if row.password_applied is None else _enforced(row.password_applied),
        "forward": _forward(row.forward),
        "forward_by": forward_by,
        **autoreply,
        **({"swapped_from": row.swapped_from} if row.swapped_from else {}),
    }


def _enforced(in_force: bool) -> str:
    return "file" if in_force else "user, over the file's"


def _account_after(change: AccountChange) -> dict[str, Any]:
    fields, row = change.fields, change.row
    now = _account(row or new_account_row(change.local_part, change.domain))
    if "state" in fields:
        now["state"] = fields["state"]
    if "quota" in fields:
        now["quota"] = _quota(fields["quota"])
    if change.plain is not None or "password" in fields:
        now["password"] = f"{_MASK} (new)"
    if "password_applied" in fields or (change.enforced and change.plain is not None):
        now.update(password_by="file" if fields.get("password_applied", True) else _USER)
    if "forward_to" in fields:
        goes_to = fields["forward_to"]
        now["forward"] = _forward(Forward(tuple(goes_to), fields["forward_keep"]) if goes_to else None)
    if "forward_to" in fields or "forward_applied" in fields:
        applied = fields.get("forward_applied", row.forward_applied if row else None)
        now["forward_by"] = _USER if applied is None else "file"
    if "autoreply" in fields or "autoreply_applied" in fields:
        applied = fields.get("autoreply_applied", row.autoreply_applied if row else None)
        now["autoreply"] = fields.get("autoreply", row.autoreply if row else None)
        now["autoreply_by"] = _USER if applied is None else "file"
    if "swapped_from" in fields:
        now["swapped_from"] = fields["swapped_from"]
    return now


def _quota(quota: int | None) -> int | str:
    if quota is None:
        return "the plan's"
    return quota or "none"


def _forward(forward: Forward | None) -> dict[str, Any] | None:
    return {"to": list(forward.to), "keep": forward.keep} if forward else None


def _text(sections: _Text) -> str:
    lines = []
    for section in _SECTIONS:
        if sections[section]:
            lines.append(f"{section}:")
        for name, values in sorted(sections[section].items()):
            lines.append(f"  {name}:")
            lines += [f"    {key}: {_value(value)}" for key, value in sorted(values.items())]
    return "".join(f"{line}\n" for line in lines)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
