# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory of the gate with 100,000 accounts in the directory, over 100,000 mails to and of all of them."""

from __future__ import annotations

from common import Figure, at_most, publish
from limited import NUMBER, ask, host_with_limits, title

ACCOUNTS = MAILS = 100_000
#: The memory counts as constant if it grows by no more than this between 10,000 and 100,000 mails.
FLAT_MB = 2


def main() -> None:
    host = host_with_limits(ACCOUNTS)
    found = ask(host, "memory", NUMBER, ACCOUNTS, MAILS)
    largest = {int(mails): max(sizes.values()) for mails, sizes in found["resident_mb"].items()}
    start, early, late = (largest[mails] for mails in (0, MAILS // 10, MAILS))
    publish(
        title("gate_memory"),
        [
            Figure("a gate's memory at the start", start, "MB"),
            Figure(f"after {MAILS // 10:,} mails", early, "MB"),
            at_most(f"after {MAILS:,} mails", late, "MB", 60),
            at_most("growth meanwhile", late - early, "MB", FLAT_MB),
            Figure("mails a second, by both gates", found["per_second"], "/s"),
        ],
    )


if __name__ == "__main__":
    main()
