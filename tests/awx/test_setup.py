# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook awx_setup.yml, with the modules of awx.awx, against a stand-in for AWX's REST API."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, definitions
from fake_awx import ADMIN_TOKEN, TOKEN, FakeAwx, Item
from launcher import stand_ins
from packaged import unpack
from project import MakeProject, Project, Run

# The version of the PyPI package ansible that contains awx.awx 24.6.1.
BRINGS_AWX = "12.3.0"
URL = "https://git.example.com/gpu.git"
SETUP = "compute_index.supply.awx_setup"


@pytest.fixture(scope="session")
def collections() -> Path:
    """A folder of collections with awx.awx, made once for all test sessions."""
    return unpack(Path(os.environ["AWX_COLLECTIONS"]), BRINGS_AWX, "awx.awx")


@pytest.fixture(scope="session")
def interpreter() -> Iterator[str]:
    """A stand-in for Python, since modules would spend most of their time on the same imports."""
    with tempfile.TemporaryDirectory(prefix="supply-") as folder:
        stand_ins(Path(folder), [Path(sys.executable)])
        yield str(Path(folder, Path(sys.executable).name))


@pytest.fixture
def awx() -> Iterator[FakeAwx]:
    with FakeAwx(ROOT / "awx" / "project") as fake:
        yield fake


@pytest.fixture
def project(make_project: MakeProject, collections: Path, awx: FakeAwx, interpreter: str) -> Project:
    """A user who may change AWX."""
    project = make_project()
    inventory = {
        "all": {"hosts": {"localhost": {"ansible_connection": "local", "ansible_python_interpreter": interpreter}}}
    }
    project.inventory.write_text(json.dumps(inventory))
    project.environment |= {
        "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join([os.environ["ANSIBLE_COLLECTIONS_PATH"], str(collections)]),
        "ANSIBLE_PIPELINING": "True",  # fewer processes for each module
        "CONTROLLER_HOST": awx.url,
        "CONTROLLER_OAUTH_TOKEN": TOKEN,
    }
    return project


def set_up(project: Project, **variables: Any) -> Run:
    """Run the playbook."""
    return project.play(SETUP, "-e", json.dumps({"awx_project_url": URL, **variables}))


def own(awx: FakeAwx, kind: str) -> list[Item]:
    """The objects of a kind that belong to the organization of the set-up."""
    organization = awx.one("organizations", "Compute Index Supply")["id"]
    return [item for item in awx.all(kind) if item["organization"] == organization]


def check_teams(awx: FakeAwx) -> None:
    """Check that each team has its rights and no others: to order, to approve, to extend, to end."""
    held = {
        (team, role["name"], awx.items[role["object"]]["name"])
        for role in awx.all("roles")
        for team in awx.names(role, "teams")
    }
    launches = {"GPU machines", *(template["name"] for template in awx.all("job_templates"))}
    launches -= {"GPU provision", "GPU extend", "GPU reap", "GPU end by id"}
    reads = ("GPU quote", "GPU provision", "GPU configure", "GPU audit", "GPU spend")
    assert held == {
        *(("Research", "execute_role", name) for name in launches),
        *(("Research", "read_role", name) for name in ("GPU provision", "GPU reap")),
        *(("Finance", "read_role", name) for name in reads),
        ("Finance", "approval_role", "GPU machines"),
        ("Finance", "execute_role", "GPU extend"),
        *(("Operators", "execute_role", name) for name in ("GPU audit", "GPU end by id")),
    }


def check_failures(project: Project, awx: FakeAwx) -> None:
    """Check that a run without the repository says why it fails, and that the next one refuses another key pair."""
    awx.unreachable = "Repository not found."
    failed = set_up(project)
    assert failed.returncode == 2
    assert f"AWX cannot update the project from {URL}." in failed.text
    assert "failed: fatal: [localhost]: FAILED! => Repository not found. Repair that" in failed.text
    # The message comes without AWX's long record of the job.
    assert "event_processing_finished" not in failed.output
    assert f"under Jobs, number {awx.all('project_updates')[-1]['id']}." in failed.text
    assert own(awx, "job_templates") == []
    awx.unreachable = ""
    refused = set_up(project, awx_ssh_key_file=str(another_pair(project)))
    assert refused.returncode == 2
    assert "AWX has the private key of another pair" in refused.text and "Nothing was changed." in refused.text
    (inventory,) = own(awx, "inventories")
    assert json.loads(inventory["variables"])["provision_ssh_public_key"] == project.public_key


