# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Odd and hostile input: mail is counted for the accounts it reaches, is measured, and no client waits for ever."""

from __future__ import annotations

import smtplib
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User, octets, submission, until
from ..control import Control
from .wire import (
    BABA,
    GOTO,
    HARA,
    JINNO,
    MEBIBYTE,
    STRANGER,
    TOO_LARGE,
    answer,
    die,
    empty,
    handed_in,
    in_maildrop,
    incoming,
    valkey,
)

SPAMMER = User("spammer@attack.example", "Attack-Spammer-1")
HOST = "web1.arena.example"
FROM = b"From: a@outside.example\r\n"

#: Spellings of jinno@nishi.example that Postfix delivers to him.
HIS_ADDRESS = [
    "jinno@nishi.example",
    "JINNO@Nishi.EXAMPLE",
    "jinno@nishi.example.",
    "jinno+detail@nishi.example",
    "jinno+@nishi.example",
    "jinno+a+b@nishi.example",
    '"jinno"@nishi.example',
    '"ji\\nno"@nishi.example',
    '"jinno+ x"@nishi.example',
    '"jinno+\x01"@nishi.example',
    '"jinno+\\\x7f"@nishi.example',
    "@far.example,@farther.example:jinno@nishi.example",
    "@nishi.example:jinno@nishi.example",
    f"jinno%nishi.example@{HOST}",
    f"nishi.example!jinno@{HOST}",
    f"jinno@nishi.example@{HOST}",
    f'"jinno@nishi.example"@{HOST}',
    '"jinno@nishi.example"',
    "jinno (comment) @nishi.example",
    "jinno@nishi.example (comment)",
    " jinno@nishi.example ",
    "Jinno <jinno@nishi.example>",
]

#: Beginnings of mails whose size is measured to the octet.
BEGINNINGS = {
    "a raw Latin-1 subject": FROM + b"Subject: caf\xe9 \xff\xfe\r\n\r\n",
    "invalid UTF-8": FROM + b"Subject: \xc3\xa9\xc3(\r\n\r\n\xe2\x82 \xff\xfe\xc3(\r\n",
    "carriage returns without line feeds": FROM + b"Subject: a\rb\r\r\n\r\nx\ry\r\r\n",
    "folded fields": FROM + b"Subject:\r\n\tx\r\n \r\n y\r\nX-Empty:\r\nX-Space:  \r\nX-No-Space:x\r\n\r\n",
    "a long field": FROM + b"Subject: " + b"a" * 50000 + b"\r\n\r\n",
    "a long line": FROM + b"\r\n" + b"q" * 200000 + b"\r\n",
    "dots": FROM + b"\r\n.x\r\n..\r\n",
    "no header": b"\r\n",
}

#: Malformed mails that are accepted as they are.
ODD = {
    "nothing": b"",
    "an empty line": b"\r\n",
    "a header and no more": FROM,
    "a header and an empty line": FROM + b"\r\n",
    "a body and no more": b"hello\r\n",
    "a NUL": FROM + b"Subject: a\0b\r\n\r\na\0b\r\n",
    "a NUL in a name": FROM + b"X\0Y: a\r\n\r\n",
    "a name in Latin-1": FROM + b"Subj\xe9ct: x\r\n\r\n",
    "a space before the colon": FROM + b"Subject : x\r\n\r\n",
    "a field that is cut": FROM + b"Subject: " + b"a" * 150000 + b"\r\n\r\n",
}


def filled(beginning: bytes, size: int) -> bytes:
    """A mail of `size` octets."""
    line = b"y" * 76 + b"\r\n"
    lines, rest = divmod(size - len(beginning) - len(line), len(line))
    return beginning + line * lines + b"z" * (rest + len(line) - 2) + b"\r\n"


