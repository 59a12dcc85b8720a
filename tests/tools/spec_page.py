# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/spec.md, the reference of all keys of a search, from the table that also finds misspelled ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._provision.search import (
    CEILING_KEY,
    KEYS,
    SECTIONS,
    Key,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "spec.md"
BEGIN = """\
<!-- Made by tests/tools/spec_page.py from plugins/module_utils/_provision/search.py. -->

# Keys of a search

`provision_spec` says which offers may be bought, and `offers_spec` which of them the playbook `offers` shows. The
option `spec` of `offer_info` has the same keys without `max_price_per_hour`. Only `compute` is needed.

A misspelled key is refused before anything is sent. A key that the API does not document is sent with a warning, since
the API may ignore it.

With every key:

<!-- not run: no offer has all of it -->"""
END = """\
`catalog_info` lists the GPUs, vendors, regions, contracts and storage that the market has now.
"""
HEAD = ("key", "type, unit", "example", "meaning", "without it", "vendors")


def keys_of(section: str) -> Iterator[Key]:
    """The keys of a section, and at the top what the role reads itself."""
    yield from (key for key in (*KEYS, CEILING_KEY) if key.section == section)


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
