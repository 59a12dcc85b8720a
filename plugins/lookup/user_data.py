# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders user data like ansible.builtin.template, but without copying all variables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: user_data
short_description: Renders a template of user data
version_added: 1.0.0
author:
  - Contributors to the compute_index.supply collection (@compute-index)
description:
  - Returns the same as the lookup C(ansible.builtin.template), but faster in large plays, since it does not copy all
    variables with their lists of hosts.
  - The role P(compute_index.supply.provision#role) uses it to render user data.
  - It also accepts the options of C(ansible.builtin.template).
options:
  _terms:
    description: Paths of templates, found as C(ansible.builtin.template) finds them.
    required: true
"""

EXAMPLES = r"""
- name: Show the user data of a machine
  ansible.builtin.debug:
    msg: "{{ lookup('compute_index.supply.user_data', 'my-cloud-config.yaml.j2') }}"
"""

RETURN = r"""
_raw:
  description: The text of each template.
  type: list
  elements: str
"""

import typing as t

from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase


class _Variables(dict[str, t.Any]):
    """Variables whose values are not modified, so that a shallow copy is enough."""

    def __deepcopy__(self, memo: t.Any) -> dict[str, t.Any]:
        return dict(self)


class LookupModule(LookupBase):
    """The lookup; Ansible finds it by the name of this class."""

    def run(
        self, terms: t.Sequence[str], variables: t.Mapping[str, t.Any] | None = None, **options: t.Any
    ) -> list[t.Any]:
        """Render each template."""
        template = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar)
        return t.cast("list[t.Any]", template.run(terms, variables=_Variables(variables or {}), **options))
