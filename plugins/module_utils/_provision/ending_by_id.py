# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of one resource by its id: whether it may end if a person names it, whether it is gone, and how that reads.

Each sentence says whether a machine or storage ends, and that storage ends with its data.
"""

from __future__ import annotations

import typing as t

from .. import _states
from .._text import end_option, plural, usd
from . import ending, ownership
from .messages import described
from .ownership import Machine, OwnershipClaim

Resource = t.Mapping[str, t.Any]  # as the tolerant reader returns it
Row = t.Mapping[str, t.Any]
# For each kind of resource: what it is called, and what ends with it
_WORDS = {_states.MACHINE: ("Machine", ""), _states.STORAGE: ("Storage", " with all its data")}
# If the task was interrupted
MAY_BE_ENDING = "The resource may be ending, or still be billed. Run the same again: it asks the API first."
_SHOWN = ("resource_id", "kind", "name", "vendor", "status", "price_per_hour")


def describe_deletion(resource_id: str, resource: Resource | None, verb: str) -> str:
    """The beginning of a sentence about a deletion. ``verb``: such as "is deleted". ``resource``: None if unknown."""
    subject, data = _WORDS.get(resource["kind"] if resource else "", ("Resource", ""))
    return f"{subject} {resource_id} {verb}{data}"


def planned_deletion(resource_id: str, resource: Resource) -> str:
    """The message of check mode."""
    deletion = describe_deletion(resource_id, resource, "would be deleted")
    return f"{deletion}, which saves {usd(resource['price_per_hour'])}."


def still_billed(resource: Resource | None) -> str:
    """A sentence with the price at which a resource may still be billed."""
    return f"It may still be billed at {usd(resource['price_per_hour'] if resource else None)}."


def not_deleted(resource_id: str, error_class: str) -> str:
    """The consequence and the advice if a resource cannot be read, or the API does not know it."""
    if error_class != "not_found":
        return "Nothing was deleted."
    return (
        "It may run under another account, or the API may be behind. This run deleted nothing, and it may still be"
        f" billed. If it is gone for certain, forget it: decommission with -e decommission_forget={resource_id}."
    )


def billed_after_error(facts: Row, error_class: str, *, may_force: bool = False) -> str:
    """The possible cost after a failed deletion or look, and what to do if the resource is unknown, or in use."""
    if error_class == "not_found":
        return not_deleted(facts["resource_id"], error_class)
    advice = " If it must end: decommission with -e decommission_force=true; its effects are not documented."
    return still_billed(facts["resource"]) + (advice if error_class == "conflict" and may_force else "")


def unknown_outcome(facts: Row, error: Exception) -> str:
    """The failure if the answer to a deletion was lost, and no look shows whether it was accepted."""
    unknown = f"It is not known whether {facts['resource_id']} is being deleted"
    return f"{unknown}: {error} {still_billed(facts['resource'])}"


class ReadError(t.Protocol):
    """An exception: why a page or list cannot be read. Its class is "not_found" if the API does not know a resource."""

    error_class: str
    transient: bool


def why_not_gone(
    facts: dict[str, t.Any],
    page: Resource | ReadError,
    listed: t.Callable[[], t.Sequence[Resource] | ReadError],
    look_again: t.Callable[[], Resource | ReadError],
    left: float,
) -> str:
    """Why a resource whose deletion was sent may still be billed; empty if it is gone.

    - It is gone if its own ``page`` says so.
    - A 404 proves that only if the API accepted the deletion, and a list of all resources that is read after the page
      (``listed``) lacks it as well. Without a readable list, the 404 may be about the API's address.
    - If the list has it, one of the two lags, and the page is read again (``look_again``). After another 404 it counts
      as gone only if no time is ``left`` for a further look (seconds).

    Notes in ``facts`` what the page says. Raises the error of a page that a further look cannot read either.
    """
    if _is_unknown(page):
        if not facts["accepted"]:
            raise t.cast(Exception, page)
        resources = listed()
        if not isinstance(resources, t.Sequence):
            return _in_sentence(resources)
        if not _is_listed(facts["resource_id"], resources):
            return ""
        page = look_again()
        if _is_unknown(page):
            return "the API does not find it, but lists it" if left > 0 else ""
    if isinstance(page, t.Mapping):
        return _why_by_page(facts, page)
    if page.transient:
        return _in_sentence(page)
    raise t.cast(Exception, page)


def _is_unknown(page: Resource | ReadError) -> bool:
    return not isinstance(page, t.Mapping) and page.error_class == "not_found"


def _in_sentence(error: ReadError) -> str:
    return str(error).rstrip(".")


def _is_listed(resource_id: str, resources: t.Iterable[Resource]) -> bool:
    """Whether a list of all resources has a resource whose own page answered 404."""
    return any(item["resource_id"] == resource_id and not _states.is_gone(item["status"]) for item in resources)


def _why_by_page(facts: dict[str, t.Any], resource: Resource) -> str:
    facts["resource"] = resource
    if _states.is_gone(resource["status"]):
        return ""
    return f"the API still says '{resource['status']}'" if resource["status"] else "the API gives no state"


def diff_of(resource: Resource) -> dict[str, t.Any]:
    """The ``diff`` of a deletion."""
    header = f"resource {resource['resource_id']}"
    before = {name: resource[name] for name in _SHOWN}
    return {"before_header": header, "after_header": f"{header} (none)", "before": before, "after": {}}


# Many resources that end together


def jobs(plans: t.Iterable[Row]) -> list[dict[str, t.Any]]:
    """The jobs for the ids in these plans (`ended.end_plan`).

    ``wait``: seconds to wait for the end. ``looks_only``: nothing is deleted, in check mode or because a person forgets
    the id: if the API knows it after all, it does not end. ``after``: the ids of the host's machines, which end before
    its storage.
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


