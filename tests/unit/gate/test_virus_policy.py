# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What findings mean by several policies: the table of docs/virus.md, and what it does not show."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Final, cast

import pytest
from mailhosting.gate.model import Tenant, VirusAction, VirusCheck, VirusPolicy
from mailhosting.gate.scan.findings import (
    CONTENT,
    EXECUTABLE,
    MACROS,
    UNPACKED,
    Finding,
    Kind,
    Limits,
    Report,
    ScannedPart,
)
from mailhosting.gate.virus_policy import ARRIVES, Concern, Judgement, concerns, exceeded, judge, limits

PAGE: Final = Path(__file__).parents[3] / "docs" / "virus.md"
#: How the page names what arrives.
ARRIVING: Final = {"keep": "the mail", "strip": "the stripped mail"}
CHECK: Final = VirusCheck(
    inbound=VirusPolicy("strip", "strip", ()),
    outbound=VirusPolicy("strip", "strip", ()),
    heuristics="mark",
    pua="pass",
    encrypted="pass",
    unreadable="mark",
    partial="reject",
    reject_files=(),
    max_unpacked_size=100,
    max_content_size=None,
    keep=0,
)


def part(index: int, *, is_attachment: bool) -> ScannedPart:
    return ScannedPart(index, 10 * index, 10 * index + 5, 10 * index + 9, min(index, 1), "x/y", is_attachment, b"", "")


#: A multipart of a text and an attachment.
PARTS: Final = (part(0, is_attachment=False), part(1, is_attachment=False), part(2, is_attachment=True))
TEXT, ATTACHMENT = 1, 2
EICAR: Final = Finding("virus", "Eicar", ATTACHMENT)


def found(*findings: Finding) -> Report:
    return Report(PARTS, findings)


def scanned(name: str, inbound: VirusAction = "strip", outbound: VirusAction = "strip", **settings: Any) -> Tenant:
    check = replace(
        CHECK,
        inbound=VirusPolicy(inbound, inbound, ()),
        outbound=VirusPolicy(outbound, outbound, ()),
        **settings,
    )
    return Tenant(len(name), name, None, None, (), (), (), bulk_mail=None, virus=check)


