# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which storage ends with a machine, and which stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import ended
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ended import not_ended
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ending import (
    Action,
    ApiView,
    End,
    EndRequest,
    storage_after_release,
    with_storage,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Account, OwnershipClaim
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import Storage, read_storage

from provision_samples import machine

OLD, NEW = Storage("old", kept_since="2026-11-01T00:00:00Z"), Storage("new")
LOST = ApiView(Account(()), unknown={"old": "GET answered 404."})


@pytest.mark.parametrize(
    ("request_", "end", "ends"),
    [
        ({}, End(Action.END, storage=(NEW,)), ()),
        ({"ends_storage": True}, End(Action.END, storage=(NEW,)), ("new", "old")),
        ({"ends_storage": True}, End(Action.NOTHING), ("old",)),
        ({"ends_storage": True}, End(Action.STOP), ()),
        # A sweep ends what has come with the machine that ends, if its host says so.
        ({"ends_storage": True, "is_swept": True}, End(Action.END, storage=(NEW,)), ("new",)),
        ({"ends_storage": True, "is_swept": True}, End(Action.FORGET, storage=(NEW,)), ("new",)),
        ({"ends_storage": True, "is_swept": True}, End(Action.NOTHING), ()),  # it has more time now
    ],
)
def test_which_storage_ends(request_: dict[str, Any], end: End, ends: tuple[str, ...]) -> None:
    one = EndRequest("gpu-1", "gpu-1", Entry(), **request_)
    found = with_storage(one, end, [OLD], ApiView(Account(())))
    assert found.storage_ends == ends
    assert found.action is (Action.STORAGE if ends and end.action is Action.NOTHING else end.action)


def test_a_sweep_ends_what_an_earlier_one_was_to_end_if_its_host_still_says_so() -> None:
    one = EndRequest("gpu-1", "gpu-1", Entry(), ends_storage=True, is_swept=True)
    left = replace(OLD, is_to_end=True)
    assert with_storage(one, End(Action.NOTHING), [left], ApiView(Account(()))).storage_ends == ("old",)
    kept = with_storage(replace(one, ends_storage=False), End(Action.NOTHING), [left], ApiView(Account(())))
    assert (kept.action, kept.storage_ends) == (Action.NOTHING, ())
    # What the registry has of it says so as well, and what a sweep has not begun does not.
    assert [read_storage([item.variables]) for item in (left, OLD)] == [(left,), (OLD,)]
    assert left.entry("gpu-1")["provision_ends_at"] == OLD.kept_since
    assert "provision_ends_at" not in OLD.entry("gpu-1")


@pytest.mark.parametrize(("seen", "action", "ends"), [(LOST, "storage", ("old",)), (ApiView(Account(())), "stop", ())])
def test_storage_is_forgotten_if_the_api_does_not_know_it(seen: ApiView, action: str, ends: tuple[str, ...]) -> None:
    one = EndRequest("gpu-1", "gpu-1", Entry(), forget=frozenset({"old"}))
    found = with_storage(one, End(Action.NOTHING), [OLD], seen)
    assert (found.action.value, found.storage_ends, found.storage_lost) == (action, ends, ends)
    plan = {"storage_lost": list(ends)}
    answer = {"resource_id": "old", "error_class": "not_found", "msg": "404"}
    assert not_ended(plan, ["old"], {"old": answer}).over == ends
    assert not_ended({**plan, "storage_lost": []}, ["old"], {"old": answer}).ids == ("old",)
    assert not_ended(plan, ["old"], {"old": {**answer, "error_class": "unavailable"}}).ids == ("old",)


@pytest.mark.parametrize(
    ("status", "ending", "ends"),
    [("running", False, ("new",)), ("deleted", False, ("new", "old")), ("running", True, ("new", "old"))],
)
def test_storage_that_another_machine_uses_does_not_end(status: str, ending: bool, ends: tuple[str, ...]) -> None:
    """It was attached again, perhaps to a colleague's machine."""
    user = machine(1, "train", status=status, linked_resources=[{"resource_id": "old", "kind": "storage"}])
    end = End(Action.END, machines=(user,) if ending else (), storage=(NEW,))
    one = EndRequest("gpu-1", "gpu-1", Entry(), ends_storage=True)
    found = with_storage(one, end, [OLD], ApiView(Account.of([], [user])))
    assert found.storage_ends == ends
    assert ("train" in " ".join(ended.lines_of_end("gpu-1", Entry(), found, would=False))) is (ends == ("new",))


USER = machine(1, "train", linked_resources=[{"resource_id": "new", "kind": "storage"}])


@pytest.mark.parametrize(
    ("plan", "machines", "ends"),
    [
        ({}, [], ("new",)),  # what an earlier machine has left stays, as with a sweep
        ({"ends_storage": False}, [], ()),
        ({"registry": ""}, [], ()),
        ({}, [USER], ()),
        ({}, [{**USER, "status": "deleted"}], ("new",)),
        ({}, [{**USER, "resource_id": "ended"}], ("new",)),
        ({}, None, ()),
    ],
)
def test_what_is_given_back_ends_its_storage_if_the_host_says_so(plan: Any, machines: Any, ends: Any) -> None:
    plan = {"ends_storage": True, "registry": "host_vars", **plan}
    assert storage_after_release(plan, [OLD, NEW], {"ended"}, machines) == ends


@pytest.mark.parametrize(
    ("claims", "resources", "reason"),
    [
        pytest.param([], [machine(1, resource_id="old")], "it is a machine: ", id="a machine of nobody"),
        pytest.param(
            [OwnershipClaim("gpu-2", "b", resource_ids=frozenset({"old"}))], [], "gpu-2 has it as well", id="machine"
        ),
        pytest.param(
            [OwnershipClaim("gpu-2", "b", storage_ids=frozenset({"old"}))], [], "gpu-2 has it as well", id="storage"
        ),
        pytest.param([OwnershipClaim("gpu-1", "a", storage_ids=frozenset({"old"}))], [], "", id="its own"),
        pytest.param(
            [OwnershipClaim("gpu-1 (storage old)", "d", "old", storage_of="gpu-1")], [], "", id="its own, kept"
        ),
    ],
)
def test_storage_that_is_a_machine_or_another_hosts_does_not_end(
    claims: list[OwnershipClaim], resources: list[Any], reason: str
) -> None:
    """What a registry calls storage, a person may have copied from another host's entry, or the API calls otherwise."""
    one = EndRequest("gpu-1", "gpu-1", Entry(), ends_storage=True)
    found = with_storage(one, End(Action.END, storage=(NEW,)), [OLD], ApiView(Account.of(claims, resources)))
    assert found.storage_ends == (("new",) if reason else ("new", "old"))
    (line,) = ended.lines_of_end("gpu-1", Entry(), found, would=False)
    assert f"; old does not end, since {reason}" in line if reason else "does not end" not in line


@pytest.mark.parametrize(("offer", "ends"), [("other", ()), (None, ()), ("o", ("new",))])
def test_what_is_a_machine_ends_as_storage_only_if_it_was_bought_with_it(offer: str | None, ends: Any) -> None:
    """The API may call what it called storage a machine once it runs; then it is the host's all the same."""
    item, resources = replace(NEW, offer_id="o"), [machine(1, resource_id="new", offer_id=offer)]
    assert storage_after_release({"ends_storage": True, "registry": "/r"}, [item], ["r"], resources) == ends
    one = EndRequest("gpu-1", "gpu-1", Entry(), ends_storage=True)
    view = ApiView(Account.of([], resources))
    assert with_storage(one, End(Action.END, storage=(item,)), [], view).storage_ends == ends
