# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a round that steps hand on, and the next step of one host."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.rounds import (
    Common,
    Declared,
    Ended,
    EndRound,
    Ends,
    Following,
    HostVerdict,
    Judged,
    Released,
    Round,
    RoundPart,
    published,
)

ROOT = Path(__file__).resolve().parents[5]
PARTS = (Declared, Common, Judged, HostVerdict, Released, Ends, Ended)
BUYING = {"host": "gpu-1", "declaration": "d1", "round": "r1", "action": "buy", "first": "", "next": ""}
PLANNED = {"plans": {"gpu-1": BUYING}, "common": Common(round="r1", decided=("d1", "d2")).mapping}
FAILED = {"failed": True, "plans": {"gpu-1": BUYING}}
ALONE = {"action": "", "first": "", "next": "round"}
NOTHING = {"action": "", "first": "", "next": ""}


@pytest.mark.parametrize(
    ("declared", "planned", "plan"),
    [
        pytest.param({"host": "gpu-1", "id": "d1"}, PLANNED, BUYING, id="own-plan"),
        pytest.param({"host": "gpu-2", "id": "d2"}, PLANNED, NOTHING, id="decided-without-plan"),
        pytest.param({"host": "gpu-1", "id": "d3"}, PLANNED, ALONE, id="declared-after-plan"),
        pytest.param({"host": "gpu-1", "id": "d2"}, PLANNED, NOTHING, id="plan-of-other-declaration"),
        pytest.param({"host": "gpu-3", "id": "d4"}, PLANNED, ALONE, id="left-out-of-plan"),
        pytest.param({"host": "gpu-1", "id": "d1"}, {"skipped": True}, ALONE, id="plan-skipped"),
        pytest.param({"host": "gpu-1", "id": "d1"}, FAILED, BUYING, id="plan-failed-later"),
        pytest.param({"host": "gpu-1", "id": "d1"}, None, ALONE, id="not-planned"),
        pytest.param({"skipped": True}, PLANNED, ALONE, id="not-declared"),
        pytest.param(None, None, ALONE, id="neither-declared-nor-planned"),
    ],
)
def test_host_takes_plan_of_its_declaration(declared: Any, planned: Any, plan: dict[str, Any]) -> None:
    assert Round.of({**declared_variables(declared), "provision__planned": planned}).plan == plan


def declared_variables(declared: Any) -> dict[str, Any]:
    """A host's variables after its declaration, or after a task that was skipped."""
    host = (declared or {}).get("host")
    result = Declared({host: declared}).mapping if host else declared
    return {"inventory_hostname": host or "gpu-1", "provision__declared": result}


KEEPING = {**BUYING, "action": "keep", "next": "reach"}
ALL_KEPT = Common(round="r1", all_skip_first=True, all_skip_next=True)
SOME_BUY = replace(ALL_KEPT, acquires=True)
JUDGED_ALL_SKIP = Judged(round="r1", all_skip_next=True)
JUDGED = Judged(round="r1")
JUDGED_EARLIER = Judged(round="r0", all_skip_next=True)
DONE = {**KEEPING, "next": ""}
OWN_VERDICT = HostVerdict(round="r1", next="x.yml")


