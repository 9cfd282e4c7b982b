# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules' documentation says is what they take and return."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

PLUGINS = Path(__file__).parents[3] / "plugins"
MODULES = [
    "mail_account",
    "mail_alias",
    "mail_directory",
    "mail_info",
    "mail_legacy_keys",
    "mail_schema",
    "mail_tenant",
    "mail_usage_info",
]
COLLECTION = "ansible_collections.mailhosting.stack.plugins"


class _Spec(Exception):
    """Carries the argument spec out of a module's main."""


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"{COLLECTION}.modules.{request.param}")


def documentation(module: ModuleType) -> dict[str, Any]:
    """The documentation with its fragments, options and attributes merged."""
    own: dict[str, Any] = yaml.safe_load(module.DOCUMENTATION)
    for name in own["extends_documentation_fragment"]:
        _namespace, _collection, file, *part = name.split(".")
        fragment = importlib.import_module(f"{COLLECTION}.doc_fragments.{file}").ModuleDocFragment
        text = yaml.safe_load(getattr(fragment, part[0].upper() if part else "DOCUMENTATION"))
        for section in ("options", "attributes"):
            own[section] = {**text.get(section, {}), **own.get(section, {})}
    return own


def argument_spec(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    def take(argument_spec: dict[str, Any], **_rest: Any) -> None:
        raise _Spec(argument_spec)

    monkeypatch.setattr(module, "AnsibleModule", take)
    with pytest.raises(_Spec) as raised:
        module.main()
    spec: dict[str, Any] = raised.value.args[0]
    return spec


def compare(documented: dict[str, Any], spec: dict[str, Any]) -> None:
    assert documented.keys() == spec.keys()
    for name, option in documented.items():
        for key in ("type", "elements", "default", "choices", "required"):
            assert option.get(key) == spec[name].get(key), f"{name}.{key}"
        assert option["description"]
        compare(option.get("suboptions", {}), spec[name].get("options", {}))


def test_every_option_is_documented_as_it_is(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    compare(documentation(module)["options"], argument_spec(module, monkeypatch))


def test_every_module_says_what_its_modes_do(module: ModuleType) -> None:
    attributes = documentation(module)["attributes"]
    assert attributes.keys() >= {"check_mode", "diff_mode", "idempotent", "action_group"}
    assert attributes["check_mode"]["support"] == "full"


def test_every_module_is_in_the_action_group() -> None:
    runtime = yaml.safe_load((PLUGINS.parent / "meta" / "runtime.yml").read_text())
    assert runtime["action_groups"]["directory"] == MODULES


def test_examples_use_options_that_exist(module: ModuleType) -> None:
    name = module.__name__.rpartition(".")[2]
    tasks = [task for task in yaml.safe_load(module.EXAMPLES) if f"mailhosting.stack.{name}" in task]
    assert tasks
    for task in tasks:
        assert task["name"][0].isupper()
        assert (task[f"mailhosting.stack.{name}"] or {}).keys() <= documentation(module)["options"].keys()


def test_what_is_returned_is_documented(module: ModuleType) -> None:
    for value in yaml.safe_load(module.RETURN).values():
        assert value.keys() >= {"description", "type", "returned"}


def test_every_module_of_the_directory_is_tested_here() -> None:
    imports = "from ..module_utils._directory"
    assert sorted(path.stem for path in (PLUGINS / "modules").glob("*.py") if imports in path.read_text()) == MODULES
