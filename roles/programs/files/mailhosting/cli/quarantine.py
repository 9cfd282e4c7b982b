# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailhosting quarantine: shows, releases and drops mail that a scan took from its recipients."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from ..common import lmtp, settings
from ..common.errors import SettingsError
from ..gate import quarantine as originals
from ..gate.settings import QuarantinePlace
from . import host
from .directory import Ask, ask, resolve
from .host import Answer, CommandError, Commands, Host, NotHereError
from .traces import in_a_line
from .words import moment

_TEXT: Final = """\
Show, release or drop mail that a scan took from its recipients.

An entry is the original of one mail for one account, or for a tenant where the mail led
to no account.  A NAME is a tenant's name, an account's address, or #NUMBER for a closed
account.  `search` finds TEXT in senders, recipients, subjects, names of viruses and files,
and queue ids.  For root.

A release scans the mail again with today's signatures and delivers it to the account's own
mailbox: no filter runs, nothing is forwarded, and a full mailbox takes it.  Mail in which
a virus is still found needs --infected.

examples:
  mailhosting quarantine list                        everything that is kept
  mailhosting quarantine list taro@acme.example      what is kept for the account
  mailhosting quarantine search invoice.zip          entries that mention it
  mailhosting quarantine show 17                     all that is known of the entry
  mailhosting quarantine release 17                  deliver it, if it is clean by now
  mailhosting quarantine drop 17 18                  delete them
"""

_ENTRIES: Final = """
SELECT id, file, kept_at, expires_at, octets, queue_id, direction, sender, recipient, subject, policy, findings,
       tenant_id, tenant, account_id, address, mailbox FROM v1.quarantine
"""
_DROP: Final = "SELECT * FROM v1.quarantine_drop(%s)"
_IGNORED: Final = "SELECT name FROM v1.virus_name WHERE verdict = 'ignored'"
#: Seconds for a scan: the gate has less, but here nobody waits on the wire.
_PATIENCE: Final = 600


class Entry(NamedTuple):
    """A row of v1.quarantine."""

    id: int
    file: str
    kept_at: int  # Unix time
    expires_at: int
    octets: int
    queue_id: str
    direction: str
    sender: str
    recipient: str
    subject: str  # as encoded
    policy: str
    findings: Sequence[dict[str, str | None]]
    tenant_id: int
    tenant: str
    account_id: int | None
    address: str | None
    mailbox: str | None

    @property
    def holder(self) -> str:
        """Whom it is kept for: an address, or the name of a tenant."""
        return self.address or f"tenant {self.tenant}"

    @property
    def title(self) -> str:
        """The subject as people read it."""
        try:
            return in_a_line(str(make_header(decode_header(self.subject))))
        except (HeaderParseError, LookupError, ValueError):
            return in_a_line(self.subject)

    @property
    def names(self) -> list[str]:
        """The names of what was found, each once."""
        return list(dict.fromkeys(in_a_line(finding["name"] or "") for finding in self.findings))

    def is_of(self, scope: Literal["account", "tenant"], number: int) -> bool:
        """Whether it is kept for this account, or for this tenant or an account of it."""
        return number == (self.account_id if scope == "account" else self.tenant_id)

    def mentions(self, text: str) -> bool:
        """Whether `text`, in small or capital letters, is in what people search."""
        found = (value for finding in self.findings for value in (finding["name"], finding["member"]) if value)
        searched = (self.sender, self.recipient, self.address or "", self.title, self.queue_id, *found)
        return any(text.casefold() in value.casefold() for value in searched)

    def described(self) -> dict[str, Any]:
        """The object for JSON."""
        fields = self._asdict()
        for name in ("file", "mailbox", "tenant_id", "account_id"):
            del fields[name]
        return {**fields, "subject": self.title, "findings": [dict(finding) for finding in self.findings]}


