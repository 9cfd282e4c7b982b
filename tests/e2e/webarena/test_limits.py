# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of a WebARENA Suite contract, as clients see them on the wire."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User, octets, submission, until
from ..control import Control
from .wire import (
    ABE,
    BABA,
    ENDO,
    FUJITA,
    FULL,
    GOTO,
    HARA,
    IKEDA,
    JINNO,
    MEBIBYTE,
    POOL,
    PUT_OFF,
    STRANGER,
    TOO_LARGE,
    TOO_MANY,
    all_arrived,
    answer,
    connect_anew,
    die,
    empty,
    empty_disk,
    handed_in,
    in_maildrop,
    incoming,
    maildrop,
    session_of,
)


@pytest.mark.requirement("WA-5")
@pytest.mark.requirement("AS-14")
@pytest.mark.parametrize(
    ("sender", "recipient", "most"),
    [(STRANGER, BABA, 20971520), (ABE, BABA, 20971520), (STRANGER, HARA, MEBIBYTE), (GOTO, BABA, MEBIBYTE)],
    ids=["received", "sent", "received by another plan", "sent by another plan"],
)
def test_a_message_may_have_so_many_octets_and_not_one_more(
    server: Server, sender: str | User, recipient: User, most: int
) -> None:
    envelope = sender if isinstance(sender, str) else sender.address
    with session_of(server, sender) as session:
        assert answer(session, envelope, recipient.address, content=octets(most))[0] == 250
        assert answer(session, envelope, recipient.address, content=octets(most), declared=most)[0] == 250
        assert answer(session, envelope, recipient.address, content=octets(most + 1)) == TOO_LARGE
        assert answer(session, envelope, recipient.address, declared=most + 1) == TOO_LARGE
        assert answer(session, envelope, recipient.address, content=octets(most + 1), declared=100) == TOO_LARGE
    empty(server, recipient)


def test_a_message_to_two_tenants_is_judged_for_each(server: Server, host: testinfra.host.Host) -> None:
    """Too large for one of them: with SIZE that recipient is rejected, without it the whole message."""
    assert all_arrived(host)
    empty(server, BABA, HARA)
    content = octets(2 * MEBIBYTE)
    with incoming(server) as session:
        said = answer(session, STRANGER, HARA.address, BABA.address, content=content, declared=len(content))
        assert said == TOO_LARGE
        assert until(lambda: in_maildrop(server, BABA) == 1)
        assert answer(session, STRANGER, HARA.address, BABA.address, content=content) == TOO_LARGE
    assert all_arrived(host)
    assert in_maildrop(server, BABA) == 1
    assert in_maildrop(server, HARA) == 0
    empty(server, BABA)


@pytest.mark.timing
@pytest.mark.requirement("WA-7")
def test_a_contract_that_receives_too_much_rests_and_others_do_not(server: Server, host: testinfra.host.Host) -> None:
    empty(server, IKEDA)
    assert [handed_in(server, JINNO)[0] for _mail in range(4)] == [250] * 4
    began = time.monotonic()
    assert handed_in(server, JINNO) == TOO_MANY
    assert handed_in(server, IKEDA) == TOO_MANY
    assert handed_in(server, BABA)[0] == 250
    # It may still send: this contract's pause applies to receiving.
    with submission(server, IKEDA) as session:
        assert answer(session, IKEDA.address, BABA.address)[0] == 250
    assert "receiving: paused" in host.check_output("mailhosting limits show nishi")
    assert until(lambda: handed_in(server, JINNO)[0] == 250, 30)
    assert 13 < time.monotonic() - began < 20
    # The contact got one notice.
    assert until(lambda: in_maildrop(server, IKEDA) == 1)
    empty(server, IKEDA, JINNO, BABA)


@pytest.mark.timing
@pytest.mark.requirement("WA-7")
def test_a_contract_that_sends_too_much_rests_in_both_directions(server: Server) -> None:
    with submission(server, GOTO) as session:
        assert [answer(session, GOTO.address, BABA.address)[0] for _mail in range(5)] == [250] * 5
        began = time.monotonic()
        assert answer(session, GOTO.address, BABA.address) == TOO_MANY
    with submission(server, HARA) as session:
        assert answer(session, HARA.address, BABA.address) == TOO_MANY
    assert handed_in(server, HARA) == TOO_MANY
    assert handed_in(server, BABA)[0] == 250
    assert until(lambda: handed_in(server, HARA)[0] == 250, 30)
    assert 13 < time.monotonic() - began < 20
    empty(server, BABA, HARA, GOTO)


