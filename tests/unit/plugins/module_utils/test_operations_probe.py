# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the probe sends, in which order; when it fails; and what it leaves on disk."""

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


def search(queue: RequestQueue, answer: Any, status: int = 200, **compute: Any) -> None:
    queue.expect("POST", "/get_offers", answer, status, body={"compute": compute})


def expect_nothing_more(queue: RequestQueue) -> None:
    """An API of which only the list of resources is known."""
    for kind in ("gpus", "vendors", "regions", "contracts", "storage"):
        queue.expect("GET", f"/available_{kind}", GONE, 404)
    queue.expect("POST", "/get_offers", GONE, 404, times=6)
    queue.expect("GET", f"/offers/{UNUSED_ID}", GONE, 404)
    queue.expect("GET", f"/resources/{UNUSED_ID}", GONE, 404)
    queue.expect("GET", "/resources", GONE, 401)


def test_what_is_sent(queue: RequestQueue, perform: Perform) -> None:
    machine, slow = samples.resource(), samples.resource(samples.SECOND_RESOURCE_ID, access=None, offer_history=[])
    offers = {"offers": [samples.offer()], "total_count": 1}
    queue.expect("GET", "/resources", [machine, slow], headers=DATE, times=2)
    queue.expect("GET", "/available_gpus", {"H100": ["nvidia-h100-sxm5-80gb"], "L4": []})
    for kind in ("vendors", "regions", "contracts", "storage"):
        queue.expect("GET", f"/available_{kind}", [])
    search(queue, {"detail": "unknown gpu_type"}, 422, gpu_type="H100 | L4", gpu_count=1)
    search(queue, offers, gpu_type="H100", gpu_count=1)
    search(queue, offers, gpu_type="H100")
    search(queue, {"offers": []}, gpu_type="H100", gpu_count=8)
    search(queue, {"offers": []}, gpu_type="H100", gpu_count=8, node_count=2)
    search(queue, {"offers": []}, gpu_type="H100", gpu_count=1, max_price_per_gpu_hour=0.0001)
    search(queue, {"detail": []}, 422, gpu_type="no-such-gpu", gpu_count=1)
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
    ("answer", "status", "error_class", "said"),
    [
        (LOST, 200, "unavailable", "GET /resources got no answer: the connection was lost."),
        ({"detail": "Invalid token"}, 401, "auth", "GET /resources answered 401: Invalid token. Check api_token"),
        ({}, 403, "auth", "GET /resources answered 403. Check api_token"),
        (b"<html>", 200, "protocol", "Is api_url the Supply API?"),
        ({}, 503, "unavailable", "GET /resources answered 503."),
        ({}, 302, "protocol", "GET /resources was redirected"),
    ],
)
def test_without_an_answer_there_is_nothing_to_see(
    queue: RequestQueue, perform: Perform, answer: Any, status: int, error_class: str, said: str
) -> None:
    twice = answer is LOST or status == 503
    headers = {"Location": "https://elsewhere.example.com/"} if status == 302 else None
    queue.expect("GET", "/resources", answer, status, headers=headers, times=1 + twice)
    result = perform(PROBE)
    assert result["failed"] and result["error_class"] == error_class and said in result["msg"]
    assert result["lines"] == [] and result["probe"] == {}


def test_an_api_that_has_nothing_else_is_told(queue: RequestQueue, perform: Perform) -> None:
    queue.expect("GET", "/resources", [], times=2)
    expect_nothing_more(queue)
    result = perform(PROBE)
    assert not result.get("failed")
    assert result["probe"]["contradicted"] == ["clock", "gpus", "search-no-match", "search-invalid"]
    assert result["lines"][-1] == "5 confirmed, 4 contradicted, 41 not seen"
    assert "search-no-match: an error is reported as an error" in result["lines"], "what follows is told"


def test_both_hosts_of_the_pages_are_asked_without_a_token(
    queue: RequestQueue, perform: Perform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "BASE", f"https://{HOSTS[0]}")
    queue.expect("GET", "/resources", [], times=2)
    expect_nothing_more(queue)
    queue.expect("GET", "/available_gpus", GONE, 401)
    monkeypatch.setattr(samples, "BASE", f"https://{HOSTS[1]}")
    queue.expect("GET", "/available_gpus", LOST)
    monkeypatch.setattr(samples, "BASE", f"https://{HOSTS[0]}")
    result = perform(PROBE)
    assert "host" in result["probe"]["confirmed"] and result["probe"]["requests"] == len(queue.calls) - 1
    (finding,) = [item for item in result["probe"]["findings"] if item["id"] == "host"]
    assert finding["evidence"] == f"{HOSTS[0]} 401, {HOSTS[1]} no answer"
    assert ["Authorization" in request.headers for request in queue.calls[-2:]] == [False, False]


def test_no_other_host_is_asked_where_the_api_is_elsewhere(queue: RequestQueue, perform: Perform) -> None:
    queue.expect("GET", "/resources", [], times=2)
    expect_nothing_more(queue)
    assert "host" in perform(PROBE)["probe"]["not_seen"]
    assert {request.url.partition("/")[2].split("/")[1] for request in queue.calls} == {"supply-api.example.com"}


@pytest.mark.parametrize("mode", [{}, {"check_mode": True}])
def test_a_recording_is_for_its_owner(
    queue: RequestQueue, perform: Perform, tmp_path: Path, mode: dict[str, bool]
) -> None:
    queue.expect("GET", "/resources", [samples.resource(status="deleted")], times=2)
    expect_nothing_more(queue)
    file = tmp_path / "recording.json"
    file.write_text("an earlier one, for all")
    file.chmod(0o644)
    result = perform(PROBE, recording=" recording.json", here=str(tmp_path), **mode)
    assert result["changed"] is True
    assert any("recording.json" in line for line in result["lines"]) is not bool(mode)
    assert {each.name for each in tmp_path.iterdir() if each.name != "home"} == {"recording.json"}
    if mode:
        assert file.read_text() == "an earlier one, for all"
    else:
        assert file.stat().st_mode & 0o777 == 0o600
        recording = json.loads(file.read_text())
        assert (recording["format"], len(recording["exchanges"])) == (1, len(queue.calls) - 1)
        own = (samples.TOKEN, OWN, samples.OFFER_ID, "trainer", str(tmp_path))
        assert not [text for text in own if text in file.read_text()]


@pytest.mark.parametrize("recording", [".", "no/such/folder/recording.json"])
def test_where_nothing_can_be_written_nothing_is_sent(
    queue: RequestQueue, perform: Perform, tmp_path: Path, recording: str
) -> None:
    result = perform(PROBE, recording=recording, here=str(tmp_path))
    assert result["failed"] and "Nothing was sent." in result["msg"] and not queue.calls


def test_nothing_else_than_reads_can_be_sent(queue: RequestQueue) -> None:
    prober = Prober(HttpClient(samples.BASE, samples.TOKEN, "test"), read_only=False)
    with pytest.raises(AssertionError):
        prober.delete_resource(OWN, force=True)
    assert not queue.calls and not hasattr(prober, "procure")
