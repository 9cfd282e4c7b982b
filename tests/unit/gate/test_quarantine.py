# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of a mail, for whom and for how long, with a real directory."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Dsn, connect
from mailhosting.common.errors import DirectoryError
from mailhosting.gate import quarantine as program
from mailhosting.gate.directory import Directory
from mailhosting.gate.quarantine import Holder, Quarantine, QuarantineError
from mailhosting.gate.scan.findings import Finding

from .quarantined import BILL, HANAKO, MAIL, TARO, WEEK, Kept, ask, declare, kept


@pytest.fixture
def there(place: Dsn, tmp_path: Path) -> Iterator[Kept]:
    with kept(place, tmp_path / "quarantine") as made:
        yield made


def test_an_original_is_kept_octet_for_octet_with_an_entry_for_each_account(there: Kept) -> None:
    ids = there.keep(TARO, HANAKO, BILL, mail=(mail := bytes(range(256)) * 3))
    assert len(set(ids)) == 3
    assert there.entries() == list(zip(ids, (TARO, HANAKO, BILL), ("acme", "acme", "bolt"), strict=True))
    assert there.files() == [mail]
    (file,) = there.folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (row,) = ask(there.place, "SELECT * FROM directory.quarantined_mail")
    assert row[0] == file.name
    assert row[1] == len(mail)
    assert row[3:] == (
        "4fXY",
        "inbound",
        "x@far.example",
        "=?utf-8?b?6KuL5rGC5pu4?=",
        "strip",
        [{"kind": "virus", "name": "Test.Eicar", "member": "請求書.zip/eicar.com"}],
    )


@pytest.mark.requirement("VM-16")
def test_a_plan_that_keeps_nothing_leaves_no_trace(there: Kept) -> None:
    assert there.keep(holders=[there.holder(TARO, seconds=0)]) == ()
    assert (there.files(), there.entries()) == ([], [])
    # Another tenant's plan keeps it, for its own account alone.
    (entry,) = there.keep(BILL, holders=[there.holder(TARO, seconds=0)])
    assert there.entries() == [(entry, BILL, "bolt")]


def test_a_tenant_is_the_holder_of_mail_that_led_to_no_account(there: Kept) -> None:
    (entry,) = there.keep(holders=[there.holder("acme", recipient="alias@acme.example")])
    assert there.entries() == [(entry, None, "acme")]


def test_nothing_is_kept_for_those_who_are_gone(there: Kept) -> None:
    gone = [Holder(999, None, "a@gone.example", WEEK), Holder(999, 999, "b@gone.example", WEEK)]
    assert there.keep(holders=gone) == ()
    assert (there.files(), there.entries()) == ([], [])


def test_each_plan_says_how_long(there: Kept) -> None:
    _short, long = there.keep(holders=[there.holder(TARO, seconds=60), there.holder(BILL, seconds=120)])
    later = "UPDATE directory.quarantine SET expires_at = expires_at - interval '61 s' RETURNING id"
    ask(there.place, later)
    # Nobody sees what has expired, swept or not.
    assert [entry for entry, _address, _tenant in there.entries()] == [long]
    there.quarantine().sweep()
    assert there.files() == [MAIL]
    ask(there.place, later)
    there.quarantine().sweep()
    assert (there.files(), there.entries()) == ([], [])
    assert ask(there.place, "SELECT FROM directory.quarantined_mail") == []


def test_the_oldest_originals_make_room(there: Kept) -> None:
    mails = [bytes([65 + number]) * 300 for number in range(5)]
    ids = [there.keep(TARO, mail=mail)[0] for mail in mails[:3]]
    assert there.files() == mails[:3]
    # 900 octets are there, and two of them have to go for 600 more.
    ids += there.keep(TARO, HANAKO, mail=mails[3] * 2)
    assert there.files() == [mails[2], mails[3] * 2]
    assert [entry for entry, *_rest in there.entries()] == ids[2:]
    # As large as the whole.
    (last,) = there.keep(BILL, mail=b"E" * 1000)
    assert there.files() == [b"E" * 1000]
    assert there.entries() == [(last, BILL, "bolt")]


def test_what_is_larger_than_the_quarantine_is_not_lost(there: Kept) -> None:
    (before,) = there.keep(TARO)
    with pytest.raises(QuarantineError, match="1001 octets are more than the quarantine may have, 1000"):
        there.keep(TARO, mail=b"x" * 1001)
    assert there.files() == [MAIL]
    assert there.entries() == [(before, TARO, "acme")]


def test_many_at_once_are_within_the_bound(there: Kept) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda number: there.keep(TARO, mail=b"%03d" % number * 30), range(40)))
    assert all(len(found) == 1 for found in ids)
    files = there.files()
    assert len(files) == 11
    assert sum(map(len, files)) <= 1000
    assert len(there.entries()) == 11


