# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs Dovecot's doveadm for many accounts in one process."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from typing import Any, NamedTuple

from .errors import DoveadmError


class Said(NamedTuple):
    """The rows that doveadm printed, a dictionary each, and its error messages; empty if there were none."""

    rows: list[dict[str, Any]]
    complaint: str

    def of_all(self) -> list[dict[str, Any]]:
        """The rows.  Raises: DoveadmError if doveadm could not do all of it."""
        if self.complaint:
            raise DoveadmError(self.complaint)
        return self.rows


def ask(usernames: Iterable[str], command: str, *arguments: str, timeout: float | None = None) -> Said:
    """Run `doveadm -f json COMMAND ARGUMENTS` for all users in one process, for at most `timeout` seconds.

    A broken mailbox does not stop the others.  Raises: DoveadmError if the output is of no use.
    """
    # Everybody on the host can read arguments, and doveadm reads no list from a pipe.
    with os.fdopen(os.memfd_create("users"), "w") as file:
        file.write("".join(f"{username}\n" for username in usernames))
        file.flush()
        try:
            done = subprocess.run(
                ["doveadm", "-f", "json", *command.split(), "-F", "/dev/stdin", *arguments],
                stdin=file, capture_output=True, text=True, check=False, cwd="/", timeout=timeout,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DoveadmError(f"doveadm {command}: {error}") from error
    complaint = ""
    if done.returncode:
        said = "; ".join((done.stderr.strip().splitlines() or ["no message"])[:5])
        complaint = f"doveadm {command} ended with {done.returncode}: {said}"
    try:
        return Said(json.loads(done.stdout or "[]"), complaint)
    except ValueError as error:
        raise DoveadmError(complaint or f"doveadm {command} printed {done.stdout[:100]!r}: {error}") from error
