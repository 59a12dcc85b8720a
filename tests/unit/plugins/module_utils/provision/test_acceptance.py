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
    check_level,
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
    ("results", "verdict", "reasons"),
    [
        ([], "no machine", ""),
        ([OK], "ok", ""),
        ([{**OK, "verdict": "degraded", "reasons": ["clock: 70 seconds"]}], "degraded", "clock: 70 seconds"),
        ([BAD], "bad", "gpu_count: 7 instead of 8 (bad)"),
        ([OK, {**BAD, "item": "gpu-1-1"}], "bad", "gpu-1-1: gpu_count: 7 instead of 8 (bad)"),
        ([{"item": "gpu-1", "unreachable": True, "msg": "no route"}], "bad", "it cannot be reached any more"),
        # Ansible has reached the machine, but cannot write to it.
        *(
            ([{"item": "gpu-1", "unreachable": True, "msg": message}], "unknown", f"it could not be tested: {message}")
            for message in ("Failed to create temporary directory. In some", "mkdir: a: No space left on device")
        ),
        ([{"item": "gpu-1", "failed": True, "msg": "no Python"}], "unknown", "it could not be tested: no Python"),
        # The task timed out, as ansible-core 2.19 and newer report it, and older versions.
        *(
            ([{"item": "gpu-1", "failed": True, **ended}], "bad", "its test did not end in time")
            for ended in (
                {"msg": "Timed out after 150 second(s).", "timedout": {"period": 150}},
                {"msg": "The action failed to execute in the expected time frame (150) and was terminated"},
            )
        ),
        ([{"item": "gpu-1"}], "unknown", "it could not be tested: no result"),
        # A test in the background has two results: of the task that started it, and of the one that waited for it.
        (
            [{"item": "a", "ansible_job_id": "1"}, {"item": {"item": "a"}, "finished": 1, "verdict": "ok"}],
            "ok",
            "",
        ),
        (
            [{"item": "a", "ansible_job_id": "1"}, {"item": {"item": "a"}, "finished": 0}],
            *("bad", "its test did not end in time"),
        ),
    ],
)
def test_report_has_worst_verdict_and_its_reasons(results: list[dict[str, Any]], verdict: str, reasons: str) -> None:
    report = Report.of("gpu-1", results)
    assert (report.verdict, report.reasons(verdict)) == (verdict, reasons)
    assert (report.warnings == []) == (verdict in ("ok", "bad") or not results)


def evidence_bundle(results: list[dict[str, Any]], **entry: Any) -> dict[str, Any]:
    plan = {"offer_id": OFFER, "offer": {"gpu_count": 8}}
    return bundle(Report.of("gpu-1", results), plan, read_entry({**BOUGHT, **entry}), 1769860800.0 + 600)


def has_valid_digest(kept: dict[str, Any]) -> bool:
    rest = {name: value for name, value in kept.items() if name != "sha256"}
    return kept["sha256"] == hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def test_evidence_has_purchase_and_cost_so_far() -> None:
    kept = evidence_bundle([BAD])
    assert (kept["offer_id"], kept["resource_ids"], kept["offer"]) == (OFFER, [MACHINE], {"gpu_count": 8})
    assert (kept["bought_at"], kept["tested_at"]) == ("2026-01-31T12:00:00Z", "2026-01-31T12:10:00Z")
    assert (kept["price_per_hour"], kept["cost_so_far"]) == (12.0, 2.0)
    (machine,) = kept["machines"]
    assert machine["evidence"] == BAD["evidence"] and machine["findings"] == [FINDING]
    assert has_valid_digest(kept)


def test_evidence_names_offer_of_plan_and_only_known_cost() -> None:
    kept = evidence_bundle([BAD], provision_procured_offer_id=None, provision_price_per_hour=None)
    assert (kept["offer_id"], kept["price_per_hour"], kept["cost_so_far"]) == (OFFER, None, None)


def test_reason_of_evidence_is_that_of_a_bad_machine() -> None:
    degraded = {**OK, "item": "gpu-1-1", "verdict": "degraded", "reasons": ["clock: 70 seconds"]}
    assert evidence_bundle([degraded, BAD])["reason"] == "gpu_count: 7 instead of 8"


def test_small_bundle_keeps_offer_and_findings_that_are_not_ok() -> None:
    kept = shortened_bundle(evidence_bundle([{**BAD, "findings": [FINDING, {**FINDING, "verdict": "ok"}]}]))
    assert (kept["offer"], kept["machines"][0]["findings"]) == ({"gpu_count": 8}, [FINDING])


