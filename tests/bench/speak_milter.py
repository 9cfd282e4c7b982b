# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host: asks the gate about mails as Postfix does, and prints the results as JSON.

Usage: speak_milter.py TASK NUMBERS, where TASK is the name of a function in TASKS and NUMBERS are its arguments.  The
tenants are those of generate_inventory.py, one domain each.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = "/var/spool/postfix/mailhosting-gate"
INSTANCES = ("in", "out")
OUTSIDE = "load@outside.example"
SIZE = 20_480
#: Only the first tenants have limits that can be reached.
LIMITED = 5
#: Offers of Postfix 3.10 (its milter_protocol is 6): all actions, all steps to skip or to leave without a reply.
VERSION, ACTIONS, STEPS = 6, 0x1FF, 0x1FFFFF
#: By command: the bit to skip the step, the bit to send no reply.
UNTOLD = {b"C": 0x1, b"H": 0x2, b"M": 0x4, b"R": 0x8, b"B": 0x10, b"L": 0x20, b"N": 0x40, b"T": 0x200}
UNANSWERED = {
    b"L": 0x80, b"C": 0x1000, b"H": 0x2000, b"M": 0x4000, b"R": 0x8000, b"T": 0x10000, b"N": 0x40000, b"B": 0x80000
}  # fmt: skip
CHUNK = 65_535
HEADER = {
    "Received": " from load.outside.example (load.outside.example [192.0.2.7])\n\tby mx.example with ESMTP id 4",
    "From": " Load <load@outside.example>",
    "To": " somebody",
    "Date": " Mon, 02 Nov 2026 09:00:00 +0900",
    "Message-Id": " <4.5.6@outside.example>",
    "Subject": " =?UTF-8?B?44GK55+l44KJ44Gb?=",
    "MIME-Version": " 1.0",
    "Content-Type": " text/plain; charset=utf-8",
}
LINE = b"Some words of a letter, as long as a line of a letter usually is, more or less.\r\n"


