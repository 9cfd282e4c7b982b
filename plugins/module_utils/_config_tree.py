# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tree of configuration files: compared, staged, validated and swapped in as a whole.

PRIVATE to the collection: it can have breaking changes at any time.

Paths of files are relative to `dest`, the folder on the host, unless said otherwise.
"""

from __future__ import annotations

import base64
import contextlib
import grp
import json
import os
import pwd
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ._files import create_file, make_folders

#: Options of a tree.
TREE: Final[dict[str, dict[str, Any]]] = {
    "src": {"type": "path", "required": True},
    "dest": {"type": "path", "required": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "raw", "default": "0644"},
    "files": {"type": "dict", "default": {}},
    "purge": {"type": "list", "elements": "str", "default": []},
    "validate": {"type": "raw", "default": []},
}
#: Options of a task: one tree, or `trees`; and which go together.
TASK: Final[dict[str, dict[str, Any]]] = {
    "trees": {"type": "list", "elements": "dict", "options": TREE},
    **{name: {**option, "required": False} for name, option in TREE.items()},
    "absent": {"type": "list", "elements": "path", "default": []},
    # Contents may be secret.  Packed, no text of a result looks like a part of them.
    "contents": {"type": "str", "no_log": True},
}
TOGETHER: Final[dict[str, Any]] = {
    "mutually_exclusive": [("src", "trees")],
    "required_one_of": [("src", "trees")],
    "required_together": [("src", "dest")],
}

_MASK: Final = "(secret, not shown)"
_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"  # some logins lack these in PATH
_SIGNALS: Final = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}


class TreeError(Exception):
    """Why the tree stays as it is; for the operator."""


@dataclass(frozen=True)
class Entry:
    """A file, as it is or as wanted.  The content of a symbolic link is its target."""

    content: bytes
    uid: int  # -1: the host has no such user yet
    gid: int
    mode: int  # st_mode with the type, so that a link never equals a file


@dataclass(frozen=True)
class Change:
    """One path that differs: `before` is None for a new file, `after` for one to remove."""

    path: str
    before: Entry | None
    after: Entry | None
    secret: bool = False


def pack(trees: Sequence[Mapping[str, bytes]]) -> str:
    """Files by relative path, tree by tree, as one line of ASCII that `unpack` reads on the host."""
    texts = [{path: content.decode("utf-8", "surrogateescape") for path, content in tree.items()} for tree in trees]
    return base64.b64encode(zlib.compress(json.dumps(texts).encode())).decode()


def unpack(packed: str | None) -> list[dict[str, bytes]]:
    """What `pack` packed.

    Raises: TreeError if there is nothing: the module was called without its action plugin.
    """
    if not packed:
        raise TreeError("the files come from the action plugin of the same name; call it as a task")
    trees = json.loads(zlib.decompress(base64.b64decode(packed)))
    return [{path: text.encode("utf-8", "surrogateescape") for path, text in tree.items()} for tree in trees]


def entry(content: bytes, owner: str, group: str, mode: int | str, *, may_miss: bool) -> Entry:
    """The wanted file; user and group are looked up on this host.

    With `may_miss` an unknown user or group is allowed: a package that is not installed yet will create it.

    Raises: TreeError for an unknown name or mode.
    """
    uid, gid = _id(owner, pwd.getpwnam, may_miss), _id(group, grp.getgrnam, may_miss)
    return Entry(content, uid, gid, file_mode(mode))


def file_mode(mode: int | str) -> int:
    """The st_mode of a regular file with these permissions.

    Raises: TreeError if they are not permissions.
    """
    try:
        return stat.S_IFREG | (mode if isinstance(mode, int) else int(mode, 8))
    except ValueError:
        raise TreeError(f"mode {mode!r} is not an octal number in quotes, such as '0644'") from None


def _id(name: str, look_up: Callable[[str], Sequence[Any]], may_miss: bool) -> int:
    try:
        return int(name) if name.isdigit() else int(look_up(name)[2])  # pw_uid and gr_gid
    except KeyError:
        if may_miss:
            return -1
        raise TreeError(f"there is no user or group {name!r} on this host") from None


def compare(dest: str, wanted: Mapping[str, Entry], purge: Iterable[str], secret: frozenset[str]) -> list[Change]:
    """Every path under `dest` that differs from `wanted`, sorted; in the folders `purge` also those not in `wanted`.

    `dest` is a real path.

    Raises: TreeError if writing would follow a symbolic link.
    """
    paths = {_inside(path) for path in wanted}
    for folder in purge:
        paths.update(_files_under(dest, _inside(folder)))
    changes = []
    for path in sorted(paths):
        before, after = _read(dest, path), wanted.get(path)
        if before != after:
            changes.append(Change(path, before, after, path in secret))
    return changes


def _inside(path: str) -> str:
    normal = os.path.normpath(path)
    if os.path.isabs(normal) or normal.split(os.sep)[0] == os.pardir:
        raise TreeError(f"{path!r} leads out of the folder")
    return normal


def _read(dest: str, path: str) -> Entry | None:
    full = os.path.join(dest, path)
    folder = os.path.dirname(full)
    if os.path.realpath(folder) != folder:
        raise TreeError(f"{folder} leads over a symbolic link, which is not followed")
    try:
        status = os.lstat(full)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        content = os.fsencode(os.readlink(full))
    elif stat.S_ISREG(status.st_mode):
        with open(full, "rb") as file:
            content = file.read()
    else:
        raise TreeError(f"{full} is neither a regular file nor a symbolic link")
    return Entry(content, status.st_uid, status.st_gid, status.st_mode)


def _files_under(dest: str, folder: str) -> Iterator[str]:
    for root, folders, files in os.walk(os.path.join(dest, folder)):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        for name in files + links:
            yield os.path.relpath(os.path.join(root, name), dest)


def differences(dest: str, changes: Iterable[Change]) -> list[dict[str, str]]:
    """Ansible's output of --diff for each path; the first line of each side has owner and mode."""
    items = []
    for change in changes:
        full = os.path.join(dest, change.path)
        before, after = (_shown(side, change.secret) for side in (change.before, change.after))
        if before == after:
            after = f"{after}(changed)\n"
        items.append({"before_header": full, "after_header": full, "before": before, "after": after})
    return items


