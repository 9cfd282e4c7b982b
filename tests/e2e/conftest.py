# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of all end-to-end tests: a live host, its users, and clients that talk to it.

MAIL_TEST_INVENTORY names the inventories of the host under test, separated by colons.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import ipaddress
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server, TLSContext
from ansible_collections.mailhosting.stack.tests.ansible_commands import Ansible

from . import sandbox
from .clients import User
from .control import Control
from .outside import Outside
from .sandboxes import SANDBOXES

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A folder here belongs to the inventory with that name in its path: its tests run against no other."""
    given = os.environ.get("MAIL_TEST_INVENTORY", "").partition(":")[0]
    if not given:
        return
    # As given: a scenario may have a link to another one's inventory.
    inventory = Path(given).absolute()
    names = inventory.relative_to(CHECKOUT).parts if inventory.is_relative_to(CHECKOUT) else inventory.parts
    folders = {HERE, *(HERE / name for name in names)}
    others = [item for item in items if item.path.parent not in folders]
    items[:] = [item for item in items if item not in others]
    config.hook.pytest_deselected(items=others)


#: Marks for tests in which the host hangs up on clients: the standard library leaves the socket of a client that has
#: had no greeting to the garbage collector.
HUNG_UP_ON = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("sockets_collected"),
]


@pytest.fixture
def sockets_collected() -> Iterator[None]:
    """Collect here, where that is no fault, instead of in the next test."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def inventories() -> list[str]:
    return os.environ["MAIL_TEST_INVENTORY"].split(":")


@pytest.fixture(scope="session")
def variables(inventories: list[str]) -> dict[str, Any]:
    """The inventory's variables of the one mail host."""
    command = ["ansible-inventory", "--list", *(f"--inventory={path}" for path in inventories)]
    listing = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    (name,) = listing["mail"]["hosts"]
    return {**listing["_meta"]["hostvars"][name], "inventory_hostname": name}


def by_ssh(variables: dict[str, Any], folder: Path) -> testinfra.host.Host:
    """A host with these variables; all commands share one connection, whose socket is in `folder`."""
    return testinfra.get_host(
        f"ssh://{variables['ansible_user']}@{variables['ansible_host']}",
        ssh_extra_args=variables["ansible_ssh_common_args"],
        controlpath=folder / "connection",
    )


@pytest.fixture(scope="session")
def host(variables: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> testinfra.host.Host:
    """The host, by ssh as root: for its internal state, never for what a client can see."""
    return by_ssh(variables, tmp_path_factory.mktemp("ssh"))


@pytest.fixture(scope="session")
def ca_file(host: testinfra.host.Host, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    path.write_text(host.file("/etc/mailhosting/tls/ca.pem").content_string)
    return str(path)


@pytest.fixture(scope="session")
def server(variables: dict[str, Any], ca_file: str) -> Server:
    context = TLSContext(variables["mail_hostname"], Path(ca_file).read_text())
    # After failed logins Dovecot makes an address wait for up to 15 s.
    return Server(variables["ansible_host"], context, timeout=30)


def device_to(server: Server) -> str:
    """The network device of this machine that leads to the host."""
    return str(first(["route", "get", server.address])["dev"])


def first(question: list[str]) -> dict[str, Any]:
    """The first object in ip(8)'s answer."""
    found: list[dict[str, Any]] = json.loads(subprocess.check_output(["ip", "-json", "-4", *question], text=True))
    return found[0]


@pytest.fixture
def server_over_ipv6(server: Server, host: testinfra.host.Host) -> Iterator[Server]:
    """The mail host by an IPv6 network that this machine and the host share for one test."""
    network = f"fd00:e2e:{server.address.rpartition('.')[2]}:"
    there = json.loads(host.check_output(f"ip -json -4 address show to {server.address}"))[0]["ifname"]
    ours = ["ip", "address", "replace", f"{network}:1/64", "dev", device_to(server), "nodad"]
    theirs = f"ip address replace {network}:2/64 dev {there} nodad"
    subprocess.run(ours, check=True)
    try:
        host.check_output(theirs)
        yield replace(server, address=f"{network}:2")
    finally:
        subprocess.run(["ip", "address", "delete", *ours[3:6]], check=True)
        host.check_output(theirs.replace("replace", "delete"))


@pytest.fixture
def no_failures_yet(server: Server) -> Iterator[None]:
    """Give this test a new client address, so that the host has no failed logins of it."""
    device = device_to(server)
    ours = next(each for each in first(["address", "show", "dev", device])["addr_info"] if each["family"] == "inet")
    network = ipaddress.ip_interface(f"{ours['local']}/{ours['prefixlen']}").network
    # Hosts have addresses from the beginning of the network.
    address = str(network[-2 - secrets.randbelow(network.num_addresses // 2)])
    route = [f"{server.address}/32", "dev", device, "src", address]
    subprocess.run(["ip", "address", "add", f"{address}/32", "dev", device], check=True)
    subprocess.run(["ip", "route", "replace", *route], check=True)
    yield
    subprocess.run(["ip", "route", "delete", *route], check=True)
    subprocess.run(["ip", "address", "delete", f"{address}/32", "dev", device], check=True)


@pytest.fixture(scope="session")
def tried(host: testinfra.host.Host) -> Callable[[str], sandbox.Tried]:
    """`tried(unit)`: the answers to all acts in the sandbox of a unit."""
    return functools.cache(lambda unit: sandbox.tried(host, unit, SANDBOXES[unit]))


@pytest.fixture(scope="module")
def files(inventories: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's tenants' files, to which a test may add one."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("tenants", "addresses", "secrets"):
        shutil.copytree(Path(inventories[0]).parent / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def taro() -> User:
    return User("taro@acme.example", "correct horse battery staple")


@pytest.fixture(scope="session")
def hanako() -> User:
    return User("hanako@acme.example", "mada mada dane")


@pytest.fixture(scope="session")
def bill() -> User:
    return User("bill@bolt.example", "Tr0ub4dor&3")


@pytest.fixture(scope="session")
def beth() -> User:
    """Receives mail, but may not log in."""
    return User("beth@bolt.example", "not allowed in yet")


@pytest.fixture(scope="session")
def control(inventories: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    """An operator: runs modules and playbooks against the host."""
    with (
        contextlib.closing(Ansible(tmp_path_factory.mktemp("home"))) as ansible,
        contextlib.closing(Control(inventories, ansible)) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def tenant(control: Control) -> Iterator[Control]:
    """A tenant `e2e` with the domain e2e.example, created by modules and removed at the end."""
    control.module("mail_tenant", name="e2e", plan="basic", domains=[{"name": "e2e.example"}])
    yield control
    tenants = control.module("mail_info", gather_subset=["tenants"])["tenants"]
    # Closing many accounts needs their number.
    left = tenants["e2e"]["accounts"] if "e2e" in tenants else 0
    control.module("mail_tenant", name="e2e", state="absent", grace="0s", expect_closed=left)


@pytest.fixture(scope="module")
def outside(host: testinfra.host.Host) -> Iterator[Outside]:
    """A server on the controller that gets all mail to external addresses: test hosts have no DNS."""
    with Outside() as server:
        controller = host.check_output("echo $SSH_CONNECTION").split()[0]
        host.check_output("cp -p /etc/postfix/main.cf /etc/postfix/main.cf.e2e")
        host.check_output(f"postconf -e 'relayhost=[{controller}]:{server.port}' && postfix reload")
        yield server
        host.check_output("mv /etc/postfix/main.cf.e2e /etc/postfix/main.cf && postfix reload")
