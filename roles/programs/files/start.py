# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""start.py PROGRAM ARGUMENTS: start a program of the package beside this file, such as `gate` or `cli.limits`."""

import runpy
import sys
from pathlib import Path

# Root runs some programs. Compiled copies that root left could be newer than the files of a later release.
sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
del sys.argv[0]
runpy.run_module(f"mailhosting.{sys.argv[0]}", run_name="__main__", alter_sys=True)
