# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people give by variables: which names are refused, and orders by extra variables or a survey.

An order says which hosts, and what for them. Its answers may be texts; empty ones, and "any", mean "not given". Limits
and names of hosts may be empty only in a survey: elsewhere some were meant.
"""

from __future__ import annotations

import functools
import re
import typing as t
from dataclasses import dataclass

from .._machine.connection import ADDRESS
from .._text import abridged, applicable, mapping_of, nearest, plain_name, printable, text_of
from .acceptance import EVIDENCE
from .entry import AFFECTED, BOOT_MARK, LISTED_BEFORE, MISSING_AT, MISSING_SINCE, ORDERED, PLAN, PROTECTED_SINCE, TESTED
from .lease import AT_MOST, ENDS_AT, IDLES, LEASED, NOTED_BY, REAPED_AT
from .place import NOWHERE, Place
from .search import ANY, ON_DEMAND
from .storage import STORAGE, STORAGE_IDS, STORAGE_OF

Answers = t.Mapping[str, t.Any]
Variables = dict[str, t.Any]
Sizes = t.Mapping[str, int]  # the number of hosts, by group
LOOSE = "_raw_params"  # what `parse_kv` of ansible-core calls the words of -e that belong to no variable
# -e "decommission_hosts=gpu-1 gpu-2" ends gpu-1, and -e "provision_budget= 9" is no budget.
LOST_WORDS = (
    "Words of -e stand outside quotes, so a part of a text would be lost. Write no space after an equals sign, put"
    " commas between names, and quote texts with spaces twice: -e 'run_command=\"python train.py\"'."
)
# What the role gives to hosts, or the registry keeps.
RESULTS = frozenset(
    {
        *("provision_procured_offer_id", "provision_resource_ids", "provision_instances", "provision_price_per_hour"),
        *("provision_journaled_at", "provision_purchase", "provision_refused_status", "provision_expired_seen_at"),
        *("provision_adopted", "provision_identity_file", "provision_host_keys", "provision_ssh_trust"),
        *("provision_bootstrap_host_key", "provision_verified", "provision_groups", "provision_offer"),
        "provision_attempts",
        *(LEASED, ENDS_AT, AT_MOST, IDLES, REAPED_AT, NOTED_BY),
        *(LISTED_BEFORE, MISSING_SINCE, MISSING_AT, PROTECTED_SINCE, STORAGE, STORAGE_IDS, STORAGE_OF, AFFECTED),
        *(BOOT_MARK, EVIDENCE, ORDERED, PLAN, TESTED),
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
# What playbooks take or publish whose names begin as the role's variables do, or those of a playbook; a workflow of AWX
# hands on what was published as extra variables.
_OF_PLAYBOOKS = frozenset({"provision_hosts", "provision_group", "provision_waiting", "provision_quote", "spend_csv"})
# What the names of limits contain
_LIMITING = ("max_", "price", "budget", "lease", "idle")
# "no" leaves it to the inventory.
_NOT_GIVEN = frozenset({"", "any", "none", "no"})
_NOTHING: tuple[t.Any, ...] = (None, "", [], {})
# Names that mean something to Ansible, or that the inventory plugin gives to the group of all machines.
_RESERVED = frozenset({"all", "ungrouped", "localhost", "supply", "true", "false", "none", "null"})
HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TYPED_NAME = re.compile(f"(?=.*[A-Za-z]){HOST_NAME.pattern}")  # of digits alone it would be a mistyped number of hosts
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
_OF_MACHINES = (*_COMPUTE, "order_region")
_BY_DEFAULT = {"order_gpu_count": "1", "order_contract_type": ON_DEMAND}
# What people read in the results of steps; all else is data.
_READ_BY_PEOPLE = frozenset({"msg", "refusal", "refusals", "stop", "trouble", "warnings", "lines", "money"})


# Which names of variables are refused


class RoleVariables:
    """The role's variables, and which other names among a host's variables are refused.

    Hosts have hundreds of variables, mostly the same ones, so each name is looked at once.
    """

    def __init__(self, variables: t.Iterable[str]) -> None:
        """``variables``: those of the role's argument specs."""
        self.variables = frozenset(variables)
        self._fault: t.Callable[[str], str] = functools.lru_cache(maxsize=4096)(self._looked_at)

    def refusals(self, names: t.Iterable[t.Any], extra: t.Iterable[str] = ()) -> list[str]:
        """A sentence for each of these names that is refused; in a file of variables one may be a number.

        ``extra``: the names of extra variables, which none of the role's results can be.
        """
        known = self.variables | RESULTS
        unknown = sorted({str(name) for name in names} - known)
        return [
            *(LOST_WORDS for name in unknown if name == LOOSE),
            *(f"{name} is a result of the role: leave it out." for name in sorted(RESULTS.intersection(extra))),
            *filter(None, map(self._fault, unknown)),
        ]

    def _looked_at(self, name: str) -> str:
        # Two edits take at most two letters of the prefix away; few names have so many of them in the beginning.
        is_far = len(set(_PREFIX).difference(plain_name(name)[: len(_PREFIX) + 2])) > 2
        return "" if is_far else _refusal(name, self.variables, _PREFIX)


