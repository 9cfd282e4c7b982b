# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that changes one password: its protocol, and what it writes."""

from __future__ import annotations

import importlib
import socket
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
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.password_hashes import SCHEMES, matches
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Dsn, Store, connect
from hypothesis import given
from hypothesis import strategies as st

from .build import account, desired, tenant
from .conftest import Declare

TARO = "taro@acme.example"
OLD, NEW = "the old password", "the new password"


def _load() -> ModuleType:
    sys.modules["mailhosting_directory"] = _directory  # as the role programs installs it
    module = importlib.import_module("mailhosting.password.__main__")
    vars(module)["PENALTY"] = 0
    return module


service = _load()


@pytest.fixture
def database(place: Dsn, declare: Declare) -> Iterator[Any]:
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
    with pytest.raises(service.RequestRefusedError) as raised:
        service.parse(line)
    assert len(str(raised.value)) < 120


@pytest.mark.parametrize("pieces", [[b'{"address": "a", ', b'"new": "long enough"}\n'], [b"x" * 5000], [b"half"], []])
def test_a_request_is_one_line(monkeypatch: pytest.MonkeyPatch, pieces: list[bytes]) -> None:
    monkeypatch.setattr(service, "PATIENCE", 0.3)
    ours, theirs = socket.socketpair()

    def send() -> None:
        for piece in pieces:
            theirs.sendall(piece)

    with ours, theirs:
        sender = threading.Thread(target=send)
        sender.start()
        if len(pieces) == 2:
            assert service.read_request(ours) == {"address": "a", "new": "long enough"}
        else:
            with pytest.raises(service.RequestRefusedError, match="one line"):
                service.read_request(ours)
        sender.join()


def warned(log: pytest.LogCaptureFixture) -> list[str]:
    """The warnings in the journal."""
    assert {record.levelname for record in log.records} <= {"WARNING"}
    return log.messages


def test_the_owner_changes_it(database: Any, store: Store) -> None:
    assert service.change(database, request(old=OLD, address=TARO.upper()), False, None) == TARO
    hashed, secret, _applied = columns(store)
    assert passwords.verify(NEW, hashed)
    assert secret is None


