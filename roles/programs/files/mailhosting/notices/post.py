# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two ways to deliver a notice: into a mailbox here by LMTP (RFC 2033), or by Postfix to any address."""

from __future__ import annotations

import smtplib
import subprocess
from dataclasses import dataclass
from typing import Final

from .people import Recipient

#: Seconds for each step of a delivery.
PATIENCE: Final = 20


class TemporaryDeliveryError(Exception):
    """The notice could not be delivered now; the text has the reason."""


class PermanentDeliveryError(Exception):
    """The notice can never be delivered; the text has the reason."""


@dataclass(frozen=True)
class Post:
    """Delivers with the null sender, so that no bounce comes back."""

    lmtp_socket: str  # of Dovecot's service without the quota plugin
    sendmail: str

    def deliver(self, recipient: Recipient, mail: bytes) -> None:
        """Deliver.  Raises: TemporaryDeliveryError, PermanentDeliveryError."""
        try:
            if recipient.direct:
                self._lmtp(recipient.address, mail)
            else:
                self._sendmail(recipient.address, mail)
        except (OSError, smtplib.SMTPException, subprocess.TimeoutExpired) as error:
            raise TemporaryDeliveryError(f"{type(error).__name__}: {error}") from error

    def _lmtp(self, address: str, mail: bytes) -> None:
        session = smtplib.LMTP(self.lmtp_socket, local_hostname="localhost", timeout=PATIENCE)
        try:
            session.ehlo_or_helo_if_needed()
            _expect(session.docmd("MAIL", "FROM:<> BODY=8BITMIME"))
            _expect(session.docmd("RCPT", f"TO:<{quoted(address)}>"))
            _expect(session.data(mail))
        finally:
            session.close()

    def _sendmail(self, address: str, mail: bytes) -> None:
        command = [self.sendmail, "-i", "-B8BITMIME", "-f", "", "--", quoted(address)]
        done = subprocess.run(
            command, input=mail.replace(b"\r\n", b"\n"), capture_output=True, check=False, timeout=PATIENCE
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").split()
            raise TemporaryDeliveryError(f"sendmail ended with {done.returncode}: {' '.join(said)[:300]}")


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
