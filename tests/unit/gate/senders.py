# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many senders of one tenant at once, in a process of their own; prints how many mails passed.

Usage: senders.py PACKAGES SOCKET SENDERS MAILS MOST POOL.  MAILS are a sender's; three in ten are given up after their
check.  A mail is one message for a tenant limited to MOST, and takes a byte of a pool of POOL bytes if that is not 0.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

PACKAGES, SOCKET = sys.argv[1:3]
SENDERS, MAILS, MOST, POOL = map(int, sys.argv[3:])
sys.dont_write_bytecode = True
sys.path.insert(0, PACKAGES)

from mailhosting_gate.counters import Counters  # noqa: E402
from mailhosting_gate.model import Allowed, Charge, Limit, Party, Room, Tally  # noqa: E402
from mailhosting_gate.valkey import Valkey  # noqa: E402

CHARGE = Charge(Party("tenant", 1, "send"), (Limit("messages", MOST, 3600, 7200, ("send",)),), 1, 1)
ROOMS = [Room("tenant", 1, POOL, 1)] if POOL else []
TALLY = Tally(1, {"sent_messages": 1})


def main() -> None:
    counters = Counters(Valkey(SOCKET, "gate", patience=10), lambda _tenant_id: [])

    def send(sender: int) -> int:
        passed = 0
        for mail in range(MAILS):
            checked = isinstance(counters.check([CHARGE], ROOMS), Allowed)
            given_up = (sender + mail) % 10 < 3
            if checked and not given_up:
                passed += isinstance(counters.commit([CHARGE], ROOMS, [TALLY]), Allowed)
        return passed

    with ThreadPoolExecutor(SENDERS) as pool:
        print(sum(pool.map(send, range(SENDERS))))


main()
