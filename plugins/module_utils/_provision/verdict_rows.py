# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts as the role's tasks need them: plain mappings, which a person can read at -v."""

from __future__ import annotations

import typing as t

from . import registration
from .acceptance import UNSOUND
from .failover import Verdict
from .judging import JudgedHost, bought_and_billed
from .messages import joined
from .place import place_of
from .rounds import HostVerdict, Released

Row = dict[str, t.Any]
Answers = t.Collection[t.Mapping[str, t.Any]]  # of deletions

NEXT = {
    Verdict.AGAIN: "round",
    Verdict.ANEW: "round",
    Verdict.RELEASE: "give_back",
    Verdict.STOP: "stop",
}
_AGAIN = (Verdict.AGAIN, Verdict.ANEW)  # the host takes part in another round


def row(case: JudgedHost, verdict: Verdict) -> Row:
    """What the role's tasks need of a host, and a person can read at -v."""
    attempts = [*case.plan["attempts"], *case.tried(verdict)]
    facts, stop = {}, ""
    if verdict is Verdict.READY:
        facts = case.facts()
    elif verdict is Verdict.STOP:
        stop = case.failure(case.attempt(), [attempt["offer_id"] for attempt in attempts])
        facts = case.left_open()
    return HostVerdict(
        host=case.host,
        round=case.plan["round"],
        next=NEXT.get(verdict) or _reached_by(case),
        stop=stop,
        again=verdict in _AGAIN,
        attempts=attempts,
        facts=facts,
        # What the role may end, at once or if the machine proves unusable: what this purchase holds, by exact id.
        release=case.endable if verdict in (Verdict.RELEASE, Verdict.READY) else (),
    ).mapping


def further(case: JudgedHost) -> list[Row]:
    """The further machines of a cluster, as hosts of the first one's groups."""
    plan = case.plan
    machines = registration.further(
        case.host, case.instances, plan["trust"], plan["known_hosts_file"], plan["identity_file"]
    )
    return [{**machine, "groups": plan["groups"]} for machine in machines]


def _reached_by(case: JudgedHost) -> str:
    """What the role does next for a machine that runs."""
    if len(case.instances) > 1:
        return "prepare"
    plan = case.plan
    return registration.reached_by(
        plan["reach"], bool(plan["verify"]), case.entry, plan["trust"], place_of(plan["registry"]).keeps_host_keys
    )


def is_over(case: JudgedHost, ended: Answers) -> bool:
    """Whether all that was told to end, and all that may be billed, is billed no more."""
    stopped = {item.get("resource_id") for item in ended if item.get("billing_stopped")}
    return bool(stopped) and stopped.issuperset([*case.billed, *(item.get("resource_id") for item in ended)])


def released(
    case: JudgedHost, attempts: t.Sequence[Row], ended: Answers, unsound: str, *, check_mode: bool
) -> Released:
    """What follows once machines were told to end, by what ``ended``; its storage is not decided here.

    ``attempts``: the last one bought them. ``unsound``: why a machine did not pass its test, empty if it did.
    """
    if not is_over(case, ended):
        return _not_over(case, attempts, ended)
    tried = [*attempts[:-1], *(_ended(case, last, ended, unsound) for last in attempts[-1:])]
    verdict = case.verdict(check_mode, released=True, unsound=bool(unsound))
    return Released(
        round=case.plan["round"],
        next=NEXT.get(verdict, "stop"),
        stop=case.failure(case.attempt(released=True), [item["offer_id"] for item in tried]),
        again=verdict in _AGAIN,
        attempts=tried,
        over=True,
        money=case.given_back,
    )


def _not_over(case: JudgedHost, attempts: t.Sequence[Row], ended: Answers) -> Released:
    """The host stops, since something of its purchase may still be billed."""
    left = "; ".join(str(item.get("msg")) for item in ended if not item.get("billing_stopped"))
    money = joined(left, bought_and_billed(case.price_per_hour, case.ids))
    return Released(
        round=case.plan["round"], next="stop", stop=joined(case.reason(), money), attempts=attempts, money=money
    )


def _ended(case: JudgedHost, attempt: Row, ended: Answers, unsound: str) -> Row:
    """An attempt whose machines have ended: their ids, and in words what stays."""
    tested = {"error_class": UNSOUND, "msg": unsound} if unsound else {}
    row = {**attempt, "ended": sorted(item["resource_id"] for item in ended), **tested}
    return {**row, "msg": joined(str(row.get("msg") or ""), case.given_back)}
