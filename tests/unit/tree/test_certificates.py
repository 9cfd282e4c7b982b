# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Producers of certificates: the own CA and given files."""

from __future__ import annotations

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._certificates import (
    CertificateError,
    GivenFiles,
    OwnCA,
    Pair,
    Verdict,
)
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from .chains import ROOT, issue

NOW = datetime.now(UTC).replace(microsecond=0)
SHARED = frozenset({"mail.example", "imap.mail.example", "192.0.2.25"})


def own_ca(kept: Pair | None = None, now: datetime = NOW, **options: int) -> OwnCA:
    return OwnCA(kept, "Mail CA of mail.example", now, options.get("days", 90), options.get("renew_days", 30))


def issued(names: frozenset[str], ca: OwnCA | None = None) -> Pair:
    return (ca or own_ca()).pair(names, None)[0]


def sound(_pair: Pair) -> Verdict:
    return Verdict()


def handshake(pair: Pair, trusted: bytes, name: str, folder: Path) -> None:
    """A TLS 1.2 or 1.3 handshake of a client that trusts `trusted` alone and asks for `name`."""
    (folder / "chain").write_bytes(pair.chain)
    (folder / "key").write_bytes(pair.key)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(folder / "chain", folder / "key")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    context = ssl.create_default_context(cadata=trusted.decode())
    client = context.wrap_bio(to_client, to_server, server_hostname=name)
    pending = [client, server]
    while pending:
        side = pending.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pending.append(side)


