# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of one resource by its id: whether it may end if a person names it, and how that reads.

A sentence says what ends, and that the data of storage ends with it.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .. import _states
from .._text import end_option, plural, usd
from . import ending, ownership
from .messages import described
from .ownership import Machine, OwnershipClaim

Resource = t.Mapping[str, t.Any]  # as the tolerant reader returns it
Row = t.Mapping[str, t.Any]
# What it is called, and what ends with it; of one that was never read its kind is unknown
_WORDS = {_states.MACHINE: ("Machine", ""), _states.STORAGE: ("Storage", " with all its data")}
# If the task was cut off
MAY_BE_ENDING = "The resource may be ending, or still be billed. Run the same again: it asks the API first."
_SHOWN = ("resource_id", "kind", "name", "vendor", "status", "price_per_hour")


def deletion(resource_id: str, resource: Resource | None, verb: str) -> str:
    """The beginning of a sentence about its end; ``verb``: as "is deleted"."""
    subject, data = _WORDS.get(resource["kind"] if resource else "", ("Resource", ""))
    return f"{subject} {resource_id} {verb}{data}"


def planned(resource_id: str, resource: Resource) -> str:
    """What check mode says."""
    return f"{deletion(resource_id, resource, 'would be deleted')}, which saves {usd(resource['price_per_hour'])}."


def still(resource: Resource | None) -> str:
    """What may be billed on after a failure, in USD per hour."""
    return f"It may still be billed at {usd(resource['price_per_hour'] if resource else None)}."


def not_deleted(resource_id: str, error_class: str) -> str:
    """What it means that a resource cannot be read, or that the API does not know it: nothing was deleted."""
    if error_class != "not_found":
        return "Nothing was deleted."
    return (
        "It may run under another account, or the API may be behind. This run deleted nothing, and it may still be"
        f" billed. If it is gone for certain, forget it: decommission with -e decommission_forget={resource_id}."
    )


def billed_after_refusal(facts: Row, error_class: str, force: bool) -> str:
    """What may be billed after the API refused a deletion, and the way out if it does not know the resource.

    Or if it says that the resource is in use.
    """
    if error_class == "not_found":
        return not_deleted(facts["resource_id"], error_class)
    way_out = " If it must end: decommission with -e decommission_force=true; what that ends is not documented."
    return still(facts["resource"]) + (way_out if error_class == "conflict" and not force else "")


def unknown_outcome(facts: Row, lost: Exception) -> str:
    """The failure if the answer to the deletion is ``lost`` and no look shows whether it was accepted."""
    return f"Whether {facts['resource_id']} is being deleted is not known: {lost} {still(facts['resource'])}"


@dataclass(frozen=True)
class Unread:
    """Why the page of a resource cannot be read: the ``error``, and whether that may pass.

    ``is_unknown``: the API itself says that it does not know the resource.
    """

    error: Exception
    passes: bool = False
    is_unknown: bool = False

    @property
    def why(self) -> str:
        """The same as a part of a sentence."""
        return str(self.error).rstrip(".")


def why_not_gone(
    facts: dict[str, t.Any],
    page: Resource | Unread,
    listed: t.Callable[[], t.Collection[Resource] | Unread],
    look_again: t.Callable[[], Resource | Unread],
    left: float,
) -> str:
    """Why a resource that was told to end is not known to be gone; empty if it is, so that it is billed no more.

    - If its own ``page`` says that it is gone, it is.
    - A 404 proves that only if the API has accepted its deletion, and if a list of all resources that was read after
      the page (``listed``) does not have it either.
    - If the list has it, one of the two is behind, and the page is read again (``look_again``). After another 404 it
      counts as gone only if no further look follows (``left``: the seconds in which they do).

    What the page says is noted in ``facts``. Raises the error of a page that no further look can read.
    """
    if isinstance(page, Unread) and page.is_unknown:
        if not facts["accepted"]:
            raise page.error
        resources = listed()
        if isinstance(resources, Unread):
            return resources.why
        if not _is_listed(facts["resource_id"], resources):
            return ""
        page = look_again()
        if isinstance(page, Unread) and page.is_unknown:
            return "the API does not find it, but lists it" if left > 0 else ""
    if not isinstance(page, Unread):
        return _why_by_page(facts, page)
    if page.passes:
        return page.why
    raise page.error


def _is_listed(resource_id: str, resources: t.Iterable[Resource]) -> bool:
    """Whether a list of all resources has one that its own page does not know.

    While there is no list at all, as of an API that is being installed anew, a 404 may be about the address.
    """
    return any(item["resource_id"] == resource_id and not _states.is_gone(item["status"]) for item in resources)


def _why_by_page(facts: dict[str, t.Any], resource: Resource) -> str:
    facts["resource"] = resource
    if _states.is_gone(resource["status"]):
        return ""
    return f"the API still says '{resource['status']}'" if resource["status"] else "no state is told"


def billed_if_unread(facts: Row, error_class: str) -> str:
    """What may be billed of a resource that cannot be read."""
    is_unknown = error_class == "not_found"
    return not_deleted(facts["resource_id"], error_class) if is_unknown else still(facts["resource"])


def difference(resource: Resource) -> dict[str, t.Any]:
    """The ``diff`` of a deletion."""
    header = f"resource {resource['resource_id']}"
    before = {name: resource[name] for name in _SHOWN}
    return {"before_header": header, "after_header": f"{header} (none)", "before": before, "after": {}}


