# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines that a freed claim of a shared registry has bought after all, and a list that shows what has ended."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
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


def claimed(url: str, host: str = "gpu-1", offer: str = X, project: str = "default", **note: Any) -> Row:
    """The claim of a run that has sent its purchase."""
    facts = {"provision_resource_name": host, **note}
    return database(url).claim(Purchase(str(uuid.uuid4()), project, host, BASE, offer, 2.0, facts), Ceilings())


def freed(url: str, *wanted: str, **note: Any) -> Row:
    row = claimed(url, *wanted, **note)
    database(url).void(row, "not made", {})
    return row


def ended(url: str, *wanted: str) -> Row:
    """The claim of a purchase that was made, and whose machine, the first, was deleted."""
    row, shared = claimed(url, *wanted), database(url)
    shared.note(Purchase(row.claim, row.project, row.host, row.account, row.offer), [machine_id(1)])
    shared.end(row, [machine_id(1)])
    return row


def stored(url: str) -> list[Any]:
    """All that the registry has on record."""
    purchases = postgresql.execute(url, "SELECT * FROM compute_index_supply.purchase ORDER BY claim")
    return [purchases, postgresql.execute(url, "SELECT * FROM compute_index_supply.machine ORDER BY resource")]


def planned(api: AccountApi, url: str, *, mode: str = "", **fields: Any) -> Json:
    """The plan of the role for gpu-1; a quote, or check mode, if that is asked for."""
    hosts = [raw(id="1", **fields)]
    given = {"hosts": hosts, "ids": ["1"], "registry_url": url, "here": "/", "api_url": BASE, "quote": mode == "quote"}
    defaults = {"api_token": "token", **{name: option.get("default") for name, option in steps.PLAN.items()}}
    return plan(cast(Market, api), {**defaults, **given}, mode == CHECK)


def actions(answer: Json) -> list[str]:
    return [each["action"] for each in answer["plans"]]


@pytest.mark.parametrize("project", ["default", "blue"])
@pytest.mark.parametrize("host", ["gpu-1", "gpu-7"])
@pytest.mark.parametrize("is_deleted", [True, False])
def test_a_machine_of_an_ended_claim_is_left_to_the_audit(
    registry_url: str, project: str, host: str, is_deleted: bool
) -> None:
    """The list shows it for as long as it likes, be it of this host, of another one, or of another project."""
    ended(registry_url, host, X, project)
    before = stored(registry_url)
    api = AccountApi(machine(1, host, X), gone=[machine_id(1)] if is_deleted else [])
    for _time in range(3):
        api.asked.clear()
        answer = planned(api, registry_url)
        assert (answer["changed"], api.lists) == (False, 1)
        # Whether a machine of the host's own name is in its way is another rule.
        assert host == "gpu-1" or actions(answer) == ["buy"]
        assert not any("not made" in each for each in answer["warnings"])
    assert stored(registry_url) == before


@pytest.mark.parametrize("mode", ["", "quote", CHECK])
def test_what_a_freed_claim_has_bought_is_noted_in_one_more_look(registry_url: str, mode: str) -> None:
    freed(registry_url)
    freed(registry_url, "gpu-7", OTHER)
    bought = {X: status("ready", resource_ids=[machine_id(1)]), OTHER: status("ready", resource_ids=[machine_id(2)])}
    api = AccountApi(machine(1, "gpu-1", X), machine(2, "gpu-7", OTHER), bought=bought)
    before = stored(registry_url)
    answer = planned(api, registry_url, mode=mode)
    told = [each for each in answer["warnings"] if "counted as not made" in each]
    assert len(told) == 2 and {f"fresh {machine_id(1)}", f"fresh {machine_id(2)}"} <= set(api.asked)
    if mode:
        assert (stored(registry_url), answer["changed"], api.lists) == (before, False, 1)
        assert all("compute_index.supply.provision notes it as gpu-" in each for each in told)
        return
    assert answer["changed"] and api.lists <= 2 and actions(answer) == ["wait"]
    assert {row.host: row.resource_ids for row in database(registry_url).counted()} == {
        "gpu-1": [machine_id(1)],
        "gpu-7": [machine_id(2)],
    }
    api.asked.clear()
    assert not any("not made" in each for each in planned(api, registry_url)["warnings"]), "and never again"


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
def test_a_list_that_lags_makes_nothing_of_a_freed_claim(registry_url: str, now: Any, gone: Any) -> None:
    """The machine is asked for by its id before anything is noted."""
    freed(registry_url)
    before = stored(registry_url)
    api = AccountApi(machine(1, "gpu-1", X), now=now, gone=gone)
    answer = planned(api, registry_url)
    assert (stored(registry_url), answer["changed"], api.lists) == (before, False, 1)
    assert f"fresh {machine_id(1)}" in api.asked and not any("not made" in each for each in answer["warnings"])


