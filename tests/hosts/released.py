# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making an image of a host that the last release has set up for the scenario `upgrade`, with its people."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from converged import set_up
from podman import CHECKOUT, HostsError, podman, run

RELEASES = CHECKOUT / "tests" / "releases"
#: What an operator had when it came out.
INVENTORY = CHECKOUT / "molecule" / "upgrade" / "inventory"
#: What that release has other names for.
PLANS = CHECKOUT / "molecule" / "upgrade" / "released" / "plans.yml"


def tarball() -> Path:
    """The last release, which is the only one kept."""
    kept = list(RELEASES.glob("*.tar.gz"))
    if len(kept) != 1:
        raise HostsError(f"{RELEASES} is to hold the tarball of the last release and no other: docs/releasing.md")
    return kept[0]


def build(name: str, base: str, recipe: str, changes: Sequence[str]) -> None:
    """Set up a host from the image `base` by the last release, and keep it, itself, as the image `name`."""
    galaxy = CHECKOUT / ".cache" / "venv" / "bin" / "ansible-galaxy"
    with tempfile.TemporaryDirectory(prefix="testhosts-") as folder:
        run([str(galaxy), "collection", "install", "--offline", str(tarball()), f"--collections-path={folder}"])
        with set_up(f"image-{recipe}", "mx1", base, INVENTORY / "hosts.yml", f"@{PLANS}", Path(folder)) as container:
            podman("stop", "--time=60", container)
            podman("commit", *changes, container, name)