def test_awx_is_set_up_once(project: Project, awx: FakeAwx) -> None:
    """A second run, by an administrator of the organization, keeps the additions of an operator."""
    pair = another_pair(project)
    registry = "postgresql://supply:kept-between-us@db.example.com/supply"
    wanted = {
        "awx_image": "registry.example.com/supply-ee:1",
        "awx_ordering_teams": ["Research"],
        "awx_approving_teams": ["Finance"],
        "awx_extending_teams": ["Finance"],
        "awx_ending_teams": ["Operators"],
        "awx_ssh_key_file": str(pair),
    }
    # Ansible itself repeats the command line at this verbosity.
    project.environment |= {"ANSIBLE_VERBOSITY": "5", "COMPUTE_INDEX_REGISTRY_URL": registry}
    run = set_up(project, **wanted)
    del project.environment["ANSIBLE_VERBOSITY"]

    assert run.returncode == 0, run.output
    secrets = [project.simulator.settings.token, "kept-between-us", TOKEN, *pair.read_text().splitlines()[1:-1]]
    assert not [secret for secret in secrets if secret in run.output]
    found = definitions()

    organization = awx.one("organizations", "Compute Index Supply")
    assert awx.names(organization, "galaxy_credentials") == ["Ansible Galaxy"]
    assert organization["default_environment"] == awx.one("execution_environments", "Compute Index Supply")["id"]
    kind = awx.one("credential_types", "Compute Index Supply API")
    assert kind["inputs"] == found["awx_credential_type"]["inputs"]
    assert kind["injectors"] == found["awx_credential_type"]["injectors"]
    credential = awx.one("credentials", "Compute Index Supply API")
    assert awx.secrets[credential["id"]] == {
        "url": project.simulator.url,
        "token": project.simulator.settings.token,
        "registry_url": registry,
    }
    assert kind["injectors"]["env"]["COMPUTE_INDEX_REGISTRY_URL"] == "{{ registry_url | default('') }}"
    machines = awx.one("credentials", "Compute Index Supply machines")
    assert awx.secrets[machines["id"]] == {"ssh_key_data": pair.read_text()}
    assert awx.one("projects", "Compute Index Supply")["scm_url"] == URL
    inventory = awx.one("inventories", "Compute Index Supply")
    assert json.loads(inventory["variables"]) == {
        "provision_registry_dir": "",
        "provision_poll_delay": 10,
        "provision_poll_retries": 180,
        "provision_project": "computeindexsupply",
        "provision_ssh_public_key": pair.with_name("another.pub").read_text().strip(),
    }
    source = awx.one("inventory_sources", "Machines of the account")
    assert (source["credential"], source["update_on_launch"], source["overwrite"]) == (credential["id"], True, True)
    assert json.loads(source["source_vars"]) == {"COMPUTE_INDEX_PROJECT": "computeindexsupply"}
    assert "without a registry" not in run.text

    assert len(awx.all("job_templates")) == len(found["awx_job_templates"])
    for definition in found["awx_job_templates"]:
        template = awx.one("job_templates", definition["name"])
        survey = found["awx_surveys"].get(definition.get("survey"))
        assert awx.surveys.get(template["id"]) == survey
        assert (template["survey_enabled"], template["allow_simultaneous"]) == (survey is not None, False)
        assert template["job_type"] == definition.get("job_type", "run")
        assert template["diff_mode"] == definition.get("diff", False)
        assert sorted(awx.names(template, "labels")) == sorted(definition["labels"])
        expected = {credential["name"], machines["name"]} if definition.get("ssh") else {credential["name"]}
        assert set(awx.names(template, "credentials")) == expected

    workflow = awx.one("workflow_job_templates", "GPU machines")
    assert awx.surveys[workflow["id"]] == found["awx_surveys"]["order"]
    assert workflow["allow_simultaneous"] is False
    node, way = awx.one("workflow_job_template_nodes", "quote"), []
    while True:
        way.append(awx.items[node["unified_job_template"]]["name"])
        following = awx.names(node, "success_nodes")
        if not following:
            break
        node = awx.one("workflow_job_template_nodes", following[0])
    assert way == ["GPU quote", "Buy what was quoted", "GPU provision", "GPU configure"]
    check_teams(awx)
    assert awx.one("schedules", "GPU reap every quarter of an hour")["rrule"].endswith("FREQ=MINUTELY;INTERVAL=15")

    check_that_additions_stay(project, awx, wanted)


