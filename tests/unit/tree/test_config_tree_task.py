# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""config_tree in a role: action and module in one task."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Play

COLLECTIONS = Path(__file__).parents[3] / ".cache/tree"

PLAY = """
- hosts: all
  gather_facts: false
  vars: {{ports: [25, 587], password: first-password}}
  tasks:
    - ansible.builtin.include_role: {{name: demo}}
"""

TASK = """
- name: Configure
  mailhosting.stack.config_tree:
    src: etc/demo
    dest: "{dest}"
    owner: "{uid}"
    group: "{gid}"
    files:
      sql/secret.cf: {{mode: "0600", secret: true}}
    purge: [sql]
    validate: ["test -f {{}}/main.cf", "{no_files}"]
  register: configured
- name: Show
  ansible.builtin.debug:
    msg: "changed files={{{{ configured.files | join(' ') }}}}"
"""


TREES = """
- name: Install and configure
  mailhosting.stack.config_tree:
    trees:
      - {{src: programs, dest: "{dest}/programs", owner: "{uid}", group: "{gid}", mode: "0755"}}
      - src: etc/demo
        dest: "{dest}/etc"
        owner: "{uid}"
        group: "{gid}"
        files:
          sql/secret.cf: {{mode: "0600", secret: true}}
        validate: "{dest}/programs/check {{}}"
  register: configured
- name: Show
  ansible.builtin.debug:
    msg: "changed files={{{{ configured.files | join(' ') }}}}"
"""


def no_files(folder: Path) -> str:
    """A validator that checks that no file exists, here or on the host, but Ansible's own with the code."""
    return f"sh -c 'find {folder}/home -type f ! -name ansible.cfg ! -path */ansiballz_cache/* | (! grep .)'"


@pytest.fixture(name="role")
def _role(tmp_path: Path) -> Path:
    role = tmp_path / "roles" / "demo"
    templates = role / "templates"
    (templates / "etc" / "demo" / "sql").mkdir(parents=True)
    (templates / "parts").mkdir()
    (templates / "etc/demo/main.cf.j2").write_text(
        "# {{ ansible_managed }}\n{% for port in ports %}\n  {% if port %}\nlisten {{ port }} \\n\n  {% endif %}\n"
        "{% endfor %}\n{% include 'parts/tail.j2' %}\n"
    )
    (templates / "parts/tail.j2").write_text("host {{ inventory_hostname }}")
    (templates / "etc/demo/sql/secret.cf.j2").write_text("password = {{ password }}\n")
    (templates / "etc/demo/as-it-is.bin").write_bytes(b"{{ not rendered }}\xff\n")
    # A role may have Python; this machine's compiled copies must stay here.
    (templates / "etc/demo/__pycache__").mkdir()
    (templates / "etc/demo/__pycache__/module.pyc").touch()
    (role / "tasks").mkdir()
    values = {"dest": tmp_path / "dest", "uid": os.getuid(), "gid": os.getgid(), "no_files": no_files(tmp_path)}
    (role / "tasks/main.yml").write_text(TASK.format(**values))
    return role


@pytest.mark.usefixtures("role")
def test_a_role_configures_a_host_and_changes_nothing_again(play: Play, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dry = play(PLAY.format(), "--check")
    assert "changed files=as-it-is.bin main.cf sql/secret.cf" in dry.stdout, dry
    assert not dest.exists()

    first = play(PLAY.format(), "--diff", "-vvv")
    assert "changed=1 " in first.stdout, first
    assert (dest / "main.cf").read_text() == "# Ansible managed\nlisten 25 \\n\nlisten 587 \\n\nhost localhost\n"
    assert (dest / "as-it-is.bin").read_bytes() == b"{{ not rendered }}\xff\n"
    assert (dest / "sql/secret.cf").read_text() == "password = first-password\n"
    assert "+listen 587" in first.stdout
    assert "first-password" not in first.stdout + first.stderr, "a secret is in the output"
    assert list((tmp_path / "home/remote").rglob("*")) == []

    assert "changed=0 " in play(PLAY.format()).stdout
    (dest / "sql/stale.cf").touch()
    assert "changed files=sql/stale.cf" in play(PLAY.format()).stdout
    assert not (dest / "sql/stale.cf").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("first\n{{ nowhere }}\n", "etc/demo/broken.cf.j2:2: 'nowhere' is undefined"),
        (
            "{{ ports.nowhere }}\nx\n{{ nowhere }}\n",
            "etc/demo/broken.cf.j2:1,3: object of type 'list' has no attribute",
        ),
        ("\n\n{% if %}\n", "etc/demo/broken.cf.j2:3: Syntax error in template"),
    ],
)
def test_a_template_error_names_file_and_line(role: Path, play: Play, tmp_path: Path, text: str, message: str) -> None:
    (role / "templates/etc/demo/broken.cf.j2").write_text(text)
    run = play(PLAY.format())
    assert message in run.stdout + run.stderr, run
    assert not (tmp_path / "dest").exists()


def test_two_sources_of_one_file_are_an_error(role: Path, play: Play) -> None:
    (role / "templates/etc/demo/main.cf").write_text("")
    run = play(PLAY.format())
    assert "both main.cf and main.cf.j2" in run.stdout + run.stderr, run


