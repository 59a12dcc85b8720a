# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ends of many resources: told in one task, and looked at in another until all are gone.

A few requests are sent at the same moment. What the API answers about one resource concerns no other.
"""

from __future__ import annotations

import time
import typing as t

from .._ansible import steps
from .._ansible.on_api import on_api
from .._ansible.operation import Failure, Params, Result
from .._api.client import SupplyApi
from .._provision import ending_by_id
from . import delete_resource as one
from ._unlisted import Listing, answer_of, side_by_side

BLANK: Result = {"changed": False, "round": "", "answers": {}, "diff": [], "msg": ""}
BLANK_GONE: Result = {**BLANK, "terminal": True, "began": 0.0}

PATIENCE = 15.0  # seconds for which one task looks before Ansible says that it tries again

_Answers = dict[str, Result]


def delete(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """Tell all of ``jobs`` to end. The ``answers`` by id are those of `delete_resource.tell`, failures too."""
    answers = _told(api, params["jobs"], {})
    diffs = ending_by_id.differences(answers.values())
    return {**BLANK, "round": params["round"], "answers": answers, "changed": bool(diffs), "diff": diffs}


def gone(api: SupplyApi, params: Params, check_mode: bool) -> Result:
    """Look whether all of ``jobs`` are gone, for some seconds; made for ``until``, whose end is ``terminal``.

    ``answers``: of the step `delete`, or of an earlier look. ``began``: when the first look did (seconds of the
    monotonic clock), 0 before it. Before that, what is not seen to end is told once more: the first may be lost.
    """
    jobs, answers, start = params["jobs"], dict(params["answers"]), time.monotonic()
    began = ending_by_id.beginning(params["began"], start)
    answers.update(_told(api, ending_by_id.told_again(jobs, answers, params["began"]), answers))
    while waiting := ending_by_id.waited_for(jobs, answers, time.monotonic() - began):
        answers.update(_looked(api, waiting, answers))
        left = ending_by_id.pause(jobs, answers, time.monotonic() - began, one.PAUSE)
        if time.monotonic() + left > start + PATIENCE:
            break
        time.sleep(left)
    facts = {"round": params["round"], "began": began, "answers": answers}
    return {**BLANK_GONE, **facts, **ending_by_id.progress(jobs, answers, time.monotonic() - began)}


def _told(api: SupplyApi, jobs: t.Sequence[Params], before: t.Mapping[str, Result]) -> _Answers:
    """What each of these resources answers to its end. ``before``: the answers to an earlier time."""

    def tell(job: Params) -> tuple[str, Result]:
        resource_id = job["resource_id"]
        accepted = before.get(resource_id, {}).get("accepted", False)
        options = {"resource_id": resource_id, "force": job["force"], "accepted": accepted}
        try:
            return resource_id, one.tell(api, options, job["looks_only"])
        except Failure as failure:
            return resource_id, {**one.BLANK, **failure.result}

    return dict(side_by_side(tell, jobs))


def _looked(api: SupplyApi, jobs: t.Sequence[Params], answers: t.Mapping[str, Result]) -> _Answers:
    """One look at each of these. The list of all is read once, and after all of them were looked at."""
    seen = side_by_side(lambda job: answer_of(api, job["resource_id"], retries=0), jobs)
    listing = Listing(api)

    def outcome_of(pair: tuple[Params, t.Any]) -> tuple[str, Result]:
        job, answer = pair
        facts = ending_by_id.unsaid(answers[job["resource_id"]])
        try:
            text = one.not_gone(api, facts, answer, listing)
        except Failure as failure:
            return job["resource_id"], failure.result
        return job["resource_id"], ending_by_id.looked(facts, text, job["wait"])

    return dict(side_by_side(outcome_of, list(zip(jobs, seen))))


DELETE = on_api(SupplyApi, delete, steps.DELETE, BLANK)
GONE = on_api(SupplyApi, gone, steps.GONE, BLANK_GONE)
