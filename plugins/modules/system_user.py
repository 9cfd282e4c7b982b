#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: system_user
short_description: Create the user that a service runs as, and its groups
version_added: "0.2.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Creates a system user without home, shell and password, and its groups, if any of them is missing.
  - Does not change what exists.
options:
  name:
    description: The user.
    type: str
    required: true
  comment:
    description: The purpose of the user, for C(/etc/passwd). It must have neither quotes nor colons.
    type: str
    required: true
  group:
    description: Its own group; by default one of its name.
    type: str
  groups:
    description: Other groups that it is a member of.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Returns whether a user or group would be created.
    support: full
  diff_mode:
    description: Shows nothing.
    support: none
  idempotent:
    description: A user that is in all its groups is not changed.
    support: full
seealso:
  - module: ansible.builtin.user
"""

EXAMPLES = r"""
- name: Make the program's user, and the group that may use Valkey
  mailhosting.stack.system_user:
    name: mailhosting-gate
    comment: Limits of tenants
    groups: [mailhosting-valkey]
"""

RETURN = r"""# """
