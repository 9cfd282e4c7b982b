# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `mailhosting` as a whole: its help, what it says where a service is missing, what bash completes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer

import pytest

from . import command_line

COMPLETION = command_line.ROOT / "roles" / "programs" / "templates" / "completions" / "mailhosting"
SUBCOMMANDS = ("autoreply", "limits", "lock", "locked-out", "password", "quarantine", "unlock", "virus")
NOWHERE = dict.fromkeys(("gate_settings", "password_socket", "jails", "clusters"), "/nonexistent")


def said(*arguments: str) -> str:
    """What it prints of itself."""
    done = command_line.run({}, *arguments)
    assert done.returncode == 0
    return done.stdout


def choices(*arguments: str) -> set[str]:
    """The words that its help lists in place of a subcommand."""
    return set(re.findall(r"^    ([a-z-]+)(?: |$)", said(*arguments, "--help"), re.MULTILINE))


def test_the_help_names_each_subcommand_and_the_exit_codes() -> None:
    assert choices() == set(SUBCOMMANDS)
    assert "exit codes:" in said("--help")


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_each_has_examples_that_are_written_as_it_takes_them(subcommand: str) -> None:
    text = said(subcommand, "--help")
    examples = re.findall(rf"mailhosting ({subcommand}\b.*?)(?:  .*)?$", text.partition("example")[2], re.MULTILINE)
    assert examples
    for example in examples:
        done = command_line.run({**NOWHERE, "is_root": True}, *example.split(), path=Path("/nonexistent"))
        # It is understood: only the service is not there.
        assert done.returncode in (1, 3), example


@pytest.mark.parametrize(
    "arguments",
    ["limits show", "password a@b.example", "locked-out", "lock a@b.example --reason x", "unlock a@b.example",
     "quarantine list", "virus list"],
)  # fmt: skip
def test_what_is_not_on_the_host_is_said_in_a_line(arguments: str) -> None:
    done = command_line.run({**NOWHERE, "is_root": True}, *arguments.split())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert "mailhosting.stack" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    ["", "lift", "autoreply", "autoreply forget", "autoreply forget -- -A@b.example", "password", "password taro",
     "password @b.example", "locked-out a b", "locked-out ''", "limits lift ''", "lock a@b.example",
     "lock a@b.example --reason '\n '",
     "lock taro --reason x", "lock --reason x", "unlock", "unlock @b.example",
     "quarantine", "quarantine search", "quarantine show", "quarantine release x", "quarantine drop --infected 1",
     "virus", "virus accept", "virus ignore ''"],
)  # fmt: skip
def test_what_makes_no_sense_is_explained(arguments: str) -> None:
    done = command_line.run({}, *shlex.split(arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: mailhosting")


@pytest.fixture
def doveadm(tmp_path: Path) -> Path:
    """A folder with a doveadm that knows one account."""
    program = tmp_path / "doveadm"
    program.write_text(f'#!/bin/sh\ncase "$4" in taro@acme.example) echo {tmp_path} ;; *) exit 67 ;; esac\n')
    program.chmod(0o755)
    return tmp_path


def test_an_automatic_reply_forgets(doveadm: Path) -> None:
    forget = ("autoreply", "forget", "--json", "taro@acme.example")
    (doveadm / ".dovecot.lda-dupes").touch()
    found = [command_line.run({"is_root": True}, *forget, path=doveadm).stdout for _time in range(2)]
    assert [json.loads(text) for text in found] == [
        {"address": "taro@acme.example", "forgotten": forgotten} for forgotten in (True, False)
    ]


def test_an_automatic_reply_of_nobody(doveadm: Path) -> None:
    name = "nobody@acme.example"
    done = command_line.run({"is_root": True}, "autoreply", "forget", name, path=doveadm)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"there is no account {name}\n")


class Service(ThreadingUnixStreamServer):
    """Answers like the password service, and remembers what it was asked."""

    asked: list[dict[str, str]]
    answer: dict[str, object]


class _Handler(StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Service)
        self.server.asked.append(json.loads(self.rfile.readline()))
        self.wfile.write(json.dumps(self.server.answer).encode() + b"\n")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(str(tmp_path / "socket"), _Handler) as server:
        server.asked, server.answer = [], {"ok": True}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_root_sets_a_password_and_a_user_gives_the_old_one(service: Service) -> None:
    address = "taro@acme.example"
    root = {"password_socket": service.server_address, "is_root": True}
    done = command_line.run(root, "password", address, given="the new one\n")
    assert (done.returncode, done.stdout) == (0, f"{address}: the password is set\n")
    service.answer = {"ok": True, "warning": "sessions go on"}
    done = command_line.run(
        {**root, "is_root": False}, "password", address, "--json", given="the old one\nthe new one\n"
    )
    assert json.loads(done.stdout) == {"address": address, "changed": True, "warning": "sessions go on"}
    # The password is set, but sessions of the old one did not end.
    assert (done.returncode, done.stderr) == (1, "sessions go on\n")
    assert service.asked == [
        {"address": address, "new": "the new one"},
        {"address": address, "old": "the old one", "new": "the new one"},
    ]
    service.answer = {"ok": False, "error": "too short"}
    done = command_line.run(root, "password", address, given="x\n")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "too short\n")


def completed(*words: str) -> set[str]:
    """What bash offers for the last of the words after the command."""
    line = ("mailhosting", *words)
    print_all = 'printf "%s\\n" "${COMPREPLY[@]}"'
    script = f'source {COMPLETION}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mailhosting; {print_all}'
    done = subprocess.run(["bash", "-euc", script, "bash", *line], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_bash_completes_what_the_help_has() -> None:
    assert completed("") == choices() == set(SUBCOMMANDS)
    assert completed("limits", "") == choices("limits")
    assert completed("autoreply", "") == choices("autoreply")
    assert completed("quarantine", "") == choices("quarantine")
    assert completed("virus", "") == choices("virus")
    assert completed("limits", "lift", "acme", "s") == {"send"}
    assert completed("lo") == {"lock", "locked-out"}
    assert completed("password", "t") == set()


@pytest.mark.parametrize(
    "words",
    ["password", "lock", "locked-out", "unlock", "limits show", "limits lift", "autoreply forget", "quarantine list",
     "quarantine release", "quarantine drop", "virus list", "virus accept"],
)  # fmt: skip
def test_bash_completes_options(words: str) -> None:
    options = set(re.findall(r"--[a-z]+", said(*words.split(), "--help").partition("options:")[2]))
    assert completed(*words.split(), "--") == options


def test_a_reader_that_stops_reading_is_no_error(service: Service) -> None:
    root = {"password_socket": service.server_address, "is_root": True}
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [*command_line.words(root), "password", "taro@acme.example"],
            input="the new one\n", stdout=closed, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
