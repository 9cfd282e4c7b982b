# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the parts of a message are, of sound messages as Python's own parser has them, and of whatever else comes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from email import message_from_bytes
from itertools import pairwise
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mailhosting.gate.mime import FIELDS, MOST_HEADER_BYTES, MOST_MULTIPARTS, MOST_PARTS, Part, Walk

CHUNK: Final = 65_535
MIXED: Final = b"Content-Type: multipart/mixed; boundary=b\n\n"


def header_of(message: bytes) -> tuple[dict[str, str], int]:
    """What a message's own header says, and where its body begins."""
    head, _line, _body = message.partition(b"\n\n")
    fields = message_from_bytes(head + b"\n\n")
    return {name: f" {fields[name]}" for name in FIELDS if name in fields}, len(head) + 2


def walked(message: bytes, size: int = CHUNK) -> tuple[list[Part], list[bytes]]:
    """The parts of a message that comes in chunks of `size` octets, and what came of each."""
    header, body_at = header_of(message)
    walk = Walk(header, body_at)
    parts: list[Part] = []
    pieces: list[bytes] = []
    for at in range(body_at, max(len(message), body_at + 1), size):
        for part, piece in walk.feed(message[at : at + size]):
            if part is not None and not piece:
                parts.append(part)
                pieces.append(b"")
            elif part is not None:
                assert part is parts[-1]
                pieces[-1] += piece
    return parts, pieces


def shape(parts: Iterable[Part]) -> list[tuple[int, str]]:
    return [(part.depth, part.type) for part in parts]


def body(message: bytes, part: Part) -> bytes:
    return message[part.body_at : part.body_end]


def multipart(*parts: bytes, boundary: str = "b", kind: str = "mixed") -> bytes:
    delimiter = f"\n--{boundary}".encode()
    content = b"".join(delimiter + b"\n" + part for part in parts)
    return f'Content-Type: multipart/{kind}; boundary="{boundary}"\n'.encode() + content + delimiter + b"--\n"


def text(words: bytes, kind: bytes = b"text/plain") -> bytes:
    return b"Content-Type: " + kind + b"\n\n" + words


def test_each_part_has_its_place_and_what_its_header_says() -> None:
    page = b"content-TYPE: text/HTML;\n charset=utf-8\nContent-Transfer-Encoding: BASE64 \n\n<p>"
    attached = b"Content-Disposition: Attachment; filename=a\nContent-Type: application/pdf\n\n%PDF"
    inner = multipart(text(b"one"), page, boundary="inner", kind="alternative")
    message = b"Subject: x\n" + multipart(inner, attached)
    parts, pieces = walked(message)
    assert shape(parts) == [
        (0, "multipart/mixed"),
        (1, "multipart/alternative"),
        (2, "text/plain"),
        (2, "text/html"),
        (1, "application/pdf"),
    ]
    whole, _alternative, one, html, pdf = parts
    assert (whole.header_at, whole.body_end) == (0, None)
    assert [body(message, part) for part in (one, html, pdf)] == [b"one", b"<p>", b"%PDF"]
    assert [message[part.header_at : part.body_at] for part in (one, html)] == [text(b""), page[:-3]]
    assert (html.encoding, html.content_type) == ("base64", " text/HTML;\n charset=utf-8")
    assert pdf.disposition == "attachment; filename=a"
    # Each with the line end before it.
    assert pieces[2:] == [b"\none", b"\n<p>", b"\n%PDF"]


def test_a_message_in_a_message_is_one_deeper() -> None:
    forwarded = b"Content-Type: message/rfc822\n\n" + multipart(text(b"two"), boundary="inner")
    message = multipart(text(b"one"), forwarded)
    parts, _pieces = walked(message)
    assert shape(parts) == [
        (0, "multipart/mixed"),
        (1, "text/plain"),
        (1, "message/rfc822"),
        (2, "multipart/mixed"),
        (3, "text/plain"),
    ]
    assert body(message, parts[4]) == b"two"
    assert body(message, parts[2]) == forwarded.partition(b"\n\n")[2]


