# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a host's purchase: what is registered, what is released, and the messages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.judging import JudgedHost
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ledger import FAILED, GONE
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
LEASED = entry(X, [M], "made", provision_leased="1h", provision_ends_at="1970-01-02T00:00:00Z")
SEEN = entry(X, [M], "made", provision_instances=[FIRST])  # a run has seen the machine ready


def case(
    ids: list[str],
    machines: list[dict[str, Any]] | None = None,
    known: Entry = MADE,
    action: str = "buy",
    outcome: str = "created",
    **fields: Any,
) -> JudgedHost:
    """A host that has bought X; the offer's status names these ids as its machines."""
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


@pytest.mark.parametrize(
    ("plan", "outcome", "known", "trouble", "expected"),
    [
        pytest.param({"action": "wait"}, "", MADE, "", "", id="bought before this run"),
        pytest.param({}, "created", MADE, "", "created", id="created"),
        pytest.param({}, "rejected", entry(X, [], "sent"), "", "rejected", id="rejected, an earlier purchase is open"),
        pytest.param({}, "not_sent", entry(X, [], "sent"), "", "unknown", id="not sent, an earlier purchase is open"),
        pytest.param({}, "not_sent", entry(Y, [], "sent"), "", "not_sent", id="not sent, another offer is open"),
        pytest.param({}, "not_sent", MADE, "", "not_sent", id="not sent, another run has bought the offer"),
        pytest.param({}, "", entry(X, [], "sent"), "", "unknown", id="no result, the journal has the offer"),
        pytest.param({}, "", Entry(), "", "not_sent", id="no result, the journal is empty"),
        pytest.param({}, "", Entry(), "It cannot be read.", "unknown", id="no result, the journal cannot be read"),
        pytest.param({"registry": ""}, "", Entry(), "", "unknown", id="no result, no registry"),
    ],
)
def test_outcome(plan: dict[str, Any], outcome: str, known: Entry, trouble: str, expected: str) -> None:
    """A task that has died leaves no result; then its purchase may have been sent."""
    purchase = {"outcome": outcome} if outcome else {}
    assert JudgedHost(planned(**plan), purchase, {}, known, has_entry=True, trouble=trouble).outcome == expected


@pytest.mark.parametrize(
    ("outcome", "ids", "known", "expected"),
    [
        ("created", [], MADE, False),
        ("created", [], entry(Y, [], "sent"), True),
        ("created", [], entry(Y, [], "refused"), False),
        ("created", [], Entry(), False),
        ("rejected", [], entry(X, [], "refused"), False),
        # A task notes a refusal before it ends, so another run has sent or made these purchases since.
        ("rejected", [], entry(X, [], "sent"), True),
        ("rejected", [], MADE, True),
        ("not_sent", [], MADE, True),
        ("rejected", [M], MADE, False),  # the purchase was made, but failed
    ],
)
def test_is_superseded_by_another_purchase_in_the_entry(
    outcome: str, ids: list[str], known: Entry, expected: bool
) -> None:
    purchase = {"outcome": outcome, "resource_ids": ids}
    assert JudgedHost(planned(), purchase, {}, known, has_entry=True).is_superseded is expected


@pytest.mark.parametrize(("phase", "why"), [("failed", FAILED), ("ended", GONE)])
def test_why_over_for_the_ledger(phase: str, why: str) -> None:
    assert case([M], status={"phase": phase}).why_over == why


def test_offer_is_the_noted_one_if_the_plan_has_none() -> None:
    known = entry(X, [M], "made", provision_offer={"vendor": "nebius"})
    assert case([M], known=known).offer == known.offer and known.offer["vendor"] == "nebius"
    assert case([M], known=known, plan={"offer": {"vendor": "other"}}).offer == {"vendor": "other"}


def test_failure_explains_why_the_machine_was_not_released() -> None:
    plan = planned(may_release=False, spared="It was not released. gpu-1 is protected.")
    failed = {"phase": "failed", "failure_reason": "no disk", "resource_ids": [machine_id(1)]}
    stopped = JudgedHost(plan, {"outcome": "created"}, failed, entry(X, [machine_id(1)], "made"), has_entry=True)
    message = stopped.failure(stopped.attempt(), [X])
    assert "It was not released. gpu-1 is protected. The offer is BOUGHT and" in message


