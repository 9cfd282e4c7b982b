# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates module as a task runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mailhosting.stack.plugins.module_utils import _certificates
from ansible_collections.mailhosting.stack.plugins.module_utils._certificates import Pair
from ansible_collections.mailhosting.stack.plugins.modules import certificates
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from .chains import FOREIGN, INTERMEDIATE, ROOT, leaf

WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
Run = Callable[..., dict[str, Any]]
HOSTS = ["imap.acme.example", "pop3.acme.example"]


@pytest.fixture(name="run")
def _run(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    # If other tests have imported Ansible's controller, a module's warnings do not reach its result.
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)

    def run(check_mode: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {"path": str(tmp_path / "tls"), "shared_name": "mail.example", **options}
        arguments |= {"_ansible_check_mode": check_mode, "_ansible_diff": True}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            certificates.main()
        said: dict[str, Any] = json.loads(capfd.readouterr().out)
        return said

    return run


def test_check_mode_says_what_the_run_then_does(run: Run, tmp_path: Path) -> None:
    dry = run(check_mode=True, host_names=HOSTS)
    assert not (tmp_path / "tls").exists()
    real = run(host_names=HOSTS)
    for result in (dry, real):
        assert result["changed"]
        assert result["issued"] == [*HOSTS, "shared"]
        assert result["ca_changed"]
        assert "PRIVATE KEY" not in json.dumps(result)
    again = run(host_names=HOSTS)
    assert not again["changed"]
    assert again["not_after"] == real["not_after"]
    assert (again["issued"], again["renewed"], again["removed"]) == ([], [], [])
    assert again["diff"] == {"before": "", "after": ""}


def test_names_that_are_gone_are_removed_when_told(run: Run, tmp_path: Path) -> None:
    run(host_names=HOSTS)
    gone = tmp_path / "tls" / "names" / HOSTS[1]
    assert not run(host_names=HOSTS[:1], purge="never")["changed"]
    later = run(host_names=HOSTS[:1], purge="later")
    assert (later["changed"], later["removed"], gone.exists()) == (True, [HOSTS[1]], True)
    assert run(check_mode=True, host_names=HOSTS[:1])["removed"] == [HOSTS[1]]
    assert gone.exists()
    now = run(host_names=HOSTS[:1])
    assert (now["changed"], now["removed"], gone.exists()) == (True, [HOSTS[1]], False)
    assert not run(host_names=HOSTS[:1], purge="later")["changed"]


def test_given_files_replace_those_of_the_own_ca(run: Run, tmp_path: Path) -> None:
    run(host_names=HOSTS)
    given = {
        "certificate": str(tmp_path / "tls/names" / HOSTS[0] / "fullchain.pem"),
        "key": str(tmp_path / "tls/names" / HOSTS[0] / "key.pem"),
    }
    copy = {name: str(tmp_path / name) for name in given}
    for name, source in given.items():
        Path(copy[name]).write_bytes(Path(source).read_bytes())
    options = {"shared_name": HOSTS[0], "producer": "files", "files": [copy]}
    result = run(**options)
    assert (result["renewed"], result["removed"]) == (["shared"], HOSTS)
    assert (tmp_path / "tls/shared/key.pem").read_bytes() == Path(copy["key"]).read_bytes()
    assert not run(**options)["changed"]
    failed = run(**options, host_names=["smtp.bolt.example"])
    assert failed["msg"] == "no certificate is given for smtp.bolt.example"


def write(folder: Path, pair: Pair) -> dict[str, str]:
    (folder / "given.pem").write_bytes(pair.chain)
    (folder / "given.key").write_bytes(pair.key)
    return {"certificate": str(folder / "given.pem"), "key": str(folder / "given.key")}


def test_a_chain_whose_files_were_joined_without_ends_of_line_is_mended(run: Run, tmp_path: Path) -> None:
    end = leaf()
    joined = b"".join(item.pem.rstrip() for item in (end, INTERMEDIATE, ROOT))
    assert b"-----END CERTIFICATE----------BEGIN CERTIFICATE-----" in joined
    files = [write(tmp_path, Pair(joined, end.key_pem.rstrip()))]
    assert run(producer="files", files=files)["issued"] == ["shared"]
    assert (tmp_path / "tls/shared/fullchain.pem").read_bytes() == end.pair(INTERMEDIATE, ROOT).chain
    assert (tmp_path / "tls/shared/key.pem").read_bytes() == end.key_pem
    assert not run(producer="files", files=files)["changed"]


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (leaf(key=WEAK).pair(INTERMEDIATE, ROOT), "ee key too small"),
        (leaf(key=ec.generate_private_key(ec.SECP256K1())).pair(INTERMEDIATE, ROOT), "P-256 or P-384"),
        (leaf().pair(FOREIGN), "CN=An Intermediate, who issued"),
        (leaf().pair(), "CN=An Intermediate, who issued"),
        (Pair(leaf().pair(INTERMEDIATE).chain[:-300], leaf().key_pem), "cut off"),
        (leaf(days=(-60, -1)).pair(INTERMEDIATE, ROOT), "has expired"),
    ],
    ids=["RSA-1024", "secp256k1", "a foreign intermediate", "no intermediate", "cut off", "expired"],
)
def test_what_no_mail_program_could_use_is_refused_by_file_and_what_serves_stays(
    run: Run, tmp_path: Path, pair: Pair, reason: str
) -> None:
    run()
    before = (tmp_path / "tls/shared").readlink()
    given = write(tmp_path, pair)
    for check_mode in (True, False):
        failed = run(check_mode=check_mode, producer="files", files=[given])
        assert failed["failed"]
        assert failed["msg"].startswith(f"{given['certificate']}: ")
        assert reason in failed["msg"]
        assert "PRIVATE" not in failed["msg"]
    assert (tmp_path / "tls/shared").readlink() == before