def refused_of_playbook(given: t.Iterable[str], prefix: str, of_inventory: t.Container[str] = ()) -> list[str]:
    """A sentence for each ``given`` name that a playbook refuses. The ``prefix`` of its own variables is reserved.

    Names ``of_inventory`` may have the prefix, but must not be misspelled variables of the playbook.
    """
    own = frozenset(name for name in PLAYBOOKS if name.startswith(prefix))
    unknown = sorted({*given} - PLAYBOOKS)
    lost = [LOST_WORDS] if LOOSE in unknown else []
    refusals = (_refusal(name, own, "" if name in of_inventory else prefix) for name in unknown)
    return [*lost, *filter(None, refusals)]


def _refusal(name: str, variables: t.Collection[str], prefix: str) -> str:
    """Why an unknown name is refused, empty if it is not: it is a misspelled variable, or begins with the ``prefix``.

    No name is reserved if the prefix is empty. Names with two underscores after the prefix are private to the roles.
    """
    plain = plain_name(name)
    if name in _OF_PLAYBOOKS or (prefix and name.startswith(f"{prefix}_") and plain not in variables):
        return ""
    if meant := nearest(name, sorted({*variables, *_OF_PLAYBOOKS})):
        return f"{name} is not a variable of this collection. Did you mean {meant}?"
    if not (prefix and plain.startswith(prefix)):
        return ""
    return f"{name} is not a variable of this collection, which reserves names that begin with {prefix}."


def empty_limits(extra: Answers) -> list[str]:
    """A sentence about limits that are empty among ``extra`` variables, as of ``-e provision_lease=$UNSET``, or null.

    They would lift what the inventory says. Not for a job of AWX, where an empty answer means that there is none.
    """
    empty = sorted(name for name, value in extra.items() if not text_of(value))
    limits = [name for name in empty if name.startswith((_PREFIX, "order_")) and any(map(name.__contains__, _LIMITING))]
    named = f"{', '.join(limits)} must not be empty, for nothing would be limited. Give a value, or leave it out."
    return [named] if limits else []


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
    variables: Answers, group: str, sizes: Sizes, limited: t.Container[str] | None = None
) -> OrderedHosts:
    """The hosts that are ordered by name, number, artifact or plan; none if the order is for the whole group.

    ``sizes``: of the inventory's groups. ``limited``: the hosts that ``--limit`` leaves, None without it.

    Raises ValueError for names that are none, in a slice of a job, if the limit leaves out each name, and if there is
    no host at all.
    """
    variable, asked = asked_hosts(variables)
    ordered_names = asked_names(asked, group, variable)
    template, inside = slice_of(variables), tuple(within(ordered_names, limited))
    reasons = {
        f"This job is one of the slices of '{template}', and each of them would be about all hosts that were named."
        " Set Job Slicing of the template to 1; or put the hosts into an inventory of their own, which AWX divides.": (
            # Hosts that a person names are no slice's.
            template and ordered_names and not isinstance(asked, t.Mapping)
        ),
        why_no_hosts(group, sizes): not (sizes.get(group) or ordered_names),
        excluded_by_limit(ordered_names): ordered_names and not inside,
    }
    for reason in applicable(reasons):
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
    # A survey's answer of another name, since it would hide an artifact of the same name.
    given = {name: variables[name] for name in _ASKED if name in variables}
    if not given:
        plan = variables.get("plan")
        if isinstance(plan, t.Mapping) and isinstance(plan.get("hosts"), t.Mapping):
            return "plan", list(plan["hosts"])
        return _ASKED[0], None
    variable = min(given, key=lambda name: isinstance(given[name], t.Mapping))
    # Null, as in a file of variables whose names were never filled in, does not mean the whole group either.
    return variable, "" if given[variable] is None else given[variable]


