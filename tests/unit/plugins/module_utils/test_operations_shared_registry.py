# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""procure_offer with a shared registry: claims of other runs, open claims, sums below ceilings, database outages."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import read_resource
from ansible_collections.compute_index.supply.plugins.module_utils._operations import _registries
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import SharedProject
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _connection, _postgresql
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import Database
from ansible_collections.compute_index.supply.plugins.module_utils._registry._row import Row
from ansible_collections.compute_index.supply.plugins.module_utils._registry._shared import (
    note_late_purchases,
)

import postgresql
from provision_samples import made_entry
from purchases import before_request, outcome_of
from request_queue import LOST, RequestQueue
from samples import (
    ACCOUNT,
    BASE,
    NOT_FOUND,
    OFFER_ID,
    OFFER_PATH,
    OTHER_ID,
    POST,
    RESOURCE_ID,
    STATUS_PATH,
    offer,
    procurement,
    resource,
    status,
)

pytestmark = pytest.mark.usefixtures("clock", "resource_shown")

Result = dict[str, Any]
BOUGHT = status("provisioning", resource_ids=[RESOURCE_ID])
UNREACHABLE = "postgresql://alice:geheim@127.0.0.1:1/supply"


@pytest.fixture
def buy(buy: Callable[..., Result], registry_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """``buy(check_mode=False, **params)``: by default for the name trainer, with the shared registry."""
    monkeypatch.setattr(_connection, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(_registries, "Database", functools.partial(Database, patience=0.0, facts_patience=0.5))
    return functools.partial(buy, resource_name="trainer", registry_url=registry_url, settle_timeout=6)


def database(url: str, run: str = "test") -> Database:
    return Database(url, {"host": "bastion", "user": "alice", "run": run})


def rows(url: str) -> list[Row]:
    return database(url).counted()


def states(url: str) -> list[str]:
    states = postgresql.execute(url, "SELECT state FROM compute_index_supply.purchase ORDER BY claimed_at")
    return [state for (state,) in states]


def other_run(url: str, offer_id: str = OFFER_ID, *, dead: bool = False) -> Row:
    """Claim the same host for another run that has sent its purchase. ``dead``: an hour ago, and it holds nothing."""
    purchase = _postgresql.Purchase(str(_registries.uuid.uuid4()), "default", "trainer", BASE, offer_id, 2.0)
    row = database(url, "other").claim(purchase, _postgresql.Ceilings())
    if dead:
        query = "UPDATE compute_index_supply.purchase SET held_until = now(), sent_at = now() - interval '1 hour'"
        postgresql.execute(url, query)
    return row


def test_claim_is_committed_before_the_purchase_and_ids_after_it(
    queue: RequestQueue, buy: Any, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    during: list[Row] = []
    before_request(monkeypatch, lambda: during.extend(rows(registry_url)))
    queue.expect_free_offer().expect(*POST, procurement())
    result = buy(note={"provision_ends_at": "2026-02-01T00:00:00Z"}, project="blue", host="gpu-1")
    assert outcome_of(result) == ("created", None, [RESOURCE_ID])
    assert result["registry"].endswith("(project blue, host gpu-1)")
    (claim,) = during
    assert (claim.state, claim.held, claim.sent_at is not None, float(claim.price_per_hour or 0)) == (
        "buying",
        True,
        True,
        2.0,
    )
    (row,) = rows(registry_url)
    assert (row.project, row.host, row.account, row.offer) == ("blue", "gpu-1", BASE, OFFER_ID)
    assert (row.claim, row.state, row.resource_ids) == (claim.claim, "live", [RESOURCE_ID])
    assert row.note["provision_ends_at"] == "2026-02-01T00:00:00Z"


def test_second_run_buys_nothing(queue: RequestQueue, buy: Any, registry_url: str) -> None:
    queue.expect_free_offer().expect(*POST, procurement())
    buy()
    queue.expect("GET", STATUS_PATH, BOUGHT).expect("GET", OFFER_PATH, offer())
    assert outcome_of(buy()) == ("existing", None, [RESOURCE_ID])
    assert outcome_of(buy(offer_id=OTHER_ID, account=ACCOUNT)) == ("claimed", "conflict", []), "the plan is outdated"
    queue.expect("GET", STATUS_PATH, BOUGHT).expect("GET", OFFER_PATH, offer())
    again = buy(offer_id=OTHER_ID)
    assert (outcome_of(again), again["offer_id"]) == (("existing", None, [RESOURCE_ID]), OFFER_ID)
    assert states(registry_url) == ["live"]


@pytest.mark.parametrize("offer_id", [OFFER_ID, OTHER_ID])
@pytest.mark.parametrize("check_mode", [False, True])
def test_claim_of_another_run_stops_the_purchase(
    queue: RequestQueue, buy: Any, registry_url: str, offer_id: str, check_mode: bool
) -> None:
    other_run(registry_url)
    result = buy(check_mode, offer_id=offer_id)
    assert outcome_of(result) == ("claimed", "conflict", []) and result["changed"] is False
    assert f"is buying offer {OFFER_ID}, since 2" in result["msg"] and "in a run of alice at bastion" in result["msg"]
    assert "Nothing was sent" in result["msg"] and queue.calls == []


def test_claim_of_a_faster_run_stops_the_purchase(
    queue: RequestQueue, buy: Any, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_request(monkeypatch, lambda: other_run(registry_url), "offer")
    queue.expect_free_offer()
    assert outcome_of(buy()) == ("claimed", "conflict", [])
    assert states(registry_url) == ["buying"]


def unsent_claim(url: str, host: str = "trainer", offer_id: str = OTHER_ID, *, lapsed: bool = False) -> None:
    """Let another run claim a host, and die before it marks the claim as sent. ``lapsed``: its hold is over."""
    purchase = _postgresql.Purchase(str(_registries.uuid.uuid4()), "default", host, BASE, offer_id, 2.0)
    database(url, "other").claim(purchase, _postgresql.Ceilings())
    until = "now()" if lapsed else "held_until"
    query = f"UPDATE compute_index_supply.purchase SET sent_at = NULL, held_until = {until} WHERE claim = %(claim)s"
    postgresql.execute(url, query, {"claim": purchase.claim})


def test_unsent_claim_of_a_dead_run_blocks_the_host_only_while_held(
    queue: RequestQueue, buy: Any, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        before_request(patch, lambda: unsent_claim(registry_url), "offer")
        queue.expect_free_offer()
        result = buy()
    assert outcome_of(result) == ("claimed", "conflict", []) and "in a run of alice at bastion" in result["msg"]
    assert outcome_of(buy()) == ("claimed", "conflict", []), "without a request"
    postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET held_until = now()")
    queue.expect_free_offer().expect(*POST, procurement())
    assert outcome_of(buy()) == ("created", None, [RESOURCE_ID])
    assert states(registry_url) == ["void", "live"]


@pytest.mark.parametrize("option", ["max_total_price_per_hour", "max_account_price_per_hour"])
def test_lapsed_unsent_claim_frees_its_offer_and_counts_in_no_sum(
    queue: RequestQueue, buy: Any, registry_url: str, option: str
) -> None:
    unsent_claim(registry_url, "gpu-1", OFFER_ID, lapsed=True)
    queue.expect_free_offer().expect(*POST, procurement())
    assert buy(host="gpu-2", **{option: 2.0})["outcome"] == "created"
    assert states(registry_url) == ["void", "live"]


@pytest.mark.parametrize("rival", [None, "gpu-2", "trainer"])
def test_controller_that_sleeps_before_marking_its_claim_sends_nothing(
    queue: RequestQueue, buy: Any, registry_url: str, monkeypatch: pytest.MonkeyPatch, rival: str | None
) -> None:
    """``rival``: the host that another run has claimed the offer for in the meantime."""
    original = Database._mark_sent

    def sleeps(self: Database, connection: Any, row: Row) -> Row:
        monkeypatch.setattr(Database, "_mark_sent", original)
        postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET held_until = now()")
        if rival:
            purchase = _postgresql.Purchase(str(_registries.uuid.uuid4()), "default", rival, BASE, OFFER_ID, 2.0)
            database(registry_url, "other").claim(purchase, _postgresql.Ceilings())
        return original(self, connection, row)

    monkeypatch.setattr(Database, "_mark_sent", sleeps)
    queue.expect_free_offer()
    assert (buy()["outcome"], queue.count(*POST)) == ("claimed", 0)
    if rival is None:
        queue.expect_free_offer().expect(*POST, procurement())
        assert buy()["outcome"] == "created"


def test_offer_claimed_by_another_host_is_not_sent(
    queue: RequestQueue, buy: Any, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_run(registry_url)
    queue.expect_free_offer()
    result = buy(host="gpu-2")
    assert outcome_of(result) == ("not_sent", "conflict", [])
    assert "host trainer of project default is buying offer" in result["msg"]


def test_sent_claim_of_a_dead_run_is_settled_with_the_same_offer(
    queue: RequestQueue, buy: Any, registry_url: str
) -> None:
    claim = other_run(registry_url, dead=True)
    assert outcome_of(buy(offer_id=OTHER_ID, account=ACCOUNT)) == ("claimed", "conflict", [])
    queue.expect_free_offer().expect(*POST, procurement())
    assert outcome_of(buy()) == ("created", None, [RESOURCE_ID])
    (row,) = rows(registry_url)
    assert (row.claim, row.state, row.epoch) == (claim.claim, "live", 3), "taken over, and claimed again"


def test_sent_claim_of_a_dead_run_is_found_bought(queue: RequestQueue, buy: Any, registry_url: str) -> None:
    other_run(registry_url, dead=True)
    queue.expect("GET", STATUS_PATH, BOUGHT).expect_resources(resource())
    queue.expect("GET", OFFER_PATH, offer())
    assert outcome_of(buy()) == ("existing", None, [RESOURCE_ID])
    assert [(row.state, row.resource_ids) for row in rows(registry_url)] == [("live", [RESOURCE_ID])]


def test_lost_answer_leaves_an_open_claim_without_a_hold(queue: RequestQueue, buy: Any, registry_url: str) -> None:
    queue.expect_free_offer().expect(*POST, LOST).expect("GET", STATUS_PATH, status(), times=3)
    queue.expect("GET", OFFER_PATH, offer()).expect(*POST, {}, 409).expect("GET", STATUS_PATH, status(), times=3)
    result = buy(api_retries=1)
    assert outcome_of(result) == ("unknown", "unknown_outcome", [])
    (row,) = rows(registry_url)
    assert (row.state, row.held, row.epoch) == ("buying", False, 2)


@pytest.mark.parametrize("code", [400, 404, 410, 422])
def test_refusal_frees_host_and_offer(queue: RequestQueue, buy: Any, registry_url: str, code: int) -> None:
    queue.expect_free_offer().expect(*POST, {"detail": "no"}, code).expect("GET", STATUS_PATH, status())
    assert buy()["outcome"] == "rejected"
    assert states(registry_url) == ["void"]
    queue.expect_free_offer().expect(*POST, procurement())
    assert buy()["outcome"] == "created"
    assert states(registry_url) == ["void", "live"]


def take_over(url: str) -> Row:
    """Let another run take the claim over, since its hold has lapsed."""
    postgresql.execute(url, "UPDATE compute_index_supply.purchase SET held_until = now()")
    return database(url, "other").take_over(rows(url)[0])


def take_over_and_die(url: str) -> None:
    """Let another run take the claim over and die, perhaps after it sent a purchase."""
    take_over(url)
    postgresql.execute(url, "UPDATE compute_index_supply.purchase SET held_until = now()")


def free_claim(url: str) -> None:
    """Let another run take the claim over, and free it since nothing was bought."""
    database(url, "other").void(take_over(url), "not made", {})


def end_machine(url: str) -> None:
    """Let another run take the claim over, buy the offer, and end its machine."""
    other, row = database(url, "other"), take_over(url)
    made = other.note(_postgresql.Purchase(row.claim, row.project, row.host, row.account, row.offer), [RESOURCE_ID])
    other.end(made, [RESOURCE_ID])


def buy_another(url: str) -> None:
    """Let another run do the same, and then buy another offer."""
    end_machine(url)
    other_run(url, OTHER_ID)


def lose_claim(url: str) -> None:
    """Restore the database to a state before the claim."""
    postgresql.execute(url, "DELETE FROM compute_index_supply.purchase")


STATES_AFTER = {
    take_over: ["buying"],
    take_over_and_die: ["buying"],
    free_claim: ["void"],
    end_machine: ["ended"],
    buy_another: ["ended", "buying"],
    lose_claim: [],
}


@pytest.mark.parametrize("action", STATES_AFTER)
@pytest.mark.parametrize("code", [403, 404, 409, 410, 422, 429, 503])
@pytest.mark.parametrize("is_readable", [False, True])
def test_controller_that_sleeps_before_the_purchase_buys_nothing_else(
    queue: RequestQueue,
    buy: Any,
    registry_url: str,
    monkeypatch: pytest.MonkeyPatch,
    action: Callable[[str], object],
    code: int,
    is_readable: bool,
) -> None:
    """``is_readable``: the API still shows machines that were deleted. The role stops, and tries no other offer."""
    before_request(monkeypatch, lambda: action(registry_url))
    queue.expect_free_offer().expect(
        *POST, NOT_FOUND, code, headers={"Retry-After": "2"} if code in (429, 503) else None
    )
    if is_readable:
        queue.expect("GET", STATUS_PATH, BOUGHT)
        queue.expect_resources(resource(status="deleted"))
        queue.expect("GET", f"/resources/{RESOURCE_ID}", resource(status="deleted"), query={"force_refresh": "true"})
    else:
        queue.expect("GET", STATUS_PATH, NOT_FOUND, 404, times=3 if code in (409, 429, 503) else 1)
    result = buy(api_retries=3)
    assert queue.count(*POST) == 1
    if is_readable and code == 503:
        assert result["outcome"] == "created", "a 503 does not answer the purchase, and the machine has its name"
        return
    assert outcome_of(result) == ("unknown", "unknown_outcome", []) and result["claimed_by"] is None
    msg = result["msg"]
    assert "Another run may hold it now" in msg and "adopt" not in msg and "MAY BE" not in msg
    assert states(registry_url) == STATES_AFTER[action]
    assert all("provision_refused_status" not in row.note for row in rows(registry_url))


@pytest.mark.parametrize("action", STATES_AFTER)
@pytest.mark.parametrize("code", [404, 409, 410])
def test_controller_that_sleeps_after_a_refusal_buys_nothing_else(
    queue: RequestQueue,
    buy: Any,
    registry_url: str,
    monkeypatch: pytest.MonkeyPatch,
    action: Callable[[str], object],
    code: int,
) -> None:
    """The refusal was noted while the run still held its claim."""
    before_request(monkeypatch, lambda: action(registry_url), "offer_status", call=2)
    queue.expect_free_offer().expect(*POST, NOT_FOUND, code).expect(
        "GET", STATUS_PATH, NOT_FOUND, 404, times=2 if code == 409 else 1
    )
    result = buy(settle_timeout=3)
    assert outcome_of(result) == ("unknown", "unknown_outcome", []) and "Another run may hold it now" in result["msg"]
    assert states(registry_url) == STATES_AFTER[action]


def test_purchase_noted_by_another_run_exists_despite_a_refusal(
    queue: RequestQueue, buy: Any, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any run may note a purchase that was made; a refusal after that changes nothing."""

    def made() -> None:
        row = rows(registry_url)[0]
        fact = _postgresql.Purchase(row.claim, row.project, row.host, row.account, row.offer)
        database(registry_url, "other").note(fact, [RESOURCE_ID])

    before_request(monkeypatch, made)
    queue.expect_free_offer().expect(*POST, {}, 409).expect("GET", STATUS_PATH, BOUGHT).expect(
        "GET", OFFER_PATH, offer()
    )
    assert outcome_of(buy()) == ("existing", None, [RESOURCE_ID]) and states(registry_url) == ["live"]


def test_refusal_is_unknown_while_the_database_is_unreachable(
    queue: RequestQueue, buy: Any, registry_url: str, outage: Any
) -> None:
    outage(1000)
    queue.expect_free_offer().expect(*POST, {}, 410).expect("GET", STATUS_PATH, status("available", "expired"))
    result = buy()
    assert outcome_of(result) == ("unknown", "unknown_outcome", [])
    assert "cannot be reached" in result["msg"] and states(registry_url) == ["buying"], "the next run settles it"


def test_ids_are_noted_although_the_claim_was_taken_over(
    queue: RequestQueue, buy: Any, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_request(monkeypatch, lambda: take_over(registry_url))
    queue.expect_free_offer().expect(*POST, procurement())
    assert outcome_of(buy()) == ("created", None, [RESOURCE_ID])
    assert [(row.state, row.resource_ids) for row in rows(registry_url)] == [("live", [RESOURCE_ID])]


def test_check_mode_writes_nothing(queue: RequestQueue, buy: Any, registry_url: str) -> None:
    queue.expect_free_offer()
    assert buy(True)["outcome"] == "planned"
    assert postgresql.execute(registry_url, "SELECT to_regnamespace('compute_index_supply')::text") == [(None,)]
    other_run(registry_url, dead=True)
    queue.expect_free_offer()
    before = rows(registry_url)[0]
    assert buy(True)["outcome"] == "planned"
    after = rows(registry_url)[0]
    assert (after.epoch, after.holder, after.state) == (before.epoch, before.holder, before.state)


@pytest.mark.parametrize("option", ["max_total_price_per_hour", "max_account_price_per_hour"])
def test_sum_above_a_ceiling_stops_the_purchase(queue: RequestQueue, buy: Any, registry_url: str, option: str) -> None:
    other_run(registry_url, OTHER_ID)
    queue.expect_free_offer()
    result = buy(host="gpu-2", **{option: 3.99})
    assert outcome_of(result) == ("not_sent", "price", [])
    assert "would cost USD 4.00 per hour together, of which USD 2.00 per hour are live or being bought" in result["msg"]
    assert "hour. Counted: gpu-2 USD 2.00 (would be bought); trainer USD 2.00 (being bought since" in result["msg"]
    queue.expect_free_offer().expect(*POST, procurement())
    assert buy(host="gpu-2", **{option: 4.0})["outcome"] == "created"


@pytest.mark.parametrize("option", ["max_total_price_per_hour", "max_account_price_per_hour"])
def test_sums_count_the_planned_price_of_each_claim(
    queue: RequestQueue, buy: Any, registry_url: str, option: str
) -> None:
    """The search says 5.00 with storage, the offer's details say 4.00: two of them cost 10.00, not 8.00."""
    cheaper = {"gpu_price_per_hour": 4.0, "total_price_per_hour": 4.0}
    queue.expect_free_offer(**cheaper).expect(*POST, procurement())
    assert buy(host="gpu-1", price_per_hour=5.0, **{option: 9.0})["outcome"] == "created"
    assert [float(row.price_per_hour or 0) for row in rows(registry_url)] == [5.0]
    queue.expect("GET", f"/offers/{OTHER_ID}/status", {**status(), "offer_id": OTHER_ID})
    queue.expect("GET", f"/offers/{OTHER_ID}", offer(offer_id=OTHER_ID, **cheaper))
    second = buy(host="gpu-2", offer_id=OTHER_ID, price_per_hour=5.0, **{option: 9.0})
    assert outcome_of(second) == ("not_sent", "price", [])
    assert "would cost USD 10.00 per hour together" in second["msg"]


OTHER_STATUS = f"/offers/{OTHER_ID}/status"


def claim_of_dead_run(url: str, host: str = "gpu-1", offer_id: str = OTHER_ID) -> Row:
    """Claim another host for a run that has sent its purchase an hour ago and died."""
    purchase = _postgresql.Purchase(
        str(_registries.uuid.uuid4()), "default", host, BASE, offer_id, 2.0, {"provision_resource_name": host}
    )
    row = database(url, "dead").claim(purchase, _postgresql.Ceilings())
    query = "UPDATE compute_index_supply.purchase SET held_until = now(), sent_at = now() - interval '1 hour'"
    postgresql.execute(url, f"{query} WHERE claim = %(claim)s", {"claim": row.claim})
    return row


@pytest.mark.parametrize("option", ["max_total_price_per_hour", "max_account_price_per_hour"])
def test_ceiling_is_checked_again_after_open_claims_are_settled(
    queue: RequestQueue, buy: Any, registry_url: str, option: str
) -> None:
    claim_of_dead_run(registry_url)
    queue.expect_free_offer().expect("GET", OTHER_STATUS, status("failed", offer_id=OTHER_ID))
    queue.expect("GET", "/resources", [], query={"offer_id": OTHER_ID})
    queue.expect_free_offer(total_price_per_hour=2.5).expect(*POST, procurement())
    result = buy(host="gpu-2", **{option: 2.5})
    assert outcome_of(result) == ("created", None, [RESOURCE_ID]) and result["price_per_hour"] == 2.5, "a fresh price"
    assert any(OTHER_ID in each and "failed" in each for each in result["warnings"])
    assert [row.host for row in rows(registry_url)] == ["gpu-2"]


def test_ceiling_refusal_names_claims_that_could_not_be_settled(
    queue: RequestQueue, buy: Any, registry_url: str
) -> None:
    claim_of_dead_run(registry_url)
    queue.expect_free_offer().expect("GET", OTHER_STATUS, status(offer_id=OTHER_ID))
    result = buy(host="gpu-2", max_total_price_per_hour=3.99)
    assert outcome_of(result) == ("not_sent", "price", [])
    for words in (OTHER_ID, "gpu-1", "USD 2.00 per hour", "alice at bastion", "compute_index.supply.provision"):
        assert words in result["msg"]
    assert result["msg"].endswith("Nothing was bought.")
    assert [(row.host, row.state) for row in rows(registry_url)] == [("gpu-1", "buying")]


def test_total_ceiling_does_not_settle_claims_of_other_projects(
    queue: RequestQueue, buy: Any, registry_url: str
) -> None:
    claim_of_dead_run(registry_url)
    other_run(registry_url)
    postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET project = 'blue' WHERE host = 'gpu-1'")
    postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET offer = 'o' WHERE host = 'trainer'")
    queue.expect_free_offer()
    result = buy(host="gpu-2", max_total_price_per_hour=3.99)
    assert outcome_of(result) == ("not_sent", "price", []) and OTHER_ID not in result["msg"]


def test_total_ceiling_needs_the_shared_registry(queue: RequestQueue, buy: Any) -> None:
    result = buy(registry_url=None, max_total_price_per_hour=3.0)
    assert outcome_of(result) == ("not_sent", "invalid", []) and "needs registry_url" in result["msg"]


def test_unreachable_database_stops_the_purchase(queue: RequestQueue, buy: Any) -> None:
    result = buy(registry_url=UNREACHABLE)
    assert outcome_of(result) == ("not_sent", "unavailable", [])
    assert "The registry supply at 127.0.0.1:1 cannot be reached" in result["msg"] and "geheim" not in str(result)
    assert queue.calls == []


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """``outage(times)``: from the next purchase on, this many connections fail."""

    def begin(times: int) -> None:
        original, remaining = Database._connect, [times]

        def connect(self: Database) -> Any:
            if remaining[0] > 0:
                remaining[0] -= 1
                raise self._psycopg.OperationalError("connection refused")
            return original(self)

        before_request(monkeypatch, lambda: monkeypatch.setattr(Database, "_connect", connect))

    return begin


def test_ids_are_noted_once_the_database_is_back(queue: RequestQueue, buy: Any, registry_url: str, outage: Any) -> None:
    outage(3)
    queue.expect_free_offer().expect(*POST, procurement())
    assert outcome_of(buy()) == ("created", None, [RESOURCE_ID])
    assert [row.resource_ids for row in rows(registry_url)] == [[RESOURCE_ID]]


def test_database_lost_after_the_purchase_fails_with_ids_and_price(
    queue: RequestQueue, buy: Any, registry_url: str, outage: Any
) -> None:
    outage(1000)
    queue.expect_free_offer().expect(*POST, procurement())
    result = buy()
    assert outcome_of(result) == ("created", "unavailable", [RESOURCE_ID]) and result["changed"] is True
    assert RESOURCE_ID in result["msg"] and "USD 2.00 per hour" in result["msg"]
    assert states(registry_url) == ["buying"], "the next run settles it"


def test_shared_registry_needs_the_name_of_the_host(queue: RequestQueue, buy: Any) -> None:
    result = buy(resource_name=None)
    assert outcome_of(result) == ("not_sent", "invalid", [])
    assert "registry_url needs the name of the host" in result["msg"]


@pytest.mark.parametrize("plugin", ["procure_offer", "decide"])
def test_psycopg_is_imported_before_the_fork(plugin: str) -> None:
    name = f"ansible_collections.compute_index.supply.plugins.action.{plugin}"
    code = f"import sys; import {name}; print('psycopg' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_claim_holder_has_awx_job_and_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOB_ID", "7")
    assert "job" not in _registries._who()
    monkeypatch.setenv("AWX_HOST", "https://awx.example.com")
    assert _registries._who()["job"] == "7"
    monkeypatch.setattr(_registries.getpass, "getuser", lambda: {}["no name"])
    assert _registries._who()["user"].isdigit()


@pytest.mark.parametrize(("longest", "expected"), [("30 minutes", "unknown"), ("10 minutes", "rejected")])
def test_longest_post_decides_when_an_expired_offer_is_free(
    queue: RequestQueue, buy: Any, registry_url: str, longest: str, expected: str
) -> None:
    other_run(registry_url, dead=True)
    query = "UPDATE compute_index_supply.purchase SET expired_seen = now() - interval '11 minutes'"
    postgresql.execute(registry_url, query)
    postgresql.execute(registry_url, "UPDATE compute_index_supply.meta SET longest_post = %(t)s", {"t": longest})
    queue.expect("GET", STATUS_PATH, status("available", "expired"))
    assert buy(settle_timeout=0)["outcome"] == expected
    assert states(registry_url) == [{"unknown": "buying", "rejected": "void"}[expected]]


@pytest.mark.parametrize(
    ("note", "name", "account", "open_claim", "expected"),
    [
        ({}, "trainer", BASE, False, ["live"]),
        ({}, "trainer-1", BASE, False, ["live"]),
        # The host has bought another offer in the meantime: both are billed.
        ({}, "trainer", BASE, True, ["stray", "buying"]),
        # Sold to someone else: all purchases of ours were refused, or the machine has another name.
        ({"provision_refused_status": 409}, "trainer", BASE, False, ["void"]),
        # 429 does not exclude that the purchase was executed.
        ({"provision_refused_status": 429}, "trainer", BASE, False, ["live"]),
        ({}, "other", BASE, False, ["void"]),
        ({}, None, BASE, False, ["void"]),
        ({}, "trainer", "https://elsewhere.invalid", False, ["void"]),
    ],
)
def test_late_purchase_of_a_freed_claim_is_noted(
    registry_url: str, note: dict[str, Any], name: str | None, account: str, open_claim: bool, expected: list[str]
) -> None:
    shared = database(registry_url)
    row = other_run(registry_url)
    shared.void(row, "not made", {"provision_resource_name": "trainer", **note})
    if open_claim:
        other_run(registry_url, OTHER_ID)
    machine = read_resource(resource(name=name))

    def late(*machines: Any, fresh: Any = machine) -> list[str]:
        return list(note_late_purchases(shared, account, machines, lambda ids: dict.fromkeys(ids, fresh)))

    assert late({**machine, "offer_id": None}, {**machine, "offer_id": OTHER_ID}) == []
    assert late(machine, fresh=None) == late(machine, fresh={**machine, "status": "deleted"}) == []
    messages = late(machine)
    assert states(registry_url) == expected
    assert [RESOURCE_ID in each for each in messages] == [True] * (expected != ["void"])
    claimed = {each.claim: each.resource_ids for each in shared.counted()}
    assert claimed.get(row.claim) == (None if expected == ["void"] else [RESOURCE_ID])


def test_late_purchase_belongs_to_the_newest_freed_claim(registry_url: str) -> None:
    """Two have tried to buy the offer under this name, and the older one was refused before."""
    shared, machine = database(registry_url), read_resource(resource(name="trainer"))
    named = "provision_resource_name"
    for project, note in {"blue": {named: "trainer"}, "red": {}, "green": {named: "other"}}.items():
        shared.void(other_run(registry_url), "not made", note)
        query = f"UPDATE compute_index_supply.purchase SET project = '{project}' WHERE project = 'default'"
        postgresql.execute(registry_url, query)
    assert len(list(note_late_purchases(shared, BASE, [machine], lambda ids: dict.fromkeys(ids, machine)))) == 1
    assert [(row.project, row.resource_ids) for row in rows(registry_url)] == [("red", [RESOURCE_ID])]


@pytest.mark.parametrize(("listed", "price"), [(1.5, 2), (3.0, 3), (None, 2)])
def test_late_purchase_of_a_freed_claim_counts_at_the_higher_price(
    registry_url: str, listed: float | None, price: int
) -> None:
    """The claim may include the price of storage; the machine's own price does not."""
    shared = database(registry_url)
    row = other_run(registry_url)
    shared.void(row, "not made", {"provision_resource_name": "trainer"})
    machine = {**read_resource(resource(name="trainer")), "price_per_hour": listed}
    assert list(note_late_purchases(shared, BASE, [machine], lambda ids: dict.fromkeys(ids, machine)))
    assert [each.price_per_hour for each in shared.counted()] == [price]


@pytest.mark.parametrize(
    ("is_folder", "trust", "checking"), [(True, None, "accept-new"), (False, None, "yes"), (False, "none", "no")]
)
def test_machine_is_reached_only_with_the_host_keys_of_the_registry(
    tmp_path: Path, is_folder: bool, trust: str | None, checking: str
) -> None:
    """Without their file, ssh would accept any key, in runs that only read as well."""
    home = tmp_path / "ansible-home"
    home.mkdir() if is_folder else home.touch()
    machine = {"resource_id": RESOURCE_ID, "ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
    known = {
        **made_entry(RESOURCE_ID),
        "provision_instances": [machine],
        "provision_host_keys": ["alias ssh-ed25519 AAAA"],
    }
    entry = read_entry({**known, "provision_ssh_trust": trust})
    registries = _registries.Registries("postgresql://registry.invalid/supply", BASE, str(home), read_only=True)
    reached = registries.reached(SharedProject("default"), "gpu-1", entry)
    assert f"StrictHostKeyChecking={checking} " in reached["ansible_ssh_extra_args"]
    pinned = list(home.rglob("*") if is_folder else [])
    assert [file.read_text() for file in pinned if file.is_file()] == ["alias ssh-ed25519 AAAA\n"] * is_folder
