# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many resources are told to end at once: what the API answers about one concerns no other, and nothing is lost."""

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
    """Machines that end ``after`` so many looks once a DELETE was accepted; then it is a 404 if not ``readable``."""

    def __init__(self, count: int, after: int = 0, readable: bool = True) -> None:
        self.after, self.readable = after, readable
        self.looks = {machine_id(number): -1 for number in range(1, count + 1)}  # since the deletion
        self.refused: dict[str, ApiError] = {}
        self.volumes: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.lock, self.lists = threading.Lock(), 0

    def status(self, key: str) -> str:
        if self.looks[key] < 0:
            return "running"
        return "deleted" if self.looks[key] > self.after else "deleting"

    def resource(self, key: str, *, force_refresh: bool = False, retries: int | None = None) -> Json:
        with self.lock:
            self.looks[key] += self.looks[key] >= 0
            status = self.status(key)
        if status == "deleted" and not self.readable:
            raise ApiError(f"GET /resources/{key} answered 404.", "not_found", status_code=404)
        kind = "storage" if key in self.volumes else "machine"
        return {"resource_id": key, "status": status, "kind": kind, "price_per_hour": 2.0, **UNSAID}

    def resources(self, retries: int | None = None) -> list[Json]:
        self.lists += 1
        return [{"resource_id": key, "status": self.status(key)} for key in self.looks if self.status(key) != "deleted"]

    def delete_resource(self, key: str, *, force: bool) -> None:
        with self.lock:
            self.asked[key] += 1
            if error := self.refused.get(key):
                raise error
            self.looks[key] = 0


UNSAID = {"name": "gpu", "vendor": "v"}
FORBIDDEN = ApiError("Answered 403.", "auth", status_code=403)


@pytest.fixture(autouse=True)
def clock() -> Iterator[list[float]]:
    """The clock moves only between two looks."""
    now = [1000.0]
    fake = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delete_resource, "time", fake)
        yield now


def plan(*ids: str, host: str = "gpu-1", **more: Any) -> Json:
    rest = {"storage_ends": [], "storage_lost": [], "check_mode": False, "force": False, "wait": 60.0}
    return {"host": host, "ids": list(ids), **rest, **more}


def done(api: Api, *plans: Json, **beside: Any) -> Json:
    jobs = delete_resource.ending_by_id.jobs(plans)
    return delete(api, ends.params(steps.DELETE, round="r", jobs=jobs, **beside), False)  # type: ignore[arg-type]


@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize("after", [0, 1, 4])
def test_all_end_and_each_is_told_once(after: int, readable: bool) -> None:
    api = Api(40, after, readable)
    keys = list(api.looks)
    answers = ends.delete_all(api, [plan(*keys[:20]), plan(*keys[20:], host="gpu-2")])
    assert set(answers) == set(keys) and all(each["billing_stopped"] for each in answers.values())
    assert set(api.asked.values()) == {1}
    assert api.lists <= 2, "many that are not found need one list"


def test_a_refusal_neither_hides_nor_stops_the_end_of_others() -> None:
    api = Api(3)
    first, second, third = api.looks
    api.refused[second] = FORBIDDEN
    result = done(api, plan(first), plan(second, host="gpu-2"), plan(third, host="gpu-3"))
    assert result["changed"] and len(result["diff"]) == 2
    answers = result["answers"]
    assert [answers[key]["billing_stopped"] for key in (first, second, third)] == [True, False, True]
    assert "Answered 403." in answers[second]["msg"] and answers[second]["failed"]
    assert api.asked == {first: 1, second: 2, third: 1}, "what was refused is tried once more, and then no more"


def test_a_404_is_the_end_of_what_was_told_to_end(clock: list[float]) -> None:
    api = Api(2, after=10, readable=False)
    answers = done(api, plan(*api.looks))["answers"]
    assert all(each["billing_stopped"] for each in answers.values()) and clock[0] == 1050.0
    assert set(api.asked.values()) == {1}


class Lagging(Api):
    """Accepts a deletion and does nothing; the list says so, and the page that answers some 404s says so afterwards."""

    def __init__(self, unfound: int) -> None:
        super().__init__(1)
        self.unfound = unfound

    def status(self, key: str) -> str:
        return "running"

    def resource(self, key: str, *, force_refresh: bool = False, retries: int | None = None) -> Json:
        self.unfound -= self.looks[key] >= 0
        if self.looks[key] >= 0 and self.unfound >= 0:
            raise ApiError(f"GET /resources/{key} answered 404.", "not_found", status_code=404)
        return super().resource(key)


