# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes malformed messages, the same ones each time: cut, nested, with wrong boundaries, two fields of a name."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterable, Iterator

from sample_archives import INFECTED, rar4, rar5, tar, zipped
from sample_lha import lha
from sample_mail import TEXT, attached, binhex, compressed, mail, multipart, signed, uuencoded, uuencoded_by_base64

Make = Callable[[random.Random], bytes]


def messages(numbers: Iterable[int]) -> Iterator[tuple[str, bytes]]:
    """A message for each number, with the name of what made it."""
    for number in numbers:
        chance = random.Random(number)  # noqa: S311 - the same one each time
        name, make = list(_MAKERS.items())[number % len(_MAKERS)]
        message = make(chance)
        for _time in range(chance.choice((0, 0, 1, 1, 2))):
            message = chance.choice(_SPOILERS)(message, chance)
        yield f"{number} {name}", message


def _content(chance: random.Random) -> bytes:
    name = chance.choice(["a.com", "見積書.com", "../../etc/passwd", "x" * 10_000, "a\x01b\n.exe"])
    packed = [
        lambda: INFECTED,
        lambda: zipped({name: INFECTED}),
        lambda: rar4({name: INFECTED}, charset="utf-8"),
        lambda: rar5({name: INFECTED}),
        lambda: lha("a.com", INFECTED),
        lambda: tar({name[:90]: INFECTED}),
        lambda: zipped({"inner.zip": zipped({name: INFECTED})}),
    ]
    return chance.choice(packed)()


def _part(chance: random.Random) -> bytes:
    return chance.choice([TEXT, attached(_content(chance)), attached(INFECTED)])


def _several(chance: random.Random) -> bytes:
    return multipart(*(_part(chance) for _part_number in range(chance.randint(1, 5))))


def _single(chance: random.Random) -> bytes:
    header, _line, body = attached(_content(chance)).partition(b"\r\n\r\n")
    return mail(header + chance.choice((b"\r\n", b"")), body)


def _deep(chance: random.Random) -> bytes:
    inner = attached(INFECTED)
    for level in range(chance.choice((3, 19, 30, 900))):
        boundary = b"b%d" % level
        inner = (
            b"Content-Type: multipart/mixed; boundary="
            + boundary
            + b"\r\n\r\n--"
            + boundary
            + b"\r\n"
            + inner
            + b"\r\n--"
            + boundary
            + b"--\r\n"
        )
    return mail(b"", b"").removesuffix(b"\r\n") + inner


def _messages_in_messages(chance: random.Random) -> bytes:
    inner = attached(INFECTED)
    for _level in range(chance.choice((1, 5, 40, 900))):
        inner = b"Content-Type: message/rfc822\r\n\r\n" + inner
    return multipart(TEXT, inner)


def _in_text(chance: random.Random) -> bytes:
    encode = chance.choice((uuencoded, uuencoded_by_base64, binhex))
    lines = encode(b"a.com", chance.choice((INFECTED, _content(chance))))
    return mail(b"Content-Type: text/plain\r\n", b"Hello,\r\n\r\n" + lines + b"\r\nBye\r\n")


def _two_types(chance: random.Random) -> bytes:
    body = multipart(_part(chance), attached(INFECTED)).partition(b"\r\n\r\n")[2]
    fields = [b'Content-Type: multipart/mixed; boundary="=_b"\r\n', b"Content-Type: text/plain\r\n"]
    chance.shuffle(fields)
    return mail(b"".join(fields), body)


def _two_encodings(chance: random.Random) -> bytes:
    fields = [b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: 7bit\r\n"]
    chance.shuffle(fields)
    header = b"Content-Type: application/octet-stream\r\n" + b"".join(fields)
    return multipart(TEXT, header + b"\r\n" + base64.encodebytes(_content(chance)))


def _odd_encoding(chance: random.Random) -> bytes:
    odd = [b"BASE64", b'"base64"', b"base64 (really)", b"base64;", b"x-unknown", b"\xffbase64", b"quoted-printable"]
    return multipart(attached(_content(chance)).replace(b": base64", b": " + chance.choice(odd)))


def _eight_bit_header(chance: random.Random) -> bytes:
    name = 'filename="見積書;".com"'.encode(chance.choice(("cp932", "euc_jp", "utf-8", "iso2022_jp")))
    return multipart(TEXT, attached(_content(chance), name)).replace(b"From: ", b"From: \xff\xfe\x80 ")


def _smime(chance: random.Random) -> bytes:
    wrapped = chance.choice((signed, compressed))(attached(INFECTED))
    kind = b"application/pkcs7-mime; smime-type=signed-data; name=smime.p7m"
    header, _line, body = attached(wrapped, kind=kind).partition(b"\r\n\r\n")
    return mail(header + b"\r\n", body)


def _no_boundary(chance: random.Random) -> bytes:
    return multipart(TEXT, attached(INFECTED)).replace(chance.choice([b'boundary="=_b"', b'"=_b"']), b"", 1)


def _encoded_message(chance: random.Random) -> bytes:
    return multipart(TEXT, attached(_single(chance), kind=b"message/rfc822"))


_MAKERS: dict[str, Make] = {
    "several parts": _several,
    "one part": _single,
    "multiparts in multiparts": _deep,
    "messages in messages": _messages_in_messages,
    "a file in the text": _in_text,
    "two types": _two_types,
    "two encodings": _two_encodings,
    "an odd encoding": _odd_encoding,
    "a header of eight bits": _eight_bit_header,
    "S/MIME": _smime,
    "no boundary": _no_boundary,
    "an encoded message": _encoded_message,
}


def _cut(message: bytes, chance: random.Random) -> bytes:
    return message[: chance.randrange(len(message) + 1)]


def _bare_lines(message: bytes, _chance: random.Random) -> bytes:
    return message.replace(b"\r\n", b"\n")


def _lost_piece(message: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(message) + 1)
    return message[:at] + message[at + chance.randrange(200) :]


def _noise(message: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(message) + 1)
    return message[:at] + chance.randbytes(chance.randrange(200)) + message[at:]


def _doubled(message: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(message) + 1)
    return message[:at] + message


def _other_boundary(message: bytes, _chance: random.Random) -> bytes:
    return message.replace(b"--=_b", b"--=_c", 1)


_SPOILERS = (_cut, _bare_lines, _lost_piece, _noise, _doubled, _other_boundary)
