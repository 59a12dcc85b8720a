# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries the decisions to the roles: gathers what hosts have declared and what became of them, for all at once.

It always works in Ansible's own process. What hosts hold is read raw, so that no text of the API is ever evaluated.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
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

# The variables that may name hosts by ranges, and all that say what was asked for.
_NAMING = ("provision_hosts", "order_names")
_ASKED = (*_NAMING, "awx_job_template_name", "awx_workflow_job_name")
_OF_RUNS = tuple(sorted(name for name in PLAYBOOK_VARIABLES if name.startswith("run_")))
_FETCHING = ("run_fetch_timeout", "run_results_dir")  # those that sweeps and the list of runs take

# What the tasks of other plays register
_OF_A_SWEEP = ("reap__sweep", "reap__activity", "run__late", "run__late_job", "run__late_results")
_OF_A_RUN = ("run__quote", "run__quoted", "run__info", "run__next", "run__followed", "run__results")
_OF_A_PROBE = ("probe__trouble", "probe__unended")

# What declarations and plans have of this computer and of the inventory.
_LOCAL = ("host", "name", "inventory_dir", "registry_dir", "registry_file", "known_hosts_file", "identity_file")

Variables = t.Mapping[str, t.Any]
Batch = t.Mapping[str, Variables]  # the variables of hosts


