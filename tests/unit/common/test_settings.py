# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of programs: how they are read, and the message for each mistake."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pytest
from mailhosting.common import settings
from mailhosting.common.errors import SettingsError
from mailhosting.gate.settings import Settings as Gate
from mailhosting.notices.settings import Settings as Notices
from mailhosting.policy.settings import Settings as Policy
from mailhosting.retention.settings import Settings as Retention
from mailhosting.usage.settings import Settings as Usage

ROLES = Path(__file__).parents[3] / "roles"


@dataclass(frozen=True)
class Settings:
    socket: str
    seconds: int
    senders: Literal["login", "tenant"]
    texts: dict[str, list[str | None]]
    limits: list[dict[str, Any]]


RIGHT: dict[str, Any] = {
    "socket": "/run/x",
    "seconds": 7,
    "senders": "login",
    "texts": {"full": ["452", None, "full"]},
    "limits": [{"messages": 1, "pause": None}],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.json"


def wrong(file: Path, **changes: Any) -> str:
    """The message for the file with these settings instead."""
    file.write_text(json.dumps({name: value for name, value in {**RIGHT, **changes}.items() if value != "(none)"}))
    with pytest.raises(SettingsError) as raised:
        settings.read(Settings, file)
    return str(raised.value)


def test_what_is_right_is_read_and_what_is_for_others_ignored(file: Path) -> None:
    file.write_text(json.dumps({**RIGHT, "of_another": 1}))
    assert settings.read(Settings, file) == Settings(**RIGHT)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seconds": "(none)"}, "seconds is missing"),
        ({"seconds": "7"}, "seconds: '7' is not of the type int"),
        ({"seconds": True}, "seconds: True is not of the type int"),
        ({"socket": None}, "socket: None is not of the type str"),
        ({"senders": "all"}, "senders: 'all' is not of the type Literal['login', 'tenant']"),
        ({"texts": {"full": "x"}}, "texts: {'full': 'x'} is not of the type dict[str, list[str | None]]"),
        ({"texts": {"full": [4]}}, "texts: {'full': [4]} is not of the type dict[str, list[str | None]]"),
        ({"limits": {}}, "limits: {} is not of the type list[dict[str, Any]]"),
        ({"limits": [1]}, "limits: [1] is not of the type list[dict[str, Any]]"),
    ],
)
def test_a_mistake_has_the_file_the_key_and_the_type(file: Path, changes: dict[str, Any], said: str) -> None:
    assert wrong(file, **changes) == f"{file}: {said}"


def test_all_mistakes_are_said_at_once(file: Path) -> None:
    said = wrong(file, seconds="7", socket="(none)")
    assert said == f"{file}: socket is missing; seconds: '7' is not of the type int"


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff"])
def test_what_is_no_settings_file_is_said(file: Path, content: bytes | None) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=re.escape(str(file))):
        settings.read(Settings, file)


def hand_over(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    number = os.open(file, os.O_RDONLY)
    for module in ("settings", "systemd"):
        monkeypatch.setattr(f"mailhosting.common.{module}.passed_file", {"settings": number}.get)


def test_systemd_hands_it_over_open(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    file.write_text(json.dumps(RIGHT))
    hand_over(monkeypatch, file)
    assert settings.handed_over(Settings) == Settings(**RIGHT)


def test_who_starts_it_otherwise_names_a_file(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    other = file.with_name("other.json")
    other.write_text(json.dumps({**RIGHT, "seconds": 8}))
    monkeypatch.delenv("LISTEN_PID", raising=False)
    assert settings.handed_over(Settings, otherwise=other).seconds == 8
    file.write_text(json.dumps(RIGHT))
    hand_over(monkeypatch, file)
    assert settings.handed_over(Settings, otherwise=other).seconds == 7


def test_who_cannot_begin_says_why_and_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, file: Path
) -> None:
    file.write_text(json.dumps({**RIGHT, "seconds": "7"}))
    hand_over(monkeypatch, file)
    with pytest.raises(SystemExit) as raised:
        settings.handed_over(Settings)
    assert raised.value.code == os.EX_CONFIG
    assert caplog.messages == [f"{file}: seconds: '7' is not of the type int"]


def test_who_was_started_otherwise_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("LISTEN_PID", raising=False)
    with pytest.raises(SystemExit):
        settings.handed_over(Settings)
    assert caplog.messages == ["systemd opened no file as 'settings' (OpenFile=)"]


@pytest.mark.parametrize(
    ("role", "kind"),
    [("gate", Gate), ("notices", Notices), ("policy", Policy), ("retention", Retention), ("usage", Usage)],
)
def test_a_role_writes_what_its_program_reads(role: str, kind: Any) -> None:
    template = (ROLES / role / "templates" / role / "settings.json.j2").read_text()
    written = re.findall(r"^ +'(\w+)': ", template, re.MULTILINE)
    assert sorted(written) == sorted(field.name for field in fields(kind))
    unit = next((ROLES / role / "templates" / "systemd").glob(f"mailhosting-{role}*.service.j2")).read_text()
    assert f"\nOpenFile=/etc/mailhosting/{role}/settings.json:settings:read-only\n" in unit
    assert "Environment=" not in unit
