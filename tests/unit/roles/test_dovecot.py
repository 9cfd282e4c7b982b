# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of Dovecot that depend on what the directory accepts."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.lookups import SPELLED
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.password_hashes import MOST_MEMORY

ROLE = Path(__file__).parents[3] / "roles/dovecot"
PLAYBOOKS = ROLE.parents[1] / "playbooks"
SERVICES = ROLE / "templates/dovecot/services.conf.j2"


def test_processes_that_check_passwords_have_the_memory_for_the_dearest_hash() -> None:
    worker = SERVICES.read_text().partition("service auth-worker {")[2]
    limit = re.search(r"vsz_limit = ([0-9]+)M", worker)
    assert limit
    # A process takes 64 MiB before it verifies anything.
    assert int(limit[1]) << 10 >= MOST_MEMORY + (64 << 10)


def test_dovecot_and_the_directory_mark_a_login_by_the_same_character() -> None:
    assert yaml.safe_load((ROLE / "vars/main.yml").read_text())["__dovecot_spelled"] == SPELLED


def test_what_is_beside_dovecot_is_said_and_not_looked_for() -> None:
    options = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    said = {name for name in options if name.startswith("dovecot_has_")}
    assert said == {f"dovecot_has_{what}" for what in ("certificate", "notices", "password", "postfix")}
    host = yaml.safe_load((PLAYBOOKS / "vars/host.yml").read_text())
    assert {name: host[name] for name in said} == dict.fromkeys(said, True)
    tasks = yaml.safe_load((ROLE / "tasks/main.yml").read_text())
    assert not [task["name"] for task in tasks if {"ansible.builtin.shell", "ansible.builtin.command"} & task.keys()]
    # All of it is there by then.
    (site,) = yaml.safe_load((PLAYBOOKS / "site.yml").read_text())
    order = [f"{role if isinstance(role, str) else role['role']}".rpartition(".")[2] for role in site["roles"]]
    assert max(map(order.index, ("tls", "notices", "password", "postfix"))) < order.index("dovecot")
