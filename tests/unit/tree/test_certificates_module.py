# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates module as a task calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mailhosting.stack.plugins.module_utils import _certificates
from ansible_collections.mailhosting.stack.plugins.modules import certificates

Run = Callable[..., dict[str, Any]]
HOSTS = ["imap.acme.example", "pop3.acme.example"]


@pytest.fixture(name="run")
def _run(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    # Where other tests have imported Ansible's controller, a module would warn its operator, not its result.
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
