# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that people give: which names are refused, and orders by extra variables or a survey.

An order names hosts, and describes the machines for them. Its answers may be texts; an empty text and "any" mean "not
given". Limits and names of hosts may be empty only in a survey; elsewhere an empty one is a mistake.
"""

from __future__ import annotations

import fnmatch
import functools
import math
import re
import typing as t
from dataclasses import dataclass

from .._inventory import HOST_NAME, LISTED_ID
from .._machine.connection import ADDRESS
from .._text import abridged, applicable, host_pattern, mapping_of, nearest, number_of, plain_name, printable, text_of
from .acceptance import EVIDENCE
from .entry import (
    AFFECTED,
    BOOT_MARK,
    IDS,
    LISTED_BEFORE,
    MISSING_AT,
    MISSING_SINCE,
    ORDERED,
    PLAN,
    PROTECTED_SINCE,
    TESTED,
)
from .lease import AT_MOST, ENDS_AT, IDLES, LEASED, NOTED_BY, REAPED_AT
from .place import NOWHERE, Place
from .search import ANY, ON_DEMAND
from .storage import STORAGE, STORAGE_ENDS, STORAGE_IDS, STORAGE_OF

Answers = t.Mapping[str, t.Any]
Variables = dict[str, t.Any]
Sizes = t.Mapping[str, int]  # the number of hosts, by group
LOOSE = "_raw_params"  # the name under which `parse_kv` of ansible-core returns words of -e that belong to no variable
# -e "decommission_hosts=gpu-1 gpu-2" would end only gpu-1, and -e "provision_budget= 9" would set no budget.
LOST_WORDS = (
    "-e has words outside quotes, so part of a value would be lost. Write no space after an equals sign, put commas"
    " between names, and quote a value with spaces twice: -e 'run_command=\"python train.py\"'."
)
# Variables that the role sets on hosts, or that the registry keeps
RESULTS = frozenset(
    {
        *("provision_procured_offer_id", "provision_resource_ids", "provision_instances", "provision_price_per_hour"),
        *("provision_journaled_at", "provision_purchase", "provision_refused_status", "provision_expired_seen_at"),
        *("provision_adopted", "provision_identity_file", "provision_host_keys", "provision_ssh_trust"),
        *("provision_bootstrap_host_key", "provision_verified", "provision_groups", "provision_offer"),
        "provision_attempts",
        *(LEASED, ENDS_AT, AT_MOST, IDLES, REAPED_AT, NOTED_BY),
        *(LISTED_BEFORE, MISSING_SINCE, MISSING_AT, PROTECTED_SINCE, AFFECTED),
        *(STORAGE, STORAGE_ENDS, STORAGE_IDS, STORAGE_OF, BOOT_MARK, EVIDENCE, ORDERED, PLAN, TESTED),
    }
)
# The playbooks' variables besides the role's. A test compares them with the guide and with AWX's surveys.
PLAYBOOK_VARIABLES = frozenset(
    {
        *("order_names", "order_gpu_type", "order_gpu_count", "order_contract_type", "order_region", "order_lease"),
        *("order_max_price_per_hour", "order_max_total_price_per_hour", "order_max_bill", "order_adopt"),
        *("audit_names", "audit_fail_on_orphans", "audit_settle", "spend_since"),
        *("probe_buy", "probe_max_usd", "probe_recording", "probe_wrong_token"),
        *("decommission_hosts", "decommission_count", "decommission_resource_name", "decommission_resource_id"),
        *("decommission_forget", "decommission_force", "decommission_wait_timeout"),
        *("decommission_storage", "offers_spec", "quote_file"),
        *("extend_hosts", "extend_by", "extend_until", "extend_count"),
        *("end_resource_id", "end_reason", "verify_level"),
        *("reap_before_end", "reap_before_end_timeout", "reap_grace", "reap_by_name"),
        *("reap_timer_state", "reap_timer_every"),
        *("run_name", "run_gpu", "run_spec", "run_command", "run_setup", "run_files", "run_exclude", "run_env"),
        *("run_results", "run_results_dir", "run_time", "run_max_bill", "run_keep", "run_follow", "run_log_delay"),
        *("run_fetch_timeout", "run_unswept", "run_again"),
        *("awx_project_url", "awx_project_branch", "awx_project_credential", "awx_organization", "awx_image"),
        *("awx_galaxy_credentials", "awx_api_token", "awx_api_url", "awx_registry_url", "awx_ssh_key_file"),
        *("awx_update_secrets", "awx_project", "awx_project_moves", "awx_poll_delay", "awx_controller_credential"),
        *("awx_approval_notifications", "awx_audit_names", "awx_ordering_teams", "awx_approving_teams"),
        *("awx_extending_teams", "awx_ending_teams"),
    }
)
# Variables that AWX itself gives to each job
_OF_AWX = re.compile(
    "awx_((job|workflow_job|parent_job|schedule|user|inventory|execution|webhook|project_scm)_.+|project_revision)"
)
# Variables that plays such as probe and run set for the machine that they buy. Extra variables would override them.
DECIDED_BY_PLAYS = frozenset(
    {
        *("provision_spec", "provision_spec_order", "provision_offer_id", "provision_max_price_per_hour"),
        *("provision_max_bill", "provision_lease", "provision_max_attempts", "provision_adopt", "provision_wait"),
        *("provision_cluster_name", "provision_protect", "decommission_resource_id", "decommission_forget"),
        "provision_verify",
    }
)
# The variables that name hosts
_NAMING_HOSTS = ("provision_hosts", "order_names")
# All variables of an order, including those that some playbooks refuse
ORDER_VARIABLES = frozenset(
    {*_NAMING_HOSTS, "plan", "quote", *(name for name in PLAYBOOK_VARIABLES if name.startswith("order_"))}
)
_PREFIX = "provision_"
# Variables of playbooks that have the prefix of the role or of another playbook, or that playbooks publish: a workflow
# of AWX gives published variables to later jobs as extra variables.
_ALSO_KNOWN = frozenset({"provision_hosts", "provision_group", "provision_waiting", "provision_quote", "spend_csv"})
# Names that people may give for ``plan``, and words of their own that only one letter distinguishes from it
_FOR_PLAN = ("plan_file", "plan_json", "plan_path", "quote_file", "quote_json", "quote_plan", "sealed_plan")
_NOT_PLAN = frozenset({"clan", "lan", "pan", "plain", "plane", "plank", "plant", "plat", "play", "vlan", "wlan"})
# Parts of the names of limits
_LIMITING = ("max_", "price", "budget", "lease", "idle")
# Answers that mean "not given"; "no" leaves it to the inventory.
_NOT_GIVEN = frozenset({"", "any", "none", "no"})
_MOST_MEANT = 3  # variables that begin with an unknown name, as suggestions
_EMPTY: tuple[t.Any, ...] = (None, "", [], {})
_TYPED_NAME = re.compile(f"(?=.*[A-Za-z]){HOST_NAME.pattern}")  # only digits would be a mistyped number of hosts
# The prefix of the group that is made for the hosts of an order, for one run
ORDER_GROUP = "supply_order_"
_ORDER_GROUP_NAME = re.compile(rf"{ORDER_GROUP}[0-9a-f]{{8}}")
GROUP_OF_RUNS = "supply_run"  # of the hosts of runs; the registry notes it with the purchase
# Names that mean something to Ansible, and groups of the inventory plugin
_RESERVED = frozenset({"all", "ungrouped", "localhost", "supply", GROUP_OF_RUNS, "true", "false", "none", "null"})
LIMITS_OF_SWEEPS = ("reap_grace", "reap_before_end_timeout")  # variables that a host may set for its end by a sweep
PROBE_HOST = "supply-probe"  # the host of the machine that the playbook probe buys
# Answers that become variables of the role unchanged
_ROLE_VARIABLES = {
    "order_max_price_per_hour": "provision_max_price_per_hour",
    "order_max_total_price_per_hour": "provision_max_total_price_per_hour",
    "order_lease": "provision_lease",
    "order_max_bill": "provision_max_bill",
    "order_adopt": "provision_adopt",
}
# Answers that must agree with the role's variable, if both are given; of two ceilings, the lower one counts
_NOT_CEILINGS = {
    "order_gpu_type": "provision_spec",
    **{name: variable for name, variable in _ROLE_VARIABLES.items() if "max" not in name},
}
_COMPUTE_KEYS = {"order_gpu_type": "gpu_type", "order_gpu_count": "gpu_count", "order_contract_type": "contract_type"}
_MACHINE_ANSWERS = (*_COMPUTE_KEYS, "order_region")
_SURVEY_DEFAULTS = {"order_gpu_count": "1", "order_contract_type": ON_DEMAND}
# The fields of results that contain text for people; all others are data.
_TEXT_FIELDS = frozenset({"msg", "refusal", "refusals", "stop", "trouble", "warnings", "lines", "money"})


# Which names of variables are refused


class RoleVariables:
    """The role's variables, and the check of all other names among a host's variables.

    Hosts have hundreds of variables, mostly the same ones, so each name is checked once.
    """

    def __init__(self, variables: t.Iterable[str]) -> None:
        """``variables``: the names in the role's argument specs."""
        self.variables = frozenset(variables)
        self._refused: t.Callable[[str], str] = functools.lru_cache(maxsize=4096)(self._why_refused)

    def refusals(self, names: t.Iterable[t.Any], extra: t.Iterable[str] = ()) -> list[str]:
        """A sentence for each refused name. In a file of variables, a name may be a number.

        ``extra``: the names of extra variables, among which the role's results are refused.
        """
        known = self.variables | RESULTS
        unknown = sorted({str(name) for name in names} - known)
        return [
            *(LOST_WORDS for name in unknown if name == LOOSE),
            *(f"{name} is a result of the role: leave it out." for name in sorted(RESULTS.intersection(extra))),
            *filter(None, map(self._refused, unknown)),
        ]

    def _why_refused(self, name: str) -> str:
        # A quick test that sorts out most names: two edits remove at most two letters of the prefix.
        is_far = len(set(_PREFIX).difference(plain_name(name)[: len(_PREFIX) + 2])) > 2
        return "" if is_far else _refusal(name, self.variables, _PREFIX)


