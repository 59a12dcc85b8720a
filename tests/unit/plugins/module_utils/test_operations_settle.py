# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims of dead runs are settled by an audit with ``settle``, or by a sweep; also by two runs at once."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import read_resource, read_status
from ansible_collections.compute_index.supply.plugins.module_utils._operations.audit import AUDIT
from ansible_collections.compute_index.supply.plugins.module_utils._operations.procure_offer import settle
from ansible_collections.compute_index.supply.plugins.module_utils._operations.reap import REAP
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import SharedProject
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _postgresql
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import (
    Ceilings,
    Database,
    Purchase,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry._protocol import RegistryError
from ansible_collections.compute_index.supply.plugins.module_utils._registry._row import Row

import postgresql
from purchases import BOUGHT, expect_bought_offer
from request_queue import LOST, RequestQueue
from samples import BASE, NOT_FOUND, OFFER_ID, OTHER_ID, RESOURCE_ID, SECOND_RESOURCE_ID, STATUS_PATH, resource, status

Result = dict[str, Any]
HOST = {
    **{"host": "localhost", "name": "localhost", "prefix": "", "project": "default", "registry_dir": None},
    **{"inventory_dir": None, "declares": False},
    **dict.fromkeys(("lease", "lease_max", "max_bill", "budget", "idle_after"), ""),
    "protect": None,
    "known": {},
}


def database(url: str, run: str = "test") -> Database:
    return Database(url, {"host": "bastion", "user": "alice", "run": run})


def sent_claim(url: str, *, held: bool = False, **note: Any) -> Row:
    """Claim trainer for a run that has sent its purchase an hour ago. ``held``: it still runs; else it has died."""
    purchase = Purchase(
        str(uuid.uuid4()), "default", "trainer", BASE, OFFER_ID, 2.0, {"provision_resource_name": "trainer", **note}
    )
    row = database(url, "dead").claim(purchase, Ceilings())
    until = "now() + interval '1 minute'" if held else "now()"
    query = f"UPDATE compute_index_supply.purchase SET held_until = {until}, sent_at = now() - interval '1 hour'"
    postgresql.execute(url, query)
    return row


def stored_rows(url: str) -> list[tuple[Any, ...]]:
    """The rows of all purchases."""
    return postgresql.execute(url, "SELECT * FROM compute_index_supply.purchase ORDER BY claimed_at")


def claim_state(url: str) -> tuple[str, list[str]]:
    """The state of the claim of the sample offer, and its machines."""
    query = "SELECT state, claim FROM compute_index_supply.purchase WHERE offer = %(offer)s"
    ((state, claim),) = postgresql.execute(url, query, {"offer": OFFER_ID})
    query = "SELECT resource FROM compute_index_supply.machine WHERE claim = %(claim)s ORDER BY resource"
    return state, [each for (each,) in postgresql.execute(url, query, {"claim": claim})]


@pytest.fixture
def audit(perform: Callable[..., Result], queue: RequestQueue, registry_url: str) -> Callable[..., Result]:
    """``audit(settle, *machines)``: it lists these machines of the account, after it has settled claims."""

    def run(settle: bool = True, *machines: Result, check_mode: bool = False) -> Result:
        queue.expect("GET", "/resources", list(machines))
        return perform(
            AUDIT, check_mode, step="audit", registry_url=registry_url, hosts=[HOST], here="/", settle=settle
        )

    return run


def test_audit_without_settling_or_in_check_mode_changes_nothing(
    queue: RequestQueue, audit: Callable[..., Result], registry_url: str
) -> None:
    sent_claim(registry_url)
    before = stored_rows(registry_url)
    for settles, check_mode in ((False, False), (True, True)):
        result = audit(settles, check_mode=check_mode)
        assert (result["changed"], stored_rows(registry_url)) == (False, before)
        text = "\n".join(result["lines"])
        assert "BUYING: purchases that count, with no known machine yet" in text
        (row,) = result["audit"]["buying"]
        assert (row["host"], row["offer_id"], row["price_per_hour"]) == ("trainer", OFFER_ID, 2.0)
        assert "alice at bastion" in row["run"] and row["since"].startswith("2")
        assert max(map(len, result["lines"])) <= 80


def test_bought_claim_is_noted_and_listed(queue: RequestQueue, audit: Callable[..., Result], registry_url: str) -> None:
    sent_claim(registry_url)
    expect_bought_offer(queue, resource())
    result = audit(True, resource())
    assert (result["changed"], claim_state(registry_url)) == (True, ("live", [RESOURCE_ID]))
    assert result["audit"]["buying"] == [] and [row["hosts"] for row in result["audit"]["claimed"]] == [["trainer"]]
    (warning,) = [each for each in result["warnings"] if OFFER_ID in each]
    assert RESOURCE_ID in warning and "USD 2.00 per hour" in warning and "sent for trainer" in warning


def test_machine_of_another_offer_in_the_status_is_not_noted(
    queue: RequestQueue, audit: Callable[..., Result], registry_url: str
) -> None:
    """The status also names a colleague's machine, whose own page shows that it was bought with another offer."""
    sent_claim(registry_url)
    other = resource(SECOND_RESOURCE_ID, offer_history=[{"offer_id": OTHER_ID, "role": "primary"}])
    both = status("provisioning", resource_ids=[RESOURCE_ID, SECOND_RESOURCE_ID])
    expect_bought_offer(queue, resource(), other, answer=both)
    queue.expect("GET", f"/resources/{SECOND_RESOURCE_ID}", other, query={"force_refresh": "true"})
    result = audit(True, resource(), other)
    assert (claim_state(registry_url), result["changed"]) == (("live", [RESOURCE_ID]), True)
    assert any(SECOND_RESOURCE_ID in each and f"bought with offer {OTHER_ID}" in each for each in result["warnings"])


def test_failed_purchase_ends_the_claim_and_its_bill(
    queue: RequestQueue, audit: Callable[..., Result], registry_url: str
) -> None:
    sent_claim(registry_url)
    expect_bought_offer(queue, answer=status("failed"))
    result = audit(True)
    assert (result["changed"], result["audit"]["buying"]) == (True, [])
    assert claim_state(registry_url) == ("ended", []) and database(registry_url).counted() == []
    (bill,) = database(registry_url).ledger("default").bills
    assert bill.end is not None and bill.why == "failed"


VOLUME = resource(SECOND_RESOURCE_ID, resource_type="block_disk", pricing_total_hourly=None, name="data")
SOLD = {"storage_details": [{"name": "data", "hourly_cost": 0.05, "persistent": True}]}


@pytest.mark.parametrize(
    ("note", "listed", "is_kept"),
    [
        ({}, [VOLUME], True),
        ({}, [VOLUME, resource(status="deleted")], True),
        # The purchase was refused, or a machine of another name shows that someone else has bought the offer.
        ({"provision_refused_status": 409}, [VOLUME], False),
        ({}, [VOLUME, resource(status="deleted", name="another")], False),
        ({}, [{**VOLUME, "offer_history": [{"offer_id": OTHER_ID, "role": "primary"}]}], False),
        ({}, [{**VOLUME, "status": "deleted"}], False),
    ],
)
def test_storage_of_a_failed_purchase_is_kept(
    queue: RequestQueue,
    audit: Callable[..., Result],
    registry_url: str,
    note: Result,
    listed: list[Result],
    is_kept: bool,
) -> None:
    sent_claim(registry_url, **note, provision_offer=SOLD)
    expect_bought_offer(queue, *listed, answer=status("failed"))
    queue.show(*listed)
    result = audit(True, VOLUME)
    assert [row["hosts"] for row in result["audit"]["storage"]] == ([["trainer"]] if is_kept else [])
    assert len(result["audit"]["orphans"]) == (not is_kept)
    (warning,) = [each for each in result["warnings"] if OFFER_ID in each]
    assert (f"{SECOND_RESOURCE_ID}, USD 0.05 per hour" in warning and "decommission_storage=end" in warning) == is_kept
    storage = [row.offer for row in database(registry_url).counted() if row.price_per_hour is not None]
    assert storage == ([SECOND_RESOURCE_ID] if is_kept else [])
    bills = [bill for bill in database(registry_url).ledger("default").bills if bill.runs]
    assert [(bill.host, bill.price_per_hour) for bill in bills] == ([("trainer", 0.05)] if is_kept else [])


def test_machine_of_a_failed_purchase_is_noted(
    queue: RequestQueue, audit: Callable[..., Result], registry_url: str
) -> None:
    sent_claim(registry_url)
    expect_bought_offer(queue.show(resource(status="failed")), resource(status="failed"), answer=status("failed"))
    audit(True, resource(status="failed"))
    assert claim_state(registry_url) == ("live", [RESOURCE_ID])


def test_expired_offer_frees_the_claim_after_half_an_hour(
    queue: RequestQueue, audit: Callable[..., Result], registry_url: str
) -> None:
    sent_claim(registry_url)
    for passed, expected in ((0, "buying"), (20, "buying"), (11, "void")):
        query = f"UPDATE compute_index_supply.purchase SET expired_seen = expired_seen - interval '{passed} minutes'"
        postgresql.execute(registry_url, query)
        queue.expect("GET", STATUS_PATH, status("available", "expired"))
        result = audit(True)
        assert (claim_state(registry_url), result["changed"]) == ((expected, []), expected == "void")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((status(), 200), id="unbought"),
        pytest.param(({}, 500), id="unreadable"),
        pytest.param(({}, 403), id="forbidden"),
        pytest.param((LOST, 200), id="lost"),
        pytest.param((NOT_FOUND, 404), id="404"),
    ],
)
def test_claim_stays_open_if_the_status_settles_nothing(
    queue: RequestQueue, audit: Callable[..., Result], registry_url: str, answer: Any
) -> None:
    row = sent_claim(registry_url)
    queue.expect("GET", STATUS_PATH, *answer)
    result = audit(True)
    assert (claim_state(registry_url), result["changed"]) == (("buying", []), False)
    (warning,) = [each for each in result["warnings"] if OFFER_ID in each]
    assert "MAY BE BOUGHT" in warning and "USD 2.00 per hour" in warning and "alice at bastion" in warning
    (after,) = database(registry_url).counted()
    assert (after.epoch, after.held) == (row.epoch + 1, False), "taken over, and no longer held"
    with pytest.raises(_postgresql.TakenOver):
        database(registry_url, "dead").void(row, "not made", {})


