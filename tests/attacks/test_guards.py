# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guards that a play could disable by accident, and declarations that must cost nothing."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from attack import (
    SPEC,
    SUPPLY,
    Attacked,
    Cases,
    as_play,
    assert_names_machine,
    assert_remembered,
    core,
    failed,
    failures,
)
from project import extra
from standin import Answer, Proceed, Request, StandIn

# Cannot be evaluated for a host without a zone.
ZONE = "{{ zone[inventory_hostname] }}"


def empty_key() -> str:
    """A public key without key data."""
    kind = b"ssh-ed25519"
    blob = len(kind).to_bytes(4, "big") + kind + bytes(4)
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} nobody"


@pytest.mark.first
def test_invalid_declarations_cost_nothing(account: StandIn, project: Attacked, tmp_path: Any) -> None:
    (project.folder / "nothing.j2").write_text("{% if false %}#cloud-config{% endif %}\n")
    named, cluster = (
        account.sell("named"),
        account.sell("ray", gpus=16, machines=2, price=0.1, listed={"node_count": 2}),
    )
    cluster.details = {"node_count": 2}
    # The API does not show that this offer has two machines.
    silent = account.sell("silent", machines=2)
    local: dict[str, Any] = {"ansible_connection": "local", "provision_reach": True}
    hosts: dict[str, Any] = {
        "localhost": {**local},
        "itself": {**local},
        "volume": {"provision_spec": {"vendor": "volume", "storage": [{"type": "block_disk", "size": "500GB"}]}},
        "no-key": {"provision_ssh_public_key": empty_key()},
        "no-data": {"provision_cloud_init_template": str(project.folder / "nothing.j2")},
        "typo": {
            "provision_spec": {},
            "provision_offer_id": named.offer_id,
            "provision_max_price_per_hour": "",
            "provision_maximum_price_per_hour": 1,
        },
        "no-attempts": {"provision_max_attempts": 0},
        "ray": {"provision_spec": {}, "provision_offer_id": cluster.offer_id},
        "../../escaped": {"provision_spec": {**SPEC, "vendor": "escaped"}},
        "silent": {},
        "fine": {},
    }
    # localhost needs its own spec.
    hosts["localhost"]["provision_spec"] = {**SPEC, "vendor": "localhost"}
    for host in (*hosts, "escaped"):
        if host not in ("typo", "ray", "silent"):
            account.sell(host)
    project.declare(hosts)
    other = project.folder / "web.yml"
    addresses = {"ray-1": {"ansible_host": "192.0.2.9"}, "silent-1": {"ansible_host": "192.0.2.8"}}
    other.write_text(json.dumps({"web": {"hosts": addresses}}))
    show = "{{ inventory_hostname }} is at {{ ansible_host }} in {{ group_names }}"
    debug = {"hosts": "web", "gather_facts": False, "tasks": [{"name": "Show", "ansible.builtin.debug": {"msg": show}}]}
    run = project.playbook(project.book(as_play("provision"), debug), "-i", str(other))
    check = Cases()
    for host in hosts:
        if host in ("fine", "silent", "../../escaped"):
            continue
        with check(f"{host} costs nothing"):
            assert failed(run, host)
            bought = named.purchase if host == "typo" else account.bought(host)
            assert not bought, "bought for an invalid declaration"
    with check("the reason"):
        assert "provision_max_attempts" in failures(run, "no-attempts")
        assert "provision_maximum_price_per_hour" in failures(run, "typo")
    with check("ray-1 keeps its address"):
        assert "ray-1 is at 192.0.2.9 in ['web']" in run.output, "a host of the inventory was taken over"
    with check("silent-1 keeps its address"):
        assert "silent-1 is at 192.0.2.8 in ['web']" in run.output, "a host of the inventory was taken over"
        assert failed(run, "silent") and silent.purchase
        assert all(resource_id in failures(run, "silent") for resource_id in silent.purchase.ids)
        assert "USD 2.00" in failures(run, "silent") and "continue waiting" not in failures(run, "silent")
    with check("escaped"):
        assert not (project.folder.parent / "escaped").exists() and not (tmp_path / "escaped").exists()
    with check("fine"):
        assert not failed(run, "fine"), failures(run, "fine")
    check.judge(run)


