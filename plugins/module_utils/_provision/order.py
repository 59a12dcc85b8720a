# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people give by variables: names that mean a variable and are none, and orders by extra variables or a survey.

A name that is unknown would not be heard. An order says which hosts, and what for them. Its answers may be texts; empty
ones, and "any", mean "not given". But empty limits and names of hosts do only in a survey: elsewhere some were meant.
"""

from __future__ import annotations

import functools
import re
import typing as t
from dataclasses import dataclass

from .._machine.connection import ADDRESS
from .._text import applying, mapping_of, nearest, plain_name, printable, text_of
from .acceptance import EVIDENCE
from .entry import AFFECTED, BOOT_MARK, LISTED_BEFORE, MISSING_AT, MISSING_SINCE, ORDERED, PLAN, PROTECTED_SINCE, TESTED
from .lease import AT_MOST, ENDS_AT, IDLES, LEASED, NOTED_BY, REAPED_AT
from .place import NOWHERE, Place
from .search import ANY, ON_DEMAND
from .storage import STORAGE, STORAGE_IDS, STORAGE_OF

Answers = t.Mapping[str, t.Any]
Variables = dict[str, t.Any]
Sizes = t.Mapping[str, int]  # the number of hosts, by group
Meaning = t.Callable[[str], t.Optional[str]]
LOOSE = "_raw_params"  # what `parse_kv` of ansible-core calls the words of -e that belong to no variable
# What the role gives to hosts, the registry keeps, or the playbooks ask for.
OTHER_VARIABLES = frozenset(
    {
        *("provision_procured_offer_id", "provision_resource_ids", "provision_instances", "provision_price_per_hour"),
        *("provision_journaled_at", "provision_purchase", "provision_refused_status", "provision_expired_seen_at"),
        *("provision_adopted", "provision_identity_file", "provision_host_keys", "provision_ssh_trust"),
        *("provision_bootstrap_host_key", "provision_verified", "provision_groups", "provision_offer"),
        *("provision_attempts", "provision_hosts", "provision_group"),
        *(LEASED, ENDS_AT, AT_MOST, IDLES, REAPED_AT, NOTED_BY),
        *(LISTED_BEFORE, MISSING_SINCE, MISSING_AT, PROTECTED_SINCE, STORAGE, STORAGE_IDS, STORAGE_OF, AFFECTED),
        *(ORDERED, BOOT_MARK, EVIDENCE, TESTED, PLAN),
    }
)
# What the playbooks take beside the role's variables; a test compares them with their guide, and with AWX's surveys.
PLAYBOOKS = frozenset(
    {
        *("order_names", "order_gpu_type", "order_gpu_count", "order_contract_type", "order_region", "order_lease"),
        *("order_max_price_per_hour", "order_max_total_price_per_hour", "order_max_bill", "order_adopt"),
        *("audit_names", "audit_fail_on_orphans", "audit_settle", "spend_since"),
        *("probe_buy", "probe_max_usd", "probe_recording", "probe_wrong_token"),
        *("decommission_hosts", "decommission_count", "decommission_resource_name", "decommission_resource_id"),
        *("decommission_forget", "decommission_force", "decommission_wait_timeout"),
        *("decommission_storage", "offers_spec"),
        *("extend_hosts", "extend_by", "extend_until", "extend_count"),
        *("end_resource_id", "end_reason", "verify_level"),
        *("reap_before_end", "reap_before_end_timeout", "reap_grace", "reap_by_name"),
        *("reap_timer_state", "reap_timer_every"),
        *("run_name", "run_gpu", "run_spec", "run_command", "run_setup", "run_files", "run_exclude", "run_env"),
        *("run_results", "run_results_dir", "run_time", "run_max_bill", "run_keep", "run_follow", "run_log_delay"),
        *("run_fetch_timeout", "run_unswept", "run_again"),
    }
)
# What people want who give one of these
_MEANT_BY = {
    PLAN: "plan",
    "provision_price_per_hour": "provision_max_price_per_hour",
    ENDS_AT: "provision_lease",
    AT_MOST: "provision_max_bill",
}
# What a play that buys a machine for itself decides on, as probe and run do. Extra variables would beat it.
DECIDED_BY_PLAYS = frozenset(
    {
        *("provision_spec", "provision_spec_order", "provision_offer_id", "provision_max_price_per_hour"),
        *("provision_max_bill", "provision_lease", "provision_max_attempts", "provision_adopt", "provision_wait"),
        *("provision_cluster_name", "provision_protect", "decommission_resource_id", "decommission_forget"),
        "provision_verify",
    }
)
# The variables that name hosts, and what in them means that none were named.
_ASKED = ("provision_hosts", "order_names")
# All that the playbooks of an order read, be it to refuse it.
OF_ORDERS = frozenset({*_ASKED, "plan", "quote", *(name for name in PLAYBOOKS if name.startswith("order_"))})
_PREFIX = "provision_"
_PREFIX_LETTERS = frozenset(_PREFIX)
_CEILINGS = "provision_max_"
# An unknown name with one of these words would be a limit.
_CEILING_WORDS = frozenset({"max", "bill", "budget", "ceiling", "lease", "limit", "dry"})
# Behind what a playbook's variables begin with, unknown names of these words would limit nothing: what may be bought,
# what it may cost, which hosts are meant, and whether anything happens at all.
_ASKED_FOR = re.compile(
    "(max|min|vendor|region|gpu|contract|spot|compute|storage|network|price|bill|budget|lease|host|machine"
    "|dry|check|only|except|exclude|limit)s?(_|$)"
)
# Other words that are two edits away from that: variables of somebody else's may begin so.
_OTHER_WORDS = ("provisioned_", "provisioner_", "provisional_", "revision_")
# What those variables have in their names that limit what is spent, of which even these words are taken for slips.
_LIMITING = ("max_", "price", "budget", "lease", "idle")
# The playbooks' variables that begin as the role's do are meant where the beginning is wrong.
_OF_PLAYBOOKS = frozenset({"provision_hosts", "provision_group"})
# What reads as if it named the hosts of a playbook that takes them by that variable.
_MEAN_HOSTS = frozenset({"order_hosts", "verify_hosts", "configure_hosts"})
# "no" leaves it to the inventory.
_NOT_GIVEN = frozenset({"", "any", "none", "no"})
_NOTHING: tuple[t.Any, ...] = (None, "", [], {})
# Names that mean something to Ansible, or that the inventory plugin gives to the group of all machines.
_RESERVED = frozenset({"all", "ungrouped", "localhost", "supply", "true", "false", "none", "null"})
_GROUPS_SHOWN = 3  # groups in a sentence
HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_RANGE = re.compile(r"\[([^\[\]:]*):([^\[\]:]*)(?::([^\[\]:]*))?\]")
_RANGE_LETTERS = 52  # that a range may have, [a:Z]
_MOST_NAMES = 10_000  # names of a range
# What the group begins with that is made for the hosts of an order, for one run.
ORDER_GROUP = "supply_order_"
_OF_ORDER = re.compile(rf"{ORDER_GROUP}[0-9a-f]{{8}}")
GROUP_OF_RUNS = "supply_run"  # of the hosts of runs; the registry notes it with the purchase
LIMITS_OF_SWEEPS = ("reap_grace", "reap_before_end_timeout")  # what a host may say by itself of its end by a sweep
PROBE_HOST = "supply-probe"  # the host of the machine that the playbook probe buys
# The variable of the role, by the answer.
_AS_THEY_ARE = {
    "order_max_price_per_hour": "provision_max_price_per_hour",
    "order_max_total_price_per_hour": "provision_max_total_price_per_hour",
    "order_lease": "provision_lease",
    "order_max_bill": "provision_max_bill",
    "order_adopt": "provision_adopt",
}
_COMPUTE = {
    "order_gpu_type": "gpu_type",
    "order_gpu_count": "gpu_count",
    "order_contract_type": "contract_type",
}
_BY_DEFAULT = {"order_gpu_count": "1", "order_contract_type": ON_DEMAND}
# Results that a person reads, of whatever step; all others are data.
_READ_BY_PEOPLE = frozenset({"msg", "refusal", "refusals", "stop", "trouble", "warnings", "lines", "money"})
_ROLE_VARIABLE = re.compile(r"\bprovision_[a-z_]+\b")


# Names that mean a variable of the collection, but are none


class RoleNames:
    """The names of the role's variables, and which others mean one of these.

    Hosts have hundreds of variables, mostly the same ones, so each name is looked at once.
    """

    def __init__(self, variables: t.Iterable[str]) -> None:
        """``variables``: those of the role's argument specs."""
        self.variables = frozenset(variables)
        self._known = sorted(self.variables | _OF_PLAYBOOKS)
        self._concerns: t.Callable[[str], bool] = functools.lru_cache(maxsize=4096)(self._is_near)
        self._meant: Meaning = functools.lru_cache(maxsize=4096)(self._nearest)

    def _is_near(self, name: str) -> bool:
        """Whether a name begins as the role's variables do, or, whatever its beginning, may be a slip of one.

        It must cost little: two edits take at most two letters of ``provision_`` away, and move the others by two
        places at most.
        """
        plain = plain_name(name)
        if plain.startswith(_PREFIX):
            # A double line is the role's own business.
            return plain in self.variables or not name.startswith(f"{_PREFIX}_")
        if len(_PREFIX_LETTERS.difference(plain[: len(_PREFIX) + 2])) > 2 or not _begins_near(plain, _PREFIX):
            return False
        is_ceiling = "price" in plain or _begins_near(plain, _CEILINGS)
        return bool(self._meant(name)) or (is_ceiling and not plain.startswith(_OTHER_WORDS))

    def unknown(self, names: t.Iterable[t.Any]) -> set[str]:
        """Those that concern the role, and are none of its variables. In a file of variables a name may be a number."""
        return {name for name in map(str, names) if self._concerns(name)} - self.variables - OTHER_VARIABLES

    def misspellings(self, names: t.Iterable[t.Any], extra: t.Iterable[str] = ()) -> list[str]:
        """A sentence for each of these names that is unknown, and means a variable or would be a ceiling.

        The first one is about words that belong to no variable: a ceiling may be empty without them. ``extra``: the
        names of extra variables, which none of the role's results can be.
        """
        names = list(names)

        def is_ceiling(name: str) -> bool:
            plain = plain_name(name)
            return "price" in plain or not plain.startswith(_PREFIX) or not _CEILING_WORDS.isdisjoint(plain.split("_"))

        lost = [lost_words()] if LOOSE in names else []
        results = sorted(OTHER_VARIABLES.difference(_OF_PLAYBOOKS).intersection(extra))
        told = [
            f"{name} is a result of this role, and limits nothing."
            + (f" Did you mean {_MEANT_BY[name]}?" if name in _MEANT_BY else " Leave it out.")
            for name in results
        ]
        return [*lost, *told, *_misspelled(self.unknown(names), "role", self._meant, is_ceiling)]

    def _nearest(self, name: str) -> str | None:
        """The variable that is meant by an unknown name of any beginning."""
        meant = nearest(name, self._known)
        is_word = plain_name(name).startswith(_OTHER_WORDS) and not any(limit in (meant or "") for limit in _LIMITING)
        return None if is_word else meant