@pytest.mark.parametrize("word", ["provisioning", "failed"])
@pytest.mark.parametrize("code", [404, 410, 500])
def test_unreadable_machine_and_list_leave_the_claim_open(
    queue: RequestQueue, audit: Callable[..., Result], registry_url: str, word: str, code: int
) -> None:
    sent_claim(registry_url)
    query = "UPDATE compute_index_supply.purchase SET expired_seen = now() - interval '1 hour'"
    postgresql.execute(registry_url, query)
    queue.expect("GET", STATUS_PATH, status(word, resource_ids=[RESOURCE_ID]))
    queue.expect_resources(status=code).show(resource(), {}, code)
    assert audit(True)["changed"] is False and claim_state(registry_url) == ("buying", [])


@pytest.mark.parametrize("code", [200, 500], ids=["missing in the list", "unreadable list"])
def test_bought_machine_that_is_not_listed_is_read_by_its_id(
    queue: RequestQueue, audit: Callable[..., Result], registry_url: str, code: int
) -> None:
    sent_claim(registry_url)
    queue.expect("GET", STATUS_PATH, BOUGHT).expect_resources(status=code).show(resource())
    audit(True)
    assert claim_state(registry_url) == ("live", [RESOURCE_ID])


def test_claim_held_by_a_run_is_not_settled(
    queue: RequestQueue, audit: Callable[..., Result], registry_url: str
) -> None:
    sent_claim(registry_url, held=True)
    before = stored_rows(registry_url)
    result = audit(True)
    assert (stored_rows(registry_url), result["changed"]) == (before, False)
    assert len(result["audit"]["buying"]) == 1


