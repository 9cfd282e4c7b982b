# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates for mail daemons: from a small CA of our own, from given files, or by ACME.

PRIVATE to the collection: it can have breaking changes at any time.

Nothing here reads or writes a file; `_certificate_store` does.  Times are aware and in UTC.
"""

from __future__ import annotations

import ipaddress
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import cached_property
from typing import Final, NamedTuple, Protocol, TypeAlias

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
        load_pem_private_key,
    )
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError:
    #: The traceback if cryptography cannot be imported: then the module fails with it.
    CRYPTOGRAPHY_ERROR: str | None = traceback.format_exc()
else:
    CRYPTOGRAPHY_ERROR = None

_CA_DAYS: Final = 3650
# A CA's certificate is renewed with the same key when fewer days are left.  No certificate that it issues outlasts it.
_CA_RENEW_DAYS: Final = 365
_BACKDATE: Final = timedelta(hours=1)  # clients' clocks may be slow by this
_COMMON_NAME_LENGTH: Final = 64  # RFC 5280, ub-common-name
#: Curves whose signatures every mail program can verify.
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")


class CertificateError(Exception):
    """An error that an operator can act on."""


@dataclass(frozen=True)
class Pair:
    """A certificate, with its chain after it, and its private key, as PEM."""

    chain: bytes
    key: bytes

    @cached_property
    def certificate(self) -> x509.Certificate:
        """The first certificate of the chain.

        Raises: ValueError if it is not one.
        """
        return x509.load_pem_x509_certificate(self.chain)

    @cached_property
    def certificates(self) -> list[x509.Certificate]:
        """All certificates of the chain.

        Raises: ValueError if one of them is not one.
        """
        return x509.load_pem_x509_certificates(self.chain)

    @cached_property
    def names(self) -> frozenset[str]:
        """DNS names and IP addresses of the subjectAltName, in lower case (RFC 6125); no address written as a name."""
        try:
            extension = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return frozenset()
        dns = (name.lower() for name in extension.value.get_values_for_type(x509.DNSName) if not _is_address(name))
        return frozenset(dns) | {str(address) for address in extension.value.get_values_for_type(x509.IPAddress)}

    def fault(self) -> str:
        """Why no daemon can use it; empty if they can."""
        try:
            public = self.certificate.public_key()
            key = load_pem_private_key(self.key, None).public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: the key has a passphrase
            return "unreadable"
        spki = PublicFormat.SubjectPublicKeyInfo
        if public.public_bytes(Encoding.DER, spki) != key.public_bytes(Encoding.DER, spki):
            return "the key belongs to another certificate"
        return ""

    def untimely(self, now: datetime) -> str:
        """Why mail programs would refuse it at this time; empty if they accept it."""
        # Programs ignore the dates of a root certificate: they trust it or not.
        sent = [each for each in self.certificates if each is self.certificates[0] or each.issuer != each.subject]
        if min(each.not_valid_after_utc for each in sent) < now:
            return f"has expired: {self.described()}"
        begin = max(each.not_valid_before_utc for each in sent)
        return f"is not valid before {iso(begin)}" if begin > now else ""

    def covers(self, name: str) -> bool:
        domain = name.partition(".")[2]
        # OpenSSL accepts no wildcard right before a top-level domain.
        return name in self.names or ("." in domain and f"*.{domain}" in self.names)

    def described(self) -> str:
        """It in one line, for a diff."""
        try:
            what = ", ".join(sorted(self.names)) or self.certificate.subject.rfc4514_string()
            return f"{what}, until {iso(self.certificate.not_valid_after_utc)}"
        except ValueError:
            return "unreadable"


def iso(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


class Trust(Enum):
    """Which CAs mail programs trust when they get the certificate."""

    SYSTEM = "the CAs that the host knows or that were named, and a root that ends the chain"
    CHAIN = "whatever ends the chain"


class Verdict(NamedTuple):
    """`unusable`: no TLS is possible with it.  `untrusted`: mail programs would warn.  Both empty: it is good."""

    unusable: str = ""
    untrusted: str = ""


#: Decides whether daemons and mail programs accept a readable pair.
Judge: TypeAlias = Callable[[Pair], Verdict]


class Producer(Protocol):
    """A source of certificates."""

    warnings: list[str]

    @property
    def authority(self) -> Pair | None:
        """The CA's own pair, if clients must trust one."""

    def pair(self, names: frozenset[str], current: Pair | None) -> tuple[Pair, str]:
        """The pair to serve `names`, and why it replaces `current`; the reason is empty if it is `current`."""


