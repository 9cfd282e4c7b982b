# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python that runs Ansible's modules on test hosts is a Python, and never runs what it was sent before."""

from __future__ import annotations

import base64
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import modules
import pytest


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as a host has it, without a server."""
    folder = tmp_path_factory.mktemp("modules")
    subprocess.run(["tar", "-xz"], input=base64.b64decode(modules.archive({})), check=True, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def served(unpacked: Path) -> Iterator[Path]:
    """The same with a server."""
    with subprocess.Popen([modules.PYTHON, unpacked / "module_server.py", *modules.IMPORTED]) as server:
        deadline = time.monotonic() + 60
        while not (unpacked / "socket").exists():
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield unpacked
        server.kill()
    (unpacked / "socket").unlink()


def run(python: str, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": "/root", "WORDS": "a=b c", "PATH": "/usr/bin"}
    return subprocess.run(
        [python, *arguments], input=program, env=environment, capture_output=True, text=True, check=False
    )


#: It fails with 4 unless Ansible's code is imported already.
REPORT = """
import atexit, os, sys
atexit.register(print, "the end")
print(sys.argv, sys.stdin.read(), sorted(os.environ.items()))
print("words", file=sys.stderr)
sys.exit(3 if "ansible" in sys.modules else 4)
"""


def test_a_program_has_its_streams_environment_and_exit_status(served: Path) -> None:
    expected = run(modules.PYTHON, REPORT)
    done = run(modules.python(str(served)), REPORT)
    assert (done.stdout, done.stderr, expected.returncode, done.returncode) == (
        expected.stdout,
        expected.stderr,
        4,
        3,
    )


@pytest.mark.parametrize(
    ("program", "status"),
    [("import sys; sys.exit()", 0), ("raise ValueError('words')", 1), ("import os; os._exit(5)", 1), ("(", 1)],
)
def test_how_a_program_ends(served: Path, program: str, status: int) -> None:
    assert run(modules.python(str(served)), program).returncode == status


def test_a_program_in_a_file_has_a_process_of_its_own(served: Path, tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(REPORT)
    done = run(modules.python(str(served)), "input", str(file), "--an-option")
    assert done.stdout.startswith(f"['{file}', '--an-option'] input ")
    assert done.returncode == 4


def test_without_a_server_it_runs_too(unpacked: Path, tmp_path: Path) -> None:
    client = tmp_path / modules.PROGRAMS[0]
    client.write_bytes((unpacked / client.name).read_bytes())
    client.chmod(0o700)
    assert run(str(client), REPORT).returncode == 4


def sent(archive: Path, words: str) -> str:
    """A program that runs a module of Ansible's from an archive, as Ansible's own do."""
    with zipfile.ZipFile(archive, "w") as made:
        for name in ("ansible/__init__.py", "ansible/modules/__init__.py"):
            made.writestr(name, "")
        made.writestr("ansible/modules/greeting.py", f"from ansible.module_utils import basic\nprint('{words}')\n")
    return f"import runpy, sys; sys.path.insert(0, {str(archive)!r}); runpy.run_module('ansible.modules.greeting')"


def test_a_module_is_compiled_once_for_each_source(served: Path, tmp_path: Path) -> None:
    seen = []
    for number, words in enumerate(["hello", "hello", "goodbye"]):
        program = sent(tmp_path / f"{number}.zip", words)
        said = run(modules.python(str(served)), program)
        seen.append((said.stdout, len(list((served / "compiled").iterdir()))))
    (first, before), again, (changed, after) = seen
    assert (first, changed) == ("hello\n", "goodbye\n")
    assert again == (first, before)
    assert after == before + 1