def _begins_near(name: str, beginning: str) -> bool:
    """Whether a name begins like that, but for two edits."""
    return any(nearest(name[: len(beginning) + more], [beginning]) for more in range(-2, 3))


def misspelled_of_playbook(extra: t.Iterable[str], playbook: str) -> list[str]:
    """The same for the extra variables of a playbook, whose own begin with ``playbook``, such as ``order_``.

    One that has only words of these is no other's: with ``run_timeout`` a job would have no limit.
    """
    own = sorted(name for name in PLAYBOOKS if name.startswith(playbook))
    words = {word for name in own for word in _words(name, playbook)}
    known = [*own, *_OF_PLAYBOOKS]

    def meaning(name: str) -> str | None:
        return "provision_hosts" if name in _MEAN_HOSTS else nearest(name, known)

    def limits(name: str) -> bool:
        if not name.startswith(playbook):
            return False
        return _words(name, playbook) <= words or _ASKED_FOR.match(name.removeprefix(playbook)) is not None

    names = set(extra)
    lost = [lost_words(names)] if LOOSE in names else []
    return [*lost, *_misspelled(names - PLAYBOOKS, "collection", meaning, limits)]


def _words(name: str, playbook: str) -> set[str]:
    """The words of a variable behind the playbook's own, in the singular."""
    return {word.rstrip("s") for word in name.removeprefix(playbook).split("_")}