class ActionModule(InProcessAction):
    """Ansible's way to find the plugin."""

    _supports_async = False
    _earlier: Variables = {}

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        task_vars = task_vars or {}
        name = self._task.args.get("step")
        if name not in STEPS:
            raise AnsibleActionFail(f"step must be one of {', '.join(STEPS)}, not '{name}'")
        step = STEPS[name]
        if not step.operation:
            return {**ActionBase.run(self, tmp, task_vars), "changed": False, **step.gather(self, task_vars)}
        self._refuse_slips(step.prefix)
        self.operation = operation_of(step)  # type: ignore[misc]
        self._task.args = {**self._of_variables(step.prefix, task_vars), **self._task.args}
        if step.has_registry:
            self._add_registry(step, task_vars)
        gathered = self.gathered(step, task_vars)  # before they are read: that of an order adds one
        self._task.args = {**self._task.args, **gathered}
        result = super().run(tmp, task_vars)
        # Only where a playbook says which group its play is for is an order heard.
        return self._completed(with_order_names(result, self._extra) if task_vars.get("provision__group") else result)

    def _of_variables(self, prefix: str, task_vars: Variables) -> dict[str, t.Any]:
        """The options that variables of the playbook give. Empty ones, as of a survey, give none.

        Raises AnsibleActionFail for what cannot be evaluated, which would limit nothing if it counted as not given.
        """
        beginning = prefix.format(verb=self._verb())
        names = {name: beginning + name for name in steps.OPTIONS if name in self.operation.argument_spec}
        options = {variable: name for name, variable in names.items() if variable in PLAYBOOK_VARIABLES}
        given = self._given(options, task_vars)
        return {options[name]: value for name, value in given.items() if value not in (None, "")}

    def _add_registry(self, step: Step, task_vars: Variables) -> None:
        """Add to the task's arguments where registries are. Raises AnsibleActionFail."""
        self._hosts = self._hosts_of(step, task_vars)
        url = self._hosts.url
        # Other tasks of the roles would have no such option, or hosts would be remembered elsewhere.
        if misplaced := [name for name in ("registry_url", "account_name") if self._task.args.get(name)]:
            raise AnsibleActionFail(
                f"{' and '.join(misplaced)} in module_defaults would break tasks of the role. Set the variable"
                f" provision_registry_url, or {REGISTRY_URL}; and COMPUTE_INDEX_ACCOUNT. {NOTHING_SENT}"
            )
        environment: dict[str, t.Any] = {}
        self._compute_environment_string(environment)
        if environment.get(REGISTRY_URL, url) != url:
            raise AnsibleActionFail(
                f"{REGISTRY_URL} in environment, a keyword, reaches some steps of the role and not others. Set the"
                f" variable provision_registry_url, or start Ansible with it. {NOTHING_SENT}"
            )
        self._task.args = {
            **self._task.args,
            **({"registry_url": url} if url else {}),
            "registry_fingerprint": registry_fingerprint(url),
            **self._hosts.paths,
        }

    def gathered(self, step: Step, task_vars: Variables) -> dict[str, t.Any]:
        """What the step takes beside the task's own arguments: `FACTS` once it has gathered what is its own."""
        found = step.gather(self, task_vars)
        if step.given:
            found["given"] = self._given(step.given, task_vars)
        if step.got:
            own = _hosts.raw_variables(str(task_vars["inventory_hostname"]), task_vars)
            found["got"] = {name: own[name] for name in step.got if name in own}
        names = FACTS.keys() & self.operation.argument_spec.keys() - found.keys()
        return {**found, **{name: FACTS[name](self, self._task, task_vars) for name in names}}

    def _completed(self, result: dict[str, t.Any]) -> dict[str, t.Any]:
        """The operation's result with what playbooks read. Says for whom it waits."""
        if self.operation is PLAN:
            result = {**result, **self._by_host(result)}
        if "lines" in result:
            result = {**result, "lines": folded_lines(result["lines"]), "has_lines": bool(result["lines"])}
        if "trouble" in result:  # so that no playbook must decide it
            result = {**result, "fails": bool(result["trouble"])}
        if result.get("waiting") and in_terminal():
            show_lines(result["waiting"])
        return result

    def option_error(self, msg: str) -> str:
        """Options are called as the variables of the playbook that it takes them from."""
        playbook = STEPS[self._task.args["step"]].prefix.format(verb=self._verb()) or "decommission_"

        def variable(found: re.Match[str]) -> str:
            name = playbook + (found[1] or found[2])
            return name if name in PLAYBOOK_VARIABLES else found[0]

        return re.sub(r"(?:argument |option |for )'(\w+)'|value of (\w+)", variable, msg)

    @property
    def _extra(self) -> Variables:
        """The variables of the command line or of a survey, which Ansible reads once."""
        return t.cast("Variables", load_extra_vars(loader=self._loader))

    def _refuse_slips(self, prefix: str) -> None:
        """Raise AnsibleActionFail for an unknown variable that would not be heard, or an empty limit.

        It may be an extra variable, or be given to the ``import_playbook``.
        """
        given = {*self._extra, *_task.play_variables(self._task)} if prefix else ()
        playbooks = prefix.format(verb=self._verb()).split()
        slips = dict.fromkeys(slip for playbook in playbooks for slip in refused_of_playbook(given, playbook))
        if slips:
            raise AnsibleActionFail(f"{' '.join(slips)} {NOTHING_SENT}")
        if playbooks:
            check_names(self._extra)

    def _hosts_of(self, step: Step, task_vars: Variables) -> _hosts.Hosts:
        """The hosts, with the registry that the task's own host shares, or in a step for all of them any of these."""
        batch = _batch(task_vars) if step.of_batch else {}
        of_all = step.of_all if isinstance(step.of_all, bool) else step.of_all(self, batch, task_vars)
        url = self._shared_registry(task_vars, is_needed=not (of_all or batch))
        among = () if of_all else tuple(batch)
        # Without one, any of those of these hosts.
        among_others = None if of_all or among else ""
        manager = self._task.get_variable_manager()
        return _hosts.Hosts(task_vars, self._templar, manager, self._loader, url or among_others, among, step.further)

    # Whether the registry of any host counts, not only that of the task's own host, or of those of its batch

    def _if_it_finds(self, batch: Batch, task_vars: Variables) -> bool:
        """An order asks a registry only if it is to find machines there."""
        return bool(self._task.args.get("find"))

    def _if_one_was_swept(self, batch: Batch, task_vars: Variables) -> bool:
        """A sweep has found a host in a shared registry. What ends in files needs no other's, and is one of many."""
        declared_ends = {host: _hosts.end_round_of(item).declared.declarations for host, item in batch.items()}
        return any(_is_shared(item.get(host, {}).get("reaped"), "place") for host, item in declared_ends.items())

    def _if_it_ended(self, batch: Batch, task_vars: Variables) -> bool:
        """What has ended is in a shared registry."""
        ends = [self._task.args["end"]] if "end" in self._task.args else _hosts.end_round_of(task_vars).plans
        return any(_is_shared(plan, "registry") for plan in ends)

    def _shared_registry(self, task_vars: Variables, is_needed: bool) -> str:
        """The URL of the task's own host, empty if it has none. Raises AnsibleActionFail if it cannot be read."""
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
        # In the collection's own plays; whoever else says so means one host.
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
        """What the hosts of the batch declare, where one can say it for them. See `_task.ForAll`.

        None can where a condition may leave hosts out (a ``when`` at ``import_playbook``). A host whose variables
        cannot be evaluated is left out, and told why when it declares by itself. However long templates take, this
        worker declares for all of them: what a play prints must not depend on how busy the computer is. Raises
        AnsibleActionFail for a host with a broken file, with which Ansible would end the play without a word of it.
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
        """The same; who waits for it is told how far it is."""
        return super()._performed(**beside, **{SHOW_PROGRESS: Progress().show_each_minute})

    def secrets_to_hide(self, secrets: set[str], params: Variables) -> set[str]:
        """All but a toy of a token that stands in a path or a host's name: these are data, and stay what they are."""
        names = " ".join(map(str, [*_local_names(params), *(params.get("sources") or []), params.get("here")]))
        return {secret for secret in secrets if secret not in names}

    def shown_options(self, params: Variables) -> Variables:
        """The options that a person gave; what was gathered is shown by the plans."""
        return {name: value for name, value in params.items() if name.startswith(("api_", "step"))}

    # What each step needs

    def _plan(self, task_vars: Variables) -> dict[str, t.Any]:
        batch, quote = _batch(task_vars), self._task.args["step"] == "quote"
        rounds = {host: _hosts.round_of(variables) for host, variables in batch.items()}
        decided = sorted(set().union(*(item.common.decided for item in rounds.values())))
        wanted = {host: item.declaration for host, item in rounds.items() if item.declaration}
        # No other that was planned before takes part.
        first = _hosts.round_of(_hosts.raw_variables(str(task_vars["inventory_hostname"]), task_vars))
        again = {host: list(tried) for host in wanted if (tried := rounds[host].tried_with(first)) is not None}
        hosts = _undecided(wanted, decided, task_vars, again)
        taking_part = {one["host"] for one in hosts}
        plans = {host: item.plan for host, item in rounds.items() if host not in taking_part}
        self._earlier = {host: plan for host, plan in plans.items() if "round" in plan}
        return {
            "hosts": hosts,
            "ids": [one["id"] for one in hosts],
            "decided": decided,
            "quote": quote,
            **self._sealed(quote, task_vars),
            "others": self._others(taking_part, task_vars) if _has_ceiling(hosts, "max_total_price_per_hour") else {},
            # In a further round what can be had was bought in the first.
            "failed": [] if again else _failed(task_vars, taking_part),
            "attempts": again,
            "inventory": self._numbered(list(wanted), task_vars),
            **_keys(task_vars, quote),
            **self._counted_in_budgets(hosts),
        }

    def _sealed(self, quote: bool, task_vars: Variables) -> dict[str, t.Any]:
        """Where a quote writes its plan, or the plan that the collection's own playbook buys."""
        if quote:
            file = self._quote_file(task_vars)
            # Nothing is written in check mode, and so nothing shown that could be bought.
            return {} if file is None else {"plan_file": "" if self._task.check_mode else file}
        return {"sealed": plan_of(self._extra if task_vars.get("provision__group") else {}, buys=True)}

    def _quote_file(self, task_vars: Variables) -> str | None:
        """Where the sealed plan of a quote is written; empty if it is only published, as in AWX, None without one."""
        if task_vars.get("quote_file", "" if is_awx_job() else None) is None:
            return None
        return str(_hosts.evaluated_variable("quote_file", task_vars, self._templar) or "")

    def _seal(self, task_vars: Variables) -> dict[str, t.Any]:
        """The quote, what each of its hosts would order, and where the plan is written."""
        quote = _hosts.raw_variables(str(task_vars["inventory_hostname"]), task_vars)["provision_quote"]
        variables = _task.PlayVariables(self._task, task_vars, DEFAULTS, FIXED, self._extra)
        rows = [plan for plan in quote["plans"].values() if plan["action"] == BUY]
        orders = {row["host"]: host_order(row, variables.of(row["host"]), self._templar) for row in rows}
        file = "" if self._task.check_mode else self._quote_file(task_vars)
        return {"plan": quote["plan"], "orders": orders, "quote_file": file or ""}

    def _counted_in_budgets(self, hosts: t.Sequence[Variables]) -> dict[str, t.Any]:
        """Where further hosts are remembered, if these have a budget, and what of their projects cannot be told."""
        if not _has_ceiling(hosts, "budget"):
            return {}
        taking_part = {one["host"] for one in hosts}
        rows = [row for row in self._hosts.all_rows() if row["host"] not in taking_part]
        return {"elsewhere": rows, "untold": self._hosts.unknown_places({project_of(one["project"]) for one in hosts})}

    def _by_host(self, result: Variables) -> dict[str, t.Any]:
        """Plans by host: the result takes the place of an earlier one, so it keeps those that still hold.

        ``known``: what holds already for hosts that keep their machines.
        """
        names, plans = ("host", "label", "attempts", "facts"), result.get("plans") or []
        known = [{name: plan[name] for name in names} for plan in plans if plan["action"] == KEEP]
        return {"plans": {**self._earlier, **{plan["host"]: plan for plan in plans}}, "known": known}

    def _others(self, named: set[str], task_vars: Variables) -> dict[str, t.Any]:
        """What further hosts of the play, of whatever batch, own by their variables (USD per hour)."""
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
        # Another host's round may have been waited for since this one's verdict.
        offers = {**this_round.judged.offers, **looked["offers"]}
        return {**looked, "offers": offers, "before": task_vars.get("provision__verdict") or {}}

    def _looked(self, plans: list[Variables], task_vars: Variables) -> dict[str, t.Any]:
        """Plans, the purchases that they led to, and how the offers were seen last."""
        names = [plan["host"] for plan in plans if plan["action"] == BUY]
        bought = {host: _hosts.raw_variables(host, task_vars).get("provision__purchase") or {} for host in names}
        purchases = {host: next(iter(task.get("results") or ()), None) for host, task in bought.items()}
        offers = (task_vars.get("provision__poll") or {}).get("offers") or {}
        without_offer = list(_hosts.round_of(task_vars).common.without_offer)
        return {"plans": plans, "purchases": purchases, "offers": offers, "without_offer": without_offer}

    def _order(self, task_vars: Variables) -> dict[str, t.Any]:
        """Which hosts were asked for, by whatever variable."""
        group = self._task.args["group"] = _hosts.group_of(task_vars, self._templar)
        variables = {name: task_vars[name] for name in _ASKED if name in task_vars}
        if is_awx_job():
            variables = answered(variables)
        variables.update(
            {name: _hosts.with_ranges_expanded(name, variables[name]) for name in _NAMING if name in variables}
        )
        # What buys refuses a quote that is not sealed; what looks for machines has no use for one.
        buys = not self._task.args.get("find")
        if buys:
            _check_group(group, task_vars)
        else:
            self._refuse_slips("verify_ configure_")
        read = {name: value for name, value in self._extra.items() if buys or name == "plan"}
        variables["plan"] = plan_of(read)
        groups = task_vars.get("groups") or {}
        (variable, asked), limit, named = requested_hosts(variables), task_vars.get("ansible_limit"), []
        with contextlib.suppress(ValueError):  # which the operation raises again
            named = host_names_of(asked, group, variable)
        patterns = (
            _hosts.Patterns(task_vars, self._loader, "--limit", dict.fromkeys(named, (group,))) if limit else None
        )
        return {
            "variables": variables,
            "sizes": group_sizes(groups),
            "limited": patterns.limited(str(limit)) if patterns else None,
            **(self._machines_of(named, list(groups.get(group) or ()), task_vars) if not buys else {}),
        }

    def _machines_of(self, named: list[str], members: list[str], task_vars: Variables) -> dict[str, t.Any]:
        """What the inventory knows of the machines of named hosts: the ``further`` ones of clusters; and who is sought.

        If none is named, that is told of the members of their group.
        """
        hosts, inventory = named or members, _hosts.inventory_hosts(task_vars)
        # A name claims nothing in a shared registry, which the host may only have once it is in the order's group.
        owned_by = _hosts.registered_ids if self._hosts.url else _hosts.machine_ids
        owned = {host: owned_by(host, task_vars) for host in inventory if host in hosts}
        reached, ids = list(filter(owned.get, owned)), set().union(*owned.values())
        # Another controller has read the inventory, as AWX's update of it: the host keys are there, and not here.
        sought = hosts if self._hosts.url else [host for host in hosts if host not in reached]
        numbered = self._numbered(named, task_vars).items()
        return {
            "further": [host for host, machines in numbered if machines and ids.issuperset(machines)],
            "sought": [{**row, "host": host} for host, row in self._rows_of(sought, task_vars).items()],
            "reached": reached,
        }

    # What each step of an end needs

    def _declare_end(self, task_vars: Variables) -> dict[str, t.Any]:
        declaration = declared_end(task_vars, self._templar, check_mode=bool(self._task.check_mode))
        return Declared({declaration["host"]: declaration}).mapping

    def _end(self, task_vars: Variables) -> dict[str, t.Any]:
        batch = _batch(task_vars)
        rounds = {host: _hosts.end_round_of(variables) for host, variables in batch.items()}
        decided = sorted(set().union(*{tuple(item.ends.decided) for item in rounds.values()}))
        wanted = {host: item.declaration for host, item in rounds.items() if item.declaration}
        own = wanted.get(str(task_vars["inventory_hostname"]))
        # In the collection's own play all take part. A host that no other can speak for declares by itself.
        is_for_all = task_vars.get("decommission__together") and (not own or own["id"] in decided)
        hosts = self._end_of_all(task_vars) if is_for_all else _undecided(wanted, decided, task_vars)
        # Where a name is all that there is, each host of the inventory has one.
        registries = self._registries()
        rows = [self._ending(one, batch) for one in hosts]
        by_name = not all(registries.place(one, self._task.args) for one in rows)
        return {
            "hosts": rows,
            "ids": [one["id"] for one in hosts],
            "decided": decided,
            "inventory": self._hosts.rows(_hosts.inventory_hosts(task_vars)) if by_name else [],
            "forbidden": _task.why_forbidden(self._task) or self._not_named(hosts, task_vars),
            # A survey's answer is a text, and empty if the question was not answered.
            "forget": _listed(self._task.args.get("forget")),
        }

    def _not_named(self, hosts: t.Iterable[Variables], task_vars: Variables) -> str:
        """Why none of these hosts ends: a person has named others, for a playbook. A sweep ends whatever is due."""
        name = "decommission_hosts"
        asked = self._extra.get(name)
        found = _hosts.raw_variables("localhost", task_vars).get("decommission__hosts") or ()  # by the playbook
        ends = [one["host"] for one in hosts if not one.get("reaped") and one["host"] not in found]
        if not (asked and ends):
            return ""
        patterns = _hosts.Patterns(task_vars, self._loader, name)
        parts = _hosts.pattern_parts(name, asked, patterns.names)
        return why_more_would_end(ends, {*parts, *patterns.hosts(parts)}) if parts else ""

    def _end_of_all(self, task_vars: Variables) -> list[Variables]:
        """What the hosts of the batch declare, where one can say it for them."""
        declare = functools.partial(declared_end, check_mode=bool(self._task.check_mode), together=True)
        return list(self._of_each(declare, END_DEFAULTS, END_FIXED, task_vars).values())

    def _ending(self, one: Variables, batch: t.Mapping[str, Variables]) -> dict[str, t.Any]:
        """A host that is to end, with what it has not declared by itself."""
        host, protect = one["host"], one.get("protect")
        row = self._hosts.placed_row(host)
        return {
            **one,
            # A template of something undefined is nothing to the role, and yet no answer.
            "protect": row["protect"] if row and protect in (None, "") else protect,
            "declares": bool(row and row["declares"]),
            # What a machine says of itself is read raw, too.
            **_of_sweep(batch.get(host) or {}),
            "shared": _is_shared(one.get("reaped"), "place") or bool(row and row["shared"]),
            "trouble": "" if row else self._hosts.trouble_of(host),
        }

    def _deletions(self, task_vars: Variables) -> dict[str, t.Any]:
        """What ends: machines, and the storage that ends after them."""
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
        """Hosts by name, group or pattern: of the inventory, and of the registries of those and of localhost."""
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
        """The parts of what was asked for, with ranges in full."""
        # Behind a group's name it is Ansible's own way to choose some of its hosts.
        return [
            name
            for part in _hosts.pattern_parts(variable, self._task.args.get("hosts"), patterns.names)
            for name in (
                [part] if patterns.hosts(part.lstrip("!&")) else _hosts.with_ranges_expanded(variable, part).split(",")
            )
        ]

    def _asked_beside(self, task_vars: Variables) -> dict[str, t.Any]:
        """What the person has said beside the names: the limit, the number of hosts, a machine's id."""
        limit, count = task_vars.get("ansible_limit"), task_vars.get(f"{self._verb()}_count")
        return {
            "limited": list(task_vars.get("ansible_play_hosts_all") or []) if limit else None,
            "count": "" if count is None else str(count).strip(),  # zero is one
            "by_id": bool(_hosts.raw_variables("localhost", task_vars).get("decommission_resource_id")),
        }

    def _stand_ins(self) -> list[dict[str, t.Any]]:
        """What stands for hosts that are in no inventory, first of all the group that they would be in."""
        group = self._task.args.get("group", "gpu")
        groups = sorted(self._hosts.added_rows(), key=lambda row: row["group"] != group)
        return self._hosts.in_our_projects([*groups, *self._hosts.rows(["localhost"])])

    def _remembered(self) -> dict[str, dict[str, t.Any]]:
        """The rows that stand for the hosts which only registries know."""
        with self._registries() as registries:
            rows = {registries.place(row, self._task.args): row for row in reversed(self._stand_ins())}
            return {host: rows[place] for place, host, _entry in RegistrySnapshot(registries, rows).host_entries()}

    def _rows_of(self, hosts: list[str], task_vars: Variables) -> dict[str, dict[str, t.Any]]:
        """The rows of hosts, but for those whose registry cannot be told.

        One that only a registry knows is where that is, with the limits of the group that has it; one that nothing
        knows is where localhost is.
        """
        known = set(_hosts.inventory_hosts(task_vars))
        remembered = {} if known.issuperset(hosts) else self._remembered()
        stand_ins = {host: remembered.get(host) or self._hosts.placed_row("localhost") for host in hosts}
        of_inventory = {host: self._hosts.placed_row(host) for host in hosts if host in known}
        return {host: row for host, row in {**stand_ins, **of_inventory}.items() if row}

    def _verb(self) -> str:
        """What is to happen to the hosts that are named."""
        return str(self._task.args.get("verb") or "decommission")

    def _registries(self) -> Registries:
        """Those of this call, from the options that say where they are."""
        spec = {name: PLAN.argument_spec[name] for name in ("registry_url", "api_url", "home", "account_name")}
        given = {name: value for name, value in self._task.args.items() if name in spec}
        return Registries.of(ArgumentSpecValidator(spec).validate(given).validated_parameters, read_only=True)

    def _everything(self, task_vars: Variables) -> dict[str, t.Any]:
        return {"hosts": self._hosts.all_rows()}

    def _own_host(self, task_vars: Variables) -> dict[str, t.Any]:
        return {"hosts": self._hosts.rows([str(task_vars["inventory_hostname"])])}

    def _nothing(self, task_vars: Variables) -> dict[str, t.Any]:
        return {}

    def _orphan(self, task_vars: Variables) -> dict[str, t.Any]:
        """The hosts whose registries may know the machine, why some cannot be told, and who has launched the job."""
        rows = self._hosts.all_rows()
        return {
            "hosts": rows,
            "troubles": self._hosts.unknown_places(),
            "by": str(task_vars.get("awx_user_name") or ""),
        }

    def _reaped(self, task_vars: Variables) -> dict[str, t.Any]:
        """What went wrong in the sweep's look, and what became of each host that it was to look after."""
        found = task_vars.get("reap__found") or {}
        of_hosts = {host: _hosts.raw_variables(host, task_vars) for host in found.get("hosts") or []}
        rows = [
            {"host": host, **(item.get("reap__sweep") or {}), "failed": item.get("reap__failed"), **_of_sweep(item)}
            for host, item in of_hosts.items()
        ]
        return {"hosts": rows, "trouble": [found["trouble"]], "kept": found["kept"], "at": found["at"]}

    def _verified(self, task_vars: Variables) -> dict[str, t.Any]:
        """The hosts of the play, and how the tests of their machines have gone."""
        hosts = self._hosts.rows(task_vars.get("ansible_play_hosts_all") or [])
        rows = []
        for row in hosts:
            own = _hosts.raw_variables(row["host"], task_vars)
            # In check mode it is not waited for apart.
            test = newest(own.get("verify__tested"), own.get("verify__waited")) or {}
            machines = own.get("provision_resource_ids")
            rows.append({**row, "tested": {**test, "item": row["host"]}, "machines": machines})
        level = _hosts.evaluated_variable("verify_level", task_vars, self._templar, after=NOTHING_SENT)
        return {"hosts": rows, "level": str(level or "")}

    def _extend(self, task_vars: Variables) -> dict[str, t.Any]:
        named = read_host_names("extend_hosts", self._task.args.get("hosts"))  # as the step `named` has found them
        hosts = [{**row, "host": host} for host, row in self._rows_of(named, task_vars).items()]
        troubles = self._hosts.troubles(lambda host: host in named)
        return {"hosts": hosts, "troubles": troubles, **self._counted_in_budgets(hosts)}

    def _offers(self, task_vars: Variables) -> dict[str, t.Any]:
        """The answers to an order, which say here what to show."""
        self._refuse_slips("order_")
        return {"answers": {name: value for name, value in self._extra.items() if name.startswith("order_")}}

    def _probe(self, task_vars: Variables) -> dict[str, t.Any]:
        """The registries that know what machines were to be called, and which have ended; what a purchase showed."""
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
        """The host for it, which the play has added."""
        return {
            "hosts": self._hosts.rows([PROBE_HOST]),
            # A host that a play has added is of no file.
            "is_known": bool(_hosts.raw_variables(PROBE_HOST, task_vars).get("inventory_file")),
        }

    def _run(self, task_vars: Variables) -> dict[str, t.Any]:
        """What was asked for. Values of the job's environment may be secrets: here is only whether each can be one."""
        _check_group(_hosts.group_of(task_vars, self._templar), task_vars)
        given = self._given(_OF_RUNS, task_vars)
        if "run_env" in given:
            given["run_env"] = _fitting(given["run_env"])
        return {"given": given}

    def _given(self, names: t.Iterable[str], task_vars: Variables) -> dict[str, t.Any]:
        """The variables of these names that the task has. Raises AnsibleActionFail."""
        had = (name for name in names if name in task_vars)
        return {name: _hosts.evaluated_variable(name, task_vars, self._templar, after=NOTHING_SENT) for name in had}

    def _runs(self, task_vars: Variables) -> dict[str, t.Any]:
        """All hosts, and what the machines of runs have answered."""
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
        """Hosts that are called as further machines of these would be, with the machines that they are known to be."""
        bases = set(hosts)
        names = [name for name in (task_vars.get("groups") or {}).get("all") or [] if name.rpartition("-")[0] in bases]
        return {name: list(_hosts.raw_variables(name, task_vars).get("provision_resource_ids") or []) for name in names}


