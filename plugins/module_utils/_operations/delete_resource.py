# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""End a resource, or many of them at once, and make sure of it. What the API answers about one concerns no other."""

from __future__ import annotations

import time
import typing as t

from .. import _spec, _states
from .._ansible import steps
from .._ansible.operation import Failure, Params, Result, check_seconds, check_uuid, given, on_api
from .._api.client import ApiError, Json, SupplyApi
from .._provision import ending_by_id
from ._by_id import List, Listing, answer_of, side_by_side

PAUSE = 5.0  # seconds between two looks
_ACCEPTED = (202, 204)  # no page of the API has them, but they say that the deletion was taken up
SETTLE_LOOKS = 4  # looks after a lost answer, before the outcome counts as unknown

PATIENCE = 15.0  # seconds for which one task looks at many before Ansible says that it tries again

BLANK: Result = {"changed": False, "resource_id": None, "resource": None, "accepted": False, "billing_stopped": False}
BLANK_MANY: Result = {"changed": False, "round": "", "answers": {}, "diff": [], "msg": ""}
BLANK_GONE: Result = {**BLANK_MANY, "terminal": True, "began": 0.0}

_Answers = dict[str, Result]


def delete_resource(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """End the resource with exactly this id.

    ``billing_stopped`` is true only once the API says that it is deleted, or does not know it any more after it has
    ``accepted`` its deletion, be it of an earlier call, or of a run that was killed: it answered with a success, or
    shows that the resource ends. Any other 404 proves nothing: a replica may lag, a token be another account's.
    """
    wait_timeout = given("wait_timeout", params["wait_timeout"], check_seconds)
    facts = tell(api, params, check_mode)
    if facts["billing_stopped"] or check_mode or not params["wait"]:
        return facts
    facts, deadline = ending_by_id.unsaid(facts), time.monotonic() + wait_timeout
    while True:  # Passing errors are looked past.
        left = deadline - time.monotonic()
        why = why_not_gone(api, facts, answer_of(api, facts["resource_id"]), Listing(api), left)
        answer, left = ending_by_id.looked(facts, why, wait_timeout), deadline - time.monotonic()
        if answer["billing_stopped"]:
            return answer
        if left <= 0:
            raise Failure(answer["msg"], answer["error_class"], **facts)
        time.sleep(min(PAUSE, left))


def tell(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """The same without waiting: look at the resource, and tell it to end unless it is ending."""
    resource_id = given("resource_id", params["resource_id"], check_uuid)
    facts: Result = {**BLANK, "resource_id": resource_id, "accepted": params["accepted"]}
    try:
        resource = facts["resource"] = api.resource(resource_id, force_refresh=True)
    except ApiError as error:
        if not params["accepted"]:
            is_unknown = error.error_class == "not_found"
            raise _unknown(error, facts) if is_unknown else Failure.of(error, "Nothing was deleted.", **facts) from None
        return {**facts, "msg": f"{ending_by_id.deletion(resource_id, None, 'is being deleted')}."}
    if _states.is_gone(resource["status"]):
        msg = f"{ending_by_id.deletion(resource_id, resource, 'was deleted before')}."
        return {**facts, "billing_stopped": True, "msg": msg}
    if not _states.is_under_deletion(resource["status"]):
        facts["diff"] = ending_by_id.difference(resource)
        if check_mode:
            return {**facts, "changed": True, "msg": ending_by_id.planned(resource_id, resource)}
        facts["changed"] = True
        facts["changed"] = _delete(api, resource_id, params["force"], facts)
    return {**facts, "accepted": True, "msg": f"{ending_by_id.deletion(resource_id, resource, 'is being deleted')}."}


def _unknown(error: ApiError, facts: Result) -> Failure:
    """The failure of a resource that the API does not know (any more), without a deletion of ours."""
    advice = (
        "It may run under another account, or the API may be behind. This run deleted nothing, and it may still be "
        "billed. If it is gone for certain, forget it: decommission with -e decommission_forget="
    )
    return Failure.of(error, f"{advice}{facts['resource_id']}.", **{**facts, "changed": False})


def _delete(api: SupplyApi, resource_id: str, force: bool, facts: Result) -> bool:
    """Send the deletion, once, until it is accepted. Returns whether it was this one that ended the resource."""
    try:
        api.delete_resource(resource_id, force=force)
    except ApiError as error:
        if error.status_code in _ACCEPTED:
            return True
        if error.error_class in ("conflict", "not_found") and _ends_already(api, facts):
            return False
        if error.refused or not error.sent:
            advice = ending_by_id.billed_after_refusal(facts["resource"], error.error_class, force)
            raise Failure.of(error, advice, **{**facts, "changed": False}) from None
        _settle(api, resource_id, error, facts)
    return True


def _ends_already(api: SupplyApi, facts: Result) -> bool:
    """Whether somebody else ends the resource; a look that fails shows nothing. Raises Failure if it is unknown now."""
    try:
        return _states.is_ending(api.resource(facts["resource_id"], force_refresh=True)["status"])
    except ApiError as error:
        if error.error_class == "not_found":
            raise _unknown(error, facts) from None
        return False


def _settle(api: SupplyApi, resource_id: str, lost: ApiError, facts: Result) -> None:
    """After a lost answer: see whether the resource ends. Raises Failure (unknown_outcome) if nothing shows that."""
    for look in range(SETTLE_LOOKS):
        if look:
            time.sleep(PAUSE)
        answer = answer_of(api, resource_id)
        if isinstance(answer, ApiError):
            lost = answer
        elif _states.is_ending(answer["status"]):
            return
    msg = ending_by_id.unknown_outcome(resource_id, facts["resource"], lost)
    raise Failure(msg, "unknown_outcome", **{**facts, "status_code": lost.status_code})


def why_not_gone(api: SupplyApi, facts: Result, answer: Json | ApiError, listing: List, left: float) -> str:
    """Why the resource is not known to be gone, empty if it is. Raises Failure if no further look can tell.

    ``listing``: reads all resources, later than the ``answer`` about this one was given. Raises ApiError.
    ``left``: seconds in which further looks follow.
    """
    if _is_unknown(answer):
        if not facts["accepted"]:
            raise _unknown(t.cast(ApiError, answer), facts) from None
        try:
            if not ending_by_id.still_listed(facts["resource_id"], listing()):
                return ""
        except ApiError as unlisted:
            return str(unlisted).rstrip(".")
        answer = answer_of(api, facts["resource_id"])
        if _is_unknown(answer):
            return ending_by_id.why_by_list(facts, time.monotonic(), left)
    if isinstance(answer, ApiError):
        if not answer.passing:
            raise Failure.of(answer, ending_by_id.still(facts["resource"]), **facts) from None
        return str(answer).rstrip(".")
    return ending_by_id.why_by_page(facts, answer)


def _is_unknown(answer: Json | ApiError) -> bool:
    """Whether the API itself says that it does not know the resource."""
    return isinstance(answer, ApiError) and answer.error_class == "not_found"


# Many: told in one task, and looked at in another until all are gone; a few requests are sent at the same moment


def delete(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """Tell all of ``jobs`` to end. The ``answers`` by id are those of `delete_resource.tell`, failures too."""
    answers = _told(api, params["jobs"], {})
    diffs = ending_by_id.differences(answers.values())
    return {**BLANK_MANY, "round": params["round"], "answers": answers, "changed": bool(diffs), "diff": diffs}


def gone(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """Look whether all of ``jobs`` are gone, for some seconds; made for ``until``, whose end is ``terminal``.

    ``answers``: of the step `delete`, or of an earlier look. ``began``: when the first look did (seconds of the
    monotonic clock), 0 before it. Before that, what is not seen to end is told once more: the first may be lost.
    """
    jobs, answers, start = params["jobs"], dict(params["answers"]), time.monotonic()
    began = params["began"] or start
    answers.update(_told(api, ending_by_id.told_again(jobs, answers, params["began"]), answers))
    while waiting := ending_by_id.waited_for(jobs, answers, time.monotonic() - began):
        answers.update(_looked(api, waiting, answers, time.monotonic() - began + PAUSE))
        left = ending_by_id.pause(jobs, answers, time.monotonic() - began, PAUSE)
        if time.monotonic() + left > start + PATIENCE:
            break
        time.sleep(left)
    facts = {"round": params["round"], "began": began, "answers": answers}
    return {**BLANK_GONE, **facts, **ending_by_id.progress(jobs, answers, time.monotonic() - began)}


def _told(api: SupplyApi, jobs: t.Sequence[Params], before: t.Mapping[str, Result]) -> _Answers:
    """What each of these resources answers to its end. ``before``: the answers to an earlier time."""

    def told(job: Params) -> tuple[str, Result]:
        accepted = before.get(job["resource_id"], {}).get("accepted", False)
        try:
            return job["resource_id"], tell(api, {**job, "accepted": accepted}, job["looks_only"])
        except Failure as failure:
            return job["resource_id"], {**BLANK, **failure.result}

    return dict(side_by_side(told, jobs))


def _looked(api: SupplyApi, jobs: t.Sequence[Params], answers: t.Mapping[str, Result], again: float) -> _Answers:
    """One look at each of these. The list of all is read once, and after all of them were looked at.

    ``again``: when the next look would be, in seconds after the first one.
    """
    seen = side_by_side(lambda job: answer_of(api, job["resource_id"], retries=0), jobs)
    listing = Listing(api)

    def outcome_of(pair: tuple[Params, t.Any]) -> tuple[str, Result]:
        job, answer = pair
        facts = ending_by_id.unsaid(answers[job["resource_id"]])
        try:
            why = why_not_gone(api, facts, answer, listing, job["wait"] - again)
        except Failure as failure:
            return job["resource_id"], failure.result
        return job["resource_id"], ending_by_id.looked(facts, why, job["wait"])

    return dict(side_by_side(outcome_of, list(zip(jobs, seen))))


_DOUBT = "The resource may be ending, or still be billed. Run the same again: it asks the API first."
DELETE_RESOURCE = on_api(SupplyApi, delete_resource, _spec.DELETE_RESOURCE, BLANK, doubt=_DOUBT)
DELETE = on_api(SupplyApi, delete, steps.DELETE, BLANK_MANY)
GONE = on_api(SupplyApi, gone, steps.GONE, BLANK_GONE)