def answered(variables: Answers) -> Variables:
    """The variables without unanswered questions of a survey, which AWX hands over empty."""
    return {name: value for name, value in variables.items() if value not in _NOTHING}


def asked_names(asked: t.Any, group: str, variable: str = "provision_hosts") -> list[str]:
    """The hosts that were asked for: names (a list, or a text with commas), how many, or what an earlier job published.

    Each host once; none for None. Raises ValueError that names the variable for what is neither, and for 0, an empty
    text, a blank or a comma: no names would mean the whole group.
    """
    is_typed = isinstance(asked, (str, int))
    count = int(str(asked)) if is_typed and re.fullmatch(r"\s*[0-9]{1,5}\s*", str(asked)) else None
    if count:
        return [f"{group}-{item}" for item in range(1, count + 1)]
    given = list(asked) if isinstance(asked, t.Mapping) else asked
    names = split_names(asked) if isinstance(asked, str) else list(map(str.strip, texts_naming_hosts(variable, given)))
    reserved = sorted({name for name in names if name.lower() in _RESERVED or name == group})
    reasons = {
        f"{variable}={printable(repr(asked), 60)} is for no host. For all of '{group}', leave it out.": (
            count == 0 or (not names and asked is not None)
        ),
        f"{variable} must be host names with a letter, or a number up to 99999, not"
        f" '{printable(str(asked), 60)}'.": not all(map((_TYPED_NAME if is_typed else HOST_NAME).fullmatch, names)),
        f"{', '.join(reserved)} cannot name a machine: it means something else to Ansible. Choose another"
        " name.": reserved,
    }
    for reason in applicable(reasons):
        raise ValueError(reason)
    return list(dict.fromkeys(names))


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


def check_range(part: str) -> None:
    """Raise ValueError for a range such as ``gpu-[1:20]`` that could mean more than 10,000 names."""
    if part.count("[") > 1 or re.search(r"[0-9]{5}", part):
        raise ValueError(f"{part} must have one range, with numbers up to 9999. Nothing was sent.")


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
    others = [name for name in lasting_groups(sizes) if sizes[name] and name not in _RESERVED]
    known = f" The inventory has hosts in {abridged(others)}: add -e provision_group=..., or" if others else ""
    return (
        f"There is no host in the group '{group}'.{known or ' Add some to the inventory, or'} give provision_hosts"
        " (names, or how many)."
    )


def why_ambiguous(name: str, groups: t.Mapping[str, t.Collection[str]]) -> str:
    """Why a group cannot be meant by its name: Ansible takes a host of that name instead; empty if it may."""
    is_both = name in groups.get("all", ()) and set(groups.get(name, ())) - {name}
    return (
        f"'{name}' names a group and a host of the inventory, and Ansible would take the host alone. Give one of them"
        " another name: machines that the inventory plugin lists get theirs by its option hostname."
        if is_both
        else ""
    )


