# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An order covers the hosts that it names, whatever else the inventory and the registry have."""

from __future__ import annotations

import json
import os
import random
import re
from uuid import uuid4

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._registry._postgresql import Database, Purchase

import postgresql
from conftest import PROCURE, MakeProject, Project, Run, core
from project import extra
from simulator import Offer

SEED = int(os.environ.get("SUPPLY_TEST_SEED") or 1)
STRANGERS = ["gpu-7", "gpu-8", "gpu-9"]


@pytest.fixture
def fleet(make_project: MakeProject, registry: str) -> Project:
    """A project with a shared registry and live machines of three hosts in the group; nothing is reached by SSH."""
    project = make_project([Offer() for _number in range(8)], provision_seconds=0)
    project.declare(STRANGERS, provision_reach=False, provision_registry_url=registry)
    assert project.provision().returncode == 0
    project.simulator.requests.clear()
    return project


def names(run: Run) -> set[str]:
    """The hosts in the recaps."""
    return set(re.findall(r"^(\S+) +: ok=", run.output, re.MULTILINE))


def assert_names_no_stranger(run: Run) -> None:
    assert not re.search("|".join(STRANGERS), run.output), run.output


@pytest.mark.first
@core
def test_an_order_covers_the_hosts_that_it_names(fleet: Project) -> None:
    quote = fleet.play("compute_index.supply.quote", *extra({"provision_hosts": "b-1"}))
    assert quote.returncode == 0, quote.output
    assert_names_no_stranger(quote)

    run = fleet.provision("-e", "provision_hosts=b-1")
    assert (run.returncode, names(run)) == (0, {"localhost", "b-1"}), run.output
    assert_names_no_stranger(run)
    bought = [each.request["resource_name"] for each in fleet.simulator.purchases]
    assert sorted(bought) == ["b-1", *STRANGERS]

    # What means another variable, or is empty as $UNSET, would be an order for all hosts of the group.
    slips = ("provision_host=b-2", "order_hosts=b-2", "provision_plan=plan.json", "quote_file=plan.json")
    for word in (*slips, "provision_hosts=", "plan="):
        slip = fleet.provision("-e", word)
        assert slip.returncode != 0 and word.partition("=")[0] in slip.failure(STRANGERS[0]) + slip.failure("localhost")

    # A name that is a group, too, is a host.
    again = fleet.provision("-e", "provision_hosts=b-1,gpu", "--check")
    assert "cannot name a machine" in again.text and again.returncode != 0
    assert fleet.requests(*PROCURE) == 1


def test_an_order_that_is_no_extra_variable_buys_nothing(project: Project) -> None:
    imported = {"ansible.builtin.import_playbook": "compute_index.supply.provision", "vars": {"plan": "plan.json"}}
    own = {"hosts": "gpu", "gather_facts": False, "vars": {"provision_hosts": 1}}
    project.declare(["gpu-1", "gpu-2"], provision_reach=False)
    planned = project.play(project.write(imported))
    of_own = project.play(project.write({**own, "roles": ["compute_index.supply.provision"]}))
    mistyped = project.play(project.write({**imported, "vars": {"order_price": 1}}))
    assert mistyped.returncode == 2 and "order_price is not a variable" in mistyped.failure("gpu-2"), mistyped.output
    project.declare(["gpu-1", "gpu-2"], provision_reach=False, provision_hosts=["gpu-1"], order_ticket="A-17")
    declared = project.provision()
    for run, name in ((planned, "plan"), (of_own, "provision_hosts"), (declared, "provision_hosts")):
        assert run.returncode == 2 and name in run.failure("gpu-2"), run.output
    assert "Orders must be extra variables, so provision_hosts would have no effect." in declared.text, declared.output
    assert project.requests(*PROCURE) == 0


def test_a_group_that_a_template_names_is_the_same_for_an_order_and_its_plays(project: Project) -> None:
    asked = {"provision_group": "{{ team }}pu", "team": "g", "provision_hosts": 1}
    quote = project.play("compute_index.supply.quote", "-e", json.dumps(asked))
    assert quote.returncode == 0 and "ok: [gpu-1" in quote.output, quote.output
    unknown = project.play("compute_index.supply.quote", "-e", json.dumps({**asked, "provision_group": "{{ teem }}pu"}))
    assert unknown.returncode == 2 and "provision_group cannot be evaluated" in unknown.text, unknown.output


