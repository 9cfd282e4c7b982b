# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cache of parsed files, between runs; the key is a file's content.

PRIVATE to the collection: it can have breaking changes at any time.

One cache file for each folder of tenants or addresses, in a folder that only its owner can write to.  It has no
password and nothing that was encrypted, and of a password hash only its place in the tenant's file.  If the cache is
damaged, the tenants' files are read again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from ...module_utils._directory import former_names, model, password_hashes, plan_syntax, syntax
from ...module_utils._directory.model import Account, Desired, Tenant
from . import located_yaml, schema

_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_SEAL_LENGTH: Final = 32


class Entry(NamedTuple):
    """One file: its text and the parsed result."""

    text: str
    tenant: Tenant


def digest(text: str) -> str:
    """A digest of a content."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class FolderCache:
    """The cache of one folder's files; without a `directory` it is always empty.

    `reading` is all else that the parsed result depends on, such as the time zone.
    """

    def __init__(self, directory: str | None, folder: str, reading: str = "UTC") -> None:
        name = f"{digest(f'{os.path.realpath(folder)} {reading}')}.json"
        self._path = os.path.join(directory, name) if directory else None
        self._digests: dict[str, str] = {}
        self._tenants: dict[str, Tenant] = {}
        if self._path:
            self._load(self._path)

    def get(self, name: str, text: str) -> Tenant | None:
        """The parsed result for a file of this name and content, if cached.  Asked once for each file."""
        if self._digests.get(name) != digest(text):
            return None
        tenant = self._tenants[name]
        for account in tenant.accounts.values():
            if account.password_hash is not None:
                begin, end = account.password_hash.split(":")
                account.password_hash = text[int(begin) : int(end)]
        return tenant

    def store(self, entries: Mapping[str, Entry]) -> None:
        """Keep `entries` and nothing else; a cache that cannot be written is ignored."""
        digests = {name: digest(entry.text) for name, entry in entries.items()}
        if self._path is None or digests == self._digests:
            return
        tenants = {name: tenant for name, entry in entries.items() if (tenant := _without_hashes(entry))}
        content = {
            "digests": {name: digests[name] for name in tenants},
            "document": model.to_document(Desired(tenants=tenants)),
        }
        with contextlib.suppress(OSError):
            _write(self._path, json.dumps(content, separators=(",", ":")).encode())

    def _load(self, path: str) -> None:
        with contextlib.suppress(OSError):
            body = _read(path)
            if body is not None:
                content = json.loads(body)
                self._digests = content["digests"]
                self._tenants = model.from_document(content["document"]).tenants


def _without_hashes(entry: Entry) -> Tenant | None:
    """The tenant with each password hash replaced by its place in the file, `begin:end`; None if one has no place."""
    accounts: dict[str, Account] = {}
    begin = 0
    for address, account in entry.tenant.accounts.items():
        if account.password_hash is None:
            accounts[address] = account
            continue
        # Accounts are in the order of the file, so one pass finds all.
        begin = entry.text.find(account.password_hash, begin)
        if begin < 0:  # written with YAML's escapes
            return None
        accounts[address] = replace(account, password_hash=f"{begin}:{begin + len(account.password_hash)}")
    return replace(entry.tenant, accounts=accounts)


def _read(path: str) -> bytes | None:
    """The content of a cache file that this version of the code wrote; else None."""
    if not _is_ours(os.lstat(os.path.dirname(path)), stat.S_ISDIR):
        return None
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        if not _is_ours(os.fstat(file.fileno()), stat.S_ISREG):
            return None
        seal = file.read(_SEAL_LENGTH)
        body = file.read()
    return body if seal == _seal(body) else None


def _write(path: str, body: bytes) -> None:
    """Write a file as a whole or not at all; only its owner can read it."""
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    if not _is_ours(os.lstat(directory), stat.S_ISDIR):
        return
    handle, temporary = tempfile.mkstemp(dir=directory)
    try:
        with open(handle, "wb") as file:
            file.write(_seal(body) + body)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def _is_ours(status: os.stat_result, is_kind: Callable[[int], bool]) -> bool:
    return is_kind(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & _WRITABLE_BY_OTHERS


def _seal(body: bytes) -> bytes:
    """A checksum of the body that also depends on the code that makes and reads it."""
    return hashlib.blake2b(body, digest_size=_SEAL_LENGTH, key=_code_version()).digest()


@functools.cache
def _code_version() -> bytes:
    version = hashlib.blake2b(getattr(syntax.idna, "__version__", "").encode())
    own = sys.modules[__name__]
    for module in (former_names, model, password_hashes, plan_syntax, syntax, located_yaml, schema, own):
        with open(str(module.__file__), "rb") as file:
            version.update(file.read())
    return version.digest()
