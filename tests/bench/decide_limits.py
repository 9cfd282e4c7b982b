# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host: decisions per second of the gate's counters against a Valkey on the same core, as JSON.

Usage: decide_limits.py PACKAGES SOCKET SECONDS CORE WHOLE.  A decision is a commit of a mail of one of 1,000 tenants
with ten accounts each: two windows of the account, or (WHOLE) two of the account and two of its tenant in messages and
in recipients, the pool, the mailbox and the day's counts.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time

PACKAGES, SOCKET = sys.argv[1:3]
SECONDS, CORE, WHOLE = float(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "whole"
sys.path.insert(0, PACKAGES)

from mailhosting.common.valkey import Valkey  # noqa: E402
from mailhosting.gate.counters import Counters  # noqa: E402
from mailhosting.gate.model import Allowed, DailyCount, Limit, LimitSubject, Mailbox, RateCharge, SpaceCheck  # noqa: E402

TENANTS, ACCOUNTS = 1000, 10
PLENTY = 10**12
HOUR, DAY = (Limit("messages", PLENTY, per, 7200, ("send",)) for per in (3600, 86400))
PEOPLE = Limit("recipients", PLENTY, 3600, 7200, ("send",))


def accounts_of(tenant_id: int) -> list[Mailbox]:
    first = tenant_id * ACCOUNTS
    return [Mailbox(number, f"user{number}@tenant{tenant_id}.example") for number in range(first, first + ACCOUNTS)]


def main() -> None:
    os.sched_setaffinity(0, {CORE})
    valkey = Valkey(SOCKET, "default")
    valkey.ask(("FLUSHALL",), ("SET", "mh:1:usage:epoch", 1))
    for tenant_id in range(TENANTS):
        usage = [(f"mh:1:usage:{box.account_id}/{box.username}/quota/storage", 10**6) for box in accounts_of(tenant_id)]
        valkey.ask(("MSET", *(word for pair in usage for word in pair)))
    counters = Counters(valkey, accounts_of)
    choose = random.Random(4)  # noqa: S311
    took = []
    until = time.monotonic() + SECONDS
    while (start := time.monotonic()) < until:
        tenant_id = choose.randrange(TENANTS)
        box = accounts_of(tenant_id)[choose.randrange(ACCOUNTS)]
        charges = [RateCharge(LimitSubject("account", box.account_id, "send"), (HOUR, DAY), 1, 3)]
        spaces, daily_counts = [], []
        if WHOLE:
            charges.append(RateCharge(LimitSubject("tenant", tenant_id, "send"), (HOUR, DAY, PEOPLE), 1, 3))
            spaces = [
                SpaceCheck("account", box.account_id, PLENTY, 20_000, box),
                SpaceCheck("tenant", tenant_id, PLENTY, 20_000),
            ]
            daily_counts = [DailyCount(tenant_id, {"sent_messages": 1, "sent_recipients": 3, "sent_bytes": 20_000})]
        verdict = counters.commit(charges, spaces, daily_counts)
        if verdict != Allowed():
            raise SystemExit(f"refused: {verdict}")
        took.append(time.monotonic() - start)
    took.sort()
    print(json.dumps({"per_second": len(took) / SECONDS, "p99_ms": took[len(took) * 99 // 100] * 1000}))


main()
