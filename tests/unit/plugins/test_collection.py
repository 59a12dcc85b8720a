# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requirements of the Ansible community for collections, and consistency between plugins, roles and their docs."""

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
def test_shared_code_has_private_names(file: Path) -> None:
    """docs/architecture.md says that all of module_utils and plugin_utils is private."""
    assert any(part.startswith("_") for part in file.relative_to(PLUGINS).parts[1:])


@pytest.mark.parametrize("file", sorted((PLUGINS / "modules").glob("[a-z]*.py")), ids=lambda file: file.stem)
def test_module_documents_its_attributes(file: Path) -> None:
    document = documentation(file)
    common = yaml.safe_load(ModuleDocFragment.ATTRIBUTES)["attributes"]
    assert "compute_index.supply.api.attributes" in document["extends_documentation_fragment"]
    attributes = {**common, **document["attributes"]}
    documented = {name: {**common.get(name, {}), **attribute} for name, attribute in attributes.items()}
    assert documented.keys() == {"check_mode", "diff_mode", "idempotent", "platform"}
    assert all(attribute["description"] and attribute["support"] for attribute in documented.values())


@pytest.mark.parametrize("file", DOCUMENTED, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_plugin_documents_version_and_author(file: Path) -> None:
    document = documentation(file)
    assert document["version_added"]
    assert document["author"]
    assert not document["short_description"].endswith(".")


@pytest.mark.parametrize("role", ROLES)
def test_role_documents_version_and_author(role: str) -> None:
    specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    assert all(spec["version_added"] and spec["author"] and spec["description"] for spec in specs.values())
    assert (ROOT / "roles" / role / "README.md").exists()


@pytest.mark.parametrize("role", ROLES)
def test_example_of_role_uses_its_options(role: str) -> None:
    spec = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]
    ((used,),) = [play["roles"] for play in yaml.safe_load(spec["examples"])]
    assert used["role"] == f"compute_index.supply.{role}"
    assert used.get("vars", {}).keys() <= spec["options"].keys()


def test_plays_set_the_linear_strategy() -> None:
    """Else a user's default strategy would apply. Under another one, a `run_once` task runs for each host.

    The plays of the steps of the roles set none: the role refuses other strategies itself.
    """
    files = [file for file in (ROOT / "playbooks").rglob("*.yml") if file.parent.name != "awx"]
    plays = [(file.name, play) for file in files for play in yaml.safe_load(file.read_text()) if "hosts" in play]
    others = {name for name, play in plays if play.get("strategy") != "ansible.builtin.linear"}
    assert len(plays) > 20 and others == {"awx_setup.yml", "purchase.yml", "quotes.yml"}, others


def test_each_playbook_has_a_section_in_the_docs() -> None:
    named = re.findall("^## `(.*)`$", (ROOT / "docs" / "playbooks.md").read_text(), re.MULTILINE)
    assert sorted(named) == PLAYBOOKS


@functools.cache
def words_in_code() -> set[str]:
    """The words in the code of playbooks, plugins and roles."""
    files = [file for folder in ("playbooks", "plugins", "roles") for file in (ROOT / folder).rglob("*")]
    texts = [file.read_text() for file in files if file.suffix in (".py", ".yml")]
    return {word for text in texts for word in re.findall(r"\w+", text)}


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_section_of_playbook_has_its_variables_and_defaults(name: str) -> None:
    section = re.split("^## `(.*)`$", (ROOT / "docs" / "playbooks.md").read_text(), flags=re.MULTILINE)
    rows = re.findall(r"^\| (`.+?`) \| (.+?) \| ", section[section.index(name) + 1], re.MULTILINE)
    documented = {variable: default.strip("`") for names, default in rows for variable in re.findall(r"`(\w+)`", names)}
    used = re.findall(
        rf"\b({name}_[a-z](?:_?[a-z])*) \| default\((\w*)", (ROOT / "playbooks" / f"{name}.yml").read_text()
    )
    assert {variable for variable, _default in used} <= documented.keys()
    assert [(variable, documented[variable]) for variable, default in used if default] == [
        each for each in used if each[1]
    ]
    assert documented.keys() <= words_in_code()  # other files may read variables of surveys


@pytest.mark.parametrize("module", sorted(file.stem for file in (PLUGINS / "modules").glob("[a-z]*.py")))
def test_module_and_action_plugin_share_an_operation(module: str) -> None:
    names = [f"ansible_collections.compute_index.supply.plugins.{kind}.{module}" for kind in ("modules", "action")]
    operation = getattr(importlib.import_module(names[0]), module.upper(), None)
    if operation is None:  # it runs on the machine, on machine and controller, or only on the controller
        machine = ("machine_info", "gpu_acceptance", "run_job", "run_info")
        both = ("activity_info", "last_command", "run_files", "run_results")
        assert module in (*machine, *both, "wait_for_boot", "run_follow", "decide")
        assert (PLUGINS / "action" / f"{module}.py").exists() != (module in machine)
    else:
        assert importlib.import_module(names[1]).ActionModule.operation is operation


INTERNAL = {"decide", "plan"}


@pytest.mark.parametrize("file", DOCUMENTED, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_internal_plugins_are_documented_as_internal(file: Path) -> None:
    """ansible-doc, Galaxy and the site list plugins by short description; the docs list internal ones separately."""
    document, is_internal = documentation(file), file.stem in INTERNAL
    assert document["short_description"].startswith("(internal) ") is is_internal
    assert document["description"][0].startswith("Internal - do not use it in your own plays.") is is_internal
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("roles/*/README.md")]
    for_users = [page.read_text().partition("Do not use them yourself:")[0] for page in pages]
    assert not is_internal or not any(f"compute_index.supply.{file.stem}`" in page for page in for_users)
