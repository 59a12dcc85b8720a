# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on an attempt: a table of the cases that matter, and every combination against independent rules.

For another way of failing over: change `what_follows`, the rows of `TABLE` that it is about, and `RULES` if one is
given up.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.purchase import (
    OF_THE_OFFER,
    Attempt,
    Verdict,
    leaves_nothing,
    needs_another,
    what_follows,
)

READY, AGAIN = Verdict.READY, Verdict.AGAIN
RELEASE, STOP = Verdict.RELEASE, Verdict.STOP

RUNS = {"ready": True}
LATER = {"doubled": True, "later": True}
BILLED = {"billed": True}
GIVES_BACK = {"billed": True, "release": True}
GIVEN_BACK = {"billed": True, "release": True, "released": True}
UNSOUND = {"unsound": True}

# what happened | outcome | error class | phase | else | verdict with two offers left
TABLE: list[tuple[str, str, str, str, dict[str, bool], Verdict]] = [
    ("bought, and its machine runs", "created", "", "ready", {"ready": True, **BILLED}, READY),
    ("its purchase was found again, and runs", "existing", "", "ready", {"ready": True, **BILLED}, READY),
    ("it had its machine before", "", "", "ready", {"ready": True, **BILLED}, READY),
    ("runs, and would be given back otherwise", "created", "", "ready", {"ready": True, **GIVES_BACK}, READY),
    ("gone when it was looked at", "not_sent", "not_found", "", {}, AGAIN),
    ("expired when it was looked at", "not_sent", "expired", "", {}, AGAIN),
    ("failed when it was looked at", "not_sent", "conflict", "", {}, AGAIN),
    ("somebody else was faster", "rejected", "conflict", "", {}, AGAIN),
    # Of another vendor: see test_planning. Nothing waits for a quota.
    ("the quota of its vendor is used up", "rejected", "quota", "", {}, AGAIN),
    ("the quota is used up for the very offer that the user named", "rejected", "quota", "", {"wanted": True}, STOP),
    ("refused for a quota, but something may be billed", "rejected", "quota", "", BILLED, STOP),
    ("gone when it was sent", "rejected", "not_found", "", {}, AGAIN),
    ("expired when it was sent", "rejected", "expired", "", {}, AGAIN),
    ("the very offer that the user named is gone", "rejected", "conflict", "", {"wanted": True}, STOP),
    ("its price has risen above the ceiling", "not_sent", "price", "", {}, STOP),
    ("no connection", "not_sent", "unavailable", "", {}, STOP),
    ("a wrong token", "rejected", "auth", "", {}, STOP),
    ("an order that the API does not understand", "rejected", "invalid", "", {}, STOP),
    ("asked to come back too often", "rejected", "rate_limited", "", {}, STOP),
    ("refused, but something may be billed", "rejected", "conflict", "", BILLED, STOP),
    ("refused, and what is billed is given back", "rejected", "conflict", "", GIVES_BACK, RELEASE),
    ("refused, while another's machine runs", "rejected", "conflict", "ready", {"ready": True}, AGAIN),
    ("no answer", "unknown", "unknown_outcome", "", {}, STOP),
    ("no answer, and it should be given back", "unknown", "unknown_outcome", "failed", GIVES_BACK, STOP),
    ("no answer, and a machine runs", "unknown", "unknown_outcome", "ready", {"ready": True, **BILLED}, STOP),
    ("another run buys for this host", "claimed", "conflict", "", {}, STOP),
    ("bought, failed, is kept", "created", "", "failed", BILLED, STOP),
    ("bought, failed, is given back", "created", "", "failed", GIVES_BACK, RELEASE),
    ("bought, failed, was given back", "created", "", "failed", GIVEN_BACK, AGAIN),
    ("bought, failed, left nothing", "created", "", "failed", {}, AGAIN),
    ("bought, failed, and somebody has ended it meanwhile", "created", "", "failed", {"overtaken": True}, STOP),
    ("an earlier run's, which somebody has ended meanwhile", "", "", "failed", {"overtaken": True}, STOP),
    ("failed its test, and somebody has ended it", "", "", "ready", {**GIVEN_BACK, **UNSOUND, "overtaken": True}, STOP),
    ("was in use, and has failed", "", "", "failed", {"unused": False, **GIVES_BACK}, STOP),
    ("was in use, and has ended", "", "", "ended", {"unused": False}, STOP),
    ("an earlier run's purchase has failed", "", "", "failed", GIVES_BACK, RELEASE),
    ("never got ready in time, is kept", "created", "", "going_on", BILLED, STOP),
    ("never got ready in time, is given back", "created", "", "going_on", GIVES_BACK, RELEASE),
    # Not known to be the offer's fault
    ("never got ready in time, was given back", "created", "", "going_on", GIVEN_BACK, STOP),
    ("the named offer failed, and was given back", "created", "", "failed", {"wanted": True, **GIVEN_BACK}, STOP),
    ("nobody could look at it", "created", "", "", BILLED, STOP),
    ("did not pass its test, was given back", "created", "", "ready", {**RUNS, **GIVEN_BACK, "unsound": True}, AGAIN),
    ("the same, not known to have ended", "created", "", "ready", {**BILLED, "unsound": True}, STOP),
    ("the same of the named offer", "created", "", "ready", {"wanted": True, **GIVEN_BACK, "unsound": True}, STOP),
    # Without a registry, another run has bought for the host at the same moment.
    ("the later one of two runs", "created", "", "ready", {**RUNS, **LATER, **BILLED}, STOP),
    ("the later one of two runs, is given back", "created", "", "ready", {**RUNS, **LATER, **GIVES_BACK}, RELEASE),
    ("the later one of two, was given back", "created", "", "ready", {**RUNS, **LATER, **GIVEN_BACK}, STOP),
    ("the later one was used", "created", "", "ready", {**RUNS, **LATER, **GIVES_BACK, "unused": False}, STOP),
    ("the earlier one of two runs", "created", "", "ready", {**RUNS, "doubled": True, **GIVES_BACK}, STOP),
    ("one of two has failed, is given back", "created", "", "failed", {"doubled": True, **GIVES_BACK}, RELEASE),
    ("one of two has failed, was given back", "created", "", "failed", {"doubled": True, **GIVEN_BACK}, STOP),
    ("answers contradict", "created", "", "ready", {**RUNS, "unclear": True, **GIVES_BACK}, STOP),
    ("the same, and it has failed", "created", "", "failed", {"unclear": True, **GIVES_BACK}, STOP),
]