@pytest.mark.parametrize("name", sorted(SHARED))
def test_clients_that_trust_the_ca_accept_its_certificates(name: str, tmp_path: Path) -> None:
    ca = own_ca()
    handshake(issued(SHARED, ca), ca.authority.chain, name, tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(issued(SHARED, ca), own_ca().authority.chain, name, tmp_path)


def test_a_name_too_long_for_a_common_name_works(tmp_path: Path) -> None:
    name = f"{'a' * 60}.{'b' * 60}.example"
    ca = own_ca()
    handshake(issued(frozenset({name}), ca), ca.authority.chain, name, tmp_path)


def test_what_is_good_stays() -> None:
    ca = own_ca()
    pair = issued(SHARED, ca)
    again = own_ca(ca.authority)
    assert again.authority == ca.authority
    assert again.pair(SHARED, pair) == (pair, "")


def test_renewal_begins_when_fewer_than_30_of_90_days_are_left() -> None:
    ca = own_ca()
    pair = issued(SHARED, ca)
    assert pair.certificate.not_valid_after_utc == NOW + timedelta(days=90)
    early = own_ca(ca.authority, NOW + timedelta(days=60))
    assert early.pair(SHARED, pair) == (pair, "")
    late, reason = own_ca(ca.authority, NOW + timedelta(days=60, seconds=1)).pair(SHARED, pair)
    assert reason == "29 days left"
    assert late.key != pair.key
    assert late.certificate.not_valid_after_utc == NOW + timedelta(days=150, seconds=1)


def test_everything_that_makes_a_certificate_unusable_has_it_issued_anew(tmp_path: Path) -> None:
    ca = own_ca()
    pair, other = issued(SHARED, ca), issued(SHARED, ca)
    cases = {
        "names changed": issued(frozenset({"mail.example"}), ca),
        "issued by another CA": issued(SHARED),
        "the key belongs to another certificate": Pair(pair.chain, other.key),
        "unreadable": Pair(pair.chain, b""),
    }
    for reason, current in cases.items():
        renewed, said = ca.pair(SHARED, current)
        assert said == reason
        handshake(renewed, ca.authority.chain, "mail.example", tmp_path)


def test_a_renewed_ca_keeps_its_key_and_the_trust_in_it(tmp_path: Path) -> None:
    old = own_ca(now=NOW - timedelta(days=3650 - 364))
    lately = own_ca(old.authority, NOW - timedelta(days=2))
    pair = issued(SHARED, lately)
    new = own_ca(old.authority)
    assert lately.authority == old.authority
    assert new.authority.chain != old.authority.chain
    assert new.authority.key == old.authority.key
    assert new.pair(SHARED, pair) == (pair, "")
    handshake(pair, new.authority.chain, "mail.example", tmp_path)


def test_a_ca_whose_certificate_is_lost_certifies_itself_again(tmp_path: Path) -> None:
    old = own_ca()
    pair = issued(SHARED, old)
    new = own_ca(Pair(b"", old.authority.key))
    assert new.pair(SHARED, pair) == (pair, "")
    handshake(pair, new.authority.chain, "mail.example", tmp_path)


def test_a_damaged_ca_key_is_left_for_the_operator() -> None:
    with pytest.raises(CertificateError, match="the CA's key cannot be read"):
        own_ca(Pair(own_ca().authority.chain, b"damaged"))


@pytest.mark.parametrize("options", [{"days": 30, "renew_days": 30}, {"days": 366}])
def test_lifetimes_that_cannot_work_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(CertificateError, match="days is"):
        own_ca(None, NOW, **options)


def test_given_files_are_found_by_the_names_in_them() -> None:
    shared, wildcard = issued(SHARED), issued(frozenset({"*.acme.example"}))
    exact = issued(frozenset({"pop3.acme.example"}))
    files = GivenFiles([("a", shared), ("b", wildcard), ("c", exact)], NOW, sound)
    assert files.pair(frozenset({"mail.example"}), None) == (shared, "new")
    assert files.pair(frozenset({"smtp.acme.example"}), shared) == (wildcard, "another one is given")
    assert files.pair(frozenset({"pop3.acme.example"}), exact) == (exact, "")
    for name in ("acme.example", "a.b.acme.example", "bolt.example"):
        with pytest.raises(CertificateError, match=f"no certificate is given for {name}"):
            files.pair(frozenset({name}), None)


def test_of_two_that_fit_the_one_that_lasts_longer_is_taken() -> None:
    short, long = issued(SHARED, own_ca(days=60)), issued(SHARED, own_ca(days=80))
    assert GivenFiles([("a", short), ("b", long), ("c", short)], NOW, sound).pair(SHARED, short)[0] == long


def test_unusable_given_files_are_named() -> None:
    pair, other = issued(SHARED), issued(SHARED)
    passphrase = load_pem_private_key(pair.key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    cases = {
        "a.pem: the key belongs to another certificate": Pair(pair.chain, other.key),
        "a.pem: unreadable": Pair(pair.chain, passphrase),
        "a.pem or its key is not on the host": None,
    }
    for message, given in cases.items():
        with pytest.raises(CertificateError, match=message):
            GivenFiles([("a.pem", given)], NOW, sound)


def test_an_expired_given_file_is_a_warning() -> None:
    files = GivenFiles([("a.pem", issued(SHARED))], NOW + timedelta(days=91), sound)
    until = f"{NOW + timedelta(days=90):%Y-%m-%dT%H:%M:%SZ}"
    assert files.warnings == [f"a.pem has expired: 192.0.2.25, imap.mail.example, mail.example, until {until}"]


def test_a_key_of_a_kind_that_is_not_known_is_unreadable() -> None:
    make = ["openssl", "ecparam", "-name", "secp160r1", "-genkey", "-noout"]
    strange = subprocess.run(make, check=True, capture_output=True).stdout
    assert Pair(issued(SHARED).chain, strange).fault() == "unreadable"


def test_what_openssl_does_not_take_is_refused_whatever_it_is_for() -> None:
    with pytest.raises(CertificateError, match=r"^a\.pem: a key too small$"):
        GivenFiles([("a.pem", issued(SHARED))], NOW, lambda _pair: Verdict(unusable="a key too small"))


def test_what_mail_programs_would_warn_of_takes_nobodys_place_and_goes_on_where_it_serves() -> None:
    pair, good = issued(SHARED), issued(SHARED)
    warned = Verdict(untrusted="no intermediate")
    files = GivenFiles([("a.pem", pair)], NOW, lambda _pair: warned)
    for current in (None, good):
        with pytest.raises(CertificateError, match=r"^a\.pem: no intermediate$"):
            files.pair(SHARED, current)
    assert files.warnings == []
    assert files.pair(SHARED, pair) == (pair, "")
    # An earlier release installed it with this spelling.
    assert files.pair(SHARED, Pair(pair.chain.rstrip(), pair.key)) == (pair, "another one is given")
    assert files.warnings == ["a.pem: no intermediate"]
    # Of two matching ones the trusted one wins, though it expires earlier.
    long = issued(SHARED, own_ca(days=120))
    both = GivenFiles([("a", good), ("b", long)], NOW, lambda item: warned if item == long else Verdict())
    assert both.pair(SHARED, None) == (good, "new")


def test_dates_are_looked_at_before_the_swap() -> None:
    old, new, later = (issued(SHARED, own_ca(now=NOW + timedelta(days=days))) for days in (-91, 0, 2))
    for pair, reason in ((old, "has expired: .*"), (later, "is not valid before .*")):
        files = GivenFiles([("a.pem", pair)], NOW, sound)
        assert len(files.warnings) == 1
        for current in (None, new):
            with pytest.raises(CertificateError, match=rf"^a\.pem: {reason}$"):
                files.pair(SHARED, current)
        assert files.pair(SHARED, pair) == (pair, "")
    assert GivenFiles([("a", old), ("b", later), ("c", new)], NOW, sound).pair(SHARED, old)[0] == new


def test_an_intermediate_that_has_expired_is_one_of_the_dates() -> None:
    past = issue("An Intermediate", ROOT, authority=True, days=(-60, -1))
    assert "has expired" in issue("a leaf", past, names=("mail.example",)).pair(past, ROOT).untimely(NOW)
    # Clients ignore the dates of a root that they trust.
    root = issue("A Root", authority=True, days=(-60, -1))
    assert issue("a leaf", root, names=("mail.example",)).pair(root).untimely(NOW) == ""


def test_a_ca_of_a_curve_that_mail_programs_do_not_know_is_refused() -> None:
    strange = issue("Mail CA", key=ec.generate_private_key(ec.SECP256K1()), authority=True, days=(-1, 3000))
    with pytest.raises(CertificateError, match="on the curve secp256k1"):
        own_ca(strange.pair())
