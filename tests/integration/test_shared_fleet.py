# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles and playbooks with a registry in PostgreSQL, from the quote to the end, with several controllers."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import postgresql
from conftest import PROCURE, MakeProject, Project, Run, core
from limits import HANGS
from project import extra
from simulator import Offer

ROUNDS = int(os.environ.get("SUPPLY_TEST_ROUNDS") or 5)
SEED = int(os.environ.get("SUPPLY_TEST_SEED") or 1)
# Host keys as an earlier run noted them, and a private key, which no run notes
KEYS = '{"provision_host_keys": ["alias ssh-ed25519 AAAA"], "provision_identity_file": "/theirs"}'
POST = float(os.environ.get("SUPPLY_TEST_POST") or 1)  # seconds that a purchase takes, in which nothing shows


@pytest.fixture
def shop(make_project: MakeProject, registry: str) -> Project:
    """A project of two hosts with six offers and a shared registry. No host is reached by SSH."""
    project = make_project([Offer() for _number in range(6)], provision_seconds=0)
    project.declare(["gpu-1", "gpu-2"], provision_reach=False, provision_registry_url=registry)
    return project


def another(project: Project) -> dict[str, str]:
    """The environment of a controller with the same inventory and another home folder."""
    home = project.folder / "elsewhere"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    return {"HOME": str(home), "ANSIBLE_HOME": str(home / ".ansible")}


def provision_elsewhere(project: Project, environment: dict[str, str] | None = None, **variables: Any) -> Run:
    """The playbook, run by another controller."""
    words = ["compute_index.supply.provision", *extra(variables)]
    return project.play(*words, **another(project), **(environment or {}))


def rows(url: str) -> list[tuple[Any, ...]]:
    return postgresql.execute(
        url, "SELECT project, host, state, offer FROM compute_index_supply.purchase ORDER BY project, host, claimed_at"
    )


def states(url: str) -> list[str]:
    return [state for _project, _host, state, _offer in rows(url)]


def buying(url: str) -> int:
    """The number of purchases under way."""
    made = postgresql.execute(url, "SELECT to_regclass('compute_index_supply.purchase')") != [(None,)]
    return states(url).count("buying") if made else 0


def live(project: Project) -> list[str]:
    """The names of the machines that are billed."""
    return sorted(each.name for each in project.simulator.resources.values() if each.deleting_at is None)


@pytest.mark.first
@core
def test_from_the_quote_to_the_end(shop: Project, registry: str) -> None:
    quote = shop.play("compute_index.supply.quote")
    assert quote.returncode == 0, quote.output
    planned = shop.provision("--check", "--diff")
    assert (planned.returncode, shop.requests(*PROCURE)) == (0, 0), planned.output
    assert postgresql.execute(registry, "SELECT to_regclass('compute_index_supply.meta')") == [(None,)], "nothing made"

    first = shop.provision()
    assert (first.returncode, len(shop.simulator.purchases)) == (0, 2), first.output
    assert states(registry) == ["live", "live"]
    assert not (shop.folder / "host_vars").exists(), "no file beside the inventory"

    second = provision_elsewhere(shop)
    assert (second.returncode, second.changed, shop.requests(*PROCURE)) == (0, 0, 2), second.output
    assert "registry: postgres at " in second.output and "project default" in second.output

    show = {"ANSIBLE_SHOW_CUSTOM_STATS": "1"}
    audit = shop.play("compute_index.supply.audit", "-e", "audit_fail_on_orphans=true", **show)
    assert audit.returncode == 0, audit.output
    assert "GONE" not in audit.output and "ORPHANS" not in audit.output
    bought = json.loads(audit.output.split("RUN: ")[1])["audit"]["claimed"]
    assert len(bought) == 2

    ended = shop.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu", **another(shop))
    assert ended.returncode == 0, ended.output
    assert live(shop) == []
    assert states(registry) == ["ended", "ended"]
    again = shop.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu")
    assert (again.returncode, again.changed) == (0, 0), again.output
    third = shop.provision()
    assert (third.returncode, len(shop.simulator.purchases)) == (0, 4), third.output


def inventory(project: Project, **environment: str) -> dict[str, Any]:
    """The inventory that the plugin makes of the account."""
    (project.folder / "account.supply.yml").write_text("plugin: compute_index.supply.resources\n")
    run = project.run("ansible-inventory", "-i", "account.supply.yml", "--list", **environment)
    assert run.returncode == 0, run.output
    found: dict[str, Any] = json.loads(
        run.output[run.output.index("{") :], object_hook=lambda each: each.get("__ansible_unsafe", each)
    )
    return found


