# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second run of playbooks/site.yml on the demo's host: it changes nothing; and the time by task."""

from __future__ import annotations

import os
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from common import CHECKOUT, Figure, Host, at_most, publish

SITE = "mailhosting.stack.site"
#: Seconds of a trivial task over pipelined ssh.
TASK_SECONDS = 0.33
SLOWEST = 10


def timed_tasks(folder: Path) -> list[tuple[float, str]]:
    """(seconds, role and name) of every task that ran, from the report of ansible.builtin.junit."""
    (report,) = folder.glob("*.xml")
    cases = ET.parse(report).iter("testcase")  # noqa: S314 - our own file
    ran = [case for case in cases if case.find("skipped") is None]
    return [(float(case.get("time", 0)), case.get("name", "").rpartition("mailhosting.stack.")[2]) for case in ran]


def main() -> None:
    """Run it twice and report the second run."""
    host = Host("mx1", CHECKOUT / "inventories" / "demo" / "hosts.yml")
    first = host.play(SITE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.junit", "JUNIT_OUTPUT_DIR": folder}
        os.environ["JUNIT_HIDE_TASK_ARGUMENTS"] = "true"
        second = host.play(SITE)
        tasks = timed_tasks(Path(folder))
    slowest = [
        Figure(f"slowest task {rank}: {name}", seconds, "s")
        for rank, (seconds, name) in enumerate(sorted(tasks, reverse=True)[:SLOWEST], start=1)
    ]
    publish(
        "site",
        [
            Figure("site.yml, first run, packages downloaded", first, "s"),
            at_most("site.yml, second run", second, "s", 25),
            Figure("tasks that ran", len(tasks), ""),
            at_most(f"second run ÷ (tasks × {TASK_SECONDS} s)", second / (len(tasks) * TASK_SECONDS), "", 2),
            *slowest,
        ],
    )


if __name__ == "__main__":
    main()
