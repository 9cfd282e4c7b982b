# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a customer's administrator may change: the template's own CI job, over the template's own inventory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml
from ansible_collections.mailhosting.stack.plugins.action import mail_directory as action

COLLECTION = Path(action.__file__).absolute().parents[2]
TEMPLATE = COLLECTION / "inventories" / "template"
CUSTOMER = "addresses/customer.yml"

Ansible = Callable[..., subprocess.CompletedProcess[str]]
Check = Callable[[], subprocess.CompletedProcess[str]]

#: By the attempt: the file, a text in it and its replacement, the place of the one mistake, and the message.
CHANGES = {
    "a quota above the plan": (
        CUSTOMER,
        ("    info:", "    info: {quota: 100G}"),
        f"{CUSTOMER}:5: customer.example.accounts.info.quota",
        "100G, and plan basic allows tenant customer 1G (max_account_quota, or else mailbox_quota)",
    ),
    "no quota": (
        CUSTOMER,
        ("    info:", "    info: {quota: null}"),
        f"{CUSTOMER}:5: customer.example.accounts.info.quota",
        "no limit, and plan basic allows tenant customer 1G (max_account_quota, or else mailbox_quota)",
    ),
    "another tenant's domain": (
        CUSTOMER,
        ("customer.example:", "other.example: {accounts: {eve: }}\ncustomer.example:"),
        f"{CUSTOMER}:3: other.example",
        '"other.example" is a domain of tenant other (inventories/production/tenants/other.yml), not of customer',
    ),
    "an address in another tenant's domain": (
        CUSTOMER,
        ("    info:", "    info:\n    eve@other.example:"),
        f"{CUSTOMER}:6: customer.example.accounts.eve@other.example",
        '"eve@other.example" is not a local part',
    ),
    "another plan": (
        CUSTOMER,
        ("customer.example:", "plan: large\ncustomer.example:"),
        f"{CUSTOMER}:3: plan",
        "belongs in the tenant's own file, which is the operator's; this file has domains",
    ),
    "a limit": (
        CUSTOMER,
        ("customer.example:", "max_accounts: 5000\ncustomer.example:"),
        f"{CUSTOMER}:3: max_accounts",
        "belongs in the tenant's own file, which is the operator's; this file has domains",
    ),
    "more targets than the plan": (
        CUSTOMER,
        ("sales: [info]", f"sales: [{', '.join(f'u{number}@home.example' for number in range(7))}]"),
        f"{CUSTOMER}:12: customer.example.aliases.sales",
        "7 targets, and plan basic allows tenant customer 6 (max_forward_targets)",
    ),
    "a file in the name of another tenant": (
        "addresses/other.yml",
        ("", "customer.example: {accounts: {eve: }}\n"),
        "addresses/other.yml:1: customer.example",
        '"customer.example" is a domain of tenant customer (inventories/production/tenants/customer.yml), not of other',
    ),
    "a file in the name of nobody": (
        "addresses/nobody.yml",
        ("", "customer.example: {accounts: {eve: }}\n"),
        "addresses/nobody.yml:1",
        "there is no inventories/production/tenants/nobody.yml for it to belong to",
    ),
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An operator's repository: the template as it is, and one more tenant."""
    production = tmp_path / "inventories" / "production"
    shutil.copytree(TEMPLATE, production)
    (production / "tenants" / "other.yml").write_text("plan: basic\ndomains: {other.example: }\n")
    # The job neither opens nor needs it.
    vaulted = "$ANSIBLE_VAULT;1.1;AES256\n6162\n"
    (production / "secrets" / "customer.yml").write_text(vaulted)
    (production / "group_vars" / "all" / "vault.yml").write_text(vaulted)
    return tmp_path


@pytest.fixture
def check(repository: Path, ansible: Ansible) -> Check:
    """The job's last step, as in its file, without access to any host."""
    workflow = yaml.safe_load((TEMPLATE / ".github" / "workflows" / "check_files.yml").read_text())
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(repository),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTION.parents[2]),
        "ANSIBLE_SSH_EXECUTABLE": "/bin/false",
    }
    command = workflow["jobs"]["check"]["steps"][-1]["run"]
    in_lines = ["sh", "-c", f"printf '%s\\n' {command}"]
    words = subprocess.run(in_lines, cwd=repository, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return partial(ansible, *words, environment=environment, folder=repository)


def change(repository: Path, file: str, before: str, after: str) -> None:
    path = repository / "inventories" / "production" / file
    text = path.read_text() if before else ""
    assert before in text
    path.write_text(text.replace(before, after, 1))


def test_a_customer_changes_addresses(repository: Path, check: Check) -> None:
    change(repository, CUSTOMER, "    info:", "    info: {quota: 1G, state: suspended}\n    ken: {quota: 100M}")
    change(repository, CUSTOMER, "[info]", "[info, ken, partner@elsewhere.example]")
    done = check()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All is well: 2 tenants, 2 accounts, 1 aliases." in done.stdout


def test_a_customer_deletes_an_address_and_sets_a_password(repository: Path, check: Check) -> None:
    hashed = "{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43
    change(repository, CUSTOMER, "    info:", f'    ken: {{password_hash: "{hashed}"}}')
    change(repository, CUSTOMER, "[info]", "[ken]")
    done = check()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All is well: 2 tenants, 1 accounts, 1 aliases." in done.stdout


@pytest.mark.parametrize(("file", "edit", "place", "message"), CHANGES.values(), ids=CHANGES.keys())
def test_what_a_customer_may_not_change(
    repository: Path, check: Check, file: str, edit: tuple[str, str], place: str, message: str
) -> None:
    change(repository, file, *edit)
    done = check()
    printed = done.stdout + done.stderr
    assert done.returncode != 0, printed
    assert f"inventories/production/{place}: {message}" in printed
    assert set(re.findall(r"production/(addresses/\S+?:\d+): ", printed)) == {place.partition(": ")[0]}


def test_the_operators_own_check_opens_the_secrets_too(repository: Path, ansible: Ansible) -> None:
    production = repository / "inventories" / "production"
    (production / "secrets" / "customer.yml").write_text("nobody@customer.example: x\n")
    (production / "group_vars" / "all" / "vault.yml").unlink()
    command = ["ansible-playbook", "mailhosting.stack.check_files"]
    command += ["-i", str(production / "hosts.yml"), "-e", "check_files_secrets=true"]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTION.parents[2]), "HOME": str(repository)}
    done = ansible(*command, environment=environment, folder=repository)
    assert done.returncode != 0
    assert "inventories/production/secrets/customer.yml:1: nobody@customer.example: no account" in done.stdout


def test_whoever_owns_a_customers_file_owns_no_other() -> None:
    """The last line of CODEOWNERS that matches a path counts."""
    lines = (TEMPLATE / ".github" / "CODEOWNERS").read_text().splitlines()
    rules = [line.split() for line in lines if line and not line.startswith("#")]
    assert rules[0] == ["*", "@provider/operators"]
    for path, *owners in rules[1:]:
        assert path.startswith("/inventories/production/addresses/")
        assert path.endswith(".yml")
        assert "@provider/operators" in owners