@pytest.mark.parametrize(("unfound", "is_over"), [(4, False), (99, True)])
def test_what_is_listed_is_gone_if_its_page_does_not_know_it_at_the_last_look(
    clock: list[float], unfound: int, is_over: bool
) -> None:
    api = Lagging(unfound)
    (answer,) = done(api, plan(*api.looks))["answers"].values()
    assert answer["billing_stopped"] is is_over
    assert clock[0] - 1000.0 == 60.0


def test_a_look_that_takes_long_is_not_the_last_one(clock: list[float]) -> None:
    """It passed the end of the wait, and what its page did not know stayed in the registry, since a list lagged."""
    api = Lagging(99)
    pages = api.resource

    def resource(key: str, **more: Any) -> Json:
        clock[0] += 3.0
        return pages(key, **more)

    api.resource = resource  # type: ignore[method-assign]
    (answer,) = done(api, plan(*api.looks))["answers"].values()
    assert answer["billing_stopped"]


def test_each_host_is_waited_for_as_long_as_it_wants(clock: list[float]) -> None:
    api = Api(3, after=99)
    first, second, third = api.looks
    plans = [plan(first, wait=0.0), plan(second, host="gpu-2", wait=7.0), plan(third, host="gpu-3", wait=12.0)]
    answers = done(api, *plans)["answers"]
    assert clock[0] == 1012.0
    said = {key: each["msg"] for key, each in answers.items()}
    assert all(each["failed"] and each["accepted"] for each in answers.values())
    assert [f"is not gone after {seconds} seconds" in said[key] for key, seconds in zip(said, (0, 7, 12), strict=True)]
    assert "the API still says 'deleting'" in said[third]


def test_who_waits_is_told_what_for(clock: list[float]) -> None:
    """One machine begins to end before, one is refused, and a volume ends after its machine."""
    api = Api(4, after=2)
    ahead, refused, machine, disk = api.looks
    api.looks[ahead], api.volumes, api.refused[refused] = 0, {disk}, FORBIDDEN
    lines: list[tuple[float, str]] = []
    plans = [plan(ahead), plan(refused, host="gpu-2"), plan(machine, host="gpu-3", storage_ends=[disk])]
    done(api, *plans, **{SHOW_PROGRESS: lambda line: lines.append((clock[0] - 1000.0, line))})
    assert lines == [
        (0.0, "waiting for 2 machines to end (0 of 2 have ended)."),
        (5.0, "waiting for 1 machine to end (1 of 2 have ended)."),
        (10.0, "waiting for 1 volume to end (0 of 1 have ended)."),
        (15.0, "waiting for 1 volume to end (0 of 1 have ended)."),
    ]


def test_check_mode_tells_nothing_and_waits_for_nothing(clock: list[float]) -> None:
    api = Api(3, after=10)
    first, second, ending = api.looks
    api.looks[ending] = 0
    answers = done(api, plan(first, ending, check_mode=True), plan(second, host="gpu-2", wait=0.0))["answers"]
    assert "would be deleted" in answers[first]["msg"] and api.asked == {second: 1} and clock[0] == 1000.0
    assert not any(answers[key]["billing_stopped"] for key in (first, ending))


def test_storage_that_a_person_forgets_is_only_looked_at() -> None:
    api = Api(2)
    known, forgotten = api.looks
    answers = ends.delete_all(api, [plan(known, storage_ends=[forgotten], storage_lost=[forgotten])])
    assert api.asked == {known: 1}
    assert (answers[known]["billing_stopped"], answers[forgotten]["billing_stopped"]) == (True, False)


def test_nothing_to_end_asks_nothing() -> None:
    assert done(Api(1), plan())["answers"] == {}


def test_storage_ends_after_its_machine_and_not_without_its_end() -> None:
    api = Api(4, after=1)
    machine, disk, goes_on, its_disk = api.looks
    api.refused[goes_on] = FORBIDDEN
    plans = [plan(machine, storage_ends=[disk]), plan(goes_on, host="gpu-2", storage_ends=[its_disk])]
    answers = done(api, *plans)["answers"]
    assert [answers[key]["billing_stopped"] for key in (machine, disk, goes_on)] == [True, True, False]
    assert its_disk not in answers and api.asked == {machine: 1, disk: 1, goes_on: 2}


def test_a_play_that_was_killed_ends_no_storage_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker went on: it waited for the machine, and then deleted the data."""
    api = Api(2, after=1)
    machine, disk = api.looks
    parents = iter([10, 10, 1])
    monkeypatch.setattr(delete_resource, "os", SimpleNamespace(getppid=lambda: next(parents)))
    answers = done(api, plan(machine, storage_ends=[disk]))["answers"]
    assert answers[machine]["billing_stopped"] and api.asked == {machine: 1}