@pytest.mark.parametrize("phase", ["ready", "failed"])
def test_failure_advises_repair_if_registry_is_unreachable(phase: str) -> None:
    bought = case([M], [OURS], trouble="The registry cannot be reached.", status={"phase": phase})
    message = bought.failure(bought.attempt(), [X])
    assert message.startswith("The registry cannot be reached. The offer is BOUGHT and may be billed at USD ")
    assert message.endswith(f"Resource ids: {M}. Repair the registry, and run the same again: it buys nothing twice.")


@pytest.mark.parametrize(
    ("plan", "outcome", "price"),
    [
        ({"registry": ""}, "unknown", {"provision_price_per_hour": 2.0}),
        ({"registry": "", "price_per_hour": None}, "unknown", {}),
        ({"registry": ""}, "created", None),
        ({}, "unknown", None),
    ],
)
def test_left_open_for_a_rescue_if_there_is_no_registry(
    plan: dict[str, Any], outcome: str, price: dict[str, Any] | None
) -> None:
    judged = JudgedHost(planned(**plan), {"outcome": outcome}, {"resource_ids": [M]}, Entry())
    ids = {"provision_procured_offer_id": X, "provision_resource_ids": [M]}
    assert judged.left_open() == ({} if price is None else {**ids, **price})


def test_failure_of_a_task_without_a_result_names_ids_of_the_status() -> None:
    died = JudgedHost(planned(), {}, {"resource_ids": [M]}, entry(X, [], "sent"), has_entry=True)
    message = died.failure(died.attempt(), [X])
    assert message.startswith(f"The task that was buying offer {X} ended without a result")
    assert f"It MAY BE BOUGHT and billed at USD 2.00 per hour. Resource ids: {M}." in message


@pytest.mark.parametrize(("trouble", "overtaken"), [("", True), ("The registry cannot be reached.", False)])
def test_purchase_is_overtaken_only_if_the_registry_was_read(trouble: str, overtaken: bool) -> None:
    assert case([M], [OURS], Entry(), trouble=trouble).attempt().overtaken is overtaken


def test_superseded_purchase_stops_and_changes_no_entry() -> None:
    """While this run was suspended, another run took over its purchase, ended the machine and bought another offer."""
    ended = {"phase": "ended", "ready": False, "resource_ids": [M], "msg": "Its machines have been deleted since."}
    entry_of_other_run = entry(Y, [N], "made")
    suspended = JudgedHost(
        planned(attempts_left=1), {"outcome": "created", "resource_ids": [M]}, ended, entry_of_other_run, has_entry=True
    )
    assert (suspended.verdict(False), suspended.is_forgotten, suspended.noted(STOP)) == (STOP, False, {})
    message = suspended.failure(suspended.attempt(), [X])
    assert (
        f"The registry now names offer {Y} of another run for gpu-1: {N}. No other offer is tried: run again."
        in message
    )
    assert "Nothing is billed" not in message


@pytest.mark.parametrize("spared", ["", "It was not released."])
@pytest.mark.parametrize(("minute", "later_id"), [(59, M), (0, M), (1, N)])
def test_later_machine_of_the_same_name_is_released_if_this_run_bought_it(
    minute: int, later_id: str, spared: str
) -> None:
    """Without a registry, another run may buy for the host at the same moment."""
    of_other_run = machine(2, "gpu-1", Y, created_at=f"2026-01-31T{12 - (minute == 59)}:{minute:02d}:00Z")
    own = {**OURS, "created_at": "2026-01-31T12:00:30Z"}
    plan = {"may_release": not spared, "spared": spared}
    double = case([M], [own, of_other_run], namesakes=[of_other_run], plan=plan)
    assert double.verdict(False) is (RELEASE if later_id == M and not spared else STOP)
    assert double.verdict(True) is STOP
    message = double.failure(double.attempt(), [X])
    assert M in message and N in message
    assert message.endswith(f"delete_resource -a resource_id={later_id} {spared}".strip())
    after = double.failure(double.attempt(released=True), [X])
    assert f"another purchase has gpu-1's name and is billed: {N}" in after
    assert "is ready" not in after and "Nothing is billed" not in after


LINKED = {**OURS, "linked_resources": [{"resource_id": "s-1", "kind": "storage"}]}