def test_a_sealed_plan_is_bought_once_for_the_hosts_that_it_names(fleet: Project, registry: str) -> None:
    file = fleet.folder / "plan.json"
    asked = ("compute_index.supply.quote", "-e", "provision_hosts=2", "-e", f"quote_file={file}")
    checked = fleet.play(*asked, "--check")
    assert checked.returncode == 0 and "plan=" not in checked.text and not file.exists(), checked.output
    quote = fleet.play(*asked)
    assert quote.returncode == 0 and f"-e plan={file}" in quote.text, quote.output
    plan = json.loads(file.read_text())
    assert (set(plan["hosts"]), fleet.requests(*PROCURE)) == ({"gpu-1", "gpu-2"}, 0)
    # Cheaper than what was quoted: the plan does not have it.
    fleet.simulator.add_offer(gpu_price_per_hour=0.5)
    other = fleet.provision("-e", f"plan={file}", "-e", "provision_lease=1h")
    assert "provision_lease of gpu-1 was the default when it was quoted, and is 1h now" in other.text, other.output

    run = fleet.provision("-e", f"plan={file}")
    assert (run.returncode, names(run)) == (0, {"localhost", "gpu-1", "gpu-2"}), run.output
    assert_names_no_stranger(run)
    bought = {each.request["resource_name"]: each.offer_id for each in fleet.simulator.purchases}
    assert {host: bought[host] for host in plan["hosts"]} == {h: i["offer_id"] for h, i in plan["hosts"].items()}
    query = (
        "SELECT DISTINCT note->>'provision_plan' FROM compute_index_supply.purchase WHERE host IN ('gpu-1', 'gpu-2')"
    )
    assert postgresql.execute(registry, query) == [(plan["number"],)]
    again = fleet.provision("-e", f"plan={file}")
    assert again.returncode == 0 and "changed=0" in again.output and fleet.requests(*PROCURE) == 2, again.output

    assert fleet.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu-2").returncode == 0
    over = fleet.provision("-e", f"plan={file}")
    assert over.returncode != 0 and "it is used up, since the machine of gpu-2 has ended" in over.text, over.output
    assert fleet.requests(*PROCURE) == 2


def test_a_limit_that_excludes_hosts_of_an_order_names_them(fleet: Project, registry: str) -> None:
    fleet.declare([*STRANGERS, "gpu-1"], provision_reach=False, provision_registry_url=registry)
    listed = fleet.provision("-e", '{"provision_hosts": "b-1", "order_gpu_type": ["H100"]}')
    assert listed.text.count("order_gpu_type must be a text or a number. Nothing was sent.") > 0, listed.output
    assert "Nothing was sent. Nothing was sent." not in listed.text
    none = fleet.provision("-e", "provision_hosts=b-1,b-2", "--limit", "gpu-1")
    assert none.returncode != 0 and "--limit excludes b-1, b-2, which the order names." in none.text, none.output
    some = fleet.provision("-e", "provision_hosts=gpu-1,b-2", "--limit", "gpu-1")
    assert (some.returncode, names(some)) == (0, {"gpu-1"}), some.output
    assert "--limit excludes b-2, which the order names." in some.text
    assert fleet.requests(*PROCURE) == 1


@core
def test_configure_finds_the_machines_of_an_order_in_the_registry(make_project: MakeProject, registry: str) -> None:
    project = make_project()
    project.declare(["gpu-7"], provision_registry_url=registry)
    assert project.provision("-e", "provision_hosts=b-1,gpu-7").returncode == 0
    (project.folder / "plan.json").write_text(json.dumps({"hosts": {"b-1": {}}}))  # what buys checks its seal
    for asked in ("order_names=b-1", "plan=plan.json"):
        run = project.play("compute_index.supply.configure", "-e", asked)
        assert (run.returncode, names(run)) == (0, {"localhost", "b-1"}), run.output
        assert_names_no_stranger(run)
    account = project.folder / "account.supply.yml"  # which lists b-1, and knows no registry
    account.write_text("plugin: compute_index.supply.resources\n")
    run = project.play("compute_index.supply.configure", "-i", str(account), "-e", "order_names=b-1")
    assert (run.returncode, names(run)) == (0, {"localhost", "b-1"}), run.output
    for playbook in ("configure", "verify"):  # of the group, where nothing is named
        run = project.play(f"compute_index.supply.{playbook}")
        assert (run.returncode, names(run), run.recap("gpu-7", "changed")) == (0, {"localhost", "gpu-7"}, 1), run.output


