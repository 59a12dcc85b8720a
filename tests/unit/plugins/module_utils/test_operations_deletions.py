# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deletion of many resources at once: an answer about one affects no other, and each answer is kept."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import SHOW_PROGRESS
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import ApiError
from ansible_collections.compute_index.supply.plugins.module_utils._operations import delete_resource
from ansible_collections.compute_index.supply.plugins.module_utils._operations.delete_resource import delete

import ends
from provision_samples import machine_id

Json = dict[str, Any]


class Api:
    """Machines that end ``after`` this many looks once their deletion was accepted.

    ``has_page``: whether an ended machine has a page, or answers 404.
    """

    def __init__(self, count: int, after: int = 0, has_page: bool = True) -> None:
        self.after, self.has_page = after, has_page
        self.looks = {machine_id(number): -1 for number in range(1, count + 1)}  # since the deletion
        self.refused: dict[str, ApiError] = {}
        self.volumes: set[str] = set()
        self.deletions: Counter[str] = Counter()
        self.lock, self.lists = threading.Lock(), 0

    def status(self, key: str) -> str:
        if self.looks[key] < 0:
            return "running"
        return "deleted" if self.looks[key] > self.after else "deleting"

    def resource(self, key: str, *, force_refresh: bool = False, retries: int | None = None) -> Json:
        with self.lock:
            self.looks[key] += self.looks[key] >= 0
            status = self.status(key)
        if status == "deleted" and not self.has_page:
            raise ApiError(f"GET /resources/{key} answered 404.", "not_found", status_code=404)
        kind = "storage" if key in self.volumes else "machine"
        return {"resource_id": key, "status": status, "kind": kind, "price_per_hour": 2.0, **OTHER_FIELDS}

    def resources(self, retries: int | None = None) -> list[Json]:
        self.lists += 1
        return [{"resource_id": key, "status": self.status(key)} for key in self.looks if self.status(key) != "deleted"]

    def delete_resource(self, key: str, *, force: bool) -> None:
        with self.lock:
            self.deletions[key] += 1
            if error := self.refused.get(key):
                raise error
            self.looks[key] = 0


OTHER_FIELDS = {"name": "gpu", "vendor": "v"}
FORBIDDEN = ApiError("Answered 403.", "auth", status_code=403)


@pytest.fixture(autouse=True)
def clock() -> Iterator[list[float]]:
    """A clock that moves only between looks."""
    now = [1000.0]
    fake = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delete_resource, "time", fake)
        yield now


def plan(*ids: str, host: str = "gpu-1", **fields: Any) -> Json:
    defaults = {"storage_ends": [], "storage_lost": [], "check_mode": False, "force": False, "wait": 60.0}
    return {"host": host, "ids": list(ids), **defaults, **fields}


def delete_planned(api: Api, *plans: Json, **options: Any) -> Json:
    jobs = delete_resource.ending_by_id.jobs(plans)
    return delete(api, ends.params(steps.DELETE, round="r", jobs=jobs, **options), False)  # type: ignore[arg-type]


@pytest.mark.parametrize("has_page", [True, False])
@pytest.mark.parametrize("after", [0, 1, 4])
def test_each_machine_ends_after_one_deletion(after: int, has_page: bool) -> None:
    api = Api(40, after, has_page)
    keys = list(api.looks)
    answers = ends.delete_all(api, [plan(*keys[:20]), plan(*keys[20:], host="gpu-2")])
    assert set(answers) == set(keys) and all(each["billing_stopped"] for each in answers.values())
    assert set(api.deletions.values()) == {1}
    assert api.lists <= 2, "all 404s are checked with one list"


def test_refused_deletion_does_not_affect_other_machines() -> None:
    api = Api(3)
    first, second, third = api.looks
    api.refused[second] = FORBIDDEN
    result = delete_planned(api, plan(first), plan(second, host="gpu-2"), plan(third, host="gpu-3"))
    assert result["changed"] and len(result["diff"]) == 2
    answers = result["answers"]
    assert [answers[key]["billing_stopped"] for key in (first, second, third)] == [True, False, True]
    assert "Answered 403." in answers[second]["msg"] and answers[second]["failed"]
    assert api.deletions == {first: 1, second: 2, third: 1}, "a refused deletion is repeated once"


def test_404_after_accepted_deletion_means_ended(clock: list[float]) -> None:
    api = Api(2, after=10, has_page=False)
    answers = delete_planned(api, plan(*api.looks))["answers"]
    assert all(each["billing_stopped"] for each in answers.values()) and clock[0] == 1050.0
    assert set(api.deletions.values()) == {1}


class Lagging(Api):
    """An API that accepts deletions and does nothing. Its list shows the machine; its page first answers some 404s."""

    def __init__(self, not_found: int) -> None:
        super().__init__(1)
        self.not_found = not_found

    def status(self, key: str) -> str:
        return "running"

    def resource(self, key: str, *, force_refresh: bool = False, retries: int | None = None) -> Json:
        self.not_found -= self.looks[key] >= 0
        if self.looks[key] >= 0 and self.not_found >= 0:
            raise ApiError(f"GET /resources/{key} answered 404.", "not_found", status_code=404)
        return super().resource(key)


