# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache between runs: used only while nothing has changed, and never with secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.plugin_utils._tenant_files import cache, located_yaml

from .tree import FILES, Tree

# One letter more, with the text that the test searches for: as long as a hash with its salt.
HASH = "{SSHA512}" + ("oQpyO2NEKkKGCBd5wiFLC4mZWBYsOP2P" * 3)[:87]
STAPLE, WHOLE, INLINED, ESCAPED = ("{SSHA}" + text.ljust(28, "A") for text in ("staple", "whole", "inlined", "a"))


class Parsed(list[str]):
    """The texts that were parsed because the cache lacked them."""


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Parsed:
    texts = Parsed()
    parse = located_yaml.parse

    def noted(text: str) -> Any:
        texts.append(text)
        return parse(text)

    monkeypatch.setattr(located_yaml, "parse", noted)
    return texts


@pytest.fixture
def warm(tree: Tree, parsed: Parsed) -> Tree:
    """An inventory that has been read once."""
    tree.write({
        "addresses/acme.yml": FILES["addresses/acme.yml"].replace("taro:", "taro: {quota: 5M, restore: false}"),
        "addresses/bolt.yml": f"""\
bolt.example:
  accounts:
    a: {{password_hash: "{HASH}1"}}
    b: {{password_hash: '{STAPLE}', forward: null}}
    c: {{password_hash: "{HASH}1"}}
""",
    })  # fmt: skip
    assert tree.lines() == []
    parsed.clear()
    return tree


def content(tree: Tree) -> bytes:
    return b"".join(path.read_bytes() for path in (tree.root / "cache").iterdir())


def test_second_reading_gives_the_same_and_parses_secrets_alone(warm: Tree, parsed: Parsed) -> None:
    first = warm.read(cache=None)
    parsed.clear()
    assert warm.read() == first
    assert parsed == [FILES["secrets/acme.yml"]]


def test_only_a_changed_file_is_parsed(warm: Tree, parsed: Parsed) -> None:
    warm.write({"tenants/bolt.yml": FILES["tenants/bolt.yml"] + "state: no_login\n"})
    assert warm.read().desired.tenants["bolt"].state == "no_login"
    assert parsed == [FILES["tenants/bolt.yml"] + "state: no_login\n", FILES["secrets/acme.yml"]]
    parsed.clear()
    assert warm.read().desired.tenants["bolt"].state == "no_login"
    assert parsed == [FILES["secrets/acme.yml"]]


def test_vanished_file_is_forgotten(warm: Tree) -> None:
    (warm.root / "addresses/bolt.yml").unlink()
    assert warm.read().desired.tenants["bolt"].accounts == {}
    assert b"bolt.example" in content(warm)  # the tenant's domain
    assert b"password_hash" not in content(warm)


def test_only_its_owner_reads_it(warm: Tree) -> None:
    folder = warm.root / "cache"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600, 0o600]


def test_nothing_secret_is_in_it(warm: Tree) -> None:
    inline = "".join(f"        {text}\n" for text in warm.encrypt(INLINED).splitlines())
    warm.write({
        "tenants/whole.yml": warm.encrypt("plan: basic\ndomains: {whole.example: }\n"),
        "addresses/whole.yml": warm.encrypt(f"whole.example: {{accounts: {{a: {{password_hash: '{WHOLE}'}}}}}}\n"),
        "tenants/inline.yml": "plan: basic\ndomains: {inline.example: }\n",
        "addresses/inline.yml": f"inline.example:\n  accounts:\n    a:\n      password_hash: !vault |\n{inline}",
    })  # fmt: skip
    warm.give_vault_password(b"right")
    for _ in range(2):
        tenants = warm.read().desired.tenants
        hashes = {item.password_hash for tenant in tenants.values() for item in tenant.accounts.values()}
        assert hashes == {None, f"{HASH}1", STAPLE, WHOLE, INLINED}
        assert tenants["acme"].accounts["taro@acme.example"].password == "correct horse"
    kept = content(warm)
    assert b"inline.example" in kept  # the tenant's file has no secret
    for secret in (b"whole", b"inlined", b"staple", b"correct horse", b"{SSHA}", b"SSHA512", HASH.encode()):
        assert secret not in kept


def test_hash_that_is_written_with_escapes_is_not_kept(warm: Tree, parsed: Parsed) -> None:
    escaped = ESCAPED.replace("}a", "}\\x61")
    text = f'bolt.example: {{accounts: {{a: {{password_hash: "{escaped}"}}}}}}\n'
    warm.write({"addresses/bolt.yml": text})
    for _ in range(2):
        parsed.clear()
        assert warm.read().desired.tenants["bolt"].accounts["a@bolt.example"].password_hash == ESCAPED
        assert text in parsed


def test_file_with_mistakes_is_not_kept(warm: Tree) -> None:
    warm.write({"addresses/bolt.yml": "bolt.example: {accounts: {a: {x: y}, b: }}\n"})
    assert warm.lines() == warm.lines() != []


@pytest.mark.parametrize("at", [0, 40, -1])
def test_damaged_cache_is_read_past(warm: Tree, parsed: Parsed, at: int) -> None:
    first = warm.read()
    for path in (warm.root / "cache").iterdir():
        damaged = bytearray(path.read_bytes())
        damaged[at] ^= 1
        path.write_bytes(damaged)
    parsed.clear()
    assert warm.read() == first
    assert len(parsed) == 5
    parsed.clear()
    assert warm.read() == first  # and the cache was written anew
    assert len(parsed) == 1


def test_truncated_cache_is_read_past(warm: Tree, parsed: Parsed) -> None:
    for path in (warm.root / "cache").iterdir():
        path.write_bytes(b"")
    assert warm.lines() == []
    assert len(parsed) == 5


def test_cache_of_other_code_is_read_past(warm: Tree, parsed: Parsed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_code_version", lambda: b"other")
    assert warm.lines() == []
    assert len(parsed) == 5


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o722])
def test_folder_that_others_write_to_is_not_trusted(warm: Tree, parsed: Parsed, mode: int) -> None:
    (warm.root / "cache").chmod(mode)
    assert warm.lines() == []
    assert len(parsed) == 5


def test_file_that_others_write_to_is_not_trusted(warm: Tree, parsed: Parsed) -> None:
    for path in (warm.root / "cache").iterdir():
        path.chmod(0o622)
    assert warm.lines() == []
    assert len(parsed) == 5


def test_symbolic_link_is_not_followed(warm: Tree, parsed: Parsed) -> None:
    for path in (warm.root / "cache").iterdir():
        path.rename(warm.root / path.name)
        path.symlink_to(warm.root / path.name)
    assert warm.lines() == []
    assert len(parsed) == 5


def test_without_a_place_for_it_everything_works(tree: Tree) -> None:
    (tree.root / "occupied").write_text("")
    assert tree.lines(cache=str(tree.root / "occupied/cache")) == []
    assert tree.lines(cache=str(tree.root / "occupied")) == []
    assert (tree.root / "occupied").read_text() == ""


def test_interrupted_writing_leaves_nothing(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_source: str, _target: str) -> None:
        raise OSError

    monkeypatch.setattr("os.replace", fail)
    assert tree.lines() == []
    assert list((tree.root / "cache").iterdir()) == []


def test_each_folder_has_its_own(warm: Tree, tmp_path: Path) -> None:
    before = sorted(path.name for path in (warm.root / "cache").iterdir())
    (tmp_path / "other").mkdir()
    warm.lines(addresses=str(tmp_path / "other"))
    assert set(before) <= {path.name for path in (warm.root / "cache").iterdir()}
