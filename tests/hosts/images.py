# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of test hosts, built from Debian's own packages.

`bare` is a newly installed Debian 13 server. `cached` is the same with all packages of the roles downloaded but not
installed, so that a converge does not wait for the network. `converged` is a host that site.yml has set up without
tenants, without what identifies a host.  `released` is a host that the last release has set up for the scenario
`upgrade`.

An image's tag is a digest of its sources, so that checkouts that differ do not use each other's images.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import converged
import released
from podman import CHECKOUT, STATE, HostsError, exclusive, podman, run

#: Each leaves less to do than the one before.
STEPS = ("bare", "cached", "converged")
KINDS = (*STEPS, "released")
#: An image of any kind: the existing one that leaves the least to do; or the converged one that was used last, which
#: may have other roles.
BEST, RECENT = "best", "recent"
CHOICES = (*KINDS, BEST, RECENT)
REPOSITORY = "localhost/mailhosting-testhost"
RECIPE_LABEL = "mailhosting.recipe"
#: So many images of each kind stay, the last used ones.
KEPT = 8
#: Sources of the images of hosts after site.yml.
SOURCES = {
    "converged": ("playbooks", "plugins", "roles", "tests/hosts/converged", "tests/hosts/converged.py"),
    "released": (
        "tests/releases",
        "molecule/upgrade/inventory",
        "molecule/upgrade/released",
        "tests/hosts/released.py",
        "tests/hosts/converged.py",
    ),
}
SUITE = "trixie"
#: Older package lists name versions that mirrors no longer have.
FRESH = timedelta(days=7)
#: All files of a new image are older: its empty package lists must not look fresh to Ansible's apt.
OLD = timedelta(days=30)

PACKAGES = ("ca-certificates", "dbus", "iproute2", "openssh-server", "procps", "python3", "python3-apt", "systemd-sysv")
#: Shell lines that mmdebstrap runs with the new root as $1.
CUSTOMIZE = (
    # Every host creates its own keys on its first boot.
    'rm "$1"/etc/ssh/ssh_host_*',
    'mkdir "$1/etc/systemd/system/ssh.service.d"',
    r'printf "[Service]\nExecStartPre=\nExecStartPre=ssh-keygen -A\n" >"$1/etc/systemd/system/ssh.service.d/keys.conf"',
    # The only unit that fails in a container, which can load no kernel modules.
    'systemctl --quiet --root="$1" mask systemd-modules-load.service',
)
DOWNLOAD = (
    "set -e; export DEBIAN_FRONTEND=noninteractive; rm -f /etc/apt/apt.conf.d/docker-clean; apt-get -qq update;"
    ' apt-get -qq install --download-only --no-install-recommends "$@" </dev/null'
)


def ensure(kind: str, *, rebuild: bool = False) -> str:
    """The name of the image `kind`, built if it is missing or older than `FRESH`."""
    tag = f"{kind}-{recipe(kind)}"
    name = f"{REPOSITORY}:{tag}"
    with exclusive(f"image-{tag}"):
        if rebuild or not is_fresh(name):
            build(kind, name, rebuild=rebuild)
            podman("image", "prune", "--force", f"--filter=label={RECIPE_LABEL}")
        used(name).touch()
    for old in names(kind)[KEPT:]:
        # An image with hosts stays.
        with contextlib.suppress(HostsError):
            podman("rmi", old)
    return name


def choose(which: str) -> str:
    """The name of the image of a kind, or of `BEST` or `RECENT`; `BEST` builds `bare` at most."""
    if which == BEST:
        which = next(
            kind for kind in reversed(STEPS) if kind == "bare" or is_fresh(f"{REPOSITORY}:{kind}-{recipe(kind)}")
        )
    if which == RECENT:
        which = "converged"
        for name in names(which)[:1]:
            used(name).touch()
            return name
    return ensure(which)


def names(kind: str) -> list[str]:
    """The images of a kind, the last used one first."""
    reference = f"{REPOSITORY}:{kind}-*"
    return sorted({name for entry in found(reference) for name in entry["Names"]}, key=last_used, reverse=True)


