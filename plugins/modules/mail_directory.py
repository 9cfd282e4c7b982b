#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_directory
short_description: Bring the directory to what the tenants' files say
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Reads the plans and the files of all tenants on the controller, checks everything, and brings the directory to it in
    one transaction, whatever the number of accounts. Postfix and Dovecot see the result at once.
  - All mistakes are listed, each with file, line, key and what is allowed; with one of them nothing changes.
  - Runs as an action plugin on the controller and a module on the host. Tenants' data never becomes Ansible variables.
  - The operator's attributes (plan, overrides, state, quota, domains, aliases) are what the files say; what they do not
    say is the default.
  - The users' attributes (password, forwarding) are enforced while a file declares them. Taking the key out hands them
    back; C(forward) with V(null) declares that there is none.
  - Objects that modules or a panel made are left alone. A file that declares one of them is an error, except that
    C(addresses_managed_by) hands all of a tenant's addresses from the files to the panel and back.
  - An account that is no longer declared is reported, and with O(purge) closed. One that a file declares in another
    domain than before is a new account; the mailbox only follows C(renamed_from), inside its domain. Another may have
    the old name at once, with C(restore) V(false), and names may be swapped.
  - An alias that is no longer declared is removed. A tenant or an addresses file that has vanished closes and removes
    nothing.
  - A domain with C(renamed_from) takes everything along that is in the domain of that name, mailboxes and passwords
    included; none of it is closed or made anew. Logins have the new name at once. Mail for the old one arrives for as
    long as the plan's C(renamed_domain) says, and so long no other tenant can have the name.
  - A domain with C(moved_from) passes to this tenant with everything that is in it, if the file of the tenant named
    there has it with C(moved_to) and this one's name. Numbers, mail and passwords stay; the new tenant's plan is in
    force.
  - A domain that its tenant no longer has goes once no address is left in it; no mailbox passes to another tenant
    otherwise.
  - Each account that is closed is named in a warning.
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
    description: Folder on the controller with one YAML file a tenant, C(NAME.yml).
    type: path
  addresses_dir:
    description: Folder on the controller with a file of the same name for a tenant's accounts and aliases.
    type: path
  secrets_dir:
    description: Folder on the controller with a file of the same name for a tenant's plain passwords, best vaulted.
    type: path
  timezone:
    description: Time zone of the dates in automatic replies, as the time zone database calls it, such as V(Asia/Tokyo).
    type: str
    default: UTC
  lenient_domains:
    description:
      - Domains of others in whose addresses dots stand anywhere in the local part, such as C(a..b@docomo.ne.jp) and
        C(ab.@docomo.ne.jp). They may be written in quotes, which they get on the wire.
    type: list
    elements: str
    default: [au.com, docomo.ne.jp, ezweb.ne.jp]
    version_added: "0.2.0"
  tenants:
    description:
      - Limit the run to these tenants; others are not touched. Empty means all.
      - A plan that other tenants have too is not changed either.
    type: list
    elements: str
    default: []
  files_only:
    description:
      - Only read and check the files. Nothing is compared with the directory, and the host is not even connected to.
    type: bool
    default: false
  purge:
    description: Close accounts that were declared once and are no more.
    type: bool
    default: false
  expect_closed:
    description:
      - The exact number of accounts that this run closes, when it is more than 10 or more than 2 % of those it is
        about.
    type: int
  update_password:
    description:
      - With V(on_create) a plain password sets the first password of an account.
      - With V(always) it is enforced. A fingerprint tells an unchanged one, so that nothing is hashed twice.
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
      - All that the files declare, checked, passwords included; set by the action plugin.
      - It travels by standard input alone, so that no file of it is left when a run is killed.
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
  description: Tenants, domains and addresses that are in the directory and in no file any more, at most 100.
  type: list
  elements: str
  returned: success
  sample: [jiro@acme.example]
over:
  description:
    - Accounts and tenants whose bytes in use, as last seen by the role P(mailhosting.stack.usage#role), are more than a
      limit that this run lowers, at most 100. Each is a warning too; check mode tells before anything changes.
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
      description: Bytes, as the limit will be.
      type: int
    used:
      description: Bytes in use.
      type: int
    excess:
      description: How many bytes too many.
      type: int
  sample:
    - tenant: acme
      address: taro@acme.example
      limit: mailbox_quota
      allowed: 10485760
      used: 15728640
      excess: 5242880
host:
  description: What the daemons' static configuration depends on, over all tenants that are not closed.
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
      description: Bytes of the largest message that any tenant's plan says; 0 if none says one.
      type: int
    pop_before_smtp:
      description: Seconds for which a POP or IMAP login opens relaying, the longest of all tenants; 0 for not at all.
      type: int
    pop_before_smtp_senders:
      description:
        - For whom it does that, the widest of all tenants.
        - V(login) is for the senders that the login has, V(tenant) for all of its tenant.
      type: str
    quota_warnings:
      description: The percents of their quotas at which users of any tenant are told.
      type: list
      elements: int
    protocols:
      description: The ports that any tenant has.
      type: list
      elements: str
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
host_changed:
  description: Whether RV(host) is another than before the run.
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
            # One secret, as long as it is: to search results for each password in it would take minutes.
            "document": {"type": "str", "no_log": True},
        },
        supports_check_mode=True,
    )
    # Hundreds of thousands of objects and no cycle among them: collecting would take a third of the time.
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
