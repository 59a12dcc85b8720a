# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines, summary and statistics (set_stats) of a quote."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.planning import (
    BUY,
    KEEP,
    LATER,
    NO_OFFER,
    STOP,
    WAIT,
    Plan,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.quote import purchase_summary, quoted
from ansible_collections.compute_index.supply.plugins.module_utils._text import LINE, folded_lines, seconds_of

from provision_samples import offer, offer_id

REGISTRY_LABEL = "registry: host_vars"


def buying_plan(host: str, number: int, price: float | None = 2.0, **fields: Any) -> Plan:
    bought_offer = offer(number, price, **fields)
    return Plan(host, BUY, bought_offer["offer_id"], bought_offer, price)


def quote(*plans: Plan) -> dict[str, Any]:
    return quoted(plans, REGISTRY_LABEL)


def test_quote_lists_hosts_with_offers_and_total() -> None:
    result = quote(
        buying_plan("gpu-1", 1, 1.5), buying_plan("gpu-2", 2), Plan("gpu-3", KEEP, offer_id(3), price_per_hour=4.0)
    )
    assert [line.split()[0] for line in result["lines"][:4]] == ["host", "gpu-1", "gpu-2", "gpu-3"]
    assert result["lines"][4:] == [
        "",
        "USD per hour in total: 7.50, until you end them",
        "Registry: host_vars",
        "Buy them: compute_index.supply.provision",
    ]
    stats = result["ansible_stats"]["data"]["quote"]
    assert stats["price_per_hour"] == 7.5 and result["refusals"] == {}
    assert [(host["owned"], host["gpu_type"]) for host in stats["hosts"].values()][1:] == [
        (False, "nvidia-h100-sxm5-80gb"),
        (True, "owned already"),
    ]


@pytest.mark.parametrize(
    ("plans", "expected_summary"),
    [
        ([Plan("a", KEEP, offer_id(3), price_per_hour=4.0)], "nothing to buy"),
        ([Plan("a", STOP, refusal="None.")], "nothing to buy"),
        ([buying_plan("a", 1), buying_plan("b", 2)], "a, b: USD 4.00 per hour, no cap on the bill"),
        (
            [
                replace(buying_plan("a", 1, expires_at="2026-11-28T20:50:00Z"), end=1_800_000_000.0, bill=16.0),
                Plan("b", KEEP, offer_id(3), price_per_hour=4.0),
            ],
            "a: USD 2.00 per hour, at most USD 16.00 in all until 2027-01-15 08:00 UTC; offers hold until"
            " 2026-11-28 20:50 UTC",
        ),
        # The last end and the first expiry
        (
            [
                replace(buying_plan("a", 1, expires_at="2026-11-28T21:50:00Z"), end=1_800_003_600.0, bill=16.0),
                replace(buying_plan("b", 2, expires_at="2026-11-28T20:50:00Z"), end=1_800_000_000.0, bill=8.5),
            ],
            "a, b: USD 4.00 per hour, at most USD 24.50 in all until 2027-01-15 09:00 UTC; offers hold until"
            " 2026-11-28 20:50 UTC",
        ),
        # A host without a largest bill has no cap, whatever the others have.
        (
            [replace(buying_plan("a", 1), bill=16.0), buying_plan("b", 2)],
            "a, b: USD 4.00 per hour, no cap on the bill",
        ),
        (
            [buying_plan(f"h{n}", n) for n in range(1, 8)],
            "h1, h2, h3, h4, h5 and 2 more: USD 14.00 per hour, no cap on the bill",
        ),
    ],
)
def test_summary_for_approval_has_hosts_price_bill_and_end(plans: list[Plan], expected_summary: str) -> None:
    result = quote(*plans)
    summary = result["summary"].split("; offers hold until")[0] if "hold" not in expected_summary else result["summary"]
    assert summary == expected_summary and result["ansible_stats"]["data"]["quote"]["summary"] == result["summary"]


def test_quote_lists_storage_that_outlives_its_machine() -> None:
    disk = {"name": "data", "size_gb": 500, "type": "block_disk", "hourly_cost": 0.0548, "persistent": True}
    owned_plan = Plan("gpu-3", KEEP, offer_id(3), price_per_hour=4.0)
    result = quote(buying_plan("gpu-1", 1, storage_details=[disk]), buying_plan("gpu-2", 2), owned_plan)
    lines = result["lines"]
    header_index = lines.index("Storage outlives its machine, and is billed until you end it:")
    assert lines[header_index + 1] == "  gpu-1: data, 500 GB block_disk, USD 0.0548 per hour"
    assert result["summary"] == (
        "gpu-1, gpu-2: USD 4.00 per hour, no cap on the bill; storage outlives them, USD 0.0548 per hour"
    )
    hosts = result["ansible_stats"]["data"]["quote"]["hosts"]
    assert [each["storage"] for each in hosts.values()] == [[disk], [], []]
    ending = quote(replace(buying_plan("gpu-1", 1, storage_details=[disk]), ends_storage=True))
    assert ending["summary"] == "gpu-1: USD 2.00 per hour, no cap on the bill"
    assert "Storage ends with its machine, and so does its data:" in ending["lines"]