@pytest.mark.parametrize(
    ("judged", "expected"),
    [
        pytest.param(case([M], [OURS]), False, id="one noted and listed machine"),
        pytest.param(case([M, N], [OURS]), True, id="the status names another machine"),
        pytest.param(case([M], [OURS, SECOND]), True, id="the list has another machine"),
        pytest.param(case([M], [LINKED]), True, id="storage is linked"),
        pytest.param(case([M], [OURS], status={"phase": "failed"}), True, id="failed, may be released"),
        pytest.param(
            case([M], [OURS], status={"phase": "failed"}, plan={"may_release": False}), False, id="failed, is kept"
        ),
        pytest.param(case([M], [OURS], outcome="rejected"), True, id="rejected, may be released"),
    ],
)
def test_needs_holders_if_a_resource_may_be_of_another_host(judged: JudgedHost, expected: bool) -> None:
    assert judged.needs_holders is expected


BOTH = entry(X, [M, N], "made")
GONE_SECOND = {**SECOND, "status": "deleted"}


@pytest.mark.parametrize(
    ("phase", "outcome", "machines", "remaining", "billed"),
    [
        pytest.param("ended", "created", [OURS, SECOND], (), (M, N), id="the API says that all have ended"),
        pytest.param("ended", "rejected", [OURS, SECOND], (M, N), (M, N), id="rejected, another purchase has ended"),
        pytest.param("failed", "created", [OURS, GONE_SECOND], (M,), (M,), id="failed, one is deleted"),
        pytest.param("ready", "created", [OURS, GONE_SECOND], (M,), (M, N), id="ready, one is deleted"),
        pytest.param("going_on", "rejected", [OURS, GONE_SECOND], (M,), (M,), id="rejected, one is deleted"),
        pytest.param("failed", "created", None, (M, N), (M, N), id="failed, the account cannot be listed"),
    ],
)
def test_remaining_and_billed_ids(
    phase: str,
    outcome: str,
    machines: list[dict[str, Any]] | None,
    remaining: tuple[str, ...],
    billed: tuple[str, ...],
) -> None:
    judged = case([], machines, known=BOTH, outcome=outcome, status={"phase": phase})
    assert (judged.remaining, judged.billed) == (remaining, billed)


def test_unfinished_offer_stays_billed_if_its_machine_is_deleted() -> None:
    """The offer may still bring another machine."""
    plan, status = {"may_release": False}, {"phase": "going_on", "ready": False}
    judged = case([M], [{**OURS, "status": "deleted"}], plan=plan, status=status)
    assert judged.attempt().billed and (judged.verdict(False), judged.is_forgotten) == (STOP, False)


@pytest.mark.parametrize(
    ("outcome", "ids", "known", "expected"),
    [
        ("rejected", [], entry(X, [], "refused"), True),
        ("rejected", [], MADE, False),  # another run has bought the offer since
        ("rejected", [M], MADE, False),
        ("rejected", [], entry(Y, [], "refused"), False),
        ("unknown", [], entry(X, [], "sent"), False),
        ("created", [M], MADE, False),
    ],
)
def test_entry_is_forgotten_if_its_refused_purchase_left_nothing(
    outcome: str, ids: list[str], known: Entry, expected: bool
) -> None:
    purchase, status = {"outcome": outcome, "resource_ids": ids}, {"phase": "ready", "ready": outcome == "created"}
    assert JudgedHost(planned(), purchase, status, known, True, listed={M: OURS}).is_forgotten is expected


@pytest.mark.parametrize(
    ("plan", "outcome", "status", "known", "end"),
    [
        pytest.param({}, "created", {}, LEASED, 24 * 3600.0, id="the registry notes the end"),
        pytest.param(
            {},
            "created",
            {"procured_at": "1970-01-01T18:00:00Z"},
            replace(LEASED, leased="8h", journaled_at="1970-01-01T16:00:00Z"),
            25 * 3600.0,
            id="made two hours after it was noted, as in sweeps",
        ),
        pytest.param({}, "created", {}, replace(LEASED, ends_at="soon"), None, id="the noted end is unreadable"),
        pytest.param({}, "created", {}, MADE, None, id="the registry notes no lease"),
        pytest.param({"registry": ""}, "created", {}, Entry(), 9 * 3600.0, id="no registry, bought now"),
        pytest.param(
            {"registry": ""},
            "existing",
            {"procured_at": "1970-01-01T02:00:00Z"},
            Entry(),
            10 * 3600.0,
            id="no registry",
        ),
        pytest.param({"registry": ""}, "existing", {}, Entry(), None, id="no registry, begin unknown"),
    ],
)
def test_end_of_the_lease(
    plan: dict[str, Any], outcome: str, status: dict[str, Any], known: Entry, end: float | None
) -> None:
    judged = JudgedHost(planned(lease="8h", **plan), {"outcome": outcome}, status, known, True, now=3600.0)
    assert judged.end() == end