def _misspelled(unknown: t.Iterable[str], what: str, meaning: Meaning, limits: t.Callable[[str], bool]) -> list[str]:
    """A sentence for each unknown name that by its ``meaning`` is a slip of a variable, or that would be a limit.

    ``what`` has the variables, in a word.
    """
    pairs = [(name, meaning(name)) for name in sorted(unknown)]
    return [
        f"{name} is not a variable of this {what}"
        + (f". Did you mean {meant}?" if meant else ", so it would limit nothing. Is the name right?")
        for name, meant in pairs
        if meant or limits(name)
    ]


def lost_words(extra: t.Iterable[str] = ()) -> str:
    """That Ansible leaves out words of -e. ``extra``: the names of all its variables, of which some are no names.

    ``-e "decommission_hosts=gpu-1 gpu-2"`` ends gpu-1, and ``-e "provision_budget= 9"`` is no budget.
    """
    odd = ", ".join(sorted(name for name in extra if not name.isidentifier()))
    words = f" ({odd})" if odd else ""
    return (
        f"Words of -e stand outside quotes{words}, so a part of a text would be lost. Write no space after an equals"
        " sign, put commas between names, and quote texts with spaces twice: -e 'run_command=\"python train.py\"'."
    )


def empty_limits(extra: Answers) -> list[str]:
    """A sentence about limits that are empty among ``extra`` variables, as of ``-e provision_lease=$UNSET``, or null.

    They would lift what the inventory says. In AWX a survey's question was not answered.
    """
    empty = sorted(name for name, value in extra.items() if not text_of(value))
    limits = [name for name in empty if name.startswith((_PREFIX, "order_")) and any(map(name.__contains__, _LIMITING))]
    named = f"{', '.join(limits)} must not be empty, for nothing would be limited. Give a value, or leave it out."
    return [named] if limits and not is_of_awx(extra) else []


