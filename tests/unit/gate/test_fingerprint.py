# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which mails have substantially the same content, in English and Japanese."""

from __future__ import annotations

import base64
import quopri
import random
import time
import tracemalloc
from collections.abc import Mapping

import pytest
from mailhosting.gate.fingerprint import Fingerprint, Reader

NEWSLETTER = """\
Dear {name},

our autumn catalogue is here. Until the end of the month you get two of our oak chairs for the price of one, and every
order of garden furniture comes with a cover for the winter. Have a look at what is new:

  {link}

Your customer number is {number}, your order no. {order} has been sent on {date}.
In our shop in the old harbour our carpenters show on Saturdays how a table is made; children may bring their own saw.

Best regards from the workshop

You get this letter because you subscribed as {address}. To leave: {link}/leave
"""
PERSONS = [
    {
        "name": "Taro",
        "link": "https://shop.example/c/8f3a?u=17",
        "number": "100382",
        "order": "AB-1001",
        "date": "3 October",
        "address": "taro@acme.example",
    },
    {
        "name": "Dr. Anna-Maria Schönfelder",
        "link": "https://shop.example/c/77aa0c9?u=9941",
        "number": "55",
        "order": "ZX-98",
        "date": "21 October",
        "address": "a.m.schoenfelder@uni.example",
    },
]
NEWSLETTER_JA = """\
{name}様

いつも大変お世話になっております。サンプル商事の営業部でございます。
このたび、秋の新作家具の展示会を開催する運びとなりましたので、ご案内申し上げます。
会場では、職人が木の椅子を作るところをご覧いただけます。お子様向けの工作教室もございます。
お客様番号は{number}番、ご注文番号は{order}です。{date}までにご来場の方には、
冬用のカバーを無料で差し上げます。

詳しくはこちら：{link}をご覧ください。

皆様のご来場を心よりお待ち申し上げております。
配信停止はこちらから：{link}/stop
"""
PERSONS_JA = [
    {"name": "田中", "number": "100382", "order": "AB-1001", "date": "10月3日", "link": "https://shop.example/?u=17"},
    {
        "name": "佐々木　健太郎",
        "number": "５５",
        "order": "ＺＸ９８",
        "date": "１１月２１日",
        "link": "https://shop.example/c/?user=9941",
    },
]
SIGNATURE = """
--
Hanako Yamada, Head of Purchasing
Acme Trading Ltd., 12 Harbour Road, Northport
Phone 0123 456 789  https://acme.example/
"""
LETTERS = [
    """\
Hello Peter,
the steel arrived this morning, but six of the beams are too short. Can your driver take them back on Thursday, and
bring the right ones along? We need them before the crane leaves.
""",
    """\
Dear Mrs Novak,
thank you for the drawings. The second floor looks fine to us; only the stairs should be a little wider, as two people
must be able to carry a cupboard. Could we talk about it next week?
""",
]
SIGNATURE_JA = """
--
山田 花子　サンプル商事株式会社 購買部
〒100-0001 東京都千代田区千代田1-1
TEL 03-0000-0000
"""
LETTERS_JA = [
    """\
いつもお世話になっております。山田です。
先日ご依頼いただいた鉄骨の件ですが、六本ほど長さが足りないようです。木曜日に引き取りに来ていただくことは
可能でしょうか。クレーンの都合がありますので、早めにお返事をいただけると助かります。
""",
    """\
いつもお世話になっております。山田です。
図面をお送りいただきありがとうございました。二階については問題ございません。
階段の幅だけ、家具を運べるようにもう少し広げていただきたいと存じます。来週お電話でご相談させてください。
""",
]


def read(body: bytes, headers: Mapping[str, str] | None = None, size: int = 65_535) -> Reader:
    """A reader that has read a mail, in chunks of `size` bytes."""
    reader = Reader()
    for name, value in (headers or {}).items():
        reader.header(name, value)
    for at in range(0, len(body), size):
        reader.body(body[at : at + size])
    return reader


def plain(text: str, charset: str = "utf-8", encoding: str = "8bit", subject: str = "News") -> Reader:
    raw = text.replace("\n", "\r\n").encode(charset)
    if encoding == "base64":
        raw = base64.encodebytes(raw)
    elif encoding == "quoted-printable":
        raw = quopri.encodestring(raw)
    return read(
        raw,
        {
            "Subject": subject,
            "Content-Type": f'text/plain; charset="{charset}"',
            "Content-Transfer-Encoding": encoding,
        },
    )


