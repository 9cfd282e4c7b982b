# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits, pools and counts of the day, in Valkey.

One script compares a mail with all of them, and at its end also counts it, everywhere at once or nowhere.  Nothing is
reserved between the two, so a mail that is given up, or a process that dies, leaves nothing to take back.

The keys begin with `mh:1:`.  All but Dovecot's expire; times are Unix times:

- `rate:SCOPE:ID:DIRECTION:UNIT:PER`: hash n, most, since; a window that lasts PER seconds.
- `pause:SCOPE:ID:DIRECTION`: hash limit (as `_limit_text` writes it), since, length in seconds.
- `usage:ID/USERNAME/quota/storage`: bytes in a mailbox, by Dovecot; `usage:epoch` and `usage:wanted` below.
- `total:TENANT`: bytes in all its mailboxes; UNKNOWN before those in some of them, where others are not known.
- `room:SCOPE:ID`: hash base, reserved, since, newer, older; what was accepted and has not arrived (counters.lua).
- `day:YYYY-MM-DD:TENANT`: hash of counts by name, of a day in UTC.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

from ..common import keys as names
from ..common.errors import ValkeyError
from ..common.valkey import Script, Valkey, Word, sound, unexpected
from .model import (
    Allowed,
    DailyCount,
    Direction,
    Limit,
    LimitSubject,
    Mailbox,
    Pause,
    RateCharge,
    Refused,
    Scope,
    SpaceCheck,
    Unit,
    Window,
)

LOG: Final = logging.getLogger(__name__)

#: How long a tenant's total is used, and how long it is used that some usage was not known.
TOTAL_LASTS_MILLISECONDS: Final = 5000
UNKNOWN_LASTS_MILLISECONDS: Final = 1000
UNKNOWN: Final = "?"
#: Seconds that the counts of a day are kept.
DAY_LASTS_SECONDS: Final = 40 * 86400

_SCRIPT: Final = Script(Path(__file__).with_suffix(".lua"))
#: Keys of an MGET or SCAN: others are served in between.
_CHUNK: Final = 1000


