# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of test hosts: starts, describes and removes them.

A run is a set of hosts with a name of its own.  Its files are under .cache/hosts/RUN/: `inventory.yml`
(addresses, to be put behind an inventory that says what the hosts are), `ssh_config`, and the key.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import modules
from podman import CHECKOUT, HostsError, exclusive, podman, run

RUNS = CHECKOUT / ".cache" / "hosts"
#: Two checkouts on one machine may have runs of the same name.
CHECKOUT_LABEL = f"mailhosting.checkout={CHECKOUT}"
CHECKOUT_TAG = hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:4]

#: A host needs a dozen of these to watch files, and all hosts are one user: with the usual 128 units of the tenth host
#: fail ("Result: resources").
INOTIFY_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
ENOUGH_INSTANCES = 1024

#: Folder on a host whose modules are to run quickly.
QUICK = "/run/testhost-modules"

#: Reads the public key to authorize, waits for the boot, prints systemd's verdict and the host's public key.
#: Package lists that came with the image are of those packages that came with it: Ansible's apt need fetch no others.
RECEIVE = """
[ -z "$(ls -d /var/lib/apt/lists/*_Packages 2>/dev/null)" ] || touch /var/lib/apt/lists
umask 077; mkdir -p /root/.ssh; cat >/root/.ssh/authorized_keys
tries=0; until systemctl is-active --quiet ssh.service; do
  tries=$((tries + 1)); [ $tries -le 300 ] || break; sleep 0.1
done
systemctl is-system-running --wait
systemctl list-units --failed --plain --no-legend
echo; cat /etc/ssh/ssh_host_ed25519_key.pub
"""


def container(run_name: str, host: str) -> str:
    """The container of `host`: unique on the machine."""
    return f"{run_name}-{CHECKOUT_TAG}-{host}"


def containers(run_name: str | None) -> list[dict[str, Any]]:
    """The containers of this checkout, of one run or of all, as podman describes them."""
    filters = [CHECKOUT_LABEL] + ([f"mailhosting.run={run_name}"] if run_name else [])
    options = [f"--filter=label={label}" for label in filters]
    listed: list[dict[str, Any]] = json.loads(podman("ps", "--all", "--format=json", *options) or "[]")
    return listed


def up(run_name: str, names: list[str], image: Callable[[], str], *, quick: bool = False) -> dict[str, str]:
    """Add hosts to a run, new ones from the image that `image` returns, and start all of the run: name → address.

    `quick`: Ansible runs modules there as modules.py has it.
    """
    home = RUNS / run_name
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = home / "key"
    with exclusive(f"run-{CHECKOUT_TAG}-{run_name}"):
        if not key.exists():
            run(
                [
                    "ssh-keygen",
                    "-q",
                    "-t",
                    "ed25519",
                    "-N",
                    "",
                    "-C",
                    f"mailhosting test run {run_name}",
                    "-f",
                    str(key),
                ]
            )
        public_key = key.with_suffix(".pub").read_text()
        states = {entry["Labels"]["mailhosting.host"]: entry["State"] for entry in containers(run_name)}
        hosts = sorted({*states, *names})
        made_from = image() if any(states.get(host) not in ("running", "exited") for host in hosts) else ""
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda host: start(run_name, host, made_from, states.get(host)), hosts))
            host_keys = list(pool.map(lambda host: receive(run_name, host, public_key), hosts))
            if quick:
                archive = modules.archive({})
                list(pool.map(lambda host: run_quickly(run_name, host, archive), hosts))
        places = addresses([container(run_name, host) for host in hosts])
        keep_bridge(places[0])
        python = modules.python(QUICK) if quick else modules.PYTHON
        describe(home, dict(zip(hosts, zip(places, host_keys, strict=True), strict=True)), python)
    return dict(zip(hosts, places, strict=True))


def down(run_name: str | None) -> int:
    """Remove the hosts of a run, or of all runs of this checkout, with all their data; returns their number."""
    folders = [RUNS / run_name] if run_name else sorted(RUNS.glob("*"))
    ids = [str(entry["Id"]) for entry in containers(run_name)]
    if ids:
        podman("rm", "--force", "--time=0", "--volumes", *ids)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return len(ids)


