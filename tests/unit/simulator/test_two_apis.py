# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares two simulated APIs that were written from the same documentation.

Each difference must be covered by an assumption in ``docs/api.md``. Otherwise, the simulator makes an assumption that
neither the page nor the probe names.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

from rehearsal.interview import Interview, differences
from rehearsal.standin import TOKEN, serving
from rehearsal.world import World
from simulator import Nowhere, Offer, Settings, Simulator, volume

PAGE = Path(__file__).resolve().parents[3] / "docs" / "api.md"

# Assumptions of the page by id, each with regular expressions of the differences that it covers
QUESTIONS = {
    "search-invalid": ["(no YAML|YAML in JSON|unknown GPU): 422 or 400", r"three GPUs: detail\[\]\.(ctx|input|url) .*"],
    "search-storage": ["storage only: 200 or 422"],
    "search-again": ["the same search again: .*"],
    "gpus": ["gpus: .* list or missing"],  # two markets
    "catalogs": ["(vendors|regions|contracts|storage): .*"],
    "size": ["80 KB of user data in 40,000 characters: 422 or 404"],
    "words": [
        r".*: offers\[\]\.deployment_type .*",
        r".*: (\[\]\.)?linked_resources\[\]\.link_type .*",
        r".*: (\[\]\.)?offer_history\[\]\.offer_type .*",
    ],
    "vocabulary": [".*: procurement_status .*"],
    "post-answer": ["purchase( that fails)?: status procured or provisioning_in_progress"],
    "post-ids": [r"purchase( that fails)?: resource_ids\[\] id or missing"],
    "listed": [r"list at once: \[\] object or missing"],
    "list-bare": [".*: list or an object with a list"],
    "more-fields": [r"status .*: instances\[\]\.resource_id missing or id"],
    "states": [
        "disk.*: status active or running",
        r"list without the machine: \[\]\.status active or running",
        r".*: linked_resources\[\]\.status active or (running|provisioning)",
    ],
    "history": [r".*: (\[\]\.)?offer_history\[\]\.role primary or provisioned_by"],
    "spec": [r"(disk.*|list without the machine): (\[\]\.)?spec something or nothing"],
    "force": ["end of a (disk in use|machine under way): 200 or 409"],
    "delete_again_status": ["end of what is ending: 409 or 200"],
    "failed-leaves": [r"status of what has failed: instances\[\] object or missing"],
}


def offers() -> list[Offer]:
    """The same offers as in the second API: the cheapest cannot be delivered, some have a disk."""
    disk = volume(100, 0.08, persistent=True)
    failing = Offer(gpu_price_per_hour=1.0, outcome="fails", failed_bills=False)
    return [failing, Offer(storage=[disk]), Offer(storage=[disk]), Offer(gpu_price_per_hour=2.2)]


class Clock:
    """A clock that only advances on demand, so that the speed of the computer does not matter."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, 12, 0, 0, 250_000, timezone.utc)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Advance the clock."""
        self.now += timedelta(seconds=seconds)


def differences_between_the_apis() -> list[str]:
    """The differences between the simulator and the second API."""
    clock = Clock()
    settings = Settings(provision_seconds=200, delete_seconds=90)
    with Simulator(settings, offers(), backend=Nowhere(), clock=clock) as simulator:
        simulated = Interview(simulator.url, settings.token, clock.advance).whole()
    with serving(World(10, 190, 90, clock)) as url:
        return differences(simulated, Interview(url, TOKEN, clock.advance).whole())


def test_each_difference_is_covered_by_an_assumption_of_the_page() -> None:
    found = differences_between_the_apis()
    patterns = [pattern for listed in QUESTIONS.values() for pattern in listed]
    assert [line for line in found if not any(re.fullmatch(pattern, line) for pattern in patterns)] == []
    assert [pattern for pattern in patterns if not any(re.fullmatch(pattern, line) for line in found)] == []
    assumptions = re.findall(r"^\| `([\w-]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert QUESTIONS.keys() <= set(assumptions)