@pytest.mark.parametrize(
    ("plan", "common", "judged", "verdict", "expected"),
    [
        pytest.param(DONE, ALL_KEPT, None, None, ("", True, True), id="no-host-has-work"),
        pytest.param(
            KEEPING, replace(ALL_KEPT, all_skip_next=False), None, None, ("reach", True, False), id="kept-by-plan"
        ),
        pytest.param(
            DONE, replace(ALL_KEPT, all_skip_first=False), None, None, ("", False, True), id="another-has-first-step"
        ),
        pytest.param(BUYING, SOME_BUY, JUDGED_ALL_SKIP, None, ("", True, True), id="judged-and-all-skip"),
        pytest.param(BUYING, SOME_BUY, JUDGED, OWN_VERDICT, ("x.yml", True, False), id="own-verdict"),
        pytest.param(
            BUYING, SOME_BUY, JUDGED, replace(OWN_VERDICT, round="r0"), ("", True, False), id="verdict-of-earlier-round"
        ),
        pytest.param(
            BUYING,
            replace(SOME_BUY, all_skip_next=False),
            JUDGED_ALL_SKIP,
            None,
            ("", True, False),
            id="another-host-is-kept",
        ),
        pytest.param(BUYING, SOME_BUY, None, None, ("stop", True, False), id="not-judged"),
        pytest.param({**BUYING, "action": "wait"}, SOME_BUY, None, None, ("stop", True, False), id="wait-not-judged"),
        pytest.param(BUYING, SOME_BUY, JUDGED_EARLIER, None, ("stop", True, False), id="judged-in-earlier-round"),
        pytest.param(
            BUYING,
            replace(SOME_BUY, round="r2"),
            JUDGED,
            OWN_VERDICT,
            ("x.yml", True, False),
            id="others-in-later-round",
        ),
        pytest.param(KEEPING, SOME_BUY, None, None, ("reach", True, False), id="kept-while-others-not-judged"),
        pytest.param(
            KEEPING, ALL_KEPT, JUDGED_EARLIER, None, ("reach", True, True), id="kept-and-judged-in-earlier-round"
        ),
    ],
)
def test_next_step_and_skips_come_from_verdict_or_plan(
    plan: Any, common: Any, judged: Any, verdict: Any, expected: Any
) -> None:
    variables = {
        **declared_variables({"host": "gpu-1", "id": "d1"}),
        "provision__planned": {"plans": {"gpu-1": plan}, "common": common.mapping},
        "provision__judged": judged and judged.mapping,
        "provision__verdict": verdict and verdict.mapping,
    }
    plan = Round.of(variables).for_tasks
    assert (plan["next"], plan["all_skip_first"], plan["all_skip_next"]) == expected
    assert ("What was bought is billed." in plan.get("refusal", "")) is (expected[0] == "stop")


@pytest.mark.parametrize("one_tells_all", [True, False])
def test_one_host_tells_all_only_if_plan_or_end_says_so(one_tells_all: bool) -> None:
    planned = {"plans": {}, "common": replace(ALL_KEPT, one_tells_all=one_tells_all).mapping}
    ended_result = Ended("r1", lines=["x"], one_tells_all=one_tells_all).mapping
    assert Round.of({"provision__planned": planned}).for_tasks["one_tells_all"] is one_tells_all
    for_tasks = EndRound.of({"decommission__ended": ended_result}).for_tasks
    assert (for_tasks["one_tells_all"], for_tasks["lines"]) == (one_tells_all, ["x"])


@pytest.mark.parametrize("planned", [None, {"skipped": True}, {"failed": True, "msg": "no API"}])
def test_unplanned_host_skips_nothing_for_others(planned: Any) -> None:
    """Tasks that run once take the first host's plan, but a role's ``when`` may have left that host out."""
    plan = Round.of({**declared_variables({"host": "gpu-1", "id": "d1"}), "provision__planned": planned}).for_tasks
    assert (plan["next"], plan["all_skip_first"], plan["all_skip_next"]) == ("round", False, False)


def test_host_without_declaration_takes_no_part() -> None:
    alone = {"inventory_hostname": "gpu-2", "provision__declared": Declared({"gpu-1": {"id": "d1"}}).mapping}
    assert Round.of(alone).for_tasks["next"] == ""


TWO_DECLARATIONS = {host: {"host": host, "id": host, "pause": 601} for host in ("gpu-1", "gpu-2")}


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        pytest.param(Declared(TWO_DECLARATIONS, all_declared=True).mapping, (False, True, 601), id="all-declared"),
        pytest.param(Declared(TWO_DECLARATIONS).mapping, (False, False, 601), id="some-hosts-not-declared"),
        pytest.param(Declared({"gpu-2": TWO_DECLARATIONS["gpu-2"]}).mapping, (True, False, 1), id="left-out"),
        pytest.param(Declared().mapping, (True, False, 1), id="no-host-declared"),
        pytest.param({"skipped": True}, (True, False, 1), id="skipped"),
        pytest.param({"failed": True, "msg": "x"}, (True, False, 1), id="failed"),
        pytest.param(None, (True, False, 1), id="no-result"),
    ],
)
def test_host_declares_alone_unless_declared_for_it(declared: Any, expected: Any) -> None:
    plan = Round.of({"inventory_hostname": "gpu-1", "provision__declared": declared}).for_tasks
    assert (plan["undeclared"], plan["all_declared"], plan["pause"]) == expected


