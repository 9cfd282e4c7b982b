# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print every Debian package that a role installs with its defaults: the lists `__<role>_packages`."""

from __future__ import annotations

from pathlib import Path

import jinja2
import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"


def main() -> None:
    """Read each role's variables and print the packages, one a line."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - not HTML
    for role in sorted(ROLES.iterdir()):
        variables = {}
        for kind in ("defaults", "vars"):
            path = role / kind / "main.yml"
            variables |= (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
        for package in variables.get(f"__{role.name}_packages", []):
            print(environment.from_string(package).render(variables))


if __name__ == "__main__":
    main()
