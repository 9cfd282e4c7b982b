# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS: the right certificate for each name, no outdated version, and renewal without interruption."""

from __future__ import annotations

import shlex
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, staying_logged_in
from .control import Control, RunFailedError

PORTS = {**protocols.PORTS, "sieve": 4190}
IMPLICIT = ("submissions", "imaps", "pop3s")
#: What a client sends before TLS on the ports that begin in clear (RFC 3207, RFC 2595, RFC 5804).
UPGRADES = {
    "smtp": [b"EHLO client.example", b"STARTTLS"],
    "submission": [b"EHLO client.example", b"STARTTLS"],
    "pop3": [b"STLS"],
    "imap": [b"a STARTTLS"],
    "sieve": [b"STARTTLS"],
}


def handshake(server: Server, protocol: str, name: str | None, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A TLS connection that asks for `name` (SNI)."""
    plain = socket.create_connection((server.address, PORTS[protocol]), timeout=10)
    stream = plain.makefile("rwb", buffering=0)
    if protocol in UPGRADES:
        # ManageSieve's greeting is a list of capabilities.
        while protocol == "sieve" and not stream.readline().startswith(b"OK"):
            pass
        if protocol != "sieve":
            stream.readline()
        for command in UPGRADES[protocol]:
            stream.write(command + b"\r\n")
            while stream.readline()[3:4] == b"-":
                pass
    stream.close()
    try:
        return context.wrap_socket(plain, server_hostname=name)
    except (OSError, ssl.SSLError):
        plain.close()
        raise


def certificate(server: Server, protocol: str, asked: str | None, ca_file: str) -> dict[str, Any]:
    """The certificate that is served when `asked` for."""
    context = ssl.create_default_context(cafile=ca_file)
    context.check_hostname = False
    with handshake(server, protocol, asked, context) as connection:
        return connection.getpeercert() or {}


def names(server: Server, protocol: str, asked: str | None, ca_file: str) -> set[str]:
    """Names in the certificate that is served when `asked` for."""
    return {value for kind, value in certificate(server, protocol, asked, ca_file)["subjectAltName"] if kind == "DNS"}


@pytest.mark.requirement("AS-10")
@pytest.mark.parametrize("protocol", [*IMPLICIT, *UPGRADES])
def test_each_name_gets_its_certificate(server: Server, variables: dict[str, Any], ca_file: str, protocol: str) -> None:
    shared = variables["mail_hostname"]
    assert names(server, protocol, "mail.acme.example", ca_file) == {"mail.acme.example"}
    assert shared in names(server, protocol, shared, ca_file)
    assert shared in names(server, protocol, "unknown.example", ca_file)
    assert shared in names(server, protocol, None, ca_file)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("protocol", [*IMPLICIT, *UPGRADES])
def test_tls_before_1_2_is_refused(server: Server, ca_file: str, protocol: str) -> None:
    old = ssl.create_default_context(cafile=ca_file)
    old.check_hostname = False
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(server, protocol, None, old)


def served_serial(server: Server, protocol: str, name: str, ca_file: str) -> str:
    return str(certificate(server, protocol, name, ca_file)["serialNumber"])


def test_a_renewed_certificate_is_served_and_no_session_ends(
    server: Server, ca_file: str, bill: User, control: Control, host: testinfra.host.Host, variables: dict[str, Any]
) -> None:
    shared = variables["mail_hostname"]
    watched = [(protocol, name) for protocol in ("imaps", "submissions") for name in (shared, "mail.acme.example")]
    before = {key: served_serial(server, *key, ca_file) for key in watched}
    with staying_logged_in(server, bill):
        # As if they had expired: the next run must issue new ones.
        host.check_output("rm -r /etc/mailhosting/tls/shared /etc/mailhosting/tls/names/mail.acme.example")
        control.playbook("site")
        after = {key: served_serial(server, *key, ca_file) for key in watched}
        assert all(after[key] != before[key] for key in watched)


#: A CA that makes a small key, and files of a chain without final newlines that includes the CA.
SUPPLIER = """
set -e
cd "$(mktemp --directory)"
issue() { openssl req -x509 -nodes -days 30 -subj /CN=mail -addext "subjectAltName=$names" "$@" 2>/dev/null; }
openssl req -x509 -nodes -days 30 -subj "/CN=A supplier" -newkey rsa:2048 -keyout ca.key -out ca.pem 2>/dev/null
issue -CA ca.pem -CAkey ca.key -newkey rsa:1024 -keyout weak.key -out weak.pem
cat ca.pem >>weak.pem
issue -CA ca.pem -CAkey ca.key -newkey rsa:2048 -keyout joined.key -out end.pem
printf "%s%s" "$(cat end.pem)" "$(cat ca.pem)" >joined.pem
pwd
"""
DEFAULTS = yaml.safe_load((Path(__file__).parents[2] / "roles/tls/defaults/main.yml").read_text())


def test_what_daemons_cannot_use_is_refused_and_what_can_be_mended_is_served(
    server: Server, variables: dict[str, Any], ca_file: str, control: Control, host: testinfra.host.Host
) -> None:
    asked = {"shared_name": variables["mail_hostname"], "host_names": ["mail.acme.example"]}
    both = ",".join(f"DNS:{name}" for name in (asked["shared_name"], "mail.acme.example"))
    folder = host.check_output(f"names={shlex.quote(both)} bash -c {shlex.quote(SUPPLIER)}").strip()

    def bring(**producer: Any) -> None:
        control.module("certificates", path="/etc/mailhosting/tls", **asked, **producer)

    def bring_files(name: str) -> None:
        pair = {"certificate": f"{folder}/{name}.pem", "key": f"{folder}/{name}.key"}
        bring(producer="files", files=[pair])

    before = served_serial(server, "imaps", "mail.acme.example", ca_file)
    with pytest.raises(RunFailedError, match=r"weak\.pem: .* key too small"):
        bring_files("weak")
    assert control.module("mail_tls", **asked)["ok"]
    try:
        bring_files("joined")
        assert not control.module("mail_tls", **asked)["ok"]  # the daemons have not reloaded
        host.check_output(" && ".join(DEFAULTS["tls_commands"]))
        assert control.module("mail_tls", patience=20, **asked)["faults"] == []
    finally:
        bring(producer="own_ca")
        host.check_output(" && ".join(DEFAULTS["tls_commands"]) + f" && rm -r {folder}")
    assert control.module("mail_tls", patience=20, **asked)["ok"]
    assert served_serial(server, "imaps", "mail.acme.example", ca_file) != before


def test_private_keys_are_for_root_alone(host: testinfra.host.Host) -> None:
    listing = host.check_output("find /etc/mailhosting/tls -name '*.pem' -printf '%m %u %f\\n'").splitlines()
    assert {line for line in listing if line.endswith("key.pem")} == {"600 root key.pem"}
