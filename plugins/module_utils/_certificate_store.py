# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder that daemons read their certificates from.

PRIVATE to the collection: it can have breaking changes at any time.

    ca.pem, ca.key                                  of the own CA
    shared -> versions/shared.a1b2c3                a symbolic link
    names/<host name> -> ../versions/<host name>.d4e5f6
    versions/<name>.<random>/{fullchain.pem,key.pem}

One rename of a link replaces a certificate with its key: a daemon reads both old or both new.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ._certificates import Pair, Producer, iso
from ._files import FOLDER_MODE, create_file, make_folders

_SHARED: Final = "shared"
_NAMES: Final = "names"
_VERSIONS: Final = "versions"
_CHAIN: Final = "fullchain.pem"
_KEY: Final = "key.pem"
_CA_CHAIN: Final = "ca.pem"
_CA_KEY: Final = "ca.key"


def host_name(link: str) -> str:
    return os.path.basename(link)


@dataclass(frozen=True)
class Replacement:
    """A pair to put in place, and the reason."""

    before: Pair | None
    after: Pair
    reason: str


@dataclass(frozen=True)
class Plan:
    """The differences, by their place in the folder: `shared`, `names/<host name>`, `ca.pem`."""

    replacements: dict[str, Replacement]
    authority: Replacement | None
    stale: list[str]  # host names that have a pair but are no longer wanted
    not_after: str  # when the first of the wanted certificates expires after this plan

    @property
    def changed(self) -> bool:
        return bool(self.replacements or self.authority or self.stale)

    def named(self, *, new: bool) -> list[str]:
        """`shared` and the host names that get a first certificate (`new`), or another one."""
        links = (link for link, item in self.replacements.items() if (item.before is None) is new)
        return sorted(map(host_name, links))

    def diff(self) -> dict[str, str]:
        """Names and expiry dates of everything that changes; never a key."""
        items = dict(self.replacements)
        if self.authority:
            items[_CA_CHAIN] = self.authority
        before = [f"{link}: {item.before.described()}\n" for link, item in items.items() if item.before]
        after = [f"{link}: {item.after.described()} ({item.reason})\n" for link, item in items.items()]
        gone = [f"{link}: no longer wanted\n" for link in self.stale]
        return {"before": "".join(before + gone), "after": "".join(after)}


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Create the folder and lock it: a second run waits for the first."""
    for folder in (_NAMES, _VERSIONS):
        list(make_folders(os.path.join(path, folder)))
    lock = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def read_pair(chain: str, key: str) -> Pair | None:
    """The pair in two files; None if one of them is missing."""
    try:
        with open(chain, "rb") as chain_file, open(key, "rb") as key_file:
            return Pair(chain_file.read(), key_file.read())
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_authority(path: str) -> Pair | None:
    """The CA; None without its key.  A missing certificate reads as empty: the key can issue it anew."""
    chain, key = os.path.join(path, _CA_CHAIN), os.path.join(path, _CA_KEY)
    return read_pair(chain if os.path.exists(chain) else os.devnull, key)


def compare(
    path: str, shared: frozenset[str], host_names: Iterable[str], producer: Producer, *, purge: bool = True
) -> Plan:
    """What has to change for one pair for the names `shared`, and one for each host name.

    Without `purge` pairs of other host names are ignored.
    """
    wanted = {_SHARED: shared} | {os.path.join(_NAMES, name): frozenset({name}) for name in host_names}
    replacements, pairs = {}, []
    for link, names in wanted.items():
        before = read_pair(os.path.join(path, link, _CHAIN), os.path.join(path, link, _KEY))
        after, reason = producer.pair(names, before)
        pairs.append(after)
        if reason:
            replacements[link] = Replacement(before, after, reason)
    authority = None
    kept = read_authority(path)
    if producer.authority and producer.authority != kept:
        authority = Replacement(kept, producer.authority, "renewed" if kept else "new")
    not_after = iso(min(pair.certificate.not_valid_after_utc for pair in pairs))
    return Plan(replacements, authority, _stale(path, wanted) if purge else [], not_after)


def _stale(path: str, wanted: Container[str]) -> list[str]:
    try:
        present = sorted(os.path.join(_NAMES, name) for name in os.listdir(os.path.join(path, _NAMES)))
    except FileNotFoundError:
        return []
    return [link for link in present if link not in wanted]


def apply(path: str, plan: Plan, *, purge: bool) -> None:
    """Carry the plan out; without `purge` stale pairs stay."""
    if plan.authority:
        _write_authority(path, plan.authority.after)
    _write(path, plan.replacements)
    if purge:
        for link in plan.stale:
            os.unlink(os.path.join(path, link))
    _clean(path)


def _write_authority(path: str, authority: Pair) -> None:
    # The key first: an interrupted run then leaves a CA that can certify itself anew.
    new = tempfile.mkdtemp(dir=os.path.join(path, _VERSIONS))
    for name, content, mode in ((_CA_KEY, authority.key, 0o600), (_CA_CHAIN, authority.chain, 0o644)):
        create_file(os.path.join(new, name), content, mode)
        os.replace(os.path.join(new, name), os.path.join(path, name))


def _write(path: str, replacements: Mapping[str, Replacement]) -> None:
    folders = {}
    for link, replacement in replacements.items():
        folder = tempfile.mkdtemp(prefix=f"{os.path.basename(link)}.", dir=os.path.join(path, _VERSIONS))
        create_file(os.path.join(folder, _KEY), replacement.after.key, 0o600, sync=False)
        create_file(os.path.join(folder, _CHAIN), replacement.after.chain, 0o644, sync=False)
        os.chmod(folder, FOLDER_MODE)
        folders[link] = folder
    if folders:
        # One sync for all: an fsync for each of 4,000 files takes half a minute.
        os.sync()
    for link, folder in folders.items():
        full = os.path.join(path, link)
        new = f"{folder}.link"
        os.symlink(os.path.relpath(folder, os.path.dirname(full)), new)
        os.replace(new, full)


def _clean(path: str) -> None:
    """Remove the versions that no link refers to, those of an interrupted run too."""
    versions = os.path.join(path, _VERSIONS)
    links = [_SHARED, *(os.path.join(_NAMES, name) for name in os.listdir(os.path.join(path, _NAMES)))]
    used = {os.path.basename(os.path.realpath(os.path.join(path, link))) for link in links}
    for name in set(os.listdir(versions)) - used:
        unused = os.path.join(versions, name)
        if os.path.islink(unused):
            os.unlink(unused)
        else:
            shutil.rmtree(unused)
