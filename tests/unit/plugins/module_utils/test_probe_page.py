# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page beside a recording: each finding is there once, and a person knows what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._probe.assumptions import ASSUMPTIONS
from ansible_collections.compute_index.supply.plugins.module_utils._probe.exchanges import (
    CONFIRMED,
    CONTRADICTED,
    NOT_SEEN,
    Assumption,
    AssumptionFinding,
)
from ansible_collections.compute_index.supply.plugins.module_utils._probe.page import FORM, REPORT, file_beside, page_of
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[4]
_verdicts = st.lists(
    st.sampled_from([CONFIRMED, CONTRADICTED, NOT_SEEN]), min_size=len(ASSUMPTIONS), max_size=len(ASSUMPTIONS)
)


def page(**verdicts: str) -> str:
    """The page if all is as assumed but for these."""
    named = {name.replace("_", "-"): verdict for name, verdict in verdicts.items()}
    findings = [AssumptionFinding(each.id, named.get(each.id, CONFIRMED), "seen so") for each in ASSUMPTIONS]
    return page_of(findings, "/home/ann/recording.json", "1.0.0")


@given(_verdicts, st.text(st.characters(categories=["L", "N", "Zs"]), max_size=200))
def test_each_finding_is_there_once_below_its_verdict(verdicts: list[str], evidence: str) -> None:
    findings = [
        AssumptionFinding(each.id, verdict, "seen: " + evidence)
        for each, verdict in zip(ASSUMPTIONS, verdicts, strict=True)
    ]
    text = page_of(findings, "recording.json", "1.0.0")
    titles = {CONTRADICTED: "Contradicted", NOT_SEEN: "Not seen", CONFIRMED: "Confirmed"}
    sections = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])
    for finding in findings:
        assert [title for title in titles.values() if f"- `{finding.id}`:" in sections.get(title, "")] == [
            titles[finding.verdict]
        ]
    # Only a line with a word that is longer than a line may be longer.
    assert not [line for line in text.split("\n") if len(line) > 80 and max(map(len, line.split())) < 70]


def test_what_differs_says_what_follows_and_what_to_do() -> None:
    words = " ".join(page(names=CONTRADICTED, vocabulary=CONTRADICTED, busy=NOT_SEEN).split())
    assert "makes 50 assumptions about the API. Contradicted: 2. Not seen: 1. Confirmed: 47." in words
    assert "- Keep a registry (`provision_registry_dir` or `provision_registry_url`). (`names`)" in words
    assert "Seen: seen so. So: both are understood." in words
    assert "`busy`: 429 and 503 come with `Retry-After`. Not seen: seen so. If it is wrong: reads pause" in words


def test_where_nothing_differs_there_is_nothing_to_do() -> None:
    text = page()
    assert "- Nothing: no assumption is contradicted." in text
    assert "- Nothing: the collection manages each difference by itself." in page(vocabulary=CONTRADICTED)
    assert "## Contradicted" not in text and "## Not seen" not in text


def test_the_recording_is_named_without_its_folder_and_goes_to_a_form_that_asks_for_it() -> None:
    text = page()
    assert "`recording.json`, beside this page," in text and "ann" not in text.replace("`", "").split()
    assert "/home" not in text and f"<{REPORT}>" in text
    forms = [yaml.safe_load(file.read_text()) for file in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")]
    (form,) = [form for form in forms if form.get("name") == FORM]
    assert "recording" in [field.get("id") for field in form["body"]]


@pytest.mark.parametrize(
    ("recording", "file"),
    [
        ("", ""),
        ("recording.json", "recording.md"),
        ("a.b/recording", "a.b/recording.md"),
        ("recording.md", "recording.md.md"),
    ],
)
def test_the_page_never_replaces_the_recording(recording: str, file: str) -> None:
    assert file_beside(recording) == file


def test_each_rule_says_what_is_assumed_and_what_follows_if_it_is_wrong() -> None:
    for assumption in ASSUMPTIONS:
        assert all(assumption.statement), assumption.id


def test_without_docstrings_the_id_is_left() -> None:
    assert Assumption("gpus", lambda exchanges: None).statement == ("gpus", "", "")
