# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends each notice: find its text, deliver it to its recipients, record who has it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol

from ..common.lmtp import PermanentDeliveryError, TemporaryDeliveryError
from . import texts
from .directory import Notice
from .mail import compose
from .people import Recipient, recipients
from .settings import Settings

LOG: Final = logging.getLogger(__name__)

#: Seconds after which the queue is read even without a notification.
POLL: Final = 60
#: Seconds between attempts: doubled each time, up to an hour, for as long as Postfix keeps mail in its queue.
FIRST_PAUSE, LONGEST_PAUSE, LIFETIME = 5, 3600, 5 * 86400


class Queue(Protocol):
    """`directory.Directory`, as this module uses it."""

    def due(self) -> list[Notice]:
        """Some of the due notices; repeated calls return the others, until none are due."""

    def next(self) -> float | None:
        """Seconds until a notice is due; None if no notice waits."""

    def reached(self, notice: Notice, address: str) -> None:
        """Record that this address has the notice, or never will."""

    def put_off(self, notice: Notice, seconds: int) -> None:
        """Make the notice due in so many seconds."""

    def end(self, notice: Notice, *, sent: bool) -> None:
        """Record that the notice is done."""


class Carrier(Protocol):
    """`post.Post`, as this module uses it."""

    def deliver(self, recipient: Recipient, mail: bytes) -> None:
        """Deliver.  Raises: TemporaryDeliveryError, PermanentDeliveryError."""


def pause(attempts: int) -> int:
    """Seconds until the next attempt, after this many failures before the last one."""
    return min(FIRST_PAUSE << min(attempts, 20), LONGEST_PAUSE)


class Service:
    """Sends due notices."""

    def __init__(self, queue: Queue, carrier: Carrier, settings: Settings) -> None:
        self._queue, self._carrier, self._settings = queue, carrier, settings

    def work(self) -> float:
        """Send all due notices; return the seconds until the next may be due."""
        while notices := self._queue.due():
            for notice in notices:
                self._tell(notice)
        waiting = self._queue.next()
        return POLL if waiting is None else min(waiting, POLL)

    def _tell(self, notice: Notice) -> None:
        try:
            mail = self._mail(notice)
        except (texts.UnknownKindError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            LOG.error("notice %s of kind %r is given up: %s", notice.id, notice.kind, error)  # noqa: TRY400 - the error is expected
            self._queue.end(notice, sent=False)
            return
        waiting = False
        told = list(notice.reached)
        for recipient in recipients(notice, self._settings.operator):
            if recipient.address in notice.reached:
                continue
            try:
                self._carrier.deliver(recipient, mail(recipient.address))
            except TemporaryDeliveryError as error:
                LOG.warning("notice %s for %s waits: %s", notice.id, recipient.address, error)
                waiting = True
                continue
            except PermanentDeliveryError as error:
                LOG.error("notice %s for %s is refused: %s", notice.id, recipient.address, error)  # noqa: TRY400
            else:
                LOG.info("notice %s of kind %s is sent to %s", notice.id, notice.kind, recipient.address)
                told.append(recipient.address)
            # At once: a crash in between repeats a notice, but never loses one.
            self._queue.reached(notice, recipient.address)
        if waiting and notice.seconds < LIFETIME:
            self._queue.put_off(notice, pause(notice.attempts))
            return
        if waiting or not told:
            LOG.error("notice %s of kind %s is given up: nobody could be told", notice.id, notice.kind)
        self._queue.end(notice, sent=bool(told) and not waiting)

    def _mail(self, notice: Notice) -> Callable[[str], bytes]:
        """A function that makes the mail for an address."""
        settings = self._settings
        language = notice.language or texts.LANGUAGES[0]
        values = {
            **texts.values(notice.facts, notice.tenant, language),
            "support_name": settings.support_name,
            "support_address": settings.support_address,
        }
        text = texts.fill(texts.find(notice.kind, notice.tenant, language, settings.texts), values)
        # The same at every attempt, so that a mail program can recognise a second copy.
        message_id = f"notice-{notice.id}@{settings.hostname}"
        moment = datetime.now(tz=UTC).astimezone()
        return lambda address: compose(text, settings.sender, address, message_id, moment, settings.charset)