class OwnCA:
    """A certificate authority (EC P-256) of this host alone."""

    def __init__(self, kept: Pair | None, common_name: str, now: datetime, days: int, renew_days: int) -> None:
        """`kept` is the authority of the last run; None: make a new one, named `common_name`.

        Certificates last `days`, and are renewed when fewer than `renew_days` of them are left.

        Raises: CertificateError if the key of `kept` cannot be used.
        """
        if not renew_days < days <= _CA_RENEW_DAYS:
            raise CertificateError(f"days is {days}, but must be more than renew_days and at most {_CA_RENEW_DAYS}")
        self.warnings: list[str] = []
        self._now = now
        self._days = days
        self._renew = timedelta(days=renew_days)
        authority = _authority(kept, common_name, now)
        self.authority = authority
        self._key = _ca_key(authority)
        self._subject = authority.certificate.subject
        self._key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())

    def pair(self, names: frozenset[str], current: Pair | None) -> tuple[Pair, str]:
        reason = self._fault(names, current) if current else "new"
        return (self._issue(names), reason) if reason or not current else (current, "")

    def _fault(self, names: frozenset[str], pair: Pair) -> str:
        if fault := pair.fault():
            return fault
        if pair.names != names:
            return "names changed"
        if not self.issued(pair):
            return "issued by another CA"
        left = pair.certificate.not_valid_after_utc - self._now
        return f"{left.days} days left" if left < self._renew else ""

    def issued(self, pair: Pair) -> bool:
        """Whether this authority issued a readable `pair`."""
        certificate = pair.certificate
        try:
            key_id = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        except x509.ExtensionNotFound:
            key_id = None
        # By key id, as clients do: checking every signature would take a third of an unchanged run.
        return bool(certificate.issuer == self._subject and key_id == self._key_id)

    def _issue(self, names: frozenset[str]) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        first = min(names)
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, first)] if len(first) <= _COMMON_NAME_LENGTH else []
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = (
            _builder(key, x509.Name(subject), self._subject, self._now, self._days)
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in sorted(names)]), not subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(usage, critical=False)
            .add_extension(self._key_id, critical=False)
        )
        return _signed(builder, self._key, key)