def misspelled_group(group: str, groups: t.Collection[str], *, is_given: bool) -> str:
    """Why nothing is bought for a group that the inventory lacks, if it has a similar one; empty otherwise.

    Hosts added to the group would have no ceiling, lease or registry of the similar one. If ``group`` is the default
    (not ``is_given``), only its plural and other capitals are similar: a group ``cpu`` has nothing to do with it.
    """
    if group in groups:
        return ""
    others = [name for name in lasting_groups(groups) if name not in _RESERVED]
    plurals = (name for name in others if plain_name(name).rstrip("s") == plain_name(group).rstrip("s"))
    similar = nearest(group, others) if is_given else next(plurals, "")
    return (
        f"The inventory has no group '{group}', whose ceilings, lease and registry would apply. Did you mean {similar}?"
        f" Then give -e provision_group={similar}; for a new group, add a line [{group}] to the inventory."
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
    return {name: value for name, value in said.items() if _says(name, value) and not (is_other and name == "plan")}


def why_no_order(said: Answers) -> str:
    """Why a playbook of the collection refuses what stands beside extra variables; empty if nothing does."""
    names = ", ".join(sorted(said))
    return f"Only extra variables order, so {names} would not count. Give it with -e, or leave it out." if said else ""


def why_unheard(host: str, groups: t.Iterable[str], extra: Answers) -> str:
    """Why a play of the user's own refuses an order, which it does not carry out; empty if there is none for it.

    An order that names this very ``host`` says what the play does anyway. One that was carried out before is over: by
    a play of this run, since the host is in its group (``groups``: the host's), or by an earlier job of a workflow,
    which has published its hosts.
    """
    is_over = isinstance(extra.get("provision_hosts"), t.Mapping) or lasting_groups(groups) != list(groups)
    named = {name for name in _ASKED if host in _parts_of(extra.get(name))}
    asked = sorted(name for name in OF_ORDERS.intersection(extra) - named if _says(name, extra[name]))
    if is_over or not asked:
        return ""
    return (
        f"Only the collection's playbooks take {', '.join(asked)}. This play is your own: it buys for each of its"
        " hosts, as the inventory says. Leave that out, and choose hosts with --limit; or run ansible-playbook"
        " compute_index.supply.provision."
    )


def _says(name: str, value: t.Any) -> bool:
    """Whether a variable of an order says something; who names hosts by "none" does not mean all of them."""
    return value not in _NOTHING if name in _ASKED else _given(value)


def _parts_of(asked: t.Any) -> t.Sequence[t.Any]:
    return asked if isinstance(asked, list) else split_names(asked)


# What an order asks for its hosts


def asked_for(extra: Answers) -> Variables:
    """The variables of the role that ``extra`` variables ask for by an order (order_*). Raises ValueError.

    An extra variable of the role's own name beats them. Without a GPU type each host's own search stays, so an order
    may not describe the machine otherwise.
    """
    given = answers_of(extra)
    variables: Variables = {variable: given[name] for name, variable in _AS_THEY_ARE.items() if name in given}
    if "order_gpu_type" in given:
        variables["provision_spec"] = search_of({**_BY_DEFAULT, **given})
    # Other than a survey's defaults
    elif unused := [name for name in _OF_MACHINES if given.get(name) not in (None, _BY_DEFAULT.get(name))]:
        raise ValueError(
            f"{', '.join(unused)} must come with order_gpu_type: without it, each host keeps its own search. Add it,"
            " or leave that out and change provision_spec."
        )
    return {name: value for name, value in variables.items() if name not in extra}


def answers_of(extra: Answers) -> dict[str, str]:
    """The answers of an order that say something, as texts; of contracts "any" does. Raises ValueError."""
    answers = {name: value for name, value in extra.items() if name.startswith("order_") and name != "order_names"}
    if misfits := sorted(name for name, value in answers.items() if not _is_text_or_number(name, value)):
        raise ValueError(f"{', '.join(misfits)} must be a text or a number.")
    texts = {name: text_of(value) for name, value in answers.items()}
    given = {name: text for name, text in texts.items() if _given(text) or (name, text) == ("order_contract_type", ANY)}
    if not re.fullmatch("[0-9]{1,3}", given.get("order_gpu_count", "1")):
        raise ValueError("order_gpu_count must be a whole number from 0 to 999.")
    return given


def _is_text_or_number(name: str, value: t.Any) -> bool:
    """Whether an answer is a text or a number; that of order_adopt may be true or false as well."""
    is_switch = isinstance(value, bool) and name != "order_adopt"
    return not (is_switch or isinstance(value, (list, tuple, t.Mapping)))


def search_of(given: t.Mapping[str, str]) -> Variables:
    """The search that the answers give, with no more than they say."""
    compute: Variables = {key: given[name] for name, key in _COMPUTE.items() if name in given}
    if "gpu_count" in compute:
        compute["gpu_count"] = int(compute["gpu_count"])
    region = {"region": given["order_region"]} if "order_region" in given else {}
    return {**region, **({"compute": compute} if compute else {})}


def _given(value: t.Any) -> bool:
    return value not in _NOTHING and text_of(value).lower() not in _NOT_GIVEN


def in_words_of_order(result: Variables, extra: Answers) -> Variables:
    """A step's result that names, for people, the answers of an order in place of the role's variables they gave."""
    given = {variable: name for name, variable in _AS_THEY_ARE.items() if _given(extra.get(name))}
    words = {variable: name for variable, name in given.items() if variable not in extra}
    return {name: _worded(part, words, name in _READ_BY_PEOPLE) for name, part in result.items()} if words else result


def _worded(part: t.Any, words: t.Mapping[str, str], is_read: bool) -> t.Any:
    if isinstance(part, t.Mapping):
        return {name: _worded(item, words, is_read or name in _READ_BY_PEOPLE) for name, item in part.items()}
    if isinstance(part, (list, tuple)):
        return [_worded(item, words, is_read) for item in part]
    is_text = is_read and isinstance(part, str)
    return re.sub(r"\bprovision_[a-z_]+\b", lambda found: words.get(found[0], found[0]), part) if is_text else part
