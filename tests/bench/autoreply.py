# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delivered messages per second for accounts with an automatic reply or their own filters, beside others."""

from __future__ import annotations

import statistics

from common import CHECKOUT, Figure, Host, at_least, publish
from delivery import BENCH, BOXES, MESSAGES, delivered

PAIRS = 5
#: Usual filters, none of which matches the mail.
SCRIPT = """
require ["fileinto", "mailbox"];
if address :domain "from" "shop.example" { fileinto :create "Shopping"; stop; }
if header :contains "subject" ["invoice", "receipt"] { fileinto :create "Bills"; stop; }
if size :over 5M { fileinto :create "Large"; }
"""
PUT = f"""
for number in $(seq 0 {BOXES - 1}); do
doveadm sieve put -u filtering$number@bench.example -a mine <<'END'
{SCRIPT}
END
done
"""
#: By the accounts' feature: their names, a command after their mailboxes were emptied, and a count of files that equals
#: the number of accounts if the feature was active for all.
KINDS = {
    "nothing": ("box", "", ""),
    "an automatic reply": ("away", "", "-name .dovecot.lda-dupes"),
    "filters": (
        "filtering",
        PUT,
        "-name '*.svbin'",
    ),
}


def rate(host: Host, kind: str, messages: int = MESSAGES) -> float:
    """Messages per second for accounts with `kind`.

    Raises: RuntimeError unless the feature was active for all of them.
    """
    name, prepare, files = KINDS[kind]
    found = delivered(host, f"{name}%@bench.example", messages, prepare=prepare)
    if files and (count := int(host.shell(f"find /var/vmail {files} | wc -l"))) != BOXES:
        raise RuntimeError(f"{kind}: in force for {count} of {BOXES}")
    return found


def main() -> None:
    ours = Host("mx1", CHECKOUT / "inventories" / "demo" / "hosts.yml")
    ours.play("mailhosting.stack.site")
    ours.play(BENCH / "boxes.yml", bench_boxes=BOXES)
    ours.play(BENCH / "boxes.yml", bench_boxes=BOXES, bench_name="away", bench_autoreply={"body": "Back on Monday."})
    ours.play(BENCH / "boxes.yml", bench_boxes=BOXES, bench_name="filtering")
    # Each account sends a reply to a destination that does not exist: the queue would never be empty.
    ours.shell("cp -p /etc/postfix/main.cf /etc/postfix/main.cf.bench")
    ours.shell("postconf -e default_transport=discard: && postfix reload")
    try:
        for kind in KINDS:
            rate(ours, kind, 500)
        rounds = [{kind: rate(ours, kind) for kind in KINDS} for _ in range(PAIRS)]
    finally:
        ours.shell("mv /etc/postfix/main.cf.bench /etc/postfix/main.cf && postfix reload")
    rates = {kind: statistics.median(found[kind] for found in rounds) for kind in KINDS}
    ratios = {kind: statistics.median(found[kind] / found["nothing"] for found in rounds) for kind in KINDS}
    publish(
        "autoreply",
        [
            *(Figure(f"accounts with {kind}", rates[kind], "messages/s") for kind in KINDS),
            at_least("an automatic reply ÷ nothing", ratios["an automatic reply"], "", 0.9),
            Figure("filters ÷ nothing", ratios["filters"], ""),
        ],
    )


if __name__ == "__main__":
    main()
