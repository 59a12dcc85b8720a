# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a place of a registry is called. Pure: no file is looked at. This module util is private to the collection."""

from __future__ import annotations

SHARED = "shared:"  # what a place begins with that is no folder, but the project behind it
ENTRY = "compute_index_supply.yml"  # in the host's folder


def is_shared(place: str) -> bool:
    """Whether the place is no folder."""
    return place.startswith(SHARED)


def entry_file(folder: str, host: str) -> str:
    """The file of a host's entry; empty without one."""
    return f"{folder}/{host}/{ENTRY}" if folder and not is_shared(folder) else ""


def entry_place(place: str, host: str) -> str:
    """Where the host's entry is, for a person; empty without a registry."""
    return "the shared registry" if is_shared(place) else entry_file(place, host)