@pytest.mark.first
def test_local_play_is_not_taken_for_a_machine(account: StandIn, project: Attacked) -> None:
    project.declare({"gpu-1": {"provision_reach": True}})
    account.sell("gpu-1")
    play = as_play("provision", connection="local")
    play["tasks"].append({"name": "Configure", "ansible.builtin.file": {"path": "configured", "state": "touch"}})
    play["tasks"][-1]["ansible.builtin.file"]["mode"] = "0600"
    run = project.playbook(project.book(play))
    assert failed(run, "gpu-1"), run.output
    assert not (project.folder / "configured").exists(), "the controller was taken for the machine"
    assert not account.purchases


@pytest.mark.first
@pytest.mark.parametrize("strategy", [pytest.param("free", marks=core), "host_pinned"])
def test_free_and_host_pinned_strategies_buy_nothing(account: StandIn, project: Attacked, strategy: str) -> None:
    hosts = ["gpu-1", "gpu-2"]
    project.declare(hosts)
    for host in hosts:
        account.sell(host)
    run = project.playbook(project.play_of("provision", strategy=strategy))
    assert run.returncode != 0
    assert not account.purchases, run.output
    assert strategy in run.output


@pytest.mark.first
@core
def test_total_ceiling_holds_across_batches(account: StandIn, project: Attacked) -> None:
    hosts = ["gpu-1", "gpu-2", "gpu-3"]
    # gpu-3 has a machine already, but no registry has it.
    project.declare(hosts, provision_registry_dir="", provision_max_total_price_per_hour=5)
    for host in hosts:
        account.sell(host, 2.25)
    account.add_machine("gpu-3", 2.25)
    play = as_play("provision", serial=1)
    run = project.playbook(project.book(play))
    running = sum(machine.price or 0 for machine in account.machines if machine.runs)
    assert running <= 5, f"{running} USD per hour with a ceiling of 5\n{run.output}"


@pytest.mark.first
@core
def test_finished_batch_does_not_decide_for_the_next(account: StandIn, project: Attacked) -> None:
    """One host decides for its whole batch that nothing is to do; the next batch must decide again."""
    hosts: dict[str, Any] = {f"gpu-{number}": {} for number in range(1, 7)}
    hosts["gpu-4"] = {"provision_max_price_per_hour": 0.01}
    project.declare(hosts)
    for host in hosts:
        account.sell(host)
    assert project.role("provision", "gpu", "--limit", "gpu-1:gpu-2").returncode == 0
    gone = account.sell("gpu-6", 1.0)
    account.on("POST", "/procure_offer", lambda _r, _p: Answer(402, {"detail": "no credit"}), sent=gone.offer_id)
    imported = {"name": "Provision", "ansible.builtin.import_role": {"name": f"{SUPPLY}.provision"}}
    play = as_play("provision", serial=2, max_fail_percentage=100, tasks=[imported])
    run = project.playbook(project.book(play))
    assert {host: len(project.owned(host)) for host in hosts} == {
        **dict.fromkeys(["gpu-1", "gpu-2", "gpu-3", "gpu-5"], 1),
        **dict.fromkeys(["gpu-4", "gpu-6"], 0),
    }, run.output
    assert [host for host in hosts if failed(run, host)] == ["gpu-4", "gpu-6"], run.output


@pytest.mark.first
@core
def test_any_errors_fatal_buys_nothing_if_a_host_is_refused(account: StandIn, project: Attacked) -> None:
    project.declare({"gpu-1": {}, "gpu-2": {"provision_max_price_per_hour": 0.01}})
    for host in ("gpu-1", "gpu-2"):
        account.sell(host)
    run = project.playbook(project.play_of("provision", any_errors_fatal=True))
    assert failed(run, "gpu-2") and run.returncode != 0, run.output
    assert not account.purchases, run.output


