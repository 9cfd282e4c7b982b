# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptors and messages between systemd and a program."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from mailhosting.common import systemd


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_FDNAMES", "requests:valkey")
    return monkeypatch


@pytest.mark.usefixtures("handed_over")
def test_what_is_passed_has_a_name() -> None:
    assert systemd.passed() == [("requests", 3), ("valkey", 4)]
    assert systemd.passed_file("valkey") == 4
    assert systemd.passed_file("other") is None


def test_a_connection_that_is_standard_input_is_named_and_not_counted(handed_over: pytest.MonkeyPatch) -> None:
    handed_over.setenv("LISTEN_FDS", "1")
    handed_over.setenv("LISTEN_FDNAMES", "connection:legacy.keys")
    assert systemd.passed() == [("legacy.keys", 3)]


def test_what_was_passed_to_another_process_is_left_alone(handed_over: pytest.MonkeyPatch) -> None:
    handed_over.setenv("LISTEN_PID", "1")
    assert systemd.passed() == []


def test_a_text_that_is_not_passed_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_PID", raising=False)
    assert systemd.passed_text("valkey") == ""


def test_the_text_of_a_file_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("sesame")
    monkeypatch.setattr(systemd, "passed", lambda: [("valkey", os.open(tmp_path / "secret", os.O_RDONLY))])
    assert systemd.passed_text("valkey") == "sesame"


def test_systemd_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.ready()  # without a listener
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        systemd.ready()
        assert listening.recv(100) == b"READY=1"
