#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: config_tree
short_description: Bring folders of configuration files to a host in one task
version_added: "0.1.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Renders every template of a role's folder on the controller, ships them with the module, and on the host
    compares, stages, validates and swaps them as a whole.
  - Either all files are in place afterwards, or, when the validator or anything else fails, none has changed.
  - When nothing differs, nothing is staged and no validator runs.
options:
  trees:
    description:
      - Several trees, each with the other options, in the place of these. Each is brought as a whole, one after the
        other, so a validator of one may be a program of one before.
    type: list
    elements: dict
    version_added: "0.2.0"
    suboptions:
      src:
        description: &src
          - Folder under the role's C(templates/). The tree below it is the tree below its C(dest).
          - Files named C(*.j2) are rendered and lose the suffix, all others are copied as they are.
          - Templates are rendered as by M(ansible.builtin.template) with C(lstrip_blocks) set. They may include and
            import what lies in C(src) or in C(templates/).
        type: path
        required: true
      dest:
        description: &dest
          - Folder on the host. It and missing folders in it are made with mode 0755.
          - The file system must be that of its parent folder.
        type: path
        required: true
      owner: &owner
        description: Owner of the files.
        type: str
        default: root
      group: &group
        description: Group of the files.
        type: str
        default: root
      mode: &mode
        description: Permissions of the files, octal and quoted.
        type: raw
        default: "0644"
      files: &files
        description:
          - Exceptions by path relative to C(dest), each with any of C(owner), C(group), C(mode) and C(secret).
          - The content of a file with C(secret=true) is never shown, neither by C(--diff) nor in a validator's output.
          - It travels by the module's standard input alone. Where there is none (C(become_method) su,
            C(ANSIBLE_KEEP_REMOTE_FILES)) the task fails.
        type: dict
        default: {}
      purge: &purge
        description:
          - Folders, relative to C(dest), that hold our files only. Every other file in them is removed.
          - V(.) is C(dest) itself.
        type: list
        elements: str
        default: []
      validate: &validate
        description:
          - One command or a list of them, run without a shell. V({}) stands for a copy of C(dest) with the new files
            in it.
          - In check mode a command that is not installed yet is passed over.
        type: raw
        default: []
  src:
    description: *src
    type: path
  dest:
    description: *dest
    type: path
  owner: *owner
  group: *group
  mode: *mode
  files: *files
  purge: *purge
  validate: *validate
  absent:
    description:
      - Whole paths of files and folders that earlier releases had.
      - They are removed with all that is in them once the trees are in place.
    type: list
    elements: path
    default: []
    version_added: "0.2.0"
  contents:
    description: The rendered files, packed; set by the action plugin.
    type: str
    version_added: "0.2.0"
attributes:
  check_mode:
    description: Validates the staged tree, but does not swap it in.
    support: full
  diff_mode:
    description: Shows content, owner and mode; contents marked secret are masked.
    support: full
notes:
  - Symbolic links below a tree's C(dest) are never followed. A link where a file shall be is replaced, a link where a
    folder shall be is an error.
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

- name: Configure and describe the service, and remove the program of an earlier release
  mailhosting.stack.config_tree:
    trees:
      - {src: gate, dest: /etc/mailhosting/gate}
      - {src: systemd, dest: /etc/systemd/system}
    absent: [/usr/lib/mailhosting/gate]
  notify: Restart the gate
"""

RETURN = r"""
files:
  description: Paths of the files that were made, changed or removed; relative to O(dest), and with O(trees) absolute.
  type: list
  elements: str
  returned: success
  sample: [main.cf, pgsql/alias.cf]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mailhosting.stack.plugins.module_utils import _config_tree


def main() -> None:
    module = AnsibleModule(_config_tree.TASK, supports_check_mode=True, **_config_tree.TOGETHER)
    several = module.params["trees"]
    result: dict[str, Any] = {"changed": False, "files": []}
    differences: list[dict[str, str]] = []
    dest = "config_tree"
    try:
        contents = _config_tree.unpack(module.params["contents"])
        for number, options in enumerate(several or [module.params]):
            dest = os.path.realpath(options["dest"])
            wanted, secret = _config_tree.wanted_entries(
                contents[number], options, options["files"], may_miss=module.check_mode
            )
            changes = _config_tree.compare(dest, wanted, options["purge"], secret)
            if changes:
                validate = [options["validate"]] if isinstance(options["validate"], str) else options["validate"]
                _config_tree.apply(dest, changes, validate, check_mode=module.check_mode)
            result["changed"] |= bool(changes)
            result["files"] += [os.path.join(dest if several else "", change.path) for change in changes]
            differences += _config_tree.differences(dest, changes)
        dest = "absent"
        old = _config_tree.left_over(module.params["absent"])
        if not module.check_mode:
            _config_tree.remove(old)
        result["changed"] |= bool(old)
        result["files"] += old
        differences += [
            {"before_header": path, "after_header": path, "before": "(removed)\n", "after": ""} for path in old
        ]
    except (_config_tree.TreeError, OSError) as error:
        module.fail_json(msg=f"{dest}: {error}", **result)
    if module._diff:
        result["diff"] = differences
    module.exit_json(**result)


if __name__ == "__main__":
    main()