def test_the_inventory_has_the_machines_of_the_project(shop: Project, registry: str) -> None:
    assert shop.provision().returncode == 0
    assert shop.provision(provision_project="theirs").returncode == 0
    postgresql.execute(registry, "UPDATE compute_index_supply.purchase SET note = note || %(keys)s", {"keys": KEYS})
    where = another(shop)
    found = inventory(shop, COMPUTE_INDEX_REGISTRY_URL=registry, **where)
    assert sorted(found["gpu"]["hosts"]) == ["gpu-1", "gpu-2"]
    own = found["_meta"]["hostvars"]["gpu-1"]
    (bought,) = [each for each in shop.simulator.purchases if each.request["resource_name"] == "gpu-1"]
    assert (own["provision_procured_offer_id"], own["provision_resource_ids"]) == (
        bought.offer_id,
        bought.resource_ids,
    )
    known_hosts = Path(where["ANSIBLE_HOME"], "compute_index_supply", "known_hosts", bought.offer_id)
    assert known_hosts.read_text() == "alias ssh-ed25519 AAAA\n"
    assert str(known_hosts) in own["ansible_ssh_extra_args"] and "accept-new" in own["ansible_ssh_extra_args"]
    assert "/theirs" not in own["ansible_ssh_extra_args"], "a private key is each controller's own"
    assert own["supply_status"] == "running"
    assert len(inventory(shop)["_meta"]["hostvars"]) == 4, "without a registry all are hosts"


def test_all_controllers_know_the_host_key_that_answered_first(shop: Project, registry: str) -> None:
    shop.declare(["gpu-1"], provision_registry_url=registry, provision_boot_timeout="60s")
    assert shop.provision().returncode == 0
    query = "SELECT note->>'provision_host_keys' FROM compute_index_supply.purchase"
    ((noted,),) = postgresql.execute(registry, query)
    (line,) = json.loads(noted)
    (bought,) = shop.simulator.purchases
    assert line.split()[1].startswith("ssh-")
    second = provision_elsewhere(shop)
    assert (second.returncode, second.changed) == (0, 0), second.output
    assert "Share its host key" not in second.output
    # The registry says otherwise than the machine that answers.
    other = json.dumps({"provision_host_keys": [f"{bought.resource_ids[0]} {' '.join(shop.public_key.split()[:2])}"]})
    postgresql.execute(registry, "UPDATE compute_index_supply.purchase SET note = note || %(keys)s", {"keys": other})
    # A connection that is still open would not be checked again.
    third = provision_elsewhere(shop, {"ANSIBLE_SSH_ARGS": "-o ControlPath=none"})
    assert third.returncode == 2 and "is not the one pinned in" in third.text, third.output
    assert "remove that file" not in third.text, "the registry has it still"
    fourth = provision_elsewhere(shop, {"ANSIBLE_SSH_ARGS": "-o ControlPath=none"}, provision_host_key_trust="none")
    assert "run with provision_host_key_trust=none" in third.text and fourth.returncode == 0, fourth.output
    assert live(shop) == ["gpu-1"] and states(registry) == ["live"]


@pytest.mark.first
def test_two_projects_share_names_and_nothing_else(shop: Project, registry: str) -> None:
    mine = shop.provision()
    theirs = provision_elsewhere(shop, provision_project="theirs")
    assert (mine.returncode, theirs.returncode) == (0, 0), mine.output + theirs.output
    assert live(shop) == ["gpu-1", "gpu-2", "theirs-gpu-1", "theirs-gpu-2"]
    audit = shop.play("compute_index.supply.audit", "-e", "audit_fail_on_orphans=true")
    assert audit.returncode == 0 and "gpu-1 of project theirs" in audit.output, audit.output
    words = ("-e", "decommission_hosts=gpu", "-e", "provision_project=theirs")
    assert shop.play("compute_index.supply.decommission", *words).returncode == 0
    assert live(shop) == ["gpu-1", "gpu-2"]


