# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps of `decide` hand on to each other and to the tasks of the roles.

A round is one plan for all hosts, and what became of it. Each step registers its part, which a later one reads from the
variables of a host. docs/architecture.md has a table of all fields: who writes them, and who reads them.
"""

from __future__ import annotations

import typing as t
from collections import abc
from dataclasses import dataclass, field, fields

from .._text import ids_in_words
from .ended import SAY
from .planning import BUY, WAIT

Variables = t.Mapping[str, t.Any]
Rows = t.Sequence[Variables]
_Part = t.TypeVar("_Part", bound="RoundPart")
_MAPPING = (dict, abc.Mapping)  # the first is found sooner


@dataclass(frozen=True)
class RoundPart:
    """What one step hands on. Its first field tells it from the result of a task that was skipped or has failed."""

    @property
    def mapping(self) -> dict[str, t.Any]:
        """The same as plain values, which Ansible can keep and a person can read at -v."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def of(cls: type[_Part], raw: t.Any) -> _Part:
        """The part that a mapping has, such as the result of a task; without a value if it has none."""
        names = list(cls.__dataclass_fields__)
        if not isinstance(raw, _MAPPING) or names[0] not in raw or raw.get("failed"):
            return cls()
        return cls(**{name: raw[name] for name in names})


@dataclass(frozen=True)
class Declared(RoundPart):
    """``declarations`` by host; ``all_declared``: none of the batch is missing there."""

    declarations: t.Mapping[str, Variables] = field(default_factory=dict)
    all_declared: bool = False


@dataclass(frozen=True)
class Common(RoundPart):
    """What a plan says for all hosts of its ``round``, which has an id of its own.

    ``decided``: the ids of the declarations about which this round or an earlier one has decided. ``all_skip_first``
    and ``all_skip_next``: no host of the play has a file of tasks to run before anything is bought, or after it, so
    that one host can skip them for all. ``one_tells_all``: one gives all hosts their variables; under a role's
    condition each host takes its own. ``acquires``: a host buys, or waits for what it has bought. ``under_way``: the
    offers that are waited for. ``labels``: hosts, by their offers. ``poll``: how often and as long as any host wants.
    ``without_offer``: machines that were listed before anything was bought and name no offer. ``registry``,
    ``logins``, ``would`` (what is bought, in check mode): for the lines at the end.
    """

    round: str = ""
    decided: t.Sequence[str] = ()
    all_skip_first: bool = False
    all_skip_next: bool = False
    one_tells_all: bool = False
    acquires: bool = False
    under_way: t.Sequence[str] = ()
    labels: t.Mapping[str, str] = field(default_factory=dict)
    poll: t.Mapping[str, int] = field(default_factory=dict)
    without_offer: t.Sequence[str] = ()
    registry: str = ""
    logins: t.Sequence[str] = ()
    would: str = ""


@dataclass(frozen=True)
class Following(RoundPart):
    """What follows for a host in a ``round``: the ``next`` file of tasks, and why it stops there.

    ``again``: whether it may try another offer. ``attempts``: those that it has tried.
    """

    round: str = ""
    next: str = ""
    stop: str = ""
    again: bool = False
    attempts: Rows = ()


@dataclass(frozen=True)
class HostVerdict(Following):
    """What became of a host's plan. ``facts``: its variables. ``release``: the ids that it gives back."""

    host: str = ""
    facts: Variables = field(default_factory=dict)
    release: t.Sequence[str] = ()


@dataclass(frozen=True)
class Released(Following):
    """What follows once machines were given back. ``over``: whether all have ended; ``money``: what that means.

    ``storage``: what of it ends then; see `ended.storage_to_end`.
    """

    over: bool = False
    money: str = ""
    storage: Variables = field(default_factory=dict)


@dataclass(frozen=True)
class Judged(RoundPart):
    """The ``verdicts`` of the hosts that bought or waited in a ``round``; clusters' ``further`` machines by host.

    ``offers``: how those of this round and of earlier ones were seen last, by id.
    """

    round: str = ""
    verdicts: Rows = ()
    all_skip_next: bool = False
    further: t.Mapping[str, Rows] = field(default_factory=dict)
    offers: t.Mapping[str, Variables] = field(default_factory=dict)