ODD = {
    "without any": (b"one\n--b\n\ntwo", [(0, "text/plain")]),
    "a cut header": (
        MIXED + b"--b\nContent-Type: text/html",
        [(0, "multipart/mixed")],
    ),
    "no boundary": (b"Content-Type: multipart/mixed\n\n--b\n\none\n--b--\n", [(0, "multipart/mixed")]),
    "another's boundary": (multipart(text(b"x")).replace(b"\n--b", b"\n--c"), [(0, "multipart/mixed")]),
    "no header": (
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n",
        [(0, "multipart/mixed"), (1, "text/plain")],
    ),
    "the outer's delimiter inside": (
        multipart(b"Content-Type: multipart/mixed; boundary=inner\n\n--inner\n\none", text(b"two", b"text/html")),
        [(0, "multipart/mixed"), (1, "multipart/mixed"), (2, "text/plain"), (1, "text/html")],
    ),
    "two types": (
        multipart(b"Content-Type: text/html\nContent-Type: application/pdf\n\none"),
        [(0, "multipart/mixed"), (1, "application/pdf")],
    ),
    "what is no type": (multipart(text(b"one", b"html")), [(0, "multipart/mixed"), (1, "text/plain")]),
    "octets beyond ASCII": (
        multipart(b"X-\xff: \xe9\nContent-Type: text/html; name=\xe9\xff\n\none"),
        [(0, "multipart/mixed"), (1, "text/html")],
    ),
    "on the delimiter's line": (
        MIXED + b"--bContent-Type: text/html\n\none\n--b--\n",
        [(0, "multipart/mixed"), (1, "text/plain")],
    ),
    "one boundary begins another": (
        multipart(multipart(text(b"one"), boundary="bb"), text(b"two")),
        [(0, "multipart/mixed"), (1, "multipart/mixed"), (2, "text/plain"), (1, "text/plain")],
    ),
    "a header that does not end": (
        multipart(b"Content-Type: text/html\n" + b"x" * MOST_HEADER_BYTES + b"\n\none", text(b"two")),
        [(0, "multipart/mixed"), (1, "text/plain")],
    ),
}


@pytest.mark.parametrize("size", [5, 64, CHUNK])
@pytest.mark.parametrize(("message", "expected"), ODD.values(), ids=ODD)
def test_odd_messages_have_parts_too(message: bytes, expected: list[tuple[int, str]], size: int) -> None:
    assert shape(walked(message, size)[0]) == expected


def test_the_values_of_a_header_beyond_ascii_are_read_octet_by_octet() -> None:
    (_whole, part), _pieces = walked(multipart(b"Content-Type: text/html; name=\xe9\xff\n\none"))
    assert part.content_type.encode("latin-1").endswith(b"name=\xe9\xff")


def nested(levels: int, kind: str) -> bytes:
    message = text(b"at the bottom")
    for level in range(levels):
        if kind == "message":
            message = b"Content-Type: message/rfc822\n\n" + message
        else:
            message = multipart(message, boundary=f"boundary{level}")
    return message


@pytest.mark.parametrize("kind", ["message", "multipart"])
def test_of_900_levels_the_first_are_walked(kind: str) -> None:
    parts, _pieces = walked(nested(900, kind))
    depths = [part.depth for part in parts]
    # A multipart beyond the bound is a part whose body is not walked.
    assert depths == list(range(MOST_PARTS if kind == "message" else MOST_MULTIPARTS + 1))
    parts, _pieces = walked(nested(MOST_MULTIPARTS, kind))
    assert parts[-1].type == "text/plain"
    assert parts[-1].depth == MOST_MULTIPARTS


