# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A purchase with a registry: what is noted when, what that forbids, and what the next run makes of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import AS_MODULE
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market
from ansible_collections.compute_index.supply.plugins.module_utils._operations import procure_offer as operation
from ansible_collections.compute_index.supply.plugins.module_utils._operations.procure_offer import PROCURE_OFFER
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sending import order_digests
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _files, _stores
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from ansible_collections.compute_index.supply.plugins.module_utils._registry._protocol import RegistryError

from clock import START, Clock
from request_queue import LOST, RequestQueue
from samples import (
    ACCOUNT,
    KEY,
    NOT_FOUND,
    OFFER_ID,
    OFFER_PATH,
    OTHER_ID,
    POST,
    RESOURCE_ID,
    SECOND_RESOURCE_ID,
    STATUS_PATH,
    TOKEN,
    offer,
    procurement,
    resource,
    status,
)

pytestmark = pytest.mark.usefixtures("clock")

Result = dict[str, Any]
ORDER = {"offer_id": OFFER_ID, "ssh_public_key": KEY, "resource_name": "trainer"}
SENT = {
    "provision_resource_name": "trainer",
    "provision_procured_offer_id": OFFER_ID,
    "provision_price_per_hour": 2.0,
    "provision_journaled_at": START,
    "provision_purchase": "sent",
    "provision_ordered": order_digests(ORDER, TOKEN, {}),
}
MADE = {**SENT, "provision_purchase": "made", "provision_resource_ids": [RESOURCE_ID]}
BOUGHT = status("provisioning", resource_ids=[RESOURCE_ID])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "host_vars" / "trainer" / "compute_index_supply.yml"


