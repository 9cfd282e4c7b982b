#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: units
short_description: Start units of systemd, now and at each boot
version_added: "0.2.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Inspects all units O(name) with one command, and enables and starts those that are not enabled or do not run.
  - Makes systemd reload its unit files if systemd reports that the file of one has changed.
options:
  name:
    description:
      - The units, in the order in which they start. Each must have an C([Install]) section, or another unit that starts
        it.
    type: list
    elements: str
    required: true
  daemon_reload:
    description: Make systemd reload its unit files in any case. It does not report changes of other units, such as the
      service of a timer.
    type: bool
    default: false
  absent:
    description:
      - Units that earlier releases had. The module disables and stops them, and then removes their files.
      - Name an instance of a template. A unit whose file is not below C(/etc/systemd/system) stays.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Returns what would change. A unit that does not exist yet would be started.
    support: full
  diff_mode:
    description: Shows nothing.
    support: none
  idempotent:
    description: A unit that is enabled and runs is not changed.
    support: full
seealso:
  - module: ansible.builtin.systemd_service
"""

EXAMPLES = r"""
- name: Run the gate
  mailhosting.stack.units:
    name: [mailhosting-gate@in.service, mailhosting-gate@out.service]
    daemon_reload: "{{ __gate_files is changed }}"
  register: __gate_units

- name: Run the notices, and remove the units that earlier releases had beside them
  mailhosting.stack.units:
    name: [mailhosting-notices.service]
    absent: [mailhosting-quota.timer, mailhosting-quota.path, mailhosting-quota@all.service]
"""

RETURN = r"""
started:
  description: The units of O(name) that this task started. They have read the present configuration and need no
    restart.
  type: list
  elements: str
  returned: success
  sample: [mailhosting-gate@in.service, mailhosting-gate@out.service]
"""
