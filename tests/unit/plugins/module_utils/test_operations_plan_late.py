# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The step plan with a shared registry: late purchases of freed claims, and a list that still has ended machines."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._api.market import Market
from ansible_collections.compute_index.supply.plugins.module_utils._operations.plan import plan
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import (
    Ceilings,
    Database,
    Purchase,
)
from ansible_collections.compute_index.supply.plugins.module_utils._registry._row import Row

import postgresql
from account_api import AccountApi
from provision_samples import machine, machine_id, offer_id, raw
from samples import BASE, status

Json = dict[str, Any]
X, OTHER = offer_id(1), offer_id(2)
CHECK = "check mode"


def database(url: str) -> Database:
    return Database(url, {"host": "bastion", "user": "alice", "run": "other"})


def sent_claim(url: str, host: str = "gpu-1", offer: str = X, project: str = "default", **note: Any) -> Row:
    """Claim a host for a run that has sent its purchase."""
    facts = {"provision_resource_name": host, **note}
    return database(url).claim(Purchase(str(uuid.uuid4()), project, host, BASE, offer, 2.0, facts), Ceilings())


def freed_claim(url: str, *claim: str, **note: Any) -> Row:
    """Claim a host, and free it since nothing was bought."""
    row = sent_claim(url, *claim, **note)
    database(url).void(row, "not made", {})
    return row


def ended_claim(url: str, *claim: str) -> Row:
    """Claim a host, note that machine 1 was bought, and that it has ended."""
    row, shared = sent_claim(url, *claim), database(url)
    shared.note(Purchase(row.claim, row.project, row.host, row.account, row.offer), [machine_id(1)])
    shared.end(row, [machine_id(1)])
    return row


def stored_rows(url: str) -> list[Any]:
    """The rows of all purchases and machines."""
    purchases = postgresql.execute(url, "SELECT * FROM compute_index_supply.purchase ORDER BY claim")
    return [purchases, postgresql.execute(url, "SELECT * FROM compute_index_supply.machine ORDER BY resource")]


def planned(api: AccountApi, url: str, *, mode: str = "", **fields: Any) -> Json:
    """The plan for gpu-1. ``mode``: ``""``, ``"quote"`` or `CHECK`."""
    hosts = [raw(id="1", **fields)]
    given = {"hosts": hosts, "ids": ["1"], "registry_url": url, "here": "/", "api_url": BASE, "quote": mode == "quote"}
    defaults = {"api_token": "token", **{name: option.get("default") for name, option in steps.PLAN.items()}}
    return plan(cast(Market, api), {**defaults, **given}, mode == CHECK)


def actions(answer: Json) -> list[str]:
    return [each["action"] for each in answer["plans"]]


@pytest.mark.parametrize("project", ["default", "blue"])
@pytest.mark.parametrize("host", ["gpu-1", "gpu-7"])
@pytest.mark.parametrize("is_deleted", [True, False])
def test_listed_machine_of_an_ended_claim_is_not_noted(
    registry_url: str, project: str, host: str, is_deleted: bool
) -> None:
    """The list may show it for any time; the claim may be of this host, another host, or another project."""
    ended_claim(registry_url, host, X, project)
    before = stored_rows(registry_url)
    api = AccountApi(machine(1, host, X), gone=[machine_id(1)] if is_deleted else [])
    for _time in range(3):
        api.asked.clear()
        answer = planned(api, registry_url)
        assert (answer["changed"], api.lists) == (False, 1)
        # A machine of the host's own name may stop it by another rule.
        assert host == "gpu-1" or actions(answer) == ["buy"]
        assert not any("not made" in each for each in answer["warnings"])
    assert stored_rows(registry_url) == before


@pytest.mark.parametrize("mode", ["", "quote", CHECK])
def test_late_purchase_of_a_freed_claim_is_noted_with_one_more_list(registry_url: str, mode: str) -> None:
    freed_claim(registry_url)
    freed_claim(registry_url, "gpu-7", OTHER)
    bought = {X: status("ready", resource_ids=[machine_id(1)]), OTHER: status("ready", resource_ids=[machine_id(2)])}
    api = AccountApi(machine(1, "gpu-1", X), machine(2, "gpu-7", OTHER), bought=bought)
    before = stored_rows(registry_url)
    answer = planned(api, registry_url, mode=mode)
    warnings = [each for each in answer["warnings"] if "counted as not made" in each]
    assert len(warnings) == 2 and {f"fresh {machine_id(1)}", f"fresh {machine_id(2)}"} <= set(api.asked)
    if mode:
        assert (stored_rows(registry_url), answer["changed"], api.lists) == (before, False, 1)
        assert all("compute_index.supply.provision notes it as gpu-" in each for each in warnings)
        return
    assert answer["changed"] and api.lists <= 2 and actions(answer) == ["wait"]
    assert {row.host: row.resource_ids for row in database(registry_url).counted()} == {
        "gpu-1": [machine_id(1)],
        "gpu-7": [machine_id(2)],
    }
    api.asked.clear()
    assert not any("not made" in each for each in planned(api, registry_url)["warnings"]), "only once"