def html(text: str) -> bytes:
    lines = "".join(f"<p class='c1'>{line}</p>\r\n" for line in text.replace("&", "&amp;").split("\n"))
    return (
        "<html><head><title>News</title><style>p.c1 { color: red }</style></head><body><!-- one, two -->"
        f"<table><tr><td>{lines}</td></tr></table><img src='https://shop.example/p.gif?u=1'></body></html>"
    ).encode()


def multipart(kind: str, *parts: tuple[str, bytes], boundary: str = "=_b") -> Reader:
    body = b"This is a multi-part message in MIME format.\r\n"
    for header, content in parts:
        body += f"--{boundary}\r\n{header}\r\n\r\n".encode() + content + b"\r\n"
    return read(
        body + f"--{boundary}--\r\n".encode(), {"Content-Type": f'multipart/{kind};\r\n\tboundary="{boundary}"'}
    )


def known(reader: Reader) -> Fingerprint:
    fingerprint = reader.fingerprint()
    assert fingerprint is not None
    return fingerprint


def same(one: Reader, other: Reader) -> bool:
    return known(one).same(known(other))


@pytest.mark.parametrize(("text", "persons"), [(NEWSLETTER, PERSONS), (NEWSLETTER_JA, PERSONS_JA)])
def test_names_numbers_and_links_may_differ(text: str, persons: list[dict[str, str]]) -> None:
    assert same(*[plain(text.format(**person), subject=person["name"]) for person in persons])


@pytest.mark.parametrize("charset", ["iso-2022-jp", "shift_jis", "euc-jp", "utf-8"])
@pytest.mark.parametrize("encoding", ["8bit", "base64", "quoted-printable"])
def test_charset_and_encoding_make_no_difference(charset: str, encoding: str) -> None:
    taro, other = [NEWSLETTER_JA.format(**person) for person in PERSONS_JA]
    assert same(plain(taro), plain(other, charset, encoding))


@pytest.mark.parametrize("declared", ["us-ascii", "iso-8859-1", "x-unknown", "", "utf-8", "punycode", "zlib"])
@pytest.mark.parametrize("charset", ["iso-2022-jp", "utf-8"])
def test_a_wrong_charset_makes_no_difference(charset: str, declared: str) -> None:
    text = NEWSLETTER_JA.format(**PERSONS_JA[0])
    wrong = read(text.encode(charset), {"Content-Type": f"text/plain; charset={declared}"})
    assert known(wrong) == known(plain(text))


@pytest.mark.parametrize(("text", "persons"), [(NEWSLETTER, PERSONS), (NEWSLETTER_JA, PERSONS_JA)])
def test_html_is_what_a_reader_sees_of_it(text: str, persons: list[dict[str, str]]) -> None:
    one, other = [text.format(**person) for person in persons]
    only = read(html(other), {"Content-Type": "text/html; charset=utf-8"})
    both = multipart(
        "alternative",
        (
            "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64",
            base64.encodebytes(one.encode()),
        ),
        ("Content-Type: text/html; charset=utf-8", html(one)),
    )
    assert same(plain(one), only)
    assert same(plain(one), both)
    assert same(only, both)


@pytest.mark.parametrize("letter", LETTERS_JA)
def test_lines_may_be_wrapped_elsewhere(letter: str) -> None:
    text = letter.replace("\n", "")
    wrapped = "\n".join(text[at : at + 21] for at in range(0, len(text), 21))
    assert known(plain(text)) == known(plain(wrapped))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://a.example/x/one?two=three#four", "https://shop.example/five?six"),
        ("taro.yamada+news@acme.example", "hanako_s@mail.far.example"),
        ("order AB12CD34", "order 9 XY7"),
        ("ﾃｰﾌﾞﾙ ｶﾞﾗｽ ＡＢＣ", "テーブル ガラス abc"),
        ("TABLES AND CHAIRS", "tables and chairs"),
    ],
)
def test_what_makes_no_difference(one: str, other: str) -> None:
    text = "We have new {0} for you\nand in autumn {0} again\nalso from Monday {0}, and until Friday {0} at the harbour"
    assert known(plain(text.format(one))) == known(plain(text.format(other)))


