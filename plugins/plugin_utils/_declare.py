# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host wants, and what it says of its end: its variables as plain values; and what a sealed plan has of that.

Only the host itself can evaluate them: others see neither role defaults nor the variables of the play. A large template
would do the same, but Ansible would compile it anew for each host. They are compared with the role's argument specs,
too, since a task that does nothing else costs as much as this one.
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
except ImportError:  # before ansible-core 2.19, which evaluates whatever it reads from files
    _trust = str

Variables = t.Mapping[str, t.Any]

_SALT = os.urandom(16)  # the same in all workers, which Ansible forks once this is imported
_ROLES = Path(__file__).resolve().parents[2] / "roles"


def read_role_file(path: str) -> t.Any:
    """What a file of a role has."""
    return yaml.load((_ROLES / path).read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def templates(value: t.Any) -> t.Any:
    """What was read, as Ansible gives it to the tasks of the role."""
    if isinstance(value, dict):
        return {key: templates(part) for key, part in value.items()}
    if isinstance(value, list):
        return list(map(templates, value))
    return _trust(value) if isinstance(value, str) else value


# Read before Ansible forks its workers.
_ARGUMENTS = read_role_file("provision/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
DEFAULTS, FIXED = (
    templates(read_role_file("provision/defaults/main.yml")),
    templates(read_role_file("provision/vars/main.yml")),
)
_END_ARGUMENTS = read_role_file("decommission/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
END_DEFAULTS = templates(read_role_file("decommission/defaults/main.yml"))
END_FIXED = templates(read_role_file("decommission/vars/main.yml"))

_ROLE = order.RoleVariables(_ARGUMENTS)
_NAMES = ("provision_resource_name", "provision_hostname")
_LISTS = ("provision_packages", "provision_users", "provision_files", "provision_mounts", "provision_commands")
# What others have said of the host.
_SAID = {
    "connection": "ansible_connection",
    "inventory_dir": "inventory_dir",
    "listed_id": "supply_resource_id",
}
_KNOWN = (*CONNECTION, *BOUGHT, "provision_instances")


def declared(task_vars: Variables, templar: t.Any, extra: Variables) -> dict[str, t.Any]:
    """What the host wants now, under an id of its own, for `declaration.read_declaration`. Raises AnsibleActionFail."""

    def value(name: str) -> t.Any:
        return evaluated_variable(name, task_vars, templar)

    check_names(extra)
    host, group = str(task_vars["inventory_hostname"]), value("provision__group")
    asked = _asked(host, group, task_vars, extra)
    given = {**_arguments(host, task_vars, value), **{k: v for k, v in asked.items() if k in _ARGUMENTS}}
    return {
        "id": uuid.uuid4().hex,
        "registry_fingerprint": registry_fingerprint(given["provision_registry_url"]),
        "host": host,
        "groups": order.without_order_groups(task_vars["group_names"]),
        "slips": _ROLE.refusals(_given_by_people(task_vars)),
        **{name: given[f"provision_{name}"] for name in PLAIN_VARIABLES},
        **{key: value(name) for key, name in _SAID.items()},
        "refused": asked.get("refused") or "",
        "identity_file": value("ansible_ssh_private_key_file") or value("ansible_private_key_file") or "",
        # From the folder of the playbook, as the tasks of the play take it.
        "ssh_public_key_file": os.path.join(
            str(task_vars.get("playbook_dir") or ""), os.path.expanduser(str(given["provision_ssh_public_key_file"]))
        ),
        **_described(given),
        "known": {name: value(name) for name in _KNOWN},
    }


def _given_by_people(variables: Variables) -> list[str]:
    """The names of variables, without results that a play has registered: `provision_poll` is one in our example.

    Before ansible-core 2.19 one that failed before its task ran has no ``changed``.
    """
    marks = {"changed", "failed"}
    return [name for name, value in variables.items() if not isinstance(value, dict) or marks.isdisjoint(value)]


def check_names(extra: Variables) -> None:
    """Raise AnsibleActionFail for slips in extra variables, which concern hosts that have their machines, too."""
    if slips := [*_ROLE.refusals(extra, extra), *(() if is_awx_job() else order.empty_limits(extra))]:
        raise AnsibleActionFail(f"{' '.join(slips)} {NOTHING_SENT}")


def _asked(host: str, group: str | None, task_vars: Variables, extra: Variables) -> Variables:
    """What an order asks for the host, or why it is refused.

    Where a playbook of the collection says which group its play is for, the ``extra`` variables may have an order for
    the host. It is read here, since a loop that hands it to each host costs more than all that a declaration takes.
    Other plays carry out none.
    """
    groups = task_vars["group_names"]
    misplaced = order.misplaced_order(task_vars, extra)
    if not group:
        return {"refused": order.why_order_ignored(host, groups, {**misplaced, **extra})}
    if group not in groups:  # localhost stands for an empty group
        return {"refused": order.why_no_hosts(group, order.group_sizes(task_vars.get("groups") or {}))}
    # The variables of an `import_playbook` are meant for it; the host's own, which alone `hostvars` has, need not be.
    others = {name for name in map(str, task_vars) if name.startswith("order_")} - extra.keys()
    own = others.intersection(raw_variables(host, task_vars)) if others else others
    refused = " ".join(order.refused_of_playbook({*extra, *others}, "order_", own)) or order.why_misplaced(misplaced)
    if refused:
        return {"refused": refused}
    try:
        return order.role_variables_of(extra)
    except ValueError as error:
        return {"refused": str(error)}


def _described(given: Variables) -> dict[str, t.Any]:
    """What a declaration says of the role's arguments instead of their values, or beside these."""
    return {
        "name": str(given["provision_resource_name"]),
        "boot_timeout": str(given["provision_boot_timeout"]),
        **_waits(given["provision_wait"], given["provision_wait_delay"]),
        "has_ssh_public_key": bool(given["provision_ssh_public_key"]),
        "ssh_key_fault": why_no_public_key(str(given["provision_ssh_public_key"] or "")),
        "ssh_fingerprint": fingerprint(str(given["provision_ssh_public_key"] or "")),
        "has_cloud_init": bool(given["provision_cloud_init"]),
        "texts": [name for name in _LISTS if _has_text(given[name], within=name == "provision_mounts")],
        "invalid": [*_invalid(given), *_no_texts(given)],
    }


def _arguments(host: str, task_vars: Variables, value: t.Callable[[str], t.Any]) -> dict[str, t.Any]:
    """The role's variables. What its defaults make of names is told here: templates take Ansible long."""
    # What has no value after its colon in YAML is not given.
    by_default = {name for name in _NAMES if task_vars.get(name) in (None, DEFAULTS[name])}
    given = {name: value(name) for name in _ARGUMENTS if name not in by_default}
    if task_vars.get("run__is_of_a_run") and given["provision_max_price_per_hour"] in (None, ""):
        given["provision_max_price_per_hour"] = "unlimited"  # the bill limits it
    if given["provision_project"] in (None, ""):  # as for whoever looks for what was bought
        given["provision_project"] = DEFAULTS["provision_project"]
    if "provision_resource_name" in by_default:
        given["provision_resource_name"] = prefix_of(given["provision_project"]) + host
    if "provision_hostname" in by_default:
        given["provision_hostname"] = given["provision_resource_name"]
    return given


def _waits(wait: t.Any, delay: t.Any) -> dict[str, t.Any]:
    """From when on and at which distance (seconds) the market is looked at, for the task that does it.

    A part of the distance is random, so that many controllers do not come at once. What is wrong is told by the plan.
    """
    now = time.time()
    patience = read_patience(wait, delay, now, [])
    # A host that looks once a run may be the first of a play in which others wait.
    return {"declared_at": now, "pause": math.ceil((patience.delay or Patience.delay) * random.uniform(1.0, 1.1))}


def registry_fingerprint(url: t.Any) -> str:
    """What tells within one call of Ansible whether two hosts share a registry, and says nothing of its password."""
    text = str(url or os.environ.get(REGISTRY_URL) or "")
    return hmac.new(_SALT, text.encode(), "sha256").hexdigest() if text else ""


def _invalid(given: Variables) -> list[str]:
    """What Ansible's check of arguments finds. It cannot take infinity, which the plan refuses by its name."""
    try:
        return list(ArgumentSpecValidator(_ARGUMENTS).validate(given).error_messages)
    except OverflowError:
        return []


def _has_text(given: t.Any, *, within: bool) -> bool:
    """Whether a text was given for a list, or ``within`` it."""
    return isinstance(given, str) or (
        within and isinstance(given, list) and any(isinstance(item, str) for item in given)
    )


def _no_texts(given: Variables) -> t.Iterator[str]:
    """A sentence for each variable that is to be a text and is none, of which Ansible's check would make one."""
    for name, option in _ARGUMENTS.items():
        kind = _KINDS.get(type(given[name]))
        if option["type"] == "str" and kind:
            yield f"{name} must be a text, not {kind}; in YAML quotes make one"


_KINDS = {bool: "true or false", list: "a list", dict: "a mapping"}


# What a host says of its end, for `ended.end_request`

_NAME, _STORAGE = "decommission_resource_name", "decommission_storage"


def declared_end(task_vars: Variables, templar: t.Any, *, check_mode: bool, together: bool = False) -> dict[str, t.Any]:
    """What the host says now of its end, under an id of its own. Raises AnsibleActionFail.

    ``check_mode``: of the host's own tasks, which a user's play may decide for each host. ``together``: one worker
    declares for all hosts. What says where and what the host is, and cannot be evaluated, is no value here: it is told
    by what reads it of all hosts (`_hosts.Hosts`).
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
    # A play for a group gets a machine that the inventory plugin lists by this name, whosever it is.
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
        "listed_id": "" if means_group else str(value("supply_resource_id") or ""),
        "project": project_of(value("provision_project")),
        "registry_dir": value("provision_registry_dir"),
        "inventory_dir": value("inventory_dir"),
        "wait_timeout": str(given["decommission_wait_timeout"]),
        "force": checked.validated_parameters["decommission_force"] is True,
        # A sweep ends storage only if its host says so, and not because of what was said for one run.
        "storage": value("provision_storage_on_end") or "keep" if reaped else given[_STORAGE],
        "reaped": reaped,
        "protect": value("provision_protect"),
        "known": {name: value(name) for name in BOUGHT},
        "invalid": [*checked.error_messages, *(() if reaped else _slips_of_end(task_vars))],
    }


def _slips_of_end(task_vars: Variables) -> t.Iterator[str]:
    """The misspelled variables of the role, which would do nothing. A sweep ends machines all the same."""
    is_open = task_vars.get(PROTECT) in (None, "")
    for name in map(str, task_vars):
        is_own = plain_name(name).startswith("decommission_") and "__" not in name
        meant = (
            nearest(name, _END_ARGUMENTS) if is_own else PROTECT if is_open and is_misspelled_protection(name) else None
        )
        if meant:
            yield f"{name} is not a variable of this role, and {meant} is"


def _arguments_of_end(host: str, task_vars: Variables, value: t.Callable[[str], t.Any]) -> dict[str, t.Any]:
    """The role's variables. What its defaults make of others is told here: templates take Ansible long."""
    by_default: dict[str, t.Callable[[], t.Any]] = {
        _NAME: lambda: str(value("provision_resource_name") or prefix_of(value("provision_project")) + host),
        _STORAGE: lambda: value("provision_storage_on_end") or "keep",
        # AWX hands an empty answer of a survey over as null.
        "decommission_forget": lambda: value("decommission_forget") or [],
    }

    def given(name: str) -> t.Any:
        is_default = task_vars.get(name) in (None, END_DEFAULTS.get(name))
        return by_default[name]() if is_default and name in by_default else value(name)

    return {name: given(name) for name in _END_ARGUMENTS}


# The sealed plan of a run: what its hosts would order, and the plan that a later run was given

_MEANT = ("plan_file", "plans", "quote_file")  # names that people give to a purchase for that of a plan
_ORDER = ("offer_id", "resource_name", "cluster_name")
# As the task that buys has them: see roles/provision/tasks/round.yml.
_BODY = templates(
    {
        "ssh_public_key": "{{ provision_ssh_public_key"
        " or lookup('ansible.builtin.file', provision_ssh_public_key_file) }}",
        "cloud_init": "{{ lookup('compute_index.supply.user_data', provision_cloud_init_template) or '' }}",
    }
)


def host_order(row: Variables, variables: Variables, templar: t.Any) -> dict[str, t.Any]:
    """What a host would order by the ``row`` of its plan, with its ``variables``.

    User data with a host key, which each run makes anew, are left out, as `sending.order_digests` does. Raises
    AnsibleActionFail that names the host.
    """
    options, role = row["purchases"][0]["options"], str(_ROLES / "provision")
    about = {
        "provision_offer": row["offer"],
        "provision_resource_name": str(options["resource_name"]),
        "provision__is_cluster": row["cluster"],
        "role_path": role,
        "ansible_search_path": [role, f"{role}/tasks", str(variables.get("playbook_dir") or "")],
    }
    left_out = ("cloud_init",) if row["trust"] == "seeded" else ()
    body = {"cloud_init": None, **{name: options[name] for name in _ORDER}}
    with using_variables(templar, {**variables, **about}):
        for name in sorted({*_BODY}.difference(left_out)):
            body[name] = evaluated_variable(name, _BODY, templar, f"{row['host']}: ", NOTHING_SENT)
    return body


def plan_of(extra: Variables, *, buys: bool = False) -> Variables:
    """The plan of the extra variables, a file or the text that a quote has published; empty if they have none.

    Only extra variables name one: an inventory may have a variable ``plan`` of its own. What a quote shows is no plan.
    ``buys``: for what buys without a plan whatever the inventory says. Raises AnsibleActionFail.
    """
    given = extra.get("plan")
    if not given:
        _check_none_meant(extra, buys=buys)
    if "plan" not in extra or (given in (None, "", {}) and is_awx_job()):  # a survey was not answered
        return {}
    plan = _read(given.strip()) if isinstance(given, str) else given
    if not isinstance(plan, t.Mapping) or not isinstance(plan.get("hosts"), t.Mapping) or not plan["hosts"]:
        raise AnsibleActionFail(f"plan must be a file that the playbook quote has written. {NOTHING_SENT}")
    return plan


def _check_none_meant(extra: Variables, *, buys: bool) -> None:
    """Raise AnsibleActionFail if extra variables without a plan name something else that was meant to be one."""
    meant = ", ".join(name for name in _MEANT if name in extra)
    if buys and meant:
        raise AnsibleActionFail(f"{meant} is not read by what buys. To buy a plan, give -e plan=<file>. {NOTHING_SENT}")
    if isinstance(extra.get("quote"), t.Mapping):
        raise AnsibleActionFail(f"quote is not sealed, so it is not bought: quote with quote_file. {NOTHING_SENT}")


def _read(given: str) -> t.Any:
    try:
        if given.startswith("{"):
            return json.loads(given)
        with open(os.path.expanduser(given), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it is no JSON"
        text = f"plan={printable(given, 60)} cannot be read: {reason}. Give the file that quote_file wrote, or no plan."
        raise AnsibleActionFail(f"{text} {NOTHING_SENT}") from None