def test_remaining_ids_are_unknown_without_any_id_and_list() -> None:
    assert case([], None, known=entry(X, [], "made"), status={"phase": "failed"}).remaining is None


def test_remaining_ids_of_a_refused_purchase_are_those_of_its_answer() -> None:
    """The status may name machines of another buyer."""
    for outcome, remaining in (("rejected", (M,)), ("created", (M, N))):
        judged = case([N], [OURS, SECOND], outcome=outcome, status={"phase": "failed"})
        assert judged.remaining == remaining


@pytest.mark.parametrize(("machines", "expected"), [([OURS], {N}), ([OURS, SECOND], set()), ([OURS, GONE_SECOND], {N})])
def test_unlisted_ids_are_missing_or_gone_in_the_list(machines: list[dict[str, Any]], expected: set[str]) -> None:
    assert case([], machines, known=BOTH).unlisted == expected


@pytest.mark.parametrize(
    ("judged", "expected"),
    [
        pytest.param(case([M], known=SEEN, action="wait", outcome=""), False, id="it ran before"),
        pytest.param(case([M], known=SEEN), True, id="bought now"),
        pytest.param(case([M], known=SEEN, action="wait", outcome="", status={"phase": "failed"}), True, id="failed"),
        pytest.param(case([M, N], known=SEEN, action="wait", outcome=""), True, id="the status names another machine"),
        # The run that noted the ids was killed before its first look.
        pytest.param(case([M], action="wait", outcome=""), True, id="never seen ready"),
    ],
)
def test_needs_list_unless_the_same_machines_ran_before(judged: JudgedHost, expected: bool) -> None:
    assert judged.needs_list is expected


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (BOTH, [N]),
        (MADE, []),  # the entry does not name the colleague's machine
        (entry(Y, [N], "made"), []),  # the entry is about another purchase
    ],
)
def test_disowned_ids_are_those_of_the_own_entry(known: Entry, expected: list[str]) -> None:
    purchase = {"outcome": "created", "resource_ids": [M, N]}
    judged = JudgedHost(planned(), purchase, {}, known, has_entry=True, listed={M: OURS, N: COLLEAGUES})
    assert judged.disowned == expected
    assert judged.adds_to({}, {}) is bool(expected), "disowned ids are removed"


def test_adds_to_an_entry_that_lacks_a_change() -> None:
    judged = case([M], [OURS])
    changes = judged.noted(READY)
    assert [judged.adds_to(before, changes) for before in ({}, {**changes, "provision_instances": []}, changes)] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("action", "purchase", "known", "noted"),
    [
        pytest.param(
            "buy", {"outcome": "created", "resource_ids": [M]}, entry(Y, [N], "made"), (M,), id="another offer"
        ),
        pytest.param("wait", {"resource_ids": [N]}, MADE, (M,), id="a result of an earlier task"),
        pytest.param(
            "buy", {"outcome": "rejected", "resource_ids": [N]}, MADE, (M, N), id="it failed, and left a machine"
        ),
    ],
)
def test_look_has_the_ids_of_this_purchase(
    action: str, purchase: dict[str, Any], known: Entry, noted: tuple[str, ...]
) -> None:
    assert JudgedHost(planned(action=action), purchase, {}, known, has_entry=True).look.noted == noted


