# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts as the role's tasks need them: plain mappings, which a person can read at -v."""

from __future__ import annotations

import typing as t

from . import registration
from .failover import Verdict
from .judging import JudgedHost
from .place import place_of
from .rounds import HostVerdict

Row = dict[str, t.Any]

NEXT = {
    Verdict.AGAIN: "round",
    Verdict.ANEW: "round",
    Verdict.RELEASE: "give_back",
    Verdict.STOP: "stop",
}


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
        again=verdict in (Verdict.AGAIN, Verdict.ANEW),
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


def is_over(case: JudgedHost, ended: t.Collection[t.Mapping[str, t.Any]]) -> bool:
    """Whether all that was told to end, and all that may be billed, is billed no more."""
    stopped = {item.get("resource_id") for item in ended if item.get("billing_stopped")}
    return bool(stopped) and stopped.issuperset([*case.billed, *(item.get("resource_id") for item in ended)])
