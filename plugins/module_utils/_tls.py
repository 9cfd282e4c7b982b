# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether each port answers with the right certificate for each name, asked as a mail program asks.

PRIVATE to the collection: it can have breaking changes at any time.

The answer is compared with the pair in the folder of certificates, with its whole chain, and verified up to the end of
that chain.  Whether the chain is complete was judged when it was installed.
"""

from __future__ import annotations

import _ssl
import io
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ._conversation import PORTS as _CONVERSATION_PORTS

PORTS: Final = {**_CONVERSATION_PORTS, "sieve": 4190}
#: What a client sends before TLS on the ports that begin in clear (RFC 3207, 2595, 9051, 5804).
_COMMANDS: Final = {
    "smtp": (b"EHLO verify.mailhosting.example", b"STARTTLS"),
    "submission": (b"EHLO verify.mailhosting.example", b"STARTTLS"),
    "pop3": (b"STLS",),
    "imap": (b"a STARTTLS",),
    "sieve": (b"STARTTLS",),
}
#: The last line of the greeting, and the last line of an answer; the group matches if the server agrees.
_SMTP: Final = re.compile(rb"(2)?[0-9]{2,3}[ \r]")
_POP3: Final = re.compile(rb"(\+OK)|-ERR")
_SIEVE: Final = re.compile(rb"(OK)|NO|BYE")
_LAST: Final = {
    "smtp": (_SMTP, _SMTP),
    "submission": (_SMTP, _SMTP),
    "pop3": (_POP3, _POP3),
    "imap": (re.compile(rb"(\* OK)|\* BYE"), re.compile(rb"(a OK)|a ")),
    "sieve": (_SIEVE, _SIEVE),
}
#: One daemon serves several ports with one configuration, so many names are asked for once a daemon.
_DAEMONS: Final = (("submissions", "submission", "smtp"), ("imaps", "pop3s", "imap", "pop3", "sieve"))
_THREADS: Final = 8
_PEM: Final = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)


class WrongAnswerError(Exception):
    """The answer is not the right certificate."""


@dataclass(frozen=True, order=True)
class Question:
    """One handshake: the port, and the name that the client asks for (SNI); empty: none, as old clients do."""

    protocol: str
    name: str


@dataclass(frozen=True)
class Answer:
    """The result; `fault` is empty if it was the right certificate."""

    question: Question
    fault: str

    def as_text(self) -> str:
        return f"{named(self.question.protocol)}, {self.question.name or 'no name'}: {self.fault or 'right'}"


def named(protocol: str) -> str:
    return f"{protocol} ({PORTS[protocol]})"


@dataclass(frozen=True)
class Host:
    """The host to ask.  `shared` is the first name of the shared certificate."""

    address: str
    folder: str  # of certificates
    shared: str
    host_names: Sequence[str]
    timeout: float = 10.0  # seconds for each network operation

    def chain(self, name: str) -> str:
        place = os.path.join("names", name) if name in self.host_names else "shared"
        return os.path.join(self.folder, place, "fullchain.pem")


def questions(host: Host, protocols: Sequence[str], most: int) -> list[Question]:
    """What to ask: all names on all ports, if these are no more than `most`; else a sample.

    The sample has the shared name on all ports, then each name once for each daemon, then names at even distances.
    """
    always = [Question(protocol, name) for protocol in protocols for name in ("", host.shared)]
    names = [name for name in host.host_names if name != host.shared]
    everywhere = [Question(protocol, name) for protocol in protocols for name in names]
    if len(everywhere) <= most:
        return always + everywhere
    one_of_each = [next((name for name in daemon if name in protocols), "") for daemon in _DAEMONS]
    chosen = [protocol for protocol in one_of_each if protocol]
    step = -(-len(names) * len(chosen) // max(most, 1)) or 1
    return always + [Question(protocol, name) for protocol in chosen for name in names[::step]]


def ask(host: Host, asked: Iterable[Question], patience: float = 0.0) -> list[Answer]:
    """Ask all; repeat those that fail for `patience` seconds, because daemons may be starting."""
    deadline = time.monotonic() + patience
    answers = _ask_all(host, asked)
    while (wrong := [answer.question for answer in answers.values() if answer.fault]) and time.monotonic() < deadline:
        time.sleep(0.2)
        answers.update(_ask_all(host, wrong))
    return list(answers.values())


def table(host: Host, answers: Sequence[Answer]) -> list[str]:
    """One line for each port, in the form of _conversation.Step."""
    rows = []
    for protocol in dict.fromkeys(answer.question.protocol for answer in answers):
        own = [answer for answer in answers if answer.question.protocol == protocol]
        wrong = [answer for answer in own if answer.fault]
        asked = len({answer.question.name for answer in own if answer.question.name})
        there = len({host.shared, *host.host_names})
        seen = f"{asked} of {there} names" if asked < there else f"{there} names" if there > 1 else "1 name"
        if wrong:
            first = wrong[0]
            seen = f"{len(wrong)} of {len(own)} wrong, {first.question.name or 'no name'}: {first.fault}"
        rows.append(f"{'FAIL' if wrong else 'ok':<4}  {'TLS on ' + named(protocol):<52}  {seen}")
    return rows


def _ask_all(host: Host, asked: Iterable[Question]) -> dict[Question, Answer]:
    expected = lru_cache(maxsize=None)(_expected)
    with ThreadPoolExecutor(_THREADS) as pool:
        answers = pool.map(lambda question: _answer(host, question, expected), asked)
        return {answer.question: answer for answer in answers}


def _answer(host: Host, question: Question, expected: Callable[[str], tuple[bytes, ...]]) -> Answer:
    try:
        chain = expected(host.chain(question.name))
        fault = _difference(_served(host, question, chain), chain)
    except ssl.SSLCertVerificationError as error:
        return Answer(question, error.verify_message)
    except ssl.SSLError as error:
        return Answer(question, f"no TLS: {str(error.reason or error).replace('_', ' ').lower()}")
    except (WrongAnswerError, OSError, ValueError) as error:
        return Answer(question, str(error) or type(error).__name__)
    return Answer(question, fault)


def _difference(served: tuple[bytes, ...], chain: tuple[bytes, ...]) -> str:
    if served[:1] != chain[:1]:
        return "another certificate is served"
    return "" if served == chain else f"{len(served)} certificates are served, and not the {len(chain)} of its chain"


def _expected(path: str) -> tuple[bytes, ...]:
    """The chain in a file, as DER."""
    with open(path, encoding="ascii") as file:
        found = tuple(map(ssl.PEM_cert_to_DER_cert, _PEM.findall(file.read())))
    if not found:
        raise WrongAnswerError(f"{path} has no certificate")
    return found


def _served(host: Host, question: Question, chain: tuple[bytes, ...]) -> tuple[bytes, ...]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = bool(question.name)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=b"".join(chain))
    with socket.create_connection((host.address, PORTS[question.protocol]), host.timeout) as plain:
        _upgrade(plain, question.protocol)
        with context.wrap_socket(plain, server_hostname=question.name or None) as secured:
            served = secured._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined]  # public from 3.13 on
            return tuple(each.public_bytes(_ssl.ENCODING_DER) for each in served)


def _upgrade(plain: socket.socket, protocol: str) -> None:
    """Say everything that comes before the handshake."""
    if protocol not in _COMMANDS:
        return
    greeting, answer = _LAST[protocol]
    with plain.makefile("rwb", buffering=0) as stream:
        _expect_consent(stream, greeting)
        for command in _COMMANDS[protocol]:
            stream.write(command + b"\r\n")
            _expect_consent(stream, answer)


def _expect_consent(stream: io.RawIOBase, last: re.Pattern[bytes]) -> None:
    while line := stream.readline():
        if found := last.match(line):
            if found[1]:
                return
            break
    raise WrongAnswerError(f"no TLS: {line.decode('ascii', 'replace').strip() or 'the server hangs up'}")
