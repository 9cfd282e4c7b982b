# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the folders of tenants, addresses and secrets into one checked `Desired`.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from ...module_utils._directory import rules_of_items, syntax
from ...module_utils._directory.model import Desired, Tenant
from ...module_utils._directory.problems import Problem
from . import located_yaml, schema
from .cache import Entry, FolderCache
from .vault import HEADER, NOT_GIVEN, NOT_OPENED

_SUFFIX: Final = ".yml"
_SUFFIXES: Final = (_SUFFIX, ".yaml", ".json")  # Ansible reads the others elsewhere, so users try them here

_Result = TypeVar("_Result")
_ReadNode: TypeAlias = Callable[[schema.Report, str, located_yaml.Node | None], Tenant | None]


@dataclass(frozen=True)
class Folders:
    """Absolute paths on the controller; None: the operator has no such folder."""

    tenants: str | None = None
    addresses: str | None = None
    secrets: str | None = None
    cache: str | None = None  # may be deleted at any time


@dataclass
class Inventory:
    """The result.  If it has problems, `desired` must not be used."""

    desired: Desired
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read(
    folders: Folders,
    plans: dict[str, dict[str, Any]],
    decrypt: schema.Decrypt,
    only: Collection[str] = (),
    *,
    time_zone: str = "UTC",
    lenient: frozenset[str] = frozenset(syntax.LENIENT_DOMAINS),
) -> Inventory:
    """Read and check every file.  `only`: declare these tenants alone, and open only their secrets.

    A date is a day in `time_zone`.  In addresses of `lenient` domains dots may stand anywhere.

    Raises: ValueError if there is no time zone of this name.
    """
    return _Reader(folders, decrypt, time_zone, lenient).read(plans, only)


def label(path: str) -> str:
    """A path as messages show it: relative to the working directory if it is below it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


class _Folder(NamedTuple):
    """The entries of a folder that may be tenants' files, by name."""

    path: str
    entries: list[os.DirEntry[str]]


class _File(NamedTuple):
    tenant: str
    path: str
    label: str