def test_a_group_that_names_its_project_leaves_the_usual_one_alone(shop: Project, registry: str) -> None:
    """The usual project is a colleague's, whose hosts are in a group of the same name."""
    usual = {"provision_reach": False, "provision_registry_url": registry, "provision_lease": "8h"}
    shop.declare(["theirs"], **usual)
    assert shop.provision().returncode == 0
    shop.declare(["gpu-1"], **usual, provision_project="mine")
    assert shop.provision().returncode == 0
    extended = shop.play("compute_index.supply.extend", *extra({"extend_hosts": "gpu", "extend_by": "1h"}))
    assert extended.returncode == 0 and "theirs" not in extended.text, extended.output
    spent = shop.play("compute_index.supply.spend")
    assert "now 2.50 per hour" in spent.text and "Not counted: the project default" in spent.text, spent.output
    postgresql.age(registry, 10)
    swept = shop.play("compute_index.supply.reap")
    assert "leases of the project default that are over, and no sweep enforces them" in swept.text, swept.output
    assert live(shop) == ["theirs"]


@pytest.mark.first
def test_the_ceiling_counts_what_other_controllers_have_bought(shop: Project, registry: str) -> None:
    shop.declare(["gpu-1"], provision_reach=False, provision_registry_url=registry)
    assert shop.provision().returncode == 0
    shop.declare(["gpu-2"], provision_reach=False, provision_registry_url=registry)
    price = 2.5
    refused = provision_elsewhere(shop, provision_max_total_price_per_hour=1.5 * price)
    assert (refused.returncode, live(shop)) == (2, ["gpu-1"]), refused.output
    allowed = provision_elsewhere(shop, provision_max_total_price_per_hour=2 * price)
    assert (allowed.returncode, live(shop)) == (0, ["gpu-1", "gpu-2"]), allowed.output


def test_two_concurrent_plays_count_the_prices_of_their_searches(make_project: MakeProject, registry: str) -> None:
    """The offers' own pages show a lower price than the search: 4.00 instead of 5.00 USD per hour."""
    project = make_project([Offer(gpu_price_per_hour=5.0, details_price=4.0) for _number in range(4)])
    ceilings = {"provision_max_price_per_hour": 6, "provision_max_total_price_per_hour": 9}
    project.declare(["gpu-1", "gpu-2"], provision_reach=False, provision_registry_url=registry, **ceilings)
    words = ("ansible-playbook", "-i", str(project.inventory), "compute_index.supply.provision", "--limit")
    with project.start(*words, "gpu-1") as one, project.start(*words, "gpu-2") as other:
        codes = sorted(program.wait(HANGS) for program in (one, other))
        assert (codes, len(live(project))) == ([0, 2], 1), one.read() + other.read()


def test_two_accounts_of_one_api_are_told_apart_by_a_name_and_not_by_their_tokens(shop: Project, registry: str) -> None:
    assert shop.provision().returncode == 0
    shop.simulator.settings.token = shop.environment["COMPUTE_INDEX_API_TOKEN"] = "a-token-that-replaces-the-first"
    again = provision_elsewhere(shop)
    assert (again.returncode, again.changed) == (0, 0), again.output
    theirs = {"COMPUTE_INDEX_ACCOUNT": "research"}
    refused = provision_elsewhere(shop, theirs)
    assert refused.returncode == 2 and "a host's name is unique in its project" in refused.text.lower(), refused.output
    # Another account does not list the machines of this one: they are not called gone, and the audit is not complete.
    shop.simulator.resources.clear()
    audit = shop.play("compute_index.supply.audit", **theirs)
    assert audit.returncode == 2 and "GONE" not in audit.output, audit.output
    assert "gpu-2 of project default on account" in audit.text
    ended = shop.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu", **theirs)
    assert ended.returncode == 2 and states(registry) == ["live", "live"], ended.output
    found = inventory(shop, COMPUTE_INDEX_REGISTRY_URL=registry, **theirs)
    assert found["_meta"]["hostvars"] == {}
    assert shop.requests(*PROCURE) == 2


def test_a_late_purchase_is_noted_when_it_appears(shop: Project, registry: str) -> None:
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
def test_entries_of_files_are_moved_into_the_registry(shop: Project, registry: str) -> None:
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

    told = shop.play(move, "--check", "--diff")
    assert (told.returncode, shop.registry("gpu-1") is None) == (0, False), told.output
    assert "+CREATE TABLE compute_index_supply.purchase" in told.output and "would be moved" in told.text
    done, again = shop.play(move), shop.play(move)
    assert (done.returncode, done.changed, again.returncode, again.changed) == (0, 1, 0, 0), done.output + again.output
    assert [offer for _project, _host, _state, offer in rows(registry)] == bought
    left = [file.name for file in (shop.folder / "host_vars").iterdir()]
    assert left == [".compute_index_supply.ledger"], "what was bought stays on record"
    runs = [shop.provision(), shop.provision()]
    assert [run.returncode for run in runs] == [0, 0], runs[0].output
    assert (runs[1].changed, len(shop.simulator.purchases)) == (0, 2), runs[1].output


