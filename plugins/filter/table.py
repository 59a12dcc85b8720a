# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lays mappings out as the lines of a table. The logic is a plain function."""

from __future__ import annotations

DOCUMENTATION = r"""
name: table
short_description: Lays mappings out as the lines of a table
version_added: 1.0.0
author:
  - Contributors to the compute_index.supply collection (@compute-index)
description:
  - Makes a line of each mapping, below a line of titles. Columns are as wide as what they hold.
  - Numbers are aligned on the right, with at least two decimals if they are prices. Lists are joined with commas,
    and times in UTC (ISO 8601, to the second) are shown to the minute. A dash stands for what is missing.
positional: _input, columns, alone
options:
  _input:
    description:
      - The mappings.
    type: list
    elements: dict
    required: true
  columns:
    description:
      - The key of each column, by its title.
    type: dict
    required: true
  alone:
    description:
      - Whether a single mapping becomes a single line, in which each value has its title beside it, but for a text
        whose title is its key.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: What runs?
  hosts: localhost
  gather_facts: false
  tasks:
    - name: List the machines of the account
      compute_index.supply.resource_info:
      register: found

    - name: Show them
      ansible.builtin.debug:
        msg: "{{ found.resources | compute_index.supply.table(columns) }}"
      vars:
        columns:
          name: name
          state: status
          USD/hour: price_per_hour
"""

RETURN = r"""
_value:
  description: The lines, the titles first; none at all where there are no mappings.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.compute_index.supply.plugins.module_utils import _wording


def table(rows: t.Sequence[t.Mapping[str, t.Any]], columns: t.Mapping[str, str], alone: bool = False) -> list[str]:
    """The lines of a table with a column for each key, or of a row that stands ``alone``."""
    return [_wording.line(rows[0], columns)] if alone and len(rows) == 1 else _wording.table(rows, columns)


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filters of this file by their names."""
        return {"table": table}