@pytest.mark.parametrize("more", [{}, {"old": ""}, {"old": "wrong"}, {"old": OLD, "address": "nobody@acme.example"}])
def test_nobody_else_does(database: Any, store: Store, more: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    before = columns(store)
    with pytest.raises(service.RequestRefusedError, match="the address or the old password is wrong"):
        service.change(database, request(**more), False, None)
    assert columns(store) == before
    assert warned(caplog) == [f"wrong old password for {more.get('address', TARO)}"]


@pytest.mark.parametrize("text", ["a secret", "<0>x", "a\nb@acme.example", "x" * 4000 + "@acme.example", ""])
def test_what_is_no_address_is_not_logged(database: Any, text: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(service.RequestRefusedError):
        service.change(database, request(address=text), False, None)
    assert warned(caplog) == ["wrong old password for what is no address"]


def test_root_sets_it(database: Any, store: Store) -> None:
    service.change(database, request(), True, None)
    assert passwords.verify(NEW, columns(store)[0])
    with pytest.raises(service.RequestRefusedError, match="no such account"):
        service.change(database, request(address="nobody@acme.example"), True, None)


def test_an_address_may_be_written_as_at_login(database: Any, store: Store) -> None:
    service.change(database, request(address="Ｔａｒｏ＠ａｃｍｅ。ｅｘａｍｐｌｅ", old=OLD), False, None)
    assert matches(NEW, columns(store)[0])
    with pytest.raises(service.RequestRefusedError, match="no such account"):
        service.change(database, request(address="太郎"), True, None)


def test_with_legacy_auth_hash_and_secret_change_together(
    database: Any, store: Store, declare: Declare, tmp_path: Path
) -> None:
    declare(desired(tenant("acme", account(TARO, password=OLD), overrides={"legacy_auth": True})))
    before = columns(store)
    with pytest.raises(service.RequestRefusedError, match="lacks the key"):
        service.change(database, request(old=OLD), False, None)
    assert columns(store) == before
    key = legacy.new_key()
    legacy.write_keys([key], str(tmp_path / "keys"))
    service.change(database, request(old=OLD), False, str(tmp_path / "keys"))
    hashed, secret, _applied = columns(store)
    assert passwords.verify(NEW, hashed)
    assert legacy.decrypt(secret, [key]) == NEW


@pytest.mark.parametrize(("answer", "is_well"), [(b"ended\n", True), (b"", False), (b"end", False)])
def test_sessions_are_ended_by_who_can(tmp_path: Path, answer: bytes, is_well: bool) -> None:
    asked: list[bytes] = []

    def serve() -> None:
        with listening.accept()[0] as connection:
            asked.append(connection.recv(1024))
            connection.sendall(answer)

    path = str(tmp_path / "sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        server = threading.Thread(target=serve)
        server.start()
        warning = service.end_sessions(TARO, path)
        server.join()
    assert asked == [f"{TARO}\n".encode()]
    assert (warning is None) is is_well


def test_without_a_dovecot_nobody_is_logged_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert service.end_sessions(TARO, str(tmp_path / "none")) is None
    (tmp_path / "not a socket").touch()
    assert "may be open" in service.end_sessions(TARO, str(tmp_path / "not a socket"))
    assert TARO in "".join(warned(caplog))


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
    with pytest.raises(service.RequestRefusedError, match="somebody else"):
        service.change(database, request(old=OLD), False, None)


#: Hashes of SCHEMED, from `doveadm pw` of Dovecot 2.4 and crypt(3) of Debian 13.
SCHEMED = "tanstaaf é %{u}"
MADE_BY_DOVECOT = [
    "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$ztaq4HtGT6AxBtxdMo2IGA$+MVDyaj0bo62bEuShwtukh+2f1bE0qWURri30MFv688",
    "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$/9JJy7XFlvPIVhl+dRJr0g$eV2q57k+zt9lJN54Dw97U1uQ6Fy+Az4NjAtOLxFUIy8",
    "{BLF-CRYPT}$2y$05$OV0Xy2hnpJ0Mb3Ed106Lc.FmKUYN7YhYvSlpplNaP6PXPIjMd02vO",
    "{SHA512-CRYPT}$6$drAwxsS81CCo7wkg$.DQKEj628lknOkxbjFxXmithmAQEKkovoE9cjQ.vXpQBiw1abu0jYyyTh/e.uCwxPOceWr.zZloCK.CpnCvOd/",
    "{SHA256-CRYPT}$5$Ibc9Ug04jsXKFAyv$sAhPim43XxK6q0lQ57wM.jSwyU0LT7zd4ze5Ioo8CO0",
    "{PBKDF2}$1$Tjr82G2f/BAKfMEY$5000$2cba361d95eb5e133c6c6eda83f979c8945021f0",
    "{SCRAM-SHA-256}4096,iPwVSSEUxsgnaqrwDx5Jcg==,Ajvhxs1Ri6q3uxvVOFDcc0ZAv3hkH5QbBxgodQrGuSU=,ljSm9RFP31xE0vrV3enSmnQvqthS57BuJL/4u85TzRI=",
    "{SCRAM-SHA-1}4096,gO89A3+gjT58j27DxznCHQ==,xsmc9gzUSvAFckvYLsOVY4bRM8s=,s0QstZZQyyZX66qyRRjAS3facCo=",
    "{SSHA512}GJXpJOiaMonwePK5q67HEoZVICQuTsQO2d15SXMnUABfbxu/7D+1SzxYJCJEGjNoxAz7hD1mtXWbSw1qp4pSuXMZVXc=",
    "{SSHA256}1jISr8i5U2+L4WOJpA1bxhA2ZOcEMEsTPVIg5+RAzt73cBg0",
    "{SSHA}XkyDJetc/3fOvwUp7IPJFlq1CHlf4l00",
    "{CRYPT}$2y$05$vvhQTLrMMUKgTt2s5NSzDeq4btQkqs05mSodQWHxLuAZhVRXswlai",
]
#: Hashes of "tanstaaf": other schemes that CRYPT covers, and those that only the operator's module may set.
OTHERS = [
    "{PLAIN}tanstaaf",
    "{CRYPT}ab/TdqTfG5VbQ",
    "{CRYPT}$1$saltsalt$roN2lUfEbZqZad1NpG.Zy1",
    "{CRYPT}$y$j9T$F5Jx5fExrKuPp53xLKQ..1$rRF.D9G8EheNrIkcOH0ViLc7/EArSDCi/nFGFUZtoF9",
]


def test_every_scheme_that_may_be_brought_along_is_tried() -> None:
    tried = [hashed[1:].partition("}")[0] for hashed in MADE_BY_DOVECOT]
    assert sorted(tried) == sorted(SCHEMES)


@pytest.mark.parametrize(
    ("hashed", "plain"),
    [*((hashed, SCHEMED) for hashed in MADE_BY_DOVECOT), *((hashed, "tanstaaf") for hashed in OTHERS)],
)
def test_the_old_password_is_known_in_every_scheme(hashed: str, plain: str) -> None:
    assert matches(plain, hashed)
    for wrong in ("", "x" + plain, plain[:4] + "\0", plain + "\0", hashed):
        assert not matches(wrong, hashed)


@pytest.mark.parametrize("hashed", [
    None, "", "no scheme", "{UNKNOWN}x", "{CRYPT}$nonsense", "{CRYPT}*0", "{CRYPT}", "{PLAIN}", "{SSHA}", "{SSHA}eA==",
    "{SSHA256}not base64", "{SSHA512}é", "{PBKDF2}$1$salt$", "{PBKDF2}$1$salt$0$00", "{PBKDF2}$1$s$5$zz",
    "{SCRAM-SHA-256}4096,x", "{SCRAM-SHA-256}0,eA==,eA==,eA==", "{ARGON2I}$argon2i$v=19$m=8,t=1,p=1$x$x",
    "{ARGON2ID}x", "{MD5-CRYPT}$1$saltsalt$roN2lUfEbZqZad1NpG.Zy1",
])  # fmt: skip
@pytest.mark.parametrize("plain", ["", "tanstaaf"])
def test_what_is_no_hash_is_nobodys_password(plain: str, hashed: str | None) -> None:
    assert not matches(plain, hashed)
