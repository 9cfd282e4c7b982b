# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of mail_directory: reads and checks all files and passes them as one document."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleFileNotFound
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.vault import VaultSecretsContext
from ansible.plugins.action import ActionBase

from ..module_utils._directory import syntax
from ..module_utils._directory.model import Desired, to_document
from ..module_utils._directory.problems import BadInputError
from ..plugin_utils._piped import PipedAction
from ..plugin_utils._tenant_files import folders, schema
from ..plugin_utils._tenant_files.vault import Vault

try:
    from ansible._internal._datatag._tags import Origin  # not public; without it messages lack file and line
except ImportError:
    Origin = None

_FOLDERS = ("tenants_dir", "addresses_dir", "secrets_dir")
_OPTIONS = {
    "plans": {"type": "dict", "default": {}},
    "tenants": {"type": "list", "elements": "str", "default": []},
    "files_only": {"type": "bool", "default": False},
    "timezone": {"type": "str", "default": "UTC"},
    "lenient_domains": {"type": "list", "elements": "str", "default": list(syntax.LENIENT_DOMAINS)},
    **{option: {"type": "path"} for option in _FOLDERS},
}


class ActionModule(PipedAction):
    """Replaces the options that name files by O(document)."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = ActionBase.run(self, tmp, task_vars)
        options = self._options()
        with _without_collecting():
            inventory = self._read(options)
            if inventory.problems:
                raise AnsibleActionFail(f"Nothing was changed.\n{BadInputError(inventory.problems)}")
            if options["files_only"]:
                return {**result, "changed": False, "warnings": inventory.warnings, "declared": _declared(inventory)}
            data = document(inventory.desired)
        arguments = {
            key: value
            for key, value in self._task.args.items()
            if key not in {"plans", "files_only", "timezone", "lenient_domains", *_FOLDERS}
        }
        arguments["document"] = data
        result.update(self.execute_piped(arguments, task_vars, secret=_has_secrets(inventory)))
        result.setdefault("warnings", []).extend(inventory.warnings)
        return result

    def _options(self) -> dict[str, Any]:
        checked = ArgumentSpecValidator(_OPTIONS).validate(
            {key: value for key, value in self._task.args.items() if key in _OPTIONS}
        )
        if checked.error_messages:
            raise AnsibleActionFail("; ".join(checked.error_messages))
        options: dict[str, Any] = checked.validated_parameters
        return options

    def _read(self, options: dict[str, Any]) -> folders.Inventory:
        plans, problems = schema.plans(options["plans"], origin)
        vault = Vault(getattr(VaultSecretsContext.current(optional=True), "secrets", None) or [])
        tenants, addresses, secrets = (self._folder(options[option]) for option in _FOLDERS)
        places = folders.Folders(tenants, addresses, secrets, cache=_cache())
        try:
            lenient = syntax.lenient_domains(options["lenient_domains"])
        except ValueError as error:
            raise AnsibleActionFail(f"Nothing was changed. lenient_domains: {error}") from None
        try:
            zone = options.get("timezone", "UTC")
            inventory = folders.read(places, plans, vault.decrypt, options["tenants"], time_zone=zone, lenient=lenient)
        except ValueError as error:
            raise AnsibleActionFail(f"Nothing was changed. timezone: {error}") from None
        inventory.problems.extend(problems)
        return inventory

    def _folder(self, path: str | None) -> str | None:
        """An absolute path; a relative one is searched where a role's or playbook's files are."""
        if not path or os.path.isabs(path):
            return path or None
        try:
            found: str = self._find_needle("files", path)
        except AnsibleFileNotFound:
            found = self._loader.path_dwim(path)
        return found


def document(desired: Desired) -> str:
    """The document for the host, with its secrets."""
    return json.dumps(to_document(desired), separators=(",", ":"))


def _has_secrets(inventory: folders.Inventory) -> bool:
    tenants = inventory.desired.tenants.values()
    return any(account.password is not None for tenant in tenants for account in tenant.accounts.values())


def _declared(inventory: folders.Inventory) -> dict[str, int]:
    tenants = inventory.desired.tenants.values()
    return {
        "tenants": len(tenants),
        "accounts": sum(len(tenant.accounts) for tenant in tenants),
        "aliases": sum(len(tenant.aliases) for tenant in tenants),
    }


def origin(value: object) -> tuple[str, int]:
    """File and line of a key or value that ansible-core read from YAML; empty and 0 if it has none."""
    tag = Origin.get_tag(value) if Origin else None
    return (folders.label(tag.path), tag.line_num or 0) if tag and tag.path else ("", 0)


def _cache() -> str:
    """The user's cache folder (XDG Base Directory Specification)."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return os.path.join(root if os.path.isabs(root) else os.path.expanduser("~/.cache"), "mailhosting.stack")


@contextmanager
def _without_collecting() -> Iterator[None]:
    """No garbage collection: it takes half of the time, with hundreds of thousands of objects and no cycle."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