def test_two_mails_are_the_same_by_two_thirds_of_their_passages() -> None:
    sixteen = known(plain(NEWSLETTER.format(**PERSONS[0])))
    assert (len(sixteen.digests), sixteen.quorum) == (16, 11)
    assert sixteen.same(Fingerprint((*sixteen.digests[:11], "1", "2", "3", "4", "5"), 11))
    assert not sixteen.same(Fingerprint((*sixteen.digests[:10], "1", "2", "3", "4", "5", "6"), 11))
    twelve = known(plain("one two three four five six seven eight nine ten eleven twelve thirteen"))
    assert (len(twelve.digests), twelve.quorum) == (12, 9)


@pytest.mark.parametrize("seed", range(5))
def test_some_random_words_make_no_other_mail(seed: int) -> None:
    shuffled = random.Random(seed)  # noqa: S311
    words = NEWSLETTER.format(**PERSONS[0]).split(" ")
    for _number in range(len(words) // 20):
        words.insert(shuffled.randrange(len(words)), "".join(shuffled.choices("abcdefghij", k=6)))
    assert same(plain(NEWSLETTER.format(**PERSONS[1])), plain(" ".join(words)))


@pytest.mark.parametrize(
    ("letters", "signature"), [(LETTERS, SIGNATURE), (LETTERS_JA, SIGNATURE_JA), (LETTERS, ""), (LETTERS_JA, "")]
)
def test_letters_of_one_person_are_different(letters: list[str], signature: str) -> None:
    assert not same(*[plain(letter + signature) for letter in letters])


def test_answers_are_different_where_what_they_quote_is() -> None:
    answers = [
        "Thanks, fine with me!\n\nOn Monday Peter wrote:\n" + "\n".join(f"> {line}" for line in letter.split("\n"))
        for letter in LETTERS
    ]
    assert not same(*map(plain, answers))


@pytest.mark.parametrize(
    "text", ["", "Thanks!", "Thanks a lot, see you on Monday.\nHanako", "承知しました。\n山田", "1 2 3 " * 999]
)
def test_a_few_words_are_too_little_to_compare(text: str) -> None:
    assert plain(text).fingerprint() is None


def test_notices_of_a_ticket_system_are_the_same_while_only_names_and_numbers_differ() -> None:
    notice = (
        "Ticket #{0} has been changed by {1}.\nStatus: open -> in progress\nPriority: normal\nThe customer has been "
        "told.\nPlease do not answer this mail: use https://tickets.example/t/{0} instead.\n{2}"
    )
    assert same(plain(notice.format(17, "Taro", "")), plain(notice.format(90210, "Anna-Maria", "")))
    assert not same(*[plain(notice.format(17, "Taro", f"Comment:\n{letter}")) for letter in LETTERS])


def test_attachments_tell_mails_apart_that_have_no_text() -> None:
    def attached(content: bytes, text: bytes = b"See attachment.") -> Reader:
        return multipart(
            "mixed",
            ("Content-Type: text/plain", text),
            ("Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64", base64.encodebytes(content)),
        )

    flyer, bill = (random.Random(seed).randbytes(9000) for seed in (1, 2))  # noqa: S311
    assert same(attached(flyer), attached(flyer, b"Dear Taro, see attachment."))
    assert not same(attached(flyer), attached(bill))
    assert not same(*[attached(flyer, letter.encode()) for letter in LETTERS])
    assert attached(b"tiny").fingerprint() is None


def test_text_is_found_behind_large_attachments_and_in_nested_parts() -> None:
    text = NEWSLETTER.format(**PERSONS[0])
    inner = b"--in\r\nContent-Type: text/html\r\n\r\n" + html(text) + b"\r\n--in--\r\n"
    mail = multipart(
        "mixed",
        ("Content-Type: application/zip\r\nContent-Transfer-Encoding: base64", base64.encodebytes(bytes(3_000_000))),
        ("Content-Type: text/plain\r\nContent-Disposition: attachment; filename=a.txt", "".join(LETTERS).encode()),
        ('Content-Type: multipart/related; boundary="in"', inner),
    )
    assert known(plain(text)) == known(mail)
    assert same(plain(text), read(b"Content-Type: text/html\r\n\r\n" + html(text), {"Content-Type": "message/rfc822"}))


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000])
def test_chunks_may_be_cut_anywhere(size: int) -> None:
    body = b"--x\r\nContent-Type: text/html\r\n\r\n" + html(NEWSLETTER) + b"\r\n--x\r\n\r\n" + NEWSLETTER.encode()
    body += b"\r\n--x\r\nContent-Type: image/png\r\n\r\n" + bytes(range(256)) * 20 + b"\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/mixed; boundary=x"}
    assert known(read(body, headers, size)) == known(read(body, headers))


