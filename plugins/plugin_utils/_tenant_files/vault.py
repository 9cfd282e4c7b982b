# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Vault for whole files and inline values, with the passwords that ansible-playbook was given.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

from typing import Final

from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultLib, VaultSecret

HEADER: Final = "$ANSIBLE_VAULT;"
NOT_GIVEN: Final = "encrypted, and no vault password was given (--vault-id, --vault-password-file, --ask-vault-pass)"
NOT_OPENED: Final = "encrypted, and none of the given vault passwords opens it"


class Vault:
    """Decrypts in memory; no plain text reaches a disk."""

    def __init__(self, secrets: list[tuple[str, VaultSecret]]) -> None:
        self._secrets = secrets
        self._library = VaultLib(secrets)

    def decrypt(self, ciphertext: str) -> str:
        """The plain text of `ciphertext`.

        Raises: ValueError with the reason and nothing secret.
        """
        if not self._secrets:
            raise ValueError(NOT_GIVEN)
        try:
            plaintext: bytes = self._library.decrypt(ciphertext.encode())
        except AnsibleError:
            raise ValueError(NOT_OPENED) from None
        try:
            return plaintext.decode()
        except UnicodeDecodeError:
            raise ValueError("the encrypted text is not UTF-8") from None
