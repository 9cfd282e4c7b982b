# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Valkey over its unix socket: an answer within its time, or ValkeyUnavailableError.

Debian's python3-redis takes 18 MB of each process and three times the CPU, and its timeouts apply to each read, not to
the whole answer.  python3-hiredis is its parser for the protocol (RESP).
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any, Final, TypeAlias

import hiredis

from .errors import ValkeyError, ValkeyUnavailableError

#: Seconds for a call, and for the probe of a Valkey that did not answer.
PATIENCE: Final = 1.0
PROBE_PATIENCE: Final = 0.25
#: Seconds without calls after a Valkey did not answer.
REST: Final = 1.0
#: Idle connections that stay open.
SPARE: Final = 32

#: Octets of one read.
READ_SIZE: Final = 64 * 1024

Word = str | int
Command: TypeAlias = Sequence[Word]
#: A reply: text, number, nothing, or a list of these.
Reply: TypeAlias = "bytes | int | list[Reply] | Refusal | None"


class Refusal(str):
    """An error that Valkey answers a command with."""

    __slots__ = ()


def sound(reply: Reply) -> Any:
    """The reply.  Raises: ValkeyError if it is an error."""
    if isinstance(reply, Refusal):
        raise ValkeyError(f"Valkey: {reply}")
    return reply


def unexpected(answer: object) -> ValkeyError:
    """The error to raise for an unexpected reply."""
    return ValkeyError(f"Valkey: unexpected answer {answer!r:.80}")


class Valkey:
    """Runs calls of any thread, each over a connection that no other thread uses meanwhile.

    After a call without an answer in time, further calls fail at once until a probe succeeds.  A forked process needs
    an object of its own.
    """

    def __init__(
        self, path: str, username: str, password: str = "", *, patience: float = PATIENCE, rest: float = REST
    ) -> None:
        self.patience: Final = patience
        self._path: Final = path
        self._login: Final = ("AUTH", username, password)
        self._rest: Final = rest
        self._lock: Final = threading.Lock()
        self._idle: list[_Connection] = []
        # Monotonic; 0 while Valkey answers.
        self._hung_until = 0.0

    def ask(self, *commands: Command, deadline: float | None = None) -> list[Reply]:
        """The replies to `commands`, sent at once; by `deadline` (monotonic), or within `patience` seconds.

        A Refusal is a reply.  Raises: ValkeyUnavailableError if they do not come in time.
        """
        self._probe_if_hung()
        until = time.monotonic() + self.patience if deadline is None else deadline
        try:
            connection = self._take() or self._connect(until)
            try:
                replies = connection.ask(commands, until)
            except BaseException:
                # Its reply might come later, and be taken for that of another call.
                connection.close()
                raise
        except TimeoutError:
            self._hung_until = time.monotonic() + self._rest
            raise ValkeyUnavailableError("Valkey does not answer") from None
        except (OSError, ValueError) as error:
            raise ValkeyUnavailableError(f"Valkey: {error}") from error
        self._put_back(connection)
        return replies

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _probe_if_hung(self) -> None:
        """After the time without calls let one caller probe Valkey.

        Raises: ValkeyUnavailableError during that time.
        """
        if self._hung_until == 0:
            return
        with self._lock:
            now, hung_until = time.monotonic(), self._hung_until
            if now < hung_until:
                raise ValkeyUnavailableError("Valkey did not answer a moment ago")
            if hung_until == 0:
                return
            # For callers during the probe.
            self._hung_until = now + self._rest
        self.close()
        try:
            self._put_back(self._connect(now + PROBE_PATIENCE))
        except (OSError, ValueError) as error:
            raise ValkeyUnavailableError(f"Valkey still does not answer: {error}") from error
        self._hung_until = 0.0

    def _take(self) -> _Connection | None:
        """The idle connection that was used last and is still good."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.is_quiet():
                return connection
            connection.close()

    def _put_back(self, connection: _Connection) -> None:
        with self._lock:
            if len(self._idle) < SPARE:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self, deadline: float) -> _Connection:
        """A new connection, logged in.  Raises: OSError, ValueError."""
        connection = _Connection(self._path, deadline)
        try:
            (reply,) = connection.ask([self._login], deadline)
        except BaseException:
            connection.close()
            raise
        if reply != b"OK":
            connection.close()
            raise ValueError(reply)
        return connection


class Script:
    """A script in Lua; Valkey gets its text only if it does not have it yet."""

    def __init__(self, file: Path) -> None:
        # The first line makes Valkey enforce the rules for this kind of script.
        self._text: Final = "#!lua\n" + file.read_text(encoding="utf-8")
        # The name of a script for EVALSHA.
        self._sha: Final = sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    def run(self, valkey: Valkey, keys: Sequence[str], *arguments: Word) -> list[Any]:
        """The script's reply, which is a list.  Raises: ValkeyError."""
        call: Command = (len(keys), *keys, *arguments)
        (reply,) = valkey.ask(("EVALSHA", self._sha, *call))
        if isinstance(reply, Refusal) and reply.startswith("NOSCRIPT"):
            (reply,) = valkey.ask(("EVAL", self._text, *call))
        answer = sound(reply)
        if not isinstance(answer, list):
            raise unexpected(answer)
        return answer


class Wire:
    """The replies to so many commands, from pieces of what Valkey sends."""

    def __init__(self, count: int) -> None:
        self.replies: list[Reply] = []
        self._count = count
        # hiredis accepts any callable, unlike its stub.
        self._reader = hiredis.Reader(replyError=Refusal)  # type: ignore[arg-type]

    @property
    def is_waiting(self) -> bool:
        """Whether replies are missing."""
        return len(self.replies) < self._count

    def feed(self, piece: bytes) -> None:
        """Take the next piece.  Raises: ConnectionError at the end, ValueError for an unexpected reply."""
        if not piece:
            raise ConnectionError("it hung up")
        try:
            self._reader.feed(piece)
            while (reply := self._reader.gets()) is not False:
                self.replies.append(reply)
        except hiredis.HiredisError as error:
            raise ValueError(str(error)) from error
        if len(self.replies) > self._count or (not self.is_waiting and self._reader.has_data()):
            raise ValueError("more answers than questions")


class _Connection:
    """One socket.  Raises: OSError; TimeoutError at a deadline; ValueError for garbage."""

    def __init__(self, path: str, deadline: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._wait_until(deadline)
            self._socket.connect(path)
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def is_quiet(self) -> bool:
        """Whether no data is waiting: data before a command means a closed or confused connection."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def ask(self, commands: Sequence[Command], deadline: float) -> list[Reply]:
        self._wait_until(deadline)
        self._socket.sendall(encode(commands))
        wire = Wire(len(commands))
        while wire.is_waiting:
            self._wait_until(deadline)
            wire.feed(self._socket.recv(READ_SIZE))
        return wire.replies

    def _wait_until(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


def encode(commands: Iterable[Command]) -> bytes:
    """`commands` in Valkey's protocol."""
    return b"".join(map(_packed, commands))


def _packed(command: Command) -> bytes:
    words = tuple(str(word).encode("utf-8", "surrogateescape") for word in command)
    # The stub demands a tuple of one word.
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]
    return packed
