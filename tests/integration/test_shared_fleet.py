# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles and playbooks with a registry in PostgreSQL that several controllers share."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import postgresql
from conftest import PROCURE, MakeProject, Project, Run, core
from limits import HANGS, until
from plays import kill
from project import extra, unfolded
from simulator import Fault, Offer
from simulator.market import volume as sold
from test_storage import WITH_STORAGE

# Host keys as a run notes them, and a private key, which no run notes
KEYS = '{"provision_host_keys": ["alias ssh-ed25519 AAAA"], "provision_identity_file": "/theirs"}'


@pytest.fixture
def shop(make_project: MakeProject, registry: str) -> Project:
    """A project with two hosts, six offers and a shared registry; without SSH."""
    project = make_project([Offer() for _number in range(6)], provision_seconds=0)
    project.declare(["gpu-1", "gpu-2"], provision_reach=False, provision_registry_url=registry)
    return project


def other_controller(project: Project) -> dict[str, str]:
    """The environment of a controller with the same inventory and another home folder."""
    home = project.folder / "elsewhere"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    return {"HOME": str(home), "ANSIBLE_HOME": str(home / ".ansible")}


def provision_elsewhere(project: Project, environment: dict[str, str] | None = None, **variables: Any) -> Run:
    """Run the playbook `provision` on another controller."""
    words = ["compute_index.supply.provision", *extra(variables)]
    return project.play(*words, **other_controller(project), **(environment or {}))


def claims(url: str) -> list[tuple[Any, ...]]:
    """Project, host, state and offer of each claim."""
    return postgresql.execute(
        url, "SELECT project, host, state, offer FROM compute_index_supply.purchase ORDER BY project, host, claimed_at"
    )


def states(url: str) -> list[str]:
    return [state for _project, _host, state, _offer in claims(url)]


def live(project: Project) -> list[str]:
    """The names of the machines that are billed."""
    return sorted(each.name for each in project.simulator.resources.values() if each.deleting_at is None)


@pytest.mark.first
@core
def test_quote_provision_audit_and_decommission_with_a_shared_registry(shop: Project, registry: str) -> None:
    quote = shop.play("compute_index.supply.quote")
    assert quote.returncode == 0, quote.output
    planned = shop.provision("--check", "--diff")
    assert (planned.returncode, shop.requests(*PROCURE)) == (0, 0), planned.output
    assert postgresql.execute(registry, "SELECT to_regclass('compute_index_supply.meta')") == [(None,)], (
        "created tables"
    )

    first = shop.provision()
    assert (first.returncode, len(shop.simulator.purchases)) == (0, 2), first.output
    assert states(registry) == ["live", "live"]
    assert not (shop.folder / "host_vars").exists(), "wrote registry files"

    second = provision_elsewhere(shop)
    assert (second.returncode, second.changed, shop.requests(*PROCURE)) == (0, 0, 2), second.output
    assert "registry: postgres at " in second.output and "project default" in second.output

    show = {"ANSIBLE_SHOW_CUSTOM_STATS": "1"}
    audit = shop.play("compute_index.supply.audit", "-e", "audit_fail_on_orphans=true", **show)
    assert audit.returncode == 0, audit.output
    assert "GONE" not in audit.output and "ORPHANS" not in audit.output
    bought = json.loads(audit.output.split("RUN: ")[1])["audit"]["claimed"]
    assert len(bought) == 2

    ended = shop.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu", **other_controller(shop))
    assert ended.returncode == 0, ended.output
    assert live(shop) == []
    assert states(registry) == ["ended", "ended"]
    again = shop.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu")
    assert (again.returncode, again.changed) == (0, 0), again.output
    third = shop.provision()
    assert (third.returncode, len(shop.simulator.purchases)) == (0, 4), third.output


def inventory(project: Project, **environment: str) -> dict[str, Any]:
    """The output of ansible-inventory for the inventory plugin alone."""
    (project.folder / "account.supply.yml").write_text("plugin: compute_index.supply.resources\n")
    run = project.run("ansible-inventory", "-i", "account.supply.yml", "--list", **environment)
    assert run.returncode == 0, run.output
    listed: dict[str, Any] = json.loads(
        run.output[run.output.index("{") :], object_hook=lambda each: each.get("__ansible_unsafe", each)
    )
    return listed


