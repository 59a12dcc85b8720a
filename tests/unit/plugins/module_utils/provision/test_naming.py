# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Naming the hosts whose machines end or are extended: a typing error ends nothing."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.naming import (
    NAMED_ACTIONS,
    PatternPart,
    check_slice,
    hosts_in_reach,
    hosts_to_add,
    names_in_use,
    objection,
    spared_runs,
    troubles_of_groups,
    unmatched_names,
    warnings_of_runs,
    why_more_would_end,
    with_new_hosts,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import within

from provision_samples import machine

GPU_1, GPU_2, UNMATCHED, GROUP = (
    PatternPart("gpu-1", ("gpu-1",)),
    PatternPart("gpu-2", ("gpu-2",)),
    PatternPart("gpu-11"),
    PatternPart("gpu", ("gpu-1", "gpu-2")),
)
EXCLUSION = PatternPart("!gpu-2", ("gpu-2",))


@pytest.mark.parametrize(
    ("hosts", "named", "reason_part"),
    [
        ([], [], ""),
        (["gpu-1"], ["gpu-1", "gpu-2"], ""),
        (["gpu-1", "gpu-2"], ["gpu-1"], "does not name gpu-2, but"),
        ([f"gpu-{number}" for number in range(1, 41)], [], "does not name gpu-1, "),
    ],
)
def test_own_play_with_hosts_that_are_not_named_is_refused(
    hosts: list[str], named: list[str], reason_part: str
) -> None:
    reason = why_more_would_end(hosts, named)
    assert reason_part in reason and bool(reason) == bool(reason_part)
    assert not reason or ("--limit" in reason and reason.endswith("Nothing was ended."))


@pytest.mark.parametrize(
    ("parts", "hosts", "limited"),
    [
        ([GPU_1], ["gpu-1"], None),
        ([GROUP, PatternPart("&all", ("gpu-1", "gpu-2"))], ["gpu-1", "gpu-2"], None),
        ([GPU_1], ["gpu-1"], ["gpu-1"]),
        ([GROUP], ["gpu-1"], ["gpu-1"]),
    ],
    ids=str,
)
def test_objection_is_empty_for_named_hosts_and_groups(
    parts: list[PatternPart], hosts: list[str], limited: list[str] | None
) -> None:
    assert objection(parts, hosts, limited) == ""


@pytest.mark.parametrize(
    ("parts", "hosts", "limited", "reason_part"),
    [
        ([], [], None, "must say whose machines end"),
        ([PatternPart("*", ("gpu-1",))], ["gpu-1"], None, "must say whose machines end"),
        ([GPU_1, PatternPart("*", ("gpu-1",))], ["gpu-1"], None, "must say whose machines end"),
        ([EXCLUSION], ["gpu-1"], None, "begins with an exclusion, which means all others"),
        ([EXCLUSION, GROUP], ["gpu-1"], None, "begins with an exclusion"),
        ([PatternPart("&gpu", ("gpu-1",))], ["gpu-1"], None, "begins with an exclusion"),
        ([GPU_1, UNMATCHED], ["gpu-1"], None, "decommission_hosts='gpu-1,gpu-11': gpu-11 matches no host"),
        ([GROUP, PatternPart("!gpu-11")], ["gpu-1", "gpu-2"], None, "!gpu-11 matches no host"),
        ([GPU_1, PatternPart("!gpu-1", ("gpu-1",))], [], None, "matches no host"),
        ([GPU_1], [], ["gpu-2"], "names gpu-1, which --limit excludes"),
        ([GPU_1, GPU_2], ["gpu-1"], ["gpu-1"], "names gpu-2, which --limit"),
    ],
    ids=str,
)
def test_objection_refuses_unclear_unmatched_or_excluded_names(
    parts: list[PatternPart], hosts: list[str], limited: list[str] | None, reason_part: str
) -> None:
    reason = objection(parts, hosts, limited)
    assert reason_part in reason and reason.endswith("Nothing was ended.")


@pytest.mark.parametrize(("by_job", "has_folders"), [(False, True), (True, False)])
def test_unknown_host_may_be_of_another_folder(by_job: bool, has_folders: bool) -> None:
    reason = objection([UNMATCHED], [], None, by_job=by_job)
    assert ("If its machine was bought from another folder or inventory, run this there." in reason) is has_folders