def test_a_ca_of_the_operators_own_can_be_named(run: Run, tmp_path: Path) -> None:
    given = write(tmp_path, leaf().pair(INTERMEDIATE))
    named = tmp_path / "root.pem"
    named.write_bytes(ROOT.pem.rstrip())
    assert "CN=A Root, who issued" in run(producer="files", files=[given])["msg"]
    assert run(producer="files", files=[given], files_ca_file=str(named))["issued"] == ["shared"]
    named.write_bytes(b"no certificate")
    assert "files_ca_file: unreadable" in run(producer="files", files=[given], files_ca_file=str(named))["msg"]


@pytest.mark.parametrize("name", ["../../etc", "a/b.example", "", "localhost"])
def test_a_host_name_that_is_none_is_refused(run: Run, tmp_path: Path, name: str) -> None:
    failed = run(host_names=[name])
    assert failed["failed"]
    assert "is not a full host name" in failed["msg"]
    assert not list(tmp_path.rglob("key.pem"))


def test_names_are_folded_and_taken_once(run: Run) -> None:
    assert run(host_names=["POP3.Acme.Example", "pop3.acme.example"])["issued"] == ["pop3.acme.example", "shared"]


def test_an_address_and_a_bare_label_can_be_shared_names(run: Run) -> None:
    assert "192.0.2.1, mx1, until" in run(shared_name="MX1", shared_extra_names=["192.0.2.1"])["diff"]["after"]


def test_without_the_library_only_check_mode_succeeds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_certificates, "CRYPTOGRAPHY_ERROR", "No module named cryptography")
    assert run(check_mode=True)["changed"]
    failed = run()
    assert failed["failed"]
    assert "cryptography" in failed["msg"]


def acme_options(tmp_path: Path, **options: Any) -> dict[str, Any]:
    asked = {"directory": "https://acme.example/", "agree_tos": True, "state": str(tmp_path / "state")}
    return {"producer": "acme", "acme": asked | {"order_command": ["touch", str(tmp_path / "ordered")]} | options}


def test_without_certificates_by_acme_the_own_ca_serves_and_a_warning_says_so(run: Run, tmp_path: Path) -> None:
    options = acme_options(tmp_path)
    dry = run(check_mode=True, host_names=HOSTS, **options)
    assert dry["changed"]
    assert "imap.acme.example: to be ordered by ACME\n" in dry["diff"]["after"]
    assert not list(tmp_path.iterdir())
    real = run(host_names=HOSTS, **options)
    assert real["issued"] == [*HOSTS, "shared"]
    assert "No fresh certificate by ACME for imap.acme.example, pop3.acme.example, mail.example." in str(
        real["warnings"]
    )
    assert (tmp_path / "ordered").exists()
    again = run(host_names=HOSTS, **options)
    assert not again["changed"]


def test_another_producer_ends_the_orders(run: Run, tmp_path: Path) -> None:
    run(**acme_options(tmp_path))
    assert (tmp_path / "tls/acme.json").exists()
    assert run(check_mode=True)["changed"]
    assert run()["changed"]
    assert not (tmp_path / "tls/acme.json").exists()
    assert not run()["changed"]


def test_a_command_that_fails_is_a_warning(run: Run, tmp_path: Path) -> None:
    result = run(**acme_options(tmp_path, order_command=["false"]))
    assert "false failed: " in str(result["warnings"])


@pytest.mark.parametrize(
    ("options", "acme", "message"),
    [
        ({}, {"agree_tos": False}, "agree_tos"),
        ({"shared_name": "mx1"}, {}, "no server certifies 'mx1'"),
        ({"shared_extra_names": ["192.0.2.1"]}, {}, "no server certifies '192.0.2.1'"),
    ],
)
def test_what_acme_cannot_do_is_refused(
    run: Run, tmp_path: Path, options: dict[str, Any], acme: dict[str, Any], message: str
) -> None:
    failed = run(**options, **acme_options(tmp_path, **acme))
    assert failed["failed"]
    assert message in failed["msg"]
