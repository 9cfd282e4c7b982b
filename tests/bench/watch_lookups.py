# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host: how long lookups take while something else goes on, as JSON.

Usage: watch_lookups.py ADDRESS SECONDS.  postmap asks Postfix through its proxymap daemon; the figure includes the
start of postmap.  (RCPT would measure Postfix's flow control: each opens a queue file.)  Dovecot is asked by RCPT on
its LMTP socket.
"""

from __future__ import annotations

import contextlib
import json
import smtplib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

POSTMAP = ["postmap", "-q", "ADDRESS", "proxy:pgsql:/etc/postfix/pgsql/recipient.cf"]
#: Dovecot ends an LMTP session that only asks and sends no mail.
LOOKUPS_A_SESSION = 50

Ask = Callable[[str], None]


@contextlib.contextmanager
def postfix() -> Iterator[Ask]:
    def ask(address: str) -> None:
        subprocess.run([part.replace("ADDRESS", address) for part in POSTMAP], check=True, stdout=subprocess.DEVNULL)

    yield ask


@contextlib.contextmanager
def dovecot() -> Iterator[Ask]:
    with smtplib.LMTP("/var/spool/postfix/private/dovecot-lmtp") as session:
        session.ehlo_or_helo_if_needed()

        def ask(address: str) -> None:
            session.mail("watch@outside.example")
            code, text = session.rcpt(address)
            if code != 250:
                raise SystemExit(f"{address}: {code} {text!r}")
            session.rset()

        yield ask


def watch(
    connect: Callable[[], contextlib.AbstractContextManager[Ask]], address: str, until: float, out: dict[str, Any]
) -> None:
    longest = count = total = 0.0
    while time.monotonic() < until:
        with connect() as ask:
            for _ in range(LOOKUPS_A_SESSION):
                start = time.monotonic()
                ask(address)
                took = time.monotonic() - start
                longest, count, total = max(longest, took), count + 1, total + took
                time.sleep(0.005)
    out.update(longest_ms=longest * 1000, mean_ms=total / count * 1000, lookups=count)


def main() -> None:
    address, seconds = sys.argv[1], float(sys.argv[2])
    until = time.monotonic() + seconds
    results: dict[str, dict[str, float]] = {"postfix": {}, "dovecot": {}}
    threads = [
        threading.Thread(target=watch, args=(connect, address, until, results[name]))
        for name, connect in (("postfix", postfix), ("dovecot", dovecot))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(results))


main()