def test_unread_registry_may_know_an_unknown_host() -> None:
    """Otherwise a job without its database would say that no machine of the host is known."""
    reason = objection([UNMATCHED], [], None, unread=["The registry at db cannot be reached: refused."])
    assert "no such host or group, and a registry that may know one cannot be read. The registry at db" in reason
    assert reason.endswith("refused. Nothing was ended.") and "knows one" not in reason


@pytest.mark.parametrize("by_job", [False, True])
@pytest.mark.parametrize(
    ("parts", "hosts", "needs_count", "needs_count_in_job"),
    [
        ([GPU_1], ["gpu-1"], False, False),
        ([GPU_1, GPU_2], ["gpu-1", "gpu-2"], False, False),
        ([GROUP], ["gpu-1", "gpu-2"], False, True),
        ([PatternPart("gpu-*", ("gpu-1", "gpu-2"))], ["gpu-1", "gpu-2"], False, True),
        ([PatternPart("all", ("gpu-1", "gpu-2"))], ["gpu-1", "gpu-2"], True, True),
        ([GROUP, EXCLUSION], ["gpu-1"], True, True),
    ],
    ids=str,
)
def test_objection_requires_count_if_pattern_means_all(
    parts: list[PatternPart], hosts: list[str], needs_count: bool, needs_count_in_job: bool, by_job: bool
) -> None:
    reason = objection(parts, hosts, None, by_job=by_job)
    assert bool(reason) is (needs_count_in_job if by_job else needs_count), reason
    assert not reason or f"decommission_count={len(hosts)}. Nothing was ended." in reason
    assert not reason or ", and decommission_count does not confirm that. If you" in reason
    for limited in (None, hosts):
        assert objection(parts, hosts, limited, str(len(hosts)), by_job) == ""
    wrong_count = objection(parts, hosts, None, str(len(hosts) + 1), by_job)
    assert f"means {len(hosts)} host{'s' if len(hosts) > 1 else ''} (" in wrong_count
    assert f", and decommission_count says {len(hosts) + 1}. If you" in wrong_count
    assert wrong_count.endswith("Nothing was ended.")


@pytest.mark.parametrize(
    ("text", "is_name"),
    [("gpu-1", True), ("a.b_c", True), ("gpu*", False), ("!gpu", False), ("~gpu", False), ("g[0]", False)],
)
def test_is_name_rejects_marks_of_a_pattern(text: str, is_name: bool) -> None:
    assert PatternPart(text).is_name is is_name


def test_unmatched_names_may_be_names_of_machines() -> None:
    parts = [GPU_1, UNMATCHED, PatternPart("gpu-*"), PatternPart("!gpu-12"), PatternPart("gpu-13")]
    assert unmatched_names(parts) == ["gpu-11", "gpu-13"]
    machines = [machine(1, "red-gpu-11"), machine(2, "gpu-13"), machine(3, "red-gpu-14-2"), machine(4)]
    assert names_in_use(machines, ["gpu-11", "gpu-13", "gpu-14"], "red-") == ["gpu-11", "gpu-14"]
    assert with_new_hosts(parts, ["gpu-11"]) == [GPU_1, PatternPart("gpu-11", ("gpu-11",)), *parts[2:]]


@pytest.mark.parametrize(
    ("action", "unreadable", "ambiguous", "reached"),
    [
        ("decommission", [], [], ["a", "b"]),
        ("decommission", ["a"], [], ["b"]),  # the play for b would end with a
        ("decommission", ["a", "b"], [], "Nothing was ended."),
        ("decommission", [], ["b"], "Several registries know b: choose one"),
        ("decommission", ["b"], ["b", "c"], "Several registries know b: choose one"),
        ("decommission", [], ["c"], ["a", "b"]),
        ("extend", ["a"], [], ["a", "b"]),  # without a play, nothing runs on the hosts
        ("extend", [], ["a", "b"], "Several registries know a, b: choose one"),
    ],
)
def test_action_reaches_hosts_of_one_registry_that_ansible_can_read(
    action: str, unreadable: list[str], ambiguous: list[str], reached: list[str] | str
) -> None:
    named = NAMED_ACTIONS[action]
    if isinstance(reached, list):
        assert hosts_in_reach(["a", "b"], unreadable, ambiguous, named) == reached
        return
    with pytest.raises(ValueError, match=f"^{reached}") as caught:
        hosts_in_reach(["a", "b"], unreadable, ambiguous, named)
    assert str(caught.value).endswith(named.nothing_done)


