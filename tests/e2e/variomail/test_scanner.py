# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The virus scanner of a host: who may use it, its limits, and its signatures from the first ones on."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User, until
from ..control import Control, recap
from ..scanner import EICAR, SOCKET, VIRUSES, Mirror, found, mirror_for, set_up
from ..webarena.wire import PUT_OFF, all_arrived, empty, handed_in, maildrop

SABURO = User("saburo@variosecure-net.example", "Vario-Saburo-1")
NOW = "systemctl restart clamav-freshclam"
#: Octets that clamd examines of a mail: the host's largest, and four attachments of 100 MB.
EXAMINED = (50 << 20) + 4 * (100 << 20)
DEBIANS = ("clamav-daemon.socket", "clamav-freshclam-once.service", "clamav-freshclam-once.timer")
UNITS = ("clamav-daemon.service", "clamav-freshclam.service", *DEBIANS)


def test_it_finds_what_its_signatures_name(host: testinfra.host.Host) -> None:
    assert found(host, EICAR) == "Test.Eicar.UNOFFICIAL FOUND"
    assert found(host, b"x" * 5000 + VIRUSES["Test.Anywhere"]) == "Test.Anywhere.UNOFFICIAL FOUND"
    assert found(host, b"Subject: none\r\n\r\nnone\r\n") == "OK"


@pytest.mark.parametrize("user", ["postfix", "vmail", "nobody"])
def test_nobody_but_the_gate_may_use_it(host: testinfra.host.Host, user: str) -> None:
    assert "Permission denied" in found(host, EICAR, user=user)


def test_what_it_does_not_examine_whole_it_does_not_call_clean(host: testinfra.host.Host) -> None:
    """A member beyond MaxFileSize alone would be skipped."""
    assert found(host, f"zip_of_zeros({100 << 20})") == "OK"
    assert found(host, f"zip_of_zeros({EXAMINED + 1})").startswith("Heuristics.Limits.Exceeded.Max")


def test_it_takes_the_largest_mail(host: testinfra.host.Host) -> None:
    assert found(host, f"bytes({100 << 20})") == "OK"


def test_nothing_of_debians_scans_or_fetches_beside(host: testinfra.host.Host) -> None:
    """As at a boot, when systemd starts what the packages have enabled."""
    host.check_output(f"systemctl start {' '.join(DEBIANS)}")
    for unit in DEBIANS:
        assert host.check_output(f"systemctl show --value --property=ActiveState {unit}") == "inactive", unit
    assert found(host, EICAR).endswith("FOUND")


def seen(control: Control) -> dict[str, tuple[bool, str]]:
    """What verify says of the scanner: whether it is in order, and why."""
    scanners = [{"socket": SOCKET, "signatures": "/var/lib/clamav", "days": 3}]
    options = {"units": ["clamav-daemon"], "ports": [25], "paths": ["/var/lib/clamav"], "since": "now"}
    checks = control.module("mail_health", scanners=scanners, **options)["checks"]
    return {check["name"]: (check["ok"], check["seen"]) for check in checks}


def arrives(server: Server, host: testinfra.host.Host, mail: bytes) -> bytes:
    """What SABURO gets of a mail."""
    empty(server, SABURO)
    assert handed_in(server, SABURO, mail)[0] == 250
    assert all_arrived(host)
    with maildrop(server, SABURO) as session:
        content = b"\r\n".join(session.retr(1)[1])
    empty(server, SABURO)
    return content


@pytest.fixture(scope="module")
def mirror(
    host: testinfra.host.Host, inventories: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mirror]:
    """A mirror that has nothing yet, of a host that has no signatures yet."""
    with mirror_for(host, tmp_path_factory.mktemp("mirror")) as made:
        try:
            set_up(inventories, clamav_signature_folders=[], clamav_urls=[f"{made.url}/update.ndb"])
            host.check_output("systemctl restart clamav-daemon")
            yield made
        finally:
            host.check_output("rm -f /var/lib/clamav/update.ndb")
            set_up(inventories)
            assert until(lambda: found(host, EICAR).endswith("FOUND"))
            assert host.run("systemctl is-active clamav-freshclam").rc != 0


