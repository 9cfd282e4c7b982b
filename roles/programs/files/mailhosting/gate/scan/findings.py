# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a scan reports of a mail: its parts, and what was found in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

#: virus: a signature matches.  heuristic: clamd suspects something without a signature of a virus (Heuristics.*,
#: PUA.*).  encrypted: a file cannot be opened without its password; mail that is encrypted as a whole (S/MIME, PGP) is
#: none.  limit: something was not examined, because it is larger or deeper than allowed.  partial: a piece of a larger
#: message (message/partial).  file_type: an executable or a file with macros.  unreadable: an archive that cannot be
#: opened, neither by clamd nor by libarchive, or is damaged.
Kind = Literal["virus", "heuristic", "encrypted", "limit", "partial", "file_type", "unreadable"]

#: Names of findings of the kind limit: `Limits.unpacked`, `content`, `depth`, `parts`; and more files in an attachment,
#: or another limit of clamd's, than the scan itself allows.
UNPACKED: Final = "unpacked"
CONTENT: Final = "content"
DEPTH: Final = "depth"
PARTS: Final = "parts"
MEMBERS: Final = "members"

#: Names of findings of the kind file_type.
EXECUTABLE: Final = "executable"
MACROS: Final = "macros"


@dataclass(frozen=True)
class Limits:
    """The strictest of the tenants that a mail concerns.  What is larger exceeds; what is as large does not.

    `unpacked`: octets that one attachment unpacks to, all that is in it together.  `content`: octets of body and
    attachments, decoded, all together.  None: no limit of a tenant's; what the scan itself can do still limits.
    `depth`: nesting of MIME and archives together; the message is 0.  `parts`: MIME parts, and files in text.
    """

    unpacked: int | None = None
    content: int | None = None
    depth: int = 20
    parts: int = 1000


@dataclass(frozen=True)
class Finding:
    """`name` is a signature, a limit, or what was recognised (`ZIP`, `PDF`, …).

    `part` is an index into `Report.parts`.  0 is the message itself: also what is found in the message as a whole, but
    in none of its parts.  `member` is the path of a file inside an archive, for the log; None for the part itself.
    """

    kind: Kind
    name: str
    part: int
    member: str | None = None


@dataclass(frozen=True)
class ScannedPart:
    """A part of the message (RFC 2046), or a file in a text part (uuencode, BinHex).  Offsets are octets of the spool.

    The body is [`body_at`, `body_end`), without the line end that belongs to the delimiter after it.  `depth` 0 is the
    message.  `type` is in lower case.  `filename_field` is that text of the header, or the line of the uuencoded file,
    that names the file, octet for octet as it was encoded; empty if there is none.  `encoding` is the
    Content-Transfer-Encoding in lower case.
    """

    index: int
    header_at: int
    body_at: int
    body_end: int
    depth: int
    type: str
    is_attachment: bool
    filename_field: bytes
    encoding: str

    @property
    def is_inline(self) -> bool:
        """Whether it is a file in a text part: it has no header of its own, and [body_at, body_end) are its lines."""
        return self.header_at == self.body_at

    @property
    def is_container(self) -> bool:
        """Whether its body is other parts, which are reported themselves; an encoded message is not taken apart."""
        return self.type.startswith("multipart/") or (
            self.type == "message/rfc822" and self.encoding not in ("base64", "quoted-printable")
        )


@dataclass(frozen=True)
class Report:
    """All parts in the order of the spool, the message first, and all findings, the parts' in the same order."""

    parts: tuple[ScannedPart, ...]
    findings: tuple[Finding, ...]