def test_inventory_plugin_lists_the_machines_of_the_project(shop: Project, registry: str) -> None:
    assert shop.provision().returncode == 0
    assert shop.provision(provision_project="theirs").returncode == 0
    postgresql.execute(registry, "UPDATE compute_index_supply.purchase SET note = note || %(keys)s", {"keys": KEYS})
    environment = other_controller(shop)
    listed = inventory(shop, COMPUTE_INDEX_REGISTRY_URL=registry, **environment)
    assert sorted(listed["gpu"]["hosts"]) == ["gpu-1", "gpu-2"]
    variables = listed["_meta"]["hostvars"]["gpu-1"]
    (bought,) = [each for each in shop.simulator.purchases if each.request["resource_name"] == "gpu-1"]
    assert (variables["provision_procured_offer_id"], variables["provision_resource_ids"]) == (
        bought.offer_id,
        bought.resource_ids,
    )
    known_hosts = Path(environment["ANSIBLE_HOME"], "compute_index_supply", "known_hosts", bought.offer_id)
    assert known_hosts.read_text() == "alias ssh-ed25519 AAAA\n"
    arguments = variables["ansible_ssh_extra_args"]
    assert str(known_hosts) in arguments and "accept-new" in arguments
    assert "/theirs" not in arguments, "uses another controller's private key"
    assert variables["supply_status"] == "running"
    assert len(inventory(shop)["_meta"]["hostvars"]) == 4, "without a registry all machines of the account are hosts"


def test_all_controllers_check_the_host_key_of_the_first_connection(shop: Project, registry: str) -> None:
    shop.declare(["gpu-1"], provision_registry_url=registry, provision_boot_timeout="60s", provision_lease="8h")
    assert shop.provision().returncode == 0
    query = "SELECT note->>'provision_host_keys' FROM compute_index_supply.purchase"
    ((noted,),) = postgresql.execute(registry, query)
    (line,) = json.loads(noted)
    (bought,) = shop.simulator.purchases
    assert line.split()[1].startswith("ssh-")
    second = provision_elsewhere(shop)
    assert (second.returncode, second.changed) == (0, 0), second.output
    assert "Share its host key" not in second.output
    # The registry has another key than the machine.
    other = json.dumps({"provision_host_keys": [f"{bought.resource_ids[0]} {' '.join(shop.public_key.split()[:2])}"]})
    postgresql.execute(registry, "UPDATE compute_index_supply.purchase SET note = note || %(keys)s", {"keys": other})
    # An open connection would be reused without a check.
    third = provision_elsewhere(shop, {"ANSIBLE_SSH_ARGS": "-o ControlPath=none"})
    assert third.returncode == 2 and "another host key than the one pinned in" in third.text, third.output
    assert "remove that file" not in third.text, "useless advice, since the registry still has the key"
    fourth = provision_elsewhere(shop, {"ANSIBLE_SSH_ARGS": "-o ControlPath=none"}, provision_host_key_trust="none")
    assert "run with provision_host_key_trust=none" in third.text and fourth.returncode == 0, fourth.output
    assert live(shop) == ["gpu-1"] and states(registry) == ["live"]
    # If the key cannot be pinned, ssh would accept any key. The sweep ends the machine, but runs nothing on it.
    environment = {**other_controller(shop), "ANSIBLE_SSH_ARGS": "-o ControlPath=none"}
    Path(environment["ANSIBLE_HOME"]).mkdir()
    Path(environment["ANSIBLE_HOME"], "compute_index_supply").touch()
    fifth = shop.play("compute_index.supply.provision", **environment)
    assert fifth.returncode == 2 and "which pins host keys (ANSIBLE_HOME), cannot be written" in fifth.text, (
        fifth.output
    )
    postgresql.age(registry, 9)
    command = extra({"reap_before_end": "true", "reap_grace": "0m"})
    sweep = shop.play("compute_index.supply.reap", *command, **environment)
    assert sweep.returncode == 0 and "Host key verification failed" in sweep.text, sweep.output
    assert states(registry) == ["ended"] and not live(shop)


@pytest.mark.first
def test_projects_with_equal_host_names_stay_separate(shop: Project, registry: str) -> None:
    mine = shop.provision()
    theirs = provision_elsewhere(shop, provision_project="theirs")
    assert (mine.returncode, theirs.returncode) == (0, 0), mine.output + theirs.output
    assert live(shop) == ["gpu-1", "gpu-2", "theirs-gpu-1", "theirs-gpu-2"]
    audit = shop.play("compute_index.supply.audit", "-e", "audit_fail_on_orphans=true")
    assert audit.returncode == 0 and "gpu-1 of project theirs" in audit.output, audit.output
    words = ("-e", "decommission_hosts=gpu", "-e", "provision_project=theirs")
    assert shop.play("compute_index.supply.decommission", *words).returncode == 0
    assert live(shop) == ["gpu-1", "gpu-2"]


