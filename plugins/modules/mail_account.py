#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_account
short_description: Keep one account of the directory
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Creates, changes, renames, closes and restores one account, and places and lifts holds on it. For many accounts
    M(mailhosting.stack.mail_directory) is far faster.
  - Attributes whose options are not given stay as they are. The account belongs to the tenant that owns the address's
    domain.
  - An account that this module creates has the origin C(module). M(mailhosting.stack.mail_directory) does not close it,
    and no file may declare it. To move an account into the files, close it here and declare it there with C(restore)
    set to V(true).
  - An account that files declare is changed in the files. This module can place holds on it, and set a password or
    forwarding that no file declares.
extends_documentation_fragment:
  - mailhosting.stack._attributes
  - mailhosting.stack._directory.place
  - mailhosting.stack._directory
  - mailhosting.stack._directory.closing
  - mailhosting.stack._directory.holds
options:
  address:
    description: The account's address, which is also its login.
    type: str
    required: true
  state:
    description:
      - V(present) creates the account as V(active), and does not change the state of an account that exists.
      - V(no_login) stops logins while mail still arrives; V(suspended) stops both.
      - V(absent) closes the account. The host keeps its mail for O(grace).
    type: str
    choices: [present, active, no_login, suspended, absent]
    default: present
  password:
    description:
      - The password in plain text; see O(update_password). The module rejects one that looks like the template's.
      - A warning names an account that may log in but has no password.
    type: str
  update_password:
    description:
      - With V(on_create) O(password) sets the first password of an account.
      - With V(always) every run sets it, if the account has another password.
    type: str
    choices: [on_create, always]
    default: on_create
  password_hash:
    description:
      - The password as a hash in Dovecot's notation, such as V({ARGON2ID}$argon2id$…). Every run sets it.
      - V({PLAIN}) followed by the password is for tests of speed. No tenant's file may have it.
    type: str
  quota:
    description:
      - Size of the mailbox in bytes, or with V(K), V(M) or V(G), powers of 1024.
      - V(none) is no limit, V(plan) is the plan's quota.
    type: str
  forward:
    description: Where the account's mail is forwarded to.
    type: dict
    suboptions:
      to:
        description: Addresses. A name without @ is an address of the same domain. An empty list ends the forwarding.
        type: list
        elements: str
        required: true
      keep:
        description: Whether the mailbox keeps a copy.
        type: bool
        default: true
  autoreply:
    description: An automatic reply, once for each sender and period. V({}) ends it.
    type: dict
    suboptions:
      body:
        description: The text of the answer.
        type: str
      subject:
        description: Its subject; V(Notification for your mail.) by default.
        type: str
      from:
        description: First day (in O(timezone)), or a time in ISO 8601 with an offset.
        type: str
      until:
        description: Last day (in O(timezone)), or a time in ISO 8601 with an offset.
        type: str
  timezone:
    description: Time zone of the days in O(autoreply), by its name in the time zone database, such as V(Asia/Tokyo).
    type: str
    default: UTC
  forget_answered:
    description: Let the automatic reply answer every sender again. It is a change only if it has answered any sender.
    type: bool
    default: false
  renamed_from:
    description:
      - The account's former local part, in the same domain. The account keeps its mail.
      - Mail for the old address arrives for the time in the plan's C(renamed_alias), unless another account gets the
        address.
    type: str
  restore:
    description:
      - Required if an account of this address was closed and its mail is still kept.
      - V(true) restores that account with its mail, V(false) creates an empty one.
    type: bool
seealso:
  - module: mailhosting.stack.mail_directory
  - module: mailhosting.stack.mail_alias
"""

EXAMPLES = r"""
- name: Create an account
  mailhosting.stack.mail_account:
    address: taro@acme.example
    password: "{{ lookup('ansible.builtin.password', 'secrets/taro length=20') }}"
    quota: 100M

- name: Forward its mail and keep a copy
  mailhosting.stack.mail_account:
    address: taro@acme.example
    forward:
      to: [hanako, taro@home.example]

- name: Set a new password
  mailhosting.stack.mail_account:
    address: taro@acme.example
    password: "{{ new_password }}"
    update_password: always

- name: Rename it with all its mail
  mailhosting.stack.mail_account:
    address: taro.yamada@acme.example
    renamed_from: taro

- name: Stop it from sending until the end of the year
  mailhosting.stack.mail_account:
    address: taro.yamada@acme.example
    hold:
      - scope: send
        reason: password was stolen, ticket 4711
        until: "2026-12-31T23:59:59+00:00"

- name: Let it send again
  mailhosting.stack.mail_account:
    address: taro.yamada@acme.example
    release: [send]

- name: Close it and keep its mail for a year
  mailhosting.stack.mail_account:
    address: taro.yamada@acme.example
    state: absent
    grace: 52w
"""

RETURN = r"""
counts:
  description: Same as in M(mailhosting.stack.mail_directory).
  type: dict
  returned: success
  sample: {created: 1, changed: 0, renamed: 0, closed: 0, restored: 0, removed: 0, unchanged: 0, undeclared: 0}
addresses:
  description: The account's address if it changed.
  type: list
  elements: str
  returned: success
  sample: [taro@acme.example]
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
  description: Same as in M(mailhosting.stack.mail_directory).
  type: list
  elements: dict
  returned: success
  sample: []