def _shown(side: Entry | None, secret: bool) -> str:
    if side is None:
        return ""
    content = f"{_MASK}\n" if secret else side.content.decode("utf-8", "replace")
    return f"(owner {side.uid} group {side.gid} mode {stat.S_IMODE(side.mode):04o})\n{content}"


def apply(dest: str, changes: list[Change], validate: list[str], *, check_mode: bool) -> None:
    """Stage `changes`, run the commands `validate` on the staged tree, swap file by file.

    In check mode nothing is swapped, and commands that are not installed yet are skipped.

    Raises: TreeError or OSError; `dest` is then as it was before.
    """
    commands = list(_commands(validate, may_miss=check_mode))
    if check_mode and not commands:
        return
    parent = os.path.dirname(dest)
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    # Beside dest, on the same file system, so that rename(2) can move the staged files into place.
    stage = tempfile.mkdtemp(prefix=f".{os.path.basename(dest)}.", dir=parent)
    try:
        tree = os.path.join(stage, "tree")
        os.mkdir(tree)
        if commands and os.path.isdir(dest):
            subprocess.run(["cp", "-a", "--", f"{dest}/.", tree], check=True)
        for change in changes:
            _stage(tree, change)
        for command in commands:
            _validate(command, tree, dest, changes)
        if not check_mode:
            _swap(dest, tree, os.path.join(stage, "old"), changes)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _commands(validate: Iterable[str], *, may_miss: bool) -> Iterator[list[str]]:
    for line in validate:
        name, *arguments = shlex.split(line)
        program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SBIN}")
        if program:
            yield [program, *arguments]
        elif not may_miss:
            raise TreeError(f"validate: {name} is not installed")


