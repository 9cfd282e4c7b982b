# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module that sets the directory up: in check mode on a bare host, for real, and again."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import legacy, views
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.schema import VERSION

from .conftest import Run


def test_from_nothing(run: Run, bare_cluster: str, tmp_path: Path) -> None:
    key = tmp_path / "mailhosting" / "fingerprint.key"
    keys = key.with_name("legacy.keys")
    options = {"host": bare_cluster, "database": "mailhosting", "fingerprint_key": str(key), "legacy_keys": str(keys)}
    dry = run("mail_schema", check=True, **options)
    assert not key.exists()
    real = run("mail_schema", **options)
    assert dry == real
    assert real["changed"]
    roles = [f"create role {role}" for role in ROLES]
    inside = [*MIGRATIONS, "define the views", f"create {key}", f"create {keys}"]
    assert real["steps"] == [*roles, "create database mailhosting", *inside]
    assert real["version"] == VERSION
    assert real["diff"]["after"].splitlines() == real["steps"]
    assert key.stat().st_mode & 0o777 == 0o600
    secret = key.read_text()
    assert len(secret) > 32
    assert keys.stat().st_mode & 0o777 == 0o600
    (legacy_key,) = legacy.read_keys(str(keys))
    again = run("mail_schema", **options)
    assert not again["changed"]
    assert legacy.read_keys(str(keys)) == [legacy_key]
    assert again["steps"] == []
    assert key.read_text() == secret


ROLES = ["mailhosting", *views.DAEMONS]
MIGRATIONS = [f"migrate to version {number}" for number in range(1, VERSION + 1)]


def test_check_mode_before_postgresql_is_there(run: Run, tmp_path: Path) -> None:
    options = {"host": "/nowhere", "fingerprint_key": str(tmp_path / "key"), "legacy_keys": str(tmp_path / "keys")}
    dry = run("mail_schema", check=True, **options)
    assert dry["changed"]
    assert "migrate to version 1" in dry["steps"]
    assert "cannot reach the directory" in run("mail_schema", **options)["msg"]


@pytest.mark.parametrize("check", [True, False])
def test_a_newer_directory_is_left_alone(run: Run, place: object, tmp_path: Path, check: bool) -> None:
    from ansible_collections.mailhosting.stack.plugins.module_utils._directory import store

    with store.connect(place) as connection:  # type: ignore[arg-type]
        connection.execute("INSERT INTO directory.migration (version) VALUES (999)")
    options = {"fingerprint_key": str(tmp_path / "key"), "legacy_keys": str(tmp_path / "keys")}
    assert f"knows only {VERSION}" in run("mail_schema", check=check, **options)["msg"]
