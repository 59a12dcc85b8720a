# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a host's purchase: what is registered, what is given back, and the messages."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.judging import JudgedHost
from ansible_collections.compute_index.supply.plugins.module_utils._provision.purchase import Verdict
from ansible_collections.compute_index.supply.plugins.module_utils._provision.rows import verdict_row
from ansible_collections.compute_index.supply.plugins.module_utils._provision.search import product_key

from provision_samples import entry, machine, machine_id, offer_id, planned

X, Y = offer_id(1), offer_id(2)
M, N = machine_id(1), machine_id(2)
OURS, SECOND = machine(1, "gpu-1", X), machine(2, "gpu-1-2", X)
COLLEAGUES = machine(2, "train", Y)
READY, STOP, RELEASE = Verdict.READY, Verdict.STOP, Verdict.RELEASE
MADE = entry(X, [M], "made")


def connection(resource_id: str, address: str) -> dict[str, Any]:
    return {"resource_id": resource_id, "ansible_host": address, "ansible_port": 22, "ansible_user": "root"}


FIRST, OTHER = connection(M, "10.0.0.1"), connection(N, "10.0.0.2")


def case(
    ids: list[str],
    machines: list[dict[str, Any]] | None = None,
    known: Entry = MADE,
    action: str = "buy",
    outcome: str = "created",
    **fields: Any,
) -> JudgedHost:
    """A host that has bought X, whose status names these ids as its machines."""
    purchase = {"outcome": outcome, "resource_ids": list(known.resource_ids)} if outcome else {}
    connections = [each for each in (FIRST, OTHER) if each["resource_id"] in ids]
    status = {"phase": "ready", "ready": True, "resource_ids": ids, "connections": connections, "msg": "It is ready."}
    listed = None if machines is None else {each["resource_id"]: each for each in machines}
    return JudgedHost(
        planned(action=action, **fields.pop("plan", {})),
        purchase,
        {**status, **fields.pop("status", {})},
        known,
        True,
        listed=listed,
        **fields,
    )


def test_a_failure_says_why_what_was_bought_is_not_given_back() -> None:
    plan = planned(may_release=False, spared="It was not released. gpu-1 is protected.")
    failed = {"phase": "failed", "failure_reason": "no disk", "resource_ids": [machine_id(1)]}
    stopped = JudgedHost(plan, {"outcome": "created"}, failed, entry(X, [machine_id(1)], "made"), has_entry=True)
    told = stopped.failure(stopped.attempt(), [X])
    assert "It was not released. gpu-1 is protected. The offer is BOUGHT and" in told


@pytest.mark.parametrize("phase", ["ready", "failed"])
def test_what_was_bought_and_cannot_be_noted_says_what_to_do(phase: str) -> None:
    bought = case([M], [OURS], trouble="The registry cannot be reached.", status={"phase": phase})
    told = bought.failure(bought.attempt(), [X])
    assert told.startswith("The registry cannot be reached. The offer is BOUGHT and may be billed at USD ")
    assert told.endswith(f"Resource ids: {M}. Repair the registry, and run the same again: it buys nothing twice.")


def test_what_has_ended_and_was_bought_anew_by_another_run_is_no_second_machine() -> None:
    """Another run took the purchase over while this one was suspended, ended it, and bought another offer."""
    ended = {"phase": "ended", "ready": False, "resource_ids": [M], "msg": "Its machines have been deleted since."}
    theirs = entry(Y, [N], "made")
    woken = JudgedHost(
        planned(attempts_left=1), {"outcome": "created", "resource_ids": [M]}, ended, theirs, has_entry=True
    )
    assert (woken.verdict(False), woken.is_forgotten(STOP), woken.noted(STOP)) == (STOP, False, {})
    told = woken.failure(woken.attempt(), [X])
    assert (
        f"By its registry, gpu-1 has offer {Y} meanwhile, of another run: {N}. No other offer is tried: run again."
        in told
    )
    assert "Nothing is billed" not in told


