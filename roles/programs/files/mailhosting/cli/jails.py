# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bans of fail2ban's jails, and the end of one; roles/fail2ban describes each jail."""

from __future__ import annotations

import ipaddress
import re
import subprocess
import time
from typing import Final, Literal, NamedTuple

from .host import CommandError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Jail = Literal["mail-login", "mail-address", "mail-tried"]

#: Seconds for one answer of fail2ban, which may be busy reading its log.
_PATIENCE: Final = 30
#: A line of `fail2ban-client get JAIL banip --with-time`: the ban, since when, seconds (-1: no end), until when.
_LINE: Final = re.compile(r"(\S+)\s+(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) \+ (-?\d+) = \S+ \S+")

#: The beginning of its errors: 2026-11-29 09:00:12,435 fail2ban   [2484]: ERROR.
_LOG_PREFIX: Final = re.compile(r"^[-\d :,]+ fail2ban +\[\d+\]: +[A-Z]+ +", re.MULTILINE)


class Ban(NamedTuple):
    """A ban as the jail writes it, and since and until when (Unix times; None for no end)."""

    id: str
    since: int
    until: int | None


class FailedLogin(NamedTuple):
    """A ban of mail-login or mail-tried: which login failed from which client."""

    login: str
    client: Network
    ban: Ban


def bans(jail: Jail) -> list[Ban]:
    """The bans of a jail, in the order in which they end.  Raises: CommandError."""
    found = []
    for line in _fail2ban("get", jail, "banip", "--with-time").splitlines():
        if match := _LINE.fullmatch(line.strip()):
            # fail2ban writes times in the host's time zone.
            since = int(time.mktime(time.strptime(match[2], "%Y-%m-%d %H:%M:%S")))
            length = int(match[3])
            found.append(Ban(match[1], since, since + length if length >= 0 else None))
    return found


def failed_logins(jail: Literal["mail-login", "mail-tried"]) -> list[FailedLogin]:
    """The bans of a jail whose bans are LOGIN,CLIENT.  Raises: CommandError."""
    found = []
    for ban in bans(jail):
        login, _comma, client = ban.id.rpartition(",")
        if (network := network_of(client)) is not None:
            # Dovecot has replaced % by @ in user%domain.
            found.append(FailedLogin(login.replace("%", "@"), network, ban))
    return found


def unban(jail: Jail, ban: Ban) -> None:
    """End a ban.  Raises: CommandError."""
    _fail2ban("set", jail, "unbanip", ban.id)


def network_of(client: str) -> Network | None:
    """The client that an address, a network or the first groups of an IPv6 network mean; None for anything else.

    A client with one address of an IPv6 network of 64 bits has all, so that network is the client.
    """
    for written in (client, f"{client}::"):
        try:
            network = ipaddress.ip_network(written, strict=False)
        except ValueError:
            continue
        if network.version == 6 and network.prefixlen > 64:
            return network.supernet(new_prefix=64)
        return network
    return None


def shown(client: Network) -> str:
    """A client as people write it."""
    return str(client.network_address) if client.version == 4 and client.prefixlen == 32 else str(client)


def _fail2ban(*arguments: str) -> str:
    """fail2ban's answer to a command.  Raises: CommandError."""
    try:
        done = subprocess.run(
            ["fail2ban-client", *arguments], capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandError(f"fail2ban: {error}") from error
    if done.returncode:
        said = " ".join(_LOG_PREFIX.sub("", done.stdout or done.stderr).split())
        said = said or f"fail2ban-client ended with {done.returncode}"
        raise CommandError(f"fail2ban: {said} (`systemctl status fail2ban` says more)")
    return done.stdout
