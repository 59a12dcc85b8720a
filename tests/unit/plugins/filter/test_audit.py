# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each machine that is billed has an owner or is an orphan, and each claim has a machine or is gone."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.filter.audit import audit

SEVERAL = "several hosts claim it"
UNNAMED = "it belongs to the host's offer, but the registry does not name it"
OFFERS = "several offers have machines of this name"
STRANGER = "it is called n, and the registry names only its offer"
NAMESAKE = "it has the name of a host whose registry names another machine"


def machine(key: str, name: str | None = "n", offer: str | None = "o", **fields: Any) -> dict[str, Any]:
    shown = {"resource_id": key, "name": name, "offer_id": offer, "status": "running", "vendor": "v"}
    return {**shown, "price_per_hour": 2.0, **fields}


def owns(*ids: str, offer: str | None = None, name: str | None = None) -> dict[str, Any]:
    """What the registry says of a host."""
    entry = {"provision_resource_ids": list(ids), "provision_procured_offer_id": offer, "provision_resource_name": name}
    return {key: value for key, value in entry.items() if value}


WISHES = {"provision_spec": {"compute": {"gpu_type": "H100"}}}
FIXED = {"provision_offer_id": "o"}


def brief(rows: list[Any]) -> list[tuple[Any, ...]]:
    return [(row["resource_id"], row["hosts"], row["trouble"]) for row in rows]


def held(resources: list[Any], hosts: Any, **more: Any) -> tuple[Any, Any, Any]:
    found = audit(resources, hosts, **more)
    return brief(found["claimed"]), brief(found["orphans"]), brief(found["gone"])


@pytest.mark.parametrize(
    ("resources", "hosts", "claimed", "orphans"),
    [
        pytest.param([], {}, [], [], id="nothing"),
        pytest.param([machine("r")], {"h": owns("r")}, [("r", ["h"], "")], [], id="by id"),
        *(
            pytest.param([machine("r", name)], {"h": owns(offer="o")}, [("r", ["h"], trouble)], [], id=f"noted, {name}")
            for name, trouble in (("h", ""), ("h-1", ""), (None, ""), ("n", STRANGER))
        ),
        pytest.param([machine("r", "h")], {"h": WISHES}, [("r", ["h"], "")], [], id="by name"),
        pytest.param([machine("r", "h")], {"h": FIXED}, [("r", ["h"], "")], [], id="by name, with a fixed offer"),
        pytest.param(
            [machine("r")], {"h": {**WISHES, "provision_resource_name": "n"}}, [("r", ["h"], "")], [],
            id="by a name of its own",
        ),
        pytest.param([machine("r")], {"h": owns("r", offer="o")}, [("r", ["h"], "")], [], id="by id and offer"),
        pytest.param([machine("r", None, None)], {"h": owns(name="h", offer="x")}, [], [("r", [], "")], id="nameless"),
        pytest.param([machine("r", "h")], {"h": {}}, [], [("r", [], "")], id="a host without a declaration"),
        pytest.param([machine("r", "h")], {"h": None}, [], [("r", [], "")], id="a host without variables"),
        pytest.param(
            [machine("r", "h")], {"h": {"provision_resource_name": "h"}}, [], [("r", [], "")],
            id="a name is no declaration",
        ),
        pytest.param([machine("r")], {"h": WISHES}, [], [("r", [], "")], id="another name"),
        pytest.param(
            [machine("r")], {"b": owns("r"), "a": owns("r")}, [("r", ["b", "a"], SEVERAL)], [], id="two by id"
        ),
        pytest.param(
            [machine("r", "a")], {"a": WISHES, "b": owns(offer="o")}, [("r", ["b", "a"], SEVERAL)], [],
            id="one by offer, one by name",
        ),
        pytest.param(
            [machine("r", "a")], {"a": WISHES, "b": owns("r"), "c": owns(offer="o")}, [("r", ["b"], "")], [],
            id="an id is worth more than an offer and a name",
        ),
        pytest.param(
            [machine("r")], {"h": owns("r", offer="p")}, [("r", ["h"], "its offer is o, not that of the registry")], [],
            id="another offer",
        ),
        pytest.param([machine("r", offer=None)], {"h": owns("r", offer="p")}, [("r", ["h"], "")], [], id="no offer"),
        pytest.param(
            [machine("r"), machine("s")], {"h": owns("r", offer="o")}, [("r", ["h"], ""), ("s", ["h"], UNNAMED)], [],
            id="sibling that is not registered",
        ),
        pytest.param(
            [machine("r", "h", "o"), machine("s", "h", "p")], {"h": WISHES},
            [("r", ["h"], OFFERS), ("s", ["h"], OFFERS)], [], id="one name, two offers",
        ),
        pytest.param(
            [machine("r", "h"), machine("s", "h")], {"h": WISHES}, [("r", ["h"], ""), ("s", ["h"], "")], [],
            id="one name, one offer",
        ),
        pytest.param(
            [machine("r", "h", "o"), machine("s", "h", "p", status="deleted")], {"h": WISHES}, [("r", ["h"], "")], [],
            id="one name, but the other one has ended",
        ),
        pytest.param(
            [machine("r", "h", "o"), machine("s", "h", "p")], {"h": owns("r", offer="o")}, [("r", ["h"], "")],
            [("s", ["h"], NAMESAKE)], id="orphan with the name of a registered host",
        ),
        pytest.param(
            [machine("r", "h", "p")], {"h": owns(offer="o")}, [], [("r", ["h"], NAMESAKE)], id="a journal has no name"
        ),
        pytest.param(
            [machine("r"), machine("s"), machine("t")], {"b": owns("r"), "a": owns("t")},
            [("t", ["a"], ""), ("r", ["b"], "")], [("s", [], "")], id="in the order of the hosts",
        ),
        pytest.param([machine("r", status="failed")], {}, [], [("r", [], "")], id="failed is billed"),
        pytest.param([machine("r", status=None)], {}, [], [("r", [], "")], id="unknown is billed"),
        *(
            pytest.param([machine("r", status=word)], {"h": owns(offer="o")}, [], [], id=word)
            for word in ("deleting", "deleted", "terminated")
        ),
    ],
)  # fmt: skip
def test_each_machine_has_an_owner_or_is_an_orphan(
    resources: list[Any], hosts: Any, claimed: list[Any], orphans: list[Any]
) -> None:
    assert held(resources, hosts)[:2] == (claimed, orphans)