def test_group_with_a_project_leaves_the_default_project_alone(shop: Project, registry: str) -> None:
    """A colleague uses the default project, with hosts in a group of the same name."""
    variables = {"provision_reach": False, "provision_registry_url": registry, "provision_lease": "8h"}
    shop.declare(["theirs"], **variables)
    assert shop.provision().returncode == 0
    shop.declare(["gpu-1"], **variables, provision_project="mine")
    assert shop.provision().returncode == 0
    extended = shop.play("compute_index.supply.extend", *extra({"extend_hosts": "gpu", "extend_by": "1h"}))
    assert extended.returncode == 0 and "theirs" not in extended.text, extended.output
    spend = shop.play("compute_index.supply.spend")
    assert "now 2.50 per hour" in spend.text and "Not counted: the project default" in spend.text, spend.output
    postgresql.age(registry, 10)
    sweep = shop.play("compute_index.supply.reap")
    assert "leases of the project default that are over, and no sweep enforces them" in sweep.text, sweep.output
    assert live(shop) == ["theirs"]


@pytest.mark.first
def test_ceiling_counts_purchases_of_other_controllers(shop: Project, registry: str) -> None:
    shop.declare(["gpu-1"], provision_reach=False, provision_registry_url=registry)
    assert shop.provision().returncode == 0
    shop.declare(["gpu-2"], provision_reach=False, provision_registry_url=registry)
    price = 2.5
    refused = provision_elsewhere(shop, provision_max_total_price_per_hour=1.5 * price)
    assert (refused.returncode, live(shop)) == (2, ["gpu-1"]), refused.output
    allowed = provision_elsewhere(shop, provision_max_total_price_per_hour=2 * price)
    assert (allowed.returncode, live(shop)) == (0, ["gpu-1", "gpu-2"]), allowed.output


def test_ceiling_of_concurrent_plays_counts_the_prices_of_their_searches(
    make_project: MakeProject, registry: str
) -> None:
    """The offers' own pages show a lower price than the search: 4.00 instead of 5.00 USD per hour."""
    project = make_project([Offer(gpu_price_per_hour=5.0, details_price=4.0) for _number in range(4)])
    ceilings = {"provision_max_price_per_hour": 6, "provision_max_total_price_per_hour": 9}
    project.declare(["gpu-1", "gpu-2"], provision_reach=False, provision_registry_url=registry, **ceilings)
    words = ("ansible-playbook", "-i", str(project.inventory), "compute_index.supply.provision", "--limit")
    with project.start(*words, "gpu-1") as one, project.start(*words, "gpu-2") as other:
        codes = sorted(program.wait(HANGS) for program in (one, other))
        assert (codes, len(live(project))) == ([0, 2], 1), one.read() + other.read()


def test_accounts_are_distinguished_by_name_and_not_by_token(shop: Project, registry: str) -> None:
    assert shop.provision().returncode == 0
    shop.simulator.settings.token = shop.environment["COMPUTE_INDEX_API_TOKEN"] = "a-token-that-replaces-the-first"
    again = provision_elsewhere(shop)
    assert (again.returncode, again.changed) == (0, 0), again.output
    theirs = {"COMPUTE_INDEX_ACCOUNT": "research"}
    refused = provision_elsewhere(shop, theirs)
    assert refused.returncode == 2 and "a host's name is unique in its project" in refused.text.lower(), refused.output
    # Another account does not list the machines of this one. They do not count as gone, but the audit is incomplete.
    shop.simulator.resources.clear()
    audit = shop.play("compute_index.supply.audit", **theirs)
    assert audit.returncode == 2 and "GONE" not in audit.output, audit.output
    assert "gpu-2 of project default on account" in audit.text
    ended = shop.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu", **theirs)
    assert ended.returncode == 2 and states(registry) == ["live", "live"], ended.output
    assert inventory(shop, COMPUTE_INDEX_REGISTRY_URL=registry, **theirs)["_meta"]["hostvars"] == {}
    assert shop.requests(*PROCURE) == 2


