#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_info
short_description: Read the directory
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Returns the content of the directory, without passwords and hashes.
extends_documentation_fragment:
  - mailhosting.stack._attributes.info
  - mailhosting.stack._directory.place
  - mailhosting.stack._directory
options:
  gather_subset:
    description: What to return.
    type: list
    elements: str
    choices: [plans, tenants, accounts, aliases, closed, holds, host]
    default: [plans, tenants, host]
  tenants:
    description: Limit C(tenants), C(accounts), C(aliases), C(closed) and C(holds) to these tenants. Empty means all.
    type: list
    elements: str
    default: []
  domains:
    description: Limit them to the tenants that have one of these domains, and to O(tenants). Empty means all.
    type: list
    elements: str
    default: []
seealso:
  - module: mailhosting.stack.mail_directory
"""

EXAMPLES = r"""
- name: See who has more accounts than the plan allows
  mailhosting.stack.mail_info:
    gather_subset: [tenants]
  register: directory

- name: Show them
  ansible.builtin.debug:
    msg: "{{ directory.tenants | dict2items | selectattr('value.over_limit') | map(attribute='key') }}"

- name: Read the accounts of one tenant
  mailhosting.stack.mail_info:
    gather_subset: [accounts, aliases, holds]
    tenants: [acme]
"""

RETURN = r"""
plans:
  description: Settings by plan, as they were written.
  type: dict
  returned: when asked for
  sample: {basic: {mailbox_quota: 20971520}}
tenants:
  description: By name.
  type: dict
  returned: when asked for
  contains:
    plan:
      description: Name of the plan.
      type: str
    overrides:
      description: Plan keys for this tenant alone.
      type: dict
    settings:
      description: All plan keys as they apply.
      type: dict
    state:
      description: V(active), V(no_login), V(suspended) or V(closed).
      type: str
    origin:
      description: Its origin, V(inventory) or V(module).
      type: str
    addresses_managed_by:
      description: V(inventory) or V(panel).
      type: str
    language:
      description: Language of texts for the tenant's users, V(en) or V(ja).
      type: str
    contacts:
      description: Addresses by role, such as C(technical).
      type: dict
    domains:
      description: Host names by domain.
      type: dict
    former_domains:
      description: Present domains by their former names that still take mail.
      type: dict
    accounts:
      description: Number of accounts.
      type: int
    aliases:
      description: Number of aliases.
      type: int
    mailboxes:
      description: Number of mailboxes, those of closed accounts included.
      type: int
    over_limit:
      description: Whether there are more accounts and aliases than C(max_accounts).
      type: bool
  sample:
    acme:
      plan: basic
      overrides: {}
      settings:
        mailbox_quota: 20971520
        max_account_quota: plan
        max_accounts: 50
        max_messages: null
        max_folders: null
        max_filters: null
        max_filters_size: null
        max_forward_targets: 6
        protocols: [pop3s, submission]
        cleartext_auth: false
        legacy_auth: false
        pop_before_smtp: null
        all_address: null
        renamed_alias: 2592000
        renamed_domain: 7776000
        quota_warnings: [90, 100]
        billing_step: null
        retention: {}
        max_message_size: 20971520
        tenant_quota: null
        send_limits: []
        receive_limits: []
        account_send_limits: []
        bulk_mail: null
        virus: null
      state: active
      origin: inventory
      addresses_managed_by: inventory
      language: en
      contacts: {}
      domains: {acme.example: []}
      former_domains: {}
      accounts: 3
      aliases: 1
      mailboxes: 3
      over_limit: false
accounts:
  description: By address.
  type: dict
  returned: when asked for
  contains:
    id:
      description: Identifies the mailbox; it stays when the address changes.
      type: int
    tenant:
      description: Name of the tenant.
      type: str
    state:
      description: V(active), V(no_login) or V(suspended). The tenant's state and holds restrict it further.
      type: str
    quota:
      description: Bytes, 0 for no limit; V(null) for the plan's.
      type: int
    has_password:
      description: Whether it has a password.
      type: bool
    forward:
      description: Targets and whether the mailbox keeps a copy, or V(null).
      type: dict
    autoreply:
      description: Body, subject, start and end (seconds since 1970), or V(null).
      type: dict
    origin:
      description: Its origin.
      type: str
  sample:
    taro@acme.example:
      id: 1207
      tenant: acme
      state: active
      quota: null
      has_password: true
      forward: null
      autoreply: null
      origin: inventory
aliases:
  description: Targets and origin by address.
  type: dict
  returned: when asked for
  sample: {sales@acme.example: {targets: [taro@acme.example], origin: inventory}}
closed:
  description: Closed accounts that can be restored, by their last address; as RV(accounts).
  type: dict
  returned: when asked for
  sample: {}
holds:
  description: Holds on accounts and tenants.
  type: list
  elements: dict
  returned: when asked for
  contains:
    account:
      description: Id of the account, or V(null).
      type: int
    tenant:
      description: Name of the tenant, or V(null).
      type: str
    scope:
      description: V(send), V(receive), V(login), V(forward), V(filter) or V(retention).
      type: str
    reason:
      description: The reason, as given.
      type: str
    until:
      description: When it ends, in seconds since 1970; V(null) if only an operator ends it.
      type: int
    origin:
      description: The origin, V(operator), V(gate), or V(abuse) for C(mailhosting lock).
      type: str
  sample:
    - {account: 1207, tenant: null, scope: send, reason: its password is known, until: null, origin: operator}