def test_configure_finds_the_machines_of_an_order_without_an_inventory(make_project: MakeProject) -> None:
    """Beside which Ansible would read the registry's files by itself."""
    project = make_project()
    project.inventory.unlink()
    ordered = ("-e", "provision_hosts=2", *extra({"order_gpu_type": "H100", "order_max_price_per_hour": 4}))
    bought = project.run("ansible-playbook", "compute_index.supply.provision", *ordered)
    assert bought.returncode == 0, bought.output
    run = project.run("ansible-playbook", "compute_index.supply.configure", "-e", "provision_hosts=gpu-2")
    assert (run.returncode, names(run), run.recap("gpu-2", "changed")) == (0, {"localhost", "gpu-2"}, 1), run.output


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_ordered_nobody_else_has_a_part_in_it(make_project: MakeProject, registry: str, seed: int) -> None:
    """Random inventories, registries and orders. Names are of hosts, of other groups' hosts, or new."""
    dice = random.Random(f"{SEED} {seed}")
    pool = ["alpha", "beta", "gamma", "gpu-1", "gpu-2", "omega", "web"]
    project = make_project([Offer() for _name in range(2 * len(pool))], provision_seconds=0)
    members = dice.sample(pool, 4)
    project.declare(members, provision_reach=False, provision_registry_url=registry)
    inventory = yaml.safe_load(project.inventory.read_text())
    others = [name for name in pool if name not in members]
    inventory["web"] = {"hosts": dict.fromkeys(dice.sample(others, 1))}
    project.inventory.write_text(yaml.safe_dump(inventory))
    live = dice.sample(members, 2)
    assert project.provision("-e", f"provision_hosts={','.join(live)}").returncode == 0

    ordered = [["gpu-1", "gpu-2"], dice.sample([name for name in pool if name != "web"], dice.randint(1, 3))][seed % 2]
    word = str(len(ordered)) if ordered == ["gpu-1", "gpu-2"] else ",".join(ordered)
    before = len(project.simulator.purchases)
    run = project.provision("-e", f"provision_hosts={word}")
    assert (run.returncode, names(run)) == (0, {"localhost", *ordered}), run.output
    bought = {each.request["resource_name"] for each in project.simulator.purchases[before:]}
    assert bought == {*ordered} - {*live}
    strangers = {*pool} - {*ordered, "web"}
    assert not [name for name in strangers if name in run.output], run.output


def test_a_host_that_the_plugin_lists_as_a_machine_buys_no_further_one(make_project: MakeProject) -> None:
    """It is in the group with its ceilings, under a name that no machine of it would have."""
    project = make_project(provision_seconds=0)
    project.declare(["gpu-1"], provision_reach=False)
    listed = {"plugin": "compute_index.supply.resources", "hostname": "'cloud-' ~ supply_name", "groups": {"gpu": True}}
    (project.folder / "account.supply.yml").write_text(yaml.safe_dump(listed))
    assert project.provision("-i", "account.supply.yml").returncode == 0
    for book in ("quote", "provision"):
        run = project.play(f"compute_index.supply.{book}", "-i", "account.supply.yml")
        assert run.returncode == 2 and not run.failure("gpu-1"), run.output
        refusal = run.failure("cloud-gpu-1")
        assert project.simulator.billed[0] in refusal and "would be called cloud-gpu-1" in refusal, run.output
    assert project.requests(*PROCURE) == 1


def test_a_machine_that_is_called_like_the_group_is_not_ended_for_it(make_project: MakeProject) -> None:
    """Ansible takes the host, though its group was meant. The plugin has listed it before the group was there."""
    project = make_project(provision_seconds=0)
    project.declare(["colleagues"], provision_reach=False, provision_resource_name="gpu")
    assert project.provision("-e", "provision_registry_dir=elsewhere").returncode == 0
    colleagues = list(project.simulator.billed)
    project.declare(["gpu-1"], provision_reach=False)
    assert project.provision().returncode == 0
    (project.folder / "account.supply.yml").write_text("plugin: compute_index.supply.resources\n")
    both = ("-i", "account.supply.yml", "-i", str(project.inventory))
    role = {"ansible.builtin.import_role": {"name": "compute_index.supply.decommission"}}
    own = project.write({"hosts": "gpu", "gather_facts": False, "tasks": [{"name": "End", **role}]})
    for book, why, *words in (
        ("compute_index.supply.provision", "'gpu' names a group and a host"),
        ("compute_index.supply.configure", "'gpu' names a group and a host"),
        ("compute_index.supply.decommission", "'gpu' names a group and a host", "-e", "decommission_hosts=gpu"),
        (own, "On a shared account it may be a colleague's."),
    ):
        run = project.run("ansible-playbook", *both, book, *words)
        assert run.returncode and why in run.text, run.output
        assert project.requests("DELETE", ".*") == 0 and project.requests(*PROCURE) == 2
    ended = project.run(
        "ansible-playbook", *both, "compute_index.supply.decommission", "-e", "decommission_hosts=gpu-1"
    )
    assert (ended.returncode, project.simulator.billed) == (0, colleagues), ended.output


