# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service's user: found by one command, or created by systemd-sysusers."""

from __future__ import annotations

import shlex
from typing import Any

from ansible.plugins.action import ActionBase

from ..plugin_utils import _on_host

_OPTIONS = {
    "name": {"type": "str", "required": True},
    "comment": {"type": "str", "required": True},
    "group": {"type": "str"},
    "groups": {"type": "list", "elements": "str", "default": []},
}


class ActionModule(ActionBase):
    """Runs on the controller, without a module on the host."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(_OPTIONS)
        name, group, groups = options["name"], options["group"] or options["name"], options["groups"]
        looked = self._low_level_execute_command(shlex.join(["id", "--groups", "--name", "--", name]))
        exists = looked["rc"] == 0
        if exists and {group, *groups} <= set(looked["stdout"].split()):
            return {**result, "changed": False}
        if not self._task.check_mode:
            lines = sysusers(name, options["comment"], group, [group] * exists + groups)
            _on_host.output(self, shlex.join(["systemd-sysusers", "--inline", *lines]))
        return {**result, "changed": True}


def sysusers(name: str, comment: str, group: str, joins: list[str]) -> list[str]:
    """Lines of sysusers.d(5): the user, without home and shell, and the groups that it `joins`."""
    return [
        f"g {group}",
        f'u {name} -:{group} "{comment}" /nonexistent /usr/sbin/nologin',
        *(f"m {name} {joined}" for joined in joins),
    ]
