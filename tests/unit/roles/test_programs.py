# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a program; a change of one of them restarts it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.mailhosting.stack.plugins.plugin_utils import _programs
from ansible_collections.mailhosting.stack.plugins.plugin_utils._programs import PACKAGE, digest, made_of

ROLES = Path(__file__).parents[3] / "roles"
#: Finds the start of a program in a unit, and its name.
START = re.compile(r"/usr/lib/mailhosting/run ([\w.]+)")
PROGRAMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py") if path.parent.name != "common")


def names(program: str) -> set[str]:
    return {str(file.relative_to(PACKAGE)) for file in made_of(program) if file.is_relative_to(PACKAGE)}


def test_it_is_its_folder_and_what_that_imports() -> None:
    assert {"gate/__main__.py", "gate/counters.lua", "common/valkey.py", "common/errors.py"} <= names("gate")
    assert not {"common/asynchronous.py", "policy/__main__.py"} & names("gate")
    assert "common/asynchronous.py" in names("policy")
    assert "notices/texts/quota_warning.txt" in names("notices")
    # Of another program's package only the imported files.
    assert "gate/counters.lua" in names("cli")
    assert "gate/milter.py" not in names("cli")
    assert any(file.name == "password_hashes.py" for file in made_of("password"))


def test_a_change_of_the_floor_restarts_those_that_stand_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {program: digest(program) for program in PROGRAMS}
    changed = (PACKAGE / "common" / "valkey.py").read_bytes() + b"\n"
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: changed if path.name == "valkey.py" else read(path))
    assert {program for program in PROGRAMS if digest(program) != before[program]} == {"cli", "gate", "policy", "usage"}


def test_a_change_of_what_starts_programs_restarts_all(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {program: digest(program) for program in PROGRAMS}
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"\n" * (path.name == "run"))
    assert not [program for program in PROGRAMS if digest(program) == before[program]]


@pytest.mark.parametrize(
    ("sandbox", "restarted"),
    [
        ("mailhosting-.service.d/10-sandbox.conf.j2", set(PROGRAMS)),
        ("mailhosting-gate@.service.d/50-sandbox.conf.j2", {"gate"}),
        ("mailhosting-notices.service.d/50-sandbox.conf.j2", {"notices"}),
        ("../parts/mailboxes.j2", {"retention", "usage"}),
    ],
)
def test_a_change_of_a_sandbox_restarts_what_is_in_it(
    monkeypatch: pytest.MonkeyPatch, sandbox: str, restarted: set[str]
) -> None:
    before = {program: digest(program) for program in PROGRAMS}
    file = (_programs.SANDBOXES / sandbox).resolve(strict=True)
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"\n" * (path.resolve() == file))
    assert {program for program in PROGRAMS if digest(program) != before[program]} == restarted


def test_what_is_no_program_has_no_digest() -> None:
    with pytest.raises(ValueError, match="there is no program 'gatekeeper'"):
        digest("gatekeeper")


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_program_imports_another_but_the_commands(program: str) -> None:
    others = {name.partition("/")[0] for name in names(program)} - {program, "common", "__init__.py"}
    assert not others or program == "cli"


def test_the_floor_imports_no_program() -> None:
    assert all(name.startswith("common/") for name in names("common"))
    assert _programs.PACKAGE.name == "mailhosting"


def started() -> list[tuple[Path, str]]:
    """Every file of a role that starts a program, and its name."""
    files = sorted(path for path in ROLES.glob("*/*/**/*") if path.is_file() and "programs" not in path.parts)
    return [(file, program) for file in files for program in START.findall(file.read_text())]


def test_what_is_started_is_in_the_package() -> None:
    names = {program for _file, program in started()}
    assert len(names) >= 10
    for name in names:
        path = PACKAGE.joinpath(*name.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), name


def test_a_role_that_starts_a_program_has_it_installed() -> None:
    roles = {file.relative_to(ROLES).parts[0] for file, _program in started()}
    assert roles == {"dovecot", "gate", "notices", "password", "policy", "retention", "usage"}
    for role in roles:
        meta = yaml.safe_load((ROLES / role / "meta" / "main.yml").read_text())
        assert {"role": "mailhosting.stack.programs"} in meta["dependencies"], role


def resident() -> dict[Path, str]:
    """The units that stay resident, and their programs."""
    units = {file: program for file, program in started() if "Restart=always" in file.read_text()}
    assert sorted(units.values()) == ["gate", "notices", "policy", "usage"]
    return units


def test_what_stays_resident_says_itself_when_it_is_ready() -> None:
    for unit, program in resident().items():
        assert "\nType=notify\n" in unit.read_text(), unit
        assert "ready()" in (PACKAGE / program / "__main__.py").read_text(), program


def test_a_new_program_restarts_what_stays_resident() -> None:
    for unit, program in resident().items():
        assert f"X-Program={{{{ '{program}' | mailhosting.stack.program_digest }}}}" in unit.read_text(), unit
