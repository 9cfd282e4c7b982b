# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a unit's sandbox lets happen, tried by the unit itself.

A process put into the namespaces of another has neither its system call filter nor its capabilities.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import testinfra

SCRIPT, SAID = "/run/e2e-script", "/run/e2e-said"


def outside(host: testinfra.host.Host, unit: str, acts: Mapping[str, str]) -> list[str]:
    """Which acts succeed as the unit's user without its sandbox; of the others, failing inside says nothing."""
    _write(host, SCRIPT, _script(acts))
    user = host.check_output(f"systemctl show --value --property=User {unit}") or "root"
    return host.check_output(f"systemd-run --quiet --wait --pipe --uid={user} /bin/sh {SCRIPT}").splitlines()


def inside(host: testinfra.host.Host, unit: str, acts: Mapping[str, str], verb: str = "start") -> list[str]:
    """Which acts succeed in place of what the unit runs at `verb`, start or reload; a reload stops nothing."""
    folder, key = Path(f"/run/systemd/system/{unit}.d"), f"Exec{verb.capitalize()}"
    _write(host, SCRIPT, _script(acts))
    try:
        host.check_output(f"mkdir -p {folder}")
        _write(
            host,
            folder / "e2e.conf",
            f"[Service]\nStandardOutput=truncate:{SAID}\nStandardError=null\n{key}=\n{key}=/bin/sh {SCRIPT}",
        )
        host.check_output(f"systemctl daemon-reload && systemctl {verb} {unit}")
        return host.check_output(f"cat {SAID}").splitlines()
    finally:
        host.check_output(f"rm -rf {folder} {SAID} && systemctl daemon-reload")


def _script(acts: Mapping[str, str]) -> str:
    """A shell script that says which of its acts succeeded."""
    return "\n".join(f"({act}) >/dev/null 2>&1 && echo {shlex.quote(name)}" for name, act in acts.items()) + "\ntrue"


def _write(host: testinfra.host.Host, path: object, text: str) -> None:
    host.check_output(f"cat >{path} <<'END'\n{text}\nEND")
