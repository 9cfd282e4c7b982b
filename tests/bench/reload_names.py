# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the mail host: the cost of a reload with its host names.  Arguments: two names, a login, its password.

The first name gets the second's certificate, and later its own again, so that a client sees when a new one is served.
"""

from __future__ import annotations

import contextlib
import imaplib
import json
import poplib
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

NAMES = Path("/etc/mailhosting/tls/names")
ROUNDS = 5
SETTLE_SECONDS = 5
HANDSHAKES = 40
#: The groups of processes, by the name in their status.
GROUPS = {
    "config": ("config",),
    "login": ("imap-login", "pop3-login", "managesieve-login"),
    "postfix": ("tlsmgr", "smtpd"),
}
TRUST = ssl.create_default_context()
TRUST.check_hostname = False
TRUST.verify_mode = ssl.CERT_NONE


class Session(imaplib.IMAP4_SSL):
    """IMAPS that asks for a name."""

    def __init__(self, name: str) -> None:
        self._name = name
        super().__init__("127.0.0.1", 993, ssl_context=TRUST, timeout=30)

    def _create_socket(self, timeout: float | None) -> ssl.SSLSocket:
        plain = socket.create_connection((self.host, self.port), timeout)
        return TRUST.wrap_socket(plain, server_hostname=self._name)


def login(name: str, user: str, password: str) -> bytes:
    """Log in and leave; returns the served certificate."""
    with Session(name) as session:
        session.login(user, password)
        assert isinstance(session.sock, ssl.SSLSocket)
        return session.sock.getpeercert(binary_form=True) or b""


def wall(*command: str) -> float:
    start = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - start


@contextlib.contextmanager
def exchanged(name: str, other: str) -> Iterator[None]:
    """Install the certificate of `other` for `name`, as a renewal does."""
    link = NAMES / name
    before = link.readlink()
    for target in ((NAMES / other).readlink(), before):
        new = NAMES.parent / "exchange"
        new.symlink_to(target)
        new.rename(link)
        if target != before:
            yield


def reload_seconds(name: str, other: str, user: str, password: str) -> tuple[float, float, int]:
    """Seconds from a reload to the first login with the new certificate; the longest login; the number of failed ones.

    A login fails if it began with the old auth process and the new one has to finish it.
    """
    old = login(name, user, password)
    with exchanged(name, other):
        start = time.monotonic()
        wall("systemctl", "reload", "dovecot")
        longest, served, failed = 0.0, old, 0
        while served == old:
            begin = time.monotonic()
            try:
                served = login(name, user, password)
            except (imaplib.IMAP4.error, OSError):
                failed += 1
            longest = max(longest, time.monotonic() - begin)
            if begin - start > 60:
                raise SystemExit("the new certificate is not served")
        seconds = time.monotonic() - start
    wall("systemctl", "reload", "dovecot")
    time.sleep(SETTLE_SECONDS)
    return seconds, longest, failed


def submissions(name: str) -> float:
    """Seconds from connecting to Postfix's greeting."""
    begin = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", 465), timeout=30) as plain,
        TRUST.wrap_socket(plain, server_hostname=name) as session,
    ):
        session.recv(512)
        return time.monotonic() - begin


def memory() -> dict[str, dict[str, float]]:
    """MiB by group: `rss` counts shared memory in each process, `pss` once."""
    found = {group: {"rss": 0.0, "pss": 0.0, "processes": 0} for group in GROUPS}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            called = (process / "comm").read_text().strip()
            sizes = dict(line.split(":") for line in (process / "smaps_rollup").read_text().splitlines()[1:])
            for group, names in GROUPS.items():
                if called in names:
                    found[group]["processes"] += 1
                    for key in ("Rss", "Pss"):
                        found[group][key.lower()] += int(sizes[key].split()[0]) / 1024
    return found


def main() -> None:
    name, other, user, password = sys.argv[1:]
    maildrop = poplib.POP3_SSL("127.0.0.1", context=TRUST, timeout=60)
    maildrop.user(user)
    maildrop.pass_(password)
    with Session(other) as mailbox:
        mailbox.login(user, password)
        rounds = [reload_seconds(name, other, user, password) for _ in range(ROUNDS)]
        survived = mailbox.noop()[0] == "OK" and maildrop.noop().startswith(b"+OK")
    maildrop.quit()
    logins = []
    for _ in range(HANDSHAKES):
        begin = time.monotonic()
        login(name, user, password)
        logins.append(time.monotonic() - begin)
    result = {
        "reload": statistics.median(seconds for seconds, _longest, _failed in rounds),
        "longest_login": max(longest for _seconds, longest, _failed in rounds),
        "failed": sum(failed for _seconds, _longest, failed in rounds),
        "login": statistics.median(logins),
        "submissions": statistics.median(submissions(name) for _ in range(HANDSHAKES)),
        "survived": survived,
        "postmap": statistics.median(wall("postmap", "-F", "lmdb:/etc/postfix/sni") for _ in range(3)),
        "doveconf": statistics.median(wall("doveconf", "-n") for _ in range(3)),
        "memory": memory(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