@pytest.mark.parametrize("spared", ["", "It was not released."])
@pytest.mark.parametrize(("minute", "later"), [(59, M), (0, M), (1, N)])
def test_of_two_machines_of_one_name_the_later_one_goes_if_this_run_has_bought_it(
    minute: int, later: str, spared: str
) -> None:
    """Without a registry, another run has bought for the host at the same moment."""
    theirs = machine(2, "gpu-1", Y, created_at=f"2026-01-31T{12 - (minute == 59)}:{minute:02d}:00Z")
    own = {**OURS, "created_at": "2026-01-31T12:00:30Z"}
    plan = {"may_release": not spared, "spared": spared}
    double = case([M], [own, theirs], namesakes=[theirs], plan=plan)
    assert double.verdict(False) is (RELEASE if later == M and not spared else STOP)
    assert double.verdict(True) is STOP
    told = double.failure(double.attempt(), [X])
    assert M in told and N in told and told.endswith(f"delete_resource -a resource_id={later} {spared}".strip())
    after = double.failure(double.attempt(released=True), [X])
    assert f"another purchase of its name, which is billed: {N}" in after
    assert "is ready" not in after and "Nothing is billed" not in after


def test_an_ordinary_purchase_is_registered() -> None:
    bought = case([M], [OURS])
    assert (bought.verdict(False), bought.noted(READY)["provision_resource_ids"]) == (READY, [M])
    (unnamed,) = bought.warnings()
    assert unnamed.startswith(
        "The API did not keep a name: gpu-1 is called nothing instead of gpu-1. Only the registry"
    )
    again = case([M], known=entry(X, [M], "made", provision_instances=[FIRST]), action="wait", outcome="")
    assert (again.verdict(False), again.needs_list) == (READY, False)
    # Noted by a run that was killed before its first look
    assert case([M], known=MADE, action="wait", outcome="").needs_list


@pytest.mark.parametrize("action", ["buy", "wait"])
@pytest.mark.parametrize("phase", ["ready", "failed"])
def test_a_colleagues_machine_is_neither_registered_nor_given_back(action: str, phase: str) -> None:
    """The status names it instead of the machine that was bought."""
    status = {"phase": phase, "ready": phase == "ready"}
    bought = case([N], [OURS, COLLEAGUES], action=action, outcome="created" if action == "buy" else "", status=status)
    assert (bought.verdict(False), bought.verdict(False, released=True)) == (STOP, STOP)
    assert bought.noted(STOP) == {"provision_resource_ids": [M], "provision_purchase": "made"}
    assert not bought.is_forgotten(STOP)
    said = bought.failure(bought.attempt(), [X])
    for part in (f"Resource ids: {M}.", N, "called train", Y, "USD 2.00", "None of these was registered"):
        assert part in said


def test_a_second_machine_of_the_offer_is_held_beside_the_first() -> None:
    """The first one is also billed."""
    bought = case([N], [OURS, SECOND], plan={"offer": {"node_count": 1}})
    assert bought.verdict(False) is READY
    assert bought.noted(READY)["provision_resource_ids"] == [M, N]
    assert any("1 machine(s)" in each and "bought 2" in each for each in bought.warnings())


@pytest.mark.parametrize(("nodes", "shown", "told"), [(2, 1, True), (2, 2, False), (1, 1, False), (None, 1, False)])
def test_a_warning_if_a_cluster_shows_fewer_machines_than_its_offer_has(
    nodes: int | None, shown: int, told: bool
) -> None:
    """One may have ended without us, and is not replaced."""
    status = {"connections": [FIRST, OTHER][:shown]}
    bought = case([M, N], [OURS, SECOND], plan={"offer": {"node_count": nodes}}, status=status)
    assert any("the API shows" in each for each in bought.warnings()) is told


def test_storage_of_others_that_a_purchase_names_is_reported_and_kept() -> None:
    volume = machine(7, "data", Y, resource_type="volume", kind="storage")
    bought = case([M, volume["resource_id"]], [OURS, volume])
    assert bought.verdict(False) is READY and bought.noted(READY)["provision_resource_ids"] == [M]
    assert bought.held.affected == (volume["resource_id"],) and not bought.storage
    assert any("has not bought" in each and volume["resource_id"] in each for each in bought.warnings())
    # It is noted, and reported once.
    assert bought.noted(READY)["provision_affected_ids"] == [volume["resource_id"]]
    known = entry(X, [M], "made", provision_affected_ids=[volume["resource_id"]])
    again = case([M, volume["resource_id"]], [OURS, volume], known=known)
    assert again.noted(READY)["provision_affected_ids"] == [volume["resource_id"]]
    assert not any("has not bought" in each for each in again.warnings())


def test_a_machine_that_a_status_omits_stays_with_its_address() -> None:
    """The status names one of a cluster's two machines."""
    known = entry(X, [M, N], "made", provision_instances=[FIRST, OTHER])
    again = case([N], [OURS, SECOND], known=known, action="wait", outcome="")
    facts = again.facts()
    assert (again.verdict(False), facts["provision_resource_ids"]) == (READY, [M, N])
    assert (facts["ansible_host"], facts["provision_instances"]) == ("10.0.0.1", [FIRST, OTHER])


