# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail with many recipients is counted for each account that it reaches, and for no other."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User, octets, submission
from ..outside import Outside
from .wire import KONDO, STRANGER, TOO_MANY, all_arrived, answer, empty, in_maildrop, incoming, windows

PEOPLE = [User(f"m{number:02}@ki.example", f"Ki-M{number:02}") for number in range(1, 13)]
COMPANY = "company@ki.example"
ELSEWHERE = "ken@keitai.example"


def counted(host: testinfra.host.Host, name: str) -> dict[str, int]:
    """Numbers of recipients of sent and received mail."""
    used = windows(host, name)[name]
    return {window["direction"]: window["counted"] for window in used if window["unit"] == "recipients"}


def test_a_list_of_lists_is_counted_as_it_is_delivered(
    server: Server, host: testinfra.host.Host, outside: Outside
) -> None:
    """A member of several of the lists gets one copy."""
    empty(server, *PEOPLE)
    with incoming(server) as session:
        assert answer(session, STRANGER, COMPANY)[0] == 250
    assert all_arrived(host)
    assert [in_maildrop(server, user) for user in PEOPLE] == [1] * len(PEOPLE)
    outside.mail_to(ELSEWHERE)
    assert counted(host, "ki") == {"receive": len(PEOPLE), "send": 1}
    assert [mail.recipients for mail in outside.mails] == [[ELSEWHERE]]
    empty(server, *PEOPLE)


@pytest.fixture
def nowhere(host: testinfra.host.Host) -> Iterator[None]:
    """External mail is discarded."""
    host.check_output("postconf -e default_transport=discard: && postfix reload")
    yield
    assert all_arrived(host)
    host.check_output("postconf -X default_transport && postfix reload")


def hand_in(session: smtplib.SMTP, sender: str, recipients: list[str]) -> list[int]:
    """The codes of all replies to one mail, whose commands are sent at once (RFC 2920)."""
    commands = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{recipient}>" for recipient in recipients), "DATA"]
    session.send("".join(f"{command}\r\n" for command in commands).encode())
    codes = [session.getreply()[0] for _command in commands]
    session.send(octets(200) + b".\r\n")
    return [*codes, session.getreply()[0]]


@pytest.mark.usefixtures("nowhere")
def test_ten_thousand_recipients_are_counted_one_by_one(server: Server, host: testinfra.host.Host) -> None:
    """In mails with as many recipients as Postfix accepts, two at a time."""

    def half(name: str) -> None:
        with submission(server, KONDO) as session:
            for batch in range(5):
                recipients = [f"{name}.{batch}.{number}@outside.example" for number in range(1000)]
                assert hand_in(session, KONDO.address, recipients) == [250, *[250] * 1000, 354, 250]

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(half, name) for name in ("one", "two")]:
            done.result()
    assert {name: counted(host, name) for name in ("naka", KONDO.address)} == {
        "naka": {"send": 10_000},
        KONDO.address: {"send": 10_000},
    }
    with submission(server, KONDO) as session:
        assert answer(session, KONDO.address, "one@outside.example") == TOO_MANY