@pytest.mark.parametrize(
    ("outcome", "has_entry", "expected"),
    [
        ("created", True, {"provision_resource_ids": [M], "provision_purchase": "made"}),
        ("rejected", True, {"provision_resource_ids": [M], "provision_purchase": "made"}),
        ("created", False, {}),  # someone has removed the entry
        ("unknown", True, {}),
    ],
)
def test_noted_ids_of_a_host_that_stops(outcome: str, has_entry: bool, expected: dict[str, Any]) -> None:
    purchase, status = {"outcome": outcome, "resource_ids": [M]}, {"phase": "failed"}
    known = entry(X, [], "made" if outcome == "created" else "sent")
    assert JudgedHost(planned(), purchase, status, known, has_entry, listed={M: OURS}).noted(STOP) == expected


REFUSED = {"outcome": "rejected", "error_class": "conflict"}


def test_refused_purchase_does_not_contradict_the_host_that_has_the_offer() -> None:
    refused = JudgedHost(
        planned(), REFUSED, {"resource_ids": [M]}, entry(X, [], "refused"), True, listed={M: OURS}, holders={M: "gpu-2"}
    )
    assert (refused.contradictions, refused.verdict(False)) == ((), Verdict.AGAIN)


def test_refused_purchase_that_left_unlisted_machines_stops() -> None:
    failed = JudgedHost(planned(), {**REFUSED, "resource_ids": [M]}, {}, entry(X, [], "refused"), True, listed={})
    assert (failed.remaining, failed.verdict(False)) == ((M,), STOP)


def test_refused_purchase_of_a_freed_entry_is_not_overtaken() -> None:
    assert JudgedHost(planned(), REFUSED, {}, Entry(), listed={}).verdict(False) is Verdict.AGAIN


def test_status_names_machines_of_a_refused_purchase_only_if_it_was_made() -> None:
    """A purchase that failed but left machines was made."""
    for known, named in ((MADE, (N,)), (entry(X, [], "refused"), ())):
        assert JudgedHost(planned(), REFUSED, {"resource_ids": [N]}, known, True, listed={}).look.named == named


def test_ready_purchase_is_registered() -> None:
    bought = case([M], [OURS])
    noted = bought.noted(READY)
    assert (bought.verdict(False), noted["provision_resource_ids"], noted["provision_instances"]) == (
        READY,
        [M],
        [FIRST],
    )
    assert noted["provision_identity_file"] is None, "an earlier machine's is removed"
    assert case([M], [OURS], plan={"identity_file": "~/k"}).noted(READY)["provision_identity_file"] == "~/k"
    (warning,) = bought.warnings()
    assert warning.startswith(
        "The API did not keep a name: gpu-1 is called nothing instead of gpu-1. Only the registry"
    )
    assert case([M], known=SEEN, action="wait", outcome="").verdict(False) is READY
    assert bought.verdict(check_mode=True) is READY


@pytest.mark.parametrize("action", ["buy", "wait"])
@pytest.mark.parametrize("phase", ["ready", "failed"])
def test_colleagues_machine_is_neither_registered_nor_released(action: str, phase: str) -> None:
    """The status names the colleague's machine instead of the bought one."""
    status = {"phase": phase, "ready": phase == "ready"}
    bought = case([N], [OURS, COLLEAGUES], action=action, outcome="created" if action == "buy" else "", status=status)
    assert (bought.verdict(False), bought.verdict(False, released=True)) == (STOP, STOP)
    assert bought.noted(STOP) == {"provision_resource_ids": [M], "provision_purchase": "made"}
    assert not bought.is_forgotten
    message = bought.failure(bought.attempt(), [X])
    for part in (f"Resource ids: {M}.", N, "called train", Y, "USD 2.00", "None of these was registered"):
        assert part in message


def test_second_machine_of_the_offer_is_registered_with_a_warning() -> None:
    bought = case([N], [OURS, SECOND], plan={"offer": {"node_count": 1}})
    assert bought.verdict(False) is READY
    assert bought.noted(READY)["provision_resource_ids"] == [M, N]
    assert any("1 machine(s)" in warning and "bought 2" in warning for warning in bought.warnings())


@pytest.mark.parametrize(("nodes", "count", "warns"), [(2, 1, True), (2, 2, False), (1, 1, False), (None, 1, False)])
def test_warning_if_cluster_shows_fewer_machines_than_its_offer_has(nodes: int | None, count: int, warns: bool) -> None:
    """The others may have ended without us; nothing replaces them."""
    status = {"connections": [FIRST, OTHER][:count]}
    bought = case([M, N], [OURS, SECOND], plan={"offer": {"node_count": nodes}}, status=status)
    assert any("the API shows" in warning for warning in bought.warnings()) is warns