# A claim has room for some fifty findings.
@given(st.lists(st.integers(0, 60), min_size=1, max_size=20), st.integers(0, 20))
def test_shortened_bundle_stays_small_and_keeps_verdicts(counts: list[int], good: int) -> None:
    results = [
        {**BAD, "item": f"gpu-1-{number}", "findings": [FINDING] * count + [{**FINDING, "verdict": "ok"}] * good}
        for number, count in enumerate(counts)
    ]
    kept = shortened_bundle(evidence_bundle(results))
    assert len(json.dumps(kept)) <= MOST_NOTED and has_valid_digest(kept)
    assert "serial" not in json.dumps(kept)
    assert [machine["verdict"] for machine in kept["machines"]] == ["bad"] * len(counts)


@pytest.mark.parametrize("findings", ["odd", ["odd"], [{"check": "ecc"}], 7])
def test_malformed_findings_do_not_lose_the_evidence(findings: Any) -> None:
    """Findings come from the machine, so they are untrusted."""
    kept = shortened_bundle(evidence_bundle([{**BAD, "findings": findings}]))
    assert has_valid_digest(kept) and kept["machines"][0]["verdict"] == "bad"


def write_entry(folder: Path, entry: Any = BOUGHT, host: str = "gpu-1") -> Path:
    file = folder / host / "compute_index_supply.yml"
    file.parent.mkdir()
    file.write_text(json.dumps(entry))
    return file


def params_of(folder: Path | str, *results: dict[str, Any]) -> dict[str, Any]:
    return {"plans": [planned(registry=str(folder), offer_id=OFFER)], "tests": list(results)}


def test_failed_test_keeps_evidence_and_leaves_entry_unchanged(tmp_path: Path) -> None:
    file = write_entry(tmp_path)
    with pytest.raises(Failure) as failed:
        accepted(params_of(tmp_path, BAD), False)
    path = tmp_path / ".evidence" / f"gpu-1-{OFFER}.json"
    kept = json.loads(path.read_text())
    assert has_valid_digest(kept) and kept["machines"][0]["evidence"] == BAD["evidence"]
    assert path.stat().st_mode & 0o777 == 0o600
    result = failed.value.result
    assert result["msg"] == (f"it did not pass its test: gpu_count: 7 instead of 8 (bad). The evidence is in {path}.")
    assert (result["error_class"], result["unsound"]) == ("unsound", result["msg"].partition(" The")[0])
    assert json.loads(file.read_text()) == BOUGHT


def test_shared_registry_keeps_evidence_in_the_claim(registry_url: str) -> None:
    with Registries(registry_url, "https://api.example.com", read_only=False) as registries:
        registries.database().make_tables()
        store = registries.at(SharedProject("default"))
        owner = store.host("gpu-1")
        assert owner is not None and owner.read() is None
        owner.claim({**BOUGHT, "provision_resource_ids": None, "provision_purchase": "sent"})
        owner.note({**BOUGHT, "provision_purchase": "made"})
        report = Report.of("gpu-1", [BAD])
        evidence = bundle(report, {"offer": {}}, store.entry("gpu-1")[0], 1769860800.0)
        assert "project default" in store.keep_evidence("gpu-1", evidence)
        assert store.note_test(report) == (report, "")
        host = registries.at(SharedProject("default")).host("gpu-1")
        assert host is not None
        entry = host.read() or {}
        assert has_valid_digest(entry["provision_evidence"]) and entry["provision_evidence"]["verdict"] == "bad"
        assert "serial" not in json.dumps(entry) and entry["provision_tested"]["verdict"] == "bad"
        assert entry["provision_resource_ids"] == BOUGHT["provision_resource_ids"]


def test_failure_says_that_evidence_could_not_be_kept(tmp_path: Path) -> None:
    write_entry(tmp_path)
    (tmp_path / ".evidence").write_text("a file")
    with pytest.raises(Failure) as failed:
        accepted(params_of(tmp_path, BAD), False)
    assert "The evidence could not be kept: The file" in failed.value.result["msg"]


def test_failure_without_registry_mentions_no_evidence() -> None:
    with pytest.raises(Failure) as failed:
        accepted(params_of("", BAD), False)
    assert failed.value.result["msg"].endswith("8 (bad).")