def test_the_machines_of_a_cluster_have_one_claim(make_project: MakeProject, registry: str) -> None:
    ring = Offer(gpu_count=16, node_count=2)
    shop = make_project([ring], provision_seconds=0)
    shop.declare(["gpu-1"], provision_reach=False, provision_registry_url=registry, provision_offer_id=ring.offer_id)
    first, second = shop.provision(provision_max_price_per_hour=50), provision_elsewhere(shop)
    assert (first.returncode, second.returncode, second.changed) == (0, 0, 0), first.output + second.output
    assert states(registry) == ["live"] and len(live(shop)) == 2
    found = inventory(shop, COMPUTE_INDEX_REGISTRY_URL=registry)
    assert sorted(found["gpu"]["hosts"]) == ["gpu-1", "gpu-1-1"]
    ended = shop.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu-1", **another(shop))
    assert (ended.returncode, live(shop), states(registry)) == (0, [], ["ended"]), ended.output


def test_a_failed_machine_is_given_back_and_another_is_bought(make_project: MakeProject, registry: str) -> None:
    shop = make_project(
        [Offer(gpu_price_per_hour=2, outcome="fails"), Offer(gpu_price_per_hour=3)], provision_seconds=0
    )
    shop.declare(["gpu-1"], provision_reach=False, provision_registry_url=registry, provision_on_failure="release")
    run = shop.provision()
    assert (run.returncode, len(shop.simulator.purchases), live(shop)) == (0, 2, ["gpu-1"]), run.output
    assert states(registry) == ["ended", "live"]


@pytest.mark.first
def test_no_password_is_in_any_output_of_the_roles(shop: Project, registry: str) -> None:
    url = registry.replace("postgres:@", "postgres:kept-between-us@")
    said = ""
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
        said += run.output
    assert "kept-between-us" not in said


@core
def test_odd_names_are_names(shop: Project, registry: str) -> None:
    hosts = ["gpü 1's", "x" * 240, '"quoted"; DROP TABLE purchase', "a/b"]
    shop.declare(hosts, provision_reach=False, provision_registry_url=registry, provision_project="team's; ü")
    first, second = shop.provision(), provision_elsewhere(shop)
    assert (first.returncode, second.returncode, second.changed) == (0, 0, 0), first.output + second.output
    assert {(project, host) for project, host, _state, _offer in rows(registry)} == {
        ("team's; ü", each) for each in hosts
    }
    assert len(shop.simulator.purchases) == 4


def test_the_hosts_of_a_play_share_one_registry(shop: Project) -> None:
    assert shop.provision().returncode == 0
    shop.declare_host("gpu-2", provision_registry_url="postgresql://elsewhere.invalid/supply")
    run = shop.provision()
    assert run.recap("gpu-1", "failed") == 0 and "different values" in run.failure("gpu-2"), run.output
    ends = shop.play("compute_index.supply.decommission", "-e", "decommission_hosts=gpu")
    assert (ends.returncode, live(shop)) == (2, ["gpu-2"]), ends.output
    assert "names another shared registry than the one that was read" in ends.failure("gpu-2")


def test_a_user_with_read_rights_can_look(shop: Project, registry: str) -> None:
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
def test_batches_of_a_play_have_one_ceiling(shop: Project, registry: str) -> None:
    roles = [{"role": "compute_index.supply.provision", "provision_max_total_price_per_hour": 5}]
    shop.declare(["gpu-1", "gpu-2", "gpu-3"], provision_reach=False, provision_registry_url=registry)
    play = {"hosts": "gpu", "gather_facts": False, "serial": 1, "roles": roles}
    run = shop.play(shop.write(play))
    assert (run.returncode, live(shop)) == (2, ["gpu-1", "gpu-2"]), run.output
    assert "7.50" in run.failure("gpu-3"), run.output


def left_open(url: str, *, sent: bool, offer: str = "00000000-0000-4000-8000-000000000009") -> None:
    """Add the claim of a dead run of this account, for a host that is never bought again."""
    postgresql.execute(
        url,
        "INSERT INTO compute_index_supply.purchase (claim, project, host, account, offer, state, holder, held_until,"
        " quoted_price_per_hour, sent_at) SELECT gen_random_uuid(), 'default', 'lost', account, %(offer)s, 'buying',"
        ' \'{"user": "bob", "host": "laptop"}\', now() - interval \'1 hour\', 2.5,'
        " CASE WHEN %(sent)s THEN now() - interval '1 hour' END FROM compute_index_supply.purchase LIMIT 1",
        {"offer": offer, "sent": sent},
    )


