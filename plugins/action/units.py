# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of systemd that run now and after a boot: inspects them together, and changes those that do not."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils import _on_host

_OPTIONS = {
    "name": {"type": "list", "elements": "str", "required": True},
    "daemon_reload": {"type": "bool", "default": False},
    "absent": {"type": "list", "elements": "str", "default": []},
}
_RUNNING = {"active", "activating", "reloading"}
#: Enabled, or not to be enabled: a generator of Debian's starts each cluster of PostgreSQL.
_ENABLED = {"enabled", "enabled-runtime", "generated", "static"}
#: Roles put units here.  A unit file elsewhere belongs to a package and stays.
_OURS = "/etc/systemd/system/"


class ActionModule(ActionBase):
    """Calls systemctl alone: two commands for any number of units, one if all is well."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(_OPTIONS)
        names: list[str] = options["name"]
        found = states([*names, *options["absent"]], _on_host.output(self, look([*names, *options["absent"]])))
        units = {name: found[name] for name in names}
        former = {name: found[name] for name in options["absent"] if found[name]["FragmentPath"].startswith(_OURS)}
        stopped = [name for name, unit in units.items() if unit["ActiveState"] not in _RUNNING]
        disabled = [name for name, unit in units.items() if unit["UnitFileState"] not in _ENABLED]
        # Also if a killed run changed a unit file and did not reload.
        reload = options["daemon_reload"] or any(unit["NeedDaemonReload"] == "yes" for unit in units.values())
        commands = removal(former)
        commands += ["systemctl --quiet daemon-reload"] if reload or former else []
        commands += [f"systemctl --quiet enable {shlex.join(disabled)}"] if disabled else []
        commands += [f"systemctl --quiet start {shlex.join(stopped)}"] if stopped else []
        if commands and not self._task.check_mode:
            _on_host.output(self, " && ".join(commands))
        return {**result, "changed": bool(disabled or stopped or former), "started": stopped}


def look(names: Sequence[str]) -> str:
    """The command whose output `states` reads."""
    properties = "--property=ActiveState,UnitFileState,NeedDaemonReload,FragmentPath"
    return shlex.join(["systemctl", "show", properties, "--", *names])


def states(names: Sequence[str], output: str) -> dict[str, Mapping[str, str]]:
    """Properties by unit, from paragraphs in the order of the names.  A unit that does not exist is inactive."""
    paragraphs = output.strip().split("\n\n")
    return {
        name: dict(line.split("=", 1) for line in paragraph.split("\n"))
        for name, paragraph in zip(names, paragraphs, strict=True)
    }


def removal(units: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The commands that stop units and remove their files; `units` is in the form of `states`."""
    if not units:
        return []
    enabled = [name for name, unit in units.items() if unit["UnitFileState"].startswith("enabled")]
    failed = [name for name, unit in units.items() if unit["ActiveState"] == "failed"]
    return [
        # First: a timer or path that is still enabled could start a unit that is being removed.
        *([f"systemctl --quiet disable {shlex.join(enabled)}"] if enabled else []),
        f"systemctl --quiet stop {shlex.join(units)}",
        *([f"systemctl --quiet reset-failed {shlex.join(failed)}"] if failed else []),
        f"rm -f -- {shlex.join(dict.fromkeys(unit['FragmentPath'] for unit in units.values()))}",
    ]
