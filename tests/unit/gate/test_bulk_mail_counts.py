# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail sent to too many, and to recipients that nobody is."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from mailhosting.common.address import Address
from mailhosting.common.errors import ValkeyError
from mailhosting.common.valkey import Reply, Valkey
from mailhosting.gate import bulk_mail_counts
from mailhosting.gate.bounces import remember_sender
from mailhosting.gate.bulk_mail_counts import Excess, Rule
from mailhosting.gate.fingerprint import Fingerprint
from mailhosting.gate.model import Owner

from .server import Server

RULE = Rule(recipients_per_content=10, invalid_recipients=5, per=3600)
SENDER = "account:17"
OWNER = Owner(17, 7, "taro@acme.example", may_send=True)
KEYS = [f"mh:1:mass:{SENDER}", f"mh:1:unknown:{SENDER}"]
REPORT = """\
Reporting-MTA: dns; mx1.mail.example
X-Postfix-Sender: rfc822; taro@acme.example

Final-Recipient: rfc822; nobody@far.example
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <nobody@far.example>: no such user

Final-Recipient: rfc822; old@far.example
Action: failed
Status: 5.0.0
Diagnostic-Code: smtp; 550 User unknown

Final-Recipient: rfc822; x@gone.example
Action: failed
Status: 5.4.4
Diagnostic-Code: X-Postfix; Host or domain name not found. Name service error
    for name=gone.example type=AAAA: Host not found

Final-Recipient: rfc822; full@far.example
Action: failed
Status: 5.2.2
Diagnostic-Code: smtp; 552 5.2.2 mailbox full

Final-Recipient: rfc822; wary@far.example
Action: failed
Status: 5.7.1
Diagnostic-Code: smtp; 550 5.7.1 looks like spam

Final-Recipient: rfc822; later@far.example
Action: delayed
Status: 4.4.1
"""


@pytest.fixture
def valkey(server: Server) -> Iterator[Valkey]:
    """A client that may look at everything."""
    with closing(Valkey(server.path, "default")) as client:
        yield client


def content(*, kept: int = 16, of: str = "run") -> Fingerprint:
    """The fingerprint of a mail that has `kept` of its 16 passages in common with all `of` the same name."""
    common = random.Random(of)  # noqa: S311
    digests = [str(common.getrandbits(32)) for _number in range(kept)]
    return Fingerprint((*digests, *(str(random.getrandbits(32)) for _number in range(16 - kept))), 11)


def test_the_mail_that_reaches_the_limit_begins_a_hold(valkey: Valkey) -> None:
    answers = [bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 1) for _number in range(12)]
    assert answers[:9] == [None] * 9
    assert answers[9:] == [Excess("bulk_mail", 10, begins, 3600) for begins in (True, False, False)]


def test_recipients_count_not_mails(valkey: Valkey) -> None:
    assert bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 9) is None
    assert bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 1) == Excess("bulk_mail", 10, True, 3600)


def test_other_mail_and_other_senders_are_not_held(valkey: Valkey) -> None:
    bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 10)
    assert bulk_mail_counts.mail(valkey, SENDER, RULE, content(of="letter"), 1) is None
    assert bulk_mail_counts.mail(valkey, SENDER, RULE, None, 100) is None
    assert bulk_mail_counts.mail(valkey, "account:18", RULE, content(), 1) is None


def test_of_each_mail_a_part_may_differ(valkey: Valkey) -> None:
    bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 1)
    answers = [bulk_mail_counts.mail(valkey, SENDER, RULE, content(kept=11), 1) for _number in range(9)]
    assert [bool(answer) for answer in answers] == [False] * 8 + [True]


def test_too_many_parts_that_differ_are_other_mail(valkey: Valkey) -> None:
    assert not any(bulk_mail_counts.mail(valkey, SENDER, RULE, content(kept=10), 1) for _number in range(20))


def test_one_of_many_at_once_learns_that_a_hold_begins(server: Server) -> None:
    def send(_number: int) -> list[Excess | None]:
        with closing(Valkey(server.path, "gate")) as own:
            return [bulk_mail_counts.mail(own, SENDER, RULE, content(), 1) for _mail in range(5)]

    with ThreadPoolExecutor(8) as pool:
        answers = [answer for answers in pool.map(send, range(8)) for answer in answers]
    assert answers.count(None) == 9
    assert [hold.begins for hold in answers if hold].count(True) == 1


