# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures and words as people write and read them."""

from __future__ import annotations

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible_collections.compute_index.supply.plugins.module_utils import _text


@pytest.mark.parametrize(
    ("price", "text"),
    [
        (0.0, "0.00"),
        (2, "2.00"),
        (2.5, "2.50"),
        (19.92, "19.92"),
        (2.345, "2.345"),
        (0.1 + 0.2, "0.30"),
        (0.000001, "0.000001"),
        (1234.5, "1234.50"),
        (2.0000001, "2.00"),
        (1e-7, "0.00"),
    ],
)
def test_an_amount_has_cents_and_more_digits_only_where_there_are_any(price: float, text: str) -> None:
    assert _text.amount(price) == text
    assert _text.usd(price) == f"USD {text} per hour"


@pytest.mark.parametrize(
    "host", ["gpu-1", "gpu 5", "ünï", "a,b", "!a", "~a", "a*", "a[1:3]", "x:y", "-x", "日 本", "q'\""]
)
def test_a_pattern_matches_just_its_host(host: str) -> None:
    manager = InventoryManager(DataLoader(), parse=False)
    manager.add_group("gpu")
    for name in (host, "gpu-1", "gpu-5", "5", "a", "b", "x", "y", "本"):
        manager.add_host(name, group="gpu")
    assert [found.name for found in manager.get_hosts(pattern=[_text.host_pattern(host)])] == [host]


@pytest.mark.parametrize(
    ("hosts", "option"),
    [
        (["gpu-1"], "-e decommission_hosts=gpu-1"),
        (["gpu-1", "gpu-2", "gpu-3"], "-e 'decommission_hosts=gpu-[1:3]'"),
        # Without quotes within the quotes, Ansible would take them for the group gpu, and for two hosts.
        (["gpu 5"], "-e decommission_hosts=<host>"),
        (["gpu-1", "a,b"], "-e decommission_hosts=<host>"),
    ],
)
def test_a_command_that_ends_hosts_names_no_others(hosts: list[str], option: str) -> None:
    assert _text.end_option(hosts) == option


def test_an_unknown_price_is_said_to_be_unknown() -> None:
    assert _text.usd(None) == "an unknown price"


KNOWN = ("region", "vendor", "compute", "storage", "gpu_count", "gpu_type")


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("region", None),
        ("regoin", "region"),
        ("rgoin", "region"),
        ("regions", "region"),
        ("Region", "region"),
        ("regio", "region"),
        ("regi", "region"),
        ("reg", None),
        ("zone", None),
        ("gpu_cuont", "gpu_count"),
        ("gpu_cnt", "gpu_count"),
        ("gpucount", "gpu_count"),
        ("gpu-count", "gpu_count"),
        ("GPU__Count", "gpu_count"),
        ("GPU_TPYE", "gpu_type"),
        ("gpu_tpye", "gpu_type"),
        ("upg_count", "gpu_count"),
        ("compure", "compute"),
        ("strogae", "storage"),
        ("cluster", None),
        ("", None),
    ],
)
def test_a_mistyped_word_is_within_two_edits_of_a_known_one(word: str, near: str | None) -> None:
    assert _text.nearest(word, KNOWN) == near


def test_the_nearest_word_is_named() -> None:
    assert _text.nearest("cat", ("cart", "act", "bats")) == "cart"
    assert _text.nearest("bat", ("cart", "bats")) == "bats"
    assert _text.nearest("x", ()) is None