class Counters:
    """Asks Valkey; safe for many threads.  Every method but `count` raises ValkeyError.

    `accounts_of` answers with the mailboxes of a tenant.  A tenant's total needs it every 5 s at most; what it raises
    passes through.
    """

    def __init__(self, valkey: Valkey, accounts_of: Callable[[int], Iterable[Mailbox]]) -> None:
        self._valkey: Final = valkey
        self._accounts_of: Final = accounts_of
        self._summing: Final = defaultdict[int, threading.Lock](threading.Lock)

    def check(self, charges: Sequence[RateCharge], spaces: Sequence[SpaceCheck] = ()) -> Allowed | Refused:
        """Compare a mail, and count nothing.  If a window is already used up, its pause begins."""
        return self._decide(_Plan(charges, spaces, (), commit=False))

    def commit(
        self, charges: Sequence[RateCharge], spaces: Sequence[SpaceCheck], daily_counts: Sequence[DailyCount] = ()
    ) -> Allowed | Refused:
        """Compare a mail, and if it passes count it, reserve its bytes and add to the counts of the day."""
        return self._decide(_Plan(charges, spaces, daily_counts, commit=True))

    def count(self, daily_counts: Sequence[DailyCount]) -> None:
        """Add to the counts of the day; a failure is only logged."""
        commands: list[Sequence[Word]] = []
        for key, counts in _counts_by_day(daily_counts).items():
            commands += [("HINCRBY", key, field, count) for field, count in counts.items()]
            commands.append(("EXPIRE", key, DAY_LASTS_SECONDS, "NX"))
        try:
            for reply in self._valkey.ask(*commands) if commands else []:
                sound(reply)
        except ValkeyError as error:
            LOG.warning("not counted: %s", error)

    def pauses(self) -> list[Pause]:
        """All pauses."""
        return self._read_pauses(self._scan(names.PAUSES))

    def state(self, scope: Scope, number: int) -> tuple[list[Pause], list[Window]]:
        """The pauses and windows of the host, a tenant or an account, in both directions."""
        subjects = [LimitSubject(scope, number, direction) for direction in ("send", "receive")]
        return self._read_pauses(map(_pause_key, subjects)), self._read_windows(self._scan(names.rates(scope, number)))

    def lift(self, subject: LimitSubject) -> Pause | None:
        """End the pause of a subject, if there is one, and its windows too, which would pause it again at once."""
        key = _pause_key(subject)
        lifted = self._read_pauses([key])
        if not lifted:
            return None
        windows = self._scan(names.rates(subject.scope, subject.id, subject.direction))
        sound(*self._valkey.ask(("DEL", key, *windows)))
        return lifted[0]

    def _decide(self, plan: _Plan) -> Allowed | Refused:
        answer = self._run(plan)
        if answer[0] == b"total":
            for number in answer[1:]:
                self._sum(plan.spaces[number - 1].id)
            answer = self._run(plan)
        if answer[0] == b"total":
            raise ValkeyError("Valkey: a sum is gone as soon as it is there")
        return plan.verdict(answer)

    def _run(self, plan: _Plan) -> list[Any]:
        answer = _SCRIPT.run(self._valkey, plan.keys, plan.text)
        if not answer:
            raise unexpected(answer)
        return answer

    def _sum(self, tenant_id: int) -> None:
        """Write a tenant's total if there is none.  One thread sums it up, and the others find it."""
        with self._summing[tenant_id]:
            (known,) = self._valkey.ask(("EXISTS", names.total(tenant_id)))
            if not sound(known):
                self._sum_up(tenant_id, list(self._accounts_of(tenant_id)))

    def _sum_up(self, tenant_id: int, mailboxes: Sequence[Mailbox]) -> None:
        deadline = time.monotonic() + self._valkey.patience
        total = 0
        unknown: list[str] = []
        for at in range(0, len(mailboxes), _CHUNK):
            chunk = mailboxes[at : at + _CHUNK]
            (reply,) = self._valkey.ask(("MGET", *map(_usage_key, chunk)), deadline=deadline)
            for mailbox, value in zip(chunk, sound(reply), strict=True):
                used = _number(value)
                total += used or 0
                if used is None:
                    unknown.append(mailbox.username)
        # Of two sums the first is kept: none may replace a newer one.
        value, lasts = (
            (f"{UNKNOWN}{total}", UNKNOWN_LASTS_MILLISECONDS) if unknown else (total, TOTAL_LASTS_MILLISECONDS)
        )
        if unknown:
            LOG.warning(
                "tenant %d: not known how much is in %d of %d mailboxes", tenant_id, len(unknown), len(mailboxes)
            )
        commands: list[Sequence[Word]] = [("SET", names.total(tenant_id), value, "NX", "PX", lasts)]
        commands += [("SADD", names.USAGE_WANTED, *unknown[at : at + _CHUNK]) for at in range(0, len(unknown), _CHUNK)]
        for reply in self._valkey.ask(*commands, deadline=deadline):
            sound(reply)

    def _scan(self, pattern: str) -> list[str]:
        keys: set[str] = set()
        cursor = b"0"
        while True:
            (reply,) = self._valkey.ask(("SCAN", cursor.decode(), "MATCH", pattern, "COUNT", _CHUNK))
            cursor, found = sound(reply)
            keys.update(key.decode() for key in found)
            if cursor == b"0":
                return sorted(keys)

    def _read(self, keys: Iterable[str], *fields: str) -> Iterator[tuple[list[str], int, list[bytes | None]]]:
        """For each of `keys` that exists: its parts, the seconds left, the values of `fields`."""
        for key in keys:
            left, values = self._valkey.ask(("PTTL", key), ("HMGET", key, *fields))
            if (milliseconds := sound(left)) > 0:
                yield key.split(":")[3:], _seconds(milliseconds), sound(values)

    def _read_pauses(self, keys: Iterable[str]) -> list[Pause]:
        pauses = []
        for parts, left, (limit, since, length) in self._read(keys, "limit", "since", "length"):
            with suppress(ValueError):
                seconds = min(left, _number(length) or 0)
                pauses.append(Pause(_subject(parts), _read_limit(limit), _number(since) or 0, seconds))
        return pauses

    def _read_windows(self, keys: Iterable[str]) -> list[Window]:
        windows = []
        for parts, left, (counted, most, since) in self._read(keys, "n", "most", "since"):
            with suppress(ValueError):
                subject, unit, per = _subject(parts[:3]), _unit(parts[3]), int(parts[4])
                seconds = min(left, per)
                windows.append(
                    Window(subject, unit, per, _number(counted) or 0, _number(most), _number(since) or 0, seconds)
                )
        return windows