@dataclass(frozen=True)
class Ends(RoundPart):
    """What the role decommission ends of each host, decided once for all that have declared.

    ``ends``: `ended.end_plan`, by host. ``decided``: the ids of the declarations about which this ``round`` or an
    earlier one has decided.
    """

    round: str = ""
    ends: t.Mapping[str, Variables] = field(default_factory=dict)
    decided: t.Sequence[str] = ()


@dataclass(frozen=True)
class Ended(RoundPart):
    """What became of the hosts of a ``round`` (`ended.outcomes`) until now: of their machines, or storage, too.

    ``over``: a line about each host that has nothing left. ``lines``: what else there is to say. ``one_for_all``: the
    same follows for all hosts of the play. ``one_tells_all``: as of `Common`.
    """

    round: str = ""
    outcomes: t.Mapping[str, Variables] = field(default_factory=dict)
    over: Rows = ()
    lines: t.Sequence[str] = ()
    one_for_all: bool = False
    one_tells_all: bool = False


@dataclass(frozen=True)
class _HostRound:
    """A round as the variables of a host have it."""

    host: str = ""
    declared: Declared = field(default_factory=Declared)

    @property
    def declaration(self) -> Variables:
        """What the host has declared in its last call of the role; empty if it has not, or was left out of it."""
        return self.declared.declarations.get(self.host) or {}


@dataclass(frozen=True)
class Round(_HostRound):
    """All that the steps of a purchase have handed on until now."""

    plans: t.Mapping[str, Variables] = field(default_factory=dict)  # `rows.plan_row`, by host
    common: Common = field(default_factory=Common)
    judged: Judged = field(default_factory=Judged)
    verdict: HostVerdict = field(default_factory=HostVerdict)
    released: Released = field(default_factory=Released)

    @classmethod
    def of(cls, variables: Variables) -> Round:
        """The round by a host's raw variables."""
        planned = variables.get("provision__planned") or {}
        return cls(
            host=str(variables.get("inventory_hostname") or ""),
            declared=Declared.of(variables.get("provision__declared")),
            plans=planned.get("plans") or {},
            common=Common.of(planned.get("common")),
            judged=Judged.of(variables.get("provision__judged")),
            verdict=HostVerdict.of(variables.get("provision__verdict")),
            released=Released.of(variables.get("provision__released")),
        )

    @property
    def plan(self) -> Variables:
        """What the plan of the play says for the host. ``first`` and ``next`` name the role's files that follow.

        A plan that was made for an earlier declaration of the host, in an earlier call of the role, is none. What runs
        once follows the first host: if a role's ``when`` leaves that one out, the others plan by themselves. Under a
        role's ``run_once`` only the first host has declared, and the others take no part.
        """
        declaration = self.declaration
        plan = self.plans.get(declaration.get("host", "")) or {}
        if plan and plan["declaration"] == declaration.get("id"):
            return plan
        is_done = declaration.get("id") in self.common.decided or (self.declared.declarations and not declaration)
        return {"action": "", "first": "", "next": "" if is_done else "round"}

    @property
    def for_tasks(self) -> dict[str, t.Any]:
        """The plan of the host as its tasks follow it: ``next`` is what the last verdict says, if that is of this plan.

        ``again``: it may try another offer. ``undeclared``: it must declare by itself. ``pause`` (seconds) is between
        two looks for offers.
        """
        plan, common = self.plan, self.common
        last = self.judged if common.acquires else common
        return {
            **plan,
            **self._following(plan),
            "again": self._again is not None,
            "undeclared": not self.declaration,
            "all_declared": self.declared.all_declared,
            "pause": self.declaration.get("pause", 1),
            "one_tells_all": common.one_tells_all,
            "all_skip_first": common.all_skip_first,
            "all_skip_next": common.all_skip_next and last.round == common.round and last.all_skip_next,
        }

    def _following(self, plan: Variables) -> dict[str, t.Any]:
        """What a later step says of the plan. A host that buys and was not judged stops.

        What runs once follows the first host, which a role's ``when`` may leave out at any task.
        """
        if self.verdict.round and self.verdict.round == plan.get("round"):
            return {"next": self.verdict.next}
        if plan["action"] in (BUY, WAIT) and self.judged.round != plan["round"]:
            refusal = (
                f"{plan['host']} was not told what became of its purchase: the first host looks for all, and the role's"
                " condition (when) does not hold any more. What was bought is billed. Run again: nothing is bought"
                " twice."
            )
            return {"next": "stop", "refusal": refusal}
        return {}

    @property
    def _again(self) -> Following | None:
        """What says that the host may try another offer, None if it may not (any more)."""
        this_round = self.plan.get("round")
        says = (item for item in (self.released, self.verdict) if item.again and item.round == this_round)
        return next(says, None) if this_round else None

    def tried_with(self, first: Round) -> Rows | None:
        """What was tried for a host that tries another offer together with this ``first`` one, None if it does not.

        Hosts share an include of tasks to which they come at once: those that have lost an offer in the same round, or
        have given back what they had bought in it. Others come to theirs later.
        """
        says, of_first = self._again, first._again
        is_later = of_first and says and (type(says), says.round) != (type(of_first), of_first.round)
        return None if says is None or is_later else says.attempts

    @property
    def listed_before(self) -> t.Sequence[str]:
        """The machines that were listed before a host's first purchase and name no offer: it buys none of these."""
        return self.common.without_offer if self.plan.get("is_new") else ()