host:
  description: Same as in M(mailhosting.stack.mail_directory).
  type: dict
  returned: when asked for
  sample:
    hostnames: [mail.acme.example]
    all_address: false
    cleartext_auth: false
    legacy_auth: false
    max_message_size: 20971520
    pop_before_smtp: 0
    pop_before_smtp_senders: login
    quota_warnings: [90, 100]
    protocols: [pop3s, submission]
    virus: true
    virus_pua: false
    max_unpacked_size: 104857600
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._directory import syntax
from ..module_utils._directory.changes import Settings
from ..module_utils._directory.checks_after import host_requirements
from ..module_utils._directory.model import effective
from ..module_utils._directory.reconcile_domains import former_domains
from ..module_utils._directory.rows import AccountRow, Current
from ..module_utils._directory.rules_of_items import FREE_LOCAL_PARTS
from ..module_utils._directory.store import Store
from ..module_utils._directory_module import connection_options, opened, reported, value


def main() -> None:
    subsets: dict[str, Callable[[Current], Any]] = {
        "plans": lambda current: current.plans,
        "tenants": _tenants,
        "accounts": lambda current: {row.address: _account(row) for row in _sorted(current.accounts.values())},
        "aliases": _aliases,
        "closed": lambda current: {row.address: _account(row) for row in _sorted(current.closed.values())},
        "holds": _holds,
        "host": lambda current: host_requirements(Settings(current.plans, current.tenants, current.domains)),
    }
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "gather_subset": {
                "type": "list",
                "elements": "str",
                "choices": list(subsets),
                "default": ["plans", "tenants", "host"],
            },
            "tenants": {"type": "list", "elements": "str", "default": []},
            "domains": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    with reported(module), opened(module) as store:
        current = store.load(_limit(module.params, store)) if store else Current()
        module.exit_json(changed=False, **{name: subsets[name](current) for name in module.params["gather_subset"]})


def _limit(parameters: dict[str, Any], store: Store) -> frozenset[str] | None:
    """The tenants asked for; None: all of them."""
    names, domains = parameters["tenants"], [value("domains", syntax.domain, name) for name in parameters["domains"]]
    owners = (store.owner(domain) for domain in domains)
    return frozenset({*names, *filter(None, owners)}) if names or domains else None


def _tenants(current: Current) -> dict[str, Any]:
    accounts = Counter(row.tenant for row in current.accounts.values())
    aliases = Counter(current.alias_tenant(row) for row in current.aliases.values())
    free = Counter(row.tenant for row in current.accounts.values() if row.local_part in FREE_LOCAL_PARTS)
    free.update(current.alias_tenant(row) for row in current.aliases.values() if row.local_part in FREE_LOCAL_PARTS)
    domains: dict[str, dict[str, list[str]]] = {name: {} for name in current.tenants}
    for domain in _sorted(current.domains.values()):
        domains[domain.tenant][domain.name] = list(domain.hostnames)
    former: dict[str, dict[str, str]] = {name: {} for name in current.tenants}
    names = former_domains(current, Settings(current.plans, current.tenants, current.domains))
    for name, domain in sorted(names.items()):
        former[current.domains[domain].tenant][name] = domain
    result = {}
    for row in _sorted(current.tenants.values()):
        if current.loaded is not None and row.name not in current.loaded:
            continue
        settings = effective(current.plans[row.plan], row.overrides)
        counted = accounts[row.name] + aliases[row.name] - free[row.name]
        result[row.name] = {
            **row._asdict(),
            "settings": settings,
            "domains": domains[row.name],
            "former_domains": former[row.name],
            "accounts": accounts[row.name],
            "aliases": aliases[row.name],
            "over_limit": settings["max_accounts"] is not None and counted > settings["max_accounts"],
        }
        del result[row.name]["name"]
    return result


def _account(row: AccountRow) -> dict[str, Any]:
    forward = row.forward
    return {
        "id": row.id,
        "tenant": row.tenant,
        "state": row.state,
        "quota": row.quota,
        "has_password": row.password is not None,
        "forward": {"to": list(forward.to), "keep": forward.keep} if forward else None,
        "autoreply": row.autoreply,
        "origin": row.origin,
    }


def _aliases(current: Current) -> dict[str, Any]:
    return {row.address: {"targets": row.targets, "origin": row.origin} for row in _sorted(current.aliases.values())}


def _holds(current: Current) -> list[dict[str, Any]]:
    ids = {row.id for row in [*current.accounts.values(), *current.closed.values()]}
    return [
        {
            "account": hold.account_id,
            "tenant": hold.tenant,
            "scope": hold.scope,
            "reason": hold.reason,
            "until": hold.until,
            "origin": hold.origin,
        }
        for hold in current.holds
        if current.loaded is None or hold.tenant in current.loaded or hold.account_id in ids
    ]


def _sorted(rows: Iterable[Any]) -> list[Any]:
    """By name or address."""
    return sorted(rows, key=lambda row: getattr(row, "address", None) or row.name)


if __name__ == "__main__":
    main()