def test_while_no_list_tells_which_machine_is_which_each_keeps_the_id_under_which_its_key_is_pinned() -> None:
    """Without the list of resources the instances of a status have no ids, and may come in another order."""
    alone = entry(X, [M], "made", provision_instances=[FIRST])
    moved = {**FIRST, "ansible_host": "10.0.0.9"}
    nameless = [{**moved, "resource_id": None}]
    facts = case([M], known=alone, action="wait", outcome="", status={"connections": nameless}).facts()
    assert facts["provision_instances"] == [moved] and f"HostKeyAlias={M}" in facts["ansible_ssh_extra_args"]
    known = entry(X, [M, N], "made", provision_instances=[FIRST, OTHER])
    nameless = [{**each, "resource_id": None} for each in (OTHER, FIRST)]
    both = case([M, N], known=known, action="wait", outcome="", status={"connections": nameless}).facts()
    assert both["provision_instances"] == [FIRST, OTHER] and f"HostKeyAlias={M}" in both["ansible_ssh_extra_args"]
    first = case([M, N], known=entry(X, [M, N], "made"), status={"connections": nameless}).facts()
    assert first["provision_instances"] == nameless


def test_an_instance_that_is_not_held_becomes_no_further_host() -> None:
    """It is unlisted, or names no offer, so its owner is unknown."""
    assert case([M], status={"connections": [OTHER, FIRST]}).facts()["provision_instances"] == [FIRST]
    alone = entry(X, [M], "made", provision_instances=[FIRST])
    for shown in ([OTHER], [FIRST, OTHER]):
        facts = case([M], known=alone, action="wait", outcome="", status={"connections": shown}).facts()
        assert facts["provision_instances"] == [FIRST]


@pytest.mark.parametrize(("is_new", "verdict"), [(True, STOP), (False, READY)])
def test_a_machine_that_was_listed_before_anything_was_bought_is_not_what_was_bought(
    is_new: bool, verdict: Verdict
) -> None:
    """But a run that was killed may have bought it, if it has sent the purchase before."""
    silent = machine(2, "train", None, created_at=None)
    late = case([N], [silent], known=entry(X, [], "made"), plan={"is_new": is_new}, listed_before={N})
    assert late.verdict(False) is verdict


def test_what_is_named_and_not_shown_yet_is_billed_and_blocks() -> None:
    known = entry(X, [], "made")
    late = case([N], [], known=known, read={N: None})
    assert (late.verdict(False), late.noted(STOP)) == (STOP, {})
    said = late.failure(late.attempt(), [X])
    assert N in said and "BOUGHT" in said and "does not show yet" in said


@pytest.mark.parametrize(("shown", "left", "verdict"), [("running", (M,), RELEASE), ("deleted", (), Verdict.AGAIN)])
def test_a_failed_offer_is_followed_by_another_once_nothing_is_left(
    shown: str, left: tuple[str, ...], verdict: Verdict
) -> None:
    status = {"phase": "failed", "ready": False, "failure_reason": "no capacity"}
    failed = case([M], [{**OURS, "status": shown}], status=status)
    assert (failed.remaining, failed.verdict(False), failed.is_forgotten(verdict)) == (left, verdict, left == ())


@pytest.mark.parametrize(("action", "outcome"), [("buy", "created"), ("wait", "")])
@pytest.mark.parametrize(
    ("noted", "registry", "verdict"),
    [
        (Entry(), True, Verdict.STOP),
        # It is about to be noted.
        (entry(X, [M], "made", provision_reaped_at="2026-08-01T12:00:00Z"), True, Verdict.STOP),
        (MADE, True, Verdict.AGAIN),
        # Another run has bought for the host.
        (entry(Y, [], "sent"), True, Verdict.STOP),
        # There was no entry that could be missing.
        (Entry(), False, Verdict.AGAIN),
    ],
)
def test_a_machine_that_someone_has_ended_meanwhile_is_not_replaced(
    action: str, outcome: str, noted: Entry, registry: bool, verdict: Verdict
) -> None:
    status = {"phase": "failed", "ready": False, "failure_reason": "its machine was deleted"}
    fields = {} if registry else {"plan": {"registry": ""}}
    ended = case([M], [{**OURS, "status": "deleted"}], noted, action, outcome, status=status, **fields)
    assert ended.verdict(False) is verdict
    said = ended.failure(ended.attempt(), [X])
    is_superseded = noted.offer_id == Y
    assert ("someone has ended gpu-1 meanwhile" in said) is (verdict is Verdict.STOP and not is_superseded)
    assert (f"gpu-1 has offer {Y} meanwhile" in said) is is_superseded
    assert ("Nothing is billed for" in said) is not is_superseded


