# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""procure_offer with a registry file: when it writes the journal, and what an open journal forbids."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import AS_MODULE
from ansible_collections.compute_index.supply.plugins.module_utils._operations.procure_offer import PROCURE_OFFER
from ansible_collections.compute_index.supply.plugins.module_utils._provision.lease import Clock as Clocks
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sending import order_digests
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile, holder_of
from ansible_collections.compute_index.supply.plugins.module_utils._registry._protocol import RegistryError

import purchases
from clock import START, Clock
from purchases import (
    BOUGHT,
    MADE,
    ORDER,
    SENT,
    before_request,
    expect_bought_offer,
    outcome_of,
    stored_entry,
    write_entry,
)
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

pytestmark = pytest.mark.usefixtures("clock", "resource_shown", "no_jitter")

# The fixtures of a purchase with a registry file
buy, path = purchases.buy, purchases.path


# Journal, purchase, ids


def test_journal_is_written_before_the_purchase_and_ids_after_it(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    during: list[Any] = []
    before_request(monkeypatch, lambda: during.append(stored_entry(path)))
    queue.expect_free_offer().expect(*POST, procurement())
    result = buy()
    assert outcome_of(result) == ("created", None, [RESOURCE_ID])
    assert result["registry"] == str(path)
    assert during == [SENT] and stored_entry(path) == MADE


def test_journal_has_the_planned_price_if_higher(queue: RequestQueue, buy: Any, path: Path) -> None:
    queue.expect_free_offer().expect(*POST, procurement())
    buy(price_per_hour=2.5)
    assert stored_entry(path) == {**MADE, "provision_price_per_hour": 2.5}


def test_note_and_project_are_stored_with_the_purchase(queue: RequestQueue, buy: Any, path: Path) -> None:
    queue.expect_free_offer().expect(*POST, procurement())
    buy(note={"provision_ends_at": "2026-02-01T00:00:00Z", "provision_groups": ["gpu"]}, project="blue")
    facts = {"provision_ends_at": "2026-02-01T00:00:00Z", "provision_groups": ["gpu"], "provision_project": "blue"}
    assert stored_entry(path) == {**MADE, **facts}


@pytest.mark.parametrize(
    ("ahead", "note", "journaled_at"),
    [
        (3600, {}, "2026-01-31T13:00:00Z"),
        (3600, {"provision_clock": "api"}, "2026-01-31T13:00:00Z"),
        (None, {"provision_clock": "api"}, START),
        (3600, {"provision_clock": "database"}, START),
    ],
    ids=["no lease", "of the API", "API unreadable", "database unreadable"],
)
def test_journal_has_the_time_of_the_clock_that_notes_the_lease(
    queue: RequestQueue,
    buy: Any,
    path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    ahead: float | None,
    note: dict[str, str],
    journaled_at: str,
) -> None:
    monkeypatch.setattr(HostFile, "clock", lambda _file: Clocks.of(clock.time(), ahead))
    queue.expect_free_offer().expect(*POST, procurement())
    assert buy(note=note)["outcome"] == "created"
    expected = {"provision_clock": "api", **note, "provision_journaled_at": journaled_at}
    assert stored_entry(path).items() >= expected.items()


RISEN, DISK = (
    resource(OTHER_ID, pricing_total_hourly=4.0),
    resource("d", resource_type="disk", pricing_total_hourly=None),
)


@pytest.mark.parametrize(
    ("listed", "live", "expected_message"),
    [
        ([], 3.06, "trainer-2 USD 3.06 (live since 2026-01-31 12:00 UTC)"),
        ([RISEN], 4.06, "trainer-2 USD 4.06 (live since 2026-01-31 12:00 UTC)"),
        ([RISEN, DISK], 4.06, "trainer-2 USD 4.06 (live since 2026-01-31 12:00 UTC)"),
    ],
    ids=["nothing listed", "storage not listed", "storage without price"],
)
def test_account_ceiling_counts_registry_entries_of_other_hosts(
    queue: RequestQueue, buy: Any, path: Path, listed: list[Any], live: float, expected_message: str
) -> None:
    """Plans count the same way; otherwise a purchase next to storage without a price would be planned, then refused."""
    purchase = {**MADE, "provision_procured_offer_id": OTHER_ID, "provision_resource_ids": [OTHER_ID]}
    storage = {"provision_storage": [{"resource_id": "d", "offer_id": OTHER_ID, "price_per_hour": 0.06}]}
    write_entry(path.parents[1] / "trainer-2" / path.name, {**purchase, **storage, "provision_price_per_hour": 3.06})
    queue.expect_free_offer().expect("GET", "/resources", listed)
    result = buy(max_account_price_per_hour=live + 1.99)
    assert outcome_of(result) == ("not_sent", "price", []) and expected_message in result["msg"], result["msg"]
    queue.expect_free_offer().expect("GET", "/resources", listed).expect(*POST, procurement())
    assert outcome_of(buy(max_account_price_per_hour=live + 2.0)) == ("created", None, [RESOURCE_ID])


def test_purchase_without_a_registry_writes_no_file(queue: RequestQueue, buy: Any, path: Path) -> None:
    queue.expect_free_offer().expect(*POST, procurement())
    assert buy(registry_file=None, note={"a": 1})["registry"] is None
    assert not path.parents[1].exists()


def test_ids_read_from_the_status_are_noted(queue: RequestQueue, buy: Any, path: Path) -> None:
    queue.expect_free_offer().expect(*POST, procurement("provisioning_in_progress")).expect("GET", STATUS_PATH, BOUGHT)
    assert outcome_of(buy()) == ("created", None, [RESOURCE_ID])
    assert stored_entry(path) == MADE


def test_relative_registry_file_is_made_absolute(
    queue: RequestQueue, buy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    queue.expect_free_offer().expect(*POST, procurement())
    assert buy(registry_file="h/x.yml")["registry"] == str(tmp_path / "h" / "x.yml")
    assert (tmp_path / "h" / "x.yml").exists()


def test_second_run_does_not_rewrite_the_registry_file(queue: RequestQueue, buy: Any, path: Path, clock: Clock) -> None:
    write_entry(path, {**MADE, "provision_ends_at": "x", "ansible_host": "203.0.113.7"})
    before = path.stat()
    queue.expect("GET", STATUS_PATH, BOUGHT).expect("GET", OFFER_PATH, offer(total_price_per_hour=9.0))
    clock.now = 9000
    assert outcome_of(buy(note={"provision_ends_at": "y"})) == ("existing", None, [RESOURCE_ID])
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


# An order that differs from the first one

TEXTS = ["#cloud-config\npackages: [git]\n", "#cloud-config\npackages: [vim]\n"]
FIRST = order_digests({**ORDER, "cloud_init": TEXTS[0]}, TOKEN, {})


def order_warnings(result: dict[str, Any]) -> int:
    return sum("was or will be bought as first ordered." in warning for warning in result["warnings"])


@pytest.mark.parametrize("entry", [SENT, MADE], ids=["sent", "made"])
def test_changed_order_of_an_earlier_purchase_is_a_warning(
    queue: RequestQueue, buy: Any, path: Path, entry: dict[str, Any]
) -> None:
    write_entry(path, {**entry, "provision_ordered": FIRST})
    queue.expect("GET", STATUS_PATH, BOUGHT)
    if entry is SENT:
        queue.expect_resources(resource())
    queue.expect("GET", OFFER_PATH, offer())
    result = buy(cloud_init=TEXTS[1])
    assert (result["outcome"], order_warnings(result)) == ("existing", 1)
    assert stored_entry(path)["provision_ordered"] == FIRST


def test_repeated_purchase_keeps_the_first_of_two_orders(queue: RequestQueue, buy: Any, path: Path) -> None:
    write_entry(path, {**SENT, "provision_ordered": FIRST})
    queue.expect("GET", STATUS_PATH, status(), times=3)
    queue.expect("GET", OFFER_PATH, offer()).expect(*POST, {}, 409).expect("GET", STATUS_PATH, status(), times=3)
    result = buy(cloud_init=TEXTS[1])
    assert (result["outcome"], order_warnings(result)) == ("unknown", 1)
    assert stored_entry(path)["provision_ordered"] == FIRST


def test_changed_order_after_a_refusal_replaces_the_first_order(queue: RequestQueue, buy: Any, path: Path) -> None:
    write_entry(path, {**SENT, "provision_purchase": "refused"})
    queue.expect_free_offer().expect(*POST, procurement())
    result = buy(cloud_init=TEXTS[0])
    assert (result["outcome"], result["warnings"]) == ("created", [])
    assert stored_entry(path)["provision_ordered"] == FIRST


# Check mode


@pytest.mark.parametrize("entry", [None, SENT], ids=["no journal", "sent before"])
def test_check_mode_plans_and_writes_nothing(queue: RequestQueue, buy: Any, path: Path, entry: Any) -> None:
    if entry:
        write_entry(path, entry)
    queue.expect_free_offer()
    result = buy(True)
    assert (result["outcome"], result["changed"]) == ("planned", True)
    assert stored_entry(path) == entry and path.parents[1].exists() is bool(entry)


@pytest.mark.parametrize("state", [BOUGHT, status("available", "expired")], ids=["bought", "expired"])
def test_check_mode_does_not_note_the_outcome(queue: RequestQueue, buy: Any, path: Path, state: Any) -> None:
    write_entry(path, SENT)
    queue.expect("GET", STATUS_PATH, state)
    if state is BOUGHT:
        queue.expect_resources(resource()).expect("GET", OFFER_PATH, offer())
    result = buy(True)
    assert result["outcome"] == ("existing" if state is BOUGHT else "unknown")
    assert "bug of the collection" not in result["msg"]
    assert stored_entry(path) == SENT


def test_check_mode_does_not_free_the_host_of_a_failed_purchase(queue: RequestQueue, buy: Any, path: Path) -> None:
    write_entry(path, SENT)
    queue.expect("GET", STATUS_PATH, status("failed")).expect_resources()
    assert outcome_of(buy(True)) == ("rejected", "conflict", [])
    assert stored_entry(path) == SENT


# Another purchase of the host


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize("entry", [SENT, MADE], ids=["sent", "made"])
def test_planned_offer_is_not_bought_if_the_host_has_another_purchase(
    queue: RequestQueue, buy: Any, path: Path, entry: Any, check_mode: bool
) -> None:
    write_entry(path, {**entry, "provision_procured_offer_id": OTHER_ID})
    result = buy(check_mode, host="gpu-1", account=ACCOUNT)
    assert outcome_of(result) == ("claimed", "conflict", []) and result["changed"] is False
    assert OTHER_ID in result["msg"] and START in result["msg"] and str(path) in result["msg"]
    assert "Nothing was sent. If another run is buying for gpu-1" in result["msg"]
    assert queue.calls == []


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize("entry", [SENT, MADE], ids=["sent", "made"])
def test_purchase_of_the_host_precedes_the_offer_of_the_task(
    queue: RequestQueue, buy: Any, path: Path, entry: Any, check_mode: bool
) -> None:
    """The task runs again, and its new search has found another offer."""
    write_entry(path, entry)
    if entry is SENT:
        expect_bought_offer(queue, resource())
    else:
        queue.expect("GET", STATUS_PATH, BOUGHT)
    queue.expect("GET", OFFER_PATH, offer())
    result = buy(check_mode, offer_id=OTHER_ID, price_per_hour=9.0)
    assert (outcome_of(result), result["changed"]) == (("existing", None, [RESOURCE_ID]), False)
    assert (result["offer_id"], result["price_per_hour"]) == (OFFER_ID, 2.0), "not the price of the task's offer"
    (warning,) = result["warnings"]
    assert f"{OFFER_ID}, so the task's offer {OTHER_ID} is not bought." in warning
    assert stored_entry(path) == (SENT if check_mode and entry is SENT else MADE)


@pytest.mark.parametrize(
    ("noted", "shown", "expected"), [(2.0, None, 2.0), (2.0, 1.5, 2.0), (2.0, 3.0, 3.0), (None, 3.0, 3.0)]
)
def test_existing_purchase_reports_the_highest_known_price(
    queue: RequestQueue, buy: Any, path: Path, noted: float | None, shown: float | None, expected: float
) -> None:
    """The details of a sold offer may have no price, or a newer one."""
    write_entry(path, {**MADE, "provision_price_per_hour": noted})
    queue.expect("GET", STATUS_PATH, BOUGHT)
    queue.expect("GET", OFFER_PATH, offer(total_price_per_hour=shown, gpu_price_per_hour=shown))
    queue.expect("GET", f"/resources/{RESOURCE_ID}", resource(), query={"force_refresh": "true"})
    result = buy()
    assert (result["outcome"], result["price_per_hour"]) == ("existing", expected)


@pytest.mark.parametrize("offer_id", [OFFER_ID, OTHER_ID], ids=["same offer", "other offer"])
@pytest.mark.parametrize("entry", [SENT, MADE], ids=["sent", "made"])
def test_entry_of_another_project_stops_the_purchase(
    queue: RequestQueue, buy: Any, path: Path, entry: Any, offer_id: str
) -> None:
    """Two projects share a folder, and the other one has a machine for a host of this name."""
    write_entry(path, {**entry, "provision_project": "team-a"})
    result = buy(offer_id=offer_id, project="team-b", host="trainer")
    assert outcome_of(result) == ("not_sent", "conflict", []) and result["changed"] is False
    assert f"{path} was written for trainer of the project team-a" in result["msg"]
    assert queue.calls == [] and stored_entry(path) == {**entry, "provision_project": "team-a"}


@pytest.mark.parametrize(
    ("price", "limit", "sent"), [(2.0, None, True), (2.5, None, False), (2.5, 3.0, True), (2.0, 1.5, False)]
)
def test_unanswered_purchase_is_repeated_only_at_the_agreed_price(
    queue: RequestQueue, buy: Any, path: Path, price: float, limit: float | None, sent: bool
) -> None:
    write_entry(path, SENT)
    for _look in range(3):  # until settle_timeout
        queue.expect("GET", STATUS_PATH, status())
    queue.expect("GET", OFFER_PATH, offer(total_price_per_hour=price))
    if sent:
        queue.expect(*POST, procurement())
    else:
        queue.expect("GET", STATUS_PATH, status())
    result = buy(offer_id=OTHER_ID, max_price_per_hour=limit)
    assert (result["outcome"], result["offer_id"]) == ("created" if sent else "unknown", OFFER_ID), result["msg"]
    assert queue.count(*POST) == int(sent) and stored_entry(path)["provision_purchase"] == ("made" if sent else "sent")


def test_another_offer_is_bought_after_a_refusal(queue: RequestQueue, buy: Any, path: Path) -> None:
    write_entry(
        path, {**SENT, "provision_procured_offer_id": OTHER_ID, "provision_purchase": "refused", "provision_x": 1}
    )
    queue.expect_free_offer().expect(*POST, procurement())
    assert buy()["outcome"] == "created"
    assert stored_entry(path) == MADE


@pytest.mark.parametrize("check_mode", [False, True])
def test_open_purchase_is_held_while_it_is_settled(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    """Otherwise another run could settle it, or send it again, at the same time. Check mode settles nothing."""
    write_entry(path, SENT)
    holders: list[str] = []
    before_request(monkeypatch, lambda: holders.append(holder_of(str(path.parent))), "offer_status")
    expect_bought_offer(queue, resource()).expect("GET", OFFER_PATH, offer())
    assert buy(check_mode)["outcome"] == "existing"
    assert bool(holders[0]) is not check_mode and holder_of(str(path.parent)) == ""


@pytest.mark.parametrize("offer_id", [OFFER_ID, OTHER_ID], ids=["same offer", "other offer"])
def test_journal_of_a_faster_run_is_left_alone(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch, offer_id: str
) -> None:
    faster = {**SENT, "provision_procured_offer_id": offer_id}
    before_request(monkeypatch, lambda: write_entry(path, faster), "offer")
    queue.expect_free_offer()
    assert outcome_of(buy()) == ("claimed", "conflict", [])
    assert stored_entry(path) == faster


@pytest.mark.parametrize("held", [False, True])
def test_purchase_of_a_concurrent_run_is_recognized(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    concurrent = HostFile(str(path), "alice at bastion")
    before_request(monkeypatch, lambda: concurrent.claim(SENT) if held else write_entry(path, SENT), "offer_status")
    expect_bought_offer(queue, resource(), times=3 if held else 4)
    if held:
        assert outcome_of(buy()) == ("claimed", "conflict", [])
    else:
        queue.expect("GET", OFFER_PATH, offer())
        assert outcome_of(buy()) == ("existing", None, [RESOURCE_ID])
    concurrent.close()


def test_refusal_does_not_free_the_purchase_of_another_run(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run has sent the same offer again. Its purchase is still open, or was just answered."""
    later = {**SENT, "provision_journaled_at": "2026-01-31T12:05:00Z"}
    before_request(monkeypatch, lambda: write_entry(path, later))
    queue.expect_free_offer().expect(*POST, {}, 409).expect("GET", STATUS_PATH, status(), times=3)
    assert buy()["outcome"] == "unknown" and stored_entry(path) == later
    path.unlink()
    before_request(monkeypatch, lambda: write_entry(path, MADE))
    queue.expect_free_offer().expect(*POST, {}, 409).expect("GET", STATUS_PATH, BOUGHT).expect(
        "GET", OFFER_PATH, offer()
    )
    assert outcome_of(buy()) == ("existing", None, [RESOURCE_ID]) and stored_entry(path) == MADE


def test_refusal_is_unknown_if_another_run_begins_during_the_last_look(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the host would try another offer."""
    later = {**SENT, "provision_journaled_at": "2026-01-31T12:05:00Z"}
    before_request(monkeypatch, lambda: path.write_text(yaml.safe_dump(later)), "offer_status", call=4)
    queue.expect_free_offer().expect(*POST, {}, 409).expect("GET", STATUS_PATH, status(), times=3)
    result = buy()
    assert outcome_of(result) == ("unknown", "unknown_outcome", []) and stored_entry(path) == later
    assert "Another run may hold it now" in result["msg"]


def is_unchanged(path: Path, change: str, later: dict[str, Any]) -> bool:
    """Whether the file is as the other run has left it."""
    if change == "unreadable":
        return path.read_text() == "- no mapping"
    entries = {"removed": None, "freed": {**SENT, "provision_purchase": "refused"}, "new purchase": later}
    return bool(stored_entry(path) == entries[change])


ANSWERS = pytest.mark.parametrize(
    ("reply", "code"),
    [
        *((NOT_FOUND, code) for code in (400, 403, 404, 409, 410, 422, 429, 503)),
        (LOST, 200),
        (procurement("available"), 200),
    ],
    ids=str,
)


def test_objection_does_not_free_the_purchase_that_another_run_has_begun(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The offer was refused before. Another run sends it again while this one finds it too expensive, and is killed."""
    write_entry(path, {**SENT, "provision_purchase": "refused", "provision_refused_status": 409})
    open_again = {**SENT, "provision_journaled_at": "2026-01-31T12:00:05Z"}

    def send_again() -> None:
        other = HostFile(str(path))
        other.claim(open_again)
        other.close()

    before_request(monkeypatch, send_again, "offer")
    queue.expect_free_offer(total_price_per_hour=5.0)
    assert outcome_of(buy(max_price_per_hour=3)) == ("not_sent", "price", [])
    assert stored_entry(path) == open_again


@ANSWERS
@pytest.mark.parametrize("change", ["removed", "freed", "new purchase", "unreadable"])
@pytest.mark.parametrize("has_ended", [False, True])
def test_suspended_run_stops_if_its_journal_was_changed(
    queue: RequestQueue,
    buy: Any,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reply: Any,
    code: int,
    change: str,
    has_ended: bool,
) -> None:
    """On a file system without locks, another run has ended or freed the purchase, begun one, or broken the file."""
    later = {**SENT, "provision_journaled_at": "2026-01-31T12:05:00Z"}

    def change_journal() -> None:
        if change == "removed":
            path.unlink()
        elif change == "unreadable":
            path.write_text("- no mapping")
        else:
            path.write_text(yaml.safe_dump({**SENT, "provision_purchase": "refused"} if change == "freed" else later))

    before_request(monkeypatch, change_journal)
    queue.expect_free_offer().expect(*POST, reply, code, headers={"Retry-After": "2"} if code in (429, 503) else None)
    if has_ended:
        expect_bought_offer(queue, resource(name="trainer", status="deleted"))
        queue.expect("GET", f"/resources/{RESOURCE_ID}", resource(status="deleted"), query={"force_refresh": "true"})
    else:
        queue.expect("GET", STATUS_PATH, NOT_FOUND, 404, times=3 if reply is LOST or code in (409, 429, 503) else 1)
    result = buy(api_retries=3)
    assert queue.count(*POST) == 1
    if has_ended and (reply is LOST or code in (200, 503)):
        assert result["outcome"] == "created", "the machine has the name, and this run received no refusal"
        return
    assert outcome_of(result) == ("unknown", "unknown_outcome", []) and result["claimed_by"] is None
    msg = result["msg"]
    assert "Another run may hold it now" in msg and "adopt" not in msg and "MAY BE" not in msg
    assert is_unchanged(path, change, later)


# A registry that cannot be written


def test_unwritable_journal_stops_the_purchase(queue: RequestQueue, buy: Any, path: Path) -> None:
    path.parents[1].write_text("a file in the way")
    queue.expect_free_offer()
    result = buy()
    assert outcome_of(result) == ("not_sent", "invalid", [])
    assert str(path) in result["msg"] and result["msg"].endswith("Nothing was bought.")


def test_broken_entry_stops_before_the_first_request(queue: RequestQueue, buy: Any, path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("- a list\n")
    result = buy()
    assert outcome_of(result) == ("not_sent", "invalid", [])
    assert str(path) in result["msg"] and result["msg"].endswith("Nothing was sent.") and queue.calls == []


def test_note_with_a_template_is_refused(queue: RequestQueue, buy: Any, path: Path) -> None:
    queue.expect_free_offer()
    assert outcome_of(buy(note={"a": "{{ lookup('pipe', 'id') }}"})) == ("not_sent", "invalid", [])
    assert not path.exists()


def test_ids_that_cannot_be_noted_are_in_the_failure(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any) -> None:
        raise RegistryError(f"The registry file {path} cannot be written: No space left on device.")

    monkeypatch.setattr(HostFile, "note", fail)
    queue.expect_free_offer().expect(*POST, procurement())
    result = buy()
    assert outcome_of(result) == ("created", "invalid", [RESOURCE_ID]) and result["changed"] is True
    assert f"was BOUGHT and is billed at USD 2.00 per hour, resources: {RESOURCE_ID}" in result["msg"]
    assert "No space left on device" in result["msg"] and stored_entry(path) == SENT


def test_late_purchase_does_not_replace_the_purchase_of_the_host(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace() -> None:
        path.unlink()
        write_entry(
            path, {**MADE, "provision_procured_offer_id": OTHER_ID, "provision_resource_ids": [SECOND_RESOURCE_ID]}
        )

    before_request(monkeypatch, replace)
    queue.expect_free_offer().expect(*POST, procurement())
    result = buy()
    assert outcome_of(result) == ("created", "conflict", [RESOURCE_ID])
    assert "was BOUGHT" in result["msg"] and OTHER_ID in result["msg"]
    assert stored_entry(path)["provision_resource_ids"] == [SECOND_RESOURCE_ID]


def test_refusal_that_cannot_be_noted_is_a_warning(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any) -> None:
        raise RegistryError("The registry is full.")

    monkeypatch.setattr(HostFile, "note", fail)
    queue.expect_free_offer().expect(*POST, {}, 422).expect("GET", STATUS_PATH, status())
    result = buy()
    assert outcome_of(result) == ("rejected", "invalid", [])
    assert any("the host buys no other offer" in warning for warning in result["warnings"])


# Ansible was killed


def set_parent_ids(monkeypatch: pytest.MonkeyPatch, *ids: int) -> None:
    """Let getppid return these ids in turn, and the last one from then on. 1: the parent process has ended."""
    remaining = list(ids)
    monkeypatch.setattr(os, "getppid", lambda: remaining.pop(0) if len(remaining) > 1 else remaining[0])


def test_purchase_is_not_sent_after_ansible_was_killed(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_parent_ids(monkeypatch, 4711, 1)
    queue.expect_free_offer()
    result = buy()
    assert outcome_of(result) == ("not_sent", "unavailable", [])
    assert "Ansible itself has ended" in result["msg"] and result["msg"].endswith("Nothing was bought.")
    assert stored_entry(path)["provision_purchase"] == "refused"


def test_purchase_is_not_repeated_after_ansible_was_killed(
    queue: RequestQueue, buy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_parent_ids(monkeypatch, 4711, 4711, 1)
    queue.expect_free_offer().expect(*POST, {}, 429, headers={"Retry-After": "60"})
    queue.expect_free_offer().list_no_resources_of(OFFER_ID).expect("GET", STATUS_PATH, status())
    assert outcome_of(buy(api_retries=5, settle_timeout=0)) == ("rejected", "unavailable", [])


def test_purchase_sent_before_ansible_was_killed_stays_unknown(
    queue: RequestQueue, buy: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_parent_ids(monkeypatch, 4711, 4711, 1)
    queue.expect_free_offer().expect(*POST, LOST).expect("GET", STATUS_PATH, status(), times=3)
    queue.expect("GET", OFFER_PATH, offer()).expect("GET", STATUS_PATH, status())
    result = buy(api_retries=1)
    assert outcome_of(result) == ("unknown", "unknown_outcome", []) and "Ansible itself has ended" in result["msg"]
    assert stored_entry(path)["provision_purchase"] == "sent"


# In the process of a module


@pytest.mark.parametrize(
    ("reply", "code", "wait", "expected"),
    [(LOST, 200, None, "unknown"), ({}, 503, "1", "unknown"), ({}, 429, "1", "rejected")],
    ids=["lost", "503", "429"],
)
def test_module_sends_the_purchase_once(
    queue: RequestQueue, perform: Any, reply: Any, code: int, wait: Any, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.expect_free_offer().expect(*POST, reply, code, headers={"Retry-After": wait} if wait else None)
    queue.expect("GET", STATUS_PATH, status())
    spec = PROCURE_OFFER.argument_spec
    monkeypatch.setitem(spec, AS_MODULE, {"default": True})
    result = perform(PROCURE_OFFER, offer_id=OFFER_ID, ssh_public_key=KEY, settle_timeout=0, api_retries=5)
    assert result["outcome"] == expected
