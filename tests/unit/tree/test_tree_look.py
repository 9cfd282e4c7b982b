# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The quick check before config_tree's module reports no difference only if the module would."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils import _config_tree
from ansible_collections.mailhosting.stack.plugins.plugin_utils import _tree_look

CONTENTS = {"main.cf": b"main\n", "sql/alias.cf": b"alias \xff\n", "deep/er/it's new.cf": b""}


def options(dest: Path, **others: Any) -> dict[str, Any]:
    return {
        "dest": str(dest),
        "owner": pwd.getpwuid(os.getuid()).pw_name,
        "group": grp.getgrgid(os.getgid()).gr_name,
        "mode": "0640",
        "files": {"sql/alias.cf": {"mode": "0600", "secret": True}, "main.cf": None},
        "purge": ["sql", "deep"],
        **others,
    }


def is_there(wanted: dict[str, Any], contents: dict[str, bytes] = CONTENTS) -> bool:
    command = ["sh", "-c", _tree_look.command(wanted, contents)]
    looked = subprocess.run(command, capture_output=True, text=True, check=False)
    same = sorted(looked.stdout.splitlines()) == sorted(_tree_look.expected(wanted, contents))
    return looked.returncode == 0 and same


def changes(wanted: dict[str, Any], contents: dict[str, bytes] = CONTENTS) -> list[_config_tree.Change]:
    entries, secret = _config_tree.wanted_entries(contents, wanted, wanted["files"], may_miss=False)
    return _config_tree.compare(wanted["dest"], entries, wanted["purge"], secret)


@pytest.fixture(name="dest")
def _dest(tmp_path: Path) -> Path:
    dest = tmp_path / "de st"
    _config_tree.apply(str(dest), changes(options(dest)), [], check_mode=False)
    (dest / "foreign.cf").touch()
    return dest


@pytest.mark.parametrize("purge", [["sql", "deep"], ["deep/er"], []])
def test_a_tree_that_was_brought_is_there(dest: Path, purge: list[str]) -> None:
    assert is_there(options(dest, purge=purge))


def test_a_folder_that_is_ours_alone_is_there(dest: Path) -> None:
    (dest / "foreign.cf").unlink()
    assert is_there(options(dest, purge=["."]))


def into_a_link(dest: Path) -> None:
    (dest / "main.cf").rename(dest / "elsewhere")
    (dest / "main.cf").symlink_to("elsewhere")


@pytest.mark.parametrize(
    "act",
    [
        lambda dest: (dest / "main.cf").write_bytes(b"other\n"),
        lambda dest: (dest / "main.cf").chmod(0o644),
        lambda dest: (dest / "main.cf").chmod(0o4640),
        lambda dest: (dest / "main.cf").unlink(),
        into_a_link,
        lambda dest: (dest / "sql/stale.cf").touch(),
        lambda dest: (dest / "sql/stale.cf").symlink_to("alias.cf"),
        lambda dest: (dest / "sql/folder").symlink_to(dest / "deep"),
        lambda dest: (dest / "deep/er/\n").touch(),
    ],
)
def test_what_the_module_would_change_is_seen(dest: Path, act: Callable[[Path], object]) -> None:
    act(dest)
    assert changes(options(dest))
    assert not is_there(options(dest))


@pytest.mark.parametrize("wrong", [{"owner": "nobody"}, {"group": "nogroup"}, {"mode": 0o600}, {"files": {}}])
def test_other_attributes_are_seen(dest: Path, wrong: dict[str, Any]) -> None:
    assert changes(options(dest, **wrong))
    assert not is_there(options(dest, **wrong))


def test_a_folder_that_is_a_link_is_left_to_the_module(dest: Path) -> None:
    (dest / "deep").rename(dest.parent / "moved")
    (dest / "deep").symlink_to(dest.parent / "moved")
    with pytest.raises(_config_tree.TreeError, match="symbolic link"):
        changes(options(dest, purge=[]))
    assert not is_there(options(dest, purge=[]))


def test_dest_itself_may_be_a_link(dest: Path) -> None:
    link = dest.parent / "link"
    link.symlink_to(dest)
    assert is_there(options(link))


def test_a_missing_tree_is_seen(tmp_path: Path) -> None:
    assert not is_there(options(tmp_path / "nowhere"))
    assert not is_there(options(tmp_path, files={}, purge=[]), {})


def test_what_shall_be_absent_is_seen(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("old folder", "it's.py", "link")]

    def look() -> int:
        return subprocess.run(["sh", "-c", _tree_look.none_of(paths)], check=False).returncode

    assert look() == 0
    (tmp_path / "link").symlink_to("nowhere")
    assert look() == 1
    (tmp_path / "link").unlink()
    (tmp_path / "it's.py").touch()
    assert look() == 1
    (tmp_path / "it's.py").unlink()
    (tmp_path / "old folder").mkdir()
    assert look() == 1
    assert subprocess.run(["sh", "-c", _tree_look.none_of([])], check=False).returncode == 0


def test_a_wrong_exception_is_an_error_though_all_is_there(dest: Path) -> None:
    with pytest.raises(_config_tree.TreeError, match=r"'nosuch\.cf' is not a file of the rendered tree"):
        is_there(options(dest, files={"nosuch.cf": {}}))
