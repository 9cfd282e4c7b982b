# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the values of plan keys are written; single values are in `syntax`.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from . import former_names
from .model import (
    ALL_SENDERS,
    BULK_MAIL_ACTIONS,
    BULK_MAIL_COUNTS,
    DIRECTIONS,
    LIMIT_UNITS,
    LONGEST_PAUSE,
    PARTIAL_ACTIONS,
    RELAY_SENDERS,
    RETENTION,
    SUSPICION_ACTIONS,
    UNEXAMINED_ACTIONS,
    VIRUS_ACTIONS,
    VIRUS_DEFAULTS,
    VIRUS_DIRECTIONS,
    VIRUS_FILE_TYPES,
    VIRUS_NOTIFIED,
)
from .syntax import (
    boolean,
    choice,
    count,
    duration,
    no_limit_or,
    number_text,
    printable,
    protocols,
    quota,
    shown,
    size,
    unknown_key,
)

_LONGEST_PERIOD: Final = 31 * 86400


def _max_account_quota(value: object) -> int | str | None:
    if value == "plan":
        return "plan"
    if said := former_names.within("max_account_quota", value):
        raise ValueError(said)
    try:
        return quota(value)
    except ValueError as error:
        raise ValueError(f"{error}; plan for no more than its mailbox_quota") from None


def _off_or_duration(value: object) -> int | None:
    if value is None or value is False:
        return None
    try:
        return duration(value)
    except ValueError as error:
        raise ValueError(f"{error}; false for not at all") from None


def _pop_before_smtp(value: object) -> int | dict[str, Any] | None:
    """Seconds if a login may relay with its own senders; else a mapping of `for` and `senders`."""
    if not isinstance(value, Mapping):
        return _off_or_duration(value)
    written = mapping(value, ("for", "senders"))
    if "for" not in written:
        raise ValueError("for: how long a login opens relaying is missing, such as 30m")
    seconds = duration(written["for"])
    senders = choice(written.get("senders", RELAY_SENDERS[0]), RELAY_SENDERS)
    return seconds if senders == RELAY_SENDERS[0] or not seconds else {"for": seconds, "senders": senders}


def _all_senders(value: object) -> str | None:
    if value is None or value is False:
        return None
    if value is True:
        return ALL_SENDERS[0]
    try:
        return choice(value, ALL_SENDERS)
    except ValueError as error:
        raise ValueError(f"{error}; true for {ALL_SENDERS[0]}, false for no such address") from None


def _percents(value: object) -> list[int]:
    if value is None or value is False:
        return []
    written = value if isinstance(value, Sequence) and not isinstance(value, str) else None
    if written is None or not all(re.match(r"([1-9][0-9]?|100)\Z", number_text(item)) for item in written):
        raise ValueError(f"{shown(value)} is not a list of percents: whole numbers from 1 to 100, such as [90, 100]")
    return sorted({int(item) for item in written})


def _step(value: object) -> int | None:
    if value is None:
        return None
    try:
        step = count(value)
    except ValueError as error:
        raise ValueError(f"{error}; null for no steps") from None
    if step == 0:
        raise ValueError("0 is not a step: 1 or more, whole; null for no steps")
    return step


def _retention(value: object) -> dict[str, int]:
    if value is None or value is False:
        return {}
    written = value if isinstance(value, Mapping) else None
    if written is None:
        raise ValueError(f"{shown(value)} is not a mapping of {', '.join(RETENTION)} to durations")
    if said := former_names.within("retention", written):
        raise ValueError(said)
    for key in written:
        choice(key, RETENTION)
    try:
        return {key: duration(written[key]) for key in RETENTION if key in written}
    except ValueError as error:
        raise ValueError(f"{error}; by what: {', '.join(RETENTION)}") from None


def _limits(direction: str | None) -> Callable[[object], list[dict[str, Any]]]:
    """The reader of a list of limits in `direction`; None: of one account, whose pauses stop its sending alone."""

    def limits(value: object) -> list[dict[str, Any]]:
        if value is None:
            return []
        return [_limit(item, direction, DIRECTIONS) for item in _limit_items(value)]

    return limits


def host_limits(direction: str, value: object) -> list[dict[str, Any]]:
    """Limits of all that a host sends or receives; a pause stops the other direction only if the limit says so.

    Raises: ValueError with a message that continues the setting's name.
    """
    try:
        items = [] if value is None else _limit_items(value)
    except ValueError as error:
        raise ValueError(f": {error}") from None
    limits = []
    for number, item in enumerate(items):
        try:
            limits.append(_limit(item, direction, (direction,)))
        except ValueError as error:
            raise ValueError(f"[{number}]: {error}") from None
    return limits


