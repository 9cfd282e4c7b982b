# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that roles share: one documented list, and what is told of a slip in a name."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.mailhosting.stack.plugins.plugin_utils import _variables as variables

from .conftest import REPOSITORY, Play

NAME = re.compile(r"\bmail_[a-z_]+\b")
#: Files in which roles and playbooks take variables.
TAKING = (
    *REPOSITORY.glob("roles/*/*/*.yml"),
    *REPOSITORY.glob("roles/*/templates/**/*.j2"),
    *REPOSITORY.glob("playbooks/**/*.yml"),
)
#: Settings of Dovecot and of PAM, and modules: they look like variables.
OTHERS = {path.stem for path in REPOSITORY.glob("plugins/modules/mail_*.py")} | {
    "mail_driver",
    "mail_gid",
    "mail_max_userip_connections",
    "mail_path",
    "mail_pid",
    "mail_plugins",
    "mail_uid",
}
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - mailhosting.stack.gate_settings:
        texts: {limit: no}
"""


def test_the_list_is_what_roles_and_playbooks_take() -> None:
    taken = {name for path in TAKING for name in NAME.findall(path.read_text())}
    assert taken - OTHERS == variables.SHARED


def test_the_list_is_what_is_documented() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", (REPOSITORY / "docs/variables.md").read_text(), re.MULTILINE)
    assert documented == sorted(variables.SHARED)


def options(text: str) -> set[str]:
    return set(yaml.safe_load(text)["argument_specs"]["main"]["options"])


def test_every_variable_of_the_last_release_is_one_or_has_another_name() -> None:
    (release,) = (REPOSITORY / "tests/releases").glob("*.tar.gz")
    specification = re.compile(r"roles/[^/]+/meta/argument_specs[.]yml")
    before: set[str] = set()
    with tarfile.open(release) as archive:
        for member in archive.getmembers():
            if specification.fullmatch(member.name) and (file := archive.extractfile(member)):
                before |= options(file.read().decode())
    now = set().union(*(options(path.read_text()) for path in REPOSITORY.glob("roles/*/meta/argument_specs.yml")))
    assert variables.FORMER.keys() == before - now
    assert set(variables.FORMER.values()) <= now | variables.SHARED


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mail_bas", "mail_base"),
        ("mail_vase", "mail_base"),
        ("mail_host_name", "mail_hostname"),
        ("mail_hostnames", "mail_hostname"),
        ("mail_plan", "mail_plans"),
        ("mail_tenant_dir", "mail_tenants_dir"),
        ("mail_time_zone", "mail_timezone"),
        ("mail_message_sizelimit", "mail_message_size_limit"),
        ("mail_valkey_password", "mail_valkey_passwords"),
        ("mail_adresses_dir", "mail_addresses_dir"),
    ],
)
def test_a_slip_names_the_variable_that_is_meant(name: str, meant: str) -> None:
    assert variables.problems([name, "other"]) == [
        f"{name}: is no variable of this collection; is {meant} meant? (docs/variables.md)"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "mail_team_contact",
        "mail_domain",
        "mail_domains",
        "mail_host",
        "mail_hosts",
        "mail_admin",
        "mail_backup_dir",
        "mail_port",
        "mail_relay",
        "mail_server_name",
        "mail_valkey_user",
        "email_base",
        "mailbase",
        *sorted(OTHERS),
        *sorted(variables.SHARED),
    ],
)
def test_what_is_an_operators_own_is_left_alone(name: str) -> None:
    assert variables.problems([name]) == []


def test_results_that_roles_and_playbooks_register_are_no_slips() -> None:
    registered = {
        name for path in TAKING for name in re.findall(r"^ *register: (\w+)$", path.read_text(), re.MULTILINE)
    }
    assert len(registered) > 10
    assert variables.problems(registered) == []


def test_a_variable_of_an_earlier_release_is_answered_by_the_one_of_now() -> None:
    assert variables.problems(["notices_quota_calendar"]) == [
        "notices_quota_calendar: is no variable any more, usage_compare_at is (docs/upgrading.md)"
    ]


def run(play: Play, **of_host: Any) -> subprocess.CompletedProcess[str]:
    return play(PLAY, "--extra-vars", json.dumps(of_host))


def test_all_that_is_wrong_is_told_at_once_with_the_host(play: Play) -> None:
    done = run(play, mail_hostnam="mx1.example", postfix_gate="gate", mail_team_contact="x")
    assert done.returncode
    said = done.stdout + done.stderr
    assert "localhost: mail_hostnam: is no variable of this collection; is mail_hostname meant?" in said
    assert "localhost: postfix_gate: is no variable any more, postfix_milters is" in said
    assert "gate_texts: limit:" in said
    assert "mail_team_contact" not in said


def test_site_asks_first() -> None:
    (site,) = yaml.safe_load((REPOSITORY / "playbooks/site.yml").read_text())
    assert "mailhosting.stack.gate_settings" in site["pre_tasks"][0]


def test_the_documents_name_the_list() -> None:
    for path in (Path("README.md"), Path("inventories/template/group_vars/all/mail.yml")):
        assert "docs/variables.md" in (REPOSITORY / path).read_text()
