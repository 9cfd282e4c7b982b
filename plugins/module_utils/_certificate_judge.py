# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSSL's verdict on a certificate and its key, before a daemon gets them.

PRIVATE to the collection: it can have breaking changes at any time.

It is a TLS handshake in memory.  The server is as strict as Dovecot, which has OpenSSL's security level 2 (Postfix has
none).  The clients ask for TLS 1.3, or for 1.2 alone.  It runs on the mail host, with the OpenSSL of the daemons.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from typing import Final

with contextlib.suppress(ImportError):  # _certificates reports it
    from cryptography.hazmat.primitives.serialization import Encoding

from ._certificates import Pair, Trust, Verdict

_CIPHERS: Final = "DEFAULT:@SECLEVEL=2"
# OpenSSL's X509_V_FLAG_NO_CHECK_TIME: Pair.untimely checks the dates, by the caller's clock.
_ANY_TIME: Final = 0x200000
#: OpenSSL's verdicts on an incomplete chain: X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT and its like.
_INCOMPLETE: Final = frozenset({2, 20, 21, 27})
#: OpenSSL's reasons when no mail program shares a signature algorithm with the key.
_STRANGE_KEY: Final = frozenset({"NO_SHARED_CIPHER", "NO_SUITABLE_SIGNATURE_ALGORITHM", "NO_SUITABLE_KEY_SHARE"})


class Judge:
    """Judges any number of pairs.  `authorities`: PEM of CAs that mail programs trust besides this host's."""

    def __init__(self, trust: Trust, authorities: str = "") -> None:
        self._trust = trust
        self._system = _client(ssl.TLSVersion.TLSv1_3) if trust is Trust.SYSTEM else None
        if self._system:
            self._system.load_default_certs()
            if authorities:
                self._system.load_verify_locations(cadata=authorities)
        self._old = _client(ssl.TLSVersion.TLSv1_2)
        self._old.check_hostname = False
        self._old.verify_mode = ssl.CERT_NONE

    def __call__(self, pair: Pair) -> Verdict:
        """The verdict on `pair`, which must be readable and in the order that daemons send."""
        try:
            server = _server(pair)
            _handshake(server, self._old)
            _handshake(server, self._client(pair))
        except ssl.SSLCertVerificationError as error:
            message = error.verify_message
            if error.verify_code in _INCOMPLETE:
                issuer = pair.certificates[-1].issuer.rfc4514_string()
                message = (
                    f"{issuer}, who issued the last of its chain, is neither in the file nor known: add that "
                    "certificate to the file, or name the CA in files_ca_file"
                )
            return Verdict(untrusted=message)
        except ssl.SSLError as error:
            return Verdict(unusable=_reason(error))
        return Verdict()

    def _client(self, pair: Pair) -> ssl.SSLContext:
        top = pair.certificates[-1]
        if self._system and top.issuer != top.subject:
            return self._system
        client = _client(ssl.TLSVersion.TLSv1_3)
        client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        client.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(top.public_bytes(Encoding.DER)))
        return client


def _client(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(_CIPHERS)
    context.minimum_version = context.maximum_version = version
    context.check_hostname = False
    context.verify_flags |= _ANY_TIME
    return context


def _server(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(_CIPHERS)
    with _in_memory(pair.chain) as chain, _in_memory(pair.key) as key:
        context.load_cert_chain(chain, key, password="")
    return context


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """A path from which OpenSSL reads `content`: in memory, so that no key is on a file system."""
    descriptor = os.memfd_create("certificate")
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    pending = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while pending:
        side = pending.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pending.append(side)


def _reason(error: ssl.SSLError) -> str:
    reason = str(error.reason or error)
    if reason in _STRANGE_KEY:
        return "no mail program agrees on a way of signing: the key has to be RSA, P-256 or P-384, and allowed to sign"
    fix = "; take a new one, RSA from 2048 bits or P-256" if "KEY_TOO_SMALL" in reason else ""
    return f"OpenSSL does not take it: {reason.replace('_', ' ').lower()}{fix}"
