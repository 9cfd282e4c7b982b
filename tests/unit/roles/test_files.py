# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How roles bring files to hosts."""

from __future__ import annotations

import re
from pathlib import Path

ROLES = Path(__file__).parents[3] / "roles"
#: Modules for which Ansible copies a file into the host's temporary folder, where a killed run leaves it.
LEAVE_FILES = re.compile(
    r"^ *(?:- )?ansible\.builtin\.(?:assemble|blockinfile|copy|lineinfile|template):", re.MULTILINE
)


def test_no_file_may_be_left_in_the_hosts_temporary_folder() -> None:
    tasks = [path for folder in ("tasks", "handlers") for path in ROLES.glob(f"*/{folder}/*.yml")]
    assert len(tasks) > 20
    assert [str(path.relative_to(ROLES)) for path in tasks if LEAVE_FILES.search(path.read_text())] == []
