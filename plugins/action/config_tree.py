# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of config_tree: renders the folders and passes them with the module's arguments."""

from __future__ import annotations

import os
import re
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import Templar, trust_as_template

from ..module_utils import _config_tree
from ..plugin_utils import _tree_look
from ..plugin_utils._piped import PipedAction

_SUFFIX = ".j2"


class ActionModule(PipedAction):
    """Calls the module if the files differ, with the rendered files as `contents`.

    They travel among the arguments: by stdin with pipelining or if a file is secret.  A file of their own took four
    more round trips.
    """

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = ActionBase.run(self, tmp, task_vars)
        variables = task_vars or {}
        _validation, options = self.validate_argument_spec(_config_tree.TASK, **_config_tree.TOGETHER)
        trees = options["trees"] or [options]
        contents = [self._contents(tree["src"], variables) for tree in trees]
        try:
            if self._are_there(trees, contents, options["absent"]):
                return {**result, "changed": False, "files": []}
        except _config_tree.TreeError as error:
            raise AnsibleActionFail(str(error)) from None
        arguments = {**self._task.args, "contents": _config_tree.pack(contents)}
        if any(exception.get("secret") for tree in trees for exception in tree["files"].values() if exception):
            return {**result, **self.execute_piped(arguments, variables)}
        return {**result, **self._execute_module(module_args=arguments, task_vars=variables)}

    def _are_there(self, trees: list[dict[str, Any]], contents: list[dict[str, bytes]], absent: list[str]) -> bool:
        """Whether the host has all files as wanted; it takes a quarter of the module's time."""
        command = " && ".join([*map(_tree_look.command, trees, contents), _tree_look.none_of(absent)])
        looked = self._low_level_execute_command(command)
        expected = [line for lines in map(_tree_look.expected, trees, contents) for line in lines]
        return looked["rc"] == 0 and sorted(looked["stdout"].splitlines()) == sorted(expected)

    def _contents(self, src: str, variables: dict[str, Any]) -> dict[str, bytes]:
        """The files under `src` by relative path."""
        root = self._find_needle("templates", src) if src else ""
        if not os.path.isdir(root):
            raise AnsibleActionFail(f"src: {root!r} is not a folder")
        search = [folder for base in variables.get("ansible_search_path", []) for folder in (f"{base}/templates", base)]
        templar = self._templar.copy_with_new_env(
            searchpath=[root, *search], available_variables={"ansible_managed": "Ansible managed", **variables}
        )
        contents: dict[str, bytes] = {}
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in names:
                source = os.path.join(folder, name)
                path = os.path.relpath(source, root).removesuffix(_SUFFIX)
                if path in contents:
                    raise AnsibleActionFail(f"src: both {path} and {path}{_SUFFIX} in {root}")
                if name.endswith(_SUFFIX):
                    contents[path] = self._render(templar, source).encode("utf-8", "surrogateescape")
                else:
                    with open(self._loader.get_real_file(source), "rb") as file:
                        contents[path] = file.read()
        return contents

    def _render(self, templar: Templar, source: str) -> str:
        template = self._loader.get_text_file_contents(source)
        overrides = {"trim_blocks": True, "lstrip_blocks": True}
        try:
            return str(templar.template(trust_as_template(template), escape_backslashes=False, overrides=overrides))
        except AnsibleError as error:
            raise AnsibleActionFail(f"{source}{_line(error, template)}: {error}") from error


def _line(error: AnsibleError, template: str) -> str:
    """`:12` for a syntax error, `:3,12` for every line with an undefined name; the engine keeps no line."""
    syntax = getattr(error.__cause__, "lineno", None)
    if syntax:
        return f":{syntax}"
    quoted = re.findall(r"'(\w+)'", str(error))
    mentions = re.compile(rf"\b{quoted[-1]}\b" if quoted else r"(?!)")
    lines = [str(number) for number, line in enumerate(template.split("\n"), 1) if mentions.search(line)]
    return f":{','.join(lines)}" if lines else ""
