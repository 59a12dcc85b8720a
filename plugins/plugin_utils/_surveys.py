# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells people what a task says in the words in which they have asked: a survey's of AWX, or an order's.

This plugin util is private to the collection.
"""

from __future__ import annotations

import typing as t
from functools import partial

from ansible_collections.compute_index.supply.plugins.module_utils._provision.forms import (
    APPROVED,
    by_names,
    in_awx,
    shown,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import spelled

# What job templates of the kit ask for first.
_SURVEYS = ("order_names", "decommission_hosts")


def in_its_words(
    result: dict[str, t.Any],
    task_vars: t.Mapping[str, t.Any],
    surveyed: bool = False,
    extra: t.Mapping[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    """The result, put in the words of the survey that has started this job, or of the order that was given.

    ``surveyed``: in AWX a survey has, whatever it has asked for. ``extra`` variables may have an order.
    """
    if task_vars.get("awx_job_id") and (surveyed or any(name in task_vars for name in _SURVEYS)):
        words = partial(in_awx, instead=APPROVED if task_vars.get("quote") else {})
        return t.cast("dict[str, t.Any]", shown(result, words))
    names = spelled(extra or {})
    return t.cast("dict[str, t.Any]", shown(result, partial(by_names, names=names))) if names else result