ONE_ATTEMPT = [{"offer_id": "o1"}]
AGAIN = HostVerdict(round="r1", again=True, attempts=ONE_ATTEMPT).mapping
GIVEN_BACK = Released(round="r1", again=True, attempts=[*ONE_ATTEMPT, {"offer_id": "o2"}])


@pytest.mark.parametrize(
    ("verdict", "released", "tried"),
    [
        pytest.param(None, None, None, id="no-verdict"),
        pytest.param(AGAIN, None, ONE_ATTEMPT, id="offer-lost"),
        pytest.param({**AGAIN, "again": False}, None, None, id="no-attempt-left"),
        pytest.param({**AGAIN, "round": "r0"}, None, None, id="verdict-of-earlier-round"),
        pytest.param({**AGAIN, "again": False}, GIVEN_BACK.mapping, GIVEN_BACK.attempts, id="given-back"),
        pytest.param(AGAIN, {**GIVEN_BACK.mapping, "round": "r0"}, ONE_ATTEMPT, id="given-back-in-earlier-round"),
    ],
)
def test_attempts_come_from_latest_verdict_that_tries_again(verdict: Any, released: Any, tried: Any) -> None:
    host_round = round_after(verdict, released)
    assert host_round.attempts_with(Round()) == host_round.attempts_with(host_round) == tried
    assert host_round.for_tasks["again"] is (tried is not None)


def round_after(verdict: Any, released: Any = None) -> Round:
    variables = {"provision__verdict": verdict, "provision__released": released}
    return Round.of({**declared_variables({"host": "gpu-1", "id": "d1"}), "provision__planned": PLANNED, **variables})


def test_hosts_are_planned_with_those_that_try_again_at_the_same_time() -> None:
    """One host has lost an offer, the other gives a machine back first; both try again."""
    lost, given_back = round_after(AGAIN), round_after({**AGAIN, "again": False}, GIVEN_BACK.mapping)
    assert (lost.attempts_with(given_back), given_back.attempts_with(lost)) == (None, None)
    assert lost.attempts_with(round_after({**AGAIN, "again": False})) == ONE_ATTEMPT


def test_listed_before_concerns_only_first_purchase() -> None:
    common = Common(round="r1", without_offer=("m1",)).mapping
    for plan, listed in ((BUYING, []), ({**BUYING, "is_new": True}, ["m1"])):
        planned = {"plans": {"gpu-1": plan}, "common": common}
        variables = {**declared_variables({"host": "gpu-1", "id": "d1"}), "provision__planned": planned}
        assert list(Round.of(variables).listed_before) == listed


# Ends of machines

END = {"host": "gpu-1", "declaration": "d1", "together": False, "next": "end", "ids": ["r"]}
TOGETHER = {"gpu-1": {**END, "declaration": "d0", "together": True}}
ENDS = Ends("r1", {"gpu-1": END}, ("d1", "d2"))
NOTHING_ENDS = replace(ENDS, ends={"gpu-1": {**END, "next": ""}})
STOPPED = {"next": "say", "stop": "Why."}


def ended(outcome: dict[str, Any], round_id: str = "r1", one_for_all: bool = True) -> dict[str, Any]:
    return Ended(round_id, {"gpu-1": outcome}, one_for_all=one_for_all).mapping