def test_quote_marks_hosts_with_spot_offers() -> None:
    result = quote(
        buying_plan("a", 1, contract_type="spot"), buying_plan("b", 2), buying_plan("c", 3, contract_type="spot")
    )
    assert "spot: may be taken away (a, c)." in result["lines"]
    assert result["summary"].endswith("no cap on the bill; spot: may be taken away")
    assert "taken away" not in str(quote(buying_plan("b", 2)))


def test_quote_shows_lease_end_and_bill_of_each_host() -> None:
    owned_plan = Plan("b", KEEP, offer_id(3), price_per_hour=4.0, end=1_800_003_600.0, bill=8.0)
    result = quote(
        replace(buying_plan("a", 1), end=1_800_000_000.0, bill=16.0), owned_plan, Plan("c", STOP, refusal="None.")
    )
    assert "a: until 2027-01-15 08:00 UTC, at most USD 16.00" in result["lines"]
    assert "b: until 2027-01-15 09:00 UTC, at most USD 8.00" in result["lines"]
    hosts = result["ansible_stats"]["data"]["quote"]["hosts"]
    assert (hosts["b"]["ends_at"], hosts["b"]["at_most"]) == ("2027-01-15T09:00:00Z", 8.0)
    assert not [line for line in result["lines"] if line.startswith("c:")], "a host that stops has no lease"


@pytest.mark.parametrize(
    ("plan", "shown"),
    [
        (Plan("b", STOP, refusal="None left.", error_class=NO_OFFER), "no offer"),
        (Plan("b", LATER, label="b: no offer yet"), "no offer"),
        (Plan("b", STOP, refusal="A machine has its name."), "refused, see below"),
        (Plan("b", STOP, refusal="The quota is used up.", error_class="quota"), "refused, see below"),
    ],
)
def test_table_says_whether_a_host_lacks_an_offer_or_is_refused(plan: Plan, shown: str) -> None:
    assert any(line.split(maxsplit=1)[0] == "b" and shown in line for line in quote(buying_plan("a", 1), plan)["lines"])


EIGHT, NINE = "2027-01-15T08:00:00Z", "2027-01-15T09:00:00Z"


@pytest.mark.parametrize(
    ("valid_to", "expires_at", "end", "has_note"),
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
def test_quote_warns_if_offer_ends_before_lease(
    valid_to: str | None, expires_at: str | None, end: float | None, has_note: bool
) -> None:
    result = quote(replace(buying_plan("a", 1, valid_to=valid_to, expires_at=expires_at), end=end), buying_plan("b", 2))
    assert ("a: the API says that its offer ends at 2027-01-15 08:00 UTC" in result["lines"]) is has_note
    assert str(result["lines"]).count("the API says") == has_note


@pytest.mark.parametrize(
    ("plans", "total"),
    [
        ([buying_plan("a", 1, None)], "USD per hour in total: 0.00, and 1 unknown price(s), until you end it"),
        ([Plan("a", WAIT, offer_id(1))], "USD per hour in total: 0.00, and 1 unknown price(s), until you end it"),
        ([buying_plan("a", 1), Plan("b", STOP, refusal="None.")], "USD per hour in total: 2.00, until you end it"),
        # The offer of a host that stops is shown, but nothing is billed for it.
        ([replace(buying_plan("a", 1), action=STOP, refusal="None.")], "USD per hour in total: 2.00"),
    ],
)
def test_unknown_prices_are_counted_apart_from_total(plans: list[Plan], total: str) -> None:
    assert total in quote(*plans)["lines"]


def test_quote_without_offers_has_refusals_and_no_total() -> None:
    result = quote(Plan("a", STOP, refusal="None left."), Plan("b", STOP, refusal="None left."))
    assert result["lines"] == ["Registry: host_vars"]
    assert result["refusals"] == {"a": "None left.", "b": "None left."}
    waiting = quote(Plan("a", LATER, label="a: no offer yet; runs look until noon"))
    assert waiting["lines"] == ["a: no offer yet; runs look until noon", "Registry: host_vars"]


@pytest.mark.parametrize(
    ("ending", "lines"),
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
        (
            {"a": {"end": 3600.0, "bill": 2.0}, "b": {"end": 3600.0, "bill": 2.5}},
            ["USD per hour in total: 4.00", "a, b: until 1970-01-01 01:00 UTC, at most USD 4.50 together"],
        ),
        (
            {"a": {"end": 3600.0, "bill": 2.0}, "b": {"end": 3600.0}},
            ["USD per hour in total: 4.00", "a, b: until 1970-01-01 01:00 UTC, at most an unknown sum"],
        ),
    ],
)
def test_total_shows_how_long_it_is_billed(ending: dict[str, Any], lines: list[str]) -> None:
    plans = [replace(buying_plan(host, number), **fields) for number, (host, fields) in enumerate(ending.items())]
    shown = quote(*plans)["lines"]
    begin = next(number for number, line in enumerate(shown) if line.startswith("USD"))
    assert shown[begin : shown.index("Registry: host_vars")] == lines


