# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a host's plan raw: as a part of the plans of all hosts, each would be evaluated before ansible-core 2.19."""

from __future__ import annotations

DOCUMENTATION = r"""
name: plan
short_description: (internal) What the plan of a play says for a host
version_added: 1.0.0
author:
  - Contributors to the compute_index.supply collection (@compute-index)
description:
  - Internal - do not use it in your own plays. The roles P(compute_index.supply.provision#role) and
    P(compute_index.supply.decommission#role) use it, and any version may change what it returns.
  - The plans of all hosts are one result of M(compute_index.supply.decide), of which it returns what concerns the host
    of the task.
options:
  _terms:
    description: V(end) for what ends; without it, what is bought.
  bought:
    description:
      - A host. Then the lookup returns what its machines were bought as, and how many they are.
    type: str
  rows:
    description:
      - What runs, as P(compute_index.supply.owned_machines#filter) lists it. Then the lookup returns the lines with
        which the role ends.
    type: list
    elements: dict
  configured:
    description:
      - Hosts that were configured. Then the lookup returns the lines with which the playbook configure ends.
    type: list
    elements: str
  expected:
    description:
      - The value of C(provision_verify_expect). Then the lookup returns what machines are compared with. It fails for
        what is no such mapping.
    type: raw
  group:
    description:
      - A group of the inventory. Then the lookup returns the group that was made for the hosts of an order, or this one
        if the order names no hosts.
    type: str
  hosts:
    description:
      - The hosts of a play of the collection's playbooks. Then the lookup returns them; if they are empty, this
        computer, and with C(--limit), which leaves nothing of it, the limit's hosts. It fails if C(--tags) leaves out
        the whole playbook.
    type: str
  level:
    description:
      - A level of the test of machines. Then the lookup returns the seconds that it may run by itself.
    type: str
  owned:
    description:
      - A host. Then the lookup returns the ids of the machines that it is known to have.
    type: str
  tested:
    description:
      - A host. Then the lookup returns whether the playbook verify may test what answers under its name.
    type: str
  text:
    description: A text for people. Then the lookup returns it in lines that fit a screen.
    type: str
  unusable:
    description:
      - Why the machine of the task's host cannot be used, what it is and costs, and what became of it. Then the lookup
        returns the message with which the host fails.
    type: dict
"""

EXAMPLES = r"""
- name: Show what the role would do next
  ansible.builtin.debug:
    msg: "{{ lookup('compute_index.supply.plan') }}"
"""

RETURN = r"""
_raw:
  description: The plan, or only which files of the role follow where nothing is to be done or no plan was made.
  type: list
  elements: dict
"""

import functools
import typing as t

from ansible import constants as C
from ansible.errors import AnsibleError
from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase
from ansible_collections.compute_index.supply.plugins.module_utils._provision import (
    acceptance,
    declaration,
    rows,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.rounds import Round
from ansible_collections.compute_index.supply.plugins.module_utils._text import sentence, wrapped
from ansible_collections.compute_index.supply.plugins.plugin_utils import _task
from ansible_collections.compute_index.supply.plugins.plugin_utils._hosts import (
    bought_offer,
    end_round_of,
    lacks_machine,
    machine_ids,
    round_of,
)

# Who may use what is undefined, before ansible-core 2.19, has the text of a template where the role loops over this.
_UNDEFINED: dict[str, t.Any] = {} if getattr(C, "DEFAULT_UNDEFINED_VAR_BEHAVIOR", True) else {"purchases": []}


@functools.cache
def _read_settings_of_lookups() -> None:
    """Let Ansible read the documentation of the lookups with which a purchase is rendered, for their settings.

    Its main process asks for the plan before it forks a worker for each host; else each of them would read it.
    """
    for name in ("ansible.builtin.file", "ansible.builtin.template", "compute_index.supply.user_data"):
        lookup_loader.get(name, class_only=True)


def _expected(given: object) -> dict[str, t.Any]:
    """What the playbook verify compares machines with. Raises AnsibleError for what the role would refuse, too."""
    try:
        return declaration.read_expected(given)
    except ValueError as error:
        raise AnsibleError(f"{sentence(f'provision_verify_expect {error}')} Nothing was tested.") from None


_Given = t.Mapping[str, t.Any]

# What the options ask for of the variables alone, and of the plan. Each is a list, as lookups return.
_OF_VARIABLES: dict[str, t.Callable[[t.Any, _Given], list[t.Any]]] = {
    "hosts": lambda pattern, variables: [_task.hosts_of_playbook(pattern, variables)],
    "group": lambda group, variables: [_task.group_of_playbook(group, variables)],
    "owned": machine_ids,
    "bought": lambda host, variables: [bought_offer(host, variables)],
    "tested": lambda host, variables: [not lacks_machine(host, variables)],
    # Also a short one runs by itself: Ansible's own wait goes on long after a machine has ended.
    "level": lambda level, _variables: [acceptance.SECONDS.get(str(level), max(acceptance.SECONDS.values()))],
    "expected": lambda given, _variables: [_expected(given)],
}
_OF_PLAN: dict[str, t.Callable[[_Given, Round], list[t.Any]]] = {
    "unusable": lambda given, planned: [rows.unusable(planned.host, planned.for_tasks, given["unusable"])],
    "text": lambda given, _planned: wrapped(given["text"], indent="  "),
    "configured": lambda given, planned: rows.configured_lines(given["configured"], given["rows"], planned.common),
    "rows": lambda given, planned: rows.closing_lines(given["rows"], planned.common),
}


class LookupModule(LookupBase):
    """The lookup; Ansible finds it by the name of this class."""

    def run(
        self, terms: t.Sequence[str], variables: t.Mapping[str, t.Any] | None = None, **options: t.Any
    ) -> list[t.Any]:
        """The plan of the task's host, or the lines for the rows."""
        variables = variables or {}
        if terms:
            return [end_round_of(variables).for_tasks]
        for name, of_variables in _OF_VARIABLES.items():
            if name in options:
                return of_variables(options[name], variables)
        planned = round_of(variables)
        if planned.common.acquires:
            _read_settings_of_lookups()
        for name, of_plan in _OF_PLAN.items():
            if name in options:
                return of_plan(options, planned)
        return [{**_UNDEFINED, **planned.for_tasks}]
