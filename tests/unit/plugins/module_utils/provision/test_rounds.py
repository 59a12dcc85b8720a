# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps hand on, and what it says for one host."""

from __future__ import annotations

import dataclasses
import json
import re
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
)

ROOT = Path(__file__).resolve().parents[5]
PARTS = (Declared, Common, Judged, HostVerdict, Released, Ends, Ended)
OWN = {"host": "gpu-1", "declaration": "d1", "round": "r1", "action": "buy", "first": "", "next": ""}
PLANNED = {"plans": {"gpu-1": OWN}, "common": Common(round="r1", decided=("d1", "d2")).mapping}
FAILED = {"failed": True, "plans": {"gpu-1": OWN}}
ALONE = {"action": "", "first": "", "next": "round"}
NOTHING = {"action": "", "first": "", "next": ""}


@pytest.mark.parametrize(
    ("declared", "planned", "plan"),
    [
        pytest.param({"host": "gpu-1", "id": "d1"}, PLANNED, OWN, id="its-own"),
        pytest.param({"host": "gpu-2", "id": "d2"}, PLANNED, NOTHING, id="nothing-is-to-be-done"),
        pytest.param({"host": "gpu-1", "id": "d3"}, PLANNED, ALONE, id="of-an-earlier-call"),
        pytest.param({"host": "gpu-1", "id": "d2"}, PLANNED, NOTHING, id="nothing-in-a-later-call"),
        pytest.param({"host": "gpu-3", "id": "d4"}, PLANNED, ALONE, id="left-out-by-the-first-host"),
        pytest.param({"host": "gpu-1", "id": "d1"}, {"skipped": True}, ALONE, id="skipped"),
        pytest.param({"host": "gpu-1", "id": "d1"}, FAILED, OWN, id="kept-by-a-failure"),
        pytest.param({"host": "gpu-1", "id": "d1"}, None, ALONE, id="not-planned"),
        pytest.param({"skipped": True}, PLANNED, ALONE, id="not-declared"),
        pytest.param(None, None, ALONE, id="neither"),
    ],
)
def test_a_host_takes_its_own_plan(declared: Any, planned: Any, plan: dict[str, Any]) -> None:
    assert Round.of({**_declared(declared), "provision__planned": planned}).plan == plan


def _declared(declared: Any) -> dict[str, Any]:
    """What a host knows of its declaration, or of a task that was skipped."""
    host = (declared or {}).get("host")
    result = Declared({host: declared}).mapping if host else declared
    return {"inventory_hostname": host or "gpu-1", "provision__declared": result}


KEPT = {**OWN, "action": "keep", "next": "reach"}
QUIET = Common(round="r1", all_skip_first=True, all_skip_next=True)
BUSY = dataclasses.replace(QUIET, acquires=True)
SILENT = Judged(round="r1", all_skip_next=True)
LOUD = Judged(round="r1")
EARLIER = Judged(round="r0", all_skip_next=True)
DONE = {**KEPT, "next": ""}
GO = HostVerdict(round="r1", next="x.yml")


def with_(part: Any, **fields: Any) -> Any:
    return dataclasses.replace(part, **fields)


@pytest.mark.parametrize(
    ("plan", "common", "judged", "verdict", "following"),
    [
        pytest.param(DONE, QUIET, None, None, ("", True, True), id="none-has-anything"),
        pytest.param(KEPT, with_(QUIET, all_skip_next=False), None, None, ("reach", True, False), id="by-its-plan"),
        pytest.param(DONE, with_(QUIET, all_skip_first=False), None, None, ("", False, True), id="another-has-a-first"),
        pytest.param(OWN, BUSY, SILENT, None, ("", True, True), id="all-are-only-planned"),
        pytest.param(OWN, BUSY, LOUD, GO, ("x.yml", True, False), id="by-its-verdict"),
        pytest.param(OWN, BUSY, LOUD, with_(GO, round="r0"), ("", True, False), id="an-earlier-verdict"),
        pytest.param(OWN, with_(BUSY, all_skip_next=False), SILENT, None, ("", True, False), id="another-is-kept"),
        pytest.param(OWN, BUSY, None, None, ("stop", True, False), id="not-judged"),
        pytest.param(OWN, BUSY, EARLIER, None, ("stop", True, False), id="judged-in-an-earlier-round"),
        pytest.param(OWN, with_(BUSY, round="r2"), LOUD, GO, ("x.yml", True, False), id="others-are-a-round-further"),
        pytest.param(KEPT, BUSY, None, None, ("reach", True, False), id="kept-beside-one-that-was-not-judged"),
        pytest.param(KEPT, QUIET, EARLIER, None, ("reach", True, True), id="an-earlier-judgement"),
    ],
)
def test_what_follows_for_a_host(plan: Any, common: Any, judged: Any, verdict: Any, following: Any) -> None:
    variables = {
        **_declared({"host": "gpu-1", "id": "d1"}),
        "provision__planned": {"plans": {"gpu-1": plan}, "common": common.mapping},
        "provision__judged": judged and judged.mapping,
        "provision__verdict": verdict and verdict.mapping,
    }
    plan = Round.of(variables).for_tasks
    assert (plan["next"], plan["all_skip_first"], plan["all_skip_next"]) == following
    assert ("What was bought is billed." in plan.get("refusal", "")) is (following[0] == "stop")


