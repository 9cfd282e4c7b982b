# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML of tenants' files: no guessed types, every line number known, nothing executed or expanded."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.mailhosting.stack.plugins.plugin_utils._tenant_files import located_yaml as located
from hypothesis import given, settings
from hypothesis import strategies as st

PARSERS = pytest.mark.parametrize("loader", [located.LOADER, yaml.SafeLoader], ids=["fast", "pure"])


def broken(text: str, loader: Any) -> str:
    try:
        located.parse(text, loader)
    except located.BrokenYamlError as error:
        return f"{error.line}: {error}"
    pytest.fail("was read")


@PARSERS
def test_keys_and_lines(loader: Any) -> None:
    root = located.parse("no: 1\n001:\n  12:30: x\n'yes':\n- a\n- {b: c}\nno: 2\n", loader)
    assert isinstance(root, located.Mapping)
    assert [(key.text, key.line) for key, _ in root.items] == [("no", 1), ("001", 2), ("yes", 4), ("no", 7)]
    inner, values = root.items[1][1], root.items[2][1]
    assert isinstance(inner, located.Mapping)
    assert isinstance(values, located.Sequence)
    assert inner.items[0][0].text == "12:30"
    assert [item.line for item in values.items] == [5, 6]


@PARSERS
@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("false", False), ("null", None), ("~", None), ("", None), ("12", 12), ("-1", -1), ("0", 0),
     ("yes", "yes"), ("no", "no"), ("On", "On"), ("True", "True"), ("012", "012"), ("0x10", "0x10"), ("1_000", "1_000"),
     ("12:30", "12:30"), ("1.5", "1.5"), ("2026-11-21", "2026-11-21"), ("'true'", "true"), ('"12"', "12"), ('""', "")],
)  # fmt: skip
def test_native_values(text: str, value: object, loader: Any) -> None:
    root = located.parse(f"key: {text}\n", loader)
    assert isinstance(root, located.Mapping)
    node = root.items[0][1]
    assert isinstance(node, located.Scalar)
    result = node.native()
    assert (result, type(result)) == (value, type(value))


@PARSERS
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: *x", "1: an alias (*name) is not allowed: write the value out, or quote it"),
        ("a:\n  - &x 1", "2: an anchor (&name) is not allowed: quote the value if it is a text"),
        ("a: !!python/name:os.system", "1: a tag (!name) is not allowed: quote the value if it is a text"),
        ("a: !unsafe x", "1: a tag (!name) is not allowed: quote the value if it is a text"),
        ("a: 1\n---\nb: 2", "2: a second document (---) is not allowed"),
        ("a: 1\n? [b]\n: 2", "2: a key is a text, not a list or a mapping"),
        ("[" * 500, "1: more than 10 lists and mappings within each other"),
    ],
)
def test_what_is_refused(text: str, line: str, loader: Any) -> None:
    assert broken(text, loader) == line


@PARSERS
@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ("a: 1\n b: 2\n", "2: broken YAML: mapping values are not allowed "),
        ("a:\n\t- b\n", "2: broken YAML: found character "),
        ('a: "\n', "2: broken YAML: found unexpected end of stream"),
        ("# é\na: \x07\n", "2: broken YAML: "),
    ],
)
def test_broken_yaml(text: str, begin: str, loader: Any) -> None:
    assert broken(text, loader).startswith(begin)


@PARSERS
@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_empty(text: str, loader: Any) -> None:
    assert located.parse(text, loader) is None


@settings(deadline=None)  # the machine may be busy
@given(st.dictionaries(st.text(), st.text()))
def test_texts_survive(values: dict[str, str]) -> None:
    root = located.parse(yaml.safe_dump(values))
    assert isinstance(root, located.Mapping)
    assert {key.text: value.text for key, value in root.items if isinstance(value, located.Scalar)} == values
