# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The consequences of acceptance tests for a host, and the evidence that is kept."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Failure
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import Registries
from ansible_collections.compute_index.supply.plugins.module_utils._operations.judge import accepted
from ansible_collections.compute_index.supply.plugins.module_utils._operations.verified import verified
from ansible_collections.compute_index.supply.plugins.module_utils._provision.acceptance import (
    MOST_NOTED,
    Report,
    bundle,
    shortened_bundle,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import SharedProject
from ansible_collections.compute_index.supply.plugins.module_utils._text import seconds_of, utc
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import planned

OFFER = "0ffe0000-0000-4000-8000-000000000001"
MACHINE = "5e500000-0000-4000-8000-000000000001"
FINDING = {"check": "gpu_count", "gpu": None, "verdict": "bad", "measured": 7, "expected": 8, "unit": "", "source": ""}
BAD = {
    "item": "gpu-1",
    "verdict": "bad",
    "reasons": ["gpu_count: 7 instead of 8 (bad)"],
    "findings": [FINDING],
    "evidence": [{"command": "nvidia-smi -q -x", "exit_code": 0, "seconds": 0.2, "output": "<serial>1</serial>"}],
}
OK = {"item": "gpu-1", "verdict": "ok", "reasons": [], "findings": [], "evidence": []}
UNREAD = ("ecc", "ecc", "xid")
BOUGHT = {
    "provision_procured_offer_id": OFFER,
    "provision_resource_ids": [MACHINE],
    "provision_price_per_hour": 12.0,
    "provision_journaled_at": "2026-01-31T12:00:00Z",
}


@pytest.mark.parametrize(
    ("results", "verdict", "words"),
    [
        ([], "no machine", ""),
        ([OK], "ok", ""),
        ([{**OK, "verdict": "degraded", "reasons": ["clock: 70 seconds"]}], "degraded", "clock: 70 seconds"),
        ([BAD], "bad", "gpu_count: 7 instead of 8 (bad)"),
        ([OK, {**BAD, "item": "gpu-1-1"}], "bad", "gpu-1-1: gpu_count: 7 instead of 8 (bad)"),
        ([{"item": "gpu-1", "unreachable": True, "msg": "no route"}], "bad", "it cannot be reached any more"),
        # Ansible has reached it, but may write nowhere there.
        *(
            ([{"item": "gpu-1", "unreachable": True, "msg": said}], "unknown", f"it could not be tested: {said}")
            for said in ("Failed to create temporary directory. In some", "mkdir: a: No space left on device")
        ),
        ([{"item": "gpu-1", "failed": True, "msg": "no Python"}], "unknown", "it could not be tested: no Python"),
        # Ansible has ended the task, as from 2.19 on and as before.
        *(
            ([{"item": "gpu-1", "failed": True, **ended}], "bad", "its test does not answer")
            for ended in (
                {"msg": "Timed out after 150 second(s).", "timedout": {"period": 150}},
                {"msg": "The action failed to execute in the expected time frame (150) and was terminated"},
            )
        ),
        ([{"item": "gpu-1"}], "unknown", "it could not be tested: no result"),
        # Of tests that run by themselves, first how they were started, then how they have ended.
        (
            [{"item": "a", "ansible_job_id": "1"}, {"item": {"item": "a"}, "finished": 1, "verdict": "ok"}],
            "ok",
            "",
        ),
        (
            [{"item": "a", "ansible_job_id": "1"}, {"item": {"item": "a"}, "finished": 0}],
            *("bad", "its test does not answer"),
        ),
    ],
)
def test_a_report(results: list[dict[str, Any]], verdict: str, words: str) -> None:
    report = Report.of("gpu-1", results)
    assert (report.verdict, report.reasons(verdict)) == (verdict, words)
    assert (report.warnings == []) == (verdict in ("ok", "bad") or not results)


def whole(results: list[dict[str, Any]]) -> dict[str, Any]:
    plan = {"offer_id": OFFER, "offer": {"gpu_count": 8}}
    return bundle(Report.of("gpu-1", results), plan, read_entry(BOUGHT), 1769860800.0 + 600)


def is_signed(kept: dict[str, Any]) -> bool:
    rest = {name: value for name, value in kept.items() if name != "sha256"}
    return kept["sha256"] == hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def test_the_evidence_says_what_was_bought_and_what_it_cost() -> None:
    kept = whole([BAD])
    assert (kept["offer_id"], kept["resource_ids"], kept["offer"]) == (OFFER, [MACHINE], {"gpu_count": 8})
    assert (kept["bought_at"], kept["tested_at"]) == ("2026-01-31T12:00:00Z", "2026-01-31T12:10:00Z")
    assert (kept["price_per_hour"], kept["cost_so_far"]) == (12.0, 2.0)
    (machine,) = kept["machines"]
    assert machine["evidence"] == BAD["evidence"] and machine["findings"] == [FINDING]
    assert is_signed(kept)


# A note has room for some fifty findings.
@given(st.lists(st.integers(0, 60), min_size=1, max_size=20), st.integers(0, 20))
def test_what_a_shared_registry_notes_is_small_and_has_the_verdict(counts: list[int], good: int) -> None:
    results = [
        {**BAD, "item": f"gpu-1-{number}", "findings": [FINDING] * count + [{**FINDING, "verdict": "ok"}] * good}
        for number, count in enumerate(counts)
    ]
    kept = shortened_bundle(whole(results))
    assert len(json.dumps(kept)) <= MOST_NOTED and is_signed(kept)
    assert "serial" not in json.dumps(kept)
    assert [machine["verdict"] for machine in kept["machines"]] == ["bad"] * len(counts)


@pytest.mark.parametrize("odd", ["odd", ["odd"], [{"check": "ecc"}], 7])
def test_findings_of_another_form_are_no_reason_to_lose_the_evidence(odd: Any) -> None:
    """They come from the machine."""
    kept = shortened_bundle(whole([{**BAD, "findings": odd}]))
    assert is_signed(kept) and kept["machines"][0]["verdict"] == "bad"


def entry_of(folder: Path) -> Path:
    file = folder / "gpu-1" / "compute_index_supply.yml"
    file.parent.mkdir()
    file.write_text(json.dumps(BOUGHT))
    return file


def params_of(folder: Path | str, *results: dict[str, Any]) -> dict[str, Any]:
    return {"plans": [planned(registry=str(folder), offer_id=OFFER)], "tests": list(results)}


def test_the_evidence_is_kept_before_anything_ends(tmp_path: Path) -> None:
    file = entry_of(tmp_path)
    with pytest.raises(Failure) as failed:
        accepted(params_of(tmp_path, BAD), False)
    path = tmp_path / ".evidence" / f"gpu-1-{OFFER}.json"
    kept = json.loads(path.read_text())
    assert is_signed(kept) and kept["machines"][0]["evidence"] == BAD["evidence"]
    assert path.stat().st_mode & 0o777 == 0o600
    result = failed.value.result
    assert result["msg"] == (f"it did not pass its test: gpu_count: 7 instead of 8 (bad). The evidence is in {path}.")
    assert (result["error_class"], result["unsound"]) == ("unsound", result["msg"].partition(" The")[0])
    assert json.loads(file.read_text()) == BOUGHT


def test_a_shared_registry_keeps_it_in_the_claim(registry_url: str) -> None:
    with Registries(registry_url, "https://api.example.com", read_only=False) as registries:
        registries.database().make_tables()
        store = registries.at(SharedProject("default"))
        owner = store.host("gpu-1")
        assert owner is not None and owner.read() is None
        owner.claim({**BOUGHT, "provision_resource_ids": None, "provision_purchase": "sent"})
        owner.note({**BOUGHT, "provision_purchase": "made"})
        whole_bundle = bundle(Report.of("gpu-1", [BAD]), {"offer": {}}, store.entry("gpu-1")[0], 1769860800.0)
        assert "project default" in store.keep_evidence("gpu-1", whole_bundle)
        report = Report.of("gpu-1", [BAD])
        assert store.note_test(report) == (report, "")
        noted_by_all = registries.at(SharedProject("default")).host("gpu-1")
        assert noted_by_all is not None
        entry = noted_by_all.read() or {}
        assert is_signed(entry["provision_evidence"]) and entry["provision_evidence"]["verdict"] == "bad"
        assert "serial" not in json.dumps(entry) and entry["provision_tested"]["verdict"] == "bad"
        assert entry["provision_resource_ids"] == BOUGHT["provision_resource_ids"]


def test_evidence_that_cannot_be_kept_changes_nothing_else(tmp_path: Path) -> None:
    entry_of(tmp_path)
    (tmp_path / ".evidence").write_text("a file")
    with pytest.raises(Failure) as failed:
        accepted(params_of(tmp_path, BAD), False)
    assert "The evidence could not be kept: The file" in failed.value.result["msg"]


def test_without_a_registry_there_is_no_place_for_it() -> None:
    with pytest.raises(Failure) as failed:
        accepted(params_of("", BAD), False)
    assert failed.value.result["msg"].endswith("8 (bad).")


@pytest.mark.parametrize(
    ("test", "told"),
    [
        (
            {"verdict": "degraded", "reasons": ["clock: 70 seconds instead of at most 60 (degraded)"]},
            "degraded: clock: 70 seconds instead of at most 60 (degraded)",
        ),
        (
            {"verdict": "unknown", "findings": [{**FINDING, "check": name, "verdict": "unknown"} for name in UNREAD]},
            "unknown: could not be read: ecc, xid",
        ),
    ],
)
def test_what_is_not_bad_is_kept_and_reported(tmp_path: Path, test: dict[str, Any], told: str) -> None:
    entry_of(tmp_path)
    result = accepted(params_of(tmp_path, {**OK, **test}), False)
    assert result["warnings"] == [f"gpu-1 is kept, but {told}."]
    assert not (tmp_path / ".evidence").exists()


def test_a_test_of_what_runs_is_noted_and_ends_nothing(tmp_path: Path) -> None:
    file = entry_of(tmp_path)
    row = {"host": "gpu-1", "project": "default", "registry_dir": str(tmp_path), "inventory_dir": str(tmp_path)}
    params = {"hosts": [{**row, "tested": BAD}], "sources": [], "here": "/", "troubles": [], "level": ""}
    with pytest.raises(Failure, match="verify_level must be specs, health, load or burnin, not 'lod'"):
        verified({**params, "level": "lod"}, False)
    assert yaml.safe_load(file.read_text()) == BOUGHT
    result = verified({**params, "level": "load"}, False)
    assert result["verified"] == {"gpu-1": "bad"}
    assert result["lines"] == ["gpu-1: bad", "  gpu_count: 7 instead of 8 (bad)"]
    assert result["trouble"] == (
        "gpu-1: it did not pass its test: gpu_count: 7 instead of 8 (bad). Nothing was ended;"
        " to end them: compute_index.supply.decommission -e decommission_hosts=gpu-1"
    )
    entry = yaml.safe_load(file.read_text())
    assert {**entry["provision_tested"], "at": ""} == {
        "at": "",
        "verdict": "bad",
        "reasons": "bad: gpu_count: 7 instead of 8 (bad).",
    }
    assert {name: value for name, value in entry.items() if name != "provision_tested"} == BOUGHT
    # As where a person's variable cannot be evaluated: the machine is as bad as before.
    untested = {"item": "gpu-1", "failed": True, "msg": "'driver' is undefined"}
    result = verified({**params, "hosts": [{**row, "tested": untested}]}, False)
    assert result["verified"] == {"gpu-1": "unknown"}
    assert yaml.safe_load(file.read_text()) == entry

    well = verified({**params, "hosts": [{**row, "tested": OK}, {**row, "host": "gpu-2", "tested": {}}]}, False)
    assert (well["trouble"], well["verified"]) == ("", {"gpu-1": "ok", "gpu-2": "no machine"})
    unread = [{"check": check, "verdict": word} for check in UNREAD for word in ("unknown", "ok")]
    vague = {**OK, "verdict": "unknown", "findings": [*unread, "odd"]}
    assert verified({**params, "hosts": [{**row, "tested": vague}]}, False)["lines"] == [
        "gpu-1: unknown",
        "  could not be read: ecc, xid",
    ]
    assert not (tmp_path / "gpu-2").exists()


UNREACHABLE = {"unreachable": True, "msg": "Could not resolve hostname gpu-1"}


@pytest.mark.parametrize(
    ("known", "result", "verdict", "fails"),
    [
        (BOUGHT, UNREACHABLE, "bad", True),
        (None, UNREACHABLE, "no machine", True),
        ({**BOUGHT, "provision_resource_ids": []}, UNREACHABLE, "no machine", True),
        # A machine of the user's own, or another machine that answers at its address
        (None, BAD, "bad", True),
        (None, OK, "ok", False),
        ("no mapping", UNREACHABLE, "bad", True),
        # If the test could not run, for example without Python, a green play would suggest a sound machine.
        (BOUGHT, {"failed": True, "msg": "no interpreter"}, "unknown", True),
        (BOUGHT, {**OK, "verdict": "unknown"}, "unknown", False),
    ],
)
def test_a_host_without_a_machine_has_none_that_is_bad(
    tmp_path: Path, known: Any, result: dict[str, Any], verdict: str, fails: bool
) -> None:
    if known is not None:
        entry_of(tmp_path).write_text(json.dumps(known))
    row = {"host": "gpu-1", "project": "default", "registry_dir": str(tmp_path), "inventory_dir": str(tmp_path)}
    params = {"hosts": [{**row, "tested": result}], "sources": [], "here": "/", "troubles": [], "level": ""}
    found = verified(params, False)
    assert (found["verified"], bool(found["trouble"])) == ({"gpu-1": verdict}, fails)
    why = {"no machine": "Nothing was tested", "unknown": "gpu-1: it could not be tested: no interpreter."}.get(verdict)
    assert not fails or verdict == "bad" or found["trouble"].startswith(why or "?")
    assert found["lines"][0] == f"gpu-1: {verdict}"
    assert bool(found["warnings"]) == (known == "no mapping")


def test_one_that_could_not_be_tested_is_told_beside_those_that_were(tmp_path: Path) -> None:
    """A green play would be taken for three sound machines."""
    entry_of(tmp_path)
    row = {"host": "gpu-1", "project": "default", "registry_dir": str(tmp_path), "inventory_dir": str(tmp_path)}
    further = {**row, "host": "gpu-2", "tested": {"item": "gpu-2", "failed": True, "msg": "no interpreter"}}
    (tmp_path / "gpu-2").mkdir()
    (tmp_path / "gpu-2" / "compute_index_supply.yml").write_text(json.dumps(BOUGHT))
    params = {"hosts": [{**row, "tested": OK}, further], "sources": [], "here": "/", "troubles": [], "level": ""}
    assert verified(params, False)["trouble"] == "gpu-2: it could not be tested: no interpreter."


LATER = "5e500000-0000-4000-8000-000000000002"


@pytest.mark.parametrize(
    ("tested", "reaped_at", "result", "verdict"),
    [
        ([MACHINE.upper()], None, BAD, "bad"),
        ([LATER], None, BAD, "no machine"),
        ([LATER], None, UNREACHABLE, "no machine"),
        ([MACHINE], "now", UNREACHABLE, "no machine"),
        ([MACHINE], "now", BAD, "no machine"),
        ([MACHINE], "2026-01-31T12:00:00Z", UNREACHABLE, "bad"),
        ([MACHINE], "gone", BAD, "no machine"),
        ([MACHINE], "bought anew", BAD, "no machine"),
    ],
)
def test_what_ended_while_it_was_tested_is_not_bad(
    tmp_path: Path, tested: list[str], reaped_at: str | None, result: dict[str, Any], verdict: str
) -> None:
    """Other machines are tested for an hour, and only then all are judged."""
    moment = utc(time.time()) if reaped_at == "now" else reaped_at
    file = entry_of(tmp_path)
    anew = {"provision_procured_offer_id": LATER, "provision_purchase": "sent"}
    noted: dict[str, Any] = {"gone": {}, "bought anew": anew}.get(str(reaped_at), BOUGHT)
    file.write_text(json.dumps({**noted, "provision_reaped_at": moment}))
    row = {"host": "gpu-1", "project": "default", "registry_dir": str(tmp_path), "inventory_dir": str(tmp_path)}
    row["machines"] = tested
    params = {"hosts": [{**row, "tested": result}], "sources": [], "here": "/", "troubles": [], "level": ""}
    found = verified(params, False)
    assert (found["verified"], "decommission" in found["trouble"]) == ({"gpu-1": verdict}, verdict == "bad")
    assert ("provision_tested" in yaml.safe_load(file.read_text())) == (verdict == "bad")


@pytest.mark.parametrize(("noted_by", "ahead"), [(None, 3600.0), ("api", 3600.0), ("api", None)])
def test_the_evidence_has_the_time_of_the_clock_that_noted_the_purchase(
    tmp_path: Path, noted_by: str | None, ahead: float | None
) -> None:
    """The clock of this computer may be wrong by hours, and so would be the cost."""
    begun = time.time() - 1800 + (ahead or 0.0 if noted_by else 0.0)
    entry_of(tmp_path).write_text(
        json.dumps({**BOUGHT, "provision_journaled_at": utc(begun), "provision_clock": noted_by})
    )
    params = params_of(tmp_path, BAD)
    params["plans"][0]["ahead"] = ahead
    with pytest.raises(Failure):
        accepted(params, False)
    kept = json.loads((tmp_path / ".evidence" / f"gpu-1-{OFFER}.json").read_text())
    assert kept["clock"] == (noted_by or "here")
    assert 1790 <= (seconds_of(kept["tested_at"]) or 0.0) - begun <= 1810
    assert kept["cost_so_far"] == pytest.approx(6.0, abs=0.1)
