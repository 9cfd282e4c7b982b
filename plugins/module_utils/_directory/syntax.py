# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How single values are written: addresses, names, sizes, durations.

PRIVATE to the collection: it can have breaking changes at any time.

Every function returns the one normal form of a value.

Raises: each of them ValueError, with a message that shows the value (never a secret) and what is allowed.

Our local parts are `[a-z0-9._:-]`, 1 to 64 characters, folded to lower case.  The first is no hyphen; dots and colons
stand between other characters.  No such text needs quoting in SQL, a shell or a file name.  Only the colon (`12:30`) is
outside RFC 5321's dot-string: Postfix looks `"12:30"` up with the quotes, and Dovecot's `auth_username_chars` must list
it.  `+` is the recipient delimiter, so none of our addresses has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from types import ModuleType
from typing import Final
from zoneinfo import ZoneInfo

from .model import PROTOCOLS, QUEUE_DOMAIN, Autoreply

idna: ModuleType | None
try:
    import idna
except ImportError:
    idna = None

#: Domains whose local parts may have dots anywhere, though a dot-string (RFC 5321 4.1.2) has neither two in a row nor
#: one at its end: mobile carriers in Japan gave such addresses to their customers, who keep them.
LENIENT_DOMAINS: Final = ("au.com", "docomo.ne.jp", "ezweb.ne.jp")

_ADDRESS_LENGTH: Final = 254  # RFC 5321 4.5.3.1.3: a path has 256 octets, its angle brackets included
_PASSWORD_LENGTH: Final = 248  # RFC 2449 4: a POP3 command has 255 octets, "PASS " and CRLF included
_SUBJECT_LENGTH: Final = 200
_BODY_LENGTH: Final = 6_144  # bytes: Dovecot reads its lookups' answers in lines of 8,192
_SHOWN_LENGTH: Final = 60

_LOCAL_PART: Final = re.compile(r"(?=.{1,64}\Z)[a-z0-9_][a-z0-9_-]*(?:[.:][a-z0-9_-]+)*\Z")
# The dot-string of RFC 5321 4.1.2 without ! % | `, which mail servers have taken for a route or a command.
_ATOM: Final = r"[a-z0-9#$&'*+/=?^_{}~-]+"
_FOREIGN_LOCAL_PART: Final = re.compile(rf"(?=[^-].{{0,63}}\Z){_ATOM}(?:\.{_ATOM})*\Z")
_LENIENT_LOCAL_PART: Final = re.compile(rf"(?=[^-].{{0,63}}\Z){_ATOM.replace('[', '[.')}\Z")
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}\Z")
_TENANT: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}\Z")
_PLAN: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}\Z")
_SIZE: Final = re.compile(r"([0-9]{1,15})([KMG]?)\Z")
_DURATION: Final = re.compile(r"([0-9]{1,6})([smhdw])\Z")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_LINES: Final = {ord("\n"): None, ord("\t"): None}

_BYTES: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LARGEST_SIZE: Final = (1 << 63) - 1  # bigint
_LARGEST_COUNT: Final = (1 << 31) - 1  # integer


def printable(text: str) -> str:
    """`text` on one line and shortened, for messages and key paths."""
    if not text.isprintable():
        text = text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:40]}… ({len(text)} characters)"


def shown(value: object) -> str:
    """`value` as a message shows it: a text in quotes; true, false and null as in YAML."""
    if isinstance(value, str):
        return f'"{printable(value)}"'
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Sequence):
        return "a list"
    return "null" if value is None else printable(str(value)).lower()


def size_text(size: int | None) -> str:
    """A number of bytes in the form that `size` reads."""
    if size is None:
        return "no limit"
    unit = next((unit for unit in "GMK" if size % _BYTES[unit] == 0), "")
    return f"{size // _BYTES[unit]}{unit}"


def unknown_key(known: Sequence[str]) -> str:
    """The message for a key that is not in `known`."""
    return f"unknown key; known here: {', '.join(known)}"


def local_part(text: str) -> str:
    """The part of our addresses before the @ (see the module's text)."""
    allowed = "a-z 0-9 . _ : -, with no hyphen first and dots and colons only between others"
    return _matching(text, allowed, _LOCAL_PART)


def domain(text: str) -> str:
    """A mail domain as A-labels (RFC 5890) in lower case.  U-labels need the Python package idna."""
    return _host(text, "a domain")


def hostname(text: str) -> str:
    """The full name of a host as A-labels in lower case."""
    return _host(text, "a full host name")


def address(text: str) -> str:
    """The address of an account or alias of ours."""
    return _address(text, local_part)


