#!/usr/bin/python
# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Install the Debian packages that roles declare, all of a play at once
version_added: "0.2.0"
author: The mailhosting.stack authors (@mailhosting)
description:
  - Asks dpkg for the packages O(name). Where all are installed, it is done.
  - Where one is missing, M(ansible.builtin.apt) installs it, without recommended packages, and with it whatever other
    roles of the play declare in a variable C(__<role>_packages). Their own tasks then find everything installed.
  - Nothing that a package brings is started; the role that configures a daemon starts it.
options:
  name:
    description: The packages that must be there when the task is done.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    description: Says which of O(name) are missing; apt is not asked.
    support: full
  diff_mode:
    description: Shows what M(ansible.builtin.apt) shows, and in check mode the missing packages.
    support: full
  idempotent:
    description: Installs what is missing and upgrades nothing.
    support: full
seealso:
  - module: ansible.builtin.apt
"""

EXAMPLES = r"""
- name: Install Dovecot
  mailhosting.stack.packages:
    name: "{{ __dovecot_packages }}"
"""

RETURN = r"""
cache_updated:
  description: Whether the lists of packages were fetched anew.
  type: bool
  returned: when packages were installed
"""