def test_storage_of_others_is_noted_and_reported_once() -> None:
    volume = machine(7, "data", Y, resource_type="volume", kind="storage")
    bought = case([M, volume["resource_id"]], [OURS, volume])
    assert bought.verdict(False) is READY and bought.noted(READY)["provision_resource_ids"] == [M]
    assert bought.held.affected == (volume["resource_id"],) and not bought.storage
    assert any("has not bought" in each and volume["resource_id"] in each for each in bought.warnings())
    assert bought.noted(READY)["provision_affected_ids"] == [volume["resource_id"]]
    known = entry(X, [M], "made", provision_affected_ids=[volume["resource_id"]])
    later_run = case([M, volume["resource_id"]], [OURS, volume], known=known)
    assert later_run.noted(READY)["provision_affected_ids"] == [volume["resource_id"]]
    assert not any("has not bought" in each for each in later_run.warnings())


@pytest.mark.parametrize(("offer", "expected"), [(X, ["s-1", "s-2"]), (Y, ["s-2"])])
def test_storage_of_a_superseding_purchase_is_left_to_it(offer: str, expected: list[str]) -> None:
    """Storage that was kept from an earlier machine belongs to the host in any case."""
    noted = [{"resource_id": "s-1"}, {"resource_id": "s-2", "kept_since": "2026-01-30T12:00:00Z"}]
    judged = case([M], [OURS], known=entry(offer, [M], "made", provision_storage=noted))
    assert [item.resource_id for item in judged.storage] == expected


def test_storage_left_omits_storage_that_ends() -> None:
    noted = [{"resource_id": "s-1"}, {"resource_id": "s-2"}]
    judged = case([M], [OURS], known=entry(X, [M], "made", provision_storage=noted), storage_ends=("s-1",))
    assert "s-2" in judged.storage_left and "s-1" not in judged.storage_left
    assert judged.ended == "It has ended. Its storage also ends: s-1."
    assert case([M], [OURS]).ended == "It has ended."


def test_machine_omitted_by_the_status_keeps_its_address() -> None:
    """The status names one of a cluster's two machines."""
    known = entry(X, [M, N], "made", provision_instances=[FIRST, OTHER])
    later_run = case([N], [OURS, SECOND], known=known, action="wait", outcome="")
    facts = later_run.facts()
    assert (later_run.verdict(False), facts["provision_resource_ids"]) == (READY, [M, N])
    assert (facts["ansible_host"], facts["provision_instances"]) == ("10.0.0.1", [FIRST, OTHER])


def test_instances_without_ids_keep_their_noted_ids() -> None:
    """The host key is pinned under the id. Without the list, instances have no ids, and their order may change."""
    single = entry(X, [M], "made", provision_instances=[FIRST])
    moved = {**FIRST, "ansible_host": "10.0.0.9"}
    nameless = [{**moved, "resource_id": None}]
    facts = case([M], known=single, action="wait", outcome="", status={"connections": nameless}).facts()
    assert facts["provision_instances"] == [moved] and f"HostKeyAlias={M}" in facts["ansible_ssh_extra_args"]
    known = entry(X, [M, N], "made", provision_instances=[FIRST, OTHER])
    nameless = [{**each, "resource_id": None} for each in (OTHER, FIRST)]
    both = case([M, N], known=known, action="wait", outcome="", status={"connections": nameless}).facts()
    assert both["provision_instances"] == [FIRST, OTHER] and f"HostKeyAlias={M}" in both["ansible_ssh_extra_args"]
    first = case([M, N], known=entry(X, [M, N], "made"), status={"connections": nameless}).facts()
    assert first["provision_instances"] == nameless


def test_instance_that_is_not_held_is_left_out_of_facts() -> None:
    """Its owner is unknown, for example since it is unlisted."""
    assert case([M], status={"connections": [OTHER, FIRST]}).facts()["provision_instances"] == [FIRST]
    known = entry(X, [M], "made", provision_instances=[FIRST])
    for connections in ([OTHER], [FIRST, OTHER]):
        facts = case([M], known=known, action="wait", outcome="", status={"connections": connections}).facts()
        assert facts["provision_instances"] == [FIRST]


