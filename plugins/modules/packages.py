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
  - Asks dpkg for the packages O(name), and does nothing more if all are installed.
  - If one is missing, M(ansible.builtin.apt) installs it, without recommended packages, together with the packages that
    other roles of the play declare in a variable C(__<role>_packages). Their own tasks then find everything installed.
  - No daemon of a package starts; the role that configures it starts it.
options:
  name:
    description: The packages that must be installed.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    description: Returns which of O(name) are missing, without asking apt.
    support: full
  diff_mode:
    description: Shows what M(ansible.builtin.apt) shows, and in check mode the missing packages.
    support: full
  idempotent:
    description: Installs missing packages and upgrades none.
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
  description: Whether apt fetched its package lists anew.
  type: bool
  returned: when packages were installed
"""
