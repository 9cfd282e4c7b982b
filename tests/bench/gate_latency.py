# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long mail waits for the gate with 1,000 tenants, one of them above its limit; and whether two gates are exact."""

from __future__ import annotations

import json
import statistics

from common import Figure, Host, at_most, publish
from limited import FIRST_MOST, MOST, NUMBER, ask, host_with_limits, title

ACCOUNTS = 10_000
#: Mails a second of all tenants, and of the one above its limit; seconds of a round.
RATE, HAMMER, SECONDS, ROUNDS = 50, 100, 10, 5
SENDERS, MAILS = 100, 20
#: Sends mails one after the other on one connection; prints the milliseconds of each, from MAIL to the last reply.
SEND = """
import json, smtplib, time
content = b"Subject: x\\r\\n\\r\\n" + b"Some words of a letter, as long as a line usually is.\\r\\n" * 370
took = []
with smtplib.SMTP("127.0.0.1", 25, "load.outside.example") as session:
    session.ehlo()
    for number in range(10, 10 + {mails}):
        start = time.perf_counter()
        session.mail("load@outside.example")
        code, text = session.rcpt(f"u{{1000 + number:06}}@d{{number:05}}.example")
        assert code == 250, text
        code, text = session.data(content)
        assert code == 250, text
        took.append((time.perf_counter() - start) * 1000)
print(json.dumps(took))
"""


def waits(host: Host) -> list[Figure]:
    """Rounds with and without the tenant above its limit, by turns."""
    sent = ask(host, "passing", 0, NUMBER, 1, FIRST_MOST + 1, 0)
    if sent != {"passed": FIRST_MOST, "423": 1}:
        raise RuntimeError(f"the first tenant is not at its limit: {sent}")
    ask(host, "added", NUMBER, ACCOUNTS, RATE, 2, 0)
    quiet, hammered = [], []
    for _round in range(ROUNDS):
        quiet.append(ask(host, "added", NUMBER, ACCOUNTS, RATE, SECONDS, 0))
        hammered.append(ask(host, "added", NUMBER, ACCOUNTS, RATE, SECONDS, HAMMER))
    p50, p99 = (statistics.median(each[name] for each in quiet) for name in ("p50_ms", "p99_ms"))
    disturbed = statistics.median(each["p99_ms"] for each in hammered)
    tried = statistics.median(each["hammered_per_second"] for each in hammered)
    return [
        at_most(f"a mail of 20 kB waits for the gate, {RATE} a second: p50", p50, "ms", 2),
        at_most("p99", p99, "ms", 10),
        at_most(f"p99 while a tenant at its limit sends {tried:.0f} a second ÷ without", disturbed / p99, "", 1.1),
    ]


def through_postfix(host: Host) -> list[Figure]:
    """The same from the sender's side, with the gate and without; no mail is delivered."""
    gate = host.shell("postconf -h smtpd_milters").strip()
    host.shell("postconf -e defer_transports=lmtp && postfix reload")
    took: dict[str, list[float]] = {"": [], gate: []}
    try:
        for milters in ["", gate] * 3:
            host.shell(f"postconf -e 'smtpd_milters={milters}' && postfix reload")
            took[milters] += json.loads(host.shell(f"python3 - <<'END'\n{SEND.format(mails=300)}\nEND"))[100:]
            host.shell("postsuper -d ALL")
    finally:
        host.shell(f"postconf -X defer_transports && postconf -e 'smtpd_milters={gate}' && postfix reload")
    without, with_gate = (statistics.median(took[milters]) for milters in ("", gate))
    return [
        Figure("a mail of 20 kB to port 25, without the gate: p50", without, "ms"),
        Figure("with it: p50", with_gate, "ms"),
    ]


def exact(host: Host) -> list[Figure]:
    """Two gates, one limit, 100 senders; then the same with 30 of 100 mails aborted in the middle."""
    figures = []
    for tenant, given_up in ((1, 0), (2, 30)):
        answers = ask(host, "passing", tenant, NUMBER, SENDERS, MAILS, given_up)
        if answers.get("423", 0) == 0:
            raise RuntimeError(f"the limit was not reached: {answers}")
        name = f"{SENDERS} senders, {given_up} % given up, two gates: mails that pass, off the limit of {MOST}"
        figures.append(at_most(name, abs(answers["passed"] - MOST), "", 0))
    return figures


def main() -> None:
    host = host_with_limits(ACCOUNTS)
    publish(title("gate_latency"), [*exact(host), *waits(host), *through_postfix(host)])


if __name__ == "__main__":
    main()