@pytest.mark.parametrize(
    ("declaration_id", "ends", "ended_result", "expected"),
    [
        pytest.param("d1", ENDS, ended({"next": "", "stop": ""}), ("", "", True), id="machine-ended"),
        pytest.param("d1", ENDS, ended(STOPPED), ("say", "Why.", True), id="host-stops"),
        pytest.param("d1", ENDS, ended(STOPPED, one_for_all=False), ("say", "Why.", False), id="hosts-differ"),
        pytest.param("d1", ENDS, None, ("say", "was not noted (r)", False), id="outcome-not-noted"),
        pytest.param("d1", NOTHING_ENDS, None, ("", "was not noted (r)", False), id="nothing-to-note"),
        pytest.param("d1", ENDS, {"skipped": True}, ("say", "was not noted (r)", False), id="note-skipped"),
        pytest.param(
            "d1", ENDS, ended(STOPPED, "r0"), ("say", "was not noted (r)", False), id="noted-in-earlier-round"
        ),
        pytest.param("d2", ENDS, ended(STOPPED), ("", "", True), id="decided-in-earlier-round"),
        pytest.param("d3", ENDS, ended(STOPPED), ("round", "", True), id="declared-again"),
        pytest.param("d1", None, None, ("round", "", True), id="first-host-left-out"),
        pytest.param(
            None,
            replace(ENDS, ends=TOGETHER),
            ended(STOPPED),
            ("say", "Why.", True),
            id="declared-for-all",
        ),
        pytest.param(
            "d9",
            replace(ENDS, ends=TOGETHER),
            ended(STOPPED),
            ("say", "Why.", True),
            id="declared-for-all-and-alone",
        ),
    ],
)
def test_next_step_of_end_comes_from_outcome(declaration_id: Any, ends: Any, ended_result: Any, expected: Any) -> None:
    variables = {
        "inventory_hostname": "gpu-1",
        "decommission__declared": Declared({"gpu-1": {"id": declaration_id}} if declaration_id else {}).mapping,
        "decommission__decided": ends and ends.mapping,
        "decommission__ended": ended_result,
    }
    variables_for_tasks = EndRound.of(variables).for_tasks
    assert (variables_for_tasks["next"], expected[1] in variables_for_tasks["stop"]) == (expected[0], True)
    assert variables_for_tasks["one_for_all"] is (expected[2] and ends is not None)


@pytest.mark.parametrize(("together", "expected"), [(True, "alone"), (False, "")])
def test_undeclared_host_declares_alone_if_ends_are_together(together: bool, expected: str) -> None:
    variables = {"inventory_hostname": "gpu-1", "decommission__decided": ENDS.mapping}
    variables.update({"decommission__together": True} if together else {})
    assert EndRound.of(variables).for_tasks["next"] == expected


# The shapes of all parts


def filled(part: type[RoundPart]) -> RoundPart:
    """A part whose fields all have another value than by default."""
    values = {str: "x", bool: True, tuple: ["y"], dict: {"z": 1}}
    default = part()
    return part(**{item.name: values[type(getattr(default, item.name))] for item in fields(part)})


@pytest.mark.parametrize("part", PARTS)
def test_part_survives_json_round_trip(part: type[RoundPart]) -> None:
    assert part.of(json.loads(json.dumps(filled(part).mapping))) == filled(part)
    assert part.of(json.loads(json.dumps(part().mapping))).mapping == part().mapping


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("result", [None, "", {}, {"skipped": True}, {"failed": True, "msg": "x", "attempts": 3}])
def test_part_of_task_that_did_not_run_is_default(part: type[RoundPart], result: Any) -> None:
    assert part.of(result) == part()


@pytest.mark.parametrize("part", PARTS)
def test_part_of_failed_or_incomplete_task_is_default(part: type[RoundPart]) -> None:
    first, *_others = filled(part).mapping
    assert part.of({**filled(part).mapping, "failed": True}) == part()
    assert part.of({name: value for name, value in filled(part).mapping.items() if name != first}) == part()


def test_data_is_published_once_for_all_hosts() -> None:
    stats = published({"quote": 1})["ansible_stats"]
    assert stats == {"data": {"quote": 1}, "per_host": False, "aggregate": True} and published({}) == {}


def test_architecture_documents_each_field() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page.partition("## What the steps hand on\n")[2].partition("\n## ")[0]
    rows = [row.split("|")[1:3] for row in section.splitlines() if row.startswith("| `")]
    documented = [
        (name, part) for names, parts in rows for name in re.findall(r"`(\w+)`", names) for part in parts.split()
    ]
    defined = [(item.name, f"`{part.__name__}`") for part in PARTS for item in fields(part)]
    assert sorted(documented) == sorted(defined)
    assert set(PARTS) == {*RoundPart.__subclasses__(), *Following.__subclasses__()} - {Following}
