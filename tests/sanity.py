# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run `ansible-test sanity`, with all arguments given, on a copy of this checkout.

ansible-test must run in .../ansible_collections/mailhosting/stack, with no link in the path.  It also builds ten
virtual environments with a pip that it downloads.  Here it gets a home of its own with the pip of `make venv` and with
the package index in this machine's pip settings.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import yaml
from ansible_test._internal.python_requirements import get_venv_packages

CHECKOUT = Path(__file__).resolve().parents[1]
WORK = CHECKOUT / ".cache" / "sanity"
HOME = WORK / "home"
TOOLS = Path(sys.executable).parent
#: Replaces the script that installs pip: nine runs of that would be half of ansible-test's time.
GET_PIP = """\
import os, sysconfig

os.symlink({pip!r}, os.path.join(sysconfig.get_path("purelib"), "pip"))
"""


def output(*command: str) -> str:
    """Run `command` and return its output."""
    return subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout


def copy_checkout(target: Path) -> None:
    """Make `target` a copy of what a user installs, and of ansible-test's settings."""
    shutil.rmtree(target, ignore_errors=True)
    ignored = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())["build_ignore"]
    listed = output("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, listed):
        source = CHECKOUT / name
        published = not any(fnmatch(name, pattern) or fnmatch(name, f"{pattern}/*") for pattern in ignored)
        if source.is_file() and (published or name.startswith(("tests/config.yml", "tests/sanity/"))):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    # Otherwise ansible-test asks the checkout's git about the copy, which that ignores.
    subprocess.run(["git", "init", "--quiet", str(target)], check=True)


def prepare_home() -> None:
    """Give ansible-test the pip it would download, and pip its settings: ansible-test drops PIP_* variables."""
    cache = HOME / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    version = get_venv_packages(SimpleNamespace(version="any"))["pip"]
    script = cache / f"get_pip_{version.replace('.', '_')}.py"
    script.write_text(GET_PIP.format(pip=str(Path(sysconfig.get_path("purelib"), "pip"))))

    # Each test compiles what it uses.
    settings = {"quiet": ["2"], "compile": ["false"]}
    for line in output(str(TOOLS / "pip"), "config", "list").splitlines():
        name, _equals, value = line.partition("=")
        settings[name.rpartition(".")[2]] = ast.literal_eval(value).split()
    config = HOME / ".config" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name} = " + "\n  ".join(values) for name, values in settings.items()]
    config.write_text("[global]\n" + "\n".join(lines) + "\n")


def main() -> None:
    """Copy, prepare, run."""
    target = WORK / "ansible_collections" / "mailhosting" / "stack"
    copy_checkout(target)
    prepare_home()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = [str(TOOLS / "ansible-test"), "sanity", "--color", "no", "--python", python, *sys.argv[1:]]
    environment = {name: value for name, value in os.environ.items() if name != "ANSIBLE_CONFIG"}
    environment |= {"HOME": str(HOME), "PATH": f"{TOOLS}:{os.environ['PATH']}"}
    sys.exit(subprocess.run(command, cwd=target, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