@pytest.mark.parametrize(("name", "kept"), [("gpu-1", True), ("other", False)])
def test_the_name_that_was_ordered_is_kept_whatever_the_host_is_called_now(name: str, kept: bool) -> None:
    known = entry(X, [M], "made", provision_resource_name="gpu-1")
    found = case([M], [OURS], known, plan={"name": "renamed"}, status={"instances": [{"name": name}]})
    assert any("did not keep a name" in each for each in found.warnings()) is not kept


def test_an_entry_that_was_moved_while_its_machine_was_bought_is_told() -> None:
    moved, usual, without = (
        case([M], [OURS], noted, plan={"registry": registry}, status={"instances": [{"name": "gpu-1"}]})
        for noted, registry in ((Entry(), planned()["registry"]), (MADE, planned()["registry"]), (Entry(), ""))
    )
    (told,) = moved.warnings()
    assert moved.verdict(False) is READY and moved.noted(READY)["provision_resource_ids"] == [M]
    assert "someone has moved or removed its entry" in told and "registry again" in told
    assert usual.warnings() == without.warnings() == []


@pytest.mark.parametrize(("reason", "error_class"), [("no capacity", ""), ("quota exceeded", "quota")])
def test_what_failed_for_a_quota_is_told_with_its_vendor(reason: str, error_class: str) -> None:
    status = {"phase": "failed", "ready": False, "failure_reason": reason}
    failed = case([M], [{**OURS, "status": "deleted"}], status=status, plan={"offer": {"vendor": "nebius"}})
    (tried,) = failed.attempt_rows(Verdict.AGAIN)
    assert (tried["error_class"], tried["vendor"]) == (error_class, "nebius")


@pytest.mark.parametrize(
    ("outcome", "status", "is_undelivered"),
    [
        ({"outcome": "created"}, {"phase": "failed"}, True),
        ({"outcome": "rejected", "status": "failed", "error_class": "conflict"}, {}, True),
        ({"outcome": "rejected", "error_class": "conflict"}, {}, False),  # another customer was faster
        ({"outcome": "rejected", "error_class": "expired"}, {}, False),
    ],
)
def test_what_its_vendor_could_not_deliver_is_noted(
    outcome: dict[str, str], status: dict[str, str], is_undelivered: bool
) -> None:
    sold = {"vendor": "nebius", "region": "EU", "gpu_count": 1}
    attempt = JudgedHost(planned(offer=sold, price_per_hour=2.0), outcome, status, MADE)
    (tried,) = attempt.attempt_rows(Verdict.AGAIN)
    assert tried["product"] == (product_key(sold, 2.0) if is_undelivered else "")


def test_of_what_was_refused_only_its_own_is_left() -> None:
    refused = case([N], [OURS, COLLEAGUES], outcome="rejected", known=entry(X, [], "refused"))
    assert (refused.remaining, refused.verdict(False)) == ((), STOP)


@pytest.mark.parametrize(("page", "given_back"), [({}, [M]), ({N: None}, [M]), ({N: SECOND}, [M, N])])
def test_what_was_not_shown_is_not_given_back(page: dict[str, Any], given_back: list[str]) -> None:
    """The answer to the purchase has only ids, and storage would lose its data."""
    status = {"phase": "failed", "ready": False}
    bought = {"known": entry(X, [M, N], "made"), "read": page, "plan": {"round": "c"}}
    failed = case([M, N], [OURS], status=status, **bought)
    assert verdict_row(failed, failed.verdict(False))["release"] == given_back
    assert failed.noted(STOP)["provision_resource_ids"] == [M, N]
    ready = case([M, N], [OURS], **bought)  # which may prove unusable
    assert verdict_row(ready, READY)["release"] == given_back


@pytest.mark.parametrize("page", [{}, {M: None}])
def test_nothing_is_given_back_if_nothing_was_shown(page: dict[str, Any]) -> None:
    failed = case([M], [], status={"phase": "failed", "ready": False}, read=page)
    assert failed.verdict(False) is STOP
