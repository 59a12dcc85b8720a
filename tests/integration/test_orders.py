# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An order covers only the hosts that it names, whatever the inventory and the registry have."""

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
    """A project with a shared registry, in whose group three hosts have live machines; without SSH."""
    project = make_project([Offer() for _number in range(8)], provision_seconds=0)
    project.declare(STRANGERS, provision_reach=False, provision_registry_url=registry)
    assert project.provision().returncode == 0
    project.simulator.requests.clear()
    return project


def hosts_in_recap(run: Run) -> set[str]:
    """The hosts in the recaps of all plays."""
    return set(re.findall(r"^(\S+) +: ok=", run.output, re.MULTILINE))


def assert_names_no_stranger(run: Run) -> None:
    assert not re.search("|".join(STRANGERS), run.output), run.output


@pytest.mark.first
@core
def test_order_buys_only_for_the_hosts_that_it_names(fleet: Project) -> None:
    quote = fleet.play("compute_index.supply.quote", *extra({"provision_hosts": "b-1"}))
    assert quote.returncode == 0, quote.output
    assert_names_no_stranger(quote)

    run = fleet.provision("-e", "provision_hosts=b-1")
    assert (run.returncode, hosts_in_recap(run)) == (0, {"localhost", "b-1"}), run.output
    assert_names_no_stranger(run)
    bought = [each.request["resource_name"] for each in fleet.simulator.purchases]
    assert sorted(bought) == ["b-1", *STRANGERS]

    # If a mistyped or empty variable (as from $UNSET) were ignored, the order would cover all hosts of the group.
    slips = ("provision_host=b-2", "order_hosts=b-2", "provision_plan=plan.json", "quote_file=plan.json")
    for word in (*slips, "plann=plan.json", "provision_hosts=", "plan="):
        run = fleet.provision("-e", word)
        assert run.returncode != 0 and word.partition("=")[0] in run.failure(STRANGERS[0]) + run.failure("localhost")

    # The name of a group cannot name a host.
    again = fleet.provision("-e", "provision_hosts=b-1,gpu", "--check")
    assert "cannot name a machine" in again.text and again.returncode != 0
    assert fleet.requests(*PROCURE) == 1


def test_order_that_is_not_an_extra_variable_buys_nothing(project: Project) -> None:
    imported = {"ansible.builtin.import_playbook": "compute_index.supply.provision", "vars": {"plan": "plan.json"}}
    own = {"hosts": "gpu", "gather_facts": False, "vars": {"provision_hosts": 1}}
    project.declare(["gpu-1", "gpu-2"], provision_reach=False)
    planned = project.play(project.write(imported))
    own_play = project.play(project.write({**own, "roles": ["compute_index.supply.provision"]}))
    mistyped = project.play(project.write({**imported, "vars": {"order_price": 1}}))
    assert mistyped.returncode == 2 and "order_price is not a variable" in mistyped.failure("gpu-2"), mistyped.output
    project.declare(["gpu-1", "gpu-2"], provision_reach=False, provision_hosts=["gpu-1"], order_ticket="A-17")
    declared = project.provision()
    for run, name in ((planned, "plan"), (own_play, "provision_hosts"), (declared, "provision_hosts")):
        assert run.returncode == 2 and name in run.failure("gpu-2"), run.output
    assert "Orders must be extra variables, so provision_hosts would have no effect." in declared.text, declared.output
    assert project.requests(*PROCURE) == 0


def test_templated_provision_group_is_evaluated_for_an_order(project: Project) -> None:
    order = {"provision_group": "{{ team }}pu", "team": "g", "provision_hosts": 1}
    quote = project.play("compute_index.supply.quote", "-e", json.dumps(order))
    assert quote.returncode == 0 and "ok: [gpu-1" in quote.output, quote.output
    unknown = project.play("compute_index.supply.quote", "-e", json.dumps({**order, "provision_group": "{{ teem }}pu"}))
    assert unknown.returncode == 2 and "provision_group cannot be evaluated" in unknown.text, unknown.output


def test_sealed_plan_is_bought_once_and_only_for_its_hosts(fleet: Project, registry: str) -> None:
    file = fleet.folder / "plan.json"
    command = ("compute_index.supply.quote", "-e", "provision_hosts=2", "-e", f"quote_file={file}")
    checked = fleet.play(*command, "--check")
    assert checked.returncode == 0 and "plan=" not in checked.text and not file.exists(), checked.output
    quote = fleet.play(*command)
    assert quote.returncode == 0 and f"-e plan={file}" in quote.text, quote.output
    plan = json.loads(file.read_text())
    assert (set(plan["hosts"]), fleet.requests(*PROCURE)) == ({"gpu-1", "gpu-2"}, 0)
    # An offer that is cheaper than the quoted ones, and not in the plan
    fleet.simulator.add_offer(gpu_price_per_hour=0.5)
    other = fleet.provision("-e", f"plan={file}", "-e", "provision_lease=1h")
    assert "provision_lease of gpu-1 was the default when it was quoted, and is 1h now" in other.text, other.output

    run = fleet.provision("-e", f"plan={file}")
    assert (run.returncode, hosts_in_recap(run)) == (0, {"localhost", "gpu-1", "gpu-2"}), run.output
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


