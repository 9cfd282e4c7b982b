# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the differences from origin/main in two minutes: style, types, and the unit tests that name a changed file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

#: Tests of roles' tasks, variables and argument specifications.
ROLES = "tests/unit/roles"


def changed() -> list[str]:
    """Files that differ from origin/main, or that git does not know.

    Raises: CalledProcessError if git fails.
    """
    asked = (
        ["git", "diff", "--name-only", "--diff-filter=d", "--merge-base", "origin/main"],
        ["git", "ls-files", "--others", "--exclude-standard"],
    )
    said = [subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout for command in asked]
    return sorted(set("".join(said).splitlines()))


def unit_tests(files: Iterable[str], sources: Mapping[str, str]) -> list[str]:
    """The tests to run for `files`: modules that name one of them, and whole folders whose helpers do.

    `sources` are the texts of all files under tests/unit, by path.
    """
    found = set()
    for file in map(PurePosixPath, files):
        if file.parts[0] == "roles" and file.suffix in (".yml", ".j2"):
            found.add(ROLES)
        if file.suffix != ".py" or file.name in ("__init__.py", "__main__.py"):
            continue
        stem = re.escape(file.stem)
        # An import, a path, or an Ansible module by its name.
        names = re.compile(rf"^\s*(?:from|import) .*\b{stem}\b|\b{stem}\.py\b|[\"']{stem}[\"']", flags=re.MULTILINE)
        for path, text in sources.items():
            if path == str(file) or names.search(text):
                test = PurePosixPath(path)
                found.add(path if test.name.startswith("test_") else str(test.parent))
        found.discard("tests/unit")  # all tests share its helpers: run `make units` for those
    return sorted(path for path in found if not found.intersection(map(str, PurePosixPath(path).parents)))


def lintable(files: Iterable[str]) -> list[str]:
    """Paths for ansible-lint among `files`: roles as a whole, and playbooks."""
    found = set()
    for file in map(PurePosixPath, files):
        if file.parts[0] == "roles" and len(file.parts) > 2:
            found.add(str(PurePosixPath(*file.parts[:2])))
        elif file.parts[0] in ("playbooks", "molecule") and file.suffix == ".yml":
            found.add(str(file))
    return sorted(found)


def main() -> None:
    """Run all checks; exit with 1 if one failed."""
    files = changed()
    sources = {str(path): path.read_text() for path in sorted(Path("tests/unit").rglob("*.py"))}
    yaml = [file for file in files if file.endswith((".yml", ".yaml"))]
    commands = [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]]
    commands += [["yamllint", "--strict", *yaml]] if yaml else []
    commands += [["ansible-lint", "--nocolor", *found] for found in [lintable(files)] if found]
    options = ["--quiet", "--override-ini=cache_dir=.cache/pytest"]
    tests = unit_tests(files, sources)
    if not all(test.endswith(".py") for test in tests):
        options.append(f"--numprocesses={os.cpu_count()}")
    commands += [["pytest", *options, *tests]] if tests else []
    failed = [command for command in commands if subprocess.run(command, check=False).returncode]
    for command in failed:
        print(f"check: failed: {' '.join(command)[:150]}", file=sys.stderr)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
