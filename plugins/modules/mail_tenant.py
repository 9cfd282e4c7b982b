#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_tenant
short_description: Keep one tenant of the directory
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Creates, changes and closes one tenant with its domains, and places and lifts holds on it.
  - Attributes whose options are not given stay as they are.
  - On a tenant that files declare this module can only place holds. Everything else is changed in its files.
extends_documentation_fragment:
  - mailhosting.stack._attributes
  - mailhosting.stack._directory.place
  - mailhosting.stack._directory
  - mailhosting.stack._directory.closing
  - mailhosting.stack._directory.holds
options:
  name:
    description: The tenant's id, V(a-z 0-9 -), at most 40 characters.
    type: str
    required: true
  plan:
    description: Name of a plan that M(mailhosting.stack.mail_directory) has declared. Required for a new tenant.
    type: str
  overrides:
    description: Plan keys for this tenant alone. If given, they replace all present ones; V({}) removes all.
    type: dict
  domains:
    description: The tenant's domains. If given, they replace all present ones; one with addresses stays, with a
      warning.
    type: list
    elements: dict
    suboptions:
      name:
        description: The domain.
        type: str
        required: true
      hostnames:
        description: Host names that get a certificate of their own.
        type: list
        elements: str
        default: []
      catch_all:
        description: The address that gets mail for unknown addresses of the domain. Without V(@), a name in the domain.
        type: str
      renamed_from:
        description:
          - The former name of the domain. Its addresses and mailboxes get the new name and keep their mail.
          - Mail for the old name arrives for the time in the plan's C(renamed_domain).
        type: str
  language:
    description: Language of texts for the tenant's users, V(en) or V(ja).
    type: str
    choices: [en, ja]
  contacts:
    description:
      - Addresses of people. If given, they replace all present ones; V({}) removes all.
      - V(technical) gets C(postmaster@) of every domain and the notices.
      - V(abuse), or else V(technical), gets C(abuse@).
    type: dict
    suboptions:
      technical:
        description: The person responsible for the tenant's mail.
        type: str
      billing:
        description: The person who gets the bills.
        type: str
      abuse:
        description: The person who handles complaints about abuse.
        type: str
  state:
    description:
      - V(present) creates the tenant as V(active) and reopens a closed one. It does not change any other state.
      - V(no_login) stops logins while mail still arrives; V(suspended) stops both.
      - V(closed) closes all its accounts. The host keeps their mail for O(grace).
      - V(absent) does the same, and removes the tenant once the host keeps none of its mail.
    type: str
    choices: [present, active, no_login, suspended, closed, absent]
    default: present
  expect_closed:
    description: The exact number of accounts that this run closes. Required if it is more than 10.
    type: int
seealso:
  - module: mailhosting.stack.mail_directory
  - module: mailhosting.stack.mail_account
"""

EXAMPLES = r"""
- name: Open an account with the provider
  mailhosting.stack.mail_tenant:
    name: acme
    plan: basic
    overrides: {mailbox_quota: 50M}
    domains:
      - name: acme.example
        hostnames: [mail.acme.example]
    contacts:
      technical: taro@acme.example

- name: Stop all sending of a tenant with an abused account until it is investigated
  mailhosting.stack.mail_tenant:
    name: acme
    hold:
      - scope: send
        reason: spam from acme.example, ticket 4711

- name: End the contract of a tenant with 12 accounts
  mailhosting.stack.mail_tenant:
    name: acme
    state: absent
    expect_closed: 12
"""

RETURN = r"""
counts:
  description: Same as in M(mailhosting.stack.mail_directory).
  type: dict
  returned: success
  sample: {created: 0, changed: 0, renamed: 0, closed: 12, restored: 0, removed: 0, unchanged: 0, undeclared: 0}
addresses:
  description: The addresses that changed, at most 100.
  type: list
  elements: str
  returned: success
  sample: [taro@acme.example]
settings:
  description: The tenant and the domains that changed.
  type: list
  elements: str
  returned: success
  sample: [tenant acme]
undeclared:
  description: Domains that stay although they are not among O(domains).
  type: list
  elements: str
  returned: success
  sample: []
