#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_directory
short_description: Make the directory as the tenants' files declare
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Reads the plans and the files of all tenants on the controller, checks everything, and makes the directory as
    declared in one transaction, whatever the number of accounts. Postfix and Dovecot see the result at once.
  - The error lists all mistakes, each with file, line, key and what is allowed. After an error nothing has changed.
  - Runs as an action plugin on the controller and a module on the host. Tenants' data never becomes Ansible variables.
  - The operator's attributes (plan, overrides, state, quota, domains, aliases) are always as the files declare. An
    attribute that no file declares gets its default.
  - The users' attributes (password, forwarding) are enforced while a file declares them. Remove the key and the user
    controls the attribute again; the current value stays. C(forward) with V(null) declares that there is no forwarding.
  - The module does not change objects that modules or a panel made. A file that declares such an object is an error.
    C(addresses_managed_by) hands all of a tenant's addresses from the files to the panel or back.
  - The module reports an account that is no longer declared, and closes it with O(purge). An account that a file
    declares in another domain than before is a new account. A mailbox keeps its mail only with C(renamed_from), inside
    its domain. Another account may take the old name at once, with C(restore) V(false), and accounts may swap names.
  - An alias that is no longer declared is removed. If a tenant's file or an addresses file is missing, the module
    closes and removes nothing of that tenant.
  - C(renamed_from) of a domain renames it with all its mailboxes and passwords. Logins have the new name at once. Mail
    for the old name arrives for the time in the plan's C(renamed_domain). For that time no other tenant can have the
    name.
  - C(moved_from) of a domain moves it to this tenant with everything in it. The file of the former tenant must have the
    domain with C(moved_to) and this tenant's name. Mail and passwords stay; the new tenant's plan applies.
  - A domain that its tenant no longer declares is removed once it has no address left. A mailbox moves to another
    tenant only with its domain.
  - A warning names each account that is closed.
extends_documentation_fragment:
  - mailhosting.stack._attributes
  - mailhosting.stack._directory.place
  - mailhosting.stack._directory
  - mailhosting.stack._directory.closing
options:
  plans:
    description: The plans by name. Sizes are numbers with V(K), V(M) or V(G), powers of 1024; V(null) is no limit.
    type: dict
    default: {}
  tenants_dir:
    description: Folder on the controller with one YAML file for each tenant, C(NAME.yml).
    type: path
  addresses_dir:
    description: Folder on the controller with a file of the same name for a tenant's accounts and aliases.
    type: path
  secrets_dir:
    description: Folder on the controller with a file of the same name for a tenant's plain passwords. Use Vault for it.
    type: path
  timezone:
    description: Time zone of the dates in automatic replies, by its name in the time zone database (V(Asia/Tokyo)).
    type: str
    default: UTC
  lenient_domains:
    description:
      - External domains whose local parts may have dots anywhere, such as C(a..b@docomo.ne.jp) and
        C(ab.@docomo.ne.jp). Files may have such a local part in quotes, as it is on the wire.
    type: list
    elements: str
    default: [au.com, docomo.ne.jp, ezweb.ne.jp]
    version_added: "0.2.0"
  tenants:
    description:
      - Limit the run to these tenants. Empty means all.
      - The run does not change a plan that other tenants have too.
    type: list
    elements: str
    default: []
  files_only:
    description:
      - Only read and check the files, without a connection to the host.
    type: bool
    default: false
  purge:
    description: Close accounts that were declared before and no longer are.
    type: bool
    default: false
  expect_closed:
    description:
      - The exact number of accounts that this run closes. Required if it is more than 10, or more than 2 % of the
        accounts in the run.
    type: int
  update_password:
    description:
      - With V(on_create) a plain password sets the first password of an account.
      - With V(always) every run enforces it. A fingerprint shows that a password is unchanged, so it is not hashed
        again.
      - A declared C(password_hash) is always enforced.
    type: str
    choices: [on_create, always]
    default: on_create
  fingerprint_key:
    description: File on the host with the key for fingerprints, made by M(mailhosting.stack.mail_schema).
    type: path
    default: /etc/mailhosting/fingerprint.key
  document:
    description:
      - All that the files declare, checked, with passwords. The action plugin sets it.
      - It travels by standard input alone, so a run that is killed leaves no file of it.
    type: str
    version_added: "0.2.0"
