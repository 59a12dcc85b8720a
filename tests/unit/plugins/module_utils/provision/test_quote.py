# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines and the artifact of a quote."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.planning import (
    BUY,
    KEEP,
    LATER,
    STOP,
    WAIT,
    Plan,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.quote import quoted
from ansible_collections.compute_index.supply.plugins.module_utils._text import LINE, folded_lines, seconds_of

from provision_samples import offer, offer_id

KEPT_IN = "registry: host_vars"


def buys(host: str, number: int, price: float | None = 2.0, **fields: Any) -> Plan:
    its = offer(number, price, **fields)
    return Plan(host, BUY, its["offer_id"], its, price)


def quote(*plans: Plan) -> dict[str, Any]:
    return quoted(plans, KEPT_IN)


def test_a_quote_shows_hosts_and_offers_beside_them() -> None:
    found = quote(buys("gpu-1", 1, 1.5), buys("gpu-2", 2), Plan("gpu-3", KEEP, offer_id(3), price_per_hour=4.0))
    assert [line.split()[0] for line in found["lines"][:4]] == ["host", "gpu-1", "gpu-2", "gpu-3"]
    assert found["lines"][4:] == [
        "",
        "USD per hour in total: 7.50, until you end them",
        "Registry: host_vars",
        "Buy them: compute_index.supply.provision",
    ]
    published = found["ansible_stats"]["data"]["quote"]
    assert published["price_per_hour"] == 7.5 and found["refusals"] == {}
    assert [(one["owned"], one["gpu_type"]) for one in published["hosts"].values()][1:] == [
        (False, "nvidia-h100-sxm5-80gb"),
        (True, "owned already"),
    ]


@pytest.mark.parametrize(
    ("plans", "said"),
    [
        ([Plan("a", KEEP, offer_id(3), price_per_hour=4.0)], "nothing to buy"),
        ([Plan("a", STOP, refusal="None.")], "nothing to buy"),
        ([buys("a", 1), buys("b", 2)], "a, b: USD 4.00 per hour, no cap on the bill"),
        (
            [
                replace(buys("a", 1, expires_at="2026-11-28T20:50:00Z"), end=1_800_000_000.0, bill=16.0),
                Plan("b", KEEP, offer_id(3), price_per_hour=4.0),
            ],
            "a: USD 2.00 per hour, at most USD 16.00 in all until 2027-01-15 08:00 UTC; offers hold until"
            " 2026-11-28 20:50 UTC",
        ),
        (
            [buys(f"h{n}", n) for n in range(1, 8)],
            "h1, h2, h3, h4, h5 and 2 more: USD 14.00 per hour, no cap on the bill",
        ),
    ],
)
def test_an_approval_shows_hosts_prices_bill_and_end(plans: list[Plan], said: str) -> None:
    found = quote(*plans)
    summary = found["summary"].split("; offers hold until")[0] if "hold" not in said else found["summary"]
    assert summary == said and found["ansible_stats"]["data"]["quote"]["summary"] == found["summary"]


def test_a_quote_names_storage_that_goes_on() -> None:
    sold = {"name": "data", "size_gb": 500, "type": "block_disk", "hourly_cost": 0.0548, "persistent": True}
    owned = Plan("gpu-3", KEEP, offer_id(3), price_per_hour=4.0)
    found = quote(buys("gpu-1", 1, storage_details=[sold]), buys("gpu-2", 2), owned)
    lines = found["lines"]
    place = lines.index("Storage outlives its machine, and is billed until you end it:")
    assert lines[place + 1] == "  gpu-1: data, 500 GB block_disk, USD 0.0548 per hour"
    assert found["summary"] == (
        "gpu-1, gpu-2: USD 4.00 per hour, no cap on the bill; storage outlives them, USD 0.0548 per hour"
    )
    hosts = found["ansible_stats"]["data"]["quote"]["hosts"]
    assert [each["storage"] for each in hosts.values()] == [[sold], [], []]
    ends = quote(replace(buys("gpu-1", 1, storage_details=[sold]), ends_storage=True))
    assert "goes on" not in ends["summary"] and "Storage ends with its machine, and so does its data:" in ends["lines"]


def test_a_quote_says_which_machines_may_vanish() -> None:
    found = quote(buys("a", 1, contract_type="spot"), buys("b", 2), buys("c", 3, contract_type="spot"))
    assert "spot: may be taken away (a, c)." in found["lines"]
    assert found["summary"].endswith("no cap on the bill; spot: may be taken away")
    assert "taken away" not in str(quote(buys("b", 2)))


def test_a_quote_says_until_when_machines_live_that_are_owned() -> None:
    kept = Plan("b", KEEP, offer_id(3), price_per_hour=4.0, end=1_800_003_600.0, bill=8.0)
    found = quote(replace(buys("a", 1), end=1_800_000_000.0, bill=16.0), kept, Plan("c", STOP, refusal="None."))
    assert "a: until 2027-01-15 08:00 UTC, at most USD 16.00" in found["lines"]
    assert "b: until 2027-01-15 09:00 UTC, at most USD 8.00" in found["lines"]
    hosts = found["ansible_stats"]["data"]["quote"]["hosts"]
    assert (hosts["b"]["ends_at"], hosts["b"]["at_most"]) == ("2027-01-15T09:00:00Z", 8.0)
    assert not [line for line in found["lines"] if line.startswith("c:")]