def due_jobs(items: t.Iterable[Row], answers: t.Mapping[str, Row], parents: t.Collection[int]) -> list[Row]:
    """The jobs that begin now: of machines, and of storage once its host's machines have ended.

    ``parents``: the parent processes that this process has had. If there are two, the play was killed, and perhaps a
    person wants to keep the rest.
    """
    if len(parents) > 1:
        return []
    over = {item for item, answer in answers.items() if answer["billing_stopped"]}
    left = (item for item in items if item["resource_id"] not in answers)
    return [item for item in left if item["looks_only"] or over.issuperset(item["after"])]


def jobs_to_retry(items: t.Iterable[Row], answers: t.Mapping[str, Row]) -> list[Row]:
    """The jobs whose deletion failed: the API may accept it now."""
    return [item for item in items if not item["looks_only"] and answers[item["resource_id"]].get("failed")]


def seconds_to_wait(items: t.Iterable[Row], answers: t.Mapping[str, Row]) -> dict[str, float]:
    """The seconds to wait for each resource whose deletion was accepted and that is not gone, by id."""
    pairs = ((item, answers[item["resource_id"]]) for item in items if not item["looks_only"])
    accepted = (item for item, answer in pairs if answer["accepted"] and not answer["billing_stopped"])
    return {item["resource_id"]: item["wait"] for item in accepted}


def remaining_waits(answers: t.Mapping[str, Row], longest: t.Mapping[str, float], passed: float) -> dict[str, float]:
    """The seconds left for the resources to look at again, ``passed`` seconds after the first look, by id."""
    ids = (item for item, answer in answers.items() if answer.get("waits"))
    return {item: longest[item] - passed for item in ids if passed < longest[item]}


def wait_progress(answers: t.Mapping[str, Row], left: t.Collection[str]) -> str:
    """The progress of the wait in a sentence. ``left``: the ids that are still waited for."""
    pages = (answers[item]["resource"] for item in left)
    noun = "volume" if all(page and page["kind"] == _states.STORAGE for page in pages) else "machine"
    ended = sum(answer["billing_stopped"] for answer in answers.values())
    return f"waiting for {plural(len(left), noun)} to end ({ended} of {len(answers)} have ended)."


def differences(answers: t.Iterable[Row]) -> list[dict[str, t.Any]]:
    """The diffs of the deletions that changed something, or may have."""
    return [dict(answer["diff"]) for answer in answers if answer["changed"]]


def answer_after_look(facts: Row, why: str, seconds: float) -> dict[str, t.Any]:
    """The answer about a resource after a look: it is gone, or a failure says ``why`` it is not.

    With ``waits``, a further look may follow. ``seconds``: how long to wait for the end.
    """
    if not why:
        msg = f"{describe_deletion(facts['resource_id'], facts['resource'], 'is deleted')}."
        return {**facts, "billing_stopped": True, "msg": msg}
    beginning = f"{facts['resource_id']} is not gone after {seconds:g} seconds"
    msg = f"{beginning}: {why}. {still_billed(facts['resource'])}"
    return {**facts, "waits": True, "failed": True, "error_class": "unavailable", "msg": msg}


