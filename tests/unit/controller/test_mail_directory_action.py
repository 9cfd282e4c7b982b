# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin: what it sends, how it travels, and what others can see of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible._internal._datatag._tags import Origin
from ansible_collections.mailhosting.stack.plugins.action import mail_directory as action
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import from_document
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Dsn

from .tree import FILES, Tree

COLLECTIONS = Path(action.__file__).absolute().parents[5]
SECRET = "correct horse"

Ansible = Callable[..., subprocess.CompletedProcess[str]]


def test_document_is_what_was_read(tree: Tree) -> None:
    desired = tree.read().desired
    assert from_document(json.loads(action.document(desired))) == desired


def test_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert action.origin(Origin(path=str(tmp_path / "plans.yml"), line_num=3).tag("key")) == ("plans.yml", 3)
    assert action.origin(Origin(description="<CLI>").tag("key")) == ("", 0)
    assert action.origin("key") == ("", 0)


class Task:
    """The task as `ansible` runs it on this machine, with a directory of the test's own."""

    def __init__(self, tree: Tree, place: Dsn, ansible: Ansible, pipelining: bool) -> None:
        self.tree = tree
        self._ansible = ansible
        self.temporary = tree.root / "temporary"
        self.temporary.mkdir()
        self._options = {
            "plans": "{{ mail_plans }}",
            **{f"{name}_dir": str(tree.root / name) for name in ("tenants", "addresses", "secrets")},
            **{name: getattr(place, name) for name in ("host", "user", "database")},
        }
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tree.root),
            "TMPDIR": str(self.temporary),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_PIPELINING": str(pipelining),
            "ANSIBLE_REMOTE_TMP": str(self.temporary / "remote"),
        }
        (tree.root / "group_vars").mkdir()
        tree.write({
            "hosts.yml": f"""\
all:
  hosts: {{here: {{ansible_connection: local, ansible_python_interpreter: {sys.executable}}}}}
""",
            "group_vars/all.yml": "mail_plans:\n  basic:\n    max_accounts: 5\n",
        })  # fmt: skip

    def run(self, *arguments: str, **options: Any) -> tuple[dict[str, Any], str]:
        """The task's result and all output."""
        command = ["ansible", "all", "-i", "hosts.yml"]
        task = ["-m", "mailhosting.stack.mail_directory", "-a", json.dumps({**self._options, **options})]
        done = self._ansible(*command, *task, *arguments, environment=self._environment, folder=self.tree.root)
        result = json.JSONDecoder().raw_decode(done.stdout, done.stdout.index("=> ") + 3)[0]
        return result, done.stdout + done.stderr

    def left_behind(self) -> list[Path]:
        return [path for path in self.temporary.rglob("*") if path.is_file()]


@pytest.fixture
def task(request: pytest.FixtureRequest, tree: Tree, place: Dsn, ansible: Ansible) -> Task:
    return Task(tree, place, ansible, pipelining=getattr(request, "param", True))


both_ways = pytest.mark.parametrize("task", [True, False], ids=["pipelined", "copied"], indirect=True)


@both_ways
def test_task_changes_once_and_shows_no_secret(task: Task) -> None:
    result, output = task.run("-vvv")
    assert (result["changed"], result["counts"]["created"]) == (True, 3)
    assert SECRET not in output
    assert task.left_behind() == []
    result, _ = task.run()
    assert (result["changed"], result["counts"]["unchanged"]) == (False, 3)


#: Replaces the interpreter: reports the files that exist while the module runs, and whether one has the secret.
INTERPRETER = """#!/bin/sh
cat >{folder}/program
for place in {temporary} {home}/.ansible; do
    find $place -type f -exec grep -l '{secret}' {{}} + >>{folder}/found 2>/dev/null
done
grep -c '{secret}' {folder}/program >{folder}/piped
exec {python} "$@" <{folder}/program
"""


