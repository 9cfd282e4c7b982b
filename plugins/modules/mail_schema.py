#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_schema
short_description: Bring the directory's database to this release
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Creates whatever is missing of the database roles, the database, its tables, views and rights, the key for
    fingerprints of passwords, and the first key for the passwords of APOP and CRAM-MD5.
  - Tables, views and rights change in one transaction. The module waits for other modules that write.
  - Only the role P(mailhosting.stack.directory#role) calls it.
extends_documentation_fragment:
  - mailhosting.stack._attributes
  - mailhosting.stack._directory.place
options:
  superuser:
    description: A superuser of the cluster to connect as. With peer authentication, C(root) may be C(postgres).
    type: str
    default: postgres
  fingerprint_key:
    description:
      - File with the key for fingerprints of plain passwords, mode 0600.
      - Without it a run with O(mailhosting.stack.mail_directory#module:update_password=always) would have to hash every
        password again.
    type: path
    default: /etc/mailhosting/fingerprint.key
  legacy_keys:
    description:
      - File with the keys that encrypt the passwords for APOP and CRAM-MD5, mode 0600. This module creates it once,
        with one key; later M(mailhosting.stack.mail_legacy_keys) changes it.
    type: path
    default: /etc/mailhosting/legacy.keys
attributes:
  check_mode:
    support: full
    description: Returns the steps that would be done, even without PostgreSQL on the host.
  diff_mode:
    support: full
    description: Shows the steps.
seealso:
  - module: mailhosting.stack.mail_directory
"""

EXAMPLES = r"""
- name: Bring the database to this release's schema
  mailhosting.stack.mail_schema:
"""

RETURN = r"""
steps:
  description: The steps that were, or in check mode would be, done.
  type: list
  elements: str
  returned: success
  sample: [migrate to version 1, define the views]
version:
  description: The schema's version afterwards.
  type: int
  returned: success
  sample: 1
"""

import os
import secrets
from collections.abc import Callable

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._directory import legacy
from ..module_utils._directory.install import everything, install
from ..module_utils._directory.schema import DATABASE, VERSION
from ..module_utils._directory.store import SOCKET_DIRECTORY, Dsn, NoDirectoryError
from ..module_utils._directory_module import FINGERPRINT_KEY, reported

_KEY_BYTES = 32


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "database": {"type": "str", "default": DATABASE},
            "host": {"type": "str", "default": SOCKET_DIRECTORY},
            "superuser": {"type": "str", "default": "postgres"},
            "fingerprint_key": {"type": "path", "default": FINGERPRINT_KEY, "no_log": False},
            "legacy_keys": {"type": "path", "default": legacy.KEYS, "no_log": False},
        },
        supports_check_mode=True,
    )
    with reported(module):
        steps = _install(module)
        steps += _make(module, module.params["fingerprint_key"], _write_fingerprint_key)
        steps += _make(module, module.params["legacy_keys"], lambda path: legacy.write_keys([legacy.new_key()], path))
        diff = {"before": "", "after": "".join(f"{step}\n" for step in steps)}
        module.exit_json(changed=bool(steps), steps=steps, version=VERSION, diff=diff)


def _install(module: AnsibleModule) -> list[str]:
    try:
        place = Dsn(module.params["host"], module.params["superuser"], module.params["database"])
        return install(place, check=module.check_mode)
    except (ImportError, NoDirectoryError):
        if not module.check_mode:
            raise
        return everything(module.params["database"])


def _make(module: AnsibleModule, path: str, write: Callable[[str], None]) -> list[str]:
    if os.path.exists(path):
        return []
    if not module.check_mode:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        write(path)
    return [f"create {path}"]


def _write_fingerprint_key(path: str) -> None:
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
        file.write(secrets.token_hex(_KEY_BYTES) + "\n")


if __name__ == "__main__":
    main()
