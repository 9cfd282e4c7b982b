# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of playbooks/verify.yml find their faults."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest
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


#: Seconds since 1970; a day later it is TOMORROW.
TODAY = 1_800_000_000
TOMORROW = TODAY + 86400


def put(folder: Path, name: str, *, built: int | None = None, mtime: int = TODAY) -> None:
    """A database of ClamAV's that was `built` then, or another file of signatures."""
    path = folder / name
    header = f"ClamAV-VDB:15 Jan 2027 08-00 +0000:27827:2076000:90:md5:dsig:builder:{built}".ljust(512)
    path.write_bytes(header.encode() + b"\x1f\x8b" if built else b"Test:0:0:00\n")
    os.utime(path, (mtime, mtime))


def test_a_host_without_signatures_says_what_becomes_of_mail(tmp_path: Path) -> None:
    (tmp_path / "freshclam.dat").touch()
    check = health.signatures(tmp_path, 3, TODAY)
    assert not check.ok
    assert "mail to scan is deferred until freshclam has fetched them" in check.seen


def test_signatures_are_as_old_as_clamavs_newest_database(tmp_path: Path) -> None:
    put(tmp_path, "main.cvd", built=TODAY - 90 * 86400, mtime=TOMORROW)
    put(tmp_path, "daily.cld", built=TODAY, mtime=TOMORROW)
    # What an operator adds, or excepts, makes the rest no newer.
    put(tmp_path, "own.ndb", mtime=TOMORROW)
    put(tmp_path, "own.ign2", mtime=TOMORROW)
    check = health.signatures(tmp_path, 1, TOMORROW)
    assert (check.ok, check.seen) == (True, "daily.cld is 1.0 days old, 1 are allowed")
    assert not health.signatures(tmp_path, 1, TOMORROW + 1).ok


def test_without_a_database_of_clamavs_the_newest_file_counts(tmp_path: Path) -> None:
    put(tmp_path, "old.ndb", mtime=TODAY - 10 * 86400)
    put(tmp_path, "own.hdb")
    put(tmp_path, "own.ign2", mtime=TOMORROW)
    check = health.signatures(tmp_path, 0, TOMORROW)
    assert (check.ok, check.seen) == (False, "own.hdb is 1.0 days old, 0 are allowed")


def test_a_header_without_a_time_is_as_old_as_its_file(tmp_path: Path) -> None:
    (tmp_path / "daily.cvd").write_bytes(b"ClamAV-VDB:")
    os.utime(tmp_path / "daily.cvd", (TODAY, TODAY))
    assert "daily.cvd is 1.0 days old" in health.signatures(tmp_path, 3, TOMORROW).seen


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (b"ClamAV 1.4.3/27827/Fri Jan 15 08:00:00 2027\0", "ClamAV 1.4.3/27827/Fri Jan 15 08:00:00 2027"),
        (b"", "clamd: no answer"),
        (None, "clamd: timed out"),
    ],
)
def test_a_scanner_answers_or_is_a_finding(tmp_path: Path, answer: bytes | None, seen: str) -> None:
    path = str(tmp_path / "clamd")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        asked: list[bytes] = []

        def clamd() -> None:
            client, _address = listener.accept()
            with client:
                asked.append(client.recv(100))
                if answer is None:
                    client.recv(100)
                else:
                    client.sendall(answer)

        serving = threading.Thread(target=clamd)
        serving.start()
        check = health.scanner(path, patience=0.2)
        serving.join()
    assert asked == [b"zVERSION\0"]
    assert check.ok is bool(answer)
    assert check.seen.endswith(seen)


def test_a_scanner_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    check = health.scanner(str(tmp_path / "clamd"))
    assert (check.ok, check.seen) == (False, f"{tmp_path / 'clamd'}: No such file or directory")
