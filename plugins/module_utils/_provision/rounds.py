# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data that the steps of `decide` pass to each other and to the tasks of the roles.

A round is one plan for all hosts with its results. Each step registers its part, and later steps read it from a host's
variables. docs/architecture.md lists all fields with the steps that write and read them.
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
_MAPPING = (dict, abc.Mapping)  # `dict` first, since its check is faster


@dataclass(frozen=True)
class RoundPart:
    """The part of a round that one step writes. The result of a skipped or failed task lacks its first field."""

    @property
    def mapping(self) -> dict[str, t.Any]:
        """The part as plain values, which Ansible can store and show at -v."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def of(cls: type[_Part], raw: t.Any) -> _Part:
        """Read the part from a mapping, such as a task's result; all fields have their defaults if it is not there."""
        names = list(cls.__dataclass_fields__)
        if not isinstance(raw, _MAPPING) or names[0] not in raw or raw.get("failed"):
            return cls()
        return cls(**{name: raw[name] for name in names})


@dataclass(frozen=True)
class Declared(RoundPart):
    """The ``declarations`` by host. ``all_declared``: every host of the batch has declared."""

    declarations: t.Mapping[str, Variables] = field(default_factory=dict)
    all_declared: bool = False


@dataclass(frozen=True)
class Common(RoundPart):
    """The part of a plan for all hosts of a ``round`` (its id).

    ``decided``: the ids of the declarations that this or an earlier round has decided about. ``all_skip_first`` and
    ``all_skip_next``: no host of the play has a task file to run before or after purchases, so one host can skip them
    for all. ``one_tells_all``: one host sets the variables of all; under a role's condition each host sets its own.
    ``acquires``: at least one host buys, or waits for a purchase. ``under_way``: the offers that hosts wait for.
    ``labels``: hosts by offer. ``poll``: see `rows.poll`. ``without_offer``: machines that were listed before anything
    was bought and name no offer. For the lines at the end: ``registry``, ``logins``, and ``would``, the purchases that
    check mode leaves out.
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
    """The next step of a host in a ``round``: the ``next`` task file, and the reason if it stops there.

    ``again``: whether it may try another offer. ``attempts``: its purchases so far.
    """

    round: str = ""
    next: str = ""
    stop: str = ""
    again: bool = False
    attempts: Rows = ()


@dataclass(frozen=True)
class HostVerdict(Following):
    """The result of a host's plan. ``facts``: its variables. ``release``: the ids that it may release."""

    host: str = ""
    facts: Variables = field(default_factory=dict)
    release: t.Sequence[str] = ()


@dataclass(frozen=True)
class Released(Following):
    """The next step after a release. ``over``: whether all machines have ended; ``money``: a message about costs.

    ``storage``: the storage to end next; see `ended.storage_to_end`.
    """

    over: bool = False
    money: str = ""
    storage: Variables = field(default_factory=dict)


@dataclass(frozen=True)
class Judged(RoundPart):
    """The ``verdicts`` on hosts that bought or waited in a ``round``; ``further`` machines of clusters, by host.

    ``offers``: the last known status of each offer of this and earlier rounds, by id.
    """

    round: str = ""
    verdicts: Rows = ()
    all_skip_next: bool = False
    further: t.Mapping[str, Rows] = field(default_factory=dict)
    offers: t.Mapping[str, Variables] = field(default_factory=dict)


@dataclass(frozen=True)
class Ends(RoundPart):
    """What the role decommission ends for each host, decided once for all hosts that have declared.

    ``ends``: `ended.end_plan`, by host. ``decided``: the ids of the declarations that this ``round`` or an earlier one
    has decided about.
    """

    round: str = ""
    ends: t.Mapping[str, Variables] = field(default_factory=dict)
    decided: t.Sequence[str] = ()


@dataclass(frozen=True)
class Ended(RoundPart):
    """The results so far for the hosts of a ``round`` (`ended.outcomes`): of their machines, and later their storage.

    ``over``: a line about each host that has nothing left. ``lines``: further lines. ``one_for_all``: all hosts of the
    play continue with the same task file. ``one_tells_all``: see `Common`.
    """

    round: str = ""
    outcomes: t.Mapping[str, Variables] = field(default_factory=dict)
    over: Rows = ()
    lines: t.Sequence[str] = ()
    one_for_all: bool = False
    one_tells_all: bool = False


@dataclass(frozen=True)
class _HostRound:
    """A round, read from the variables of a host."""

    host: str = ""
    declared: Declared = field(default_factory=Declared)

    @property
    def declaration(self) -> Variables:
        """The host's declaration in its last call of the role; empty if it has none or was left out."""
        return self.declared.declarations.get(self.host) or {}