# The hosts of an order


@dataclass(frozen=True)
class OrderedHosts:
    """The hosts that an order names, and rows that say how some of them are reached.

    ``left_out``: those that ``--limit`` leaves out, which the order does not cover.
    """

    hosts: tuple[str, ...] = ()
    reached: tuple[Variables, ...] = ()
    left_out: tuple[str, ...] = ()

    def looked_for(self, sought: t.Iterable[Variables]) -> t.Collection[str]:
        """The hosts whose machines registries are asked for: if none is named, all that were found worth it."""
        return self.hosts or [row["host"] for row in sought]

    def published(self, places: t.Mapping[str, Place]) -> list[Variables]:
        """The rows, but for hosts of a shared registry: it is newer, and an old address may be another machine's."""
        return [row for row in self.reached if not places.get(row["name"], NOWHERE).hands_facts]


def ordered_hosts(
    variables: Answers,
    group: str,
    sizes: Sizes,
    limited: t.Container[str] | None = None,
    members: t.Collection[str] = (),
) -> OrderedHosts:
    """The hosts that are ordered by name, number, artifact or plan; none if the order is for the whole group.

    ``sizes``: of the inventory's groups. ``limited``: the hosts that ``--limit`` leaves, None without it. ``members``:
    the hosts of the group.

    Raises ValueError for names that are none or nearly those of members, in a slice of a job, if the limit leaves out
    each name, and if there is no host at all.
    """
    variable, asked = asked_hosts(variables)
    ordered_names = asked_names(asked, group, variable)
    template, inside = slice_of(variables), tuple(within(ordered_names, limited))
    alike = _alike(variable, asked, ordered_names, members)
    reasons = {
        f"This job is one of the slices of '{template}', and each of them would be about all hosts that were named."
        " Set Job Slicing of the template to 1; or put the hosts into an inventory of their own, which AWX divides.": (
            # Hosts that a person names are no slice's.
            template and ordered_names and not isinstance(asked, t.Mapping)
        ),
        why_no_hosts(group, sizes): not (sizes.get(group) or ordered_names),
        alike: alike,
        excluded_by_limit(ordered_names): ordered_names and not inside,
    }
    for reason in applying(reasons):
        raise ValueError(reason)
    reached = published_hosts(variables.get("provision_hosts"))
    return OrderedHosts(
        inside,
        tuple({"name": name, **reached[name]} for name in inside if name in reached),
        tuple(name for name in ordered_names if name not in inside),
    )


