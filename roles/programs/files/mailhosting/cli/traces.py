# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recent use of an account: logins, filters and forwards."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from .directory import Ask
from .host import CommandError

#: The time to look back, in seconds and in journalctl's notation.
SECONDS: Final = 7 * 86400
_SINCE: Final = "-7d"
#: The most clients to list, those that came last.
_CLIENTS: Final = 20
#: Seconds for reading a week of a busy host's journal, and for an answer from doveadm.
_PATIENCE: Final = 60
_DOVEADM_PATIENCE: Final = 20

#: A line of Dovecot or of Postfix's smtpd about a login: 1796000000.123456 mx1 dovecot[7]: imap-login: …
_LOGIN: Final = re.compile(
    r"(?P<time>\d+)\.\d+ \S+ (?:"
    r"dovecot\[\d+\]: (?P<protocol>[a-z0-9]+)-login: (?:Logged in|Login): user=<(?P<user>[^<>]*)>"
    r".*?\brip=(?P<rip>[^\s,]+)"
    r"|postfix(?:/[a-z]+)*/smtpd\[\d+\]: [0-9A-Za-z]+: client=[^\s,]*\[(?P<client>[^\]]+)\]"
    r".*?\bsasl_username=(?P<login>[^\s,]+)"
    r")"
)
_FORWARD: Final = "SELECT coalesce(forward_to, '{}') FROM directory.account WHERE id = %s"


class Login(NamedTuple):
    """The last login by a protocol from a client, at a Unix time."""

    time: int
    protocol: str
    client: str


class Filter(NamedTuple):
    """A Sieve script of an account that was changed, or made the active one, at a Unix time."""

    name: str
    active: bool
    changed: int


def logins(username: str) -> list[Login]:
    """The logins of the last days by protocol and client, the newest first.  Raises: CommandError."""
    # In PCRE a backslash makes a character literal that is neither a letter nor a digit.
    who = re.sub(r"([^A-Za-z0-9])", r"\\\1", username)
    command = [
        "journalctl", "--quiet", "--no-pager", "--reverse", f"--since={_SINCE}", "--output=short-unix",
        "--unit=dovecot", "--unit=postfix", f"--grep=user=<{who}>|sasl_username={who}(?:,|$)", "--case-sensitive=no",
    ]  # fmt: skip
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as journal:
            timer = threading.Timer(_PATIENCE, journal.kill)
            timer.start()
            try:
                assert journal.stdout  # noqa: S101 - for the type checker
                return _newest(journal.stdout, username)
            finally:
                timer.cancel()
                journal.kill()
    except OSError as error:
        raise CommandError(f"journalctl: {error.strerror}") from error


def _newest(lines: Iterable[str], username: str) -> list[Login]:
    found: dict[tuple[str, str], Login] = {}
    clients: set[str] = set()
    for line in lines:
        match = _LOGIN.match(line)
        if match is None or (match["user"] or match["login"]).lower() != username:
            continue
        protocol, client = match["protocol"] or "submission", match["rip"] or match["client"]
        if client not in clients and len(clients) == _CLIENTS:
            break
        clients.add(client)
        found.setdefault((protocol, client), Login(int(match["time"]), protocol, client))
    return list(found.values())


def filters(username: str, since: float) -> list[Filter]:
    """The Sieve scripts that are new or changed since then; none without Dovecot.  Raises: CommandError."""
    home = _home(username)
    if home is None:
        return []
    try:
        return sorted(_changed(home, since))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from error


def _changed(home: Path, since: float) -> Iterator[Filter]:
    """Raises: OSError."""
    active = home / ".dovecot.sieve"
    # Dovecot replaces the link when the user activates another script.
    chosen = active.lstat().st_mtime if active.is_symlink() else 0.0
    name = active.readlink().name if active.is_symlink() else ""
    for script in os.scandir(home / "sieve"):
        if script.name.endswith(".sieve") and script.is_file(follow_symlinks=False):
            is_active = script.name == name
            changed = max(script.stat(follow_symlinks=False).st_mtime, chosen if is_active else 0.0)
            if changed >= since:
                yield Filter(in_a_line(script.name.removesuffix(".sieve")), is_active, int(changed))


def _home(username: str) -> Path | None:
    if shutil.which("doveadm") is None:
        return None
    command = ["doveadm", "user", "-f", "home", username]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_DOVEADM_PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandError(f"doveadm user: {error}") from error
    if done.returncode:
        raise CommandError(f"doveadm user: {in_a_line(done.stderr) or f'it ended with {done.returncode}'}")
    return Path(done.stdout.strip())


def forwards(ask: Ask, account_id: int) -> list[str]:
    """The targets that the account forwards to.  Raises: CommandError."""
    rows: list[tuple[Any, ...]] = ask(_FORWARD, account_id)
    return [target for (targets,) in rows for target in targets]


def in_a_line(text: str) -> str:
    """A text in one line of printable characters."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
