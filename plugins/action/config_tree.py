# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of config_tree: renders the folder and ships it as one file."""

from __future__ import annotations

import json
import os
import re
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import Templar, trust_as_template

_SUFFIX = ".j2"


class ActionModule(ActionBase):
    """Replaces `src`, a folder of templates here, by a document on the host that only its owner reads."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        if isinstance(arguments.get("validate"), str):  # the module would split a list at commas
            arguments["validate"] = [arguments["validate"]]
        root = self._find_needle("templates", arguments["src"]) if arguments.get("src") else ""
        if not os.path.isdir(root):
            raise AnsibleActionFail(f"src: {root!r} is not a folder")

        shell = self._connection._shell
        arguments["src"] = shell.join_path(shell.tmpdir, "config_tree.json")
        self._transfer_data(arguments["src"], json.dumps(self._contents(root, variables)))
        self._fixup_perms2((shell.tmpdir, arguments["src"]), execute=False)
        result.update(self._execute_module(module_args=arguments, task_vars=variables))
        return result

    def _contents(self, root: str, variables: dict[str, Any]) -> dict[str, str]:
        """The files under `root` by relative path; bytes that are not UTF-8 as lone surrogates."""
        search = [folder for base in variables.get("ansible_search_path", []) for folder in (f"{base}/templates", base)]
        templar = self._templar.copy_with_new_env(
            searchpath=[root, *search], available_variables={"ansible_managed": "Ansible managed", **variables}
        )
        contents: dict[str, str] = {}
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in names:
                source = os.path.join(folder, name)
                path = os.path.relpath(source, root).removesuffix(_SUFFIX)
                if path in contents:
                    raise AnsibleActionFail(f"src: both {path} and {path}{_SUFFIX} in {root}")
                if name.endswith(_SUFFIX):
                    contents[path] = self._render(templar, source)
                else:
                    with open(self._loader.get_real_file(source), "rb") as file:
                        contents[path] = file.read().decode("utf-8", "surrogateescape")
        return contents

    def _render(self, templar: Templar, source: str) -> str:
        template = self._loader.get_text_file_contents(source)
        overrides = {"trim_blocks": True, "lstrip_blocks": True}
        try:
            return str(templar.template(trust_as_template(template), escape_backslashes=False, overrides=overrides))
        except AnsibleError as error:
            raise AnsibleActionFail(f"{source}{_line(error, template)}: {error}") from error


def _line(error: AnsibleError, template: str) -> str:
    """`:12` for a syntax error, `:3,12` for every line that mentions an undefined name; the engine keeps no line."""
    syntax = getattr(error.__cause__, "lineno", None)
    if syntax:
        return f":{syntax}"
    quoted = re.findall(r"'(\w+)'", str(error))
    mentions = re.compile(rf"\b{quoted[-1]}\b" if quoted else r"(?!)")
    lines = [str(number) for number, line in enumerate(template.split("\n"), 1) if mentions.search(line)]
    return f":{','.join(lines)}" if lines else ""
