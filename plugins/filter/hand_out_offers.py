# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands the offers of shared searches out to hosts. The logic is a plain function; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
name: hand_out_offers
short_description: Hands offers out to hosts so that no two race for the same one
version_added: 1.0.0
author:
  - Contributors to the compute_index.supply collection (@compute-index)
description:
  - Gives each host offers of its search in the order in which it should try them, cheapest first. No offer is given
    to two hosts.
  - Offers above the host's ceiling are left out; so are offers of unknown price where there is a ceiling.
positional: _input, searches, taken
options:
  _input:
    description:
      - What each host wants, in the order of the hosts, with C(host), C(spec), C(ceiling) (USD per hour; empty or
        V(unlimited) for none) and C(attempts) (how many offers it gets at the most, one by default).
    type: list
    elements: dict
    required: true
  searches:
    description:
      - The results of M(compute_index.supply.offer_info) for each C(spec), as a loop over them registers it; each has
        C(item) (the spec) and C(offers).
    type: list
    elements: dict
    required: true
  taken:
    description:
      - The ids of offers that nobody gets, because somebody wants or has them.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Two hosts, two different offers
  hosts: localhost
  gather_facts: false
  vars:
    spec:
      compute:
        gpu_type: H100
        gpu_count: 1
  tasks:
    - name: Search
      compute_index.supply.offer_info:
        spec: "{{ item }}"
      loop:
        - "{{ spec }}"
      register: searches

    - name: Hand out
      ansible.builtin.debug:
        msg: "{{ wishes | compute_index.supply.hand_out_offers(searches.results) }}"
      vars:
        wishes:
          - {host: gpu-1, spec: "{{ spec }}", ceiling: 4.0}
          - {host: gpu-2, spec: "{{ spec }}", ceiling: 4.0}
"""

RETURN = r"""
_value:
  description: For each host its offers, the first choice first.
  type: dict
"""

import typing as t
from collections.abc import Iterable

Offer = dict[str, t.Any]


def hand_out_offers(
    wishes: list[dict[str, t.Any]], searches: list[dict[str, t.Any]], taken: Iterable[str] = ()
) -> dict[str, list[Offer]]:
    """For each host of ``wishes`` as many offers as it wants to try; every offer goes to one host only."""
    gone = set(taken)
    handed: dict[str, list[Offer]] = {wish["host"]: [] for wish in wishes}
    attempts = {wish["host"]: wish.get("attempts", 1) for wish in wishes}
    rests = {wish["host"]: iter(_candidates(wish, searches)) for wish in wishes}
    # Round by round, so that nobody's second choice is somebody's first.
    for number in range(max(attempts.values(), default=0)):
        for host, rest in rests.items():
            if number >= attempts[host]:
                continue
            offer = next((offer for offer in rest if offer["offer_id"] not in gone), None)
            if offer is not None:
                gone.add(offer["offer_id"])
                handed[host].append(offer)
    return handed


def _candidates(wish: dict[str, t.Any], searches: list[dict[str, t.Any]]) -> list[Offer]:
    offers = next((search.get("offers") or [] for search in searches if search["item"] == wish["spec"]), [])
    if wish.get("ceiling") in (None, "", "unlimited"):
        return offers
    ceiling = float(wish["ceiling"])
    return [o for o in offers if o["price_per_hour"] is not None and o["price_per_hour"] <= ceiling]


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filters of this file by their names."""
        return {"hand_out_offers": hand_out_offers}
