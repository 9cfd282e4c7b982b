# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mail into one mailbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mailhosting.common.lmtp import PermanentDeliveryError, TemporaryDeliveryError, deliver

from .lmtp_server import Mailboxes, mailboxes


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Mailboxes]:
    with mailboxes(tmp_path / "lmtp") as server:
        yield server


def test_a_mail_arrives_as_it_is(there: Mailboxes) -> None:
    mail = b"Subject: x\r\n\r\n.\r\n..\r\n.a\r\n\xff\xfe\r\nend\r\n"
    deliver(str(there.server_address), "12:30@acme.example", mail, "x@far.example")
    deliver(str(there.server_address), "taro@acme.example", mail)
    assert there.delivered == [
        ("<x@far.example>", '<"12:30"@acme.example>', mail),
        ("<>", "<taro@acme.example>", mail),
    ]


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize("reply", ["451 later", "550 never"])
def test_a_reply_is_an_error_of_its_kind(there: Mailboxes, command: str, reply: str) -> None:
    there.replies[command] = reply
    # To DATA there is no permanent reply that a client could do anything about.
    never = reply.startswith("5") and command != "DATA"
    with pytest.raises(PermanentDeliveryError if never else TemporaryDeliveryError, match=reply.split(" ")[1]):
        deliver(str(there.server_address), "taro@acme.example", b"x\r\n")
    assert there.delivered == []


def test_nobody_there_is_a_temporary_error(tmp_path: Path) -> None:
    with pytest.raises(TemporaryDeliveryError, match="FileNotFoundError"):
        deliver(str(tmp_path / "none"), "taro@acme.example", b"x\r\n")
