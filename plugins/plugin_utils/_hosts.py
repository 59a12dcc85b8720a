# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible knows of hosts that take no part in a play: as plain values, read raw.

Only a value that its user wrote as a template is evaluated, and only those that say where and what a host is.

This plugin util is private to the collection.
"""

from __future__ import annotations

import os
import typing as t

from ansible import constants as C
from ansible.inventory.manager import InventoryManager, split_host_pattern
from ansible_collections.compute_index.supply.plugins.module_utils._provision import messages
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import prefix_of
from ansible_collections.compute_index.supply.plugins.module_utils._provision.planning import BUY, WAIT

Variables = t.Mapping[str, t.Any]

# What a host without a registry may own by an earlier role or job.
_KNOWN = ("provision_procured_offer_id", "provision_resource_ids", "provision_price_per_hour")

# What Ansible adds to the variables of each host that a task runs for.
_OF_THE_TASK = ("ansible_search_path", "ansible_current_hosts", "ansible_failed_hosts")


def raw(host: str, task_vars: Variables) -> Variables:
    """The host's variables as they stand, without the evaluation of any."""
    found = task_vars["hostvars"].raw_get(host)
    return found if isinstance(found, t.Mapping) else {}


def complete(host: str, task: t.Any, play: t.Any, task_vars: Variables) -> dict[str, t.Any]:
    """The variables that the task would have if it ran for another host, with the role's and the play's, as they stand.

    Ansible's worker for a host begins with them. It adds what command line and configuration say of connections, which
    is the play's and not the host's. Raises AnsibleError for files that cannot be read.
    """
    manager = task.get_variable_manager()
    batch, everyone = task_vars["ansible_play_batch"], task_vars["ansible_play_hosts_all"]
    found = manager.get_vars(
        play=play, host=manager._inventory.get_host(host), task=task, _hosts=list(batch), _hosts_all=list(everyone)
    )
    return {**found, **{name: task_vars[name] for name in _OF_THE_TASK if name in task_vars}}


def declaration_of(own: Variables) -> Variables:
    """What the host has declared in its last call of the role; empty if it has not, or was left out of it."""
    declarations = (own.get("provision__declared") or {}).get("declarations") or {}
    return t.cast(Variables, declarations.get(own.get("inventory_hostname")) or {})


def common_of(own: Variables) -> Variables:
    """What the newest plans of the play have in common, by a host's raw variables."""
    return (own.get("provision__planned") or {}).get("common") or {}


def plan_of(own: Variables) -> Variables:
    """What the plan of the play says for a host, by its raw variables.

    ``first`` and ``next`` name the role's files that follow, before anything is bought and after it.

    A plan that was made for an earlier declaration of the host, in an earlier call of the role, is none. What runs once
    follows the first host: if a role's ``when`` leaves that one out, the others plan by themselves.
    """
    declared = declaration_of(own)
    planned = own.get("provision__planned") or {}
    found = (planned.get("plans") or {}).get(declared.get("host")) or {}
    if found and found["declaration"] == declared.get("id"):
        return t.cast(Variables, found)
    consumed = common_of(own).get("consumed") or ()
    return {"action": "", "first": "", "next": "" if declared.get("id") in consumed else "round.yml"}


def led(own: Variables) -> Variables:
    """The plan of a host as its tasks follow it: ``next`` is what the last verdict says, if that is of this plan.

    ``none_first`` and ``none_next``: no host of the play has such a file, so that one of them can say it for all; so
    does ``none_alone`` of declarations. ``looks`` and ``pause`` (seconds) are how to wait for offers. A host that buys
    and was not judged stops: what runs once follows the first host, which a role's ``when`` may leave out at any task.
    """
    plan, verdict, declaration = plan_of(own), own.get("provision__verdict") or {}, declaration_of(own)
    common, judged = common_of(own), own.get("provision__judged") or {}
    following: dict[str, t.Any] = {}
    if verdict.get("call", "") == plan.get("call"):
        following = {"next": verdict["next"]}
    elif plan["action"] in (BUY, WAIT) and judged.get("call") != plan["call"]:
        following = {"next": "stop.yml", "refusal": messages.unjudged(plan["host"])}
    last = judged if common.get("acquires") else common
    return {
        **plan,
        **following,
        "alone": not declaration,
        "none_alone": bool((own.get("provision__declared") or {}).get("speaks_for_all")),
        "looks": declaration.get("looks", 1),
        "pause": declaration.get("pause", 1),
        "none_first": bool(common.get("none_first")),
        "none_next": bool(common.get("none_next") and last.get("call") == common["call"] and last["none_next"]),
    }


