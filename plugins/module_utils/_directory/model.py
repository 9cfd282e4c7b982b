# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operator declares, typed: plans, tenants, domains, accounts, aliases.

PRIVATE to the collection: it can have breaking changes at any time.

The controller reads the inventory's files into a `Desired` and sends it to the host as JSON.  The host compares it with
the directory.  Sizes are bytes, durations seconds, domains A-labels, local parts lower case; nothing checks them again
on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, Final

#: Names of the ports a plan may open: pop3 110, pop3s 995, imap 143, imaps 993, smtp AUTH on 25,
#: submission 587, submissions 465 (RFC 8314), sieve 4190 (RFC 5804).
PROTOCOLS: Final = ("pop3", "pop3s", "imap", "imaps", "smtp", "submission", "submissions", "sieve")

#: Suffix of a mailbox's domain in Postfix's queue.  Such an address is resolved: no lookup changes it.  No domain can
#: have this name (RFC 6761 6.4).
QUEUE_DOMAIN: Final = "mailbox.invalid"

#: Every plan key of this release with the value of an absent key.  `None` is "no limit".
PLAN_DEFAULTS: Final[dict[str, Any]] = {
    "mailbox_quota": None,  # bytes per account
    "max_account_quota": "plan",  # most bytes that a file may give one account; "plan": the plan's mailbox_quota
    "max_accounts": None,  # accounts and aliases of the tenant, suspended ones included
    "max_forward_targets": 6,  # targets of one address (VM-8); None: MAX_TARGETS
    # Limits of one account beside its quota; None: the host's setting of Dovecot applies.
    "max_messages": None,  # mails, above which IMAP adds none
    "max_folders": None,  # mailboxes that the account creates
    "max_filters": None,  # Sieve scripts
    "max_filters_size": None,  # bytes of all Sieve scripts together
    "protocols": ["pop3", "pop3s", "imap", "imaps", "submission", "submissions", "sieve"],
    "cleartext_auth": False,  # a password without TLS
    "legacy_auth": False,  # APOP and CRAM-MD5 (AS-5): stores the password so that it can be decrypted
    # Seconds for which the client's address may relay on port 25 after a POP or IMAP login (VM-10), with the login's
    # own senders. Otherwise a mapping: `for` has these seconds, `senders` is one of RELAY_SENDERS.
    "pop_before_smtp": None,
    "all_address": None,  # who may write to all@ of each domain (VM-7): one of ALL_SENDERS; None: there is no all@
    "renamed_alias": 30 * 86400,  # seconds that a renamed account also has its old address
    "renamed_domain": 90 * 86400,  # seconds that a renamed domain also takes mail for its old name
    "quota_warnings": [90, 100],  # percents of the mailbox's quota at which its user gets a notice (VM-11)
    "billing_step": None,  # billed addresses are rounded up to a multiple of it (VM-5); None: not rounded
    "retention": {},  # seconds until mail is removed, by one of RETENTION (VM-3)
    "max_message_size": None,  # bytes of one mail, as on the wire (WA-5)
    "tenant_quota": None,  # bytes in use by all of the tenant's mailboxes together (WA-2)
    "send_limits": [],  # of the whole tenant (WA-7): mappings, see LIMIT_UNITS
    "receive_limits": [],
    "account_send_limits": [],
    "bulk_mail": None,  # when an account's sending is held (MV-5): a mapping of BULK_MAIL_COUNTS, per and action
    "virus": None,  # what happens to infected mail (VM-12, WA-3, MV-6): a mapping of VIRUS_DEFAULTS; None: no scan
}

#: What a limit counts in `per` seconds: mails, or recipients of mails.  Above it the directions in `pause_applies_to`
#: pause for `pause` seconds.  If `pause` is None, only the excess is rejected until `per` is over.
LIMIT_UNITS: Final = ("messages", "recipients")
DIRECTIONS: Final = ("send", "receive")
#: WA-7: a pause ends after two hours at the latest.
LONGEST_PAUSE: Final = 2 * 3600

