# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many senders of one tenant at once, in a process of their own, which is a gate; prints how many mails passed.

Usage: senders.py PACKAGES SOCKET SENDERS MAILS MOST POOL.  MAILS are a sender's; three in ten are given up after MAIL,
after RCPT or in the body.  The tenant may send MOST messages, to itself; its pool has room for POOL of them if that is
not 0.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

PACKAGES, SOCKET = sys.argv[1:3]
SENDERS, MAILS, MOST, POOL = map(int, sys.argv[3:])
sys.dont_write_bytecode = True
sys.path.insert(0, PACKAGES)

from mailhosting.common.address import Address  # noqa: E402
from mailhosting.common.address import parse as address  # noqa: E402
from mailhosting.common.valkey import Valkey  # noqa: E402
from mailhosting.gate.charges import HEADER_ALLOWANCE_BYTES  # noqa: E402
from mailhosting.gate.context import Gate, Texts  # noqa: E402
from mailhosting.gate.counters import Counters  # noqa: E402
from mailhosting.gate.directory import Directory  # noqa: E402
from mailhosting.gate.mail import Mail  # noqa: E402
from mailhosting.gate.model import Destinations, Limit, LocalTarget, Mailbox, Owner, Reply, Tenant  # noqa: E402
from mailhosting.gate.transaction import Transaction  # noqa: E402

TARO = Mailbox(11, "taro@acme.example")
ACME = Tenant(
    id=1,
    name="acme",
    max_message_size=None,
    quota=POOL * (2 + HEADER_ALLOWANCE_BYTES) or None,
    send_limits=(Limit("messages", MOST, 3600, 7200, ("send",)),),
    receive_limits=(),
    account_send_limits=(),
    bulk_mail=None,
    virus=None,
)


class OneTenant:
    """A directory with one tenant of one account, whose usage nobody has to measure."""

    def owner(self, _whose: Address) -> Owner:
        return Owner(
            TARO.account_id,
            ACME.id,
            TARO.username,
            may_send=True,
            may_login=True,
            protocols=("smtp", "submission"),
            tenant=ACME,
        )

    def destinations(self, _to: Address) -> Destinations:
        return Destinations((LocalTarget(TARO, ACME.id, 0),), (), (ACME,))

    def tenant(self, _number: int) -> Tenant:
        return ACME

    def mailboxes(self, _number: int) -> list[Mailbox]:
        return []

    def add_notice(self, *_notice: object) -> None:
        pass


def main() -> None:
    directory = cast("Directory", OneTenant())
    valkey = Valkey(SOCKET, "gate", patience=10)
    texts = Texts(**dict.fromkeys(Texts.__dataclass_fields__, Reply("450", None, "no")))
    gate = Gate(directory, valkey, Counters(valkey, directory.mailboxes), texts, {"send": (), "receive": ()})

    def passes(given_up_after: int | None) -> bool:
        envelope = Mail("Q", "192.0.2.7", "submission", TARO.username, address(TARO.username), 0)
        mail = Transaction(gate, envelope)
        steps: tuple[Callable[[], object], ...] = (
            mail.begin,
            lambda: mail.recipient(TARO.username),
            lambda: mail.body(b""),
        )
        for number, step in enumerate(steps):
            if step() is not None:
                return False
            if number == given_up_after:
                return False
        return mail.end().reply is None

    def send(sender: int) -> int:
        kinds = ((sender + mail) % 10 for mail in range(MAILS))
        return sum(passes(kind if kind < 3 else None) for kind in kinds)

    with ThreadPoolExecutor(SENDERS) as pool:
        print(sum(pool.map(send, range(SENDERS))))


main()
