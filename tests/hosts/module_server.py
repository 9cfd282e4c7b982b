# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On a test host: a Python with imports of Ansible's modules, which runs each module in a child process.

A new Python takes most of a second to compile a module's imports, because Ansible sends their source.
`python3 module_server.py NAME…` imports those of the names that there are; the folder `library` beside this file comes
first.  Then it runs the program in each client's standard input, with the environment and all three streams of the
client, and answers with the exit status.  What the library lacks comes from the archive that the program brings,
compiled once for each source.
"""

from __future__ import annotations

import atexit
import gc
import hashlib
import importlib
import marshal
import os
import signal
import socket
import sys
import traceback
import zipimport
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import CodeType

HERE = Path(__file__).parent
LIBRARY, COMPILED, SOCKET = HERE / "library", HERE / "compiled", HERE / "socket"


class Archive(zipimport.zipimporter):
    """An archive of Python, whose code is compiled once: `COMPILED` has it by the digest of its source."""

    def get_filename(self, fullname: str) -> str:
        """As documented, without compiling the module."""
        name = fullname.rpartition(".")[2]
        return f"{self.archive}/{self.prefix}{name}{'/__init__' if self.is_package(fullname) else ''}.py"

    def get_code(self, fullname: str) -> CodeType:
        source = (self.get_source(fullname) or "").encode()
        file = COMPILED / hashlib.sha256(source).hexdigest()
        if not file.exists():
            code = compile(source, self.get_filename(fullname), "exec", dont_inherit=True)
            new = file.with_suffix(f".{os.getpid()}")
            new.write_bytes(marshal.dumps(code))
            new.rename(file)
        found: CodeType = marshal.loads(file.read_bytes())  # noqa: S302 - written here
        return found


class Folders(list[str]):
    """Where the parts of Ansible's package are: in the library, and in the archive, which comes first in sys.path."""

    def __iter__(self) -> Iterator[str]:
        yield from super().__iter__()
        yield f"{sys.path[0]}/ansible"


def run(streams: list[int]) -> int:
    """Run the program in the first of `streams`; returns its exit status."""
    for stream, descriptor in enumerate(streams):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    sys.argv = [""]
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
    environment, streams, _flags, _address = socket.recv_fds(client, 1 << 17, 3)
    os.environb.clear()
    os.environb.update(dict(pair.split(b"=", 1) for pair in environment.split(b"\0") if pair))
    status = run(streams)
    atexit._run_exitfuncs()  # the interpreter's own end would tell the client too late
    sys.stdout.flush()
    sys.stderr.flush()
    client.sendall(b"%d" % status)
    os._exit(0)


def main(*names: str) -> None:
    COMPILED.mkdir()
    sys.path.insert(0, str(LIBRARY))
    for name in names:
        with suppress(ImportError):
            importlib.import_module(name)
    sys.modules["ansible"].__path__ = Folders(sys.modules["ansible"].__path__)
    sys.path_hooks.insert(0, Archive)
    gc.freeze()  # the collector must not touch, and so copy, these pages
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(str(SOCKET))
        server.listen()
        while True:
            client, _address = server.accept()
            if os.fork() == 0:
                answer(client)
            client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