"""

from datetime import tzinfo
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._directory import legacy, password_hashes, passwords, syntax
from ..module_utils._directory.changes import Options, Scope, Settings
from ..module_utils._directory.checks_after import declare
from ..module_utils._directory.model import UNSET, Account, Autoreply, Desired, Forward, Unset
from ..module_utils._directory.reconcile_account import lacks_secret
from ..module_utils._directory.rows import MODULE, AccountRow, Current
from ..module_utils._directory.store import Store
from ..module_utils._directory_module import GRACE, UPDATE_PASSWORD, Request, connection_options, reported, run, value
from ..module_utils._dovecot import DovecotError, forget_answered
from ..module_utils._single_object import HOLD_OPTIONS, holds, owner, refuse_closed, split, target


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            **HOLD_OPTIONS,
            "address": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "choices": ["present", "active", "no_login", "suspended", "absent"],
                "default": "present",
            },
            "password": {"type": "str", "no_log": True},
            "update_password": {
                "type": "str",
                "choices": list(UPDATE_PASSWORD),
                "default": "on_create",
                "no_log": False,
            },
            "password_hash": {"type": "str", "no_log": True},
            "quota": {"type": "str"},
            "forward": {
                "type": "dict",
                "options": {
                    "to": {"type": "list", "elements": "str", "required": True},
                    "keep": {"type": "bool", "default": True},
                },
            },
            "autoreply": {
                "type": "dict",
                "options": {
                    "body": {"type": "str"},
                    "subject": {"type": "str"},
                    "from": {"type": "str"},
                    "until": {"type": "str"},
                },
            },
            "timezone": {"type": "str", "default": "UTC"},
            "forget_answered": {"type": "bool", "default": False},
            "renamed_from": {"type": "str"},
            "restore": {"type": "bool"},
            "grace": {"type": "str", "default": GRACE},
        },
        mutually_exclusive=[("password", "password_hash")],
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
            more=lambda changes, _current: _forget_answered(module, address, bool(changes)),
        )


def _forget_answered(module: AnsibleModule, address: str, changed: bool) -> dict[str, Any]:
    if not module.params["forget_answered"]:
        return {}
    try:
        return {"changed": forget_answered(address, module.check_mode) or changed}
    except DovecotError as error:
        module.warn(f"The directory is as it should be, but {error}.")
        return {}


def _request(address: str, parameters: dict[str, Any], current: Current) -> Request:
    tenant = owner(current, address.rpartition("@")[2])
    absent = parameters["state"] == "absent"
    if not absent:
        refuse_closed(tenant)
        tenant.accounts[address] = _account(address, tenant.name, parameters, current)
    scope = Scope(frozenset({tenant.name}), frozenset({address}), aliases=frozenset(), settings=False)
    options = Options(
        origin=MODULE,
        scope=scope,
        purge=absent,
        explicit=True,
        enforce_passwords=UPDATE_PASSWORD[parameters["update_password"]],
        holds=None if absent else holds(parameters, address=address),
    )
    return Request(Desired(current.plans, {tenant.name: tenant}), options)


def _account(address: str, tenant: str, parameters: dict[str, Any], current: Current) -> Account:
    """The account as it is, with the given options."""
    local_part, _at, domain = address.rpartition("@")
    renamed_from = parameters["renamed_from"]
    if renamed_from is not None:
        renamed_from = value("renamed_from", syntax.local_part, renamed_from)
    row = (
        current.accounts.get(address)
        or current.accounts.get(f"{renamed_from}@{domain}")
        or (current.closed.get((tenant, address)) if parameters["restore"] else None)
    )
    account = declare(row) if row else Account(local_part, domain)
    account.local_part, account.renamed_from, account.restore = local_part, renamed_from, parameters["restore"]
    account.forward = account.autoreply = UNSET  # a module leaves what is not given
    if parameters["state"] != "present":
        account.state = parameters["state"]
    if parameters["quota"] is not None:
        account.quota = _quota(parameters["quota"])
    if parameters["forward"] is not None:
        goes_to = tuple(value("forward", target(domain), text) for text in parameters["forward"]["to"])
        account.forward = Forward(goes_to, parameters["forward"]["keep"]) if goes_to else None
    if parameters["autoreply"] is not None:
        account.autoreply = _autoreply(
            parameters["autoreply"], value("timezone", syntax.time_zone, parameters["timezone"])
        )
    legacy_auth = Settings(current.plans, current.tenants, current.domains).legacy_auth(tenant)
    _set_password(account, row, parameters, legacy_auth)
    return account


def _autoreply(given: dict[str, Any], zone: tzinfo) -> Autoreply | None:
    if all(item is None for item in given.values()):
        return None
    texts = (given["body"], given["subject"], given["from"], given["until"])
    return value("autoreply", lambda texts: syntax.autoreply(*texts, zone=zone), texts)


def _set_password(account: Account, row: AccountRow | None, parameters: dict[str, Any], legacy_auth: bool) -> None:
    if parameters["password_hash"] is not None:
        account.password_hash = value("password_hash", _password_hash, parameters["password_hash"])
    if parameters["password"] is not None:
        plain = value("password", syntax.password, parameters["password"])
        always = UPDATE_PASSWORD[parameters["update_password"]]
        same = always and row and row.password and passwords.verify(plain, row.password)
        if not same or (row and legacy_auth and lacks_secret(row, legacy.key_ids(legacy.KEYS))):
            account.password = plain


def _password_hash(text: str) -> str:
    hashed = password_hashes.password_hash(text, may_be_plain=True)
    if hashed.startswith("{PLAIN}"):
        syntax.password(hashed.removeprefix("{PLAIN}"))
    return hashed


def _quota(text: str) -> int | Unset | None:
    if text == "plan":
        return UNSET
    return None if text == "none" else value("quota", syntax.size, text)


if __name__ == "__main__":
    main()
