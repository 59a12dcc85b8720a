# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the steps of the roles and playbooks: gathers their parameters for all hosts, and returns the decisions.

Runs only in Ansible's own process. Reads hosts' variables without evaluating them, so that no text of the API is run as
a template.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import pwd
import re
import shutil
import subprocess
import typing as t
from collections import Counter

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import connection_loader
from ansible.utils.vars import load_extra_vars
from ansible_collections.compute_index.supply.plugins.lookup import plan as _lookup  # noqa: F401, for all workers
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import (
    SHOW_PROGRESS,
    Operation,
    is_awx_job,
)
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import (
    Registries,
    RegistrySnapshot,
)
from ansible_collections.compute_index.supply.plugins.module_utils._operations.plan import PLAN
from ansible_collections.compute_index.supply.plugins.module_utils._provision import ending_by_id
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import (
    condition_refused,
    delegation_refused,
    is_true,
    no_ssh_client,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import example_facts, project_of
from ansible_collections.compute_index.supply.plugins.module_utils._provision.messages import NOTHING_SENT
from ansible_collections.compute_index.supply.plugins.module_utils._provision.naming import why_more_would_end
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import (
    LIMITS_OF_SWEEPS,
    PLAYBOOK_VARIABLES,
    PROBE_HOST,
    answered,
    group_sizes,
    host_names_of,
    misspelled_group,
    read_host_names,
    refused_of_playbook,
    requested_hosts,
    sliced_template,
    with_order_names,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import place_of
from ansible_collections.compute_index.supply.plugins.module_utils._provision.planning import BUY, KEEP
from ansible_collections.compute_index.supply.plugins.module_utils._provision.rounds import Declared
from ansible_collections.compute_index.supply.plugins.module_utils._registry._connection import preload_psycopg
from ansible_collections.compute_index.supply.plugins.module_utils._spec import REGISTRY_URL
from ansible_collections.compute_index.supply.plugins.module_utils._text import folded_lines, items_of
from ansible_collections.compute_index.supply.plugins.plugin_utils import _hosts, _task
from ansible_collections.compute_index.supply.plugins.plugin_utils._declare import (
    DEFAULTS,
    END_DEFAULTS,
    END_FIXED,
    FIXED,
    check_names,
    declared,
    declared_end,
    host_order,
    plan_of,
    registry_fingerprint,
)
from ansible_collections.compute_index.supply.plugins.plugin_utils._task import (
    InProcessAction,
    Progress,
    in_terminal,
    show_lines,
)

preload_psycopg()  # before Ansible forks its workers

# The variables that may contain ranges of host names, and all variables of an order
_NAMING = ("provision_hosts", "order_names")
_ASKED = (*_NAMING, "awx_job_template_name", "awx_workflow_job_name")
_OF_RUNS = tuple(sorted(name for name in PLAYBOOK_VARIABLES if name.startswith("run_")))
_LISTS_OF_AWX = tuple(
    name for name in PLAYBOOK_VARIABLES if name.endswith(("_teams", "_credentials", "_notifications"))
)
_FETCHING = ("run_fetch_timeout", "run_results_dir")  # also read by sweeps and by the playbook `runs`

# Registered results of tasks in other plays
_OF_A_SWEEP = ("reap__sweep", "reap__activity", "run__late", "run__late_job", "run__late_results")
_OF_A_RUN = ("run__quote", "run__quoted", "run__info", "run__next", "run__followed", "run__results")
_OF_A_PROBE = ("probe__trouble", "probe__unended")

# Fields of declarations and plans with paths on this computer, or with names from the inventory
_LOCAL = ("host", "name", "inventory_dir", "registry_dir", "registry_file", "known_hosts_file", "identity_file")

Variables = t.Mapping[str, t.Any]
Batch = t.Mapping[str, Variables]  # the variables of hosts


class ActionModule(InProcessAction):
    """The action plugin; Ansible finds it by the name of this class."""

    _supports_async = False
    _earlier: Variables = {}

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        task_vars = task_vars or {}
        name = self._task.args.get("step")
        if name not in STEPS:
            raise AnsibleActionFail(f"step must be one of {', '.join(STEPS)}, not '{name}'")
        step = STEPS[name]
        self._refuse_slips(step.prefix)
        if not step.operation:
            return {**ActionBase.run(self, tmp, task_vars), "changed": False, **step.gather(self, task_vars)}
        self.operation = operation_of(step)  # type: ignore[misc]
        self._task.args = {**self._of_variables(step.prefix, task_vars), **self._task.args}
        if step.has_registry:
            self._add_registry(step, task_vars)
        gathered = self.gathered(step, task_vars)  # first, since the step `order` also sets an argument
        self._task.args = {**self._task.args, **gathered}
        result = super().run(tmp, task_vars)
        # Orders are only for plays of our playbooks, which set the play's group.
        return self._completed(with_order_names(result, self._extra) if task_vars.get("provision__group") else result)

    def _of_variables(self, prefix: str, task_vars: Variables) -> dict[str, t.Any]:
        """The options that variables of the playbook set. Empty variables, such as a survey's, do not count.

        Raises AnsibleActionFail if a variable cannot be evaluated: to ignore it could lift a limit.
        """
        beginning = prefix.format(verb=self._verb()).partition(" ")[0]
        names = {name: beginning + name for name in steps.OPTIONS if name in self.operation.argument_spec}
        options = {variable: name for name, variable in names.items() if variable in PLAYBOOK_VARIABLES}
        given = self._given(options, task_vars)
        return {options[name]: value for name, value in given.items() if value not in (None, "")}

    def _add_registry(self, step: Step, task_vars: Variables) -> None:
        """Add the location of registries to the task's arguments. Raises AnsibleActionFail."""
        self._hosts = self._hosts_of(step, task_vars)
        url = self._hosts.url
        # Other tasks of the roles lack these options, or would use another registry.
        if misplaced := [name for name in ("registry_url", "account_name") if self._task.args.get(name)]:
            raise AnsibleActionFail(
                f"{' and '.join(misplaced)} in module_defaults would break tasks of the role. Set the variable"
                f" provision_registry_url, or {REGISTRY_URL}; and COMPUTE_INDEX_ACCOUNT. {NOTHING_SENT}"
            )
        environment: dict[str, t.Any] = {}
        self._compute_environment_string(environment)
        if environment.get(REGISTRY_URL, url) != url:
            raise AnsibleActionFail(
                f"The keyword environment sets {REGISTRY_URL}, which only affects some steps of the role. Set the"
                f" variable provision_registry_url, or {REGISTRY_URL} for ansible-playbook itself. {NOTHING_SENT}"
            )
        self._task.args = {
            **self._task.args,
            **({"registry_url": url} if url else {}),
            "registry_fingerprint": registry_fingerprint(url),
            **self._hosts.paths,
        }

    def gathered(self, step: Step, task_vars: Variables) -> dict[str, t.Any]:
        """The step's parameters in addition to the task's own arguments: its own ones, and those in `FACTS`."""
        found = step.gather(self, task_vars)
        if step.given:
            found["given"] = self._given(step.given, task_vars)
        if step.got:
            own = _hosts.raw_variables(str(task_vars["inventory_hostname"]), task_vars)
            found["got"] = {name: own[name] for name in step.got if name in own}
        names = FACTS.keys() & self.operation.argument_spec.keys() - found.keys()
        return {**found, **{name: FACTS[name](self, self._task, task_vars) for name in names}}

    def _completed(self, result: dict[str, t.Any]) -> dict[str, t.Any]:
        """Add the fields that playbooks read to the operation's result. Shows for which hosts it waits."""
        if self.operation is PLAN:
            result = {**result, **self._by_host(result)}
        if "lines" in result:
            result = {**result, "lines": folded_lines(result["lines"]), "has_lines": bool(result["lines"])}
        if "trouble" in result:  # playbooks do not decide
            result = {**result, "fails": bool(result["trouble"])}
        if result.get("waiting") and in_terminal():
            show_lines(result["waiting"])
        return result

    def option_error(self, msg: str) -> str:
        """The error with the names of the playbook's variables instead of options."""
        playbook = STEPS[self._task.args["step"]].prefix.format(verb=self._verb()).partition(" ")[0] or "decommission_"

        def variable(found: re.Match[str]) -> str:
            name = playbook + (found[1] or found[2])
            return name if name in PLAYBOOK_VARIABLES else found[0]

        return re.sub(r"(?:argument |option |for )'(\w+)'|value of (\w+)", variable, msg)

    @property
    def _extra(self) -> Variables:
        """The extra variables of the command line or a survey, which Ansible caches."""
        return t.cast("Variables", load_extra_vars(loader=self._loader))

    def _refuse_slips(self, prefix: str) -> None:
        """Raise AnsibleActionFail for unknown variables, which would be ignored, and for empty limits.

        Checks extra variables and those of an ``import_playbook``, except private ones, which our own plays set.
        """
        given = {*self._extra, *(n for n in _task.play_variables(self._task) if "__" not in n)} if prefix else ()
        playbooks = prefix.format(verb=self._verb()).split()
        slips = dict.fromkeys(slip for playbook in playbooks for slip in refused_of_playbook(given, playbook))
        if slips:
            raise AnsibleActionFail(f"{' '.join(slips)} {NOTHING_SENT}")
        if playbooks:
            check_names(self._extra)

    def _hosts_of(self, step: Step, task_vars: Variables) -> _hosts.Hosts:
        """Create the reader of hosts' variables, with the registry of the task's own host or of others."""
        batch = _batch(task_vars) if step.of_batch else {}
        of_all = step.of_all if isinstance(step.of_all, bool) else step.of_all(self, batch, task_vars)
        url = self._shared_registry(task_vars, is_needed=not (of_all or batch))
        among = () if of_all else tuple(batch)
        # If the task's own host has none, other hosts may name the registry.
        among_others = None if of_all or among else ""
        manager = self._task.get_variable_manager()
        return _hosts.Hosts(task_vars, self._templar, manager, self._loader, url or among_others, among, step.further)

    # Conditions under which any host may name the shared registry, not only the task's own host or those of its batch

    def _if_it_finds(self, batch: Batch, task_vars: Variables) -> bool:
        """Whether an order looks for machines in a registry."""
        return bool(self._task.args.get("find"))

    def _if_one_was_swept(self, batch: Batch, task_vars: Variables) -> bool:
        """Whether a sweep has found a host of the batch in a shared registry. Hosts in files need no other registry."""
        declared_ends = {host: _hosts.end_round_of(item).declared.declarations for host, item in batch.items()}
        return any(_is_shared(item.get(host, {}).get("reaped"), "place") for host, item in declared_ends.items())

    def _if_it_ended(self, batch: Batch, task_vars: Variables) -> bool:
        """Whether a host that ends is in a shared registry."""
        ends = [self._task.args["end"]] if "end" in self._task.args else _hosts.end_round_of(task_vars).plans
        return any(_is_shared(plan, "registry") for plan in ends)

    def _shared_registry(self, task_vars: Variables, is_needed: bool) -> str:
        """The shared registry's URL of the task's own host, or empty. Raises AnsibleActionFail if it cannot be read."""
        url = None
        try:
            url = _hosts.evaluated_variable(
                _hosts.REGISTRY, task_vars, self._templar, f"{task_vars['inventory_hostname']}: "
            )
        except AnsibleActionFail:
            if is_needed:
                raise
        return str(url or os.environ.get(REGISTRY_URL) or "")

    def _declare(self, task_vars: Variables) -> dict[str, t.Any]:
        # In our own playbooks, one task declares for all hosts. In other plays, run_once means a single host.
        if self._task.run_once and task_vars.get("provision__group"):
            found = self._of_each(functools.partial(declared, extra=self._extra), DEFAULTS, FIXED, task_vars)
            return Declared(found, all_declared=len(found) == len(task_vars["ansible_play_batch"])).mapping
        declaration = declared(task_vars, self._templar, self._extra)
        if self._task.delegate_to not in (None, declaration["host"]) and is_true(declaration["reach"]):
            raise AnsibleActionFail(f"{delegation_refused(declaration['host'])} {NOTHING_SENT}")
        has_registry = declaration["registry_fingerprint"] or str(declaration["registry_dir"]).strip()
        facts = example_facts(has_more_tasks=is_true(declaration["reach"]) or not has_registry)
        if condition := _task.condition_made_false(facts, self._task, task_vars, self._templar):
            raise AnsibleActionFail(f"{condition_refused(declaration['host'], condition)} {NOTHING_SENT}")
        return Declared({declaration["host"]: declaration}).mapping

    def _of_each(
        self,
        declare: t.Callable[[Variables, t.Any], dict[str, t.Any]],
        defaults: Variables,
        fixed: Variables,
        task_vars: Variables,
    ) -> dict[str, dict[str, t.Any]]:
        """The declarations of the batch's hosts, as far as one worker can declare for them (see `_task.PlayVariables`).

        With a condition that may exclude hosts (a ``when`` at ``import_playbook``), it can for none. It leaves out
        hosts whose variables cannot be evaluated; they declare by themselves and get the error then. There is no time
        limit, since a play's output must not depend on how busy the computer is. Raises AnsibleActionFail for a host
        with an unreadable file, for which Ansible would end the play without naming it.
        """
        if refusal := _task.why_forbidden(self._task):
            raise AnsibleActionFail(refusal)
        variables = _task.PlayVariables(self._task, task_vars, defaults, fixed, self._extra)
        rows = _hosts.Hosts(task_vars, self._templar, self._task.get_variable_manager(), self._loader, "")
        found = {}
        for host in [] if self._task.when else task_vars["ansible_play_batch"]:
            with contextlib.suppress(AnsibleError):
                host_variables = variables.of(host)
                with _hosts.using_variables(self._templar, host_variables) as templar:
                    found[host] = declare(host_variables, templar)
            if host not in found:
                rows.row(host)
        for host in rows.unreadable:
            raise AnsibleActionFail(_hosts.why_play_ends(host, rows.trouble_of(host)))
        return found

    def _hindrance(self, task_vars: dict[str, t.Any], environment: Variables) -> str | None:
        return None

    def _performed(self, **beside: t.Any) -> dict[str, t.Any]:
        """Run the operation, and show its progress."""
        return super()._performed(**beside, **{SHOW_PROGRESS: Progress().show_each_minute})

    def secrets_to_hide(self, secrets: set[str], params: Variables) -> set[str]:
        """All secrets except those that occur in paths or host names: these are data and must not change."""
        names = " ".join(map(str, [*_local_names(params), *(params.get("sources") or []), params.get("here")]))
        return {secret for secret in secrets if secret not in names}

    def shown_options(self, params: Variables) -> Variables:
        """The options for the API, and the step; gathered parameters are visible in the plans."""
        return {name: value for name, value in params.items() if name.startswith(("api_", "step"))}

    # Parameters of each step

    def _plan(self, task_vars: Variables) -> dict[str, t.Any]:
        batch, quote = _batch(task_vars), self._task.args["step"] == "quote"
        rounds = {host: _hosts.round_of(variables) for host, variables in batch.items()}
        decided = sorted(set().union(*(item.common.decided for item in rounds.values())))
        wanted = {host: item.declaration for host, item in rounds.items() if item.declaration}
        # Hosts that were planned before only take part again if they do so together with the first host.
        first = _hosts.round_of(_hosts.raw_variables(str(task_vars["inventory_hostname"]), task_vars))
        again = {host: list(tried) for host in wanted if (tried := rounds[host].attempts_with(first)) is not None}
        undecided = _undecided(wanted, decided, task_vars, again)
        further = _hosts.further_machines((one["host"] for one in undecided), task_vars)
        hosts = [one for one in undecided if one["host"] not in further]
        taking_part = {one["host"] for one in hosts}
        plans = {host: item.plan for host, item in rounds.items() if host not in taking_part}
        self._earlier = {host: plan for host, plan in plans.items() if "round" in plan}
        return {
            "hosts": hosts,
            "ids": [one["id"] for one in undecided],
            "decided": decided,
            "quote": quote,
            **self._sealed(quote, task_vars),
            "others": self._others(taking_part, task_vars) if _has_ceiling(hosts, "max_total_price_per_hour") else {},
            # Later rounds do not need them: the first one has bought what was available.
            "failed": [] if again else _failed(task_vars, taking_part),
            "attempts": again,
            "inventory": self._numbered(list(wanted), task_vars),
            **_keys(task_vars, quote),
            **self._counted_in_budgets(hosts),
        }

    def _sealed(self, quote: bool, task_vars: Variables) -> dict[str, t.Any]:
        """The path at which a quote writes its plan, or the sealed plan that our own playbook buys."""
        if quote:
            file = self._quote_file(task_vars)
            # Check mode writes no plan, so the quote must not name a file to buy from.
            return {} if file is None else {"plan_file": "" if self._task.check_mode else file}
        return {"sealed": plan_of(self._extra if task_vars.get("provision__group") else {}, buys=True)}

    def _quote_file(self, task_vars: Variables) -> str | None:
        """The path for a quote's sealed plan; empty if it is only published, as in AWX; None without a sealed plan."""
        if task_vars.get("quote_file", "" if is_awx_job() else None) is None:
            return None
        return str(_hosts.evaluated_variable("quote_file", task_vars, self._templar) or "")

    def _seal(self, task_vars: Variables) -> dict[str, t.Any]:
        """The quote's plan, the requests that its hosts would send, and the path for the sealed plan."""
        quote = _hosts.raw_variables(str(task_vars["inventory_hostname"]), task_vars)["provision_quote"]
        variables = _task.PlayVariables(self._task, task_vars, DEFAULTS, FIXED, self._extra)
        rows = [plan for plan in quote["plans"].values() if plan["action"] == BUY]
        orders = {row["host"]: host_order(row, variables.of(row["host"]), self._templar) for row in rows}
        return {"plan": quote["plan"], "orders": orders, "quote_file": self._quote_file(task_vars) or ""}

    def _counted_in_budgets(self, hosts: t.Sequence[Variables]) -> dict[str, t.Any]:
        """If one of the hosts has a budget: the rows of further hosts, and sentences about unknown places."""
        if not _has_ceiling(hosts, "budget"):
            return {}
        taking_part = {one["host"] for one in hosts}
        rows = [row for row in self._hosts.all_rows() if row["host"] not in taking_part]
        return {"elsewhere": rows, "untold": self._hosts.unknown_places({project_of(one["project"]) for one in hosts})}

    def _by_host(self, result: Variables) -> dict[str, t.Any]:
        """Plans by host. They include earlier plans that are still valid, since the result replaces the earlier one.

        ``known``: the facts of hosts that keep their machines.
        """
        names, plans = ("host", "label", "attempts", "facts"), result.get("plans") or []
        known = [{name: plan[name] for name in names} for plan in plans if plan["action"] == KEEP]
        return {"plans": {**self._earlier, **{plan["host"]: plan for plan in plans}}, "known": known}

    def _others(self, named: set[str], task_vars: Variables) -> dict[str, t.Any]:
        """The prices (USD per hour) of what further hosts of the play own, in any batch, by their variables."""
        result = {}
        for host in set(task_vars.get("ansible_play_hosts_all") or []) - named:
            variables = _hosts.raw_variables(host, task_vars)
            price = variables.get("provision_price_per_hour") if variables.get("provision_procured_offer_id") else None
            result[host] = 0 if price is None and _hosts.round_of(variables).declaration else price
        return result

    def _judge(self, task_vars: Variables) -> dict[str, t.Any]:
        this_round = _hosts.round_of(task_vars).common.round
        planned = [_hosts.round_of(variables).plan for variables in _batch(task_vars).values()]
        plans = [plan for plan in planned if plan.get("round") == this_round]
        return {
            **self._looked(plans, task_vars),
            "before": task_vars.get("provision__judged") or {},
            "inventory": self._numbered([plan["host"] for plan in plans], task_vars),
        }

    def _own(self, task_vars: Variables) -> dict[str, t.Any]:
        this_round = _hosts.round_of(task_vars)
        looked = self._looked([this_round.plan], task_vars)
        # The latest poll may be of another host's round, so the offers of this host's verdict are kept.
        offers = {**this_round.judged.offers, **looked["offers"]}
        return {**looked, "offers": offers, "before": task_vars.get("provision__verdict") or {}}

    def _looked(self, plans: list[Variables], task_vars: Variables) -> dict[str, t.Any]:
        """The plans, the results of their purchases, and the latest states of the offers."""
        names = [plan["host"] for plan in plans if plan["action"] == BUY]
        bought = {host: _hosts.raw_variables(host, task_vars).get("provision__purchase") or {} for host in names}
        purchases = {host: next(iter(task.get("results") or ()), None) for host, task in bought.items()}
        offers = (task_vars.get("provision__poll") or {}).get("offers") or {}
        without_offer = list(_hosts.round_of(task_vars).common.without_offer)
        return {"plans": plans, "purchases": purchases, "offers": offers, "without_offer": without_offer}

    def _order(self, task_vars: Variables) -> dict[str, t.Any]:
        """The variables that name the ordered hosts, and the inventory's facts about these hosts."""
        group = self._task.args["group"] = _hosts.group_of(task_vars, self._templar)
        variables = {name: task_vars[name] for name in _ASKED if name in task_vars}
        if is_awx_job():
            variables = answered(variables)
        variables.update(
            {name: _hosts.with_ranges_expanded(name, variables[name]) for name in _NAMING if name in variables}
        )
        # A purchase refuses a quote that is not sealed; a play that only looks for machines ignores it.
        buys = not self._task.args.get("find")
        if not buys:
            self._refuse_slips("verify_ configure_")
            variables["level"] = _hosts.evaluated_variable("verify_level", task_vars, self._templar, after=NOTHING_SENT)
        read = {name: value for name, value in self._extra.items() if buys or name == "plan"}
        variables["plan"] = plan_of(read)
        groups = task_vars.get("groups") or {}
        (variable, asked), limit, named = requested_hosts(variables), task_vars.get("ansible_limit"), []
        with contextlib.suppress(ValueError):  # the operation raises it again
            named = host_names_of(asked, group, variable)
        if buys:
            _check_group(group, task_vars, named)
        patterns = (
            _hosts.Patterns(task_vars, self._loader, "--limit", dict.fromkeys(named, (group,))) if limit else None
        )
        return {
            "variables": variables,
            "sizes": group_sizes(groups, str(limit or "")),
            "limited": patterns.limited(str(limit)) if patterns else None,
            **(self._machines_of(named, list(groups.get(group) or ()), task_vars) if not buys else {}),
        }

    def _machines_of(self, named: list[str], members: list[str], task_vars: Variables) -> dict[str, t.Any]:
        """The inventory's facts about the machines of the named hosts; without names, of the group's members.

        ``further``: machines of their clusters. ``sought``: hosts whose machines the registry must find. ``reached``:
        the ids of machines whose addresses are known, by host.
        """
        hosts, inventory = named or members, _hosts.inventory_hosts(task_vars)
        # With a shared registry (which a host may only have as a member of the order's group), a name proves nothing.
        owned_by = _hosts.registered_ids if self._hosts.url else _hosts.machine_ids
        owned = {host: owned_by(host, task_vars) for host in inventory if host in hosts}
        reached, ids = {host: own for host, own in owned.items() if own}, set().union(*owned.values())
        # Another controller may have read the inventory (such as an inventory update in AWX) and keep the host keys.
        sought = hosts if self._hosts.url else [host for host in hosts if host not in reached]
        numbered = self._numbered(named, task_vars).items()
        return {
            "further": [host for host, machines in numbered if machines and ids.issuperset(machines)],
            "sought": [{**row, "host": host} for host, row in self._rows_of(sought, task_vars).items()],
            "reached": reached,
        }

    # Parameters of each step of an end

    def _declare_end(self, task_vars: Variables) -> dict[str, t.Any]:
        declaration = declared_end(task_vars, self._templar, check_mode=bool(self._task.check_mode))
        return Declared({declaration["host"]: declaration}).mapping

    def _end(self, task_vars: Variables) -> dict[str, t.Any]:
        batch = _batch(task_vars)
        rounds = {host: _hosts.end_round_of(variables) for host, variables in batch.items()}
        decided = sorted(set().union(*{tuple(item.ends.decided) for item in rounds.values()}))
        wanted = {host: item.declaration for host, item in rounds.items() if item.declaration}
        own = wanted.get(str(task_vars["inventory_hostname"]))
        # In our own playbook all hosts take part. A host that one worker cannot declare for declares alone.
        is_for_all = task_vars.get("decommission__together") and (not own or own["id"] in decided)
        hosts = self._end_of_all(task_vars) if is_for_all else _undecided(wanted, decided, task_vars)
        registries = self._registries()
        rows = [self._ending(one, batch) for one in hosts]
        by_name = not all(registries.place(one, self._task.args) for one in rows)
        return {
            "hosts": rows,
            "ids": [one["id"] for one in hosts],
            "decided": decided,
            # Without a registry, names identify machines, so all hosts of the inventory are compared.
            "inventory": self._hosts.rows(_hosts.inventory_hosts(task_vars)) if by_name else [],
            "forbidden": _task.why_forbidden(self._task) or self._not_named(hosts, task_vars),
            # A survey's answer is a text, and empty without an answer.
            "forget": _listed(self._task.args.get("forget")),
        }

    def _not_named(self, hosts: t.Iterable[Variables], task_vars: Variables) -> str:
        """Why nothing ends, if the user has named other hosts for our playbook; else empty. Sweeps are not affected."""
        name = "decommission_hosts"
        asked = self._extra.get(name)
        found = _hosts.raw_variables("localhost", task_vars).get("decommission__hosts") or ()  # from the step `named`
        ends = [one["host"] for one in hosts if not one.get("reaped") and one["host"] not in found]
        if not (asked and ends):
            return ""
        patterns = _hosts.Patterns(task_vars, self._loader, name)
        parts = _hosts.pattern_parts(name, asked, patterns.names)
        return why_more_would_end(ends, {*parts, *patterns.hosts(parts)}) if parts else ""

    def _end_of_all(self, task_vars: Variables) -> list[Variables]:
        """The declarations for an end of the batch's hosts, as far as one worker can declare for them."""
        declare = functools.partial(declared_end, check_mode=bool(self._task.check_mode), together=True)
        return list(self._of_each(declare, END_DEFAULTS, END_FIXED, task_vars).values())

    def _ending(self, one: Variables, batch: t.Mapping[str, Variables]) -> dict[str, t.Any]:
        """A host's declaration for its end, completed with what other sources know."""
        host, protect = one["host"], one.get("protect")
        row = self._hosts.placed_row(host)
        return {
            **one,
            # For the role, a template with an undefined variable is None, but it must protect the machine.
            "protect": row["protect"] if row and protect in (None, "") else protect,
            "declares": bool(row and row["declares"]),
            **_of_sweep(batch.get(host) or {}),
            "shared": _is_shared(one.get("reaped"), "place") or bool(row and row["shared"]),
            "trouble": "" if row else self._hosts.trouble_of(host),
        }

    def _deletions(self, task_vars: Variables) -> dict[str, t.Any]:
        """The machines to end, and the storage that ends after them."""
        this_round = _hosts.end_round_of(task_vars)
        return {"round": this_round.ends.round, "jobs": ending_by_id.jobs(this_round.plans)}

    def _ended(self, task_vars: Variables) -> dict[str, t.Any]:
        this_round = _hosts.end_round_of(task_vars)
        ends = this_round.ends.ends
        deleted = task_vars.get("decommission__deleted") or {}
        return {
            "round": this_round.ends.round,
            "ends": list(ends.values()),
            "answers": deleted["answers"] if deleted.get("round") == this_round.ends.round else {},
            "alone": ends.keys() >= set(task_vars["ansible_play_batch"])
            and not _task.play_keyword(self._task, "serial"),
        }

    def _named(self, task_vars: Variables) -> dict[str, t.Any]:
        """The hosts that names, groups or patterns match, in the inventory and in its registries."""
        variable = f"{self._verb()}_hosts"
        plain = _hosts.Patterns(task_vars, self._loader, variable)
        asked = self._asked_parts(variable, plain)
        inventory = _hosts.inventory_hosts(task_vars)
        near = _of_parts(asked, plain)
        hosts = [*self._stand_ins(), *self._hosts.rows(near)]
        with self._registries() as registries:
            folders = [registries.place(host, self._task.args) for host in hosts]
            snapshot = RegistrySnapshot(registries, folders)
        registered = snapshot.hosts(named=asked)
        further = {host: groups for host, groups in registered.items() if host not in inventory}
        patterns = _hosts.Patterns(task_vars, self._loader, variable, further)
        asked = self._asked_parts(variable, patterns)
        return {
            "parts": [{"text": part, "hosts": patterns.hosts(part.lstrip("!&"))} for part in asked],
            "matched": patterns.hosts(asked) if asked else [],
            "known": inventory,
            "registered": registered,
            "broken": snapshot.warnings(),
            "ungrouped": snapshot.warnings(without=inventory),
            "troubles": self._hosts.troubles(lambda host: host in near),
            "others": self._hosts.troubles(lambda host: host not in near),
            "several": _several(snapshot, further),
            "folders": _folders(snapshot, further),
            "prefix": hosts[0]["prefix"] if hosts else "",
            "by_name": not (folders and folders[0]),
            **self._asked_beside(task_vars),
        }

    def _asked_parts(self, variable: str, patterns: _hosts.Patterns) -> list[str]:
        """The parts of the patterns in the option ``hosts``, with expanded ranges."""
        # A range after a group's name is Ansible's own syntax for some of its hosts.
        return [
            name
            for part in _hosts.pattern_parts(variable, self._task.args.get("hosts"), patterns.names)
            for name in (
                [part] if patterns.hosts(part.lstrip("!&")) else _hosts.with_ranges_expanded(variable, part).split(",")
            )
        ]

    def _asked_beside(self, task_vars: Variables) -> dict[str, t.Any]:
        """The user's further input: the limit, the expected number of hosts, and whether an id is given."""
        limit, count = task_vars.get("ansible_limit"), task_vars.get(f"{self._verb()}_count")
        return {
            "limited": list(task_vars.get("ansible_play_hosts_all") or []) if limit else None,
            "count": "" if count is None else str(count).strip(),  # 0 counts
            "by_id": bool(_hosts.raw_variables("localhost", task_vars).get("decommission_resource_id")),
        }

    def _stand_ins(self) -> list[dict[str, t.Any]]:
        """Rows that stand for hosts outside the inventory; the first is that of the group they would be in."""
        group = self._task.args.get("group", "gpu")
        groups = sorted(self._hosts.added_rows(), key=lambda row: row["group"] != group)
        return self._hosts.in_our_projects([*groups, *self._hosts.rows(["localhost"])])

    def _remembered(self) -> dict[str, dict[str, t.Any]]:
        """The rows that stand for the hosts that only registries know, by host."""
        with self._registries() as registries:
            rows = {registries.place(row, self._task.args): row for row in reversed(self._stand_ins())}
            return {host: rows[place] for place, host, _entry in RegistrySnapshot(registries, rows).host_entries()}

    def _rows_of(self, hosts: list[str], task_vars: Variables) -> dict[str, dict[str, t.Any]]:
        """The rows of hosts by name, without hosts whose registry is unknown.

        A host that only a registry knows has that registry and its group's limits. An unknown host has the registry of
        localhost.
        """
        known = set(_hosts.inventory_hosts(task_vars))
        remembered = {} if known.issuperset(hosts) else self._remembered()
        stand_ins = {host: remembered.get(host) or self._hosts.placed_row("localhost") for host in hosts}
        of_inventory = {host: self._hosts.placed_row(host) for host in hosts if host in known}
        return {host: row for host, row in {**stand_ins, **of_inventory}.items() if row}

    def _verb(self) -> str:
        """The action for the named hosts: ``decommission`` or ``extend``."""
        return str(self._task.args.get("verb") or "decommission")

    def _registries(self) -> Registries:
        """The registries of this task, from its options."""
        spec = {name: PLAN.argument_spec[name] for name in ("registry_url", "api_url", "home", "account_name")}
        given = {name: value for name, value in self._task.args.items() if name in spec}
        return Registries.of(ArgumentSpecValidator(spec).validate(given).validated_parameters, read_only=True)

    def _everything(self, task_vars: Variables) -> dict[str, t.Any]:
        return {"hosts": self._hosts.all_rows()}

    def _own_host(self, task_vars: Variables) -> dict[str, t.Any]:
        return {"hosts": self._hosts.rows([str(task_vars["inventory_hostname"])])}

    def _nothing(self, task_vars: Variables) -> dict[str, t.Any]:
        return {}

    def _awx(self, task_vars: Variables) -> dict[str, t.Any]:
        """Nothing. Raises AnsibleActionFail if the playbook could not end, and would leave AWX half set up."""
        if self._task.check_mode:
            raise AnsibleActionFail(
                "The modules of awx.awx return no ids in check mode, so awx_setup could not go on. Run it without"
                f" --check: it only changes what differs. {NOTHING_SENT}"
            )
        for name, value in self._given(_LISTS_OF_AWX, task_vars).items():
            if not isinstance(value, list):
                raise AnsibleActionFail(
                    f'{name} must be a list, such as -e \'{{"{name}": ["Research"]}}\'. {NOTHING_SENT}'
                )
        return {}

    def _orphan(self, task_vars: Variables) -> dict[str, t.Any]:
        """The hosts whose registries may know the machine, sentences about unknown ones, and the job's user."""
        rows = self._hosts.all_rows()
        return {
            "hosts": rows,
            "troubles": self._hosts.unknown_places(),
            "by": str(task_vars.get("awx_user_name") or ""),
        }

    def _reaped(self, task_vars: Variables) -> dict[str, t.Any]:
        """The results of the step `reap`, and of the tasks for each host that it found."""
        found = task_vars.get("reap__found") or {}
        of_hosts = {host: _hosts.raw_variables(host, task_vars) for host in found.get("hosts") or []}
        rows = [
            {"host": host, **(item.get("reap__sweep") or {}), "failed": item.get("reap__failed"), **_of_sweep(item)}
            for host, item in of_hosts.items()
        ]
        return {"hosts": rows, "trouble": [found["trouble"]], "kept": found["kept"], "at": found["at"]}

    def _verified(self, task_vars: Variables) -> dict[str, t.Any]:
        """The play's hosts with the results of their machines' tests."""
        rows = []
        for row in self._hosts.rows(task_vars.get("ansible_play_hosts_all") or []):
            own = _hosts.raw_variables(row["host"], task_vars)
            # In check mode the test does not run in the background, so there is no second result.
            test = newest(own.get("verify__tested"), own.get("verify__waited")) or {}
            machines = own.get("provision_resource_ids")
            rows.append({**row, "tested": {**test, "item": row["host"]}, "machines": machines})
        return {"hosts": rows}

    def _extend(self, task_vars: Variables) -> dict[str, t.Any]:
        named = read_host_names("extend_hosts", self._task.args.get("hosts"))  # found by the step `named`
        hosts = [{**row, "host": host} for host, row in self._rows_of(named, task_vars).items()]
        troubles = self._hosts.troubles(lambda host: host in named)
        return {"hosts": hosts, "troubles": troubles, **self._counted_in_budgets(hosts)}

    def _offers(self, task_vars: Variables) -> dict[str, t.Any]:
        """The answers of a survey (``order_*``), which select the offers to show."""
        self._refuse_slips("order_")
        return {"answers": {name: value for name, value in self._extra.items() if name.startswith("order_")}}

    def _probe(self, task_vars: Variables) -> dict[str, t.Any]:
        """All rows (their registries know machines' names, and which have ended), and what a purchase has shown."""
        variables = (
            _hosts.raw_variables(PROBE_HOST, task_vars) if PROBE_HOST in _hosts.inventory_hosts(task_vars) else {}
        )
        answers = [item for item in (variables.get("probe__ssh") or {}).get("results") or [] if "state" in item]
        return {
            "hosts": self._hosts.all_rows(),
            "name": str(_hosts.round_of(variables).declaration.get("name") or ""),
            "lets_in": answers[0].get("elapsed") if answers else None,
        }

    def _probe_purchase(self, task_vars: Variables) -> dict[str, t.Any]:
        """The host for the purchase, which the play has added."""
        return {
            "hosts": self._hosts.rows([PROBE_HOST]),
            # A host that a play has added has no inventory file.
            "is_known": bool(_hosts.raw_variables(PROBE_HOST, task_vars).get("inventory_file")),
        }

    def _run(self, task_vars: Variables) -> dict[str, t.Any]:
        """The run's variables. In ``run_env``, whose values may be secret, only whether each is valid."""
        _check_group(_hosts.group_of(task_vars, self._templar), task_vars)
        given = self._given(_OF_RUNS, task_vars)
        if "run_env" in given:
            given["run_env"] = _fitting(given["run_env"])
        return {"given": given}

    def _given(self, names: t.Iterable[str], task_vars: Variables) -> dict[str, t.Any]:
        """The variables with these names that the task has, evaluated. Raises AnsibleActionFail."""
        known = (name for name in names if name in task_vars)
        return {name: _hosts.evaluated_variable(name, task_vars, self._templar, after=NOTHING_SENT) for name in known}

    def _runs(self, task_vars: Variables) -> dict[str, t.Any]:
        """All rows, and the answers of the machines of runs."""
        hosts = self._hosts.all_rows()
        answers = {
            host: _hosts.raw_variables(host, task_vars).get("runs__job") for host in _hosts.inventory_hosts(task_vars)
        }
        return {"hosts": hosts, "got": {host: answer for host, answer in answers.items() if answer}}

    def _timer(self, task_vars: Variables) -> dict[str, t.Any]:
        from ansible_collections.compute_index.supply.plugins.plugin_utils import _timer  # most plays have no timer

        project = str(self._extra.get("provision_project") or "")
        return _timer.gathered(self._hosts.paths["sources"], self._hosts.paths["here"], project)

    def _numbered(self, hosts: list[str], task_vars: Variables) -> dict[str, list[str]]:
        """Hosts named like further machines of these hosts (``<host>-1``), with the ids of their machines."""
        bases = set(hosts)
        names = [name for name in (task_vars.get("groups") or {}).get("all") or [] if name.rpartition("-")[0] in bases]
        return {name: list(_hosts.raw_variables(name, task_vars).get("provision_resource_ids") or []) for name in names}


# Parameters that several steps take from the play or from the hosts' variables, by name
FACTS: t.Mapping[str, t.Callable[[ActionModule, t.Any, Variables], t.Any]] = {
    "troubles": lambda action, _task, _variables: action._hosts.troubles(),
    "unreadable": lambda action, _task, _variables: action._hosts.unreadable,
    "own": lambda action, _task, _variables: action._hosts.further_variables,
    "extra": lambda action, _task, _variables: list(action._extra),
    "connection": lambda _action, task, _variables: str(_task.play_keyword(task, "connection")),
    "forbidden": lambda _action, task, _variables: _task.why_forbidden(task),
    "serial": lambda _action, task, _variables: bool(_task.play_keyword(task, "serial")),
    "in_batches": lambda _action, task, variables: (
        bool(_task.play_keyword(task, "serial"))
        and len(variables["ansible_play_batch"]) + len(_failed(variables)) < len(variables["ansible_play_hosts_all"])
    ),
    # The condition is the role's, since the task itself has none.
    "one_tells_all": lambda _action, task, _variables: not task.when,
    "limited": lambda _action, _task, variables: bool(variables.get("ansible_limit")),
    "by_job": lambda *_given: is_awx_job(),
    "slice_of": lambda _action, _task, variables: sliced_template(variables),
    "forks": lambda _action, _task, variables: int(variables.get("ansible_forks") or 0),
    "run": lambda _action, _task, variables: _hosts.raw_variables("localhost", variables).get("run__asked") or {},
    # The tasks of a purchase note the API's answers there. Ansible removes the folder at its end.
    "log": lambda *_given: os.path.join(C.DEFAULT_LOCAL_TMP, "probe.log"),
    "archive": lambda *_given: os.path.join(C.DEFAULT_LOCAL_TMP, "run.tar.gz"),
}


class Step(t.NamedTuple):
    """A step of `decide`.

    ``gather``: gathers parameters that only this step needs. ``operation``: the file and name of its operation; empty
    if ``gather`` returns the result. ``of_all``: whether any host of the inventory may name the shared registry, since
    the task runs on localhost for all of them; ``of_batch``: else whether any host of the batch may. ``has_registry``:
    whether it uses a registry. ``further``: further variables to read of each host. ``given``: variables of the task to
    evaluate. ``got``: registered variables of the task's host to read. ``prefix``: the prefixes of its playbook's
    variables, which must not be misspelled, its own first; ``{verb}`` stands for the task's option.
    """

    gather: t.Callable[[ActionModule, Variables], dict[str, t.Any]]
    operation: str = ""
    of_all: bool | t.Callable[[ActionModule, Batch, Variables], bool] = False
    of_batch: bool = False
    has_registry: bool = True
    further: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    got: tuple[str, ...] = ()
    prefix: str = ""


# The documentation of the module has a sentence for each step; a test compares it with this table.
STEPS = {
    "declare": Step(ActionModule._declare),
    "plan": Step(ActionModule._plan, "plan.PLAN"),
    "quote": Step(ActionModule._plan, "plan.PLAN", prefix="quote_"),
    "seal": Step(ActionModule._seal, "sealing.SEAL", has_registry=False),
    "judge": Step(ActionModule._judge, "judge.JUDGE"),
    "release": Step(ActionModule._own, "judge.RELEASE"),
    "release_begins": Step(ActionModule._own, "judge.RELEASE_BEGINS"),
    "tested": Step(ActionModule._own, "judge.TESTED"),
    "reached": Step(ActionModule._own, "judge.REACHED"),
    "offers": Step(ActionModule._offers, "offers.OFFERS", prefix="offers_"),
    "order": Step(ActionModule._order, "order.ORDER", ActionModule._if_it_finds, prefix="order_"),
    "named": Step(ActionModule._named, "order.NAMED", of_all=True, prefix="{verb}_"),
    "declare_end": Step(ActionModule._declare_end),
    "end": Step(ActionModule._end, "end.END", ActionModule._if_one_was_swept, of_batch=True),
    "delete": Step(ActionModule._deletions, "delete_resource.DELETE", has_registry=False),
    "ended": Step(ActionModule._ended, "end.ENDED", ActionModule._if_it_ended, of_batch=True),
    "storage_ended": Step(ActionModule._nothing, "end.STORAGE_ENDED", ActionModule._if_it_ended),
    "audit": Step(ActionModule._everything, "audit.AUDIT", of_all=True, prefix="audit_"),
    "orphan": Step(ActionModule._orphan, "audit.ORPHAN", of_all=True, prefix="end_"),
    "spend": Step(ActionModule._everything, "spend.SPEND", of_all=True, prefix="spend_"),
    "reap": Step(ActionModule._everything, "reap.REAP", of_all=True, further=LIMITS_OF_SWEEPS, prefix="reap_ run_"),
    "reap_asked": Step(ActionModule._nothing, "reap.REAP_ASKED", has_registry=False, got=_OF_A_SWEEP),
    "reaped": Step(ActionModule._reaped, "reap.REAPED", of_all=True),
    "extend": Step(ActionModule._extend, "extend.EXTEND", of_all=True, prefix="extend_"),
    "probe": Step(ActionModule._probe, "probe.PROBE", of_all=True, prefix="probe_"),
    "probe_purchase": Step(ActionModule._probe_purchase, "probe.PROBE_PURCHASE", of_all=True, prefix="probe_"),
    "probe_ended": Step(ActionModule._nothing, "probe.PROBE_ENDED", got=_OF_A_PROBE),
    "registry": Step(ActionModule._everything, "registry.REGISTRY", of_all=True, prefix="registry_"),
    "timer": Step(ActionModule._timer, "timer.TIMER", prefix="reap_timer_"),
    "run": Step(ActionModule._run, "run.RUN", prefix="run_"),
    "run_quoted": Step(ActionModule._own_host, "run.RUN_QUOTED", got=_OF_A_RUN),
    "run_next": Step(ActionModule._own_host, "run.RUN_NEXT", got=_OF_A_RUN),
    "run_over": Step(ActionModule._own_host, "run.RUN_OVER", got=_OF_A_RUN),
    "run_done": Step(ActionModule._own_host, "run.RUN_DONE", got=_OF_A_RUN),
    "run_broken": Step(ActionModule._own_host, "run.RUN_BROKEN", got=_OF_A_RUN),
    "runs": Step(ActionModule._runs, "run.RUNS", of_all=True, given=_FETCHING, prefix="run_"),
    "run_late": Step(ActionModule._own_host, "run.RUN_LATE", given=_FETCHING, got=_OF_A_SWEEP),
    "run_swept": Step(ActionModule._own_host, "run.RUN_SWEPT", given=_FETCHING, got=_OF_A_SWEEP),
    "verified": Step(ActionModule._verified, "verified.VERIFIED", of_all=True),
    "awx": Step(ActionModule._awx, prefix="awx_"),
}


def operation_of(step: Step) -> Operation:
    """Import the operation of a step. Not at load time: an import takes up to 20 ms, and most plays need few."""
    module, _dot, name = step.operation.partition(".")
    package = Registries.__module__.rpartition(".")[0]
    return t.cast(Operation, getattr(importlib.import_module(f"{package}.{module}"), name))


operation_of(STEPS["judge"])  # imported before Ansible forks its workers, since every host needs it


def _is_shared(variables: Variables | None, name: str) -> bool:
    """Whether the place in the variables' field is in a shared registry."""
    return bool(place_of(str((variables or {}).get(name) or "")).keeps_sums)


def _local_names(params: Variables) -> list[t.Any]:
    """The paths and host names in the gathered hosts, plans and ends."""
    gathered = ([params.get("end")], *(params.get(name) for name in ("hosts", "plans", "ends")))
    # ``hosts`` may be the user's own value, such as a number.
    rows = [row for item in gathered if isinstance(item, (list, tuple)) for row in item]
    return [row.get(name) for row in rows if isinstance(row, t.Mapping) for name in _LOCAL]


def _of_parts(parts: t.Iterable[str], patterns: _hosts.Patterns) -> list[str]:
    """The hosts that the parts of a pattern match, also those that they exclude."""
    return sorted({host for part in parts for host in patterns.hosts(part.lstrip("!&"))})


def _several(snapshot: RegistrySnapshot, hosts: t.Container[str]) -> list[str]:
    """The hosts that several registries know."""
    counted = Counter(host for _place, host, _entry in snapshot.host_entries() if host in hosts)
    return [host for host, count in counted.items() if count > 1]


def _folders(snapshot: RegistrySnapshot, hosts: t.Container[str]) -> dict[str, str]:
    """The folders of the hosts that are remembered in files."""
    return {
        host: place.text for place, host, _entry in snapshot.host_entries() if host in hosts and not place.keeps_sums
    }


def _listed(given: t.Any) -> list[t.Any]:
    """The items of a list or of a comma-separated text. Another value is one item, which its host refuses."""
    if isinstance(given, str):
        return [item for item in given.split(",") if item.strip()]
    return list(items_of(given or ()))


def _batch(task_vars: Variables) -> dict[str, Variables]:
    """The variables of the hosts of the batch, including failed ones.

    Failed hosts also run tasks in ``always`` and in the play's handlers. The hosts that take part have just declared.
    """
    hosts = dict.fromkeys([*(task_vars.get("ansible_play_batch") or []), *_failed(task_vars)])
    return {host: _hosts.raw_variables(host, task_vars) for host in hosts}


def _fitting(environment: t.Any) -> t.Any:
    """Whether each variable of a job's environment has a valid type; for other values, whether they are not empty."""
    if not isinstance(environment, t.Mapping):
        return bool(environment)
    return {str(name): isinstance(item, (str, int, float)) for name, item in environment.items()}


def _undecided(
    declared: t.Mapping[str, Variables],
    decided: t.Container[str],
    task_vars: Variables,
    again: t.Container[str] = (),
) -> list[Variables]:
    """The declarations without a decision, and those of hosts that are planned ``again``.

    Raises AnsibleActionFail if the task's own host has not declared: its role would repeat this step forever.
    """
    hosts = [one for host, one in declared.items() if host in again or str(one["id"]) not in decided]
    host = str(task_vars["inventory_hostname"])
    declaration = declared.get(host) or {}
    if host not in {one["host"] for one in hosts} and str(declaration.get("id")) not in decided:
        raise AnsibleActionFail(
            f"{host} has declared nothing, so nothing can be decided for it. The role must begin at its first task:"
            f" leave --start-at-task out. {NOTHING_SENT}"
        )
    return hosts


def newest(first: t.Any, again: t.Any) -> t.Any:
    """The newest result of a machine. ``again``: the result of a second task, which may have been skipped."""
    return first if not again or again.get("skipped") else again


def _of_sweep(variables: Variables) -> dict[str, t.Any]:
    """The results of a sweep's tasks on the host's machine: its activity, and the last command before its end."""
    activity = newest(variables.get("reap__activity"), variables.get("reap__activity_again"))
    return {"activity": activity, "before": variables.get("reap__before")}


def _failed(task_vars: Variables, apart: t.Collection[str] = ()) -> list[str]:
    """The play's failed and unreachable hosts, except those in ``apart``."""
    others = {*(task_vars.get("ansible_play_hosts") or []), *apart}
    return [host for host in task_vars.get("ansible_play_hosts_all") or [] if host not in others]


def _keys(task_vars: Variables, quote: bool) -> dict[str, t.Any]:
    """The keys that ssh would use, and why it may fail; a ``quote`` does not check this."""
    identity_file = str(context.CLIARGS.get("private_key_file") or C.DEFAULT_PRIVATE_KEY_FILE or "")
    job_keys = _job_keys() if is_awx_job() and not quote else None
    return {"identity_file": identity_file, "job_keys": job_keys, "no_login": "" if quote else _no_login(task_vars)}


def _job_keys() -> str:
    """The output of ``ssh-add`` about the keys of this AWX job, which are only in its agent."""
    try:
        answer = subprocess.run(
            ["ssh-add", "-l", "-E", "sha256"], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return answer.stdout + answer.stderr


def _no_login(task_vars: Variables) -> str:
    """Why ssh on this computer could not reach any machine; empty if no reason is known."""
    if "ansible_ssh_executable" in task_vars:  # each host may have its own
        return ""
    connection_loader.get("ssh", class_only=True)  # loads its options
    program = str(C.config.get_config_value("ssh_executable", plugin_type="connection", plugin_name="ssh"))
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:  # as in a container that runs with another user id; OpenSSH then only says so and ends
        return no_ssh_client(program, without_account=os.getuid())
    return "" if shutil.which(program) else no_ssh_client(program)


def _has_ceiling(hosts: t.Iterable[Variables], name: str) -> bool:
    """Whether one of the hosts declares this ceiling."""
    return any(str(one[name] or "").strip() not in ("", "unlimited") for one in hosts)


def _check_group(group: str, task_vars: Variables, named: t.Collection[str] = ()) -> None:
    """Raise AnsibleActionFail if the inventory lacks the play's ``group``, but has one with a similar name.

    ``named``: the hosts that an order names.
    """
    is_given = bool(task_vars.get("provision_group"))
    if refusal := misspelled_group(group, task_vars.get("groups") or {}, named, is_given=is_given):
        raise AnsibleActionFail(f"{refusal} {NOTHING_SENT}")
