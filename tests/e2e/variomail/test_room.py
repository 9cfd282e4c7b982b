# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Full mailboxes, each by itself or all of a tenant together, and mail for them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User, octets, until
from ..test_retention import Nights
from ..webarena.wire import (
    FULL,
    MEBIBYTE,
    STRANGER,
    all_arrived,
    answer,
    empty,
    empty_disk,
    forget,
    handed_in,
    in_maildrop,
    incoming,
    usage,
)

#: A mailbox of 1 MiB and one of 50 MiB, both targets of one address.
DECCHI = User("decchi@mise.example", "Mise-Decchi-1")
DANNA = User("danna@mise.example", "Mise-Danna-2")
MISE = "mise@mise.example"
#: Two accounts that share 3 MiB, and whose mail is removed after a day.
KUMA = User("kuma@nagaya.example", "Nagaya-Kuma-1")
HACHI = User("hachi@nagaya.example", "Nagaya-Hachi-2")


def waiting(host: testinfra.host.Host, user: User) -> list[str]:
    """Postfix's reasons for each deferred mail to a user."""
    mails = [json.loads(line) for line in host.check_output("postqueue -j").splitlines()]
    return [
        recipient["delay_reason"]
        for mail in mails
        for recipient in mail["recipients"]
        if recipient["address"].lower() == f"{user.address}.mailbox.invalid" and "delay_reason" in recipient
    ]


def test_mail_for_two_waits_for_the_one_that_is_full(server: Server, host: testinfra.host.Host) -> None:
    """The other one gets it meanwhile; both get it once."""
    empty_disk(server, host, DECCHI, DANNA)
    assert handed_in(server, DECCHI, octets(MEBIBYTE))[0] == 250
    assert until(lambda: in_maildrop(server, DECCHI) == 1)
    assert until(lambda: int(usage(host, DECCHI)[0]) > MEBIBYTE)
    assert handed_in(server, DECCHI) == FULL
    with incoming(server) as session:
        # As a recipient of its own the full one is rejected; behind one address for both it is accepted.
        assert answer(session, STRANGER, DANNA.address, DECCHI.address) == FULL
        assert answer(session, STRANGER, MISE)[0] == 250
    assert until(lambda: in_maildrop(server, DANNA) == 2)
    assert until(lambda: len(waiting(host, DECCHI)) == 1)
    assert "452" in waiting(host, DECCHI)[0]
    host.check_output("postqueue -f")
    assert all_arrived(host)
    assert len(waiting(host, DECCHI)) == 1
    empty(server, DECCHI)
    host.check_output("postqueue -f")
    assert until(lambda: in_maildrop(server, DECCHI) == 1)
    host.check_output("postqueue -f")
    assert all_arrived(host)
    assert waiting(host, DECCHI) == []
    assert (in_maildrop(server, DECCHI), in_maildrop(server, DANNA)) == (1, 2)
    empty(server, DECCHI, DANNA)


@pytest.fixture
def nights(host: testinfra.host.Host) -> Iterator[Nights]:
    made = Nights(host)
    yield made
    made.forget()


def test_what_retention_removes_makes_room_for_all(server: Server, host: testinfra.host.Host, nights: Nights) -> None:
    empty_disk(server, host, KUMA, HACHI)
    large = octets(1_500_000)
    assert handed_in(server, KUMA, octets(2 * MEBIBYTE))[0] == 250
    assert until(lambda: in_maildrop(server, KUMA) == 1)
    # The mail is stored, and its size is known.
    assert until(lambda: int(usage(host, KUMA)[0]) > 2 * MEBIBYTE)
    forget(host, "total", "room")
    assert handed_in(server, HACHI, large) == FULL
    nights.until(0)
    assert handed_in(server, HACHI, large) == FULL
    assert "1 mails" in nights.until(2)
    assert until(lambda: handed_in(server, HACHI, large)[0] == 250, 15)
    assert in_maildrop(server, KUMA) == 0
    assert until(lambda: in_maildrop(server, HACHI) == 1)
    empty(server, HACHI)
