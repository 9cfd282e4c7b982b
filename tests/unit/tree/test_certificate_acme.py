# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates by ACME: which are due, one order for each name, and what serves until then."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils import _certificate_acme as acme
from ansible_collections.mailhosting.stack.plugins.module_utils import _certificate_store as store
from ansible_collections.mailhosting.stack.plugins.module_utils._certificates import OwnCA
from cryptography.hazmat.primitives.asymmetric import ec

from .chains import INTERMEDIATE, leaf

NOW = datetime.now(UTC)
SETTINGS = acme.Settings(
    shared=["mail.example"],
    host_names=["imap.acme.example", "pop3.acme.example"],
    directory="https://acme.example/directory",
    contact="",
    ca_file="",
    http_port=80,
    max_orders=100,
    days=90,
    renew_days=30,
    commands=[],
)
OTHERS = OwnCA(None, "Another CA", NOW, 90, 30)


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> str:
    acme.write_settings(str(tmp_path / "tls"), None, dry=True)
    with store.locked(str(tmp_path / "tls")):
        acme.write_settings(str(tmp_path / "tls"), SETTINGS, dry=False)
    return str(tmp_path / "tls")


@pytest.fixture(name="state")
def _state(tmp_path: Path) -> str:
    return str(tmp_path / "state")


def obtain(state: str, name: str, *, issued: datetime = NOW, days: int = 90) -> None:
    """Leave the files that certbot would leave."""
    names = SETTINGS.wanted[name]
    pair, _reason = OwnCA(OTHERS.authority, "Another CA", issued, days, 1).pair(names, None)
    folder = Path(state, "live", name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fullchain.pem").write_bytes(pair.chain)
    (folder / "privkey.pem").write_bytes(pair.key)


def issuer(path: str, link: str) -> str:
    pair = store.read_pair(f"{path}/{link}/fullchain.pem", f"{path}/{link}/key.pem")
    assert pair is not None
    assert pair.fault() == ""
    return pair.certificate.issuer.rfc4514_string()


def due(path: str, state: str, now: datetime = NOW, settings: acme.Settings = SETTINGS) -> list[str]:
    return acme.due(settings, path, state, now)


def test_settings_are_read_as_they_were_written(path: str) -> None:
    assert acme.read_settings(path) == SETTINGS
    assert not acme.write_settings(path, SETTINGS, dry=False)
    other = replace(SETTINGS, contact="hostmaster@example")
    assert acme.write_settings(path, other, dry=True)
    assert acme.read_settings(path) == SETTINGS
    assert acme.write_settings(path, other, dry=False)
    assert acme.read_settings(path) == other
    assert acme.write_settings(path, None, dry=False)
    assert not acme.write_settings(path, None, dry=False)


def test_what_is_missing_broken_or_ends_soon_is_due(path: str, state: str) -> None:
    assert due(path, state) == ["imap.acme.example", "pop3.acme.example", "shared"]
    for name in SETTINGS.wanted:
        obtain(state, name)
    assert due(path, state) == []
    assert due(path, state, NOW + timedelta(days=61)) == ["imap.acme.example", "pop3.acme.example", "shared"]
    Path(state, "live", "shared", "privkey.pem").write_bytes(b"")
    assert due(path, state) == ["shared"]
    more = replace(SETTINGS, shared=["mail.example", "mail2.example"])
    obtain(state, "shared")
    assert due(path, state, settings=more) == ["shared"]


def test_a_certificate_of_a_few_days_is_due_in_its_last_third(path: str, state: str) -> None:
    for name in SETTINGS.wanted:
        obtain(state, name, days=6)
    assert due(path, state, NOW + timedelta(days=3)) == []
    assert due(path, state, NOW + timedelta(days=5)) == ["imap.acme.example", "pop3.acme.example", "shared"]


def test_all_that_was_obtained_before_the_mark_is_due(path: str, state: str) -> None:
    for name in SETTINGS.wanted:
        obtain(state, name)
        os.utime(Path(state, "live", name, "fullchain.pem"), (1000, 1000))
    mark = Path(path, "renew")
    mark.touch()
    os.utime(mark, (900, 900))
    assert due(path, state) == []
    os.utime(mark, (1001, 1001))
    assert len(due(path, state)) == 3


@pytest.fixture(name="certbot")
def _certbot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """A stand-in for certbot that fails for pop3 and records its calls; returns the names so far."""
    program = tmp_path / "bin" / "certbot"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\nfor word; do case $word in --cert-name=*) name=${word#*=};; esac; done\n"
        f'echo "$name" >>{tmp_path}/asked\n'
        'case $name in pop3*) echo "  Detail: refused"; exit 1;; esac\n'
        f"mkdir -p {tmp_path}/state/live/$name; cp {tmp_path}/made/$name/* {tmp_path}/state/live/$name\n"
    )
    program.chmod(0o755)
    for name in SETTINGS.wanted:
        obtain(str(tmp_path / "made_"), name)
    (tmp_path / "made_" / "live").rename(tmp_path / "made")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(acme, "_answers", lambda _settings: True)
    asked = tmp_path / "asked"
    return lambda: asked.read_text().split() if asked.exists() else []


