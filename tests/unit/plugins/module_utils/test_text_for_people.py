# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts for people: amounts, durations, tables, patterns of hosts, and corrections of misspelled words."""

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
def test_amount_has_two_to_six_decimals(price: float, text: str) -> None:
    assert _text.amount(price) == text
    assert _text.usd(price) == f"USD {text} per hour"


@pytest.mark.parametrize(
    "host", ["gpu-1", "gpu 5", "ünï", "a,b", "!a", "~a", "a*", "a[1:3]", "x:y", "-x", "日 本", "q'\""]
)
def test_host_pattern_matches_only_its_host(host: str) -> None:
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
        # A placeholder, since Ansible would split the name: at the blank (the group gpu) or the comma (two hosts).
        (["gpu 5"], "-e decommission_hosts=<host>"),
        (["gpu-1", "a,b"], "-e decommission_hosts=<host>"),
    ],
)
def test_end_option_never_names_other_hosts(hosts: list[str], option: str) -> None:
    assert _text.end_option(hosts) == option


def test_usd_of_unknown_price() -> None:
    assert _text.usd(None) == "an unknown price"


KNOWN = ("region", "vendor", "compute", "storage", "gpu_count", "gpu_type")


@pytest.mark.parametrize(
    ("word", "expected"),
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
def test_nearest_finds_words_within_two_edits(word: str, expected: str | None) -> None:
    assert _text.nearest(word, KNOWN) == expected


def test_nearest_prefers_the_closest_word() -> None:
    assert _text.nearest("cat", ("cart", "act", "bats")) == "cart"
    assert _text.nearest("bat", ("cart", "bats")) == "bats"
    assert _text.nearest("x", ()) is None


def test_nearest_is_fast_for_very_long_words() -> None:
    assert _text.nearest("x" * 10_000_000, KNOWN) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("90s", 90), (" 30m ", 1800), ("1.5h", 5400), ("2h", 7200), ("3d", 259_200), ("0.5", 0.5)],
)
def test_duration(text: str, seconds: float) -> None:
    assert _text.duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "soon", "-1", "1 h", "1h30m", "1e3", "inf", "nan", "1w", "1H", "٣", "9" * 10, "1\n2"]
)
def test_invalid_durations_are_refused(text: str) -> None:
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
def test_duration_text(seconds: float, text: str) -> None:
    assert _text.duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0s"), (59, "59s"), (60, "1m"), (7199, "119m"), (7200, "2h"), (172_799, "47h"), (172_800, "2d")],
)
def test_age(seconds: float, text: str) -> None:
    assert _text.age(seconds) == text


def test_applicable_returns_sentences_with_true_conditions() -> None:
    assert _text.applicable({"a": True, "b": "", "c": ["x"], "d": None}) == ["a", "c"]


def test_folded_lines_breaks_only_lines_of_several_words() -> None:
    report = ["host   USD/h", "", "  -e a=b", " ".join(["word"] * 20), "x" * 80]
    folded = _text.folded_lines(report)
    assert folded == [*report[:3], " ".join(["word"] * 14), f"  {' '.join(['word'] * 6)}", "x" * 80]


def test_wrapped_keeps_extra_variables_whole() -> None:
    text = "To end it: compute_index.supply.decommission -e decommission_hosts=run-train -e a=b"
    folded = ["To end it: compute_index.supply.decommission", "  -e decommission_hosts=run-train -e a=b"]
    assert _text.wrapped(text, indent="  ") == folded
    assert _text.wrapped("the-e x", 6) == ["the-e", "x"]


def test_narrow_table_shortens_given_columns_and_lists_full_values(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_abridged_shows_the_first_five(count: int, text: str) -> None:
    assert _text.abridged(f"h{number}" for number in range(count)) == text


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("", ""),
        ("It failed. Nothing was bought.", "It failed."),
        ("No full stop", "No full stop."),
        (f"It failed: {'x' * 60}", "It failed."),
        (f"Offer {'x' * 36}: POST /procure_offer got no answer: timed out.", "POST /procure_offer got no answer."),
        (f"{'word ' * 20}", "word word word word word word word word word word word ..."),
    ],
)
def test_summary_of(text: str, short: str) -> None:
    assert _text.summary_of(text) == short and len(_text.summary_of(text)) <= 60


@pytest.mark.parametrize(
    ("sentences", "text"), [([], ""), (["a."], "a."), (["", "a. ", "", " b."], "a. b."), ([" "], "")]
)
def test_joined_skips_empty_sentences(sentences: list[str], text: str) -> None:
    assert _text.joined(*sentences) == text


@pytest.mark.parametrize("text", ["no disk", "no disk.", "no disk..."])
def test_sentence_has_one_full_stop(text: str) -> None:
    assert _text.sentence(text) == "no disk."