def add_to(commands: Commands) -> None:
    """Add the subcommand."""
    quarantine = host.add(commands, "quarantine", "show, release or drop mail that a scan took", _TEXT)
    actions = quarantine.add_subparsers(dest="command", metavar="list|show|search|release|drop", required=True)
    listed = actions.add_parser("list", help="all entries, or those of NAME")
    listed.add_argument("name", metavar="NAME", nargs="?", type=host.name)
    searched = actions.add_parser("search", help="entries that mention TEXT")
    searched.add_argument("text", metavar="TEXT", type=host.name)
    searched.add_argument("name", metavar="NAME", nargs="?", type=host.name)
    show = actions.add_parser("show", help="all that is known of entries")
    release = actions.add_parser("release", help="scan again, and deliver to the account's mailbox")
    release.add_argument("--infected", action="store_true", help="also mail in which a virus is still found")
    drop = actions.add_parser("drop", help="delete entries")
    for action in (show, release, drop):
        action.add_argument("ids", metavar="ID", nargs="+", type=int)
    for action, run in ((listed, _list), (searched, _list), (show, _show), (release, _release), (drop, _drop)):
        host.add_json(action)
        action.set_defaults(run=run)
    listed.set_defaults(text=None)


def _list(options: argparse.Namespace, on: Host) -> Answer:
    """Raises: CommandError."""
    _place, asked = _place_of(on)
    found = _entries(asked)
    if options.name is not None:
        scope, number, _called = resolve(asked, options.name)
        if scope != "host":
            found = [entry for entry in found if entry.is_of(scope, number)]
    if options.text is not None:
        found = [entry for entry in found if entry.mentions(options.text)]
    lines = [_line(entry) for entry in found] or ["nothing is kept" if options.text is None else "nothing is found"]
    return Answer({"entries": [entry.described() for entry in found]}, lines)


def _show(options: argparse.Namespace, on: Host) -> Answer:
    """Raises: CommandError."""
    _place, asked = _place_of(on)
    found, complaints = _of_ids(asked, options.ids)
    pages = [line for entry in found for line in _page(entry)]
    return Answer({"entries": [entry.described() for entry in found]}, pages, complaints)


def _release(options: argparse.Namespace, on: Host) -> Answer:
    """Raises: CommandError."""
    place, asked = _place_of(on)
    found, complaints = _of_ids(asked, options.ids)
    ignored = {name for (name,) in asked(_IGNORED)} if found else set()
    released = []
    for entry in found:
        with host.complaining(complaints):
            _deliver(on, place, entry, ignored, infected=options.infected)
            _forget(asked, place, [entry])
            released.append(entry)
    lines = [f"{entry.id}: released into the mailbox of {entry.holder}" for entry in released]
    return Answer({"released": [entry.described() for entry in released]}, lines, complaints)


def _drop(options: argparse.Namespace, on: Host) -> Answer:
    """Raises: CommandError."""
    place, asked = _place_of(on)
    found, complaints = _of_ids(asked, options.ids)
    _forget(asked, place, found)
    lines = [f"{entry.id}: dropped, for {entry.holder}" for entry in found]
    return Answer({"dropped": [entry.described() for entry in found]}, lines, complaints)


def _place_of(on: Host) -> tuple[QuarantinePlace, Ask]:
    """The gate's settings for the quarantine, and a function for queries.  Raises: CommandError."""
    file = on.gate_settings
    if not file.exists():
        raise NotHereError(
            f"{file}: there is none. The quarantine is the gate's, "
            "and the role mailhosting.stack.gate is not on this host"
        )
    on.needs_root()
    try:
        place = settings.read(QuarantinePlace, file)
    except SettingsError as error:
        raise CommandError(f"{error}; the role mailhosting.stack.gate writes it") from error
    return place, partial(ask, place.directory)


def _entries(asked: Ask, ids: Sequence[int] | None = None) -> list[Entry]:
    """The entries of these ids, or all, the oldest first.  Raises: CommandError."""
    if ids is None:
        return [Entry(*row) for row in asked(f"{_ENTRIES} ORDER BY id")]
    return [Entry(*row) for row in asked(f"{_ENTRIES} WHERE id = ANY (%s) ORDER BY id", list(ids))]