def test_claim_taken_over_by_another_settler_is_not_settled(
    queue: RequestQueue, audit: Callable[..., Result], registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent_claim(registry_url)
    original = Database.take_over

    def take_over_late(self: Database, row: Row) -> Row:
        monkeypatch.setattr(Database, "take_over", original)
        database(registry_url, "faster").take_over(row)
        return original(self, row)

    monkeypatch.setattr(Database, "take_over", take_over_late)
    result = audit(True)
    assert (claim_state(registry_url), result["changed"]) == (("buying", []), False)
    assert queue.count("GET", STATUS_PATH) == 0


def test_earlier_refusal_does_not_free_a_purchase_that_was_sent_again(
    queue: RequestQueue, audit: Callable[..., Result], registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run wakes up right before its claim is taken over, sends the offer again, and dies before the answer."""
    dead = sent_claim(registry_url, provision_refused_status=410)
    original = Database.take_over

    def take_over_late(self: Database, row: Row) -> Row:
        monkeypatch.setattr(Database, "take_over", original)
        database(registry_url, "dead").claim_again(dead, 2.0, {"provision_resource_name": "trainer"}, Ceilings())
        postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET held_until = now()")
        return original(self, row)

    monkeypatch.setattr(Database, "take_over", take_over_late)
    assert (audit(True)["changed"], claim_state(registry_url)) == (False, ("buying", []))
    queue.expect("GET", STATUS_PATH, status("available", "expired"))
    assert (audit(True)["changed"], claim_state(registry_url)) == (False, ("buying", []))


@pytest.mark.parametrize(("step", "answer"), [("void", 410), ("note", None), ("take_over", None)])
def test_outcome_that_cannot_be_noted_leaves_the_claim_open(
    queue: RequestQueue,
    audit: Callable[..., Result],
    registry_url: str,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    answer: int | None,
) -> None:
    """The database fails between two steps: the claim still counts, and no report may call it settled."""
    sent_claim(registry_url, **({"provision_refused_status": answer} if answer else {}))

    def fail(*_args: Any, **_options: Any) -> Any:
        raise RegistryError("The registry cannot be reached.")

    monkeypatch.setattr(Database, step, fail)
    if step == "void":
        queue.list_no_resources_of(OFFER_ID).expect("GET", STATUS_PATH, status("available", "expired"))
    elif step == "note":
        expect_bought_offer(queue, resource())
    result = audit(True)
    assert (result["changed"], claim_state(registry_url)) == (False, ("buying", []))
    assert any(OFFER_ID in each and "The registry cannot be reached." in each for each in result["warnings"])


def test_claim_of_another_account_is_not_settled(
    queue: RequestQueue, audit: Callable[..., Result], registry_url: str
) -> None:
    sent_claim(registry_url)
    postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET account = 'https://elsewhere.invalid'")
    before = stored_rows(registry_url)
    assert audit(True)["changed"] is False and stored_rows(registry_url) == before


def test_noted_refusal_and_an_expired_offer_free_the_claim_at_once(
    queue: RequestQueue, audit: Callable[..., Result], registry_url: str
) -> None:
    """The run has died after it noted the refusal, before it read the status."""
    sent_claim(registry_url, provision_refused_status=410)
    queue.list_no_resources_of(OFFER_ID).expect("GET", STATUS_PATH, status("available", "expired"))
    assert audit(True)["changed"] is True and claim_state(registry_url) == ("void", [])


@pytest.mark.parametrize(("name", "code"), [("trainer", 404), ("trainer", 409), ("trainer", 410), ("", 409)])
@pytest.mark.parametrize(
    "answer",
    [(status("available", "expired"), 200), (BOUGHT, 200), (NOT_FOUND, 404)],
    ids=["lagging status", "sold", "404"],
)
def test_refusal_frees_nothing_while_a_machine_of_the_offer_exists(
    queue: RequestQueue,
    audit: Callable[..., Result],
    registry_url: str,
    name: str,
    code: int,
    answer: tuple[Result, int],
) -> None:
    """A gateway may have sent the request twice, and the machine may have no name, or another."""
    sent_claim(registry_url, provision_refused_status=code, provision_resource_name=name)
    expect_bought_offer(queue, resource(name="vm-1"), answer=answer[0], code=answer[1])
    result = audit(True)
    assert result["changed"] is False and claim_state(registry_url) == ("buying", [])
    assert "MAY BE BOUGHT" in " ".join(result["warnings"])


class StaticApi:
    """An API with the same answers at any time."""

    def __init__(self, answer: Result, *machines: Result) -> None:
        self._status, self._machines = read_status(answer, OFFER_ID), [read_resource(each) for each in machines]
        self.has_storage = any(each["kind"] == "storage" for each in self._machines)

    def offer_status(self, _offer_id: str, **_how: Any) -> Result:
        return self._status

    def resources(self, _offer_id: str, **_how: Any) -> list[Result]:
        return self._machines


class Killed(BaseException):
    """The process is killed."""


@pytest.mark.parametrize(
    ("api", "expected"),
    [
        (StaticApi(BOUGHT, resource()), ("live", [RESOURCE_ID])),
        (StaticApi(status("failed")), ("ended", [])),
        (StaticApi(status("failed"), VOLUME), ("ended", [])),
    ],
    ids=["bought", "failed", "failed with storage"],
)
def test_settling_can_be_killed_at_any_statement(
    registry_url: str, monkeypatch: pytest.MonkeyPatch, api: Any, expected: tuple[str, list[str]]
) -> None:
    """The next run comes to the same result, once the hold of the killed one is over."""
    params = {"registry_url": registry_url, "api_url": BASE}
    original = Database._execute
    for at in itertools.count(1):
        sent_claim(registry_url)
        query = "UPDATE compute_index_supply.purchase SET expired_seen = now() - interval '1 hour'"
        postgresql.execute(registry_url, query)
        passed = itertools.count(1)

        def execute(*args: Any, at: int = at, passed: Any = passed) -> Any:
            if next(passed) >= at:
                raise Killed
            return original(*args)

        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr(Database, "_execute", execute)
            settle(api, params, [SharedProject()])
        survived = next(passed) <= at
        postgresql.execute(registry_url, "UPDATE compute_index_supply.purchase SET held_until = now()")
        settle(api, params, [SharedProject()])
        state, machines = claim_state(registry_url)
        # A failed purchase may have been noted as made: it counts, and the next run of the host ends it.
        half_settled = {"live"} if expected[0] == "ended" and not survived else set()
        assert machines == expected[1] and state in {expected[0], *half_settled}, at
        # Its storage counts once the purchase has ended; until then the purchase itself counts.
        counted = {row.offer for row in database(registry_url).counted()} - {OFFER_ID}
        assert counted == ({SECOND_RESOURCE_ID} if api.has_storage and state == "ended" else set()), at
        postgresql.execute(registry_url, "TRUNCATE compute_index_supply.purchase CASCADE")
        if survived:
            assert at > 5
            return


@pytest.mark.parametrize("check_mode", [False, True])
def test_sweep_settles_only_claims_of_its_projects(
    queue: RequestQueue, perform: Callable[..., Result], registry_url: str, check_mode: bool
) -> None:
    sent_claim(registry_url)
    query = "UPDATE compute_index_supply.purchase SET expired_seen = now() - interval '31 minutes'"
    postgresql.execute(registry_url, query)
    for project in ("blue", "default"):
        freed = project == "default" and not check_mode
        if freed:
            queue.expect("GET", STATUS_PATH, status("available", "expired"))
        queue.expect("GET", "/resources", [])
        host = {**HOST, "project": project}
        result = perform(REAP, check_mode, step="reap", registry_url=registry_url, hosts=[host], here="/")
        assert (result["changed"], result["trouble"]) == (freed, "")
        assert claim_state(registry_url) == ("void" if freed else "buying", [])
        assert any("Nothing was bought." in each for each in result["warnings"]) is freed