seealso:
  - module: mailhosting.stack.mail_account
  - module: mailhosting.stack.mail_info
"""

EXAMPLES = r"""
- name: Bring the directory to what the files say
  mailhosting.stack.mail_directory:
    plans: "{{ mail_plans }}"
    tenants_dir: "{{ inventory_dir }}/tenants"
    addresses_dir: "{{ inventory_dir }}/addresses"
    secrets_dir: "{{ inventory_dir }}/secrets"

- name: Check what a customer's administrator wants to change, without any host
  mailhosting.stack.mail_directory:
    plans: "{{ mail_plans }}"
    tenants_dir: "{{ inventory_dir }}/tenants"
    addresses_dir: "{{ inventory_dir }}/addresses"
    files_only: true

- name: Close the 14 accounts that acme no longer has
  mailhosting.stack.mail_directory:
    plans: "{{ mail_plans }}"
    tenants_dir: "{{ inventory_dir }}/tenants"
    addresses_dir: "{{ inventory_dir }}/addresses"
    secrets_dir: "{{ inventory_dir }}/secrets"
    tenants: [acme]
    purge: true
    grace: 60d
    expect_closed: 14
"""

RETURN = r"""
counts:
  description:
    - How many addresses (accounts and aliases) were C(created), C(changed), C(renamed), C(closed), C(restored),
      C(removed) (aliases only) and C(unchanged), and how many objects are C(undeclared).
  type: dict
  returned: success
  sample: {created: 1, changed: 0, renamed: 0, closed: 0, restored: 0, removed: 0, unchanged: 99, undeclared: 0}
addresses:
  description: The addresses that changed, at most 100.
  type: list
  elements: str
  returned: success
  sample: [taro@acme.example]
declared:
  description: How many C(tenants), C(accounts) and C(aliases) the files declare.
  type: dict
  returned: with O(files_only)
  sample: {tenants: 2, accounts: 10, aliases: 3}
settings:
  description: The plans, tenants and domains that changed, at most 100.
  type: list
  elements: str
  returned: success
  sample: [tenant acme, domain acme.example]
undeclared:
  description: Tenants, domains and addresses in the directory that no file declares any more, at most 100.
  type: list
  elements: str
  returned: success
  sample: [jiro@acme.example]
