# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions about limits per second, each program on one core: the gate's counters, postfwd and policyd-rate-limit.

The two daemons are Debian's.  Their nearest equivalent is two windows of each sender.  Their client runs on the other
core, while the counters, their client and Valkey share one.
"""

from __future__ import annotations

import base64
import io
import statistics
import tarfile
from collections.abc import Callable

from common import CHECKOUT, Figure, Host, at_least, publish

BENCH = CHECKOUT / "tests" / "bench"
PACKAGE = CHECKOUT / "roles" / "programs" / "files" / "mailhosting"
SECONDS, ROUNDS, CONNECTIONS = "6", 3, "10"
#: The core of the measured program, and that of its client.
CORE, OTHER = "0", "1"
WORK = "/var/lib/limit-decisions"

#: Valkey as the role configures it; the two others count in memory and in SQLite.
PREPARE = f"""
export DEBIAN_FRONTEND=noninteractive
systemctl mask --quiet postfwd policyd-rate-limit
apt-get -qq update
apt-get -qq install --no-install-recommends postfwd policyd-rate-limit python3-hiredis valkey-server >/dev/null 2>&1
mkdir -p {WORK}/valkey
install -d -o policyd-rate-limit {WORK}/policyd
base64 -d <<'PACKAGE' | tar -xz -C {WORK}
@PACKAGE@
PACKAGE
cat >{WORK}/postfwd.cf <<'RULES'
id=HOUR; sasl_username=~.; action=rate(sasl_username/@MOST@/3600/423 sorry, that message exceeds my limit)
id=DAY; sasl_username=~.; action=rate(sasl_username/@MOST@/86400/423 sorry, that message exceeds my limit)
RULES
cat >{WORK}/policyd.yaml <<'CONFIGURATION'
user: policyd-rate-limit
group: policyd-rate-limit
pidfile: {WORK}/policyd/pid
backend: 0
sqlite_config: {{database: {WORK}/policyd/db.sqlite3}}
SOCKET: {WORK}/policyd/socket
limits: [[@MOST@, 3600], [@MOST@, 86400]]
count_mode: 1
sql_limits_by_id: ''
CONFIGURATION
"""
START = {
    "limit-valkey": f"/usr/bin/valkey-server --port 0 --unixsocket {WORK}/valkey/socket --dir {WORK}/valkey"
    " --save '' --appendonly yes --appendfsync everysec",
    "limit-postfwd": f"/usr/sbin/postfwd2 --daemon --file {WORK}/postfwd.cf --interface 127.0.0.1 --port 10040"
    f" --user postfw --group postfw --pidfile {WORK}/postfwd.pid",
    "limit-policyd": f"/usr/bin/policyd-rate-limit --file {WORK}/policyd.yaml",
}
PLENTY = 10**9


def package() -> str:
    """The gate's package as a tar in base64."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(PACKAGE, PACKAGE.name, filter=lambda item: None if "__pycache__" in item.name else item)
    return base64.encodebytes(packed.getvalue()).decode()


def start(host: Host) -> None:
    """Start all, each with its children on the one core."""
    for unit, command in START.items():
        host.shell(
            f"systemctl stop {unit} 2>/dev/null || true; systemctl reset-failed {unit} 2>/dev/null || true\n"
            f"systemd-run --quiet --unit={unit} --property=CPUAffinity={CORE}"
            f" --property=Type={'forking' if '--daemon' in command else 'exec'} {command}"
        )
    host.shell(
        f"for try in $(seq 100); do ss -ltn | grep -q :10040 && [ -S {WORK}/policyd/socket ]"
        f" && [ -S {WORK}/valkey/socket ] && exit 0; sleep 0.1; done; exit 1"
    )


def main() -> None:
    host = Host("mx1", CHECKOUT / "inventories" / "demo" / "hosts.yml")

    def counters(kind: str) -> dict[str, float]:
        done: dict[str, float] = host.python(
            BENCH / "decide_limits.py", WORK, f"{WORK}/valkey/socket", SECONDS, CORE, kind
        )
        return done

    def policy(place: str, state: str) -> dict[str, float]:
        done: dict[str, float] = host.python(BENCH / "policy_requests.py", place, state, CONNECTIONS, SECONDS, OTHER)
        return done

    ways: dict[str, Callable[[], dict[str, float]]] = {
        "counters, two windows of a sender": lambda: counters("sender"),
        "counters, a whole mail (5 windows, pool, mailbox, day)": lambda: counters("whole"),
        "postfwd, two windows of a sender": lambda: policy("10040", "RCPT"),
        "policyd-rate-limit, two windows of a sender": lambda: policy(f"{WORK}/policyd/socket", "DATA"),
    }
    host.shell(PREPARE.replace("@PACKAGE@", package()).replace("@MOST@", str(PLENTY)))
    try:
        start(host)
        rounds = [{name: measure() for name, measure in ways.items()} for _number in range(ROUNDS)]
    finally:
        host.shell(f"systemctl stop {' '.join(START)}; systemctl reset-failed; rm -rf {WORK}")
    rate = {name: statistics.median(found[name]["per_second"] for found in rounds) for name in ways}
    slow = {name: statistics.median(found[name]["p99_ms"] for found in rounds) for name in ways}
    sender, whole, postfwd, policyd = ways
    publish(
        "limit_decisions",
        [
            at_least(sender, rate[sender], "/s", max(694, rate[postfwd])),
            at_least(whole, rate[whole], "/s", 694),
            *(Figure(name, rate[name], "/s") for name in (postfwd, policyd)),
            *(Figure(f"{name}: p99", slow[name], "ms") for name in ways),
        ],
    )


if __name__ == "__main__":
    main()
