# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on an attempt: a table of cases, and every combination against independent rules.

To fail over in another way, change `what_follows`, its rows of `TABLE`, and any of `RULES` that no longer holds.
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

IS_READY = {"ready": True}
LATER_OF_TWO = {"doubled": True, "later": True}
BILLED = {"billed": True}
MAY_RELEASE = {"billed": True, "release": True}
RELEASED = {"billed": True, "release": True, "released": True}
UNSOUND = {"unsound": True}

# case | outcome | error class | phase | other fields | verdict if two offers may still be tried
TABLE: list[tuple[str, str, str, str, dict[str, bool], Verdict]] = [
    ("bought, ready", "created", "", "ready", {"ready": True, **BILLED}, READY),
    ("existing purchase, ready", "existing", "", "ready", {"ready": True, **BILLED}, READY),
    ("bought before this run, ready", "", "", "ready", {"ready": True, **BILLED}, READY),
    ("bought, ready, may be released", "created", "", "ready", {"ready": True, **MAY_RELEASE}, READY),
    ("not found before sending", "not_sent", "not_found", "", {}, AGAIN),
    ("expired before sending", "not_sent", "expired", "", {}, AGAIN),
    ("failed before sending", "not_sent", "conflict", "", {}, AGAIN),
    ("someone else bought it", "rejected", "conflict", "", {}, AGAIN),
    # Only another vendor is tried after a quota; see test_planning.py.
    ("quota of the vendor is used up", "rejected", "quota", "", {}, AGAIN),
    ("quota is used up, offer named by the user", "rejected", "quota", "", {"wanted": True}, STOP),
    ("refused for a quota, something may be billed", "rejected", "quota", "", BILLED, STOP),
    ("not found when sent", "rejected", "not_found", "", {}, AGAIN),
    ("expired when sent", "rejected", "expired", "", {}, AGAIN),
    ("someone else bought the offer named by the user", "rejected", "conflict", "", {"wanted": True}, STOP),
    ("price has risen above the ceiling", "not_sent", "price", "", {}, STOP),
    ("no connection", "not_sent", "unavailable", "", {}, STOP),
    ("wrong token", "rejected", "auth", "", {}, STOP),
    ("invalid request", "rejected", "invalid", "", {}, STOP),
    ("rate limited too often", "rejected", "rate_limited", "", {}, STOP),
    ("refused, something may be billed", "rejected", "conflict", "", BILLED, STOP),
    ("refused, something may be billed and released", "rejected", "conflict", "", MAY_RELEASE, RELEASE),
    ("refused, a machine of someone else is ready", "rejected", "conflict", "ready", {"ready": True}, AGAIN),
    ("no answer", "unknown", "unknown_outcome", "", {}, STOP),
    ("no answer, may be released", "unknown", "unknown_outcome", "failed", MAY_RELEASE, STOP),
    ("no answer, a machine is ready", "unknown", "unknown_outcome", "ready", {"ready": True, **BILLED}, STOP),
    ("another run buys for this host", "claimed", "conflict", "", {}, STOP),
    ("bought, failed, kept", "created", "", "failed", BILLED, STOP),
    ("bought, failed, may be released", "created", "", "failed", MAY_RELEASE, RELEASE),
    ("bought, failed, released", "created", "", "failed", RELEASED, AGAIN),
    ("bought, failed, nothing billed", "created", "", "failed", {}, AGAIN),
    ("bought, failed, ended by someone", "created", "", "failed", {"overtaken": True}, STOP),
    ("bought before this run, failed, ended by someone", "", "", "failed", {"overtaken": True}, STOP),
    ("failed its test, ended by someone", "", "", "ready", {**RELEASED, **UNSOUND, "overtaken": True}, STOP),
    ("was in use, failed", "", "", "failed", {"unused": False, **MAY_RELEASE}, STOP),
    ("was in use, ended", "", "", "ended", {"unused": False}, STOP),
    ("bought before this run, failed, may be released", "", "", "failed", MAY_RELEASE, RELEASE),
    ("not ready in time, kept", "created", "", "going_on", BILLED, STOP),
    ("not ready in time, may be released", "created", "", "going_on", MAY_RELEASE, RELEASE),
    # This may not be the offer's fault.
    ("not ready in time, released", "created", "", "going_on", RELEASED, STOP),
    ("offer named by the user failed, released", "created", "", "failed", {"wanted": True, **RELEASED}, STOP),
    ("bought, status was never read", "created", "", "", BILLED, STOP),
    ("failed its test, released", "created", "", "ready", {**IS_READY, **RELEASED, "unsound": True}, AGAIN),
    ("failed its test, may still be billed", "created", "", "ready", {**BILLED, "unsound": True}, STOP),
    (
        "offer named by the user failed its test, released",
        "created",
        "",
        "ready",
        {"wanted": True, **RELEASED, "unsound": True},
        STOP,
    ),
    # Without a registry, another run may buy for the host at the same moment.
    ("later of two purchases, kept", "created", "", "ready", {**IS_READY, **LATER_OF_TWO, **BILLED}, STOP),
    (
        "later of two purchases, may be released",
        "created",
        "",
        "ready",
        {**IS_READY, **LATER_OF_TWO, **MAY_RELEASE},
        RELEASE,
    ),
    ("later of two purchases, released", "created", "", "ready", {**IS_READY, **LATER_OF_TWO, **RELEASED}, STOP),
    (
        "later of two purchases, was in use",
        "created",
        "",
        "ready",
        {**IS_READY, **LATER_OF_TWO, **MAY_RELEASE, "unused": False},
        STOP,
    ),
    ("earlier of two purchases", "created", "", "ready", {**IS_READY, "doubled": True, **MAY_RELEASE}, STOP),
    (
        "one of two purchases failed, may be released",
        "created",
        "",
        "failed",
        {"doubled": True, **MAY_RELEASE},
        RELEASE,
    ),
    ("one of two purchases failed, released", "created", "", "failed", {"doubled": True, **RELEASED}, STOP),
    ("contradiction, ready", "created", "", "ready", {**IS_READY, "unclear": True, **MAY_RELEASE}, STOP),
    ("contradiction, failed", "created", "", "failed", {"unclear": True, **MAY_RELEASE}, STOP),
]