def asked_hosts(variables: Answers) -> tuple[str, t.Any]:
    """The variable that names the hosts of an order, and its value: their names, or those of a sealed plan.

    What an earlier job has published names hosts only where nobody does: a person may order others by now.
    """
    nothing = _NOTHING if is_of_awx(variables) else ()
    # A survey's answer of another name, since it would hide an artifact of the same name.
    given = {name: variables[name] for name in _ASKED if name in variables and variables[name] not in nothing}
    if not given:
        plan = variables.get("plan")
        if isinstance(plan, t.Mapping) and isinstance(plan.get("hosts"), t.Mapping):
            return "plan", list(plan["hosts"])
        return _ASKED[0], None
    variable = min(given, key=lambda name: isinstance(given[name], t.Mapping))
    # Null, as in a file of variables whose names were never filled in, does not mean the whole group either.
    return variable, "" if given[variable] is None else given[variable]


def is_of_awx(variables: Answers) -> bool:
    """Whether a job of AWX has these variables: its survey gives an empty text for what was not answered."""
    return bool(variables.get("awx_job_id"))


def asked_names(asked: t.Any, group: str, variable: str = "provision_hosts") -> list[str]:
    """The hosts that were asked for: names (a list, or a text with commas), how many, or what an earlier job published.

    Each host once; none for None. Raises ValueError that names the variable for what is neither, and for 0, an empty
    text, a blank or a comma: no names would mean the whole group.
    """
    count = _number(asked)
    if count:
        return [f"{group}-{item}" for item in range(1, count + 1)]
    given = _given_names(asked, variable)
    reserved = sorted({name for name in given if name.lower() in _RESERVED or name == group})
    shown = "0" if count == 0 else printable(repr(asked), 60)
    reasons = {
        f"{variable}={shown} is for no host. For all of '{group}', leave it out.": (
            count == 0 or (not given and asked is not None)
        ),
        f"{variable} must be host names, or a number up to 99999, not '{printable(str(asked), 60)}'.": (
            _is_odd_number(asked) or not all(map(HOST_NAME.fullmatch, given))
        ),
        f"{', '.join(reserved)} cannot name a machine: it means something else to Ansible. Choose another"
        " name.": reserved,
    }
    for reason in applying(reasons):
        raise ValueError(reason)
    return list(dict.fromkeys(given))


def _number(asked: t.Any) -> int | None:
    """How many hosts that means; None for what is no number."""
    text = str(asked).strip() if isinstance(asked, (str, int)) else ""
    return int(text) if re.fullmatch(r"[0-9]{1,5}", text) else None


def _is_odd_number(asked: t.Any) -> bool:
    """Whether that is a mistyped number of hosts, which would buy one of that name."""
    return isinstance(asked, (str, int)) and bool(re.fullmatch(r"\s*[0-9]+(\.[0-9]*)?,?\s*", str(asked)))


def _given_names(asked: t.Any, variable: str) -> list[str]:
    """The texts of a list, a mapping's keys, or a text with commas. Raises ValueError that names the variable."""
    if isinstance(asked, str):
        return split_names(asked)
    return [
        text.strip() for text in texts_naming_hosts(variable, list(asked) if isinstance(asked, t.Mapping) else asked)
    ]


def texts_naming_hosts(variable: str, value: t.Any) -> list[str]:
    """What a person gave to name hosts: a text, or a list of such. A whole number is the name that it looks like.

    Raises ValueError that names the variable for anything else: none of ``true``, ``1.5`` and a mapping is a host.
    """
    given = list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
    if not all(isinstance(item, (str, int)) and not isinstance(item, bool) for item in given):
        shown = printable(str(value), 60)
        raise ValueError(f"{variable} must be names with commas between them, or a list of names, not '{shown}'.")
    return [str(item) for item in given]