@pytest.mark.first
def test_an_open_purchase_of_a_dead_run_refuses_others_until_it_is_settled(shop: Project, registry: str) -> None:
    ceiling = {"provision_max_total_price_per_hour": 5}
    assert shop.provision("--limit", "gpu-1", **ceiling).returncode == 0
    left_open(registry, sent=True)
    # The API does not know the offer, but for how long that has been so is not known yet.
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
    seen = "UPDATE compute_index_supply.purchase SET expired_seen = expired_seen - interval '31 minutes'"
    postgresql.execute(registry, seen)
    run = shop.provision(**ceiling)
    assert (run.returncode, live(shop)) == (0, ["gpu-1", "gpu-2"]), run.output
    assert "sent for lost at" in run.text and "so its purchase did not happen" in run.text, run.output
    assert sorted(states(registry)) == ["live", "live", "void"]


@pytest.mark.first
def test_a_claim_that_was_never_sent_refuses_nothing(shop: Project, registry: str) -> None:
    """Its run died between the claim and the mark, so it blocks neither host, nor offer, nor a sum."""
    ceiling = {"provision_max_total_price_per_hour": 5}
    assert shop.provision("--limit", "gpu-1", **ceiling).returncode == 0
    left_open(registry, sent=False)
    postgresql.execute(registry, "UPDATE compute_index_supply.purchase SET host = 'gpu-2' WHERE host = 'lost'")
    audit = shop.play("compute_index.supply.audit")
    assert audit.returncode == 0 and "BUYING" not in audit.text, audit.output
    run = shop.provision(**ceiling)
    assert (run.returncode, live(shop)) == (0, ["gpu-1", "gpu-2"]), run.output
    assert sorted(states(registry)) == ["live", "live", "void"]


def test_sweeps_and_audits_settle_open_purchases_of_dead_runs(shop: Project, registry: str) -> None:
    assert shop.provision().returncode == 0
    left_open(registry, sent=True)
    seen = "UPDATE compute_index_supply.purchase SET expired_seen = now() - interval '31 minutes' WHERE host = 'lost'"
    postgresql.execute(registry, seen)
    checked = shop.play("compute_index.supply.reap", "--check")
    assert checked.returncode == 0 and "buying" in states(registry), checked.output
    swept = shop.play("compute_index.supply.reap")
    assert swept.returncode == 0 and sorted(states(registry)) == ["live", "live", "void"], swept.output
    left_open(registry, sent=True)
    postgresql.execute(registry, seen + " AND state = 'buying'")
    audit = shop.play("compute_index.supply.audit", "-e", "audit_settle=true")
    assert (audit.returncode, audit.changed) == (0, 1) and "BUYING" not in audit.text, audit.output
    assert sorted(states(registry)) == ["live", "live", "void", "void"]


@pytest.mark.parametrize("owner", [pytest.param("gpu-1", marks=pytest.mark.core), "gpu-2"])
def test_a_condition_that_a_machine_changes_leaves_nothing_half_way(shop: Project, registry: str, owner: str) -> None:
    """The role's own facts change the ``when`` of each of its tasks, and some tasks run once for all hosts."""
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
    run = shop.play(shop.write(play), **another(shop))
    assert run.returncode == 0 and states(registry) == ["ended"] * 3, run.output
    assert all(f"gpu-{host} owns {count}" in run.output for host in (1, 2, 3) for count in (1, 0)), run.output


def test_without_the_client_library_the_error_says_what_to_install(shop: Project) -> None:
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


def test_an_invalid_connection_string_is_not_shown(shop: Project) -> None:
    shop.declare(["gpu-1"], provision_reach=False, provision_registry_url="kept-between-us")
    for words in (
        ("compute_index.supply.provision",),
        ("compute_index.supply.decommission", "-e", "decommission_hosts=gpu-1"),
    ):
        run = shop.play(*words, "-vvv")
        assert run.returncode == 2 and "is not a PostgreSQL connection string" in run.text, run.output
        assert "kept-between-us" not in run.said


@pytest.mark.first
def test_an_unreachable_database_stops_before_the_purchase(shop: Project) -> None:
    url = "postgresql://supply:kept-between-us@127.0.0.1:1/supply?connect_timeout=1"
    run = shop.provision("-vvv", provision_registry_url=url)
    assert (run.returncode, shop.requests(*PROCURE)) == (2, 0), run.output
    assert "supply at 127.0.0.1:1" in run.text and "kept-between-us" not in run.said