def test_what_another_claim_of_the_offer_has_bought_is_no_news(registry_url: str) -> None:
    """The host claimed the offer twice: the first claim came to nothing, the second one was bought and has ended."""
    freed(registry_url)
    ended(registry_url)
    before = stored(registry_url)
    api = AccountApi(machine(1, "gpu-1", X))
    assert planned(api, registry_url)["changed"] is False
    assert (stored(registry_url), api.lists) == (before, 1)


def test_a_plan_looks_again_once_whatever_has_changed(registry_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A late machine, and then a ceiling whose open claims are settled: both are told, and two looks are all."""
    freed(registry_url, "gpu-7", OTHER)
    claimed(registry_url, "gpu-8", offer_id(3))
    query = "UPDATE compute_index_supply.purchase SET held_until = now(), sent_at = now() - interval '1 hour'"
    postgresql.execute(registry_url, f"{query} WHERE host = 'gpu-8'")
    api = AccountApi(machine(2, "gpu-7", OTHER), bought={offer_id(3): status("failed")})
    answer = planned(api, registry_url, max_total_price_per_hour="5")
    assert any("counted as not made" in each for each in answer["warnings"])
    assert any("that has ended. Offer" in each for each in answer["warnings"])
    assert api.lists <= 2 and answer["changed"]
    api.asked.clear()
    assert actions(planned(api, registry_url, max_total_price_per_hour="5")) == ["buy"]


@pytest.mark.parametrize("mode", ["", "quote", CHECK])
@pytest.mark.parametrize("project", ["default", "blue"])
def test_what_a_claim_has_or_had_is_planned_for_nobody(registry_url: str, project: str, mode: str) -> None:
    """An API may list an offer that was sold, or has failed: its purchase would be refused. What came to nothing may
    be bought, and so may what a run that died before its purchase has claimed."""
    free, had, has, lapsed = (offer_id(number) for number in (100, 101, 102, 103))
    freed(registry_url, "gpu-7", free, project)
    ended(registry_url, "gpu-1", had, project)
    claimed(registry_url, "gpu-8", has, project)
    claimed(registry_url, "gpu-9", lapsed, project)
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
class Deal:
    """A claim of the world, and the machine that the list shows for its offer; ``runs``: what the book says of it."""

    state: str
    project: str
    host: str
    name: str | None
    runs: bool

    @classmethod
    def drawn(cls, chance: Random) -> Deal:
        host = chance.choice(["gpu-1", "gpu-7"])
        state = chance.choice(["void", "void, refused", "void, put off", "ended", "live"])
        name = chance.choice([host, host, host, "train", None])
        return cls(state, chance.choice(["default", "blue"]), host, name, chance.random() < 0.5)

    def enter(self, url: str, number: int) -> None:
        refused = {"void, refused": 409, "void, put off": 429}.get(self.state)
        note = {} if refused is None else {"provision_refused_status": refused}
        row, shared = claimed(url, self.host, offer_id(number), self.project, **note), database(url)
        if self.state.startswith("void"):
            shared.void(row, "not made", {})
            return
        shared.note(Purchase(row.claim, row.project, row.host, row.account, row.offer), [machine_id(number)])
        if self.state == "ended":
            shared.end(row, [machine_id(number)])


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_listed_a_plan_ends_after_two_looks_and_notes_only_what_runs(registry_url: str, seed: int) -> None:
    """Random worlds: claims that were freed, ended or bought, and a list that shows machines that have been deleted."""
    chance = Random(seed)
    drawn = [Deal.drawn(chance) for _number in range(chance.randint(1, 4))]
    live = [(deal.project, deal.host) for deal in drawn if deal.state == "live"]
    deals = drawn if len(live) == len(set(live)) else drawn[:1]
    for number, deal in sorted(enumerate(deals), key=lambda each: each[1].state == "live"):
        deal.enter(registry_url, number)
    ours = {number for number, deal in enumerate(deals) if deal.state in ("void", "void, put off")}
    late = {machine_id(n) for n in ours if deals[n].runs and deals[n].name == deals[n].host}
    known, before = {row.claim for row in database(registry_url).counted()}, stored(registry_url)
    listed = [machine(number, deal.name, offer_id(number)) for number, deal in enumerate(deals)]
    gone = [machine_id(number) for number, deal in enumerate(deals) if not deal.runs]
    bought = {offer_id(number): status("ready", resource_ids=[machine_id(number)]) for number in range(len(deals))}
    api, mode = AccountApi(*listed, gone=gone, bought=bought), chance.choice(["", "", "quote", CHECK])
    answer = planned(api, registry_url, mode=mode)
    assert api.lists <= 2
    noted = {key for row in database(registry_url).counted() if row.claim not in known for key in row.resource_ids}
    # A host that has its machine needs no list.
    assert noted == (set() if mode or not api.lists else late)
    assert answer["changed"] is bool(noted) and (noted or stored(registry_url) == before)
