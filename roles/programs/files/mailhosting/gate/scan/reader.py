# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Examines a spooled mail: clamd gets the whole of it, each part decoded, and what libarchive or the gate unpacks."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing
from typing import BinaryIO, Final

from ...common.errors import ScannerError
from . import inline, parts
from .archives import Archives
from .attachment import Attachment
from .clamd import Clamd, classify
from .content import Content, Store, TooLargeError
from .examiner import Examiner
from .findings import CONTENT, UNPACKED, Finding, Limits, Report, ScannedPart
from .transfer_encoding import decode

#: Seconds that a mail may take, whatever is in it; a client hears of it within 120.
MOST_SECONDS: Final = 100
#: Octets that one body or attachment may have decoded, whatever the limits are.
MOST_DECODED: Final = 1 << 30


def examine(spool: BinaryIO, limits: Limits, clamd: Clamd, archives: Archives, deadline: float | None = None) -> Report:
    """What is in a mail, as Postfix passed it, header and body.

    It ends by `deadline`, by time.monotonic(), or MOST_SECONDS from now.
    Raises: ScannerError where anything of it could not be examined for a reason that is not the mail's own.
    """
    if deadline is None:
        deadline = time.monotonic() + MOST_SECONDS
    try:
        with archives.unpacker(deadline) as unpacker, closing(Store(archives.folder)) as store:
            examiner = Examiner(clamd, unpacker, store, deadline)
            return _Examination(Content.whole(spool), limits, examiner).report()
    except OSError as error:
        raise ScannerError(f"files of a scan: {error}") from error


class _Examination:
    """Of one mail."""

    def __init__(self, content: Content, limits: Limits, examiner: Examiner) -> None:
        self._content: Final = content
        self._limits: Final = limits
        self._examiner: Final = examiner
        self._message: Final = parts.read(content, limits)
        self._findings: Final[list[Finding]] = []
        self._decoded = 0

    def report(self) -> Report:
        """Examine all."""
        whole = self._examiner.scan(self._content)
        self._findings.extend(Finding("limit", name, 0) for name in self._message.exceeded)
        for part in self._message.parts:
            if part.type == "message/partial":
                self._findings.append(Finding("partial", part.type, part.index))
        for leaf in self._message.leaves:
            self._leaf(leaf)
            self._examiner.store.clear()
        if self._limits.content is not None and self._decoded > self._limits.content:
            self._findings.append(Finding("limit", CONTENT, 0))
        if whole is not None:
            kind, name = classify(whole)
            # What is found in a part is known better there.
            if all(finding.kind != kind for finding in self._findings):
                self._findings.append(Finding(kind, name, 0))
        return Report(self._message.parts, tuple(sorted(dict.fromkeys(self._findings), key=lambda found: found.part)))

    def _leaf(self, leaf: parts.Leaf) -> None:
        index = leaf.part.index if leaf.part else 0
        for encoding in leaf.encodings:
            content = self._decode(leaf, encoding, index)
            if content is None:
                continue
            attachment = Attachment(self._examiner, self._limits, index)
            attachment.examine(content, leaf.part.depth if leaf.part else 1, is_message=_may_be_message(leaf.part))
            if leaf.file is None and encoding is leaf.encodings[0]:
                self._decoded += content.size
            if inline.is_escaped(content) or (
                not leaf.files and (content is not leaf.content or not leaf.has_listed_files)
            ):
                attachment.examine_text(content)
            self._findings.extend(attachment.findings)

    def _decode(self, leaf: parts.Leaf, encoding: str, index: int) -> Content | None:
        """What a leaf has by an encoding; None where that is too much."""
        pieces: Iterable[bytes] | None
        pieces = leaf.file.decoded(leaf.content) if leaf.file else decode(leaf.content, encoding)
        if leaf.files:
            # clamd would find what is in them in the text, too.
            pieces = leaf.text()
        if pieces is None:
            return leaf.content
        # A file in a text may have runs of octets, as archives have (BinHex).
        room = self._limits.unpacked if leaf.file and self._limits.unpacked is not None else MOST_DECODED
        try:
            return self._examiner.store.write(pieces, room)
        except TooLargeError:
            self._findings.append(Finding("limit", UNPACKED, index))
            return None


def _may_be_message(part: ScannedPart | None) -> bool:
    """Whether what the part has is a message by its type, whatever it looks like."""
    return part is not None and part.type in ("message/rfc822", "message/global")