def check_that_additions_stay(project: Project, awx: FakeAwx, wanted: dict[str, Any]) -> None:
    """Check that a second run keeps credentials, inventory variables, a second approval, questions and schedules."""
    organization = awx.one("organizations", "Compute Index Supply")
    provision = awx.one("job_templates", "GPU provision")
    ours = awx.one("credentials", "Compute Index Supply API")
    vault = awx.make("credential_types", name="Vault", kind="vault", inputs={}, managed=True)

    def credential(name: str, kind: int) -> Item:
        return awx.make("credentials", name=name, credential_type=kind, organization=organization["id"])

    hub = credential("Hub", awx.one("credentials", "Ansible Galaxy")["credential_type"])
    awx.associate(organization, "galaxy_credentials", hub)
    awx.associate(provision, "credentials", credential("Passwords", vault["id"]))
    # A credential of another account replaces ours.
    awx.associations[provision["id"], "credentials"].remove(ours["id"])
    awx.associate(provision, "credentials", credential("Other account", ours["credential_type"]))
    inventory = awx.one("inventories", "Compute Index Supply")
    approve = awx.one("workflow_job_template_nodes", "approve")
    workflow = awx.one("workflow_job_templates", "GPU machines")
    schedule = awx.one("schedules", "GPU audit every night")
    inventory["variables"] = "provision_project: research\nmotd: 'for {{ undefined }}'\n"
    inventory["variables"] += "# theirs\nprovision_registry_dir: ''\nprovision_poll_delay: 30\n"
    inventory["variables"] += "provision_poll_retries: 60\n"
    mine = awx.make("labels", name="night", organization=organization["id"])
    awx.associate(provision, "labels", mine)
    public_key = Path(f"{wanted['awx_ssh_key_file']}.pub").read_text().strip()
    inventory["variables"] += f"provision_ssh_public_key: {public_key}\n"
    second = awx.make("workflow_job_template_nodes", identifier="second", workflow_job_template=workflow["id"])
    awx.associations[approve["id"], "success_nodes"] = [second["id"]]
    schedule["extra_data"] = {"audit_names": "by-hand", "audit_fail_on_orphans": "yes"}
    schedule["rrule"] = "DTSTART;TZID=UTC:20260101T050000 RRULE:FREQ=DAILY;INTERVAL=1"
    asked = [limited_survey(awx.surveys[each["id"]]) for each in (provision, workflow)]
    earlier_survey(awx.surveys[awx.one("job_templates", "GPU quote")["id"]])
    provision |= {"forks": 5, "timeout": 900, "job_slice_count": 2, "allow_simultaneous": True}
    reap = awx.one("job_templates", "GPU reap")
    reap["survey_enabled"] = True  # a survey of an operator
    awx.one("projects", "Compute Index Supply")["scm_branch"] = "tested"

    project.environment["CONTROLLER_OAUTH_TOKEN"] = ADMIN_TOKEN
    # The second run need not name the registry again.
    registry = project.environment.pop("COMPUTE_INDEX_REGISTRY_URL")
    url = project.environment.pop("COMPUTE_INDEX_API_URL")
    again = set_up(project, **wanted)
    assert awx.secrets[ours["id"]]["registry_url"] == registry and "without a registry" not in again.text
    assert awx.secrets[ours["id"]]["url"] == url

    # Only two objects change: the source's project becomes the inventory's, and a survey gets the newest questions.
    assert (again.returncode, again.changed) == (0, 2), again.output
    assert again.output.count("order_max_price_per_hour keeps max '5' instead of '1000'. To replace it, delete") == 2
    assert awx.surveys[awx.one("job_templates", "GPU quote")["id"]] == definitions()["awx_surveys"]["order"]
    assert [provision[name] for name in ("forks", "timeout", "job_slice_count")] == [5, 900, 2]
    assert reap["survey_enabled"] is True
    assert again.output.count("Concurrent jobs are off again") == 1 and not provision["allow_simultaneous"]
    assert awx.one("projects", "Compute Index Supply")["scm_branch"] == "tested"
    source = awx.one("inventory_sources", "Machines of the account")
    assert json.loads(source["source_vars"]) == {"COMPUTE_INDEX_PROJECT": "research"}
    assert sorted(awx.names(provision, "labels")) == ["gpu", "night", "spends money"]
    assert awx.names(organization, "galaxy_credentials") == ["Ansible Galaxy", "Hub"]
    assert set(awx.names(provision, "credentials")) == {"Compute Index Supply machines", "Passwords", "Other account"}
    # Variables with the right values keep their form.
    assert inventory["variables"].startswith("provision_project: research\n") and "# theirs" in inventory["variables"]
    assert awx.names(approve, "success_nodes") == ["second"]
    assert schedule["extra_data"] == {"audit_names": "by-hand", "audit_fail_on_orphans": "yes"}
    assert "T050000" in schedule["rrule"]
    assert [awx.surveys[each["id"]] for each in (provision, workflow)] == asked