def test_a_long_row_of_other_mail_leaves_the_count_of_a_run(valkey: Valkey) -> None:
    rule = Rule(recipients_per_content=500, invalid_recipients=None, per=3600)
    sent = 0
    while not bulk_mail_counts.mail(valkey, SENDER, rule, content(), 1):
        sent += 1
        for number in range(2):
            assert not bulk_mail_counts.mail(valkey, SENDER, rule, content(of=f"{sent} {number}"), 1)
    assert 499 <= sent < 600
    # Valkey's compact form.
    (form, size) = valkey.ask(*(["OBJECT", "ENCODING", KEYS[0]], ["MEMORY", "USAGE", KEYS[0]]))
    assert form == b"listpack"
    assert isinstance(size, int)
    assert size < 4000


def test_counts_may_be_too_low_but_never_too_high(valkey: Valkey) -> None:
    bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 9)
    for number in range(30):
        bulk_mail_counts.mail(valkey, SENDER, RULE, content(of=str(number)), 1)
    answers = [bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 1) for _number in range(2)]
    assert answers == [None, Excess("bulk_mail", 10, True, 3600)]


def test_a_hold_stays_when_the_rare_is_forgotten(valkey: Valkey) -> None:
    bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 10)
    for number in range(100):
        bulk_mail_counts.mail(valkey, SENDER, RULE, content(of=str(number)), 1)
    assert bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 1) == Excess("bulk_mail", 10, False, 3600)


def test_invalid_recipients_hold_all_mail(valkey: Valkey) -> None:
    assert bulk_mail_counts.invalid(valkey, SENDER, RULE, 4) is None
    assert bulk_mail_counts.mail(valkey, SENDER, RULE, None, 1) is None
    assert bulk_mail_counts.invalid(valkey, SENDER, RULE) == Excess("invalid_recipients", 5, True, 3600)
    assert bulk_mail_counts.invalid(valkey, SENDER, RULE) == Excess("invalid_recipients", 6, False, 3600)
    for what in (None, content()):
        assert bulk_mail_counts.mail(valkey, SENDER, RULE, what, 1) == Excess("invalid_recipients", 6, False, 3600)
    assert bulk_mail_counts.mail(valkey, "account:18", RULE, None, 1) is None


def test_what_is_not_limited_is_not_held(valkey: Valkey) -> None:
    bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 10)
    bulk_mail_counts.invalid(valkey, SENDER, RULE, 5)
    only_content = Rule(recipients_per_content=10, invalid_recipients=None, per=3600)
    assert bulk_mail_counts.mail(valkey, SENDER, only_content, content(of="letter"), 1) is None
    assert bulk_mail_counts.mail(valkey, SENDER, only_content, content(), 1)
    assert bulk_mail_counts.invalid(valkey, SENDER, only_content, 99) is None
    only_invalid = Rule(recipients_per_content=None, invalid_recipients=99, per=3600)
    assert bulk_mail_counts.mail(valkey, SENDER, only_invalid, content(), 1) is None


def test_nobody_is_asked_where_nothing_is_limited() -> None:
    class Nobody(Valkey):
        def ask(self, *commands: Sequence[str | int], deadline: float | None = None) -> list[Reply]:
            raise AssertionError(commands, deadline)

    nobody = Nobody("/nowhere", "gate")
    assert bulk_mail_counts.mail(nobody, SENDER, Rule(None, None, 3600), content(), 1) is None
    assert bulk_mail_counts.invalid(nobody, SENDER, Rule(5, None, 3600)) is None


def left(valkey: Valkey, key: str) -> int:
    """Milliseconds that it lives."""
    (found,) = valkey.ask(["PTTL", key])
    assert isinstance(found, int)
    return found


def test_a_window_is_fixed_and_ends(valkey: Valkey) -> None:
    for _number in range(2):
        bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 1)
        bulk_mail_counts.invalid(valkey, SENDER, RULE)
        for key in KEYS:
            assert 0 < left(valkey, key) <= 3_600_000
            valkey.ask(["PEXPIRE", key, 5000])
    for key in KEYS:
        assert 0 < left(valkey, key) <= 5000
    # The clock was set back, or the window is shorter now.
    bulk_mail_counts.mail(valkey, SENDER, Rule(10, 5, 2), content(), 1)
    assert left(valkey, KEYS[0]) <= 2000


