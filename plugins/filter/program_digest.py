# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter program_digest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils import _programs

DOCUMENTATION = r"""
name: program_digest
author: mailhosting.stack authors
version_added: "0.2.0"
short_description: The digest of a program on mail hosts
description:
  - A SHA-256 of a program's own files, of all files of the collection that they import, and of its unit's sandbox.
  - A unit with this digest in its file changes when the program changes, so the handler restarts it.
options:
  _input:
    description: A folder of roles/programs/files/mailhosting, such as V(gate).
    type: str
    required: true
"""

EXAMPLES = r"""
# For a line X-Program= in a unit: systemd leaves settings alone that begin with X-.
gate_program: "{{ 'gate' | mailhosting.stack.program_digest }}"
"""

RETURN = r"""
_value:
  description: 64 hexadecimal digits.
  type: str
"""


def program_digest(program: str) -> str:
    """The program's digest.

    Raises: AnsibleFilterError if there is no such program.
    """
    try:
        return _programs.digest(program)
    except ValueError as error:
        raise AnsibleFilterError(f"program_digest: {error}") from error


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"program_digest": program_digest}
