# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A purchase by the role, step by step: search, quote, guard, render, procure, await, register, reach."""

from __future__ import annotations

import base64
import json
import re
import shutil
import stat
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._provision import waiting

from conftest import PROCURE, MakeProject, Project, core
from simulator import Fault, Offer

ROOT = Path(__file__).parents[2]
LOOK = ("GET", "/offers/[^/]+/status")
BOTH = ("compute_index.supply.provision", "compute_index.supply.configure")


def check_registry(project: Project, host: str) -> None:
    """Assert that the registry is private, has typed values, and pins the host key."""
    file = project.registry_file(host)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    entry = project.registry(host)
    assert entry is not None
    (resource_id,) = entry["provision_resource_ids"]
    resource = project.simulator.resources[resource_id]
    assert resource.address is not None
    assert entry["provision_procured_offer_id"] == resource.purchase.offer_id
    assert entry["provision_price_per_hour"] == resource.purchase.offer.gpu_price_per_hour
    connection = {"ansible_host": "127.0.0.1", "ansible_port": resource.address.port, "ansible_user": "root"}
    assert {name: entry[name] for name in connection} == connection
    assert entry["provision_instances"] == [{"resource_id": resource_id, **connection}]
    # ssh may store names as hashes, so only ssh-keygen can find them.
    known_hosts = file.with_name(".known_hosts")
    assert subprocess.run(["ssh-keygen", "-F", resource_id, "-f", str(known_hosts)], check=False).returncode == 0
    assert not (project.folder / "home" / ".ssh" / "known_hosts").exists()


@pytest.mark.parametrize("in_process", [pytest.param("1", marks=[pytest.mark.first, core]), "0"])
def test_machine_is_bought_and_configured_and_never_bought_again(project: Project, in_process: str) -> None:
    project.environment["COMPUTE_INDEX_IN_PROCESS"] = in_process
    project.declare(["gpu-1", "gpu-2"], provision_packages=["git"], provision_cloud_init={"swap": {"size": "1G"}})

    first = project.play(*BOTH)

    assert first.returncode == 0, first.output
    assert [purchase.request["resource_name"] for purchase in project.simulator.purchases] in (
        ["gpu-1", "gpu-2"],
        ["gpu-2", "gpu-1"],
    )
    prices = {purchase.offer.gpu_price_per_hour for purchase in project.simulator.purchases}
    assert prices == {2.0, 2.5}, "not the cheapest offers, or one offer for both hosts"
    assert project.requests("POST", "/get_offers") == 1, "hosts with the same spec share a search"
    assert re.search(r"included: \S+/reach\.yml for gpu-., gpu-.$", first.output, re.MULTILINE), "not reached together"
    lines = [line.strip(' ",').split() for line in first.output.splitlines()]
    assert [
        *sorted(line[:1] for line in lines if line[:1] in (["gpu-1"], ["gpu-2"]) and "127.0.0.1" in line),
        *(line[:3] for line in lines if line[:2] == ["in", "total"]),
    ] == [["gpu-1"], ["gpu-2"], ["in", "total", "4.50"]]

    for host in ("gpu-1", "gpu-2"):
        entry = project.registry(host)
        assert entry is not None
        (resource_id,) = entry["provision_resource_ids"]
        note = json.loads((project.simulator.home(resource_id) / "compute_index_supply.json").read_text())
        assert note == {"host": host, "resource_ids": [resource_id]}
        user_data = project.simulator.user_data(resource_id)
        assert user_data is not None
        assert user_data.startswith("#cloud-config\n")
        assert user_data.endswith("\n")
        assert yaml.safe_load(user_data) == {
            "hostname": host,
            "package_update": True,
            "packages": ["git"],
            "swap": {"size": "1G"},
            "runcmd": ["touch /var/lib/supply-booted || touch ~/.supply-booted"],
        }
        check_registry(project, host)

    before = len(project.simulator.requests)
    second = project.play(*BOTH)

    assert second.returncode == 0, second.output
    assert second.changed == 0
    assert project.requests(*PROCURE) == 2
    assert len(project.simulator.requests) - before == 3, "the status of each host's offer, and the addresses of all"

    check = project.provision("--check", "--diff")
    assert (check.returncode, check.changed) == (0, 0), check.output