EIGHT, NINE = "2027-01-15T08:00:00Z", "2027-01-15T09:00:00Z"


@pytest.mark.parametrize(
    ("valid_to", "expires_at", "end", "is_said"),
    [
        (EIGHT, None, None, True),
        (EIGHT, None, seconds_of(NINE), True),
        (EIGHT, None, seconds_of(EIGHT), False),
        (EIGHT, "2027-01-15T07:00:00Z", None, True),
        (EIGHT, EIGHT, None, False),
        ("soon", None, None, False),
        (None, None, seconds_of(NINE), False),
    ],
)
def test_a_quote_says_that_an_offer_ends_before_its_lease(
    valid_to: str | None, expires_at: str | None, end: float | None, is_said: bool
) -> None:
    found = quote(replace(buys("a", 1, valid_to=valid_to, expires_at=expires_at), end=end), buys("b", 2))
    assert ("a: by the API, its offer ends at 2027-01-15 08:00 UTC" in found["lines"]) is is_said
    assert str(found["lines"]).count("by the API") == is_said


@pytest.mark.parametrize(
    ("plans", "total"),
    [
        ([buys("a", 1, None)], "USD per hour in total: 0.00, and 1 unknown price(s), until you end it"),
        ([Plan("a", WAIT, offer_id(1))], "USD per hour in total: 0.00, and 1 unknown price(s), until you end it"),
        ([buys("a", 1), Plan("b", STOP, refusal="None.")], "USD per hour in total: 2.00, until you end it"),
    ],
)
def test_an_unknown_price_is_reported_beside_the_sum(plans: list[Plan], total: str) -> None:
    assert total in quote(*plans)["lines"]


def test_without_any_offer_there_is_no_sum_and_a_task_says_why() -> None:
    found = quote(Plan("a", STOP, refusal="None left."), Plan("b", STOP, refusal="None left."))
    assert found["lines"] == ["Registry: host_vars"]
    assert found["refusals"] == {"a": "None left.", "b": "None left."}
    waiting = quote(Plan("a", LATER, label="a: no offer yet; runs look until noon"))
    assert waiting["lines"] == ["a: no offer yet; runs look until noon", "Registry: host_vars"]


@pytest.mark.parametrize(
    ("ends", "lines"),
    [
        ({"a": {}}, ["USD per hour in total: 2.00, until you end it"]),
        ({"a": {}, "b": {}}, ["USD per hour in total: 4.00, until you end them"]),
        (
            {"a": {}, "b": {"end": 3600.0, "bill": 2.0}},
            [
                "USD per hour in total: 4.00",
                "a: until you end it",
                "b: until 1970-01-01 01:00 UTC, at most USD 2.00",
            ],
        ),
    ],
)
def test_how_long_the_hourly_price_goes_on(ends: dict[str, Any], lines: list[str]) -> None:
    plans = [replace(buys(host, number), **fields) for number, (host, fields) in enumerate(ends.items())]
    shown = quote(*plans)["lines"]
    begin = next(number for number, line in enumerate(shown) if line.startswith("USD"))
    assert shown[begin : shown.index("Registry: host_vars")] == lines


def test_what_to_type_next_is_shown_if_there_is_something_to_buy() -> None:
    assert quote(buys("a", 1, expires_at=None))["lines"][-1] == "Buy it: compute_index.supply.provision"
    for plans in ([Plan("a", KEEP, offer_id(3), price_per_hour=4.0)], [buys("a", 1), Plan("b", STOP, refusal="No.")]):
        assert quote(*plans)["lines"][-1] == "Registry: host_vars"


def test_no_line_is_wider_than_a_screen() -> None:
    plans = [
        buys(f"{'a-very-long-name-of-a-host' * 3}-{n}", n, region="r" * 30, contract_type="spot") for n in range(9)
    ]
    assert max(map(len, folded_lines(quote(*plans)["lines"]))) <= 100, "a name alone may be longer"
    named = [buys(f"a-host-{n}", n, region="r" * 30, vendor="v" * 30, contract_type="spot") for n in range(9)]
    assert max(map(len, folded_lines(quote(*named)["lines"]))) <= LINE


def test_how_long_there_is_to_think_and_to_pay() -> None:
    late, soon = "2026-01-31T13:00:00Z", "2026-01-31T12:00:00Z"
    plans = replace(buys("a", 1, expires_at=late), end=3600.0, bill=2.004), buys("b", 2, expires_at=soon)
    found = quote(*plans)
    assert found["lines"][-1] == "Buy them until 2026-01-31 12:00 UTC: compute_index.supply.provision"
    hosts = found["ansible_stats"]["data"]["quote"]["hosts"]
    assert [(one["ends_at"], one["at_most"]) for one in hosts.values()] == [("1970-01-01T01:00:00Z", 2.0), (None, None)]
