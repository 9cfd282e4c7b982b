# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSSL's verdict on certificates that any library reads without complaint."""

from __future__ import annotations

import os
import ssl
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils import _certificate_judge as judge
from ansible_collections.mailhosting.stack.plugins.module_utils._certificates import Pair, Trust, Verdict
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from .chains import FOREIGN, INTERMEDIATE, ROOT, issue, leaf

SOUND = Verdict()
EKU, OID = x509.ExtendedKeyUsage, ExtendedKeyUsageOID


def rsa_key(bits: int) -> Any:
    return rsa.generate_private_key(65537, bits)


def usage(**allowed: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in names})


def of_root(pair: Pair) -> Verdict:
    """The verdict for given files on a system that trusts ROOT."""
    return judge.Judge(Trust.SYSTEM, ROOT.pem.decode())(pair)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa_key(2048),
    ],
    ids=["P-256", "P-384", "P-521", "Ed25519", "RSA-2048"],
)
def test_usual_keys_are_sound(key: Any) -> None:
    assert of_root(leaf(key=key).pair(INTERMEDIATE)) == SOUND


STRANGE = "no mail program agrees on a way of signing"
USELESS: dict[str, tuple[dict[str, Any], str]] = {
    "RSA-1024": ({"key": rsa_key(1024)}, "ee key too small"),
    "secp256k1": ({"key": ec.generate_private_key(ec.SECP256K1())}, STRANGE),
    "brainpoolP256r1": ({"key": ec.generate_private_key(ec.BrainpoolP256R1())}, STRANGE),
    "P-224": ({"key": ec.generate_private_key(ec.SECP224R1())}, STRANGE),
    "for certificates alone": ({"more": ((usage(key_cert_sign=True), True),)}, STRANGE),
    "P-192": ({"key": ec.generate_private_key(ec.SECP192R1())}, "ee key too small"),
}


@pytest.mark.parametrize("trust", Trust)
@pytest.mark.parametrize(("options", "reason"), USELESS.values(), ids=USELESS)
def test_a_key_that_no_handshake_works_with_is_unusable(options: dict[str, Any], reason: str, trust: Trust) -> None:
    pair = leaf(**options).pair(INTERMEDIATE, ROOT)
    assert pair.fault() == ""
    assert reason in judge.Judge(trust)(pair).unusable


def test_a_key_of_another_certificate_is_unusable() -> None:
    pair = Pair(leaf().pair(INTERMEDIATE).chain, leaf().key_pem)
    assert "key values mismatch" in of_root(pair).unusable


UNTRUSTED: dict[str, tuple[Pair, str]] = {
    "no intermediate": (leaf().pair(), "CN=An Intermediate, who issued the last of its chain, is neither in the file"),
    "for clients": (leaf(more=((EKU([OID.CLIENT_AUTH]), False),)).pair(INTERMEDIATE, ROOT), "purpose"),
    "a critical extension": (
        leaf(more=((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),)).pair(
            INTERMEDIATE, ROOT
        ),
        "unhandled critical extension",
    ),
    "an issuer that is no CA": (issue("x", leaf(), names=("x.example",)).pair(leaf(), INTERMEDIATE), "issue"),
}


@pytest.mark.parametrize(("pair", "reason"), UNTRUSTED.values(), ids=UNTRUSTED)
def test_what_mail_programs_refuse_is_untrusted(pair: Pair, reason: str) -> None:
    verdict = of_root(pair)
    assert verdict.unusable == ""
    assert reason in verdict.untrusted


def test_a_chain_has_to_end_at_somebody_who_is_trusted() -> None:
    system = judge.Judge(Trust.SYSTEM)
    pair = leaf().pair(INTERMEDIATE)
    assert "CN=A Root, who issued" in system(pair).untrusted
    assert "issued" in judge.Judge(Trust.SYSTEM, FOREIGN.pem.decode())(pair).untrusted
    assert of_root(pair) == SOUND
    # A private root in the file: the operator's customers trust it.
    assert system(leaf().pair(INTERMEDIATE, ROOT)) == SOUND
    assert system(issue("alone", names=("mail.example",)).pair()) == SOUND
    # With Trust.CHAIN the chain may end anywhere.
    assert judge.Judge(Trust.CHAIN)(pair) == SOUND


def test_dates_are_the_business_of_who_asks() -> None:
    assert of_root(leaf(days=(-60, -1)).pair(INTERMEDIATE)) == SOUND
    assert of_root(leaf(days=(1, 60)).pair(INTERMEDIATE)) == SOUND


def test_a_key_is_on_no_file_system_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = ssl.SSLContext.load_cert_chain

    def watched(context: ssl.SSLContext, *paths: str, **options: Any) -> None:
        read.extend(map(os.readlink, paths))
        original(context, *paths, **options)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watched)
    of_root(leaf().pair(INTERMEDIATE))
    assert len(read) == 2
    assert all(path.startswith("/memfd:") for path in read)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("mail.example", "mail.example"), ("*.mail.example", "a.mail.example"), ("*.mail.example", "mail.example"),
        ("*.mail.example", "a.b.mail.example"), ("*.example", "mail.example"), ("a*.mail.example", "ab.mail.example"),
        ("*", "mail"), ("192.0.2.1", "192.0.2.1"), ("mail.example", "MAIL.example"),
    ],
)  # fmt: skip
def test_a_name_is_covered_where_openssl_says_so(pattern: str, name: str) -> None:
    pair = leaf(names=(pattern,)).pair(INTERMEDIATE)
    client = judge._client(ssl.TLSVersion.TLSv1_3)
    client.load_verify_locations(cadata=ROOT.pem.decode())
    client.check_hostname = True
    server = judge._server(pair)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    pending = [client.wrap_bio(to_client, to_server, server_hostname=name)]
    pending.append(server.wrap_bio(to_server, to_client, server_side=True))
    accepted = True
    while pending and accepted:
        side = pending.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pending.append(side)
        except ssl.SSLCertVerificationError:
            accepted = False
    assert pair.covers(name.lower()) is accepted