def test_later_plays_check_the_host_key_of_the_first_connection(project: Project) -> None:
    """Even if a global setting switches off host key checking, as in AWX and in many an ansible.cfg."""
    project.declare(["gpu-1"])
    assert project.provision().returncode == 0
    entry = project.registry("gpu-1") or {}
    assert entry["ansible_host_key_checking"] is True
    other = f"{entry['provision_resource_ids'][0]} {' '.join(project.public_key.split()[:2])}\n"
    project.registry_file("gpu-1").with_name(".known_hosts").write_text(other)
    play = project.write({"hosts": "gpu-1", "gather_facts": False, "tasks": [{"ansible.builtin.raw": "true"}]})
    # An open connection would be reused without a check.
    run = project.play(play, ANSIBLE_HOST_KEY_CHECKING="false", ANSIBLE_SSH_ARGS="-o ControlPath=none")
    assert run.returncode == 4 and "Host key verification failed" in run.text, run.output


@core
def test_user_data_lookup_renders_like_the_template_lookup(project: Project) -> None:
    (project.folder / "boot.j2").write_text("{{ inventory_hostname }} {{ more }} {{ template_path | basename }}\n")
    lookups = [
        f"{{{{ lookup('{name}', 'boot.j2', template_vars={{'more': groups.gpu}}) }}}}"
        for name in ("compute_index.supply.user_data", "ansible.builtin.template")
    ]
    inventory = ("-i", str(project.inventory))
    (result,), _run = project.tasks({"ansible.builtin.debug": {"msg": lookups}}, options=inventory)
    assert result["msg"] == ["localhost ['gpu-1'] boot.j2\n"] * 2, result


@pytest.mark.first
@core
def test_check_mode_shows_the_quote_and_buys_nothing(project: Project) -> None:
    run = project.provision("--check", "--diff")

    assert run.returncode == 0, run.output
    assert "(item=1 x nvidia-h100-sxm5-80gb, USD 2.00/h)" in run.text
    assert '"status": "planned"' in run.text
    assert project.requests(*PROCURE) == 0
    assert project.registry("gpu-1") is None


@core
def test_a_block_in_check_mode_shows_the_quote_and_buys_nothing(project: Project) -> None:
    role = {"ansible.builtin.import_role": {"name": "compute_index.supply.provision"}}
    tasks = [{"block": [role], "check_mode": True}]
    run = project.play(project.write({"hosts": "gpu", "gather_facts": False, "tasks": tasks}))

    assert run.returncode == 0, run.output
    assert "Without --check this buys gpu-1: USD 2.00 per hour" in run.text
    assert project.requests(*PROCURE) == 0
    assert project.registry("gpu-1") is None


@pytest.mark.first
def test_check_mode_refuses_user_data_that_the_purchase_would_refuse(project: Project) -> None:
    run = project.provision("--check", provision_cloud_init={"final_message": 70_000 * "x"})
    assert run.returncode == 2, run.output
    assert "the API takes at most 65536 bytes. Nothing was sent. Nothing is billed for gpu-1." in run.text
    assert project.requests(*PROCURE) == 0