def _limit_items(value: object) -> Sequence[object]:
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else None
    if items is None:
        raise ValueError(f"{shown(value)} is not a list of limits, such as [{{messages: 1000, per: 1h}}]")
    return items


def _limit(value: object, direction: str | None, paused: Sequence[str]) -> dict[str, Any]:
    """One limit; `paused` has the directions that a pause stops by default."""
    keys = (*LIMIT_UNITS, "per", "pause", *(("pause_applies_to",) if direction else ()))
    written = mapping(value, keys, former_names.LIMIT if direction else None)
    units = [unit for unit in LIMIT_UNITS if unit in written]
    if len(units) != 1 or "per" not in written:
        raise ValueError(f"a limit has one of {', '.join(LIMIT_UNITS)}, and per; {shown(value)} has {_names(written)}")
    pause = _off_or_duration(written.get("pause"))
    if pause is None and "pause_applies_to" in written:
        raise ValueError("pause_applies_to: there is no pause; say for how long, such as pause: 2h")
    if pause is not None and not 0 < pause <= LONGEST_PAUSE:
        raise ValueError(f"pause: {shown(written['pause'])} is not from 1s to {LONGEST_PAUSE // 3600}h")
    limit: dict[str, Any] = {units[0]: count(written[units[0]]), "per": _period(written["per"]), "pause": pause}
    if direction:
        # Without a pause only what is counted is rejected: another direction makes no sense.
        directions = written.get("pause_applies_to", paused)
        limit["pause_applies_to"] = [direction] if pause is None else _directions(directions)
    return limit


def _period(value: object) -> int:
    seconds = duration(value)
    if not 0 < seconds <= _LONGEST_PERIOD:
        raise ValueError(f"per: {shown(value)} is not from 1s to {_LONGEST_PERIOD // 86400}d")
    return seconds


def _directions(value: object) -> list[str]:
    names = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    for name in names:
        choice(name, DIRECTIONS)
    return [name for name in DIRECTIONS if name in names]


def _bulk_mail(value: object) -> dict[str, Any] | None:
    if value is None or value is False:
        return None
    written = mapping(value, (*BULK_MAIL_COUNTS, "per", "action"), "bulk_mail")
    counts = {key: no_limit_or(count)(written.get(key)) for key in BULK_MAIL_COUNTS}
    if "recipients_per_content_received" not in written:
        # MV-5: the received count defaults to the sent one.
        counts["recipients_per_content_received"] = counts["recipients_per_content"]
    if set(counts.values()) == {None}:
        raise ValueError(f"there is nothing to count: {', '.join(BULK_MAIL_COUNTS)}")
    for key, most in counts.items():
        if most == 0:
            raise ValueError(f"{key}: 0 would stop all mail: 1 or more, whole; null for no limit")
    return {
        **counts,
        "per": _period(written.get("per", "1d")),
        "action": choice(written.get("action", BULK_MAIL_ACTIONS[0]), BULK_MAIL_ACTIONS),
    }


def _virus(value: object) -> dict[str, Any] | None:
    if value is None or value is False:
        return None
    written = mapping(value, tuple(VIRUS_DEFAULTS))
    found = {}
    for key, default in VIRUS_DEFAULTS.items():
        try:
            found[key] = _VIRUS_SETTINGS[key](written[key]) if key in written else default
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    for direction in VIRUS_DIRECTIONS:
        if "quarantine" in (found[direction]["attachment"], found[direction]["body"]) and not found["keep"]:
            raise ValueError(f"{direction}: quarantine keeps the mail for keep, which is 0; or say delete")
    return found


def _virus_policy(direction: str) -> Callable[[object], dict[str, Any]]:
    """The reader of what happens in `direction`; the body's action is by default the attachment's."""
    default = VIRUS_DEFAULTS[direction]

    def policy(value: object) -> dict[str, Any]:
        written = mapping(value, tuple(default))
        attachment = choice(written.get("attachment", default["attachment"]), VIRUS_ACTIONS)
        return {
            "attachment": attachment,
            "body": choice(written.get("body", attachment), VIRUS_ACTIONS),
            "notify": _some_of(VIRUS_NOTIFIED)(written.get("notify", default["notify"])),
        }

    return policy


