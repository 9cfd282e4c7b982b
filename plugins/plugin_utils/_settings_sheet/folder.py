# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder with the sheets: compares what it has with what is wanted, and writes the differences.

PRIVATE to the collection: it can have breaking changes at any time.

`FOLDER/TENANT/ADDRESS.LANGUAGE.html` and `.pdf`; folders have mode 0700, files 0600.  A run changes only sheets of the
accounts that it is about.  One in a language or format that the run does not ask for stays while it is right, and is
removed once it is outdated.  Sheets of accounts that a tenant no longer has are removed too: they may have passwords.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from ...module_utils._files import create_file, replace_file
from . import page, pdf
from .content import Sheet

FORMATS: Final = ("html", "pdf")
_NAME: Final = re.compile(rf"(.+@.+)\.[A-Za-z0-9-]+\.(?:{'|'.join(FORMATS)})\Z")
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
# Passwords do not belong in a repository, and inventories often lie in one.
_IGNORE: Final = {".gitignore": "*\n"}


class FolderError(Exception):
    """The folder cannot be used; the message has the reason and the cure."""


@dataclass
class Change:
    """One file to write, or to remove."""

    path: str  # relative to the folder
    before: str | None  # the page that exists; None for a PDF or if there is none
    html: str | None  # the page to write or to make the PDF of; None: remove the file

    @property
    def is_pdf(self) -> bool:
        return self.path.endswith(".pdf")


@dataclass
class Plan:
    """The changes of a run."""

    changes: list[Change] = field(default_factory=list)
    unchanged: int = 0  # accounts whose sheets are all up to date


@dataclass(frozen=True)
class Wanted:
    """The sheets of one account."""

    tenant: str
    sheet: Sheet
    languages: Collection[str]


def check(folder: str) -> None:
    """Check that `folder` is missing, or that only its user can open it.

    Raises: FolderError otherwise.
    """
    try:
        status = os.stat(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise FolderError(f"{folder}: {error.strerror}") from None
    if not stat.S_ISDIR(status.st_mode):
        raise FolderError(f"{folder} is not a folder")
    if status.st_uid != os.geteuid():
        raise FolderError(f"{folder} belongs to another user; name a folder that does not exist yet")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        # Its mode is not changed here: by mistake it may be a folder that others use.
        raise FolderError(
            f"{folder} is open to others (mode {mode:04o}); name a folder that does not exist yet, "
            f"or say chmod 0700 {folder}"
        )


def compare(folder: str, wanted: Iterable[Wanted], pages: page.Pages, formats: Collection[str]) -> Plan:
    """What has to change for the sheets in `folder` to be as `wanted`."""
    plan = Plan()
    for item in wanted:
        changes = [
            change
            for language in pages.languages
            for change in _compare_one(folder, item, language, pages, formats if language in item.languages else ())
        ]
        plan.changes.extend(changes)
        plan.unchanged += not changes
    return plan


def left_over(folder: str, tenants: Iterable[str], addresses: Collection[str]) -> Iterator[Change]:
    """The removal of every sheet of `tenants` that belongs to none of `addresses`."""
    for tenant in tenants:
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(os.path.join(folder, tenant))):
                match = _NAME.match(name)
                if match and match[1] not in addresses:
                    content = _read(os.path.join(folder, tenant, name)) or b""
                    before = None if name.endswith(".pdf") else content.decode(errors="replace")
                    yield Change(os.path.join(tenant, name), before, None)


def apply(folder: str, changes: Collection[Change]) -> None:
    """Write and remove files, up to the first failure.

    Raises: FolderError or pdf.PdfError; changes before that are done.
    """
    _make_folder(folder)
    for name, content in _IGNORE.items():
        with contextlib.suppress(FileExistsError):
            create_file(os.path.join(folder, name), content.encode(), _FILE_MODE, sync=False)
    for subfolder in sorted({os.path.dirname(change.path) for change in changes}):
        _make_folder(os.path.join(folder, subfolder))
    # WeasyPrint takes half a second for each, mostly in a process of its own.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for done in [pool.submit(_apply_one, folder, change) for change in changes]:
            try:
                done.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def differences(folder: str, changes: Iterable[Change]) -> Iterator[dict[str, str]]:
    """The changed pages as Ansible's diffs, passwords masked."""
    for change in changes:
        if change.is_pdf:
            continue
        path = os.path.join(folder, change.path)
        before, after = (page.masked(html or "") for html in (change.before, change.html))
        if not before or not after:
            before, after = page.unstyled(before), page.unstyled(after)
        yield {"before_header": path, "after_header": path, "before": before, "after": after}


def _compare_one(
    folder: str, item: Wanted, language: str, pages: page.Pages, formats: Collection[str]
) -> Iterator[Change]:
    names = {kind: os.path.join(item.tenant, f"{item.sheet.address}.{language}.{kind}") for kind in FORMATS}
    present = {kind: _read(os.path.join(folder, name)) for kind, name in names.items()}
    if not formats and not any(present.values()):
        return
    html = pages.html(item.sheet, language)
    is_right: dict[str, Callable[[bytes], bool]] = {
        "html": lambda content: content == html.encode(),
        "pdf": lambda content: pdf.is_made_of(content, html),
    }
    for kind, name in names.items():
        content = present[kind]
        right = content is not None and is_right[kind](content)
        if right and _is_private(os.path.join(folder, name)):
            continue
        before = content.decode(errors="replace") if content is not None and kind == "html" else None
        if kind in formats or right:
            yield Change(name, before, html)
        elif content is not None:
            yield Change(name, before, None)


def _apply_one(folder: str, change: Change) -> None:
    path = os.path.join(folder, change.path)
    if change.html is None:
        os.unlink(path)
        return
    content = pdf.make(change.html) if change.is_pdf else change.html.encode()
    replace_file(path, content, _FILE_MODE, sync=False)


def _make_folder(path: str) -> None:
    try:
        if not os.path.isdir(path):
            os.makedirs(path, mode=_FOLDER_MODE)
        if stat.S_IMODE(os.stat(path).st_mode) != _FOLDER_MODE:
            os.chmod(path, _FOLDER_MODE)
    except OSError as error:
        raise FolderError(f"{path}: {error.strerror}") from None


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FolderError(f"{path}: {error.strerror}") from None


def _is_private(path: str) -> bool:
    status = os.lstat(path)
    return stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == _FILE_MODE
