# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Returns a host's plan without evaluating the plans of all hosts, as ansible-core before 2.19 would do."""

from __future__ import annotations

DOCUMENTATION = r"""
name: plan
short_description: (internal) Returns a host's part of a play's plan
version_added: 1.0.0
author:
  - Contributors to the compute_index.supply collection (@compute-index)
description:
  - Internal - do not use it in your own plays. The roles P(compute_index.supply.provision#role) and
    P(compute_index.supply.decommission#role) use it, and its results may change in any version.
  - M(compute_index.supply.decide) returns the plans of all hosts in one result. The lookup returns the part for the
    task's host.
options:
  _terms:
    description: V(end) for the plan of an end; without it, the plan of a purchase.
  bought:
    description:
      - A host. Then the lookup returns the offer of its machines, with their number.
    type: str
  rows:
    description:
      - The machines, as P(compute_index.supply.owned_machines#filter) lists them. Then the lookup returns the lines
        that the role shows at its end.
    type: list
    elements: dict
  configured:
    description:
      - Hosts that were configured. Then the lookup returns the lines that the playbook configure shows at its end.
    type: list
    elements: str
  expected:
    description:
      - The value of C(provision_verify_expect). Then the lookup returns the values that machines are compared with. It
        fails if the mapping is invalid.
    type: raw
  group:
    description:
      - A group of the inventory. Then the lookup returns the group with the hosts of an order, or this group if the
        order names no hosts.
    type: str
  hosts:
    description:
      - The host pattern of a play of the collection's playbooks. Then the lookup returns it. If it is empty, the lookup
        returns this computer, and with C(--limit) also the limit's hosts. It fails if C(--tags) or C(--start-at-task)
        would skip tasks of the playbook.
    type: str
  level:
    description:
      - A level of the test of machines. Then the lookup returns its time limit in seconds.
    type: str
  owned:
    description:
      - A host. Then the lookup returns the ids of its known machines.
    type: str
  survey:
    description:
      - A survey of the collection, the questions that AWX has, and the values of earlier versions. Then the lookup
        returns the survey to write to AWX, and says what an operator has changed in the collection's questions.
    type: dict
  tested:
    description:
      - A host. Then the lookup returns whether the playbook verify may test the machine that answers to its name.
    type: str
  text:
    description: A text for people. Then the lookup returns it in lines that fit a screen.
    type: str
  unusable:
    description:
      - Facts about the unusable machine of the task's host. Then the lookup returns the message with which the host
        fails.
    type: dict
"""

EXAMPLES = r"""
- name: Show the next step of the role
  ansible.builtin.debug:
    msg: "{{ lookup('compute_index.supply.plan') }}"
"""

RETURN = r"""
_raw:
  description: The plan; without one, or if nothing is to be done, only the names of the role's next files.
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
from ansible_collections.compute_index.supply.plugins.module_utils._provision.survey import merged_survey
from ansible_collections.compute_index.supply.plugins.module_utils._text import sentence, wrapped
from ansible_collections.compute_index.supply.plugins.plugin_utils import _task
from ansible_collections.compute_index.supply.plugins.plugin_utils._hosts import (
    bought_offer,
    end_round_of,
    lacks_machine,
    machine_ids,
    round_of,
)

# The role loops over ``purchases``. If ansible-core before 2.19 allows undefined variables, a missing list would be the
# text of its template.
_UNDEFINED: dict[str, t.Any] = {} if getattr(C, "DEFAULT_UNDEFINED_VAR_BEHAVIOR", True) else {"purchases": []}


@functools.cache
def _read_settings_of_lookups() -> None:
    """Let Ansible read the settings of the lookups that render a purchase, from their documentation.

    The main process does so before it forks workers; otherwise each worker would.
    """
    for name in ("ansible.builtin.file", "ansible.builtin.template", "compute_index.supply.user_data"):
        lookup_loader.get(name, class_only=True)


def _expected(given: object) -> dict[str, t.Any]:
    """The values that the playbook verify compares machines with. Raises AnsibleError for an invalid mapping."""
    try:
        return declaration.read_expected(given)
    except ValueError as error:
        raise AnsibleError(f"{sentence(f'provision_verify_expect {error}')} Nothing was tested.") from None


_Given = t.Mapping[str, t.Any]

# The results of the options that only need variables, and of those that need the plan; lists, as in all lookups
_OF_VARIABLES: dict[str, t.Callable[[t.Any, _Given], list[t.Any]]] = {
    "hosts": lambda pattern, variables: [_task.hosts_of_playbook(pattern, variables)],
    "group": lambda group, variables: [_task.group_of_playbook(group, variables)],
    "owned": machine_ids,
    "bought": lambda host, variables: [bought_offer(host, variables)],
    "tested": lambda host, variables: [not lacks_machine(host, variables)],
    # Even short tests run in the background, since Ansible would wait long for a machine that has ended.
    "level": lambda level, _variables: [acceptance.SECONDS.get(str(level), max(acceptance.SECONDS.values()))],
    "expected": lambda given, _variables: [_expected(given)],
    "survey": lambda given, _variables: [merged_survey(**given)],
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
        """The plan of the task's host, or the result of an option."""
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