def refused_of_playbook(given: t.Iterable[str], prefix: str, of_inventory: t.Container[str] = ()) -> list[str]:
    """A sentence for each ``given`` name that a playbook refuses. The ``prefix`` of its own variables is reserved.

    Names ``of_inventory`` and those of AWX may have the prefix, but must not be misspelled variables of the playbook.
    """
    own = frozenset(name for name in PLAYBOOK_VARIABLES if name.startswith(prefix))
    unknown = sorted({*given} - PLAYBOOK_VARIABLES)
    lost = [LOST_WORDS] if LOOSE in unknown else []
    of_others = {name for name in unknown if name in of_inventory or _OF_AWX.fullmatch(name)}
    refusals = (_refusal(name, own, "" if name in of_others else prefix) for name in unknown)
    return [*lost, *filter(None, refusals)]


def _refusal(name: str, variables: t.Collection[str], prefix: str) -> str:
    """Why an unknown name is refused: it is a misspelled variable, or begins with the ``prefix``. Empty if it is not.

    No name is reserved if the prefix is empty. Names with two underscores after the prefix are private to the roles.
    """
    plain = plain_name(name)
    if name in _ALSO_KNOWN or (prefix and name.startswith(f"{prefix}_") and plain not in variables):
        return ""
    is_reserved = bool(prefix) and plain.startswith(prefix)
    meant = [nearest(name, sorted({*variables, *_ALSO_KNOWN})) or ""]
    if not any(meant) and is_reserved:
        meant = sorted(item for item in variables if item.startswith(f"{plain}_"))[:_MOST_MEANT]
    if any(meant):
        return f"{name} is not a variable of this collection. Did you mean {' or '.join(meant)}?"
    return (
        f"{name} is not a variable of this collection, which reserves names that begin with {prefix}."
        if is_reserved
        else ""
    )


