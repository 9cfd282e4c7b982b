# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets one password: a line of JSON from the socket that is standard input, a line of JSON back.

`{"address": …, "new": …, "old": …}` is answered by `{"ok": true}` or `{"ok": false, "error": …}`.  Root
needs no `old`.  A wrong old password is logged with the address; no other part of a request is.

Sessions of the old password end before the answer.  If ending them failed, the answer has a
`"warning"` beside `"ok": true`.  The argument is the socket that ends Dovecot's sessions.
"""

from __future__ import annotations

import json
import logging
import os
import select
import socket
import struct
import sys
import time
from typing import Any, Final

import psycopg
from mailhosting_directory import legacy, passwords, syntax
from mailhosting_directory.password_hashes import matches
from mailhosting_directory.problems import DirectoryError

from ..common import log
from ..common.directory import CONNINFO
from ..common.systemd import passed_file

LOG: Final = logging.getLogger(__name__)

#: Bytes of a request, and seconds that it may take to arrive.
MAX_REQUEST = 4096
PATIENCE = 3.0
#: Seconds of delay after a wrong password.
PENALTY = 2.0
#: The least characters of a new password.
SHORTEST = 8

#: Seconds for ending sessions.
ENDING = 5.0

_KEYS_NAME = "legacy.keys"


class RequestRefusedError(Exception):
    """The request is refused; the text is for the client."""


def read_request(connection: socket.socket) -> dict[str, str]:
    """The request in the one line that `connection` sends.  Raises: RequestRefusedError."""
    deadline = time.monotonic() + PATIENCE
    data = b""
    while not data.endswith(b"\n"):
        ready, _write, _error = select.select([connection], [], [], max(0.0, deadline - time.monotonic()))
        piece = connection.recv(MAX_REQUEST + 1 - len(data)) if ready else b""
        data += piece
        if not piece or len(data) > MAX_REQUEST:
            raise RequestRefusedError(f"send one line of JSON, at most {MAX_REQUEST} bytes, within {PATIENCE:.0f} s")
    return parse(data)


def parse(line: bytes) -> dict[str, str]:
    """The request in `line`.  Raises: RequestRefusedError, whose text does not repeat the request."""
    try:
        request: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise RequestRefusedError("this is not JSON") from None
    if not isinstance(request, dict) or not {"address", "new"} <= request.keys() <= {"address", "new", "old"}:
        raise RequestRefusedError('give "address" and "new", and "old" unless you are root')
    if not all(isinstance(value, str) for value in request.values()):
        raise RequestRefusedError("give texts")
    if len(request["new"]) < SHORTEST:
        raise RequestRefusedError(f"a new password has {SHORTEST} characters at least")
    try:
        for text in request.values():
            text.encode()
        syntax.password(request["new"])
    except UnicodeEncodeError:
        raise RequestRefusedError("give texts in UTF-8") from None
    except ValueError as error:
        raise RequestRefusedError(str(error)) from None
    return request


def named(address: str) -> str:
    """`address` for the log if it is an address: a client may have sent a password instead."""
    try:
        return syntax.address(address)
    except ValueError:
        return "what is no address"


def change(database: Any, request: dict[str, str], is_root: bool, keys_file: str | int | None) -> str:
    """Do what `request` asks; the login that it was done for.  Raises: RequestRefusedError."""
    address = request["address"].strip().lower()
    if not address.isascii():
        # With U-labels too, as in logins.
        found = database.execute("SELECT username FROM v1.spelled(%s)", [address.encode().hex()]).fetchone()
        (address,) = found or ("",)
    local_part, _at, domain = address.rpartition("@")
    row = database.execute("SELECT * FROM v1.password_of(%s, %s)", [local_part, domain]).fetchone()
    before, legacy_auth, may_login = row or (None, False, False)
    if not is_root and not matches(request.get("old", ""), before):
        LOG.warning("wrong old password for %s", named(request["address"]))
        time.sleep(PENALTY)
        raise RequestRefusedError("the address or the old password is wrong")
    if row is None:
        raise RequestRefusedError("there is no such account")
    if not is_root and not may_login:
        raise RequestRefusedError("login is disabled for this account")
    secret = None
    if legacy_auth:
        if keys_file is None:
            raise RequestRefusedError("this host lacks the key that passwords of this account need; ask its operator")
        secret = legacy.encrypt(request["new"], legacy.read_keys(keys_file)[0])
    (hashed,) = passwords.hash_all([request["new"]])
    query = "SELECT * FROM v1.set_password(%s, %s, %s, %s, %s)"
    if database.execute(query, [local_part, domain, before, hashed, secret]).fetchone() is None:
        raise RequestRefusedError("the password was changed by somebody else at this moment; try again")
    return f"{local_part}@{domain}"


def end_sessions(login: str, path: str) -> str | None:
    """End the sessions of `login`; a warning if that failed, else None."""
    try:
        with socket.socket(socket.AF_UNIX) as dovecot:
            dovecot.settimeout(ENDING)
            dovecot.connect(path)
            dovecot.sendall(f"{login}\n".encode())
            ended = dovecot.makefile("rb").readline() == b"ended\n"
    except FileNotFoundError:
        return None  # no Dovecot on this host
    except OSError:
        ended = False
    if ended:
        return None
    LOG.warning("sessions of %s that began with the old password may be open", login)
    return "the password is set, but sessions that began with the old one may be open"


def is_from_root(connection: socket.socket) -> bool:
    """Whether the other end is root (unix(7), SO_PEERCRED)."""
    _pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return bool(uid == 0)


def main() -> int:
    """Serve the one connection; the exit code."""
    connection = socket.socket(fileno=os.dup(0))
    answer: dict[str, Any] = {"ok": True}
    try:
        request = read_request(connection)
        with psycopg.connect(CONNINFO, autocommit=True, connect_timeout=3) as database:
            login = change(database, request, is_from_root(connection), passed_file(_KEYS_NAME))
        if warning := end_sessions(login, sys.argv[1]):
            answer["warning"] = warning
    except RequestRefusedError as error:
        answer = {"ok": False, "error": str(error)}
    except (psycopg.Error, DirectoryError, OSError) as error:
        # An error of PostgreSQL may quote a value, so only its kind is logged.
        LOG.warning("%s", type(error).__name__)
        answer = {"ok": False, "error": "not possible at the moment; try again later"}
    connection.sendall(json.dumps(answer).encode() + b"\n")
    return 0


if __name__ == "__main__":
    log.set_up()
    sys.exit(main())
