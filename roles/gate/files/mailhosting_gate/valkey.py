# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Valkey over its unix socket, for many threads: an answer within its time, or Down.

Debian's python3-redis would do, but takes 18 MB of each process and three times the processor, and its timeouts are of
each read, not of the whole answer.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any, Final, TypeAlias

#: Seconds for a question, and for the one that finds out whether a Valkey that hung answers again.
PATIENCE: Final = 1.0
PROBE_PATIENCE: Final = 0.25
#: Seconds that a Valkey that hung is left alone.
REST: Final = 1.0
#: Connections that are kept open when nobody uses them.
SPARE: Final = 32

_READ_SIZE: Final = 64 * 1024

Word = str | int
#: An answer: text, number, nothing, or a list of these.
Reply: TypeAlias = "bytes | int | list[Reply] | Refusal | None"


class Down(Exception):
    """Valkey does not answer, or not what it should; the text says what happened."""


class Refusal(str):
    """An error that Valkey answers a command with."""

    __slots__ = ()


def sound(reply: Reply) -> Any:
    """The reply; Down if it is an error."""
    if isinstance(reply, Refusal):
        raise Down(f"Valkey: {reply}")
    return reply


class Valkey:
    """Answers questions of any thread, each over a connection that nobody else uses meanwhile.

    After one that was not answered in time the next are Down at once, until a probe succeeds.  Processes that fork make
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

    def ask(self, *commands: Sequence[Word], deadline: float | None = None) -> list[Reply]:
        """The answers to `commands`, sent at once; by `deadline` (monotonic), or within `patience` seconds.

        Down if they do not come in time; a Refusal is an answer.
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
            raise Down("Valkey does not answer") from None
        except (OSError, ValueError) as error:
            raise Down(f"Valkey: {error}") from error
        self._put_back(connection)
        return replies

    def close(self) -> None:
        """End the connections that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _probe_if_hung(self) -> None:
        """Down while Valkey is left alone; when that has passed, one caller finds out how it is."""
        if self._hung_until == 0:
            return
        with self._lock:
            now, hung_until = time.monotonic(), self._hung_until
            if now < hung_until:
                raise Down("Valkey did not answer a moment ago")
            if hung_until == 0:
                return
            # For whoever asks while the probe is under way.
            self._hung_until = now + self._rest
        self.close()
        try:
            self._put_back(self._connect(now + PROBE_PATIENCE))
        except (OSError, ValueError) as error:
            raise Down(f"Valkey still does not answer: {error}") from error
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
        """A new connection, logged in; OSError, ValueError."""
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
        """Its answer, which is a list.  Down, also if Valkey refuses."""
        call: Sequence[Word] = (len(keys), *keys, *arguments)
        (reply,) = valkey.ask(("EVALSHA", self._sha, *call))
        if isinstance(reply, Refusal) and reply.startswith("NOSCRIPT"):
            (reply,) = valkey.ask(("EVAL", self._text, *call))
        answer = sound(reply)
        if not isinstance(answer, list):
            raise unexpected(answer)
        return answer


def unexpected(answer: object) -> Down:
    """What to raise for an answer that nobody understands."""
    return Down(f"Valkey: unexpected answer {answer!r:.80}")


class _Connection:
    """RESP, the protocol of Redis, over a unix socket.  OSError; TimeoutError at a deadline; ValueError for garbage."""

    def __init__(self, path: str, deadline: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._buffer = b""
        self._at = 0
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

    def ask(self, commands: Sequence[Sequence[Word]], deadline: float) -> list[Reply]:
        self._wait_until(deadline)
        self._socket.sendall(b"".join(map(_encode, commands)))
        replies = [self._reply(deadline) for _command in commands]
        if self._at != len(self._buffer):
            raise ValueError("more answers than questions")
        self._buffer, self._at = b"", 0
        return replies

    def _reply(self, deadline: float) -> Reply:
        line = self._line(deadline)
        kind, rest = line[:1], line[1:]
        match kind:
            case b"+":
                return rest
            case b"-":
                return Refusal(rest.decode("utf-8", "replace"))
            case b":":
                return int(rest)
            case b"$":
                return None if rest == b"-1" else self._bytes(int(rest), deadline)
            case b"*":
                return None if rest == b"-1" else [self._reply(deadline) for _number in range(int(rest))]
        raise ValueError(f"unexpected answer {line[:80]!r}")

    def _line(self, deadline: float) -> bytes:
        while (end := self._buffer.find(b"\r\n", self._at)) < 0:
            self._read_more(deadline)
        line, self._at = self._buffer[self._at : end], end + 2
        return line

    def _bytes(self, length: int, deadline: float) -> bytes:
        while len(self._buffer) < self._at + length + 2:
            self._read_more(deadline)
        end = self._at + length
        value, self._at = self._buffer[self._at : end], end + 2
        return value

    def _read_more(self, deadline: float) -> None:
        self._wait_until(deadline)
        piece = self._socket.recv(_READ_SIZE)
        if not piece:
            raise ConnectionError("it hung up")
        self._buffer = self._buffer[self._at :] + piece
        self._at = 0

    def _wait_until(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


def _encode(command: Sequence[Word]) -> bytes:
    words = [str(word).encode("utf-8", "surrogateescape") for word in command]
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])
