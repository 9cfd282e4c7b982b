# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host: answers per second of a policy service to questions about 1,000 senders, as JSON.

Usage: policy_requests.py SOCKET|PORT STATE CONNECTIONS SECONDS CORE
"""

from __future__ import annotations

import json
import os
import random
import selectors
import socket
import sys
import time
from typing import cast

PLACE, STATE = sys.argv[1:3]
CONNECTIONS, SECONDS, CORE = int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])

REQUEST = """request=smtpd_access_policy
protocol_state={state}
protocol_name=ESMTP
client_address=192.0.2.{number}
client_name=unknown
reverse_client_name=unknown
helo_name=client.example
sender=user{number}@tenant.example
recipient=someone@outside.example
recipient_count=3
queue_id=8045F2AB23
instance=123.456.{asked}
size=12345
sasl_method=plain
sasl_username=user{number}@tenant.example
sasl_sender=

"""


def connect() -> socket.socket:
    if PLACE.isdigit():
        return socket.create_connection(("127.0.0.1", int(PLACE)), 10)
    while True:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        try:
            connection.connect(PLACE)
        except BlockingIOError:  # the backlog is full
            connection.close()
            time.sleep(0.01)
        else:
            return connection


def main() -> None:
    os.sched_setaffinity(0, {CORE})
    choose = random.Random(4)  # noqa: S311
    selector = selectors.DefaultSelector()
    asked: dict[socket.socket, float] = {}
    took: list[float] = []

    def ask(connection: socket.socket) -> None:
        number = choose.randrange(1000)
        asked[connection] = time.monotonic()
        connection.sendall(REQUEST.format(state=STATE, number=number, asked=len(took)).encode())

    for _number in range(CONNECTIONS):
        connection = connect()
        selector.register(connection, selectors.EVENT_READ, bytearray())
        ask(connection)
    until = time.monotonic() + SECONDS
    while asked:  # to the last answer: policyd-rate-limit ends if a client leaves earlier
        for key, _events in selector.select(1):
            connection = cast("socket.socket", key.fileobj)
            key.data.extend(connection.recv(4096) or b"action=HUNG UP\n\n")
            if key.data.endswith(b"\n\n"):
                if key.data.strip().lower() != b"action=dunno":
                    raise SystemExit(f"answered {bytes(key.data)!r}")
                key.data.clear()
                took.append(time.monotonic() - asked.pop(connection))
                if time.monotonic() < until:
                    ask(connection)
    took.sort()
    print(json.dumps({"per_second": len(took) / SECONDS, "p99_ms": took[len(took) * 99 // 100] * 1000}))


main()