def test_release_begins_anew(valkey: Valkey) -> None:
    bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 10)
    bulk_mail_counts.invalid(valkey, SENDER, RULE, 5)
    bulk_mail_counts.release(valkey, SENDER)
    assert bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 9) is None
    assert bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 1) == Excess("bulk_mail", 10, True, 3600)


def test_what_is_taken_back_counts_nothing(valkey: Valkey) -> None:
    for _attempt in range(3):
        assert bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 9) is None
        bulk_mail_counts.take_back(valkey, SENDER, RULE, content(), 9)
    assert valkey.ask(["EXISTS", KEYS[0]]) == [0]
    bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 4)
    for _attempt in range(2):
        # It would begin: whoever comes next may be told again.
        assert bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 6) == Excess("bulk_mail", 10, True, 3600)
        bulk_mail_counts.take_back(valkey, SENDER, RULE, content(), 6)
    assert bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 5) is None
    bulk_mail_counts.take_back(valkey, SENDER, RULE, content(of="letter"), 5)
    bulk_mail_counts.take_back(valkey, SENDER, RULE, None, 5)
    assert bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 1) == Excess("bulk_mail", 10, True, 3600)


def test_what_valkey_refuses_is_no_answer(valkey: Valkey) -> None:
    valkey.ask(["SET", KEYS[0], "x"])
    with pytest.raises(ValkeyError, match="WRONGTYPE"):
        bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 1)
    valkey.ask(["SET", "mh:1:mass:tenant:7", "x"])
    with pytest.raises(ValkeyError, match="WRONGTYPE"):
        bulk_mail_counts.stopped_tenants(valkey)


@pytest.mark.parametrize(
    ("command", "call"),
    [
        ("DEL", lambda valkey: bulk_mail_counts.release(valkey, SENDER)),
        ("SCAN", bulk_mail_counts.stopped_tenants),
        ("SET", lambda valkey: remember_sender(valkey, "Q1", OWNER, Address("else", "acme.example"))),
    ],
)
def test_nothing_is_said_to_be_done_that_valkey_refuses(
    server: Server, caplog: pytest.LogCaptureFixture, command: str, call: Callable[[Valkey], object]
) -> None:
    server.ask("ACL", "SETUSER", "refused", "on", "nopass", "allkeys", "+@all", f"-{command.lower()}")
    with closing(Valkey(server.path, "refused")) as valkey:
        if command == "SET":
            # Mail goes on all the same.
            call(valkey)
            assert "it is not remembered who sent it: Valkey: NOPERM" in caplog.text
        else:
            with pytest.raises(ValkeyError, match="NOPERM"):
                call(valkey)


def test_the_script_is_sent_once(server: Server) -> None:
    server.ask("SCRIPT", "FLUSH")
    server.ask("CONFIG", "RESETSTAT")
    with closing(Valkey(server.path, "gate")) as valkey:
        for _number in range(5):
            bulk_mail_counts.mail(valkey, SENDER, RULE, content(), 1)
    stats = server.ask("INFO", "commandstats")
    assert isinstance(stats, bytes)
    calls = dict(re.findall(r"cmdstat_(eval\w*):calls=(\d+)", stats.decode()))
    assert calls == {"eval": "1", "evalsha": "5"}


@pytest.mark.parametrize(
    ("status", "invalid"),
    [("5.1.1", True), ("5.1.10", True), ("5.4.4", True), ("5.1.8", False), ("5.1.7 x", False), ("5.4.40", False)]
    + [(other, False) for other in ("4.1.1", "5.7.1", "5.2.1", "")],
)
def test_what_says_that_a_recipient_does_not_exist(status: str, invalid: bool) -> None:
    assert bulk_mail_counts.says_invalid(status) is invalid


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_report_says_who_does_not_exist(line_end: str) -> None:
    assert bulk_mail_counts.invalid_recipients(REPORT.replace("\n", line_end)) == 3


@pytest.mark.parametrize("text", ["", "Action: failed", "Status: 5.1.1", "\0\n\n:\n\nAction\n\n Action: failed"])
def test_what_says_nothing_counts_nothing(text: str) -> None:
    assert bulk_mail_counts.invalid_recipients(text) == 0