@dataclass(frozen=True)
class Round(_HostRound):
    """The parts that the steps of a purchase have written so far."""

    plans: t.Mapping[str, Variables] = field(default_factory=dict)  # `rows.plan_row`, by host
    common: Common = field(default_factory=Common)
    judged: Judged = field(default_factory=Judged)
    verdict: HostVerdict = field(default_factory=HostVerdict)
    released: Released = field(default_factory=Released)

    @classmethod
    def of(cls, variables: Variables) -> Round:
        """Read the round from a host's raw variables."""
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
        """The host's plan; ``first`` and ``next`` name the role's task files to run.

        A plan for an earlier declaration of the host, in an earlier call of the role, does not count. Tasks with
        ``run_once`` depend on the first host: if a role's ``when`` leaves it out, the other hosts plan separately.
        Under a role's ``run_once`` only the first host has declared, and the others do not take part.
        """
        declaration = self.declaration
        plan = self.plans.get(declaration.get("host", "")) or {}
        if plan and plan["declaration"] == declaration.get("id"):
            return plan
        is_done = declaration.get("id") in self.common.decided or (self.declared.declarations and not declaration)
        return {"action": "", "first": "", "next": "" if is_done else "round"}

    @property
    def for_tasks(self) -> dict[str, t.Any]:
        """The host's plan for its tasks; ``next`` comes from the verdict on this plan, if there is one.

        ``again``: it may try another offer. ``undeclared``: it must still declare. ``pause``: seconds between two
        searches.
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
        """The fields of the plan that a later step replaces. A host that has bought but was not judged stops.

        That happens if a role's ``when`` leaves out the first host at a task with ``run_once``.
        """
        if self.verdict.round and self.verdict.round == plan.get("round"):
            return {"next": self.verdict.next}
        if plan["action"] in (BUY, WAIT) and self.judged.round != plan["round"]:
            refusal = (
                f"The result of {plan['host']}'s purchase was not read: the first host reads it for all, but the role's"
                " condition (when) is no longer true for it. What was bought is billed. Run again: nothing is bought"
                " twice."
            )
            return {"next": "stop", "refusal": refusal}
        return {}

    @property
    def _again(self) -> Following | None:
        """The part that lets the host try another offer; None if it may not."""
        this_round = self.plan.get("round")
        says = (item for item in (self.released, self.verdict) if item.again and item.round == this_round)
        return next(says, None) if this_round else None

    def attempts_with(self, first: Round) -> Rows | None:
        """The attempts of a host that tries another offer in one include with the ``first`` host; None if it does not.

        Hosts share an include if they reach it together: those that lost an offer in the same round, or those that
        released machines in it.
        """
        says, of_first = self._again, first._again
        is_later = of_first and says and (type(says), says.round) != (type(of_first), of_first.round)
        return None if says is None or is_later else says.attempts

    @property
    def listed_before(self) -> t.Sequence[str]:
        """Machines that name no offer and were listed before the host's first purchase, which cannot be its own."""
        return self.common.without_offer if self.plan.get("is_new") else ()


@dataclass(frozen=True)
class EndRound(_HostRound):
    """The parts that the steps of an end have written so far. ``together``: all hosts of the play take part."""

    together: bool = False
    ends: Ends = field(default_factory=Ends)
    ended: Ended = field(default_factory=Ended)

    @classmethod
    def of(cls, variables: Variables) -> EndRound:
        """Read the round from a host's raw variables."""
        return cls(
            host=str(variables.get("inventory_hostname") or ""),
            declared=Declared.of(variables.get("decommission__declared")),
            together=bool(variables.get("decommission__together")),
            ends=Ends.of(variables.get("decommission__decided")),
            ended=Ended.of(variables.get("decommission__ended")),
        )

    @property
    def plan(self) -> Variables:
        """What ends for the host; empty if nothing was decided about its present declaration."""
        plan = self.ends.ends.get(self.host) or {}
        return plan if plan and (plan["together"] or plan["declaration"] == self.declaration.get("id")) else {}

    @property
    def outcomes(self) -> t.Mapping[str, Variables]:
        """The results of this round so far, by host; empty before the first ones are noted."""
        return self.ended.outcomes if self.ended.round == self.ends.round else {}

    @property
    def plans(self) -> list[Variables]:
        """What ends for each host of this round."""
        return list(self.ends.ends.values())

    @property
    def for_tasks(self) -> dict[str, t.Any]:
        """The ``next`` task file, and the reason if the host stops there.

        A role's ``when`` may leave out the first host, and with it tasks with ``run_once``: a host that has declared
        but has no decision then decides separately. A host that has not declared does not take part, as under a role's
        ``run_once``, unless all hosts do.
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
            f"The end of {self.host} was not noted ({ids_in_words(plan['ids'])}): a condition of the role has skipped"
            " tasks. It may have ended, or still be billed. Run again: the role asks the API first."
        )
        return {"next": SAY if plan["next"] else "", "stop": stop}


def published(data: Variables) -> dict[str, t.Any]:
    """The fields of a result by which a step publishes ``data`` to its workflow; empty without data."""
    return {"ansible_stats": {"data": data, "per_host": False, "aggregate": True}} if data else {}
