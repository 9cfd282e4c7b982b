# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recipients of notices, each once, and the end of notices that cannot be delivered."""

from __future__ import annotations

from typing import Any

import pytest
from mailhosting.common.lmtp import PermanentDeliveryError, TemporaryDeliveryError, quoted
from mailhosting.notices import service as program
from mailhosting.notices.directory import Notice
from mailhosting.notices.people import Recipient, recipients
from mailhosting.notices.settings import Settings

TARO, HANAKO, ROOT = "taro@acme.example", "hanako@acme.example", "root@mx1.example"
FACTS = {"account": HANAKO, "percent": 90, "quota": 1 << 20}
WARNING = Notice(1, "quota_warning", FACTS, 0, 0, [], "acme", "ja", HANAKO, TARO, True, False)
SETTINGS = Settings(
    directory="",
    hostname="mx1.example",
    sender_name="Support",
    sender_address=ROOT,
    support_name="Support",
    support_address=ROOT,
    operator=ROOT,
    charset="utf-8",
    keep_days=90,
    lmtp_socket="",
    texts={},
)


class Queue:
    """A stand-in for `directory.Directory`, with some notices."""

    def __init__(self, *notices: Notice) -> None:
        self.notices = {notice.id: notice for notice in notices}
        self.log: list[tuple[Any, ...]] = []
        self.waits: list[float] = []

    def due(self) -> list[Notice]:
        return list(self.notices.values())

    def next(self) -> float | None:
        return min(self.waits, default=None)

    def reached(self, notice: Notice, address: str) -> None:
        self.log.append(("reached", notice.id, address))

    def put_off(self, notice: Notice, seconds: int) -> None:
        self.log.append(("put off", notice.id, seconds))
        self.waits.append(seconds)
        del self.notices[notice.id]

    def end(self, notice: Notice, *, sent: bool) -> None:
        self.log.append(("sent" if sent else "given up", notice.id))
        del self.notices[notice.id]


class Carrier:
    """A stand-in for `post.Post`; `fails`: errors by address."""

    def __init__(self, **fails: Exception) -> None:
        self.fails = {f"{name}@acme.example": error for name, error in fails.items()}
        self.taken: list[Recipient] = []

    def deliver(self, recipient: Recipient, mail: bytes) -> None:
        assert f"To: {recipient.address}".encode() in mail
        if recipient.address in self.fails:
            raise self.fails[recipient.address]
        self.taken.append(recipient)


def work(carrier: Carrier, *notices: Notice) -> tuple[list[tuple[Any, ...]], float]:
    queue = Queue(*notices)
    seconds = program.Service(queue, carrier, SETTINGS).work()
    return queue.log, seconds


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [(HANAKO, True), (TARO, True)]),
        ({"direct": False}, [(HANAKO, True), (TARO, False)]),
        ({"contact": None}, [(HANAKO, True)]),
        ({"account": None}, [(TARO, True)]),
        ({"contact": HANAKO}, [(HANAKO, True)]),
        ({"contact": "hanako+admin@acme.example"}, [(HANAKO, True)]),
        ({"kind": "limit_pause"}, [(TARO, True), (ROOT, False)]),
        ({"kind": "bulk_mail", "contact": None}, [(HANAKO, True), (ROOT, False)]),
        ({"kind": "bulk_mail", "contact": None, "account": None}, [(ROOT, False)]),
        ({"kind": "invalid_recipients", "contact": ROOT, "direct": False}, [(HANAKO, True), (ROOT, False)]),
        ({"kind": "virus_outbreak", "contact": None, "account": None, "tenant": None}, [(ROOT, False)]),
        ({"kind": "virus_received"}, [(HANAKO, True)]),
        # A suspended account's warning is nobody else's.
        ({"kind": "virus_received", "account": None, "facts": {"account": HANAKO}}, []),
        ({"kind": "virus_sent", "account": None, "facts": {}, "unread": True}, [(TARO, True)]),
        ({"kind": "virus_sent", "account": None, "facts": {}, "contact": None}, []),
        ({"unread": True}, [(HANAKO, True), (TARO, True), (ROOT, False)]),
        ({"contact": None, "unread": True}, [(HANAKO, True), (ROOT, False)]),
    ],
)
def test_who_is_told(changes: dict[str, Any], expected: list[tuple[str, bool]]) -> None:
    assert recipients(WARNING._replace(**changes), ROOT) == expected


def test_each_is_told_once_and_remembered_at_once() -> None:
    carrier = Carrier()
    log, _seconds = work(carrier, WARNING)
    assert log == [("reached", 1, HANAKO), ("reached", 1, TARO), ("sent", 1)]
    assert carrier.taken == [(HANAKO, True), (TARO, True)]


def test_who_has_it_does_not_get_it_again() -> None:
    carrier = Carrier()
    log, _seconds = work(carrier, WARNING._replace(reached=[HANAKO]))
    assert log == [("reached", 1, TARO), ("sent", 1)]
    assert carrier.taken == [(TARO, True)]


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 5), (1, 10), (5, 160), (10, 3600), (5000, 3600)])
def test_what_cannot_be_delivered_now_is_put_off(attempts: int, seconds: int) -> None:
    log, soonest = work(Carrier(taro=TemporaryDeliveryError("down")), WARNING._replace(attempts=attempts))
    assert log == [("reached", 1, HANAKO), ("put off", 1, seconds)]
    assert soonest == min(seconds, program.POLL)


def test_it_is_given_up_after_days() -> None:
    log, _seconds = work(Carrier(taro=TemporaryDeliveryError("down")), WARNING._replace(seconds=program.LIFETIME))
    assert log == [("reached", 1, HANAKO), ("given up", 1)]


def test_a_refusal_for_one_does_not_keep_it_from_others(caplog: pytest.LogCaptureFixture) -> None:
    log, _seconds = work(Carrier(hanako=PermanentDeliveryError("550 no such user")), WARNING)
    assert log == [("reached", 1, HANAKO), ("reached", 1, TARO), ("sent", 1)]
    assert "550 no such user" in caplog.text


def test_what_nobody_could_be_told_was_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    assert work(Carrier(), WARNING._replace(account=None, contact=None))[0] == [("given up", 1)]
    assert "nobody could be told" in caplog.text


@pytest.mark.parametrize("bad", [{"kind": "nonsense"}, {"facts": {"quota": "much"}}, {"facts": {"quota": None}}])
def test_a_notice_that_cannot_be_written_stops_no_other(bad: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    log, _seconds = work(Carrier(), WARNING._replace(id=7, **bad), WARNING)
    assert log[0] == ("given up", 7)
    assert log[-1] == ("sent", 1)
    assert [record.levelname for record in caplog.records if record.levelname == "ERROR"] == ["ERROR"]


def test_an_address_as_a_command_has_it() -> None:
    assert quoted("12:30@acme.example") == '"12:30"@acme.example'
    assert quoted(TARO) == TARO
