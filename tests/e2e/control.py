# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An operator's hands: modules and playbooks of the collection, run against the host under test."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import testinfra


class RunFailedError(AssertionError):
    """The module or playbook failed; the text is what it said."""


@dataclass(frozen=True)
class Control:
    inventories: list[str]

    def module(self, module: str, /, **options: Any) -> dict[str, Any]:
        """Run one module as root on the host; its result.  RunFailedError with its message if it fails."""
        try:
            answer = self._answer({"module": module, "options": options})
        except BaseException:
            # What is answered after that is no answer to the next question.
            self.close()
            raise
        result: dict[str, Any] = answer["result"]
        if answer["failed"]:
            raise RunFailedError(result.get("msg", str(result)))
        return result

    def _answer(self, question: dict[str, Any]) -> Any:
        asked, told = self._runner.stdin, self._runner.stdout
        assert asked
        assert told
        print(json.dumps(question), file=asked, flush=True)
        return json.loads(told.readline())

    def playbook(self, name: str, *arguments: str, **variables: Any) -> str:
        """Run mailhosting.stack.NAME; what it printed.  RunFailedError with that if it fails."""
        command = ["ansible-playbook", f"mailhosting.stack.{name}", *self._where(), *arguments]
        if variables:
            command += ["--extra-vars", json.dumps(variables)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RunFailedError(done.stdout + done.stderr)
        return done.stdout

    @cached_property
    def _runner(self) -> subprocess.Popen[str]:
        """Started by the first call."""
        command = [sys.executable, str(Path(__file__).with_name("module_runner.py")), *map(str, self.inventories)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        """End what runs modules; another call would start it again."""
        if runner := vars(self).pop("_runner", None):
            runner.communicate()

    def _where(self) -> list[str]:
        return [f"--inventory={path}" for path in self.inventories]


def tenants(control: Control, files: Path, *arguments: str, **variables: object) -> str:
    """Bring the host to what the tenants' files in `files` say; what the playbook printed."""
    folders = {f"mail_{name}_dir": str(files / name) for name in ("tenants", "addresses", "secrets")}
    return control.playbook("tenants", *arguments, **folders, **variables)


def recap(output: str) -> dict[str, int]:
    """What a playbook that ran on one host says at its end."""
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", output.splitlines()[-2])}


def reloads(host: testinfra.host.Host) -> list[str]:
    """Which mail daemons were told to read their configuration again, in order, since the journal began."""
    said = "journalctl --quiet --output=cat --unit=dovecot --unit=postfix --grep='SIGHUP received|reload -- version'"
    return ["dovecot" if "SIGHUP" in line else "postfix" for line in host.run(said).stdout.splitlines()]
