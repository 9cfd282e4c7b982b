# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook, run on this machine with a copy of the demo's inventory."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.mailhosting.stack.plugins.action import settings_sheets as action
from ansible_collections.mailhosting.stack.plugins.plugin_utils._settings_sheet import page, pdf

from .build import Page

COLLECTION = Path(action.__file__).absolute().parents[2]
PASSWORDS = ("correct horse battery staple", "mada mada dane", "000000", "Tr0ub4dor&3", "not allowed in yet")


class Operator:
    """An operator with the demo's inventory and this collection."""

    def __init__(self, root: Path, ansible: Callable[..., subprocess.CompletedProcess[str]]) -> None:
        self.root = root
        self._ansible = ansible
        shutil.copytree(COLLECTION / "inventories" / "demo", root / "demo")
        (root / "demo" / "tenants").chmod(0o755)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(root),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTION.parents[2]),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
        }

    def write(self, name: str, text: str) -> None:
        (self.root / "demo" / name).write_text(text)

    def sheets(self) -> list[str]:
        found = (self.root / "demo" / "sheets").glob("*/*")
        return sorted(path.name for path in found)

    def page(self, name: str) -> str:
        return (self.root / "demo" / "sheets" / name).read_text()

    def play(self, *arguments: str, inventory: str = "demo/hosts.yml", **variables: Any) -> tuple[str, str]:
        """`ok`, `changed` or `failed`, and the output."""
        command = ["ansible-playbook", "-i", inventory, "mailhosting.stack.sheets"]
        variables.setdefault("sheets_formats", ["html"])
        command += ["--extra-vars", json.dumps(variables), *arguments]
        done = self._ansible(*command, environment=self.environment, folder=self.root)
        printed = done.stdout + done.stderr
        counts = dict(re.findall(r"(changed|failed)=(\d+)", printed))
        outcome = next((name for name in ("failed", "changed") if int(counts[name])), "ok")
        assert (outcome == "failed") == bool(done.returncode), printed
        return outcome, printed


def unfolded(printed: str) -> str:
    """The output as one line: Ansible breaks reports at arbitrary places."""
    return " ".join(printed.split())


@pytest.fixture
def operator(tmp_path: Path, ansible: Callable[..., subprocess.CompletedProcess[str]]) -> Operator:
    return Operator(tmp_path, ansible)


def test_sheets_of_all_who_can_log_in_once(operator: Operator) -> None:
    outcome, printed = operator.play("-vvv")
    assert outcome == "changed"
    assert operator.sheets() == [f"{name}.en.html" for name in (
        "001@acme.example", "bill@bolt.example", "hanako@acme.example", "taro@acme.example",
    )]  # fmt: skip
    assert "because nobody can log in with them: 1;" in unfolded(printed)
    assert "100 MB" in operator.page("bolt/bill@bolt.example.en.html")
    assert "10 MB" in operator.page("acme/hanako@acme.example.en.html")
    assert operator.play()[0] == "ok"
    operator.write("addresses/bolt.yml", "bolt.example: {accounts: {bill: {quota: 7M}, beth: {state: no_login}}}\n")
    outcome, printed = operator.play("--diff")
    assert outcome == "changed"
    assert printed.count("+++ after") == 1
    assert re.search(r"\n\+.*7 MB", printed)


def test_sheets_of_who_is_gone_go_with_their_tenants_run(operator: Operator) -> None:
    operator.play(sheets_with_password=True)
    operator.write("addresses/bolt.yml", "bolt.example: {accounts: {bill: {state: suspended}, beth: }}\n")
    operator.play(sheets_tenants=["acme"])
    assert "bill@bolt.example.en.html" in operator.sheets()
    assert operator.play(sheets_addresses=["beth@bolt.example"])[0] == "changed"
    assert "bill@bolt.example.en.html" in operator.sheets()
    outcome, printed = operator.play("--diff")
    assert outcome == "changed"
    assert "outdated files removed: 1" in unfolded(printed)
    assert not any(password in printed for password in PASSWORDS)
    assert [name for name in operator.sheets() if "bolt" in name] == ["beth@bolt.example.en.html"]