over:
  description: Same as in M(mailhosting.stack.mail_directory).
  type: list
  elements: dict
  returned: success
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._directory import plan_syntax, syntax
from ..module_utils._directory.changes import Options, Scope
from ..module_utils._directory.checks_after import declare_tenant
from ..module_utils._directory.model import CONTACTS, LANGUAGES, Desired, Domain, Tenant
from ..module_utils._directory.problems import DirectoryError
from ..module_utils._directory.rows import MODULE, Current
from ..module_utils._directory_module import GRACE, NotMadeYetError, Request, connection_options, reported, run, value
from ..module_utils._single_object import HOLD_OPTIONS, holds, target


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            **HOLD_OPTIONS,
            "name": {"type": "str", "required": True},
            "plan": {"type": "str"},
            "overrides": {"type": "dict"},
            "domains": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "name": {"type": "str", "required": True},
                    "hostnames": {"type": "list", "elements": "str", "default": []},
                    "catch_all": {"type": "str"},
                    "renamed_from": {"type": "str"},
                },
            },
            "language": {"type": "str", "choices": list(LANGUAGES)},
            "contacts": {"type": "dict", "options": {role: {"type": "str"} for role in CONTACTS}},
            "state": {
                "type": "str",
                "choices": ["present", "active", "no_login", "suspended", "closed", "absent"],
                "default": "present",
            },
            "grace": {"type": "str", "default": GRACE},
            "expect_closed": {"type": "int"},
        },
        supports_check_mode=True,
    )
    parameters = module.params
    with reported(module):
        name = value("name", syntax.tenant_name, parameters["name"])
        run(
            module,
            lambda _store: frozenset({name}),
            lambda current: _request(name, parameters, current),
            would_change=parameters["state"] != "absent",
        )


def _request(name: str, parameters: dict[str, Any], current: Current) -> Request:
    absent = parameters["state"] == "absent"
    options = Options(
        origin=MODULE,
        scope=Scope(frozenset({name}), accounts=frozenset(), aliases=frozenset()),
        explicit=True,
        expect_closed=parameters["expect_closed"],
        holds=None if absent else holds(parameters, tenant=name),
    )
    tenants = {} if absent else {name: _tenant(name, parameters, current)}
    return Request(Desired(current.plans, tenants), options)


def _tenant(name: str, parameters: dict[str, Any], current: Current) -> Tenant:
    row = current.tenants.get(name)
    if row is None and not parameters["plan"]:
        raise DirectoryError(f"tenant {name} does not exist yet: a new one needs a plan")
    tenant = declare_tenant(current, row) if row else Tenant(name, parameters["plan"])
    if parameters["plan"] is not None:
        tenant.plan = value("plan", syntax.plan_name, parameters["plan"])
    if tenant.plan not in current.plans:
        known = ", ".join(sorted(current.plans)) or "there is none"
        raise NotMadeYetError(
            f"{syntax.shown(tenant.plan)} is not a plan; plans: {known}. mail_directory declares them"
        )
    if parameters["overrides"] is not None:
        tenant.overrides = value("overrides", plan_syntax.plan_settings, parameters["overrides"])
    if parameters["domains"] is not None:
        domains = [_domain(item) for item in parameters["domains"]]
        tenant.domains = {domain.name: domain for domain in domains}
        names = {domain.renamed_from: domain.name for domain in domains if domain.name not in current.domains}
        parts = {role: address.rpartition("@") for role, address in tenant.contacts.items()}
        tenant.contacts = {role: f"{local_part}@{names.get(at, at)}" for role, (local_part, _at, at) in parts.items()}
    if parameters["language"] is not None:
        tenant.language = parameters["language"]
    if parameters["contacts"] is not None:
        given = {role: address for role, address in parameters["contacts"].items() if address is not None}
        tenant.contacts = {role: value("contacts", syntax.target, address) for role, address in given.items()}
    if parameters["state"] != "present":
        tenant.state = parameters["state"]
    elif tenant.state == "closed":
        tenant.state = "active"
    return tenant


def _domain(item: dict[str, Any]) -> Domain:
    hostnames = tuple(value("domains", syntax.hostname, name) for name in item["hostnames"])
    name = value("domains", syntax.domain, item["name"])
    catch_all = None if item["catch_all"] is None else value("domains", target(name), item["catch_all"])
    before = None if item["renamed_from"] is None else value("domains", syntax.domain, item["renamed_from"])
    return Domain(name, hostnames, catch_all, before)


if __name__ == "__main__":
    main()
