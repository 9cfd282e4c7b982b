# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and keys as suppliers write them, converted to the one form that every daemon reads.

PRIVATE to the collection: it can have breaking changes at any time.

It corrects a missing newline at the end of a file, CRLF, a byte order mark, UTF-16, DER, text around the blocks, a key
and certificates in one file, and certificates in another order or outside the key's chain.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import textwrap
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

with contextlib.suppress(ImportError):  # _certificates reports it
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from ._certificates import CertificateError, Pair

_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_BEGIN: Final = b"-----BEGIN "
#: Labels of PEM blocks (RFC 7468; X509 CERTIFICATE: its section 5.3), and the labels they are written back with.
_CERTIFICATES: Final = {"CERTIFICATE": "CERTIFICATE", "X509 CERTIFICATE": "CERTIFICATE"}
_KEYS: Final = {name: name for name in ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY")}
_ENCRYPTED: Final = "ENCRYPTED PRIVATE KEY"
_LINE: Final = 64  # RFC 7468

_Read = TypeVar("_Read")


def mended(given: Pair) -> Pair:
    """The certificate of the given key, then the chain of its issuers, and the key.

    Certificates that issued none of this chain are left out.

    Raises: CertificateError with what cannot be used.
    """
    keys = [(text, _public(der)) for text, der in _found("the key", given.key, _KEYS, _load_key)]
    certificates = [
        (text, _loaded(x509.load_der_x509_certificate, der))
        for text, der in _found("the certificate", given.chain, _CERTIFICATES, x509.load_der_x509_certificate)
    ]
    for key, public in keys:
        for text, certificate in certificates:
            if _spki(_loaded(certificate.public_key)) == public:
                others = [item for item in certificates if item[1] != certificate]
                return Pair(b"".join([text, *_issuers(certificate, others)]), key)
    raise CertificateError("the key belongs to another certificate")


def certificates(text: bytes) -> str:
    """All certificates of a file, as PEM in that one form."""
    found = _found("a certificate", text, _CERTIFICATES, x509.load_der_x509_certificate)
    return b"".join(block for block, _der in found).decode()


def _found(
    what: str, data: bytes, names: dict[str, str], load_der: Callable[[bytes], object]
) -> list[tuple[bytes, bytes]]:
    """The blocks of a file with a label in `names`: as PEM in that one form, and as DER."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16", "replace").encode("ascii", "replace")
    blocks = [(label.decode(), body) for label, body in _BLOCK.findall(data)]
    if _ENCRYPTED in dict(blocks) or any(b"ENCRYPTED" in body for _label, body in blocks):
        raise CertificateError(f"unreadable: {what} wants a passphrase, which no daemon has")
    if data.count(_BEGIN) != len(blocks) or any(b"-----" in body for _label, body in blocks):
        raise CertificateError(f"unreadable: {what} is cut off, a block of PEM has no end")
    found = [(names[label], _decoded(what, body)) for label, body in blocks if label in names]
    if not blocks and data[:1] == b"\x30":  # a SEQUENCE, as all of them are
        _loaded(load_der, data)
        found = [(next(iter(names)), data)]
    if not found:
        raise CertificateError(f"unreadable: {what} is in neither PEM nor DER")
    return [(_pem(label, der), der) for label, der in found]


def _decoded(what: str, body: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        raise CertificateError(f"unreadable: {what} is damaged, a block of PEM is not base64") from None


def _pem(label: str, der: bytes) -> bytes:
    body = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), _LINE))
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n".encode()


def _loaded(load: Callable[..., _Read], *arguments: bytes) -> _Read:
    try:
        return load(*arguments)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(
            f"unreadable: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from None


def _load_key(der: bytes) -> Any:
    return load_der_private_key(der, None)


def _public(der: bytes) -> bytes:
    return _spki(_loaded(_load_key, der).public_key())


def _spki(public: Any) -> bytes:
    encoded: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _issuers(certificate: x509.Certificate, others: Iterable[tuple[bytes, x509.Certificate]]) -> list[bytes]:
    """The issuer of `certificate`, the issuer of that one, and so on, as far as `others` has them."""
    rest, found = list(others), []
    while certificate.issuer != certificate.subject:
        issuer = next((item for item in rest if _issued(certificate, item[1])), None)
        if issuer is None:
            break
        rest.remove(issuer)
        found.append(issuer[0])
        certificate = issuer[1]
    return found


def _issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    if certificate.issuer != by.subject:
        return False
    try:
        certificate.verify_directly_issued_by(by)
    except InvalidSignature:
        return False
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass  # an algorithm unknown here, such as SHA-1: OpenSSL decides later
    return True