def _one_of(allowed: Sequence[str]) -> Callable[[object], str]:
    return lambda value: choice(value, allowed)


def _some_of(allowed: Sequence[str]) -> Callable[[object], list[str]]:
    """The reader of a list of some of these names; null for none of them."""

    def names(value: object) -> list[str]:
        written = () if value is None else value
        found = written if isinstance(written, Sequence) and not isinstance(written, str) else None
        if found is None:
            raise ValueError(f"{shown(value)} is not a list of {', '.join(allowed)}")
        for name in found:
            choice(name, allowed)
        return [name for name in allowed if name in found]

    return names


def _kept_seconds(value: object) -> int:
    return 0 if value == 0 else _off_or_duration(value) or 0


_VIRUS_SETTINGS: Final[dict[str, Callable[[object], Any]]] = {
    **{direction: _virus_policy(direction) for direction in VIRUS_DIRECTIONS},
    "heuristics": _one_of(SUSPICION_ACTIONS),
    "pua": _one_of(SUSPICION_ACTIONS),
    "encrypted": _one_of(UNEXAMINED_ACTIONS),
    "unreadable": _one_of(UNEXAMINED_ACTIONS),
    "partial": _one_of(PARTIAL_ACTIONS),
    "reject_files": _some_of(VIRUS_FILE_TYPES),
    "max_unpacked_size": size,
    "max_content_size": quota,
    "keep": _kept_seconds,
}


def mapping(value: object, keys: Sequence[str], place: str | None = None) -> Mapping[str, Any]:
    """A mapping with no keys but `keys`; `place` is the place of their former names.

    Raises: ValueError if it has others.
    """
    written = value if isinstance(value, Mapping) else None
    if written is None:
        raise ValueError(f"{shown(value)} is not a mapping of {', '.join(keys)}")
    if place is not None and (said := former_names.within(place, written)):
        raise ValueError(said)
    for key in written:
        if key not in keys:
            raise ValueError(f"{printable(str(key))}: {unknown_key(keys)}")
    return written


def _names(written: Mapping[str, Any]) -> str:
    return ", ".join(written) or "none"


def _host_or(convert: Callable[[object], int]) -> Callable[[object], int | None]:
    """A reader that takes null too, for the host's own setting; not 0, which Dovecot reads as no limit."""

    def limit(value: object) -> int | None:
        if value is None:
            return None
        try:
            found = convert(value)
        except ValueError as error:
            raise ValueError(f"{error}; null for the host's setting") from None
        if found == 0:
            raise ValueError("0 is too few: 1 or more, whole; null for the host's setting")
        return found

    return limit


_PLAN_SETTINGS: Final[dict[str, Callable[[object], Any]]] = {
    "mailbox_quota": quota,
    "max_account_quota": _max_account_quota,
    "max_accounts": no_limit_or(count),
    "max_forward_targets": no_limit_or(count),
    "max_messages": _host_or(count),
    "max_folders": _host_or(count),
    "max_filters": _host_or(count),
    "max_filters_size": _host_or(size),
    "protocols": protocols,
    "cleartext_auth": boolean,
    "legacy_auth": boolean,
    "pop_before_smtp": _pop_before_smtp,
    "all_address": _all_senders,
    "renamed_alias": _off_or_duration,
    "renamed_domain": _off_or_duration,
    "quota_warnings": _percents,
    "billing_step": _step,
    "retention": _retention,
    "max_message_size": quota,
    "tenant_quota": quota,
    "send_limits": _limits("send"),
    "receive_limits": _limits("receive"),
    "account_send_limits": _limits(None),
    "bulk_mail": _bulk_mail,
    "virus": _virus,
}


def plan_setting(key: str, value: object) -> Any:
    """The normal form of one plan key's value.

    Raises: ValueError if the value is not allowed.
    """
    if key not in _PLAN_SETTINGS:
        raise ValueError(former_names.answer(former_names.PLAN, key, value) or unknown_key(tuple(_PLAN_SETTINGS)))
    return _PLAN_SETTINGS[key](value)


def plan_settings(settings: Mapping[str, object]) -> dict[str, Any]:
    """The normal forms of all keys of a plan or of overrides.

    Raises: ValueError that names the first wrong key.
    """
    result = {}
    for key, value in settings.items():
        try:
            result[key] = plan_setting(key, value)
        except ValueError as error:
            raise ValueError(f"{printable(key)}: {error}") from None
    return result