@pytest.mark.parametrize("src", ["etc/nowhere", "etc/demo/main.cf.j2", ""])
def test_a_source_that_is_no_folder_is_an_error(role: Path, play: Play, tmp_path: Path, src: str) -> None:
    tasks = role / "tasks/main.yml"
    tasks.write_text(tasks.read_text().replace("src: etc/demo", f"src: '{src}'"))
    run = play(PLAY.format())
    assert "failed=1 " in run.stdout, run
    assert src in run.stdout + run.stderr
    assert not (tmp_path / "dest").exists()


def test_trees_are_brought_one_after_the_other(role: Path, play: Play, tmp_path: Path) -> None:
    """A program of the first tree validates the second."""
    dest = tmp_path / "dest"
    tasks = TREES.format(dest=dest, uid=os.getuid(), gid=os.getgid())
    (role / "tasks/main.yml").write_text(tasks)
    program = role / "templates/programs/check"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\ncat $1/main.cf; exit 1\n")
    refused = play(PLAY.format())
    assert "failed=1 " in refused.stdout, refused
    assert "failed (1), nothing was changed:" in refused.stdout + refused.stderr
    assert sorted(path.name for path in dest.rglob("*")) == ["check", "programs"]

    program.write_text("#!/bin/sh\nexit 0\n")
    first = play(PLAY.format(), "--diff")
    paths = ("programs/check", "etc/as-it-is.bin", "etc/main.cf", "etc/sql/secret.cf")
    assert f"changed files={' '.join(str(dest / path) for path in paths)}" in first.stdout, first
    assert "+listen 587" in first.stdout
    assert "first-password" not in first.stdout
    assert "changed=0 " in play(PLAY.format()).stdout

    (role / "tasks/main.yml").write_text(tasks.replace("src: programs, ", ""))
    missing = play(PLAY.format())
    assert "failed=1 " in missing.stdout, missing
    assert "missing required arguments: src found in trees" in missing.stdout + missing.stderr


def test_what_an_earlier_release_had_is_removed(role: Path, play: Play, tmp_path: Path) -> None:
    old = tmp_path / "old"
    tasks = role / "tasks/main.yml"
    added = f"    absent: [{old / 'program'}, {old / 'single.py'}, {old / 'link'}]\n"
    tasks.write_text(tasks.read_text().replace("    purge: [sql]\n", added))
    assert "changed=1 " in play(PLAY.format()).stdout
    assert "changed=0 " in play(PLAY.format()).stdout

    (old / "program" / "deep").mkdir(parents=True)
    (old / "program" / "deep" / "module.py").touch()
    (old / "single.py").touch()
    (old / "elsewhere").mkdir()
    (old / "elsewhere" / "stays").touch()
    (old / "link").symlink_to("elsewhere")
    wanted = f"changed files={old / 'program'} {old / 'single.py'} {old / 'link'}"
    assert wanted in play(PLAY.format(), "--check").stdout
    assert (old / "program" / "deep" / "module.py").exists()
    assert wanted in play(PLAY.format()).stdout
    assert sorted(path.name for path in old.rglob("*")) == ["elsewhere", "stays"]
    assert "changed=0 " in play(PLAY.format()).stdout


@pytest.mark.parametrize("path", ["/usr", "relative/path", "/usr/lib/../bin"])
def test_a_path_that_shall_be_absent_is_a_whole_one(role: Path, play: Play, path: str) -> None:
    tasks = role / "tasks/main.yml"
    tasks.write_text(tasks.read_text().replace("    purge: [sql]\n", f"    absent: ['{path}']\n"))
    run = play(PLAY.format())
    assert "failed=1 " in run.stdout, run
    assert "is not the whole path of a file or folder below another" in run.stdout + run.stderr


def test_what_is_there_already_needs_no_module(role: Path, play: Play, tmp_path: Path) -> None:
    """Neither the module nor Python on the host is needed; owners are given by name."""
    names = {"uid": pwd.getpwuid(os.getuid()).pw_name, "gid": grp.getgrgid(os.getgid()).gr_name}
    (role / "tasks/main.yml").write_text(TASK.format(dest=tmp_path / "dest", no_files=no_files(tmp_path), **names))
    assert "changed=1 " in play(PLAY.format()).stdout
    again = play(PLAY.format(), "-e", "ansible_python_interpreter=/nowhere")
    assert "changed files=\n" in again.stdout.replace('"', "\n"), again
    assert "changed=0 " in again.stdout


def test_it_is_called_as_a_task(tmp_path: Path) -> None:
    """Without the contents from its action plugin it changes nothing."""
    arguments = json.dumps({"ANSIBLE_MODULE_ARGS": {"src": "etc/demo", "dest": str(tmp_path / "dest")}})
    module = "ansible_collections.mailhosting.stack.plugins.modules.config_tree"
    command = [sys.executable, "-m", module, arguments]
    run = subprocess.run(command, env={"PYTHONPATH": str(COLLECTIONS)}, capture_output=True, text=True, check=False)
    assert "call it as a task" in json.loads(run.stdout)["msg"], run
    assert not (tmp_path / "dest").exists()
