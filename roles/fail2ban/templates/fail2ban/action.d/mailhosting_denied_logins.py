# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fail2ban action: keep the file of logins that Dovecot refuses from a client.

A ban is LOGIN,CLIENT.  The client is an address, or the groups that begin those of an IPv6 network of 64 bits: a client
with one of its addresses has all.  The file is a passwd-file of Dovecot's.  Its lines are the SHA-256 of "CLIENT LOGIN"
in hex, because a login may contain the colon that separates fields.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
from pathlib import Path
from typing import Any

from fail2ban.server.action import ActionBase


class DeniedLogins(ActionBase):
    """`path` is the file, `never` the networks, separated by spaces, from which no login is refused."""

    def __init__(self, jail: Any, name: str, path: str, never: str = "") -> None:
        super().__init__(jail, name)
        self._path = Path(path)
        self._never = [ipaddress.ip_network(network, strict=False) for network in never.split()]
        self._keys: dict[str, list[str]] = {}

    def start(self) -> None:
        """Write an empty file: no login is refused yet."""
        self._keys.clear()
        self._write()

    def stop(self) -> None:
        """Write an empty file: no login is refused."""
        self.start()

    def ban(self, info: Any) -> None:
        """Refuse the login from the client."""
        login, _comma, client = str(info["fid"]).rpartition(",")
        network = _network(client)
        # fail2ban compares ignoreip with the ban, which is not an address here.
        if any(network.version == never.version and network.overlaps(never) for never in self._never):
            return
        # Dovecot has replaced % by @ in user%domain.
        texts = (f"{spelling} {login.replace('%', '@')}" for spelling in _spellings(client, network))
        self._keys[str(info["fid"])] = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        self._write()

    def unban(self, info: Any) -> None:
        """Let the login in again."""
        self._keys.pop(str(info["fid"]), None)
        self._write()

    def _write(self) -> None:
        """Swap the file.  Dovecot looks at whole seconds and the size: no two versions may share both."""
        try:
            before = int(self._path.stat().st_mtime)
        except FileNotFoundError:
            before = 0
        staged = self._path.with_name(f".{self._path.name}")
        # Bans of two spellings of one network have the same lines.
        keys = sorted({key for keys in self._keys.values() for key in keys})
        staged.write_text("".join(f"{key}:\n" for key in keys), encoding="ascii")
        staged.chmod(0o644)
        changed = max(int(staged.stat().st_mtime), before + 1)
        os.utime(staged, (changed, changed))
        staged.replace(self._path)


def _network(client: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(client)
    except ValueError:
        return ipaddress.ip_network(f"{client}::/64")


def _spellings(client: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> set[str]:
    """How Dovecot shortens the client's addresses: to four groups, or to those before a `::`, which is zeros."""
    if network.prefixlen != 64:
        return {client}
    groups = [f"{int(group, 16):x}" for group in network.network_address.exploded.split(":")[:4]]
    spellings = {":".join(groups)}
    while groups[-1] == "0":
        groups.pop()
        spellings.add(":".join(groups))
    return spellings


#: The name that fail2ban looks for.
Action = DeniedLogins