def test_limit_that_excludes_ordered_hosts_names_them(fleet: Project, registry: str) -> None:
    fleet.declare([*STRANGERS, "gpu-1"], provision_reach=False, provision_registry_url=registry)
    listed = fleet.provision("-e", '{"provision_hosts": "b-1", "order_gpu_type": ["H100"]}')
    assert listed.text.count("order_gpu_type must be text or a number. Nothing was sent.") > 0, listed.output
    assert "Nothing was sent. Nothing was sent." not in listed.text
    all_excluded = fleet.provision("-e", "provision_hosts=b-1,b-2", "--limit", "gpu-1")
    assert all_excluded.returncode != 0
    assert "--limit excludes b-1, b-2, which the order names." in all_excluded.text, all_excluded.output
    one_excluded = fleet.provision("-e", "provision_hosts=gpu-1,b-2", "--limit", "gpu-1")
    assert (one_excluded.returncode, hosts_in_recap(one_excluded)) == (0, {"gpu-1"}), one_excluded.output
    assert "--limit excludes b-2, which the order names." in one_excluded.text
    assert fleet.requests(*PROCURE) == 1


@core
def test_configure_finds_ordered_machines_in_the_registry(make_project: MakeProject, registry: str) -> None:
    project = make_project()
    project.declare(["gpu-7"], provision_registry_url=registry)
    assert project.provision("-e", "provision_hosts=b-1,gpu-7").returncode == 0
    # Not sealed: only playbooks that buy check the seal.
    (project.folder / "plan.json").write_text(json.dumps({"hosts": {"b-1": {}}}))
    for order in ("order_names=b-1", "plan=plan.json"):
        run = project.play("compute_index.supply.configure", "-e", order)
        assert (run.returncode, hosts_in_recap(run)) == (0, {"localhost", "b-1"}), run.output
        assert_names_no_stranger(run)
    account = project.folder / "account.supply.yml"  # lists b-1, without a registry
    account.write_text("plugin: compute_index.supply.resources\n")
    run = project.play("compute_index.supply.configure", "-i", str(account), "-e", "order_names=b-1")
    assert (run.returncode, hosts_in_recap(run)) == (0, {"localhost", "b-1"}), run.output
    for playbook in ("configure", "verify"):  # without an order they cover the group
        run = project.play(f"compute_index.supply.{playbook}")
        assert (run.returncode, hosts_in_recap(run), run.recap("gpu-7", "changed")) == (0, {"localhost", "gpu-7"}, 1), (
            run.output
        )


def test_configure_finds_ordered_machines_without_an_inventory(make_project: MakeProject) -> None:
    """Ansible reads registry files itself only next to an inventory."""
    project = make_project()
    project.inventory.unlink()
    ordered = ("-e", "provision_hosts=2", *extra({"order_gpu_type": "H100", "order_max_price_per_hour": 4}))
    bought = project.run("ansible-playbook", "compute_index.supply.provision", *ordered)
    assert bought.returncode == 0, bought.output
    run = project.run("ansible-playbook", "compute_index.supply.configure", "-e", "provision_hosts=gpu-2")
    assert (run.returncode, hosts_in_recap(run), run.recap("gpu-2", "changed")) == (0, {"localhost", "gpu-2"}, 1), (
        run.output
    )


@pytest.mark.parametrize("seed", range(2))
def test_random_orders_cover_only_their_hosts(make_project: MakeProject, registry: str, seed: int) -> None:
    """Random inventories, registries and orders. Ordered names may be hosts of the group or new."""
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
    assert (run.returncode, hosts_in_recap(run)) == (0, {"localhost", *ordered}), run.output
    bought = {each.request["resource_name"] for each in project.simulator.purchases[before:]}
    assert bought == {*ordered} - {*live}
    strangers = {*pool} - {*ordered, "web"}
    assert not [name for name in strangers if name in run.output], run.output


def test_host_listed_by_the_inventory_plugin_buys_no_further_machine(make_project: MakeProject) -> None:
    """The plugin puts an owned machine into the group, as a host of another name."""
    project = make_project(provision_seconds=0)
    project.declare(["gpu-1"], provision_reach=False)
    listed = {"plugin": "compute_index.supply.resources", "hostname": "'cloud-' ~ supply_name", "groups": {"gpu": True}}
    (project.folder / "account.supply.yml").write_text(yaml.safe_dump(listed))
    assert project.provision("-i", "account.supply.yml").returncode == 0
    for book in ("quote", "provision"):
        run = project.play(f"compute_index.supply.{book}", "-i", "account.supply.yml")
        assert run.returncode == 2 and not run.failure("gpu-1"), run.output
        refusal = run.failure("cloud-gpu-1")
        assert project.simulator.billed[0] in refusal and "is called cloud-gpu-1" in refusal, run.output
    assert project.requests(*PROCURE) == 1