# What a step takes of the play and of what was read of its hosts, by the names of its options.
FACTS: t.Mapping[str, t.Callable[[ActionModule, t.Any, Variables], t.Any]] = {
    "troubles": lambda action, _task, _variables: action._hosts.troubles(),
    "unreadable": lambda action, _task, _variables: action._hosts.unreadable,
    "own": lambda action, _task, _variables: action._hosts.further_variables,
    "extra": lambda action, _task, _variables: list(action._extra),
    "connection": lambda _action, task, _variables: str(_task.play_keyword(task, "connection")),
    "forbidden": lambda _action, task, _variables: _task.why_forbidden(task),
    "serial": lambda _action, task, _variables: bool(_task.play_keyword(task, "serial")),
    # The task has no condition of its own, but perhaps its role.
    "one_tells_all": lambda _action, task, _variables: not task.when,
    "limited": lambda _action, _task, variables: bool(variables.get("ansible_limit")),
    "by_job": lambda *_given: is_awx_job(),
    "slice_of": lambda _action, _task, variables: sliced_template(variables),
    "forks": lambda _action, _task, variables: int(variables.get("ansible_forks") or 0),
    "run": lambda _action, _task, variables: _hosts.raw_variables("localhost", variables).get("run__asked") or {},
    # Where the tasks of a purchase note what they are answered. Ansible removes the folder at its end.
    "log": lambda *_given: os.path.join(C.DEFAULT_LOCAL_TMP, "probe.log"),
}


