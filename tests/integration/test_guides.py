# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does what the guides say, block by block, as a reader would: files are written, commands are run, outputs compared.

What a fenced block of Markdown is, its language tells:

- ``yaml``, ``jinja`` and ``ini`` are files; their first line is a comment with the name.
- ``console`` holds commands after ``$``, and below each what it prints. ``...`` stands for anything, in a line and as a
  line of its own; the printed lines must come in this order, others may stand between them.

A comment before a block says what is special:

- ``<!-- not run: why -->``
- ``<!-- fails -->``: the last command ends with an error.
- ``<!-- api: [{"status": 503}] -->``: the API behaves like this from here on (see ``simulator.Fault``); ``[]`` ends it.
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
# These describe what other tests run, or what nobody can run here.
NO_GUIDES = {
    *("README", "acceptance", "account", "api", "architecture", "awx", "awx-reference", "examples", "glossary"),
    *("guarantees", "performance", "spec", "upgrading"),
}
# The other guides use its inventory.
FIRST = ROOT / "docs" / "first-machine.md"
PAGES = [ROOT / "README.md", *sorted(file for file in (ROOT / "docs").glob("*.md") if file.stem not in NO_GUIDES)]
MOST_NOT_RUN = 2  # blocks of a page
BLOCK = re.compile(r"((?:^<!-- [^\n]* -->\n)*)^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Block:
    """A fenced block, and what the comments before it say."""

    line: int
    language: str
    text: str
    notes: dict[str, str] = field(default_factory=dict)


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text()
    found = []
    for match in BLOCK.finditer(text):
        notes = dict(re.findall(r"<!-- ([a-z ]+?)(?:: (.*?))? -->", match[1]))
        found.append(Block(text.count("\n", 0, match.start(3)), match[2], match[3], notes))
    assert len(found) == len(re.findall("^```", text, re.MULTILINE)) / 2, "a block that is not understood"
    return found


def commands(text: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that it is said to print."""
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
    """The first expected line that the output does not have after the one before it."""
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
        assert "Unable to parse" not in done.output, f"a file that is no inventory lies in its folder, {place}"


def write(project: Project, block: Block) -> None:
    """Write the file that a block is."""
    name = re.match(r"(?:# |\{# )(\S+\.\S+)", block.text)
    assert block.language in ("yaml", "jinja", "ini") and name, f"line {block.line}: no commands, no file"
    file = project.folder / name[1]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_guide_can_be_followed(make_project: MakeProject, page: Path, request: pytest.FixtureRequest) -> None:
    # The offers of `make sandbox`; machines that are up at once.
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
def test_few_blocks_are_not_run_and_each_says_why(page: Path) -> None:
    reasons = [block.notes["not run"] for block in blocks(page) if "not run" in block.notes]
    assert all(reasons)
    assert len(reasons) <= MOST_NOT_RUN


@pytest.mark.parametrize(("site", "inventory"), [("vllm_site", "docker"), ("ray_site", "ray")])
def test_the_playbooks_of_the_examples_can_be_read(project: Project, site: str, inventory: str) -> None:
    # They need GPUs and the Internet; their inventories are bought by tests/e2e.
    examples = ROOT / "docs" / "examples"
    words = ("-i", str(examples / f"{inventory}.yml"), str(examples / f"{site}.yml"), "--syntax-check")
    run = project.run("ansible-playbook", *words)
    assert run.returncode == 0, run.output


def test_the_terminal_of_the_readme_shows_what_is_printed(make_project: MakeProject) -> None:
    project = make_project(default_offers(), provision_seconds=0)
    runs = {playbook: project.run(*terminal.command(playbook), ANSIBLE_FORCE_COLOR="1") for playbook in terminal.SHOWN}
    screen = terminal.screen_of({playbook: run.output for playbook, run in runs.items()})
    for theme in draw.THEMES:
        drawn = (draw.PICTURES / f"terminal-{theme}.svg").read_text()
        assert drawn == terminal.picture(screen, theme), f"make pictures\n{[run.output for run in runs.values()]}"


def test_what_a_guide_shows_must_be_printed() -> None:
    assert commands("$ a \\\n    b\none\n$ c\n") == [("a b", ["one"]), ("c", [])]
    assert missing(["one", "", "...", "t...o"], "zero\none\n1\n  two\n") is None
    assert missing(["two", "one"], "one\ntwo\n") == "one"
