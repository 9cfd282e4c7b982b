#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: units
short_description: Have units of systemd run, now and after each boot
version_added: "0.2.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Looks at all units O(name) with one command, and enables and starts those that are not.
  - Has systemd read its files anew where it says that the file of one has changed.
options:
  name:
    description:
      - The units, in the order in which they are started. Each has an C([Install]) section, or is started
        by another.
    type: list
    elements: str
    required: true
  daemon_reload:
    description: Have systemd read its files anew in any case. It does not say so of files of other units, such as the
      service of a timer.
    type: bool
    default: false
  absent:
    description:
      - Units that earlier releases had. They are disabled and stopped, and then their files go.
      - Of a template an instance is named. A unit whose file is not below C(/etc/systemd/system) is left alone.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Says what would change. A unit that does not exist yet would be started.
    support: full
  diff_mode:
    description: Shows nothing.
    support: none
  idempotent:
    description: What is enabled and runs is left alone.
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

- name: Run the notices, and nothing that earlier releases had beside them
  mailhosting.stack.units:
    name: [mailhosting-notices.service]
    absent: [mailhosting-quota.timer, mailhosting-quota.path, mailhosting-quota@all.service]
"""

RETURN = r"""
started:
  description: The units of O(name) that did not run. They have read what was configured before, so need no restart.
  type: list
  elements: str
  returned: success
  sample: [mailhosting-gate@in.service, mailhosting-gate@out.service]
"""