def test_after_the_most_parts_nothing_comes() -> None:
    message = multipart(*(text(b"%d" % number) for number in range(900)))
    parts, _pieces = walked(message)
    assert len(parts) == MOST_PARTS
    assert parts[-1].body_end is not None
    header, body_at = header_of(message)
    walk = Walk(header, body_at)
    come = [(walk.is_full, len(list(walk.feed(message[body_at:]))) > 0) for _time in range(2)]
    assert come == [(False, True), (True, False)]


@st.composite
def sound_messages(draw: st.DrawFn, depth: int = 0) -> bytes:
    """Messages that Python's parser and everybody else's read in the same way."""
    kind = draw(st.sampled_from(["text", "text", "mixed", "message"])) if depth < 4 else "text"
    words = draw(st.text("ab \n", max_size=20)).strip("\n").encode()
    if kind == "text":
        return text(words, draw(st.sampled_from([b"text/plain", b"text/html", b"application/pdf"])))
    if kind == "message":
        return b"Content-Type: message/rfc822\n\n" + draw(sound_messages(depth=depth + 1))
    parts = draw(st.lists(sound_messages(depth=depth + 1), min_size=1, max_size=3))
    name = draw(st.uuids())
    return multipart(*parts, boundary=f"={name}")


def as_python_has_it(message: Any, depth: int = 0) -> Iterator[tuple[int, str]]:
    yield depth, message.get_content_type()
    if message.is_multipart():
        for part in message.get_payload():
            yield from as_python_has_it(part, depth + 1)


@settings(deadline=None)
@given(sound_messages(), st.integers(1, 50))
def test_of_sound_messages_the_parts_are_those_that_python_finds(message: bytes, size: int) -> None:
    expected = list(as_python_has_it(message_from_bytes(message)))
    parts, _pieces = walked(message, size)
    multiparts = [kind for _depth, kind in expected if kind.startswith("multipart/")]
    if len(multiparts) <= MOST_MULTIPARTS and len(expected) < MOST_PARTS:
        assert shape(parts) == expected


TOKENS = [b"\n", b"\r\n", b"\n--b", b"\n--bb", b"--", b"\n\n", b"a b c", b"\xff", b"-", b"\r", b"b", b" folded"]
TOKENS += [b"Content-Type: multipart/mixed; boundary=bb\n\n", b"Content-Type: message/rfc822\n\n"]
TOKENS += [b"Content-Type: text/html\n", b"content-transfer-encoding:base64\n", b"Content-Type: text/plain\n\n"]
MESSAGES = st.lists(st.sampled_from(TOKENS) | st.binary(max_size=5), max_size=40).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(MESSAGES, st.integers(1, 20))
def test_whatever_comes_each_octet_is_of_one_part_however_it_comes(content: bytes, size: int) -> None:
    message = MIXED + content
    parts, pieces = walked(message)
    assert walked(message, size) == (parts, pieces)
    assert len(parts) <= MOST_PARTS + 1
    for part, came in zip(parts, pieces, strict=True):
        assert part.header_at <= part.body_at <= len(message) + 1
        assert message[part.body_at - 1 : part.body_end].startswith(came)
    for before, after in pairwise(parts):
        assert before.body_at <= after.header_at
        # What is deeper ends first.
        inside = after.depth > before.depth
        assert before.body_end is None or before.body_end <= after.header_at or inside
    leaves = [at for at in range(len(parts)) if parts[at].body_end is not None and not any_inside(parts, at)]
    assert all(pieces[at] == message[parts[at].body_at - 1 : parts[at].body_end] for at in leaves)


def any_inside(parts: list[Part], at: int) -> bool:
    end = parts[at].body_end
    return any(end is None or part.header_at < end for part in parts[at + 1 :])


def test_memory_stays_flat() -> None:
    walk = Walk({"content-type": " multipart/mixed; boundary=b"})
    chunk = b"x" * CHUNK
    for _part, _piece in walk.feed(b"--b\n\n"):
        pass
    tracemalloc.start()
    for _chunk in range(300):
        for _part, _piece in walk.feed(chunk):
            pass
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * CHUNK
