# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a machine is in use, judged from its readings. The sampler's own tests are in test_supply_keep.py."""

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
LOOK = ActivityReadings(boot="b", uptime=40_030.0, clock=1_795_780_830.0, state=json.dumps(NOTE))
KEEP = {"until": LOOK.clock + 3600, "boot": "b", "uptime": LOOK.uptime + 3600}


def note(**fields: Any) -> ActivityReadings:
    return replace(LOOK, state=json.dumps({**NOTE, **fields}))


def keep(**fields: Any) -> ActivityReadings:
    return replace(LOOK, keeps={"1000": json.dumps({**KEEP, **fields})})


def test_an_idle_machine_says_since_when_and_what_was_seen() -> None:
    assert activity_of(LOOK).result() == {
        "state": "idle",
        "since": "2026-11-27T02:00:00Z",
        "idle_seconds": 36_030,
        "keep_until": None,
        "evidence": "8 GPUs at 0 %; last in use at 2026-11-27 02:00 UTC (GPU 7 at 97 %)",
    }


def test_a_machine_that_is_kept_says_until_when() -> None:
    assert activity_of(keep()).result() == {
        "state": "active",
        "since": "2026-11-27T02:00:00Z",
        "idle_seconds": 0,
        "keep_until": "2026-11-27T13:00:30Z",
        "evidence": f"supply-keep until 2026-11-27 13:00 UTC; {activity_of(LOOK).evidence}",
    }


TABLE = {
    "in use at the last sample": (note(active=NOTE["at"]), "active", "GPU 7 at 97 %"),
    "almost too old": (replace(LOOK, uptime=40_300.0), "idle", ""),
    "too old": (replace(LOOK, uptime=40_300.5), "unknown", "nothing for 5 minutes"),
    "read a moment before": (replace(LOOK, uptime=39_999.5), "idle", ""),
    "of the future": (replace(LOOK, uptime=39_998.0), "unknown", "from another boot"),
    "of another boot": (note(boot="a"), "unknown", "from another boot"),
    "of no boot": (note(boot=None), "unknown", "from another boot"),
    "used after the sample": (note(active=40_001.0), "unknown", "is invalid"),
    "used before the boot": (note(active=-1.0), "unknown", "is invalid"),
    "a word": (note(active="4k"), "unknown", "is invalid"),
    "no number": (note(active=math.nan), "unknown", "is invalid"),
    "no end": (note(at=math.inf), "unknown", "is invalid"),
    "a truth": (note(active=True), "unknown", "is invalid"),
    "no limit": (note(load=None), "unknown", "is invalid"),
    "no sentence": (note(why=None, seen=[1]), "idle", "[1]; last in use"),
    "what a terminal would obey": (note(seen="\x1b[2J\nx"), "idle", "\ufffd[2J x; "),
    "no sampler": (replace(LOOK, state=None, keeps=None), "unknown", "or it is not installed"),
    "no JSON": (replace(LOOK, state="["), "unknown", "is invalid"),
    "deep JSON": (replace(LOOK, state="[" * 60_000), "unknown", "is invalid"),
    "others": (replace(LOOK, others=2), "active", "2 other SSH connections now"),
    "others out of sight": (replace(LOOK, others=None), "unknown", "other processes of the machine cannot be seen"),
    "load": (replace(LOOK, load=0.51), "active", "load 0.51 now"),
    "as much load as may be": (replace(LOOK, load=0.5), "idle", ""),
    "no load": (replace(LOOK, load=None), "unknown", "cannot be seen"),
    "kept": (keep(), "active", "supply-keep until"),
    "kept by one of the clocks": (keep(until=1.0), "active", "supply-keep until"),
    "kept by the other": (keep(uptime=1.0), "active", "supply-keep until"),
    "kept since another boot": (keep(boot="a", uptime=1e9), "active", "supply-keep until 2026-11-27 13:00 UTC"),
    "no longer kept": (keep(until=LOOK.clock, uptime=LOOK.uptime), "idle", ""),
    "kept for too long": (keep(until=LOOK.clock + 32 * 86_400), "unknown", "is too late; is the clock right?"),
    "no folder": (replace(LOOK, keeps=None), "unknown", "the folder of supply-keep cannot be read"),
    "a folder that is no sampler's": (replace(note(boot="a"), keeps=None), "unknown", "from another boot"),
}


@pytest.mark.parametrize(("look", "state", "evidence"), TABLE.values(), ids=TABLE.keys())
def test_what_follows(look: ActivityReadings, state: str, evidence: str) -> None:
    found = activity_of(look)
    assert (found.state, evidence in found.evidence) == (state, True), found
    assert (found.idle_seconds > 0) == (state == "idle")
    assert "\n" not in found.evidence and found.evidence


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(40_000.0)
NOTES = st.dictionaries(st.sampled_from([*NOTE]), VALUES).map(lambda fields: json.dumps({**NOTE, **fields}))
KEEPS = st.dictionaries(st.sampled_from([*KEEP]), VALUES).map(lambda fields: json.dumps({**KEEP, **fields}))
TEXTS = st.none() | st.text()


@given(state=TEXTS | NOTES, keeps=st.none() | st.dictionaries(st.text(max_size=9), TEXTS | KEEPS, max_size=3))
def test_idle_is_only_what_is_certain(state: str | None, keeps: dict[str, str | None] | None) -> None:
    found = activity_of(replace(LOOK, state=state, keeps=keeps))
    result = found.result()
    if result["state"] == "idle":
        note = json.loads(state or "")
        assert (note["boot"], result["keep_until"], keeps is None) == ("b", None, False)
        assert 0 <= note["active"] < note["at"] and -1 <= LOOK.uptime - note["at"] <= 300
    else:
        assert result["idle_seconds"] == 0
