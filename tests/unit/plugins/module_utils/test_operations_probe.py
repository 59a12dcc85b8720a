# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests of the probe and their order, its failures, and its recording."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import HOSTS
from ansible_collections.compute_index.supply.plugins.module_utils._api.http import HttpClient
from ansible_collections.compute_index.supply.plugins.module_utils._operations.probe import PROBE, UNUSED_ID, Prober

import samples
from request_queue import LOST, RequestQueue

Perform = Callable[..., dict[str, Any]]
DATE = {"Date": "Sat, 31 Jan 2026 12:00:00 GMT"}
GONE = {"detail": "Not Found"}
OWN = samples.RESOURCE_ID


def expect_search(queue: RequestQueue, answer: Any, status: int = 200, **compute: Any) -> None:
    queue.expect("POST", "/get_offers", answer, status, body={"compute": compute})


def expect_only_resources(queue: RequestQueue) -> None:
    """Expect all other requests of a probe, of an API that has only the list of resources."""
    for kind in ("gpus", "vendors", "regions", "contracts", "storage"):
        queue.expect("GET", f"/available_{kind}", GONE, 404)
    queue.expect("POST", "/get_offers", GONE, 404, times=6)
    queue.expect("GET", f"/offers/{UNUSED_ID}", GONE, 404)
    queue.expect("GET", f"/resources/{UNUSED_ID}", GONE, 404)
    queue.expect("GET", "/resources", GONE, 401)


def test_probe_sends_only_reads_in_order(queue: RequestQueue, perform: Perform) -> None:
    machine, slow = samples.resource(), samples.resource(samples.SECOND_RESOURCE_ID, access=None, offer_history=[])
    offers = {"offers": [samples.offer()], "total_count": 1}
    queue.expect("GET", "/resources", [machine, slow], headers=DATE, times=2)
    queue.expect("GET", "/available_gpus", {"H100": ["nvidia-h100-sxm5-80gb"], "L4": []})
    for kind in ("vendors", "regions", "contracts", "storage"):
        queue.expect("GET", f"/available_{kind}", [])
    expect_search(queue, {"detail": "unknown gpu_type"}, 422, gpu_type="H100 | L4", gpu_count=1)
    expect_search(queue, offers, gpu_type="H100", gpu_count=1)
    expect_search(queue, offers, gpu_type="H100")
    expect_search(queue, {"offers": []}, gpu_type="H100", gpu_count=8)
    expect_search(queue, {"offers": []}, gpu_type="H100", gpu_count=8, node_count=2)
    expect_search(queue, {"offers": []}, gpu_type="H100", gpu_count=1, max_price_per_gpu_hour=0.0001)
    expect_search(queue, {"detail": []}, 422, gpu_type="no-such-gpu", gpu_count=1)
    queue.expect("GET", samples.OFFER_PATH, samples.offer())
    queue.expect("GET", samples.STATUS_PATH, samples.status())
    queue.expect("GET", "/resources", [], query={"offer_id": samples.OFFER_ID})
    queue.expect("GET", f"/offers/{UNUSED_ID}", {"detail": "no"}, 404)
    queue.expect("GET", f"/resources/{UNUSED_ID}", {"detail": "no"}, 404)
    queue.expect("GET", f"/resources/{OWN}", machine, query={"force_refresh": "true"})
    queue.expect("GET", f"/resources/{OWN}", machine)
    queue.expect("GET", f"/resources/{samples.SECOND_RESOURCE_ID}", slow)
    queue.expect("GET", samples.STATUS_PATH, samples.status("ready"))
    queue.expect("GET", "/resources", {"detail": "no"}, 403)
    result = perform(PROBE)
    assert not result.get("failed") and result["changed"] is False
    assert result["probe"]["requests"] == len(queue.calls) - 1 == 23
    assert {"wrong-token", "search-types"} <= set(result["probe"]["contradicted"])
    tokens = [request.headers["Authorization"] == f"Bearer {samples.TOKEN}" for request in queue.calls]
    assert tokens == [True] * 23 + [False]


