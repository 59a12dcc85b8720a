# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says a price in a sentence."""

from __future__ import annotations

DOCUMENTATION = r"""
name: usd
short_description: Formats a price for a sentence
version_added: 1.0.0
author:
  - Contributors to the compute_index.supply collection (@compute-index)
description:
  - Formats what something costs per hour, in the words of the modules' messages.
positional: _input
options:
  _input:
    description:
      - USD per hour. Whatever is no number counts as an unknown price.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: What does the host cost?
  ansible.builtin.debug:
    msg: "{{ inventory_hostname }} costs {{ provision_price_per_hour | compute_index.supply.usd }}."
"""

RETURN = r"""
_value:
  description: For example C(USD 2.50 per hour), or C(an unknown price).
  type: str
"""

import typing as t

from ansible_collections.compute_index.supply.plugins.module_utils import _text, _wording


def usd(price: t.Any) -> str:
    """The price in words; it may be a text, what ansible-core before 2.19 makes of a number."""
    return _wording.usd(_text.number_of(price))


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filters of this file by their names."""
        return {"usd": usd}
