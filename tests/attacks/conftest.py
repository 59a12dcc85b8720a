# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks on whole plays, run by ansible-playbook against a stand-in of the API that is not the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("attack")

from attack import Attacked, Make
from project import sockets
from standin import StandIn

__all__ = ["account", "make", "project", "sockets"]

# The longest tests start first; otherwise all processors but one would wait for them at the end.
LONG = (
    "test_endless_first_boot_names_the_billed_machine",
    "test_random_worlds",
    "test_misleading_answers_around_a_purchase_do_no_harm",
)


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Move the longest tests to the front."""
    items.sort(key=lambda item: item.originalname not in LONG)


@pytest.fixture
def account() -> Iterator[StandIn]:
    """The account that all projects of a test share."""
    with StandIn() as stand_in:
        yield stand_in
        assert not stand_in.errors, f"a hook of the test is wrong: {stand_in.errors}"


@pytest.fixture
def make(tmp_path: Path, account: StandIn, sockets: str) -> Iterator[Make]:
    """Make projects on the account. All their processes are ended after the test."""
    made: list[Attacked] = []

    def make_project(name: str) -> Attacked:
        made.append(Attacked(tmp_path / name, account, sockets))
        return made[-1]

    yield make_project
    for project in made:
        project.end_leftovers()


@pytest.fixture
def project(make: Make) -> Attacked:
    """One project on the account."""
    return make("project")
