# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making the image of a host that site.yml has set up for nobody (converged/hosts.yml).

What makes a host itself is emptied before (converged/empty).  What Debian's packages make when they are installed, the
first boot makes anew; what the collection makes, the next site.yml.  Daemons that need that are disabled until then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import hosts
from podman import CHECKOUT, Failure, podman, run, run_beside

HOME = CHECKOUT / "tests" / "hosts" / "converged"
HOST = "image-host"
#: What a host has as soon as some tenant needs it.
VARIABLES = {"postfix_policy_service": "unix:private/mailhosting-policy"}


def build(name: str, base: str, recipe: str, changes: Sequence[str]) -> None:
    """Set up a host from the image `base` for nobody, and keep it as the image `name`."""
    run_name = f"image-{recipe}"
    worker = hosts.container(run_name, HOST)
    hosts.down(run_name)
    try:
        hosts.up(run_name, [HOST], lambda: base)
        site([HOME / "hosts.yml", hosts.RUNS / run_name / "inventory.yml"])
        podman("cp", str(HOME / "first-boot"), f"{worker}:/usr/local/sbin/first-boot")
        podman("cp", str(HOME / "first-boot.service"), f"{worker}:/etc/systemd/system/first-boot.service")
        podman("exec", "-i", worker, "sh", "-s", feed=(HOME / "prepare").read_text())
        podman("stop", "--time=60", worker)
        root = podman("mount", worker).strip()
        run_beside(["sh", "-c", f"cd {root}\n{(HOME / 'empty').read_text()}"])
        podman("umount", worker)
        podman("commit", *changes, worker, name)
    finally:
        hosts.down(run_name)


def site(inventories: Sequence[Path], collections: Path | None = None) -> None:
    """Run site.yml of this checkout, or of the collection installed in a folder."""
    program = CHECKOUT / ".cache" / "venv" / "bin" / "ansible-playbook"
    if not program.exists():
        raise Failure("the image `converged` needs the virtual environment: run make venv")
    given = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    given["ANSIBLE_CONFIG"] = str(CHECKOUT / "ansible.cfg")
    if collections:
        given["ANSIBLE_COLLECTIONS_PATH"] = str(collections)
    options = [f"--inventory={path}" for path in inventories] + [f"--extra-vars={json.dumps(VARIABLES)}"]
    run([str(program), *options, "mailhosting.stack.site"], env=given)