def meant_as_plan(extra: Answers) -> list[str]:
    """The ``extra`` variables that were probably meant as ``plan``: other names for it, and typing errors.

    A purchase would ignore them, and search for an offer. One error is the limit, since the name is short.
    """
    named = {name for name in extra if name in _FOR_PLAN or nearest(name, ("plan", *_FOR_PLAN), 1)}
    quote = {"quote"} if _is_plan(extra.get("quote")) else set()
    return sorted({name for name in named if plain_name(name) not in _NOT_PLAN} | quote)


def _is_plan(value: t.Any) -> bool:
    """Whether a value may be a plan: a mapping, or the name of a JSON file. Others belong to the user."""
    return isinstance(value, t.Mapping) or str(value).endswith(".json")


def empty_limits(extra: Answers) -> list[str]:
    """A sentence about limits that are empty or null in ``extra`` variables, as after ``-e provision_lease=$UNSET``.

    They would remove the inventory's limits. Not for jobs of AWX, which give an empty text for an unanswered question.
    """
    empty = sorted(name for name, value in extra.items() if not text_of(value))
    limits = [name for name in empty if name.startswith((_PREFIX, "order_")) and any(map(name.__contains__, _LIMITING))]
    named = f"{', '.join(limits)} must not be empty: that would limit nothing. Give a value, or leave it out."
    return [named] if limits else []