def without_failure(answer: Row) -> dict[str, t.Any]:
    """The answer without the message and failure of an earlier look."""
    return {name: value for name, value in answer.items() if name not in ("waits", "failed", "error_class", "msg")}


# A machine that a person names by its id alone may end only if no host owns it

_PUBLISHED = ("resource_id", "name", "status", "vendor", "price_per_hour", "created_at")
_SHORTEST_REASON = 5  # characters


def check_reason(text: str) -> str:
    """Return the reason in one line. Raises ValueError if it is too short to be one."""
    reason = " ".join(text.split())
    if len(reason) < _SHORTEST_REASON:
        raise ValueError(
            f"must say why the machine may end, in {_SHORTEST_REASON} letters or more. Quote words with spaces between"
            " them, as in -e 'end_reason=\"left by a test\"'"
        )
    return reason


def end_for_workflow(machine: Machine, reason: str, by: str) -> dict[str, t.Any]:
    """The end of an orphan, as a workflow gets it."""
    return {**{name: machine.get(name) for name in _PUBLISHED}, "by": by, "why": reason}


def lines_of_orphan_end(machine: Machine, end: Row, *, would: bool) -> list[str]:
    """Lines about the ``end`` of an orphan. ``would``: nothing ends in this run."""
    verb = "would end" if would else "ends"
    return [described([machine]), f"No host known here owns it. It {verb} for {end['by']}: {end['why']}"]


def why_not_by_id(
    resource_id: str, machines: t.Sequence[Machine], claims: t.Iterable[OwnershipClaim], strays: t.Container[str] = ()
) -> str:
    """Why the machine with this id must not end; empty if it may.

    A registered purchase whose machine is unknown may have bought it. ``machines``: the account's, including this one.
    ``strays``: the hosts of this project's claims to strays, which a person ends by id.
    """
    claims = [claim for claim in claims if claim.host not in strays]
    owned = ownership.owners(machines, claims)
    found = next((item for item in owned if ownership.id_of(item[0]) == resource_id), None)
    machine, owner = found or ({"resource_id": resource_id, "name": None, "offer_id": None}, ownership.Owners())
    if hosts := owner.hosts or tuple(claim.host for claim in claims if resource_id in claim.all_ids):
        return _owned_by(machine, hosts, is_storage=any(resource_id in claim.storage_ids for claim in claims))
    buyers = [claim for claim in claims if _may_have_bought(claim, machine)]
    return _may_be_of(machine, buyers) if buyers else ""


def _owned_by(machine: Machine, hosts: t.Sequence[str], *, is_storage: bool) -> str:
    """The refusal of a host's machine, or storage, which does not end with its host unless that is asked for."""
    also = " -e decommission_storage=end" if is_storage else ""
    advice = f"To end all that the host has: compute_index.supply.decommission {end_option(hosts)}{also}."
    if any(" " in host for host in hosts):
        advice = "Ask the people of that project."
    return f"{described([machine])} is owned by {', '.join(hosts)}, says the registry. Nothing was ended. {advice}"


def _may_be_of(machine: Machine, buyers: t.Sequence[OwnershipClaim]) -> str:
    """The refusal of a machine that purchases without a known machine may have bought."""
    hosts = tuple(claim.host for claim in buyers)
    settle = "Run compute_index.supply.audit -e audit_settle=true, then run this again."
    name_it = f"If so: compute_index.supply.decommission {ending.end_by_id_options(hosts, machine['resource_id'])}."
    advice = settle if any(claim.unanswered for claim in buyers) else name_it
    return f"{', '.join(hosts)} may have bought {described([machine])}. Nothing was ended. {advice}"


def _may_have_bought(claim: OwnershipClaim, machine: Machine) -> bool:
    """Whether the claim's purchase, whose machine is unknown, may be this machine's: by its offer, else by its name."""
    offer = ownership.offer_of(machine)
    is_open = bool(claim.offer_id) and not claim.resource_ids and (claim.unanswered or claim.bought)
    return is_open and (claim.offer_id == offer if offer else ownership.is_named(machine, claim.name, numbered=True))


def owner_unknown(resource_id: str, why: str) -> str:
    """The refusal if registries cannot be read, so the machine may have an owner."""
    return f"A host may own {resource_id}: {why} Nothing was ended."