@pytest.mark.parametrize(
    ("resources", "status", "name", "offer"),
    [
        ([], None, None, "p"),
        ([machine("r", status="deleting")], "deleting", "n", "o"),
        ([machine("r", status="deleted")], "deleted", "n", "o"),
    ],
    ids=["unknown", "deleting", "deleted"],
)
def test_what_is_claimed_by_id_and_has_ended_is_gone(resources: Any, status: Any, name: Any, offer: str) -> None:
    found = audit(resources, {"h": owns("r", offer="p")})
    assert (found["claimed"], found["orphans"]) == ([], [])
    assert found["gone"] == [
        {
            **dict.fromkeys(("vendor", "price_per_hour")),
            **({"vendor": "v", "price_per_hour": 2.0} if resources else {}),
            **{"hosts": ["h"], "resource_id": "r", "name": name, "offer_id": offer, "status": status, "trouble": ""},
        }
    ]


def test_a_machine_that_failed_is_not_gone_and_a_journal_names_none() -> None:
    assert held([machine("r", status="failed")], {"h": owns("r"), "j": owns(offer="x")}) == ([("r", ["h"], "")], [], [])


def test_each_host_loses_what_it_claims() -> None:
    gone = held([machine("r")], {"a": owns("r", "s"), "b": owns("s")})[2]
    assert gone == [("s", ["a"], ""), ("s", ["b"], "")]


@pytest.mark.parametrize(
    ("hosts", "registered", "claimed"),
    [
        ({}, {"h": owns("r")}, {"r": ["h"]}),
        ({"h": {}}, {"h": owns("r")}, {"r": ["h"]}),
        ({"h": owns("s")}, {"h": owns("r")}, {"s": ["h"]}),
        ({"h": owns("s")}, {"h": owns("r", offer="o")}, {"r": ["h"], "s": ["h"]}),
        ({"h": WISHES}, {"h": owns("r")}, {"r": ["h"]}),
        ({"h": owns("r")}, {"h": None, "x": None}, {"r": ["h"]}),
        ({"h": owns("r")}, None, {"r": ["h"]}),
    ],
    ids=str,
)
def test_what_registry_files_say_stands_below_the_variables(hosts: Any, registered: Any, claimed: Any) -> None:
    found = held([machine("r"), machine("s")], hosts, registered=registered)
    assert {key: owners for key, owners, _trouble in found[0]} == claimed


def test_prices_are_summed_and_unknown_ones_counted() -> None:
    resources = [
        machine("r", price_per_hour=0.1),
        machine("s", price_per_hour=0.2),
        machine("t", price_per_hour=None),
        machine("u", None, "x", price_per_hour=4.0),
        machine("v", None, "x", price_per_hour=None),
        machine("w", price_per_hour=100.0, status="deleting"),
    ]
    found = audit(resources, {"h": owns("r", "s", "t", "w")})
    assert found["price_per_hour"] == {"claimed": 0.3, "orphans": 4.0, "total": 4.3}
    assert found["unpriced"] == 2
