# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Valkey over its unix socket: an answer within its time, or ValkeyUnavailableError.

Debian's python3-redis takes 18 MB of each process and three times the processor, and its timeouts are of each read, not
of the whole answer.  python3-hiredis is the parser below it, and knows the protocol (RESP).
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

#: Seconds for a question, and for the one that finds out whether a Valkey that hung answers again.
PATIENCE: Final = 1.0
PROBE_PATIENCE: Final = 0.25
#: Seconds that a Valkey that hung is left alone.
REST: Final = 1.0
#: Connections that are kept open when nobody uses them.
SPARE: Final = 32

#: Octets that are taken from a connection at once.
READ_SIZE: Final = 64 * 1024

Word = str | int
Command: TypeAlias = Sequence[Word]
#: An answer: text, number, nothing, or a list of these.
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
    """What to raise for an answer that nobody understands."""
    return ValkeyError(f"Valkey: unexpected answer {answer!r:.80}")


class Valkey:
    """Answers questions of any thread, each over a connection that nobody else uses meanwhile.

    After one that was not answered in time the next fail at once, until a probe succeeds.  Processes that fork make
    one of their own.
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
        # Monotonic; 0 while Valkey is well.
        self._hung_until = 0.0

    def ask(self, *commands: Command, deadline: float | None = None) -> list[Reply]:
        """The answers to `commands`, sent at once; by `deadline` (monotonic), or within `patience` seconds.

        A Refusal is an answer.  Raises: ValkeyUnavailableError if they do not come in time.
        """
        self._probe_if_hung()
        until = time.monotonic() + self.patience if deadline is None else deadline
        try:
            connection = self._take() or self._connect(until)
            try:
                replies = connection.ask(commands, until)
            except BaseException:
                # Its answer might come later, and be taken for another question's.
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
        """End the connections that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _probe_if_hung(self) -> None:
        """When the time in which Valkey is left alone has passed, one caller finds out how it is.

        Raises: ValkeyUnavailableError while it is left alone.
        """
        if self._hung_until == 0:
            return
        with self._lock:
            now, hung_until = time.monotonic(), self._hung_until
            if now < hung_until:
                raise ValkeyUnavailableError("Valkey did not answer a moment ago")
            if hung_until == 0:
                return
            # For whoever asks while the probe is under way.
            self._hung_until = now + self._rest
        self.close()
        try:
            self._put_back(self._connect(now + PROBE_PATIENCE))
        except (OSError, ValueError) as error:
            raise ValkeyUnavailableError(f"Valkey still does not answer: {error}") from error
        self._hung_until = 0.0

    def _take(self) -> _Connection | None:
        """A connection that is kept and still good, the one used last."""
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
    """A script in Lua, of which Valkey is sent the text when it does not know it yet."""

    def __init__(self, file: Path) -> None:
        # The first line tells Valkey to hold the script to what its kind may do.
        self._text: Final = "#!lua\n" + file.read_text(encoding="utf-8")
        # What EVALSHA knows a script by.
        self._sha: Final = sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    def run(self, valkey: Valkey, keys: Sequence[str], *arguments: Word) -> list[Any]:
        """Its answer, which is a list.  Raises: ValkeyError."""
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
        # It takes any callable, whatever its stub says.
        self._reader = hiredis.Reader(replyError=Refusal)  # type: ignore[arg-type]

    @property
    def is_waiting(self) -> bool:
        """Whether some have not come yet."""
        return len(self.replies) < self._count

    def feed(self, piece: bytes) -> None:
        """Take the next piece.  Raises: ConnectionError at the end, ValueError for what was not asked for."""
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
        """Whether nothing has come unasked: the other end would have left, or be out of step."""
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
    """What Valkey is sent for `commands`."""
    return b"".join(map(_packed, commands))


def _packed(command: Command) -> bytes:
    words = tuple(str(word).encode("utf-8", "surrogateescape") for word in command)
    # The stub has a tuple of one word.
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]
    return packed
