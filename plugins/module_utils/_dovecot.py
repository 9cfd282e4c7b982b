# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules do in Dovecot itself, beside the directory: end sessions, forget who was answered.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

_SECONDS: Final = 20


def end_sessions(lost: Callable[[list[str]], Iterable[str]]) -> list[str]:
    """Disconnect those of the users logged in whom `lost` names; their names.

    Without a Dovecot on this host, or with one that does not run, there is nobody to disconnect.
    """
    users = logged_in()
    ended = sorted(lost(users)) if users else []
    for user in ended:
        _doveadm("kick", user)
    return ended


def logged_in() -> list[str]:
    """The login names of all sessions, each once; see doveadm-who(1)."""
    _heading, *lines = _doveadm("-f", "tab", "who").splitlines() or [""]
    return sorted({line.partition("\t")[0] for line in lines})


def forget_answered(address: str, check: bool) -> bool:
    """Have the automatic reply of `address` answer everybody again; whether anybody had been answered.

    With `check` nothing is forgotten.  Pigeonhole remembers in a file of the account's home.
    """
    home = _doveadm("user", "-f", "home", address).strip()
    record = Path(home, ".dovecot.lda-dupes")
    if not home or not record.exists():
        return False
    if not check:
        record.unlink()
    return True


def _doveadm(*arguments: str) -> str:
    program = shutil.which("doveadm")
    if program is None:
        return ""
    command = [program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS).stdout
