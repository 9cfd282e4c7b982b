# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hashes are accepted."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.password_hashes import matches, password_hash


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


#: Hashes of "tanstaaf", at the bounds; tests/e2e/logins/test_password.py has Dovecot verify the same.
HASHES = Path(__file__).parents[2] / "password_hashes.txt"
TAKEN = [line for line in HASHES.read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("text", TAKEN)
def test_a_hash_is_kept_as_it_is(text: str) -> None:
    assert password_hash(text) == text
    if "m=262144" not in text:
        assert matches("tanstaaf", text)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("{MD5-CRYPT}$1$saltsalt$roN2lUfEbZqZad1NpG.Zy1", "{CRYPT}$1$saltsalt$roN2lUfEbZqZad1NpG.Zy1"),
        ("{DES-CRYPT}ab/TdqTfG5VbQ", "{CRYPT}ab/TdqTfG5VbQ"),
    ],
)
def test_of_two_names_of_one_hash_one_is_kept(text: str, kept: str) -> None:
    assert password_hash(text) == password_hash(kept) == kept
    assert matches("tanstaaf", password_hash(text))


BCRYPT = "$2b$05$abcdefghijklmnopqrstuumJUK7dJmoK7yMfXBMkeTJL1Y.du7qIG"
SHA512 = "tX4RoG.fUorHs/kGqB.E.NfEYR4UgeFE19WZL6c0WaGIygAm9DnKwnwJ/QXWEop/mDSfIkZy3rPKwERzUvc6e1"
KEYS = "hukjeAsefHlm8UAVUSwcr79LgCc=,v5yH6hN+w1ZCyAO8PGg+dNGDOIE="


@pytest.mark.parametrize(
    "text",
    [
        "{SSHA}x", "{SSHA}aGFzaA==", "{SSHA256}aGFzaA==", "{SSHA512}aGFzaA==",
        "{SSHA}38HhBsgdBT/Dv8Jjn14NU5yOjnU=", "{SSHA}38HhBsgdBT/Dv8Jjn14NU5yOjnVz!",
        "{SSHA}38HhBsgdBT/Dv8Jjn14NU5yOjnVzcw",
        "{SSHA}dfc1e106c81d053fc3bfc263", "{SSHA256}38HhBsgdBT/Dv8Jjn14NU5yOjnVz",
        "{ARGON2ID}$argon2id$v=19$m=1024,t=2,p=1$c2FsdA$q83vq83vq83vq83vq83vqw",
        "{ARGON2ID}$argon2id$v=19$m=1024,t=2,p=1$c3Nzc3Nzc3M$aGFzaA",
        "{ARGON2ID}$argon2id$v=19$m=1024,t=2,p=1$c3Nzc3Nzc3M$q83vq83vq83vq83vq83vqw==",
        "{ARGON2ID}$argon2id$v=19$m=1024,t=2,p=1$c3Nzc3Nzc3M$q83vq83vq83vq83vq83vqx",
        "{ARGON2ID}$argon2id$v=16$m=1024,t=2,p=1$c3Nzc3Nzc3M$q83vq83vq83vq83vq83vqw",
        "{ARGON2ID}$argon2id$m=1024,t=2,p=1$c3Nzc3Nzc3M$q83vq83vq83vq83vq83vqw",
        "{ARGON2ID}$argon2d$v=19$m=1024,t=2,p=1$c3Nzc3Nzc3M$q83vq83vq83vq83vq83vqw",
        "{ARGON2ID}$argon2id$v=19$m=1024,t=02,p=1$c3Nzc3Nzc3M$q83vq83vq83vq83vq83vqw",
        "{ARGON2ID}$argon2id$v=19$m=1024,t=0,p=1$c3Nzc3Nzc3M$q83vq83vq83vq83vq83vqw",
        "{ARGON2ID}$argon2id$v=19$m=31,t=2,p=4$c3Nzc3Nzc3M$q83vq83vq83vq83vq83vqw",
        f"{{BLF-CRYPT}}{BCRYPT[:-1]}", f"{{BLF-CRYPT}}{BCRYPT[:28]}v{BCRYPT[29:]}", f"{{BLF-CRYPT}}{BCRYPT[:-1]}A",
        f"{{BLF-CRYPT}}{BCRYPT.replace('$05', '$03')}", f"{{BLF-CRYPT}}{BCRYPT.replace('2b', '2')}",
        "{BLF-CRYPT}$1$saltsalt$roN2lUfEbZqZad1NpG.Zy1", f"{{BLF-CRYPT}}$6$$$${SHA512}",
        f"{{SHA512-CRYPT}}$6$${SHA512[:-1]}", f"{{SHA512-CRYPT}}$6$${SHA512[:-1]}A", f"{{SHA512-CRYPT}}$5$${SHA512}",
        f"{{SHA512-CRYPT}}$6$rounds=999$salt${SHA512}", f"{{SHA512-CRYPT}}$6$rounds=01000$salt${SHA512}",
        f"{{SHA512-CRYPT}}$6$seventeen-letters${SHA512}", f"{{SHA512-CRYPT}}$6$sa:lt${SHA512}",
        "{CRYPT}ab/TdqTfG5Vb", "{CRYPT}ab/TdqTfG5VbR", "{CRYPT}$1$ninechars$roN2lUfEbZqZad1NpG.Zy1",
        "{CRYPT}$1$saltsalt$roN2lUfEbZqZad1NpG.Zy", "{MD5-CRYPT}ab/TdqTfG5VbQ", "{DES-CRYPT}$1$$FO0.sobzDZJVTUUo2gvW..",
        "{CRYPT}$y$j9T$a$6vbNDyvuj6UYUwqKqOxtTnZ2uGkkFNNx3g1BPFOgm21",
        "{CRYPT}$y$j9T$ab$6vbNDyvuj6UYUwqKqOxtTnZ2uGkkFNNx3g1BPFOgm21",
        "{CRYPT}$y$j9T$$6vbNDyvuj6UYUwqKqOxtTnZ2uGkkFNNx3g1BPFOgm2",
        "{PBKDF2}$1$salt$0$0000000000000000000000000000000000000000", "{PBKDF2}$1$salt$5000$cbaf13f7",
        "{PBKDF2}$1$salt$5000$g000000000000000000000000000000000000000",
        "{PBKDF2}$2$salt$5000$0000000000000000000000000000000000000000",
        f"{{SCRAM-SHA-1}}4095,cw==,{KEYS}", f"{{SCRAM-SHA-1}}4096,,{KEYS}", f"{{SCRAM-SHA-1}}4096,cw==,{KEYS},x",
        f"{{SCRAM-SHA-256}}4096,cw==,{KEYS}", f"{{SCRAM-SHA-1}}4096,cw,{KEYS}", f"{{SCRAM-SHA-1}}4096,cw==,{KEYS[:-8]}",
    ],
)  # fmt: skip
def test_what_would_never_let_its_user_in_or_everybody_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not shown") as it:
        password_hash(text)
    assert text.partition("}")[2] not in str(it.value)


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