@pytest.mark.parametrize(
    ("template", "action", "count", "is_refused"),
    [
        ("GPU decommission", "decommission", "2", True),
        ("GPU decommission", "decommission", "", False),
        ("GPU extend", "extend", "", True),  # each slice would add the time again
        ("GPU extend", "extend", "2", True),
        ("", "decommission", "2", False),
        ("", "extend", "2", False),
    ],
)
def test_slice_of_a_job_neither_counts_nor_extends_hosts(
    template: str, action: str, count: str, is_refused: bool
) -> None:
    refusal = f"'{template}'. Each slice would count only its own hosts, but {action}"
    with pytest.raises(ValueError, match=refusal) if is_refused else nullcontext():
        check_slice(template, NAMED_ACTIONS[action], count)


@pytest.mark.parametrize(("limited", "hosts"), [(None, ["a", "b"]), (["b", "c"], ["b"]), ([], [])])
def test_within_keeps_hosts_inside_the_limit(limited: list[str] | None, hosts: list[str]) -> None:
    assert within(["a", "b"], limited) == hosts


@pytest.mark.parametrize(
    ("parts", "concerns"),
    [
        ([PatternPart("gpu-1", ("gpu-1",))], False),
        ([PatternPart("gpu-1", ("gpu-1",)), PatternPart("!gpu", ("gpu-1", "gpu-2"))], False),
        ([PatternPart("gpu-1", ("gpu-1",)), PatternPart("gpu", ("gpu-1", "gpu-2"))], True),
        ([PatternPart("gpu-*", ("gpu-1",))], True),
    ],
    ids=str,
)
def test_troubles_of_groups_concern_only_groups_and_patterns(parts: list[PatternPart], concerns: bool) -> None:
    assert list(troubles_of_groups(parts, ["the file of gpu-9"])) == ["the file of gpu-9"] * concerns


def test_hosts_to_add_get_groups_and_folders_of_the_registry() -> None:
    registered = {"new": ["red", "gpu"], "empty": []}
    folders = {"old": "/srv/a", "new": "/srv/b"}
    assert hosts_to_add(["old", "new", "empty", "other"], ["old"], registered, "gpu", folders) == [
        {"name": "new", "groups": ["red", "gpu"], "registry_dir": "/srv/b"},
        {"name": "empty", "groups": ["gpu"]},
        {"name": "other", "groups": ["gpu"]},
    ]


@pytest.mark.parametrize(
    ("parts", "action", "warning"),
    [
        ([PatternPart("gpu", ("gpu-1", "run-a", "run-b"))], "decommission", "Machines of runs end (run-a, run-b)"),
        (
            [PatternPart("run-a*", ("run-a",)), PatternPart("run-b", ("run-b",))],
            "decommission",
            "Machines of runs end (run-a)",
        ),
        ([PatternPart("run-a", ("run-a",)), PatternPart("run-b", ("run-b",))], "decommission", ""),
        ([PatternPart("gpu-*", ("gpu-1",))], "decommission", ""),
        ([PatternPart("gpu", ("gpu-1", "run-a"))], "extend", "Runs keep their leases (run-a)"),
        ([PatternPart("gpu", ("gpu-1", "run-a")), PatternPart("run-a", ("run-a",))], "extend", ""),
        ([PatternPart("run-*", ("run-a", "run-b"))], "extend", ""),
        ([PatternPart("gpu", ("gpu-1", "run-a")), PatternPart("&supply_run", ("run-a",))], "extend", ""),
        ([PatternPart("gpu-1", ("gpu-1",))], "extend", ""),
    ],
)
def test_warning_of_runs_that_a_group_ends_or_leaves_out(parts: list[PatternPart], action: str, warning: str) -> None:
    registered = {"gpu-1": ["gpu"], "run-a": ["gpu", "supply_run"], "run-b": ["gpu", "supply_run"]}
    hosts = [host for item in parts for host in item.hosts]
    warnings = list(warnings_of_runs(parts, hosts, registered, NAMED_ACTIONS[action]))
    assert [text.startswith(warning) for text in warnings] == [True] * bool(warning)
    is_spared = bool(warning) and action == "extend"
    assert spared_runs(parts, registered, NAMED_ACTIONS[action]) == (["run-a"] if is_spared else [])
