#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_alias
short_description: Keep one alias of the directory
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Creates, changes and removes one alias, an address without a mailbox whose mail is forwarded to other addresses.
  - The alias belongs to the tenant that owns the address's domain.
  - An alias that this module creates has the origin C(module). M(mailhosting.stack.mail_directory) does not remove it,
    and no file may declare it.
  - An alias that files declare is changed in the files.
extends_documentation_fragment:
  - mailhosting.stack._attributes
  - mailhosting.stack._directory.place
  - mailhosting.stack._directory
options:
  address:
    description: The alias.
    type: str
    required: true
  targets:
    description:
      - Where its mail is forwarded to. A name without @ is an address of the same domain. Required for a new alias.
      - A target in a domain of the same tenant must exist.
    type: list
    elements: str
  state:
    description: Whether the alias exists. The module never changes an account of the same address.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: mailhosting.stack.mail_directory
  - module: mailhosting.stack.mail_account
"""

EXAMPLES = r"""
- name: Send what comes for sales to three people
  mailhosting.stack.mail_alias:
    address: sales@acme.example
    targets: [taro, hanako, partner@elsewhere.example]

- name: Remove an alias
  mailhosting.stack.mail_alias:
    address: sales@acme.example
    state: absent
"""

RETURN = r"""
counts:
  description: Same as in M(mailhosting.stack.mail_directory).
  type: dict
  returned: success
  sample: {created: 1, changed: 0, renamed: 0, closed: 0, restored: 0, removed: 0, unchanged: 0, undeclared: 0}
addresses:
  description: The alias if it changed.
  type: list
  elements: str
  returned: success
  sample: [sales@acme.example]
settings:
  description: Always empty for this module.
  type: list
  elements: str
  returned: success
  sample: []
undeclared:
  description: Always empty for this module.
  type: list
  elements: str
  returned: success
  sample: []
over:
  description: Always empty for this module.
  type: list
  elements: dict
  returned: success
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._directory.changes import Options, Scope
from ..module_utils._directory.model import Alias, Desired
from ..module_utils._directory.problems import DirectoryError
from ..module_utils._directory.rows import MODULE, Current
from ..module_utils._directory.store import Store
from ..module_utils._directory_module import Request, connection_options, reported, run, value
from ..module_utils._single_object import owner, refuse_closed, split, target


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "address": {"type": "str", "required": True},
            "targets": {"type": "list", "elements": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    with reported(module):
        address, _local_part, domain = split(module.params["address"])

        def tenants(store: Store) -> frozenset[str]:
            return frozenset({store.owner(domain) or ""})

        run(
            module,
            tenants,
            lambda current: _request(address, module.params, current),
            would_change=module.params["state"] != "absent",
        )


def _request(address: str, parameters: dict[str, Any], current: Current) -> Request:
    tenant = owner(current, address.rpartition("@")[2])
    if parameters["state"] == "present":
        refuse_closed(tenant)
        tenant.aliases[address] = _alias(address, parameters["targets"], current)
    scope = Scope(frozenset({tenant.name}), accounts=frozenset(), aliases=frozenset({address}), settings=False)
    options = Options(origin=MODULE, scope=scope, explicit=True)
    return Request(Desired(current.plans, {tenant.name: tenant}), options)


def _alias(address: str, targets: list[str] | None, current: Current) -> Alias:
    local_part, _at, domain = address.rpartition("@")
    row = current.aliases.get(address)
    if targets is None and row is None:
        raise DirectoryError(f"alias {address} does not exist yet: a new one needs targets")
    if targets is None and row is not None:
        return Alias(local_part, domain, tuple(row.targets))
    if not targets:
        raise DirectoryError("targets: an alias needs at least one")
    return Alias(local_part, domain, tuple(value("targets", target(domain), text) for text in targets))


if __name__ == "__main__":
    main()