def _stage(tree: str, change: Change) -> None:
    staged = os.path.join(tree, change.path)
    if os.path.lexists(staged):
        os.unlink(staged)
    if change.after is None:
        return
    list(make_folders(os.path.dirname(staged)))
    after = change.after
    create_file(staged, after.content, stat.S_IMODE(after.mode), uid=after.uid, gid=after.gid)


def _validate(command: list[str], tree: str, dest: str, changes: list[Change]) -> None:
    argv = [word.replace("{}", tree) for word in command]
    run = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if run.returncode == 0:
        return
    output = f"{run.stdout}{run.stderr}".replace(tree, dest).strip()
    for change in changes:
        if change.secret and change.after:
            # A validator may quote a line of the file.  Short lines hold a brace, not a secret.
            for line in change.after.content.decode("utf-8", "replace").split("\n"):
                if len(line.strip()) >= 8:
                    output = output.replace(line.strip(), _MASK)
    raise TreeError(f"{' '.join(command)} failed ({run.returncode}), nothing was changed:\n{output}")


def _swap(dest: str, tree: str, old: str, changes: list[Change]) -> None:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        with contextlib.ExitStack() as undo:
            for number, change in enumerate(changes):
                final = os.path.join(dest, change.path)
                kept = f"{old}{number}"
                if change.after:
                    for folder in make_folders(os.path.dirname(final)):
                        undo.callback(os.rmdir, folder)
                if change.before:
                    os.link(final, kept, follow_symlinks=False)
                    undo.callback(os.replace, kept, final)
                if change.after:
                    os.replace(os.path.join(tree, change.path), final)
                    if not change.before:
                        undo.callback(os.unlink, final)
                else:
                    os.unlink(final)
            undo.pop_all()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def left_over(paths: Sequence[str]) -> list[str]:
    """Those of the absolute `paths` that exist: files, links, or folders.

    Raises: TreeError for a path of another type.
    """
    for path in paths:
        if path != os.path.normpath(path) or not os.path.isabs(path) or path.count(os.sep) < 2:
            raise TreeError(f"absent: {path!r} is not the whole path of a file or folder below another")
    return [path for path in paths if os.path.lexists(path)]


def remove(paths: Iterable[str]) -> None:
    """Remove files and links, and folders with their contents.

    Raises: OSError if that fails.
    """
    for path in paths:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def wanted_entries(
    contents: Mapping[str, bytes],
    defaults: Mapping[str, Any],
    files: Mapping[str, Mapping[str, Any] | None],
    *,
    may_miss: bool,
) -> tuple[dict[str, Entry], frozenset[str]]:
    """The wanted tree and the paths of its secret files, from the attributes `defaults` and the exceptions `files`."""
    wanted = {
        path: entry(contents[path], str(chosen["owner"]), str(chosen["group"]), chosen["mode"], may_miss=may_miss)
        for path, chosen in attributes(contents, defaults, files).items()
    }
    return wanted, frozenset(path for path, exception in files.items() if exception and exception.get("secret"))


def attributes(
    paths: Iterable[str], defaults: Mapping[str, Any], files: Mapping[str, Mapping[str, Any] | None]
) -> dict[str, dict[str, Any]]:
    """Owner, group and mode of each file, from `defaults` and the exceptions `files`.

    An exception may have `secret` too.

    Raises: TreeError if an exception has another key, or is for none of the `paths`.
    """
    chosen = {path: {name: defaults[name] for name in ("owner", "group", "mode")} for path in paths}
    for path, exception in files.items():
        unknown = sorted(set(exception or ()) - {"owner", "group", "mode", "secret"})
        if path not in chosen or unknown:
            said = f"has the unknown key {unknown[0]!r}" if unknown else "is not a file of the rendered tree"
            raise TreeError(f"files: {path!r} {said}")
        chosen[path].update(exception or {})
    return chosen
