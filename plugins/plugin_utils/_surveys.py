# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells those who have filled in a survey of AWX what a task says in that survey's words.

This plugin util is private to the collection.
"""

from __future__ import annotations

import typing as t

from ansible_collections.compute_index.supply.plugins.module_utils._provision.forms import shown_in_awx

# What job templates of the kit ask for first.
_SURVEYS = ("order_names", "decommission_hosts")


def in_its_words(
    result: dict[str, t.Any], task_vars: t.Mapping[str, t.Any], surveyed: bool = False
) -> dict[str, t.Any]:
    """The result, put in the words of the survey that has started this job, if one has.

    ``surveyed``: in AWX a survey has, whatever it has asked for.
    """
    by_survey = task_vars.get("awx_job_id") and (surveyed or any(name in task_vars for name in _SURVEYS))
    return t.cast("dict[str, t.Any]", shown_in_awx(result)) if by_survey else result