# Many that end together


def jobs(plans: t.Iterable[Row]) -> list[dict[str, t.Any]]:
    """What is done for each id that ends by these plans (`ended.end_plan`).

    ``wait``: for how many seconds its end is waited for. ``looks_only``: nothing is deleted, in check mode, and of what
    a person forgets: should the API know it after all, it does not end. ``after``: the ids of a host's machines, which
    end before its storage.
    """
    pairs: list[tuple[Row, str, list[str]]] = [(plan, item, []) for plan in plans for item in plan["ids"]]
    pairs += [(plan, item, list(plan["ids"])) for plan in plans for item in plan["storage_ends"]]
    return [
        {
            **{"force": plan["force"], "wait": plan["wait"], "resource_id": resource_id, "accepted": False},
            "looks_only": plan["check_mode"] or resource_id in plan["storage_lost"],
            "after": after,
        }
        for plan, resource_id, after in pairs
    ]


def due(items: t.Iterable[Row], answers: t.Mapping[str, Row], parents: t.Collection[int]) -> list[Row]:
    """Those that are told to end now: machines, and storage once its host's machines have ended.

    ``parents``: the processes that this one had as its parent. If there are two, the play was killed, perhaps since a
    person wants to keep what has not ended yet.
    """
    if len(parents) > 1:
        return []
    over = {item for item, answer in answers.items() if answer["billing_stopped"]}
    left = (item for item in items if item["resource_id"] not in answers)
    return [item for item in left if item["looks_only"] or over.issuperset(item["after"])]


def told_again(items: t.Iterable[Row], answers: t.Mapping[str, Row]) -> list[Row]:
    """Those whose deletion failed: the API may accept it now."""
    return [item for item in items if not item["looks_only"] and answers[item["resource_id"]].get("failed")]


def waits(items: t.Iterable[Row], answers: t.Mapping[str, Row]) -> dict[str, float]:
    """For how many seconds the end of each is waited for that was told to end, by their ids."""
    pairs = ((item, answers[item["resource_id"]]) for item in items if not item["looks_only"])
    told = (item for item, answer in pairs if answer["accepted"] and not answer["billing_stopped"])
    return {item["resource_id"]: item["wait"] for item in told}


def still_waited_for(answers: t.Mapping[str, Row], longest: t.Mapping[str, float], passed: float) -> dict[str, float]:
    """The seconds that are left for those to look at again, ``passed`` seconds after the first look."""
    ids = (item for item, answer in answers.items() if answer.get("waits"))
    return {item: longest[item] - passed for item in ids if passed < longest[item]}


def waiting(answers: t.Mapping[str, Row], left: t.Collection[str]) -> str:
    """How far the wait for all of these is, in a sentence. ``left``: the ids that are waited for."""
    pages = (answers[item]["resource"] for item in left)
    noun = "volume" if all(page and page["kind"] == _states.STORAGE for page in pages) else "machine"
    ended = sum(answer["billing_stopped"] for answer in answers.values())
    return f"waiting for {plural(len(left), noun)} to end ({ended} of {len(answers)} have ended)."


def differences(answers: t.Iterable[Row]) -> list[dict[str, t.Any]]:
    """The diffs of those that have changed something, or may have."""
    return [dict(answer["diff"]) for answer in answers if answer["changed"]]


def looked(facts: Row, why: str, seconds: float) -> dict[str, t.Any]:
    """What a look makes of the answer: gone, or ``why`` not yet, which is a failure if no look follows (``waits``).

    ``seconds``: for how long its end is waited for.
    """
    if not why:
        msg = f"{deletion(facts['resource_id'], facts['resource'], 'is deleted')}."
        return {**facts, "billing_stopped": True, "msg": msg}
    beginning = f"{facts['resource_id']} is not gone after {seconds:g} seconds"
    msg = f"{beginning}: {why}. {still(facts['resource'])}"
    return {**facts, "waits": True, "failed": True, "error_class": "unavailable", "msg": msg}


def unsaid(answer: Row) -> dict[str, t.Any]:
    """The answer without what was said of it so far."""
    return {name: value for name, value in answer.items() if name not in ("waits", "failed", "error_class", "msg")}


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


def lines_of_ownerless_end(machine: Machine, end: Row, *, would: bool) -> list[str]:
    """What people read of the ``end`` of a machine that no host owns; ``would``: nothing ends in this run."""
    verb = "would end" if would else "ends"
    return [described([machine]), f"No host owns it. It {verb} for {end['by']}: {end['why']}"]


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
    also = " -e decommission_storage=end" if is_storage else ""
    advice = f"To end all that the host has: compute_index.supply.decommission {end_option(hosts)}{also}."
    if any(" " in host for host in hosts):
        advice = "Ask the people of that project."
    return f"{described([machine])} is owned by {', '.join(hosts)}, says the registry. Nothing was ended. {advice}"


def _may_be_of(machine: Machine, near: t.Sequence[OwnershipClaim]) -> str:
    """Purchases of which no machine is known may have bought it."""
    hosts = tuple(claim.host for claim in near)
    settle = "Run compute_index.supply.audit with audit_settle: true, and then the same again."
    name_it = f"If it is: compute_index.supply.decommission {ending.end_by_id_options(hosts, machine['resource_id'])}."
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