def split_names(asked: t.Any) -> list[str]:
    """The parts of a text, with commas between them or in lines, but for blank ones."""
    return [part.strip() for part in re.split(r"[,\r\n]", str(asked or "")) if part.strip()]


def range_size(part: str) -> int:
    """How many names a range such as ``gpu-[1:20]`` means, before it is expanded; 1 for what is none.

    Raises ValueError for more than can be meant.
    """
    result = 1
    for begin, end, step in _RANGE.findall(part):
        numbers = [int(item) if item.isdigit() else 0 for item in (begin, end, step)]
        result *= (numbers[1] - numbers[0]) // max(numbers[2], 1) + 1 if end.isdigit() else _RANGE_LETTERS
        if result > _MOST_NAMES:
            raise ValueError(f"{part} means more than {_MOST_NAMES} names. Nothing was sent.")
    return result


def _alike(variable: str, asked: t.Any, given: t.Sequence[str], members: t.Collection[str]) -> str:
    """That a new name is a member's or another new one but for capitals, marks or zeros: it would buy one more.

    Empty if none is. Only a person's own words are looked at, not a number of hosts or what an earlier job has
    published.
    """
    named = given if isinstance(asked, str) and _number(asked) is None else ()
    slips = (
        f"{variable} names {name} beside {other}: two hosts of nearly one name are a slip. Did you mean {other}?"
        for name, other in alike(named, members, named)
    )
    return next(slips, "")


def alike(
    names: t.Iterable[str], hosts: t.Collection[str], others: t.Sequence[str] = ()
) -> t.Iterator[tuple[str, str]]:
    """The names that are none of these hosts', each with the host, or the first of ``others``, that has nearly it."""
    known = {_plain(host): host for host in (*reversed(others), *hosts)}
    return ((name, near) for name in names if name not in hosts and (near := known.get(_plain(name), name)) != name)


def _plain(name: str) -> str:
    """A name without what a slip changes in it: gpu-1, GPU_01 and gpu1 are one, and gpu-1-1 is not gpu-11."""
    text = re.sub("[_.]", "-", name.lower())
    text = re.sub("(?<=[a-z])-(?=[0-9])|(?<=[0-9])-(?=[a-z])", "", text)
    return re.sub("(?<![0-9])0+(?=[0-9])", "", text)


def within(hosts: t.Iterable[str], limited: t.Container[str] | None) -> list[str]:
    """The hosts that ``--limit`` leaves, all of them without it."""
    return [host for host in hosts if limited is None or host in limited]


def excluded_by_limit(hosts: t.Sequence[str]) -> str:
    """That ``--limit`` excludes these hosts of an order; empty for none."""
    excluded = f"--limit excludes {', '.join(hosts)}, which the order names. Leave out the limit, or do not name them."
    return excluded if hosts else ""


def published_hosts(asked: t.Any) -> dict[str, Variables]:
    """How the hosts of an earlier job of a workflow are reached (its artifact provision_hosts)."""
    return {
        str(name): {
            **{key: item.get(key) for key in ADDRESS},
            "provision_resource_ids": item.get("resource_ids") or [],
        }
        for name, item in mapping_of(asked).items()
        if isinstance(item, t.Mapping) and item.get("ansible_host")
    }


def slice_of(variables: Answers) -> str:
    """The job template of which this job is one of several slices, empty if it is no slice.

    AWX runs the slices of a template as a workflow that is called like it, and says both names to each job.
    """
    template = str(variables.get("awx_job_template_name") or "")
    return template if template and template == str(variables.get("awx_workflow_job_name") or "") else ""


def why_no_hosts(group: str, sizes: Sizes) -> str:
    """A play without hosts, which would look like success, and what to give instead.

    ``sizes``: of the inventory's groups.
    """
    is_none = group in _RESERVED
    none = f"'{group}' is no group to buy for." if is_none else f"There is no host in the group '{group}'."
    others = [name for name in lasting_groups(sizes) if sizes[name] and name not in _RESERVED]
    similar = nearest(group, others)
    if others := sorted(others, key=lambda name: (name != similar, -sizes[name], name)):
        shown = ", ".join(others[:_GROUPS_SHOWN])
        return f"{none} The inventory has hosts in {shown}: add -e provision_group={others[0]}."
    if sizes.get("ungrouped"):
        return f"{none} The inventory's hosts are in no group: put them in '{'gpu' if is_none else group}'."
    return f"{none} Add some to the inventory, or give provision_hosts (names, or how many)."


