# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print every Debian package that the roles declare as `__<role>_packages`, with any of OPTIONS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined
from jinja2.nativetypes import NativeEnvironment

#: Variables of inventories that add packages.
OPTIONS: tuple[dict[str, Any], ...] = ({}, {"tls_producer": "acme"})
ROLES = Path(__file__).resolve().parents[2] / "roles"
JINJA = NativeEnvironment(undefined=StrictUndefined)


def load(path: Path) -> dict[str, Any]:
    """Read a YAML file; empty if it is missing or empty."""
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def packages(role: Path, options: dict[str, Any]) -> list[str]:
    """The role's declaration: a list, or a template of one; items may be templates too."""
    variables = load(role / "defaults/main.yml") | load(role / "vars/main.yml") | options
    declared = variables.get(f"__{role.name}_packages", [])
    rendered = JINJA.from_string(declared).render(variables) if isinstance(declared, str) else declared
    return [str(JINJA.from_string(name).render(variables)) for name in rendered]


def main() -> None:
    """Print the packages of all roles, one a line."""
    for role in sorted(path for path in ROLES.iterdir() if path.is_dir()):
        for package in sorted({package for options in OPTIONS for package in packages(role, options)}):
            print(package)


if __name__ == "__main__":
    main()
