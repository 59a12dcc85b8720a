# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict whether a machine is in use. The sampler's own tests are in test_supply_keep.py."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._machine.activity import (
    ActivityReadings,
    activity_of,
)
from hypothesis import given
from hypothesis import strategies as st

NOTE = {"boot": "b", "at": 40_000.0, "active": 4_000.0, "load": 0.5, "why": "GPU 7 at 97 %", "seen": "8 GPUs at 0 %"}
READINGS = ActivityReadings(boot="b", uptime=40_030.0, clock=1_795_780_830.0, state=json.dumps(NOTE))
KEEP = {"until": READINGS.clock + 3600, "boot": "b", "uptime": READINGS.uptime + 3600}


OVER = {"until": 1.0, "boot": "b", "uptime": 1.0}


def with_users(*keeps: dict[str, Any]) -> dict[str, str]:
    """The notes of supply-keep of several users."""
    return {str(user): json.dumps(keep) for user, keep in enumerate(keeps)}


def with_note(**fields: Any) -> ActivityReadings:
    return replace(READINGS, state=json.dumps({**NOTE, **fields}))


def with_keep(**fields: Any) -> ActivityReadings:
    return replace(READINGS, keeps={"1000": json.dumps({**KEEP, **fields})})


def test_result_of_idle_machine() -> None:
    assert activity_of(READINGS).result() == {
        "state": "idle",
        "since": "2026-11-27T02:00:00Z",
        "idle_seconds": 36_030,
        "keep_until": None,
        "evidence": "8 GPUs at 0 %; last in use at 2026-11-27 02:00 UTC (GPU 7 at 97 %)",
    }


def test_result_of_machine_with_supply_keep() -> None:
    assert activity_of(with_keep()).result() == {
        "state": "active",
        "since": "2026-11-27T02:00:00Z",
        "idle_seconds": 0,
        "keep_until": "2026-11-27T13:00:30Z",
        "evidence": f"supply-keep until 2026-11-27 13:00 UTC; {activity_of(READINGS).evidence}",
    }