#: What bulk mail counts in `per` seconds: recipients of substantially the same content, of an account that sends it or
#: of a tenant that receives it; and recipients that do not exist.
BULK_MAIL_COUNTS: Final = ("recipients_per_content", "recipients_per_content_received", "invalid_recipients")
#: What happens to mail above these counts: the queue holds it, or the gate rejects it.  It applies to all that the
#: account sends, or to that content for the tenant.
BULK_MAIL_ACTIONS: Final = ("hold", "refuse")

#: What happens to infected mail that a tenant receives (`inbound`) or sends (`outbound`), if an attachment is infected
#: and if the body is.  strip: a text takes the place of what is infected, and the mail goes on.  delete: the mail is
#: accepted and not delivered.  quarantine: the same, and the mail is kept for the operator.  reject: the client gets an
#: error.
VIRUS_DIRECTIONS: Final = ("inbound", "outbound")
VIRUS_ACTIONS: Final = ("strip", "delete", "reject", "quarantine")
#: Who is warned: people of this host alone, and of a sender of another domain not its recipient.
VIRUS_NOTIFIED: Final = ("recipient", "recipient_same_domain", "sender", "contact")
#: What happens to mail that clamd only suspects.  virus: the same as to infected mail.  mark: a header field says so.
SUSPICION_ACTIONS: Final = ("pass", "mark", "reject", "virus")
#: What happens to mail that cannot be examined; to a piece of a message (message/partial) the first two do not apply.
UNEXAMINED_ACTIONS: Final = ("pass", "mark", "reject")
PARTIAL_ACTIONS: Final = ("reject", "pass")
#: Kinds of files that a plan may reject, recognised by their content.
VIRUS_FILE_TYPES: Final = ("executable", "macros")
#: A plan's `virus` with the value of an absent key.
VIRUS_DEFAULTS: Final[dict[str, Any]] = {
    "inbound": {"attachment": "strip", "body": "strip", "notify": ["recipient"]},
    "outbound": {"attachment": "reject", "body": "reject", "notify": ["sender"]},
    "heuristics": "mark",  # signatures of clamd that begin with Heuristics.
    "pua": "pass",  # those that begin with PUA., possibly unwanted applications
    "encrypted": "pass",  # files that need a password (MV-8)
    "unreadable": "mark",  # damaged archives, and those of an unknown format
    "partial": "reject",  # message/partial (WA-8, MV-11)
    "reject_files": [],  # of VIRUS_FILE_TYPES
    "max_unpacked_size": 100 << 20,  # bytes that one attachment unpacks to (MV-7, WA-6)
    "max_content_size": None,  # bytes of body and attachments, decoded, together (MV-7)
    "keep": 7 * 86400,  # seconds for which the original of a changed or deleted mail is kept; 0: not at all (VM-16)
}

#: The senders with which a POP or IMAP login may relay: its own, or all of its tenant.
RELAY_SENDERS: Final = ("login", "tenant")

#: Who may write to all@: logins of the same tenant, or everybody.
ALL_SENDERS: Final = ("tenant", "everybody")

#: Which time removes a mail: since it was read, since the host received it, since its date (IMAP's INTERNALDATE), since
#: it came into a trash or junk mailbox.
RETENTION: Final = ("read", "received", "dated", "trash", "junk")

#: Most targets of one address, whatever its plan says.  It is Postfix's limit for the expansion of one recipient, 1000;
#: the role raises it for all@ alone.
MAX_TARGETS: Final = 1000

TENANT_STATES: Final = ("active", "no_login", "suspended", "closed")
ACCOUNT_STATES: Final = ("active", "no_login", "suspended")
MANAGERS: Final = ("inventory", "panel")
#: What a hold stops; `retention` is a legal hold: nothing removes the account's mail.
HOLD_SCOPES: Final = ("send", "receive", "login", "forward", "filter", "retention")
#: Roles of a tenant's contacts: `technical` gets postmaster@ and the notices, `abuse` gets abuse@ (else `technical`).
CONTACTS: Final = ("technical", "billing", "abuse")
#: Local parts of every domain, with the contacts that get their mail: the first one that the tenant has (RFC 2142).
ROLES: Final = {"postmaster": ("technical",), "abuse": ("abuse", "technical")}
LANGUAGES: Final = ("en", "ja")


