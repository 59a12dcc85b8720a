# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks on whole plays by real ansible-playbook, against a stand-in of the API that is not the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("attack")

from attack import Attacked, Make
from project import sockets
from standin import StandIn

__all__ = ["account", "make", "project", "sockets"]

# What takes longest: if it began last, all processors but one would wait for it.
LONG = ("test_a_first_boot_that_never_ends_is_told", "test_random_worlds", "test_what_is_seen_after_a_purchase")


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Let the long ones begin."""
    items.sort(key=lambda item: item.originalname not in LONG)


@pytest.fixture
def account() -> Iterator[StandIn]:
    """The account at the API that all projects of a test share."""
    with StandIn() as stand_in:
        yield stand_in
        assert not stand_in.errors, f"a hook of the test is wrong: {stand_in.errors}"


@pytest.fixture
def make(tmp_path: Path, account: StandIn, sockets: str) -> Iterator[Make]:
    """Makes projects on the account. In the end none of their processes may be left."""
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
