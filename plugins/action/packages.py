# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages: asks dpkg, and runs apt only if one is missing, then for all roles of the play."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.plugins.action import ActionBase

_OPTIONS = {"name": {"type": "list", "elements": "str", "required": True}}
_DECLARED = re.compile(r"__[a-z0-9_]+_packages")


class ActionModule(ActionBase):
    """Asks the host in one command while nothing is missing: apt takes a second to find that out."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(_OPTIONS)
        names = set(options["name"])
        looked = self._low_level_execute_command(look(names))
        missing = sorted(names - installed(looked["stdout"]))
        if not missing:
            return {**result, "changed": False}
        if self._task.check_mode:  # each role reports its own packages
            return {**result, "changed": True, "diff": {"prepared": "".join(f"+{name}\n" for name in missing)}}
        arguments = {
            "name": sorted(names | self._declared(task_vars or {})),
            "install_recommends": False,
            "update_cache": True,
            "cache_valid_time": 3600,
            # No daemon starts before its role has configured it.
            "policy_rc_d": 101,
        }
        return {**result, **self._execute_module("ansible.legacy.apt", arguments, task_vars=task_vars)}

    def _declared(self, variables: Mapping[str, Any]) -> set[str]:
        """What the roles of the play declare; not those of roles that are included later."""
        declared = [name for name in variables if _DECLARED.fullmatch(name)]
        return {package for name in declared for package in self._templar.template(variables[name])}


def look(names: Iterable[str]) -> str:
    """The command whose output `installed` reads."""
    return shlex.join(["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\\n", *sorted(names)])


def installed(output: str) -> set[str]:
    """The packages that dpkg has completely: neither removed nor half configured."""
    return {line.split()[1] for line in output.splitlines() if line.startswith("installed ")}