def test_two_at_once_do_not_count_on_the_same_room(there: Kept) -> None:
    there.keep(TARO, mail=b"A" * 900)
    facts = {"queue_id": "4", "direction": "inbound", "sender": "", "subject": "", "policy": "strip", "findings": []}
    holder = {"account_id": there.holder(TARO).account_id, "tenant_id": 1, "recipient": "", "seconds": 60}
    blocked = "SELECT FROM pg_locks WHERE NOT granted"
    with closing(connect(there.place)) as connection, ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            given = [json.dumps(facts), json.dumps([holder])]
            connection.execute("SELECT v1.quarantine_keep('first', 600, %s, %s, 1000)", given)
            other = pool.submit(lambda: there.keep(BILL, mail=b"B" * 600))
            while not ask(there.place, blocked):
                time.sleep(0.01)
        assert len(other.result()) == 1
    assert ask(there.place, "SELECT octets FROM directory.quarantined_mail WHERE file <> 'first'") == [(600,)]
    assert ask(there.place, "SELECT sum(octets) FROM directory.quarantined_mail") == [(600,)]


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_full_disk_defers_and_leaves_nothing(there: Kept, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step == "write":
        monkeypatch.setattr("mailhosting.gate.quarantine.shutil.copyfileobj", full)
    else:
        monkeypatch.setattr("mailhosting.gate.quarantine.os.fsync", full)
    with pytest.raises(QuarantineError, match="the quarantine: No space left on device"):
        there.keep(TARO)
    assert (there.files(), there.entries()) == ([], [])


def test_without_its_folder_it_defers(there: Kept) -> None:
    there.folder.rmdir()
    with pytest.raises(QuarantineError, match="No such file or directory"):
        there.keep(TARO)


def test_without_the_directory_it_defers_and_a_later_sweep_removes_the_file(
    there: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    down = Kept(there.place, there.folder, Directory("host=/nonexistent dbname=none"))
    with pytest.raises(DirectoryError):
        down.keep(TARO)
    assert there.files() == [MAIL]
    assert "perhaps not recorded" in caplog.text
    quarantine = there.quarantine()
    # It may be one that is just being written.
    quarantine.sweep()
    assert there.files() == [MAIL]
    (file,) = there.folder.iterdir()
    os.utime(file, (0, time.time() - program.ORPHAN_SECONDS - 1))
    quarantine.sweep()
    assert there.files() == []


def test_it_goes_with_the_account(there: Kept) -> None:
    (mine, hers) = there.keep(TARO, HANAKO)
    declare(there.place, HANAKO, BILL, purge=True)
    # It is kept while the account may be restored.
    assert there.entries() == [(mine, TARO, "acme"), (hers, HANAKO, "acme")]
    ask(there.place, "SELECT v1.forget_mailbox(account_id) FROM directory.closed")
    assert there.entries() == [(hers, HANAKO, "acme")]
    there.quarantine().sweep()
    assert there.files() == [MAIL]
    declare(there.place, "ken@acme.example", BILL, purge=True)
    ask(there.place, "SELECT v1.forget_mailbox(account_id) FROM directory.closed")
    there.quarantine().sweep()
    assert (there.files(), there.entries()) == ([], [])


def test_an_accounts_entry_follows_it_to_another_name(there: Kept) -> None:
    (entry,) = there.keep(TARO)
    ask(there.place, "UPDATE directory.address SET local_part = 'jiro' WHERE local_part = 'taro' RETURNING 1")
    assert there.entries() == [(entry, "jiro@acme.example", "acme")]


def test_a_mail_that_is_deferred_after_all_is_taken_back(there: Kept) -> None:
    (mine, hers), (other,) = there.keep(TARO, HANAKO), there.keep(BILL, mail=b"other")
    there.quarantine().drop([mine])
    assert there.entries() == [(hers, HANAKO, "acme"), (other, BILL, "bolt")]
    assert there.files() == [MAIL, b"other"]
    there.quarantine().drop([hers])
    assert there.files() == [b"other"]
    there.quarantine().drop([])
    assert there.entries() == [(other, BILL, "bolt")]


@pytest.mark.parametrize("text", ["a\0b", "\udcff\udc80", "太" * 5000, "'; DROP TABLE directory.account; --"])
def test_any_text_of_a_mail_is_kept(there: Kept, text: str) -> None:
    found = (Finding("virus", text, 1, text), Finding("limit", "depth", 0))
    there.keep(holders=[there.holder(TARO, recipient=text)], sender=text, subject=text, findings=found)
    (row,) = ask(there.place, "SELECT sender, recipient, subject, findings FROM v1.quarantine")
    assert len({*row[:3], row[3][0]["name"], row[3][0]["member"]}) == 1
    assert len(row[0]) <= 998
    assert row[3][1] == {"kind": "limit", "name": "depth", "member": None}


def test_a_file_that_cannot_be_removed_is_tried_again(
    there: Kept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (entry,) = there.keep(TARO)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", lambda *_arguments, **_options: Path("/").rmdir())
        there.quarantine().drop([entry])
    assert "stays: " in caplog.text
    (file,) = there.folder.iterdir()
    os.utime(file, (0, 0))
    there.quarantine().sweep()
    assert there.files() == []


def test_sweeps_go_on_whatever_happens(
    there: Kept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    swept: list[Any] = []

    def sweep(_quarantine: Quarantine) -> None:
        swept.append(None)
        raise DirectoryError("the directory: gone") if len(swept) == 1 else OSError("gone, too")

    def rest(seconds: float) -> None:
        assert seconds == program.SWEEP_SECONDS
        if len(swept) == 3:
            raise SystemExit

    monkeypatch.setattr(Quarantine, "sweep", sweep)
    monkeypatch.setattr("mailhosting.gate.quarantine.time.sleep", rest)
    caplog.set_level(logging.WARNING)
    with pytest.raises(SystemExit):
        there.quarantine()._sweep_on_and_on()
    assert caplog.messages == [
        "quarantine: the directory: gone",
        "quarantine: gone, too",
        "quarantine: gone, too",
    ]


def test_the_gate_may_do_this_and_read_no_table(there: Kept) -> None:
    for query in ("TABLE directory.quarantine", "TABLE v1.quarantine", "SELECT v1.virus_decide('x', 'ignored')"):
        with pytest.raises(DirectoryError, match="permission denied"):
            there.directory._ask(query)