@pytest.mark.parametrize(("not_found", "is_over"), [(4, False), (99, True)])
def test_listed_machine_is_gone_if_last_look_answers_404(clock: list[float], not_found: int, is_over: bool) -> None:
    api = Lagging(not_found)
    (answer,) = delete_planned(api, plan(*api.looks))["answers"].values()
    assert answer["billing_stopped"] is is_over
    assert clock[0] - 1000.0 == 60.0


def test_slow_look_is_not_the_last_one(clock: list[float]) -> None:
    """Such a look passes the end of the wait. If a list lags, the machine must not stay in the registry for that."""
    api = Lagging(99)
    pages = api.resource

    def slow_resource(key: str, **options: Any) -> Json:
        clock[0] += 3.0
        return pages(key, **options)

    api.resource = slow_resource  # type: ignore[method-assign]
    (answer,) = delete_planned(api, plan(*api.looks))["answers"].values()
    assert answer["billing_stopped"]


def test_wait_timeout_of_each_host_applies(clock: list[float]) -> None:
    api = Api(3, after=99)
    first, second, third = api.looks
    plans = [plan(first, wait=0.0), plan(second, host="gpu-2", wait=7.0), plan(third, host="gpu-3", wait=12.0)]
    answers = delete_planned(api, *plans)["answers"]
    assert clock[0] == 1012.0
    messages = {key: each["msg"] for key, each in answers.items()}
    assert all(each["failed"] and each["accepted"] for each in answers.values())
    assert [
        f"is not gone after {seconds} seconds" in messages[key]
        for key, seconds in zip(messages, (0, 7, 12), strict=True)
    ]
    assert "the API still says 'deleting'" in messages[third]


def test_progress_counts_machines_and_storage_that_end(clock: list[float]) -> None:
    """One machine is being deleted before, one deletion is refused, and a volume ends after its machine."""
    api = Api(4, after=2)
    ending, refused, machine, disk = api.looks
    api.looks[ending], api.volumes, api.refused[refused] = 0, {disk}, FORBIDDEN
    lines: list[tuple[float, str]] = []
    plans = [plan(ending), plan(refused, host="gpu-2"), plan(machine, host="gpu-3", storage_ends=[disk])]
    delete_planned(api, *plans, **{SHOW_PROGRESS: lambda line: lines.append((clock[0] - 1000.0, line))})
    assert lines == [
        (0.0, "waiting for 2 machines to end (0 of 2 have ended)."),
        (5.0, "waiting for 1 machine to end (1 of 2 have ended)."),
        (10.0, "waiting for 1 volume to end (0 of 1 have ended)."),
        (15.0, "waiting for 1 volume to end (0 of 1 have ended)."),
    ]


def test_check_mode_sends_no_deletion_and_does_not_wait(clock: list[float]) -> None:
    api = Api(3, after=10)
    first, second, ending = api.looks
    api.looks[ending] = 0
    answers = delete_planned(api, plan(first, ending, check_mode=True), plan(second, host="gpu-2", wait=0.0))["answers"]
    assert "would be deleted" in answers[first]["msg"] and api.deletions == {second: 1} and clock[0] == 1000.0
    assert not any(answers[key]["billing_stopped"] for key in (first, ending))


def test_forgotten_storage_is_read_but_not_deleted() -> None:
    api = Api(2)
    known, forgotten = api.looks
    answers = ends.delete_all(api, [plan(known, storage_ends=[forgotten], storage_lost=[forgotten])])
    assert api.deletions == {known: 1}
    assert (answers[known]["billing_stopped"], answers[forgotten]["billing_stopped"]) == (True, False)


def test_plan_without_ids_sends_no_request() -> None:
    api = Api(1)
    assert delete_planned(api, plan())["answers"] == {} and (api.deletions, api.lists) == ({}, 0)


def test_storage_is_deleted_only_after_its_machine_ended() -> None:
    api = Api(4, after=1)
    machine, disk, running, its_disk = api.looks
    api.refused[running] = FORBIDDEN
    plans = [plan(machine, storage_ends=[disk]), plan(running, host="gpu-2", storage_ends=[its_disk])]
    answers = delete_planned(api, *plans)["answers"]
    assert [answers[key]["billing_stopped"] for key in (machine, disk, running)] == [True, True, False]
    assert its_disk not in answers and api.deletions == {machine: 1, disk: 1, running: 2}


def test_killed_play_deletes_no_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker outlives it, and still waits for the machine."""
    api = Api(2, after=1)
    machine, disk = api.looks
    parents = iter([10, 10, 1])
    monkeypatch.setattr(delete_resource, "os", SimpleNamespace(getppid=lambda: next(parents)))
    answers = delete_planned(api, plan(machine, storage_ends=[disk]))["answers"]
    assert answers[machine]["billing_stopped"] and api.deletions == {machine: 1}