def test_check_mode_writes_nothing(operator: Operator) -> None:
    outcome, printed = operator.play("--check", "--diff", sheets_with_password=True, sheets_tenants=["acme"])
    assert outcome == "changed"
    assert "taro@acme.example" in printed
    assert not (operator.root / "demo" / "sheets").exists()


def test_passwords_only_if_asked_and_never_shown(operator: Operator) -> None:
    operator.play(sheets_tenants=["acme"])
    shown = operator.page("acme/taro@acme.example.en.html")
    assert "Your administrator will give it to you" in shown
    assert not any(password in shown for password in PASSWORDS)
    for with_password in (True, False):
        _outcome, printed = operator.play("-vvv", "--diff", sheets_tenants=["acme"], sheets_with_password=with_password)
        assert not any(password in printed for password in PASSWORDS)
        assert "********" in printed
        assert (PASSWORDS[0] in operator.page("acme/taro@acme.example.en.html")) is with_password


def test_account_without_a_password_stops_a_run_that_wants_them(operator: Operator) -> None:
    operator.write(
        "addresses/bolt.yml",
        "bolt.example:\n  accounts:\n    bill:\n    beth:\n    bob:\n"
        '    old: {password_hash: "{SSHA}0123456789012345678901234567"}\n',
    )
    outcome, printed = operator.play(sheets_with_password=True)
    assert outcome == "failed"
    assert "No sheet was written." in printed
    assert (
        "demo/addresses/bolt.yml:5: bolt.example.accounts.bob: bob@bolt.example: its password is not known" in printed
    )
    assert "add it to demo/secrets/bolt.yml, or run without sheets_with_password" in printed
    assert "demo/addresses/bolt.yml:6: bolt.example.accounts.old: old@bolt.example: only the hash of its" in printed
    assert not (operator.root / "demo" / "sheets").exists()
    assert operator.play(sheets_with_password=True, sheets_addresses=["Bill@bolt.example"])[0] == "changed"
    assert operator.sheets() == ["bill@bolt.example.en.html"]


def test_vaults_are_opened_for_passwords_alone_and_of_those_tenants_alone(operator: Operator) -> None:
    vault = VaultLib([("default", VaultSecret(b"right"))])
    operator.write("secrets/acme.yml", vault.encrypt("taro@acme.example: sesame\n").decode())
    assert operator.play()[0] == "changed"
    assert operator.play(sheets_with_password=True, sheets_tenants=["bolt"])[0] == "changed"
    wanted: dict[str, Any] = {"sheets_with_password": True, "sheets_addresses": "taro@acme.example"}
    assert "no vault password was given" in operator.play(**wanted)[1]
    (operator.root / "password").write_text("right")
    assert operator.play("--vault-password-file", "password", **wanted)[0] == "changed"
    assert "sesame" in operator.page("acme/taro@acme.example.en.html")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"sheets_addresses": ["sales@acme.example"]}, "sales@acme.example is an alias: it has no mailbox"),
        ({"sheets_addresses": ["nobody@acme.example"]}, "nobody@acme.example is no account of tenant acme"),
        ({"sheets_addresses": ["taro@other.example"]}, "taro@other.example is in a domain that no tenant has"),
        ({"sheets_addresses": ["taro"]}, "addresses: "),
        ({"sheets_addresses": ["beth@bolt.example"]}, "beth@bolt.example gets no sheet: it has the state no_login"),
        ({"sheets_tenants": ["nobody"]}, '"nobody" has no file in tenants_dir'),
        ({"sheets_languages": ["en", "tlh"]}, "there are no texts in tlh; there are en, ja"),
        ({"sheets_formats": ["docx"]}, "docx"),
        ({"sheets_tls_names": "mine"}, "mine"),
        ({"sheets_templates_dir": "missing"}, "missing"),
        ({"sheets_dir": "demo/tenants"}, "/demo/tenants is open to others (mode 0755)"),
        ({"mail_plans": {"basic": {"mailbox_quota": "much"}}}, "mail_plans.basic.mailbox_quota"),
    ],
    ids=str,
)
def test_bad_input_is_one_clear_error(operator: Operator, variables: dict[str, Any], said: str) -> None:
    outcome, printed = operator.play(**variables)
    assert outcome == "failed"
    assert said in printed
    assert not (operator.root / "demo" / "sheets").exists()