def start(run_name: str, host: str, image: str, state: str | None) -> None:
    """Start the container of `host`; `state`: its state if it exists, else it is made from `image`."""
    name = container(run_name, host)
    if state == "running":
        return
    if state == "exited":
        podman("start", name)
        return
    if state is not None:  # it never ran
        podman("rm", "--force", name)
    if int(INOTIFY_INSTANCES.read_text()) < ENOUGH_INSTANCES:
        INOTIFY_INSTANCES.write_text(f"{ENOUGH_INSTANCES}\n")
    labels = (f"--label={CHECKOUT_LABEL}", f"--label=mailhosting.run={run_name}", f"--label=mailhosting.host={host}")
    # Without --privileged systemd silently ignores ProtectSystem=, PrivateTmp= and the like.
    sandbox = ("--privileged", "--systemd=always")
    podman("run", "--detach", f"--name={name}", f"--hostname={host}", *labels, *sandbox, image, "/sbin/init")


def receive(run_name: str, host: str, public_key: str) -> str:
    """Authorize the run's key in `host`, wait for its boot, and return its public host key."""
    name = container(run_name, host)
    verdict, _, host_key = podman("exec", "-i", name, "sh", "-c", RECEIVE, feed=public_key).rpartition("\n\n")
    state, *failed = verdict.splitlines()
    if state not in ("running", "degraded") or not host_key.startswith("ssh-"):
        log = podman("logs", "--tail=15", name)
        raise HostsError(f"{host} did not boot (systemd: {state}). Its console:\n{log}")
    if failed:
        print(f"testhosts: {host}: failed units: {', '.join(line.split()[0] for line in failed)}", file=sys.stderr)
    return host_key.strip()


def run_quickly(run_name: str, host: str, archive: str) -> None:
    """Start in `host` what runs Ansible's modules quickly."""
    podman("exec", "-i", container(run_name, host), "sh", "-c", modules.start(QUICK), feed=archive)


def addresses(names: list[str]) -> list[str]:
    """The addresses on the bridge in the order of `names`; they change with every start."""
    found = []
    for entry in json.loads(podman("inspect", *names)):
        settings = entry["NetworkSettings"]
        networks = [network["IPAddress"] for network in (settings.get("Networks") or {}).values()]
        found.append(next(address for address in (settings["IPAddress"], *networks) if address))
    return found


def route_to(place: str) -> dict[str, str]:
    """The route to `place`: `dev`, and `prefsrc`, the address of this machine for such connections."""
    (route,) = json.loads(run(["ip", "-json", "route", "get", place]))
    return {key: str(route[key]) for key in ("dev", "prefsrc")}


def keep_bridge(place: str) -> None:
    """Make the bridge to `place` keep its hardware address.

    Linux gives a bridge the lowest address of its ports, unless one was set. When a host came or went, other hosts sent
    to the previous address until their ARP entry expired, and a connection hung for up to 40 s.
    """
    device = route_to(place)["dev"]
    (link,) = json.loads(run(["ip", "-json", "link", "show", "dev", device]))
    run(["ip", "link", "set", "dev", device, "address", str(link["address"])])


def write(path: Path, text: str) -> None:
    """Write `path` unless it has this text already."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def describe(home: Path, hosts: dict[str, tuple[str, str]], python: str) -> None:
    """Write known_hosts, ssh_config and inventory.yml for `hosts`: name → (address, public host key).

    `python`: the path of Ansible's Python there.
    """
    known_hosts = home / "known_hosts"
    ssh_config = home / "ssh_config"
    write(known_hosts, "".join(f"{host},{place} {key}\n" for host, (place, key) in hosts.items()))
    lines = [
        # A test may add an address for its clients, which ends with the test: our connections must not use it.
        f"Host {host} {place}\n  HostName {place}\n  BindAddress {route_to(place)['prefsrc']}"
        for host, (place, _key) in hosts.items()
    ]
    lines += [
        "Host *",
        "  User root",
        f'  IdentityFile "{home / "key"}"',
        "  IdentitiesOnly yes",
        f'  UserKnownHostsFile "{known_hosts}"',
        "  StrictHostKeyChecking yes",
        # A shared connection must notice that its host was removed: the next one may have the same address.
        "  ServerAliveInterval 5",
        "  ServerAliveCountMax 3",
    ]
    write(ssh_config, "\n".join(lines) + "\n")
    inventory = {
        host: {
            "ansible_host": place,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(home / "key"),
            "ansible_ssh_common_args": f"-F {shlex.quote(str(ssh_config))}",
            "ansible_python_interpreter": python,
        }
        for host, (place, _key) in hosts.items()
    }
    # JSON is YAML, and needs no library.
    write(home / "inventory.yml", json.dumps({"all": {"hosts": inventory}}, indent=2) + "\n")
