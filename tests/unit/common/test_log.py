# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs' journal lines; a stranger's text can forge neither a field nor a line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from mailhosting.common import log

PROGRAMS: Final = Path(log.__file__).parents[2]
#: A program that begins like ours and logs one message of each kind.
SAYS: Final = """
import logging
from mailhosting.common import log
log.set_up()
LOG = logging.getLogger("x")
LOG.debug("for who debugs")
LOG.info("as ever")
LOG.warning("of %s", "note")
LOG.error("two\\nlines")
"""


def said(*, to_journal: bool, folder: Path) -> list[str]:
    """The program's standard error, connected to the journal or not."""
    with (folder / "stderr").open("w+") as stderr:
        found = os.fstat(stderr.fileno())
        stream = f"{found.st_dev}:{found.st_ino if to_journal else found.st_ino + 1}"
        environment = {"JOURNAL_STREAM": stream, "PYTHONPATH": str(PROGRAMS)}
        subprocess.run([sys.executable, "-B", "-c", SAYS], stderr=stderr, env=environment, check=True)
        stderr.seek(0)
        return stderr.read().splitlines()


def test_each_line_has_its_priority_in_the_journal(tmp_path: Path) -> None:
    assert said(to_journal=True, folder=tmp_path) == ["<6>as ever", "<4>of note", "<3>two", "<3>lines"]


def test_who_reads_it_elsewhere_sees_no_priorities(tmp_path: Path) -> None:
    assert said(to_journal=False, folder=tmp_path) == ["as ever", "of note", "two", "lines"]


def test_what_is_about_a_mail_has_the_same_fields_in_one_order() -> None:
    line = "queue_id=4fXY tenant=- sasl_username=taro@acme.example client_address=2001:db8::7 from=- to=-"
    values = {"client_address": "2001:db8::7", "queue_id": "4fXY", "sasl_username": "taro@acme.example", "from": ""}
    assert log.fields(values) == line
    assert log.fields({**values, "code": "452"}) == f"{line} code=452"


@pytest.mark.parametrize(
    "value", ["a b", 'a"b', "a\nb", "a=b", "日本", "a\x1b[0m", "a\\b", "x" * (log.MOST + 1)], ids=ascii
)
def test_what_somebody_else_says_ends_no_field(value: str) -> None:
    _before, _is, written = log.fields({"to": value}).partition("to=")
    assert written == log.quoted(value)
    assert written[0] == written[-1] == '"'
    assert written.isascii()
    assert written.isprintable()
    assert len(written) < 2 * log.MOST
