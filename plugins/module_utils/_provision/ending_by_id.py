# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of one resource by its id: whether it may end if a person names it, and how that reads.

A sentence says what ends, and that the data of storage ends with it.
"""

from __future__ import annotations

import math
import typing as t

from .. import _states
from .._text import end_option, usd
from . import ending, ownership
from .messages import described
from .ownership import Machine, OwnershipClaim

Resource = t.Mapping[str, t.Any]  # as the tolerant reader returns it
Row = t.Mapping[str, t.Any]
# What it is called, what ends with it, and how it is if it does not end; of one that was never read its kind is unknown
_UNREAD = ("Resource", "", "exist")
_WORDS = {
    _states.MACHINE: ("Machine", "", "run"),
    _states.STORAGE: ("Storage", " with all its data", "exist"),
    _states.OTHER: _UNREAD,
}
LIST_LAGS = 30.0  # seconds; after so long the API looks at its vendors again (API page "get-resource")
_UNFOUND = "unfound_since"
_SHOWN = ("resource_id", "kind", "name", "vendor", "status", "price_per_hour")


def _words_of(resource: Resource | None) -> tuple[str, str, str]:
    return _WORDS[resource["kind"]] if resource else _UNREAD


def kind_and_id(resource_id: str, resource: Resource | None) -> str:
    """What a sentence about it begins with, as "Storage <id>"."""
    return f"{_words_of(resource)[0]} {resource_id}"


def deletion(resource_id: str, resource: Resource | None, verb: str) -> str:
    """The beginning of a sentence about its end; ``verb``: as "is deleted"."""
    return f"{kind_and_id(resource_id, resource)} {verb}{_words_of(resource)[1]}"


def planned(resource_id: str, resource: Resource) -> str:
    """What check mode says."""
    return f"{deletion(resource_id, resource, 'would be deleted')}, which saves {usd(resource['price_per_hour'])}."


def still(resource: Resource | None) -> str:
    """What may be billed on after a failure, in USD per hour."""
    price = resource["price_per_hour"] if resource else None
    return f"It may still {_words_of(resource)[2]} and be billed at {usd(price)}."


def billed_after_refusal(resource: Resource | None, error_class: str, force: bool) -> str:
    """What may be billed after the API refused a deletion, and the way out if it says that the resource is in use."""
    way_out = " If it must end: decommission with -e decommission_force=true; what that ends is not documented."
    return still(resource) + (way_out if error_class == "conflict" and not force else "")


def unknown_outcome(resource_id: str, resource: Resource | None, lost: Exception) -> str:
    """The failure if the answer to the deletion is ``lost`` and no look shows whether it was accepted."""
    subject = kind_and_id(resource_id, resource)
    return f"Whether {subject[0].lower()}{subject[1:]} is being deleted is not known: {lost} {still(resource)}"


def why_by_page(facts: dict[str, t.Any], resource: Resource) -> str:
    """What its own page says of a resource that is not gone, noted in ``facts``; empty if it is."""
    facts.pop(_UNFOUND, None)
    facts["resource"] = resource
    if _states.is_gone(resource["status"]):
        return ""
    return f"the API still says '{resource['status']}'" if resource["status"] else "no state is told"


def still_listed(resource_id: str, resources: t.Iterable[Resource]) -> bool:
    """Whether a list of all ``resources`` has one that its own page does not know. If it has not either, it is gone.

    While there is no list at all, as of an API that is being installed anew, a 404 may be about the address.
    """
    return any(item["resource_id"] == resource_id and not _states.is_gone(item["status"]) for item in resources)


def why_by_list(facts: dict[str, t.Any], now: float, left: float) -> str:
    """Why one is not known to be gone that its own page does not know, but the list has; empty if it is gone.

    Either may be behind: a replica that does not know it yet, or a list that shows it after its end. What its page has
    not known for so long has ended, or if the page still says so at the last look. ``now``: seconds of a monotonic
    clock; since when that is so is noted in ``facts``. ``left``: seconds in which further looks follow.
    """
    since = facts.setdefault(_UNFOUND, now)
    return "" if left <= 0 or now - since >= LIST_LAGS else "the API does not find it, but lists it"


def difference(resource: Resource) -> dict[str, t.Any]:
    """The ``diff`` of a deletion."""
    header = f"resource {resource['resource_id']}"
    before = {name: resource[name] for name in _SHOWN}
    return {"before_header": header, "after_header": f"{header} (none)", "before": before, "after": {}}


# Many, told to end in one task and waited for in another


def jobs(plans: t.Iterable[Row]) -> list[dict[str, t.Any]]:
    """What the tasks do for each id that ends by these plans (`ended.now`).

    ``wait``: for how many seconds its end is waited for. ``looks_only``: nothing is deleted, in check mode, and of what
    a person forgets: should the API know it after all, it does not end.
    """
    ids = [(plan, resource_id) for plan in plans for resource_id in plan["ids"]]
    return [
        {
            **{name: plan[name] for name in ("force", "wait")},
            "resource_id": resource_id,
            "looks_only": plan["check_mode"] or resource_id in plan["storage_lost"],
        }
        for plan, resource_id in ids
    ]


def differences(answers: t.Iterable[Row]) -> list[dict[str, t.Any]]:
    """The diffs of those that have changed something, or may have."""
    return [dict(answer["diff"]) for answer in answers if answer["changed"]]


def told_again(items: t.Iterable[Row], answers: t.Mapping[str, Row], began: float) -> list[Row]:
    """Those that have not ended yet: what is not ending by then is told once more, which does no harm.

    ``began``: when the first look did; once there was one, none is told again.
    """
    left = [item for item in items if not (item["looks_only"] or began)]
    return [item for item in left if not answers.get(item["resource_id"], {}).get("billing_stopped")]


def waited_for(items: t.Iterable[Row], answers: t.Mapping[str, Row], passed: float) -> list[Row]:
    """Those to look at (again), ``passed`` seconds after the first look. Each is looked at once, whatever its time."""
    pairs = [(item, answers[item["resource_id"]]) for item in items if not item["looks_only"]]
    return [
        item
        for item, answer in pairs
        if (passed < item["wait"] if answer.get("waits") else not (answer["billing_stopped"] or answer.get("failed")))
    ]


def pause(items: t.Iterable[Row], answers: t.Mapping[str, Row], passed: float, longest: float) -> float:
    """Seconds until the next look: the longest pause, or what is left of the longest wait."""
    left = [item["wait"] - passed for item in waited_for(items, answers, passed)]
    return float(max(0.0, min(longest, max(left, default=0.0))))


def looked(facts: Row, why: str, seconds: float) -> dict[str, t.Any]:
    """What a look makes of the answer: gone, or ``why`` not yet, which is a failure if nothing looks again.

    ``seconds``: for how long its end is waited for.
    """
    if not why:
        return answer_once_gone(facts)
    beginning = f"{kind_and_id(facts['resource_id'], facts['resource'])} is not gone after {seconds:g} seconds"
    msg = f"{beginning}: {why}. {still(facts['resource'])}"
    return {**facts, "waits": True, "failed": True, "error_class": "unavailable", "msg": msg}


def answer_once_gone(facts: Row) -> dict[str, t.Any]:
    """The answer once the API says so."""
    msg = f"{deletion(facts['resource_id'], facts['resource'], 'is deleted')}."
    return {**{key: item for key, item in facts.items() if key != _UNFOUND}, "billing_stopped": True, "msg": msg}


def unsaid(answer: Row) -> dict[str, t.Any]:
    """The answer without what was said of it so far."""
    return {name: value for name, value in answer.items() if name not in ("waits", "failed", "error_class", "msg")}


def looks(plans: t.Iterable[Row], delay: float) -> int:
    """How many looks there are at most, ``delay`` seconds apart, until the longest wait is over."""
    longest = max((plan["wait"] for plan in plans), default=0.0)
    return math.ceil(longest / delay) + 2


def progress(items: t.Sequence[Row], answers: t.Mapping[str, Row], passed: float) -> dict[str, t.Any]:
    """How far the ends are, for the person who waits, and whether no further look can tell more (``terminal``)."""
    over = [item for item in items if answers.get(item["resource_id"], {}).get("billing_stopped")]
    return {"msg": f"{len(over)} of {len(items)} have ended.", "terminal": not waited_for(items, answers, passed)}


# May a machine end that a person names by its id alone? Only if no host owns it

_PUBLISHED = ("resource_id", "name", "status", "vendor", "price_per_hour", "created_at")
_REASON = 5  # letters that a reason has at least


def check_reason(text: str) -> str:
    """The reason in one line. Raises ValueError for one that says nothing."""
    reason = " ".join(text.split())
    if len(reason) < _REASON:
        raise ValueError(
            f"must say why the machine may end, in {_REASON} letters or more. Quote words with spaces between them, as"
            " in -e 'end_reason=\"left by a test\"'"
        )
    return reason


def end_for_workflow(machine: Machine, reason: str, by: str) -> dict[str, t.Any]:
    """What a workflow gets of a machine that ends without an owner."""
    return {**{name: machine.get(name) for name in _PUBLISHED}, "by": by, "why": reason}


def lines_of_ownerless_end(
    machine: Machine, end: Row, claims: t.Iterable[OwnershipClaim], strays: t.Container[str], *, would: bool
) -> list[str]:
    """What people read of the ``end`` of a machine that no host owns; ``would``: nothing ends in this run.

    And what the registry calls it if it was bought beside a host's own.
    """
    known = [claim for claim in claims if claim.host in strays and end["resource_id"] in claim.all_ids]
    is_stored = any(claim.storage_of for claim in known)
    why = "storage that a machine has left" if is_stored else "bought beside the host's own machine"
    called = f"The registry has it as {', '.join(claim.host for claim in known)}: {why}. " if known else ""
    return [
        described([machine]),
        f"{called}No host owns it. It {'would end' if would else 'ends'} for {end['by']}: {end['why']}",
    ]


def why_not_by_id(
    resource_id: str, machines: t.Sequence[Machine], claims: t.Iterable[OwnershipClaim], strays: t.Container[str] = ()
) -> str:
    """Why the machine of this id may not end, empty if it may. ``machines``: of the account, and this one.

    ``strays``: claims of this project for what was bought beside a host's own machine, which a person ends by its id.
    A purchase that is noted without any machine may have bought it, as long as nobody knows what it has bought.
    """
    claims = [claim for claim in claims if claim.host not in strays]
    owned = ownership.owners(machines, claims)
    found = next((item for item in owned if ownership.id_of(item[0]) == resource_id), None)
    machine, owner = found or ({"resource_id": resource_id}, ownership.Owners())
    if hosts := owner.hosts or tuple(claim.host for claim in claims if resource_id in claim.all_ids):
        return _owned_by(machine, hosts, is_storage=any(resource_id in claim.storage_ids for claim in claims))
    near = [claim for claim in claims if found and _may_have_bought(claim, machine)]
    return _may_be_of(machine, near) if near else ""


def _owned_by(machine: Machine, hosts: t.Sequence[str], *, is_storage: bool) -> str:
    """A machine ends with its host. ``is_storage``: of storage more is said, since else it would stay."""
    way, end = f"compute_index.supply.decommission {end_option(hosts)}", "To end it"
    if is_storage:
        way, end = f"{way} -e decommission_storage=end", "To end it, with its data and any machine of the host"
    advice = "Ask the people of that project." if any(" " in host for host in hosts) else f"{end}: {way}."
    return f"{described([machine])} is owned by {', '.join(hosts)}, says the registry. Nothing was ended. {advice}"


def _may_be_of(machine: Machine, near: t.Sequence[OwnershipClaim]) -> str:
    """Purchases of which no machine is known may have bought it."""
    hosts = tuple(claim.host for claim in near)
    settle = "Run compute_index.supply.audit with audit_settle: true, and then the same again."
    name_it = f"If it is: compute_index.supply.decommission {ending.naming_its_machine(hosts, machine['resource_id'])}."
    advice = settle if any(claim.unanswered for claim in near) else name_it
    return f"{described([machine])} may be what {', '.join(hosts)} may have bought. Nothing was ended. {advice}"


def _may_have_bought(claim: OwnershipClaim, machine: Machine) -> bool:
    """Whether a purchase of which no machine is known may be this one's; of one that says of no offer, by its name."""
    offer = ownership.offer_of(machine)
    is_open = bool(claim.offer_id) and not claim.resource_ids and (claim.unanswered or claim.bought)
    return is_open and (claim.offer_id == offer if offer else ownership.is_named(machine, claim.name, numbered=True))


def cannot_tell_owner(resource_id: str, why: str) -> str:
    """Registries cannot be read, so it is not known whether a machine has an owner."""
    return f"Whether a host owns {resource_id} is not known: {why} Nothing was ended."
