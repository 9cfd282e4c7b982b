# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings sheets: reads the tenants' files as mail_directory does, and writes pages on the controller."""

from __future__ import annotations

import os
import re
from typing import Any

import yaml
from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ..module_utils._directory import syntax
from ..module_utils._directory.problems import BadInputError, Problem
from ..plugin_utils._settings_sheet import content, folder, page, pdf, selection
from ..plugin_utils._tenant_files import folders
from . import mail_directory

_SHOWN = 100  # files in the result
_NOTHING = "No sheet was written."
_LISTS = ("addresses", "tenants", "languages", "support")
_OPTIONS: dict[str, dict[str, Any]] = {
    "plans": {"type": "dict", "default": {}},
    **{option: {"type": "path"} for option in ("tenants_dir", "addresses_dir", "secrets_dir", "templates_dir")},
    **{option: {"type": "list", "elements": "str", "default": []} for option in _LISTS},
    "lenient_domains": {"type": "list", "elements": "str", "default": list(syntax.LENIENT_DOMAINS)},
    "formats": {"type": "list", "elements": "str", "default": [], "choices": list(folder.FORMATS)},
    "dest": {"type": "path", "required": True},
    "hostname": {"type": "str", "required": True},
    "tls_names": {"type": "str", "choices": list(content.TLS_NAMES), "default": "shared"},
    "challenge_auth": {"type": "str", "choices": list(content.CHALLENGE_AUTH), "default": "before_tls"},
    "message_size_limit": {"type": "int"},
    "with_password": {"type": "bool", "default": False},
    "provider_name": {"type": "str", "default": ""},
}


class ActionModule(mail_directory.ActionModule):
    """Runs on the controller alone."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = ActionBase.run(self, tmp, task_vars)
        options = self._options()
        # Never relative to the playbook: that may be an installed collection.
        dest = os.path.abspath(options["dest"])
        try:
            not_an_inventory(dest, (task_vars or {}).get("ansible_inventory_sources") or [], "sheets")
            folder.check(dest)
            chosen = self._chosen(options)
            plan, warning = self._plan(options, dest, chosen.accounts)
            addresses = {item.account.address for item in chosen.accounts}
            plan.changes.extend(folder.left_over(dest, chosen.tenants, addresses))
        except (folder.FolderError, page.PageError, OSError) as error:
            raise AnsibleActionFail(f"{_NOTHING} {error}") from None
        if plan.changes and not self._task.check_mode:
            try:
                folder.apply(dest, plan.changes)
            except (folder.FolderError, pdf.PdfError, OSError) as error:
                raise AnsibleActionFail(f"Not all sheets were written. {error}") from None
        result.update(_outcome(dest, plan, chosen))
        if warning:
            result.setdefault("warnings", []).append(warning)
        if self._task.diff:
            result["diff"] = list(folder.differences(dest, plan.changes))
        return result

    def _options(self) -> dict[str, Any]:
        checked = ArgumentSpecValidator(_OPTIONS).validate(
            {
                key: _list(value) if _OPTIONS.get(key, {}).get("type") == "list" else value
                for key, value in self._task.args.items()
            }
        )
        if checked.error_messages:
            raise AnsibleActionFail("; ".join(checked.error_messages))
        options: dict[str, Any] = checked.validated_parameters
        return options

    def _chosen(self, options: dict[str, Any]) -> selection.Selection:
        """The accounts that get a sheet, with their passwords if the task asks for them."""
        with mail_directory._without_collecting():
            found = selection.select(
                self._sound(options, secrets=None, tenants=[]).desired, options["addresses"], options["tenants"]
            )
            _stop(found.problems)
            if options["with_password"] and found.accounts:
                # Only now, and only of these tenants: other vaults stay closed.
                tenants = sorted({chosen.tenant.name for chosen in found.accounts})
                desired = self._sound(options, secrets=options["secrets_dir"], tenants=tenants).desired
                for chosen in found.accounts:
                    chosen.account = desired.tenants[chosen.tenant.name].accounts[chosen.account.address]
                secrets = folders.label(self._folder(options["secrets_dir"]) or "secrets")
                _stop(selection.without_password(found.accounts, secrets))
        return found

    def _plan(self, options: dict[str, Any], dest: str, accounts: list[selection.Chosen]) -> tuple[folder.Plan, str]:
        """The changes to make, and a warning."""
        provider = options["provider_name"] or options["hostname"]
        pages = page.Pages(self._folder(options["templates_dir"]), provider, options["support"])
        wanted = _wanted(accounts, options, pages.languages)
        formats, warning = _formats(options["formats"], {name for item in wanted for name in item.languages})
        return folder.compare(dest, wanted, pages, formats), warning

    def _sound(self, options: dict[str, Any], *, secrets: str | None, tenants: list[str]) -> folders.Inventory:
        inventory = self._read({**options, "secrets_dir": secrets, "tenants": tenants})
        _stop(inventory.problems)
        return inventory


def _list(value: object) -> object:
    """A list that `-e name=[a,b]` passed as a text; its items stay texts."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return yaml.load(value, yaml.BaseLoader)  # noqa: S506 - it makes only texts
        except yaml.YAMLError:
            return value
    return value


