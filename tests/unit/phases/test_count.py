# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each test runs once: which step runs it, how that is recorded, and how it is compared."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.mailhosting.stack.tests.phases.count import differences

TESTS = """\
import pytest

@pytest.mark.timing
def test_timed():
    pass

@pytest.mark.parametrize("value", ["a", "b"])
def test_any(value):
    assert value == "a"

@pytest.mark.skip
def test_skipped():
    pass
"""
FILE = "test_it.py"
ANY = [f"{FILE}::test_any[a]", f"{FILE}::test_any[b]"]


@pytest.mark.parametrize(
    ("step", "workers", "expected"),
    [
        (None, 0, [f"{FILE}::test_timed", *ANY]),
        ("later", 2, ANY),
        ("now", 0, [f"{FILE}::test_timed"]),
    ],
)
def test_a_step_runs_its_tests_and_notes_them(
    tmp_path: Path, step: str | None, workers: int, expected: list[str]
) -> None:
    shutil.copy(Path(__file__).parents[2] / "conftest.py", tmp_path)
    (tmp_path / FILE).write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = timing: x\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAIL_TEST", "PYTEST"))}
    environment |= {"MAIL_TEST_RAN": str(tmp_path / "ran"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment |= {"MAIL_TEST_TIMING": step} if step else {}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "xdist", f"--numprocesses={workers}"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=False, stdout=subprocess.DEVNULL)
    assert sorted((tmp_path / "ran").read_text().splitlines()) == sorted(expected)


def test_every_difference_is_named() -> None:
    assert differences(["a", "b", "c"], ["b", "c", "a"]) == []
    assert differences(["a", "b"], ["b", "b", "x"]) == ["never ran: a", "ran 2 times: b", "ran, and is not there: x"]
