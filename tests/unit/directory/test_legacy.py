# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords that can be decrypted: who has a secret, its key, and the effect of a missing key."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory import legacy
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.problems import DirectoryError

from .build import HASH, PLANS, account, desired, tenant
from .conftest import Declare, Run, See

TARO = "taro@acme.example"
PASSWORD = "tanstaaf {PLAIN}%{user} é"
LEGACY = {"legacy_auth": True}


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = str(tmp_path / "legacy.keys")
    legacy.write_keys([legacy.new_key()], path)
    monkeypatch.setattr(legacy, "KEYS", path)
    return path


def secret(see: See, address: str = TARO) -> Any:
    """The stored secret, or None."""
    local_part, _at, domain = address.partition("@")
    query = """SELECT ac.legacy_secret FROM directory.account ac JOIN directory.address ad ON ad.account_id = ac.id
               WHERE ad.local_part = %s AND ad.domain = %s"""
    ((found,),) = see("mailhosting", query, local_part, domain)
    return found


def files(overrides: dict[str, Any] = LEGACY, **attributes: Any) -> Any:
    return desired(tenant("acme", account(TARO, **attributes), overrides=overrides))


def openssl(text: str, key: legacy.Key) -> str:
    _id, iv, ciphertext, _end = text.split("$")
    command = ["openssl", "enc", "-d", "-aes-256-cbc", "-K", key.value.hex(), "-iv", iv]
    done = subprocess.run(command, input=bytes.fromhex(ciphertext), capture_output=True, check=True)
    return done.stdout.decode()


def test_openssl_reads_what_is_encrypted() -> None:
    key = legacy.new_key()
    made = legacy.encrypt(PASSWORD, key)
    assert openssl(made, key) == PASSWORD
    assert legacy.decrypt(made, [legacy.new_key(), key]) == PASSWORD
    assert made != legacy.encrypt(PASSWORD, key)
    assert key.value.hex() not in repr(key)


def test_a_missing_and_a_wrong_key_are_told_apart() -> None:
    key = legacy.new_key()
    made = legacy.encrypt(PASSWORD, key)
    with pytest.raises(DirectoryError, match=f"key {key.id} is missing"):
        legacy.decrypt(made, [legacy.new_key()])
    wrong = legacy.Key(key.id, legacy.new_key().value)
    try:
        # With one wrong key in 256 the padding is valid by chance.
        assert legacy.decrypt(made, [wrong]) != PASSWORD
    except DirectoryError as error:
        assert "not the one" in str(error)  # noqa: PT017


@pytest.mark.parametrize("text", ["", "x\n", "a " + "0" * 63 + "\n", f"a {'0' * 64}\na {'1' * 64}\n", "\xff",
                                  f"a {'0' * 64} next\n"])  # fmt: skip
