# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that sets one password: its protocol, and what it writes."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils import _directory
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import legacy, passwords
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Place, Store, connect
from hypothesis import given
from hypothesis import strategies as st

from .build import account, desired, tenant
from .conftest import Declare

PROGRAM = Path(__file__).parents[3] / "roles/password/files/password_service.py"
TARO = "taro@acme.example"
OLD, NEW = "the old password", "the new password"


def _load() -> ModuleType:
    sys.modules["mailhosting_directory"] = _directory  # as the role directory installs it
    spec = importlib.util.spec_from_file_location("password_service", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.PENALTY = 0
    return module


service = _load()


@pytest.fixture
def database(place: Place, declare: Declare) -> Iterator[Any]:
    """The directory as the service's own role sees it, with one account."""
    declare(desired(tenant("acme", account(TARO, password=OLD))))
    with closing(connect(place._replace(user="postgres"))) as connection:
        connection.execute('SET ROLE "mailhosting-password"')
        yield connection


def request(**more: str) -> dict[str, str]:
    return {"address": TARO, "new": NEW, **more}


def columns(store: Store) -> tuple[Any, ...]:
    query = "SELECT password, legacy_secret, password_applied FROM directory.account"
    row = store.connection.execute(query).fetchone()
    assert row is not None
    return row


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_garbage_is_refused_and_not_repeated(line: bytes) -> None:
    with pytest.raises(service.Refused) as raised:
        service.parse(line)
    assert len(str(raised.value)) < 120


@pytest.mark.parametrize("pieces", [[b'{"address": "a", ', b'"new": "long enough"}\n'], [b"x" * 5000], [b"half"], []])
def test_a_request_is_one_line(monkeypatch: pytest.MonkeyPatch, pieces: list[bytes]) -> None:
    monkeypatch.setattr(service, "PATIENCE", 0.3)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=lambda: [theirs.sendall(piece) for piece in pieces])
        sender.start()
        if len(pieces) == 2:
            assert service.read_request(ours) == {"address": "a", "new": "long enough"}
        else:
            with pytest.raises(service.Refused, match="one line"):
                service.read_request(ours)
        sender.join()


def test_the_owner_changes_it(database: Any, store: Store) -> None:
    service.change(database, request(old=OLD), False, None)
    hashed, secret, _applied = columns(store)
    assert passwords.verify(NEW, hashed)
    assert secret is None


@pytest.mark.parametrize("more", [{}, {"old": ""}, {"old": "wrong"}, {"old": OLD, "address": "nobody@acme.example"}])
def test_nobody_else_does(database: Any, store: Store, more: dict[str, str]) -> None:
    before = columns(store)
    with pytest.raises(service.Refused, match="the address or the old password is wrong"):
        service.change(database, request(**more), False, None)
    assert columns(store) == before


def test_root_sets_it(database: Any, store: Store) -> None:
    service.change(database, request(), True, None)
    assert passwords.verify(NEW, columns(store)[0])
    with pytest.raises(service.Refused, match="no such account"):
        service.change(database, request(address="nobody@acme.example"), True, None)


def test_with_legacy_auth_hash_and_secret_change_together(
    database: Any, store: Store, declare: Declare, tmp_path: Path
) -> None:
    declare(desired(tenant("acme", account(TARO, password=OLD), overrides={"legacy_auth": True})))
    before = columns(store)
    with pytest.raises(service.Refused, match="lacks the key"):
        service.change(database, request(old=OLD), False, None)
    assert columns(store) == before
    key = legacy.new_key()
    legacy.write_keys([key], str(tmp_path / "keys"))
    service.change(database, request(old=OLD), False, str(tmp_path / "keys"))
    hashed, secret, _applied = columns(store)
    assert passwords.verify(NEW, hashed)
    assert legacy.decrypt(secret, [key]) == NEW


def test_the_next_run_of_files_leaves_it_alone(database: Any, store: Store, declare: Declare) -> None:
    service.change(database, request(old=OLD), False, None)
    after = columns(store)
    assert not declare(desired(tenant("acme", account(TARO, password=OLD))))
    assert columns(store) == after


def test_of_two_changes_at_a_time_one_is_told(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hash_all = passwords.hash_all

    def slow(plains: list[str]) -> list[str]:
        monkeypatch.setattr(service.passwords, "hash_all", hash_all)
        service.change(database, request(new="somebody else's"), True, None)
        return hash_all(plains)

    monkeypatch.setattr(service.passwords, "hash_all", slow)
    with pytest.raises(service.Refused, match="somebody else"):
        service.change(database, request(old=OLD), False, None)


def test_schemes_of_crypt_are_known() -> None:
    made = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=OLD, capture_output=True, text=True, check=True)
    hashed = "{SHA512-CRYPT}" + made.stdout.strip()
    assert service.is_password(OLD, hashed)
    assert not service.is_password(NEW, hashed)
    for unknown in (None, "", "{UNKNOWN}x", "{PLAIN}" + OLD, "{CRYPT}$nonsense"):
        assert not service.is_password(OLD, unknown)