@pytest.mark.parametrize("planned", [None, {"skipped": True}, {"failed": True, "msg": "no API"}])
def test_a_host_skips_only_for_those_that_were_planned_with_it(planned: Any) -> None:
    """What runs once follows the first host, which a role's ``when`` may have left out."""
    plan = Round.of({**_declared({"host": "gpu-1", "id": "d1"}), "provision__planned": planned}).for_tasks
    assert (plan["next"], plan["all_skip_first"], plan["all_skip_next"]) == ("round", False, False)


def test_a_host_takes_no_part_if_only_another_was_to_declare() -> None:
    alone = {"inventory_hostname": "gpu-2", "provision__declared": Declared({"gpu-1": {"id": "d1"}}).mapping}
    assert Round.of(alone).for_tasks["next"] == ""


TWO = {host: {"host": host, "id": host, "pause": 601} for host in ("gpu-1", "gpu-2")}


@pytest.mark.parametrize(
    ("declared", "following"),
    [
        pytest.param(Declared(TWO, all_declared=True).mapping, (False, True, 601), id="for-all"),
        pytest.param(Declared(TWO).mapping, (False, False, 601), id="but-for-another"),
        pytest.param(Declared({"gpu-2": TWO["gpu-2"]}).mapping, (True, False, 1), id="left-out"),
        pytest.param(Declared().mapping, (True, False, 1), id="for-no-host"),
        pytest.param({"skipped": True}, (True, False, 1), id="skipped"),
        pytest.param({"failed": True, "msg": "x"}, (True, False, 1), id="failed"),
        pytest.param(None, (True, False, 1), id="not-asked"),
    ],
)
def test_whether_a_host_must_declare_by_itself(declared: Any, following: Any) -> None:
    plan = Round.of({"inventory_hostname": "gpu-1", "provision__declared": declared}).for_tasks
    assert (plan["undeclared"], plan["all_declared"], plan["pause"]) == following


TRIED = [{"offer_id": "o1"}]
AGAIN = HostVerdict(round="r1", again=True, attempts=TRIED).mapping
BACK = Released(round="r1", again=True, attempts=[*TRIED, {"offer_id": "o2"}])


@pytest.mark.parametrize(
    ("verdict", "released", "tried"),
    [
        pytest.param(None, None, None, id="nothing-yet"),
        pytest.param(AGAIN, None, TRIED, id="an-offer-was-lost"),
        pytest.param({**AGAIN, "again": False}, None, None, id="no-attempt-is-left"),
        pytest.param({**AGAIN, "round": "r0"}, None, None, id="of-an-earlier-round"),
        pytest.param({**AGAIN, "again": False}, BACK.mapping, BACK.attempts, id="given-back"),
        pytest.param(AGAIN, {**BACK.mapping, "round": "r0"}, TRIED, id="given-back-in-an-earlier-round"),
    ],
)
def test_what_was_tried_for_a_host_that_may_try_again(verdict: Any, released: Any, tried: Any) -> None:
    one = _following(verdict, released)
    assert one.attempts_with(Round()) == one.attempts_with(one) == tried
    assert one.for_tasks["again"] is (tried is not None)


def _following(verdict: Any, released: Any = None) -> Round:
    variables = {"provision__verdict": verdict, "provision__released": released}
    return Round.of({**_declared({"host": "gpu-1", "id": "d1"}), "provision__planned": PLANNED, **variables})


def test_hosts_that_come_to_their_next_round_one_after_the_other_are_planned_one_after_the_other() -> None:
    """One has lost an offer, another gives a machine back first, and both say that they try again."""
    lost, given_back = _following(AGAIN), _following({**AGAIN, "again": False}, BACK.mapping)
    assert (lost.attempts_with(given_back), given_back.attempts_with(lost)) == (None, None)
    assert lost.attempts_with(_following({**AGAIN, "again": False})) == TRIED


