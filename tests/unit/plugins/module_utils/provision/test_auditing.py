# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each machine that is billed has an owner, is contested or an orphan, and each claim has a machine or is gone."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.auditing import audit
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry, read_entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Claim, claim_of

NOW = 1_800_000_000.0
SEVERAL = "several hosts claim it"
UNNAMED = "it belongs to the host's offer, but the registry does not name it"
OFFERS = "several offers have machines of this name"
STRANGER = "it is called n, and the registry names only its offer"
NAMESAKE = "it has the name of a host whose registry names another machine"


def machine(key: str, name: str | None = "n", offer: str | None = "o", **fields: Any) -> dict[str, Any]:
    shown = {"resource_id": key, "name": name, "offer_id": offer, "status": "running", "vendor": "v"}
    return {**shown, "price_per_hour": 2.0, **fields}


def owns(host: str, *ids: str, offer: str = "", name: str = "", purchase: str = "") -> Claim:
    """The claim of a host with a registry entry."""
    entry = {"provision_resource_ids": list(ids), "provision_procured_offer_id": offer, "provision_purchase": purchase}
    return claim_of(host, name or host, read_entry(entry), by_name=False)


def named(host: str, name: str = "") -> Claim:
    """The claim of a host without a registry."""
    return Claim(host, name or host, by_name=True)


def brief(rows: list[Any]) -> list[tuple[Any, ...]]:
    return [(row["resource_id"], row["hosts"], row["trouble"]) for row in rows]


@pytest.mark.parametrize(
    ("machines", "claims", "claimed", "contested", "orphans"),
    [
        pytest.param([], [], [], [], [], id="nothing"),
        pytest.param([machine("r")], [owns("h", "r")], [("r", ["h"], "")], [], [], id="by id"),
        *(
            pytest.param([machine("r", name)], [owns("h", offer="o")], [("r", ["h"], "")], [], [], id=f"noted, {name}")
            for name in ("h",)
        ),
        pytest.param([machine("r")], [owns("h", offer="o")], [], [], [("r", ["h"], STRANGER)], id="noted, n"),
        pytest.param(
            [machine("r")], [owns("h", offer="o", purchase="made")], [("r", ["h"], "")], [], [], id="answered with yes"
        ),
        pytest.param([machine("r", "h")], [named("h")], [("r", ["h"], "")], [], [], id="by name"),
        pytest.param(
            [machine("r", "h")], [owns("h")], [], [], [("r", [], "")], id="with a registry a name is no claim"
        ),
        pytest.param([machine("r")], [named("h", "n")], [("r", ["h"], "")], [], [], id="by a name of its own"),
        pytest.param([machine("r")], [named("h")], [], [], [("r", [], "")], id="another name"),
        pytest.param(
            [machine("r")], [owns("b", "r"), owns("a", "r")], [], [("r", ["a", "b"], SEVERAL)], [], id="two by id"
        ),
        pytest.param(
            [machine("r", "a")], [named("a"), owns("b", "r"), owns("c", offer="x")], [("r", ["b"], "")], [], [],
            id="an id is worth more than a name",
        ),
        pytest.param(
            [machine("r")], [named("a", "n"), named("b", "n")], [], [("r", ["a", "b"], SEVERAL)], [],
            id="one name, two hosts",
        ),
        pytest.param(
            [machine("r")], [owns("h", "r", offer="p")], [("r", ["h"], "its offer is o, not that of the registry")],
            [], [],
            id="another offer",
        ),
        pytest.param(
            [machine("r", offer=None)], [owns("h", "r", offer="p")], [("r", ["h"], "")], [], [], id="no offer"
        ),
        pytest.param(
            [machine("r"), machine("s")], [owns("h", "r", offer="o")], [("r", ["h"], ""), ("s", ["h"], "")], [], [],
            id="a further machine of a purchase",
        ),
        pytest.param(
            [machine("r", "h", "o"), machine("s", "h", "p")], [named("h")], [],
            [("r", ["h"], OFFERS), ("s", ["h"], OFFERS)],
            [], id="one name, two offers",
        ),
        pytest.param(
            [machine("r", "h"), machine("s", "h")], [named("h")], [("r", ["h"], ""), ("s", ["h"], "")], [], [],
            id="one name, one offer",
        ),
        pytest.param(
            [machine("r", "h"), machine("s", "h-1", "p")], [named("h")], [("r", ["h"], "")], [], [("s", [], "")],
            id="a number of another offer",
        ),
        pytest.param(
            [machine("r", "h"), machine("s", "h", "p", status="deleted")], [named("h")], [("r", ["h"], "")], [], [],
            id="one name, but the other one has ended",
        ),
        pytest.param(
            [machine("r", "h"), machine("s", "h", "p")], [owns("h", "r", offer="o")], [("r", ["h"], "")], [],
            [("s", ["h"], NAMESAKE)], id="an orphan with the name of a registered host",
        ),
        pytest.param([machine("r", status="failed")], [], [], [], [("r", [], "")], id="failed is billed"),
        pytest.param([machine("r", status=None)], [], [], [], [("r", [], "")], id="unknown is billed"),
        *(
            pytest.param([machine("r", "h", status=word)], [named("h")], [], [], [], id=word)
            for word in ("deleting", "deleted", "terminated")
        ),
    ],
)  # fmt: skip
def test_each_machine_has_an_owner_or_is_an_orphan(
    machines: list[Any], claims: list[Claim], claimed: list[Any], contested: list[Any], orphans: list[Any]
) -> None:
    found = audit(machines, claims, {claim.host for claim in claims}, NOW)
    assert (brief(found.claimed), brief(found.contested), brief(found.orphans)) == (claimed, contested, orphans)
    assert found.unlisted == []
    # Those with the name of a host that owns another machine, which is rather bought twice.
    assert brief(found.doubled) == [row for row in brief(found.orphans) if row[2] == NAMESAKE]


