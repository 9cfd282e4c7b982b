# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Examines one decoded part, and whatever can be unpacked from it, to the depth and size that the limits allow."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from . import inline, parts, recognise, smime
from .archives import Failure, Member
from .clamd import classify
from .content import Content, TooLargeError
from .examiner import Examiner, Found, inside
from .findings import DEPTH, EXECUTABLE, MACROS, MEMBERS, UNPACKED, Finding, Kind, Limits
from .transfer_encoding import decode

#: Octets that an attachment may unpack to, and files that it may have, whatever the limits are.
MOST_UNPACKED: Final = 1 << 30
MOST_MEMBERS: Final = 5000
#: Octets that an archive in an archive may have more than what is left, beside a sixteenth.
_ARCHIVE_ROOM: Final = 1 << 16
#: How many times as much may be written for an attachment, archives in archives included.
_MOST_WRITTEN: Final = 3
_TEXT: Final = 4096
#: What the manifest of an encrypted OpenDocument file has (OpenDocument 1.2, part 3, 4.3).
_MANIFEST: Final = b"META-INF/manifest.xml"
_ENCRYPTION: Final = b"encryption-data"


@dataclass(frozen=True)
class _File:
    content: Content
    member: bytes | None
    depth: int
    is_message: bool = False


class Attachment:
    """One part and what is in it."""

    def __init__(self, examiner: Examiner, limits: Limits, index: int) -> None:
        self._found: Final = Found(index)
        self._examiner: Final = examiner
        self._limits: Final = limits
        self._room = MOST_UNPACKED if limits.unpacked is None else limits.unpacked
        # Of all that is written, also of what is an archive and counts no more.
        self._disk = _MOST_WRITTEN * self._room
        self._members = 0

    @property
    def findings(self) -> list[Finding]:
        """What has been found so far."""
        return self._found.findings

    def examine(self, content: Content, depth: int, *, is_message: bool = False) -> None:
        """Examine the part's content, and unpack it.

        Raises: ScannerError, OSError.
        """
        first = _File(content, None, depth, is_message)
        waiting = deque([first] if self._check(first) else [])
        try:
            while waiting and self._members <= MOST_MEMBERS:
                waiting.extend(self._unpack(waiting.popleft()))
        except TooLargeError:
            self._found.add("limit", UNPACKED)
            self._examiner.unpacker.stop()

    def examine_text(self, content: Content) -> None:
        """Examine the files in a text that are no parts of the report; what has NULs at its beginning is no text.

        Raises: ScannerError, OSError.
        """
        if b"\0" in content.read(0, _TEXT):
            return
        if inline.is_escaped(content):
            content = self._examiner.store.write(inline.unescaped(content), content.size)
        for file in inline.files(content):
            if not self._count():
                return
            try:
                kept = self._examiner.store.write(file.decoded(content), self._room)
            except TooLargeError:
                self._found.add("limit", UNPACKED, file.name)
                return
            self.examine(kept, 1)

    def _check(self, file: _File) -> bool:
        """Examine a file as it is; whether there may be more inside."""
        found = self._examiner.scan(file.content)
        if found is not None:
            kind, name = classify(found)
            if kind == "encrypted":
                name = recognise.encrypted(file.content) or name
            self._found.add(kind, name, file.member)
            if kind == "virus":
                return False
        content = file.content
        if recognise.is_executable(content):
            self._found.add("file_type", EXECUTABLE, file.member)
        if recognise.has_macros(content) or recognise.tells_macros(file.member or b""):
            self._found.add("file_type", MACROS, file.member)
        if (encrypted := recognise.encrypted(content)) is not None:
            self._found.add("encrypted", encrypted, file.member)
        if (file.member or b"").endswith(_MANIFEST) and _ENCRYPTION in content.read(0, 1 << 20):
            self._found.add("encrypted", "OpenDocument", file.member)
        if (unknown := recognise.unreadable(content)) is not None:
            self._found.add("unreadable", unknown, file.member)
        is_container = file.is_message or recognise.is_message(content) or bool(recognise.archives(content))
        if is_container and file.depth >= self._limits.depth:
            self._found.add("limit", DEPTH, file.member)
            return False
        return is_container

    def _unpack(self, file: _File) -> Iterator[_File]:
        """The files inside that may have more inside; all others are examined and forgotten.

        Raises: ScannerError, OSError, and TooLargeError where they are larger together than allowed.
        """
        if file.is_message or recognise.is_message(file.content):
            yield from self._message(file)
        for archive in recognise.archives(file.content):
            yield from self._archive(file, archive)

    def _archive(self, file: _File, archive: recognise.Archive) -> Iterator[_File]:
        unpacker, has_members = self._examiner.unpacker, False
        for member in unpacker.unpack(file.content.part(archive.at), archive.format):
            if not self._count():
                unpacker.stop()
                return
            if not isinstance(member, Member):
                # What only may be an archive may be something else.
                if archive.is_sure or has_members:
                    self._failed(member, archive, file.member)
                continue
            has_members = True
            name = inside(file.member, member.name)
            if member.is_encrypted:
                self._found.add("encrypted", archive.format.upper(), name)
            yield from self._keep(member.chunks, name, file.depth + 1)
            if member.failure is not None:
                self._failed(member.failure, archive, name)

    def _message(self, file: _File) -> Iterator[_File]:
        """The parts of a message that is no part of the report's."""
        content, start = file.content, file.content.start
        if smime.is_message(content.read(0, 64)):
            yield from self._keep(smime.unwrap(content), inside(file.member, b"message"), file.depth + 1)
            return
        message = parts.read(content, self._limits)
        for limit in message.exceeded:
            self._found.add("limit", limit, file.member)
        for number, leaf in enumerate(message.leaves):
            if leaf.content.start == start and leaf.content.size == content.size:
                # It is no message after all, and has been examined.
                continue
            if not self._count():
                return
            for encoding in leaf.encodings:
                pieces: Iterable[bytes] | None
                pieces = leaf.file.decoded(leaf.content) if leaf.file else decode(leaf.content, encoding)
                name = (leaf.part.filename_field if leaf.part else b"") or b"part %d" % number
                depth = file.depth + 1 + (leaf.part.depth if leaf.part else 0)
                yield from self._keep(pieces or leaf.content.chunks(), inside(file.member, name), depth)

    def _keep(self, pieces: Iterable[bytes], member: bytes, depth: int) -> Iterator[_File]:
        """Examine what comes, and keep it if there may be more inside.

        Raises: TooLargeError.
        """
        # An archive is a little larger than what is in it, and counts no more when it is unpacked.
        most = self._room + self._room // 16 + _ARCHIVE_ROOM
        content = self._examiner.store.write(pieces, min(most, self._disk))
        self._disk -= content.size
        file = _File(content, member, depth)
        is_archive = self._check(file)
        if not is_archive:
            self._examiner.store.forget(content)
            self._room -= content.size
        if self._room < 0:
            raise TooLargeError
        if is_archive:
            yield file

    def _count(self) -> bool:
        """Count one more file; whether there may be one more."""
        self._members += 1
        if self._members > MOST_MEMBERS:
            self._found.add("limit", MEMBERS)
        return self._members <= MOST_MEMBERS

    def _failed(self, failure: Failure, archive: recognise.Archive, member: bytes | None) -> None:
        if any(found.kind == "encrypted" for found in self._found.findings):
            # What needs a password is not damaged, though it looks so.
            return
        if failure == "bad" and archive.format == "lha":
            # clamd opens the methods that libarchive does not know: -lh1-, -lh4-, -lzs-.
            return
        kinds: dict[Failure, tuple[Kind, str]] = {
            "bad": ("unreadable", archive.format.upper()),
            "encrypted": ("encrypted", archive.format.upper()),
            "memory": ("limit", "memory"),
        }
        self._found.add(*kinds[failure], member)