def used(name: str) -> Path:
    """The file whose mtime tells when an image was used."""
    return STATE / f"image-{name.rpartition(':')[2]}.lock"


def last_used(name: str) -> float:
    """When an image was used, as a timestamp."""
    return used(name).stat().st_mtime if used(name).exists() else 0


@cache
def recipe(kind: str) -> str:
    """A digest of all that the image `kind` is made from, its code included."""
    parts: list[object] = [SUITE, PACKAGES, CUSTOMIZE, OLD]
    if kind in ("cached", "converged"):
        parts += [DOWNLOAD, role_packages()]
    parts += sources(SOURCES.get(kind, ()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def sources(places: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Every file of these files and folders, with its digest."""
    for folder in places:
        place = CHECKOUT / folder
        for path in sorted([place] if place.is_file() else place.rglob("*")):
            if path.is_file() and path.parent.name != "__pycache__":
                yield str(path.relative_to(CHECKOUT)), hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def role_packages() -> list[str]:
    """Every Debian package that a role installs; runs Ansible's Python, which can read the roles' variables."""
    python = CHECKOUT / ".cache" / "venv" / "bin" / "python"
    if not python.exists():
        raise HostsError("this image needs the virtual environment: run make venv")
    return sorted(set(run([str(python), str(CHECKOUT / "tests" / "hosts" / "packages.py")]).split()))


def found(reference: str) -> list[dict[str, Any]]:
    """The images whose name matches `reference`, as podman describes them."""
    listed: list[dict[str, Any]] = json.loads(
        podman("images", "--format=json", f"--filter=reference={reference}") or "[]"
    )
    return listed


def is_fresh(name: str) -> bool:
    """Whether the image `name` exists and is not too old."""
    made = [datetime.fromtimestamp(entry["Created"], tz=UTC) for entry in found(name)]
    return any(datetime.now(tz=UTC) - time < FRESH for time in made)


def build(kind: str, name: str, *, rebuild: bool) -> None:
    """Build the image `kind` as `name`."""
    changes = [f"--change=LABEL {RECIPE_LABEL}={recipe(kind)}", '--change=CMD ["/sbin/init"]']
    if kind == "bare":
        build_bare(name, changes)
    elif kind == "cached":
        build_cached(name, ensure("bare", rebuild=rebuild), changes)
    else:
        by = {"converged": converged.build, "released": released.build}
        by[kind](name, ensure("cached", rebuild=rebuild), recipe(kind), changes)


def build_bare(name: str, changes: list[str]) -> None:
    """Bootstrap Debian into the image `name`."""
    with tempfile.TemporaryDirectory(prefix="testhosts-") as folder:
        root = Path(folder) / "root.tar"
        options = ["--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", *proxy_options()]
        options += [f"--customize-hook={line}" for line in CUSTOMIZE]
        newest = datetime.now(tz=UTC) - OLD
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(int(newest.timestamp()))}
        run(["mmdebstrap", *options, SUITE, str(root)], env=environment)
        podman("import", *changes, str(root), name)


def proxy_options() -> list[str]:
    """The machine's own proxy settings, which the hosts need too."""
    dumped = run(["apt-config", "dump", '--format=%F "%v";%n', "Acquire::http::Proxy", "Acquire::https::Proxy"])
    return [f"--aptopt={line.rstrip(';')}" for line in dumped.splitlines() if not line.endswith('"";')]


def build_cached(name: str, base: str, changes: list[str]) -> None:
    """Download all packages in a container of `base` and keep it as the image `name`."""
    worker = f"testhosts-download-{os.getpid()}"
    try:
        podman("run", f"--name={worker}", "--privileged", base, "sh", "-c", DOWNLOAD, "download", *role_packages())
        podman("commit", *changes, worker, name)
    finally:
        podman("rm", "--force", "--ignore", worker)


def remove() -> None:
    """Remove all images, but for those that hosts of another run need."""
    for kind in reversed(KINDS):
        for name in names(kind):
            try:
                podman("rmi", name)
            except HostsError as failure:
                print(f"{name}: kept. {str(failure).strip().splitlines()[-1]}")
            else:
                print(f"{name}: removed")