def test_late_purchase_is_registered_when_it_appears(shop: Project, registry: str) -> None:
    assert shop.provision().returncode == 0
    postgresql.execute(registry, "DELETE FROM compute_index_supply.machine")
    postgresql.execute(registry, "UPDATE compute_index_supply.purchase SET state = 'void'")
    planned = shop.provision("--check")
    assert planned.returncode == 2 and "that the registry of gpu-1 does not know" in planned.text, planned.output
    assert states(registry) == ["void", "void"]
    run, again = shop.provision(), shop.provision()
    assert (run.returncode, again.returncode, again.changed) == (0, 0, 0), run.output + again.output
    assert run.text.count("counted as not made") == 2 and states(registry) == ["live", "live"]
    assert live(shop) == ["gpu-1", "gpu-2"] and shop.requests(*PROCURE) == 2


@pytest.mark.first
def test_registry_files_move_into_the_shared_registry(shop: Project, registry: str) -> None:
    assert shop.provision(provision_registry_url="").returncode == 0
    bought = [shop.registry(host)["provision_procured_offer_id"] for host in ("gpu-1", "gpu-2")]
    refused = shop.provision()
    assert (refused.returncode, len(shop.simulator.purchases)) == (2, 2), refused.output
    assert f"names offer {bought[0]}, which the shared registry does not name" in refused.text
    assert refused.failure("gpu-1").count("Nothing was sent.") == 1, refused.output
    ends = shop.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu-1")
    assert (ends.returncode, len(live(shop))) == (2, 2) and "does not name" in ends.failure("gpu-1"), ends.output
    move = "compute_index.supply.registry"
    assert move in refused.text

    checked = shop.play(move, "--check", "--diff")
    assert (checked.returncode, shop.registry("gpu-1") is None) == (0, False), checked.output
    assert "+CREATE TABLE compute_index_supply.purchase" in checked.output and "would be moved" in checked.text
    done, again = shop.play(move), shop.play(move)
    assert (done.returncode, done.changed, again.returncode, again.changed) == (0, 1, 0, 0), done.output + again.output
    assert [offer for _project, _host, _state, offer in claims(registry)] == bought
    remaining = [file.name for file in (shop.folder / "host_vars").iterdir()]
    assert remaining == [".compute_index_supply.ledger"], "the ledger stays"
    runs = [shop.provision(), shop.provision()]
    assert [run.returncode for run in runs] == [0, 0], runs[0].output
    assert (runs[1].changed, len(shop.simulator.purchases)) == (0, 2), runs[1].output


def test_storage_leases_and_open_purchases_move_once(make_project: MakeProject, registry: str) -> None:
    """gpu-1 runs, gpu-2 has kept its storage, gpu-3 has bought again, and the run that buys for gpu-4 is killed."""
    project = make_project([], provision_seconds=0)
    for _number in range(6):
        project.simulator.add_offer(gpu_price_per_hour=2.0, storage=[sold(500, 0.08, persistent=True)])
    hosts = ["gpu-1", "gpu-2", "gpu-3", "gpu-4"]
    project.declare(hosts, provision_spec=WITH_STORAGE, provision_reach=False, provision_lease="8h")
    assert project.provision("--limit", "gpu-1,gpu-2,gpu-3").returncode == 0
    assert project.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu-2,gpu-3").returncode == 0
    assert project.provision("--limit", "gpu-3").returncode == 0
    project.declare(["gpu-4"], provision_spec=WITH_STORAGE, provision_reach=False, provision_lease="8h")
    project.simulator.settings.procure_seconds = 3
    kill(project, signal.SIGKILL, lambda: len(project.simulator.purchases) > 4, "compute_index.supply.provision")
    project.end_leftovers()
    project.simulator.settings.procure_seconds = 0
    project.declare(hosts, provision_spec=WITH_STORAGE, provision_reach=False, provision_lease="8h")
    before = {host: project.registry_file(host).read_text() for host in hosts}

    # The second time, the files are back, as git brings them.
    project.environment["COMPUTE_INDEX_REGISTRY_URL"] = registry
    move = "compute_index.supply.registry"
    for _time in range(2):
        for host, text in before.items():
            project.registry_file(host).parent.mkdir(parents=True, exist_ok=True)
            project.registry_file(host).write_text(text)
        runs = [project.play(move), project.play(move)]
        assert [(run.returncode, run.changed) for run in runs] == [(0, 1), (0, 0)], runs[0].output
        assert max(map(len, re.findall(r'^ {8}"(.*)",?$', runs[1].output, re.MULTILINE))) <= 80
        run = project.provision()
        assert run.returncode == 0 and sorted(project.simulator.billed) == sorted(noted(registry)), run.output
        # Four machines with their storage, and the storage that gpu-2 and gpu-3 have kept
        assert len(project.simulator.purchases) == 6 and len(project.simulator.billed) == 10
        spend = project.play("compute_index.supply.spend")
        assert "now 8.3288 per hour" in spend.text and not re.search("no end was noted|Not counted", spend.text)
    assert run.changed == 0 and run.text.count(" UTC 16.4") == 4, run.output
    ended = project.play(
        "compute_index.supply.decommission", "-e", "decommission_hosts=gpu", "-e", "decommission_storage=end"
    )
    assert (ended.returncode, project.simulator.billed) == (0, []), ended.output
    assert "now 0.00 per hour" in project.play("compute_index.supply.spend").text


