# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory on disk, and the result of reading it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.mailhosting.stack.plugins.plugin_utils._tenant_files import folders
from ansible_collections.mailhosting.stack.plugins.plugin_utils._tenant_files.vault import Vault

#: A valid inventory; each test changes a part of it.
FILES = {
    "tenants/acme.yml": """\
plan: basic
domains:
  acme.example:
""",
    "tenants/bolt.yml": """\
plan: basic
domains:
  bolt.example:
""",
    "addresses/acme.yml": """\
acme.example:
  accounts:
    taro:
    ken: {forward: {to: [ken@home.example]}}
  aliases:
    sales: [taro, ken]
""",
    "secrets/acme.yml": """\
taro@acme.example: correct horse
""",
}

PLANS: dict[str, dict[str, Any]] = {"basic": {"max_accounts": 5}}


class Tree:
    """An inventory's folders below the working directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plans = PLANS
        self.vault_secrets: list[tuple[str, VaultSecret]] = []
        for name in ("tenants", "addresses", "secrets"):
            (root / name).mkdir()
        self.write(FILES)

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.root / name).write_text(text)

    def encrypt(self, text: str, password: bytes = b"right") -> str:
        return str(VaultLib([("default", VaultSecret(password))]).encrypt(text).decode())

    def give_vault_password(self, password: bytes) -> None:
        self.vault_secrets = [("default", VaultSecret(password))]

    def read(self, only: Collection[str] = (), *, time_zone: str = "UTC", **changed: Any) -> folders.Inventory:
        places = {name: str(self.root / name) for name in ("tenants", "addresses", "secrets", "cache")}
        return folders.read(
            folders.Folders(**{**places, **changed}),
            self.plans,
            Vault(self.vault_secrets).decrypt,
            only,
            time_zone=time_zone,
        )

    def lines(self, only: Collection[str] = (), **changed: Any) -> list[str]:
        """One line for each problem."""
        return [str(problem) for problem in self.read(only, **changed).problems]