class Unset(Enum):
    """The type of `UNSET`: no file declares this attribute of a user (not the same as null)."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


@dataclass(frozen=True)
class Forward:
    """Where an account's mail is forwarded to."""

    to: tuple[str, ...]  # full addresses, in the order they were written
    keep: bool = True  # the mailbox keeps a copy


@dataclass(frozen=True)
class Autoreply:
    """An automatic reply, once for each sender and period, from `start` until before `end`."""

    body: str
    subject: str = "Notification for your mail."  # AS-4
    start: int | None = None  # seconds since 1970
    end: int | None = None


@dataclass
class Domain:
    """A domain a tenant owns; `hostnames` get a certificate of their own (SNI)."""

    name: str
    hostnames: tuple[str, ...] = ()
    catch_all: str | None = None  # the full address that gets mail for addresses of the domain that do not exist
    renamed_from: str | None = None  # the domain's former name; its addresses come along
    moved_from: str | None = None  # the tenant that had it, which says moved_to; its mailboxes come along
    line: int = 0


@dataclass
class MovedDomain:
    """A domain that another tenant takes over with all its mailboxes; that tenant says moved_from."""

    name: str
    to: str  # the tenant
    line: int = 0


@dataclass
class Account:
    """A mailbox with a login, as declared.

    `password`, `password_hash`, `forward` and `autoreply` belong to the user: a run enforces them only while a file
    declares them.
    """

    local_part: str
    domain: str
    state: str = "active"
    quota: int | Unset | None = UNSET  # bytes; None: no limit; UNSET: the plan's
    password: str | None = None  # plain text; sets the password on creation
    password_hash: str | None = None  # Dovecot's {SCHEME}hash
    forward: Forward | Unset | None = UNSET  # None: declared "no forwarding"
    autoreply: Autoreply | Unset | None = UNSET  # None: declared "no auto-reply"
    renamed_from: str | None = None  # local part in the same domain
    restore: bool | None = None  # whether to restore a closed account of this address; None: ask
    line: int = 0

    @property
    def address(self) -> str:
        return f"{self.local_part}@{self.domain}"


@dataclass
class Alias:
    """An address without a mailbox; every target gets its mail."""

    local_part: str
    domain: str
    targets: tuple[str, ...]  # full addresses
    line: int = 0

    @property
    def address(self) -> str:
        return f"{self.local_part}@{self.domain}"


@dataclass
class Tenant:
    """A customer: a plan, its exceptions, domains and addresses.

    `file` and `addresses_file` are the files it was read from, for messages; empty if a module made it.
    """

    name: str
    plan: str
    overrides: dict[str, Any] = field(default_factory=dict)  # plan keys, normalized
    state: str = "active"
    addresses_managed_by: str = "inventory"
    language: str = "en"
    contacts: dict[str, str] = field(default_factory=dict)  # full addresses by one of CONTACTS
    domains: dict[str, Domain] = field(default_factory=dict)
    moved_to: dict[str, MovedDomain] = field(default_factory=dict)  # by domain; these are not in `domains`
    accounts: dict[str, Account] = field(default_factory=dict)  # by address
    aliases: dict[str, Alias] = field(default_factory=dict)  # by address
    file: str = ""
    addresses_file: str = ""
    line: int = 0


@dataclass
class Desired:
    """Everything that one run declares.  `plans` holds the keys as written, with normalized values."""

    plans: dict[str, dict[str, Any]] = field(default_factory=dict)
    tenants: dict[str, Tenant] = field(default_factory=dict)


