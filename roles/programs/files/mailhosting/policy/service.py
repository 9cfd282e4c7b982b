# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers the requests of each smtpd in order: ask the sources, decide, answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from ..common import keys, log
from ..common.address import Address, parse
from ..common.errors import SourceError, ValkeyError
from . import decision, protocol

LOG: Final = logging.getLogger(__name__)

#: Seconds that the event of a login may take from Dovecot to this program.
MOMENT: Final = 0.25

_RELAY_LOGINS: Final = "SELECT username, pop_before_smtp, login_since FROM v1.relay_logins(%s, %s)"
_IS_MEMBER: Final = "SELECT v1.is_member(%s, %s, %s)"


class Rows(Protocol):
    """The directory, as this module uses it."""

    async def ask(self, query: str, *arguments: str) -> list[tuple[object, ...]]:
        """The rows of one SELECT.  Raises: DirectoryError."""


class Values(Protocol):
    """Valkey, as this module uses it."""

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values of keys.  Raises: ValkeyError."""


class Arrivals(Protocol):
    """`logins.Logins`, as this module uses it."""

    async def written(self) -> None:
        """Return when Valkey has every login that had arrived before.  Raises: ValkeyError."""


@dataclass(frozen=True)
class Service:
    """Answers requests."""

    directory: Rows
    valkey: Values
    logins: Arrivals

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the client disconnects.  After an invalid request close the connection without an answer."""
        previous: protocol.Request | None = None
        try:
            while (block := await self._request(reader)) is not None:
                request = protocol.parse(block)
                writer.write(protocol.render(await self.answer(request, previous)))
                await writer.drain()
                previous = request
        except (protocol.MalformedRequestError, asyncio.LimitOverrunError) as error:
            LOG.warning("no request of Postfix's: %s", error)
        except OSError:
            pass  # an smtpd that exits only closes the connection
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> bytes | None:
        try:
            return await reader.readuntil(b"\n\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise protocol.MalformedRequestError("the client left in the middle of it") from error
            return None

    async def answer(self, request: protocol.Request, previous: protocol.Request | None = None) -> str:
        """The action for a request; TRY_LATER while a source does not answer.

        `previous` is the request before it: Postfix sends each kind of question over a connection of its own.
        """
        try:
            match request.get("policy_context", ""):
                case decision.POP_BEFORE_SMTP:
                    return await self._relaying(request, decision.PERMIT)
                case decision.RELAYING:
                    return await self._relaying(request, decision.PERMIT_RELAYING)
                case context if context.startswith(decision.RELAYED):
                    if previous is not None and request.get("instance") == previous.get("instance"):
                        return decision.NO_OPINION  # another recipient of the same mail
                    return decision.trace(context.removeprefix(decision.RELAYED), datetime.now(UTC))
                case decision.ALL_MEMBERS:
                    return await self._membership(request)
                case other:
                    LOG.error("nothing is known of policy_context %r: see Postfix's main.cf", other)
        except SourceError as error:
            LOG.warning("%s", error)
        return decision.TRY_LATER

    async def _relaying(self, request: protocol.Request, permission: str) -> str:
        username = await self._login_before(request)
        if username is None:
            return decision.NO_OPINION
        of_request = {"from": request.get("sender"), "to": request.get("recipient")}
        of_request |= {name: request.get(name) for name in ("queue_id", "client_address")}
        LOG.info("POP before SMTP: %s", log.fields({**of_request, "sasl_username": username}))
        return permission

    async def _login_before(self, request: protocol.Request) -> str | None:
        """The POP or IMAP login that allows relaying for the client and the sender of a request."""
        question = decision.relaying(request)
        if question is None:
            return None
        rights = await self._rights(question.sender)
        if not rights:
            return None
        found = await self._who_opened(question.client, rights)
        if found is None:
            # The client may just have logged in: Dovecot sends the event a moment after its answer to the client.
            await asyncio.sleep(MOMENT)
            found = await self._who_opened(question.client, rights)
        if found is None:
            return None
        username, login = found
        if username != login.username:
            # Another account of the tenant: its login allows nothing to others if it allows nothing to itself.
            somebody = parse(login.username, delimiter="")
            own = (await self._rights(somebody)).get(login.username) if somebody else None
            if not decision.opens(own, login, time.time()):
                return None
        return login.username

    async def _who_opened(self, client: str, rights: Mapping[str, decision.Right]) -> tuple[str, decision.Login] | None:
        """The user in `rights` whose login allows relaying for a client, and that login."""
        await self.logins.written()
        usernames = list(rights)
        values = await self.valkey.get([keys.login(client, username) for username in usernames])
        try:
            logins = decision.last_logins(usernames, values)
        except ValueError as error:
            raise ValkeyError(f"Valkey: {error}") from error
        return decision.who_opened(rights, logins, time.time())

    async def _rights(self, sender: Address) -> dict[str, decision.Right]:
        """The logins that may send as an address, with the right that their plan gives each.

        `@domain` is any login of that domain.
        """
        rows = await self.directory.ask(_RELAY_LOGINS, *sender)
        return {
            username: decision.Right(seconds, since)
            for username, seconds, since in rows
            if isinstance(username, str) and isinstance(seconds, int) and isinstance(since, float)
        }

    async def _membership(self, request: protocol.Request) -> str:
        username = request.get("sasl_username") or await self._login_before(request) or ""
        question = decision.membership(username, request)
        if question is not None:
            rows = await self.directory.ask(_IS_MEMBER, *question.login, question.recipient_domain)
            if rows == [(True,)]:
                return decision.PERMIT
        return decision.members_only(request.get("recipient", "").rpartition("@")[2])
