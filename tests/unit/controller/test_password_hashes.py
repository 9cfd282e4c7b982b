# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hashes may be brought along."""

from __future__ import annotations

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.password_hashes import password_hash


@pytest.mark.parametrize(
    "text",
    [
        "hunter2", "{MD5}hunter2", "{ARGON2ID}", "{ARGON2ID}hunter 2", "{ssha}hunter2",
    ],
)  # fmt: skip
def test_no_hash_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"^not a password hash \(not shown\): {SCHEME}hash with one of ARGON2ID, "
    ) as it:
        password_hash(text)
    assert "hunter" not in str(it.value)


@pytest.mark.parametrize(
    "text",
    [
        "{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
        "{ARGON2I}$argon2i$v=19$m=262144,t=4,p=8$c2FsdA$aGFzaA",
        "{BLF-CRYPT}$2y$14$c2FsdHNhbHRzYWx0c2FsdA",
        "{SHA512-CRYPT}$6$c2FsdA$aGFzaA",
        "{SHA512-CRYPT}$6$rounds=1000000$c2FsdA$aGFzaA",
        "{SHA256-CRYPT}$5$rounds=5000$c2FsdA$aGFzaA",
        "{CRYPT}$6$c2FsdA$aGFzaA",
        "{CRYPT}$2b$10$c2FsdHNhbHRzYWx0c2FsdA",
        "{CRYPT}$y$j9T$c2FsdA$aGFzaA",
        "{CRYPT}$1$c2FsdA$aGFzaA",
        "{CRYPT}abJnggxhB/yWI",
        "{PBKDF2}$1$c2FsdA$1000000$aGFzaA",
        "{SCRAM-SHA-256}4096,c2FsdA==,aGFzaA==,aGFzaA==",
        "{SSHA512}aGFzaA==",
    ],
)
def test_a_hash_is_kept_as_it_is(text: str) -> None:
    assert password_hash(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "{ARGON2ID}$argon2id$v=19$m=262145,t=1,p=1$c2FsdA$aGFzaA",
        "{ARGON2ID}$argon2id$v=19$m=262144,t=5,p=1$c2FsdA$aGFzaA",
        "{ARGON2ID}$argon2id$v=19$t=2,m=4194304,p=1$c2FsdA$aGFzaA",
        "{ARGON2ID}aGFzaA",
        "{BLF-CRYPT}$2y$15$c2FsdHNhbHRzYWx0c2FsdA",
        "{BLF-CRYPT}$6$rounds=999999999$c2FsdA$aGFzaA",
        "{SHA512-CRYPT}$6$rounds=1000001$c2FsdA$aGFzaA",
        "{SHA512-CRYPT}$2b$31$c2FsdHNhbHRzYWx0c2FsdA",
        "{SHA256-CRYPT}$y$jFT$c2FsdA$aGFzaA",
        "{CRYPT}$5$rounds=999999999$c2FsdA$aGFzaA",
        "{CRYPT}$y$jFT$c2FsdA$aGFzaA",
        "{CRYPT}$7$CU..../....c2FsdA$aGFzaA",
        "{CRYPT}$sha1$4294967295$c2FsdA$aGFzaA",
        "{PBKDF2}$1$c2FsdA$1000001$aGFzaA",
        "{SCRAM-SHA-256}2147483647,c2FsdA==,aGFzaA==,aGFzaA==",
    ],
)
def test_a_hash_that_keeps_the_host_busy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"costs too much to check: at most 1000000 rounds") as it:
        password_hash(text)
    assert "c2FsdA" not in str(it.value)


def test_a_password_in_clear_is_for_the_operators_module_alone() -> None:
    with pytest.raises(ValueError, match=r"{PLAIN} is no hash .*: keep it among the secrets, or give a hash") as it:
        password_hash("{PLAIN}hunter2")
    assert "hunter" not in str(it.value)
    assert password_hash("{PLAIN}hunter2", may_be_plain=True) == "{PLAIN}hunter2"
