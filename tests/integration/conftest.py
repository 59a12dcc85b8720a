# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs real playbooks by real ansible-playbook against the simulated API, each test in a project folder of its own."""

from __future__ import annotations

import pytest

from project import GPU, MakeProject, Project, Run, make_project, postgresql_server, registry, sockets

__all__ = [
    "GPU",
    "MakeProject",
    "Project",
    "Run",
    "make_project",
    "postgresql_server",
    "project",
    "registry",
    "sockets",
]

# What a version of ansible-core may do in its own way: see pyproject.toml.
core = pytest.mark.core
# For Project.requests.
PROCURE = ("POST", "/procure_offer")
# What takes longest: if it began last, all processors but one would wait for it.
LONG = (
    "test_both_ways_give_the_same_results",
    "test_both_ways_give_the_same_errors",
    "test_a_play_killed_at_any_moment_buys_once",
)
# An id that nothing has.
NOBODY = "00000000-0000-4000-8000-000000000000"


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Let the long ones begin."""
    items.sort(key=lambda item: item.originalname not in LONG)


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    """A project with the default offers."""
    return make_project()
