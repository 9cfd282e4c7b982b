# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two ways to deliver a notice: into a mailbox here by LMTP, or by Postfix to any address."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from ..common import lmtp
from ..common.lmtp import PATIENCE, TemporaryDeliveryError, quoted
from .people import Recipient


@dataclass(frozen=True)
class Post:
    """Delivers with the null sender, so that no bounce comes back."""

    lmtp_socket: str  # of Dovecot's service without the quota plugin
    sendmail: str

    def deliver(self, recipient: Recipient, mail: bytes) -> None:
        """Deliver.  Raises: TemporaryDeliveryError, PermanentDeliveryError."""
        if recipient.direct:
            lmtp.deliver(self.lmtp_socket, recipient.address, mail)
        else:
            self._sendmail(recipient.address, mail)

    def _sendmail(self, address: str, mail: bytes) -> None:
        command = [self.sendmail, "-i", "-B8BITMIME", "-f", "", "--", quoted(address)]
        try:
            done = subprocess.run(
                command, input=mail.replace(b"\r\n", b"\n"), capture_output=True, check=False, timeout=PATIENCE
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TemporaryDeliveryError(f"{type(error).__name__}: {error}") from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").split()
            raise TemporaryDeliveryError(f"sendmail ended with {done.returncode}: {' '.join(said)[:300]}")
