# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On the host under test: a Python with all imports of the modules, which runs each module in a child process.

A new Python takes most of a second to compile a module's imports.  `python3 module_server.py LIBRARY SOCKET NAME…`
imports the names from the folder.  Then it runs the program in each client's standard input, with all three streams of
the client, and answers with the exit status.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import traceback

#: Seconds without a client after which it ends.
IDLE = 600


def run(streams: list[int]) -> int:
    """Run the program in the first of `streams`; returns its exit status."""
    for stream, descriptor in enumerate(streams):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    try:
        exec(compile(sys.stdin.read(), "<stdin>", "exec"), {"__name__": "__main__"})  # noqa: S102
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    return 0


def answer(client: socket.socket) -> None:
    """Serve a client in a child process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _message, streams, _flags, _address = socket.recv_fds(client, 1, 3)
    status = run(streams)
    sys.stdout.flush()
    sys.stderr.flush()
    client.sendall(b"%d" % status)
    os._exit(0)


def main(library: str, path: str, *names: str) -> None:
    sys.path.insert(0, library)
    for name in names:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        server.settimeout(IDLE)
        while True:
            client, _address = server.accept()
            if os.fork() == 0:
                answer(client)
            client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