@core
def test_progress_of_waiting_is_printed_only_in_a_terminal(make_project: MakeProject) -> None:
    project = make_project(provision_seconds=4)
    start, simulator = datetime.now(timezone.utc), project.simulator
    # A clock that moves a second with each look makes the states independent of the computer's load: one look finds
    # the first state, and two or three the next.
    simulator.market.clock = simulator.fleet.clock = lambda: start + timedelta(seconds=project.requests(*LOOK))
    project.environment["COMPUTE_INDEX_IN_PROCESS"] = "1"  # a module has no terminal
    run = project.provision(provision_reach=False)
    lines = re.findall(r"^  gpu-1, after (\d+) s: (\w+), 0/1 instances running\.$", run.output, re.M)
    assert [state for _seconds, state in lines] == ["provisioning_started", "provisioning_in_progress"], run.output
    assert lines[0][0] == "0" and int(lines[1][0]) > 0
    assert len(lines) < run.output.count("RETRYING") and "Wait for the machines (29 retries left)" in run.text
    simulator.settings.provision_seconds = 2
    project.declare(["gpu-2"], provision_reach=False)
    quiet = project.play(BOTH[0], ANSIBLE_STDOUT_CALLBACK="minimal")
    assert (quiet.returncode, "gpu-2, after" in quiet.output) == (0, False), quiet.output


@pytest.mark.parametrize("hosts", [2, "gpu-1, gpu-2", ["gpu-1", "gpu-2"], {"gpu-1": {}, "gpu-2": {}}])
def test_hosts_can_be_ordered_by_number_or_name(project: Project, hosts: object) -> None:
    project.inventory.write_text(
        project.inventory.read_text().replace("gpu-1: null", "").replace("hosts:", "hosts: {}")
    )

    run = project.provision("--check", provision_hosts=hosts)

    assert run.returncode == 0, run.output
    assert run.recap("gpu-1", "changed") == run.recap("gpu-2", "changed") == 1


@pytest.mark.first
@core
def test_hosts_ordered_by_number_are_found_again(project: Project) -> None:
    run = project.play(*BOTH, "-e", "provision_hosts=2")
    assert run.returncode == 0, run.output
    again = project.provision("-e", "provision_hosts=2", provision_reach=False)
    assert (again.returncode, again.changed) == (0, 0), again.output
    assert project.requests(*PROCURE) == 2


@pytest.mark.first
@pytest.mark.parametrize(
    ("variables", "message"),
    [
        pytest.param({"provision_hosts": "a b"}, "must be host names with a letter, or a number", id="no-name"),
        pytest.param({"provision_hosts": 1, "provision_group": "gpus"}, "Did you mean gpu?", id="slip"),
        pytest.param({"provision_group": "nobody"}, "has hosts in gpu: add -e provision_group=...", id="empty-group"),
    ],
)
def test_invalid_hosts_and_empty_groups_send_nothing(
    project: Project, variables: dict[str, object], message: str
) -> None:
    run = project.provision(**variables)
    assert run.returncode != 0
    assert message in run.text
    assert project.simulator.requests == []


def test_order_for_the_users_own_play_sends_nothing(project: Project) -> None:
    play = {"hosts": "gpu", "gather_facts": False, "roles": ["compute_index.supply.provision"]}
    run = project.play(project.write(play), "-e", "provision_hosts=2")
    assert run.returncode != 0
    assert "Only the collection's playbooks take provision_hosts." in run.text and run.recap("gpu-1", "failed") == 1
    assert project.simulator.requests == []


@pytest.mark.first
@pytest.mark.parametrize(
    ("playbook", "name", "meant"),
    [
        pytest.param("provision", "order_max_total_price_per_hou", "order_max_total_price_per_hour", marks=core),
        ("audit", "audit_fail_on_orphan", "audit_fail_on_orphans"),
        ("decommission", "decommission_coun", "decommission_count"),
    ],
)
def test_a_mistyped_extra_variable_of_a_playbook_sends_nothing(
    project: Project, playbook: str, name: str, meant: str
) -> None:
    run = project.play(f"compute_index.supply.{playbook}", "-e", f"{name}=1", "-e", "decommission_hosts=gpu-1")
    assert run.returncode == 2, run.output
    assert f"{name} is not a variable of this collection. Did you mean {meant}? Nothing was sent." in run.text
    book = {"ansible.builtin.import_playbook": f"compute_index.supply.{playbook}"}
    imported = project.play(project.write({**book, "vars": {name: 1, "decommission_hosts": "gpu-1"}}))
    assert imported.returncode == 2 and f"Did you mean {meant}?" in imported.text, imported.output
    assert project.simulator.requests == []