@dataclass(frozen=True)
class EndRound(_HostRound):
    """All that the steps of an end have handed on until now.

    ``together``: all hosts of the play take part.
    """

    together: bool = False
    ends: Ends = field(default_factory=Ends)
    ended: Ended = field(default_factory=Ended)

    @classmethod
    def of(cls, variables: Variables) -> EndRound:
        """The round by a host's raw variables."""
        return cls(
            host=str(variables.get("inventory_hostname") or ""),
            declared=Declared.of(variables.get("decommission__declared")),
            together=bool(variables.get("decommission__together")),
            ends=Ends.of(variables.get("decommission__decided")),
            ended=Ended.of(variables.get("decommission__ended")),
        )

    @property
    def plan(self) -> Variables:
        """What ends of the host; empty if that was decided for an earlier declaration, or not at all."""
        plan = self.ends.ends.get(self.host) or {}
        return plan if plan and (plan["together"] or plan["declaration"] == self.declaration.get("id")) else {}

    @property
    def outcomes(self) -> t.Mapping[str, Variables]:
        """What became of all hosts of this round until now, by their names; empty if nothing was noted of it yet."""
        return self.ended.outcomes if self.ended.round == self.ends.round else {}

    @property
    def plans(self) -> list[Variables]:
        """What ends now of the hosts of this round."""
        return list(self.ends.ends.values())

    @property
    def for_tasks(self) -> dict[str, t.Any]:
        """The file of tasks that follows (``next``), and why the host stops there.

        What runs once follows the first host, which a role's ``when`` may leave out at any task: a host that has
        declared, and about which nothing was decided, decides by itself. One that has not takes no part, as under a
        role's ``run_once``, unless all do.
        """
        noted = self.outcomes.get(self.host) if self.plan else None
        return {
            **(noted or self._unnoted()),
            "lines": self.ended.lines,
            "one_tells_all": self.ended.one_tells_all,
            "one_for_all": bool(self.outcomes) and self.ended.one_for_all,
        }

    def _unnoted(self) -> Variables:
        plan, declaration = self.plan, self.declaration
        if not plan:
            is_decided = declaration.get("id") in self.ends.decided
            undeclared = "alone" if self.together else ""
            return {"next": undeclared if not declaration else "" if is_decided else "round", "stop": ""}
        stop = (
            f"What became of {self.host} was not noted ({ids_in_words(plan['ids'])}): a condition of the role has left"
            " tasks out. It may have ended, or be billed. Run again: it asks the API first."
        )
        return {"next": SAY if plan["next"] else "", "stop": stop}


def published(data: Variables) -> dict[str, t.Any]:
    """What a step publishes for the workflow that it is a part of; nothing without ``data``."""
    return {"ansible_stats": {"data": data, "per_host": False, "aggregate": True}} if data else {}
