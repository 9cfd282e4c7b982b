# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print every Debian package that the roles install, with their defaults or not: the names of their apt tasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined
from jinja2.nativetypes import NativeEnvironment

#: Variables of inventories that bring more packages.
OPTIONS: tuple[dict[str, Any], ...] = ({}, {"tls_producer": "acme"})
ROLES = Path(__file__).resolve().parents[2] / "roles"


def load(path: Path) -> Any:
    """Read a YAML file; nothing if it is missing or empty."""
    return yaml.safe_load(path.read_text()) if path.exists() else None


def packages(value: Any, variables: dict[str, Any]) -> Iterator[str]:
    """Yield the packages that an apt task's `name` comes to: a list, a name, or templates of these."""
    if isinstance(value, list):
        for item in value:
            yield from packages(item, variables)
    elif "{{" in value:
        yield from packages(
            NativeEnvironment(undefined=StrictUndefined).from_string(value).render(variables), variables
        )
    else:
        yield value


def main() -> None:
    """Read each role's tasks and print the packages, one a line."""
    for role in sorted(path for path in ROLES.iterdir() if path.is_dir()):
        variables = (load(role / "defaults/main.yml") or {}) | (load(role / "vars/main.yml") or {})
        tasks = [task for path in sorted(role.glob("tasks/*.yml")) for task in load(path) or []]
        names = [task.get("ansible.builtin.apt", {}).get("name", []) for task in tasks]
        for package in {package for options in OPTIONS for package in packages(names, variables | options)}:
            print(package)


if __name__ == "__main__":
    main()
