# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which open sessions end after a change, and the effect of a Dovecot that hangs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils import _dovecot
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Store

from .build import account, desired, tenant
from .conftest import Declare, Run
from .test_views import hold


def test_only_who_may_log_in_keeps_a_session(declare: Declare, store: Store) -> None:
    ken = account("ken@acme.example", state="no_login")
    declare(desired(tenant("acme", "taro@acme.example", "jiro@acme.example", ken)))
    hold(store, "login", "jiro@acme.example")
    users = ["taro@acme.example", "jiro@acme.example", "ken@acme.example", "gone@acme.example", "x"]
    assert sorted(store.without_login(users)) == ["gone@acme.example", "jiro@acme.example", "ken@acme.example", "x"]


@pytest.fixture
def doveadm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`doveadm(script)`: a doveadm that must answer in less than a second."""

    def make(script: str) -> None:
        program = tmp_path / "doveadm"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(_dovecot, "_SECONDS", 0.5)
    return make


HANGS = "exec sleep 60"
WHO_THEN_HANGS = (
    'case "$*" in *who) printf "username\\n%s\\n%s\\n" jiro@acme.example taro@acme.example;; *) exec sleep 60;; esac'
)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (HANGS, "no answer to `doveadm -f tab who` in 0.5 s; `systemctl restart dovecot` ends all"),
        (WHO_THEN_HANGS, "run `doveadm kick` for each of jiro@acme.example, taro@acme.example, or `systemctl restart"),
    ],
)
def test_a_dovecot_that_hangs_is_a_warning_after_the_change(
    sync: Run, run: Run, doveadm: Callable[[str], None], script: str, said: str
) -> None:
    sync(desired())
    run("mail_tenant", name="acme", plan="basic", domains=[{"name": "acme.example"}])
    for name in ("taro", "jiro"):
        run("mail_account", address=f"{name}@acme.example")
    doveadm(script)
    held = run("mail_tenant", name="acme", hold=[{"scope": "login", "reason": "spam"}])
    assert (held["changed"], len(held["warnings"])) == (True, 1), held
    assert "sessions" in held["warnings"][0]
    assert said in held["warnings"][0]
    assert run("mail_info", gather_subset=["holds"])["holds"][0]["reason"] == "spam"


def test_whoever_was_answered_stays_so_while_dovecot_hangs(sync: Run, run: Run, doveadm: Callable[[str], None]) -> None:
    sync(desired())
    run("mail_tenant", name="acme", plan="basic", domains=[{"name": "acme.example"}])
    doveadm(HANGS)
    made = run("mail_account", address="taro@acme.example", password="correct horse", forget_answered=True)
    assert (made["changed"], len(made["warnings"])) == (True, 1), made
    assert "the automatic reply of taro@acme.example still remembers whom it answered" in made["warnings"][0]


def test_a_doveadm_that_cannot_be_run_is_heard(doveadm: Callable[[str], None], tmp_path: Path) -> None:
    doveadm("")
    (tmp_path / "doveadm").write_bytes(b"\x7fELF")
    with pytest.raises(_dovecot.DovecotError, match="doveadm: Exec format error"):
        _dovecot.end_sessions(lambda users: users)