class Step(t.NamedTuple):
    """A step of `decide`.

    ``gather``: what it alone needs beside the task's own arguments and `FACTS`. ``given``: the variables that it reads
    of the task, evaluated; ``got``: those that tasks have registered for the task's own host. ``operation``: the file
    and the name of what has its argument spec and does the work; empty for what needs no API. ``of_all``: whether it is
    for hosts that may differ, most often on localhost for those of the inventory, so that any of them may name the
    registry; ``of_batch``: else any host of the batch may. ``has_registry``: whether it asks one at all. ``further``:
    what it reads of each host beside that. ``prefix``: what the variables begin with that its playbook takes, where
    ``{verb}`` is that of the task; none of them may be mistyped.
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


# What a step is but for the sentences in the documentation of the module, which a test compares with this table.
STEPS = {
    "declare": Step(ActionModule._declare),
    "plan": Step(ActionModule._plan, "plan.PLAN"),
    "quote": Step(ActionModule._plan, "plan.PLAN"),
    "seal": Step(ActionModule._seal, "sealing.SEAL", has_registry=False),
    "judge": Step(ActionModule._judge, "judge.JUDGE"),
    "release": Step(ActionModule._own, "judge.RELEASE"),
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
    "reap": Step(ActionModule._everything, "reap.REAP", of_all=True, further=LIMITS_OF_SWEEPS, prefix="reap_"),
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
}


def operation_of(step: Step) -> Operation:
    """The operation of a step that has one. Most plays have few of them, and to import one takes up to 20 ms."""
    module, _dot, name = step.operation.partition(".")
    package = Registries.__module__.rpartition(".")[0]
    return t.cast(Operation, getattr(importlib.import_module(f"{package}.{module}"), name))


operation_of(STEPS["judge"])  # which each host has, too: imported before Ansible forks its workers


def _is_shared(variables: Variables | None, name: str) -> bool:
    """Whether a place in what was found of a host is in a shared registry."""
    return bool(place_of(str((variables or {}).get(name) or "")).keeps_sums)


def _local_names(params: Variables) -> list[t.Any]:
    """What the gathered hosts, plans and ends have of this computer and of the inventory."""
    gathered = ([params.get("end")], *(params.get(name) for name in ("hosts", "plans", "ends")))
    # As a person names hosts, they may be a single number.
    rows = [row for item in gathered if isinstance(item, (list, tuple)) for row in item]
    return [row.get(name) for row in rows if isinstance(row, t.Mapping) for name in _LOCAL]


def _of_parts(parts: t.Iterable[str], patterns: _hosts.Patterns) -> list[str]:
    """The hosts that the parts of a pattern name, if only to leave them out."""
    return sorted({host for part in parts for host in patterns.hosts(part.lstrip("!&"))})


def _several(snapshot: RegistrySnapshot, hosts: t.Container[str]) -> list[str]:
    """Those of these hosts that several registries know."""
    counted = Counter(host for _place, host, _entry in snapshot.host_entries() if host in hosts)
    return [host for host, count in counted.items() if count > 1]


def _folders(snapshot: RegistrySnapshot, hosts: t.Container[str]) -> dict[str, str]:
    """Where files remember these hosts."""
    return {
        host: place.text for place, host, _entry in snapshot.host_entries() if host in hosts and not place.keeps_sums
    }


def _listed(given: t.Any) -> list[t.Any]:
    """A list, or the parts of a text between commas. What is neither is one item, and is refused by its host."""
    if isinstance(given, str):
        return [item for item in given.split(",") if item.strip()]
    return list(items_of(given or ()))


def _batch(task_vars: Variables) -> dict[str, Variables]:
    """The variables of the hosts that this task may stand for: of the batch, and those that have failed.

    Within ``always`` and in the play's handlers the latter take part, too: they are those that have just declared.
    """
    hosts = dict.fromkeys([*(task_vars.get("ansible_play_batch") or []), *_failed(task_vars)])
    return {host: _hosts.raw_variables(host, task_vars) for host in hosts}


def _fitting(environment: t.Any) -> t.Any:
    """Whether each variable of a job's environment can be one; of what is no mapping, whether there is anything."""
    if not isinstance(environment, t.Mapping):
        return bool(environment)
    return {str(name): isinstance(item, (str, int, float)) for name, item in environment.items()}


