# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role's argument specification and its defaults say the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = sorted((Path(__file__).parents[3] / "roles").iterdir())
COLLECTION = Path(__file__).parents[3] / "galaxy.yml"
PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str, "path": str, "int": int, "float": (int, float), "bool": bool, "list": list, "dict": dict, "raw": object,
}  # fmt: skip


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text()) or {}


def is_template(value: object) -> bool:
    return isinstance(value, str) and "{{" in value


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_the_specification_is_equal_to_the_defaults(role: Path) -> None:
    options = load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = load(role / "defaults/main.yml")
    specified = {name: option["default"] for name, option in options.items() if "default" in option}
    assert specified == defaults
    assert all(option.get("required") for name, option in options.items() if name not in defaults)


def described(role: Path) -> dict[str, str]:
    """The comment before each variable in the role's defaults."""
    found: dict[str, str] = {}
    comment: list[str] = []
    for line in (role / "defaults/main.yml").read_text().splitlines():
        if line.startswith("# "):
            comment.append(line.removeprefix("# "))
        elif name := re.match(r"[a-z0-9_]+(?=:)", line):
            found[name[0]], comment = " ".join(comment), []
    return found


def without_markup(text: str) -> str:
    """A description without Ansible's markup: C(systemd.time(7)) is systemd.time(7)."""
    return re.sub(r"\b[A-Z]\((?:mailhosting\.stack\.)?([^()#]*(?:\(\d\))?)(?:#role)?\)", r"\1", text)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_comments_of_the_defaults_say_what_the_specification_says(role: Path) -> None:
    options = load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    texts = {name: option["description"] for name, option in options.items() if "default" in option}
    assert described(role) == {
        name: without_markup(text if isinstance(text, str) else " ".join(text)) for name, text in texts.items()
    }


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_default_has_the_type_its_option_says(role: Path) -> None:
    options = load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    for name, option in options.items():
        default = option.get("default")
        if default is not None and not is_template(default):
            assert isinstance(default, PYTHON_TYPES[option["type"]]), name


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_variables_carry_the_name_of_their_role(role: Path) -> None:
    assert all(name.startswith(f"{role.name}_") for name in load(role / "defaults/main.yml"))
    internal = role / "vars/main.yml"
    if internal.exists():
        assert all(name.startswith(f"__{role.name}_") for name in load(internal))


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_no_role_came_with_a_later_version(role: Path) -> None:
    def number(version: str) -> list[int]:
        return [int(part) for part in version.removesuffix("-dev").split(".")]

    added = load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["version_added"]
    assert number(added) <= number(load(COLLECTION)["version"])
