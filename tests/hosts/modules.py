# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python on a test host that runs Ansible's modules in a third of the time: module_server.py with its library.

The library is of the Ansible in this checkout's virtual environment.  `make package` does without it, and so does the
first call of each module in tests/e2e: there each module brings all that it imports.
"""

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from podman import CHECKOUT, HostsError

HERE = Path(__file__).parent
PROGRAMS = ("module_client.py", "module_server.py")
#: Every host's own.
PYTHON = "/usr/bin/python3"
#: What every module imports, and the client of PostgreSQL, where that is installed.
IMPORTED = ("ansible.module_utils.basic", "psycopg")


def python(folder: str) -> str:
    """The path of that Python on a host, for ansible_python_interpreter; `folder` as given to `start`."""
    return f"{folder}/{PROGRAMS[0]}"


def start(folder: str, *names: str) -> str:
    """A shell script that restarts the server in `folder` with the `archive` in standard input.

    Modules find `IMPORTED` and `names` imported.  The server's unit is called as the folder.
    """
    unit = Path(folder).name
    return f"""
systemctl stop {unit} 2>/dev/null; rm -rf {folder} && mkdir -m 700 {folder} && cd {folder} && base64 -d | tar -xz &&
systemd-run --quiet --collect --unit={unit} --working-directory=/root \\
  {PYTHON} {folder}/module_server.py {" ".join([*IMPORTED, *names])}
"""


def ansible_utils() -> Path:
    """The folder of ansible.module_utils."""
    found = next((CHECKOUT / ".cache/venv/lib").glob("python3*/site-packages/ansible/module_utils"), None)
    if found is None:
        raise HostsError("Ansible's modules need the virtual environment: run make venv")
    return found


def archive(folders: Mapping[str, Path]) -> str:
    """The server with its library, as a tar in base64.

    The library has Ansible's module_utils, and `folders` by the names of their packages.

    Raises: HostsError without a virtual environment.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as made:
        # As in Ansible's own archives, the package itself is empty.
        made.addfile(tarfile.TarInfo("library/ansible/__init__.py"))
        for name, folder in {"ansible/module_utils": ansible_utils(), **folders}.items():
            for file in sorted(folder.rglob("*.py")):
                made.add(file, f"library/{name}/{file.relative_to(folder)}")
        for program in PROGRAMS:
            made.add(HERE / program, program)
    return base64.b64encode(packed.getvalue()).decode()
