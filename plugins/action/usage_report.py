# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Usage report: writes the result of mail_usage_info as a page, CSV and JSON on the controller."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ..plugin_utils._settings_sheet import folder
from ..plugin_utils._usage_report import figures, page
from . import settings_sheets

_OPTIONS: dict[str, dict[str, Any]] = {
    "usage": {"type": "dict", "required": True},
    "dest": {"type": "path", "required": True},
    "hostname": {"type": "str", "required": True},
    "provider_name": {"type": "str", "default": ""},
    "language": {"type": "str", "choices": list(page.LANGUAGES), "default": "en"},
    "names": {"type": "dict", "default": {}},
}


class ActionModule(ActionBase):
    """Runs on the controller alone."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = self._options()
        dest = os.path.abspath(options["dest"])
        try:
            report = figures.report(options["usage"], {str(key): str(name) for key, name in options["names"].items()})
        except (KeyError, TypeError, ValueError) as error:
            raise AnsibleActionFail(f"usage: is not what mail_usage_info returned ({error!r})") from None
        provider = options["provider_name"] or options["hostname"]
        name = f"{options['hostname']}_{report.first}_{report.last}"
        contents = {
            f"{name}.html": page.html(report, options["language"], {"provider": provider, "host": options["hostname"]}),
            f"{name}.csv": page.as_csv(report),
            f"{name}.json": page.as_json(report, options["usage"]),
        }
        try:
            settings_sheets.not_an_inventory(dest, (task_vars or {}).get("ansible_inventory_sources") or [], "reports")
            folder.check(dest)
            changes = [
                folder.Change(path, before, content)
                for path, content in contents.items()
                if (before := _read(os.path.join(dest, path))) != content
            ]
            if changes and not self._task.check_mode:
                folder.apply(dest, changes)
        except (folder.FolderError, OSError) as error:
            raise AnsibleActionFail(f"The report was not written. {error}") from None
        result.update(changed=bool(changes), folder=dest, files=sorted(contents))
        return result

    def _options(self) -> dict[str, Any]:
        checked = ArgumentSpecValidator(_OPTIONS).validate(self._task.args)
        if checked.error_messages:
            raise AnsibleActionFail("; ".join(checked.error_messages))
        options: dict[str, Any] = checked.validated_parameters
        return options


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
