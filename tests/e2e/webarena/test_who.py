# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account that causes a mail is charged for it, whichever way it leaves, and no other account."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User, octets, submission, until
from ..control import Control
from ..outside import Outside
from .wire import (
    ABE,
    BABA,
    HARA,
    KONDO,
    MEBIBYTE,
    MORI,
    NODA,
    ODA,
    STRANGER,
    TOO_LARGE,
    TOO_MANY,
    WADA,
    YANO,
    all_arrived,
    answer,
    empty,
    handed_in,
    in_maildrop,
    incoming,
    maildrop,
    windows,
)

pytestmark = pytest.mark.usefixtures("outside")

#: An address without any login during these tests.
CHIBA = "chiba@kita.example"
SALES = "sales@naka.example"
KEITAI = "noda@keitai.example"


class Sent(NamedTuple):
    """Mails that were counted for an account or tenant, and their recipients."""

    mails: int = 0
    recipients: int = 0


Charged = Callable[[], dict[str, Sent]]


@pytest.fixture
def charged(host: testinfra.host.Host) -> Charged:
    """All counts since the test began; of ABE's contract only the mails are known."""
    names = ["naka", *(user.address for user in (KONDO, MORI, NODA, ODA)), "kita"]

    def look() -> dict[str, Sent]:
        found = {}
        for name, used in windows(host, *names).items():
            counts = {window["unit"]: window["counted"] for window in used if window["direction"] == "send"}
            if counts:
                found[name] = Sent(counts["messages"], counts.get("recipients", 0))
        return found

    return look


def somebody() -> str:
    """An external address that no other test uses."""
    return f"{uuid.uuid4().hex}@outside.example"


def write_to(server: Server, sender: str | User, user: User, **headers: str) -> None:
    """Send one mail to `user`, from a login or a stranger."""
    envelope = sender if isinstance(sender, str) else sender.address
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    content = f"{fields}From: <{envelope}>\r\nTo: <{user.address}>\r\nSubject: x\r\n\r\nx\r\n".encode()
    with incoming(server) if isinstance(sender, str) else submission(server, sender) as session:
        assert answer(session, envelope, user.address, content=content)[0] == 250


@pytest.mark.parametrize("protocol", ["submission", "submissions"])
def test_a_login_by_smtp(server: Server, outside: Outside, charged: Charged, protocol: str) -> None:
    """Whichever of the login's senders is used."""
    targets = somebody(), somebody()
    with submission(server, KONDO, protocol) as session:
        assert answer(session, KONDO.address, targets[0], BABA.address)[0] == 250
        assert answer(session, SALES, targets[1])[0] == 250
    assert charged() == {"naka": Sent(2, 3), KONDO.address: Sent(2, 3)}
    for target in targets:
        outside.mail_to(target)
    empty(server, BABA)


def test_a_login_by_pop(server: Server, outside: Outside, charged: Charged) -> None:
    """Mail that may relay after the login is charged to it, also with a sender that others have too."""
    targets = somebody(), somebody()
    with maildrop(server, KONDO):
        pass
    with incoming(server) as session:
        # A forged sender without a login may not relay.
        assert answer(session, CHIBA, BABA.address)[0] == 250
        assert answer(session, CHIBA, targets[0])[0] == 554
        assert charged() == {}
        assert answer(session, KONDO.address, targets[0])[0] == 250
        assert answer(session, SALES, targets[1])[0] == 250
    assert charged() == {"naka": Sent(2, 2), KONDO.address: Sent(2, 2)}
    for target in targets:
        outside.mail_to(target)
    empty(server, BABA)


@pytest.fixture
def redirect(host: testinfra.host.Host) -> Iterator[str]:
    """The address to which MORI's filter redirects all mail."""
    target = somebody()
    host.check_output(f"doveadm sieve put -u {MORI.address} -a test <<'END'\nredirect \"{target}\";\nEND")
    yield target
    host.check_output(f"doveadm sieve deactivate -u {MORI.address}")


@pytest.mark.parametrize(
    ("sender", "headers", "more"),
    [
        (ABE, {}, {"kita": Sent(1)}),
        (BABA.address, {}, {}),
        (STRANGER, {"X_Sieve_Redirected_From": KONDO.address}, {}),
    ],
    ids=["a login's", "with a forged sender", "with a forged field"],
)
def test_a_filter_that_sends_on(
    server: Server,
    outside: Outside,
    charged: Charged,
    redirect: str,
    sender: str | User,
    headers: dict[str, str],
    more: dict[str, Sent],
) -> None:
    """The filter's owner is charged; the mail's author is charged for the mail itself, and its headers for nothing."""
    write_to(server, sender, MORI, **headers)
    outside.mail_to(redirect)
    assert charged() == {"naka": Sent(1, 1), MORI.address: Sent(1, 1), **more}


def test_a_filter_sends_on_also_what_came_from_somebody_who_may_send_no_more(
    server: Server, host: testinfra.host.Host, outside: Outside, charged: Charged, redirect: str
) -> None:
    for user in (BABA, MORI):
        write_to(server, YANO, user)
    outside.mail_to(redirect)
    assert charged() == {"naka": Sent(1, 1), MORI.address: Sent(1, 1)}
    assert "paused" not in host.check_output(f"mailhosting limits show {YANO.address}")
    empty(server, BABA)


def test_an_automatic_reply(server: Server, outside: Outside, charged: Charged) -> None:
    """It has no envelope sender, but the replying account is charged."""
    sender = somebody()
    write_to(server, sender, ODA)
    assert outside.mail_to(sender).sender == ""
    assert charged() == {"naka": Sent(1, 1), ODA.address: Sent(1, 1)}
    empty(server, ODA)


