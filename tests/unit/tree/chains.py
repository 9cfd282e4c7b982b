# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates as suppliers issue them, with any key, chain and extension."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.mailhosting.stack.plugins.module_utils._certificates import Pair
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

NOW = datetime.now(UTC).replace(microsecond=0)
NAME = "mail.example"


@dataclass(frozen=True)
class Issued:
    """A certificate, its key, and its issuer; None: self-signed."""

    certificate: x509.Certificate
    key: Any
    issuer: Issued | None = None

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def pair(self, *others: Issued) -> Pair:
        """The pair with these certificates as its chain."""
        return Pair(b"".join(item.pem for item in (self, *others)), self.key_pem)


def issue(
    name: str,
    issuer: Issued | None = None,
    *,
    key: Any = None,
    names: tuple[str, ...] = (),
    authority: bool = False,
    days: tuple[int, int] = (-1, 60),
    more: tuple[tuple[x509.ExtensionType, bool], ...] = (),
) -> Issued:
    """`name`: the subject; `days`: validity, from now; `more`: extensions, and whether each is critical."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, names))), critical=False)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical)
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Issued(builder.sign(signer, digest), key, issuer)


ROOT = issue("A Root", authority=True)
INTERMEDIATE = issue("An Intermediate", ROOT, authority=True)
FOREIGN = issue("Another Intermediate", issue("Another Root", authority=True), authority=True)


def leaf(**options: Any) -> Issued:
    return issue("a leaf", INTERMEDIATE, **{"names": (NAME,), **options})
