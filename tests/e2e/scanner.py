# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's virus scanner, asked as the gate asks it, and a mirror that has signatures for it."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import testinfra

from .control import RunFailedError

PLAY: Final = Path(__file__).with_name("scanner.yml")
SIGNATURES: Final = Path(__file__).parents[2] / "inventories" / "demo" / "signatures" / "test.ndb"
SOCKET: Final = "/run/clamav/clamd.ctl"
#: What the test hosts' signatures find: by name, a file that begins with it, or has it anywhere.
VIRUSES: Final = {
    name: bytes.fromhex(pattern)
    for name, _target, _offset, pattern in (line.split(":") for line in SIGNATURES.read_text().splitlines())
}
EICAR: Final = VIRUSES["Test.Eicar"]
_ASK: Final = """
import io, socket, struct, zipfile
def zip_of_zeros(size):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(size))
    return file.getvalue()
content = {content}
with socket.socket(socket.AF_UNIX) as clamd:
    clamd.settimeout(100)
    clamd.connect({path!r})
    clamd.sendall(b"zINSTREAM\\0")
    for at in range(0, len(content), 1 << 20):
        piece = content[at : at + (1 << 20)]
        clamd.sendall(struct.pack(">I", len(piece)) + piece)
    clamd.sendall(bytes(4))
    print(clamd.recv(1000).decode().strip("\\0"))
"""


def found(host: testinfra.host.Host, content: bytes | str, *, user: str = "mailhosting-gate") -> str:
    """What clamd says of octets, or the error.

    A text is an expression in Python that runs on the host; `zip_of_zeros(size)` is an archive with one file.
    """
    asked = _ASK.format(content=content if isinstance(content, str) else repr(content), path=SOCKET)
    done = host.run(f"runuser -u {user} -- python3 - <<'END'\n{asked}\nEND")
    said: str = done.stdout or done.stderr
    return said.strip().splitlines()[-1].removeprefix("stream: ")


def set_up(inventories: list[str], **settings: Any) -> str:
    """Run the role clamav with these variables instead of the inventory's; returns the output.

    Raises: RunFailedError with the output if it fails.
    """
    command = ["ansible-playbook", str(PLAY), *(f"--inventory={path}" for path in inventories)]
    done = subprocess.run(
        [*command, f"--extra-vars={json.dumps(settings)}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RunFailedError(done.stdout + done.stderr)
    return done.stdout


class Mirror:
    """Serves signatures, and records what it was asked for: `asked` has method and path, or name and port, of each."""

    def __init__(self, server: http.server.HTTPServer, folder: Path, address: str) -> None:
        self.asked: list[str] = []
        self.address: Final = address
        self.port: Final = int(server.server_port)
        self.url: Final = f"http://{address}:{self.port}"
        self._folder = folder
        self._changed = int(time.time())

    def publish(self, name: str, signatures: Mapping[str, bytes]) -> None:
        """Serve a file that finds these octets anywhere, by the names of the signatures."""
        staged = self._folder / f".{name}"
        staged.write_text("".join(f"{title}:0:*:{octets.hex()}\n" for title, octets in signatures.items()))
        # HTTP knows whole seconds, and freshclam compares with the time of its own copy.
        self._changed += 3600
        os.utime(staged, (self._changed, self._changed))
        staged.rename(self._folder / name)


@contextmanager
def mirror_for(host: testinfra.host.Host, folder: Path) -> Iterator[Mirror]:
    """A mirror on the controller that serves the files in `folder`, and refuses to be a proxy."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_request(self, _code: object = "", _size: object = "") -> None:
            made.asked.append(f"{self.command} {self.path}")

        def log_message(self, *_arguments: object) -> None:
            pass

        def do_CONNECT(self) -> None:
            self.send_error(403)

    with http.server.ThreadingHTTPServer(("", 0), Handler) as server:
        made = Mirror(server, folder, host.check_output("echo $SSH_CONNECTION").split()[0])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield made
        finally:
            server.shutdown()
