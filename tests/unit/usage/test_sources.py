# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Queries to Dovecot about mailboxes, and the units in which the directory gets the answers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from mailhosting.common import doveadm
from mailhosting.common.errors import DoveadmError
from mailhosting.usage.model import Account
from mailhosting.usage.sources import Directory, Mailboxes

TARO = Account(1, "taro@acme.example", 10)
HANAKO = Account(102, "hanako@acme.example", 10)
#: An account whose mailbox does not exist yet.
JIRO = Account(3, "jiro@acme.example", 10)


@pytest.fixture
def mailboxes(tmp_path: Path) -> Mailboxes:
    for folder in ("01/1", "02/102"):
        (tmp_path / folder).mkdir(parents=True)
    return Mailboxes(tmp_path)


def saying(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], complaint: str = "") -> list[list[str]]:
    """Users in each query to a doveadm with this answer."""
    asked: list[list[str]] = []

    def ask(usernames: Iterable[str], *_command: str, **_how: object) -> doveadm.Said:
        asked.append(list(usernames))
        return doveadm.Said(rows, complaint)

    monkeypatch.setattr(doveadm, "ask", ask)
    return asked


def test_usage_as_dovecot_prints_it(mailboxes: Mailboxes, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = saying(monkeypatch, [{"username": user.username, "vsize": "9840001"} for user in (TARO, HANAKO)])
    assert mailboxes.measure([TARO, HANAKO, JIRO]) == {TARO: 9840001, HANAKO: 9840001, JIRO: 0}
    assert mailboxes.measure([JIRO]) == {JIRO: 0}
    assert asked == [[TARO.username, HANAKO.username]]


def test_a_mailbox_that_dovecot_cannot_open(mailboxes: Mailboxes, monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, [{"username": TARO.username, "vsize": "1"}], "doveadm mailbox status ended with 65")
    assert mailboxes.measure([TARO, HANAKO]) == {TARO: 1}
    saying(monkeypatch, [], "doveadm mailbox status ended with 75")
    with pytest.raises(DoveadmError, match="75"):
        mailboxes.measure([TARO])


def test_the_directory_is_told_whole_kibibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = Directory("")
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(directory._connections, "ask", lambda *question: asked.append(question))
    directory.compare_quotas({TARO: 2047, HANAKO: 1024 * 1024})
    directory.compare_quotas({})
    ((query, used),) = asked
    assert "v1.compare_quotas" in query
    assert json.loads(used) == {TARO.username: 1, HANAKO.username: 1024}