def test_what_was_listed_before_concerns_a_host_whose_purchase_is_the_first() -> None:
    common = Common(round="r1", without_offer=("m1",)).mapping
    for plan, listed in ((OWN, []), ({**OWN, "is_new": True}, ["m1"])):
        planned = {"plans": {"gpu-1": plan}, "common": common}
        variables = {**_declared({"host": "gpu-1", "id": "d1"}), "provision__planned": planned}
        assert list(Round.of(variables).listed_before) == listed


# Ends

END = {"host": "gpu-1", "declaration": "d1", "together": False, "next": "end", "ids": ["r"]}
OF_ALL = {"gpu-1": {**END, "declaration": "d0", "together": True}}
ENDS = Ends("r1", {"gpu-1": END}, ("d1", "d2"))
STOPS = {"next": "say", "stop": "Why."}


def ended(outcome: dict[str, Any], round_id: str = "r1") -> dict[str, Any]:
    return Ended(round_id, {"gpu-1": outcome}, one_for_all=True).mapping


@pytest.mark.parametrize(
    ("own", "ends", "noted", "following"),
    [
        pytest.param("d1", ENDS, ended({"next": "", "stop": ""}), ("", "", True), id="all-has-ended"),
        pytest.param("d1", ENDS, ended(STOPS), ("say", "Why.", True), id="it-stops"),
        pytest.param("d1", ENDS, None, ("say", "was not noted (r)", False), id="nothing-was-noted"),
        pytest.param("d1", ENDS, {"skipped": True}, ("say", "was not noted (r)", False), id="skipped"),
        pytest.param("d1", ENDS, ended(STOPS, "r0"), ("say", "was not noted (r)", False), id="noted-before"),
        pytest.param("d2", ENDS, ended(STOPS), ("", "", True), id="decided-in-an-earlier-round"),
        pytest.param("d3", ENDS, ended(STOPS), ("round", "", True), id="declared-anew"),
        pytest.param("d1", None, None, ("round", "", True), id="the-first-host-was-left-out"),
        pytest.param(None, with_(ENDS, ends=OF_ALL), ended(STOPS), ("say", "Why.", True), id="of-all"),
        pytest.param("d9", with_(ENDS, ends=OF_ALL), ended(STOPS), ("say", "Why.", True), id="of-all-again"),
    ],
)
def test_what_follows_for_a_host_that_ends(own: Any, ends: Any, noted: Any, following: Any) -> None:
    variables = {
        "inventory_hostname": "gpu-1",
        "decommission__declared": Declared({"gpu-1": {"id": own}} if own else {}).mapping,
        "decommission__decided": ends and ends.mapping,
        "decommission__ended": noted,
    }
    found = EndRound.of(variables).for_tasks
    assert (found["next"], following[1] in found["stop"]) == (following[0], True)
    assert found["one_for_all"] is (following[2] and ends is not None)


@pytest.mark.parametrize(("together", "following"), [(True, "alone"), (False, "")])
def test_a_host_that_has_not_declared_takes_part_where_all_do(together: bool, following: str) -> None:
    variables = {"inventory_hostname": "gpu-1", "decommission__decided": ENDS.mapping}
    variables.update({"decommission__together": True} if together else {})
    assert EndRound.of(variables).for_tasks["next"] == following


# The shapes


def filled(part: type[RoundPart]) -> RoundPart:
    """A part whose fields all have another value than by default."""
    other = {str: "x", bool: True, tuple: ["y"], dict: {"z": 1}}
    blank = part()
    return part(**{item.name: other[type(getattr(blank, item.name))] for item in dataclasses.fields(part)})


@pytest.mark.parametrize("part", PARTS)
def test_what_is_handed_on_is_read_as_it_was_written(part: type[RoundPart]) -> None:
    assert part.of(json.loads(json.dumps(filled(part).mapping))) == filled(part)
    assert part.of(json.loads(json.dumps(part().mapping))).mapping == part().mapping


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("nothing", [None, "", {}, {"skipped": True}, {"failed": True, "msg": "x", "attempts": 3}])
def test_a_task_that_did_not_run_hands_on_nothing(part: type[RoundPart], nothing: Any) -> None:
    assert part.of(nothing) == part()


def test_the_architecture_has_a_row_for_each_field() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page.partition("## What the steps hand on\n")[2].partition("\n## ")[0]
    rows = [row.split("|")[1:3] for row in section.splitlines() if row.startswith("| `")]
    documented = [
        (name, part) for names, parts in rows for name in re.findall(r"`(\w+)`", names) for part in parts.split()
    ]
    fields = [(item.name, part.__name__) for part in PARTS for item in dataclasses.fields(part)]
    assert sorted(documented) == sorted((name, f"`{part}`") for name, part in fields)
    assert set(PARTS) == {*RoundPart.__subclasses__(), *Following.__subclasses__()} - {Following}