TABLE = {
    "in use at the last sample": (with_note(active=NOTE["at"]), "active", "GPU 7 at 97 %"),
    "note is almost too old": (replace(READINGS, uptime=40_300.0), "idle", ""),
    "note is too old": (replace(READINGS, uptime=40_300.5), "unknown", "nothing for 5 minutes"),
    "note was made during the reading": (replace(READINGS, uptime=39_999.5), "idle", ""),
    "note is from the future": (replace(READINGS, uptime=39_998.0), "unknown", "from another boot"),
    "note is from another boot": (with_note(boot="a"), "unknown", "from another boot"),
    "note without a boot id": (with_note(boot=None), "unknown", "from another boot"),
    "last use after the sample": (with_note(active=40_001.0), "unknown", "is invalid"),
    "last use before the boot": (with_note(active=-1.0), "unknown", "is invalid"),
    "last use is text": (with_note(active="4k"), "unknown", "is invalid"),
    "last use is NaN": (with_note(active=math.nan), "unknown", "is invalid"),
    "sample is infinite": (with_note(at=math.inf), "unknown", "is invalid"),
    "last use is a boolean": (with_note(active=True), "unknown", "is invalid"),
    "note without a load": (with_note(load=None), "unknown", "is invalid"),
    "reasons are not text": (with_note(why=None, seen=[1]), "idle", "[1]; last in use at 2026-11-27 02:00 UTC ()"),
    "reasons have control characters": (with_note(seen="\x1b[2J\nx"), "idle", "\ufffd[2J x; "),
    "note is missing": (replace(READINGS, state=None, keeps=None), "unknown", "or it is not installed"),
    "note is no JSON": (replace(READINGS, state="["), "unknown", "is invalid"),
    "note is nested too deeply": (replace(READINGS, state="[" * 60_000), "unknown", "is invalid"),
    "other SSH connections": (replace(READINGS, others=2), "active", "2 other SSH connections now"),
    "other processes are hidden": (
        replace(READINGS, others=None),
        "unknown",
        "other processes of the machine cannot be seen",
    ),
    "load above the limit": (replace(READINGS, load=0.51), "active", "load 0.51 now"),
    "load at the limit": (replace(READINGS, load=0.5), "idle", ""),
    "load is unknown": (replace(READINGS, load=None), "unknown", "cannot be seen"),
    "supply-keep by both clocks": (with_keep(), "active", "supply-keep until"),
    "supply-keep by the uptime": (with_keep(until=1.0), "active", "supply-keep until"),
    "supply-keep by the clock": (with_keep(uptime=1.0), "active", "supply-keep until"),
    "supply-keep since another boot": (
        with_keep(boot="a", uptime=1e9),
        "active",
        "supply-keep until 2026-11-27 13:00 UTC",
    ),
    "supply-keep is over": (with_keep(until=READINGS.clock, uptime=READINGS.uptime), "idle", ""),
    "supply-keep for too long": (
        with_keep(until=READINGS.clock + 32 * 86_400),
        "unknown",
        "is too late; is the clock right?",
    ),
    "supply-keep of several users": (replace(READINGS, keeps=with_users(KEEP, OVER)), "active", "supply-keep until"),
    "supply-keep of several users, the last one first": (
        replace(READINGS, keeps=with_users(OVER, KEEP, OVER)),
        "active",
        "supply-keep until 2026-11-27 13:00 UTC",
    ),
    "supply-keep of one of several users is unclear": (
        replace(READINGS, keeps=with_users(OVER, {})),
        "unknown",
        "for the user 1 is invalid",
    ),
    "supply-keep without a time": (with_keep(until=None), "unknown", "for the user 1000 is invalid"),
    "supply-keep without an uptime": (with_keep(uptime="x"), "unknown", "for the user 1000 is invalid"),
    "note of supply-keep is unreadable": (replace(READINGS, keeps={"7": None}), "unknown", "user 7 is invalid"),
    "folder of supply-keep is unreadable": (
        replace(READINGS, keeps=None),
        "unknown",
        "the folder of supply-keep cannot be read",
    ),
    "note is from another boot, folder is unreadable": (
        replace(with_note(boot="a"), keeps=None),
        "unknown",
        "from another boot",
    ),
}


@pytest.mark.parametrize(("readings", "state", "evidence"), TABLE.values(), ids=TABLE.keys())
def test_state_and_evidence(readings: ActivityReadings, state: str, evidence: str) -> None:
    found = activity_of(readings)
    assert (found.state, evidence in found.evidence) == (state, True), found
    assert (found.idle_seconds > 0) == (state == "idle")
    assert "\n" not in found.evidence and found.evidence


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(40_000.0)
NOTES = st.dictionaries(st.sampled_from([*NOTE]), VALUES).map(lambda fields: json.dumps({**NOTE, **fields}))
KEEPS = st.dictionaries(st.sampled_from([*KEEP]), VALUES).map(lambda fields: json.dumps({**KEEP, **fields}))
TEXTS = st.none() | st.text()


@given(state=TEXTS | NOTES, keeps=st.none() | st.dictionaries(st.text(max_size=9), TEXTS | KEEPS, max_size=3))
def test_machine_is_idle_only_if_all_readings_are_certain(
    state: str | None, keeps: dict[str, str | None] | None
) -> None:
    found = activity_of(replace(READINGS, state=state, keeps=keeps))
    result = found.result()
    if result["state"] == "idle":
        note = json.loads(state or "")
        assert (note["boot"], result["keep_until"], keeps is None) == ("b", None, False)
        assert 0 <= note["active"] < note["at"] and -1 <= READINGS.uptime - note["at"] <= 300
    else:
        assert result["idle_seconds"] == 0
