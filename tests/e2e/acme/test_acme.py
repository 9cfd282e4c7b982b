# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates by ACME: the server asks the host on port 80 for each name, as a public one would.

The inventory is that of molecule/acme; its group `acme` is the server, pebble.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.request
from typing import Any

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User, staying_logged_in
from ..conftest import by_ssh
from ..control import Control, reloads
from ..test_tls import IMPLICIT, UPGRADES, certificate

ALL_PORTS = [*IMPLICIT, *UPGRADES]
SHARED = "mx1.demo.example"
OBTAINED = [SHARED, "mail.acme.example", "mail.bolt.example"]
UNREACHABLE = "unreachable.bolt.example"
OWN_CA = f"Mail CA of {SHARED}"
UNIT = "mailhosting-acme.service"


@pytest.fixture(scope="session")
def acme_server(inventories: list[str], tmp_path_factory: pytest.TempPathFactory) -> testinfra.host.Host:
    command = ["ansible-inventory", "--list", *(f"--inventory={path}" for path in inventories)]
    listing = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    (name,) = listing["acme"]["hosts"]
    return by_ssh(listing["_meta"]["hostvars"][name], tmp_path_factory.mktemp("ssh"))


@pytest.fixture(scope="session")
def ca_file(
    acme_server: testinfra.host.Host,
    host: testinfra.host.Host,
    variables: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """The root that pebble made when it started, and the host's own CA."""
    trust = ssl.create_default_context(cadata=host.file(variables["tls_acme_ca_file"]).content_string)
    with urllib.request.urlopen(f"https://{acme_server.backend.hostname}:15000/roots/0", context=trust) as answer:
        roots = answer.read().decode() + host.file("/etc/mailhosting/tls/ca.pem").content_string
    path = tmp_path_factory.mktemp("acme") / "ca.pem"
    path.write_text(roots)
    return str(path)


def issuer(served: dict[str, Any]) -> str:
    return str(next(value for part in served["issuer"] for key, value in part if key == "commonName"))


def names(served: dict[str, Any]) -> set[str]:
    return {value for _kind, value in served["subjectAltName"]}


def serials(server: Server, ca_file: str) -> dict[tuple[str, str], str]:
    watched = [(protocol, name) for protocol in ALL_PORTS for name in OBTAINED]
    return {key: certificate(server, *key, ca_file)["serialNumber"] for key in watched}


@pytest.mark.parametrize("protocol", ALL_PORTS)
def test_each_name_gets_its_certificate_by_acme(server: Server, ca_file: str, protocol: str) -> None:
    for name in OBTAINED:
        served = certificate(server, protocol, name, ca_file)
        assert (names(served), issuer(served)[:6]) == ({name}, "Pebble")
    assert names(certificate(server, protocol, None, ca_file)) == {SHARED}


@pytest.mark.parametrize("protocol", ALL_PORTS)
def test_a_name_that_cannot_be_certified_has_one_of_the_own_ca(server: Server, ca_file: str, protocol: str) -> None:
    served = certificate(server, protocol, UNREACHABLE, ca_file)
    assert (names(served), issuer(served)) == ({UNREACHABLE}, OWN_CA)


def test_a_renewal_reloads_once_and_ends_no_session(
    server: Server, host: testinfra.host.Host, ca_file: str, bill: User
) -> None:
    before, reloaded = serials(server, ca_file), reloads(host)
    with staying_logged_in(server, bill):
        host.check_output("touch /etc/mailhosting/tls/renew")
        # The timer's unit.  It fails because one name cannot be certified.
        said = host.run(f"systemctl start {UNIT}; journalctl --unit={UNIT} --lines=5 --output=cat").stdout
        why = host.check_output("journalctl --unit=mailhosting-acme-order --lines=20 --output=cat")
        assert f"No fresh certificate by ACME for {UNREACHABLE}." in said, why
        after = serials(server, ca_file)
        assert [key for key in before if after[key] == before[key]] == []
    # Postfix last: its processes would keep their connections to the Dovecot that ends.
    assert reloads(host) == [*reloaded, "dovecot", "postfix"]
    host.run(f"systemctl start {UNIT}")
    assert reloads(host) == [*reloaded, "dovecot", "postfix"]
    assert serials(server, ca_file) == after


def test_a_second_run_changes_nothing(control: Control) -> None:
    assert "changed=0" in control.playbook("site")


def test_without_the_acme_server_a_host_converges_and_serves(
    server: Server,
    host: testinfra.host.Host,
    ca_file: str,
    acme_server: testinfra.host.Host,
    control: Control,
    bill: User,
) -> None:
    before = serials(server, ca_file)
    acme_server.check_output("systemctl kill --signal=STOP pebble")
    try:
        control.module(
            "mail_tenant",
            name="e2e",
            plan="basic",
            domains=[{"name": "e2e.example", "hostnames": ["mail.e2e.example"]}],
        )
        host.check_output("touch /etc/mailhosting/tls/renew")
        with staying_logged_in(server, bill):
            control.playbook("site")
        said = host.check_output("journalctl --unit=mailhosting-acme-order --lines=5 --output=cat")
        assert said.count("Nothing ordered") == 1
        assert serials(server, ca_file) == before
        assert issuer(certificate(server, "imaps", "mail.e2e.example", ca_file)) == OWN_CA
    finally:
        acme_server.check_output("systemctl kill --signal=CONT pebble")
    host.run(f"systemctl start {UNIT}")
    assert issuer(certificate(server, "imaps", "mail.e2e.example", ca_file)).startswith("Pebble")
    assert issuer(certificate(server, "submissions", "mail.e2e.example", ca_file)).startswith("Pebble")
    after = serials(server, ca_file)
    assert all(after[key] != before[key] for key in before)
    control.module("mail_tenant", name="e2e", state="absent", grace="0s")
    control.playbook("site")
    assert names(certificate(server, "imaps", "mail.e2e.example", ca_file)) == {SHARED}
    host.run(f"systemctl start {UNIT}")
    assert "mail.e2e.example" not in host.check_output("find /etc/mailhosting /var/lib/private/mailhosting-acme")


def test_keys_are_for_their_owner_alone(host: testinfra.host.Host) -> None:
    folders = "/etc/mailhosting/tls /var/lib/private/mailhosting-acme"
    listing = host.check_output(f"find {folders} -name '*key*' -type f -printf '%m %f\\n'").splitlines()
    assert len(listing) >= 2 * len(OBTAINED)
    assert {line.split()[0] for line in listing} <= {"600", "400"}, listing
    assert host.check_output("stat --format=%a /var/lib/private/mailhosting-acme") == "700"
    assert "PRIVATE KEY" not in host.check_output("cat /var/log/private/mailhosting-acme/*.log*")
