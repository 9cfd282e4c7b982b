# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules do in Dovecot itself: end sessions, clear the auto-reply's memory of senders.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

_SECONDS: Final = 20  # for one call of doveadm


class DovecotError(Exception):
    """Dovecot did not do it; the message has what, why, and what the operator can run."""


class _NoAnswerError(Exception):
    """doveadm did not run, or not to its end; the message has the reason."""


def end_sessions(lost: Callable[[list[str]], Iterable[str]]) -> None:
    """Disconnect those users with sessions that `lost` returns.

    Without Dovecot on this host, or while it is stopped, there are no sessions.

    Raises: DovecotError if Dovecot does not answer.
    """
    try:
        users = _logged_in()
    except _NoAnswerError as error:
        raise DovecotError(
            "open sessions of users who may no longer log in were not ended: "
            f"{error}; `systemctl restart dovecot` ends all sessions"
        ) from None
    ending = sorted(lost(users)) if users else []
    for number, user in enumerate(ending):
        try:
            _doveadm("kick", user)
        except _NoAnswerError as error:
            raise DovecotError(
                f"open sessions were not ended: {error}; run `doveadm kick` for each of "
                f"{', '.join(ending[number:])}, or `systemctl restart dovecot`, which ends all sessions"
            ) from None


def forget_answered(address: str, check: bool) -> bool:
    """Let the automatic reply of `address` answer every sender again; returns whether it had answered any.

    With `check` the memory stays.  Pigeonhole keeps it in a file in the account's home.

    Raises: DovecotError if Dovecot does not tell the home, or the file cannot be removed.
    """
    try:
        home = _home(address)
        record = Path(home, ".dovecot.lda-dupes")
        if not home or not record.exists():
            return False
        if not check:
            record.unlink()
    except (_NoAnswerError, OSError) as error:
        raise DovecotError(
            f"the automatic reply of {address} still remembers whom it answered: {error}; "
            "do it again when Dovecot is well (`systemctl status dovecot`)"
        ) from None
    return True


def has_home(address: str) -> bool:
    """Whether Dovecot knows the account's home.

    Raises: DovecotError if it does not answer.
    """
    try:
        return bool(_home(address))
    except _NoAnswerError as error:
        raise DovecotError(f"Dovecot was not asked for {address}: {error}") from None


def _home(address: str) -> str:
    """The account's home; empty if Dovecot is not installed or knows no such account."""
    return _doveadm("user", "-f", "home", address).strip()


def _logged_in() -> list[str]:
    """The login names of all sessions, each once; see doveadm-who(1)."""
    _heading, *lines = _doveadm("-f", "tab", "who").splitlines() or [""]
    return sorted({line.partition("\t")[0] for line in lines})


def _doveadm(*arguments: str) -> str:
    """The output of doveadm; empty if it is not installed or reports a failure.

    Raises: _NoAnswerError if it prints nothing.
    """
    program = shutil.which("doveadm")
    if program is None:
        return ""
    command = [program, *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS).stdout
    except subprocess.TimeoutExpired:
        raise _NoAnswerError(f"Dovecot gave no answer to `doveadm {' '.join(arguments)}` in {_SECONDS} s") from None
    except OSError as error:
        raise _NoAnswerError(f"{program}: {error.strerror}") from None
