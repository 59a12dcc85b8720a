# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden records contain no random values, and a comparison finds every difference."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import golden
from project import Run

RECORD: dict[str, Any] = {
    "command": "ansible-playbook provision",
    "returncode": 0,
    "failures": {},
    "errors": [],
    "changed": ["gpu-1"],
    "purchases": {"OFFER1": {"resource_name": "gpu-1", "cloud_init": "#cloud-config\npackages:\n- git\n" * 9}},
    "billed": ["OFFER1.1"],
    "registry": {"host_vars/gpu-1/compute_index_supply.yml": {"holds": {"ansible_port": "PORT-OFFER1.1"}}},
    "counters": {"gpu-1": {"ok": 3}},
    "requests": ["GET /resources", "GET /offers/OFFER1/status", "POST /procure_offer OFFER1"],
    "requests_by_offer": {
        "": ["GET /resources"],
        "OFFER1": ["GET /offers/OFFER1/status", "POST /procure_offer OFFER1"],
    },
}


def test_names_replace_random_values() -> None:
    names, first, second, known = golden.Names(), str(uuid4()), str(uuid4()), str(uuid4())
    names.known |= {known: "OFFER1", "41234": "PORT-OFFER1.1", "nebius-0a1b2c3d": "NAME-OFFER1.1"}
    recorded = {
        f"{second}.yml": f"{first} {second.upper()} gpu-{known} ssh -p 41234 nebius-0a1b2c3d",
        "since": "2026-01-02T03:04:05.678+00:00",
        "port": 41234,
        "urls": "http://127.0.0.1:41234 http://127.0.0.1:45678/",
        "other": [22, 2.5, None, True, "2026-01-02", "nebius-ffffffff", f"ssh-ed25519 AAAA{'b' * 64} me"],
    }
    assert names.value(recorded) == {
        "ID1.yml": "ID2 ID1 gpu-OFFER1 ssh -p PORT-OFFER1.1 NAME-OFFER1.1",
        "since": "TIME",
        "port": "PORT-OFFER1.1",
        "urls": "http://127.0.0.1:PORT-OFFER1.1 http://127.0.0.1:PORT/",
        "other": [22, 2.5, None, True, "2026-01-02", "nebius-ffffffff", "ssh-ed25519 KEY me"],
    }


@pytest.mark.parametrize("indent", [None, 4])
def test_failures_keeps_last_message_of_each_host(indent: int | None) -> None:
    lines = [
        f"fatal: [{host}]: FAILED! => {json.dumps({'changed': False, 'msg': message}, indent=indent)}"
        for host, message in (("gpu-1", "first"), ("gpu-2 -> localhost", "it\nfailed"), ("gpu-1", "last"))
    ]
    run = Run(2, "\n".join([*lines, "fatal: [gpu-3]: FAILED! => (item=1)", ""]))
    assert golden.failures(run) == {"gpu-1": "FAILED! last", "gpu-2": "FAILED! it failed", "gpu-3": "FAILED! (item=1)"}


def write(folder: Path, **tests: list[dict[str, Any]]) -> Path:
    """Write a recording of these tests, each with its runs, and return its folder."""
    folder.mkdir()
    for test, runs in tests.items():
        (folder / f"{test}.json").write_text(json.dumps({"test": test, "runs": runs}))
    return folder


def test_compare_prints_differing_facts_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = copy.deepcopy(RECORD)
    other["counters"]["gpu-1"]["ok"] = 2
    other["requests"] = ["GET /offers/OFFER1/status", "POST /procure_offer OFFER1", "GET /offers/OFFER1/status"]
    other["purchases"]["OFFER1"]["cloud_init"] += "x: 1\n"
    other["billed"] = []
    old = write(tmp_path / "old", equal=[RECORD], other=[RECORD], gone=[RECORD])
    new = write(tmp_path / "new", equal=[RECORD], other=[other])
    assert golden.compare(old, new, facts_only=False, most=9) == 1
    head, *lines, only, summary = capsys.readouterr().out.splitlines()
    assert head == "other: facts differ"
    assert [line.partition("): ")[2].partition(":")[0] for line in lines] == [
        *("purchases", "billed", "requests", "looks", "counters")
    ]
    assert lines[0].endswith("\\nx: 1\\n") and lines[1].endswith("OFFER1.1: 1 -> nothing")
    assert (only, summary) == (
        "only in OLD: 1 tests: gone",
        "2 tests compared: 1 equal, 1 facts differ, 0 ways differ, 0 looks differ, 0 unstable.",
    )


def test_compare_ignores_unstable_aspects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again, facts = copy.deepcopy(RECORD), copy.deepcopy(RECORD)
    again["requests"].append("GET /offers/OFFER1/status")
    facts["requests"], facts["returncode"] = again["requests"] * 2, 2
    old = write(tmp_path / "old", one=[RECORD], two=[RECORD])
    golden.mark(old, [write(tmp_path / "again", one=[again])])
    assert capsys.readouterr().out.startswith("unstable: one: looks\n")
    assert golden.compare(old, write(tmp_path / "new", one=[again], two=[RECORD]), facts_only=False, most=9) == 0
    assert golden.compare(old, write(tmp_path / "bad", one=[facts]), facts_only=True, most=9) == 1
    assert "returncode: 0 -> 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("aspects", "kind"),
    [
        ((), "equal"),
        (("looks",), "looks differ"),
        (("looks", "counters"), "ways differ"),
        (("runs", "looks"), "facts differ"),
        (("billed",), "facts differ"),
    ],
)
def test_kind_of_names_the_gravest_difference(aspects: tuple[str, ...], kind: str) -> None:
    assert golden.kind_of(set(aspects)) == kind