def by_data(session: smtplib.SMTP, content: bytes) -> tuple[int, bytes]:
    session.docmd("DATA")
    session.send((b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")
    return session.getreply()


def by_bdat(session: smtplib.SMTP, content: bytes) -> tuple[int, bytes]:
    """RFC 3030, in pieces whose size ends within lines."""
    step = 300_001
    for at in range(0, len(content), step):
        piece = content[at : at + step]
        last = " LAST" if at + step >= len(content) else ""
        session.send(f"BDAT {len(piece)}{last}\r\n".encode() + piece)
        said = session.getreply()
    return said


def begin(session: smtplib.SMTP, recipient: str) -> None:
    session.docmd("MAIL", f"FROM:<{STRANGER}>")
    assert session.docmd("RCPT", f"TO:<{recipient}>")[0] == 250


def said_to(server: Server, written: str) -> int:
    """The code of the reply to a stranger's mail to an address in this spelling."""
    with incoming(server) as session:
        session.command_encoding = "utf-8"
        session.docmd("MAIL", f"FROM:<{STRANGER}>")
        code = session.docmd("RCPT", f"TO:<{written}>")[0]
        return by_data(session, octets(200))[0] if code == 250 else code


def test_no_way_to_write_an_address_leads_past_a_limit(server: Server) -> None:
    assert [handed_in(server, JINNO)[0] for _mail in range(5)] == [250, 250, 250, 250, 423]
    assert {written: said_to(server, written) for written in HIS_ADDRESS} == dict.fromkeys(HIS_ADDRESS, 423)
    empty(server, JINNO)


def test_bytes_that_are_no_address_are_refused_at_once_and_the_next_mail_passes(server: Server) -> None:
    with incoming(server) as session:
        for envelope in (b"MAIL FROM:<\xff\xfe@outside.example>", b"MAIL FROM:<a@b\0c>", b"MAIL FROM:<" + b"a" * 900):
            session.send(envelope + b"\r\n")
            assert 500 <= session.getreply()[0] < 600, envelope
        session.docmd("MAIL", f"FROM:<{STRANGER}>")
        for envelope in (
            b"<jinno+\xff@nishi.example>",
            "<jinno+\u3000@nishi.example>".encode(),
            "<jinno+\u00a0@nishi.example>".encode(),
            "<jinno+\u00e9@nishi.example>".encode(),
            b"<@>",
            b"<jinno@>",
            b'<"jinno@nishi.example>',
            b"<a\0@x.example>",
        ):
            session.send(b"RCPT TO:" + envelope + b"\r\n")
            assert 500 <= session.getreply()[0] < 600, envelope
        session.docmd("RSET")
        assert answer(session, STRANGER, BABA.address)[0] == 250
    assert until(lambda: in_maildrop(server, BABA) == 1)
    empty(server, BABA)


@pytest.mark.parametrize("sender", [STRANGER, GOTO], ids=["outside", "a login"])
def test_what_has_no_sender_counts_too(server: Server, sender: str | User) -> None:
    """The sender's limit lets 5 pass, the recipient's 4."""
    if isinstance(sender, User):
        with submission(server, sender) as session:
            said = [answer(session, "", BABA.address) for _mail in range(6)]
        assert [code for code, _text in said] == [250] * 5 + [423]
    else:
        with incoming(server) as session:
            said = [answer(session, "", JINNO.address) for _mail in range(5)]
        assert [code for code, _text in said] == [250] * 4 + [423]
    empty(server, BABA, JINNO)


@pytest.mark.parametrize("hand_over", [by_data, by_bdat])
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_mail_has_as_many_octets_as_on_the_wire(
    server: Server, beginning: str, hand_over: Callable[[smtplib.SMTP, bytes], tuple[int, bytes]]
) -> None:
    with incoming(server) as session:
        begin(session, HARA.address)
        assert hand_over(session, filled(BEGINNINGS[beginning], MEBIBYTE))[0] == 250
        begin(session, HARA.address)
        assert hand_over(session, filled(BEGINNINGS[beginning], MEBIBYTE + 1)) == TOO_LARGE
    empty(server, HARA)


def test_a_mail_of_20_megabytes_in_chunks(server: Server) -> None:
    for size, code in ((20971520, 250), (20971521, 552)):
        with incoming(server) as session:
            begin(session, BABA.address)
            assert by_bdat(session, octets(size))[0] == code
    empty(server, BABA)


def test_what_is_no_proper_mail_arrives(server: Server, host: testinfra.host.Host) -> None:
    empty(server, BABA)
    with incoming(server) as session:
        for hand_over in (by_data, by_bdat):
            for odd, content in ODD.items():
                begin(session, BABA.address)
                assert hand_over(session, content or b"\r\n")[0] == 250, odd
    assert until(lambda: in_maildrop(server, BABA) == 2 * len(ODD))
    empty(server, BABA)
    assert host.run("journalctl --unit=mailhosting-gate@in --priority=err --no-pager --quiet").stdout == ""


def test_mails_in_one_flight_are_answered_each(server: Server) -> None:
    """RFC 2920: all commands of a mail up to DATA, and the next mail's right behind its end."""
    ahead = f"MAIL FROM:<{STRANGER}> SIZE=200\r\nRCPT TO:<{JINNO.address}>\r\nRCPT TO:<no@nishi.example>\r\nDATA\r\n"
    content = octets(200) + b".\r\n"
    codes = []
    with incoming(server) as session:
        session.send(ahead.encode())
        for _mail in range(4):
            codes += [session.getreply()[0] for _reply in range(4)]
            session.send(content + ahead.encode())
            codes.append(session.getreply()[0])
        codes += [session.getreply()[0] for _reply in range(4)]
    # Four pass; without a valid recipient there is no DATA.
    assert codes == [250, 250, 550, 354, 250] * 4 + [250, 423, 550, 554]
    assert until(lambda: in_maildrop(server, JINNO) == 4)
    empty(server, JINNO)


def test_a_mail_has_a_thousand_recipients_and_no_more(server: Server) -> None:
    with incoming(server) as session:
        session.docmd("MAIL", f"FROM:<{STRANGER}>")
        said = [session.docmd("RCPT", f"TO:<baba+{number}@kita.example>") for number in range(1002)]
    assert Counter(said) == {(250, b"2.1.5 Ok"): 1000, (452, b"4.5.3 Error: too many recipients"): 2}


def test_a_client_that_vanishes_leaves_nothing_behind(server: Server, host: testinfra.host.Host) -> None:
    def held() -> int:
        """Threads and open files of the process."""
        pid = host.check_output("systemctl show --value --property=MainPID mailhosting-gate@in")
        return len(host.check_output(f"ls -d /proc/{pid}/task/* /proc/{pid}/fd/*").split())

    words = [
        f"MAIL FROM:<{STRANGER}>\r\n",
        f"RCPT TO:<{JINNO.address}>\r\n",
        "BDAT 1000\r\nSubject: in the middle\r\n",
    ]
    with incoming(server) as session:
        answer(session, STRANGER, BABA.address)
    before = held()
    for said in range(len(words) + 1):
        for _client in range(5):
            session = smtplib.SMTP(server.address, 25, timeout=30)
            session.ehlo("there.example")
            for word in words[:said]:
                session.send(word.encode())
                if not word.startswith("BDAT"):
                    session.getreply()
            die(session)
            session.close()
    assert until(lambda: held() <= before + 4), (held(), before)
    assert [handed_in(server, JINNO)[0] for _mail in range(5)] == [250, 250, 250, 250, 423]
    empty(server, JINNO, BABA)


@pytest.fixture(scope="module")
def attack(control: Control) -> Iterator[Control]:
    """A tenant `attack` with one login, SPAMMER; yields the operator."""

    def tenant(**options: object) -> None:
        control.module("mail_tenant", name="attack", **options)

    tenant(plan="suite", overrides={}, domains=[{"name": "attack.example"}])
    control.module("mail_account", address=SPAMMER.address, password=SPAMMER.password, restore=False)
    yield control
    tenant(state="absent", grace="0s")


def test_a_session_ends_with_its_login(server: Server, attack: Control) -> None:
    """Postfix keeps the login of the session's begin, and without a sender it checks no owner."""
    stopped = (550, b"5.7.1 This login may send no mail")
    with submission(server, SPAMMER) as session:
        assert answer(session, "", BABA.address)[0] == 250
        attack.module("mail_account", address=SPAMMER.address, state="suspended")
        assert answer(session, "", BABA.address) == stopped
        attack.module("mail_account", address=SPAMMER.address, state="active")
        assert answer(session, "", BABA.address)[0] == 250
        hold = [{"scope": "send", "reason": "spam"}]
        attack.module("mail_account", address=SPAMMER.address, hold=hold)
        on_hold = (550, b"5.7.1 Sending is on hold for this login")
        assert [answer(session, sender, BABA.address) for sender in ("", SPAMMER.address)] == [on_hold, on_hold]
        attack.module("mail_account", address=SPAMMER.address, release=["send"], state="absent")
        assert answer(session, "", BABA.address) == stopped
        assert answer(session, SPAMMER.address, BABA.address)[0] == 553
    attack.module("mail_account", address=SPAMMER.address, restore=False, password=SPAMMER.password)
    empty(server, BABA)


def test_a_limit_of_nothing_and_no_limit(server: Server, host: testinfra.host.Host, attack: Control) -> None:
    def limited(**overrides: object) -> list[int]:
        attack.module("mail_tenant", name="attack", overrides=overrides)

        def codes() -> list[int]:
            with submission(server, SPAMMER) as session:
                sent = answer(session, SPAMMER.address, BABA.address)[0]
            return [sent, handed_in(server, SPAMMER)[0]]

        # The gate keeps a plan for a second.
        assert until(lambda: codes() == expected, 5)
        return codes()

    nothing = [{"messages": 0, "per": "1h", "pause": "1h"}]
    expected = [423, 250]
    assert limited(send_limits=nothing) == expected
    expected = [250, 423]
    assert limited(receive_limits=nothing) == expected
    # It counted nothing, so there is no pause and no key.
    assert valkey(host, "--scan", "--pattern 'mh:1:pause:*'") == []
    expected = [250, 250]
    assert limited(send_limits=None, receive_limits=None, max_message_size=None, tenant_quota=None) == expected
    empty(server, BABA, SPAMMER)