@pytest.mark.parametrize(
    "words",
    [
        f'vacation :from "{ABE.address}" "x";',
        f'vacation :mime "X-Sieve-Redirected-From: {ABE.address}\nContent-Type: text/plain\n\nx";',
    ],
    ids=["by From", "by a field of its own"],
)
def test_an_answer_that_says_it_is_from_somebody_else(
    server: Server, host: testinfra.host.Host, outside: Outside, charged: Charged, words: str
) -> None:
    sender = somebody()
    script = f'require "vacation";\n{words}'
    host.check_output(f"doveadm sieve put -u {MORI.address} -a test <<'END'\n{script}\nEND")
    try:
        write_to(server, sender, MORI)
        assert outside.mail_to(sender).sender == ""
    finally:
        host.check_output(f"doveadm sieve deactivate -u {MORI.address}")
    assert charged() == {"naka": Sent(1, 1), MORI.address: Sent(1, 1)}
    empty(server, MORI)


def test_what_the_host_hands_in(server: Server, host: testinfra.host.Host, outside: Outside, charged: Charged) -> None:
    """Mail of a local program, such as a web form, is charged to its sender's account."""
    target, other = somebody(), somebody()
    for sender, to in (KONDO.address, target), ("root", other):
        host.check_output(f"printf 'Subject: x\\n\\nx\\n' | sendmail -f {sender} {to} {BABA.address}")
    for recipient in (target, other):
        outside.mail_to(recipient)
    assert charged() == {"naka": Sent(1, 2), KONDO.address: Sent(1, 2)}
    assert all_arrived(host)
    empty(server, BABA)


@pytest.mark.parametrize(
    ("sender", "more"), [(STRANGER, {}), (ABE, {"kita": Sent(1)})], ids=["a stranger's", "a login's"]
)
def test_a_forward(
    server: Server, outside: Outside, charged: Charged, sender: str | User, more: dict[str, Sent]
) -> None:
    """The owner is charged for the part of the mail that is forwarded."""
    before = len(outside.mails_to(KEITAI))
    write_to(server, sender, NODA)
    assert until(lambda: len(outside.mails_to(KEITAI)) == before + 1)
    assert charged() == {"naka": Sent(1, 1), NODA.address: Sent(1, 1), **more}
    empty(server, NODA)


def test_an_account_has_several_limits_and_others_do_not_feel_them(server: Server, host: testinfra.host.Host) -> None:
    """Two an hour, then a pause of two seconds, and three a day."""
    with submission(server, WADA) as session, submission(server, YANO) as other:

        def sends() -> tuple[int, bytes]:
            return answer(session, WADA.address, BABA.address)

        assert [sends()[0] for _mail in range(2)] == [250] * 2
        assert sends() == TOO_MANY
        assert answer(other, YANO.address, BABA.address)[0] == 250
        assert until(lambda: sends()[0] == 250, 10)
        # The hour's window began anew; the day's did not.
        assert sends() == TOO_MANY
        assert [(each["per"], each["counted"], each["most"]) for each in windows(host, WADA.address)[WADA.address]] == [
            (3600, 1, 2),
            (86400, 3, 3),
        ]
        assert handed_in(server, WADA)[0] == 250
        assert answer(other, YANO.address, BABA.address)[0] == 250
        assert answer(other, YANO.address, BABA.address) == TOO_MANY
    shown = host.check_output(f"mailhosting limits show {WADA.address}")
    assert f"account {WADA.address}, sending: 3 of 3 messages in 1 d since" in shown
    assert all_arrived(host)
    empty(server, BABA, WADA)


def of_today(host: testinfra.host.Host, control: Control, tenant: str) -> dict[str, int]:
    """Today's counts of the tenant."""
    host.check_output("systemctl reset-failed mailhosting-usage; systemctl restart mailhosting-usage")
    life = "_SYSTEMD_INVOCATION_ID=$(systemctl show --value --property=InvocationID mailhosting-usage)"
    assert until(lambda: host.run(f"journalctl {life} --output=cat --quiet | grep -q collected").succeeded)
    today = str(datetime.now(UTC).date())
    (row,) = control.module("mail_usage_info", tenant=tenant, **{"from": today, "to": today})["days"]
    return {name: count for name, count in row.items() if name.startswith(("sent_", "received_"))}


def test_what_was_sent_and_received_is_in_the_usage_of_the_day(
    server: Server, host: testinfra.host.Host, control: Control, outside: Outside
) -> None:
    before = of_today(host, control, "naka")
    target = somebody()
    with submission(server, KONDO) as session:
        assert answer(session, KONDO.address, target, BABA.address, content=octets(5000))[0] == 250
        assert answer(session, KONDO.address, MORI.address, content=octets(3000))[0] == 250
        # The recipient's contract accepts less.
        assert answer(session, KONDO.address, HARA.address, declared=2 * MEBIBYTE) == TOO_LARGE
    with incoming(server) as session:
        assert answer(session, STRANGER, KONDO.address, MORI.address, BABA.address, content=octets(1001))[0] == 250
        assert answer(session, STRANGER, KONDO.address, declared=21 * MEBIBYTE) == TOO_LARGE
    outside.mail_to(target)
    assert until(lambda: (in_maildrop(server, KONDO), in_maildrop(server, MORI)) == (1, 2))
    after = of_today(host, control, "naka")
    assert {name: count - before[name] for name, count in after.items()} == {
        "sent_messages": 2,
        "sent_recipients": 3,
        "sent_bytes": 5000 + 3000,
        "sent_refused": 1,
        "received_messages": 2,
        "received_recipients": 3,
        "received_bytes": 3000 + 2 * 1001,
        "received_refused": 1,
    }
    assert all_arrived(host)
    empty(server, KONDO, MORI, BABA)