class _Plan:
    """One question to the script; of a subject or space that is named twice the costs are added."""

    def __init__(
        self,
        charges: Iterable[RateCharge],
        spaces: Iterable[SpaceCheck],
        daily_counts: Iterable[DailyCount],
        *,
        commit: bool,
    ) -> None:
        self.charges: Final = _merged_charges(charges)
        self.spaces: Final = _merged_spaces(spaces)
        self._numbers: Final[dict[str, int]] = {names.USAGE_EPOCH: 1, names.USAGE_WANTED: 2}
        self._windows: Final[list[dict[str, int]]] = []
        self._window_numbers: Final[dict[str, int]] = {}
        # The limits that the script compares, by subject, without those that nothing can exceed.
        self._limits: Final[list[list[Limit]]] = []
        plan = {
            "commit": commit,
            "subjects": [self._subject(charge) for charge in self.charges],
            "windows": self._windows,
            "spaces": [self._space(space) for space in self.spaces],
            "daily_counts": [
                {"key": self._number(key), "counts": counts, "keep": DAY_LASTS_SECONDS}
                for key, counts in _counts_by_day(daily_counts).items()
            ],
        }
        self.text: Final = json.dumps(plan, separators=(",", ":"))
        self.keys: Final = list(self._numbers)

    def verdict(self, answer: Sequence[Any]) -> Allowed | Refused:
        """What the script's answer means."""
        match answer:
            case [b"allowed", *unknown]:
                return Allowed(tuple(self.spaces[number - 1] for number in unknown))
            case [b"paused", number, text, left]:
                return Refused("paused", self.charges[number - 1].subject, _read_limit(text), _seconds(left))
            case [b"exceeded", number, which, left, began]:
                limit = self._limits[number - 1][which - 1]
                return Refused(
                    "exceeded",
                    self.charges[number - 1].subject,
                    limit,
                    _seconds(left) if left >= 0 else None,
                    began == 1,
                )
            case [b"full", number]:
                return Refused("full", self.spaces[number - 1])
        raise unexpected(answer)

    def _number(self, key: str) -> int:
        return self._numbers.setdefault(key, len(self._numbers) + 1)

    def _subject(self, charge: RateCharge) -> dict[str, Any]:
        limits = [limit for limit in charge.limits if limit.most is not None and getattr(charge, limit.unit) > 0]
        self._limits.append(limits)
        return {
            "pause": self._number(_pause_key(charge.subject)),
            "limits": [self._limit(charge, limit) for limit in limits],
        }

    def _limit(self, charge: RateCharge, limit: Limit) -> dict[str, Any]:
        most = cast("int", limit.most)
        paused = (
            LimitSubject(charge.subject.scope, charge.subject.id, direction) for direction in limit.pause_applies_to
        )
        told = {
            "window": self._window(charge, limit, most),
            "most": most,
            "pauses": [self._number(_pause_key(subject)) for subject in paused],
            "text": _limit_text(limit),
        }
        return told if limit.pause is None else {**told, "pause": limit.pause}

    def _window(self, charge: RateCharge, limit: Limit, most: int) -> int:
        """The number of a limit's window; two limits may have the same."""
        key = _rate_key(charge.subject, limit)
        number = self._window_numbers.setdefault(key, len(self._windows) + 1)
        if number > len(self._windows):
            amount = getattr(charge, limit.unit)
            self._windows.append({"key": self._number(key), "amount": amount, "per": limit.per, "most": most})
        window = self._windows[number - 1]
        window["most"] = min(most, window["most"])
        return number

    def _space(self, space: SpaceCheck) -> dict[str, Any]:
        told: dict[str, Any] = {
            "key": self._number(names.room(space.scope, space.id)),
            "needed": space.needed,
            "free": space.needed if space.free is None else space.free,
            "quota": space.quota,
        }
        if space.mailbox is None:
            return {**told, "usage": self._number(names.total(space.id)), "total": True}
        return {**told, "usage": self._number(_usage_key(space.mailbox)), "username": space.mailbox.username}


