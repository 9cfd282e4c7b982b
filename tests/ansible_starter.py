# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts commands of Ansible for tests, each in a process of its own: `ansible_starter.py DESCRIPTOR`.

Half of a short `ansible-playbook` is imports, and the tests run it some 200 times. Here each command is a fork of
a process that has already imported Ansible. Ansible reads its settings during import, so there is one such process for
each environment and folder. It is itself a fork of this process, which has imported only libraries.

`Ansible` of ansible_commands.py sends requests over sockets, as packets of JSON. Over DESCRIPTOR it sends this process
{"environment", "folder"} and a socket. Over that socket it sends {"arguments"} of a command, with stdin, stdout and
stderr; the answer is the command's return code. A process ends when the other side closes its socket.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Modules of the commands, by name.
COMMANDS = {"ansible": "ansible.cli.adhoc", "ansible-playbook": "ansible.cli.playbook"}
#: Modules of Ansible that commands import only while they run.
PLUGINS = ("ansible.plugins.callback.default", "ansible.plugins.connection.local", "ansible.plugins.strategy.linear")
#: The folder of a module that is used here without the callback in it.
KEPT_MODULES = Path(__file__).parent / "callback"


def import_ansible() -> None:
    for module in (*COMMANDS.values(), *PLUGINS):
        importlib.import_module(module)


def libraries() -> list[str]:
    """The modules outside of Ansible that it imports; a process of its own finds them and ends."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        import_ansible()
        with os.fdopen(writing, "w") as names:
            json.dump([name for name in sys.modules if name.partition(".")[0] not in ("ansible", "__main__")], names)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as names:
        found: list[str] = json.load(names)
    os.wait()
    return found


def requests(asking: socket.socket) -> Iterator[tuple[dict[str, Any], list[int]]]:
    """Each request, with the descriptors that came with it."""
    while True:
        message, files, _flags, _address = socket.recv_fds(asking, 1 << 20, 3)
        if not message:
            return
        yield json.loads(message), files


def run(arguments: list[str], files: list[int]) -> None:
    """Become a command."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    # The import created it, and the previous command removed it.
    Path(sys.modules["ansible.constants"].DEFAULT_LOCAL_TMP).mkdir(mode=0o700, exist_ok=True)
    sys.modules["kept_modules"].keep()
    sys.argv = arguments
    sys.exit(sys.modules[COMMANDS[arguments[0]]].main(arguments))


def start_commands(environment: dict[str, str], folder: str, asking: socket.socket) -> None:
    """Start commands with these settings."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    import_ansible()
    sys.path.append(str(KEPT_MODULES))
    importlib.import_module("kept_modules")
    gc.freeze()  # the collector must not touch, and so copy, these pages
    for request, files in requests(asking):
        child = os.fork()
        if child == 0:
            asking.close()
            run(request["arguments"], files)
        for file in files:
            os.close(file)
        _child, status = os.waitpid(child, 0)
        asking.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def main() -> None:
    """Start a process for each kind of settings, one after the other."""
    for name in libraries():
        with suppress(ImportError):  # names that a library made up
            importlib.import_module(name)
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as asking:
        for request, files in requests(asking):
            with socket.socket(fileno=files[0]) as theirs:
                child = os.fork()
                if child == 0:
                    asking.close()
                    start_commands(request["environment"], request["folder"], theirs)
                os.waitpid(child, 0)


if __name__ == "__main__":
    main()
