# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host: POP3 logins per second of one user from 8 clients on loopback, and CPU time of each, as JSON.

Usage: pop3_logins.py USER PASSWORD SECONDS
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from pathlib import Path

CLIENTS = 8
CPU = Path("/sys/fs/cgroup/cpu.stat")


def log_in(user: str, password: str) -> None:
    """One whole session.

    Raises: RuntimeError unless the password is accepted.
    """
    with socket.create_connection(("127.0.0.1", 110), timeout=30) as connection:
        stream = connection.makefile("rwb")
        stream.readline()
        for line in (f"USER {user}", f"PASS {password}", "QUIT"):
            stream.write(line.encode() + b"\r\n")
            stream.flush()
            answer = stream.readline()
            if not answer.startswith(b"+OK"):
                raise RuntimeError(f"{line.split()[0]}: {answer!r}")


def cpu_spent() -> float:
    """Microseconds, user and system, of all processes of the host but this one."""
    whole = dict(line.split() for line in CPU.read_text().splitlines())
    return int(whole["usage_usec"]) - time.process_time() * 1_000_000


def main() -> None:
    user, password, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    log_in(user, password)
    counts = [0] * CLIENTS
    before = cpu_spent()
    until = time.monotonic() + seconds

    def client(number: int) -> None:
        while time.monotonic() < until:
            log_in(user, password)
            counts[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu = cpu_spent() - before
    print(json.dumps({"per_second": sum(counts) / seconds, "cpu_microseconds": cpu / sum(counts)}))


main()