def test_a_report_on_delivery_is_read_whole() -> None:
    fields = "\r\n\r\n".join(f"Final-Recipient: rfc822; u{n}@far.example\r\nAction: failed" for n in range(1000))
    parts = [("Content-Type: text/plain", b"<x>: no such user\r\n" * 9000)]
    parts += [("Content-Type: message/delivery-status", fields.encode())]
    assert multipart("report", *parts).delivery_status().count("Action: failed") == 1000
    assert multipart("mixed", *parts).delivery_status() == ""


NESTED = b"".join(b"--x%d\r\nContent-Type: multipart/mixed; boundary=x%d\r\n\r\n" % (n, n + 1) for n in range(50_000))
HTML = {"Content-Type": "text/html"}
MIXED = {"Content-Type": "multipart/mixed; boundary=x"}
HOSTILE: list[tuple[bytes, dict[str, str]]] = [
    (b"\0\xff\xfe" * 9999, {}),
    (b"x", {"Content-Type": "multipart/mixed"}),
    (b"x", {"Content-Type": "multipart/mixed; boundary="}),
    (b"x", {"Content-Type": "\udcff/\udcff; charset=\udcff"}),
    (b"--\xe9\nx", {"Content-Type": 'multipart/mixed; boundary="\udce9\u3042"'}),
    (NESTED, {"Content-Type": "multipart/mixed; boundary=x0"}),
    (b"--x\n\n" * 500_000, MIXED),
    (b"--x\nContent-Type: text/plain" + b"\n\t" * 500_000, MIXED),
    (b"--x\n" * 500_000, MIXED),
    (b"Content-Type: message/rfc822\n\n" * 50_000, {"Content-Type": "message/rfc822"}),
    (b"!=" * 500_000, {"Content-Transfer-Encoding": "base64"}),
    (b"A" * 65_537, {"Content-Transfer-Encoding": "base64"}),
    (b"=\n=Z" * 500_000, {"Content-Transfer-Encoding": "quoted-printable"}),
    (b"\x1b$B\xff\x1b$" * 50_000, {"Content-Type": "text/plain; charset=iso-2022-jp"}),
    (b"\xff-" * 50_000, {"Content-Type": "text/plain; charset=punycode"}),
    (b"<!--" * 500_000, HTML),
    (b"<style>" * 500_000, HTML),
    (b"</style" + b" " * 500_000, HTML),
    (b"<" * 500_000, HTML),
    (b"&a" * 500_000, HTML),
    (b"&#" + b"9" * 60_000 + b";", HTML),
    (b"&#99999999999;&#xffffffff;&#x110000;&#xd800; a" * 99, HTML),
    (b"a@" * 500_000, {}),
    (b"://" * 500_000, {}),
    ("\n\u3000".encode() * 500_000, {}),
    (b"\n" * 500_000 + "\u3042".encode(), {}),
    (("a" + "\u0315\u0300" * 20_000).encode(), {}),
    ("\ufdfa".encode() * 50_000, {}),
]


@pytest.mark.parametrize(("body", "headers"), HOSTILE, ids=lambda value: repr(value)[:40])
def test_whatever_comes_is_read_in_bounded_time(body: bytes, headers: dict[str, str]) -> None:
    started = time.thread_time()
    reader = read(body, headers)
    reader.fingerprint()
    assert time.thread_time() - started < 0.2


def test_a_large_mail_is_not_kept() -> None:
    line = base64.encodebytes(bytes(range(256)) * 180)
    reader = Reader()
    reader.header("Content-Type", 'multipart/mixed; boundary="x"')
    tracemalloc.start()
    try:
        for kind in ("text/plain", "application/pdf", "text/html"):
            reader.body(f"--x\r\nContent-Type: {kind}\r\n\r\n".encode())
            for _number in range(100):
                reader.body(line)
        _now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000