def test_hosts_that_only_the_registry_knows_have_a_section() -> None:
    found = audit([machine("r"), machine("s", offer="p")], [owns("a", "r"), owns("b", "s")], {"b"}, NOW)
    assert (brief(found.claimed), brief(found.unlisted)) == ([("s", ["b"], "")], [("r", ["a"], "")])
    assert [row["hosts"] for row in found.published["claimed"]] == [["a"], ["b"]]


@pytest.mark.parametrize("status", [None, "deleting", "deleted"])
def test_what_is_claimed_by_id_and_has_ended_is_gone(status: str | None) -> None:
    found = audit([machine("r", status=status)] if status else [], [owns("h", "r", offer="p")], {"h"}, NOW)
    assert (found.claimed, found.orphans, brief(found.gone)) == ([], [], [("r", ["h"], "")])
    assert (found.gone[0]["status"], found.gone[0]["offer_id"]) == (status, "o" if status else "p")


def test_prices_are_summed_and_unknown_ones_counted() -> None:
    machines = [
        machine("r", price_per_hour=0.1),
        machine("s", price_per_hour=0.2),
        machine("t", price_per_hour=None),
        machine("u", None, "x", price_per_hour=4.0),
        machine("v", None, "x", price_per_hour=None),
        machine("w", price_per_hour=100.0, status="deleting"),
    ]
    published = audit(machines, [owns("h", "r", "s", "t", "w")], {"h"}, NOW).published
    assert published["price_per_hour"] == {"claimed": 0.3, "orphans": 4.0, "total": 4.3}
    assert published["unpriced"] == 2
    assert published.keys() == {"claimed", "orphans", "gone", "buying", "price_per_hour", "usd", "unpriced"}


def entry(offer: str, purchase: str, *ids: str) -> Entry:
    noted = {"provision_journaled_at": "2027-01-14T08:00:00Z", "provision_bought_by": "alice at bastion"}
    known = {"provision_procured_offer_id": offer, "provision_purchase": purchase, "provision_resource_ids": list(ids)}
    return read_entry({**noted, **known, "provision_price_per_hour": 2.5})


def test_a_purchase_without_a_machine_is_shown_while_it_counts() -> None:
    found = audit([machine("r", "h", "shown")], [owns("h", offer="shown", purchase="sent")], {"h"}, NOW)
    found.note_buying(
        [
            ("sent", entry("o1", "sent")),
            ("made", entry("o2", "made")),
            ("refused", entry("o3", "refused")),
            ("known", entry("o4", "made", "s")),
            ("h", entry("shown", "sent")),
            ("empty", read_entry(None)),
        ]
    )
    assert [(row["host"], row["offer_id"]) for row in found.published["buying"]] == [("made", "o2"), ("sent", "o1")]
    assert found.buying[0] == {
        **{"host": "made", "offer_id": "o2", "price_per_hour": 2.5, "run": "alice at bastion"},
        "since": "2027-01-14T08:00:00Z",
    }


def test_thousands_of_machines_and_hosts() -> None:
    count = 5000
    machines = [machine(f"r{n}", f"h{n}", f"o{n}") for n in range(count)]
    claims = [owns(f"h{n}", f"r{n}", offer=f"o{n}") if n % 2 else named(f"h{n}") for n in range(count)]
    began = time.process_time()
    found = audit(machines, claims, {claim.host for claim in claims}, NOW)
    assert len(found.claimed) == count
    assert time.process_time() - began < 3


def test_age_and_cost_so_far() -> None:
    day_ago = "2027-01-14T08:00:00Z"
    machines = [
        machine("r", created_at=day_ago),
        machine("s", created_at=day_ago, price_per_hour=None),
        machine("t", created_at=None),
        machine("u", created_at="yesterday"),
        machine("v", offer="x", created_at="2027-01-15T08:00:01Z"),
        machine("w", created_at=day_ago, status="deleting"),
    ]
    published = audit(machines, [owns("h", "r", "s", "t", "u", "w")], {"h"}, NOW).published
    shown = [(row["hours"], row["usd"]) for row in published["claimed"]]
    assert shown == [(24.0, 48.0), (24.0, None), (None, None), (None, None)]
    assert [(row["hours"], row["usd"]) for row in published["orphans"]] == [(0.0, 0.0)]
    assert [(row["hours"], row["usd"]) for row in published["gone"]] == [(None, None)]
    assert published["usd"] == {"claimed": 48.0, "orphans": 0.0, "total": 48.0}
