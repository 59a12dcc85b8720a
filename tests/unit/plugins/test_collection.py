# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Ansible community asks of every collection."""

from __future__ import annotations

import functools
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.doc_fragments.api import ModuleDocFragment

ROOT = Path(__file__).parents[3]
PLUGINS = ROOT / "plugins"
SHARED = [
    file for kind in ("module_utils", "plugin_utils") for file in (PLUGINS / kind).rglob("*.py") if file.stat().st_size
]
DOCUMENTED = sorted(
    [
        *(file for kind in ("inventory", "lookup", "modules") for file in (PLUGINS / kind).glob("[a-z]*.py")),
        *(PLUGINS / "filter").glob("*.yml"),
    ]
)
ROLES = sorted(path.parents[1].name for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
PLAYBOOKS = sorted(file.stem for file in (ROOT / "playbooks").glob("*.yml"))


def documentation(file: Path) -> dict[str, Any]:
    if file.suffix == ".yml":
        return dict(yaml.safe_load(file.read_text())["DOCUMENTATION"])
    name = f"ansible_collections.compute_index.supply.plugins.{file.parent.name}.{file.stem}"
    found: dict[str, Any] = yaml.safe_load(importlib.import_module(name).DOCUMENTATION)
    return found


@pytest.mark.parametrize("file", SHARED, ids=lambda file: file.stem)
def test_what_plugins_share_is_private_by_its_name(file: Path) -> None:
    """docs/architecture.md says so once."""
    assert any(part.startswith("_") for part in file.relative_to(PLUGINS).parts[1:])


@pytest.mark.parametrize("file", sorted((PLUGINS / "modules").glob("[a-z]*.py")), ids=lambda file: file.stem)
def test_a_module_says_what_it_supports(file: Path) -> None:
    document = documentation(file)
    common = yaml.safe_load(ModuleDocFragment.ATTRIBUTES)["attributes"]
    assert "compute_index.supply.api.attributes" in document["extends_documentation_fragment"]
    said = {name: {**common.get(name, {}), **own} for name, own in {**common, **document["attributes"]}.items()}
    assert said.keys() == {"check_mode", "diff_mode", "idempotent", "platform"}
    assert all(attribute["description"] and attribute["support"] for attribute in said.values())


@pytest.mark.parametrize("file", DOCUMENTED, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_plugin_says_since_when_it_exists_and_by_whom(file: Path) -> None:
    document = documentation(file)
    assert document["version_added"]
    assert document["author"]
    assert not document["short_description"].endswith(".")


@pytest.mark.parametrize("role", ROLES)
def test_a_role_says_since_when_it_exists_and_by_whom(role: str) -> None:
    specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    assert all(spec["version_added"] and spec["author"] and spec["description"] for spec in specs.values())
    assert (ROOT / "roles" / role / "README.md").exists()


@pytest.mark.parametrize("role", ROLES)
def test_the_example_of_a_role_is_a_play_of_it(role: str) -> None:
    spec = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]
    ((used,),) = [play["roles"] for play in yaml.safe_load(spec["examples"])]
    assert used["role"] == f"compute_index.supply.{role}"
    assert used.get("vars", {}).keys() <= spec["options"].keys()


def test_each_play_has_the_strategy_under_which_a_task_may_run_once() -> None:
    """Whatever is usual where it runs: under another one it would run for each host, and extend a lease twice.

    Only the plays of the role's steps have none, which refuse another one by themselves.
    """
    files = [file for file in (ROOT / "playbooks").rglob("*.yml") if file.parent.name != "awx"]
    plays = [(file.name, play) for file in files for play in yaml.safe_load(file.read_text()) if "hosts" in play]
    others = {name for name, play in plays if play.get("strategy") != "ansible.builtin.linear"}
    assert len(plays) > 20 and others == {"awx_setup.yml", "purchase.yml", "quotes.yml"}, others


def test_each_playbook_has_its_section() -> None:
    named = re.findall("^## `(.*)`$", (ROOT / "docs" / "playbooks.md").read_text(), re.MULTILINE)
    assert sorted(named) == PLAYBOOKS


@functools.cache
def words() -> set[str]:
    """All words of playbooks, plugins and roles."""
    files = [file for folder in ("playbooks", "plugins", "roles") for file in (ROOT / folder).rglob("*")]
    texts = [file.read_text() for file in files if file.suffix in (".py", ".yml")]
    return {word for text in texts for word in re.findall(r"\w+", text)}


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_the_section_of_a_playbook_has_its_variables_and_their_defaults(name: str) -> None:
    section = re.split("^## `(.*)`$", (ROOT / "docs" / "playbooks.md").read_text(), flags=re.MULTILINE)
    rows = re.findall(r"^\| (`.+?`) \| (.+?) \| ", section[section.index(name) + 1], re.MULTILINE)
    said = {variable: default.strip("`") for names, default in rows for variable in re.findall(r"`(\w+)`", names)}
    own = re.findall(
        rf"\b({name}_[a-z](?:_?[a-z])*) \| default\((\w*)", (ROOT / "playbooks" / f"{name}.yml").read_text()
    )
    assert {variable for variable, _default in own} <= said.keys()
    assert [(variable, said[variable]) for variable, default in own if default] == [each for each in own if each[1]]
    assert said.keys() <= words()  # what a survey or an extra variable gives is read elsewhere, too


@pytest.mark.parametrize("module", sorted(file.stem for file in (PLUGINS / "modules").glob("[a-z]*.py")))
def test_a_module_and_its_action_plugin_do_the_same(module: str) -> None:
    names = [f"ansible_collections.compute_index.supply.plugins.{kind}.{module}" for kind in ("modules", "action")]
    operation = getattr(importlib.import_module(names[0]), module.upper(), None)
    if operation is None:  # some work on the machine that they run on, some there and on the controller, some only here
        machine = ("machine_info", "gpu_acceptance", "run_job", "run_info")
        both = ("activity_info", "last_command", "run_files", "run_results")
        assert module in (*machine, *both, "wait_for_boot", "run_follow", "decide")
        assert (PLUGINS / "action" / f"{module}.py").exists() != (module in machine)
    else:
        assert importlib.import_module(names[1]).ActionModule.operation is operation


INTERNAL = {"decide", "plan"}


@pytest.mark.parametrize("file", DOCUMENTED, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_what_is_internal_says_so_in_each_list(file: Path) -> None:
    """ansible-doc, Galaxy and the site list parts by their short descriptions; a page of the docs has them apart."""
    document, is_internal = documentation(file), file.stem in INTERNAL
    assert document["short_description"].startswith("(internal) ") is is_internal
    assert document["description"][0].startswith("Internal - do not use it in your own plays.") is is_internal
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("roles/*/README.md")]
    for_users = [page.read_text().partition("Do not use them yourself:")[0] for page in pages]
    assert not is_internal or not any(f"compute_index.supply.{file.stem}`" in page for page in for_users)