@pytest.mark.first
@core
def test_ignore_errors_disables_no_guard(account: StandIn, project: Attacked) -> None:
    total = {"provision_max_total_price_per_hour": 0.1}
    unlimited = {"provision_max_price_per_hour": ""}
    hosts = {"no-ceiling": unlimited, "no-journal": {}, "total": total, "tiny": {}, "no-url": {}}
    project.declare(hosts)
    for host in hosts:
        account.sell(host)
    project.registry_file("no-journal").parent.parent.mkdir()
    project.registry_file("no-journal").parent.touch()
    groups = ("no-ceiling:no-journal", "total", "tiny", "no-url")
    plays = [as_play("provision", hosts, ignore_errors=True) for hosts in groups]
    plays[2]["vars"] = {"provision_max_total_price_per_hour": "1e-06"}
    # With this URL, no task can decide anything.
    plays[3]["module_defaults"][f"group/{SUPPLY}.all"]["api_url"] = "nowhere"
    run = project.playbook(project.book(*plays))
    check = Cases()
    with check("an end"):
        assert "ENDED BY THE TEST" not in run.output
    for host in hosts:
        with check(host):
            assert not account.bought(host), "bought against a guard"
            assert failed(run, host), "goes on without a machine"

    # The guards of decommission
    purchases = {host: account.buy(account.sell(host, 2.5), host) for host in ("own", "blind")}
    project.declare(["own", "copy", "blind", "deaf"])
    project.register("own", purchases["own"])
    project.register("copy", purchases["own"])
    project.register("blind", purchases["blind"])
    (blind,) = purchases["blind"].machines
    blind.hidden = blind.unlisted = True
    last = project.playbook(project.book(as_play("decommission", "copy:blind", ignore_errors=True)))
    with check("shared"):
        assert failed(last, "copy") and failed(last, "blind"), "green although nothing ended"
        assert purchases["own"].machines[0].runs, "ended a machine that two hosts claim"
        assert project.owned("own")
    with check("blind is kept"):
        assert blind.resource_id in project.registry_text("blind"), "forgot a machine that may be billed"
    check.judge(run, last)


@pytest.mark.first
@core
def test_task_timeout_hides_no_purchase_and_ends_no_machine(account: StandIn, project: Attacked) -> None:
    slow = project.fake_ssh("gpu-1", cloud_init="sleep 3; echo 'status: done'")
    project.declare({"gpu-1": project.ssh_variables(slow)}, provision_on_failure="release")
    account.sell("gpu-1")

    def block(_request: Request, proceed: Proceed) -> Answer:
        answer = proceed()
        time.sleep(4)
        return answer

    account.on("POST", "/procure_offer", block)
    play = project.play_of("provision")
    run = project.run("ansible-playbook", "-i", str(project.inventory), play, ANSIBLE_TASK_TIMEOUT="2")
    (purchase,) = account.purchases
    assert_remembered(project, "gpu-1", purchase, run)
    assert not failed(run, "gpu-1"), failures(run, "gpu-1")


@pytest.mark.parametrize("trust", ["first_use", "seeded"])
def test_endless_first_boot_names_the_billed_machine(account: StandIn, project: Attacked, trust: str) -> None:
    ssh = project.fake_ssh("gpu-1", cloud_init="sleep 300")
    variables = {"provision_boot_timeout": "3s", "provision_host_key_trust": trust}
    project.declare({"gpu-1": {**project.ssh_variables(ssh), **variables}})
    account.sell("gpu-1")
    run = project.playbook(project.play_of("provision", ignore_errors=True))
    assert "ENDED BY THE TEST" not in run.output and failed(run, "gpu-1"), run.output
    assert_names_machine(run, "gpu-1", account.purchases[0].machines[0])
    assert project.owned("gpu-1") == account.purchases[0].ids


def test_any_errors_fatal_does_not_release_sound_machines(account: StandIn, project: Attacked) -> None:
    broken, sound = project.fake_ssh("gpu-1", cloud_init="echo 'status: error'; exit 1"), project.fake_ssh("gpu-2")
    hosts = {"gpu-1": project.ssh_variables(broken), "gpu-2": project.ssh_variables(sound)}
    project.declare(hosts, provision_on_failure="release", provision_max_attempts=1)
    for host in hosts:
        account.sell(host)
    run = project.playbook(project.play_of("provision", any_errors_fatal=True))
    assert {m.resource_id for m in account.machines if m.runs} == {*project.owned("gpu-2")} != set(), run.output
    assert "gpu-2: Another host has failed, which ends this play for all hosts." in failures(run, "gpu-2"), run.output
    assert "BOUGHT and billed at USD 2.00" in failures(run, "gpu-2") and not project.owned("gpu-1")


@pytest.mark.first
def test_all_or_nothing_buys_only_if_every_host_can(account: StandIn, project: Attacked) -> None:
    hosts = ["gpu-1", "gpu-2", "gpu-3"]
    project.declare(hosts, provision_spec={**SPEC, "vendor": "acme"}, provision_all_or_nothing=True)
    owned, *_rest = [account.sell("acme", 2.0 + number / 10) for number in range(2)]
    project.register("gpu-1", account.buy(owned, "gpu-1"))
    run = project.role("provision")
    assert run.returncode != 0
    assert len(account.purchases) == 1, "bought for some hosts only"
    assert not failed(run, "gpu-1") or account.purchases[0].machines[0].runs
    account.sell("acme", 2.3)
    # A host whose declaration cannot be evaluated has left the play before the plan.
    invalid = project.book(as_play("provision", vars={"zone": {"gpu-1": "", "gpu-2": ""}, "provision_timezone": ZONE}))
    run = project.playbook(invalid)
    assert failed(run, "gpu-3") and len(account.purchases) == 1, "bought for some hosts only"
    run = project.role("provision")
    assert run.returncode == 0 and len(account.purchases) == 3, run.output


