# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make check` runs for the files that changed."""

from __future__ import annotations

import pytest
from ansible_collections.mailhosting.stack.tests.check import lintable, unit_tests

SOURCES = {
    "tests/unit/conftest.py": "from mailhosting.gate.charges import charges",
    "tests/unit/gate/conftest.py": "from mailhosting.common.valkey import Valkey",
    "tests/unit/gate/test_charges.py": "from mailhosting.gate.charges import charges",
    "tests/unit/gate/test_tenant_settings.py": "from mailhosting.gate import tenant_settings",
    "tests/unit/policy/test_service.py": "x = costs_of_it  # charges, tenant_settings",
    "tests/unit/roles/test_paths.py": "PROGRAM = FOLDER / 'retention.py'\nmodule('mail_info')",
}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("roles/programs/files/mailhosting/gate/charges.py", ["tests/unit/gate/test_charges.py"]),
        ("roles/programs/files/mailhosting/gate/valkey.py", ["tests/unit/gate"]),
        ("tests/unit/gate/test_tenant_settings.py", ["tests/unit/gate/test_tenant_settings.py"]),
        ("tests/unit/gate/conftest.py", ["tests/unit/gate"]),
        ("roles/gate/tasks/main.yml", ["tests/unit/roles"]),
        ("roles/programs/files/mailhosting/gate/__init__.py", []),
        ("roles/retention/templates/program/retention.py", ["tests/unit/roles/test_paths.py"]),
        ("plugins/modules/mail_info.py", ["tests/unit/roles/test_paths.py"]),
        ("tests/conftest.py", []),
        ("README.md", []),
    ],
)
def test_unit_tests_are_those_that_name_what_changed(changed: str, expected: list[str]) -> None:
    assert unit_tests([changed], SOURCES) == expected


def test_a_folder_stands_for_all_in_it() -> None:
    changed = [f"roles/programs/files/mailhosting/gate/{name}.py" for name in ("charges", "valkey")]
    assert unit_tests(changed, SOURCES) == ["tests/unit/gate"]


def test_roles_are_linted_as_a_whole_and_other_files_not_at_all() -> None:
    changed = ["roles/gate/tasks/main.yml", "roles/gate/defaults/main.yml", "playbooks/site.yml", "roles/README.md"]
    assert lintable([*changed, "README.md", "tests/check.py"]) == ["playbooks/site.yml", "roles/gate"]
