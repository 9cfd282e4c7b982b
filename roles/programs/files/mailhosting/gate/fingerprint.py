# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognises mails of substantially the same content.  Pure; no input raises an exception; time and memory are bounded.

The text that a reader sees is split into words, without numbers, links and addresses; two words in a row are a passage.
A mail's fingerprint is a sample of its passages, those with the lowest checksums, so mails with common passages choose
the same ones.  Two mails have the same content if they share QUORUM_PASSAGES of SAMPLE_PASSAGES, which happens when
about two thirds of all their passages are the same.  `bulk_mail_counts` counts the mails of each content.
"""

from __future__ import annotations

import html
import re
import unicodedata
from binascii import Error as NoBase64
from binascii import a2b_base64, a2b_qp
from codecs import utf_8_decode
from hashlib import blake2b
from heapq import nsmallest
from itertools import pairwise
from typing import Final, NamedTuple
from zlib import crc32

from .mime import FIELDS, Part, Walk

#: Passages in a fingerprint, and how many of them two mails of one content share; of fewer passages, the same part.
SAMPLE_PASSAGES: Final = 16
QUORUM_PASSAGES: Final = 11
#: A mail with fewer different passages has no fingerprint by its text.
FEWEST_PASSAGES: Final = 12
#: Bytes of text that are read of a mail, encoded as on the wire.
MOST_TEXT_BYTES: Final = 1 << 16
#: Bytes that are read of a delivery status notification, which has some 250 for each recipient.
MOST_REPORT_BYTES: Final = 1 << 20
#: Characters that are read of the text that a reader sees.
MOST_CHARACTERS: Final = 1 << 12
#: Bytes of attachments: fewer make no fingerprint, and more are not read.
LEAST_ATTACHED_BYTES: Final = 1 << 12
MOST_ATTACHED_BYTES: Final = 1 << 16

_TEXTS: Final = frozenset({"text/plain", "text/html"})
_REPORTS: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
_CHARSET: Final = re.compile(r'\bcharset\s{0,9}=\s{0,9}["\']?([\w.-]{1,40})', re.IGNORECASE)
#: Charsets that Python decodes in linear time.  Some of its other codecs do not, and some are no charsets.
_KNOWN_CHARSET: Final = re.compile(
    r"(?:iso-?8859|windows-?12|cp\d|koi8|gb|hz|big5|euc|shift|sjis|ms_?kanji|iso-2022|us-ascii|ascii|tis)[\w-]*",
    re.IGNORECASE,
)
#: Comments, styles, scripts and tags; a comment or style that is not closed extends to the end, as in browsers.
_UNSEEN: Final = re.compile(
    r"<!--.*?(?:-->|\Z)|<(style|script|title)\b.*?(?:</\1\s*>|\Z)|<[^<>]*>", re.DOTALL | re.IGNORECASE
)
_CHARACTER: Final = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,30});")
#: A line break between Japanese characters does not separate words.
_WRAP: Final = re.compile(r"\r?\n[ \t]*(?=[\u3005-\u9fff])")
#: Words; in Japanese each run of one script is taken for a word.
_WORD: Final = re.compile(r"[^\W_\u3005-\u9fff]+|[\u3005\u3400-\u9fff]+|[\u3041-\u309f]+|[\u30a1-\u30ff]+")
_ASCII_WORDS: Final = bytes(ord(chr(code).lower()) if chr(code).isalnum() else 0x20 for code in range(0x80)).ljust(
    0x100
)
_ADDRESS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.+-_="
_URL: Final = "".join(map(chr, range(0x21, 0x7F)))


class Fingerprint(NamedTuple):
    """Digests of a mail's content, as decimal numbers, and how many of them a mail of the same content shares."""

    digests: tuple[str, ...]
    quorum: int

    def same(self, other: Fingerprint) -> bool:
        """Whether two mails have substantially the same content."""
        return len(set(self.digests).intersection(other.digests)) >= max(self.quorum, other.quorum)


class _Text:
    """The text of one part, encoded as on the wire."""

    def __init__(self, part: Part) -> None:
        charset = _CHARSET.search(part.content_type)
        self.is_html = part.type == "text/html"
        self.is_report = part.type in _REPORTS
        self.encoding = part.encoding
        self.charset = charset[1] if charset else ""
        self.pieces: list[bytes] = []

    def text(self) -> str:
        """The text that a reader sees; of HTML without markup."""
        raw = _transferred(b"".join(self.pieces), self.encoding)
        text = _decoded(raw, self.charset)
        if self.is_html:
            text = _CHARACTER.sub(lambda match: html.unescape(match[0]), _UNSEEN.sub("\n", text))
        return text