over:
  description:
    - Accounts and tenants that use more bytes than a limit that this run lowers, at most 100. The role
      P(mailhosting.stack.usage#role) collects the usage. Each is a warning too, in check mode before anything changes.
  type: list
  elements: dict
  returned: success
  contains:
    tenant:
      description: Name of the tenant.
      type: str
    address:
      description: The account, or V(null) for the tenant as a whole.
      type: str
    limit:
      description: The plan key, V(mailbox_quota) or V(tenant_quota).
      type: str
    allowed:
      description: The new limit in bytes.
      type: int
    used:
      description: Bytes in use.
      type: int
    excess:
      description: Bytes above the limit.
      type: int
  sample:
    - tenant: acme
      address: taro@acme.example
      limit: mailbox_quota
      allowed: 10485760
      used: 15728640
      excess: 5242880
host:
  description: The settings of the daemons' static configuration that follow from all tenants that are not closed.
  type: dict
  returned: success
  contains:
    hostnames:
      description: Host names that have a certificate of their own.
      type: list
      elements: str
    all_address:
      description: Whether any tenant has C(all@) for its own senders alone.
      type: bool
    cleartext_auth:
      description: Whether any tenant may send a password without TLS.
      type: bool
    legacy_auth:
      description: Whether any tenant has APOP and CRAM-MD5.
      type: bool
    max_message_size:
      description: The largest C(max_message_size) of any tenant, in bytes; 0 if no tenant has one.
      type: int
    pop_before_smtp:
      description: Seconds for which a client may relay after a POP or IMAP login, the most of all tenants; 0 for none.
      type: int
    pop_before_smtp_senders:
      description:
        - The senders with which it may relay, the most of all tenants.
        - V(login) stands for the login's own senders, V(tenant) for all senders of its tenant.
      type: str
    quota_warnings:
      description: Percents of the quota at which users of any tenant get a notice.
      type: list
      elements: int
    protocols:
      description: The ports that any tenant has.
      type: list
      elements: str
    virus:
      description: Whether any tenant's mail is scanned.
      type: bool
    virus_pua:
      description: Whether any tenant's mail with possibly unwanted applications is treated otherwise than the rest.
      type: bool
    max_unpacked_size:
      description: The largest C(max_unpacked_size) of any tenant whose mail is scanned, in bytes; 0 if there is none.
      type: int
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
host_changed:
  description: Whether RV(host) differs from before the run.
  type: bool
  returned: success
"""

import gc
import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._directory import syntax
from ..module_utils._directory.changes import Changes, Options, Scope, Settings
from ..module_utils._directory.checks_after import host_requirements
from ..module_utils._directory.model import Desired, from_document
from ..module_utils._directory.problems import DirectoryError
from ..module_utils._directory.rows import Current
from ..module_utils._directory_module import (
    FINGERPRINT_KEY,
    GRACE,
    UPDATE_PASSWORD,
    Request,
    connection_options,
    reported,
    run,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "plans": {"type": "dict", "default": {}},
            "tenants_dir": {"type": "path"},
            "addresses_dir": {"type": "path"},
            "secrets_dir": {"type": "path", "no_log": False},
            "tenants": {"type": "list", "elements": "str", "default": []},
            "files_only": {"type": "bool", "default": False},
            "timezone": {"type": "str", "default": "UTC"},
            "lenient_domains": {"type": "list", "elements": "str", "default": list(syntax.LENIENT_DOMAINS)},
            "purge": {"type": "bool", "default": False},
            "grace": {"type": "str", "default": GRACE},
            "expect_closed": {"type": "int"},
            "update_password": {
                "type": "str",
                "choices": list(UPDATE_PASSWORD),
                "default": "on_create",
                "no_log": False,
            },
            "fingerprint_key": {"type": "path", "default": FINGERPRINT_KEY, "no_log": False},
            # One secret as a whole: searching the result for each password in it would take minutes.
            "document": {"type": "str", "no_log": True},
        },
        supports_check_mode=True,
    )
    # Collection would take a third of the time, with hundreds of thousands of objects and no cycle.
    gc.disable()
    limit = frozenset(module.params["tenants"]) or None
    with reported(module):
        desired = _read(module.params["document"])
        options = _options(module, desired, limit)
        run(module, lambda _store: limit, lambda _current: Request(desired, options), more=_host)


def _read(document: str | None) -> Desired:
    if document is None:
        raise DirectoryError(
            "mail_directory gets its document from its action plugin of the same name; call it as a task"
        )
    try:
        return from_document(json.loads(document))
    except (ValueError, KeyError) as error:
        raise DirectoryError(f"cannot read the document: {error}") from None


def _options(module: AnsibleModule, desired: Desired, limit: frozenset[str] | None) -> Options:
    always = UPDATE_PASSWORD[module.params["update_password"]]
    declares_plain = any(
        account.password is not None for tenant in desired.tenants.values() for account in tenant.accounts.values()
    )
    return Options(
        scope=Scope(tenants=limit),
        purge=module.params["purge"],
        expect_closed=module.params["expect_closed"],
        enforce_passwords=always,
        fingerprint_key=_key(module) if always and declares_plain else b"",
    )


def _key(module: AnsibleModule) -> bytes:
    path = module.params["fingerprint_key"]
    try:
        with open(path, "rb") as file:
            return file.read().strip()
    except OSError as error:
        if module.check_mode:
            return b""
        raise DirectoryError(f"{path}: {error.strerror}; the playbook mailhosting.stack.site makes it") from None


def _host(changes: Changes, current: Current) -> dict[str, Any]:
    before = host_requirements(Settings(current.plans, current.tenants, current.domains))
    after = host_requirements(changes.settings)
    return {"host": after, "host_changed": before != after}


if __name__ == "__main__":
    main()