@pytest.mark.first
def test_limit_never_hides_that_nothing_was_ended(account: StandIn, project: Attacked) -> None:
    project.declare(["gpu-1", "gpu-2"])
    for host in ("gpu-1", "gpu-2"):
        project.register(host, account.buy(account.sell(host), host))
    ending = extra({"decommission_hosts": "gpu-1"})
    run = project.playbook(f"{SUPPLY}.decommission", "--limit", "gpu-1", *ending)
    first, second = account.machines
    assert second.runs, "ended a machine outside the limit"
    assert run.returncode != 0 or not first.runs, f"green although nothing was ended\n{run.output}"
    audit = project.playbook(f"{SUPPLY}.audit", "--limit", "gpu-2")
    assert audit.returncode != 0 or second.resource_id in audit.output, audit.output


@pytest.mark.first
def test_a_second_account_in_one_play_is_refused(account: StandIn, project: Attacked) -> None:
    project.declare({"gpu-1": {"token": account.settings.token}, "gpu-2": {"token": "attack-token-of-others"}})
    account.tokens.add("attack-token-of-others")
    for host in ("gpu-1", "gpu-2"):
        account.sell(host)
    play = as_play("provision")
    play["module_defaults"][f"group/{SUPPLY}.all"]["api_token"] = "{{ token }}"
    run = project.playbook(project.book(play))
    assert failed(run, "gpu-2") and not account.bought("gpu-2"), run.output
    assert not any("of-others" in r.headers["authorization"] for r in account.requests_to("POST", "/procure_offer"))


@core
def test_condition_that_the_role_would_change_is_refused(account: StandIn, project: Attacked) -> None:
    """Once a host has its variables, Ansible would skip the tasks that reach its machine or report what is billed."""
    project.declare({"reached": {"provision_reach": True}, "by-name": {"provision_registry_dir": ""}, "kept": {}})
    for host in ("reached", "by-name", "kept"):
        account.sell(host)
    play = as_play("provision")
    play["tasks"][0]["when"] = "provision_resource_ids | default([]) | length == 0"
    run = project.playbook(project.book(play))
    for host in ("reached", "by-name"):
        assert "include_role, whose condition is evaluated once. Nothing was sent" in failures(run, host)
    assert [purchase.name for purchase in account.purchases] == ["kept"] and not failed(run, "kept")
    play["tasks"][0]["ansible.builtin.include_role"] = {"name": f"{SUPPLY}.provision"}
    del play["tasks"][0]["ansible.builtin.import_role"]
    run = project.playbook(project.book(play), "--limit", "by-name")
    assert len(account.purchases) == 2 and not failed(run, "by-name"), run.output


def test_registry_only_in_a_plays_environment_buys_and_ends_nothing(account: StandIn, project: Attacked) -> None:
    """Modules would see this registry, but the steps that look for the hosts would not."""
    url = "postgresql://supply@127.0.0.1:1/supply"
    project.declare(["gpu-1"])
    account.sell("gpu-1")
    for role in ("provision", "decommission"):
        run = project.playbook(project.play_of(role, environment={"COMPUTE_INDEX_REGISTRY_URL": url}))
        assert "Set the variable provision_registry_url" in failures(run, "gpu-1"), run.output
    assert not [request for request in account.requests if request.method != "GET"]


@pytest.mark.parametrize("option", ["registry_url", "account_name"])
def test_registry_in_module_defaults_sends_nothing(account: StandIn, project: Attacked, option: str) -> None:
    """Tasks after the purchase would not use the option, so no registry would have the machine."""
    project.declare(["gpu-1"])
    account.sell("gpu-1")
    for role in ("provision", "decommission"):
        play = as_play(role)
        play["module_defaults"][f"group/{SUPPLY}.all"][option] = "postgresql://supply@127.0.0.1:1/supply"
        run = project.playbook(project.book(play))
        assert f"{option} in module_defaults" in failures(run, "gpu-1") and not account.requests, run.output
