# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of test hosts, built from Debian's own packages.

`bare` is what a newly installed Debian 13 server has, `cached` the same with everything the roles install
already downloaded (not installed), so that a converge does not wait for the network.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from podman import CHECKOUT, Failure, exclusive, podman, run

KINDS = ("bare", "cached")
REPOSITORY = "localhost/mailhosting-testhost"
RECIPE_LABEL = "mailhosting.recipe"
SUITE = "trixie"
#: Older package lists name versions that mirrors have dropped.
FRESH = timedelta(days=7)
#: No file of a new image is newer: its empty package lists must not look fresh to Ansible's apt.
OLD = timedelta(days=30)

PACKAGES = ("ca-certificates", "dbus", "iproute2", "openssh-server", "procps", "python3", "python3-apt", "systemd-sysv")
#: Shell lines that mmdebstrap runs with the new root as $1.
CUSTOMIZE = (
    # Every host makes keys of its own on its first boot.
    'rm "$1"/etc/ssh/ssh_host_*',
    'mkdir "$1/etc/systemd/system/ssh.service.d"',
    r'printf "[Service]\nExecStartPre=\nExecStartPre=ssh-keygen -A\n" >"$1/etc/systemd/system/ssh.service.d/keys.conf"',
    # The only unit that fails in a container: there are no modules to load.
    'systemctl --quiet --root="$1" mask systemd-modules-load.service',
)
DOWNLOAD = (
    "set -e; export DEBIAN_FRONTEND=noninteractive; rm -f /etc/apt/apt.conf.d/docker-clean; apt-get -qq update;"
    ' apt-get -qq install --download-only --no-install-recommends "$@" </dev/null'
)


def ensure(kind: str, *, rebuild: bool = False) -> str:
    """The name of the image `kind`, built if it is missing, older than `FRESH` or of another recipe."""
    name = f"{REPOSITORY}:{kind}"
    packages = role_packages() if kind == "cached" else []
    with exclusive(f"image-{kind}"):
        recipe = hashlib.sha256(repr((SUITE, PACKAGES, CUSTOMIZE, OLD, DOWNLOAD, packages)).encode()).hexdigest()[:12]
        if not rebuild and is_fresh(name, recipe):
            return name
        if kind == "bare":
            build_bare(name, recipe)
        else:
            build_cached(name, ensure("bare", rebuild=rebuild), packages, recipe)
        podman("image", "prune", "--force", f"--filter=label={RECIPE_LABEL}")
    return name


def is_fresh(name: str, recipe: str) -> bool:
    """Whether the image `name` exists, by this recipe, and not too old."""
    found = json.loads(podman("images", "--format=json", f"--filter=reference={name}") or "[]")
    for entry in found:
        made = datetime.fromtimestamp(entry["Created"], tz=UTC)
        if (entry.get("Labels") or {}).get(RECIPE_LABEL) == recipe and datetime.now(tz=UTC) - made < FRESH:
            return True
    return False


def role_packages() -> list[str]:
    """Every Debian package a role installs; asks Ansible's Python, which can read the roles' variables."""
    python = CHECKOUT / ".cache" / "venv" / "bin" / "python"
    if not python.exists():
        raise Failure("the image `cached` needs the virtual environment: run make venv")
    return sorted(set(run([str(python), str(CHECKOUT / "tests" / "hosts" / "packages.py")]).split()))


def build_bare(name: str, recipe: str) -> None:
    """Bootstrap Debian into the image `name`."""
    with tempfile.TemporaryDirectory(prefix="testhosts-") as folder:
        root = Path(folder) / "root.tar"
        options = ["--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", *proxy_options()]
        options += [f"--customize-hook={line}" for line in CUSTOMIZE]
        newest = datetime.now(tz=UTC) - OLD
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(int(newest.timestamp()))}
        run(["mmdebstrap", *options, SUITE, str(root)], env=environment)
        podman("import", f"--change=LABEL {RECIPE_LABEL}={recipe}", '--change=CMD ["/sbin/init"]', str(root), name)


def proxy_options() -> list[str]:
    """The machine's own way to its mirror, which the hosts need too."""
    dumped = run(["apt-config", "dump", '--format=%F "%v";%n', "Acquire::http::Proxy", "Acquire::https::Proxy"])
    return [f"--aptopt={line.rstrip(';')}" for line in dumped.splitlines() if not line.endswith('"";')]


def build_cached(name: str, base: str, packages: list[str], recipe: str) -> None:
    """Download `packages` in a container of `base` and keep it as the image `name`."""
    worker = f"testhosts-download-{os.getpid()}"
    try:
        podman("run", f"--name={worker}", "--privileged", base, "sh", "-c", DOWNLOAD, "download", *packages)
        podman("commit", f"--change=LABEL {RECIPE_LABEL}={recipe}", '--change=CMD ["/sbin/init"]', worker, name)
    finally:
        podman("rm", "--force", "--ignore", worker)


def remove() -> None:
    """Remove both images, but for one that a host of another run still needs."""
    for kind in reversed(KINDS):
        name = f"{REPOSITORY}:{kind}"
        if not podman("images", "--quiet", f"--filter=reference={name}"):
            continue
        try:
            podman("rmi", name)
        except Failure as failure:
            print(f"{name}: kept. {str(failure).strip().splitlines()[-1]}")
        else:
            print(f"{name}: removed")
