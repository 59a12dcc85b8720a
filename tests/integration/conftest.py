# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run real playbooks with ansible-playbook against the simulated API; each test has its own project folder."""

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

# Depends on the version of ansible-core: see pyproject.toml.
core = pytest.mark.core
# Arguments of Project.requests
PROCURE = ("POST", "/procure_offer")
# The longest tests start first; otherwise all processors but one would wait for them at the end.
LONG = (
    "test_both_ways_give_the_same_results",
    "test_both_ways_give_the_same_errors",
    "test_a_play_killed_at_any_moment_buys_once",
)
# No resource has this id.
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Move the longest tests to the front."""
    items.sort(key=lambda item: item.originalname not in LONG)


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    """A project with the default offers."""
    return make_project()