@pytest.mark.parametrize(
    ("playbook", "name", "meant"),
    [
        ("spend", "provision_projct", "provision_project"),
        ("registry", "provision_registry_ulr", "provision_registry_url"),
        ("runs", "run_result_dir", "run_results_dir"),
    ],
)
def test_reports_reject_a_mistyped_extra_variable(project: Project, playbook: str, name: str, meant: str) -> None:
    run = project.play(f"compute_index.supply.{playbook}", "-e", f"{name}=1")
    assert run.returncode == 2 and f"Did you mean {meant}? Nothing was sent." in run.text, run.output


@pytest.mark.parametrize("playbook", ["quote", "extend", ""])
def test_empty_max_bill_on_the_command_line_sends_nothing(project: Project, playbook: str) -> None:
    own_play = project.write({"hosts": "gpu", "gather_facts": False, "roles": ["compute_index.supply.provision"]})
    book = f"compute_index.supply.{playbook}" if playbook else own_play
    run = project.play(book, "-e", "provision_max_bill=", "-e", "extend_hosts=gpu-1", "-e", "extend_by=1h")
    assert run.returncode == 2, run.output
    assert "provision_max_bill must not be empty: that would limit nothing." in run.text, run.output
    assert project.simulator.requests == []


Refusals = dict[str, tuple[dict[str, object], str]]


def assert_refused(project: Project, refusals: Refusals) -> None:
    """Run one play, and assert that each host fails with its message, and that nothing is bought.

    ``refusals``: by host, its variables in addition to the usual ones, and its message.
    """
    project.declare(list(refusals))
    for host, (variables, _message) in refusals.items():
        project.declare_host(host, **variables)
    run = project.provision()
    for host, (_variables, message) in refusals.items():
        assert message in run.failure(host).replace('\\"', '"'), run.output
    assert project.requests(*PROCURE) == 0


@pytest.mark.first
def test_invalid_declaration_sends_nothing(project: Project) -> None:
    refusals: Refusals = {
        "no-ceiling": ({"provision_max_price_per_hour": ""}, 'USD per hour, or "unlimited"'),
        "no-number": ({"provision_max_price_per_hour": "much"}, "must be a number"),
        "no-total": ({"provision_max_total_price_per_hour": "much"}, "must be a number"),
        "no-spec": ({"provision_spec": {}}, "must say what to buy"),
        "no-key": ({"provision_ssh_public_key_file": "/none.pub"}, "There is no SSH public key"),
        "script-and-keys": (
            {"provision_cloud_init_template": "startup.sh.j2", "provision_cloud_init": {"swap": {}}},
            "startup.sh.j2 cannot use",
        ),
        "no-list": ({"provision_commands": "echo hello"}, "provision_commands must be given as lists"),
    }
    assert_refused(project, refusals)
    assert project.simulator.requests == []


@pytest.mark.first
def test_missing_ssh_client_sends_nothing(project: Project) -> None:
    run = project.play("compute_index.supply.provision", ANSIBLE_SSH_EXECUTABLE="/none/ssh")
    assert "This computer has no /none/ssh" in run.failure("gpu-1"), run.output
    assert project.simulator.requests == []
    # Without logins no client is needed.
    project.declare(["gpu-1"], provision_reach=False)
    assert project.play("compute_index.supply.provision", ANSIBLE_SSH_EXECUTABLE="/none/ssh").returncode == 0