def test_tenant_of_the_panel_has_no_accounts_in_files(operator: Operator) -> None:
    (operator.root / "demo" / "addresses" / "bolt.yml").unlink()
    (operator.root / "demo" / "secrets" / "bolt.yml").unlink()
    operator.write("tenants/bolt.yml", "plan: basic\naddresses_managed_by: panel\ndomains: {bolt.example: }\n")
    assert operator.play()[0] == "changed"
    assert "addresses_managed_by: panel, so its accounts are in no file" in operator.play(sheets_tenants=["bolt"])[1]
    assert "managed by the panel" in operator.play(sheets_addresses=["bill@bolt.example"])[1]


def test_variables_of_the_command_line(operator: Operator) -> None:
    outcome, _ = operator.play("-e", "sheets_tenants=[acme]", "-e", "sheets_addresses=[bill@bolt.example]")
    assert outcome == "changed"
    assert len(operator.sheets()) == 4
    _, printed = operator.play("-e", "sheets_languages=ja,en", "-e", "sheets_with_password=no")
    assert len(operator.sheets()) == 8
    assert "Files written: 4" in unfolded(printed)


def test_provider_stands_escaped_on_every_sheet(operator: Operator) -> None:
    evil = "<script>alert(1)</script>"
    operator.play(sheets_provider_name=evil, sheets_support=["tech@provider.example", evil], sheets_languages=["ja"])
    read = Page(operator.page("acme/taro@acme.example.ja.html"))
    assert sum(evil in text for text in read.texts) == 3
    assert "script" not in {tag for tag, _attributes in read.elements}


def test_folder_that_ansible_would_read_as_an_inventory(operator: Operator) -> None:
    ignored = {"ANSIBLE_INVENTORY_IGNORE_REGEX": "^tenants$, ^addresses$, ^secrets$"}
    operator.environment |= ignored
    outcome, printed = operator.play(inventory="demo")
    assert outcome == "failed"
    assert "add ^sheets$ to ignore_patterns" in printed
    assert operator.play(inventory="demo", sheets_dir=str(operator.root / "elsewhere"))[0] == "changed"
    operator.environment["ANSIBLE_INVENTORY_IGNORE_REGEX"] += ", ^sheets$"
    assert operator.play(inventory="demo")[0] == "changed"
    assert operator.play(inventory="demo")[0] == "ok"


def test_pdf_beside_html_once(operator: Operator) -> None:
    options: dict[str, Any] = {"sheets_addresses": ["taro@acme.example"], "sheets_formats": []}
    assert operator.play(**options)[0] == "changed"
    assert operator.sheets() == ["taro@acme.example.en.html", "taro@acme.example.en.pdf"]
    assert operator.play(**options)[0] == "ok"


def test_without_a_program_html_alone_and_a_word_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "program", lambda: None)
    formats, warning = action._formats([], {"en"})
    assert formats == ["html"]
    assert "HTML only, because the program weasyprint is not installed" in warning
    assert action._formats(["html"], {"en"}) == (["html"], "")
    with pytest.raises(page.PageError, match="no PDF can be made here: the program weasyprint"):
        action._formats(["pdf"], {"en"})
