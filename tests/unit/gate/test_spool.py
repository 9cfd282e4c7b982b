# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of a mail that is scanned: its octets, its bound, and what is left when it has gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from mailhosting.common.errors import ScannerError
from mailhosting.gate.spool import IN_MEMORY, Spools


def test_it_has_the_octets_of_the_mail(tmp_path: Path) -> None:
    spool = Spools(str(tmp_path), 1000).open()
    spool.header("Subject", " a\n b\udce9")
    spool.header("X", "")
    spool.begin_body()
    spool.begin_body()
    spool.write(b"text\r\n")
    spool.file.seek(0)
    assert spool.file.read() == b"Subject: a\r\n b\xe9\r\nX:\r\n\r\ntext\r\n"
    assert b"".join(spool.body()) == b"text\r\n"
    assert spool.size == 29


def test_a_large_one_is_on_the_disk_and_has_no_name(tmp_path: Path) -> None:
    spool = Spools(str(tmp_path), 1 << 30).open()
    for _chunk in range(3):
        spool.write(b"x" * IN_MEMORY)
    assert spool.file.fileno() >= 0
    assert list(tmp_path.iterdir()) == []


def test_all_together_are_bounded_and_give_back_what_they_had(tmp_path: Path) -> None:
    spools = Spools(str(tmp_path), 10)
    first, second = spools.open(), spools.open()
    first.write(b"x" * 6)
    second.write(b"x" * 4)
    with pytest.raises(ScannerError, match="the spool is full: 10 octets of 10"):
        second.write(b"x")
    assert second.size == 4
    del first
    second.write(b"x" * 6)
