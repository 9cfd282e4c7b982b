# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate's settings: reads the role's variables on the controller, with the syntax of plans.

Site.yml runs it before anything else, so it also looks at the names of the host's variables.
"""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..plugin_utils import _gate_settings, _variables

_OPTIONS = ("texts", "send_limits", "receive_limits")


class ActionModule(ActionBase):
    """Runs on the controller alone."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(_OPTIONS)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        wrong = [f"{variables.get('inventory_hostname')}: {line}" for line in _variables.problems(variables)]
        settings: dict[str, Any] = {}
        try:
            settings = _gate_settings.read(*(self._task.args.get(option) for option in _OPTIONS))
        except ValueError as error:
            wrong.append(str(error))
        if wrong:
            raise AnsibleActionFail("\n".join(wrong))
        return {**result, **settings, "changed": False}