def test_a_host_without_signatures_puts_mail_off_and_says_why(server: Server, control: Control, mirror: Mirror) -> None:
    assert until(lambda: "GET /update.ndb" in mirror.asked)
    checks = seen(control)
    assert checks["services run"][0]
    assert checks["virus signatures are new"][0] is False
    assert "none in /var/lib/clamav yet: mail to scan is deferred" in checks["virus signatures are new"][1]
    assert checks["virus scanner answers"] == (False, f"{SOCKET}: No such file or directory")
    assert handed_in(server, SABURO)[0] == PUT_OFF


def test_the_first_signatures_begin_it_and_later_ones_are_caught_without_a_pause(
    server: Server, host: testinfra.host.Host, control: Control, mirror: Mirror
) -> None:
    first, second = secrets.token_hex(20).encode(), secrets.token_hex(20).encode()
    mirror.publish("update.ndb", {"Test.First": first})
    host.check_output(NOW)
    assert until(lambda: found(host, first) == "Test.First.UNOFFICIAL FOUND", 30)
    assert seen(control)["virus signatures are new"][0]
    infected = b"Subject: of tomorrow\r\n\r\n" + second + b"\r\n"
    assert second in arrives(server, host, infected)

    over, said = threading.Event(), []

    def go_on() -> None:
        while not over.is_set():
            said.append(found(host, b"nothing"))

    scanning = threading.Thread(target=go_on)
    scanning.start()
    try:
        mirror.publish("update.ndb", {"Test.First": first, "Test.Second": second})
        host.check_output(NOW)
        assert until(lambda: found(host, second) == "Test.Second.UNOFFICIAL FOUND", 30)
    finally:
        over.set()
        scanning.join()
    assert found(host, first) == "Test.First.UNOFFICIAL FOUND"
    assert set(said) == {"OK"}
    assert second not in arrives(server, host, infected)


def test_databases_come_from_a_private_mirror(inventories: list[str], mirror: Mirror) -> None:
    set_up(inventories, clamav_databases=["daily"], clamav_private_mirrors=[mirror.url])
    assert until(lambda: any("/daily." in asked for asked in mirror.asked), 60)
    assert not any("/main." in asked or "/bytecode." in asked for asked in mirror.asked)


def test_databases_come_by_a_proxy(host: testinfra.host.Host, inventories: list[str], mirror: Mirror) -> None:
    proxy = {"server": mirror.address, "port": mirror.port, "username": "clam", "password": "between us"}
    set_up(inventories, clamav_databases=["daily"], clamav_proxy=proxy)
    assert until(lambda: any(asked.startswith("CONNECT database.clamav.net:443") for asked in mirror.asked), 90)
    assert "between us" not in host.check_output("journalctl --output=cat --unit=clamav-freshclam; ps -ef")
    assert host.file("/etc/clamav/freshclam.conf").mode == 0o600


@pytest.mark.usefixtures("mirror")
def test_a_host_whose_plans_scan_no_more_has_no_scanner(host: testinfra.host.Host, inventories: list[str]) -> None:
    assert recap(set_up(inventories, clamav_enabled=False))["changed"]
    for unit in UNITS:
        shown = host.check_output(f"systemctl show --value --property=ActiveState,UnitFileState {unit}").split()
        assert shown == ["inactive", "disabled"], unit
    assert host.check_output("ls /var/lib/clamav /etc/clamav/*clam*.conf 2>/dev/null || true") == "/var/lib/clamav:"
    assert recap(set_up(inventories, clamav_enabled=False))["changed"] == 0


@pytest.mark.usefixtures("mirror")
def test_a_host_with_debians_own_scanner_is_taken_over(host: testinfra.host.Host, inventories: list[str]) -> None:
    set_up(inventories, clamav_enabled=False)
    # Debian's socket does not start without these.
    needed = "main.cvd daily.cvd"
    started = "systemctl start clamav-daemon.socket && systemctl is-active clamav-daemon.socket"
    host.check_output(f"cd /var/lib/clamav && touch {needed} && {started} && rm {needed}")
    set_up(inventories)
    assert until(lambda: found(host, EICAR).endswith("FOUND"))
    assert recap(set_up(inventories))["changed"] == 0