class Session:
    """A connection of an SMTP client, as the gate sees it."""

    def __init__(self, instance: str, client: str = "192.0.2.7") -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(f"{FOLDER}/{instance}")
        self._stream = self._socket.makefile("rb")
        self._steps = 0
        self._send(b"O", struct.pack("!III", VERSION, ACTIONS, STEPS))
        _kind, options = self._reply()
        self._steps = struct.unpack("!III", options[:12])[2]
        self._listener = "smtp" if instance == "in" else "submission"
        self._macros(b"C", j="mx.example", **{"{daemon_name}": self._listener})
        address = b"4" + struct.pack("!H", 40_000) + client.encode() + b"\0"
        self._ask(b"C", b"load.outside.example\0" + address)
        self._ask(b"H", b"load.outside.example\0")

    def close(self) -> None:
        self._send(b"Q")
        self._stream.close()
        self._socket.close()

    def envelope(self, sender: str, recipients: Sequence[str], size: int, login: str | None = None) -> str:
        """MAIL and RCPT; returns the first rejection, or an empty text."""
        macros = {"{mail_addr}": sender, "{mail_host}": "outside.example", "{mail_mailer}": "smtp"}
        if login:
            macros |= {"{auth_type}": "PLAIN", "{auth_authen}": login}
        self._macros(b"M", **macros)
        refused = self._ask(b"M", f"<{sender}>\0SIZE={size}\0".encode())
        for recipient in recipients:
            if refused:
                break
            self._macros(b"R", i="4cXyZ0123", **{"{rcpt_addr}": recipient, "{rcpt_mailer}": "lmtp"})
            refused = self._ask(b"R", f"<{recipient}>\0".encode())
        return refused

    def content(self, size: int) -> None:
        """A header and a body, without the end."""
        self._macros(b"T", i="4cXyZ0123")
        self._ask(b"T")
        for name, value in HEADER.items():
            self._ask(b"L", f"{name}\0{value}\0".encode())
        self._ask(b"N")
        body = LINE * (size // len(LINE))
        for at in range(0, len(body), CHUNK):
            self._ask(b"B", body[at : at + CHUNK])

    def end(self) -> str:
        self._macros(b"E", i="4cXyZ0123")
        return self._ask(b"E")

    def abort(self) -> None:
        self._send(b"A")

    def mail(self, sender: str, recipients: Sequence[str], size: int, login: str | None = None) -> str:
        """A whole mail; returns the rejection, or an empty text."""
        refused = self.envelope(sender, recipients, size, login)
        if refused:
            self.abort()
            return refused
        self.content(size)
        return self.end()

    def _macros(self, command: bytes, **macros: str) -> None:
        if not self._steps & UNTOLD.get(command, 0):
            self._send(b"D", command + "".join(f"{name}\0{value}\0" for name, value in macros.items()).encode())

    def _ask(self, command: bytes, data: bytes = b"") -> str:
        """The text of a rejection, or an empty text."""
        if self._steps & UNTOLD.get(command, 0):
            return ""
        self._send(command, data)
        if self._steps & UNANSWERED.get(command, 0):
            return ""
        while True:
            kind, said = self._reply()
            match kind:
                case b"c" | b"a":
                    return ""
                case b"q" | b"p":  # quarantine, progress: the reply follows
                    continue
                case b"y":
                    return said.rstrip(b"\0").decode()
            return {b"r": "550", b"t": "451"}.get(kind, f"unexpected {kind!r}")

    def _send(self, command: bytes, data: bytes = b"") -> None:
        self._socket.sendall(struct.pack("!I", len(data) + 1) + command + data)

    def _reply(self) -> tuple[bytes, bytes]:
        head = self._stream.read(5)
        if len(head) < 5:
            raise ConnectionError("the gate hung up")
        return head[4:], self._stream.read(struct.unpack("!I", head[:4])[0] - 1)


def account(number: int, tenants: int) -> str:
    return f"u{number:06}@d{number % tenants:05}.example"


def exchange(session: Session, instance: str, address: str, size: int) -> str:
    """A mail from outside to an account, or from the account to outside."""
    if instance == "in":
        return session.mail(OUTSIDE, [address], size)
    return session.mail(address, [OUTSIDE], size, login=address)


def shared(numbers: range) -> Callable[[], int | None]:
    """A function that gives each of `numbers` to one of many threads."""
    left, lock = iter(numbers), threading.Lock()

    def take() -> int | None:
        with lock:
            return next(left, None)

    return take


# Time


def _hammer(tenants: int, rate: float, sessions: int, tried: Any, until: Any) -> None:
    """Send `rate` mails a second for the first tenant; the gate rejects them all."""

    def work(worker: int) -> int:
        session, tries = Session("out"), 0
        address = account(0, tenants)
        due = time.monotonic() + worker / rate
        while not until.is_set():
            time.sleep(max(0.0, due - time.monotonic()))
            due += sessions / rate
            if not exchange(session, "out", address, SIZE).startswith("423"):
                raise SystemExit("the first tenant is not at its limit")
            tries += 1
        session.close()
        return tries

    with ThreadPoolExecutor(sessions) as pool:
        tried.value = sum(pool.map(work, range(sessions)))


@contextmanager
def hammered(tenants: int, rate: float, sessions: int = 5) -> Iterator[Any]:
    """Send for the first tenant meanwhile, in a process of its own; yields the number of its mails."""
    fork = multiprocessing.get_context("fork")
    tried, until = fork.Value("i", 0), fork.Event()
    process = fork.Process(target=_hammer, args=(tenants, rate, sessions, tried, until))
    if rate:
        process.start()
    try:
        yield tried
    finally:
        until.set()
        if rate:
            process.join()
            if process.exitcode:
                raise SystemExit("the first tenant's sender failed")


def added(tenants: int, accounts: int, rate: int, seconds: int, hammer: int) -> dict[str, float]:
    """Milliseconds that mails wait for the gate, from MAIL to the reply to their end, at `rate` mails a second.

    Half of them come in and half go out, to and from any account but those of the first tenants.  The very first tenant
    is at its limit and sends `hammer` further mails a second.
    """
    took: list[float] = []
    take = shared(range(rate * seconds))
    workers = 20

    def work(worker: int) -> None:
        instance = INSTANCES[worker % 2]
        session = Session(instance)
        choose = random.Random(worker)  # noqa: S311
        while (number := take()) is not None:
            while (chosen := choose.randrange(accounts)) % tenants < LIMITED:
                pass
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
            start = time.perf_counter()
            refused = exchange(session, instance, account(chosen, tenants), SIZE)
            took.append(time.perf_counter() - start)
            if refused:
                raise SystemExit(f"{account(chosen, tenants)}: {refused}")
        session.close()

    with hammered(tenants, hammer) as tried:
        started = time.monotonic() + 0.5
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, range(workers)))
        elapsed = time.monotonic() - started
    took.sort()
    return {
        "p50_ms": took[len(took) // 2] * 1000,
        "p99_ms": took[len(took) * 99 // 100] * 1000,
        "per_second": len(took) / elapsed,
        "hammered_per_second": tried.value / elapsed,
    }


# Exactness


def passing(tenant: int, tenants: int, senders: int, mails: int, given_up: int) -> dict[str, int]:
    """How many of `mails` of each of `senders` of a tenant pass, half of them by each instance.

    `given_up` of a hundred are aborted: after MAIL, after RCPT, in the body, or by hanging up.
    """
    begin = threading.Barrier(senders)

    def work(sender: int) -> Counter[str]:
        instance = INSTANCES[sender % 2]
        session = Session(instance)
        choose = random.Random(sender)  # noqa: S311
        answers = Counter[str]()
        begin.wait()
        for _mail in range(mails):
            if choose.randrange(100) < given_up:
                session = give_up(session, instance, choose.randrange(4))
                answers["given up"] += 1
            else:
                refused = session.mail(address, [OUTSIDE], 2000, login=address)
                answers[refused[:3] or "passed"] += 1
        session.close()
        return answers

    def give_up(session: Session, instance: str, how: int) -> Session:
        if not session.envelope(address, [OUTSIDE] if how else [], 2000, login=address) and how > 1:
            session.content(2000)
        if how < 3:
            session.abort()
            return session
        session.close()
        return Session(instance)

    address = account(tenant, tenants)
    with ThreadPoolExecutor(senders) as pool:
        return dict(sum(pool.map(work, range(senders)), Counter[str]()))


# Memory


def memory(tenants: int, accounts: int, mails: int) -> dict[str, Any]:
    """MB of each instance at the start and after some mails, each to or from another account."""
    found = {0: resident()}
    started = time.monotonic()
    for before, after in ((0, mails // 10), (mails // 10, mails)):
        take = shared(range(before, after))

        def work(worker: int, take: Callable[[], int | None] = take) -> None:
            instance = INSTANCES[worker % 2]
            sent, session = 0, Session(instance)
            while (number := take()) is not None:
                # About as many mails as a connection of Postfix's brings.
                sent += 1
                if sent % 20 == 0:
                    session.close()
                    session = Session(instance)
                chosen = number * 7919 % accounts
                refused = exchange(session, instance, account(chosen, tenants), SIZE)
                if refused and chosen % tenants >= LIMITED:
                    raise SystemExit(f"{account(chosen, tenants)}: {refused}")
            session.close()

        with ThreadPoolExecutor(20) as pool:
            list(pool.map(work, range(20)))
        found[after] = resident()
    return {"resident_mb": found, "per_second": mails / (time.monotonic() - started)}


def resident() -> dict[str, float]:
    """MB of memory of each instance."""
    sizes = {}
    for instance in INSTANCES:
        show = ["systemctl", "show", "--property=MainPID", "--value", f"mailhosting-gate@{instance}"]
        number = subprocess.run(show, check=True, capture_output=True, text=True).stdout.strip()
        status = Path(f"/proc/{number}/status").read_text()
        sizes[instance] = int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6
    return sizes


TASKS: dict[str, Callable[..., Any]] = {"added": added, "passing": passing, "memory": memory}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](*map(int, sys.argv[2:]))))
