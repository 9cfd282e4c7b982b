# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delivers a mail to one mailbox here by LMTP (RFC 2033)."""

from __future__ import annotations

import smtplib
from typing import Final

#: Seconds for each step of a delivery.
PATIENCE: Final = 20


class TemporaryDeliveryError(Exception):
    """The mail could not be delivered now; the text has the reason."""


class PermanentDeliveryError(Exception):
    """The mail can never be delivered; the text has the reason."""


def deliver(socket: str, address: str, mail: bytes, sender: str = "") -> None:
    """Deliver a mail with this sender of the envelope; without one no bounce comes back.

    Raises: TemporaryDeliveryError, PermanentDeliveryError.
    """
    try:
        session = smtplib.LMTP(socket, local_hostname="localhost", timeout=PATIENCE)
        try:
            session.ehlo_or_helo_if_needed()
            _expect(session.docmd("MAIL", f"FROM:<{sender}> BODY=8BITMIME"))
            _expect(session.docmd("RCPT", f"TO:<{quoted(address)}>"))
            _expect(session.data(mail))
        finally:
            session.close()
    except (OSError, smtplib.SMTPException) as error:
        raise TemporaryDeliveryError(f"{type(error).__name__}: {error}") from error


def quoted(address: str) -> str:
    """The address as a command needs it: of our addresses only those with a colon need quotes (RFC 5321 4.1.2)."""
    local_part, _at, domain = address.rpartition("@")
    return f'"{local_part}"@{domain}' if ":" in local_part else address


def _expect(answer: tuple[int, bytes]) -> None:
    code, text = answer
    if code >= 500:
        raise PermanentDeliveryError(f"{code} {text.decode(errors='replace')}")
    if code >= 400 or code < 0:
        raise TemporaryDeliveryError(f"{code} {text.decode(errors='replace')}")
