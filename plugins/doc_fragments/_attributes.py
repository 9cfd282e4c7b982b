# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PRIVATE to the collection: it can have breaking changes at any time."""

from __future__ import annotations


class ModuleDocFragment:
    """The effect of check mode, diff mode and a second run."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    support: full
    description:
      - Returns what would change, without changing it.
      - A directory that does not exist yet counts as empty, with a warning.
  diff_mode:
    support: full
    description: Shows every object that changes, before and after. Passwords are masked; a new one shows as new.
  idempotent:
    support: full
    description: A second run with the same options changes nothing.
  action_group:
    support: full
    description: Use C(group/mailhosting.stack.directory) in C(module_defaults) for what all modules of the group share.
    membership:
      - mailhosting.stack.directory
"""

    LOOK = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: The module changes nothing.
  diff_mode:
    support: none
    description: There is nothing to compare.
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: The module changes nothing.
  diff_mode:
    support: N/A
    description: The module changes nothing.
  idempotent:
    support: full
    description: The module changes nothing.
  action_group:
    support: full
    description: Use C(group/mailhosting.stack.directory) in C(module_defaults) for what all modules of the group share.
    membership:
      - mailhosting.stack.directory
"""
