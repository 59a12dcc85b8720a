# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that keeps storage of an earlier machine looks for its next machine where that storage is.

A search has the vendor as a filter, but of regions only groups (API page "yaml spec"). Storage names the vendor's own
region (page "get resource"), so that one is compared with those of the offers that the search finds.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .._text import grouped, printable, text_of
from . import search
from .choosing import Choice
from .storage import Storage

_LONGEST = 60  # characters of a place in a sentence


@dataclass(frozen=True)
class Narrowing:
    """The searches of a host where its storage is; what a person reads of that; and how to look elsewhere.

    The texts are empty if the searches are as they were.
    """

    choices: tuple[Choice, ...]
    note: str = ""
    way_out: str = ""


def narrowed(host: str, choices: tuple[Choice, ...], kept: t.Sequence[Storage]) -> Narrowing:
    """The ``choices`` of a host at the one place where it keeps storage.

    They stay as they are if that is at several places, or at a vendor that is not known.
    """
    if not _is_at_one_place(kept):
        return Narrowing(choices)
    at_storage = tuple(_at(choice, kept[0]) for choice in choices)
    pairs = list(zip(choices, at_storage))
    shown = _shown([_place(after) if before != after else "" for before, after in pairs])
    if not shown:
        return Narrowing(choices)
    key = "vendor" if any(_names_none(choice, "vendor") for choice in choices) else "region"
    ids = [item.resource_id for item in kept]
    note = f"{host} looks only at {shown}, where its storage {', '.join(ids)} is."
    return Narrowing(
        at_storage,
        note,
        f"The search was narrowed: {note} To look elsewhere, set {key} in provision_spec ({key}: any for every {key}).",
    )


def _is_at_one_place(kept: t.Sequence[Storage]) -> bool:
    """Whether all of it is at one vendor and region, and the vendor is known."""
    places = {(item.vendor.lower(), item.region.lower()) for item in kept}
    return len(places) == 1 and bool(kept[0].vendor)


def _at(choice: Choice, storage: Storage) -> Choice:
    """A search at the place of storage, as far as it names no other vendor, and no region."""
    names_none = _names_none(choice, "vendor")
    spec = {**choice.spec, "vendor": storage.vendor} if names_none else choice.spec
    is_elsewhere = "vendor" in choice.anywhere or search.differ(spec.get("vendor"), storage.vendor)
    is_there = not is_elsewhere and _names_none(choice, "region")
    return replace(choice, spec=spec, vendor_region=storage.region if is_there else "", at_storage=names_none)


def _names_none(choice: Choice, key: str) -> bool:
    """Whether a search leaves open where to look."""
    return key not in choice.anywhere and not text_of(choice.spec.get(key))


def _place(choice: Choice) -> str:
    """Where a search looks, as the API calls it."""
    return printable(f"{choice.spec['vendor']} {choice.vendor_region}".strip(), _LONGEST)


def _shown(places: t.Sequence[str]) -> str:
    """The places of the choices of a host in words; one that is empty is none. Empty if all are."""
    chosen = grouped((place, str(number)) for number, place in enumerate(places, start=1) if place)
    if len(set(places)) == 1:
        return places[0]
    return " and ".join(f"{place} (choice {', '.join(numbers)})" for place, numbers in chosen.items())