def earlier_survey(survey: Item) -> None:
    """Give a survey a question as version 1.0.0 had it."""
    (names,) = [each for each in survey["spec"] if each["variable"] == "order_names"]
    names |= {"question_name": "Machines", "type": "text", "max": 1024}


def limited_survey(survey: Item) -> Item:
    """Let an operator lower the highest price in a survey, and add a question. Returns the survey."""
    (ceiling,) = [each for each in survey["spec"] if each["variable"] == "order_max_price_per_hour"]
    ceiling["max"] = 5
    survey["spec"].append({**ceiling, "variable": "cost_centre", "question_name": "Cost centre", "type": "text"})
    return copy.deepcopy(survey)


def test_inventory_without_project_moves_only_on_request(project: Project, awx: FakeAwx) -> None:
    """The run names the hosts that a move would leave behind. Two organizations cannot have one project."""
    owner = {"organization": awx.make("organizations", name="Compute Index Supply")["id"]}
    inventory = awx.make("inventories", name="Compute Index Supply", variables="motd: hello", **owner)
    awx.make("hosts", name="gpu-7", inventory=inventory["id"])
    other = awx.make("organizations", name="Compute-Index Supply")["id"]
    awx.make("inventories", name="Theirs", organization=other, variables="provision_project: computeindexsupply")
    # The run fails after it has changed the inventory, which is enough here.
    awx.unreachable = "Repository not found."

    run = set_up(project)
    assert "stays in the project 'default', not 'computeindexsupply': nothing was moved." in run.text
    assert "(gpu-7)" in run.text
    variables = json.loads(inventory["variables"])
    assert (variables["motd"], variables["provision_project"]) == ("hello", "default")
    # A new inventory cannot have the default project either, whether the other one names it or not.
    for taken in ("provision_registry_dir: ''", inventory["variables"]):
        inventory["variables"], before = taken, len(awx.items)
        refused = set_up(project, awx_organization="Third", awx_project="default")
        assert (refused.returncode, len(awx.items)) == (2, before), refused.output
        assert "Another organization has the project 'default'" in refused.text

    unmoved = dict(inventory)
    refused = set_up(project, awx_project_moves=True)
    assert (refused.returncode, inventory) == (2, unmoved)
    assert "Another organization has the project 'computeindexsupply'" in refused.text
    moved = set_up(project, awx_project_moves=True, awx_project="team-7")
    assert "nothing was moved" not in moved.text
    assert json.loads(inventory["variables"])["provision_project"] == "team-7"