def test_machine_named_like_the_group_does_not_end_with_it(make_project: MakeProject) -> None:
    """If a host and a group have one name, Ansible chooses the host, although the user wants the group.

    The inventory plugin comes first, so that it lists the machine before the group exists.
    """
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
    for book, message, *words in (
        ("compute_index.supply.provision", "'gpu' is both a group and a host"),
        ("compute_index.supply.configure", "'gpu' is both a group and a host"),
        ("compute_index.supply.decommission", "'gpu' is both a group and a host", "-e", "decommission_hosts=gpu"),
        (own, "On a shared account it may be a colleague's."),
    ):
        run = project.run("ansible-playbook", *both, book, *words)
        assert run.returncode and message in run.text, run.output
        assert project.requests("DELETE", ".*") == 0 and project.requests(*PROCURE) == 2
    ended = project.run(
        "ansible-playbook", *both, "compute_index.supply.decommission", "-e", "decommission_hosts=gpu-1"
    )
    assert (ended.returncode, project.simulator.billed) == (0, colleagues), ended.output


def test_machine_with_only_the_name_of_a_host_is_not_touched(make_project: MakeProject) -> None:
    """The inventory plugin gives a colleague's machine to the host; the host's registry does not have it."""
    project = make_project(provision_seconds=0)
    project.declare(["colleagues"], provision_reach=False, provision_resource_name="gpu-1")
    assert project.provision("-e", "provision_registry_dir=elsewhere").returncode == 0
    (project.folder / "account.supply.yml").write_text("plugin: compute_index.supply.resources\n")
    project.declare(["gpu-1"], ansible_ssh_common_args="-o StrictHostKeyChecking=no")
    home = project.simulator.home(project.simulator.billed[0])
    before = sorted(home.rglob("*"))
    for book, message in (("configure", "gpu-1 has no machine yet"), ("verify", "Nothing was tested")):
        for words in ([], ["-e", "provision_hosts=gpu-1"]):
            run = project.play(f"compute_index.supply.{book}", "-i", "account.supply.yml", *words)
            assert run.returncode == 2 and message in run.failure("gpu-1"), run.output
            assert sorted(home.rglob("*")) == before
    # Without a registry, the name decides.
    without_registry = ("-e", "provision_registry_dir=")
    configured = project.play("compute_index.supply.configure", "-i", "account.supply.yml", *without_registry)
    assert configured.returncode == 0, configured.output


@pytest.fixture
def crowded_project(make_project: MakeProject, registry: str) -> Project:
    """A project with 300 live machines, which the inventory plugin adds to the group, and two offers."""
    project = make_project([Offer(), Offer()], provision_seconds=0)
    database = Database(registry, {"run": "before"}, keep=True)
    machines = project.simulator.populate(300, gpu_count=1, gpu_price_per_hour=2.0, storage=[])
    for number, machine in enumerate(machines, start=1):
        purchase = Purchase(
            str(uuid4()),
            "default",
            f"train-{number}",
            project.simulator.url,
            machine.purchase.offer_id,
            2.0,
            {"provision_groups": ["gpu"], "provision_resource_name": machine.name},
        )
        database.note(purchase, [machine.resource_id])
    database.close()
    project.declare([])
    (project.folder / "account.supply.yml").write_text("plugin: compute_index.supply.resources\n")
    project.environment["COMPUTE_INDEX_REGISTRY_URL"] = registry
    return project


def test_order_in_a_group_of_300_machines_shows_only_its_host(crowded_project: Project) -> None:
    graph = crowded_project.run("ansible-inventory", "-i", "account.supply.yml", "--graph", "gpu")
    assert graph.output.count("--train-") == 300, graph.output
    # Variables of other playbooks at a site may have the prefixes verify_ and configure_ and are not rejected.
    words = ("-i", "account.supply.yml", "-e", "order_names=b-1 verify_ssl=no configure_users=yes")
    run = crowded_project.provision(*words)
    assert (run.returncode, hosts_in_recap(run)) == (0, {"localhost", "b-1"}), run.output
    assert "train-" not in run.output and "machine-" not in run.output, run.output
    assert len(run.output.splitlines()) <= 60, run.output  # a few lines for AWX, which prints that it has added a key

    # A refusal names everything that it has counted, and its sum includes the quote's total.
    refused = crowded_project.play(
        "compute_index.supply.quote", *words, "-e", "order_names=b-2 order_max_total_price_per_hour=9"
    )
    assert refused.returncode == 2 and "USD per hour in total: 2.50" in refused.output, refused.output
    message = (
        "All machines of project default would cost USD 605.00 per hour together, of which USD 602.50 per hour are live"
        " or being bought already; order_max_total_price_per_hour is USD 9.00 per hour. Counted: b-2 USD 2.50"
        " (would be bought); b-1"
    )
    assert message in refused.text and "train-[1:300] 300 x USD 2.00 (live" in refused.text
