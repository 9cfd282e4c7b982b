# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program by which Dovecot ends the sessions of one login: which it ends, and its output."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType

import pytest
from mailhosting.mailboxes import end_sessions


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The program; Dovecot runs, and doveadm appends its input to the file `kicked`."""
    (tmp_path / "kicked").touch()
    monkeypatch.setattr(end_sessions, "ANVIL", tmp_path / "kicked")
    monkeypatch.setattr(
        end_sessions, "DOVEADM", ("sh", "-c", f'echo "$1" >>{tmp_path}/kicked; echo 2 kicked', "doveadm")
    )
    return end_sessions


def said(program: ModuleType, monkeypatch: pytest.MonkeyPatch, line: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(line))
    return int(program.main())


@pytest.mark.parametrize("login", ["taro@acme.example", "a-b.c:d@acme.example"])
def test_sessions_of_a_login_end(
    program: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    login: str,
) -> None:
    assert said(program, monkeypatch, f"{login}\n") == 0
    assert (tmp_path / "kicked").read_text() == f"{login}\n"
    assert capsys.readouterr().out == "ended\n"


@pytest.mark.parametrize(
    "line",
    ["", "\n", "taro@acme.example", "*@acme.example\n", "tar?@acme.example\n", "-f@x\n", "a@b c\n", "*\n", "a" * 2000],
)
def test_nobody_elses_do(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, line: str
) -> None:
    assert said(program, monkeypatch, line) == 1
    assert (tmp_path / "kicked").read_text() == ""
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("doveadm", [("sh", "-c", "exit 75"), ("sh", "-c", "exec sleep 60"), ("/nonexistent",)])
def test_what_was_not_done_is_not_said(
    program: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    doveadm: tuple[str, ...],
) -> None:
    monkeypatch.setattr(program, "DOVEADM", doveadm)
    monkeypatch.setattr(program, "PATIENCE", 0.2)
    assert said(program, monkeypatch, "taro@acme.example\n") == 1
    assert capsys.readouterr().out == ""
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_where_dovecot_does_not_run_nobody_is_logged_in(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(program, "ANVIL", tmp_path / "none")
    monkeypatch.setattr(program, "DOVEADM", ("false",))
    assert said(program, monkeypatch, "taro@acme.example\n") == 0
    assert capsys.readouterr().out == "ended\n"
