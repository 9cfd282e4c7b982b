# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network between this machine and a test host: events of other hosts must not interrupt its connections."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .conftest import device_to

#: NET_ADDR_SET of linux/netdevice.h: Linux keeps the address when hosts come and go.
SET = 3


def test_the_bridge_keeps_its_hardware_address(server: Server) -> None:
    assert int(Path(f"/sys/class/net/{device_to(server)}/addr_assign_type").read_text()) == SET