def declares(host: str, task_vars: Variables) -> bool:
    """Whether the host is one that shall own a machine."""
    own = raw(host, task_vars)
    return bool(own.get("provision_spec") or own.get("provision_offer_id"))


def registry_url(task_vars: Variables) -> str:
    """The registry that hosts of the inventory share, empty if none names one."""
    return next(filter(None, (_value(host, "provision_registry_url", task_vars) for host in inventory(task_vars))), "")


def several_registries(hosts: t.Sequence[str], task_vars: Variables) -> str:
    """Why a task that runs once for these hosts cannot ask for all of them, empty if it can."""
    urls = {str(_value(host, "provision_registry_url", task_vars) or "") for host in hosts}
    return messages.ANOTHER_REGISTRY if len(urls) > 1 else ""


def _value(host: str, name: str, task_vars: Variables) -> t.Any:
    """A variable of the host, evaluated only if it is a template."""
    found = raw(host, task_vars).get(name)
    is_template = isinstance(found, str) and ("{{" in found or "{%" in found)
    return task_vars["hostvars"][host].get(name) if is_template else found


def described(host: str, task_vars: Variables) -> dict[str, t.Any]:
    """Where the host's registry is, and what it claims without one."""
    own = raw(host, task_vars)
    project = _value(host, "provision_project", task_vars)
    prefix = prefix_of(project)
    return {
        "host": host,
        "name": str(_value(host, "provision_resource_name", task_vars) or prefix + host),
        "prefix": prefix,
        "project": str(project or "default"),
        "registry_dir": _value(host, "provision_registry_dir", task_vars),
        "inventory_dir": own.get("inventory_dir"),
        "declares": declares(host, task_vars),
        "lease": str(_value(host, "provision_lease", task_vars) or ""),
        "idle_after": str(_value(host, "provision_idle_after", task_vars) or ""),
        "lease_max": str(_value(host, "provision_lease_max", task_vars) or ""),
        "max_bill": str(_value(host, "provision_max_bill", task_vars) or ""),
        "known": {each: own.get(each) for each in _KNOWN},
    }


def inventory(task_vars: Variables) -> list[str]:
    """The hosts of the inventory, with those that plays have added."""
    return list((task_vars.get("groups") or {}).get("all") or [])


def call(task_vars: Variables) -> dict[str, t.Any]:
    """What tells where registries are."""
    sources = list(task_vars.get("ansible_inventory_sources") or [])
    return {"sources": sources, "here": os.getcwd(), "home": C.config.get_config_value("ANSIBLE_HOME")}


def parts(pattern: t.Any) -> list[str]:
    """The parts of a host pattern (a text, or a list of such), as Ansible takes it apart."""
    given = pattern if isinstance(pattern, (list, tuple)) else [pattern]
    return [part.strip() for each in given for part in split_host_pattern(str(each or "")) if part.strip()]


class Patterns:
    """Matches host patterns against an inventory that has further hosts."""

    def __init__(self, task_vars: Variables, loader: t.Any, further: t.Mapping[str, t.Iterable[str]]) -> None:
        """``further``: hosts that the inventory does not have, with their groups."""
        self._manager = InventoryManager(loader, parse=False)
        for group, hosts in (task_vars.get("groups") or {}).items():
            self._add(group, hosts)
        for host, groups in further.items():
            for group in ("all", *groups):
                self._add(group, [host])

    def _add(self, group: str, hosts: t.Iterable[str]) -> None:
        self._manager.add_group(group)
        for host in hosts:
            self._manager.add_host(host, group=group)

    def hosts(self, pattern: str | list[str]) -> list[str]:
        """The hosts that the pattern matches, in the order of the inventory."""
        return [host.name for host in self._manager.get_hosts(pattern=pattern)]
