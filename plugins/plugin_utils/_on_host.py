# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that an action plugin runs on the host without a module: 0.1 s each instead of 0.3 s.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


def output(action: ActionBase, command: str) -> str:
    """The output of the shell's `command`, with both streams if ssh has a terminal.

    Raises: AnsibleActionFail with that output if the command fails.
    """
    done = action._low_level_execute_command(command)
    if done["rc"]:
        raise AnsibleActionFail((done["stderr"] or done["stdout"]).strip())
    return "\n".join(done["stdout"].splitlines())  # a terminal has CRLF
