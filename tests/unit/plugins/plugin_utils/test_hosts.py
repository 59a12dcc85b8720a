# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan of all hosts says for one of them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.compute_index.supply.plugins.plugin_utils._hosts import in_full, led, parts, plan_of

OWN = {"host": "gpu-1", "declaration": "d1", "call": "c1", "action": "buy", "first": "", "next": ""}
PLANNED = {"plans": {"gpu-1": OWN}, "common": {"call": "c1", "consumed": ["d1", "d2"]}}
FAILED = {"failed": True, "plans": {"gpu-1": OWN}}
ALONE = {"action": "", "first": "", "next": "round"}
NOTHING = {"action": "", "first": "", "next": ""}


@pytest.mark.parametrize(
    ("declared", "planned", "found"),
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
def test_a_host_takes_its_own_plan(declared: Any, planned: Any, found: dict[str, Any]) -> None:
    assert plan_of({**_declared(declared), "provision__planned": planned}) == found


def _declared(declared: Any) -> dict[str, Any]:
    """What a host knows of its declaration, or of a task that was skipped."""
    host = (declared or {}).get("host")
    result = {"declarations": {host: declared}} if host else declared
    return {"inventory_hostname": host or "gpu-1", "provision__declared": result}


KEPT = {**OWN, "action": "keep", "next": "reach"}
QUIET = {"call": "c1", "none_first": True, "none_next": True, "acquires": False}
BUSY = {**QUIET, "acquires": True}
LOUD = {"call": "c1", "none_next": False}
EARLIER = {"call": "c0", "none_next": True}
DONE = {**KEPT, "next": ""}
GO = {"call": "c1", "next": "x.yml"}


@pytest.mark.parametrize(
    ("plan", "common", "judged", "verdict", "following"),
    [
        pytest.param(DONE, QUIET, None, None, ("", True, True), id="none-has-anything"),
        pytest.param(KEPT, {**QUIET, "none_next": False}, None, None, ("reach", True, False), id="by-its-plan"),
        pytest.param(DONE, {**QUIET, "none_first": False}, None, None, ("", False, True), id="another-has-a-first"),
        pytest.param(OWN, BUSY, QUIET, None, ("", True, True), id="all-are-only-planned"),
        pytest.param(OWN, BUSY, LOUD, GO, ("x.yml", True, False), id="by-its-verdict"),
        pytest.param(OWN, BUSY, LOUD, {**GO, "call": "c0"}, ("", True, False), id="an-earlier-verdict"),
        pytest.param(OWN, {**BUSY, "none_next": False}, QUIET, None, ("", True, False), id="another-is-kept"),
        pytest.param(OWN, BUSY, None, None, ("stop", True, False), id="not-judged"),
        pytest.param(OWN, BUSY, EARLIER, None, ("stop", True, False), id="judged-in-an-earlier-round"),
        pytest.param(OWN, {**BUSY, "call": "c2"}, LOUD, GO, ("x.yml", True, False), id="others-are-a-round-further"),
        pytest.param(KEPT, BUSY, None, None, ("reach", True, False), id="kept-beside-one-that-was-not-judged"),
        pytest.param(KEPT, QUIET, EARLIER, None, ("reach", True, True), id="an-earlier-judgement"),
    ],
)
def test_what_follows_for_a_host(plan: Any, common: Any, judged: Any, verdict: Any, following: Any) -> None:
    own = {**_declared({"host": "gpu-1", "id": "d1"}), "provision__judged": judged}
    own |= {"provision__planned": {"plans": {"gpu-1": plan}, "common": common}, "provision__verdict": verdict}
    found = led(own)
    assert (found["next"], found["none_first"], found["none_next"]) == following
    assert bool(found.get("refusal")) is (following[0] == "stop")


@pytest.mark.parametrize("planned", [None, {"skipped": True}, {"failed": True, "msg": "no API"}])
def test_a_host_speaks_only_for_those_that_were_planned_with_it(planned: Any) -> None:
    """What runs once follows the first host, which a role's ``when`` may have left out."""
    found = led({**_declared({"host": "gpu-1", "id": "d1"}), "provision__planned": planned})
    assert (found["next"], found["none_first"], found["none_next"]) == ("round", False, False)


TWO = {host: {"host": host, "id": host, "looks": 3, "pause": 601} for host in ("gpu-1", "gpu-2")}


@pytest.mark.parametrize(
    ("declared", "following"),
    [
        pytest.param({"declarations": TWO, "speaks_for_all": True}, (False, True, 3, 601), id="for-all"),
        pytest.param({"declarations": TWO, "speaks_for_all": False}, (False, False, 3, 601), id="but-for-another"),
        pytest.param(
            {"declarations": {"gpu-2": TWO["gpu-2"]}, "speaks_for_all": False}, (True, False, 1, 1), id="left-out"
        ),
        pytest.param({"declarations": {}, "speaks_for_all": False}, (True, False, 1, 1), id="for-nobody"),
        pytest.param({"declarations": {"gpu-1": TWO["gpu-1"]}}, (False, False, 3, 601), id="by-itself"),
        pytest.param({"skipped": True}, (True, False, 1, 1), id="skipped"),
        pytest.param({"failed": True, "msg": "x"}, (True, False, 1, 1), id="failed"),
        pytest.param(None, (True, False, 1, 1), id="not-asked"),
    ],
)
def test_whether_a_host_must_declare_by_itself(declared: Any, following: Any) -> None:
    found = led({"inventory_hostname": "gpu-1", "provision__declared": declared})
    assert (found["alone"], found["none_alone"], found["looks"], found["pause"]) == following


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("gpu-[1:3]", "gpu-1,gpu-2,gpu-3"),
        ("a, b-[08:10]\nc", "a,b-08,b-09,b-10,c"),
        ("r[1:2]-[a:b]", "r1-a,r1-b,r2-a,r2-b"),
        ("gpu-1,gpu-2", "gpu-1,gpu-2"),
        (3, 3),
        (["gpu-[1:3]"], ["gpu-[1:3]"]),
        ("gpu-[ab]", "gpu-[ab]"),
    ],
)
def test_ranges_are_those_of_inventories(asked: Any, names: Any) -> None:
    assert in_full("provision_hosts", asked) == names


@pytest.mark.parametrize("asked", ["gpu-[1:]", "gpu-[1:x]", "gpu-[1:99999999]", "gpu-[:3:1:2]"])
def test_what_is_no_range_is_refused(asked: str) -> None:
    with pytest.raises(AnsibleActionFail, match=r"provision_hosts: .* is no range of names"):
        in_full("provision_hosts", asked)


def test_a_pattern_may_stand_in_lines() -> None:
    assert parts("decommission_hosts", "a\r\nb, c\n") == ["a", "b", "c"]
    assert parts("decommission_hosts", ["a,b", "c"]) == ["a", "b", "c"]
