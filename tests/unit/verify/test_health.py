# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of playbooks/verify.yml find their faults."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.mailhosting.stack.plugins.module_utils import _health as health


def test_a_mail_deferred_for_long_is_found(tmp_path: Path) -> None:
    waiting = tmp_path / "deferred" / "A" / "A1B2"
    waiting.parent.mkdir(parents=True)
    waiting.touch()
    now = waiting.stat().st_ctime
    assert health.queue(tmp_path, 3600, now + 3599).ok
    assert not health.queue(tmp_path, 3600, now + 3601).ok


def test_an_empty_queue_is_fine(tmp_path: Path) -> None:
    assert health.queue(tmp_path, 0).ok


def test_a_program_that_was_replaced_is_found(tmp_path: Path) -> None:
    for pid, target in (
        ("1", "/usr/sbin/dovecot (deleted)"),
        ("2", "/usr/bin/sleep (deleted)"),
        ("3", "/usr/sbin/dovecot"),
    ):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "exe").symlink_to(target)
    check = health.binaries(["/usr/sbin/dovecot"], proc=tmp_path)
    assert (check.ok, check.seen) == (False, "/usr/sbin/dovecot")
    assert health.binaries(["/usr/lib/postfix/"], proc=tmp_path).ok


def test_a_port_nobody_listens_on_is_found() -> None:
    def ss(_command: object) -> tuple[int, str]:
        return 0, "LISTEN 0 100 0.0.0.0:25 0.0.0.0:*\nLISTEN 0 100 [::]:993 [::]:*"

    assert health.listeners([25, 993], run=ss).ok
    check = health.listeners([25, 587, 993], run=ss)
    assert (check.ok, check.seen) == (False, "nobody listens on [587]")


def test_a_full_disk_is_found(tmp_path: Path) -> None:
    (fine,) = health.disk([str(tmp_path)], 0.0)
    (full,) = health.disk([str(tmp_path)], 1.0)
    assert fine.ok
    assert not full.ok


def test_a_checker_that_is_missing_or_unhappy_is_a_finding() -> None:
    fine, missing, unhappy = health.configuration(
        {"a": ["true"], "b": ["no-such-checker"], "c": ["sh", "-c", "echo first; echo line 3: unknown; exit 1"]}
    )
    assert fine.ok
    assert (missing.ok, missing.seen) == (False, "no-such-checker is not installed")
    assert (unhappy.ok, unhappy.seen) == (False, "line 3: unknown")