class _Reader:
    """Reads all folders once; collects problems and warnings."""

    def __init__(self, folders: Folders, decrypt: schema.Decrypt, time_zone: str, lenient: frozenset[str]) -> None:
        self._folders = folders
        self._lenient = lenient
        self._reading = " ".join([time_zone, *sorted(lenient)])
        self._zone = syntax.time_zone(time_zone)
        self._decrypt = decrypt
        self._problems: list[Problem] = []
        self._warnings: list[str] = []

    def read(self, plans: dict[str, dict[str, Any]], only: Collection[str]) -> Inventory:
        places = self._folders
        of_tenants = self._listed("tenants_dir", places.tenants)
        of_addresses = self._listed("addresses_dir", places.addresses)
        of_secrets = self._listed("secrets_dir", places.secrets)
        if self._problems:  # without one of the folders, each of its references would be reported too
            return Inventory(Desired(), self._problems)
        if places.tenants and not of_tenants.entries:
            self._warnings.append(f"{label(places.tenants)} has no tenant's file: nothing is declared")
        tenants = self._tenants(of_tenants, schema.tenant)
        parts = self._tenants(of_addresses, schema.addresses)
        desired = Desired(plans, {name: tenant for name, tenant in tenants.items() if tenant})
        self._merge(desired, tenants, parts)
        unreadable = {name for name, tenant in [*tenants.items(), *parts.items()] if tenant is None}
        for file in self._files(of_secrets):
            if file.tenant not in tenants:
                self._without_tenant(file.label, file.tenant)
            elif not only or file.tenant in only:
                self._secrets(file, None if file.tenant in unreadable else desired.tenants[file.tenant])
        self._problems.extend(rules_of_items.check(desired))
        if not unreadable:
            self._problems.extend(rules_of_items.check_moves(desired))
        for name in sorted(set(only).difference(tenants)):
            self._add("", 0, "tenants", f"{syntax.shown(name)} has no file in tenants_dir")
        if only:
            desired.tenants = {name: tenant for name, tenant in desired.tenants.items() if name in only}
        return Inventory(desired, _once(self._problems), self._warnings)

    def _add(self, file: str, line: int, path: str, message: str) -> None:
        self._problems.append(Problem(file, line, path, message))

    def _listed(self, option: str, path: str | None) -> _Folder:
        try:
            with os.scandir(path) if path else nullcontext(()) as entries:
                found = [entry for entry in entries if entry.name.endswith(_SUFFIXES) and entry.name[0] != "."]
        except OSError as error:
            self._add("", 0, option, f"{path} cannot be read: {error.strerror}")
            found = []
        return _Folder(path or "", sorted(found, key=lambda entry: entry.name))

    def _tenants(self, folder: _Folder, read_node: _ReadNode) -> dict[str, Tenant | None]:
        """The folder's files by tenant; None for a file that cannot be read at all."""
        cache = FolderCache(self._folders.cache, folder.path, self._reading)
        found: dict[str, Tenant | None] = {}
        entries: dict[str, Entry] = {}
        for file in self._files(folder):
            found[file.tenant] = None
            text, encrypted = self._text(file)
            if text is None:
                continue
            tenant = None if encrypted else cache.get(file.tenant, text)
            cacheable = tenant is not None
            if tenant is None:
                report = schema.Report(file.label, self._decrypt, zone=self._zone, lenient=self._lenient)
                tenant = self._parsed(report, text, partial(read_node, report, file.tenant))
                cacheable = not (encrypted or report.decrypted or report.problems)
            if tenant is not None:
                tenant.file = file.label
                found[file.tenant] = tenant
                if cacheable:
                    entries[file.tenant] = Entry(text, tenant)
        cache.store(entries)
        return found

    def _merge(self, desired: Desired, tenants: dict[str, Tenant | None], parts: dict[str, Tenant | None]) -> None:
        """Add to each tenant the addresses that its addresses file may declare."""
        owners = rules_of_items.owners_of_domains(desired)
        for name, part in parts.items():
            if name not in tenants:
                self._without_tenant(label(os.path.join(str(self._folders.addresses), name + _SUFFIX)), name)
            tenant = tenants.get(name)
            if tenant is None or part is None:
                continue
            if tenant.addresses_managed_by == "panel":
                message = f"tenant {name} has addresses_managed_by: panel ({tenant.file}), so it has no addresses file"
                self._add(part.file, 1, "", message)
                continue
            foreign = [domain for domain in part.domains.values() if domain.name not in tenant.domains]
            for domain in foreign:
                message = rules_of_items.not_owned(domain.name, tenant, owners.get(domain.name))
                self._add(part.file, domain.line, domain.name, message)
            tenant.addresses_file = part.file
            names = {domain.name for domain in foreign}
            tenant.accounts = {address: item for address, item in part.accounts.items() if item.domain not in names}
            tenant.aliases = {address: item for address, item in part.aliases.items() if item.domain not in names}

    def _without_tenant(self, file: str, name: str) -> None:
        folder = label(self._folders.tenants) if self._folders.tenants else "tenants_dir"
        self._add(file, 1, "", f"there is no {os.path.join(folder, name + _SUFFIX)} for it to belong to")

    def _secrets(self, file: _File, tenant: Tenant | None) -> None:
        """Add passwords to the tenant's accounts; without a tenant only check the file itself."""
        text, _vaulted = self._text(file)
        if text is None:
            return
        report = schema.Report(file.label, self._decrypt)
        passwords = self._parsed(report, text, partial(schema.secrets, report), secret=True) or {}
        if tenant is None:
            return
        for address, (password, line) in passwords.items():
            if address in tenant.accounts:
                tenant.accounts[address].password = password
            else:
                where = tenant.addresses_file or "any addresses file"
                message = f"no account of tenant {tenant.name} in {where} has this address"
                domain = address.rpartition("@")[2]
                elsewhere = rules_of_items.is_renamed(domain, tenant) or rules_of_items.is_moved(domain, tenant)
                self._add(file.label, line, address, elsewhere or message)

    def _parsed(
        self,
        report: schema.Report,
        text: str,
        read_node: Callable[[located_yaml.Node | None], _Result | None],
        *,
        secret: bool = False,
    ) -> _Result | None:
        result = None
        try:
            result = read_node(located_yaml.parse(text))
        except located_yaml.BrokenYamlError as error:
            message = (
                "broken YAML (not shown): a password with special characters needs quotes" if secret else str(error)
            )
            report.add(error.line, "", message)
        self._problems.extend(report.problems)
        return result

    def _files(self, folder: _Folder) -> Iterator[_File]:
        shown = label(folder.path) if folder.entries else ""
        for entry in folder.entries:
            file = _File(
                entry.name.removesuffix(_SUFFIX), entry.path, os.path.join(shown, syntax.printable(entry.name))
            )
            message = _not_a_tenants_file(entry, file.tenant, folder.path)
            if message:
                self._add(file.label, 1, "", message)
            else:
                yield file

    def _text(self, file: _File) -> tuple[str | None, bool]:
        """The file's text, decrypted if it is a vault, and whether it is one; None if it cannot be read."""
        try:
            with open(file.path, "rb") as stream:
                raw = stream.read()
            text = raw.decode("utf-8-sig")
            if text.startswith(HEADER):
                return self._decrypt(text), True
        except OSError as error:
            self._add(file.label, 1, "", f"cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            self._add(file.label, raw[: error.start].count(b"\n") + 1, "", "is not UTF-8")
        except ValueError as error:
            self._add(file.label, 1, "", str(error))
        else:
            return text, False
        return None, False


def _not_a_tenants_file(entry: os.DirEntry[str], name: str, folder: str) -> str:
    """Why an entry in a folder of tenants cannot be a tenant's file; empty if it can."""
    if name == entry.name:
        return f"is not read: the name of a tenant's file ends in {_SUFFIX}"
    try:
        syntax.tenant_name(name)
    except ValueError as error:
        return str(error)
    # A customer who owns one folder must not make us read a file of another one.
    if entry.is_symlink() and os.path.dirname(os.path.realpath(entry.path)) != os.path.realpath(folder):
        return "is a symbolic link out of its folder"
    return "" if entry.is_file() else "is not a file"


def _once(problems: list[Problem]) -> list[Problem]:
    """The problems, with one line for a vault password that is missing or wrong in many places."""
    result = []
    places = Counter(problem.message for problem in problems)
    for problem in sorted(problems):
        more = places[problem.message] - 1
        if problem.message not in (NOT_GIVEN, NOT_OPENED):
            result.append(problem)
        elif more >= 0:
            result.append(replace(problem, message=f"{problem.message}; {more} more like this") if more else problem)
            places[problem.message] = 0
    return result
