# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A purchase with a registry that several controllers share: who holds a claim, what is open, and a database away."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import read_resource
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market
from ansible_collections.compute_index.supply.plugins.module_utils._operations import _registries
from ansible_collections.compute_index.supply.plugins.module_utils._operations.procure_offer import PROCURE_OFFER
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _connection, _postgresql
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import Database
from ansible_collections.compute_index.supply.plugins.module_utils._registry._row import Row
from ansible_collections.compute_index.supply.plugins.module_utils._registry._shared import (
    note_late_purchases,
)

import postgresql
from request_queue import LOST, RequestQueue
from samples import (
    ACCOUNT,
    BASE,
    KEY,
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

pytestmark = pytest.mark.usefixtures("clock")

Result = dict[str, Any]
BOUGHT = status("provisioning", resource_ids=[RESOURCE_ID])
AWAY = "postgresql://alice:geheim@127.0.0.1:1/supply"


@pytest.fixture
def buy(perform: Callable[..., Result], registry_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr(_connection, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(_registries, "Database", functools.partial(Database, patience=0.0, facts_patience=0.5))

    def run(check_mode: bool = False, **params: Any) -> Result:
        common = {"offer_id": OFFER_ID, "ssh_public_key": KEY, "resource_name": "trainer", "registry_url": registry_url}
        return perform(PROCURE_OFFER, check_mode, **{**common, "settle_timeout": 6, **params})

    return run


@pytest.fixture(autouse=True)
def refused(request: pytest.FixtureRequest) -> None:
    """The API lists no machine that denies a refusal, and shows the one that a purchase brings."""
    if "queue" in request.fixturenames:
        request.getfixturevalue("queue").show(resource()).list_nothing_of(OFFER_ID)


def database(url: str, run: str = "test") -> Database:
    return Database(url, {"host": "bastion", "user": "alice", "run": run})


def rows(url: str) -> list[Row]:
    return database(url).counted()


def states(url: str) -> list[str]:
    found = postgresql.execute(url, "SELECT state FROM compute_index_supply.purchase ORDER BY claimed_at")
    return [state for (state,) in found]


def other_run(url: str, offer_id: str = OFFER_ID, *, dead: bool = False) -> Row:
    """The claim of another run for the same host, which is at work or has died, and has sent its purchase."""
    wanted = _postgresql.Purchase(str(_registries.uuid.uuid4()), "default", "trainer", BASE, offer_id, 2.0)
    row = database(url, "other").claim(wanted, _postgresql.Ceilings())
    if dead:
        query = "UPDATE compute_index_supply.purchase SET held_until = now(), sent_at = now() - interval '1 hour'"
        postgresql.execute(url, query)
    return row


def meanwhile(monkeypatch: pytest.MonkeyPatch, what: Callable[[], object], method: str = "procure") -> None:
    """Something happens right before a request."""
    real = getattr(Market, method)
    monkeypatch.setattr(Market, method, lambda *args, **how: (what(), real(*args, **how))[1])


def free(queue: RequestQueue, **fields: Any) -> RequestQueue:
    return queue.expect("GET", STATUS_PATH, status()).expect("GET", OFFER_PATH, offer(**fields))


def outcome(result: Result) -> tuple[Any, ...]:
    return result["outcome"], result.get("error_class"), result["resource_ids"]


def test_the_claim_is_committed_before_the_purchase_and_the_ids_after_it(
    queue: RequestQueue, buy: Any, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    during: list[Row] = []
    meanwhile(monkeypatch, lambda: during.extend(rows(registry_url)))
    free(queue).expect(*POST, procurement())
    result = buy(note={"provision_ends_at": "2026-02-01T00:00:00Z"}, project="blue", host="gpu-1")
    assert outcome(result) == ("created", None, [RESOURCE_ID])
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


def test_running_again_buys_nothing(queue: RequestQueue, buy: Any, registry_url: str) -> None:
    free(queue).expect(*POST, procurement())
    buy()
    queue.expect("GET", STATUS_PATH, BOUGHT).expect("GET", OFFER_PATH, offer())
    assert outcome(buy()) == ("existing", None, [RESOURCE_ID])
    assert outcome(buy(offer_id=OTHER_ID, account=ACCOUNT)) == ("claimed", "conflict", []), "by an outdated plan"
    queue.expect("GET", STATUS_PATH, BOUGHT).expect("GET", OFFER_PATH, offer())
    again = buy(offer_id=OTHER_ID)
    assert (outcome(again), again["offer_id"]) == (("existing", None, [RESOURCE_ID]), OFFER_ID)
    assert states(registry_url) == ["live"]


@pytest.mark.parametrize("offer_id", [OFFER_ID, OTHER_ID])
@pytest.mark.parametrize("check_mode", [False, True])
def test_a_claim_of_another_run_is_told(
    queue: RequestQueue, buy: Any, registry_url: str, offer_id: str, check_mode: bool
) -> None:
    other_run(registry_url)
    result = buy(check_mode, offer_id=offer_id)
    assert outcome(result) == ("claimed", "conflict", []) and result["changed"] is False
    assert f"is buying offer {OFFER_ID}, since 2" in result["msg"] and "in a run of alice at bastion" in result["msg"]
    assert "Nothing was sent" in result["msg"] and queue.calls == []


def test_a_run_that_was_faster_is_not_overtaken(
    queue: RequestQueue, buy: Any, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile(monkeypatch, lambda: other_run(registry_url), "offer")
    free(queue)
    assert outcome(buy()) == ("claimed", "conflict", [])
    assert states(registry_url) == ["buying"]


def died_unsent(url: str, host: str = "trainer", offer_id: str = OTHER_ID, *, lapsed: bool = False) -> None:
    """A run has died between its claim and the mark."""
    wanted = _postgresql.Purchase(str(_registries.uuid.uuid4()), "default", host, BASE, offer_id, 2.0)
    database(url, "other").claim(wanted, _postgresql.Ceilings())
    until = "now()" if lapsed else "held_until"
    query = f"UPDATE compute_index_supply.purchase SET sent_at = NULL, held_until = {until} WHERE claim = %(claim)s"
    postgresql.execute(url, query, {"claim": wanted.claim})


def test_a_run_that_died_before_it_could_send_is_waited_for_only_while_its_hold_lasts(
    queue: RequestQueue, buy: Any, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        meanwhile(patch, lambda: died_unsent(registry_url), "offer")
        free(queue)
        result = buy()
    assert outcome(result) == ("claimed", "conflict", []) and "in a run of alice at bastion" in result["msg"]
    assert outcome(buy()) == ("claimed", "conflict", []), "and no request is sent"
    postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET held_until = now()")
    free(queue).expect(*POST, procurement())
    assert outcome(buy()) == ("created", None, [RESOURCE_ID])
    assert states(registry_url) == ["void", "live"]


@pytest.mark.parametrize("option", ["max_total_price_per_hour", "max_account_price_per_hour"])
def test_what_was_never_sent_is_in_no_sum_and_keeps_no_offer(
    queue: RequestQueue, buy: Any, registry_url: str, option: str
) -> None:
    died_unsent(registry_url, "gpu-1", OFFER_ID, lapsed=True)
    free(queue).expect(*POST, procurement())
    assert buy(host="gpu-2", **{option: 2.0})["outcome"] == "created"
    assert states(registry_url) == ["void", "live"]


@pytest.mark.parametrize("rival", [None, "gpu-2", "trainer"])
def test_a_controller_that_sleeps_between_its_claim_and_the_mark_sends_nothing_under_it(
    queue: RequestQueue, buy: Any, registry_url: str, monkeypatch: pytest.MonkeyPatch, rival: str | None
) -> None:
    """Whether nobody has come meanwhile, another host has got the offer, or another run its own host: run again."""
    real = Database._mark_sent

    def sleeps(self: Database, connection: Any, row: Row) -> Row:
        monkeypatch.setattr(Database, "_mark_sent", real)
        postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET held_until = now()")
        if rival:
            wanted = _postgresql.Purchase(str(_registries.uuid.uuid4()), "default", rival, BASE, OFFER_ID, 2.0)
            database(registry_url, "other").claim(wanted, _postgresql.Ceilings())
        return real(self, connection, row)

    monkeypatch.setattr(Database, "_mark_sent", sleeps)
    free(queue)
    assert (buy()["outcome"], queue.count(*POST)) == ("claimed", 0)
    if rival is None:
        free(queue).expect(*POST, procurement())
        assert buy()["outcome"] == "created"


def test_an_offer_that_another_host_has_claimed_is_not_sent(
    queue: RequestQueue, buy: Any, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_run(registry_url)
    free(queue)
    result = buy(host="gpu-2")
    assert outcome(result) == ("not_sent", "conflict", [])
    assert "host trainer of project default is buying offer" in result["msg"]


def test_the_claim_of_a_run_that_died_is_settled_with_the_same_offer(
    queue: RequestQueue, buy: Any, registry_url: str
) -> None:
    claim = other_run(registry_url, dead=True)
    assert outcome(buy(offer_id=OTHER_ID, account=ACCOUNT)) == ("claimed", "conflict", [])
    free(queue).expect(*POST, procurement())
    assert outcome(buy()) == ("created", None, [RESOURCE_ID])
    (row,) = rows(registry_url)
    assert (row.claim, row.state, row.epoch) == (claim.claim, "live", 3), "taken over, and claimed again"


def test_the_claim_of_a_run_that_died_after_the_purchase_is_found_bought(
    queue: RequestQueue, buy: Any, registry_url: str
) -> None:
    other_run(registry_url, dead=True)
    queue.expect("GET", STATUS_PATH, BOUGHT).expect("GET", "/resources", [resource()], query={"offer_id": OFFER_ID})
    queue.expect("GET", OFFER_PATH, offer())
    assert outcome(buy()) == ("existing", None, [RESOURCE_ID])
    assert [(row.state, row.resource_ids) for row in rows(registry_url)] == [("live", [RESOURCE_ID])]


def test_a_lost_answer_stays_open_and_the_next_run_may_settle_it_at_once(
    queue: RequestQueue, buy: Any, registry_url: str
) -> None:
    free(queue).expect(*POST, LOST).expect("GET", STATUS_PATH, status(), times=3)
    queue.expect("GET", OFFER_PATH, offer()).expect(*POST, {}, 409).expect("GET", STATUS_PATH, status(), times=3)
    result = buy(api_retries=1)
    assert outcome(result) == ("unknown", "unknown_outcome", [])
    (row,) = rows(registry_url)
    assert (row.state, row.held, row.epoch) == ("buying", False, 2)


@pytest.mark.parametrize("code", [400, 404, 410, 422])
def test_a_refusal_frees_the_name_and_the_offer(queue: RequestQueue, buy: Any, registry_url: str, code: int) -> None:
    free(queue).expect(*POST, {"detail": "no"}, code).expect("GET", STATUS_PATH, status())
    assert buy()["outcome"] == "rejected"
    assert states(registry_url) == ["void"]
    free(queue).expect(*POST, procurement())
    assert buy()["outcome"] == "created"
    assert states(registry_url) == ["void", "live"]


@pytest.mark.parametrize("dead", [False, True])
def test_who_was_taken_over_frees_nothing(
    queue: RequestQueue, buy: Any, registry_url: str, monkeypatch: pytest.MonkeyPatch, dead: bool
) -> None:
    """Also if the run that has taken over has died since: it may have sent a purchase."""

    def taken() -> None:
        postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET held_until = now()")
        database(registry_url, "other").take_over(rows(registry_url)[0])
        if dead:
            postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET held_until = now()")

    meanwhile(monkeypatch, taken)
    free(queue).expect(*POST, {}, 410).expect("GET", STATUS_PATH, status())
    assert buy()["outcome"] == "unknown"
    (row,) = rows(registry_url)
    assert row.state == "buying" and "provision_refused_status" not in row.note


def taken_over(url: str) -> Row:
    """The hold has lapsed, and another run has the claim now."""
    postgresql.execute(url, "UPDATE compute_index_supply.purchase SET held_until = now()")
    return database(url, "other").take_over(rows(url)[0])


def freed(url: str) -> None:
    """The same, and it has found out that nothing was bought."""
    database(url, "other").void(taken_over(url), "not made", {})


def decommissioned(url: str) -> None:
    """The same, and it has bought the offer, and ended its machine."""
    other, row = database(url, "other"), taken_over(url)
    made = other.note(_postgresql.Purchase(row.claim, row.project, row.host, row.account, row.offer), [RESOURCE_ID])
    other.end(made, [RESOURCE_ID])


def replaced(url: str) -> None:
    """The same, and it has bought another one since."""
    decommissioned(url)
    other_run(url, OTHER_ID)


def lost(url: str) -> None:
    """The database was restored, and does not know the claim."""
    postgresql.execute(url, "DELETE FROM compute_index_supply.purchase")


LEFT = {taken_over: ["buying"], freed: ["void"], decommissioned: ["ended"], replaced: ["ended", "buying"], lost: []}


@pytest.mark.parametrize("other", LEFT)
@pytest.mark.parametrize("code", [403, 404, 409, 410, 422, 429, 503])
@pytest.mark.parametrize("is_readable", [False, True])
def test_a_controller_that_sleeps_between_its_claim_and_the_purchase_buys_nothing_else_when_it_wakes_up(
    queue: RequestQueue,
    buy: Any,
    registry_url: str,
    monkeypatch: pytest.MonkeyPatch,
    other: Callable[[str], object],
    code: int,
    is_readable: bool,
) -> None:
    """``is_readable``: the API still shows machines that were deleted."""
    meanwhile(monkeypatch, lambda: other(registry_url))
    free(queue).expect(*POST, NOT_FOUND, code, headers={"Retry-After": "2"} if code in (429, 503) else None)
    if is_readable:
        queue.expect("GET", STATUS_PATH, BOUGHT)
        queue.expect("GET", "/resources", [resource(status="deleted")], query={"offer_id": OFFER_ID})
        queue.expect("GET", f"/resources/{RESOURCE_ID}", resource(status="deleted"), query={"force_refresh": "true"})
    else:
        queue.expect("GET", STATUS_PATH, NOT_FOUND, 404, times=3 if code in (409, 429, 503) else 1)
    result = buy(api_retries=3)
    assert queue.count(*POST) == 1
    if is_readable and code == 503:
        assert result["outcome"] == "created", "never answered, and it has the host's name"
        return
    # So the role stops, and tries no other offer.
    assert outcome(result) == ("unknown", "unknown_outcome", []) and result["claimed_by"] is None
    msg = result["msg"]
    assert "Another run may hold it now" in msg and "adopt" not in msg and "MAY BE" not in msg
    assert states(registry_url) == LEFT[other]


@pytest.mark.parametrize("other", LEFT)
@pytest.mark.parametrize("code", [404, 409, 410])
def test_a_controller_that_sleeps_while_it_looks_at_a_refusal_buys_nothing_else_when_it_wakes_up(
    queue: RequestQueue,
    buy: Any,
    registry_url: str,
    monkeypatch: pytest.MonkeyPatch,
    other: Callable[[str], object],
    code: int,
) -> None:
    """The refusal was noted while the claim was still its own."""
    looks: list[Callable[[], object]] = [lambda: None, lambda: other(registry_url), lambda: None]

    def look() -> None:
        looks.pop(0)()

    meanwhile(monkeypatch, look, "offer_status")
    free(queue).expect(*POST, NOT_FOUND, code).expect("GET", STATUS_PATH, NOT_FOUND, 404, times=2 if code == 409 else 1)
    result = buy(settle_timeout=3)
    assert outcome(result) == ("unknown", "unknown_outcome", []) and "Another run may hold it now" in result["msg"]
    assert states(registry_url) == LEFT[other]


def test_a_purchase_that_another_run_has_noted_as_made_is_the_hosts(
    queue: RequestQueue, buy: Any, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any run may note a fact; a refusal that comes after it changes nothing."""

    def made() -> None:
        row = rows(registry_url)[0]
        fact = _postgresql.Purchase(row.claim, row.project, row.host, row.account, row.offer)
        database(registry_url, "other").note(fact, [RESOURCE_ID])

    meanwhile(monkeypatch, made)
    free(queue).expect(*POST, {}, 409).expect("GET", STATUS_PATH, BOUGHT).expect("GET", OFFER_PATH, offer())
    assert outcome(buy()) == ("existing", None, [RESOURCE_ID]) and states(registry_url) == ["live"]


def test_a_refusal_is_no_fact_while_the_database_is_away(
    queue: RequestQueue, buy: Any, registry_url: str, outage: Any
) -> None:
    outage(1000)
    free(queue).expect(*POST, {}, 410).expect("GET", STATUS_PATH, status("available", "expired"))
    result = buy()
    assert outcome(result) == ("unknown", "unknown_outcome", [])
    assert "cannot be reached" in result["msg"] and states(registry_url) == ["buying"], "the next run settles it"


def test_ids_are_noted_even_by_who_was_taken_over(
    queue: RequestQueue, buy: Any, registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken() -> None:
        postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET held_until = now()")
        database(registry_url, "other").take_over(rows(registry_url)[0])

    meanwhile(monkeypatch, taken)
    free(queue).expect(*POST, procurement())
    assert outcome(buy()) == ("created", None, [RESOURCE_ID])
    assert [(row.state, row.resource_ids) for row in rows(registry_url)] == [("live", [RESOURCE_ID])]


def test_check_mode_writes_nothing(queue: RequestQueue, buy: Any, registry_url: str) -> None:
    free(queue)
    assert buy(True)["outcome"] == "planned"
    assert postgresql.execute(registry_url, "SELECT to_regnamespace('compute_index_supply')::text") == [(None,)]
    other_run(registry_url, dead=True)
    free(queue)
    before = rows(registry_url)[0]
    assert buy(True)["outcome"] == "planned"
    after = rows(registry_url)[0]
    assert (after.epoch, after.holder, after.state) == (before.epoch, before.holder, before.state)


@pytest.mark.parametrize("option", ["max_total_price_per_hour", "max_account_price_per_hour"])
def test_a_sum_above_its_ceiling_is_not_sent(queue: RequestQueue, buy: Any, registry_url: str, option: str) -> None:
    other_run(registry_url, OTHER_ID)
    free(queue)
    result = buy(host="gpu-2", **{option: 3.99})
    assert outcome(result) == ("not_sent", "price", [])
    assert "would cost USD 4.00 per hour together, of which USD 2.00 per hour are live or being bought" in result["msg"]
    assert "hour. Counted: gpu-2 USD 2.00 (would be bought); trainer USD 2.00 (being bought since" in result["msg"]
    free(queue).expect(*POST, procurement())
    assert buy(host="gpu-2", **{option: 4.0})["outcome"] == "created"


@pytest.mark.parametrize("option", ["max_total_price_per_hour", "max_account_price_per_hour"])
def test_two_claims_count_the_planned_price_of_each(
    queue: RequestQueue, buy: Any, registry_url: str, option: str
) -> None:
    """The search named 5.00 with storage, the offer's own page names 4.00: two of them are 10.00, not 8.00."""
    cheaper = {"gpu_price_per_hour": 4.0, "total_price_per_hour": 4.0}
    free(queue, **cheaper).expect(*POST, procurement())
    assert buy(host="gpu-1", price_per_hour=5.0, **{option: 9.0})["outcome"] == "created"
    assert [float(row.price_per_hour or 0) for row in rows(registry_url)] == [5.0]
    queue.expect("GET", f"/offers/{OTHER_ID}/status", {**status(), "offer_id": OTHER_ID})
    queue.expect("GET", f"/offers/{OTHER_ID}", offer(offer_id=OTHER_ID, **cheaper))
    second = buy(host="gpu-2", offer_id=OTHER_ID, price_per_hour=5.0, **{option: 9.0})
    assert outcome(second) == ("not_sent", "price", [])
    assert "would cost USD 10.00 per hour together" in second["msg"]


OTHER_STATUS = f"/offers/{OTHER_ID}/status"


def lost_run(url: str, host: str = "gpu-1", offer_id: str = OTHER_ID) -> Row:
    """The claim of another host, whose run has died right after it had sent the purchase."""
    wanted = _postgresql.Purchase(
        str(_registries.uuid.uuid4()), "default", host, BASE, offer_id, 2.0, {"provision_resource_name": host}
    )
    row = database(url, "dead").claim(wanted, _postgresql.Ceilings())
    query = "UPDATE compute_index_supply.purchase SET held_until = now(), sent_at = now() - interval '1 hour'"
    postgresql.execute(url, f"{query} WHERE claim = %(claim)s", {"claim": row.claim})
    return row


@pytest.mark.parametrize("option", ["max_total_price_per_hour", "max_account_price_per_hour"])
def test_a_sum_above_its_ceiling_is_computed_again_once_what_is_open_in_it_is_settled(
    queue: RequestQueue, buy: Any, registry_url: str, option: str
) -> None:
    lost_run(registry_url)
    free(queue).expect("GET", OTHER_STATUS, status("failed", offer_id=OTHER_ID))
    queue.expect("GET", "/resources", [], query={"offer_id": OTHER_ID})
    free(queue, total_price_per_hour=2.5).expect(*POST, procurement())
    result = buy(host="gpu-2", **{option: 2.5})
    assert outcome(result) == ("created", None, [RESOURCE_ID]) and result["price_per_hour"] == 2.5, "a fresh price"
    assert any(OTHER_ID in each and "failed" in each for each in result["warnings"])
    assert [row.host for row in rows(registry_url)] == ["gpu-2"]


def test_a_refusal_by_a_ceiling_names_what_could_not_be_settled(
    queue: RequestQueue, buy: Any, registry_url: str
) -> None:
    lost_run(registry_url)
    free(queue).expect("GET", OTHER_STATUS, status(offer_id=OTHER_ID))
    result = buy(host="gpu-2", max_total_price_per_hour=3.99)
    assert outcome(result) == ("not_sent", "price", [])
    for words in (OTHER_ID, "gpu-1", "USD 2.00 per hour", "alice at bastion", "compute_index.supply.provision"):
        assert words in result["msg"]
    assert result["msg"].endswith("Nothing was bought.")
    assert [(row.host, row.state) for row in rows(registry_url)] == [("gpu-1", "buying")]


def test_what_is_open_in_another_project_is_settled_only_for_the_account(
    queue: RequestQueue, buy: Any, registry_url: str
) -> None:
    lost_run(registry_url)
    other_run(registry_url)
    postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET project = 'blue' WHERE host = 'gpu-1'")
    postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET offer = 'o' WHERE host = 'trainer'")
    free(queue)
    result = buy(host="gpu-2", max_total_price_per_hour=3.99)
    assert outcome(result) == ("not_sent", "price", []) and OTHER_ID not in result["msg"]


def test_a_ceiling_of_a_sum_needs_the_shared_registry(queue: RequestQueue, buy: Any) -> None:
    result = buy(registry_url=None, max_total_price_per_hour=3.0)
    assert outcome(result) == ("not_sent", "invalid", []) and "needs registry_url" in result["msg"]


def test_a_database_that_is_away_before_the_claim_stops_the_purchase(queue: RequestQueue, buy: Any) -> None:
    result = buy(registry_url=AWAY)
    assert outcome(result) == ("not_sent", "unavailable", [])
    assert "The registry supply at 127.0.0.1:1 cannot be reached" in result["msg"] and "geheim" not in str(result)
    assert queue.calls == []


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """``outage(times)``: so many connections fail from the next purchase on."""

    def begin(times: int) -> None:
        real, left = Database._connect, [times]

        def connect(self: Database) -> Any:
            if left[0] > 0:
                left[0] -= 1
                raise self._psycopg.OperationalError("connection refused")
            return real(self)

        meanwhile(monkeypatch, lambda: monkeypatch.setattr(Database, "_connect", connect))

    return begin


def test_a_database_that_is_away_after_the_purchase_is_waited_for(
    queue: RequestQueue, buy: Any, registry_url: str, outage: Any
) -> None:
    outage(3)
    free(queue).expect(*POST, procurement())
    assert outcome(buy()) == ("created", None, [RESOURCE_ID])
    assert [row.resource_ids for row in rows(registry_url)] == [[RESOURCE_ID]]


def test_a_database_that_stays_away_fails_with_ids_and_price(
    queue: RequestQueue, buy: Any, registry_url: str, outage: Any
) -> None:
    outage(1000)
    free(queue).expect(*POST, procurement())
    result = buy()
    assert outcome(result) == ("created", "unavailable", [RESOURCE_ID]) and result["changed"] is True
    assert RESOURCE_ID in result["msg"] and "USD 2.00 per hour" in result["msg"]
    assert states(registry_url) == ["buying"], "the next run settles it"


def test_a_host_without_a_name_is_refused(queue: RequestQueue, buy: Any) -> None:
    result = buy(resource_name=None)
    assert outcome(result) == ("not_sent", "invalid", [])
    assert "registry_url needs the name of the host" in result["msg"]


@pytest.mark.parametrize("plugin", ["procure_offer", "decide"])
def test_psycopg_is_imported_before_the_fork(plugin: str) -> None:
    name = f"ansible_collections.compute_index.supply.plugins.action.{plugin}"
    code = f"import sys; import {name}; print('psycopg' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_who_runs_a_job_of_awx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOB_ID", "7")
    assert "job" not in _registries._who()
    monkeypatch.setenv("AWX_HOST", "https://awx.example.com")
    assert _registries._who()["job"] == "7"
    monkeypatch.setattr(_registries.getpass, "getuser", lambda: {}["no name"])
    assert _registries._who()["user"].isdigit()


@pytest.mark.parametrize(("longest", "expected"), [("30 minutes", "unknown"), ("10 minutes", "rejected")])
def test_how_long_a_purchase_may_be_under_way_is_a_setting(
    queue: RequestQueue, buy: Any, registry_url: str, longest: str, expected: str
) -> None:
    other_run(registry_url, dead=True)
    seen = "UPDATE compute_index_supply.purchase SET expired_seen = now() - interval '11 minutes'"
    postgresql.execute(registry_url, seen)
    postgresql.execute(registry_url, "UPDATE compute_index_supply.meta SET longest_post = %(t)s", {"t": longest})
    queue.expect("GET", STATUS_PATH, status("available", "expired"))
    assert buy(settle_timeout=0)["outcome"] == expected
    assert states(registry_url) == [{"unknown": "buying", "rejected": "void"}[expected]]


@pytest.mark.parametrize(
    ("note", "name", "account", "open_claim", "expected"),
    [
        ({}, "trainer", BASE, False, ["live"]),
        ({}, "trainer-1", BASE, False, ["live"]),
        # The host has bought something else meanwhile: both are billed.
        ({}, "trainer", BASE, True, ["stray", "buying"]),
        # Sold to somebody else: each purchase of ours was answered, or the machine is called otherwise.
        ({"provision_refused_status": 409}, "trainer", BASE, False, ["void"]),
        # "Come back later" is no refusal if it was sold all the same.
        ({"provision_refused_status": 429}, "trainer", BASE, False, ["live"]),
        ({}, "other", BASE, False, ["void"]),
        ({}, None, BASE, False, ["void"]),
        ({}, "trainer", "https://elsewhere.invalid", False, ["void"]),
    ],
)
def test_what_a_freed_claim_has_bought_after_all_is_on_record(
    registry_url: str, note: dict[str, Any], name: str | None, account: str, open_claim: bool, expected: list[str]
) -> None:
    shared = database(registry_url)
    row = other_run(registry_url)
    shared.void(row, "not made", {"provision_resource_name": "trainer", **note})
    if open_claim:
        other_run(registry_url, OTHER_ID)
    machine = read_resource(resource(name=name))

    def late(*machines: Any) -> list[str]:
        return list(note_late_purchases(shared, account, machines, lambda ids: dict.fromkeys(ids, machine)))

    assert late({**machine, "offer_id": None}, {**machine, "offer_id": OTHER_ID}) == []
    said = late(machine)
    assert states(registry_url) == expected
    assert [RESOURCE_ID in each for each in said] == [True] * (expected != ["void"])
    claimed = {each.claim: each.resource_ids for each in shared.counted()}
    assert claimed.get(row.claim) == (None if expected == ["void"] else [RESOURCE_ID])


@pytest.mark.parametrize(("listed", "price"), [(1.5, 2), (3.0, 3), (None, 2)])
def test_what_a_freed_claim_has_bought_after_all_counts_at_the_higher_price(
    registry_url: str, listed: float | None, price: int
) -> None:
    """A search may have named the price of its storage as well."""
    shared = database(registry_url)
    row = other_run(registry_url)
    shared.void(row, "not made", {"provision_resource_name": "trainer"})
    machine = {**read_resource(resource(name="trainer")), "price_per_hour": listed}
    assert list(note_late_purchases(shared, BASE, [machine], lambda ids: dict.fromkeys(ids, machine)))
    assert [each.price_per_hour for each in shared.counted()] == [price]