def noted(url: str) -> list[str]:
    """The resources that the registry considers billed."""
    query = (
        "SELECT DISTINCT resource FROM compute_index_supply.purchase p JOIN compute_index_supply.machine m"
        " USING (claim) WHERE p.state IN ('live', 'stray') AND m.gone_at IS NULL"
    )
    storage = (
        "SELECT jsonb_array_elements_text(note->'provision_storage_ids') FROM compute_index_supply.purchase"
        " WHERE state = 'live' AND note ? 'provision_storage_ids'"
    )
    return sorted({resource for (resource,) in [*postgresql.execute(url, query), *postgresql.execute(url, storage)]})


def test_machines_of_a_cluster_share_one_claim(make_project: MakeProject, registry: str) -> None:
    ring = Offer(gpu_count=16, node_count=2)
    shop = make_project([ring], provision_seconds=0)
    shop.declare(["gpu-1"], provision_reach=False, provision_registry_url=registry, provision_offer_id=ring.offer_id)
    first, second = shop.provision(provision_max_price_per_hour=50), provision_elsewhere(shop)
    assert (first.returncode, second.returncode, second.changed) == (0, 0, 0), first.output + second.output
    assert states(registry) == ["live"] and len(live(shop)) == 2
    listed = inventory(shop, COMPUTE_INDEX_REGISTRY_URL=registry)
    assert sorted(listed["gpu"]["hosts"]) == ["gpu-1", "gpu-1-1"]
    ended = shop.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu-1", **other_controller(shop))
    assert (ended.returncode, live(shop), states(registry)) == (0, [], ["ended"]), ended.output


def test_failed_machine_is_released_and_replaced(make_project: MakeProject, registry: str) -> None:
    shop = make_project(
        [Offer(gpu_price_per_hour=2, outcome="fails"), Offer(gpu_price_per_hour=3)], provision_seconds=0
    )
    shop.declare(["gpu-1"], provision_reach=False, provision_registry_url=registry, provision_on_failure="release")
    run = shop.provision()
    assert (run.returncode, len(shop.simulator.purchases), live(shop)) == (0, 2, ["gpu-1"]), run.output
    assert states(registry) == ["ended", "live"]


@pytest.mark.first
def test_registry_password_is_in_no_output_of_the_playbooks(shop: Project, registry: str) -> None:
    url = registry.replace("postgres:@", "postgres:kept-between-us@")
    outputs = ""
    for words in (
        ("compute_index.supply.quote",),
        ("compute_index.supply.provision", "--check", "--diff"),
        ("compute_index.supply.provision",),
        ("compute_index.supply.registry", "--diff"),
        ("compute_index.supply.audit",),
        ("compute_index.supply.decommission", "-e", "decommission_hosts=gpu"),
    ):
        shop.declare(["gpu-1", "gpu-2"], provision_reach=False, provision_registry_url=url)
        run = shop.play(*words, "-vvvv")
        assert run.returncode == 0, run.output
        outputs += run.output
    assert "kept-between-us" not in outputs


@core
def test_hosts_and_projects_may_have_odd_names(shop: Project, registry: str) -> None:
    hosts = ["gpü 1's", "x" * 240, '"quoted"; DROP TABLE purchase', "a/b"]
    shop.declare(hosts, provision_reach=False, provision_registry_url=registry, provision_project="team's; ü")
    first, second = shop.provision(), provision_elsewhere(shop)
    assert (first.returncode, second.returncode, second.changed) == (0, 0, 0), first.output + second.output
    assert {(project, host) for project, host, _state, _offer in claims(registry)} == {
        ("team's; ü", each) for each in hosts
    }
    assert len(shop.simulator.purchases) == 4


