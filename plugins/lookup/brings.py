# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup brings."""

from __future__ import annotations

DOCUMENTATION = r"""
name: brings
author: The mailhosting.stack authors (@mailhosting)
version_added: "0.2.0"
short_description: Says what the roles of this collection bring to a host
description:
  - Each role declares it once, in C(vars/main.yml) as C(__ROLE_brings). This collects kinds of it from all roles, in
    the order of their names.
  - What a declaration leaves to variables has the host's values, or the role's defaults.
options:
  _terms:
    description:
      - The kinds. V(units) are those of systemd that run for as long as the host does, V(ports) and V(loopback_ports)
        are listened on with TCP.
      - V(state) is what a role keeps on a host, with C(path), C(kind) (V(database), V(folder), V(file)), C(secret) for
        whether there are keys or passwords in it, and C(grows) where its file system needs room.
      - V(valkey) are users of Valkey with the keys and commands that are theirs.
      - V(milters) are entries of C(postfix_milters).
      - V(scanners) are virus scanners, with C(socket), C(signatures) (their folder) and C(days), after which signatures
        are too old.
    type: list
    elements: str
    choices: [units, ports, loopback_ports, state, valkey, milters, scanners]
    required: true
  without:
    description: Roles that the host does not have.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Say what a backup has to keep of a host without the policy service
  ansible.builtin.debug:
    msg: "{{ query('mailhosting.stack.brings', 'state', without=['policy']) | map(attribute='path') }}"
"""

RETURN = r"""
_list:
  description: What all roles declare.
  type: list
  elements: raw
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

#: Where the roles are.
ROLES: Final = Path(__file__).resolve().parents[2] / "roles"
KINDS: Final = ("units", "ports", "loopback_ports", "state", "valkey", "milters", "scanners")


class LookupModule(LookupBase):
    """Reads the roles' variables on the controller, where they lie."""

    def run(self, terms: Sequence[str], variables: Mapping[str, Any] | None = None, **kwargs: object) -> list[Any]:
        """One list of all roles.  Raises: AnsibleLookupError for another kind, or a role that there is not."""
        self.set_options(var_options=variables, direct=kwargs)
        without = set(self.get_option("without"))
        roles = {name: (defaults, internal) for name, defaults, internal in self._declaring()}
        for names, known in ((terms, KINDS), (without, roles)):
            if strange := sorted(set(names) - set(known)):
                raise AnsibleLookupError(f"brings: {', '.join(strange)} is none of {', '.join(known)}")
        found: list[Any] = []
        for name, (defaults, internal) in roles.items():
            if name not in without:
                host = self._templar.copy_with_new_env(
                    available_variables={**defaults, **(variables or {}), **internal}
                )
                for kind in terms:
                    found += host.template(internal[_variable(name)].get(kind, []))
        return found

    def _declaring(self) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
        """Name, defaults and internal variables of each role that brings something."""
        for role in sorted(ROLES.iterdir()):
            internal = self._read(role / "vars" / "main.yml")
            if _variable(role.name) in internal:
                yield role.name, self._read(role / "defaults" / "main.yml"), internal

    def _read(self, path: Path) -> Mapping[str, Any]:
        if not path.is_file():
            return {}
        return self._loader.load_from_file(str(path), trusted_as_template=True) or {}


def _variable(role: str) -> str:
    return f"__{role}_brings"
