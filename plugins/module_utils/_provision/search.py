# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a search asks for, and what can be said about it: typos, its contract, filters that the API has not applied."""

from __future__ import annotations

import difflib
import re
import typing as t

from .._text import LONGEST_NAME, printable
from .._wording import nearest
from . import search_keys
from .search_keys import Spec

_NOTHING: tuple[t.Any, ...] = (None, "", [], {})

_SHOWN = 12  # names of GPUs in a sentence

# Contracts that a user may ask for. The last one is ours: the API then gets none.
ON_DEMAND, SPOT, ANY = "ondemand", "spot", "any"


def check_spec(spec: dict[str, t.Any]) -> dict[str, t.Any]:
    """The search, if it has a section that the API needs (page "yaml spec"); the API checks what is in it.

    Raises ValueError, also for a typo of a documented key: an API that ignores the key sells something else.
    """
    if not spec.get("compute") and not spec.get("storage"):
        raise ValueError("needs a section 'compute' (at least gpu_type and gpu_count) or 'storage'")
    for slip in search_keys.slips(spec):
        raise ValueError(slip)
    contract = contract_of(spec)
    if near := nearest(contract, (ON_DEMAND, SPOT, ANY)):
        raise ValueError(f"has compute.contract_type '{contract}': did you mean '{near}'?")
    return spec


def contract_of(spec: Spec) -> str:
    """The contract that a search is for: on-demand, unless it names another, or ``any``.

    A vendor may take a spot machine away at any time, so a user must ask for one. Empty for storage alone.
    """
    compute = spec.get("compute")
    if not compute or not isinstance(compute, t.Mapping):
        return ""
    return str(compute.get("contract_type") or "").strip().lower() or ON_DEMAND


def as_sent(spec: Spec) -> dict[str, t.Any]:
    """The search as the API takes it, which offers every contract if the search names none."""
    contract = contract_of(spec)
    if not contract:
        return dict(spec)
    rest = {name: value for name, value in spec["compute"].items() if name != "contract_type"}
    return {**spec, "compute": rest if contract == ANY else {**rest, "contract_type": contract}}


def undocumented(spec: Spec) -> list[str]:
    """A warning about keys that no page documents: whether the API refuses or ignores them is unknown."""
    unknown = ", ".join(search_keys.undocumented(spec))
    return [f"spec has {unknown}, which no page of the API documents: it may be ignored."] if unknown else []


def unapplied(spec: Spec, filters: t.Any) -> list[str]:
    """A warning about keys of a search that the API's ``filters_applied`` lacks; none if that names nothing.

    No page shows its form, so a key counts as applied if any text there, or any name with a value, contains it.
    """
    names = list(filter(None, map(_letters, _names_in(filters))))
    lost = [label for label, key in _requested(spec) if not any(_letters(key) in name for name in names)]
    if not names or not lost:
        return []
    return [f"The API lists the filters that it applied, without {', '.join(lost)}: it may have ignored that."]


def may_mistype_gpu(spec: Spec, offers: t.Sized) -> bool:
    """Whether a search may name a GPU that does not exist: it found no offer, which is how some servers say that."""
    return not offers and bool(_gpu_types(spec))


def unlisted_gpus(spec: Spec, catalog: t.Any) -> list[str]:
    """A sentence for each GPU of a search that is not in the API's catalogue (GET /available_gpus), with similar names.

    The API's names are case-sensitive. No sentence if the catalogue has another form than the documented one.
    """
    names = _listed(catalog)
    return [_unlisted(gpu_type, names) for gpu_type in _gpu_types(spec) if names and gpu_type not in names]


def _unlisted(gpu_type: str, names: t.Sequence[str]) -> str:
    similar = _similar(gpu_type, names)
    hint = f"Did you mean {' or '.join(similar)}?" if similar else f"It lists {', '.join(names[:_SHOWN])}."
    return f"The API lists no GPU '{printable(gpu_type, 60)}'. {hint}"


def _gpu_types(spec: Spec) -> list[str]:
    """The GPUs that a search names, with pipes between them."""
    compute = spec.get("compute")
    text = compute.get("gpu_type") if isinstance(compute, t.Mapping) else None
    return [part.strip() for part in str(text or "").split("|") if part.strip()]


def _listed(catalog: t.Any) -> list[str]:
    """The families of a catalogue of GPUs, and the full names in them."""
    items = catalog.items() if isinstance(catalog, t.Mapping) else ()
    families = {family: members for family, members in items if isinstance(members, list)}
    names = [*families, *(name for members in families.values() for name in members)]
    return [printable(name, LONGEST_NAME) for name in names if isinstance(name, str)]


def _similar(word: str, names: t.Iterable[str]) -> list[str]:
    """The names spelled most like the word: one that differs only in case and punctuation, else up to two others."""
    spelled = {_letters(name): name for name in names}
    near = difflib.get_close_matches(_letters(word), spelled, n=2, cutoff=0.7)
    return [spelled[plain] for plain in ([_letters(word)] if _letters(word) in spelled else near)]


def _requested(spec: Spec) -> t.Iterator[tuple[str, str]]:
    """What a search asks for: each key as a person writes it, and its last part. All volumes count as one key."""
    for key, value in spec.items():
        if key in ("compute", "network") and isinstance(value, dict):
            yield from ((f"{key}.{inner}", str(inner)) for inner, item in value.items() if item not in _NOTHING)
        elif value not in _NOTHING:
            yield str(key), str(key)


def _names_in(filters: t.Any) -> t.Iterator[str]:
    """The names that have a value, and the texts of lists, at any depth."""
    if isinstance(filters, dict):
        for key, value in filters.items():
            if value not in _NOTHING:
                yield str(key)
                yield from _names_in(value) if isinstance(value, (dict, list)) else ()
    elif isinstance(filters, list):
        for item in filters:
            yield from _names_in(item)
    elif isinstance(filters, str):
        yield filters


def _letters(name: str) -> str:
    """The letters and digits of a name, so that ``gpuCount`` is ``gpu_count``."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
