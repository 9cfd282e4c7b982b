# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules' documentation against the options they take and the results they return."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Set
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.changes import Settings
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.checks_after import host_requirements
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import PLAN_DEFAULTS, Autoreply

from .build import HASH, account, alias, desired, forward, tenant
from .conftest import Run, See

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


class _SpecError(Exception):
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
        raise _SpecError(argument_spec)

    monkeypatch.setattr(module, "AnsibleModule", take)
    with pytest.raises(_SpecError) as raised:
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


@pytest.fixture
def result(module: ModuleType, run: Run, sync: Run, see: See, tmp_path: Path) -> dict[str, Any]:
    """A result of the module with at least one object of each kind."""
    until = datetime.now(UTC) + timedelta(days=1)
    taro = account("taro@acme.example", password_hash=HASH, forward=forward("x@elsewhere.example"))
    taro.autoreply = Autoreply("Back on Monday.", end=int(until.timestamp()))
    items = (taro, "jiro@acme.example", alias("sales@acme.example", taro.address))
    sync(desired(tenant("acme", *items)))
    run("mail_tenant", name="bolt", plan="basic", domains=[{"name": "bolt.example"}])
    run("mail_account", address="bill@bolt.example", password_hash=HASH, hold=[{"scope": "send", "reason": "test"}])
    see("vmail", "SELECT v1.record_usage(jsonb_object_agg(account_id, 1000)) FROM v1.usage_account")
    see("vmail", "SELECT v1.record_day(current_date)")
    name = module.__name__.rpartition(".")[2]
    if name == "mail_directory":
        return sync(desired(tenant("acme", *items, overrides={"mailbox_quota": 500})))
    options: dict[str, dict[str, Any]] = {
        "mail_account": {"address": "bill@bolt.example", "quota": "500"},
        "mail_alias": {"address": "info@bolt.example", "targets": [taro.address]},
        "mail_info": {"gather_subset": list(yaml.safe_load(module.RETURN))},
        "mail_legacy_keys": {"keys": str(tmp_path / "legacy.keys"), "check": True},
        "mail_schema": {"fingerprint_key": str(tmp_path / "key"), "legacy_keys": str(tmp_path / "legacy.keys")},
        "mail_tenant": {"name": "bolt", "overrides": {"tenant_quota": "500"}},
    }
    return run(name, **options.get(name, {}))


#: Keys that every module returns.
COMMON = {"changed", "diff", "warnings"}
#: Keys that only an action plugin returns.
OF_THE_ACTION = {"declared"}
#: Keys in mappings that are described without "contains".
DESCRIBED = {
    "plans": set(),
    "aliases": {"targets", "origin"},
    "host": host_requirements(Settings({}, {}, {})).keys(),
    "counts": {"created", "changed", "renamed", "closed", "restored", "removed", "unchanged", "undeclared"},
}


def of_one(value: Any, keys: Set[str]) -> list[dict[str, Any]]:
    """The mappings that have `keys`: `value` itself, or its elements, or its values by name."""
    if isinstance(value, Mapping) and value.keys() & keys:
        return [dict(value)]
    return list(value.values() if isinstance(value, Mapping) else value)


def test_what_is_returned_is_documented(module: ModuleType, result: dict[str, Any]) -> None:
    documented = yaml.safe_load(module.RETURN)
    assert result.keys() - COMMON == documented.keys() - OF_THE_ACTION
    for name, value in documented.items():
        assert value.keys() >= {"description", "type", "returned"}
        keys = value["contains"].keys() if "contains" in value else DESCRIBED.get(name)
        if keys:
            assert value.get("sample"), name
            assert result[name], name
            for shown in of_one(value["sample"], keys) + of_one(result[name], keys):
                assert shown.keys() == keys, name


def test_the_sample_of_settings_has_all_plan_keys() -> None:
    from_module = importlib.import_module(f"{COLLECTION}.modules.mail_info")
    (shown,) = yaml.safe_load(from_module.RETURN)["tenants"]["sample"].values()
    assert shown["settings"].keys() == PLAN_DEFAULTS.keys()


def test_every_module_of_the_directory_is_tested_here() -> None:
    imports = "from ..module_utils._directory_module"
    assert sorted(path.stem for path in (PLUGINS / "modules").glob("*.py") if imports in path.read_text()) == MODULES
