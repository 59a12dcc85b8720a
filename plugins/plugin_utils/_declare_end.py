# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says of its end: its variables as plain values, for `ended.asked`; see `_declare`."""

from __future__ import annotations

import typing as t
import uuid

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import DESCRIBED
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import BOUGHT, project_of
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import prefix_of
from ansible_collections.compute_index.supply.plugins.plugin_utils._declare import read, templates
from ansible_collections.compute_index.supply.plugins.plugin_utils._hosts import value_of

Variables = t.Mapping[str, t.Any]

# Read before Ansible forks its workers.
_ARGUMENTS = read("decommission/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
DEFAULTS, FIXED = templates(read("decommission/defaults/main.yml")), templates(read("decommission/vars/main.yml"))

_NAME, _STORAGE = "decommission_resource_name", "decommission_storage"


def declared(task_vars: Variables, templar: t.Any, *, check_mode: bool, together: bool = False) -> dict[str, t.Any]:
    """The values that the host has now, under an id of their own. Raises AnsibleActionFail.

    ``check_mode``: of the host's own tasks, which a user's play may decide for each host. ``together``: one worker
    declares for all hosts. What says where and what the host is, and cannot be evaluated, is no value here: it is told
    by what reads it of all hosts (`_hosts.Hosts`).
    """

    def value(name: str) -> t.Any:
        try:
            return value_of(name, task_vars, templar)
        except AnsibleActionFail:
            if name in DESCRIBED:
                return None
            raise

    host = str(task_vars["inventory_hostname"])
    reaped = value("decommission__reaped") or {}
    given = _arguments(host, task_vars, value)
    checked = ArgumentSpecValidator(_ARGUMENTS).validate(given)
    return {
        "id": uuid.uuid4().hex,
        "together": together,
        "check_mode": check_mode,
        "host": host,
        "name": str(given[_NAME]),
        "resource_id": str(given["decommission_resource_id"] or ""),
        "listed_id": str(value("supply_resource_id") or ""),
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
        "invalid": list(checked.error_messages),
    }


def _arguments(host: str, task_vars: Variables, value: t.Callable[[str], t.Any]) -> dict[str, t.Any]:
    """The role's variables. What its defaults make of others is told here: templates take Ansible long."""
    by_default: dict[str, t.Callable[[], t.Any]] = {
        _NAME: lambda: str(value("provision_resource_name") or prefix_of(value("provision_project")) + host),
        _STORAGE: lambda: value("provision_storage_on_end") or "keep",
        # AWX hands an empty answer of a survey over as null.
        "decommission_forget": lambda: value("decommission_forget") or [],
    }

    def given(name: str) -> t.Any:
        is_default = task_vars.get(name) in (None, DEFAULTS.get(name))
        return by_default[name]() if is_default and name in by_default else value(name)

    return {name: given(name) for name in _ARGUMENTS}