# The hosts of an order


@dataclass(frozen=True)
class OrderedHosts:
    """The hosts that an order names, and rows with the addresses of some of them.

    ``left_out``: named hosts that ``--limit`` excludes, so that the order does not cover them.
    """

    hosts: tuple[str, ...] = ()
    reached: tuple[Variables, ...] = ()
    left_out: tuple[str, ...] = ()

    def to_find(self, sought: t.Iterable[Variables]) -> t.Collection[str]:
        """The hosts to look up in registries: the named ones, else all ``sought``."""
        return self.hosts or [row["host"] for row in sought]

    def published(self, places: t.Mapping[str, Place]) -> list[Variables]:
        """The rows, without hosts of a shared registry: it is newer, and an old address may be another machine's."""
        return [row for row in self.reached if not places.get(row["name"], NOWHERE).hands_facts]


def ordered_hosts(
    variables: Answers, group: str, sizes: Sizes, limited: t.Container[str] | None = None
) -> OrderedHosts:
    """The hosts that are ordered by name, number, artifact or plan; none if the order is for the whole group.

    ``sizes``: of the inventory's groups. ``limited``: the hosts that ``--limit`` includes, None without it.

    Raises ValueError for invalid names, for names in a slice of a job, if the limit excludes all names, and if the
    order has no host at all.
    """
    variable, value = requested_hosts(variables)
    ordered_names = host_names_of(value, group, variable)
    template, inside = sliced_template(variables), tuple(within(ordered_names, limited))
    reasons = {
        f"This job is a slice of '{template}', and each slice would order all named hosts."
        " Set Job Slicing of the template to 1; or put the hosts into an inventory of their own, which AWX divides.": (
            # Published hosts have their machines already; names that a person gives would be ordered by each slice.
            template and ordered_names and not isinstance(value, t.Mapping)
        ),
        f"{' and '.join(_NAMING_HOSTS)} name different hosts. Give only one of them.": _are_named_twice(variables),
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


def _are_named_twice(variables: Answers) -> bool:
    """Whether people name hosts in two variables, and not the same ones, so that one of them would be ignored."""
    given = [variables[name] for name in _NAMING_HOSTS if name in variables]
    return len(given) > 1 and given[0] != given[1] and not any(isinstance(value, t.Mapping) for value in given)


def requested_hosts(variables: Answers) -> tuple[str, t.Any]:
    """The variable that names the hosts of an order, and its value; for a sealed plan, its hosts.

    Hosts that an earlier job has published (a mapping) count only if no other variable names any: a person may order
    others by now.
    """
    # The survey's answer has another name, since it would hide an artifact of the same name.
    given = {name: variables[name] for name in _NAMING_HOSTS if name in variables}
    if not given:
        plan = variables.get("plan")
        if isinstance(plan, t.Mapping) and isinstance(plan.get("hosts"), t.Mapping):
            return "plan", list(plan["hosts"])
        return _NAMING_HOSTS[0], None
    variable = min(given, key=lambda name: isinstance(given[name], t.Mapping))
    # Null, as in a file of variables that was never filled in, does not mean the whole group either.
    return variable, "" if given[variable] is None else given[variable]


def answered(variables: Answers) -> Variables:
    """The variables without unanswered questions of a survey, which AWX gives as empty values."""
    return {name: value for name, value in variables.items() if value not in _EMPTY}


def host_names_of(value: t.Any, group: str, variable: str = "provision_hosts") -> list[str]:
    """The names of the ordered hosts, without duplicates: the ``value`` has names, a number, or published hosts.

    Names are a list, or a text with commas. None gives no names. Raises ValueError, which names the variable, for any
    other value, and for 0, an empty text, a blank or a comma, which must not mean the whole group.
    """
    is_typed = isinstance(value, (str, int))
    count = int(str(value)) if is_typed and re.fullmatch(r"\s*[0-9]{1,5}\s*", str(value)) else None
    if count:
        return [f"{group}-{item}" for item in range(1, count + 1)]
    given = list(value) if isinstance(value, t.Mapping) else value
    names = split_names(value) if isinstance(value, str) else list(map(str.strip, read_host_names(variable, given)))
    reserved = sorted({name for name in names if name.lower() in _RESERVED or name == group})
    reasons = {
        f"{variable}={printable(repr(value), 60)} names no host. For all of '{group}', leave it out.": (
            count == 0 or (not names and value is not None)
        ),
        f"{variable} must be host names with a letter, or a number up to 99999, not"
        f" '{printable(str(value), 60)}'.": not all(map((_TYPED_NAME if is_typed else HOST_NAME).fullmatch, names)),
        f"{', '.join(reserved)} cannot name a machine: it means something else to Ansible. Choose another"
        " name.": reserved,
    }
    for reason in applicable(reasons):
        raise ValueError(reason)
    return list(dict.fromkeys(names))


def read_host_names(variable: str, value: t.Any) -> list[str]:
    """The text or texts with which a person names hosts. A whole number is also a name.

    Raises ValueError, which names the variable, for anything else, such as ``true``, ``1.5`` or a mapping.
    """
    given = list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
    if not all(isinstance(item, (str, int)) and not isinstance(item, bool) for item in given):
        shown = printable(str(value), 60)
        raise ValueError(f"{variable} must be names with commas between them, or a list of names, not '{shown}'.")
    return [str(item) for item in given]


def split_names(asked: t.Any) -> list[str]:
    """The parts of a text between commas and line ends, without blank ones."""
    return [part.strip() for part in re.split(r"[,\r\n]", str(asked or "")) if part.strip()]


def is_short_range(part: str) -> bool:
    """Whether a range such as ``gpu-[1:20]`` means at most 10,000 names."""
    return part.count("[") == 1 and not re.search(r"[0-9]{5}", part)


def within(hosts: t.Iterable[str], limited: t.Container[str] | None, spared: t.Container[str] = ()) -> list[str]:
    """The hosts that ``--limit`` includes; all hosts without a limit (None). Without those that are ``spared``."""
    return [host for host in hosts if (limited is None or host in limited) and host not in spared]


def excluded_by_limit(hosts: t.Sequence[str]) -> str:
    """A sentence: ``--limit`` excludes these hosts of an order. Empty if there are none."""
    excluded = f"--limit excludes {', '.join(hosts)}, which the order names. Leave out the limit, or do not name them."
    return excluded if hosts else ""


def published_hosts(asked: t.Any) -> dict[str, Variables]:
    """The addresses and resource ids of hosts from an earlier job of a workflow (its artifact provision_hosts)."""
    return {
        str(name): {**{key: item.get(key) for key in ADDRESS}, "provision_resource_ids": item.get("resource_ids") or []}
        for name, item in mapping_of(asked).items()
        if isinstance(item, t.Mapping) and item.get("ansible_host")
    }


def newer_rows(
    known: t.Mapping[str, tuple[str, Variables]],
    reached: t.Mapping[str, t.Collection[str]],
    places: t.Mapping[str, Place],
) -> list[Variables]:
    """The rows of machines that registries know and the inventory does not, and of hosts whose machines have ended.

    ``known``: owner and row by resource id; ``reached``: the inventory's ids by host. A host of the inventory has none
    of its ids in a shared registry if the inventory is older than the end of its machine.
    """
    names = {row["name"] for _owner, row in known.values()}
    ended = [
        host
        for host, ids in reached.items()
        if places.get(host, NOWHERE).hands_facts and host not in names and known.keys().isdisjoint(ids)
    ]
    new = [row for resource_id, (owner, row) in known.items() if resource_id not in reached.get(owner, ())]
    return [*({"name": host, IDS: [], LISTED_ID: ""} for host in ended), *(row for row in new if "ansible_host" in row)]


def sliced_template(variables: Answers) -> str:
    """The job template whose slice this job is; empty if it is not a slice.

    AWX runs the slices as a workflow with the template's name, and gives both names to each job.
    """
    template = str(variables.get("awx_job_template_name") or "")
    return template if template == str(variables.get("awx_workflow_job_name") or "") else ""


def why_no_hosts(group: str, sizes: Sizes) -> str:
    """A refusal of a play without hosts, which would look like success. ``sizes``: of the inventory's groups."""
    others = [name for name in without_order_groups(sizes) if sizes[name] and name not in _RESERVED]
    known = f"The inventory has hosts in {abridged(others)}: add -e provision_group=..., or" if others else ""
    runs = " except those of runs" if sizes.get(GROUP_OF_RUNS) else ""
    return (
        f"The group '{group}' has no hosts{runs}. {known or 'Add some to the inventory, or'} give provision_hosts"
        " (names, or how many)."
    )


def why_ambiguous(name: str, groups: t.Mapping[str, t.Collection[str]]) -> str:
    """Why a group's name is refused: Ansible would take a host of the same name instead. Empty if there is none."""
    is_both = name in groups.get("all", ()) and set(groups.get(name, ())) - {name}
    return (
        f"'{name}' is both a group and a host of the inventory, and Ansible would use only the host. Rename one of"
        " them: the inventory plugin names its hosts by its option hostname."
        if is_both
        else ""
    )


def misspelled_group(
    group: str, groups: t.Mapping[str, t.Collection[str]], named: t.Collection[str] = (), *, is_given: bool
) -> str:
    """Why nothing is bought for a group that the inventory lacks, if it has a similar one; empty otherwise.

    Hosts added to the group would have no ceiling, lease or registry of the similar one. If ``group`` is the default
    (not ``is_given``), only its plural and other capitals are similar: a group ``cpu`` has nothing to do with it. Then
    the order may also be for hosts of the inventory (``named``), which keep their own variables.
    """
    keep_variables = named and not is_given and {*named}.issubset(groups.get("all", ()))
    if group in groups or keep_variables:
        return ""
    others = [name for name in without_order_groups(groups) if name not in _RESERVED]
    plurals = (name for name in others if plain_name(name).rstrip("s") == plain_name(group).rstrip("s"))
    similar = nearest(group, others) if is_given else next(plurals, "")
    return (
        f"The inventory has no group '{group}', whose ceilings, lease and registry would apply. Did you mean {similar}?"
        f" Then give -e provision_group={similar}; to use {group}, add a line [{group}] to the inventory."
        if similar
        else ""
    )


def runs_left_out(group: str, groups: t.Mapping[str, t.Collection[str]], limit: str = "") -> set[str]:
    """The hosts of runs in a group: a playbook for the whole group leaves them alone, since their machines have a job.

    A person may still name them in ``--limit`` or in an order, which has its own group.
    """
    if group == GROUP_OF_RUNS or group.startswith(ORDER_GROUP):
        return set()
    runs = set(groups.get(group, ())).intersection(groups.get(GROUP_OF_RUNS, ()))
    return runs.difference(*(fnmatch.filter(runs, part) for part in re.split("[,:]", limit)))


def pattern_of_group(group: str, groups: t.Mapping[str, t.Collection[str]], limit: str) -> str:
    """The host pattern of a group without `runs_left_out`; localhost, where the play fails, if no host is left."""
    runs = runs_left_out(group, groups, limit)
    is_empty = bool(runs) and runs == {*groups[group]}
    return "localhost" if is_empty else ",!".join([group, *sorted(map(host_pattern, runs))])


def group_sizes(groups: t.Mapping[str, t.Collection[str]], limit: str = "") -> dict[str, int]:
    """The number of hosts in each group of the inventory, without localhost and the hosts of runs."""
    return {name: len({*hosts} - {"localhost"} - runs_left_out(name, groups, limit)) for name, hosts in groups.items()}


def new_order_group(number: int) -> str:
    """The name of the group for the hosts of one run's order. ``number``: 32 random bits."""
    return f"{ORDER_GROUP}{number:08x}"


def order_group_of(groups: t.Iterable[str], group: str) -> str:
    """The newest group for the hosts of an order; ``group`` if there is none: such an order is for the whole group."""
    return next((name for name in reversed(list(groups)) if _ORDER_GROUP_NAME.fullmatch(name)), group)


def without_order_groups(groups: t.Iterable[str]) -> list[str]:
    """The groups that outlive a run."""
    return [group for group in groups if not group.startswith(ORDER_GROUP)]


def misplaced_order(variables: Answers, extra: Answers) -> Answers:
    """The variables of an order that a play or the inventory sets, although only ``extra`` variables can order."""
    given = {name: variables[name] for name in ORDER_VARIABLES.difference(extra, {"quote"}).intersection(variables)}
    if "plan" in given and not _is_plan(given["plan"]):
        del given["plan"]
    return {name: value for name, value in given.items() if _is_answer(name, value)}


def why_misplaced(misplaced: Answers) -> str:
    """Why a playbook of the collection refuses a misplaced order; empty if there is none."""
    names = ", ".join(sorted(misplaced))
    refusal = f"Orders must be extra variables, so {names} would have no effect. Give it with -e, or leave it out."
    return refusal if misplaced else ""


def why_order_ignored(host: str, groups: t.Iterable[str], variables: Answers) -> str:
    """Why the user's own play refuses an order, which it would ignore; empty if it need not.

    It need not if the order names this ``host``, or was carried out before: by an earlier job of a workflow, which has
    published its hosts, or by a play of this run, so that the host's ``groups`` include the order's.
    """
    is_over = isinstance(variables.get("provision_hosts"), t.Mapping) or without_order_groups(groups) != list(groups)
    naming_host = {name for name in _NAMING_HOSTS if host in _names_in(variables.get(name))}
    ignored = sorted(
        name for name in ORDER_VARIABLES.intersection(variables) - naming_host if _is_answer(name, variables[name])
    )
    if is_over or not ignored:
        return ""
    return (
        f"Only the collection's playbooks take {', '.join(ignored)}. This play is your own: it buys for each of its"
        " hosts, as the inventory says. Leave it out, and choose hosts with --limit; or run ansible-playbook"
        " compute_index.supply.provision."
    )


def _is_answer(name: str, value: t.Any) -> bool:
    """Whether a variable of an order is given. For names of hosts, "none" is a name, and does not mean all hosts."""
    return value not in _EMPTY if name in _NAMING_HOSTS else _is_given(value)


def _names_in(value: t.Any) -> t.Sequence[t.Any]:
    return value if isinstance(value, list) else split_names(value)


# The machines that an order describes


def role_variables_of(extra: Answers) -> Variables:
    """The role's variables for the order (order_*) in ``extra`` variables. Raises ValueError.

    If an extra variable has the role's own name, the lower of two ceilings counts, and other answers must not differ
    from it. Without a GPU type each host keeps its own search, so the order must not describe the machine otherwise.
    """
    given = answers_of(extra)
    for name, variable in _NOT_CEILINGS.items():
        if name in given and text_of(extra.get(variable)) not in ("", given[name]):
            raise ValueError(f"{name} and {variable} have different values. Give only one of them.")
    variables: Variables = {variable: given[name] for name, variable in _effective(extra).items()}
    if "order_gpu_type" in given:
        variables["provision_spec"] = search_of({**_SURVEY_DEFAULTS, **given})
    # A survey always gives its defaults.
    elif unused := [name for name in _MACHINE_ANSWERS if given.get(name) not in (None, _SURVEY_DEFAULTS.get(name))]:
        raise ValueError(
            f"{', '.join(unused)} must come with order_gpu_type: without it, each host keeps its own search. Add"
            " order_gpu_type, or change provision_spec instead."
        )
    return variables


def _effective(extra: Answers) -> dict[str, str]:
    """The answers of an order that take effect, with the variables of the role that they set."""
    given = {name: variable for name, variable in _ROLE_VARIABLES.items() if _is_given(extra.get(name))}
    return {
        name: variable
        for name, variable in given.items()
        if not text_of(extra.get(variable)) or ("max" in name and _ceiling(extra[name]) < _ceiling(extra[variable]))
    }


def _ceiling(value: t.Any) -> float:
    """A ceiling as a number, to be compared; of a text that is no number, such as a template, minus infinity."""
    number = math.inf if text_of(value).lower() == "unlimited" else number_of(value)
    return -math.inf if number is None else number


def answers_of(extra: Answers) -> dict[str, str]:
    """The given answers of an order, as texts. "any" is an answer only for the contract. Raises ValueError."""
    answers = {name: value for name, value in extra.items() if name.startswith("order_") and name != "order_names"}
    if misfits := sorted(name for name, value in answers.items() if not _is_text_or_number(name, value)):
        raise ValueError(f"{', '.join(misfits)} must be text or a number.")
    texts = {name: text_of(value) for name, value in answers.items()}
    contract = "order_contract_type"
    given = {name: text for name, text in texts.items() if _is_given(text) or (name, text) == (contract, ANY)}
    if not re.fullmatch("[0-9]{1,3}", given.get("order_gpu_count", "1")):
        raise ValueError("order_gpu_count must be a whole number from 0 to 999.")
    return given


def _is_text_or_number(name: str, value: t.Any) -> bool:
    """Whether an answer is a text or a number; order_adopt may also be true or false."""
    is_switch = isinstance(value, bool) and name != "order_adopt"
    return not (is_switch or isinstance(value, (list, tuple, t.Mapping)))


def search_of(given: t.Mapping[str, str]) -> Variables:
    """The search for the answers, without any defaults."""
    compute: Variables = {key: given[name] for name, key in _COMPUTE_KEYS.items() if name in given}
    if "gpu_count" in compute:
        compute["gpu_count"] = int(compute["gpu_count"])
    region = {"region": given["order_region"]} if "order_region" in given else {}
    return {**region, **({"compute": compute} if compute else {})}


def _is_given(value: t.Any) -> bool:
    return value not in _EMPTY and text_of(value).lower() not in _NOT_GIVEN


def with_order_names(result: Variables, extra: Answers) -> Variables:
    """A step's result; its texts for people name the answers of the order that set the role's variables."""
    names = {variable: name for name, variable in _effective(extra).items()}
    return {key: _renamed(part, names, key in _TEXT_FIELDS) for key, part in result.items()} if names else result


def _renamed(part: t.Any, names: t.Mapping[str, str], is_for_people: bool) -> t.Any:
    if isinstance(part, t.Mapping):
        return {key: _renamed(item, names, is_for_people or key in _TEXT_FIELDS) for key, item in part.items()}
    if isinstance(part, (list, tuple)):
        return [_renamed(item, names, is_for_people) for item in part]
    is_text = is_for_people and isinstance(part, str)
    return re.sub(r"\bprovision_[a-z_]+\b", lambda found: names.get(found[0], found[0]), part) if is_text else part
