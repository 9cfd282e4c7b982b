# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An operator's hands: modules and playbooks of the collection, run against the host under test."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import Any

import testinfra


class RunFailed(AssertionError):
    """The module or playbook failed; the text is what it said."""


@dataclass(frozen=True)
class Control:
    inventories: list[str]

    def module(self, module: str, /, **options: Any) -> dict[str, Any]:
        """Run one module as root on the host; its result.  RunFailed with its message if it fails."""
        command = ["ansible", "mail", "--become", f"--module-name=mailhosting.stack.{module}"]
        command += [f"--args={json.dumps(options)}", *self._where()]
        # One JSON object, whatever the user's settings say.
        plain = {"ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | plain)
        _host, _arrow, printed = done.stdout.partition(" => ")
        if not printed:
            raise RunFailed(done.stdout + done.stderr)
        result: dict[str, Any] = json.JSONDecoder().raw_decode(printed)[0]
        if done.returncode:
            raise RunFailed(result.get("msg", done.stdout))
        return result

    def playbook(self, name: str, *arguments: str, **variables: Any) -> str:
        """Run mailhosting.stack.NAME; what it printed.  RunFailed with that if it fails."""
        command = ["ansible-playbook", f"mailhosting.stack.{name}", *self._where(), *arguments]
        if variables:
            command += ["--extra-vars", json.dumps(variables)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RunFailed(done.stdout + done.stderr)
        return done.stdout

    def _where(self) -> list[str]:
        return [f"--inventory={path}" for path in self.inventories]


def reloads(host: testinfra.host.Host) -> list[str]:
    """Which mail daemons were told to read their configuration again, in order, since the journal began."""
    said = "journalctl --quiet --output=cat --unit=dovecot --unit=postfix --grep='SIGHUP received|reload -- version'"
    return ["dovecot" if "SIGHUP" in line else "postfix" for line in host.run(said).stdout.splitlines()]
