# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""clamd with a million signatures: its memory, and how long mail waits while it reads them again."""

from __future__ import annotations

import json
import statistics
import time
from typing import Any, Final

from common import CHECKOUT, Figure, Host, at_most, publish

#: Random signatures: digests of files, digests of sections of programs, and patterns of 16 to 40 octets in any file.
FILES, SECTIONS, PATTERNS = 400_000, 400_000, 200_000
#: Mails a second, and seconds of a round without a reload.
RATE, SECONDS, ROUNDS = 10, 20, 3
#: Writes the signatures where freshclam would.
GENERATE: Final = f"""
import pathlib, random
chance = random.Random(1)
folder = pathlib.Path("/var/lib/clamav")
def write(name, lines):
    (folder / name).write_text("".join(line + "\\n" for line in lines))
def digest():
    return chance.randbytes(16).hex()
def pattern():
    return chance.randbytes(chance.randrange(16, 41)).hex()
write("bench.hdb", (f"{{digest()}}:{{chance.randrange(1000, 10**7)}}:Bench.File-{{n}}" for n in range({FILES})))
write("bench.mdb", (f"{{chance.randrange(512, 10**6)}}:{{digest()}}:Bench.Section-{{n}}" for n in range({SECTIONS})))
write("bench.ndb", (f"Bench.Pattern-{{n}}:0:*:{{pattern()}}" for n in range({PATTERNS})))
"""
#: Sends a mail at each of these times; prints when each began and the milliseconds until it was accepted.
SEND: Final = r"""
import json, smtplib, sys, time
content = b"Subject: x\r\n\r\n" + b"Some words of a letter, as long as a line usually is.\r\n" * 370
rate, seconds = float(sys.argv[1]), float(sys.argv[2])
took = []
with smtplib.SMTP("127.0.0.1", 25, "load.outside.example") as session:
    session.ehlo()
    start = time.time()
    for number in range(int(rate * seconds)):
        time.sleep(max(0, start + number / rate - time.time()))
        began = time.time()
        session.mail("load@outside.example")
        session.rcpt("abe@kita.example")
        code, text = session.data(content)
        assert code == 250, text
        took.append((began, (time.time() - began) * 1000))
print(json.dumps(took))
"""


class Clamd:
    """The host's clamd."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def restart(self) -> float:
        """Start it anew; returns the seconds until it answers."""
        ready = "until [ -S /run/clamav/clamd.ctl ]; do sleep 0.05; done"
        script = f"since=$(date +%s%N); systemctl restart clamav-daemon; {ready}; echo $(($(date +%s%N) - since))"
        return int(self._host.shell(script)) / 1e9

    def resident_mb(self, name: str = "VmRSS") -> float:
        """Its memory now, or (VmHWM) the most since `forget`."""
        pid = "$(systemctl show --value --property=MainPID clamav-daemon)"
        return int(self._host.shell(f"awk '/^{name}:/ {{print $2}}' /proc/{pid}/status")) / 1024

    def forget(self) -> None:
        """Let VmHWM begin anew."""
        self._host.shell("echo 5 >/proc/$(systemctl show --value --property=MainPID clamav-daemon)/clear_refs")

    def reload(self) -> tuple[float, float]:
        """Have it read its signatures again; returns begin and end, as times of the host."""
        began, ended = self._host.shell(
            "date +%s.%N; since=$(date +%s); systemctl reload clamav-daemon; "
            "said() { journalctl --quiet --unit=clamav-daemon --since=@$since --output=cat; }; "
            "until said | grep -q 'correctly reloaded'; do sleep 0.1; done; date +%s.%N"
        ).split()
        return float(began), float(ended)


def sending(host: Host, seconds: float) -> Any:
    """Start to send mail for so long."""
    program = CHECKOUT / ".cache" / "bench" / "send.py"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(SEND)
    return host.start_python(program, str(RATE), str(seconds))


def main() -> None:
    host = Host("web1", CHECKOUT / "inventories" / "webarena" / "hosts.yml")
    host.start_anew()
    clamd = Clamd(host)
    host.shell("postconf -e defer_transports=lmtp && postfix reload")
    small = clamd.resident_mb()
    try:
        host.shell(f"python3 - <<'END'\n{GENERATE}\nEND")
        start = clamd.restart()
        loaded = clamd.resident_mb()
        quiet, during, spans = [], [], []
        clamd.forget()
        for _round in range(ROUNDS):
            quiet += [took for _began, took in json.load(sending(host, SECONDS).stdout)]
            client = sending(host, max(2 * start, SECONDS))
            time.sleep(2)
            began, ended = clamd.reload()
            during += [took for at, took in json.load(client.stdout) if began <= at <= ended]
            spans.append(ended - began)
            host.shell("postsuper -d ALL")
        peak = clamd.resident_mb("VmHWM")
    finally:
        host.shell("rm -f /var/lib/clamav/bench.*; systemctl restart clamav-daemon")
        host.shell("postconf -X defer_transports && postfix reload")
    centiles = [statistics.quantiles(times, n=100) for times in (quiet, during)]
    publish(
        "clamav_reload",
        [
            Figure("clamd's memory with two signatures", small, "MB"),
            Figure(f"with {FILES + SECTIONS + PATTERNS:,} random ones", loaded, "MB"),
            Figure("the most while it reads them again and scans", peak, "MB"),
            Figure("seconds until it answers after a start", start, "s"),
            Figure("seconds that reading them again takes, mail coming", statistics.median(spans), "s"),
            Figure(f"a mail of 20 kB to port 25, {RATE} a second: p50", centiles[0][49], "ms"),
            Figure("p99", centiles[0][98], "ms"),
            Figure("p50 during a reload", centiles[1][49], "ms"),
            Figure("p99 during a reload", centiles[1][98], "ms"),
            at_most("the longest during a reload", max(during), "ms", 5000),
        ],
    )


if __name__ == "__main__":
    main()
