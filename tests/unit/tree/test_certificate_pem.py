# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and keys as people have them, and their form for daemons."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils import _certificate_pem as pem
from ansible_collections.mailhosting.stack.plugins.module_utils._certificates import CertificateError, Pair
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from .chains import FOREIGN, INTERMEDIATE, ROOT, issue, leaf

LEAF = leaf()
GOOD = LEAF.pair(INTERMEDIATE, ROOT)


def without_end(text: bytes) -> bytes:
    return text.rstrip(b"\n")


def parameters() -> bytes:
    """The form in which `openssl ecparam -genkey` writes a key."""
    traditional: bytes = LEAF.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + traditional


MENDED: dict[str, Pair] = {
    "as daemons read it": GOOD,
    "no end of line where files were joined": Pair(
        without_end(LEAF.pem) + without_end(INTERMEDIATE.pem) + without_end(ROOT.pem), without_end(GOOD.key)
    ),
    "CRLF": Pair(GOOD.chain.replace(b"\n", b"\r\n"), GOOD.key.replace(b"\n", b"\r\n")),
    "a byte order mark": Pair(b"\xef\xbb\xbf" + GOOD.chain, b"\xef\xbb\xbf" + GOOD.key),
    "UTF-16": Pair(GOOD.chain.decode().encode("utf-16"), GOOD.key.decode().encode("utf-16")),
    "lines of another length": Pair(GOOD.chain.replace(b"\n", b"\n ").replace(b" -", b"-"), GOOD.key),
    "text around the blocks": Pair(
        b"subject=/CN=x\n" + GOOD.chain.replace(b"-----BEGIN", b"Bag\n-----BEGIN"), GOOD.key
    ),
    "another order": Pair(ROOT.pem + INTERMEDIATE.pem + LEAF.pem, GOOD.key),
    "one twice, and one of another chain": Pair(GOOD.chain + INTERMEDIATE.pem + FOREIGN.pem, GOOD.key),
    "one file for all": Pair(GOOD.key + GOOD.chain, GOOD.key + GOOD.chain),
    "an old name of the blocks": Pair(GOOD.chain.replace(b" CERT", b" X509 CERT"), GOOD.key),
}


@pytest.mark.parametrize("given", MENDED.values(), ids=MENDED)
def test_what_can_be_mended_is(given: Pair) -> None:
    assert pem.mended(given) == GOOD


def test_der_is_written_as_pem() -> None:
    der = LEAF.certificate.public_bytes(Encoding.DER)
    key = LEAF.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert pem.mended(Pair(der, key)) == LEAF.pair()


def test_the_parameters_before_a_key_are_left_out() -> None:
    key = pem.mended(Pair(GOOD.chain, parameters())).key
    assert key.startswith(b"-----BEGIN EC PRIVATE KEY-----\n")
    assert key.count(b"BEGIN") == 1


def test_the_key_of_the_certificate_is_found_among_several() -> None:
    assert pem.mended(Pair(GOOD.chain, FOREIGN.key_pem + GOOD.key)) == GOOD


def encrypted(form: PrivateFormat) -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))


REFUSED: dict[str, tuple[Callable[[], Pair], str]] = {
    "of another": (lambda: Pair(GOOD.chain, FOREIGN.key_pem), "the key belongs to another certificate"),
    "its key is missing": (lambda: Pair(GOOD.chain, GOOD.chain), "the key is in neither PEM nor DER"),
    "no certificate": (lambda: Pair(GOOD.key, GOOD.key), "the certificate is in neither PEM nor DER"),
    "empty": (lambda: Pair(b"", GOOD.key), "the certificate is in neither PEM nor DER"),
    "PKCS #7": (lambda: Pair(GOOD.chain.replace(b"CERTIFICATE", b"PKCS7"), GOOD.key), "neither PEM nor DER"),
    "PKCS #12, or anything of ASN.1": (lambda: Pair(b"\x30\x03\x02\x01\x03", GOOD.key), "^unreadable: "),
    "cut off": (lambda: Pair(GOOD.chain[:-200], GOOD.key), "the certificate is cut off"),
    "cut off, and another after it": (lambda: Pair(LEAF.pem[:-200] + ROOT.pem, GOOD.key), "the certificate is cut off"),
    "a key that is cut off": (lambda: Pair(GOOD.chain, GOOD.key[:-30]), "the key is cut off"),
    "a letter too few": (lambda: Pair(LEAF.pem.replace(b"\nM", b"\n", 1), GOOD.key), "^unreadable: "),
    "not base64": (lambda: Pair(LEAF.pem.replace(b"\nM", b"\n*", 1), GOOD.key), "the certificate is damaged"),
    "not base64, a key": (lambda: Pair(GOOD.chain, GOOD.key.replace(b"\nM", b"\n*", 1)), "the key is damaged"),
    "a passphrase": (lambda: Pair(GOOD.chain, encrypted(PrivateFormat.PKCS8)), "the key wants a passphrase"),
    "a passphrase, the old way": (
        lambda: Pair(GOOD.chain, encrypted(PrivateFormat.TraditionalOpenSSL)),
        "the key wants a passphrase",
    ),
    "nothing of it": (lambda: Pair(b"\xff\xfe\x00", GOOD.key), "the certificate is in neither PEM nor DER"),
}


@pytest.mark.parametrize(("given", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_mended_is_refused_with_a_reason_and_no_secret(given: Callable[[], Pair], reason: str) -> None:
    with pytest.raises(CertificateError, match=reason) as refused:
        pem.mended(given())
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_a_chain_ends_where_its_issuer_is_not_given() -> None:
    assert pem.mended(LEAF.pair(FOREIGN)) == LEAF.pair()
    assert pem.mended(LEAF.pair(ROOT)) == LEAF.pair()


def test_an_issuer_of_the_same_name_and_another_key_is_not_taken() -> None:
    impostor = issue("An Intermediate", ROOT, authority=True)
    assert pem.mended(LEAF.pair(impostor, INTERMEDIATE, ROOT)) == GOOD


def test_two_that_issued_each_other_end() -> None:
    first = issue("first", authority=True)
    second = issue("second", first, authority=True)
    again = issue("first", second, key=first.key, authority=True)
    end = issue("end", again)
    assert pem.mended(end.pair(again, second)) == end.pair(again, second)
