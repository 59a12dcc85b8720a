# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sealed plan of a run: what its hosts would order, and the plan that a later run was given."""

from __future__ import annotations

import json
import os
import typing as t

from ansible.errors import AnsibleActionFail
from ansible_collections.compute_index.supply.plugins.module_utils._provision.messages import NOTHING_SENT
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import is_of_awx
from ansible_collections.compute_index.supply.plugins.module_utils._text import printable
from ansible_collections.compute_index.supply.plugins.plugin_utils._declare import ROLES, templates
from ansible_collections.compute_index.supply.plugins.plugin_utils._hosts import knowing, value_of

Variables = t.Mapping[str, t.Any]

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


def order_of(row: Variables, variables: Variables, templar: t.Any) -> dict[str, t.Any]:
    """What a host would order by the ``row`` of its plan, with its ``variables``.

    User data with a host key, which each run makes anew, are left out, as `sending.order_digests` does. Raises
    AnsibleActionFail that names the host.
    """
    options, role = row["purchases"][0]["options"], str(ROLES / "provision")
    about = {
        "provision_offer": row["offer"],
        "provision_resource_name": str(options["resource_name"]),
        "provision__is_cluster": row["cluster"],
        "role_path": role,
        "ansible_search_path": [role, f"{role}/tasks", str(variables.get("playbook_dir") or "")],
    }
    left_out = ("cloud_init",) if row["trust"] == "seeded" else ()
    body = {"cloud_init": None, **{name: options[name] for name in _ORDER}}
    with knowing(templar, {**variables, **about}):
        for name in sorted({*_BODY}.difference(left_out)):
            body[name] = value_of(name, _BODY, templar, f"{row['host']}: ", NOTHING_SENT)
    return body


def plan_of(extra: Variables, *, buys: bool = False) -> Variables:
    """The plan of the extra variables, a file or the text that a quote has published; empty if they have none.

    Only extra variables name one: an inventory may have a variable ``plan`` of its own. What a quote shows is no plan.
    ``buys``: for what buys without a plan whatever the inventory says. Raises AnsibleActionFail.
    """
    given = extra.get("plan")
    if not given:
        _check_none_meant(extra, buys=buys)
    if given is None or (given in ("", {}) and is_of_awx(extra)):  # as in a survey that was not answered
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