def test_host_with_another_shared_registry_is_refused(shop: Project) -> None:
    assert shop.provision().returncode == 0
    shop.declare_host("gpu-2", provision_registry_url="postgresql://elsewhere.invalid/supply")
    run = shop.provision()
    assert run.recap("gpu-1", "failed") == 0 and "different values" in run.failure("gpu-2"), run.output
    ends = shop.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu")
    assert (ends.returncode, live(shop)) == (2, ["gpu-2"]), ends.output
    assert "names another shared registry than the one that was read" in ends.failure("gpu-2")


def test_database_user_with_read_rights_can_audit_but_not_buy(shop: Project, registry: str) -> None:
    assert shop.provision().returncode == 0
    postgresql.execute(registry, "DROP ROLE IF EXISTS auditor")
    postgresql.execute(registry, "CREATE ROLE auditor LOGIN")
    try:
        postgresql.execute(registry, "GRANT USAGE ON SCHEMA compute_index_supply TO auditor")
        postgresql.execute(registry, "GRANT SELECT ON ALL TABLES IN SCHEMA compute_index_supply TO auditor")
        reader = registry.replace("postgres:@", "auditor:@")
        audit = shop.play("compute_index.supply.audit", *extra({"provision_registry_url": reader}))
        assert audit.returncode == 0, audit.output
        assert sorted(inventory(shop, COMPUTE_INDEX_REGISTRY_URL=reader)["gpu"]["hosts"]) == ["gpu-1", "gpu-2"]
        shop.declare(["gpu-3"], provision_reach=False, provision_registry_url=reader)
        refused = shop.provision()
        assert (refused.returncode, len(shop.simulator.purchases)) == (2, 2), refused.output
        assert "does not let its user note machines" in refused.text and "Nothing was bought" in refused.text
    finally:
        postgresql.execute(registry, "DROP OWNED BY auditor")
        postgresql.execute(registry, "DROP ROLE auditor")


@pytest.mark.first
def test_ceiling_covers_all_batches_of_a_play(shop: Project, registry: str) -> None:
    roles = [{"role": "compute_index.supply.provision", "provision_max_total_price_per_hour": 5}]
    shop.declare(["gpu-1", "gpu-2", "gpu-3"], provision_reach=False, provision_registry_url=registry)
    play = {"hosts": "gpu", "gather_facts": False, "serial": 1, "roles": roles}
    run = shop.play(shop.write(play))
    assert (run.returncode, live(shop)) == (2, ["gpu-1", "gpu-2"]), run.output
    assert "7.50" in run.failure("gpu-3"), run.output


def add_open_claim(url: str, *, sent: bool, offer: str = "00000000-0000-4000-8000-000000000009") -> None:
    """Add the claim of a dead run of this account, for the host ``lost``, for which no other run buys."""
    postgresql.execute(
        url,
        "INSERT INTO compute_index_supply.purchase (claim, project, host, account, offer, state, holder, held_until,"
        " quoted_price_per_hour, sent_at) SELECT gen_random_uuid(), 'default', 'lost', account, %(offer)s, 'buying',"
        ' \'{"user": "bob", "host": "laptop"}\', now() - interval \'1 hour\', 2.5,'
        " CASE WHEN %(sent)s THEN now() - interval '1 hour' END FROM compute_index_supply.purchase LIMIT 1",
        {"offer": offer, "sent": sent},
    )


@pytest.mark.first
def test_open_purchase_of_a_dead_run_counts_until_it_is_settled(shop: Project, registry: str) -> None:
    ceiling = {"provision_max_total_price_per_hour": 5}
    assert shop.provision("--limit", "gpu-1", **ceiling).returncode == 0
    add_open_claim(registry, sent=True)
    # The API does not know the offer, but may have forgotten it only a moment ago.
    refused = shop.provision(**ceiling)
    assert (refused.returncode, len(live(shop))) == (2, 1), refused.output
    for words in (
        "7.50",
        "sent for lost at",
        "in a run of bob at laptop",
        "MAY BE BOUGHT and billed at USD 2.50 per hour",
    ):
        assert words in refused.text, refused.output
    audit = shop.play("compute_index.supply.audit")
    assert (audit.returncode, audit.changed) == (0, 0) and "BUYING" in audit.text and "lost" in audit.text
    make_older = "UPDATE compute_index_supply.purchase SET expired_seen = expired_seen - interval '31 minutes'"
    postgresql.execute(registry, make_older)
    run = shop.provision(**ceiling)
    assert (run.returncode, live(shop)) == (0, ["gpu-1", "gpu-2"]), run.output
    assert "sent for lost at" in run.text and "so its purchase did not happen" in run.text, run.output
    assert sorted(states(registry)) == ["live", "live", "void"]