@pytest.mark.parametrize(
    ("now", "gone"),
    [
        ((), [machine_id(1)]),
        ([machine(1, "gpu-1", X, status="deleted")], ()),
        ([machine(1, "gpu-1", X, status="deleting")], ()),
        ([machine(1, "gpu-1", OTHER)], ()),
        ([machine(1, "train", X)], ()),
    ],
)
def test_lagging_list_does_not_revive_a_freed_claim(registry_url: str, now: Any, gone: Any) -> None:
    """Each machine is read by its id before it is noted."""
    freed_claim(registry_url)
    before = stored_rows(registry_url)
    api = AccountApi(machine(1, "gpu-1", X), now=now, gone=gone)
    answer = planned(api, registry_url)
    assert (stored_rows(registry_url), answer["changed"], api.lists) == (before, False, 1)
    assert f"fresh {machine_id(1)}" in api.asked and not any("not made" in each for each in answer["warnings"])


def test_machine_of_an_ended_claim_does_not_revive_a_freed_claim(registry_url: str) -> None:
    """The host claimed the offer twice: the first claim was freed, the second bought the machine, which has ended."""
    freed_claim(registry_url)
    ended_claim(registry_url)
    before = stored_rows(registry_url)
    api = AccountApi(machine(1, "gpu-1", X))
    assert planned(api, registry_url)["changed"] is False
    assert (stored_rows(registry_url), api.lists) == (before, 1)