@pytest.mark.parametrize(("is_new", "verdict"), [(True, STOP), (False, READY)])
def test_machine_listed_before_a_new_purchase_is_not_held(is_new: bool, verdict: Verdict) -> None:
    """If the purchase is not new, an earlier run that was killed may have bought the machine."""
    offerless = machine(2, "train", None, created_at=None)
    late = case([N], [offerless], known=entry(X, [], "made"), plan={"is_new": is_new}, listed_before={N})
    assert late.verdict(False) is verdict
    assert late.noted(verdict).get("provision_listed_before") == ([N] if is_new else None), "no later look can see this"


def test_pending_machine_stops_the_host_and_is_billed() -> None:
    known = entry(X, [], "made")
    pending = case([N], [], known=known, read={N: None})
    assert (pending.verdict(False), pending.noted(STOP)) == (STOP, {})
    message = pending.failure(pending.attempt(), [X])
    assert N in message and "BOUGHT" in message and "does not show yet" in message


@pytest.mark.parametrize(
    ("status_of_machine", "remaining", "verdict"), [("running", (M,), RELEASE), ("deleted", (), Verdict.AGAIN)]
)
def test_failed_offer_is_replaced_once_its_machine_is_gone(
    status_of_machine: str, remaining: tuple[str, ...], verdict: Verdict
) -> None:
    status = {"phase": "failed", "ready": False, "failure_reason": "no capacity"}
    failed = case([M], [{**OURS, "status": status_of_machine}], status=status)
    assert (failed.remaining, failed.verdict(False), failed.is_forgotten) == (
        remaining,
        verdict,
        remaining == (),
    )


@pytest.mark.parametrize(("action", "outcome"), [("buy", "created"), ("wait", "")])
@pytest.mark.parametrize(
    ("noted", "has_registry", "verdict"),
    [
        (Entry(), True, Verdict.STOP),
        # A run has begun to end it.
        (entry(X, [M], "made", provision_reaped_at="2026-08-01T12:00:00Z"), True, Verdict.STOP),
        (MADE, True, Verdict.AGAIN),
        # Another run has bought for the host.
        (entry(Y, [], "sent"), True, Verdict.STOP),
        # Without a registry no entry can be missing.
        (Entry(), False, Verdict.AGAIN),
    ],
)
def test_machine_that_someone_ended_is_not_replaced(
    action: str, outcome: str, noted: Entry, has_registry: bool, verdict: Verdict
) -> None:
    status = {"phase": "failed", "ready": False, "failure_reason": "its machine was deleted"}
    fields = {} if has_registry else {"plan": {"registry": ""}}
    ended = case([M], [{**OURS, "status": "deleted"}], noted, action, outcome, status=status, **fields)
    assert ended.verdict(False) is verdict
    message = ended.failure(ended.attempt(), [X])
    is_superseded = noted.offer_id == Y
    assert ("someone has ended gpu-1 meanwhile" in message) is (verdict is Verdict.STOP and not is_superseded)
    assert (f"The registry now names offer {Y} of another run" in message) is is_superseded
    assert ("Nothing is billed for" in message) is not is_superseded


@pytest.mark.parametrize(("name", "is_kept"), [("gpu-1", True), ("other", False)])
def test_name_warning_compares_the_ordered_name(name: str, is_kept: bool) -> None:
    known = entry(X, [M], "made", provision_resource_name="gpu-1")
    bought = case([M], [OURS], known, plan={"name": "renamed"}, status={"instances": [{"name": name}]})
    assert any("did not keep a name" in each for each in bought.warnings()) is not is_kept