@pytest.mark.first
def test_nothing_is_bought_outside_the_agreed_limits(project: Project) -> None:
    template = project.folder / "plain.j2"
    template.write_text("packages: []\n")
    (project.folder / "host_vars").mkdir()
    (project.folder / "host_vars" / "hidden.yml").write_text("provision_max_price_per_hour: 2\n")
    refusals: Refusals = {
        "host": ({"provision_max_price_per_hour": 1.99}, "the cheapest costs USD 2.00 per hour"),
        "none": ({"provision_spec": {"compute": {"gpu_type": "A100", "gpu_count": 1}}}, "There is no offer"),
        "bad": ({"provision_spec": {"compute": {"gpu_type": "X1", "gpu_count": 1}}}, "answered 422"),
        "user-data": ({"provision_cloud_init_template": str(template)}, "must begin with a line"),
        "key": ({"provision_ssh_public_key": "ssh-rsa nonsense"}, "ssh_public_key is damaged"),
        "hidden": ({}, "host_vars/hidden.yml, since the registry makes a folder of that name."),
        "typo": ({"provision_max_total_price": 1}, "provision_max_total_price is not a variable of this collection"),
    }
    assert_refused(project, refusals)
    assert_refused(project, {"play": ({"provision_max_total_price_per_hour": 1.99}, "would cost USD 2.00 per hour")})


@pytest.mark.first
def test_the_price_is_checked_again_before_the_purchase(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=2.0, details_price=5.01)])
    run = project.provision()
    assert run.returncode != 0
    assert "costs USD 5.01 per hour, which is above max_price_per_hour" in run.text
    assert project.requests(*PROCURE) == 0


@pytest.mark.first
def test_unknown_price_passes_only_an_unlimited_ceiling(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=None)])
    assert project.provision().returncode != 0
    assert project.requests(*PROCURE) == 0
    run = project.provision(provision_max_price_per_hour="unlimited", provision_reach=False)
    assert run.returncode == 0, run.output
    assert project.requests(*PROCURE) == 1
    # The unknown price of an adopted machine does not pass a ceiling of the play either.
    project.registry_file("gpu-1").unlink()
    project.simulator.add_offer(gpu_price_per_hour=2.5)
    project.declare(["gpu-1", "gpu-2"], provision_max_total_price_per_hour=3)
    run = project.provision(provision_reach=False, provision_adopt=True)
    assert "would cost USD 2.50 per hour and 1 unknown price(s) together" in run.failure("gpu-2"), run.output
    assert project.registry("gpu-1") is not None
    assert project.requests(*PROCURE) == 1


@pytest.mark.first
def test_a_registry_that_cannot_be_written_stops_before_the_purchase(project: Project) -> None:
    (project.folder / "host_vars").write_text("a file where the folder should be")
    run = project.provision()
    assert run.returncode != 0
    assert "cannot be read" in run.text
    assert project.requests(*PROCURE) == 0


@core
def test_cluster_becomes_several_hosts_and_each_is_awaited(make_project: MakeProject) -> None:
    # The machines boot one after the other, and the last one answers two seconds after the first.
    cluster = Offer(gpu_count=24, node_count=3, gpu_price_per_hour=3.0)
    project = make_project([cluster], provision_seconds=3, ssh_delay_seconds=2)
    project.declare(["gpu-1"], provision_offer_id=cluster.offer_id, provision_max_price_per_hour="")

    run = project.play(*BOTH)

    assert run.returncode == 0, run.output
    assert "gpu-1 3 machines 72.00 USD/hour" in run.text, "the number of machines is printed for a cluster"
    assert "did not keep a name" not in run.text, "the machines' names are the host's name with numbers"
    (purchase,) = project.simulator.purchases
    notes = {}
    for resource_id in purchase.resource_ids:
        note = json.loads((project.simulator.home(resource_id) / "compute_index_supply.json").read_text())
        notes[note["host"]] = note["resource_ids"]
    assert sorted(notes) == ["gpu-1", "gpu-1-1", "gpu-1-2"]
    assert notes["gpu-1"] == purchase.resource_ids
    assert len({*notes["gpu-1-1"], *notes["gpu-1-2"]}) == 2
    assert "hostname" not in (project.simulator.user_data(purchase.resource_ids[0]) or ""), (
        "all machines share the user data"
    )
    assert [run.recap(host, "unreachable") for host in sorted(notes)] == [0, 0, 0]
    # Further machines are in the group by then, and need nothing.
    again = project.play(*BOTH, BOTH[0])
    assert (again.returncode, again.changed) == (0, 0), again.output


