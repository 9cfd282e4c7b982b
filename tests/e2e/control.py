# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An operator: runs modules and playbooks of the collection against the host under test."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import testinfra
from ansible_collections.mailhosting.stack.tests.ansible_commands import Ansible


class RunFailedError(AssertionError):
    """The module or playbook failed; the text is its output."""


def environment() -> dict[str, str]:
    """The environment of this process, without what pytest changes in it."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@dataclass(frozen=True)
class Control:
    """`ansible`: runs commands with `environment`."""

    inventories: list[str]
    ansible: Ansible
    environment: dict[str, str] = field(default_factory=environment)

    def module(self, module: str, /, **options: Any) -> dict[str, Any]:
        """Run one module as root on the host; returns its result.

        Raises: RunFailedError with its message if it fails.
        """
        try:
            answer = self._answer({"module": module, "options": options})
        except BaseException:
            # A late answer must not be taken for the next call's.
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
        """Run mailhosting.stack.NAME; returns its output.

        Raises: RunFailedError with the output if it fails.
        """
        command = ["ansible-playbook", f"mailhosting.stack.{name}", *self._where(), *arguments]
        if variables:
            command += ["--extra-vars", json.dumps(variables)]
        done = self.ansible(*command, environment=self.environment, folder=Path.cwd())
        if done.returncode:
            raise RunFailedError(done.stdout + done.stderr)
        return done.stdout

    @cached_property
    def _runner(self) -> subprocess.Popen[str]:
        """The process that runs modules; the first call starts it."""
        command = [sys.executable, str(Path(__file__).with_name("module_runner.py")), *map(str, self.inventories)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        """End that process; the next call starts it again."""
        if runner := vars(self).pop("_runner", None):
            runner.communicate()

    def _where(self) -> list[str]:
        return [f"--inventory={path}" for path in self.inventories]


def tenants(control: Control, files: Path, *arguments: str, **variables: object) -> str:
    """Make the host as the tenants' files in `files` declare; returns the playbook's output."""
    folders = {f"mail_{name}_dir": str(files / name) for name in ("tenants", "addresses", "secrets")}
    return control.playbook("tenants", *arguments, **folders, **variables)


def recap(output: str) -> dict[str, int]:
    """The recap of a playbook that ran on one host."""
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", output.splitlines()[-2])}


def reloads(host: testinfra.host.Host) -> list[str]:
    """The mail daemons that systemd reloaded, in order, since the journal began."""
    said = "journalctl --quiet --output=cat --unit=dovecot --unit=postfix --grep='SIGHUP received|reload -- version'"
    return ["dovecot" if "SIGHUP" in line else "postfix" for line in host.run(said).stdout.splitlines()]
