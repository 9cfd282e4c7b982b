# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fail2ban action: log the client of a failed login, for the jail that counts clients.

A ban is LOGIN,CLIENT.  The client is an address, or the groups that begin those of an IPv6 network of 64 bits.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from fail2ban.server.action import ActionBase


class Tried(ActionBase):
    """`never` are networks, separated by spaces, that are not logged."""

    def __init__(self, jail: Any, name: str, never: str = "") -> None:
        super().__init__(jail, name)
        self._never = [ipaddress.ip_network(network, strict=False) for network in never.split()]
        # Bans that fail2ban restores after a restart were logged before.
        self.norestored = 1

    def start(self) -> None:
        """Nothing to prepare."""

    def stop(self) -> None:
        """Nothing to clean up."""

    def ban(self, info: Any) -> None:
        """Log the client: an IPv4 address or an IPv6 network."""
        client = str(info["fid"]).rpartition(",")[2]
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            address = ipaddress.ip_address(f"{client}::")
        network = ipaddress.ip_network(f"{address}/{32 if address.version == 4 else 64}", strict=False)
        if not any(network.version == never.version and network.overlaps(never) for never in self._never):
            self._logSys.notice("[mail-tried] Client %s", network)

    def unban(self, info: Any) -> None:
        """Nothing to undo: the other jail's entries expire."""


#: The name that fail2ban looks for.
Action = Tried
