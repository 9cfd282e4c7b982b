#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_legacy_keys
short_description: Keys that encrypt the passwords for APOP and CRAM-MD5
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Gives Dovecot the host's keys, and changes them step by step. No key ever leaves the host.
  - Warns of accounts whose secret is encrypted with a key that the host does not have, and of a key that does not fit
    its id. The APOP and CRAM-MD5 logins of these accounts fail until the key is back or their passwords are set again.
    All other logins work.
  - P(mailhosting.stack.dovecot#role) calls it, and the playbook C(mailhosting.stack.rotate_legacy_key), which reloads
    Dovecot between the steps.
extends_documentation_fragment:
  - mailhosting.stack._attributes
  - mailhosting.stack._directory.place
  - mailhosting.stack._directory
requirements:
  - python3-cryptography on the host
options:
  step:
    description:
      - V(present) changes no key.
      - V(add) creates a key for Dovecot to read, unless there are two keys already. It encrypts nothing yet.
      - V(promote) makes that key the current one. Reload Dovecot before, or logins fail.
      - V(reencrypt) encrypts all secrets with the current key, in one transaction.
      - V(remove) does the same with secrets that came since, and removes all other keys.
    type: str
    choices: [present, add, promote, reencrypt, remove]
    default: present
  keys:
    description: File of the keys, made by M(mailhosting.stack.mail_schema).
    type: path
    default: /etc/mailhosting/legacy.keys
  passdb:
    description: File with the passdb of one key, with the placeholders V(@KEY_ID@) and V(@KEY@).
    type: path
    default: /etc/dovecot/legacy.passdb
  conf:
    description: File to write with the passdbs of all keys, mode 0600.
    type: path
    default: /etc/dovecot/legacy.conf
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    description: A diff would show keys.
seealso:
  - module: mailhosting.stack.mail_schema
"""

EXAMPLES = r"""
- name: Give Dovecot the keys
  mailhosting.stack.mail_legacy_keys:
  notify: Reload Dovecot
"""

RETURN = r"""
key_ids:
  description: Ids of the keys, the current one first.
  type: list
  elements: str
  returned: success
  sample: [5f2c9a01]
reencrypted:
  description: How many secrets were, or in check mode would be, encrypted with the current key.
  type: int
  returned: success
  sample: 0
unreadable:
  description: Accounts whose secret is encrypted with a key that the host does not have, at most 100.
  type: list
  elements: str
  returned: success
  sample: []
wrong_keys:
  description: Ids of keys that do not open the secrets that name them. The module tries one secret for each key.
  type: list
  elements: str
  returned: success
  sample: []
"""

import os
from contextlib import nullcontext
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._directory import legacy
from ..module_utils._directory.problems import DirectoryError
from ..module_utils._directory.store import Store, locked
from ..module_utils._directory_module import CAP, connection_options, opened, reported
from ..module_utils._files import replace_file

_NAMED = 10
_WRONG = (
    "key {key_id} in {path} is not the one that the secret of {address} was made with: APOP and CRAM-MD5 fail for all "
    "secrets of that key until the right one is back from a backup. Without one remove the file: the playbook "
    "mailhosting.stack.site makes a new key, and the passwords have to be set again"
)
_STEPS = ("present", "add", "promote", "reencrypt", "remove")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "step": {"type": "str", "choices": list(_STEPS), "default": "present"},
            "keys": {"type": "path", "default": legacy.KEYS, "no_log": False},
            "passdb": {"type": "path", "default": "/etc/dovecot/legacy.passdb", "no_log": False},
            "conf": {"type": "path", "default": "/etc/dovecot/legacy.conf"},
        },
        supports_check_mode=True,
    )
    with reported(module), opened(module) as store:
        # Others may encrypt meanwhile, with a key that stays.
        with locked(store.connection) if store and not module.check_mode else nullcontext():
            result = _run(module, store)
        module.exit_json(**result)


def _run(module: AnsibleModule, store: Store | None) -> dict[str, Any]:
    path, step, check = module.params["keys"], module.params["step"], module.check_mode
    if check and not os.path.exists(path):
        return {"changed": True, "key_ids": [], "reencrypted": 0, "unreadable": [], "wrong_keys": []}
    passdb = _passdb(module)
    before = keys = legacy.read_keys(path)
    moved = 0
    if step == "add":
        keys = legacy.with_next(keys)
    elif step == "promote":
        keys = legacy.promoted(keys)
    elif step in ("reencrypt", "remove") and store:
        moved = store.reencrypt(keys, check)
        keys = keys[:1] if step == "remove" else keys
    if keys != before and not check:
        legacy.write_keys(keys, path)
    unreadable = store.secrets_of_other_keys([key.id for key in keys]) if store else []
    if unreadable:
        module.warn(_warning(unreadable))
    wrong = store.wrong_keys(keys) if store else []
    for key_id, address in wrong:
        module.warn(_WRONG.format(key_id=key_id, path=path, address=address))
    written = passdb is None or _write_conf(module, passdb, keys)
    return {
        "changed": bool(keys != before or moved or written),
        "key_ids": [key.id for key in keys],
        "reencrypted": moved,
        "unreadable": [address for address, _key_id in unreadable[:CAP]],
        "wrong_keys": [key_id for key_id, _address in wrong],
    }


def _warning(found: list[tuple[str, str]]) -> str:
    named = ", ".join(f"{address} (key {key_id})" for address, key_id in found[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    text = f"no key for the secrets of {named}{more}: they cannot log in by APOP or CRAM-MD5 "
    return f"{text}until it is back or their passwords are set again"


def _passdb(module: AnsibleModule) -> str | None:
    """The passdb of one key; None in check mode before the role has made it."""
    try:
        with open(module.params["passdb"], encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        if module.check_mode:
            return None
        raise DirectoryError(
            f"{error.filename}: {error.strerror}; the role mailhosting.stack.dovecot makes it. Nothing was changed"
        ) from None


def _write_conf(module: AnsibleModule, passdb: str, keys: list[legacy.Key]) -> bool:
    """Write Dovecot's file unless in check mode; returns whether it changes."""
    conf = module.params["conf"]
    ordered = legacy.in_dovecots_order(keys)
    text = "".join(passdb.replace("@KEY_ID@", key.id).replace("@KEY@", key.value.hex()) for key in ordered)
    try:
        with open(conf, encoding="utf-8") as file:
            if file.read() == text and os.fstat(file.fileno()).st_mode & 0o077 == 0:
                return False
    except OSError:
        pass
    if not module.check_mode:
        replace_file(conf, text.encode(), 0o600)
    return True


if __name__ == "__main__":
    main()