def table() -> list[tuple[str, ...]]:
    """The rows of the page's table of pairs."""
    lines = PAGE.read_text(encoding="utf-8").split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith("| one recipient's policy"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    return rows


def of_policy(policy: str) -> Judgement:
    receivers = () if policy == "no scan" else (scanned("t", cast("VirusAction", policy)),)
    return judge(concerns(None, receivers), found(EICAR))


def test_the_page_has_all_pairs() -> None:
    policies = ("no scan", "strip", "quarantine", "delete", "reject")
    pairs = {frozenset(row[:2]) for row in table()}
    assert pairs == {frozenset(pair) for pair in product(policies, repeat=2)}
    assert len(table()) == len(pairs)


@pytest.mark.parametrize(("one", "other", "ones", "others", "reply"), table())
def test_two_recipients_with_policies_of_their_own(one: str, other: str, ones: str, others: str, reply: str) -> None:
    judgements = [of_policy(one), of_policy(other)]
    content = "the stripped mail" if any(each.fate == "strip" for each in judgements) else "the mail"
    got = [content if each.fate in ARRIVES else "nothing" for each in judgements]
    assert got == [ones, others]
    assert reply == ("550" if all(each.fate == "reject" for each in judgements) else "250")


@pytest.mark.parametrize(
    ("outbound", "inbound", "fate", "whose"),
    [
        ("strip", "strip", "strip", "sender"),
        ("strip", "delete", "delete", "receiver"),
        ("delete", "strip", "delete", "sender"),
        ("delete", "delete", "delete", "sender"),
        ("quarantine", "delete", "delete", "receiver"),
        ("delete", "reject", "reject", "receiver"),
        ("strip", "quarantine", "quarantine", "receiver"),
    ],
)
def test_the_severest_of_a_recipients_policies_decides(
    outbound: VirusAction, inbound: VirusAction, fate: str, whose: str
) -> None:
    sender, receiver = scanned("sender", outbound=outbound), scanned("receiver", inbound)
    judgement = judge(concerns(sender, [receiver]), found(EICAR))
    assert judgement.fate == fate
    assert judgement.concern is not None
    assert judgement.concern.tenant.name == whose


def test_text_and_attachment_have_actions_of_their_own() -> None:
    tenant = scanned("t")
    assert tenant.virus is not None
    policy = replace(tenant.virus, inbound=VirusPolicy("strip", "delete", ()))
    concern = Concern(tenant, policy, outbound=False)
    in_text = Finding("virus", "Eicar", TEXT)
    assert judge([concern], found(EICAR)).fate == "strip"
    assert judge([concern], found(in_text)).fate == "delete"
    assert judge([concern], found(EICAR, in_text)).fate == "delete"
    # What is in the message, and in none of its parts, is in its text.
    assert judge([concern], found(Finding("virus", "Eicar", 0))).fate == "delete"


@pytest.mark.parametrize(
    ("kind", "name", "settings", "fate"),
    [
        ("heuristic", "Heuristics.X", {"heuristics": "pass", "pua": "reject"}, "keep"),
        ("heuristic", "Heuristics.X", {"heuristics": "virus"}, "delete"),
        ("heuristic", "Heuristics.X", {"heuristics": "reject"}, "reject"),
        ("heuristic", "PUA.X", {"heuristics": "reject", "pua": "pass"}, "keep"),
        ("heuristic", "PUA.X", {"pua": "virus"}, "delete"),
        ("encrypted", "ZIP", {"encrypted": "pass"}, "keep"),
        ("encrypted", "ZIP", {"encrypted": "reject"}, "reject"),
        ("unreadable", "RAR", {"unreadable": "reject"}, "reject"),
        ("partial", "partial", {"partial": "pass"}, "keep"),
        ("partial", "partial", {"partial": "reject"}, "reject"),
        ("file_type", EXECUTABLE, {"reject_files": (MACROS,)}, "keep"),
        ("file_type", EXECUTABLE, {"reject_files": (EXECUTABLE,)}, "reject"),
    ],
)
def test_each_class_has_a_policy_of_its_own(kind: Kind, name: str, settings: dict[str, Any], fate: str) -> None:
    judgement = judge(concerns(None, [scanned("t", "delete", **settings)]), found(Finding(kind, name, ATTACHMENT)))
    assert (judgement.fate, judgement.marked) == (fate, ())


@pytest.mark.parametrize(
    ("kind", "name", "key"),
    [
        ("heuristic", "Heuristics.X", "heuristics"),
        ("encrypted", "ZIP", "encrypted"),
        ("unreadable", "7z", "unreadable"),
    ],
)
def test_what_is_marked_arrives(kind: Kind, name: str, key: str) -> None:
    finding = Finding(kind, name, ATTACHMENT)
    judgement = judge(concerns(None, [scanned("t", "strip", "strip", **{key: "mark"})]), found(finding))
    assert (judgement.fate, judgement.marked, judgement.concern) == ("keep", (finding,), None)


def test_the_smallest_limits_of_all_count() -> None:
    one = scanned("one", max_unpacked_size=60, max_content_size=None)
    other = scanned("other", max_unpacked_size=100, max_content_size=50)
    assert limits(concerns(one, [other])) == Limits(unpacked=60, content=50)
    assert limits(concerns(None, [one])) == Limits(unpacked=60, content=None)


def test_a_limit_is_no_policys_matter() -> None:
    beyond = Finding("limit", UNPACKED, ATTACHMENT)
    assert exceeded(found(EICAR, beyond, Finding("limit", CONTENT, 0))) == beyond
    assert exceeded(found(EICAR)) is None
    assert judge(concerns(None, [scanned("t", "reject")]), found(beyond)).fate == "keep"


def test_a_plan_without_a_scan_concerns_nothing() -> None:
    assert concerns(None, [replace(scanned("t"), virus=None)]) == ()
    assert judge((), found(EICAR)) == Judgement()