@both_ways
def test_no_file_has_a_secret_while_the_module_runs(task: Task, tmp_path: Path) -> None:
    watching = tmp_path / "watching"
    watching.mkdir()
    program = watching / "python3"
    program.write_text(
        INTERPRETER.format(
            folder=watching, temporary=task.temporary, home=task.tree.root, secret=SECRET, python=sys.executable
        )
    )
    program.chmod(0o755)
    result, _ = task.run("-e", f"ansible_python_interpreter={program}")
    assert result["counts"]["created"] == 3
    assert (watching / "found").read_text() == ""
    assert int((watching / "piped").read_text()) > 0


def test_where_a_file_would_be_left_nothing_is_done(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(task._environment, "ANSIBLE_KEEP_REMOTE_FILES", "1")
    failed, output = task.run()
    assert failed["msg"].startswith("Nothing was done. mailhosting.stack.mail_directory is given secrets")
    assert "ANSIBLE_KEEP_REMOTE_FILES is set" in failed["msg"]
    assert SECRET not in output
    assert SECRET not in "".join(path.read_text() for path in task.left_behind())
    # Without a secret no file can leak one.
    assert task.run(secrets_dir="")[0]["counts"]["created"] == 3


def test_check_mode_and_diff_reach_the_host(task: Task) -> None:
    result, output = task.run("--check", "--diff")
    assert result["changed"]
    assert "taro@acme.example" in output
    assert SECRET not in output
    assert task.run("--check")[0]["changed"]
    assert task.left_behind() == []


def test_limit_reaches_the_host(task: Task) -> None:
    result, _ = task.run(tenants=["bolt"])
    assert result["settings"] == ["plan basic", "tenant bolt", "domain bolt.example"]


def test_mistakes_are_one_line_each_and_nothing_changes(task: Task) -> None:
    task.tree.write({
        "addresses/bolt.yml": "bolt.example: {accounts: {a b: , c: {quota: 50 Megs}}}\n",
        "group_vars/all.yml": "mail_plans:\n  basic:\n    max_accounts: many\n",
    })  # fmt: skip
    result, output = task.run()
    first, *lines = result["msg"].splitlines()
    assert first == "Nothing was changed."
    assert [line.split(": ")[:2] for line in lines] == [
        ["addresses/bolt.yml:1", "bolt.example.accounts.a b"],
        ["addresses/bolt.yml:1", "bolt.example.accounts.c.quota"],
        ["group_vars/all.yml:3", "mail_plans.basic.max_accounts"],
    ]
    assert all(line in output.splitlines() for line in lines)
    task.tree.write({"addresses/bolt.yml": "", "group_vars/all.yml": "mail_plans: {basic: {}}\n"})
    assert task.run()[0]["counts"]["created"] == 3


@both_ways
def test_document_of_a_module_that_fails_is_removed(task: Task) -> None:
    result, _ = task.run(update_password="sometimes")
    assert "update_password must be one of" in result["msg"]
    assert task.left_behind() == []


def test_options_of_the_wrong_type(task: Task) -> None:
    assert "plans" in task.run(plans=["basic"])[0]["msg"]


def test_vault_password_of_the_command_line(task: Task) -> None:
    task.tree.write({"secrets/acme.yml": task.tree.encrypt(FILES["secrets/acme.yml"]), "password": "right"})
    assert "no vault password was given" in task.run()[0]["msg"]
    assert task.run("--vault-password-file", "password")[0]["counts"]["created"] == 3
    assert not any(SECRET.encode() in path.read_bytes() for path in (task.tree.root / ".cache").rglob("*.json"))


def test_relative_folders_are_found_beside_the_playbook(task: Task) -> None:
    folders = {f"{name}_dir": name for name in ("tenants", "addresses", "secrets")}
    assert task.run(**folders)[0]["counts"]["created"] == 3


def test_empty_folder_warns(task: Task) -> None:
    for name in FILES:
        (task.tree.root / name).unlink()
    result, output = task.run()
    assert "tenants has no tenant's file: nothing is declared" in output
    assert result["counts"]["created"] == 0
