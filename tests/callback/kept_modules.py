# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the archives of modules that Ansible builds, for its next runs: to build one takes half a second.

An archive is a module with all that it imports.  Ansible builds it once a run, in a folder that it removes at the end.
With this plugin that folder is a link to one under .cache.  There is one for each state of the collection's modules and
each version of Ansible.  Tests turn it on by ANSIBLE_CALLBACK_PLUGINS, with the folder of this file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import ansible
from ansible import constants
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: kept_modules
type: aggregate
short_description: Keeps archives of modules
description: They are kept for the next runs.
"""

CHECKOUT: Final = Path(__file__).resolve().parents[2]


def folder(checkout: Path) -> Path:
    """Where archives are kept for the modules as they are now."""
    digest = hashlib.sha256(ansible.__version__.encode())
    for kind in ("modules", "module_utils"):
        for file in sorted((checkout / "plugins" / kind).rglob("*.py")):
            digest.update(f"\0{file.relative_to(checkout)}\0".encode() + file.read_bytes())
    return checkout / ".cache" / "modules" / digest.hexdigest()[:12]


def keep() -> None:
    """Let this process, and those that it forks, keep what they build."""
    kept = folder(CHECKOUT)
    kept.mkdir(parents=True, exist_ok=True)
    link = Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache")
    if not link.exists():
        link.symlink_to(kept)


class CallbackModule(CallbackBase):
    """Ansible makes one when a playbook begins."""

    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kept_modules"

    def __init__(self) -> None:
        super().__init__()
        keep()
