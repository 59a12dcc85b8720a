# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of hosts that end: what follows for each, what it loses, and the lines for people."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import end_report

Json = dict[str, Any]
ID = "00000000-0000-4000-8000-000000000001"
ENDS: Json = {
    **{
        "host": "gpu-1",
        "action": "end",
        "next": "end",
        "ids": [ID],
        "check_mode": False,
        "saves": 2.5,
        "more": "",
        "prices": {ID: 2.5},
    },
    **{"label": "a sentence", "refusal": "", "storage_ends": [], "storage_stays": ["kept"]},
}
OVER: Json = {"changed": True, "usd": 22.5, "cost": "sentence", "storage": []}
FAILS: Json = {**OVER, "failed": True, "msg": "It may run.", "usd": None, "cost": ""}
STOPS: Json = {**ENDS, "action": "stop", "next": "stop", "refusal": "Whose is it?", "ids": [], "label": "nothing"}
STORES: Json = {**ENDS, "storage_ends": ["disk"]}
CHECKED: Json = {**ENDS, "check_mode": True}
FORGETS: Json = {**ENDS, "action": "forget", "next": "note", "ids": []}
IDLE: Json = {**ENDS, "action": "nothing", "next": "", "ids": []}


@pytest.mark.parametrize(
    ("plan", "noted", "of_storage", "follows", "stop", "over"),
    [
        pytest.param(ENDS, OVER, False, "", "", True, id="it has ended"),
        pytest.param(FORGETS, OVER, False, "say", "", True, id="it had ended before"),
        pytest.param(ENDS, FAILS, False, "stop", "It may run.", False, id="it has not"),
        pytest.param(STOPS, OVER, False, "stop", "Whose is it?", False, id="nothing was ended"),
        pytest.param(IDLE, OVER, False, "say", "", False, id="there was nothing"),
        pytest.param(CHECKED, OVER, False, "say", "", False, id="check mode"),
        pytest.param(ENDS, {**OVER, "storage": ["a line"]}, False, "say", "", True, id="its storage stays"),
        pytest.param(STORES, OVER, False, "storage", "", False, id="its storage is to end"),
        pytest.param(STORES, FAILS, False, "stop", "It may run.", False, id="no storage ends before its machine"),
        pytest.param({**STORES, "check_mode": True}, OVER, False, "storage", "", False, id="storage in check mode"),
        pytest.param(STORES, OVER, True, "say", "", True, id="its storage has ended"),
        pytest.param({**STORES, "next": "storage"}, OVER, True, "say", "", True, id="of a host without a machine"),
        pytest.param({**STORES, "check_mode": True}, OVER, True, "say", "", False, id="its storage would end"),
        pytest.param(STORES, FAILS, True, "stop", "It may run.", False, id="its storage has not"),
    ],
)
def test_what_follows(plan: Json, noted: Json, of_storage: bool, follows: str, stop: str, over: bool) -> None:
    one = end_report.outcomes([plan], {"gpu-1": noted}, of_storage=of_storage)["gpu-1"]
    assert (one["next"], one["stop"], one["over"]) == (follows, stop, over)