@pytest.mark.parametrize(
    ("answer", "status", "error_class", "expected_message"),
    [
        (LOST, 200, "unavailable", "GET /resources got no answer: the connection was lost."),
        ({"detail": "Invalid token"}, 401, "auth", "GET /resources answered 401: Invalid token. Check api_token"),
        ({}, 403, "auth", "GET /resources answered 403. Check api_token"),
        (b"<html>", 200, "protocol", "Is api_url the Supply API?"),
        ({}, 503, "unavailable", "GET /resources answered 503."),
        ({}, 302, "protocol", "GET /resources was redirected"),
    ],
)
def test_probe_fails_if_first_request_fails(
    queue: RequestQueue, perform: Perform, answer: Any, status: int, error_class: str, expected_message: str
) -> None:
    twice = answer is LOST or status == 503
    headers = {"Location": "https://elsewhere.example.com/"} if status == 302 else None
    queue.expect("GET", "/resources", answer, status, headers=headers, times=1 + twice)
    result = perform(PROBE)
    assert result["failed"] and result["error_class"] == error_class and expected_message in result["msg"]
    assert result["lines"] == [] and result["probe"] == {}


def test_probe_reports_api_with_resources_only(queue: RequestQueue, perform: Perform) -> None:
    queue.expect("GET", "/resources", [], times=2)
    expect_only_resources(queue)
    result = perform(PROBE)
    assert not result.get("failed")
    assert result["probe"]["contradicted"] == ["clock", "gpus", "search-no-match", "search-invalid"]
    assert result["lines"][-1] == "5 confirmed, 4 contradicted, 41 not seen"
    assert "search-no-match: an error is reported as an error" in result["lines"], (
        "each contradiction has its consequence"
    )


def test_probe_contacts_both_documented_hosts_without_token(
    queue: RequestQueue, perform: Perform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "BASE", f"https://{HOSTS[0]}")
    queue.expect("GET", "/resources", [], times=2)
    expect_only_resources(queue)
    queue.expect("GET", "/available_gpus", GONE, 401)
    monkeypatch.setattr(samples, "BASE", f"https://{HOSTS[1]}")
    queue.expect("GET", "/available_gpus", LOST)
    monkeypatch.setattr(samples, "BASE", f"https://{HOSTS[0]}")
    result = perform(PROBE)
    assert "host" in result["probe"]["confirmed"] and result["probe"]["requests"] == len(queue.calls) - 1
    (finding,) = [item for item in result["probe"]["findings"] if item["id"] == "host"]
    assert finding["evidence"] == f"{HOSTS[0]} 401, {HOSTS[1]} no answer"
    assert ["Authorization" in request.headers for request in queue.calls[-2:]] == [False, False]


def test_probe_with_custom_api_url_contacts_no_other_host(queue: RequestQueue, perform: Perform) -> None:
    queue.expect("GET", "/resources", [], times=2)
    expect_only_resources(queue)
    assert "host" in perform(PROBE)["probe"]["not_seen"]
    assert {request.url.partition("/")[2].split("/")[1] for request in queue.calls} == {"supply-api.example.com"}


@pytest.mark.parametrize("check_mode", [False, True])
def test_recording_is_private_and_anonymous(
    queue: RequestQueue, perform: Perform, tmp_path: Path, check_mode: bool
) -> None:
    queue.expect("GET", "/resources", [samples.resource(status="deleted")], times=2)
    expect_only_resources(queue)
    file = tmp_path / "recording.json"
    file.write_text("an earlier recording")
    file.chmod(0o644)
    result = perform(PROBE, recording=" recording.json", here=str(tmp_path), check_mode=check_mode)
    assert result["changed"] is True
    assert any("recording.json" in line for line in result["lines"]) is not check_mode
    assert {each.name for each in tmp_path.iterdir() if each.name != "home"} == {"recording.json"}
    if check_mode:
        assert file.read_text() == "an earlier recording"
    else:
        assert file.stat().st_mode & 0o777 == 0o600
        recording = json.loads(file.read_text())
        assert (recording["format"], len(recording["exchanges"])) == (1, len(queue.calls) - 1)
        private = (samples.TOKEN, OWN, samples.OFFER_ID, "trainer", str(tmp_path))
        assert not [text for text in private if text in file.read_text()]


@pytest.mark.parametrize("recording", [".", "no/such/folder/recording.json"])
def test_probe_sends_nothing_if_recording_cannot_be_written(
    queue: RequestQueue, perform: Perform, tmp_path: Path, recording: str
) -> None:
    result = perform(PROBE, recording=recording, here=str(tmp_path))
    assert result["failed"] and "Nothing was sent." in result["msg"] and not queue.calls


def test_prober_cannot_send_writes(queue: RequestQueue) -> None:
    prober = Prober(HttpClient(samples.BASE, samples.TOKEN, "test"), read_only=False)
    with pytest.raises(AssertionError):
        prober.delete_resource(OWN, force=True)
    assert not queue.calls and not hasattr(prober, "procure")
