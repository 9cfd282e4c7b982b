# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of one account's sheet, independent of the language.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ...module_utils._conversation import PORTS
from ...module_utils._directory.model import UNSET, Account, Tenant, relay_seconds

TLS_NAMES: Final = ("shared", "own")
CHALLENGE_AUTH: Final = ("before_tls", "everywhere")

# In the recommended order: implicit TLS before STARTTLS (RFC 8314 3).
_RECEIVING: Final = ("imaps", "pop3s", "imap", "pop3")
_SENDING: Final = ("submissions", "submission", "smtp")
_IMPLICIT_TLS: Final = ("imaps", "pop3s", "submissions")
#: First labels of a customer's host names for one kind of server, and for all kinds.
_PREFIXES: Final = {"imap": "imap", "pop3": "pop", "smtp": "smtp"}
_COMMON_PREFIX: Final = "mail"
#: Base64 lines of 76 characters and CRLF carry 57 bytes in 78 (RFC 2045 6.8).
_BASE64: Final = (57, 78)


@dataclass(frozen=True)
class Service:
    """One server, as the user enters it in a mail program."""

    protocol: str  # a plan's name of the port
    kind: str  # imap, pop3 or smtp
    server: str
    port: int
    security: str  # tls, starttls, or starttls_or_none
    authentication: str  # password, pop_before_smtp, either, or either_by_tls: the password only under TLS


@dataclass(frozen=True)
class Sheet:
    """All that an account's owner has to know.  Sizes are bytes; None: no limit."""

    address: str
    login: str
    password: str | None  # None: not on this sheet
    mailbox_quota: int | None
    message_limit: int | None
    receiving: tuple[Service, ...]
    sending: tuple[Service, ...]
    pop_before_smtp: int | None = None  # seconds for which the address may send after a POP login
    legacy_auth: bool = False  # whether APOP and CRAM-MD5 work
    challenge_auth: str = "everywhere"  # where SMTP offers CRAM-MD5: before_tls or everywhere

    @property
    def attachment_limit(self) -> int | None:
        """Bytes of files, before encoding, that fit into the largest mail."""
        return None if self.message_limit is None else self.message_limit * _BASE64[0] // _BASE64[1]

    @property
    def percent_login(self) -> str:
        """The login for programs that accept no @ in it."""
        return self.login.replace("@", "%")

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset(service.kind for service in self.receiving + self.sending)

    @property
    def other_mechanisms(self) -> str:
        """Mechanisms that a program may use instead of the password, with the kinds of servers that offer them."""
        services = self.receiving + self.sending if self.legacy_auth else ()
        kinds = {service.kind for service in services if service.authentication != "pop_before_smtp"}
        # The sheet recommends no mechanism that ends once TLS begins.
        challenged = ("imap", "smtp") if self.challenge_auth == "everywhere" else ("imap",)
        offers = (("APOP", ("pop3",)), ("CRAM-MD5", challenged))
        by_name = ((name, [kind.upper() for kind in servers if kind in kinds]) for name, servers in offers)
        return ", ".join(f"{name} ({', '.join(servers)})" for name, servers in by_name if servers)

    @property
    def cleartext(self) -> bool:
        """Whether a service on the sheet lets the password or mail travel without TLS."""
        return any(service.security == "starttls_or_none" for service in self.receiving + self.sending)


@dataclass(frozen=True)
class Host:
    """What is the same for all accounts of the host."""

    name: str  # the shared name, which the shared certificate has
    message_size_limit: int | None = None
    tls_names: str = "shared"  # names on the ports with implicit TLS: shared or own
    challenge_auth: str = "everywhere"  # where SMTP offers CRAM-MD5: before_tls or everywhere


def sheet(tenant: Tenant, account: Account, plan: dict[str, Any], host: Host, *, with_password: bool) -> Sheet:
    """The sheet of `account`; `plan` is the tenant's effective plan."""
    names = _hostnames(tenant, account)
    window = relay_seconds(plan) or None
    limits = [limit for limit in (host.message_size_limit, plan.get("max_message_size")) if limit]
    return Sheet(
        address=account.address,
        login=account.address,
        password=account.password if with_password else None,
        mailbox_quota=plan["mailbox_quota"] if account.quota is UNSET else account.quota,
        message_limit=min(limits, default=None),
        receiving=tuple(_service(name, names, plan, host) for name in _RECEIVING if name in plan["protocols"]),
        sending=tuple(_service(name, names, plan, host) for name in _SENDING if _may_send(name, plan)),
        pop_before_smtp=window,
        # Of a hash that was brought along the host has no secret.
        legacy_auth=plan["legacy_auth"] and account.password_hash is None,
        challenge_auth=host.challenge_auth,
    )


def obstacle(tenant: Tenant, account: Account, plan: dict[str, Any]) -> str | None:
    """Why the account gets no sheet (its login cannot work); None if it gets one."""
    if tenant.state != "active":
        return f"its tenant {tenant.name} has the state {tenant.state}, so nobody can log in"
    if account.state != "active":
        return f"it has the state {account.state}, so nobody can log in"
    if not any(_may_send(name, plan) for name in _SENDING) and not set(_RECEIVING) & set(plan["protocols"]):
        return f"its plan {tenant.plan} has no protocol of a mail program"
    return None


def server_name(protocol: str, hostnames: Sequence[Sequence[str]], host: Host) -> str:
    """The name for a port: a matching one of `hostnames` (groups in the order of preference), or the shared one.

    A name matches if its first label begins with the port's protocol (pop, imap, smtp), or else with mail.
    """
    if protocol in _IMPLICIT_TLS and host.tls_names == "shared":
        return host.name
    for group in hostnames:
        for prefix in (_PREFIXES[_kind(protocol)], _COMMON_PREFIX):
            for name in group:
                if name.startswith(prefix):
                    return name
    return host.name


def _hostnames(tenant: Tenant, account: Account) -> tuple[tuple[str, ...], ...]:
    """The tenant's own host names, in groups: those of the account's domain first."""
    own = tenant.domains[account.domain].hostnames
    others = (domain.hostnames for domain in tenant.domains.values() if domain.name != account.domain)
    return (own, *others)


def _service(protocol: str, hostnames: Sequence[Sequence[str]], plan: dict[str, Any], host: Host) -> Service:
    kind = _kind(protocol)
    return Service(
        protocol=protocol,
        kind=kind,
        server=server_name(protocol, hostnames, host),
        port=PORTS[protocol],
        security=_security(protocol, plan),
        authentication=_authentication(protocol, plan),
    )


def _kind(protocol: str) -> str:
    return "smtp" if protocol in _SENDING else protocol.removesuffix("s")


def _may_send(protocol: str, plan: dict[str, Any]) -> bool:
    return protocol in plan["protocols"] or (protocol == "smtp" and relay_seconds(plan) > 0)


def _security(protocol: str, plan: dict[str, Any]) -> str:
    if protocol in _IMPLICIT_TLS:
        return "tls"
    # After a POP login the client may send on port 25 without a password.
    optional = plan["cleartext_auth"] or (protocol == "smtp" and relay_seconds(plan))
    return "starttls_or_none" if optional else "starttls"


def _authentication(protocol: str, plan: dict[str, Any]) -> str:
    if protocol != "smtp" or not relay_seconds(plan):
        return "password"
    if "smtp" not in plan["protocols"]:
        return "pop_before_smtp"
    return "either" if plan["cleartext_auth"] else "either_by_tls"