@pytest.mark.parametrize(
    ("plan", "noted", "over", "lines"),
    [
        pytest.param(ENDS, OVER, [f"{ID}, USD 22.50"], [], id="ended"),
        pytest.param(ENDS, {**OVER, "usd": None}, [f"{ID}, unknown"], [], id="cost unknown"),
        pytest.param({**ENDS, "ids": [ID, ID]}, OVER, ["2 machines, USD 22.50"], [], id="a cluster"),
        pytest.param(ENDS, {**OVER, "usd": None, "cost": ""}, [ID], [], id="nothing was bought"),
        pytest.param({**ENDS, "more": "its lease"}, OVER, [f"{ID}, USD 22.50"], ["gpu-1: its lease"], id="swept"),
        pytest.param(CHECKED, OVER, [], [f"gpu-1: would end {ID}, USD 2.50/h"], id="check mode"),
        pytest.param(ENDS, FAILS, [], [], id="not ended"),
        pytest.param(STOPS, OVER, [], [], id="stopped"),
        pytest.param(IDLE, OVER, [], ["a sentence"], id="nothing"),
        pytest.param(FORGETS, {**OVER, "usd": None, "cost": ""}, ["has ended"], ["a sentence"], id="forgotten"),
    ],
)
def test_the_lines_about_a_host(plan: Json, noted: Json, over: list[str], lines: list[str]) -> None:
    found = end_report.outcomes([plan], {"gpu-1": noted})
    assert end_report.over([plan], found) == [{"host": "gpu-1", "label": label} for label in over]
    assert end_report.lines([plan], found) == lines
    # As Ansible prints the item of a loop, for hosts whose names have six letters, and the item of a list.
    printed = [f"ok: [gpu-10 -> gpu-11] => (item={label})" for label in over]
    printed += [f'        "{line}",' for line in lines]
    assert max(map(len, printed), default=0) <= 80


@pytest.mark.parametrize(
    ("second", "noted", "total"),
    [
        (ENDS, OVER, ["in total at most USD 45.00; saves USD 5.00/h"]),
        (ENDS, {**OVER, "usd": None}, ["in total at most USD 22.50, and 1 of unknown cost; saves USD 5.00/h"]),
        (ENDS, FAILS, []),
        (STOPS, OVER, []),
        (IDLE, OVER, []),
    ],
)
def test_a_sum_of_several_ends_has_only_what_has_ended(second: Json, noted: Json, total: list[str]) -> None:
    plans = [ENDS, {**second, "host": "gpu-2"}]
    found = end_report.outcomes(plans, {"gpu-1": OVER, "gpu-2": noted})
    assert [row["label"] for row in end_report.over(plans, found) if "in total" in row["label"]] == total


def test_the_sum_of_check_mode_is_what_would_be_saved() -> None:
    plans = [CHECKED, {**CHECKED, "host": "gpu-2"}]
    found = end_report.outcomes(plans, {"gpu-1": OVER, "gpu-2": OVER})
    assert end_report.lines(plans, found)[-1] == "in total: would save USD 5.00/h"


def test_who_has_nothing_to_do_says_what_there_is_to_say_for_all() -> None:
    """Else each host would need a worker to see that there is nothing."""
    plans = [ENDS, {**IDLE, "host": "gpu-2"}, {**STOPS, "host": "gpu-3"}]
    found = end_report.outcomes(plans, {plan["host"]: OVER for plan in plans})
    assert [one["next"] for one in found.values()] == ["say", "say", "stop"]


def test_what_is_to_be_said_of_a_machine_is_said_once_its_storage_has_ended() -> None:
    plans = [{**STORES, "more": "its lease"}, {**IDLE, "host": "gpu-2"}]
    first = end_report.outcomes(plans, {"gpu-1": OVER, "gpu-2": OVER})
    assert end_report.lines(plans, first) == ["a sentence"], "of the other host"
    said = {host: one["lines"] for host, one in first.items()}
    then = end_report.outcomes(plans[:1], {"gpu-1": {**OVER, "cost": "storage"}}, of_storage=True, said=said)
    assert end_report.lines(plans[:1], then) == ["gpu-1: its lease", "sentence", "storage"]


@pytest.mark.parametrize(
    ("nexts", "alone", "stands"),
    [
        (["", ""], True, True),
        (["say", "say"], True, True),
        (["say", "stop"], True, False),
        (["stop", "stop"], True, False),
        (["storage", "storage"], True, False),
        (["", ""], False, False),
    ],
)
def test_one_host_stands_for_all_if_the_same_follows_for_all(nexts: list[str], alone: bool, stands: bool) -> None:
    found = {str(number): {"next": name} for number, name in enumerate(nexts)}
    assert end_report.stands_for_all(found, alone=alone) is stands
