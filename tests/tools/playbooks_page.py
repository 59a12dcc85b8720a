# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/playbooks.md, the reference of the playbooks, from the comments that they begin with.

Run ``python tests/tools/playbooks_page.py``. A comment is Markdown. An item ``- `name` (default): meaning`` describes a
variable; the page has these items as a table.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "playbooks.md"
# In the order of a machine's life; other playbooks follow.
ORDER = (
    *(
        "offers",
        "quote",
        "provision",
        "configure",
        "run",
        "runs",
        "audit",
        "spend",
        "probe",
        "decommission",
        "end_by_id",
        "extend",
    ),
    *("reap", "reap_timer", "registry", "awx_setup"),
)
INTRODUCTION = """\
<!-- Made by tests/tools/playbooks_page.py from the first lines of the playbooks. -->

# The playbooks

Run a playbook by its full name, and give it variables with `-e`. Each rejects a misspelled variable before anything
is sent, and an unknown one with the prefix `provision_` or that of its own variables. The examples use [the inventory
of the first page](first-machine.md#declare-the-machine).

`audit`, `spend`, `reap`, `decommission`, `extend` and `registry` cover all hosts of the inventory, and hosts that
`provision_hosts` added to a group. They find the registries by the group's variables, even if the group is empty. So
set `provision_registry_dir`, `provision_registry_url` and `provision_project` in the inventory, for example in
`group_vars/gpu.yml`; if you set them only with `-e`, give them to all of these playbooks. The output names the other
projects of a shared registry, and a sweep fails if one of their leases is over and no sweep enforces it.

If a host's variable is undefined or invalid, or Ansible cannot read a file of the host, the playbook names the host
and the variable or file, goes on with all other hosts, and fails at its end.
"""
LICENSE_LINES = 4
HEAD = "| variable | default | meaning |\n|---|---|---|\n"
ITEMS = re.compile(r"(?:^- `.+\n(?:^  .+\n)*)+", re.MULTILINE)
ITEM = re.compile(r"- (`\w+`(?:, `\w+`)*) \(((?:`[^`]*`|[^()`])+)\): (.+)", re.DOTALL)


def table_of(items: str) -> str:
    """The items of variables as a table; other lists stay as they are."""
    rows = []
    for item in re.split(r"^(?=- )", items, flags=re.MULTILINE)[1:]:
        parts = ITEM.fullmatch(" ".join(item.split()))
        if parts is None:
            return items
        # A bar ends a cell, even in code.
        rows.append(f"| {parts[1]} | {parts[2]} | {parts[3]} |".replace("`|`", r"`\|`") + "\n")
    return HEAD + "".join(rows)


def section(playbook: Path) -> str:
    """What a playbook says about itself, as a section of the page."""
    lines: list[str] = []
    for line in playbook.read_text().splitlines()[LICENSE_LINES:]:
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    text = ITEMS.sub(lambda items: table_of(items[0]), "\n".join([*lines, ""]))
    return f"## `{playbook.stem}`\n\n{text}"


def page() -> str:
    """The whole page."""
    names = [file.stem for file in sorted((ROOT / "playbooks").glob("*.yml"))]
    names.sort(key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    return "\n".join([INTRODUCTION, *(section(ROOT / "playbooks" / f"{name}.yml") for name in names)])


if __name__ == "__main__":
    PAGE.write_text(page())