@pytest.mark.parametrize(
    ("outcome", "error_class", "phase", "fields", "verdict"), [pytest.param(*row[1:], id=row[0]) for row in TABLE]
)
def test_the_cases_that_matter(
    outcome: str, error_class: str, phase: str, fields: dict[str, bool], verdict: Verdict
) -> None:
    assert what_follows(Attempt(outcome, error_class, phase, attempts_left=2, **fields)) is verdict
    # Without remaining offers the verdict is the same, except that there is no further attempt.
    assert what_follows(Attempt(outcome, error_class, phase, attempts_left=0, **fields)) is (
        STOP if verdict is AGAIN else verdict
    )


OUTCOMES = ("created", "existing", "rejected", "not_sent", "unknown", "claimed", "")
CLASSES = (
    *("", "auth", "not_found", "conflict", "expired", "invalid", "rate_limited", "quota"),
    *("price", "capacity", "unavailable", "protocol", "unknown_outcome"),
)
PHASES = ("", "unbought", "going_on", "ready", "failed", "expired", "ended")


def attempts() -> Iterator[Attempt]:
    flags = [(False, True)] * 6
    for outcome, error_class, phase, left in itertools.product(OUTCOMES, CLASSES, PHASES, (-1, 0, 1, 3)):
        for ready, billed, wanted, unused, released, release in itertools.product(*flags):
            yield Attempt(outcome, error_class, phase, ready, billed, wanted, unused, released, release, left)


Rule = Callable[[Attempt, Verdict], bool]
BOUGHT = ("created", "existing", "")
# Rules for any verdict, however a host fails over
RULES: dict[str, Rule] = {
    "what may be billed is never followed by another offer": lambda a, v: v is not AGAIN or not a.billed or a.released,
    "what nobody knows stops the host": lambda a, v: a.outcome != "unknown" or v is STOP,
    "while another run is buying nothing is done": lambda a, v: a.outcome != "claimed" or v is STOP,
    "only what was bought runs": lambda a, v: v is not READY or (a.ready and a.outcome in BOUGHT and not a.released),
    "what was bought and runs is registered": lambda a, v: (
        not (a.ready and a.outcome in BOUGHT and not a.released) or v is READY
    ),
    "only what may be billed is given back, once": lambda a, v: v is not RELEASE or (a.billed and not a.released),
    "given back only if the user says so": lambda a, v: v is not RELEASE or a.release,
    "what was in use is never given back": lambda a, v: v is not RELEASE or a.unused,
    "what was not sent is never given back": lambda a, v: v is not RELEASE or a.outcome != "not_sent",
    "no attempt without an offer that is left": lambda a, v: v is not AGAIN or a.attempts_left > 0,
    "the very offer of the user is not replaced": lambda a, v: v is not AGAIN or not a.wanted,
    "another offer only if this one was at fault": lambda a, v: (
        v is not AGAIN
        or (
            a.error_class in OF_THE_OFFER if a.outcome in ("rejected", "not_sent") else a.phase == "failed" or a.unsound
        )
    ),
    "an offer at fault that left nothing is followed by another": lambda a, v: (
        v is AGAIN
        or a.wanted
        or a.attempts_left <= 0
        or a.billed
        or not (
            (a.outcome in ("rejected", "not_sent") and a.error_class in OF_THE_OFFER)
            or (a.outcome in BOUGHT and a.phase == "failed" and not a.ready)
        )
    ),
    "forgotten only if certainly nothing is billed": lambda a, v: (
        not leaves_nothing(a) or (v in (AGAIN, STOP) and (not a.billed or a.released))
    ),
    "before another offer this one may be forgotten": lambda a, v: v is not AGAIN or leaves_nothing(a),
    "another one is advised only if certainly nothing is billed": lambda a, v: (
        not needs_another(a) or (v is not READY and leaves_nothing(a))
    ),
    "where another one is tried it would be advised": lambda a, v: v is not AGAIN or needs_another(a),
    "what nobody knows is not forgotten": lambda a, v: a.outcome not in ("unknown", "claimed") or not leaves_nothing(a),
}


def test_every_combination() -> None:
    broken = {}
    seen = set()
    count = 0
    for attempt in attempts():
        count += 1
        verdict = what_follows(attempt)
        seen.add(verdict)
        unclear = replace(attempt, unclear=True)
        overtaken = what_follows(replace(attempt, overtaken=True))
        assert overtaken is (STOP if verdict is AGAIN else verdict)
        assert what_follows(unclear) is STOP and not leaves_nothing(unclear)
        decided = [(attempt, verdict)]
        if attempt.released and not attempt.error_class:  # only then it matters whether it has passed its test
            unsound = replace(attempt, unsound=True)
            decided.append((unsound, what_follows(unsound)))
        for one, what in decided:
            for name, rule in RULES.items():
                if name not in broken and not rule(one, what):
                    broken[name] = (one, what)
    assert broken == {}
    assert count == 7 * 13 * 7 * 4 * 2**6
    assert seen == set(Verdict)