def test_each_name_is_ordered_once_and_one_that_fails_stops_no_other(
    path: str, state: str, certbot: Callable[[], list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    acme.order(path, state, "logs")
    assert certbot() == ["imap.acme.example", "pop3.acme.example", "shared"]
    assert "pop3.acme.example: Detail: refused\n" in capfd.readouterr().out
    acme.order(path, state, "logs")
    assert certbot()[3:] == ["pop3.acme.example"]


def test_names_that_fail_do_not_use_up_the_orders_of_a_run(
    path: str, state: str, certbot: Callable[[], list[str]]
) -> None:
    acme.write_settings(path, replace(SETTINGS, max_orders=1), dry=False)
    for _run in range(4):
        acme.order(path, state, "logs")
    assert certbot() == ["imap.acme.example", "pop3.acme.example", "shared", "pop3.acme.example"]


def test_keys_of_names_that_are_gone_are_removed(path: str, state: str, certbot: Callable[[], list[str]]) -> None:
    acme.order(path, state, "logs")
    acme.write_settings(path, replace(SETTINGS, host_names=["pop3.acme.example"]), dry=False)
    acme.order(path, state, "logs")
    assert sorted(found.name for found in Path(state, "live").iterdir()) == ["shared"]
    assert sorted(found.name for found in Path(state, "tried").iterdir()) == ["pop3.acme.example", "shared"]
    assert certbot()[3:] == ["pop3.acme.example"]


def test_a_server_that_has_gone_is_asked_for_nothing_more(
    path: str, state: str, certbot: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([True, False])
    monkeypatch.setattr(acme, "_answers", lambda _settings: next(answers))
    acme.order(path, state, "logs")
    assert certbot() == ["imap.acme.example", "pop3.acme.example"]


def test_a_server_that_does_not_answer_is_said_so(path: str, state: str, capfd: pytest.CaptureFixture[str]) -> None:
    acme.write_settings(path, replace(SETTINGS, directory="http://127.0.0.1:9/"), dry=False)
    acme.order(path, state, "logs")
    assert capfd.readouterr().out.startswith("Nothing ordered: http://127.0.0.1:9/ does not answer: ")


def test_what_was_obtained_is_installed_and_daemons_are_told_once(path: str, state: str, tmp_path: Path) -> None:
    told = tmp_path / "told"
    acme.write_settings(path, replace(SETTINGS, commands=[f"sh -c 'echo told >>{told}'"]), dry=False)
    obtain(state, "imap.acme.example")
    obtain(state, "shared")
    assert "No fresh certificate by ACME for pop3.acme.example." in acme.install(path, state)
    assert issuer(path, "shared") == issuer(path, "names/imap.acme.example") == "CN=Another CA"
    assert issuer(path, "names/pop3.acme.example") == "CN=Mail CA of mail.example"
    obtain(state, "pop3.acme.example")
    assert acme.install(path, state) == ""
    assert issuer(path, "names/pop3.acme.example") == "CN=Another CA"
    assert acme.install(path, state) == ""
    assert told.read_text().split() == ["told", "told"]
    modes = {stat.S_IMODE(key.stat().st_mode) for key in Path(path).glob("versions/*/key.pem")}
    assert modes == {0o600}


def test_daemons_that_could_not_be_told_are_told_the_next_time(path: str, state: str, tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = f"mkdir {told}/once"
    acme.write_settings(path, replace(SETTINGS, commands=[command]), dry=False)
    for name in SETTINGS.wanted:
        obtain(state, name)
    assert acme.install(path, state) == f"failed: {command}"
    told.mkdir()
    assert acme.install(path, state) == ""
    assert acme.install(path, state) == ""
    assert (told / "once").is_dir()


def test_a_lost_client_folder_leaves_what_serves(path: str, state: str) -> None:
    for name in SETTINGS.wanted:
        obtain(state, name)
    acme.install(path, state)
    before = Path(path, "shared").readlink()
    Path(state).rename(f"{state}.lost")
    acme.install(path, state)
    assert Path(path, "shared").readlink() == before


def test_an_expired_certificate_is_not_taken(path: str, state: str) -> None:
    obtain(state, "shared", issued=NOW - timedelta(days=91))
    acme.install(path, state)
    assert issuer(path, "shared") == "CN=Mail CA of mail.example"


def test_what_openssl_does_not_take_is_not_installed_and_said(path: str, state: str) -> None:
    for name in SETTINGS.wanted:
        obtain(state, name)
    folder = Path(state, "live", "imap.acme.example")
    strange = leaf(names=("imap.acme.example",), key=ec.generate_private_key(ec.SECP256K1())).pair(INTERMEDIATE)
    (folder / "fullchain.pem").write_bytes(strange.chain)
    (folder / "privkey.pem").write_bytes(strange.key)
    said = acme.install(path, state)
    assert "obtained by ACME for imap.acme.example is not used: no mail program agrees" in said
    assert issuer(path, "names/imap.acme.example") == "CN=Mail CA of mail.example"
    assert issuer(path, "shared") == "CN=Another CA"