def why_ambiguous(name: str, groups: t.Mapping[str, t.Collection[str]]) -> str:
    """Why a group cannot be meant by its name: Ansible takes a host of that name instead; empty if it may."""
    is_both = name in groups.get("all", ()) and set(groups.get(name, ())) - {name}
    return (
        f"'{name}' names a group and a host of the inventory, and Ansible would take the host alone. Give one of them"
        " another name: machines that the inventory plugin lists get theirs by its option hostname."
        if is_both
        else ""
    )


def slip_of_group(group: str, groups: t.Iterable[str]) -> str:
    """Why nothing is bought for a group that the inventory lacks, and nearly has; empty for any other.

    What is added to it would have no ceiling, lease or registry of the one that was meant.
    """
    similar = nearest(group, [name for name in lasting_groups(groups) if name not in _RESERVED])
    return (
        f"The inventory has no group '{group}', of which ceilings, lease and registry would be. Did you mean {similar}?"
        " A new group needs a line in the inventory."
        if similar
        else ""
    )


def group_sizes(groups: t.Mapping[str, t.Collection[str]]) -> dict[str, int]:
    """How many hosts each group of the inventory has, without this computer."""
    return {name: len(set(hosts) - {"localhost"}) for name, hosts in groups.items()}


def new_order_group(number: int) -> str:
    """The group that is made for the hosts of one run's order. ``number``: of 32 random bits."""
    return f"{ORDER_GROUP}{number:08x}"


def order_group_of(groups: t.Iterable[str], group: str) -> str:
    """The newest group that was made for the hosts of an order; an order that names no hosts is for the whole group."""
    return next((name for name in reversed(list(groups)) if _OF_ORDER.fullmatch(name)), group)


def lasting_groups(groups: t.Iterable[str]) -> list[str]:
    """The groups that outlive a run."""
    return [group for group in groups if not group.startswith(ORDER_GROUP)]


def misplaced(variables: Answers, extra: Answers) -> Answers:
    """What would be an order if it stood in ``extra`` variables, and not in those of a play or the inventory.

    These may have a ``plan`` of their own, which is no file of a sealed one.
    """
    said = {name: variables[name] for name in OF_ORDERS.difference(extra, {"quote"}).intersection(variables)}
    is_other = "plan" in said and not (isinstance(said["plan"], t.Mapping) or str(said["plan"]).endswith(".json"))
    return {name: value for name, value in said.items() if value not in _NOTHING and not (is_other and name == "plan")}


def why_no_order(said: Answers) -> str:
    """Why a playbook of the collection refuses what stands ``beside`` extra variables; empty if nothing does."""
    names = ", ".join(sorted(said))
    return f"Only extra variables order, so {names} would not count. Give it with -e, or leave it out." if said else ""


def why_unheard(host: str, groups: t.Iterable[str], extra: Answers) -> str:
    """Why a play of the user's own refuses an order, which it does not carry out; empty if there is none for it.

    An order that names this very ``host`` says what the play does anyway. One that was carried out before is over: by
    a play of this run, since the host is in its group (``groups``: the host's), or by an earlier job of a workflow,
    which has published its hosts.
    """
    is_over = isinstance(extra.get("provision_hosts"), t.Mapping) or lasting_groups(groups) != list(groups)
    asked = [] if is_over else sorted(name for name, value in extra.items() if _is_unheard(name, value, host))
    are, them = ("is", "it") if len(asked) == 1 else ("are", "them")
    unheard = (
        f"{', '.join(asked)} {are} for the collection's playbooks. This play is your own: it buys for each of its"
        f" hosts, as the inventory says. Leave {them} out, and choose hosts with --limit; or give {them} to"
        " ansible-playbook compute_index.supply.provision."
    )
    return unheard if asked else ""


def _is_unheard(name: str, value: t.Any, host: str) -> bool:
    """Whether an extra variable asks for something that a play of the user's own does not read."""
    if value in _NOTHING or name not in OF_ORDERS:
        return False
    if name in _ASKED:
        return host not in (value if isinstance(value, list) else split_names(value))
    return _given(str(value).strip())