@pytest.mark.parametrize(
    ("fields", "reasons"),
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
def test_degraded_or_unknown_machine_is_kept_with_warning(tmp_path: Path, fields: dict[str, Any], reasons: str) -> None:
    write_entry(tmp_path)
    result = accepted(params_of(tmp_path, {**OK, **fields}), False)
    assert result["warnings"] == [f"gpu-1 is kept, but {reasons}."]
    assert not (tmp_path / ".evidence").exists()


def host_row(folder: Path, result: dict[str, Any], host: str = "gpu-1") -> dict[str, Any]:
    """A host and the result of its test."""
    folders = {"registry_dir": str(folder), "inventory_dir": str(folder)}
    return {"host": host, "project": "default", **folders, "tested": result}


def verify(*rows: dict[str, Any]) -> dict[str, Any]:
    return verified({"hosts": list(rows), "sources": [], "here": "/", "troubles": []}, False)


@pytest.mark.parametrize(
    ("level", "meant"), [("lod", " Did you mean load?"), ("helth", " Did you mean health?"), ("all", "")]
)
def test_unknown_level_is_refused_with_the_closest_one(level: str, meant: str) -> None:
    with pytest.raises(ValueError, match="verify_level must be specs, health, load or burnin") as refused:
        check_level(level)
    assert str(refused.value).endswith(f", not '{level}'.{meant}")
    for known in ("", "specs", "health", "load", "burnin"):
        check_level(known)


def test_verify_notes_verdict_and_ends_nothing(tmp_path: Path) -> None:
    file = write_entry(tmp_path)
    result = verify(host_row(tmp_path, BAD))
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


def test_test_that_could_not_run_keeps_noted_verdict(tmp_path: Path) -> None:
    """For example if a variable of the user cannot be evaluated."""
    file = write_entry(tmp_path)
    verify(host_row(tmp_path, BAD))
    entry = yaml.safe_load(file.read_text())
    result = verify(host_row(tmp_path, {"item": "gpu-1", "failed": True, "msg": "'driver' is undefined"}))
    assert result["verified"] == {"gpu-1": "unknown"}
    assert yaml.safe_load(file.read_text()) == entry


def test_verify_passes_hosts_without_machine(tmp_path: Path) -> None:
    write_entry(tmp_path)
    result = verify(host_row(tmp_path, OK), host_row(tmp_path, {}, "gpu-2"))
    assert (result["trouble"], result["verified"]) == ("", {"gpu-1": "ok", "gpu-2": "no machine"})
    assert not (tmp_path / "gpu-2").exists()


def test_verify_names_each_check_without_reading_once(tmp_path: Path) -> None:
    write_entry(tmp_path)
    unread = [{"check": check, "verdict": word} for check in UNREAD for word in ("unknown", "ok")]
    result = verify(host_row(tmp_path, {**OK, "verdict": "unknown", "findings": [*unread, "odd"]}))
    assert result["lines"] == ["gpu-1: unknown", "  could not be read: ecc, xid"]


UNREACHABLE = {"unreachable": True, "msg": "Could not resolve hostname gpu-1"}


@pytest.mark.parametrize(
    ("entry", "result", "verdict", "fails"),
    [
        (BOUGHT, UNREACHABLE, "bad", True),
        (None, UNREACHABLE, "no machine", True),
        ({**BOUGHT, "provision_resource_ids": []}, UNREACHABLE, "no machine", True),
        # The user's own machine, or another one that answers at the host's address
        (None, BAD, "bad", True),
        (None, OK, "ok", False),
        ("no mapping", UNREACHABLE, "bad", True),
        # If the test could not run, for example without Python, a green play would suggest a sound machine.
        (BOUGHT, {"failed": True, "msg": "no interpreter"}, "unknown", True),
        (BOUGHT, {**OK, "verdict": "unknown"}, "unknown", False),
    ],
)
def test_verdict_depends_on_registry_entry_and_test_result(
    tmp_path: Path, entry: Any, result: dict[str, Any], verdict: str, fails: bool
) -> None:
    if entry is not None:
        write_entry(tmp_path, entry)
    found = verify(host_row(tmp_path, result))
    assert (found["verified"], bool(found["trouble"])) == ({"gpu-1": verdict}, fails)
    why = {"no machine": "Nothing was tested", "unknown": "gpu-1: it could not be tested: no interpreter."}.get(verdict)
    assert not fails or verdict == "bad" or found["trouble"].startswith(why or "?")
    assert found["lines"][0] == f"gpu-1: {verdict}"
    assert bool(found["warnings"]) == (entry == "no mapping")


def test_verify_fails_if_one_of_several_machines_could_not_be_tested(tmp_path: Path) -> None:
    """A green play would suggest that all machines are sound."""
    write_entry(tmp_path)
    write_entry(tmp_path, host="gpu-2")
    untested = host_row(tmp_path, {"item": "gpu-2", "failed": True, "msg": "no interpreter"}, "gpu-2")
    assert verify(host_row(tmp_path, OK), untested)["trouble"] == "gpu-2: it could not be tested: no interpreter."


LATER = "5e500000-0000-4000-8000-000000000002"
BOUGHT_LATER = {"provision_procured_offer_id": LATER, "provision_purchase": "sent"}


@pytest.mark.parametrize(
    ("tested_ids", "entry", "reaped_at", "result", "verdict"),
    [
        ([MACHINE.upper()], BOUGHT, None, BAD, "bad"),
        ([LATER], BOUGHT, None, BAD, "no machine"),
        ([LATER], BOUGHT, None, UNREACHABLE, "no machine"),
        ([MACHINE], BOUGHT, "now", UNREACHABLE, "no machine"),
        ([MACHINE], BOUGHT, "now", BAD, "no machine"),
        ([MACHINE], BOUGHT, "2026-01-31T12:00:00Z", UNREACHABLE, "bad"),
        ([MACHINE], {}, None, BAD, "no machine"),
        ([MACHINE], BOUGHT_LATER, None, BAD, "no machine"),
    ],
)
def test_machine_that_ended_during_its_test_is_not_bad(
    tmp_path: Path, tested_ids: list[str], entry: Any, reaped_at: str | None, result: dict[str, Any], verdict: str
) -> None:
    """Machines are judged together, perhaps an hour after the first one was tested."""
    file = write_entry(
        tmp_path, {**entry, "provision_reaped_at": utc(time.time()) if reaped_at == "now" else reaped_at}
    )
    found = verify({**host_row(tmp_path, result), "machines": tested_ids})
    assert (found["verified"], "decommission" in found["trouble"]) == ({"gpu-1": verdict}, verdict == "bad")
    assert ("provision_tested" in yaml.safe_load(file.read_text())) == (verdict == "bad")


NOW = "now"


@pytest.mark.parametrize(
    ("entry", "is_kept"),
    [
        (BOUGHT, True),
        ({**BOUGHT, "provision_procured_offer_id": ""}, True),
        ({}, False),
        (BOUGHT_LATER, False),
        ({"provision_procured_offer_id": OFFER, "provision_purchase": "refused"}, False),
        ({**BOUGHT, "provision_reaped_at": NOW}, False),
    ],
)
def test_no_evidence_is_kept_of_machine_that_ended_during_its_test(tmp_path: Path, entry: Any, is_kept: bool) -> None:
    """Another run has ended or replaced it, which is no fault of the machine."""
    write_entry(tmp_path, {name: utc(time.time()) if value == NOW else value for name, value in entry.items()})
    with pytest.raises(Failure) as failed:
        accepted(params_of(tmp_path, BAD), False)
    assert (failed.value.result["error_class"] == "unsound") is is_kept
    assert ("ended during its test" in failed.value.result["msg"]) is not is_kept
    assert (tmp_path / ".evidence").exists() is is_kept


@pytest.mark.parametrize(("noted_by", "ahead"), [(None, 3600.0), ("api", 3600.0), ("api", None)])
def test_evidence_is_dated_by_clock_that_noted_the_purchase(
    tmp_path: Path, noted_by: str | None, ahead: float | None
) -> None:
    """This computer's clock may be wrong by hours, and so would be the cost."""
    begun = time.time() - 1800 + (ahead or 0.0 if noted_by else 0.0)
    write_entry(tmp_path, {**BOUGHT, "provision_journaled_at": utc(begun), "provision_clock": noted_by})
    params = params_of(tmp_path, BAD)
    params["plans"][0]["ahead"] = ahead
    with pytest.raises(Failure):
        accepted(params, False)
    kept = json.loads((tmp_path / ".evidence" / f"gpu-1-{OFFER}.json").read_text())
    assert kept["clock"] == (noted_by or "here")
    assert 1790 <= (seconds_of(kept["tested_at"]) or 0.0) - begun <= 1810
    assert kept["cost_so_far"] == pytest.approx(6.0, abs=0.1)