def provision_while(project: Project, act: Callable[[], None], *words: str, **variables: Any) -> Run:
    """Run the playbook `provision`, and act while it reads the price, right before it claims an offer."""
    price = Fault(method="GET", path="/offers/[^/]+$", delay=4, count=None)
    project.simulator.faults.append(price)
    command = ("ansible-playbook", "-i", str(project.inventory), "compute_index.supply.provision")
    with project.start(*command, *extra(variables), *words) as program:
        until(lambda: price.seen > 0 or program.poll() is not None)
        act()
        project.simulator.faults.remove(price)
        return Run(program.wait(HANGS), unfolded(program.read()))


def test_claims_that_others_make_during_a_purchase_count(shop: Project, registry: str) -> None:
    """The plan has counted before. The claim counts again, settles what may be settled, and passes a taken offer by."""
    assert shop.provision("--limit", "gpu-1").returncode == 0
    of_lost = "UPDATE compute_index_supply.purchase SET {} WHERE host = 'lost' AND state = 'buying'"
    dead = of_lost.format("expired_seen = now() - interval '31 minutes'")
    held = of_lost.format("project = 'theirs', offer = %(offer)s, held_until = now() + interval '1 minute'")

    def add(change: str, offer: str = "00000000-0000-4000-8000-000000000008") -> None:
        add_open_claim(registry, sent=True)
        postgresql.execute(registry, change, {"offer": offer})

    account = {"provision_max_account_price_per_hour": 5}
    above = provision_while(shop, lambda: add(held), **account)
    assert (above.returncode, live(shop)) == (2, ["gpu-1"]), above.output
    assert "lost of project theirs USD 2.50 (being bought since" in above.failure("gpu-2"), above.output
    postgresql.execute(registry, of_lost.format("state = 'void'"))

    settled = provision_while(shop, lambda: add(dead), **account)
    assert (settled.returncode, live(shop)) == (0, ["gpu-1", "gpu-2"]), settled.output
    assert "so its purchase did not happen" in settled.text, settled.output
    assert shop.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu-2").returncode == 0

    wanted: list[str] = []

    def take_its_offer() -> None:
        wanted.append(shop.simulator.requests[-1].path.rpartition("/")[2])
        add(held, wanted[0])

    passed_by = provision_while(shop, take_its_offer)
    assert (passed_by.returncode, live(shop)) == (0, ["gpu-1", "gpu-2"]), passed_by.output
    assert wanted[0] not in {bought.offer_id for bought in shop.simulator.purchases} and "lost" in str(claims(registry))


def test_database_that_may_have_lost_claims_sells_nothing_for_a_while(shop: Project, registry: str) -> None:
    """It has failed over, or a newer version of the collection has changed its tables. Machines may still end."""
    assert shop.provision("--limit", "gpu-1").returncode == 0
    for change, message in (
        ("version = 2", "was made by a newer version of the collection (schema 2, here 1)"),
        ("version = 1, cluster = 'former/1'", "has failed over, and may have lost claims: nothing new is bought until"),
    ):
        postgresql.execute(registry, f"UPDATE compute_index_supply.meta SET {change}")
        quote = shop.play("compute_index.supply.quote")
        assert quote.returncode == 2 and message in quote.failure("gpu-2"), quote.output
        assert "gpu-2 refused, see below" in quote.text and "gpu-1 owned already" in quote.text
        refused = shop.provision()
        assert (refused.returncode, live(shop)) == (2, ["gpu-1"]), refused.output
        assert message in refused.failure("gpu-2") and "Nothing is billed for gpu-2." in refused.text
    ended = shop.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu-1")
    assert (ended.returncode, live(shop)) == (0, []), ended.output
    postgresql.execute(registry, "UPDATE compute_index_supply.meta SET quarantine_until = now()")
    run = shop.provision()
    assert (run.returncode, live(shop)) == (0, ["gpu-1", "gpu-2"]), run.output