def _merged_charges(charges: Iterable[RateCharge]) -> list[RateCharge]:
    merged: dict[LimitSubject, RateCharge] = {}
    for charge in charges:
        before = merged.get(charge.subject)
        merged[charge.subject] = _sum_of(before, charge) if before else charge
    return list(merged.values())


def _sum_of(one: RateCharge, other: RateCharge) -> RateCharge:
    limits = tuple(dict.fromkeys((*one.limits, *other.limits)))
    return RateCharge(one.subject, limits, one.messages + other.messages, one.recipients + other.recipients)


def _merged_spaces(spaces: Iterable[SpaceCheck]) -> list[SpaceCheck]:
    merged: dict[tuple[str, int], SpaceCheck] = {}
    for space in spaces:
        before = merged.get((space.scope, space.id))
        merged[space.scope, space.id] = replace(space, needed=space.needed + before.needed) if before else space
    return list(merged.values())


def _counts_by_day(daily_counts: Iterable[DailyCount]) -> dict[str, dict[str, int]]:
    """What to add, by key of today and field."""
    today = datetime.now(UTC).date().isoformat()
    keys: dict[str, dict[str, int]] = {}
    for daily_count in daily_counts:
        counts = keys.setdefault(names.day(today, daily_count.tenant_id), {})
        for field, count in daily_count.counts.items():
            counts[field] = counts.get(field, 0) + count
    return {key: counts for key, counts in keys.items() if counts}


def _pause_key(subject: LimitSubject) -> str:
    return names.pause(subject.scope, subject.id, subject.direction)


def _rate_key(subject: LimitSubject, limit: Limit) -> str:
    return names.rate(subject.scope, subject.id, subject.direction, limit.unit, limit.per)


def _usage_key(mailbox: Mailbox) -> str:
    return names.usage_storage(mailbox.account_id, mailbox.username)


def _limit_text(limit: Limit) -> str:
    pause = "-" if limit.pause is None else limit.pause
    return f"{limit.unit} {limit.most} {limit.per} {pause} {','.join(limit.pause_applies_to)}"


def _read_limit(text: bytes | None) -> Limit | None:
    """Read what `_limit_text` writes; None if it cannot be read."""
    try:
        unit, most, per, pause, paused = (text or b"").decode().split(" ")
        directions = tuple(_direction(direction) for direction in paused.split(",") if direction)
        return Limit(_unit(unit), int(most), int(per), None if pause == "-" else int(pause), directions)
    except ValueError:
        return None


def _subject(parts: Sequence[str]) -> LimitSubject:
    """Read the subject at the end of a key.  Raises: ValueError."""
    scope, number, direction = parts
    match scope:
        case "host" | "tenant" | "account":
            return LimitSubject(scope, int(number), _direction(direction))
    raise ValueError(scope)


def _direction(text: str) -> Direction:
    match text:
        case "send" | "receive":
            return text
    raise ValueError(text)


def _unit(text: str) -> Unit:
    match text:
        case "messages" | "recipients":
            return text
    raise ValueError(text)


def _number(text: bytes | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def _seconds(milliseconds: int) -> int:
    """Whole seconds, rounded up."""
    return -(-milliseconds // 1000)
