# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences and tables about money that several rules use. Sentences of a single rule are next to that rule."""

from __future__ import annotations

import typing as t

from .._text import end_option, formatted, ids_in_words, narrow_table, seconds_of, usd
from .ownership import Machine

NOTHING_BOUGHT = "Nothing was bought."
NOTHING_SENT = "Nothing was sent."
# After a purchase that could not be noted
REPAIR = "Repair the registry, and run the same again: it buys nothing twice."
NOTHING_ENDED = "Nothing was ended."
WHOLE_SWEEP = "A sweep covers all machines that the registry knows: leave --limit out."
NO_REASON = "the API gives no reason"


def described(machines: t.Iterable[Machine]) -> str:
    """The ids, names, states, prices and ages of machines, as part of a sentence."""
    return "; ".join(_described(machine) for machine in machines)


def _described(machine: Machine) -> str:
    facts = [
        f"called {machine['name']}" if machine.get("name") else "without a name",
        str(machine.get("status") or ""),
        usd(machine.get("price_per_hour")),
        f"since {formatted(created)}" if (created := seconds_of(machine.get("created_at"))) is not None else "",
    ]
    return f"{machine.get('resource_id') or 'a machine without an id'} ({', '.join(filter(None, facts))})"


def forget_advice(host: str, ids: t.Iterable[str]) -> str:
    """What to do about a missing machine."""
    forget = f"{end_option([host])} -e decommission_forget={','.join(ids) or '<resource id>'}"
    return f"If it is gone for certain: compute_index.supply.decommission {forget}."


def does_not_fit(host: str, name: str, machines: t.Iterable[Machine], odd: str) -> str:
    """A machine that a host would adopt does not match its declaration."""
    return (
        f"The machine called {name} is not what {host} declares: {odd}. {described(machines)}. It was not adopted, and"
        " nothing was bought. Declare what it is, end it, or choose another provision_resource_name."
    )


def shared_name(name: str, others: t.Iterable[str]) -> str:
    """Several hosts have or would buy machines with the same name."""
    return (
        f"{', '.join(others)} also has or would buy a machine called {name}. Machines are told apart by name, so give"
        f" each host its own provision_resource_name. {NOTHING_SENT}"
    )


def still_open(host: str, offer_id: str, price: float | None, ids: t.Iterable[str]) -> str:
    """A host stops because of an earlier purchase, unanswered or refused, that may have succeeded."""
    sent = f"A purchase of offer {offer_id} was sent for {host} before"
    return f"{sent}, and its outcome is not known. {may_be_bought(price, ids)}"


def unreadable_lease(host: str, why: str) -> str:
    """The end of a lease in the registry cannot be read."""
    return f"The lease of {host} cannot be read, so it never ends its machine: {why}."


def nothing_billed(host: str) -> str:
    """Nothing of an attempt is billed."""
    return f"Nothing is billed for {host}."


def may_be_bought(price: float | None, ids: t.Iterable[str]) -> str:
    """A purchase with an unknown outcome."""
    return f"It MAY BE BOUGHT and billed at {usd(price)}. Resource ids: {ids_in_words(ids)}."


def offers_tried(offer_ids: t.Sequence[str]) -> str:
    """The offers of several attempts; empty for fewer than two."""
    return f"Offers tried: {', '.join(offer_ids)}." if len(offer_ids) > 1 else ""


# What reports tell people of missing machines

_OF_MISSING = {"host": "host", "since (UTC)": "noted", "USD/h": "price_per_hour", "resource": "resource_id"}
# By whether it counts in ceilings per hour
_MISSING = {
    True: "MISSING: the API does not find it. Maybe billed, counts in ceilings",
    False: "MISSING after two looks: maybe billed, but in no ceiling per hour",
}
ADVICE_ON_MISSING = (
    "If two looks, half an hour apart, do not find it, it no longer counts",
    "in ceilings per hour. provision and reap look for it, and so does",
    "compute_index.supply.audit with audit_settle: true.",
    "Ask the vendor. If it is gone for certain, run",
    "compute_index.supply.decommission",
    "  -e decommission_hosts=<host>",
    "  -e decommission_forget=<resource>",
)


def missing_row(
    host: str, since: str, price_per_hour: float | None, resource_ids: t.Iterable[str], *, counts: bool
) -> dict[str, t.Any]:
    """A host whose machines are missing, for results. ``counts``: whether they count in ceilings per hour."""
    ids = list(resource_ids)
    return {"host": host, "since": since, "price_per_hour": price_per_hour, "counts": counts, "resource_ids": ids}


def missing_lines(rows: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """The missing machines, in tables of those that count in ceilings per hour and those that do not, with advice."""
    lines = []
    for counts, title in _MISSING.items():
        alike = [row for row in rows if row["counts"] is counts]
        shown = [
            {
                "host": row["host"],
                "noted": str(row["since"])[5:16].replace("T", " "),
                "price_per_hour": None if number else row["price_per_hour"],  # of the whole offer
                "resource_id": resource_id,
            }
            for row in alike
            for number, resource_id in enumerate(row["resource_ids"])
        ]
        lines += [title, *narrow_table(shown, _OF_MISSING, ["host"])] if alike else []
    return [*lines, *ADVICE_ON_MISSING, ""] if lines else []