@pytest.mark.first
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            {
                **{"vocabulary": "B", "list_envelope": "items", "status_resources": None},
                **{"total_price": False, "timestamps": "naive", "progress_field": "message"},
            },
            id="B",
        ),
        pytest.param(
            {
                **{"odd_word": "queued_at_vendor", "procure_answer": "provisioning_in_progress"},
                **{"ssh_command": "ssh -o StrictHostKeyChecking=no -p {port} root@{ip}", "procure_returns_ids": False},
            },
            id="odd-word",
        ),
        pytest.param({"address_in": "access", "status_resources": "resource_objects"}, id="access"),
    ],
)
def test_purchase_works_with_all_documented_habits_of_the_api(
    make_project: MakeProject, settings: dict[str, object]
) -> None:
    project = make_project(**settings)
    run = project.provision()
    assert run.returncode == 0, run.output
    assert len(project.simulator.purchases) == 1
    again = project.provision()
    assert (again.returncode, again.changed) == (0, 0), again.output


@pytest.mark.first
def test_role_warns_if_the_api_did_not_keep_the_name(make_project: MakeProject) -> None:
    run = make_project(keeps_name=False).provision(provision_reach=False)
    assert run.returncode == 0, run.output
    assert re.search(r"gpu-1 is called \S+ instead of gpu-1\. Only the registry file tells", run.text), run.output


@pytest.mark.first
def test_waiting_survives_transient_errors(project: Project) -> None:
    status = r"/offers/[^/]+/status"
    project.simulator.settings.provision_seconds = 4
    # The first request for the status precedes the purchase.
    project.simulator.faults += [
        Fault(path=status, nth=2, status=503, headers={"Retry-After": "1"}),
        Fault(path=status, nth=3, cut="within"),
        Fault(path=status, nth=4, status=200, body=b"<html>"),
        Fault(path=status, nth=5, status=429),
    ]
    run = project.provision(provision_reach=False)
    assert run.returncode == 0, run.output
    assert project.requests(*PROCURE) == 1
    assert all(fault.seen >= fault.nth for fault in project.simulator.faults), "a fault was not hit"


@pytest.mark.first
@core
def test_failure_while_waiting_names_the_billed_machine(make_project: MakeProject) -> None:
    project = make_project([Offer(outcome="fails", error="no capacity", failed_bills=True)])

    run = project.provision()

    assert run.returncode != 0
    (purchase,) = project.simulator.purchases
    assert "no capacity" in run.text
    assert "The offer is BOUGHT and may be billed at USD 2.50 per hour" in run.text
    assert purchase.resource_ids[0] in run.text
    assert run.output.count("FAILED - RETRYING") < 5
    entry = project.registry("gpu-1")
    assert entry is not None
    assert entry["provision_resource_ids"] == purchase.resource_ids


@pytest.mark.first
def test_machine_not_ready_in_time_is_awaited_by_the_next_run(make_project: MakeProject) -> None:
    project = make_project([Offer()], provision_seconds=600)
    run = project.provision(provision_poll_retries=2, provision_reach=False)
    assert run.returncode != 0
    assert "It was checked 2 times; run again to continue waiting." in run.text
    (purchase,) = project.simulator.purchases
    purchase.provision_seconds = 0
    purchase.resources[0].ready_at = purchase.time
    again = project.provision(provision_reach=False)
    assert again.returncode == 0, again.output
    assert project.requests(*PROCURE) == 1
    entry = project.registry("gpu-1")
    assert entry is not None
    assert (entry["provision_resource_ids"], entry["ansible_host"]) == (purchase.resource_ids, "127.0.0.1")


