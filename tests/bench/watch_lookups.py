# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host: how long lookups take while something else goes on, as JSON.

Usage: watch_lookups.py ADDRESS SECONDS.  Postfix is asked by RCPT on port 25, Dovecot by RCPT on its LMTP
socket: both are live lookups in the directory over connections that stay open.
"""

from __future__ import annotations

import json
import smtplib
import sys
import threading
import time
from collections.abc import Callable

#: A daemon ends a session that asks for ever and sends nothing.
LOOKUPS_A_SESSION = 50


def postfix() -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", 25, local_hostname="watch.outside.example")


def dovecot() -> smtplib.SMTP:
    return smtplib.LMTP("/var/spool/postfix/private/dovecot-lmtp")


def watch(connect: Callable[[], smtplib.SMTP], address: str, until: float, out: dict[str, float]) -> None:
    longest = count = total = 0.0
    while time.monotonic() < until:
        with connect() as session:
            session.ehlo_or_helo_if_needed()
            for _ in range(LOOKUPS_A_SESSION):
                session.mail("watch@outside.example")
                start = time.monotonic()
                code, text = session.rcpt(address)
                took = time.monotonic() - start
                if code != 250:
                    raise SystemExit(f"{address}: {code} {text!r}")
                session.rset()
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