class Reader:
    """Reads a mail as it comes."""

    def __init__(self) -> None:
        self._header = dict.fromkeys(FIELDS, "")
        self._walk: Walk | None = None
        self._texts: list[_Text] = []
        self._reports: list[_Text] = []
        self._read: _Text | None = None  # the part that comes now, None for what is attached
        self._attached = blake2b(digest_size=4)
        self._attached_room = MOST_ATTACHED_BYTES
        self._text_room = MOST_TEXT_BYTES
        self._report_room = 0

    def header(self, name: str, value: str) -> None:
        """One header field of the mail."""
        if (known := name.lower()) in self._header:
            self._header[known] = value

    def body(self, chunk: bytes) -> None:
        """The next octets of the body."""
        if self._walk is None:
            self._walk = Walk(self._header)
            if self._header["content-type"].lstrip().lower().startswith("multipart/report"):
                self._report_room = MOST_REPORT_BYTES
        if self._walk.is_full or self._text_room <= 0 >= self._report_room:
            return
        for part, piece in self._walk.feed(chunk):
            if part is None:
                self._read = None
            elif not piece:
                self._open(part)
            self._take(piece)

    def _open(self, part: Part) -> None:
        self._read = None
        if part.type in _REPORTS:
            self._read = _Text(part)
            self._reports.append(self._read)
        elif part.type in _TEXTS and not part.disposition.startswith("attach"):
            self._read = _Text(part)
            self._texts.append(self._read)

    def _take(self, piece: bytes) -> None:
        if self._read is None:
            if self._attached_room > 0:
                self._attached.update(piece[: self._attached_room])
                self._attached_room -= len(piece)
        elif self._read.is_report:
            self._read.pieces.append(piece[: max(0, self._report_room)])
            self._report_room -= len(piece)
        else:
            self._read.pieces.append(piece[: max(0, self._text_room)])
            self._text_room -= len(piece)

    def fingerprint(self) -> Fingerprint | None:
        """The fingerprint of the text or, if that is too short, of the attachments; None if these are too short too."""
        text = "\n".join(part.text() for part in self._texts)[:MOST_CHARACTERS]
        passages = set(map(crc32, map(b" ".join, pairwise(_words(text)))))
        if len(passages) >= FEWEST_PASSAGES:
            digests = nsmallest(SAMPLE_PASSAGES, passages)
            return Fingerprint(tuple(map(str, digests)), -(-QUORUM_PASSAGES * len(digests) // SAMPLE_PASSAGES))
        if MOST_ATTACHED_BYTES - self._attached_room >= LEAST_ATTACHED_BYTES:
            return Fingerprint((str(int.from_bytes(self._attached.digest())),), 1)
        return None

    def delivery_status(self) -> str:
        """The fields of a delivery status notification (RFC 3464); empty for other mail."""
        return "\n\n".join(part.text() for part in self._reports)


def _transferred(raw: bytes, encoding: str) -> bytes:
    """Remove the Content-Transfer-Encoding; of broken base64 decode as much as possible."""
    if encoding == "quoted-printable":
        return a2b_qp(raw)
    if encoding != "base64":
        return raw
    digits = re.sub(rb"[^A-Za-z0-9+/]", b"", raw)
    try:
        return a2b_base64(digits[: len(digits) & ~3])
    except NoBase64:
        return b""


def _decoded(raw: bytes, charset: str) -> str:
    """Decode text by the charset that its bytes show; the header is not always right."""
    if b"\x1b$" in raw:
        return raw.decode("iso2022_jp_ext", "replace")
    try:
        return utf_8_decode(raw, "strict", False)[0]  # False: the text may end within a character
    except UnicodeDecodeError:
        pass
    if _KNOWN_CHARSET.fullmatch(charset):
        charset = "cp932" if charset.lower().startswith("shift") else charset
        try:
            return raw.decode(charset, "replace")
        except LookupError:
            pass
    try:
        return raw.decode("cp932")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _words(text: str) -> list[bytes]:
    """Words without numbers, links and addresses, in lower case."""
    head, *links = text.split("://")
    text = " ".join([head, *(link.lstrip(_URL) for link in links)])
    if "@" in text:
        text = " ".join(piece.strip(_ADDRESS) for piece in text.split("@"))
    if text.isascii():
        return list(filter(bytes.isalpha, text.encode().translate(_ASCII_WORDS).split()))
    # In pieces: many combining marks on one letter take quadratic time.
    text = "".join(unicodedata.normalize("NFKC", text[at : at + 1024]) for at in range(0, len(text), 1024)).lower()
    words = _WORD.findall(_WRAP.sub("", text))
    return "\n".join(filter(str.isalpha, words)).encode().split(b"\n")
