# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""End a resource, or many of them at once, and make sure of it. What the API answers about one concerns no other."""

from __future__ import annotations

import os
import time
import typing as t

from .. import _spec, _states
from .._ansible import steps
from .._ansible.operation import (
    SHOW_PROGRESS,
    Failure,
    Params,
    Result,
    check_seconds,
    check_uuid,
    checked_option,
    on_api,
)
from .._api.client import ApiError, Json, SupplyApi
from .._provision import ending_by_id
from .reading import List, Listing, answer_of, ask_by_id, in_parallel

PAUSE = 5.0  # seconds between two looks
_ACCEPTED = (202, 204)  # no page of the API has them, but they say that the deletion was taken up
SETTLE_LOOKS = 4  # looks after a lost answer, before the outcome counts as unknown
_LOOKS = {"conflict": 1, "not_found": 1}  # after a refusal, to see whether somebody else ends the resource

BLANK: Result = {"changed": False, "resource_id": None, "resource": None, "accepted": False, "billing_stopped": False}
BLANK_MANY: Result = {"changed": False, "round": "", "answers": {}, "diff": []}

_Answers = dict[str, Result]
_Tell = t.Callable[[str], object]  # takes how far a wait is


def delete_resource(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """End the resource with exactly this id.

    ``billing_stopped`` is true only once the API says that it is deleted, or does not know it any more after it has
    ``accepted`` its deletion, be it of an earlier call, or of a run that was killed: it answered with a success, or
    shows that the resource ends. Any other 404 proves nothing: a replica may lag, a token be another account's.
    """
    wait_timeout = checked_option("wait_timeout", params["wait_timeout"], check_seconds)
    facts = tell(api, params, check_mode)
    if facts["billing_stopped"] or check_mode or not params["wait"]:
        return facts
    (answer,) = _waited(api, {facts["resource_id"]: facts}, {facts["resource_id"]: wait_timeout}).values()
    if answer["billing_stopped"]:
        return answer
    raise Failure(answer["msg"], answer["error_class"], **ending_by_id.unsaid(answer))


def delete(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """Tell all of ``jobs`` to end, a few at the same moment, and wait until they are gone; then the storage.

    The ``answers`` by id are those of `delete_resource`, failures too: what the API answers about one concerns no
    other.
    """
    answers: _Answers = {}
    parent = os.getppid()
    while due := ending_by_id.due(params["jobs"], answers, {parent, os.getppid()}):
        answers.update(_ended(api, due, params.get(SHOW_PROGRESS, str)))
    diffs = ending_by_id.differences(answers.values())
    return {**BLANK_MANY, "round": params["round"], "answers": answers, "changed": bool(diffs), "diff": diffs}


def _ended(api: SupplyApi, jobs: t.Sequence[Params], tell_progress: _Tell) -> _Answers:
    """The answers once these have ended, or were waited for. What failed is told once more, which does no harm."""
    answers = _told(api, jobs)
    answers.update(_told(api, ending_by_id.told_again(jobs, answers)))
    answers.update(_waited(api, answers, ending_by_id.waits(jobs, answers), tell_progress))
    return answers


def tell(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """Look at the resource, and tell it to end unless it is ending."""
    resource_id = checked_option("resource_id", params["resource_id"], check_uuid)
    facts: Result = {**BLANK, "resource_id": resource_id, "accepted": params["accepted"]}
    try:
        resource = facts["resource"] = api.resource(resource_id, force_refresh=True)
    except ApiError as error:
        if not params["accepted"]:
            raise _unread(error, facts) from None
        return {**facts, "msg": f"{ending_by_id.deletion(resource_id, None, 'is being deleted')}."}
    if _states.is_gone(resource["status"]):
        msg = f"{ending_by_id.deletion(resource_id, resource, 'was deleted before')}."
        return {**facts, "billing_stopped": True, "msg": msg}
    if not _states.is_under_deletion(resource["status"]):
        facts["diff"] = ending_by_id.difference(resource)
        if check_mode:
            return {**facts, "changed": True, "msg": ending_by_id.planned(resource_id, resource)}
        facts["changed"] = _delete(api, params["force"], facts)
    return {**facts, "accepted": True, "msg": f"{ending_by_id.deletion(resource_id, resource, 'is being deleted')}."}


def _unread(error: ApiError, facts: Result) -> Failure:
    """The failure of a resource that cannot be read. One that the API does not know may be forgotten by a person."""
    return Failure.of(error, ending_by_id.not_deleted(facts["resource_id"], error.error_class), **facts)


def _delete(api: SupplyApi, force: bool, facts: Result) -> bool:
    """Send the deletion, once, until it is accepted. Returns whether it was this one that ended the resource."""
    try:
        api.delete_resource(facts["resource_id"], force=force)
    except ApiError as error:
        if error.status_code in _ACCEPTED:
            return True
        is_lost = error.sent and not error.refused
        if not _is_seen_to_end(api, facts, SETTLE_LOOKS if is_lost else _LOOKS.get(error.error_class, 0)):
            raise _not_accepted(error, facts, force, is_lost) from None
        return is_lost
    return True


def _is_seen_to_end(api: SupplyApi, facts: Result, looks: int) -> bool:
    """Whether one of so many looks shows that the resource ends. One that fails shows nothing."""
    for look in range(looks):
        if look:
            time.sleep(PAUSE)
        answer = answer_of(api, facts["resource_id"])
        if not isinstance(answer, ApiError) and _states.is_ending(answer["status"]):
            return True
    return False


def _not_accepted(error: ApiError, facts: Result, force: bool, is_lost: bool) -> Failure:
    """The failure of a deletion that was refused, or whose outcome is not known since its answer was lost."""
    facts = {**facts, "changed": is_lost, "status_code": error.status_code}
    if is_lost:
        return Failure(ending_by_id.unknown_outcome(facts, error), "unknown_outcome", **facts)
    return Failure.of(error, ending_by_id.billed_after_refusal(facts, error.error_class, force), **facts)


def _told(api: SupplyApi, jobs: t.Sequence[Params]) -> _Answers:
    """What each of these resources answers to its end."""

    def told(job: Params) -> tuple[str, Result]:
        try:
            return job["resource_id"], tell(api, job, job["looks_only"])
        except Failure as failure:
            return job["resource_id"], {**BLANK, **failure.result}

    return dict(in_parallel(told, jobs))


def _waited(api: SupplyApi, answers: _Answers, waits: t.Mapping[str, float], tell_progress: _Tell = str) -> _Answers:
    """The answers about these ids once all are gone, or were waited for as many seconds as ``waits`` says."""
    start, found, left = time.monotonic(), {item: answers[item] for item in waits}, dict(waits)
    while left:
        passed = time.monotonic() - start  # of a look that takes long, too: the last one has no time left
        found.update(_looked(api, {item: found[item] for item in left}, waits, passed))
        left = ending_by_id.still_waited_for(found, waits, passed)
        if left:
            tell_progress(ending_by_id.waiting(found, left))
            time.sleep(min(PAUSE, max(left.values())))
    return found


def _looked(api: SupplyApi, answers: _Answers, waits: t.Mapping[str, float], passed: float) -> _Answers:
    """One look at each of these, ``passed`` seconds after the first one. Passing errors are looked past.

    The list of all is read once, and after all of them were looked at.
    """
    pages = ask_by_id(api, answers, retries=0)
    listing = Listing(api)

    def outcome_of(item: str) -> tuple[str, Result]:
        facts = ending_by_id.unsaid(answers[item])
        left = waits[item] - passed
        try:
            why = ending_by_id.why_not_gone(
                facts,
                _page(pages[item]),
                lambda: _listed(listing),
                lambda: _page(answer_of(api, facts["resource_id"])),
                left,
            )
        except ApiError as error:
            return item, Failure.of(error, ending_by_id.billed_if_unread(facts, error.error_class), **facts).result
        return item, ending_by_id.looked(facts, why, waits[item])

    return dict(in_parallel(outcome_of, list(answers)))


def _page(answer: Json | ApiError) -> Json | ending_by_id.Unread:
    """What the API answers about a resource by its id, as the rule takes it."""
    if isinstance(answer, ApiError):
        return ending_by_id.Unread(answer, answer.transient, answer.error_class == "not_found")
    return answer


def _listed(listing: List) -> list[Json] | ending_by_id.Unread:
    """All resources, read once for all that are looked at."""
    try:
        return listing()
    except ApiError as error:
        return ending_by_id.Unread(error)


DELETE_RESOURCE = on_api(SupplyApi, delete_resource, _spec.DELETE_RESOURCE, BLANK, doubt=ending_by_id.MAY_BE_ENDING)
DELETE = on_api(SupplyApi, delete, steps.DELETE, BLANK_MANY)
