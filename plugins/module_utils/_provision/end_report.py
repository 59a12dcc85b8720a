# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tasks of an end and people read: what ends of a host, what became of it, and the lines about all of them.

What ends is decided in `ending`, what the registry keeps in `ended`.
"""

from __future__ import annotations

import typing as t
from types import MappingProxyType

from .._wording import amount, folded_lines, usd_short
from . import ended
from .ending import Action, End
from .entry import Entry
from .place import Place
from .reaping import LastLook
from .spending import cents
from .sums import add_up

Row = t.Mapping[str, t.Any]

# Files of tasks of the role, for what follows once the registry was brought up to date.
STOP, STORAGE, SAY = "stop", "storage", "say"


def row(
    raw: Row, entry: Entry, place: Place, found: End, look: LastLook | None, ahead: float | None, check_mode: bool
) -> dict[str, t.Any]:
    """What ends of a host as a plain mapping: what the tasks need, and a person can read at -v. ``raw``: declared.

    ``ahead``: seconds by which the API's clock is ahead of this computer's. ``check_mode``: of this host's tasks.
    """
    host = raw["host"]
    return {
        "host": host,
        "declaration": str(raw["id"]),
        # Declared with all others, not by the host itself.
        "together": bool(raw.get("together")),
        "action": found.action.value,
        "next": ended.next_of(found),
        "ids": list(found.ids),
        "wait": ended.wait_of(raw)[0],
        "force": bool(raw.get("force")),
        "check_mode": check_mode,
        "prices": {machine["resource_id"]: machine["price_per_hour"] for machine in found.machines},
        "saves": ended.saves(found).total,
        **ended.costs(entry, found),
        "ahead": ahead,
        "gone": list(found.gone),
        "forgotten": list(found.forgotten),
        "label": ended.label(host, entry, found, look, would=check_mode),
        "more": ended.more(found, look, stays=check_mode),  # else there is a line about each once the machine has ended
        "refusal": found.reason,
        "offer_id": entry.offer_id,
        "resource_ids": list(entry.resource_ids),
        "storage": [item.variables for item in found.storage],
        "unremembered": [item.variables for item in found.unremembered],
        "storage_ends": list(found.storage_ends),
        "storage_lost": list(found.storage_lost),
        "storage_stays": [item.resource_id for item in found.storage if item.resource_id not in found.storage_ends],
        "pending": found.pending,
        "reaped": bool(raw.get("reaped")),
        "registry": "" if entry.is_empty and not found.storage else place.text,
        "registry_file": "" if entry.is_empty else place.entry_file(host),
    }


def outcomes(
    plans: t.Iterable[Row],
    noted: t.Mapping[str, Row],
    *,
    of_storage: bool = False,
    said: t.Mapping[str, t.Sequence[str]] = MappingProxyType({}),
) -> dict[str, Row]:
    """What became of each host, by its name, with the file of tasks that follows (``next``), and why it stops there.

    ``noted``: what the registry has noted of each, or the failure. ``over``: all has ended that was to end, so that the
    host loses its variables. Until its storage has ended it keeps them: they may be in a role's ``when``. Where there
    is something to say, each host that does not stop says it for all. ``said``: the lines about the machines of hosts
    whose storage has ended since.
    """
    found = {
        plan["host"]: _outcome(plan, noted[plan["host"]], of_storage, said.get(plan["host"], ())) for plan in plans
    }
    says = {"next": SAY} if _said_now(found) else {}
    return {host: one if one["next"] else {**one, **says} for host, one in found.items()}


def _outcome(plan: Row, noted: Row, of_storage: bool, said: t.Sequence[str]) -> dict[str, t.Any]:
    """The same of one host, with ``lines`` for people."""
    stop = str(plan["refusal"] or (noted["msg"] if noted.get("failed") else ""))
    if stop:
        return {**noted, "next": STOP, "stop": stop, "over": False, "lines": []}
    waits = bool(plan["storage_ends"]) and not of_storage
    is_over = (of_storage or plan["next"] in ended.NOTED) and not (waits or plan["check_mode"])
    cost = [noted["cost"]] if noted["cost"] and (waits or of_storage) else []
    lines = [*(said if of_storage else _lines(plan)), *cost, *([] if waits else noted["storage"])]
    return {**noted, "next": STORAGE if waits else "", "stop": "", "over": is_over, "lines": folded_lines(lines)}


def _lines(plan: Row) -> list[str]:
    """What there is to say of what was decided for a host, beside what its end has cost."""
    host = plan["host"]
    if plan["action"] != Action.END.value:
        return [plan["label"]]
    checked = plan["ids"] if plan["check_mode"] else []
    ends = [f"{host}: would end {item}, {usd_short(plan['prices'].get(item))}" for item in checked]
    return [*ends, *([f"{host}: {plan['more']}"] if plan["more"] else [])]


def stands_for_all(found: t.Mapping[str, Row], *, alone: bool) -> bool:
    """Whether the same follows for all hosts, so that one can do it. ``alone``: the play has no others."""
    return alone and {one["next"] for one in found.values()} in ({""}, {SAY})


def lines(plans: t.Sequence[Row], found: t.Mapping[str, Row]) -> list[str]:
    """Lines for people about all hosts, in check mode with what the ends of several would save."""
    checked = [plan for plan in plans if plan["check_mode"] and plan["ids"]]
    total = [f"in total: would save {_saved(checked)}"] if len(checked) > 1 else []
    return [*_said_now(found), *total]


def _said_now(found: t.Mapping[str, Row]) -> list[str]:
    """The lines of all hosts, but for those that have them once their storage has ended."""
    return [line for one in found.values() if one["next"] != STORAGE for line in one["lines"]]


def over(plans: t.Iterable[Row], found: t.Mapping[str, Row]) -> list[dict[str, str]]:
    """A line about each host of which all has ended, and for several one about their sum, with a host to show it."""
    ends = [plan for plan in plans if found[plan["host"]]["over"]]
    rows = [{"host": plan["host"], "label": _cost(plan, found[plan["host"]])} for plan in ends]
    return rows + ([{"host": ends[0]["host"], "label": _total(ends, found)}] if len(ends) > 1 else [])


def _cost(plan: Row, outcome: Row) -> str:
    """What ended and what it cost at most, which fits into a line of a terminal if the host's name is short."""
    what = ", ".join(plan["ids"][:1]) if len(plan["ids"]) < 2 else f"{len(plan['ids'])} machines"
    cost = "unknown" if outcome["usd"] is None else _paid(outcome["usd"])
    return ", ".join(filter(None, (what, cost if outcome["cost"] else ""))) or "has ended"


def _paid(dollars: float) -> str:
    return f"USD {amount(cents(round(dollars * 1e6)))}"


def _total(plans: t.Sequence[Row], found: t.Mapping[str, Row]) -> str:
    """The line about the sum of several ends."""
    costs = add_up(found[plan["host"]]["usd"] for plan in plans)
    unknown = f", and {costs.unknown} of unknown cost" if costs.unknown else ""
    return f"in total at most {_paid(costs.total)}{unknown}; saves {_saved(plans)}"


def _saved(plans: t.Iterable[Row]) -> str:
    return usd_short(add_up(plan["saves"] for plan in plans).total)
