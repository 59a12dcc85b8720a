# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follow the guides block by block, as a reader would: write the files, run the commands, compare the outputs.

The language of a fenced Markdown block says what it is:

- ``yaml``, ``jinja`` and ``ini`` are files. Their first line is a comment with the file's name.
- ``console`` has commands after ``$``, each followed by its output. ``...`` stands for anything, within a line or as a
  line of its own. The lines must be printed in this order; other lines may come between them.

Comments before a block mark special cases:

- ``<!-- not run: why -->``
- ``<!-- fails -->``: the last command fails.
- ``<!-- api: [{"status": 503}] -->``: from here on the API has these faults (``simulator.Fault``); ``[]`` ends them.
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from conftest import MakeProject, Project
from demo import terminal
from simulator import Fault
from simulator.catalogue import default_offers
from tools import draw

ROOT = Path(__file__).parents[2]
# Pages that other tests cover, or whose examples cannot run here
NO_GUIDES = {
    *("README", "acceptance", "account", "api", "architecture", "awx", "awx-reference", "examples", "glossary"),
    *("guarantees", "performance", "spec", "upgrading"),
}
# The other guides use the inventory of this page.
FIRST = ROOT / "docs" / "first-machine.md"
PAGES = [ROOT / "README.md", *sorted(file for file in (ROOT / "docs").glob("*.md") if file.stem not in NO_GUIDES)]
MOST_NOT_RUN = 2  # blocks of a page
BLOCK = re.compile(r"((?:^<!-- [^\n]* -->\n)*)^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Block:
    """A fenced block. ``notes``: from the comments before it."""

    line: int
    language: str
    text: str
    notes: dict[str, str] = field(default_factory=dict)


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text()
    parsed = []
    for match in BLOCK.finditer(text):
        notes = dict(re.findall(r"<!-- ([a-z ]+?)(?:: (.*?))? -->", match[1]))
        parsed.append(Block(text.count("\n", 0, match.start(3)), match[2], match[3], notes))
    assert len(parsed) == len(re.findall("^```", text, re.MULTILINE)) / 2, "a block was not parsed"
    return parsed


def commands(text: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines of its output."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found[-1][0].endswith("\\"):
            found[-1] = (found[-1][0][:-1] + line.strip(), [])
        else:
            found[-1][1].append(line)
    return found


def missing(expected: list[str], output: str) -> str | None:
    """The first expected line that is not in the output after the preceding expected lines."""
    printed = iter([line.strip() for line in output.splitlines()])
    for line in filter(None, (line.strip() for line in expected)):
        pattern = ".*".join(re.escape(part) for part in line.split("..."))
        if line != "..." and not any(re.fullmatch(pattern, other) for other in printed):
            return line
    return None


def run(project: Project, block: Block) -> None:
    """Run the commands of a console block."""
    steps = commands(block.text)
    for number, (command, expected) in enumerate(steps):
        done = project.run("bash", "-c", command)
        place = f"line {block.line}: $ {command}\n{done.output}"
        fails = "fails" in block.notes and number == len(steps) - 1
        assert (done.returncode != 0) is fails, f"exit code {done.returncode}, {place}"
        assert (line := missing(expected, done.output)) is None, f"not printed: {line}\n{place}"
        assert "Unable to parse" not in done.output, f"a file in the inventory's folder is not an inventory, {place}"


def write(project: Project, block: Block) -> None:
    """Write the file of a block."""
    name = re.match(r"(?:# |\{# )(\S+\.\S+)", block.text)
    assert block.language in ("yaml", "jinja", "ini") and name, f"line {block.line}: neither commands nor a file"
    file = project.folder / name[1]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_guide_can_be_followed(make_project: MakeProject, page: Path, request: pytest.FixtureRequest) -> None:
    # The offers of `make sandbox`, but machines that are ready at once
    offers = [offer for _copy in range(4) for offer in default_offers()]
    project = make_project(offers, provision_seconds=0)
    project.inventory.unlink()
    project.environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "CLUSTER_OFFER_ID": next(offer.offer_id for offer in offers if offer.node_count),
    }
    if page.stem == "shared-registry":
        project.environment["COMPUTE_INDEX_REGISTRY_URL"] = request.getfixturevalue("registry")
    if page not in (FIRST, ROOT / "README.md"):
        write(project, next(block for block in blocks(FIRST) if block.language == "yaml"))
    for block in blocks(page):
        if "not run" in block.notes or block.language == "text":
            continue
        if "api" in block.notes:
            project.simulator.faults[:] = [Fault(**rule) for rule in json.loads(block.notes["api"])]
        if block.language == "console":
            run(project, block)
        else:
            write(project, block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_guides_skip_few_blocks_and_give_reasons(page: Path) -> None:
    reasons = [block.notes["not run"] for block in blocks(page) if "not run" in block.notes]
    assert all(reasons)
    assert len(reasons) <= MOST_NOT_RUN


@pytest.mark.parametrize(("site", "inventory"), [("vllm_site", "docker"), ("ray_site", "ray")])
def test_example_playbooks_pass_the_syntax_check(project: Project, site: str, inventory: str) -> None:
    # Running them needs GPUs and the Internet. tests/e2e buys the machines of their inventories.
    examples = ROOT / "docs" / "examples"
    words = ("-i", str(examples / f"{inventory}.yml"), str(examples / f"{site}.yml"), "--syntax-check")
    run = project.run("ansible-playbook", *words)
    assert run.returncode == 0, run.output


def test_terminal_picture_of_the_readme_is_up_to_date(make_project: MakeProject) -> None:
    project = make_project(default_offers(), provision_seconds=0)
    runs = {playbook: project.run(*terminal.command(playbook), ANSIBLE_FORCE_COLOR="1") for playbook in terminal.SHOWN}
    screen = terminal.screen_of({playbook: run.output for playbook, run in runs.items()})
    for theme in draw.THEMES:
        drawn = (draw.PICTURES / f"terminal-{theme}.svg").read_text()
        assert drawn == terminal.picture(screen, theme), f"make pictures\n{[run.output for run in runs.values()]}"


def test_console_blocks_are_parsed_and_compared() -> None:
    assert commands("$ a \\\n    b\none\n$ c\n") == [("a b", ["one"]), ("c", [])]
    assert missing(["one", "", "...", "t...o"], "zero\none\n1\n  two\n") is None
    assert missing(["two", "one"], "one\ntwo\n") == "one"