def test_token_stays_when_a_registry_is_added(project: Project, awx: FakeAwx) -> None:
    """Another token may be another account's, where jobs would find none of their machines."""
    awx.unreachable = "Repository not found."  # each run fails after it has changed the credential
    set_up(project, awx_api_url="https://one.example.com")
    credential = awx.one("credentials", "Compute Index Supply API")
    token, registry = project.simulator.settings.token, "postgresql://db.example.com/supply"
    set_up(project, awx_api_url="", awx_api_token="another", awx_registry_url=registry)
    kept = {"url": "https://one.example.com", "token": token, "registry_url": registry}
    assert awx.secrets[credential["id"]] == kept
    # A token belongs to its API.
    set_up(project, awx_api_url="https://two.example.com", awx_api_token="another")
    assert awx.secrets[credential["id"]] == {**kept, "url": "https://two.example.com", "token": "another"}
    set_up(project, awx_api_url="", awx_api_token="third", awx_update_secrets=True)
    assert awx.secrets[credential["id"]] == {**kept, "url": "https://two.example.com", "token": "third"}


def make_another_organization(awx: FakeAwx) -> None:
    """Make another organization by hand, with objects of the same names."""
    found = definitions()
    owner = {"organization": awx.make("organizations", name="Operations")["id"]}
    kind = awx.make("credential_types", **found["awx_credential_type"])
    machine = awx.one("credential_types", "Machine")
    credentials = [
        awx.make("credentials", name="Compute Index Supply API", credential_type=kind["id"], **owner),
        awx.make("credentials", name="Compute Index Supply machines", credential_type=machine["id"], **owner),
    ]
    tree = awx.make("projects", name="Compute Index Supply", scm_url=URL, scm_type="git", scm_revision="abc", **owner)
    inventory = awx.make("inventories", name="Compute Index Supply", **owner)
    awx.make("workflow_job_templates", name="GPU machines", **owner)
    common = {"project": tree["id"], "inventory": inventory["id"]}
    common |= {"job_slice_count": 1, "forks": found["awx_job_forks"]}
    for each in found["awx_job_templates"]:
        template = awx.make("job_templates", name=each["name"], playbook=each["playbook"], **common, **owner)
        for credential in credentials:
            awx.associate(template, "credentials", credential)


