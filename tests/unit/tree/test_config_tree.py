# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pure part of config_tree: comparing, staging, validating, swapping, rolling back."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils import _config_tree as tree

from .failing import failing_at

OWNER, GROUP = str(os.getuid()), str(os.getgid())


def entries(files: dict[str, str], mode: str = "0644") -> dict[str, tree.Entry]:
    return {path: tree.entry(text.encode(), OWNER, GROUP, mode, may_miss=False) for path, text in files.items()}


def bring(
    dest: Path,
    wanted: dict[str, tree.Entry],
    purge: Collection[str] = (),
    secret: Collection[str] = (),
    validate: Collection[str] = (),
    check_mode: bool = False,
) -> list[str]:
    changes = tree.compare(str(dest), wanted, purge, frozenset(secret))
    if changes:
        tree.apply(str(dest), changes, list(validate), check_mode=check_mode)
    return [change.path for change in changes]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def snapshot(root: Path) -> dict[str, tuple[bytes, int, int]]:
    """All that a daemon can notice below `root`, inode numbers of files included."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = b"" if path.is_dir() else path.read_bytes()
        inode = 0 if path.is_dir() else status.st_ino
        found[str(path.relative_to(root))] = (content, status.st_mode, inode)
    return found


@pytest.fixture(name="dest")
def _dest(tmp_path: Path) -> Path:
    dest = tmp_path / "etc" / "demo"
    (dest / "sql").mkdir(parents=True)
    (dest / "main.cf").write_text("old main\n")
    (dest / "foreign.cf").write_text("foreign\n")
    (dest / "sql" / "stale.cf").write_text("stale\n")
    (dest / "link.cf").symlink_to("foreign.cf")
    for path in ("main.cf", "foreign.cf", "sql/stale.cf"):
        (dest / path).chmod(0o644)
    return dest


WANTED = {"main.cf": "new main\n", "sql/alias.cf": "alias\n", "deep/er/new.cf": "new\n", "link.cf": "a file now\n"}
CHANGED = ["deep/er/new.cf", "link.cf", "main.cf", "sql/alias.cf", "sql/stale.cf"]


def test_brings_the_tree_and_then_has_nothing_to_do(dest: Path) -> None:
    assert bring(dest, entries(WANTED), purge=["sql"]) == CHANGED
    assert {path: (dest / path).read_text() for path in WANTED} == WANTED
    assert not (dest / "link.cf").is_symlink()
    assert not (dest / "sql/stale.cf").exists()
    assert (dest / "foreign.cf").read_text() == "foreign\n"
    assert bring(dest, entries(WANTED), purge=["sql"]) == []
    assert names(dest.parent) == ["demo"], "the staging folder is left behind"


def test_makes_dest_and_its_parents_readable_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        bring(tmp_path / "a" / "b", entries({"c/x": "1"}))
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("a", "a/b", "a/b/c", "a/b/c/x")]
    assert modes == [0o755, 0o755, 0o755, 0o644]


def test_a_wrong_mode_alone_is_a_change(dest: Path) -> None:
    bring(dest, entries({"main.cf": "new\n"}))
    (dest / "main.cf").chmod(0o666)
    assert bring(dest, entries({"main.cf": "new\n"})) == ["main.cf"]
    assert stat.S_IMODE((dest / "main.cf").stat().st_mode) == 0o644


def test_unchanged_tree_is_neither_staged_nor_validated(dest: Path, tmp_path: Path) -> None:
    bring(dest, entries({"main.cf": "new\n"}))
    assert bring(dest, entries({"main.cf": "new\n"}), validate=[f"touch {tmp_path}/ran"]) == []
    assert not (tmp_path / "ran").exists()


def test_validator_sees_the_whole_tree_as_it_would_be(dest: Path) -> None:
    seen = "sh -c 'cd {} && cat main.cf foreign.cf sql/alias.cf && ! ls sql/stale.cf && test -f link.cf && exit 7'"
    with pytest.raises(tree.TreeError, match=r"failed \(7\)") as failure:
        bring(dest, entries(WANTED), purge=["sql"], validate=[seen])
    assert "new main\nforeign\nalias\n" in str(failure.value)


def test_failed_validation_changes_nothing_and_shows_the_checkers_words(dest: Path) -> None:
    before = snapshot(dest.parent)
    complain = "sh -c 'echo bad line in {}/main.cf >&2; exit 1'"
    with pytest.raises(tree.TreeError, match=f"bad line in {dest}/main.cf"):
        bring(dest, entries(WANTED), purge=["sql"], validate=["true", complain])
    assert snapshot(dest.parent) == before


def test_secret_lines_are_masked_in_the_checkers_words(dest: Path) -> None:
    wanted = entries({"main.cf": "x\n", "secret.cf": "password = correct horse\n"}, mode="0600")
    with pytest.raises(tree.TreeError) as failure:
        bring(dest, wanted, secret={"secret.cf"}, validate=["sh -c 'cat {}/secret.cf; exit 1'"])
    assert "horse" not in str(failure.value)
    assert "(secret, not shown)" in str(failure.value)


def test_a_failure_at_any_step_is_rolled_back(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(dest.parent)
    steps = ["link", "replace", "unlink", "mkdir", "chmod", "fchown", "fchmod", "fsync"]

    for nth in range(1, 27):
        with pytest.raises(OSError, match="No space left"), failing_at(monkeypatch, nth, steps):
            bring(dest, entries(WANTED), purge=["sql"])
        assert snapshot(dest.parent) == before, f"step {nth}"
    assert bring(dest, entries(WANTED), purge=["sql"]) == CHANGED


def test_a_signal_waits_until_the_swap_is_over(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, stopped = os.replace, []
    handler = signal.signal(signal.SIGTERM, lambda *_: stopped.append((dest / "main.cf").read_text()))

    def interrupted(source: str, target: str) -> None:
        signal.raise_signal(signal.SIGTERM)
        original(source, target)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", interrupted)
            bring(dest, entries({"main.cf": "new\n", "a.cf": "a\n"}))
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert stopped == ["new\n"]


def test_a_secret_file_is_never_readable_by_others(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, modes = os.open, []

    def watched(path: str, flags: int, mode: int = 0o777) -> int:
        modes.append(mode)
        return original(path, flags, mode)

    monkeypatch.setattr(os, "open", watched)
    bring(dest, entries({"secret.cf": "s3cret\n"}, mode="0600"), secret={"secret.cf"})
    assert modes == [0o600]
    assert stat.S_IMODE((dest / "secret.cf").stat().st_mode) == 0o600


def test_a_symlink_never_leads_out_of_dest(dest: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("keep\n")
    (dest / "out").symlink_to(outside)
    (dest / "file.cf").symlink_to(outside / "precious")
    with pytest.raises(tree.TreeError, match="out leads over a symbolic link"):
        bring(dest, entries({"out/x.cf": "x"}))
    with pytest.raises(tree.TreeError, match="over a symbolic link, which is not followed"):
        bring(dest, entries({}), purge=["out"])
    with pytest.raises(NotADirectoryError):
        bring(dest, entries({"main.cf/x": "x"}))
    bring(dest, entries({"file.cf": "mine\n"}))
    assert (dest / "file.cf").read_text() == "mine\n"
    assert names(outside) == ["precious"]
    assert (outside / "precious").read_text() == "keep\n"


def test_purge_removes_links_not_what_they_point_to(dest: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("keep\n")
    (dest / "sql" / "folder").symlink_to(outside)
    assert bring(dest, entries({}), purge=["sql"]) == ["sql/folder", "sql/stale.cf"]
    assert (outside / "precious").exists()


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x"])
def test_paths_that_leave_dest_are_refused(dest: Path, path: str) -> None:
    with pytest.raises(tree.TreeError, match="leads out of the folder"):
        bring(dest, entries({path: "x"}))
    with pytest.raises(tree.TreeError, match="leads out of the folder"):
        bring(dest, entries({}), purge=[path])


def test_a_folder_where_a_file_shall_be_is_an_error(dest: Path) -> None:
    with pytest.raises(tree.TreeError, match="sql is neither a regular file nor"):
        bring(dest, entries({"sql": "x"}))


def test_check_mode_validates_and_changes_nothing(dest: Path, tmp_path: Path) -> None:
    before = snapshot(dest.parent)
    assert bring(dest, entries(WANTED), validate=[f"cp {{}}/main.cf {tmp_path}/seen"], check_mode=True)
    assert (tmp_path / "seen").read_text() == "new main\n"
    with pytest.raises(tree.TreeError, match="false failed"):
        bring(dest, entries(WANTED), validate=["false"], check_mode=True)
    assert snapshot(dest.parent) == before


def test_check_mode_before_the_package_is_installed(tmp_path: Path) -> None:
    absent = tmp_path / "not" / "there"
    wanted = {"x": tree.entry(b"x", "no-such-user-yet", "root", "0644", may_miss=True)}
    assert bring(absent, wanted, validate=["no-such-checker {}"], check_mode=True) == ["x"]
    assert bring(absent, wanted, validate=["true {}"], check_mode=True) == ["x"]
    assert names(tmp_path) == []


def test_a_missing_checker_is_an_error_when_it_counts(dest: Path) -> None:
    with pytest.raises(tree.TreeError, match="validate: no-such-checker is not installed"):
        bring(dest, entries({"main.cf": "new\n"}), validate=["no-such-checker {}"])
    assert (dest / "main.cf").read_text() == "old main\n"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"nosuch.cf": {}}, "'nosuch.cf' is not a file of the rendered tree"),
        ({"main.cf": {"modus": "0600"}}, "'main.cf' has the unknown key 'modus'"),
        ({"main.cf": {"mode": "0999"}}, "mode '0999' is not an octal number"),
        ({"main.cf": None, "x": None}, "'x' is not a file"),
        ({"main.cf": {"group": "no-such-group"}}, "no user or group 'no-such-group' on this host"),
        ({"main.cf": {"owner": "no-such-user"}}, "no user or group 'no-such-user' on this host"),
    ],
)
def test_wrong_exceptions_are_named(files: dict[str, Any], message: str) -> None:
    defaults = {"owner": OWNER, "group": GROUP, "mode": "0644"}
    with pytest.raises(tree.TreeError, match=message):
        tree.wanted_entries({"main.cf": b""}, defaults, files, may_miss=False)


def test_exceptions_apply_to_their_file_only() -> None:
    defaults = {"owner": OWNER, "group": GROUP, "mode": "0644"}
    files = {"b": {"mode": 0o600, "secret": True}}
    wanted, secret = tree.wanted_entries({"a": b"", "b": b""}, defaults, files, may_miss=False)
    assert [stat.S_IMODE(wanted[path].mode) for path in ("a", "b")] == [0o644, 0o600]
    assert secret == {"b"}


def test_diff_shows_content_and_mode_but_no_secret(dest: Path) -> None:
    (dest / "secret.cf").write_text("old-password\n")
    (dest / "secret.cf").chmod(0o600)
    wanted = entries({"main.cf": "new main\n", "foreign.cf": "foreign\n"}) | entries(
        {"secret.cf": "new-password\n"}, mode="0600"
    )
    (dest / "foreign.cf").chmod(0o640)
    changes = tree.compare(str(dest), wanted, ["sql"], frozenset({"secret.cf"}))
    shown = {item["after_header"]: (item["before"], item["after"]) for item in tree.differences(str(dest), changes)}
    attributes = f"(owner {OWNER} group {GROUP} mode 0644)\n"
    private = f"(owner {OWNER} group {GROUP} mode 0600)\n(secret, not shown)\n"
    assert shown == {
        f"{dest}/foreign.cf": (attributes.replace("0644", "0640") + "foreign\n", attributes + "foreign\n"),
        f"{dest}/main.cf": (attributes + "old main\n", attributes + "new main\n"),
        f"{dest}/secret.cf": (private, private + "(changed)\n"),
        f"{dest}/sql/stale.cf": (attributes + "stale\n", ""),
    }
