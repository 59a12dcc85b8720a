# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""End a resource, or many at once, and wait until the API confirms it. A failure affects only its own resource."""

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
from .._api.client import ApiError, SupplyApi
from .._provision import ending_by_id
from .reading import Listing, answer_of, ask_by_id, in_parallel

PAUSE = 5.0  # seconds between two looks
_ACCEPTED = (202, 204)  # not documented by the API, but they mean that the deletion was accepted
SETTLE_LOOKS = 4  # looks after a lost answer, before the outcome counts as unknown
_LOOKS = {"conflict": 1, "not_found": 1}  # looks after a refusal: someone else may be ending the resource

BLANK: Result = {"changed": False, "resource_id": None, "resource": None, "accepted": False, "billing_stopped": False}
BLANK_MANY: Result = {"changed": False, "round": "", "answers": {}, "diff": []}

_Answers = dict[str, Result]
_Tell = t.Callable[[str], object]  # takes a sentence about the progress of a wait


def delete_resource(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """End the resource with exactly this id.

    ``billing_stopped`` is true only if the API calls the resource deleted, or answers 404 after it ``accepted`` the
    deletion. It accepts with a success, or by showing that the resource is ending, also in an earlier call or a killed
    run. Any other 404 proves nothing: a replica may lag, or the token may be of another account. Raises Failure.
    """
    wait_timeout = checked_option("wait_timeout", params["wait_timeout"], check_seconds)
    facts = send_deletion(api, params, check_mode)
    if facts["billing_stopped"] or check_mode or not params["wait"]:
        return facts
    (answer,) = _waited(api, {facts["resource_id"]: facts}, {facts["resource_id"]: wait_timeout}).values()
    if answer["billing_stopped"]:
        return answer
    raise Failure(answer["msg"], answer["error_class"], **ending_by_id.without_failure(answer))


def delete(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """End the machines of all ``jobs``, a few at the same time, and wait until they are gone; then end the storage.

    ``answers`` has the result of `delete_resource` for each id, including failures.
    """
    answers: _Answers = {}
    parent = os.getppid()
    while due := ending_by_id.due_jobs(params["jobs"], answers, {parent, os.getppid()}):
        answers.update(_ended(api, due, params.get(SHOW_PROGRESS, str)))
    diffs = ending_by_id.differences(answers.values())
    return {**BLANK_MANY, "round": params["round"], "answers": answers, "changed": bool(diffs), "diff": diffs}


def _ended(api: SupplyApi, jobs: t.Sequence[Params], tell_progress: _Tell) -> _Answers:
    """End these resources, and return the answers after the wait. A failed deletion is sent again once."""
    answers = _send_all(api, jobs)
    answers.update(_send_all(api, ending_by_id.jobs_to_retry(jobs, answers)))
    answers.update(_waited(api, answers, ending_by_id.seconds_to_wait(jobs, answers), tell_progress))
    return answers


def send_deletion(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """Read the resource, and send its deletion unless it is ending already. Raises Failure."""
    resource_id = checked_option("resource_id", params["resource_id"], check_uuid)
    facts: Result = {**BLANK, "resource_id": resource_id, "accepted": params["accepted"]}
    try:
        resource = facts["resource"] = api.resource(resource_id, force_refresh=True)
    except ApiError as error:
        if not params["accepted"]:
            raise _unread(error, facts) from None
        return {**facts, "msg": f"{ending_by_id.describe_deletion(resource_id, None, 'is being deleted')}."}
    if _states.is_gone(resource["status"]):
        msg = f"{ending_by_id.describe_deletion(resource_id, resource, 'was deleted before')}."
        return {**facts, "billing_stopped": True, "msg": msg}
    if not _states.is_under_deletion(resource["status"]):
        facts["diff"] = ending_by_id.diff_of(resource)
        if check_mode:
            return {**facts, "changed": True, "msg": ending_by_id.planned_deletion(resource_id, resource)}
        facts["changed"] = _delete(api, params["force"], facts)
    return {
        **facts,
        "accepted": True,
        "msg": f"{ending_by_id.describe_deletion(resource_id, resource, 'is being deleted')}.",
    }


def _unread(error: ApiError, facts: Result) -> Failure:
    """The failure if the resource cannot be read. If the API does not know it, the message says how to forget it."""
    return Failure.of(error, ending_by_id.not_deleted(facts["resource_id"], error.error_class), **facts)


def _delete(api: SupplyApi, force: bool, facts: Result) -> bool:
    """Send the deletion once. Return whether it, and not an earlier one, ends the resource. Raises Failure."""
    try:
        api.delete_resource(facts["resource_id"], force=force)
    except ApiError as error:
        if error.status_code in _ACCEPTED:
            return True
        is_lost = not error.refused  # a request without a body always counts as sent
        if not _is_seen_to_end(api, facts, SETTLE_LOOKS if is_lost else _LOOKS.get(error.error_class, 0)):
            raise _not_accepted(error, facts, force, is_lost) from None
        return is_lost
    return True


def _is_seen_to_end(api: SupplyApi, facts: Result, looks: int) -> bool:
    """Whether one of this number of looks shows that the resource is ending. A failed look shows nothing."""
    for look in range(looks):
        if look:
            time.sleep(PAUSE)
        answer = answer_of(api, facts["resource_id"])
        if not isinstance(answer, ApiError) and _states.is_ending(answer["status"]):
            return True
    return False


def _not_accepted(error: ApiError, facts: Result, force: bool, is_lost: bool) -> Failure:
    """The failure of a deletion that was refused, or whose answer was lost, so that the outcome is unknown."""
    facts = {**facts, "changed": is_lost, "status_code": error.status_code}
    if is_lost:
        return Failure(ending_by_id.unknown_outcome(facts, error), "unknown_outcome", **facts)
    return Failure.of(error, ending_by_id.billed_after_error(facts, error.error_class, may_force=not force), **facts)


def _send_all(api: SupplyApi, jobs: t.Sequence[Params]) -> _Answers:
    """Send the deletions of these jobs in parallel, and return the answer or failure for each id."""

    def answer(job: Params) -> tuple[str, Result]:
        try:
            return job["resource_id"], send_deletion(api, job, job["looks_only"])
        except Failure as failure:
            return job["resource_id"], {**BLANK, **failure.result}

    return dict(in_parallel(answer, jobs))


def _waited(api: SupplyApi, answers: _Answers, waits: t.Mapping[str, float], tell_progress: _Tell = str) -> _Answers:
    """Wait until all resources in ``waits`` (seconds by id) are gone or their time is up. Return their answers."""
    start, found, left = time.monotonic(), {item: answers[item] for item in waits}, dict(waits)
    while left:
        passed = time.monotonic() - start  # includes slow looks, so that the last look comes when the time is up
        found.update(_looked(api, {item: found[item] for item in left}, waits, passed))
        left = ending_by_id.remaining_waits(found, waits, passed)
        if left:
            tell_progress(ending_by_id.wait_progress(found, left))
            time.sleep(min(PAUSE, max(left.values())))
    return found


def _looked(api: SupplyApi, answers: _Answers, waits: t.Mapping[str, float], passed: float) -> _Answers:
    """The answers after one look at each resource, ``passed`` seconds after the wait began.

    Transient errors are ignored. The list of all resources is read at most once, after their pages.
    """
    pages, listing = ask_by_id(api, answers, retries=0), Listing(api)

    def outcome_of(item: str) -> tuple[str, Result]:
        facts, left = ending_by_id.without_failure(answers[item]), waits[item] - passed
        try:
            why = ending_by_id.why_not_gone(facts, pages[item], listing.answer, lambda: answer_of(api, item), left)
        except ApiError as error:
            return item, Failure.of(error, ending_by_id.billed_after_error(facts, error.error_class), **facts).result
        return item, ending_by_id.answer_after_look(facts, why, waits[item])

    return dict(in_parallel(outcome_of, list(answers)))


DELETE_RESOURCE = on_api(SupplyApi, delete_resource, _spec.DELETE_RESOURCE, BLANK, doubt=ending_by_id.MAY_BE_ENDING)
DELETE = on_api(SupplyApi, delete, steps.DELETE, BLANK_MANY)
