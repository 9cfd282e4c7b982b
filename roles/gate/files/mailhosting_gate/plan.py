# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tenant's plan as the directory has it, and limits as a setting of the role has them, read.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from .crowds import Rule
from .model import Direction, Limit, MassMail, Tenant, Unit

_UNITS: Final[tuple[Unit, ...]] = ("messages", "recipients")


def read_tenant(tenant_id: int, name: str, settings: Mapping[str, Any]) -> Tenant:
    """A tenant, by what `v1.gate_tenant` says."""
    return Tenant(
        id=tenant_id,
        name=name,
        max_message_size=settings["max_message_size"],
        quota=settings["tenant_quota"],
        send_limits=read_limits(settings["send_limits"]),
        receive_limits=read_limits(settings["receive_limits"]),
        account_send_limits=read_limits(settings["account_send_limits"], ("send",)),
        mass_mail=_mass_mail(settings["mass_mail"]),
    )


def read_limits(written: Iterable[Mapping[str, Any]], stops: tuple[Direction, ...] = ()) -> tuple[Limit, ...]:
    """Limits; `stops` for those that do not say what they stop.  KeyError, StopIteration for what is none."""
    return tuple(
        Limit(
            unit := next(unit for unit in _UNITS if unit in item),
            item[unit],
            item["per"],
            item.get("pause"),
            tuple(item.get("stops", stops)),
        )
        for item in written
    )


def _mass_mail(written: Mapping[str, Any] | None) -> MassMail | None:
    if written is None:
        return None
    per, received = written["per"], written.get("same_content_received")
    return MassMail(
        sent=Rule(written["same_content"], written["unknown_recipients"], per),
        received=None if received is None else Rule(received, None, per),
        hold=written["action"] == "hold",
    )
