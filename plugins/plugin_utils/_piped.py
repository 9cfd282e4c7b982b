# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module whose arguments hold secrets without writing them to a file, here or on the host.

PRIVATE to the collection: it can have breaking changes at any time.

Without pipelining Ansible writes a module with its arguments into a file on both sides.  A run that is killed, or whose
connection breaks, leaves them there.  With pipelining they pass on the standard input of the interpreter alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.plugins.connection import ConnectionBase

_OPTION = "pipelining"


class PipedAction(ActionBase):  # type: ignore[misc]
    """Runs the module of the same name with the task's arguments on standard input."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        result.update(self.execute_piped(dict(self._task.args), task_vars))
        return result

    def execute_piped(
        self, arguments: dict[str, Any], task_vars: dict[str, Any] | None, *, secret: bool = True
    ) -> dict[str, Any]:
        """The module's result.  Arguments that are not `secret` may travel as a file if pipelining is impossible.

        Raises: AnsibleActionFail if they are secret and pipelining is impossible.
        """
        with piped(self._connection) as obstacle:
            if secret and obstacle:
                raise AnsibleActionFail(
                    f"Nothing was done. {self._task.action} is given secrets, and a run that is killed would leave "
                    f"them in a file on the host, because {obstacle}"
                )
            done: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
        return done


@contextmanager
def piped(connection: ConnectionBase) -> Iterator[str]:
    """Switches pipelining on, whatever the operator has set; yields why it cannot work, or an empty text."""
    try:
        before = connection.get_option(_OPTION)
    except KeyError:
        yield "" if connection.is_pipelining_enabled() else _obstacle(connection)
        return
    connection.set_option(_OPTION, True)
    try:
        yield "" if connection.is_pipelining_enabled() else _obstacle(connection)
    finally:
        connection.set_option(_OPTION, before)


def _obstacle(connection: ConnectionBase) -> str:
    if constants.DEFAULT_KEEP_REMOTE_FILES:
        return "ANSIBLE_KEEP_REMOTE_FILES is set: unset it"
    if connection.become and not connection.become.pipelining:
        return f"become_method {connection.become.name} gives it no standard input: take sudo, or log in as root"
    return f"the connection {connection.transport} gives it no standard input: take ssh"