def test_what_is_given_up_or_refused_counts_nothing(server: Server) -> None:
    for _attempt in range(6):
        with incoming(server) as session:
            session.docmd("MAIL", f"FROM:<{STRANGER}>")
            session.docmd("RCPT", f"TO:<{JINNO.address}>")
            session.docmd("DATA")
            session.send(b"Subject: in the middle\r\n\r\n")
            die(session)
            session.close()
    assert [handed_in(server, JINNO)[0] for _mail in range(5)] == [250, 250, 250, 250, 423]
    empty(server, JINNO)


def test_many_at_once_pass_exactly_as_many_as_may(server: Server) -> None:
    with ThreadPoolExecutor(12) as pool:
        said = list(pool.map(lambda _number: handed_in(server, JINNO)[0], range(12)))
    assert sorted(said) == [250] * 4 + [423] * 8
    empty(server, JINNO)


@pytest.mark.requirement("WA-2")
def test_a_contracts_disk_is_the_limit_not_a_mailboxs(server: Server, host: testinfra.host.Host) -> None:
    empty_disk(server, host, ENDO, FUJITA)
    assert handed_in(server, ENDO, octets(2 * MEBIBYTE))[0] == 250
    assert handed_in(server, FUJITA, octets(1_200_000)) == FULL
    with incoming(server) as session:
        assert answer(session, STRANGER, FUJITA.address, declared=1_200_000) == FULL
    assert handed_in(server, FUJITA, octets(900_000))[0] == 250
    assert handed_in(server, BABA, octets(1_200_000))[0] == 250
    # One of two recipients belongs to another contract: with SIZE it gets its mail, without it neither does.
    assert all_arrived(host)
    empty(server, BABA)
    with incoming(server) as session:
        content = octets(1_200_000)
        assert answer(session, STRANGER, FUJITA.address, BABA.address, content=content) == FULL
        assert answer(session, STRANGER, FUJITA.address, BABA.address, content=content, declared=len(content)) == FULL
    assert all_arrived(host)
    assert in_maildrop(server, BABA) == 1
    assert until(lambda: in_maildrop(server, ENDO) == 1)
    empty(server, ENDO)
    assert until(lambda: handed_in(server, FUJITA, octets(500_000))[0] == 250, 60)
    empty(server, ENDO, FUJITA, BABA)


@pytest.mark.requirement("WA-2")
def test_many_at_once_do_not_overfill_the_disk(server: Server, host: testinfra.host.Host) -> None:
    empty_disk(server, host, ENDO, FUJITA)
    size = 300_000
    with ThreadPoolExecutor(16) as pool:
        users = [ENDO, FUJITA] * 12
        said = list(pool.map(lambda user: handed_in(server, user, octets(size))[0], users))
    assert set(said) == {250, 452}
    assert said.count(250) * size <= POOL
    assert until(lambda: in_maildrop(server, ENDO) + in_maildrop(server, FUJITA) == said.count(250))
    empty(server, ENDO, FUJITA)


@pytest.mark.requirement("WA-4")
def test_587_wants_a_login_whatever_pop_has_opened(server: Server) -> None:
    with maildrop(server, ABE):
        pass
    with protocols.smtp(server, "submission") as session:
        assert session.docmd("MAIL", f"FROM:<{ABE.address}>")[0] in (530, 250)
        assert session.docmd("RCPT", "TO:<x@outside.example>")[0] in (503, 530, 554)


def test_an_operator_ends_a_pause(server: Server, host: testinfra.host.Host, control: Control) -> None:
    while handed_in(server, JINNO)[0] == 250:
        pass
    assert control.module("mail_limits", name="nishi", state="lifted")["changed"]
    assert handed_in(server, JINNO)[0] == 250
    assert all_arrived(host)
    empty(server, JINNO)


def test_without_valkey_mail_flows_and_without_the_gate_it_waits(server: Server, host: testinfra.host.Host) -> None:
    host.check_output("systemctl kill --signal=STOP valkey-server")
    try:
        assert [handed_in(server, JINNO)[0] for _mail in range(6)] == [250] * 6
    finally:
        host.check_output("systemctl kill --signal=CONT valkey-server")
    host.check_output("systemctl stop mailhosting-gate@in")
    try:
        with incoming(server) as session:
            assert session.docmd("MAIL", f"FROM:<{STRANGER}>")[0] == PUT_OFF
    finally:
        host.check_output("systemctl start mailhosting-gate@in")
    assert until(lambda: handed_in(server, BABA)[0] == 250)
    assert until(lambda: in_maildrop(server, JINNO) == 6)
    empty(server, JINNO, BABA)


def test_without_the_directory_mail_is_put_off(server: Server, host: testinfra.host.Host) -> None:
    host.check_output("systemctl stop postgresql@17-main")
    try:
        assert handed_in(server, BABA)[0] == PUT_OFF
    finally:
        host.check_output("systemctl start postgresql@17-main")
    assert until(lambda: handed_in(server, BABA)[0] == 250)
    connect_anew(host)