class GivenFiles:
    """Certificates from other sources; each name gets a certificate that covers it, found by content."""

    def __init__(self, pairs: Iterable[tuple[str, Pair | None]], now: datetime, judge: Judge) -> None:
        """`pairs`: each with the name of its file, for messages.

        Raises: CertificateError for a pair that cannot be used.
        """
        self.warnings: list[str] = []
        self.authority: Pair | None = None
        self._pairs: list[tuple[str, Pair]] = []
        self._now = now
        self._untrusted: dict[str, str] = {}
        for file, pair in pairs:
            if pair is None:
                raise CertificateError(f"{file} or its key is not on the host")
            if fault := pair.fault():
                raise CertificateError(f"{file}: {fault}")
            verdict = judge(pair)
            if verdict.unusable:
                raise CertificateError(f"{file}: {verdict.unusable}")
            if untimely := pair.untimely(now):
                self.warnings.append(f"{file} {untimely}")
            self._untrusted[file] = verdict.untrusted
            self._pairs.append((file, pair))

    def pair(self, names: frozenset[str], current: Pair | None) -> tuple[Pair, str]:
        fitting = [(file, pair) for file, pair in self._pairs if all(pair.covers(name) for name in names)]
        if not fitting:
            raise CertificateError(f"no certificate is given for {', '.join(sorted(names))}")
        file, best = max(fitting, key=lambda item: self._rank(names, *item))
        self._allow(file, best, current)
        return best, "" if best == current else "another one is given" if current else "new"

    def _rank(self, names: frozenset[str], file: str, pair: Pair) -> tuple[bool, bool, bool, datetime]:
        return (
            not self._untrusted[file],
            not pair.untimely(self._now),
            names <= pair.names,
            pair.certificate.not_valid_after_utc,
        )

    def _allow(self, file: str, best: Pair, current: Pair | None) -> None:
        """Accept an untrusted pair only if the current one is untrusted too: then nothing gets worse.

        Raises: CertificateError if mail programs would begin to warn.
        """
        untrusted, untimely = self._untrusted[file], best.untimely(self._now)
        serves = current is not None and not current.fault() and current.certificate == best.certificate
        if not serves and (untrusted or untimely):
            raise CertificateError(f"{file}: {untrusted or untimely}")
        if untrusted and (warning := f"{file}: {untrusted}") not in self.warnings:
            self.warnings.append(warning)


class Obtained:
    """Certificates obtained by ACME; a name without one keeps its current certificate or gets one of the own CA."""

    def __init__(self, obtained: Mapping[frozenset[str], Pair], own_ca: OwnCA, now: datetime, judge: Judge) -> None:
        """`obtained`: pairs by the names that each is for."""
        self.warnings: list[str] = []
        self._judge = judge
        self.authority = own_ca.authority
        self._obtained = obtained
        self._own_ca = own_ca
        self._now = now

    def pair(self, names: frozenset[str], current: Pair | None) -> tuple[Pair, str]:
        obtained = self._obtained.get(names)
        if obtained and self._serves(names, obtained):
            if obtained == current:  # judged when it was installed
                return obtained, ""
            fault = next(filter(None, self._judge(obtained)), "")
            if not fault:
                return obtained, "obtained by ACME"
            self.warnings.append(
                f"The certificate obtained by ACME for {', '.join(sorted(names))} is not used: {fault}"
            )
        if current and self._serves(names, current) and not self._own_ca.issued(current):
            return current, ""
        return self._own_ca.pair(names, current)

    def _serves(self, names: frozenset[str], pair: Pair) -> bool:
        return not pair.fault() and names <= pair.names and pair.certificate.not_valid_after_utc > self._now


def _authority(kept: Pair | None, common_name: str, now: datetime) -> Pair:
    """The CA to use.  Clients' trust lasts as long as the key of `kept` can be read."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_COMMON_NAME_LENGTH])])
    if kept is None:
        return _certified(ec.generate_private_key(ec.SECP256R1()), subject, now)
    if not kept.fault():
        if kept.certificate.not_valid_after_utc - now > timedelta(days=_CA_RENEW_DAYS):
            return kept
        subject = kept.certificate.subject
    return _certified(_ca_key(kept), subject, now)


def _ca_key(authority: Pair) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(authority.key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"the CA's key cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError("the CA's key is not one for elliptic curves")
    if key.curve.name not in _CURVES:
        raise CertificateError(f"the CA's key is on the curve {key.curve.name}, which mail programs do not know")
    return key


def _certified(key: ec.EllipticCurvePrivateKey, subject: x509.Name, now: datetime) -> Pair:
    builder = (
        _builder(key, subject, subject, now, _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
    )
    return _signed(builder, key, key)


def _builder(
    key: ec.EllipticCurvePrivateKey, subject: x509.Name, issuer: x509.Name, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _signed(
    builder: x509.CertificateBuilder, signer: ec.EllipticCurvePrivateKey, key: ec.EllipticCurvePrivateKey
) -> Pair:
    certificate = builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)
    return Pair(certificate, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _general_name(name: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(name)) if _is_address(name) else x509.DNSName(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
