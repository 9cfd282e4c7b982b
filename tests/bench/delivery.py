# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delivered messages per second from port 25 through LMTP into 50 mailboxes, beside stock Postfix and Dovecot."""

from __future__ import annotations

import statistics

from common import CHECKOUT, Figure, Host, at_least, publish

BENCH = CHECKOUT / "tests" / "bench"
MESSAGES, BOXES, SESSIONS, LENGTH, PAIRS = 1000, 50, 20, 10_240, 7
#: 20 sessions at a time; done when the queue is empty.  Prints the seconds.
LOAD = r"""
cd /var/spool/postfix
queued() {{ find incoming active deferred maildrop -type f | wc -l; }}
start=$(date +%s.%N)
seq {numbers} | xargs -P {sessions} -I% smtp-source -s 1 -m {each} -l {length} -M load.outside.example \
  -f load@outside.example -t {recipient} 127.0.0.1:25
deadline=$(( $(date +%s) + 120 ))
while [ "$(queued)" -gt 0 ]; do [ "$(date +%s)" -lt $deadline ] || exit 1; sleep 0.1; done
end=$(date +%s.%N)
python3 -c "print($end - $start)"
"""


def delivered(
    host: Host,
    recipient: str,
    messages: int = MESSAGES,
    *,
    length: int = LENGTH,
    numbers: str = f"0 {BOXES - 1}",
    prepare: str = "",
) -> float:
    """Messages per second.

    `recipient` has a % for each of the BOXES numbers that `seq` prints for `numbers`; `length` is in bytes.
    `prepare` is for the shell, after all mailboxes were emptied.

    Raises: RuntimeError unless every message is in a mailbox.
    """
    # Empty mailboxes each time: Dovecot's work on a mailbox grows with its content.
    host.shell(f"find /var/vmail -mindepth 1 -delete\n{prepare}")
    load = {"sessions": SESSIONS, "each": messages // BOXES, "length": length}
    seconds = float(host.shell(LOAD.format(recipient=recipient, numbers=numbers, **load)))
    arrived = int(host.shell("find /var/vmail -path '*/new/*' -type f | wc -l"))
    if arrived != messages:
        raise RuntimeError(f"{host.name}: {arrived} of {messages} arrived")
    return messages / seconds


def main() -> None:
    ours = Host("mx1", CHECKOUT / "inventories" / "demo" / "hosts.yml")
    ours.play("mailhosting.stack.site")
    stock = Host("stock", BENCH / "stock" / "hosts.yml")
    stock.play(BENCH / "stock" / "stock.yml")
    ours.play(BENCH / "boxes.yml", bench_boxes=BOXES)
    # A first round starts daemons, opens connections and plans queries.
    delivered(stock, "box%@stock.example", 500)
    delivered(ours, "box%@bench.example", 500)
    pairs = [(delivered(stock, "box%@stock.example"), delivered(ours, "box%@bench.example")) for _ in range(PAIRS)]
    stock_rate, our_rate = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(mine / theirs for theirs, mine in pairs)
    publish(
        "delivery",
        [
            Figure("stock, 50 mailboxes", stock_rate, "messages/s"),
            Figure("ours, 50 mailboxes", our_rate, "messages/s"),
            at_least("ours ÷ stock", ratio, "", 0.9),
        ],
    )


if __name__ == "__main__":
    main()
