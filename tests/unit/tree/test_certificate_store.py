# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of certificates: layout, modes, atomic replacement, interruption."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils import _certificate_store as store
from ansible_collections.mailhosting.stack.plugins.module_utils._certificates import OwnCA, Pair

from .failing import failing_at

NOW = datetime.now(UTC)
SHARED = frozenset({"mail.example"})
HOSTS = ["imap.acme.example", "pop3.acme.example"]


def bring(folder: Path, host_names: Collection[str] = HOSTS, now: datetime = NOW, purge: bool = True) -> store.Plan:
    with store.locked(str(folder)):
        ca = OwnCA(store.read_authority(str(folder)), "Mail CA", now, 90, 30)
        plan = store.compare(str(folder), SHARED, host_names, ca)
        if plan.changed:
            store.apply(str(folder), plan, purge=purge)
    return plan


def served(folder: Path, target: str) -> Pair | None:
    """The pair that a daemon reads."""
    return store.read_pair(str(folder / target / "fullchain.pem"), str(folder / target / "key.pem"))


def fault(folder: Path, target: str) -> str:
    """The fault of the pair that a daemon reads."""
    pair = served(folder, target)
    assert pair
    return pair.fault()


TARGETS = ["shared", *(f"names/{name}" for name in HOSTS)]


def test_layout_and_modes(tmp_path: Path) -> None:
    folder = tmp_path / "mailhosting" / "tls"
    umask = os.umask(0o077)
    try:
        plan = bring(folder)
    finally:
        os.umask(umask)
    assert plan.named(new=True) == [*HOSTS, "shared"]
    for path, mode in {".": 0o755, "..": 0o755, "names": 0o755, "ca.key": 0o600, "ca.pem": 0o644}.items():
        assert stat.S_IMODE((folder / path).stat().st_mode) == mode, path
    for target in TARGETS:
        assert fault(folder, target) == ""
        assert stat.S_IMODE((folder / target).stat().st_mode) == 0o755
        assert stat.S_IMODE((folder / target / "key.pem").stat().st_mode) == 0o600
        assert stat.S_IMODE((folder / target / "fullchain.pem").stat().st_mode) == 0o644


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    bring(tmp_path)
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    plan = bring(tmp_path)
    assert not plan.changed
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_renewal_replaces_all_and_leaves_nothing_behind(tmp_path: Path) -> None:
    bring(tmp_path)
    before = [served(tmp_path, target) for target in TARGETS]
    plan = bring(tmp_path, now=NOW + timedelta(days=61))
    assert plan.named(new=False) == [*HOSTS, "shared"]
    assert plan.authority is None
    assert all(served(tmp_path, target) not in before for target in TARGETS)
    assert len(list((tmp_path / "versions").iterdir())) == len(TARGETS)


def test_one_new_host_name_touches_no_other(tmp_path: Path) -> None:
    bring(tmp_path)
    before = [served(tmp_path, target) for target in TARGETS]
    plan = bring(tmp_path, [*HOSTS, "smtp.bolt.example"])
    assert (plan.named(new=True), plan.named(new=False)) == (["smtp.bolt.example"], [])
    assert [served(tmp_path, target) for target in TARGETS] == before


def test_stale_names_go_when_told(tmp_path: Path) -> None:
    bring(tmp_path)
    later = bring(tmp_path, HOSTS[:1], purge=False)
    assert later.stale == [f"names/{HOSTS[1]}"]
    assert served(tmp_path, f"names/{HOSTS[1]}")
    assert bring(tmp_path, HOSTS[:1]).changed
    assert [path.name for path in (tmp_path / "names").iterdir()] == HOSTS[:1]
    assert len(list((tmp_path / "versions").iterdir())) == 2
    assert not bring(tmp_path, HOSTS[:1]).changed


@pytest.mark.parametrize("days", [0, 61], ids=["first", "renewal"])
def test_a_failure_at_any_step_leaves_old_or_new_pairs_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    if days:
        bring(tmp_path)
    steps = ["mkdir", "open", "fchmod", "chmod", "symlink", "replace", "sync", "fsync", "listdir", "unlink"]

    failures = 0
    while failures < 200:
        try:
            with failing_at(monkeypatch, failures + 1, steps):
                bring(tmp_path, now=NOW + timedelta(days=days))
            break
        except OSError:
            failures += 1
        pairs = [served(tmp_path, target) for target in TARGETS]
        assert all(pair.fault() == "" for pair in pairs if pair), f"step {failures}"
        assert all(pairs) or not days, f"step {failures}"
    assert 20 < failures < 200
    bring(tmp_path, [*HOSTS, "smtp.bolt.example"], now=NOW + timedelta(days=days))
    assert len(list((tmp_path / "versions").iterdir())) == len(TARGETS) + 1


def test_no_moment_shows_a_certificate_with_another_ones_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(tmp_path)
    original, looks = os.replace, list[str]()

    def watched(source: str, target: str) -> None:
        looks.extend(fault(tmp_path, target) for target in TARGETS)
        original(source, target)
        looks.extend(fault(tmp_path, target) for target in TARGETS)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", watched)
        bring(tmp_path, now=NOW + timedelta(days=61))
    assert len(looks) == 2 * len(TARGETS) ** 2
    assert set(looks) == {""}


def test_a_second_run_waits_for_the_first(tmp_path: Path) -> None:
    with store.locked(str(tmp_path)):
        other = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_the_diff_shows_names_and_expiry_and_no_key(tmp_path: Path) -> None:
    first = bring(tmp_path).diff()
    assert first["before"] == ""
    until = f"{NOW + timedelta(days=90):%Y-%m-%dT%H:%M:%SZ}"
    assert f"names/{HOSTS[0]}: {HOSTS[0]}, until {until} (new)\n" in first["after"]
    second = bring(tmp_path, HOSTS[:1], now=NOW + timedelta(days=61)).diff()
    assert f"shared: mail.example, until {until}\n" in second["before"]
    assert "(28 days left)" in second["after"]
    assert f"names/{HOSTS[1]}: " in second["before"]
    assert HOSTS[1] not in second["after"]
    assert "PRIVATE" not in str(first) + str(second)