@pytest.fixture(autouse=True)
def shown(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API shows the machine by its id: what only a status names is read before it is held.

    And it lists none that denies a refusal.
    """
    monkeypatch.setattr("random.uniform", lambda _least, most: most)
    if "queue" in request.fixturenames:
        request.getfixturevalue("queue").show(resource(RESOURCE_ID)).list_nothing_of(OFFER_ID)


@pytest.fixture
def buy(perform: Callable[..., Result], path: Path) -> Callable[..., Result]:
    def run(check_mode: bool = False, **params: Any) -> Result:
        common = {"offer_id": OFFER_ID, "ssh_public_key": KEY, "resource_name": "trainer", "registry_file": str(path)}
        return perform(PROCURE_OFFER, check_mode, **{**common, "settle_timeout": 6, **params})

    return run


def kept(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.exists() else None


def write(path: Path, entry: dict[str, Any]) -> None:
    HostFile(str(path)).note(entry)


def free(queue: RequestQueue, **fields: Any) -> RequestQueue:
    return queue.expect("GET", STATUS_PATH, status()).expect("GET", OFFER_PATH, offer(**fields))


def bought(queue: RequestQueue, *machines: Any, state: Any = None, times: int = 1) -> RequestQueue:
    """Expect a look at an offer that is bought, and at its machines."""
    for _time in range(times):
        queue.expect("GET", STATUS_PATH, state or BOUGHT)
        queue.expect("GET", "/resources", list(machines), query={"offer_id": OFFER_ID})
    return queue


def outcome(result: Result) -> tuple[Any, ...]:
    return result["outcome"], result.get("error_class"), result["resource_ids"]


# Journal, purchase, ids


def test_the_journal_is_on_disk_before_the_purchase_and_the_ids_after_it(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    real = Market.procure
    monkeypatch.setattr(Market, "procure", lambda *args, **how: seen.append(kept(path)) or real(*args, **how))
    free(queue).expect(*POST, procurement())
    result = buy()
    assert outcome(result) == ("created", None, [RESOURCE_ID])
    assert result["registry"] == str(path)
    assert seen == [SENT] and kept(path) == MADE


def test_the_journal_has_the_planned_price_if_it_is_the_higher_one(queue: RequestQueue, buy: Any, path: Path) -> None:
    free(queue).expect(*POST, procurement())
    buy(price_per_hour=2.5)
    assert kept(path) == {**MADE, "provision_price_per_hour": 2.5}


def test_what_is_kept_with_the_purchase(queue: RequestQueue, buy: Any, path: Path) -> None:
    free(queue).expect(*POST, procurement())
    buy(note={"provision_ends_at": "2026-02-01T00:00:00Z", "provision_groups": ["gpu"]}, project="blue")
    facts = {"provision_ends_at": "2026-02-01T00:00:00Z", "provision_groups": ["gpu"], "provision_project": "blue"}
    assert kept(path) == {**MADE, **facts}


RISEN, DISK = (
    resource(OTHER_ID, pricing_total_hourly=4.0),
    resource("d", resource_type="disk", pricing_total_hourly=None),
)


@pytest.mark.parametrize(
    ("listed", "live", "counted"),
    [
        ([], 3.06, "trainer-2 USD 3.06 (live since 2026-01-31 12:00 UTC)"),
        ([RISEN], 4.06, "trainer-2 USD 4.06 (live since 2026-01-31 12:00 UTC)"),
        ([RISEN, DISK], 4.06, "trainer-2 USD 4.06 (live since 2026-01-31 12:00 UTC)"),
    ],
    ids=["nothing is listed", "storage is not listed", "storage has no price of its own"],
)
def test_an_account_is_counted_with_what_the_registry_notes_of_others(
    queue: RequestQueue, buy: Any, path: Path, listed: list[Any], live: float, counted: str
) -> None:
    """As a plan counts it: else each purchase beside storage without a price would be planned, and then refused."""
    purchase = {**MADE, "provision_procured_offer_id": OTHER_ID, "provision_resource_ids": [OTHER_ID]}
    storage = {"provision_storage": [{"resource_id": "d", "offer_id": OTHER_ID, "price_per_hour": 0.06}]}
    write(path.parents[1] / "trainer-2" / path.name, {**purchase, **storage, "provision_price_per_hour": 3.06})
    free(queue).expect("GET", "/resources", listed)
    result = buy(max_account_price_per_hour=live + 1.99)
    assert outcome(result) == ("not_sent", "price", []) and counted in result["msg"], result["msg"]
    free(queue).expect("GET", "/resources", listed).expect(*POST, procurement())
    assert outcome(buy(max_account_price_per_hour=live + 2.0)) == ("created", None, [RESOURCE_ID])


def test_without_a_registry_nothing_is_kept(queue: RequestQueue, buy: Any, path: Path) -> None:
    free(queue).expect(*POST, procurement())
    assert buy(registry_file=None, note={"a": 1})["registry"] is None
    assert not path.parents[1].exists()


def test_ids_that_come_late_are_noted_too(queue: RequestQueue, buy: Any, path: Path) -> None:
    free(queue).expect(*POST, procurement("provisioning_in_progress")).expect("GET", STATUS_PATH, BOUGHT)
    assert outcome(buy()) == ("created", None, [RESOURCE_ID])
    assert kept(path) == MADE


def test_a_relative_path_is_made_absolute(
    queue: RequestQueue, buy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    free(queue).expect(*POST, procurement())
    assert buy(registry_file="h/x.yml")["registry"] == str(tmp_path / "h" / "x.yml")
    assert (tmp_path / "h" / "x.yml").exists()


def test_running_again_changes_nothing(queue: RequestQueue, buy: Any, path: Path, clock: Clock) -> None:
    write(path, {**MADE, "provision_ends_at": "x", "ansible_host": "203.0.113.7"})
    before = path.stat()
    queue.expect("GET", STATUS_PATH, BOUGHT).expect("GET", OFFER_PATH, offer(total_price_per_hour=9.0))
    clock.now = 9000
    assert outcome(buy(note={"provision_ends_at": "y"})) == ("existing", None, [RESOURCE_ID])
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


# An order that differs from the first one

TEXTS = ["#cloud-config\npackages: [git]\n", "#cloud-config\npackages: [vim]\n"]
FIRST = order_digests({**ORDER, "cloud_init": TEXTS[0]}, TOKEN, {})


def otherwise(result: Result) -> int:
    return sum("was or will be bought as first ordered." in warning for warning in result["warnings"])


@pytest.mark.parametrize("entry", [SENT, MADE], ids=["sent", "made"])
def test_a_purchase_that_was_ordered_otherwise_is_told(
    queue: RequestQueue, buy: Any, path: Path, entry: dict[str, Any]
) -> None:
    write(path, {**entry, "provision_ordered": FIRST})
    queue.expect("GET", STATUS_PATH, BOUGHT)
    if entry is SENT:
        queue.expect("GET", "/resources", [resource()], query={"offer_id": OFFER_ID})
    queue.expect("GET", OFFER_PATH, offer())
    result = buy(cloud_init=TEXTS[1])
    assert (result["outcome"], otherwise(result)) == ("existing", 1)
    assert kept(path)["provision_ordered"] == FIRST


def test_what_is_sent_again_may_still_arrive_as_first_ordered(queue: RequestQueue, buy: Any, path: Path) -> None:
    write(path, {**SENT, "provision_ordered": FIRST})
    queue.expect("GET", STATUS_PATH, status(), times=3)
    queue.expect("GET", OFFER_PATH, offer()).expect(*POST, {}, 409).expect("GET", STATUS_PATH, status(), times=3)
    result = buy(cloud_init=TEXTS[1])
    assert (result["outcome"], otherwise(result)) == ("unknown", 1)
    assert kept(path)["provision_ordered"] == FIRST


def test_a_refused_order_may_be_followed_by_another(queue: RequestQueue, buy: Any, path: Path) -> None:
    write(path, {**SENT, "provision_purchase": "refused"})
    free(queue).expect(*POST, procurement())
    result = buy(cloud_init=TEXTS[0])
    assert (result["outcome"], result["warnings"]) == ("created", [])
    assert kept(path)["provision_ordered"] == FIRST


# Check mode


@pytest.mark.parametrize("entry", [None, SENT], ids=["no journal", "sent before"])
def test_check_mode_plans_and_writes_nothing(queue: RequestQueue, buy: Any, path: Path, entry: Any) -> None:
    if entry:
        write(path, entry)
    free(queue)
    result = buy(True)
    assert (result["outcome"], result["changed"]) == ("planned", True)
    assert kept(path) == entry and path.parents[1].exists() is bool(entry)


@pytest.mark.parametrize("state", [BOUGHT, status("available", "expired")], ids=["bought", "expired"])
def test_check_mode_notes_no_facts_either(queue: RequestQueue, buy: Any, path: Path, state: Any) -> None:
    write(path, SENT)
    queue.expect("GET", STATUS_PATH, state)
    if state is BOUGHT:
        queue.expect("GET", "/resources", [resource()], query={"offer_id": OFFER_ID}).expect("GET", OFFER_PATH, offer())
    assert buy(True)["outcome"] == ("existing" if state is BOUGHT else "unknown")
    assert kept(path) == SENT


# Another purchase of the host


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize("entry", [SENT, MADE], ids=["sent", "made"])
def test_another_offer_that_was_planned_is_not_bought_while_one_is_open(
    queue: RequestQueue, buy: Any, path: Path, entry: Any, check_mode: bool
) -> None:
    write(path, {**entry, "provision_procured_offer_id": OTHER_ID})
    result = buy(check_mode, host="gpu-1", account=ACCOUNT)
    assert outcome(result) == ("claimed", "conflict", []) and result["changed"] is False
    assert OTHER_ID in result["msg"] and START in result["msg"] and str(path) in result["msg"]
    assert "Nothing was sent. If another run for gpu-1 is at work" in result["msg"]
    assert queue.calls == []


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize("entry", [SENT, MADE], ids=["sent", "made"])
def test_what_the_host_has_takes_precedence_over_another_offer(
    queue: RequestQueue, buy: Any, path: Path, entry: Any, check_mode: bool
) -> None:
    """The same task again, with the newer search that it begins with."""
    write(path, entry)
    if entry is SENT:
        bought(queue, resource())
    else:
        queue.expect("GET", STATUS_PATH, BOUGHT)
    queue.expect("GET", OFFER_PATH, offer())
    result = buy(check_mode, offer_id=OTHER_ID, price_per_hour=9.0)
    assert (outcome(result), result["changed"]) == (("existing", None, [RESOURCE_ID]), False)
    assert (result["offer_id"], result["price_per_hour"]) == (OFFER_ID, 2.0), "the planned price is of another offer"
    (warning,) = result["warnings"]
    assert f"{OFFER_ID}, so offer {OTHER_ID}, which the task names, is not bought." in warning
    assert kept(path) == (SENT if check_mode and entry is SENT else MADE)


@pytest.mark.parametrize(
    ("noted", "shown", "price"), [(2.0, None, 2.0), (2.0, 1.5, 2.0), (2.0, 3.0, 3.0), (None, 3.0, 3.0)]
)
def test_what_the_host_has_keeps_the_highest_price_that_is_known(
    queue: RequestQueue, buy: Any, path: Path, noted: float | None, shown: float | None, price: float
) -> None:
    """The page of an offer that is sold may name no price, or a later one."""
    write(path, {**MADE, "provision_price_per_hour": noted})
    queue.expect("GET", STATUS_PATH, BOUGHT)
    queue.expect("GET", OFFER_PATH, offer(total_price_per_hour=shown, gpu_price_per_hour=shown))
    queue.expect("GET", f"/resources/{RESOURCE_ID}", resource(), query={"force_refresh": "true"})
    result = buy()
    assert (result["outcome"], result["price_per_hour"]) == ("existing", price)


@pytest.mark.parametrize("offer_id", [OFFER_ID, OTHER_ID], ids=["its offer", "another offer"])
@pytest.mark.parametrize("entry", [SENT, MADE], ids=["sent", "made"])
def test_what_another_project_has_is_not_taken_for_the_hosts(
    queue: RequestQueue, buy: Any, path: Path, entry: Any, offer_id: str
) -> None:
    """Two projects with one folder: a host of this name has a machine, and this one's task must not get that."""
    write(path, {**entry, "provision_project": "team-a"})
    result = buy(offer_id=offer_id, project="team-b", host="trainer")
    assert outcome(result) == ("not_sent", "conflict", []) and result["changed"] is False
    assert f"{path} was written for trainer of the project team-a" in result["msg"]
    assert queue.calls == [] and kept(path) == {**entry, "provision_project": "team-a"}


@pytest.mark.parametrize(
    ("price", "limit", "sent"), [(2.0, None, True), (2.5, None, False), (2.5, 3.0, True), (2.0, 1.5, False)]
)
def test_what_was_never_answered_is_sent_again_as_it_was_agreed_on(
    queue: RequestQueue, buy: Any, path: Path, price: float, limit: float | None, sent: bool
) -> None:
    write(path, SENT)
    for _look in range(3):  # as long as a lost answer is asked for
        queue.expect("GET", STATUS_PATH, status())
    queue.expect("GET", OFFER_PATH, offer(total_price_per_hour=price))
    if sent:
        queue.expect(*POST, procurement())
    else:
        queue.expect("GET", STATUS_PATH, status())
    result = buy(offer_id=OTHER_ID, max_price_per_hour=limit)
    assert (result["outcome"], result["offer_id"]) == ("created" if sent else "unknown", OFFER_ID), result["msg"]
    assert queue.count(*POST) == int(sent) and kept(path)["provision_purchase"] == ("made" if sent else "sent")


def test_another_offer_may_be_bought_after_a_refusal(queue: RequestQueue, buy: Any, path: Path) -> None:
    write(path, {**SENT, "provision_procured_offer_id": OTHER_ID, "provision_purchase": "refused", "provision_x": 1})
    free(queue).expect(*POST, procurement())
    assert buy()["outcome"] == "created"
    assert kept(path) == MADE


def meanwhile(monkeypatch: pytest.MonkeyPatch, what: Callable[[], object], method: str = "procure") -> None:
    """Something happens once, right before a request."""
    real = getattr(Market, method)
    left = [what]

    def run(*args: Any, **how: Any) -> Any:
        if left:
            left.pop()()
        return real(*args, **how)

    monkeypatch.setattr(Market, method, run)


def test_a_run_that_was_faster_with_another_offer_is_not_overtaken(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile(monkeypatch, lambda: write(path, {**SENT, "provision_procured_offer_id": OTHER_ID}), "offer")
    free(queue)
    assert outcome(buy()) == ("claimed", "conflict", [])
    assert kept(path)["provision_procured_offer_id"] == OTHER_ID


def test_a_run_that_was_faster_with_the_same_offer_is_named(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile(monkeypatch, lambda: write(path, SENT), "offer")
    free(queue)
    assert outcome(buy()) == ("claimed", "conflict", [])
    assert kept(path) == SENT


@pytest.mark.parametrize("held", [False, True])
def test_a_run_that_begins_between_the_journal_and_the_look_is_no_stranger(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    other = HostFile(str(path), "alice at bastion")
    meanwhile(monkeypatch, lambda: other.claim(SENT) if held else write(path, SENT), "offer_status")
    bought(queue, resource(), times=3 if held else 4)
    if held:
        assert outcome(buy()) == ("claimed", "conflict", [])
    else:
        queue.expect("GET", OFFER_PATH, offer())
        assert outcome(buy()) == ("existing", None, [RESOURCE_ID])
    other.close()


def test_a_refusal_of_a_second_run_does_not_disturb_the_first(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run has sent the same offer once more; its purchase is not answered yet, or just was."""
    later = {**SENT, "provision_journaled_at": "2026-01-31T12:05:00Z"}
    meanwhile(monkeypatch, lambda: write(path, later))
    free(queue).expect(*POST, {}, 409).expect("GET", STATUS_PATH, status(), times=3)
    assert buy()["outcome"] == "unknown" and kept(path) == later
    path.unlink()
    meanwhile(monkeypatch, lambda: write(path, MADE))
    free(queue).expect(*POST, {}, 409).expect("GET", STATUS_PATH, BOUGHT).expect("GET", OFFER_PATH, offer())
    assert outcome(buy()) == ("existing", None, [RESOURCE_ID]) and kept(path) == MADE


def kept_as(path: Path, left: str, later: dict[str, Any]) -> bool:
    """Whether the file is as the other run has left it."""
    if left == "unreadable":
        return path.read_text() == "- no mapping"
    entries = {"nothing": None, "freed": {**SENT, "provision_purchase": "refused"}, "another": later}
    return bool(kept(path) == entries[left])


ANSWERS = pytest.mark.parametrize(
    ("reply", "code"),
    [
        *((NOT_FOUND, code) for code in (400, 403, 404, 409, 410, 422, 429, 503)),
        (LOST, 200),
        (procurement("available"), 200),
    ],
    ids=str,
)


@ANSWERS
@pytest.mark.parametrize("left", ["nothing", "freed", "another", "unreadable"])
@pytest.mark.parametrize("gone", [False, True])
def test_a_run_that_was_suspended_while_its_journal_came_into_other_hands_stops(
    queue: RequestQueue,
    buy: Any,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reply: Any,
    code: int,
    left: str,
    gone: bool,
) -> None:
    """Where the file system has no locks: another run has bought, ended, freed or begun anew; or nobody can tell."""
    later = {**SENT, "provision_journaled_at": "2026-01-31T12:05:00Z"}

    def other() -> None:
        if left == "nothing":
            path.unlink()
        elif left == "unreadable":
            path.write_text("- no mapping")
        else:
            path.write_text(yaml.safe_dump({**SENT, "provision_purchase": "refused"} if left == "freed" else later))

    meanwhile(monkeypatch, other)
    free(queue).expect(*POST, reply, code, headers={"Retry-After": "2"} if code in (429, 503) else None)
    if gone:
        bought(queue, resource(name="trainer", status="deleted"))
        queue.expect("GET", f"/resources/{RESOURCE_ID}", resource(status="deleted"), query={"force_refresh": "true"})
    else:
        queue.expect("GET", STATUS_PATH, NOT_FOUND, 404, times=3 if reply is LOST or code in (409, 429, 503) else 1)
    result = buy(api_retries=3)
    assert queue.count(*POST) == 1
    if gone and (reply is LOST or code in (200, 503)):
        assert result["outcome"] == "created", "it has the name, and nothing else of this run was answered by a refusal"
        return
    assert outcome(result) == ("unknown", "unknown_outcome", []) and result["claimed_by"] is None
    msg = result["msg"]
    assert "Another run may hold it now" in msg and "adopt" not in msg and "MAY BE" not in msg
    assert kept_as(path, left, later)


# Refused


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 410, 422, 429])
def test_a_refusal_frees_the_host_once_nothing_came_of_it(queue: RequestQueue, buy: Any, path: Path, code: int) -> None:
    during: list[Any] = []
    free(queue).expect(*POST, NOT_FOUND, code).expect(
        "GET", STATUS_PATH, status(), times=3 if code in (409, 429) else 1
    )
    with pytest.MonkeyPatch.context() as patch:
        look = operation._Purchase._look
        patch.setattr(operation._Purchase, "_look", lambda self: during.append(kept(path)) or look(self))
        assert buy()["outcome"] == "rejected"
    assert during[1] == {**SENT, "provision_refused_status": code}, "noted at once, and open until it is settled"
    assert kept(path) == {**SENT, "provision_purchase": "refused", "provision_refused_status": code}


@pytest.mark.parametrize("code", [404, 409, 410])
def test_a_refused_purchase_that_was_made_is_nobodys_until_a_person_says_so(
    queue: RequestQueue, buy: Any, path: Path, code: int
) -> None:
    bought(free(queue).expect(*POST, NOT_FOUND, code), resource(), times=3)
    result = buy()
    assert outcome(result) == ("unknown", "unknown_outcome", [RESOURCE_ID])
    assert result["machines"][0]["name"] == "trainer" and result["status_code"] == code
    for word in (
        RESOURCE_ID,
        "USD 2.00 per hour",
        "provision_adopt: true",
        "MAY BE BOUGHT",
        "Nothing proves whose it is",
    ):
        assert word in result["msg"]
    assert kept(path) == {**SENT, "provision_refused_status": code}
    # It was answered, so the next run has no better proof; and it does not buy another offer.
    bought(queue, resource())  # the time to look again has passed
    assert outcome(buy()) == ("unknown", "unknown_outcome", [RESOURCE_ID])
    assert buy(offer_id=OTHER_ID, account=ACCOUNT)["outcome"] == "claimed"
    assert queue.count(*POST) == 1


def test_a_refused_purchase_whose_machine_has_our_name_was_billed_until_it_ended(
    queue: RequestQueue, buy: Any, path: Path
) -> None:
    """A gateway said no, the run was killed, and somebody has ended the machine since."""
    write(path, {**SENT, "provision_refused_status": 410})
    bought(queue.show(resource(status="deleted")), resource(status="deleted"))
    assert outcome(buy()) == ("rejected", "conflict", [])
    assert kept(path)["provision_purchase"] == "refused"
    (bill,) = _stores.ledger(str(path.parent.parent)).bills
    assert not bill.runs and (bill.offer_id, bill.price_per_hour) == (OFFER_ID, 2.0)


def test_a_refused_purchase_whose_machines_cannot_be_listed_is_not_replaced(
    queue: RequestQueue, buy: Any, path: Path
) -> None:
    free(queue).expect(*POST, {}, 409)
    for _time in range(3):
        queue.expect("GET", STATUS_PATH, status("provisioning"))
        queue.expect("GET", "/resources", {}, 500, query={"offer_id": OFFER_ID})
    assert buy()["outcome"] == "unknown"
    assert buy(offer_id=OTHER_ID, account=ACCOUNT)["outcome"] == "claimed"
    bought(queue, resource(name="colleague"))
    result = buy()
    assert outcome(result) == ("unknown", "unknown_outcome", [RESOURCE_ID])
    assert "remove the registry entry" in result["msg"] and kept(path)["provision_purchase"] == "sent"
    held_by_another(path)
    bought(queue, resource(name="colleague"))
    assert outcome(buy()) == ("rejected", "conflict", [])
    assert kept(path)["provision_purchase"] == "refused"


def test_a_folder_that_another_run_holds_without_a_word_is_not_waited_for(
    queue: RequestQueue, buy: Any, path: Path
) -> None:
    """A run that is stopped before its entry is written; or a lock that a file system has kept."""
    other = _files.Hold(str(path.parent), "bob at bastion")
    assert other.take() == ""
    free(queue)
    result = buy()
    assert (result["outcome"], result["claimed_by"]) == ("claimed", "bob at bastion")
    other.release()
    free(queue).expect(*POST, procurement())
    assert buy()["outcome"] == "created"


def held_by_another(path: Path) -> None:
    """Let another host of the registry have the machine."""
    write(path.parents[1] / "colleague" / path.name, MADE)


def test_without_a_purchase_of_ours_a_name_proves_nothing(queue: RequestQueue, buy: Any, path: Path) -> None:
    bought(queue, resource(), times=3)
    assert outcome(buy()) == ("unknown", "unknown_outcome", [RESOURCE_ID])
    bought(queue, resource(name="colleague"))
    assert outcome(buy()) == ("not_sent", "conflict", [])
    assert not path.exists()


def test_a_429_is_noted_and_the_next_purchase_journaled_anew(queue: RequestQueue, buy: Any, path: Path) -> None:
    free(queue).expect(*POST, {}, 429, headers={"Retry-After": "9"})
    free(queue).expect(*POST, procurement())
    assert buy(api_retries=1)["outcome"] == "created"
    assert kept(path) == {**MADE, "provision_journaled_at": "2026-01-31T12:00:09Z"}


@pytest.mark.parametrize("page", [True, False])
def test_an_offer_that_is_gone_after_a_429_may_have_been_bought_by_it(
    queue: RequestQueue, buy: Any, path: Path, page: bool
) -> None:
    """The offer's own page is gone, while its status still calls it free; or its status is gone. It lands later."""
    free(queue).expect(*POST, {}, 429)
    if page:
        queue.expect("GET", STATUS_PATH, status()).expect("GET", OFFER_PATH, NOT_FOUND, 404)
        queue.expect("GET", STATUS_PATH, status(), times=3)
    else:
        queue.expect("GET", STATUS_PATH, NOT_FOUND, 404, times=3)
    result = buy(api_retries=1)
    assert outcome(result) == ("unknown", "unknown_outcome", []) and "Do not buy another offer" in result["msg"]
    assert kept(path).items() >= {**SENT, "provision_refused_status": 429}.items()
    assert buy(offer_id=OTHER_ID, account=ACCOUNT)["outcome"] == "claimed"
    bought(queue, resource())
    assert outcome(buy()) == ("unknown", "unknown_outcome", [RESOURCE_ID])


def test_an_offer_that_is_long_gone_after_a_429_was_not_bought(queue: RequestQueue, buy: Any, path: Path) -> None:
    long_ago = "2026-01-31T11:00:00Z"
    moments = {"provision_journaled_at": long_ago, "provision_expired_seen_at": long_ago}
    write(path, {**SENT, **moments, "provision_refused_status": 429})
    queue.expect("GET", STATUS_PATH, status("available", "expired"))
    result = buy()
    assert outcome(result) == ("rejected", "expired", []) and "so its purchase did not happen" in result["msg"]
    assert kept(path)["provision_purchase"] == "refused"


def test_a_purchase_that_was_put_off_before_its_run_died_may_be_ours(queue: RequestQueue, buy: Any, path: Path) -> None:
    """Names are not kept. The next run buys nothing else, and sends the same offer only while it is free."""
    write(path, {**SENT, "provision_refused_status": 429})
    bought(queue, resource(name=None), times=3)
    assert outcome(buy()) == ("unknown", "unknown_outcome", [RESOURCE_ID])
    bought(queue, resource(name="vm-1"))
    assert outcome(buy()) == ("unknown", "unknown_outcome", [RESOURCE_ID])
    assert buy(offer_id=OTHER_ID, account=ACCOUNT)["outcome"] == "claimed"
    assert kept(path) == {**SENT, "provision_refused_status": 429}
    gone = resource(name="vm-1", status="deleted")
    bought(queue, gone).expect("GET", f"/resources/{RESOURCE_ID}", gone, query={"force_refresh": "true"})
    assert outcome(buy()) == ("rejected", "conflict", []) and kept(path)["provision_purchase"] == "refused"


# Not answered


def test_a_purchase_that_is_not_answered_is_settled_by_name(queue: RequestQueue, buy: Any, path: Path) -> None:
    bought(free(queue).expect(*POST, LOST), resource())
    assert outcome(buy()) == ("created", None, [RESOURCE_ID])
    assert kept(path) == MADE


def test_a_lost_purchase_is_sent_once_more_and_stays_open(
    queue: RequestQueue, buy: Any, path: Path, clock: Clock
) -> None:
    free(queue).expect(*POST, LOST).expect("GET", STATUS_PATH, status(), times=3)
    queue.expect("GET", OFFER_PATH, offer()).expect(*POST, {}, 409).expect("GET", STATUS_PATH, status(), times=3)
    assert outcome(buy(api_retries=1)) == ("unknown", "unknown_outcome", [])
    assert kept(path) == {**SENT, "provision_journaled_at": "2026-01-31T12:00:06Z"}, "a refusal does not speak for both"
    # The next run looks at once, since the time to settle has passed, and sends the same offer again.
    clock.now, clock.naps = 60, []
    free(queue).expect(*POST, procurement())
    assert buy()["outcome"] == "created"
    assert (clock.naps, kept(path)["provision_resource_ids"]) == ([], [RESOURCE_ID])


def test_a_journal_of_an_earlier_run_is_given_its_time(queue: RequestQueue, buy: Any, path: Path, clock: Clock) -> None:
    write(path, SENT)
    clock.now = 2
    queue.expect("GET", STATUS_PATH, status(), times=2)
    free(queue).expect(*POST, procurement())
    assert buy()["outcome"] == "created"
    assert clock.naps == [3, 1], "until 6 seconds after the journal"


@pytest.mark.parametrize("field", [{"provision_journaled_at": "yesterday"}, {"provision_journaled_at": None}, {}])
def test_a_journal_by_hand_is_settled_too(queue: RequestQueue, buy: Any, path: Path, clock: Clock, field: Any) -> None:
    write(path, {"provision_procured_offer_id": OFFER_ID.upper(), **field})
    bought(queue, resource()).expect("GET", OFFER_PATH, offer())
    assert outcome(buy()) == ("existing", None, [RESOURCE_ID])
    assert kept(path)["provision_resource_ids"] == [RESOURCE_ID]


def test_another_name_after_a_lost_answer_is_not_told_apart(queue: RequestQueue, buy: Any, path: Path) -> None:
    bought(free(queue).expect(*POST, LOST), resource(name="vm-17"), times=3)
    result = buy()
    assert outcome(result) == ("unknown", "unknown_outcome", [RESOURCE_ID])
    assert "called vm-17" in result["msg"] and "Nothing proves whose it is" in result["msg"]
    assert kept(path) == SENT


def test_a_dearer_offer_is_not_sent_again(queue: RequestQueue, buy: Any, path: Path, clock: Clock) -> None:
    write(path, SENT)
    clock.now = 100
    free(queue, total_price_per_hour=5.0).expect("GET", STATUS_PATH, status())
    result = buy(max_price_per_hour=3)
    assert outcome(result) == ("unknown", "unknown_outcome", [])
    assert "It was not sent again: Offer" in result["msg"] and "USD 5.00 per hour, which is above" in result["msg"]
    assert result["changed"] is False and kept(path) == SENT


def test_what_is_sent_again_may_have_been_bought_at_the_first_price(queue: RequestQueue, buy: Any, path: Path) -> None:
    write(path, {**SENT, "provision_price_per_hour": 4.0, "provision_journaled_at": "2026-01-31T11:00:00Z"})
    free(queue).expect(*POST, LOST)
    queue.expect("GET", STATUS_PATH, status(), times=3)
    queue.expect("GET", OFFER_PATH, offer(total_price_per_hour=1.0)).expect(*POST, procurement())
    assert outcome(buy(api_retries=1)) == ("created", None, [RESOURCE_ID])
    assert kept(path)["provision_price_per_hour"] == 4.0


def test_an_api_that_cannot_be_asked_leaves_the_journal_open(
    queue: RequestQueue, buy: Any, path: Path, clock: Clock
) -> None:
    write(path, SENT)
    clock.now = 100
    queue.expect("GET", STATUS_PATH, {}, 401)
    result = buy()
    assert (outcome(result), result["status_code"]) == (("unknown", "unknown_outcome", []), 401)
    assert "MAY BE BOUGHT" in result["msg"] and kept(path) == SENT


# Expired


@pytest.mark.parametrize(
    ("state", "code", "error_class"),
    [(status("available", "expired"), 200, "expired"), (NOT_FOUND, 404, "not_found"), ({}, 410, "expired")],
    ids=["expired", "404", "410"],
)
def test_an_expired_offer_frees_the_host_only_after_half_an_hour(
    queue: RequestQueue, buy: Any, path: Path, clock: Clock, state: Any, code: int, error_class: str
) -> None:
    write(path, SENT)
    clock.now = 3600
    for passed in (0, 1799):
        clock.now = 3600 + passed
        queue.expect("GET", STATUS_PATH, state, code)
        result = buy()
        assert outcome(result) == ("unknown", "unknown_outcome", [])
        assert "Run the same again after 2026-01-31T13:30:00Z" in result["msg"]
        assert kept(path) == {**SENT, "provision_expired_seen_at": "2026-01-31T13:00:00Z"}
    clock.now = 3600 + 1800
    queue.expect("GET", STATUS_PATH, state, code)
    result = buy()
    assert outcome(result) == ("rejected", error_class, [])
    assert "gone since 2026-01-31T13:00:00Z" in result["msg"] and "Nothing was bought" in result["msg"]
    assert kept(path) == {**SENT, "provision_purchase": "refused"}


def test_an_expired_offer_of_an_answered_purchase_frees_at_once(queue: RequestQueue, buy: Any, path: Path) -> None:
    write(path, {**SENT, "provision_refused_status": 409})
    queue.expect("GET", STATUS_PATH, status("available", "expired"), times=3)
    assert outcome(buy()) == ("rejected", "conflict", [])
    assert kept(path) == {**SENT, "provision_purchase": "refused", "provision_refused_status": 409}


def test_no_offer_is_gone_before_its_purchase_was_journaled(
    queue: RequestQueue, buy: Any, path: Path, clock: Clock
) -> None:
    """A controller whose clock was two hours behind noted it: the purchase may still be under way."""
    write(path, {**SENT, "provision_expired_seen_at": "2026-01-31T10:00:00Z"})
    for passed, state in ((60, "sent"), (1799, "sent"), (1800, "refused")):
        clock.now = passed
        queue.expect("GET", STATUS_PATH, status("available", "expired"))
        buy()
        assert kept(path)["provision_purchase"] == state


def test_an_offer_that_is_seen_again_was_not_expired(queue: RequestQueue, buy: Any, path: Path, clock: Clock) -> None:
    write(path, {**SENT, "provision_expired_seen_at": START})
    clock.now = 7200
    bought(queue, resource()).expect("GET", OFFER_PATH, offer())
    assert buy()["outcome"] == "existing"
    assert kept(path) == MADE


# Made, and the API says something else


@pytest.mark.parametrize(
    ("state", "code"),
    [(status(), 200), (status("available", "expired"), 200), (NOT_FOUND, 404), ({}, 401), ({}, 500)],
    ids=["unbought", "expired", "404", "401", "500"],
)
@pytest.mark.parametrize("ids", [[RESOURCE_ID], None], ids=["ids", "no ids"])
def test_what_is_noted_as_made_is_never_bought_again(
    queue: RequestQueue, buy: Any, path: Path, state: Any, code: int, ids: Any
) -> None:
    write(path, {**MADE, "provision_resource_ids": ids})
    before = kept(path)
    queue.expect("GET", STATUS_PATH, state, code, times=3)
    result = buy()
    assert outcome(result) == ("unknown", "unknown_outcome", ids or [])
    assert (
        "MAY BE BOUGHT" in result["msg"] and OFFER_ID in result["msg"] and (RESOURCE_ID in result["msg"]) is bool(ids)
    )
    assert kept(path) == before


# Failed


def test_a_failed_purchase_that_left_something_keeps_it_in_the_registry(
    queue: RequestQueue, buy: Any, path: Path
) -> None:
    free(queue).expect(*POST, procurement("failed", error="no power", resource_ids=[RESOURCE_ID]))
    queue.expect("GET", STATUS_PATH, status("failed"))
    assert outcome(buy()) == ("rejected", "conflict", [RESOURCE_ID])
    assert kept(path) == MADE
    assert buy(offer_id=OTHER_ID, account=ACCOUNT)["outcome"] == "claimed"


def test_a_failed_purchase_that_left_nothing_frees_the_host(queue: RequestQueue, buy: Any, path: Path) -> None:
    bought(free(queue).expect(*POST, LOST), resource(status="deleted"), state=status("failed"))
    assert outcome(buy()) == ("rejected", "conflict", [])
    assert kept(path) == {**SENT, "provision_purchase": "refused"}


VOLUME = resource(SECOND_RESOURCE_ID, name="data", resource_type="block_disk", pricing_total_hourly=0.05)


@pytest.mark.parametrize("answer", [LOST, procurement("failed", error="no power")], ids=["lost", "failed"])
def test_storage_that_a_failed_purchase_has_left_is_kept(
    queue: RequestQueue, buy: Any, path: Path, answer: Any
) -> None:
    bought(free(queue).expect(*POST, answer), resource(status="deleted"), VOLUME, state=status("failed"))
    result = buy()
    assert outcome(result) == ("rejected", "conflict", [SECOND_RESOURCE_ID]) and SECOND_RESOURCE_ID in result["msg"]
    entry = read_entry(kept(path))
    assert entry.is_refused and [item.resource_id for item in entry.kept_storage] == [SECOND_RESOURCE_ID]


def test_storage_of_an_offer_that_others_have_bought_is_theirs(queue: RequestQueue, buy: Any, path: Path) -> None:
    gone = resource(status="deleted", name="colleague")
    bought(free(queue).expect(*POST, LOST), gone, VOLUME, state=status("failed"))
    assert outcome(buy())[2] == [] and "provision_storage" not in kept(path)


def test_a_strangers_failed_machine_is_not_ours_to_end(queue: RequestQueue, buy: Any, path: Path) -> None:
    held_by_another(path)
    bought(free(queue).expect(*POST, {}, 409), resource(name="colleague"), state=status("failed"))
    result = buy()
    assert outcome(result) == ("rejected", "conflict", [])
    assert "colleague" in result["msg"] and kept(path)["provision_purchase"] == "refused"


def test_machines_that_the_journal_knows_are_left_until_they_say_gone(
    queue: RequestQueue, buy: Any, path: Path
) -> None:
    write(path, {**MADE, "provision_resource_ids": [RESOURCE_ID, SECOND_RESOURCE_ID]})
    queue.show(resource(SECOND_RESOURCE_ID)).expect("GET", STATUS_PATH, status("failed"))
    assert outcome(buy()) == ("not_sent", "conflict", [RESOURCE_ID, SECOND_RESOURCE_ID])


# A registry that cannot be written


def test_without_a_journal_nothing_is_sent(queue: RequestQueue, buy: Any, path: Path) -> None:
    path.parents[1].write_text("a file in the way")
    free(queue)
    result = buy()
    assert outcome(result) == ("not_sent", "invalid", [])
    assert str(path) in result["msg"] and result["msg"].endswith("Nothing was bought.")


def test_a_broken_entry_is_named_before_anything_is_asked(queue: RequestQueue, buy: Any, path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("- a list\n")
    result = buy()
    assert outcome(result) == ("not_sent", "invalid", [])
    assert str(path) in result["msg"] and result["msg"].endswith("Nothing was sent.") and queue.calls == []


def test_a_note_that_is_a_template_is_refused_before_the_purchase(queue: RequestQueue, buy: Any, path: Path) -> None:
    free(queue)
    assert outcome(buy(note={"a": "{{ lookup('pipe', 'id') }}"})) == ("not_sent", "invalid", [])
    assert not path.exists()


def test_ids_that_cannot_be_noted_are_said_loudly(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: Any) -> None:
        raise RegistryError(f"The registry file {path} cannot be written: No space left on device.")

    monkeypatch.setattr(HostFile, "note", refuse)
    free(queue).expect(*POST, procurement())
    result = buy()
    assert outcome(result) == ("created", "invalid", [RESOURCE_ID]) and result["changed"] is True
    assert f"was BOUGHT and is billed at USD 2.00 per hour, resources: {RESOURCE_ID}" in result["msg"]
    assert "No space left on device" in result["msg"] and kept(path) == SENT


def test_a_purchase_that_comes_late_does_not_replace_what_the_host_owns(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget() -> None:
        path.unlink()
        write(path, {**MADE, "provision_procured_offer_id": OTHER_ID, "provision_resource_ids": [SECOND_RESOURCE_ID]})

    meanwhile(monkeypatch, forget)
    free(queue).expect(*POST, procurement())
    result = buy()
    assert outcome(result) == ("created", "conflict", [RESOURCE_ID])
    assert "was BOUGHT" in result["msg"] and OTHER_ID in result["msg"]
    assert kept(path)["provision_resource_ids"] == [SECOND_RESOURCE_ID]


def test_a_refusal_that_cannot_be_noted_is_a_warning(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: Any) -> None:
        raise RegistryError("The registry is full.")

    monkeypatch.setattr(HostFile, "note", refuse)
    free(queue).expect(*POST, {}, 422).expect("GET", STATUS_PATH, status())
    result = buy()
    assert outcome(result) == ("rejected", "invalid", [])
    assert any("The host is not free for another offer" in warning for warning in result["warnings"])


# Nobody is there any more


def parents(monkeypatch: pytest.MonkeyPatch, *ids: int) -> None:
    left = list(ids)
    monkeypatch.setattr(os, "getppid", lambda: left.pop(0) if len(left) > 1 else left[0])


def test_a_purchase_is_not_sent_for_a_play_that_was_killed(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents(monkeypatch, 4711, 1)
    free(queue)
    result = buy()
    assert outcome(result) == ("not_sent", "unavailable", [])
    assert "Ansible itself has ended" in result["msg"] and result["msg"].endswith("Nothing was bought.")
    assert kept(path)["provision_purchase"] == "refused"


def test_a_killed_play_does_not_come_back_after_429(
    queue: RequestQueue, buy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents(monkeypatch, 4711, 4711, 1)
    free(queue).expect(*POST, {}, 429, headers={"Retry-After": "60"})
    free(queue).list_nothing_of(OFFER_ID).expect("GET", STATUS_PATH, status())
    assert outcome(buy(api_retries=5, settle_timeout=0)) == ("rejected", "unavailable", [])


def test_what_was_sent_before_the_kill_stays_unknown(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents(monkeypatch, 4711, 4711, 1)
    free(queue).expect(*POST, LOST).expect("GET", STATUS_PATH, status(), times=3)
    queue.expect("GET", OFFER_PATH, offer()).expect("GET", STATUS_PATH, status())
    result = buy(api_retries=1)
    assert outcome(result) == ("unknown", "unknown_outcome", []) and "Ansible itself has ended" in result["msg"]
    assert kept(path)["provision_purchase"] == "sent"


# By a module's process


@pytest.mark.parametrize(
    ("reply", "code", "wait", "expected"),
    [(LOST, 200, None, "unknown"), ({}, 503, "1", "unknown"), ({}, 429, "1", "rejected")],
    ids=["lost", "503", "429"],
)
def test_a_module_sends_once(
    queue: RequestQueue, perform: Any, reply: Any, code: int, wait: Any, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(queue).expect(*POST, reply, code, headers={"Retry-After": wait} if wait else None)
    queue.expect("GET", STATUS_PATH, status())
    spec = PROCURE_OFFER.argument_spec
    monkeypatch.setitem(spec, AS_MODULE, {"default": True})
    result = perform(PROCURE_OFFER, offer_id=OFFER_ID, ssh_public_key=KEY, settle_timeout=0, api_retries=5)
    assert result["outcome"] == expected
