# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that is named by its id ends only if no host owns it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import orphans
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import OwnershipClaim

OTHER = "other"


def machine(key: str = "r", name: str | None = "n", offer: str | None = "o", **fields: Any) -> dict[str, Any]:
    shown = {"resource_id": key, "name": name, "offer_id": offer, "status": "running", "vendor": "v"}
    return {**shown, "price_per_hour": 2.0, **fields}


@pytest.mark.parametrize(
    ("machines", "claims", "said"),
    [
        pytest.param([machine()], [], "", id="nobody's"),
        pytest.param([machine()], [OwnershipClaim("n", "n")], "", id="with a registry a name is no claim"),
        pytest.param([machine()], [OwnershipClaim("n", "n", by_name=True)], "is owned by n", id="without one it is"),
        pytest.param([machine()], [OwnershipClaim("h", "x", resource_ids=frozenset("r"))], "is owned by h", id="by id"),
        pytest.param(
            [machine("R")], [OwnershipClaim("h", "x", resource_ids=frozenset("r"))], "is owned by h", id="in capitals"
        ),
        pytest.param(
            [machine(status="deleted")],
            [OwnershipClaim("h", "x", resource_ids=frozenset("r"))],
            "is owned by h",
            id="gone",
        ),
        pytest.param([], [OwnershipClaim("h", "x", resource_ids=frozenset("r"))], "is owned by h", id="not listed"),
        pytest.param(
            [machine()], [OwnershipClaim("h", "x", "o", bought=True)], "is owned by h", id="of an offer that was bought"
        ),
        pytest.param(
            [machine()], [OwnershipClaim("h", "n", "o", unanswered=True)], "is owned by h", id="by offer and name"
        ),
        pytest.param(
            [machine()],
            [OwnershipClaim("h", "x", "o", unanswered=True)],
            "h may just be buying",
            id="the API keeps no names",
        ),
        pytest.param([machine()], [OwnershipClaim("h", "x", "p", unanswered=True)], "", id="another offer"),
        pytest.param(
            [machine(offer=None)],
            [OwnershipClaim("h", "n", "o", unanswered=True)],
            "h may just be buying",
            id="no offer is told",
        ),
        pytest.param(
            [machine(name="n-2", offer=None)],
            [OwnershipClaim("h", "n", "o", bought=True)],
            "h may just be buying",
            id="a cluster",
        ),
        pytest.param(
            [machine(offer=None)], [OwnershipClaim("h", "x", "o", unanswered=True)], "", id="no offer and another name"
        ),
        pytest.param(
            [machine(offer="p")], [OwnershipClaim("h", "n", "o", unanswered=True)], "", id="another offer of the name"
        ),
        pytest.param(
            [machine(), machine(OTHER)],
            [OwnershipClaim("h", "x", "o", frozenset({OTHER}), bought=True)],
            "is owned by h",
            id="a further machine of a purchase",
        ),
        pytest.param(
            [machine()],
            [OwnershipClaim("a", "x", resource_ids=frozenset("r")), OwnershipClaim("b", "y", "o", bought=True)],
            "is owned by a",
            id="an id counts more",
        ),
    ],
)
def test_only_what_no_host_owns_may_end(
    machines: list[dict[str, Any]], claims: list[OwnershipClaim], said: str
) -> None:
    objection = orphans.objection("r", machines, claims)
    assert said in objection if said else objection == ""
    assert "Nothing was ended." in objection or not said


@pytest.mark.parametrize("seed", range(300))
def test_no_machine_that_a_registry_names_ends_by_its_id(seed: int) -> None:
    """Of random accounts: whoever has an id in a registry, or bought its offer, is in the way."""
    dice = random.Random(seed)
    ids, offers = [f"r{number}" for number in range(6)], ["o1", "o2", "o3"]
    machines = [machine(key, dice.choice(["a", "b", None]), dice.choice([*offers, None])) for key in ids]
    claims = []
    for host in ("h1", "h2", "h3"):
        owned = frozenset(dice.sample(ids, dice.randrange(3)))
        bought = bool(owned) or dice.random() < 0.5
        claims.append(OwnershipClaim(host, "a", dice.choice([*offers, ""]), owned, not bought, bought=bought))
    for each in machines:
        together = {m["resource_id"] for m in machines if m["offer_id"] and m["offer_id"] == each["offer_id"]}
        named = any(each["resource_id"] in claim.resource_ids for claim in claims)
        bought_with = any(claim.offer_id and claim.offer_id == each["offer_id"] for claim in claims)
        # What says of no offer may be what a purchase has bought of which no machine is known.
        open_ = [claim for claim in claims if claim.offer_id and not claim.resource_ids]
        may_be = each["offer_id"] is None and each["name"] == "a" and bool(open_)
        objection = orphans.objection(each["resource_id"], machines, claims)
        assert objection or not (named or bought_with or may_be), (each, claims)
        # Machines of one offer belong together: whose the others are is in the way, too.
        siblings = any(claim.resource_ids & together for claim in claims)
        assert not objection or named or bought_with or siblings or may_be, (each, claims)


def test_a_reason_says_something() -> None:
    assert orphans.check_reason(" left by\n a test ") == "left by a test"
    with pytest.raises(ValueError, match="must say why"):
        orphans.check_reason(" ab \n c")


def test_what_was_bought_beside_a_hosts_own_machine_ends_by_its_id() -> None:
    stray, own = (
        OwnershipClaim("h (stray 1)", "h", "o", frozenset("r"), bought=True),
        OwnershipClaim("h", "h", "p", frozenset("s")),
    )
    machines = [machine(), machine("s", offer="p")]
    assert orphans.objection("r", machines, [stray, own], {stray.host}) == ""
    assert "h (stray 1)" in orphans.known_as("r", [stray, own], {stray.host})
    assert orphans.known_as("s", [stray, own], {stray.host}) == ""
    # Of another project, or of the host itself, nothing ends so.
    assert orphans.objection("r", machines, [stray, own]) and orphans.objection(
        "s", machines, [stray, own], {stray.host}
    )