@pytest.mark.first
def test_claim_that_was_never_sent_blocks_nothing(shop: Project, registry: str) -> None:
    """Its run died before it marked the purchase as sent, so it blocks neither host nor offer, and counts in no sum."""
    ceiling = {"provision_max_total_price_per_hour": 5}
    assert shop.provision("--limit", "gpu-1", **ceiling).returncode == 0
    add_open_claim(registry, sent=False)
    postgresql.execute(registry, "UPDATE compute_index_supply.purchase SET host = 'gpu-2' WHERE host = 'lost'")
    audit = shop.play("compute_index.supply.audit")
    assert audit.returncode == 0 and "BUYING" not in audit.text, audit.output
    run = shop.provision(**ceiling)
    assert (run.returncode, live(shop)) == (0, ["gpu-1", "gpu-2"]), run.output
    assert sorted(states(registry)) == ["live", "live", "void"]


def test_sweeps_and_audits_settle_open_purchases_of_dead_runs(shop: Project, registry: str) -> None:
    assert shop.provision().returncode == 0
    add_open_claim(registry, sent=True)
    make_older = (
        "UPDATE compute_index_supply.purchase SET expired_seen = now() - interval '31 minutes' WHERE host = 'lost'"
    )
    postgresql.execute(registry, make_older)
    checked = shop.play("compute_index.supply.reap", "--check")
    assert checked.returncode == 0 and "buying" in states(registry), checked.output
    sweep = shop.play("compute_index.supply.reap")
    assert sweep.returncode == 0 and sorted(states(registry)) == ["live", "live", "void"], sweep.output
    add_open_claim(registry, sent=True)
    postgresql.execute(registry, make_older + " AND state = 'buying'")
    audit = shop.play("compute_index.supply.audit", "-e", "audit_settle=true")
    assert (audit.returncode, audit.changed) == (0, 1) and "BUYING" not in audit.text, audit.output
    assert sorted(states(registry)) == ["live", "live", "void", "void"]


@pytest.mark.parametrize("owner", [pytest.param("gpu-1", marks=pytest.mark.core), "gpu-2"])
def test_role_whose_when_depends_on_its_own_facts_runs_to_the_end(shop: Project, registry: str, owner: str) -> None:
    """The facts of the role change the ``when`` of each of its tasks, and some tasks run once for all hosts."""
    assert shop.provision("--limit", owner).returncode == 0
    shop.declare(["gpu-1", "gpu-2", "gpu-3"], provision_reach=False, provision_registry_url=registry)
    missing = "provision_resource_ids | default([]) | length == 0"
    show = {"ansible.builtin.debug": {"msg": "{{ inventory_hostname }} owns {{ provision_resource_ids | length }}"}}
    play = {"hosts": "gpu", "gather_facts": False}
    play["tasks"] = [
        {"ansible.builtin.import_role": {"name": "compute_index.supply.provision"}, "when": missing},
        show,
        {"ansible.builtin.import_role": {"name": "compute_index.supply.decommission"}, "when": f"not ({missing})"},
        show,
    ]
    run = shop.play(shop.write(play), **other_controller(shop))
    assert run.returncode == 0 and states(registry) == ["ended"] * 3, run.output
    assert all(f"gpu-{host} owns {count}" in run.output for host in (1, 2, 3) for count in (1, 0)), run.output


def test_missing_psycopg_names_the_package_to_install(shop: Project) -> None:
    folder = shop.folder / "without"
    folder.mkdir()
    (folder / "psycopg.py").write_text("raise ImportError\n")
    path = os.pathsep.join([str(folder), shop.environment["PYTHONPATH"]])
    for words in (
        ("compute_index.supply.provision",),
        ("compute_index.supply.audit",),
        ("compute_index.supply.registry",),
    ):
        run = shop.play(*words, PYTHONPATH=path)
        assert run.returncode != 0 and "install psycopg[binary]" in run.text, run.output
    assert shop.requests(*PROCURE) == 0


def test_invalid_connection_string_is_not_shown(shop: Project) -> None:
    shop.declare(["gpu-1"], provision_reach=False, provision_registry_url="kept-between-us")
    for words in (
        ("compute_index.supply.provision",),
        ("compute_index.supply.decommission", "-e", "decommission_hosts=gpu-1"),
    ):
        run = shop.play(*words, "-vvv")
        assert run.returncode == 2 and "is not a PostgreSQL connection string" in run.text, run.output
        assert "kept-between-us" not in run.said


@pytest.mark.first
def test_unreachable_database_stops_before_the_purchase(shop: Project) -> None:
    url = "postgresql://supply:kept-between-us@127.0.0.1:1/supply?connect_timeout=1"
    run = shop.provision("-vvv", provision_registry_url=url)
    assert (run.returncode, shop.requests(*PROCURE)) == (2, 0), run.output
    assert "supply at 127.0.0.1:1" in run.text and "kept-between-us" not in run.said