def test_warning_if_the_entry_was_moved_during_the_purchase() -> None:
    lease = {"provision_leased": "8h", "provision_ends_at": "2099-01-01T06:00:00Z", "provision_clock": "api"}
    order = {"options": {"project": "team", "resource_name": "gpu-1"}, "note": lease}
    moved, usual, without_registry = (
        case(
            [M],
            [OURS],
            noted,
            plan={"registry": registry, "purchases": [order]},
            status={"instances": [{"name": "gpu-1"}], "procured_at": "2098-12-31T22:00:00Z"},
        )
        for noted, registry in ((Entry(), planned()["registry"]), (MADE, planned()["registry"]), (Entry(), ""))
    )
    (warning,) = moved.warnings()
    assert moved.verdict(False) is READY and moved.noted(READY)["provision_resource_ids"] == [M]
    # Its lease holds, and its costs begin with the purchase.
    ordered = {**lease, "provision_project": "team", "provision_journaled_at": "2098-12-31T22:00:00Z"}
    assert moved.noted(READY).items() >= ordered.items()
    assert moved.facts()["provision_ends_at"] == "2099-01-01T06:00:00Z" and not usual.noted(READY).keys() & lease.keys()
    assert "Someone has moved or removed the registry entry of gpu-1" in warning and "registry again" in warning
    # So it does if the machine is not ready yet; an end by another run is no loss.
    for state, phase, is_noted in (("running", "going_on", True), ("deleted", "failed", False)):
        status = {"phase": phase, "ready": False, "procured_at": "2098-12-31T22:00:00Z"}
        machines, plan = (
            [{**OURS, "status": state}],
            {"registry": planned()["registry"], "purchases": [order], "may_release": False},
        )
        waiting = case([M], machines, Entry(), plan=plan, status=status)
        expected = {
            **ordered,
            "provision_procured_offer_id": X,
            "provision_resource_ids": [M],
            "provision_purchase": "made",
        }
        assert waiting.verdict(False) is Verdict.STOP
        assert (waiting.noted(Verdict.STOP).items() >= expected.items()) is is_noted
    assert usual.warnings() == without_registry.warnings() == []


@pytest.mark.parametrize(("reason", "error_class"), [("no capacity", ""), ("quota exceeded", "quota")])
def test_attempt_row_has_quota_error_and_vendor(reason: str, error_class: str) -> None:
    status = {"phase": "failed", "ready": False, "failure_reason": reason}
    failed = case([M], [{**OURS, "status": "deleted"}], status=status, plan={"offer": {"vendor": "nebius"}})
    (row,) = failed.attempt_rows(Verdict.AGAIN)
    assert (row["error_class"], row["vendor"]) == (error_class, "nebius")


@pytest.mark.parametrize(
    ("outcome", "status", "has_product"),
    [
        ({"outcome": "created"}, {"phase": "failed"}, True),
        ({"outcome": "rejected", "status": "failed", "error_class": "conflict"}, {}, True),
        ({"outcome": "rejected", "error_class": "conflict"}, {}, False),  # someone else bought it first
        ({"outcome": "rejected", "error_class": "expired"}, {}, False),
    ],
)
def test_attempt_row_has_product_only_if_delivery_failed(
    outcome: dict[str, str], status: dict[str, str], has_product: bool
) -> None:
    bought_offer = {"vendor": "nebius", "region": "EU", "gpu_count": 1}
    attempt = JudgedHost(planned(offer=bought_offer, price_per_hour=2.0), outcome, status, MADE)
    (row,) = attempt.attempt_rows(Verdict.AGAIN)
    assert row["product"] == (product_key(bought_offer, 2.0) if has_product else "")


def test_refused_purchase_leaves_no_machine_that_only_the_status_names() -> None:
    refused = case([N], [OURS, COLLEAGUES], outcome="rejected", known=entry(X, [], "refused"))
    assert (refused.remaining, refused.verdict(False)) == ((), STOP)


@pytest.mark.parametrize(("page", "released"), [({}, [M]), ({N: None}, [M]), ({N: SECOND}, [M, N])])
def test_only_machines_that_the_api_shows_are_released(page: dict[str, Any], released: list[str]) -> None:
    """The answer to the purchase has only ids, and storage would lose its data."""
    status = {"phase": "failed", "ready": False}
    bought = {"known": entry(X, [M, N], "made"), "read": page, "plan": {"round": "c"}}
    failed = case([M, N], [OURS], status=status, **bought)
    assert verdict_row(failed, failed.verdict(False))["release"] == released
    assert failed.noted(STOP)["provision_resource_ids"] == [M, N]
    ready = case([M, N], [OURS], **bought)  # it may prove unusable
    assert verdict_row(ready, READY)["release"] == released


@pytest.mark.parametrize("page", [{}, {M: None}])
def test_host_stops_if_the_api_shows_no_machine_to_release(page: dict[str, Any]) -> None:
    failed = case([M], [], status={"phase": "failed", "ready": False}, read=page)
    assert failed.verdict(False) is STOP