def _undecided(
    declared: t.Mapping[str, Variables],
    decided: t.Container[str],
    task_vars: Variables,
    again: t.Container[str] = (),
) -> list[Variables]:
    """The declarations, of these by host, that were not decided about before, or that are so ``again``.

    Raises AnsibleActionFail if the task's own host has no part in this: its role would ask for it again for ever.
    """
    hosts = [one for host, one in declared.items() if host in again or str(one["id"]) not in decided]
    host = str(task_vars["inventory_hostname"])
    declaration = declared.get(host) or {}
    if host not in {one["host"] for one in hosts} and str(declaration.get("id")) not in decided:
        raise AnsibleActionFail(
            f"{host} has declared nothing, so nothing can be decided for it. The role begins with its first task: leave"
            f" --start-at-task out. {NOTHING_SENT}"
        )
    return hosts


def newest(first: t.Any, again: t.Any) -> t.Any:
    """What a machine was asked for last. ``again``: the task that asks once more, which may be left out."""
    return first if not again or again.get("skipped") else again


def _of_sweep(variables: Variables) -> dict[str, t.Any]:
    """What a host's machine has answered to a sweep, and what became of the last command there."""
    activity = newest(variables.get("reap__activity"), variables.get("reap__activity_again"))
    return {"activity": activity, "before": variables.get("reap__before")}


