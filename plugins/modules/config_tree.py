#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: config_tree
short_description: Bring a folder of configuration files to a host in one task
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Renders every template of a role's folder on the controller, ships them as one file, and on the host
    compares, stages, validates and swaps them as a whole.
  - Either all files are in place afterwards, or, when the validator or anything else fails, none has changed.
  - When nothing differs, nothing is staged and no validator runs.
options:
  src:
    description:
      - Folder under the role's C(templates/). The tree below it is the tree below O(dest).
      - Files named C(*.j2) are rendered and lose the suffix, all others are copied as they are.
      - Templates are rendered as by M(ansible.builtin.template) with C(lstrip_blocks) set. They may include and import
        what lies in O(src) or in C(templates/).
    type: path
    required: true
  dest:
    description:
      - Folder on the host. It and missing folders in it are made with mode 0755.
      - The file system must be that of its parent folder.
    type: path
    required: true
  owner:
    description: Owner of the files.
    type: str
    default: root
  group:
    description: Group of the files.
    type: str
    default: root
  mode:
    description: Permissions of the files, octal and quoted.
    type: raw
    default: "0644"
  files:
    description:
      - Exceptions by path relative to O(dest), each with any of C(owner), C(group), C(mode) and C(secret).
      - The content of a file with C(secret=true) is never shown, neither by C(--diff) nor in a validator's output.
    type: dict
    default: {}
  purge:
    description:
      - Folders, relative to O(dest), that hold our files only. Every other file in them is removed.
      - V(.) is O(dest) itself.
    type: list
    elements: str
    default: []
  validate:
    description:
      - One command or a list of them, run without a shell. V({}) stands for a copy of O(dest) with the new files in it.
      - In check mode a command that is not installed yet is passed over.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Validates the staged tree, but does not swap it in.
    support: full
  diff_mode:
    description: Shows content, owner and mode; contents marked secret are masked.
    support: full
notes:
  - Symbolic links below O(dest) are never followed. A link where a file shall be is replaced, a link where a folder
    shall be is an error.
"""

EXAMPLES = r"""
- name: Configure Postfix
  mailhosting.stack.config_tree:
    src: etc/postfix
    dest: /etc/postfix
    files:
      sasl/smtpd.conf: {mode: "0600", secret: true}
    purge: [pgsql]
    validate: postfix -c {} check
  notify: Reload postfix

- name: Harden the daemon
  mailhosting.stack.config_tree:
    src: etc/systemd/system
    dest: /etc/systemd/system
  notify: Restart postfix
"""

RETURN = r"""
files:
  description: Paths of the files that were made, changed or removed, relative to O(dest).
  type: list
  elements: str
  returned: success
  sample: [main.cf, pgsql/alias.cf]
"""

import contextlib
import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mailhosting.stack.plugins.module_utils import _config_tree


def read_document(path: str) -> dict[str, bytes]:
    """What the action plugin rendered; the document is gone from the disk once it is open."""
    with open(path, encoding="utf-8") as document:
        # In a folder of another login the action plugin removes it.
        with contextlib.suppress(PermissionError):
            os.unlink(path)
        return {name: text.encode("utf-8", "surrogateescape") for name, text in json.load(document).items()}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "mode": {"type": "raw", "default": "0644"},
            "files": {"type": "dict", "default": {}},
            "purge": {"type": "list", "elements": "str", "default": []},
            "validate": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    options: dict[str, Any] = module.params
    dest = os.path.realpath(options["dest"])
    try:
        wanted, secret = _config_tree.wanted_entries(
            read_document(options["src"]),
            {name: options[name] for name in ("owner", "group", "mode")},
            options["files"],
            may_miss=module.check_mode,
        )
        changes = _config_tree.compare(dest, wanted, options["purge"], secret)
        if changes:
            _config_tree.apply(dest, changes, options["validate"], check_mode=module.check_mode)
    except (_config_tree.TreeError, OSError) as error:
        module.fail_json(msg=f"{dest}: {error}")
    result: dict[str, Any] = {"changed": bool(changes), "files": [change.path for change in changes]}
    if module._diff:
        result["diff"] = _config_tree.differences(dest, changes)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
