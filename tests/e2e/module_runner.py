# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the collection's modules on the mail host, one after another: `python module_runner.py INVENTORY…`.

It reads lines `{"module": NAME, "options": {…}}` from standard input and answers each with a line
`{"failed": …, "result": {…}}`, where `result` is what `ansible --become` prints. Each call runs like a task of a play.

It is one process because `ansible` takes a second of the processor to start and to build a module. The first call of a
module proves that it brings all it imports; later calls run in a Python on the host that has already imported that, and
the collection.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "hosts"))

import modules
from ansible._internal._task import TaskContext
from ansible.cli.adhoc import AdHocCLI
from ansible.executor.task_executor import TaskExecutor
from ansible.executor.task_queue_manager import FinalQueue
from ansible.playbook.play import Play
from ansible.playbook.play_context import PlayContext
from ansible.plugins import loader as plugins
from ansible.plugins.callback import CallbackBase

HERE = Path(__file__).resolve().parent
#: Folder on the host.
FOLDER = "/run/e2e-modules"
COLLECTION = "ansible_collections/mailhosting/stack/plugins"
#: What most modules of the collection import.
IMPORTED = f"{COLLECTION}/module_utils/_single_object".replace("/", ".")
#: The host's own Python, whatever its inventory says.
PLAIN = {"ansible_python_interpreter": modules.PYTHON}


class Host:
    """The mail host, through Ansible."""

    def __init__(self, inventories: list[str]) -> None:
        command = AdHocCLI(["ansible", "mail", "--become", *(f"--inventory={path}" for path in inventories)])
        command.parse()
        plugins.init_plugin_loader()
        self._loader, inventory, self._variables = command._play_prereqs()
        (self._host,) = inventory.get_hosts("mail")
        # Connection plugins lock a file; one descriptor serves all, one at a time.
        self._lock = os.memfd_create("lock")
        self._queue, self._printer = FinalQueue(), CallbackBase()

    def run(self, module: str, options: dict[str, Any], **variables: str) -> dict[str, Any]:
        """The result of a module."""
        source = {"name": "e2e", "hosts": "mail", "gather_facts": False, "tasks": [{"action": module, "args": options}]}
        play = Play.load(source, variable_manager=self._variables, loader=self._loader)
        context = PlayContext(play, {}, self._lock)
        (task,) = play.tasks[0].block
        known = self._variables.get_vars(play=play, host=self._host, task=task) | variables
        with TaskContext(task):
            run = TaskExecutor(self._host, task, known, context, self._loader, plugins, self._queue, self._variables)
            made = run.run()
        failed = bool(made.pop("failed", False) or made.get("unreachable"))
        return {"failed": failed, "result": json.loads(self._printer._dump_results(made))}


def answers(host: Host) -> Iterator[dict[str, Any]]:
    """One answer for each line of standard input."""
    proven: set[str] = set()
    quick: dict[str, str] = {}
    for line in sys.stdin:
        wanted = json.loads(line)
        name = f"mailhosting.stack.{wanted['module']}"
        if name in proven and not quick:
            ours = {f"{COLLECTION}/{kind}": HERE.parents[1] / "plugins" / kind for kind in ("modules", "module_utils")}
            script = {"cmd": modules.start(FOLDER, IMPORTED), "stdin": modules.archive(ours)}
            host.run("ansible.builtin.shell", script, **PLAIN)
            quick["ansible_python_interpreter"] = modules.python(FOLDER)
        yield host.run(name, wanted["options"], **(quick if name in proven else PLAIN))
        proven.add(name)


def main() -> None:
    # Standard output carries answers alone; Ansible's own output goes to standard error.
    with os.fdopen(os.dup(1), "w") as told:
        os.dup2(2, 1)
        for answer in answers(Host(sys.argv[1:])):
            print(json.dumps(answer), file=told, flush=True)


if __name__ == "__main__":
    main()
