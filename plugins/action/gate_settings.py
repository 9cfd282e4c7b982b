# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate's settings: reads the role's variables on the controller, with the syntax of plans."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..plugin_utils import _gate_settings

_OPTIONS = ("texts", "send_limits", "receive_limits")


class ActionModule(ActionBase):
    """Runs on the controller alone."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(_OPTIONS)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            settings = _gate_settings.read(*(self._task.args.get(option) for option in _OPTIONS))
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from None
        return {**result, **settings, "changed": False}