def test_a_word_of_any_length_is_compared_at_once() -> None:
    assert _text.nearest("x" * 10_000_000, KNOWN) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("90s", 90), (" 30m ", 1800), ("1.5h", 5400), ("2h", 7200), ("3d", 259_200), ("0.5", 0.5)],
)
def test_a_duration_is_a_number_with_or_without_a_unit(text: str, seconds: float) -> None:
    assert _text.duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "soon", "-1", "1 h", "1h30m", "1e3", "inf", "nan", "1w", "1H", "٣", "9" * 10, "1\n2"]
)
def test_what_is_no_duration_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="must be a number of seconds, or a duration such as 90s or 30m, not '"):
        _text.duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (2.5, "2.5 seconds"),
        (60, "1 minute"),
        (90, "90 seconds"),
        (1800, "30 minutes"),
        (3600, "1 hour"),
        (5400, "90 minutes"),
        (86_400, "24 hours"),
    ],
)
def test_a_duration_is_said_in_whole_numbers(seconds: float, text: str) -> None:
    assert _text.duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0s"), (59, "59s"), (60, "1m"), (7199, "119m"), (7200, "2h"), (172_799, "47h"), (172_800, "2d")],
)
def test_an_age_is_short(seconds: float, text: str) -> None:
    assert _text.age(seconds) == text


def test_the_sentences_whose_condition_holds_apply() -> None:
    assert _text.applicable({"a": True, "b": "", "c": ["x"], "d": None}) == ["a", "c"]


def test_lines_of_a_report_are_folded() -> None:
    report = ["host   USD/h", "", "  -e a=b", " ".join(["word"] * 20), "x" * 80]
    folded = _text.folded_lines(report)
    assert folded == [*report[:3], " ".join(["word"] * 14), f"  {' '.join(['word'] * 6)}", "x" * 80]


def test_a_variable_of_a_command_stays_whole() -> None:
    text = "To end it: compute_index.supply.decommission -e decommission_hosts=run-train -e a=b"
    folded = ["To end it: compute_index.supply.decommission", "  -e decommission_hosts=run-train -e a=b"]
    assert _text.wrapped(text, indent="  ") == folded
    assert _text.wrapped("the-e x", 6) == ["the-e", "x"]


def test_a_table_that_is_too_wide_shortens_the_columns_that_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"a": "x" * 30 + "-1", "b": "provisioning", "c": "whole" * 6}, {"a": "b", "b": "", "c": 1}]
    columns = {"A": "a", "B": "b", "C": "c"}
    assert max(map(len, _text.narrow_table(rows, columns))) == 78
    monkeypatch.setattr(_text, "LINE", 60)
    lines = _text.narrow_table(rows, columns, ("A", "B"))
    assert max(map(len, lines)) == 60 and lines[1].startswith("xxxxxxx~xxxx-1  provisioning  whole")
    assert lines[3:] == [f"~ {'x' * 30}-1"]
    monkeypatch.setattr(_text, "LINE", 48)
    lines = _text.narrow_table(rows, columns, ("A", "B"))
    assert max(map(len, lines)) == 48 and lines[1].startswith("xxx~-1  prov~ing  whole")
    assert lines[3:] == [f"~ {'x' * 30}-1", "~ provisioning"]
    monkeypatch.setattr(_text, "LINE", 100)
    assert _text.narrow_table(rows, columns, ("A",)) == _text.narrow_table(rows, columns)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, ""), (1, "h0"), (5, "h0, h1, h2, h3, h4"), (6, "h0, h1, h2, h3, h4 and 1 more")],
)
def test_the_first_of_many(count: int, text: str) -> None:
    assert _text.abridged(f"h{number}" for number in range(count)) == text


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("", ""),
        ("It failed. Nothing was bought.", "It failed."),
        ("No full stop", "No full stop."),
        (f"It failed: {'x' * 60}", "It failed."),
        (f"{'word ' * 20}", "word word word word word word word word word word word ..."),
    ],
)
def test_what_was_shown_before_is_shown_in_short(text: str, short: str) -> None:
    assert _text.summary_of(text) == short and len(_text.summary_of(text)) <= 60


@pytest.mark.parametrize(
    ("sentences", "text"), [([], ""), (["a."], "a."), (["", "a. ", "", " b."], "a. b."), ([" "], "")]
)
def test_sentences_in_a_row(sentences: list[str], text: str) -> None:
    assert _text.joined(*sentences) == text


@pytest.mark.parametrize("text", ["no disk", "no disk.", "no disk..."])
def test_a_sentence_ends_once(text: str) -> None:
    assert _text.sentence(text) == "no disk."