@pytest.mark.first
def test_role_waits_for_the_first_boot_and_fails_with_it(make_project: MakeProject) -> None:
    project = make_project([Offer() for _host in range(5)])
    scripts = {
        "done": "status=done",
        "degraded": "warning='no such package'",
        "error": "status=error error='it broke'",
        "restarts": "[ -e once ] || exec touch once restart",
        "restless": "exec touch restart",
    }
    project.declare(list(scripts))
    assert project.provision(provision_reach=False).returncode == 0
    for purchase in project.simulator.purchases:
        project.first_boot(purchase.resource_ids[0], scripts[purchase.request["resource_name"]])
    run = project.provision()
    assert run.returncode == 2, run.output
    assert [run.recap(host, "failed") for host in scripts] == [0, 0, 1, 0, 1]
    assert "cloud-init has failed: it broke. It is BOUGHT and billed at USD" in run.failure("error")
    failure = run.failure("restless")
    assert "does not stay reachable while cloud-init runs" in failure and "It is BOUGHT and billed at USD" in failure
    assert "[WARNING]: degraded: cloud-init has finished with errors: no such package." in run.text
    assert "host USD/hour address" in run.text


def test_files_that_need_mounts_or_users_are_deferred(project: Project) -> None:
    run = project.provision(
        provision_mounts=[["tmpfs", "/data", "tmpfs"]],
        provision_files=[
            {"path": "/etc/a", "owner": "root:root"},
            {"path": "/database"},
            {"path": "/data/b"},
            {"path": "/etc/c", "owner": "ml"},
            {"path": "/data/d", "defer": False},
        ],
        provision_reach=False,
    )
    assert run.returncode == 0, run.output
    user_data = yaml.safe_load(project.simulator.user_data(project.simulator.purchases[0].resource_ids[0]) or "")
    deferred = {file["path"]: file.get("defer") for file in user_data["write_files"]}
    assert deferred == {"/etc/a": None, "/database": None, "/data/b": True, "/etc/c": True, "/data/d": False}


@core
@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("cloud-config.yaml.j2", "content: key of the store"),
        ("startup.sh.j2", base64.b64encode(b"key of the store").decode()),
    ],
)
def test_inline_vaulted_content_reaches_the_user_data(project: Project, template: str, expected: str) -> None:
    (project.folder / "password").write_text("secret")
    words = ("--vault-password-file", "password")
    run = project.run("ansible-vault", "encrypt_string", *words, "--name", "content", "key of the store")
    content = run.output[run.output.index("content: !vault") :].partition("\nEncryption")[0].replace("\n", "\n    ")
    folder = project.folder / "host_vars" / "gpu-1"
    folder.mkdir(parents=True)
    (folder / "files.yml").write_text(f"provision_files:\n  - path: /etc/store\n    {content}\n")
    project.declare(["gpu-1"], provision_reach=False, provision_cloud_init_template=template)
    run = project.provision(*words)
    assert run.returncode == 0, run.output
    user_data = project.simulator.user_data(project.simulator.purchases[0].resource_ids[0])
    assert user_data is not None and expected in user_data and "vault" not in user_data, user_data
    assert "key of the store" not in run.output


def test_startup_template_makes_a_shell_script(project: Project) -> None:
    run = project.provision(
        provision_cloud_init_template="startup.sh.j2",
        provision_packages=["git"],
        provision_users=[
            {"name": "ml", "ssh_authorized_keys": "ssh-ed25519 AAAA a", "sudo": False},
            {"name": "ops", "ssh_authorized_keys": ["b", "c"], "sudo": ["ALL=(ALL) /bin/a", "ALL=(ALL) /bin/b"]},
        ],
        provision_files=[
            {"path": "/etc/a b", "content": "it's\n"},
            {"path": "/etc/c", "content": "aGVsbG8K", "encoding": "b64", "append": True, "permissions": 0o640},
        ],
        provision_commands=["echo hello", ["echo", "a b"]],
        provision_reach=False,
    )
    assert run.returncode == 0, run.output
    user_data = project.simulator.user_data(project.simulator.purchases[0].resource_ids[0])
    assert user_data is not None
    assert user_data.startswith("#!/")
    script = project.folder / "startup.sh"
    script.write_text(user_data)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert "apt-get install --yes --no-install-recommends git" in user_data
    assert "echo 'a b'" in user_data
    assert "printf '%s\\n' 'ssh-ed25519 AAAA a' >" in user_data and "printf '%s\\n' b c >" in user_data
    assert "printf '%s\\n' 'ops ALL=(ALL) /bin/a' 'ops ALL=(ALL) /bin/b' > /etc/sudoers.d/90-ops" in user_data
    assert "90-ml" not in user_data
    assert "base64 --decode >> /etc/c <<'END_OF_FILE'\naGVsbG8K\n" in user_data and "chmod 0640 /etc/c" in user_data


