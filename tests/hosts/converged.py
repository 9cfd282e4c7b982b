# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes images of hosts that site.yml has set up.

`build` makes the image of a host without tenants (converged/hosts.yml).  Before, converged/empty removes all that
identifies the host.  The first boot makes anew what Debian's packages made, and the next site.yml what the collection
made.  Daemons that need one of these are disabled until then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hosts
from podman import CHECKOUT, HostsError, podman, run, run_beside

HOME = CHECKOUT / "tests" / "hosts" / "converged"
#: Settings of a host as soon as one tenant needs them.
VARIABLES = {"postfix_policy_service": "unix:private/mailhosting-policy", "clamav_enabled": True}


def build(name: str, base: str, recipe: str, changes: Sequence[str]) -> None:
    """Set up a host without tenants from the image `base`, and keep it as the image `name`."""
    with set_up(f"image-{recipe}", "image-host", base, HOME / "hosts.yml", json.dumps(VARIABLES)) as container:
        podman("cp", str(HOME / "first-boot"), f"{container}:/usr/local/sbin/first-boot")
        podman("cp", str(HOME / "first-boot.service"), f"{container}:/etc/systemd/system/first-boot.service")
        podman("exec", "-i", container, "sh", "-s", feed=(HOME / "prepare").read_text())
        podman("stop", "--time=60", container)
        root = podman("mount", container).strip()
        run_beside(["sh", "-c", f"cd {root}\n{(HOME / 'empty').read_text()}"])
        podman("umount", container)
        podman("commit", *changes, container, name)


@contextmanager
def set_up(
    run_name: str,
    host: str,
    base: str,
    inventory: Path,
    variables: str,
    collections: Path | None = None,
) -> Iterator[str]:
    """The container of a host in a run of its own, after site.yml of this checkout, or of a folder of collections.

    `variables` override the inventory's, in JSON or as @ and a file.
    """
    program = CHECKOUT / ".cache" / "venv" / "bin" / "ansible-playbook"
    if not program.exists():
        raise HostsError("this image needs the virtual environment: run make venv")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environment["ANSIBLE_CONFIG"] = str(CHECKOUT / "ansible.cfg")
    if collections:
        environment["ANSIBLE_COLLECTIONS_PATH"] = str(collections)
    else:
        environment["ANSIBLE_CALLBACK_PLUGINS"] = str(CHECKOUT / "tests" / "callback")
    options = [f"--inventory={path}" for path in (inventory, hosts.RUNS / run_name / "inventory.yml")]
    options.append(f"--extra-vars={variables}")
    hosts.down(run_name)
    try:
        hosts.up(run_name, [host], lambda: base, quick=True)
        run([str(program), *options, "mailhosting.stack.site"], env=environment)
        yield hosts.container(run_name, host)
    finally:
        hosts.down(run_name)