@pytest.mark.core
def test_organizations_are_apart(project: Project, awx: FakeAwx) -> None:
    """Two organizations share no object, also after a failed run and a change of the key pair.

    This is the only set-up that runs on each version of ansible-core.
    """
    make_another_organization(awx)
    check_failures(project, awx)
    pair = project.folder / "another"
    owner = {"organization": awx.one("organizations", "Compute Index Supply")["id"]}
    kind = awx.make("credential_types", name="AWX", kind="cloud", namespace="controller", inputs={}, managed=True)
    awx.make("credentials", name="This AWX", credential_type=kind["id"], **owner)
    mail = awx.make("notification_templates", name="Mail", **owner)
    notifications = {"awx_controller_credential": "This AWX", "awx_approval_notifications": ["Mail"]}
    run = set_up(project, awx_ssh_key_file=str(pair), awx_update_secrets=True, awx_audit_names="gpu-1", **notifications)
    assert run.returncode == 0, run.output
    assert "without a registry (awx_registry_url), which is fine for a trial, but not for money" in run.text
    check_organizations(awx)
    trusted = [each["name"] for each in own(awx, "job_templates") if "This AWX" in awx.names(each, "credentials")]
    assert trusted == ["GPU quote"]
    (workflow,) = own(awx, "workflow_job_templates")
    assert awx.associations[workflow["id"], "notification_templates_approvals"] == [mail["id"]]
    (inventory,) = own(awx, "inventories")
    public_key = pair.with_name("another.pub").read_text().strip()
    variables = json.loads(inventory["variables"])
    assert variables["provision_ssh_public_key"] == public_key
    assert (variables["provision_poll_delay"], variables["provision_poll_retries"]) == (10, 180)
    (machines,) = [each for each in own(awx, "credentials") if each["name"] == "Compute Index Supply machines"]
    assert awx.secrets[machines["id"]] == {"ssh_key_data": pair.read_text()}
    schedule = awx.one("schedules", "GPU audit every night")
    assert schedule["extra_data"] == {"audit_names": "gpu-1", "audit_fail_on_orphans": "yes"}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"awx_project_url": ""}, "Nothing was changed."),
        ({"awx_api_token": ""}, "Nothing was changed."),
        ({"awx_ssh_key_file": "~/none"}, "Nothing was changed."),
        ({"awx_job_id": 7, "awx_organisation": "Research"}, "Did you mean awx_organization? Nothing was sent."),
        ({"awx_ordering_teams": "Research"}, "awx_ordering_teams must be a list, such as"),
    ],
    ids=["no-project", "no-token", "no-key", "slip", "text"],
)
def test_invalid_input_changes_nothing(project: Project, awx: FakeAwx, variables: dict[str, Any], message: str) -> None:
    before = len(awx.items)
    run = set_up(project, **variables)
    assert run.returncode == 2
    assert message in run.text, run.output
    assert len(awx.items) == before


def test_check_mode_is_refused(project: Project, awx: FakeAwx) -> None:
    before = len(awx.items)
    run = project.play(SETUP, "--check", "-e", json.dumps({"awx_project_url": URL}))
    assert (run.returncode, len(awx.items)) == (2, before)
    assert "The modules of awx.awx return no ids in check mode" in run.text


def test_missing_permission_is_named(project: Project, awx: FakeAwx) -> None:
    project.environment["CONTROLLER_OAUTH_TOKEN"] = ADMIN_TOKEN
    run = set_up(project)
    assert run.returncode == 2
    assert "You don't have permission to POST to /api/v2/organizations/ (HTTP 403)" in run.text


def another_pair(project: Project, passphrase: str = "") -> Path:
    """Make a second key pair of the user, and return the private key's file."""
    file = project.folder / "another"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(file)], check=True)
    return file


def check_organizations(awx: FakeAwx) -> None:
    """Check that each organization has its own templates, credentials and inventories."""
    templates = awx.all("job_templates")
    assert len(templates) == 2 * len(definitions()["awx_job_templates"])
    for template in templates:
        owned = [awx.items[each] for each in awx.associations[template["id"], "credentials"]]
        assert {each["organization"] for each in owned} == {template["organization"]}
        assert (template["job_slice_count"], template["forks"]) == (1, definitions()["awx_job_forks"])
    for source in awx.all("inventory_sources"):
        inventory = awx.items[source["inventory"]]
        assert awx.items[source["credential"]]["organization"] == inventory["organization"]


def test_halves_of_different_key_pairs_are_refused(project: Project, awx: FakeAwx) -> None:
    before = len(awx.items)
    other = another_pair(project)
    other.with_name("another.pub").write_text(project.public_key)
    run = set_up(project, awx_ssh_key_file=str(other))
    assert (run.returncode, len(awx.items)) == (2, before)
    assert f"{other}.pub is not the public half of {other}" in run.text and "Nothing was changed." in run.text
    assert "PRIVATE KEY" not in run.output


def test_key_with_passphrase_is_refused(project: Project, awx: FakeAwx) -> None:
    before = len(awx.items)
    run = set_up(project, awx_ssh_key_file=str(another_pair(project, "secret")))
    assert (run.returncode, len(awx.items)) == (2, before)
    assert "or that one has a passphrase" in run.text and "incorrect passphrase" in run.text