def test_plan_lists_the_account_at_most_twice(registry_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for a late machine and once for open claims that a ceiling counts; both are warnings."""
    freed_claim(registry_url, "gpu-7", OTHER)
    sent_claim(registry_url, "gpu-8", offer_id(3))
    query = "UPDATE compute_index_supply.purchase SET held_until = now(), sent_at = now() - interval '1 hour'"
    postgresql.execute(registry_url, f"{query} WHERE host = 'gpu-8'")
    api = AccountApi(machine(2, "gpu-7", OTHER), bought={offer_id(3): status("failed")})
    answer = planned(api, registry_url, max_total_price_per_hour="5")
    assert any("counted as not made" in each for each in answer["warnings"])
    assert any("that has ended. Offer" in each for each in answer["warnings"])
    assert api.lists <= 2 and answer["changed"]
    api.asked.clear()
    assert actions(planned(api, registry_url, max_total_price_per_hour="5")) == ["buy"]


@pytest.mark.parametrize(
    ("project", "ceiling"),
    [
        ("default", "max_total_price_per_hour"),
        ("default", "max_account_price_per_hour"),
        ("blue", "max_account_price_per_hour"),
    ],
)
@pytest.mark.parametrize("mode", ["", "quote", CHECK])
def test_plan_settles_the_dead_claims_that_its_ceiling_counts(
    registry_url: str, project: str, ceiling: str, mode: str
) -> None:
    """An account's ceiling also counts other projects. A quote and check mode settle nothing."""
    sent_claim(registry_url, "gpu-8", offer_id(3), project)
    query = "UPDATE compute_index_supply.purchase SET held_until = now(), sent_at = now() - interval '1 hour'"
    postgresql.execute(registry_url, query)
    api = AccountApi(bought={offer_id(3): status("failed")})
    answer = planned(api, registry_url, mode=mode, **{ceiling: "3"})
    (state,) = postgresql.execute(registry_url, "SELECT state FROM compute_index_supply.purchase")
    if mode:
        assert (actions(answer), answer["changed"], state) == (["stop"], False, ("buying",))
    else:
        assert (actions(answer), answer["changed"], state) == (["buy"], True, ("ended",))


@pytest.mark.parametrize(
    ("content", "action", "refusal"),
    [
        (f"provision_procured_offer_id: {X}\nprovision_purchase: sent\n", "stop", X),
        ("[]\n", "stop", "holds no mapping"),
        (f"provision_procured_offer_id: {X}\nprovision_purchase: refused\n", "buy", ""),
        ("provision_groups: [gpu]\n", "buy", ""),
    ],
    ids=["open purchase", "unreadable", "refused purchase", "no purchase"],
)
def test_host_whose_purchase_is_only_in_its_file_stops(
    registry_url: str, tmp_path: Path, content: str, action: str, refusal: str
) -> None:
    """It is to be moved into the shared registry first; otherwise the host would buy a second machine."""
    file = tmp_path / "gpu-1" / "compute_index_supply.yml"
    file.parent.mkdir()
    file.write_text(content)
    (host_plan,) = planned(AccountApi(), registry_url, registry_dir=str(tmp_path))["plans"]
    assert host_plan["action"] == action and refusal in host_plan["refusal"], host_plan["refusal"]
    assert action == "buy" or str(file) in host_plan["refusal"]


@pytest.mark.parametrize("mode", ["", "quote", CHECK])
@pytest.mark.parametrize("project", ["default", "blue"])
def test_offer_of_a_live_or_ended_claim_is_not_planned(registry_url: str, project: str, mode: str) -> None:
    """The API may list sold or failed offers, whose purchase would be refused. Offers of freed claims, and of lapsed
    claims that were never sent, may be bought."""
    free, had, has, lapsed = (offer_id(number) for number in (100, 101, 102, 103))
    freed_claim(registry_url, "gpu-7", free, project)
    ended_claim(registry_url, "gpu-1", had, project)
    sent_claim(registry_url, "gpu-8", has, project)
    sent_claim(registry_url, "gpu-9", lapsed, project)
    query = "UPDATE compute_index_supply.purchase SET held_until = now(), sent_at = NULL WHERE host = 'gpu-9'"
    postgresql.execute(registry_url, query)
    api = AccountApi(offers=4)
    for listed, planned_for in ([had, has, free], [free]), ([has, had], [""]), ([had, lapsed], [lapsed]):
        api.offers = [each for each in AccountApi(offers=4).offers if each["offer_id"] in listed]
        answer = planned(api, registry_url, mode=mode)
        assert [each["offer_id"] for each in answer["plans"]] == planned_for
        assert planned_for != [""] or "none is left for this host" in answer["plans"][0]["refusal"]
    for wanted, action in (had, "stop"), (has, "stop"), (free, "buy"), (lapsed, "buy"):
        api = AccountApi(offers=4)
        (row,) = planned(api, registry_url, mode=mode, offer_id=wanted)["plans"]
        assert (row["action"], "has, had or wants" in row["refusal"]) == (action, action == "stop")


@dataclass(frozen=True)
class RandomClaim:
    """A claim, and the machine of its offer in the list. ``runs``: whether the machine exists."""

    state: str
    project: str
    host: str
    name: str | None
    runs: bool

    @classmethod
    def drawn(cls, chance: Random) -> RandomClaim:
        host = chance.choice(["gpu-1", "gpu-7"])
        state = chance.choice(["void", "void, refused", "void, put off", "ended", "live"])
        name = chance.choice([host, host, host, "train", None])
        return cls(state, chance.choice(["default", "blue"]), host, name, chance.random() < 0.5)

    def enter(self, url: str, number: int) -> None:
        refused = {"void, refused": 409, "void, put off": 429}.get(self.state)
        note = {} if refused is None else {"provision_refused_status": refused}
        row, shared = sent_claim(url, self.host, offer_id(number), self.project, **note), database(url)
        if self.state.startswith("void"):
            shared.void(row, "not made", {})
            return
        shared.note(Purchase(row.claim, row.project, row.host, row.account, row.offer), [machine_id(number)])
        if self.state == "ended":
            shared.end(row, [machine_id(number)])


@pytest.mark.parametrize("seed", range(60))
def test_plan_of_a_random_world_notes_only_late_machines_that_run(registry_url: str, seed: int) -> None:
    """Claims that were freed, ended or bought, and a list that shows deleted machines."""
    chance = Random(seed)
    drawn = [RandomClaim.drawn(chance) for _number in range(chance.randint(1, 4))]
    live = [(claim.project, claim.host) for claim in drawn if claim.state == "live"]
    claims = drawn if len(live) == len(set(live)) else drawn[:1]
    for number, claim in sorted(enumerate(claims), key=lambda each: each[1].state == "live"):
        claim.enter(registry_url, number)
    ours = {number for number, claim in enumerate(claims) if claim.state in ("void", "void, put off")}
    late = {machine_id(n) for n in ours if claims[n].runs and claims[n].name == claims[n].host}
    known, before = {row.claim for row in database(registry_url).counted()}, stored_rows(registry_url)
    listed = [machine(number, claim.name, offer_id(number)) for number, claim in enumerate(claims)]
    gone = [machine_id(number) for number, claim in enumerate(claims) if not claim.runs]
    bought = {offer_id(number): status("ready", resource_ids=[machine_id(number)]) for number in range(len(claims))}
    api, mode = AccountApi(*listed, gone=gone, bought=bought), chance.choice(["", "", "quote", CHECK])
    answer = planned(api, registry_url, mode=mode)
    assert api.lists <= 2
    noted = {key for row in database(registry_url).counted() if row.claim not in known for key in row.resource_ids}
    # A host that has its machine needs no list.
    assert noted == (set() if mode or not api.lists else late)
    assert answer["changed"] is bool(noted) and (noted or stored_rows(registry_url) == before)