# What an order asks for its hosts


def asked_for(extra: Answers) -> Variables:
    """What `read` finds in an order that is to be carried out, or why it is ``refused``.

    Without a GPU type each host's own search stays, so an order may not describe the machine otherwise.
    """
    variables = role_variables(extra)
    given = _texts({name: extra[name] for name in (*_COMPUTE, "order_region") if name in extra})
    # Other than a survey's defaults
    unused = [name for name, text in given.items() if text != _BY_DEFAULT.get(name)]
    if "refused" in variables or "order_gpu_type" in given or not unused:
        return variables
    have, them = ("has", "it") if len(unused) == 1 else ("have", "them")
    return {
        "refused": f"{', '.join(unused)} {have} no effect without order_gpu_type: each host keeps its own search. Add"
        f" -e order_gpu_type=..., or leave {them} out and change provision_spec."
    }


def role_variables(extra: Answers) -> Variables:
    """The variables of the role that ``extra`` variables ask for by an order (order_*), or why it is ``refused``.

    An extra variable of the role's own name beats them.
    """
    answers = {name: value for name, value in extra.items() if name.startswith("order_") and name != "order_names"}
    if misfits := sorted(name for name, value in answers.items() if not _is_text_or_number(name, value)):
        return {"refused": f"{', '.join(misfits)} must be a text or a number."}
    if not isinstance(search_of(answers).get("compute", {}).get("gpu_count", 1), int):
        return {"refused": "order_gpu_count must be a whole number from 0 to 999."}
    return {name: value for name, value in ordered_variables(answers).items() if name not in extra}


def _is_text_or_number(name: str, value: t.Any) -> bool:
    """Whether an answer is a text or a number; that of order_adopt may be true or false as well."""
    is_switch = isinstance(value, bool) and name != "order_adopt"
    return not (is_switch or isinstance(value, (list, tuple, t.Mapping)))


def ordered_variables(answers: Answers) -> Variables:
    """The variables of the role that the answers give; without a GPU type each host's own search stays."""
    given = _texts(answers)
    variables: Variables = {variable: given[name] for name, variable in _AS_THEY_ARE.items() if name in given}
    if "order_gpu_type" in given:
        variables["provision_spec"] = search_of({**_BY_DEFAULT, **given})
    return variables


def search_of(answers: Answers) -> Variables:
    """The search that the answers give, with no more than they say."""
    given = _texts(answers)
    compute: Variables = {key: given[name] for name, key in _COMPUTE.items() if name in given}
    if re.fullmatch(r"[0-9]{1,3}", compute.get("gpu_count", "")):
        compute["gpu_count"] = int(compute["gpu_count"])
    region = {"region": given["order_region"]} if "order_region" in given else {}
    return {**region, **({"compute": compute} if compute else {})}


def _texts(answers: Answers) -> dict[str, str]:
    """The answers that say something, as texts; of contracts "any" does."""
    texts = {name: str(item).strip() for name, item in answers.items()}
    return {name: text for name, text in texts.items() if _given(text) or (name, text) == ("order_contract_type", ANY)}


def _given(text: str) -> bool:
    return text.lower() not in _NOT_GIVEN


def answers_by_variable(extra: Answers) -> dict[str, str]:
    """What those who ordered by ``extra`` variables call the variables of the role that their order gives."""
    words = {**{variable: name for name, variable in _AS_THEY_ARE.items()}, "provision_spec": "the order"}
    return {variable: words[variable] for variable in ordered_variables(extra) if variable not in extra}


def in_words_of_order(result: t.Any, names: t.Mapping[str, str], read: bool = False) -> t.Any:
    """A step's result in which all that a person reads has these names of variables; ``read``: this part of it is."""
    if isinstance(result, t.Mapping):
        return {name: in_words_of_order(part, names, read or name in _READ_BY_PEOPLE) for name, part in result.items()}
    if isinstance(result, (list, tuple)):
        return [in_words_of_order(part, names, read) for part in result]
    if not (read and isinstance(result, str)):
        return result
    return _ROLE_VARIABLE.sub(lambda found: names.get(found[0], found[0]), result)