def target(text: str, lenient: Collection[str] = LENIENT_DOMAINS) -> str:
    """An address that mail is forwarded to, ours or external; it may have `+`; folded to lower case.

    In the `lenient` domains dots may stand anywhere, and the local part may be in quotes, as it is on the wire.
    """
    local_part, _at, after = text.rpartition("@")
    if (after.lower() if after.isascii() else domain(after)) not in lenient:
        return _address(text, _foreign_local_part)
    if len(local_part) > 2 and local_part[0] == local_part[-1] == '"':
        text = f"{local_part[1:-1]}@{after}"
    return _address(text, _lenient_local_part)


def lenient_domains(names: Sequence[str]) -> frozenset[str]:
    """The domains, as A-labels, in whose addresses dots may stand anywhere."""
    return frozenset(map(domain, names))


def tenant_name(text: str) -> str:
    """A tenant's name, which is the name of its files too."""
    if not _TENANT.match(text):
        raise ValueError(f"{shown(text)} is not a tenant's name: 1 to 40 of a-z 0-9 -, with no hyphen first")
    return text


def plan_name(value: object) -> str:
    """The name of a plan.  Only a text: YAML reads an unquoted `no` as false."""
    if not isinstance(value, str) or not _PLAN.match(value):
        raise ValueError(
            f"{shown(value)} is not a plan's name: a text of a-z 0-9 _ -, up to 40, a letter or digit first"
        )
    return value


def size(value: object) -> int:
    """A size in bytes, from a number of bytes or a text with K, M or G."""
    match = _SIZE.match(number_text(value))
    result = int(match[1]) * _BYTES[match[2]] if match else 0
    if not 0 < result <= _LARGEST_SIZE:
        raise ValueError(
            f"{shown(value)} is not a size: bytes from 1, or a number with K, M or G (powers of 1024), such as 50M"
        )
    return result


def duration(value: object) -> int:
    """A duration in seconds, from a text with a unit."""
    match = _DURATION.match(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"{shown(value)} is not a duration: a number with s, m, h, d or w, such as 30d")
    return int(match[1]) * _SECONDS[match[2]]


def count(value: object) -> int:
    """A number of things."""
    text = number_text(value)
    if not re.match(r"[0-9]{1,10}\Z", text) or int(text) > _LARGEST_COUNT:
        raise ValueError(f"{shown(value)} is not a number: 0 or more, whole")
    return int(text)


def boolean(value: object) -> bool:
    """True or false, and no word that looks like one."""
    if value is True or value is False:
        return value
    raise ValueError(f"{shown(value)} is neither true nor false")


def choice(value: object, allowed: Sequence[str]) -> str:
    """One of `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{shown(value)} is none of {', '.join(allowed)}")
    return value


def protocols(value: object) -> list[str]:
    """Names of ports, each once, in the order of `PROTOCOLS`."""
    names = value if isinstance(value, Sequence) and not isinstance(value, str) else None
    if names is None:
        raise ValueError(f"{shown(value)} is not a list of {', '.join(PROTOCOLS)}")
    for name in names:
        choice(name, PROTOCOLS)
    return [name for name in PROTOCOLS if name in names]


#: The template's placeholder, and texts that people write to replace later, by their first letters.
_PLACEHOLDERS: Final = re.compile(r"(?:please)?change(?:this|me)|replace(?:this|me)|yourpassword|passwordhere")


def password(text: str) -> str:
    """A plain password as written; the message does not show it."""
    if _PLACEHOLDERS.match(re.sub(r"[^a-z]", "", text.lower())):
        raise ValueError(
            "a text that stands where a password should (not shown), such as the template's: write the password itself"
        )
    if not text or not text.isprintable() or len(text.encode()) > _PASSWORD_LENGTH:
        raise ValueError(f"not a password (not shown): 1 to {_PASSWORD_LENGTH} bytes (RFC 2449), no control characters")
    return text


def time_zone(name: str) -> tzinfo:
    """The zone of this name in this machine's IANA time zone database."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # no such zone; not a name; a folder of the database
        raise ValueError(f"{shown(name)} is not a time zone that is known here, such as Asia/Tokyo or UTC") from None


def autoreply(
    body: object, subject: object = None, start: object = None, until: object = None, *, zone: tzinfo = UTC
) -> Autoreply:
    """An automatic reply: its texts, and its first and last day in `zone`, or its moments."""
    result = Autoreply(
        body=_body(body),
        start=None if start is None else _moment("from", start, timedelta(), zone),
        end=None if until is None else _moment("until", until, timedelta(days=1), zone),
    )
    if subject is not None:
        result = replace(result, subject=_subject(subject))
    if result.start is not None and result.end is not None and result.start >= result.end:
        raise ValueError(f"until: {shown(until)} is before from: {shown(start)}")
    return result