def test_a_file_that_is_no_list_of_keys(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(DirectoryError, match=str(path)):
        legacy.read_keys(str(path))


def test_only_a_plan_with_legacy_auth_keeps_a_secret(sync: Run, see: See, keys: str) -> None:
    assert sync(files({}, password=PASSWORD))["changed"]
    assert secret(see) is None
    result = sync(files(password="another"), update_password="always", fingerprint_key=keys)
    (key,) = legacy.read_keys(keys)
    assert legacy.decrypt(secret(see) or "", [key]) == "another"
    assert "another" not in json.dumps(result)
    assert key.value.hex() not in json.dumps(result)
    assert secret(see) not in json.dumps(result)


def test_a_hash_alone_clears_the_secret(sync: Run, see: See, keys: str) -> None:  # noqa: ARG001
    sync(files(password=PASSWORD))
    assert secret(see)
    sync(files(password_hash=HASH))
    assert secret(see) is None


@pytest.mark.parametrize("where", ["override", "plan"])
def test_a_plan_that_loses_it_clears_the_secrets(sync: Run, see: See, keys: str, where: str) -> None:  # noqa: ARG001
    plan = {"basic": {**PLANS["basic"], **LEGACY}}
    other = tenant("bolt", account("bill@bolt.example", password=PASSWORD), overrides=LEGACY)
    mine = tenant("acme", account(TARO, password=PASSWORD), overrides=LEGACY if where == "override" else {})
    sync(desired(mine, other, plans=PLANS if where == "override" else plan))
    assert secret(see)
    mine.overrides = {}
    sync(desired(mine, other))
    assert secret(see) is None
    assert secret(see, "bill@bolt.example")


def test_a_rename_keeps_the_secret(sync: Run, see: See, keys: str) -> None:  # noqa: ARG001
    sync(files(password=PASSWORD))
    kept = secret(see)
    renamed = tenant("acme", account("taro2@acme.example", renamed_from="taro"), overrides=LEGACY)
    sync(desired(renamed))
    assert secret(see, "taro2@acme.example") == kept


def test_without_keys_nothing_changes_and_the_accounts_are_named(sync: Run, see: See, keys: str) -> None:
    Path(keys).unlink()
    failed = sync(files(password=PASSWORD))
    assert failed["failed"]
    assert keys in failed["msg"]
    assert TARO in failed["msg"]
    assert PASSWORD not in json.dumps(failed)
    assert see("mailhosting", "SELECT FROM directory.account") == []
    # A tenant without legacy_auth needs no key.
    assert sync(files({}, password=PASSWORD))["changed"]


def test_what_dovecot_reads(sync: Run, see: See, keys: str) -> None:
    sync(desired(tenant("acme", account(TARO, password=PASSWORD), "none@acme.example", overrides=LEGACY)))
    (key,) = legacy.read_keys(keys)
    query = "SELECT username, key_id, secret, protocols, cleartext_auth, may_login FROM v1.legacy_login(%s, %s)"
    ((username, key_id, text, *rest),) = see("dovecot", query, "taro", "acme.example")
    assert (username, key_id) == (TARO, key.id)
    assert f"{key_id}${text}" == secret(see)
    assert rest == [["pop3s", "submission"], False, True]
    assert see("dovecot", query, "none", "acme.example")[0][1:3] == (None, None)
    assert see("dovecot", query, "nobody", "acme.example") == []


PASSDB = "passdb legacy_@KEY_ID@ {\n  key = '@KEY@'\n}\n"


def test_a_rotation(sync: Run, run: Run, see: See, keys: str, tmp_path: Path) -> None:
    (tmp_path / "passdb").write_text(PASSDB)
    conf = tmp_path / "conf"
    step = {"keys": keys, "passdb": str(tmp_path / "passdb"), "conf": str(conf)}
    sync(files(password=PASSWORD))
    (old,) = legacy.read_keys(keys)
    assert run("mail_legacy_keys", **step)["changed"]
    assert conf.stat().st_mode & 0o777 == 0o600
    assert not run("mail_legacy_keys", **step)["changed"]

    assert run("mail_legacy_keys", step="add", check=True, **step)["changed"]
    assert legacy.read_keys(keys) == [old]
    results = [run("mail_legacy_keys", step="add", **step)]
    kept, added = legacy.read_keys(keys)
    # Nothing is encrypted with a key that Dovecot has not read.
    assert kept == old
    sync(files(password="meanwhile"), update_password="always", fingerprint_key=keys)
    assert legacy.decrypt(secret(see) or "", [old]) == "meanwhile"
    # A login that misses a secret under the old key finds it under the new one; the reverse order would miss both.
    passdbs = conf.read_text()
    assert re.findall("passdb legacy_([0-9a-z]+)", passdbs) == [old.id, added.id]
    # After an interruption no step creates a third key or reverts a promotion.
    assert not run("mail_legacy_keys", step="add", **step)["changed"]
    assert run("mail_legacy_keys", step="promote", check=True, **step)["changed"]
    results.append(run("mail_legacy_keys", step="promote", **step))
    assert results[-1]["key_ids"] == [added.id, old.id]
    for again in ("present", "add", "promote"):
        assert not run("mail_legacy_keys", step=again, **step)["changed"]
    assert conf.read_text() == passdbs
    new = legacy.read_keys(keys)[0]

    results.append(run("mail_legacy_keys", step="reencrypt", **step))
    assert results[-1]["reencrypted"] == 1
    assert legacy.decrypt(secret(see) or "", [new]) == "meanwhile"

    results.append(run("mail_legacy_keys", step="remove", **step))
    assert legacy.read_keys(keys) == [new]
    assert old.id not in conf.read_text()
    for result in results:
        assert result["warnings"] == []
        assert not any(key.value.hex() in json.dumps(result) for key in (old, new))


def test_secrets_of_a_lost_key_are_named_and_nothing_is_lost(
    sync: Run, run: Run, see: See, keys: str, tmp_path: Path
) -> None:
    (tmp_path / "passdb").write_text(PASSDB)
    step = {"keys": keys, "passdb": str(tmp_path / "passdb"), "conf": str(tmp_path / "conf")}
    sync(files(password=PASSWORD))
    kept = secret(see)
    lost = legacy.read_keys(keys)[0].id
    legacy.write_keys([legacy.new_key()], keys)
    (warning,) = run("mail_legacy_keys", **step)["warnings"]
    assert f"{TARO} (key {lost})" in warning
    failed = run("mail_legacy_keys", step="reencrypt", **step)
    assert f"key {lost} is missing" in failed["msg"]
    assert secret(see) == kept


@pytest.mark.parametrize("step", ["add", "promote", "remove"])
def test_without_dovecots_passdb_no_key_changes(run: Run, keys: str, tmp_path: Path, step: str) -> None:
    before = Path(keys).read_text()
    failed = run("mail_legacy_keys", step=step, keys=keys, passdb=str(tmp_path / "passdb"), conf=str(tmp_path / "conf"))
    assert "Nothing was changed" in failed["msg"]
    assert Path(keys).read_text() == before


@pytest.fixture
def always(tmp_path: Path) -> dict[str, str]:
    """Options of a run that enforces plain passwords."""
    key = tmp_path / "fingerprint.key"
    key.write_text("0" * 64)
    return {"update_password": "always", "fingerprint_key": str(key)}


def lacking(result: dict[str, Any]) -> list[str]:
    return [text for text in result["warnings"] if text.startswith("legacy_auth: ")]


def test_an_account_older_than_the_plans_legacy_auth_gets_its_secret(
    sync: Run, see: See, keys: str, always: dict[str, str]
) -> None:
    sync(files({}, password=PASSWORD), **always)
    assert sync(files(password=PASSWORD), check=True, **always)["addresses"] == [TARO]
    result = sync(files(password=PASSWORD), **always)
    assert (result["addresses"], lacking(result)) == ([TARO], [])
    assert legacy.decrypt(secret(see) or "", legacy.read_keys(keys)) == PASSWORD
    again = sync(files(password=PASSWORD), **always)
    assert (again["changed"], lacking(again)) == (False, [])


def test_after_a_lost_key_setting_the_passwords_again_needs_no_other_ones(
    sync: Run, see: See, keys: str, always: dict[str, str]
) -> None:
    sync(files(password=PASSWORD), **always)
    legacy.write_keys([legacy.new_key()], keys)
    assert sync(files(password=PASSWORD), **always)["addresses"] == [TARO]
    assert legacy.decrypt(secret(see) or "", legacy.read_keys(keys)) == PASSWORD
    again = sync(files(password=PASSWORD), **always)
    assert (again["changed"], lacking(again)) == (False, [])


def test_while_there_is_no_key_runs_go_on_and_say_whom_it_concerns(
    sync: Run, see: See, keys: str, always: dict[str, str]
) -> None:
    sync(files(password=PASSWORD), **always)
    kept = secret(see)
    Path(keys).unlink()
    result = sync(files(password=PASSWORD, state="no_login"), **always)
    (warning,) = lacking(result)
    assert TARO in warning
    assert result["addresses"] == [TARO]
    assert secret(see) == kept


@pytest.mark.parametrize("attributes", [{"password": PASSWORD}, {"password_hash": HASH}, {}])
def test_whose_password_is_not_at_hand_is_named(
    sync: Run,
    see: See,
    keys: str,  # noqa: ARG001
    attributes: dict[str, Any],
) -> None:
    known = attributes or {"password_hash": HASH}
    sync(files({}, **known))
    for changed in (True, False):  # the warning comes at every run
        result = sync(files(**attributes))
        (warning,) = lacking(result)
        assert f"1 account: {TARO};" in warning
        assert result["changed"] is changed or not attributes
    assert secret(see) is None


def test_the_list_of_those_without_a_secret_is_short(sync: Run, keys: str) -> None:  # noqa: ARG001
    many = [account(f"u{number:02}@acme.example", password_hash=HASH) for number in range(25)]
    nobody = account("none@acme.example")
    others = tenant("bolt", account("bill@bolt.example", password_hash=HASH))
    (warning,) = lacking(sync(desired(tenant("acme", *many, nobody, overrides=LEGACY), others)))
    assert "25 accounts: u00@acme.example, " in warning
    assert "u09@acme.example and 15 more;" in warning
    assert "u10" not in warning
    assert "none@" not in warning
    assert "bill" not in warning


def test_a_module_enforces_the_secret_too(run: Run, see: See, keys: str, declare: Declare) -> None:
    declare(desired())
    settings = {"name": "acme", "plan": "basic", "domains": [{"name": "acme.example"}]}
    run("mail_tenant", **settings)
    mine = {"address": TARO, "password": PASSWORD, "update_password": "always"}
    run("mail_account", **mine)
    (warning,) = lacking(run("mail_tenant", overrides=LEGACY, **settings))
    assert TARO in warning
    run("mail_account", address="jiro@acme.example", password=PASSWORD)
    result = run("mail_account", **mine)
    assert (result["changed"], lacking(result)) == (True, [])
    assert legacy.decrypt(secret(see) or "", legacy.read_keys(keys)) == PASSWORD
    assert not run("mail_account", **mine)["changed"]
    legacy.write_keys([legacy.new_key()], keys)
    # A module warns of its own account only.
    (warning,) = lacking(run("mail_account", address=TARO, quota="5M"))
    assert f"1 account: {TARO};" in warning
    assert run("mail_account", **mine)["changed"]
    assert not run("mail_account", **mine)["changed"]


def test_a_wrong_key_of_the_right_name_is_named(sync: Run, run: Run, see: See, keys: str, tmp_path: Path) -> None:
    (tmp_path / "passdb").write_text(PASSDB)
    step = {"keys": keys, "passdb": str(tmp_path / "passdb"), "conf": str(tmp_path / "conf")}
    sync(desired(tenant("acme", *(account(f"{name}@acme.example", password=PASSWORD) for name in "abc"),
                        overrides=LEGACY)))  # fmt: skip
    (right,) = legacy.read_keys(keys)
    assert run("mail_legacy_keys", **step)["wrong_keys"] == []
    # Beside it a right key, and one without any secret.
    other = legacy.new_key()
    query = """UPDATE directory.account ac SET legacy_secret = %s FROM directory.address ad
               WHERE ad.account_id = ac.id AND ad.local_part = 'a' RETURNING ac.id"""
    see("mailhosting", query, legacy.encrypt(PASSWORD, other))
    wrong = right._replace(value=legacy.new_key().value)
    legacy.write_keys([wrong, other, legacy.new_key()], keys)
    for check in (True, False):
        result = run("mail_legacy_keys", check=check, **step)
        (warning,) = result["warnings"]
        assert f"key {right.id} in {keys} is not the one" in warning
        assert re.search("[bc]@acme.example", warning)
        assert (result["wrong_keys"], result["unreadable"]) == ([right.id], [])
        assert wrong.value.hex() not in json.dumps(result)
    # The other keys stay in use.
    assert wrong.value.hex() in (tmp_path / "conf").read_text()
    assert other.value.hex() in (tmp_path / "conf").read_text()