@pytest.mark.parametrize(
    ("outcome", "error_class", "phase", "fields", "verdict"), [pytest.param(*row[1:], id=row[0]) for row in TABLE]
)
def test_verdict_on_an_attempt(
    outcome: str, error_class: str, phase: str, fields: dict[str, bool], verdict: Verdict
) -> None:
    assert what_follows(Attempt(outcome, error_class, phase, attempts_left=2, **fields)) is verdict
    # Without attempts left, only the next attempt is lacking.
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
# Rules for each verdict
RULES: dict[str, Rule] = {
    "no other offer while something may be billed": lambda a, v: v is not AGAIN or not a.billed or a.released,
    "an unknown outcome stops the host": lambda a, v: a.outcome != "unknown" or v is STOP,
    "a claim of another run stops the host": lambda a, v: a.outcome != "claimed" or v is STOP,
    "only a bought machine becomes ready": lambda a, v: (
        v is not READY or (a.ready and a.outcome in BOUGHT and not a.released)
    ),
    "a bought machine that is ready stays": lambda a, v: (
        not (a.ready and a.outcome in BOUGHT and not a.released) or v is READY
    ),
    "only a billed machine is released, and only once": lambda a, v: v is not RELEASE or (a.billed and not a.released),
    "a machine is released only if the user allows it": lambda a, v: v is not RELEASE or a.release,
    "a machine that was in use is never released": lambda a, v: v is not RELEASE or a.unused,
    "an unsent purchase releases nothing": lambda a, v: v is not RELEASE or a.outcome != "not_sent",
    "no other offer without attempts left": lambda a, v: v is not AGAIN or a.attempts_left > 0,
    "an offer named by the user is not replaced": lambda a, v: v is not AGAIN or not a.wanted,
    "another offer only after a fault of this one": lambda a, v: (
        v is not AGAIN
        or (
            a.error_class in OF_THE_OFFER if a.outcome in ("rejected", "not_sent") else a.phase == "failed" or a.unsound
        )
    ),
    "a faulty offer that left nothing billed is replaced": lambda a, v: (
        v is AGAIN
        or a.wanted
        or a.attempts_left <= 0
        or a.billed
        or not (
            (a.outcome in ("rejected", "not_sent") and a.error_class in OF_THE_OFFER)
            or (a.outcome in BOUGHT and a.phase == "failed" and not a.ready)
        )
    ),
    "an attempt is forgotten only if nothing is billed": lambda a, v: (
        not leaves_nothing(a) or (v in (AGAIN, STOP) and (not a.billed or a.released))
    ),
    "an attempt that is replaced may be forgotten": lambda a, v: v is not AGAIN or leaves_nothing(a),
    "another offer is advised only if nothing is billed": lambda a, v: (
        not needs_another(a) or (v is not READY and leaves_nothing(a))
    ),
    "another offer is advised wherever it is tried": lambda a, v: v is not AGAIN or needs_another(a),
    "an attempt with an unknown outcome is not forgotten": lambda a, v: (
        a.outcome not in ("unknown", "claimed") or not leaves_nothing(a)
    ),
}


def test_every_combination_obeys_the_rules() -> None:
    broken = {}
    verdicts = set()
    count = 0
    for attempt in attempts():
        count += 1
        verdict = what_follows(attempt)
        verdicts.add(verdict)
        unclear = replace(attempt, unclear=True)
        overtaken = what_follows(replace(attempt, overtaken=True))
        assert overtaken is (STOP if verdict is AGAIN else verdict)
        assert what_follows(unclear) is STOP and not leaves_nothing(unclear)
        pairs = [(attempt, verdict)]
        if attempt.released and not attempt.error_class:  # for other attempts a failed test changes nothing
            unsound = replace(attempt, unsound=True)
            pairs.append((unsound, what_follows(unsound)))
        for pair in pairs:
            for name, rule in RULES.items():
                if name not in broken and not rule(*pair):
                    broken[name] = pair
    assert broken == {}
    assert count == 7 * 13 * 7 * 4 * 2**6
    assert verdicts == set(Verdict)
