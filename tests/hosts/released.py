# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes an image of a host that the last release has set up for the scenario `upgrade`, with its users."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from converged import set_up
from podman import CHECKOUT, HostsError, podman, run

RELEASES = CHECKOUT / "tests" / "releases"
#: An inventory from the time of that release.
INVENTORY = CHECKOUT / "molecule" / "upgrade" / "inventory"
#: The plans, with that release's names of keys.
PLANS = CHECKOUT / "molecule" / "upgrade" / "released" / "plans.yml"


def tarball() -> Path:
    """The last release; the repository has no other."""
    kept = list(RELEASES.glob("*.tar.gz"))
    if len(kept) != 1:
        raise HostsError(f"{RELEASES} is to hold the tarball of the last release and no other: docs/releasing.md")
    return kept[0]


def build(name: str, base: str, recipe: str, changes: Sequence[str]) -> None:
    """Set up a host from the image `base` by the last release, and keep it as the image `name`, with its identity."""
    galaxy = CHECKOUT / ".cache" / "venv" / "bin" / "ansible-galaxy"
    with tempfile.TemporaryDirectory(prefix="testhosts-") as folder:
        run([str(galaxy), "collection", "install", "--offline", str(tarball()), f"--collections-path={folder}"])
        with set_up(f"image-{recipe}", "mx1", base, INVENTORY / "hosts.yml", f"@{PLANS}", Path(folder)) as container:
            podman("stop", "--time=60", container)
            podman("commit", *changes, container, name)