def test_a_machine_that_has_only_the_hosts_name_is_not_touched(make_project: MakeProject) -> None:
    """The plugin gives it to the host, whose registry does not know it."""
    project = make_project(provision_seconds=0)
    project.declare(["colleagues"], provision_reach=False, provision_resource_name="gpu-1")
    assert project.provision("-e", "provision_registry_dir=elsewhere").returncode == 0
    (project.folder / "account.supply.yml").write_text("plugin: compute_index.supply.resources\n")
    project.declare(["gpu-1"], ansible_ssh_common_args="-o StrictHostKeyChecking=no")
    home = project.simulator.home(project.simulator.billed[0])
    before = sorted(home.rglob("*"))
    for book, why in (("configure", "gpu-1 has no machine yet"), ("verify", "Nothing was tested")):
        for words in ([], ["-e", "provision_hosts=gpu-1"]):
            run = project.play(f"compute_index.supply.{book}", "-i", "account.supply.yml", *words)
            assert run.returncode == 2 and why in run.failure("gpu-1"), run.output
            assert sorted(home.rglob("*")) == before
    # Without a registry the name is all that there is.
    named = ("-e", "provision_registry_dir=")
    configured = project.play("compute_index.supply.configure", "-i", "account.supply.yml", *named)
    assert configured.returncode == 0, configured.output


@pytest.fixture
def crowd(make_project: MakeProject, registry: str) -> Project:
    """300 live machines of the project, which the inventory plugin puts back into the group, and an offer."""
    project = make_project([Offer(), Offer()], provision_seconds=0)
    database = Database(registry, {"run": "before"}, keep=True)
    machines = project.simulator.populate(300, gpu_count=1, gpu_price_per_hour=2.0, storage=[])  # as is noted below
    for number, each in enumerate(machines, start=1):
        fact = Purchase(
            str(uuid4()),
            "default",
            f"train-{number}",
            project.simulator.url,
            each.purchase.offer_id,
            2.0,
            {"provision_groups": ["gpu"], "provision_resource_name": each.name},
        )
        database.note(fact, [each.resource_id])
    database.close()
    project.declare([])
    (project.folder / "account.supply.yml").write_text("plugin: compute_index.supply.resources\n")
    project.environment["COMPUTE_INDEX_REGISTRY_URL"] = registry
    return project


def test_an_order_beside_300_machines_shows_its_own_host_alone(crowd: Project) -> None:
    graph = crowd.run("ansible-inventory", "-i", "account.supply.yml", "--graph", "gpu")
    assert graph.output.count("--train-") == 300, graph.output
    # The variables of other plays of a site may begin as those of the playbooks that look at machines.
    words = ("-i", "account.supply.yml", "-e", "order_names=b-1 verify_ssl=no configure_users=yes")
    run = crowd.provision(*words)
    assert (run.returncode, names(run)) == (0, {"localhost", "b-1"}), run.output
    assert "train-" not in run.output and "machine-" not in run.output, run.output
    assert len(run.output.splitlines()) <= 60, run.output  # beside it AWX shows that it has added a key

    # A refusal names all that it has counted, with the sum of the table in it.
    refused = crowd.play("compute_index.supply.quote", *words, "-e", "order_names=b-2 order_max_total_price_per_hour=9")
    assert refused.returncode == 2 and "USD per hour in total: 2.50" in refused.output, refused.output
    said = (
        "All machines of project default would cost USD 605.00 per hour together, of which USD 602.50 per hour are live"
        " or being bought already; order_max_total_price_per_hour is USD 9.00 per hour. Counted: b-2 USD 2.50"
        " (would be bought); b-1"
    )
    assert said in refused.text and "train-[1:300] 300 x USD 2.00 (live" in refused.text
