# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/spec.md, the reference of all keys of a search, which a test compares with those that the rules know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

PAGE = Path(__file__).resolve().parents[2] / "docs" / "spec.md"
BEGIN = """\
<!-- Made by tests/tools/spec_page.py. -->

# Keys of a search

`provision_spec` says which offers may be bought, and `offers_spec` which offers the playbook `offers` shows. The
option `spec` of `offer_info` has the same keys without `max_price_per_hour`. Only `compute` is needed.

A misspelled key, and an unknown one that begins with `max_` or `min_`, is refused before anything is sent. Any other
key that the API does not document is sent with a warning, since the API may ignore it.

With every key:

<!-- not run: no offer has all of it -->"""
END = """\
`catalog_info` lists the GPUs, vendors, regions, contracts and storage that the market has now.
"""
HEAD = ("key", "type, unit", "example", "meaning", "without it", "vendors")


SECTIONS = {
    "": "Where, and how soon",
    "compute": "The machine",
    "storage": "Storage, a list of volumes",
    "network": "The network",
}


class Key(NamedTuple):
    """A key of a search. ``kind``: its type, with its unit if it has one. ``default``: what counts without it."""

    section: str
    name: str
    kind: str
    example: Any
    meaning: str
    default: str = ""
    vendors: str = "all"


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
    # What the role itself reads
    Key(
        "",
        "max_price_per_hour",
        "number, USD per hour",
        4,
        "the most that the whole offer may cost, in addition to the host's `provision_max_price_per_hour`",
        "no limit",
    ),
)


def keys_of(section: str) -> Iterator[Key]:
    """The keys of a section."""
    yield from (key for key in KEYS if key.section == section)


def example() -> dict[str, Any]:
    """A search with every key."""
    parts = {section: {key.name: key.example for key in keys_of(section)} for section in SECTIONS}
    return {**parts.pop(""), **parts, "storage": [parts["storage"]]}


def table(section: str) -> str:
    """The keys of a section as a table in Markdown."""
    rows = [HEAD, ("---",) * len(HEAD)]
    for key in keys_of(section):
        shown = yaml.safe_dump(key.example).splitlines()[0]
        rows.append((f"`{key.name}`", key.kind, f"`{shown}`", key.meaning, key.default or "-", key.vendors))
    # A bar ends a cell, even in code.
    cells = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells).replace("| --- ", "|---").replace("--- |", "---|")


def page() -> str:
    """The whole page."""
    search = yaml.safe_dump({"provision_spec": example()}, sort_keys=False)
    parts = [BEGIN, f"```yaml\n{search}```\n"]
    for section, title in SECTIONS.items():
        parts.append(f"## {title}{f': `{section}`' if section else ''}\n\n{table(section)}")
    return "\n".join([*parts, END])


if __name__ == "__main__":
    PAGE.write_text(page())
