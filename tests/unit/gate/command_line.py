# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `mailhosting` on a host whose parts are elsewhere."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parents[3]


def run(
    host: dict[str, Any], *arguments: str, path: Path | None = None, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run it here, as starting Python each time takes long.

    `host` has the fields of the command's Host that are not the usual ones.  The programs in the folder `path` come
    before others, and `given` is its standard input.
    """
    from mailhosting.cli.command import main

    out, error = io.StringIO(), io.StringIO()
    paths = f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]
    with (
        patch.dict(os.environ, {"PATH": paths}),
        patch.object(sys, "stdin", io.StringIO(given)),
        redirect_stdout(out),
        redirect_stderr(error),
    ):
        try:
            code: Any = main(arguments, _host(host))
        except SystemExit as ended:
            code = ended.code
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), error.getvalue())


def words(host: dict[str, Any]) -> list[str]:
    """What starts it as a process."""
    # -P: what lies beside this file is not to be imported.
    return [sys.executable, "-P", __file__, json.dumps(host, default=str)]


def _host(fields: dict[str, Any]) -> Any:
    from mailhosting.cli.host import Host

    paths = {"gate_settings", "password_socket", "jails", "clusters"}
    values: dict[str, Any] = {name: Path(value) if name in paths else value for name, value in fields.items()}
    return Host(**values)


def _main() -> int:
    sys.dont_write_bytecode = True
    sys.path[:0] = [str(ROOT / "roles" / "programs" / "files"), str(ROOT / ".cache" / "programs")]
    from mailhosting.cli.command import main

    return main(sys.argv[2:], _host(json.loads(sys.argv[1])))


if __name__ == "__main__":
    sys.exit(_main())
