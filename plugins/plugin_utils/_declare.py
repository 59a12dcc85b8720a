# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declarations: turns the variables of a host into plain values, for a purchase, an end, or a sealed plan.

Only the host itself can evaluate them, since others do not see role defaults and variables of the play. A large
template could do the same, but Ansible would compile it again for each host. The variables are also checked against the
role's argument specs here, since a separate task for that would take as long as this one.
"""

from __future__ import annotations

import hmac
import json
import math
import os
import random
import time
import typing as t
import uuid
from pathlib import Path

import yaml
from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import is_awx_job
from ansible_collections.compute_index.supply.plugins.module_utils._inventory import LISTED_ID
from ansible_collections.compute_index.supply.plugins.module_utils._provision import order
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import (
    PLAIN_VARIABLES,
    PROTECT,
    SWEEP_VARIABLES,
    fingerprint,
    why_no_public_key,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import (
    BOUGHT,
    CONNECTION,
    project_of,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.messages import NOTHING_SENT
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import prefix_of
from ansible_collections.compute_index.supply.plugins.module_utils._provision.search import Patience, read_patience
from ansible_collections.compute_index.supply.plugins.module_utils._spec import REGISTRY_URL
from ansible_collections.compute_index.supply.plugins.module_utils._text import nearest, plain_name, printable
from ansible_collections.compute_index.supply.plugins.plugin_utils._hosts import (
    evaluated_variable,
    is_misspelled_protection,
    raw_variables,
    using_variables,
)

try:
    from ansible.template import trust_as_template as _trust
except ImportError:  # ansible-core before 2.19 evaluates all texts from files
    _trust = str

Variables = t.Mapping[str, t.Any]

_SALT = os.urandom(16)  # the same in all workers, since Ansible forks them after this import
_ROLES = Path(__file__).resolve().parents[2] / "roles"


def read_role_file(path: str) -> t.Any:
    """The content of a role's YAML file."""
    return yaml.load((_ROLES / path).read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def as_templates(value: t.Any) -> t.Any:
    """Mark the texts in a value as templates, as Ansible does for a role's files."""
    if isinstance(value, dict):
        return {key: as_templates(part) for key, part in value.items()}
    if isinstance(value, list):
        return list(map(as_templates, value))
    return _trust(value) if isinstance(value, str) else value


# Read before Ansible forks its workers.
_ARGUMENTS = read_role_file("provision/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
DEFAULTS, FIXED = (
    as_templates(read_role_file("provision/defaults/main.yml")),
    as_templates(read_role_file("provision/vars/main.yml")),
)
_END_ARGUMENTS = read_role_file("decommission/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
END_DEFAULTS = as_templates(read_role_file("decommission/defaults/main.yml"))
END_FIXED = as_templates(read_role_file("decommission/vars/main.yml"))

_ROLE = order.RoleVariables(_ARGUMENTS)
_NAMES = ("provision_resource_name", "provision_hostname")
_LISTS = ("provision_packages", "provision_users", "provision_files", "provision_mounts", "provision_commands")
# Variables of the host that are not the role's
_FURTHER = {
    "connection": "ansible_connection",
    "inventory_dir": "inventory_dir",
    "listed_id": LISTED_ID,
}
_KNOWN = (*CONNECTION, *BOUGHT, "provision_instances")


def declared(task_vars: Variables, templar: t.Any, extra: Variables) -> dict[str, t.Any]:
    """The host's declaration with a new id, for `declaration.read_declaration`. Raises AnsibleActionFail."""

    def value(name: str) -> t.Any:
        return evaluated_variable(name, task_vars, templar)

    check_names(extra)
    host, group = str(task_vars["inventory_hostname"]), value("provision__group")
    ordered = _ordered(host, group, task_vars, extra)
    given = {**_arguments(host, task_vars, value), **{k: v for k, v in ordered.items() if k in _ARGUMENTS}}
    return {
        "id": uuid.uuid4().hex,
        "registry_fingerprint": registry_fingerprint(given["provision_registry_url"]),
        "host": host,
        "groups": order.without_order_groups(task_vars["group_names"]),
        "slips": _ROLE.refusals(_without_results(task_vars)),
        **{name: given[f"provision_{name}"] for name in PLAIN_VARIABLES},
        **{key: value(name) for key, name in _FURTHER.items()},
        "refused": ordered.get("refused") or "",
        "identity_file": value("ansible_ssh_private_key_file") or value("ansible_private_key_file") or "",
        # Relative to the folder of the playbook, as for the tasks of the play
        "ssh_public_key_file": os.path.join(
            str(task_vars.get("playbook_dir") or ""), os.path.expanduser(str(given["provision_ssh_public_key_file"]))
        ),
        **_derived(given),
        "known": {name: value(name) for name in _KNOWN},
    }


def _without_results(variables: Variables) -> list[str]:
    """The names of variables, without registered results of tasks, such as `provision_poll` in our example."""
    marks = {"changed", "failed"}  # before ansible-core 2.19, a task that failed before it ran has no ``changed``
    return [name for name, value in variables.items() if not isinstance(value, dict) or marks.isdisjoint(value)]


def check_names(extra: Variables) -> None:
    """Raise AnsibleActionFail for misspelled or empty extra variables, which also affect hosts with machines."""
    if slips := [*_ROLE.refusals(extra, extra), *(() if is_awx_job() else order.empty_limits(extra))]:
        raise AnsibleActionFail(f"{' '.join(slips)} {NOTHING_SENT}")


def _ordered(host: str, group: str | None, task_vars: Variables, extra: Variables) -> Variables:
    """The role's variables that an order sets for the host, or ``refused`` with the reason.

    Orders are ``extra`` variables of our playbooks, which set the ``group`` of their plays; other plays ignore orders.
    The order is read for each host, since handing it on in a loop would take longer than the declaration.
    """
    groups = task_vars["group_names"]
    misplaced = order.misplaced_order(task_vars, extra)
    if not group:
        return {"refused": order.why_order_ignored(host, groups, {**misplaced, **extra})}
    if group not in groups:  # localhost stands for an empty group
        return {"refused": order.why_no_hosts(group, order.group_sizes(task_vars.get("groups") or {}))}
    # Variables of an `import_playbook` belong to the order. The host's own (only these are in `hostvars`) may not.
    others = {name for name in map(str, task_vars) if name.startswith("order_")} - extra.keys()
    own = others.intersection(raw_variables(host, task_vars)) if others else others
    refused = " ".join(order.refused_of_playbook({*extra, *others}, "order_", own)) or order.why_misplaced(misplaced)
    if refused:
        return {"refused": refused}
    try:
        return order.role_variables_of(extra)
    except ValueError as error:
        return {"refused": str(error)}


def _derived(given: Variables) -> dict[str, t.Any]:
    """Values of a declaration that are derived from the role's arguments."""
    return {
        "name": str(given["provision_resource_name"]),
        "boot_timeout": str(given["provision_boot_timeout"]),
        **_search_times(given["provision_wait"], given["provision_wait_delay"]),
        "has_ssh_public_key": bool(given["provision_ssh_public_key"]),
        "ssh_key_fault": why_no_public_key(str(given["provision_ssh_public_key"] or "")),
        "ssh_fingerprint": fingerprint(str(given["provision_ssh_public_key"] or "")),
        "has_cloud_init": bool(given["provision_cloud_init"]),
        "texts": [name for name in _LISTS if _has_text(given[name], within=name == "provision_mounts")],
        "invalid": [*_invalid(given), *_not_texts(given)],
    }


def _arguments(host: str, task_vars: Variables, value: t.Callable[[str], t.Any]) -> dict[str, t.Any]:
    """The role's arguments. Default names are computed here, since Ansible's templates are slow."""
    # A variable without a value in YAML (null) is not given.
    by_default = {name for name in _NAMES if task_vars.get(name) in (None, DEFAULTS[name])}
    given = {name: value(name) for name in _ARGUMENTS if name not in by_default}
    if task_vars.get("run__is_of_a_run") and given["provision_max_price_per_hour"] in (None, ""):
        given["provision_max_price_per_hour"] = "unlimited"  # the bill limits it
    if given["provision_project"] in (None, ""):  # as in later reads of the registry
        given["provision_project"] = DEFAULTS["provision_project"]
    if "provision_resource_name" in by_default:
        given["provision_resource_name"] = prefix_of(given["provision_project"]) + host
    if "provision_hostname" in by_default:
        given["provision_hostname"] = given["provision_resource_name"]
    return given


def _search_times(wait: t.Any, delay: t.Any) -> dict[str, t.Any]:
    """The start of the searches (seconds since the epoch) and the pause between them (seconds), for the role's task.

    A part of the pause is random, so that many controllers do not search at the same time. The plan reports errors.
    """
    now = time.time()
    patience = read_patience(wait, delay, now, [])
    # Needed even if this host does not wait: it may be the first host of a play in which others do.
    return {"declared_at": now, "pause": math.ceil((patience.delay or Patience.delay) * random.uniform(1.0, 1.1))}


def registry_fingerprint(url: t.Any) -> str:
    """A value that shows within one run whether two hosts share a registry, without revealing its password."""
    text = str(url or os.environ.get(REGISTRY_URL) or "")
    return hmac.new(_SALT, text.encode(), "sha256").hexdigest() if text else ""


def _invalid(given: Variables) -> list[str]:
    """The errors of Ansible's check of arguments. It cannot check infinity, which the plan refuses by name."""
    try:
        return list(ArgumentSpecValidator(_ARGUMENTS).validate(given).error_messages)
    except OverflowError:
        return []


def _has_text(given: t.Any, *, within: bool) -> bool:
    """Whether a text was given instead of a list, or, if ``within``, as an item of one."""
    return isinstance(given, str) or (
        within and isinstance(given, list) and any(isinstance(item, str) for item in given)
    )


def _not_texts(given: Variables) -> t.Iterator[str]:
    """A sentence for each variable that must be a text but is not. Ansible's check would convert its value."""
    for name, option in _ARGUMENTS.items():
        kind = _KINDS.get(type(given[name]))
        if option["type"] == "str" and kind:
            yield f"{name} must be text, not {kind}: quote it in YAML"


_KINDS = {bool: "true or false", list: "a list", dict: "a mapping"}


# A host's declaration for its end, for `ended.end_request`

_NAME, _STORAGE = "decommission_resource_name", "decommission_storage"


def declared_end(task_vars: Variables, templar: t.Any, *, check_mode: bool, together: bool = False) -> dict[str, t.Any]:
    """The host's declaration for its end, with a new id. Raises AnsibleActionFail.

    ``check_mode``: that of the host's own tasks; a user's play may set it for each host. ``together``: whether one
    worker declares for all hosts. Variables that describe the host and cannot be evaluated are None here:
    `_hosts.Hosts` reports them.
    """

    def value(name: str) -> t.Any:
        try:
            return evaluated_variable(name, task_vars, templar)
        except AnsibleActionFail:
            if name in SWEEP_VARIABLES:
                return None
            raise

    host = str(task_vars["inventory_hostname"])
    reaped = value("decommission__reaped") or {}
    # A play for a group would run for any machine with the group's name that the inventory plugin lists.
    means_group = order.why_ambiguous(host, task_vars.get("groups") or {})
    given = _arguments_of_end(host, task_vars, value)
    checked = ArgumentSpecValidator(_END_ARGUMENTS).validate(given)
    return {
        "id": uuid.uuid4().hex,
        "together": together,
        "check_mode": check_mode,
        "host": host,
        "name": str(given[_NAME]),
        "resource_id": str(given["decommission_resource_id"] or ""),
        "listed_id": "" if means_group else str(value(LISTED_ID) or ""),
        "project": project_of(value("provision_project")),
        "registry_dir": value("provision_registry_dir"),
        "inventory_dir": value("inventory_dir"),
        "wait_timeout": str(given["decommission_wait_timeout"]),
        "force": checked.validated_parameters["decommission_force"] is True,
        # A sweep ends storage only by the host's own variable, not by one that is meant for a single run.
        "storage": value("provision_storage_on_end") or "keep" if reaped else given[_STORAGE],
        "reaped": reaped,
        "protect": value("provision_protect"),
        "known": {name: value(name) for name in BOUGHT},
        "invalid": [*checked.error_messages, *(() if reaped else _slips_of_end(task_vars))],
    }


def _slips_of_end(task_vars: Variables) -> t.Iterator[str]:
    """A sentence for each misspelled variable of the role, or ``provision_protect``. Sweeps do not stop for them."""
    is_open = task_vars.get(PROTECT) in (None, "")
    for name in map(str, task_vars):
        is_own = plain_name(name).startswith("decommission_") and "__" not in name
        meant = (
            nearest(name, _END_ARGUMENTS) if is_own else PROTECT if is_open and is_misspelled_protection(name) else None
        )
        if meant:
            yield f"{name} is not a variable of this role, and {meant} is"


def _arguments_of_end(host: str, task_vars: Variables, value: t.Callable[[str], t.Any]) -> dict[str, t.Any]:
    """The role's arguments. Defaults that depend on other variables are computed here: Ansible's templates are slow."""
    by_default: dict[str, t.Callable[[], t.Any]] = {
        _NAME: lambda: str(value("provision_resource_name") or prefix_of(value("provision_project")) + host),
        _STORAGE: lambda: value("provision_storage_on_end") or "keep",
        # In AWX an unanswered question of a survey is null.
        "decommission_forget": lambda: value("decommission_forget") or [],
    }

    def given(name: str) -> t.Any:
        is_default = task_vars.get(name) in (None, END_DEFAULTS.get(name))
        return by_default[name]() if is_default and name in by_default else value(name)

    return {name: given(name) for name in _END_ARGUMENTS}


# The sealed plan of a quote: what its hosts would order, and the plan that a later run buys

_ORDER = ("offer_id", "resource_name", "cluster_name")
# Arguments of the task that buys, see roles/provision/tasks/round.yml
_BODY = as_templates(
    {
        "ssh_public_key": "{{ provision_ssh_public_key"
        " or lookup('ansible.builtin.file', provision_ssh_public_key_file) }}",
        "cloud_init": "{{ lookup('compute_index.supply.user_data', provision_cloud_init_template) or '' }}",
    }
)


def host_order(row: Variables, variables: Variables, templar: t.Any) -> dict[str, t.Any]:
    """The request that a host would send, by the ``row`` of its plan and its ``variables``.

    Leaves out user data with a host key, which each run makes anew (see `sending.order_digests`). Raises
    AnsibleActionFail, which names the host.
    """
    options, role = row["purchases"][0]["options"], str(_ROLES / "provision")
    role_variables = {
        "provision_offer": row["offer"],
        "provision_resource_name": str(options["resource_name"]),
        "provision__is_cluster": row["cluster"],
        "role_path": role,
        "ansible_search_path": [role, f"{role}/tasks", str(variables.get("playbook_dir") or "")],
    }
    left_out = ("cloud_init",) if row["trust"] == "seeded" else ()
    body = {"cloud_init": None, **{name: options[name] for name in _ORDER}}
    with using_variables(templar, {**variables, **role_variables}):
        for name in sorted({*_BODY}.difference(left_out)):
            body[name] = evaluated_variable(name, _BODY, templar, f"{row['host']}: ", NOTHING_SENT)
    return body


def plan_of(extra: Variables, *, buys: bool = False) -> Variables:
    """The sealed plan in the extra variable ``plan``: a file, or the text that a quote has published. Empty without it.

    Variables of the inventory do not count, since ``plan`` may mean something else there. ``buys``: whether the play
    would buy what the inventory declares if there is no plan. Raises AnsibleActionFail.
    """
    given = extra.get("plan")
    if not given:
        _check_no_plan_meant(extra, buys=buys)
    if "plan" not in extra or (given in (None, "", {}) and is_awx_job()):  # an unanswered question of a survey
        return {}
    plan = _read(given.strip()) if isinstance(given, str) else given
    if not isinstance(plan, t.Mapping) or not isinstance(plan.get("hosts"), t.Mapping) or not plan["hosts"]:
        raise AnsibleActionFail(f"plan must be a file that the playbook quote has written. {NOTHING_SENT}")
    return plan


def _check_no_plan_meant(extra: Variables, *, buys: bool) -> None:
    """Raise AnsibleActionFail if another extra variable was probably meant as the plan."""
    if isinstance(extra.get("quote"), t.Mapping):
        raise AnsibleActionFail(f"quote is not sealed, so it is not bought: quote with quote_file. {NOTHING_SENT}")
    if buys and (mistaken := ", ".join(order.meant_as_plan(extra))):
        raise AnsibleActionFail(f"Purchases ignore {mistaken}. To buy a plan, give -e plan=<file>. {NOTHING_SENT}")


def _read(given: str) -> t.Any:
    try:
        if given.startswith("{"):
            return json.loads(given)
        with open(os.path.expanduser(given), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it is not JSON"
        text = f"plan={printable(given, 60)} cannot be read: {reason}. Give the file that quote_file wrote, or no plan."
        raise AnsibleActionFail(f"{text} {NOTHING_SENT}") from None
