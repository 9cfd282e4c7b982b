# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Octets that are examined: always some of a file, never all in memory; and where they are put that a scan unpacks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final, cast

CHUNK: Final = 1 << 16
#: Octets of a small file, and of all that a store keeps in memory.
IN_MEMORY: Final = 1 << 18


class TooLargeError(Exception):
    """What is written is larger than it may be."""


class Content:
    """The octets [`start`, `end`) of a file, by its descriptor, or of octets in memory.

    A file's position does not matter to it.
    """

    def __init__(self, source: int | bytes, start: int, end: int) -> None:
        self._source: Final = source
        self.start: Final = start
        self.end: Final = max(start, end)

    @classmethod
    def whole(cls, file: BinaryIO) -> Content:
        """All of a file; a small one is read into memory, because it may have no descriptor yet.

        Raises: OSError.
        """
        size = file.seek(0, os.SEEK_END)
        if size > IN_MEMORY:
            file.flush()
            return cls(file.fileno(), 0, size)
        file.seek(0)
        return cls(file.read(size), 0, size)

    @property
    def size(self) -> int:
        """Octets."""
        return self.end - self.start

    @property
    def is_in_memory(self) -> bool:
        """Whether it needs no file."""
        return isinstance(self._source, bytes)

    def read(self, at: int, count: int) -> bytes:
        """Up to `count` octets from `at` on, counted from the start; empty beyond the end."""
        if at < 0 or at >= self.size:
            return b""
        at, end = self.start + at, self.start + min(at + count, self.size)
        return self._source[at:end] if isinstance(self._source, bytes) else os.pread(self._source, end - at, at)

    def part(self, at: int, end: int | None = None) -> Content:
        """The octets [`at`, `end`), counted from the start."""
        most = self.size if end is None else min(end, self.size)
        return Content(self._source, self.start + min(at, self.size), self.start + most)

    def chunks(self, at: int = 0, size: int = CHUNK) -> Iterator[bytes]:
        """All octets from `at` on, in order."""
        while piece := self.read(at, size):
            yield piece
            at += len(piece)

    def lines(self, at: int = 0) -> Iterator[tuple[int, bytes]]:
        """Each line from `at` on without its line end, and the place of what follows it; a long one in pieces."""
        pending = b""
        for chunk in self.chunks(at):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                at += len(line) + 1
                yield at, line.removesuffix(b"\r")
            if len(pending) > CHUNK:
                at += len(pending)
                yield at, pending
                pending = b""
        if pending:
            yield at + len(pending), pending.removesuffix(b"\r")

    def copy(self, folder: Path | None) -> int:
        """A descriptor, only for reading, of a file without a name that has these octets alone.

        Raises: OSError.
        """
        if isinstance(self._source, int) and self.start == 0 and self.end == os.fstat(self._source).st_size:
            return _read_only(self._source)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            for chunk in self.chunks(size=1 << 20):
                file.write(chunk)
            return _read_only(file.fileno())


def _read_only(descriptor: int) -> int:
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)


class Store:
    """Keeps what a scan unpacks: small pieces in memory, IN_MEMORY together, the rest in one file without a name."""

    def __init__(self, folder: Path | None) -> None:
        self._folder: Final = folder
        self._file: BinaryIO | None = None
        self._size = 0
        self._in_memory = 0

    def close(self) -> None:
        """Forget everything."""
        if self._file is not None:
            self._file.close()

    def write(self, pieces: Iterable[bytes], room: int) -> Content:
        """Keep what the pieces have together.

        Raises: TooLargeError where they have more than `room` octets, and OSError; then nothing is kept.
        """
        small, remaining = bytearray(), iter(pieces)
        for piece in remaining:
            small += piece
            if len(small) > min(room, IN_MEMORY - self._in_memory):
                return self._write_to_file(chain([bytes(small)], remaining), room)
        self._in_memory += len(small)
        return Content(bytes(small), 0, len(small))

    def _write_to_file(self, pieces: Iterable[bytes], room: int) -> Content:
        if self._file is None:
            self._file = cast("BinaryIO", tempfile.TemporaryFile(dir=self._folder, buffering=0))  # noqa: SIM115
        descriptor, start, at = self._file.fileno(), self._size, self._size
        for piece in pieces:
            if at + len(piece) - start > room:
                os.ftruncate(descriptor, start)
                raise TooLargeError
            view = memoryview(piece)
            while view:
                written = os.pwrite(descriptor, view, at)
                at, view = at + written, view[written:]
        self._size = at
        return Content(descriptor, start, at)

    def forget(self, content: Content) -> None:
        """Give back the room of what was written last; of what was written to the file earlier only `clear` does."""
        if content.is_in_memory:
            self._in_memory -= content.size
        elif self._file is not None and content.end == self._size:
            self._size = content.start
            os.ftruncate(self._file.fileno(), content.start)

    def clear(self) -> None:
        """Give back all room."""
        self._size = self._in_memory = 0
        if self._file is not None:
            os.ftruncate(self._file.fileno(), 0)