def effective(plan: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """All plan keys as they apply to one tenant: defaults, then the plan, then its overrides."""
    return {**PLAN_DEFAULTS, **plan, **overrides}


def relay_seconds(settings: Mapping[str, Any]) -> int:
    """Seconds for which a login may relay, from effective plan keys; 0: not at all."""
    value = settings.get("pop_before_smtp")
    return int((value["for"] if isinstance(value, Mapping) else value) or 0)


def relay_senders(settings: Mapping[str, Any]) -> str:
    """One of RELAY_SENDERS, from effective plan keys."""
    value = settings.get("pop_before_smtp")
    return str(value["senders"]) if isinstance(value, Mapping) else RELAY_SENDERS[0]


# The document: what travels from the controller to the host.  Short keys and absent defaults keep
# 100,000 accounts at a few megabytes; only these two functions know the form.

_FORMAT: Final = 3


def to_document(desired: Desired) -> dict[str, Any]:
    """`desired` as plain data for `json.dumps`."""
    return {
        "format": _FORMAT,
        "plans": desired.plans,
        "tenants": [_tenant_out(tenant) for tenant in desired.tenants.values()],
    }


def from_document(document: dict[str, Any]) -> Desired:
    """The `Desired` that `to_document` was given.

    Raises: ValueError if the document has another format.
    """
    if document.get("format") != _FORMAT:
        raise ValueError(f"document format {document.get('format')!r} is not {_FORMAT}")
    tenants = (_tenant_in(item) for item in document["tenants"])
    return Desired(plans=document["plans"], tenants={tenant.name: tenant for tenant in tenants})


def _tenant_out(tenant: Tenant) -> dict[str, Any]:
    return {
        "name": tenant.name,
        "plan": tenant.plan,
        "overrides": tenant.overrides,
        "state": tenant.state,
        "managed": tenant.addresses_managed_by,
        "language": tenant.language,
        "contacts": tenant.contacts,
        "file": tenant.file,
        "addresses_file": tenant.addresses_file,
        "line": tenant.line,
        "domains": [
            [d.name, list(d.hostnames), d.catch_all, d.renamed_from, d.moved_from, d.line]
            for d in tenant.domains.values()
        ],
        "moved_to": [[moved.name, moved.to, moved.line] for moved in tenant.moved_to.values()],
        "accounts": [_account_out(a) for a in tenant.accounts.values()],
        "aliases": [[a.local_part, a.domain, list(a.targets), a.line] for a in tenant.aliases.values()],
    }


def _tenant_in(item: dict[str, Any]) -> Tenant:
    domains = (Domain(name, tuple(names), *rest) for name, names, *rest in item["domains"])
    accounts = (_account_in(account) for account in item["accounts"])
    aliases = (Alias(local, domain, tuple(targets), line) for local, domain, targets, line in item["aliases"])
    return Tenant(
        name=item["name"],
        plan=item["plan"],
        overrides=item["overrides"],
        state=item["state"],
        addresses_managed_by=item["managed"],
        language=item["language"],
        contacts=item["contacts"],
        file=item["file"],
        addresses_file=item["addresses_file"],
        line=item["line"],
        domains={domain.name: domain for domain in domains},
        moved_to={moved[0]: MovedDomain(*moved) for moved in item["moved_to"]},
        accounts={account.address: account for account in accounts},
        aliases={alias.address: alias for alias in aliases},
    )


def _account_out(account: Account) -> list[Any]:
    rest: dict[str, Any] = {}
    if account.state != "active":
        rest["state"] = account.state
    if account.quota is not UNSET:
        rest["quota"] = account.quota
    if account.forward is None:
        rest["forward"] = None
    elif isinstance(account.forward, Forward):
        rest["forward"] = [list(account.forward.to), account.forward.keep]
    if account.autoreply is None:
        rest["autoreply"] = None
    elif isinstance(account.autoreply, Autoreply):
        rest["autoreply"] = asdict(account.autoreply)
    for name in ("password", "password_hash", "renamed_from", "restore"):
        value = getattr(account, name)
        if value is not None:
            rest[name] = value
    return [account.local_part, account.domain, account.line, rest]


def _account_in(item: list[Any]) -> Account:
    local_part, domain, line, rest = item
    if rest.get("forward"):
        to, keep = rest["forward"]
        rest = {**rest, "forward": Forward(tuple(to), keep)}
    if rest.get("autoreply"):
        rest = {**rest, "autoreply": Autoreply(**rest["autoreply"])}
    return Account(local_part, domain, line=line, **rest)
