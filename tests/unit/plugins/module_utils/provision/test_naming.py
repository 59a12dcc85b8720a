# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A typing error ends nothing."""

from __future__ import annotations

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.naming import (
    NAMED_ACTIONS,
    PatternPart,
    hosts_to_add,
    names_in_use,
    objection,
    troubles_of_groups,
    unmatched_names,
    warnings_of_runs,
    why_more_would_end,
    with_new_hosts,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import within

from provision_samples import machine

ONE, TWO, NONE, ALL = (
    PatternPart("gpu-1", ("gpu-1",)),
    PatternPart("gpu-2", ("gpu-2",)),
    PatternPart("gpu-11"),
    PatternPart("gpu", ("gpu-1", "gpu-2")),
)
BUT = PatternPart("!gpu-2", ("gpu-2",))


@pytest.mark.parametrize(
    ("hosts", "named", "refused"),
    [
        ([], [], ""),
        (["gpu-1"], ["gpu-1", "gpu-2"], ""),
        (["gpu-1", "gpu-2"], ["gpu-1"], "does not name gpu-2, but"),
        ([f"gpu-{number}" for number in range(1, 41)], [], "does not name gpu-1, "),
    ],
)
def test_a_play_of_the_users_own_ends_no_host_that_was_not_named(
    hosts: list[str], named: list[str], refused: str
) -> None:
    reason = why_more_would_end(hosts, named)
    assert refused in reason and bool(reason) == bool(refused)
    assert not reason or ("--limit" in reason and reason.endswith("Nothing was ended."))


@pytest.mark.parametrize(
    ("parts", "hosts", "limited"),
    [
        ([ONE], ["gpu-1"], None),
        ([ALL, PatternPart("&all", ("gpu-1", "gpu-2"))], ["gpu-1", "gpu-2"], None),
        ([ONE], ["gpu-1"], ["gpu-1"]),
        ([ALL], ["gpu-1"], ["gpu-1"]),
    ],
    ids=str,
)
def test_what_was_named(parts: list[PatternPart], hosts: list[str], limited: list[str] | None) -> None:
    assert objection(parts, hosts, limited) == ""


@pytest.mark.parametrize(
    ("parts", "hosts", "limited", "words"),
    [
        ([], [], None, "must say whose machines end"),
        ([PatternPart("*", ("gpu-1",))], ["gpu-1"], None, "must say whose machines end"),
        ([ONE, PatternPart("*", ("gpu-1",))], ["gpu-1"], None, "must say whose machines end"),
        ([BUT], ["gpu-1"], None, "begins with an exclusion, which means all others"),
        ([BUT, ALL], ["gpu-1"], None, "begins with an exclusion"),
        ([PatternPart("&gpu", ("gpu-1",))], ["gpu-1"], None, "begins with an exclusion"),
        ([ONE, NONE], ["gpu-1"], None, "decommission_hosts='gpu-1,gpu-11': gpu-11 matches no host"),
        ([ALL, PatternPart("!gpu-11")], ["gpu-1", "gpu-2"], None, "!gpu-11 matches no host"),
        ([ONE, PatternPart("!gpu-1", ("gpu-1",))], [], None, "matches no host"),
        ([ONE], [], ["gpu-2"], "names gpu-1, but --limit excludes it"),
        ([ONE, TWO], ["gpu-1"], ["gpu-1"], "names gpu-2, but --limit"),
    ],
    ids=str,
)
def test_what_ends_nobody(parts: list[PatternPart], hosts: list[str], limited: list[str] | None, words: str) -> None:
    reason = objection(parts, hosts, limited)
    assert words in reason and reason.endswith("Nothing was ended.")


@pytest.mark.parametrize("by_job", [False, True])
@pytest.mark.parametrize(
    ("parts", "hosts", "needs", "needs_in_a_job"),
    [
        ([ONE], ["gpu-1"], False, False),
        ([ONE, TWO], ["gpu-1", "gpu-2"], False, False),
        ([ALL], ["gpu-1", "gpu-2"], False, True),
        ([PatternPart("gpu-*", ("gpu-1", "gpu-2"))], ["gpu-1", "gpu-2"], False, True),
        ([PatternPart("all", ("gpu-1", "gpu-2"))], ["gpu-1", "gpu-2"], True, True),
        ([ALL, BUT], ["gpu-1"], True, True),
    ],
    ids=str,
)
def test_what_sweeps_needs_a_number(
    parts: list[PatternPart], hosts: list[str], needs: bool, needs_in_a_job: bool, by_job: bool
) -> None:
    reason = objection(parts, hosts, None, by_job=by_job)
    assert bool(reason) is (needs_in_a_job if by_job else needs), reason
    assert not reason or f"decommission_count={len(hosts)}. Nothing was ended." in reason
    assert objection(parts, hosts, None, str(len(hosts)), by_job) == ""
    wrong = objection(parts, hosts, None, str(len(hosts) + 1), by_job)
    assert f"means {len(hosts)} host{'s' if len(hosts) > 1 else ''} (" in wrong and wrong.endswith("Nothing was ended.")


@pytest.mark.parametrize(
    ("text", "is_name"),
    [("gpu-1", True), ("a.b_c", True), ("gpu*", False), ("!gpu", False), ("~gpu", False), ("g[0]", False)],
)
def test_a_name_has_no_marks_of_a_pattern(text: str, is_name: bool) -> None:
    assert PatternPart(text).is_name is is_name


def test_names_that_nothing_here_knows_may_be_machines() -> None:
    parts = [ONE, NONE, PatternPart("gpu-*"), PatternPart("!gpu-12"), PatternPart("gpu-13")]
    assert unmatched_names(parts) == ["gpu-11", "gpu-13"]
    machines = [machine(1, "red-gpu-11"), machine(2, "gpu-13"), machine(3, "red-gpu-14-2"), machine(4)]
    assert names_in_use(machines, ["gpu-11", "gpu-13", "gpu-14"], "red-") == ["gpu-11", "gpu-14"]
    assert with_new_hosts(parts, ["gpu-11"])[1] == PatternPart("gpu-11", ("gpu-11",))


@pytest.mark.parametrize(("limited", "hosts"), [(None, ["a", "b"]), (["b", "c"], ["b"]), ([], [])])
def test_a_limit_narrows(limited: list[str] | None, hosts: list[str]) -> None:
    assert within(["a", "b"], limited) == hosts


@pytest.mark.parametrize(
    ("parts", "is_left_out"),
    [
        ([PatternPart("gpu-1", ("gpu-1",))], False),
        ([PatternPart("gpu-1", ("gpu-1",)), PatternPart("!gpu", ("gpu-1", "gpu-2"))], False),
        ([PatternPart("gpu-1", ("gpu-1",)), PatternPart("gpu", ("gpu-1", "gpu-2"))], True),
        ([PatternPart("gpu-*", ("gpu-1",))], True),
    ],
    ids=str,
)
def test_a_group_may_have_a_host_of_which_nothing_can_be_read(parts: list[PatternPart], is_left_out: bool) -> None:
    assert list(troubles_of_groups(parts, ["the file of gpu-9"])) == ["the file of gpu-9"] * is_left_out


def test_hosts_that_are_added_come_into_the_groups_of_the_registry() -> None:
    registered = {"new": ["red", "gpu"], "empty": []}
    folders = {"old": "/srv/a", "new": "/srv/b"}
    assert hosts_to_add(["old", "new", "empty", "other"], ["old"], registered, "gpu", folders) == [
        {"name": "new", "groups": ["red", "gpu"], "registry_dir": "/srv/b"},
        {"name": "empty", "groups": ["gpu"]},
        {"name": "other", "groups": ["gpu"]},
    ]


@pytest.mark.parametrize(
    ("parts", "verb", "said"),
    [
        ([PatternPart("gpu", ("gpu-1", "run-a", "run-b"))], "decommission", "Machines of runs end (run-a, run-b)"),
        (
            [PatternPart("run-a*", ("run-a",)), PatternPart("run-b", ("run-b",))],
            "decommission",
            "Machines of runs end (run-a)",
        ),
        ([PatternPart("run-a", ("run-a",)), PatternPart("run-b", ("run-b",))], "decommission", ""),
        ([PatternPart("gpu-*", ("gpu-1",))], "decommission", ""),
        ([PatternPart("gpu", ("gpu-1", "run-a"))], "extend", ""),
    ],
)
def test_a_group_ends_runs_with_a_warning(parts: list[PatternPart], verb: str, said: str) -> None:
    registered = {"gpu-1": ["gpu"], "run-a": ["gpu", "supply_run"], "run-b": ["gpu", "supply_run"]}
    hosts = [host for item in parts for host in item.hosts]
    found = list(warnings_of_runs(parts, hosts, registered, NAMED_ACTIONS[verb]))
    assert [text.startswith(said) for text in found] == [True] * bool(said)
