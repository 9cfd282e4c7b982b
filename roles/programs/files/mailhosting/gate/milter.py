# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speaks with Postfix: passes each event of a connection to a transaction, and its replies and changes back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar, assert_never

import Milter

from ..common.address import parse
from .bounces import BOUNCE_LISTENER, Bounce
from .bulk_mail_counts import says_invalid
from .checks.base import (
    Action,
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ClearSender,
    DeleteRecipient,
    InsertHeader,
    RemoveHeader,
    ReplaceBody,
)
from .context import Gate
from .decision_log import About, describe, write
from .mail import OWN_LISTENER, Mail
from .model import TRY_LATER, Reply
from .transaction import Outcome, Transaction

T = TypeVar("T")
U = TypeVar("U")

#: The name of the listener by which sendmail submits; mail that comes by no listener is the host's own too.
_LOCAL: Final = "local"
#: Listeners that demand a login.
_LOGINS: Final = ("submission", "submissions")


@Milter.rejected_recipients
@Milter.header_leading_space
class Conversation(Milter.Base):
    """One connection of Postfix's, by which one mail after the other comes."""

    gate: Gate  # of the process

    def __init__(self) -> None:
        self._client = ""
        self._port = 0
        self._connected = time.time()
        self._transaction: Transaction | None = None
        self._report: Bounce | None = None
        self._failed = False

    def connect(self, _name: str, _family: str, client: Any) -> int:
        """A client connects; `client` is its address and port, and something else for a client without them."""
        if isinstance(client, tuple) and len(client) > 1:
            self._client, self._port = str(client[0]).removeprefix("IPv6:"), int(client[1] or 0)
        if self.getsymval("{daemon_name}") in _LOGINS:
            return self._answer(self._safely(lambda: self.gate.may_log_in(self._client), TRY_LATER))
        return int(Milter.CONTINUE)

    def envfrom(self, sender: str, *parameters: str) -> int:
        """MAIL."""
        sizes = [value for name, _is, value in (word.partition("=") for word in parameters) if name.upper() == "SIZE"]
        size = int(sizes[0]) if sizes and sizes[0].isascii() and sizes[0].isdigit() else 0
        listener = self.getsymval("{daemon_name}") or _LOCAL
        self._failed = False
        if listener == BOUNCE_LISTENER and self._port == 0:
            self._report = Bounce(self.gate.directory, self.gate.valkey)
            return int(Milter.CONTINUE)
        mail = Mail(
            queue_id="-",
            client=self._client,
            listener=_LOCAL if self._port == 0 and listener != OWN_LISTENER else listener,
            login=self.getsymval("{auth_authen}") or None,
            sender=parse(self.getsymval("{mail_addr}") or sender),
            declared_size=size,
            connected=self._connected,
            written_sender=self.getsymval("{mail_addr}") or "",
            host=self.getsymval("j") or "localhost",
        )
        self._transaction = Transaction(self.gate, mail)
        return self._answer(self._safely(self._transaction.begin, TRY_LATER, self._transaction))

    def envrcpt(self, recipient: str, *_parameters: str) -> int:
        """RCPT; Postfix also passes the recipients that it has rejected itself."""
        transaction = self._transaction
        if self._report is not None:
            self._report.recipient(parse(recipient))
        if transaction is None:
            return int(Milter.CONTINUE)
        transaction.mail.queue_id = self.getsymval("i") or "-"
        if self.getsymval("{rcpt_mailer}") == "error":
            # Then {rcpt_host} is the enhanced status code.
            if says_invalid(self.getsymval("{rcpt_host}") or ""):
                self._safely(transaction.invalid_recipient, None, transaction)
            return int(Milter.CONTINUE)
        # Postfix has resolved it, so there are no source routes, comments, percent signs or exclamation marks.
        resolved = self.getsymval("{rcpt_addr}") or recipient
        return self._answer(self._safely(lambda: transaction.recipient(resolved, recipient), TRY_LATER, transaction))

    # Postfix does not wait for a reply to header and body: for each of a dozen fields both programs would take turns.
    @Milter.noreply
    def header(self, name: str, value: str) -> int:
        """A header field; libmilter passes its lines with bare line feeds, and with its leading space (HDR_LEADSPC)."""
        octets = len(name.encode("utf-8", "surrogateescape")) + 1 + _octets(value) + 2
        self._read(lambda mail: mail.header(name, value, octets))
        return int(Milter.CONTINUE)

    @Milter.noreply
    def body(self, chunk: bytes) -> int:
        """A piece of the body."""
        self._read(lambda mail: mail.body(chunk))
        return int(Milter.CONTINUE)

    def eom(self) -> int:
        """The end of the mail."""
        transaction, self._transaction = self._transaction, None
        report, self._report = self._report, None
        if report is not None and not self._failed:
            report.queue_id = self.getsymval("i") or "-"
            self._safely(report.end, None, report)
        if transaction is None:
            return int(Milter.CONTINUE)
        transaction.mail.queue_id = self.getsymval("i") or transaction.mail.queue_id
        put_off = Outcome(TRY_LATER)
        outcome = put_off if self._failed else self._safely(transaction.end, put_off, transaction)
        if outcome.hold is not None:
            self.quarantine(outcome.hold)
        for action in outcome.actions:
            self._apply(action)
        if outcome.discard:
            return int(Milter.DISCARD)
        return self._answer(outcome.reply)

    def abort(self) -> int:
        """The client gave up, or begins anew."""
        self._transaction = self._report = None
        return int(Milter.CONTINUE)

    def close(self) -> int:
        """The connection ends."""
        self._transaction = self._report = None
        return int(Milter.CONTINUE)

    def _read(self, give: Callable[[Transaction | Bounce], None]) -> None:
        """Pass a piece to the mail; if that fails, the reply at its end says so, because here there is none."""
        mail = self._transaction or self._report
        if mail is not None and not self._failed:
            self._failed = self._safely(lambda: give(mail), TRY_LATER, mail) is not None

    def _safely(self, ask: Callable[[], T], otherwise: U, mail: Transaction | Bounce | None = None) -> T | U:
        """Ask, and if that raises an unexpected error, log it and return `otherwise`."""
        try:
            return ask()
        except Exception as error:  # noqa: BLE001
            if mail is not None:
                mail.failed(error)
            else:
                write("defer", describe(error), About(client=self._client), code=TRY_LATER.code, level=logging.ERROR)
            return otherwise

    def _apply(self, action: Action) -> None:
        """Have Postfix change the mail; a header field that it adds gets its leading space here (HDR_LEADSPC)."""
        match action:
            case ClearSender():
                self.chgfrom("<>")
            case ChangeHeader(name, number, value):
                self.chgheader(name, number, value)
            case RemoveHeader(name, number):
                self.chgheader(name, number, "")
            case DeleteRecipient(address):
                self.delrcpt(address)
            case AddRecipient(address):
                self.addrcpt(address)
            case ReplaceBody(chunks):
                for chunk in chunks():
                    self.replacebody(chunk)
            case AddHeader(name, value):
                self.addheader(name, f" {value}")
            case InsertHeader(name, value):
                self.addheader(name, f" {value}", 0)
            case _:
                assert_never(action)

    def _answer(self, reply: Reply | None) -> int:
        if reply is None:
            return int(Milter.CONTINUE)
        self.setreply(reply.code, reply.enhanced, reply.text)
        return int(Milter.TEMPFAIL if reply.code.startswith("4") else Milter.REJECT)


def _octets(value: str) -> int:
    """The octets of a field's value on the wire."""
    return len(value.encode("utf-8", "surrogateescape")) + value.count("\n")
