# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the last command on a machine, and leaves no process behind at its time limit."""

from __future__ import annotations

from ansible_collections.compute_index.supply.plugins.plugin_utils._task import BriefAction


class ActionModule(BriefAction):
    """The action plugin; Ansible finds it by the name of this class."""
