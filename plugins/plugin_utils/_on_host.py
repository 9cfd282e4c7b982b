# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that an action plugin runs on the host without a module: a tenth of a second instead of a third.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


def output(action: ActionBase, command: str) -> str:
    """What the shell's `command` printed, with both streams where ssh has a terminal.

    Raises: AnsibleActionFail, with what it printed, when the command failed.
    """
    done = action._low_level_execute_command(command)
    if done["rc"]:
        raise AnsibleActionFail((done["stderr"] or done["stdout"]).strip())
    return "\n".join(done["stdout"].splitlines())  # a terminal has CRLF
