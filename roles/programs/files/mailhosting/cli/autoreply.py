# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailhosting-autoreply forget ADDRESS: have an account's automatic reply answer everybody again.  For root."""

from __future__ import annotations

import sys

from mailhosting_dovecot import NotDone, forget_answered, has_home


def main(arguments: list[str]) -> int:
    """Do what is asked and say how it went; the exit code."""
    if len(arguments) != 2 or arguments[0] != "forget" or arguments[1].startswith("-"):
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    address = arguments[1]
    try:
        if not has_home(address):
            print(f"there is no account {address}", file=sys.stderr)
            return 1
        forgotten = forget_answered(address, check=False)
    except NotDone as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{address} answers everybody again" if forgotten else f"nobody was remembered as answered by {address}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