@pytest.mark.skipif(bool(shutil.which("cloud-init")), reason="the simulated machines are this computer")
def test_machine_that_did_not_run_its_user_data_fails(make_project: MakeProject) -> None:
    project = make_project([Offer(), Offer()], runs_user_data=False)
    template = project.folder / "own.sh.j2"
    template.write_text("#!/bin/sh\n# supply-booted: none\necho {{ provision_hostname }}\n")
    project.declare(["gpu-1", "gpu-2"], provision_boot_timeout="3s")
    project.declare_host("gpu-2", provision_cloud_init_template=str(template))
    run = project.provision()
    assert run.returncode != 0 and not run.failure("gpu-2"), run.output
    assert "has not run its user data" in run.text
    assert "There is no cloud-init on the machine" in run.failure("gpu-1") and "billed" in run.failure("gpu-1")
    marks = {host: (project.registry(host) or {}).get("provision_boot_mark") for host in ("gpu-1", "gpu-2")}
    assert marks == {"gpu-1": True, "gpu-2": None}
    # The mark appears late: the script was only slow.
    (machine,) = (project.registry("gpu-1") or {})["provision_resource_ids"]
    (project.simulator.home(machine) / ".supply-booted").touch()
    assert project.provision().returncode == 0


@pytest.mark.parametrize("template", ["cloud-config.yaml.j2", "startup.sh.j2"])
def test_sampler_is_installed_only_with_provision_idle_after(project: Project, template: str) -> None:
    texts = []
    for host, idle_after in (("gpu-1", ""), ("gpu-2", "8h")):
        project.declare([host], provision_idle_after=idle_after)
        run = project.provision(
            provision_cloud_init_template=template,
            provision_idle_gpu_percent="7",
            provision_commands=["echo own"],
            provision_reach=False,
        )
        assert run.returncode == 0, run.output
        assert "cloud_init holds" not in run.text
        texts.append(project.simulator.user_data(project.simulator.purchases[-1].resource_ids[0]) or "")
    without_sampler, text = texts
    assert not re.search("supply[-_]keep|supply-idle", without_sampler)
    assert len(text) < 18_000, "more than about a quarter of the API's limit"
    if template == "startup.sh.j2":
        parts = re.findall(r"^base64 --decode > (\S+) <<'END_OF_FILE'\n(\S+)\n", text, re.MULTILINE)
        files = {path: base64.b64decode(content).decode() for path, content in parts}
        commands = [line for line in text.splitlines()[-4:] if not line.startswith("#")]
        assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
        assert "chmod 0755 /usr/local/bin/supply-keep" in text
    else:
        user_data = yaml.safe_load(text)
        files = {file["path"]: file["content"] for file in user_data["write_files"]}
        commands = user_data["runcmd"]
        assert user_data["write_files"][0]["permissions"] == "0755"
    mark = f"touch /var/lib/{waiting.MARK} || touch ~/.{waiting.MARK}"
    assert commands == ["systemctl enable --now supply-idle.timer || true", "echo own", mark]
    units = [f"/etc/systemd/system/supply-idle.{kind}" for kind in ("service", "timer")]
    assert [*files] == ["/usr/local/bin/supply-keep", *units]
    script = (ROOT / "roles" / "provision" / "files" / "supply_keep.py").read_text()
    assert files["/usr/local/bin/supply-keep"] == f"#!/usr/bin/python3 -I\n{script}"
    assert "\nExecStart=/usr/local/bin/supply-keep --sample 7\n" in files[units[0]]
