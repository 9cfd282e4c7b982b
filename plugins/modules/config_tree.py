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
  - Renders every template of a role's folder on the controller, sends the files with the module, and on the host
    compares, stages, validates and swaps them as a whole.
  - Afterwards either all files are in place, or, if the validator or anything else failed, none has changed.
  - If no file differs, the module stages nothing and runs no validator.
options:
  trees:
    description:
      - Several trees, each with the other options, which then stand only there. The module installs them one after the
        other, so a validator may be a program of an earlier tree.
    type: list
    elements: dict
    version_added: "0.2.0"
    suboptions:
      src:
        description: &src
          - Folder under the role's C(templates/). The tree below it is the tree below its C(dest).
          - Files named C(*.j2) are rendered and lose the suffix, all others are copied as they are.
          - Templates are rendered as by M(ansible.builtin.template) with C(lstrip_blocks) set. They may include and
            import files of C(src) and of C(templates/).
        type: path
        required: true
      dest:
        description: &dest
          - Folder on the host. The module creates it and missing folders in it with mode 0755.
          - It must be on the file system of its parent folder.
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
          - Neither C(--diff) nor a validator's output shows the content of a file with C(secret=true).
          - It travels by the module's standard input alone. The task fails if that is impossible (C(become_method) su,
            C(ANSIBLE_KEEP_REMOTE_FILES)).
        type: dict
        default: {}
      purge: &purge
        description:
          - Folders, relative to C(dest), that may have no other files. The module removes every other file in them.
          - V(.) is C(dest) itself.
        type: list
        elements: str
        default: []
      validate: &validate
        description:
          - One command or a list of them, run without a shell. V({}) stands for a copy of C(dest) with the new files
            in it.
          - Check mode skips a command that is not installed yet.
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
      - Absolute paths of files and folders that earlier releases had.
      - The module removes them with their contents once the trees are in place.
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
  - The module never follows a symbolic link below a tree's C(dest). It replaces a link in the place of a file; a link
    in the place of a folder is an error.
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
  description: Paths of files that were created, changed or removed; relative to O(dest), and with O(trees) absolute.
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
