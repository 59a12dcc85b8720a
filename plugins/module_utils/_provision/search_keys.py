# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of a search, by the API pages "yaml spec", "get offers" and "storage": docs/spec.md is made of them.

Whatever else reads them takes them from here: what is a misspelled key, and what no page documents.
"""

from __future__ import annotations

import functools
import typing as t

from .._wording import nearest

SECTIONS = {
    "": "Where, and how soon",
    "compute": "The machine",
    "storage": "Storage, a list of volumes",
    "network": "The network",
}


class Key(t.NamedTuple):
    """A key of a search. ``kind``: its type, with its unit if it has one. ``default``: what counts without it."""

    section: str
    name: str
    kind: str
    example: t.Any
    meaning: str
    default: str = ""
    vendors: str = "all"

    @property
    def path(self) -> str:
        """The key as messages name it."""
        return f"{self.section}.{self.name}" if self.section else self.name


KEYS = (
    Key("", "region", "text", "EU", "a group of regions: `US`, `EU`, `APAC` or `Other`", "all regions"),
    Key("", "vendor", "text", "nebius", "one vendor, by the name that `catalog_info` lists", "all vendors"),
    Key(
        "",
        "max_procure_time_seconds",
        "whole number, seconds",
        300,
        "the longest time that the vendor may need to provide the machine",
        "no limit",
    ),
    Key(
        "compute",
        "gpu_type",
        "text",
        "H100",
        'a family such as `H100`, or a full name such as `nvidia-h100-sxm5-80gb`; several with bars: `"H100 | A100"`.'
        " Needed",
    ),
    Key("compute", "gpu_count", "whole number", 1, "GPUs of the machine: 1, 2, 4 or 8", "1"),
    Key(
        "compute",
        "type",
        "text",
        "vm",
        "`vm`, a whole machine, or `container`, a share of one",
        "`vm`",
        "`container`: vendors with shared machines, such as Vast.ai",
    ),
    Key(
        "compute",
        "contract_type",
        "text",
        "ondemand",
        "`ondemand`; `spot`, which the vendor may take away at any time; or `any`",
        "`ondemand`, by the collection",
    ),
    Key(
        "compute",
        "max_price_per_gpu_hour",
        "number, USD per hour and GPU",
        2.5,
        "offers above this price are left out; it does not count storage",
        "no limit",
    ),
    Key(
        "compute",
        "min_boot_disk_gb",
        "whole number, GB",
        200,
        "offers with a smaller boot disk are left out",
        "no limit",
        "those that report their boot disks",
    ),
    Key(
        "storage",
        "type",
        "text",
        "block_disk",
        "`block_disk`, for one machine, or `filesystem`, for several. Needed",
        "",
        "varies; `catalog_info` lists it",
    ),
    Key(
        "storage",
        "class",
        "text",
        "standard",
        "`economy`, `standard`, `performance` or `premium` (a parallel file system)",
        "`standard`",
        "varies; `catalog_info` lists it",
    ),
    Key("storage", "size", "text, a number with `GB` or `TB`", "500GB", "the size of the volume. Needed"),
    Key(
        "storage",
        "persistent",
        "true or false",
        False,
        "whether the volume stays, and is billed, when its machine ends",
        "`false`",
    ),
    Key(
        "network",
        "supports_cilium",
        "true or false",
        True,
        "only offers of vendors whose network can run Cilium",
        "`false`",
        "those with Cilium",
    ),
)
# What the role itself reads of each search, and the API never gets.
CEILING = Key(
    "",
    "max_price_per_hour",
    "number, USD per hour",
    4,
    "the most that the whole offer may cost, beside the host's `provision_max_price_per_hour`",
    "no limit",
)
_LIMITS = "max_"  # what the names of limits begin with

Spec = t.Mapping[t.Any, t.Any]


@functools.lru_cache
def documented(section: str) -> tuple[str, ...]:
    """What the API documents in a section; at the top the sections, too."""
    names = tuple(key.name for key in KEYS if key.section == section)
    return names if section else (*names, *filter(None, SECTIONS))


def keys_of(spec: Spec) -> t.Iterator[tuple[str, str]]:
    """The keys of a search: the section that each stands in, and its name."""
    storage = spec.get("storage")
    volumes = storage if isinstance(storage, list) else [storage]
    for section, part in (
        ("", spec),
        ("compute", spec.get("compute")),
        *(("storage", volume) for volume in volumes),
        ("network", spec.get("network")),
    ):
        for name in part if isinstance(part, t.Mapping) else ():
            yield section, str(name)


def undocumented(spec: Spec) -> list[str]:
    """The keys that no page documents, each once."""
    paths = (path_of(section, name) for section, name in keys_of(spec) if name not in documented(section))
    return list(dict.fromkeys(paths))


def slips(spec: Spec, further: t.Sequence[Key] = ()) -> list[str]:
    """A sentence for each key that is a slip of a documented one, or a limit in the wrong section: neither would count.

    ``further``: what the search may have beside what the API documents.
    """
    known = (*KEYS, *further)
    meant = {path_of(section, name): _meant(section, name, known) for section, name in keys_of(spec)}
    return [
        f"has '{path}', which the API does not document: did you mean '{key}'?" for path, key in meant.items() if key
    ]


def _meant(section: str, name: str, known: t.Sequence[Key]) -> str:
    """The key that an unknown one means; empty if it is known, or means none."""
    names = {*documented(section), *(key.name for key in known if key.section == section)}
    if name in names:
        return ""
    if near := nearest(name, sorted(names)):
        return path_of(section, near)
    return next((key.path for key in known if key.name == name and name.startswith(_LIMITS)), "")


def path_of(section: str, name: str) -> str:
    """A key as messages name it."""
    return f"{section}.{name}" if section else name