def _body(value: object) -> str:
    text = value.replace("\r\n", "\n").strip("\n") if isinstance(value, str) else ""
    escaped = len(text.encode()) + sum(text.count(character) for character in "\n\t\\")
    if not text.strip() or escaped > _BODY_LENGTH or not text.translate(_LINES).isprintable():
        raise ValueError(
            f"body: {shown(value)} is not a text of 1 to {_BODY_LENGTH} bytes without control characters but tabs and "
            "ends of line"
        )
    return text


def _subject(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > _SUBJECT_LENGTH:
        raise ValueError(
            f"subject: {shown(value)} is not a subject: one line of 1 to {_SUBJECT_LENGTH} characters, "
            "no control characters"
        )
    return value.strip()


def _moment(key: str, value: object, whole_day: timedelta, zone: tzinfo) -> int:
    """Seconds since 1970.  A date is the start of that day in `zone`, plus `whole_day`."""
    text = str(value) if isinstance(value, str | date) else ""
    try:
        if _DATE.match(text):
            # Added to local time: a day on which the clock changes has 23 or 25 hours.
            moment = (datetime.fromisoformat(text) + whole_day).replace(tzinfo=zone)
        else:
            moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(
            f"{key}: {shown(value)} is neither a date, such as 2026-12-28, nor a time with its offset, "
            "such as 2026-12-28T17:30:00+09:00"
        )
    return int(moment.timestamp())


def no_limit_or(convert: Callable[[object], int]) -> Callable[[object], int | None]:
    """A reader that takes null too, for no limit."""

    def limit(value: object) -> int | None:
        if value is None:
            return None
        try:
            return convert(value)
        except ValueError as error:
            raise ValueError(f"{error}; null for no limit") from None

    return limit


#: A size, or null for no limit.
quota: Final = no_limit_or(size)


def _folded(text: str) -> str:
    """Fold ASCII letters alone: the lower case of the Kelvin sign is an ASCII k."""
    return text.lower() if text.isascii() else text


def number_text(value: object) -> str:
    """A number as digits; empty for any other type."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return ""
    return str(value)


def _host(text: str, what: str) -> str:
    name = text.lower()
    if not text.isascii() or "xn--" in name:
        name = _a_labels(text, what)
    if not _DOMAIN.match(name):
        raise ValueError(
            f"{shown(text)} is not {what}: labels of 1 to 63 letters, digits and hyphens, at least two, "
            "253 characters in all, such as acme.example"
        )
    if f".{name}".endswith(f".{QUEUE_DOMAIN}"):
        raise ValueError(f"{shown(text)} is not {what}: only Postfix's queue has names in {QUEUE_DOMAIN}")
    return name


def _a_labels(text: str, what: str) -> str:
    if idna is None:
        if text.isascii():
            return text.lower()
        raise ValueError(f"{shown(text)}: write it with xn-- labels, or install the Python package idna")
    try:
        encoded: bytes = idna.encode(text, uts46=True)
    except idna.IDNAError as error:
        raise ValueError(f"{shown(text)} is not {what}: {printable(str(error))}") from None
    return encoded.decode("ascii").lower()


def _address(text: str, check_local_part: Callable[[str], str]) -> str:
    before, at, after = text.rpartition("@")
    if not (before and at and after):
        raise ValueError(f"{shown(text)} is not an address: local part, @, domain")
    result = f"{check_local_part(before)}@{domain(after)}"
    if len(result) > _ADDRESS_LENGTH:
        raise ValueError(f"{shown(text)} is not an address: longer than {_ADDRESS_LENGTH} characters")
    return result


def _foreign_local_part(text: str) -> str:
    allowed = (
        "a-z 0-9 and . _ - + # $ & ' * / = ? ^ { } ~ :, with no hyphen first and dots and colons only between others"
    )
    return _matching(text, allowed, _LOCAL_PART, _FOREIGN_LOCAL_PART)


def _lenient_local_part(text: str) -> str:
    allowed = "a-z 0-9 and . _ - + # $ & ' * / = ? ^ { } ~, with no hyphen first"
    return _matching(text, allowed, _LENIENT_LOCAL_PART)


def _matching(text: str, allowed: str, *forms: re.Pattern[str]) -> str:
    """A local part in one of `forms`; `allowed` has them in words.

    Raises: ValueError if it is in none of them.
    """
    folded = _folded(text)
    if not any(form.match(folded) for form in forms):
        raise ValueError(f"{shown(text)} is not a local part: 1 to 64 of {allowed}")
    return folded