def _of_ids(asked: Ask, ids: Sequence[int]) -> tuple[list[Entry], list[str]]:
    """The entries, and a complaint for each id that has none.  Raises: CommandError."""
    found = _entries(asked, ids)
    missing = sorted(set(ids) - {entry.id for entry in found})
    return found, [f"{number}: there is no such mail in the quarantine" for number in missing]


def _deliver(on: Host, place: QuarantinePlace, entry: Entry, ignored: set[str], *, infected: bool) -> None:
    """Scan the mail again and put it into the account's mailbox.  Raises: CommandError."""
    if entry.mailbox is None:
        why = "it belongs to no account" if entry.account_id is None else f"{entry.holder} takes no mail now"
        raise CommandError(f"{entry.id}: {why}; it stays in the quarantine")
    try:
        with (Path(place.quarantine) / entry.file).open("rb") as mail:
            found = _viruses(on, place, mail.fileno()) - ignored
            if found and not infected:
                raise CommandError(
                    f"{entry.id}: still infected with {', '.join(sorted(found))}; --infected releases it all the same"
                )
            mail.seek(0)
            lmtp.deliver(place.quarantine_lmtp_socket, entry.mailbox, mail.read(), _sender(entry))
    except OSError as error:
        raise CommandError(f"{entry.id}: {error.filename or entry.file}: {error.strerror}") from error
    except (lmtp.TemporaryDeliveryError, lmtp.PermanentDeliveryError) as error:
        raise CommandError(f"{entry.id}: not delivered, it stays in the quarantine: {error}") from error


def _viruses(on: Host, place: QuarantinePlace, mail: int) -> set[str]:
    """The names of the viruses in a mail, by today's signatures.  Raises: CommandError, OSError."""
    os.lseek(mail, 0, os.SEEK_SET)
    try:
        done = subprocess.run(
            [*on.rescan, place.clamd_socket], stdin=mail, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
        if done.returncode == 0:
            return {in_a_line(finding["name"]) for finding in json.loads(done.stdout) if finding["kind"] == "virus"}
        said = in_a_line(done.stderr)
    except subprocess.TimeoutExpired as error:
        said = str(error)
    raise CommandError(f"the mail cannot be scanned, so it stays in the quarantine: {said}")


def _sender(entry: Entry) -> str:
    """The sender for the envelope; none if the stored text is not one that a command takes."""
    is_plain = entry.sender.isascii() and entry.sender.isprintable() and not set(entry.sender) & set(" <>")
    return entry.sender if is_plain else ""


def _forget(asked: Ask, place: QuarantinePlace, entries: Sequence[Entry]) -> None:
    """Remove entries, and the files that nobody else's entry names.  Raises: CommandError."""
    unneeded = [file for (file,) in asked(_DROP, [entry.id for entry in entries])] if entries else []
    originals.remove(Path(place.quarantine), unneeded)


def _line(entry: Entry) -> str:
    names = ", ".join(entry.names)
    return f"{entry.id}  {moment(entry.kept_at)}  {entry.holder}, from {_shown(entry.sender)}: {names}; {entry.title}"


def _page(entry: Entry) -> Iterator[str]:
    yield f"{entry.id}: kept {moment(entry.kept_at)} for {entry.holder}, until {moment(entry.expires_at)}"
    for name, value in _described(entry):
        yield f"    {name}: {value}"


def _described(entry: Entry) -> Iterable[tuple[str, str]]:
    yield "tenant", entry.tenant
    yield "direction", entry.direction
    yield "from", _shown(entry.sender)
    yield "to", _shown(entry.recipient)
    yield "subject", entry.title
    yield "queue id", entry.queue_id
    yield "size", f"{entry.octets} octets"
    yield "policy", entry.policy
    for finding in entry.findings:
        where = f" in {in_a_line(finding['member'])}" if finding["member"] else ""
        yield "found", f"{finding['kind']} {in_a_line(finding['name'] or '')}{where}"


def _shown(address: str) -> str:
    return in_a_line(address) or "<>"
