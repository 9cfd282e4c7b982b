# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a tenant's settings from the directory's JSON, and the host's limits from the role's settings.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from .bulk_mail_counts import Rule
from .model import BulkMail, Direction, Limit, Tenant, Unit, VirusCheck, VirusPolicy

_UNITS: Final[tuple[Unit, ...]] = ("messages", "recipients")


def read_tenant(tenant_id: int, name: str, settings: Mapping[str, Any]) -> Tenant:
    """Read the settings that `v1.gate_tenant` answers with."""
    return Tenant(
        id=tenant_id,
        name=name,
        max_message_size=settings["max_message_size"],
        quota=settings["tenant_quota"],
        send_limits=read_limits(settings["send_limits"], "send"),
        receive_limits=read_limits(settings["receive_limits"], "receive"),
        account_send_limits=read_limits(settings["account_send_limits"], "send"),
        bulk_mail=_bulk_mail(settings["bulk_mail"]),
        virus=_virus(settings["virus"]),
    )


def read_limits(written: Iterable[Mapping[str, Any]], direction: Direction) -> tuple[Limit, ...]:
    """Read limits of this direction; without a pause of its own a limit pauses no other direction.

    Raises: KeyError, StopIteration.
    """
    return tuple(_limit(item, direction) for item in written)


def _limit(written: Mapping[str, Any], direction: Direction) -> Limit:
    unit = next(unit for unit in _UNITS if unit in written)
    pause = written.get("pause")
    paused = (direction,) if pause is None else tuple(written.get("pause_applies_to", (direction,)))
    return Limit(unit, written[unit], written["per"], pause, paused)


def _bulk_mail(written: Mapping[str, Any] | None) -> BulkMail | None:
    if written is None:
        return None
    per, received = written["per"], written.get("recipients_per_content_received")
    return BulkMail(
        sent=Rule(written["recipients_per_content"], written["invalid_recipients"], per),
        received=None if received is None else Rule(received, None, per),
        hold=written["action"] == "hold",
    )


def _virus(written: Mapping[str, Any] | None) -> VirusCheck | None:
    if written is None:
        return None
    return VirusCheck(
        inbound=_virus_policy(written["inbound"]),
        outbound=_virus_policy(written["outbound"]),
        heuristics=written["heuristics"],
        pua=written["pua"],
        encrypted=written["encrypted"],
        unreadable=written["unreadable"],
        partial=written["partial"],
        reject_files=tuple(written["reject_files"]),
        max_unpacked_size=written["max_unpacked_size"],
        max_content_size=written["max_content_size"],
        keep=written["keep"],
    )


def _virus_policy(written: Mapping[str, Any]) -> VirusPolicy:
    return VirusPolicy(written["attachment"], written["body"], tuple(written["notify"]))
