# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role clamav writes for clamd, freshclam and systemd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import REPOSITORY, Play

ROLE = REPOSITORY / "roles" / "clamav"
MEBIBYTE = 1 << 20


def rendered(play: Play, folder: Path, template: str, **variables: Any) -> list[str]:
    """The lines of a file of the role's."""
    source = folder / "templates"
    source.symlink_to(ROLE / "templates")
    task = {"template": {"src": template, "dest": str(folder / "made"), "trim_blocks": True, "lstrip_blocks": True}}
    files = [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")]
    listed = [{"hosts": "all", "gather_facts": False, "vars_files": files, "tasks": [task]}]
    run = play(yaml.safe_dump(listed), "--extra-vars", json.dumps(variables))
    assert run.returncode == 0, run.stdout
    return (folder / "made").read_text().splitlines()


@pytest.mark.parametrize(("message", "unpacked", "scans"), [(50, 100, 8), (20, 60, 1), (200, 10, 60), (900, 900, 8)])
def test_clamd_does_what_the_largest_plan_and_the_gate_need(
    play: Play, tmp_path: Path, message: int, unpacked: int, scans: int
) -> None:
    sizes = {"clamav_message_size": message * MEBIBYTE, "clamav_unpacked_size": unpacked * MEBIBYTE}
    lines = rendered(play, tmp_path, "clamav/clamd.conf.j2", clamav_scans=scans, **sizes)
    found = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    number = {name: int(value) for name, value in found.items() if value.isdigit()}
    assert number["StreamMaxLength"] > max(sizes.values())
    # Or clamd would skip a file, and call the archive clean.
    assert number["MaxFileSize"] >= number["MaxScanSize"]
    assert number["MaxScanSize"] >= min(sizes["clamav_message_size"] + sizes["clamav_unpacked_size"], 2**31 - 1)
    assert number["MaxFileSize"] < 2**31
    assert found["AlertExceedsMax"] == found["AlertEncrypted"] == found["ConcurrentDatabaseReload"] == "yes"
    # Both instances of the gate at once, and a reload.
    assert number["MaxThreads"] > 2 * scans
    assert number["MaxQueue"] >= 2 * number["MaxThreads"]


def settings(lines: list[str]) -> list[str]:
    return [line for line in lines if line and not line.startswith("#")]


def test_freshclam_fetches_from_clamav_unless_told_otherwise(play: Play, tmp_path: Path) -> None:
    said = settings(rendered(play, tmp_path, "clamav/freshclam.conf.j2"))
    assert "DatabaseMirror database.clamav.net" in said
    others = ("PrivateMirror", "HTTPProxy", "ExcludeDatabase", "DatabaseCustomURL")
    assert not any(line.startswith(others) for line in said)


def test_freshclam_does_what_it_is_told(play: Play, tmp_path: Path) -> None:
    said = settings(
        rendered(
            play,
            tmp_path,
            "clamav/freshclam.conf.j2",
            clamav_databases=["daily", "extra"],
            clamav_private_mirrors=["http://one.example", "http://two.example"],
            clamav_urls=["https://three.example/own.ndb"],
            clamav_proxy={"server": "proxy.example", "port": 3128, "username": "clam", "password": "between us"},
        )
    )
    assert said[said.index("PrivateMirror http://one.example") :] == [
        "PrivateMirror http://one.example",
        "PrivateMirror http://two.example",
        "DatabaseMirror database.clamav.net",
        "ExcludeDatabase bytecode",
        "ExcludeDatabase main",
        "ExtraDatabase extra",
        "DatabaseCustomURL https://three.example/own.ndb",
        "HTTPProxyServer proxy.example",
        "HTTPProxyPort 3128",
        "HTTPProxyUsername clam",
        "HTTPProxyPassword between us",
    ]


@pytest.mark.parametrize(
    ("databases", "patterns"),
    [
        (["main", "daily", "bytecode"], "daily.c[lv]d main.c[lv]d"),
        (["daily"], "daily.c[lv]d"),
        ([], "*.[chlmn][dlsv][bd]"),
    ],
)
def test_clamd_waits_for_the_first_of_all_that_is_fetched(
    play: Play, tmp_path: Path, databases: list[str], patterns: str
) -> None:
    lines = rendered(play, tmp_path, "systemd/clamav-daemon.service.j2", clamav_databases=databases)
    assert any(f"until ls -d {patterns} >/dev/null" in line for line in lines)
    # The included part ends with a line of its own.
    assert "SystemCallErrorNumber=EPERM" in lines
    assert "[Install]" in lines


@pytest.mark.parametrize(
    ("databases", "urls", "runs"), [(["daily"], [], True), ([], ["file:///x.ndb"], True), ([], [], False)]
)
def test_freshclam_runs_only_if_there_is_something_to_fetch(
    play: Play, tmp_path: Path, databases: list[str], urls: list[str], runs: bool
) -> None:
    lines = rendered(
        play, tmp_path, "systemd/clamav-freshclam.service.j2", clamav_databases=databases, clamav_urls=urls
    )
    assert ("ConditionPathExists=!/" not in lines) is runs