def _failed(task_vars: Variables, apart: t.Collection[str] = ()) -> list[str]:
    """The hosts that have left the play, but for these: they have failed, or cannot be reached."""
    left = {*(task_vars.get("ansible_play_hosts") or []), *apart}
    return [host for host in task_vars.get("ansible_play_hosts_all") or [] if host not in left]


def _keys(task_vars: Variables, quote: bool) -> dict[str, t.Any]:
    """With what ssh would log in, and why it may not be able to, which a ``quote`` does not ask."""
    identity_file = str(context.CLIARGS.get("private_key_file") or C.DEFAULT_PRIVATE_KEY_FILE or "")
    job_keys = _job_keys() if is_awx_job() and not quote else None
    return {"identity_file": identity_file, "job_keys": job_keys, "no_login": "" if quote else _no_login(task_vars)}


def _job_keys() -> str:
    """What ``ssh-add`` says of the keys of this job of AWX, which has them in an agent and nowhere else."""
    try:
        answer = subprocess.run(
            ["ssh-add", "-l", "-E", "sha256"], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return answer.stdout + answer.stderr


def _no_login(task_vars: Variables) -> str:
    """Why ssh would reach no machine from this computer, whatever is bought; empty where nothing speaks against it."""
    if "ansible_ssh_executable" in task_vars:  # each host may have its own
        return ""
    connection_loader.get("ssh", class_only=True)  # which brings its options
    program = str(C.config.get_config_value("ssh_executable", plugin_type="connection", plugin_name="ssh"))
    return "" if shutil.which(program) else no_ssh_client(program)


def _has_ceiling(hosts: t.Iterable[Variables], name: str) -> bool:
    """Whether one of these hosts declares the ceiling."""
    return any(str(one[name] or "").strip() not in ("", "unlimited") for one in hosts)


def _check_group(group: str, task_vars: Variables) -> None:
    """Raise AnsibleActionFail if the inventory lacks the play's ``group``, and has one with a similar name."""
    is_given = bool(task_vars.get("provision_group"))
    if refusal := misspelled_group(group, task_vars.get("groups") or {}, is_given=is_given):
        raise AnsibleActionFail(f"{refusal} {NOTHING_SENT}")