def test_buy_command_needs_new_hosts_and_no_refusal() -> None:
    assert quote(buying_plan("a", 1, expires_at=None))["lines"][-1] == "Buy it: compute_index.supply.provision"
    for plans in (
        [Plan("a", KEEP, offer_id(3), price_per_hour=4.0)],
        [buying_plan("a", 1), Plan("b", STOP, refusal="No.")],
    ):
        assert quote(*plans)["lines"][-1] == "Registry: host_vars"


@pytest.mark.parametrize(
    ("plan_file", "refusal", "last_line", "seals"),
    [
        (None, "", "Buy it: compute_index.supply.provision", False),
        ("", "", "Buy it: compute_index.supply.provision", True),  # the sealed plan is only published
        ("p.json", "", "Buy it, with all -e of this quote: compute_index.supply.provision -e plan=p.json", True),
        ("p.json", "No.", "Registry: host_vars", False),
        (None, "No.", "Registry: host_vars", False),
    ],
)
def test_only_complete_quote_is_sealed(plan_file: str | None, refusal: str, last_line: str, seals: bool) -> None:
    plans = [buying_plan("a", 1, expires_at=None), *([Plan("b", STOP, refusal=refusal)] if refusal else [])]
    result = quoted(plans, REGISTRY_LABEL, plan_file)
    assert (result["lines"][-1], result["seals"], result["is_complete"]) == (last_line, seals, not refusal)


@pytest.mark.parametrize(
    ("plans", "expected"),
    [
        ([], ""),
        ([Plan("a", KEEP, offer_id(3), price_per_hour=4.0)], ""),
        ([replace(buying_plan("a", 1), action=STOP)], ""),
        (
            [buying_plan("a", 1), replace(buying_plan("b", 2), action=STOP), Plan("c", KEEP, offer_id(3))],
            "a: USD 2.00 per hour, no cap on the bill",
        ),
    ],
)
def test_purchase_summary_has_only_hosts_that_buy(plans: list[Plan], expected: str) -> None:
    assert purchase_summary(plans) == expected


def test_quote_shows_label_only_of_host_that_waits_for_offers() -> None:
    lines = quote(replace(buying_plan("a", 1), label="a buys"), Plan("b", STOP, refusal="No."))["lines"]
    assert "a buys" not in lines and "refused" in lines[2]


def test_quote_lines_fit_terminal() -> None:
    plans = [
        buying_plan(f"{'a-very-long-name-of-a-host' * 3}-{n}", n, region="r" * 30, contract_type="spot")
        for n in range(9)
    ]
    assert max(map(len, folded_lines(quote(*plans)["lines"]))) <= 100, "a name alone may be longer"
    named = [buying_plan(f"a-host-{n}", n, region="r" * 30, vendor="v" * 30, contract_type="spot") for n in range(9)]
    assert max(map(len, folded_lines(quote(*named)["lines"]))) <= LINE


def test_quote_names_earliest_expiry_and_rounds_bill() -> None:
    late, soon = "2026-01-31T13:00:00Z", "2026-01-31T12:00:00Z"
    plans = replace(buying_plan("a", 1, expires_at=late), end=3600.0, bill=2.346), buying_plan("b", 2, expires_at=soon)
    result = quote(*plans)
    assert result["lines"][-1] == "Buy them until 2026-01-31 12:00 UTC: compute_index.supply.provision"
    hosts = result["ansible_stats"]["data"]["quote"]["hosts"]
    assert [(host["ends_at"], host["at_most"]) for host in hosts.values()] == [
        ("1970-01-01T01:00:00Z", 2.35),
        (None, None),
    ]