def _stop(problems: list[Problem]) -> None:
    if problems:
        raise AnsibleActionFail(f"{_NOTHING}\n{BadInputError(problems)}")


def _wanted(
    accounts: list[selection.Chosen], options: dict[str, Any], languages: tuple[str, ...]
) -> list[folder.Wanted]:
    host = content.Host(
        options["hostname"], options["message_size_limit"], options["tls_names"], options["challenge_auth"]
    )
    unknown = sorted(set(options["languages"]).difference(languages))
    if unknown:
        raise page.PageError(f"languages: there are no texts in {', '.join(unknown)}; there are {', '.join(languages)}")
    wanted = []
    for chosen in accounts:
        own = chosen.tenant.language
        if not options["languages"] and own not in languages:
            raise page.PageError(f"tenant {chosen.tenant.name}: there are no texts in its language, {own}")
        sheet = content.sheet(chosen.tenant, chosen.account, chosen.plan, host, with_password=options["with_password"])
        wanted.append(folder.Wanted(chosen.tenant.name, sheet, options["languages"] or (own,)))
    return wanted


def _formats(asked: list[str], languages: set[str]) -> tuple[list[str], str]:
    """The formats to write, and a warning if one that was asked for cannot be made."""
    if asked and "pdf" not in asked:
        return asked, ""
    obstacle = pdf.obstacle(languages)
    if obstacle and asked:
        raise page.PageError(f"formats: no PDF can be made here: {obstacle}")
    if obstacle:
        return ["html"], f"The sheets are HTML only, because {obstacle}."
    return asked or list(folder.FORMATS), ""


def not_an_inventory(dest: str, sources: list[str], what: str) -> None:
    """Check that Ansible will not read `what` is written in `dest` as inventories.

    Raises: FolderError if it would.
    """
    ignored = re.compile("|".join(constants.INVENTORY_IGNORE_PATTERNS or [r"(?!)"]))
    for source in sources:
        below = os.path.relpath(dest, source)
        if not os.path.isdir(source) or below.startswith(".."):
            continue
        if not any(ignored.search(part) or part.startswith(".") for part in below.split(os.sep)):
            raise folder.FolderError(
                f"{dest} is in an inventory's folder, and Ansible would read the {what} as inventories: add "
                f"^{os.path.basename(dest)}$ to ignore_patterns in the section [inventory] of your ansible.cfg, "
                "or name the inventory's file"
            )


def _outcome(dest: str, plan: folder.Plan, chosen: selection.Selection) -> dict[str, Any]:
    written = [change.path for change in plan.changes if change.html is not None]
    removed = [change.path for change in plan.changes if change.html is None]
    counts = {
        "written": len(written),
        "removed": len(removed),
        "unchanged": plan.unchanged,
        "without": len(chosen.without),
    }
    return {
        "changed": bool(plan.changes),
        "folder": dest,
        "files": written[:_SHOWN],
        "removed": removed[:_SHOWN],
        "without": chosen.without[:_SHOWN],
        "counts": counts,
    }
