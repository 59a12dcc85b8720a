# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task runs in Ansible's process or as a module: which way it takes, and that both give the same results."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import GPU, UNKNOWN_ID, MakeProject, Project, Run, core
from simulator import Fault, Offer

pytestmark = core

ROOT = Path(__file__).resolve().parents[2]
# Left out: actions about hosts, or over the connection to a machine; they have only one way.
ACTIONS_ONLY = {"activity_info", "decide", "last_command", "run_files", "run_follow", "run_results", "wait_for_boot"}
ACTIONS = sorted({file.stem for file in (ROOT / "plugins" / "action").glob("[a-z]*.py")} - ACTIONS_ONLY)
NAMES = "compute_index.supply."
TEMPLATE = "{{ 40 + 2 }}"
SECRET = "#cloud-config\npackages: [kept-between-us]\n"
IN_PROCESS: dict[str, str] = {}
BY_MODULE = {"COMPUTE_INDEX_IN_PROCESS": "0"}
IN_ANSIBLE, AS_MODULE = "runs in the process of Ansible", "runs as a module"
SWITCH_IS_SET = "compute_index_in_process or COMPUTE_INDEX_IN_PROCESS says so"
ERROR_CLASSES = {
    "auth",
    "conflict",
    "expired",
    "invalid",
    "not_found",
    "price",
    "protocol",
    "rate_limited",
    "unavailable",
    "unknown_outcome",
}

RESULTS, ERRORS = "results", "errors"

Task = dict[str, Any]


@pytest.fixture(autouse=True)
def no_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests choose the way themselves."""
    monkeypatch.delenv("COMPUTE_INDEX_IN_PROCESS", raising=False)


def scenarios(project: Project) -> dict[str, Task]:
    """A task for each module and each kind of result, in an order in which later tasks can use earlier results."""
    key = {"ssh_public_key": project.public_key, "cloud_init": SECRET}
    first, second, third = project.simulator.offers
    impatient = {"settle_timeout": 0, "api_retries": 0}
    machine = {"resource_id": "{{ result_7.resource_ids[0] }}"}  # of the scenario "bought"
    marked = {"offer_id": second, "resource_name": "gpu-2", **key, "cloud_init": "#!/bin/sh\n{{ '{{ x }}' }}\n"}
    free = {"offer_id": third, "max_price_per_hour": None}
    low = {"offer_id": third, "max_price_per_hour": 0.1}
    risen = {"offer_id": third, "price_per_hour": 5.0, "max_price_per_hour": 4.0}
    moment = "{{ '2026-01-01' | to_datetime('%Y-%m-%d') }}"
    entry = {"path": "entries/gpu-1.yml", "variables": {"ansible_port": 22, "since": "2026-01-01", "none": None}}

    def task(module: str, options: dict[str, Any], **keywords: Any) -> Task:
        return {NAMES + module: options, **keywords}

    return {
        "search": task("offer_info", {"spec": GPU}),
        "search with a date": task("offer_info", {"spec": {**GPU, "until": moment}}),
        "an offer": task("offer_info", {"offer_id": first}),
        "numbers as text": task("offer_info", {"offer_id": first, "api_retries": "2", "validate_certs": "yes"}),
        "catalogue": task("catalog_info", {"kind": "gpus"}),
        "planned": task("procure_offer", {"offer_id": first, **key}, check_mode=True, diff=True),
        "above the ceiling": task("procure_offer", {"offer_id": first, "max_price_per_hour": 0.1, **key}),
        "bought": task("procure_offer", {"offer_id": first, "resource_name": "gpu-1", **key}, diff=True),
        "bought before": task("procure_offer", {"offer_id": first, **key}),
        "warnings": task("procure_offer", marked),
        "ready": task("offer_status", {"offer_id": first}),
        "unbought": task("offer_status", {"offer_id": third}),
        "polled": task("offer_status", {"offer_id": second}, until="result_12.ready", retries=5, delay=0),
        "looped": task("offer_status", {"offer_id": "{{ item }}"}, loop=[first, third]),
        "resources": task("resource_info", {}),
        "resources of a name": task("resource_info", {"name": "gpu-1", "states": ["running"], "force_refresh": True}),
        "resources of a kind": task("resource_info", {"kinds": ["machine", "other"]}),
        "deletion planned": task("delete_resource", machine, check_mode=True, diff=True),
        "deleted": task("delete_resource", machine, diff=True),
        "deleted before": task("delete_resource", machine),
        "entry planned": task("registry_entry", entry, check_mode=True, diff=True),
        "entry": task("registry_entry", entry, diff=True),
        "entry again": task("registry_entry", entry),
        "entry gone": task("registry_entry", {**entry, "state": "absent"}, diff=True),
        "entry impossible": task("registry_entry", {"path": "hosts.yml/entry.yml", "variables": {}}),
        # Wrong options
        "missing": task("offer_status", {}),
        "unknown option": task("offer_status", {"offer_id": first, "force": True, "fast": True}),
        "wrong type": task("offer_info", {"spec": "a text"}),
        "wrong kind": task("resource_info", {"kinds": ["disk"]}),
        "wrong choice": task("catalog_info", {"kind": "offers"}),
        "exclusive": task("offer_info", {"spec": GPU, "offer_id": first}),
        "neither": task("offer_info", {}),
        "no id": task("delete_resource", {"resource_id": "all"}),
        # Options as one mapping
        "a plan": task("procure_offer", {"plan": low, **key}),
        "option next to a plan": task("procure_offer", {"plan": low, "max_price_per_hour": 9, **key}, check_mode=True),
        "plan without a limit": task(
            "procure_offer", {"plan": free, "max_price_per_hour": 0.1, **key}, check_mode=True
        ),
        "plan at a higher price": task("procure_offer", {"plan": risen, **key}),
        "an empty plan": task("procure_offer", {"plan": {}, **key}),
        "no plan": task("procure_offer", {"plan": "a text", "offer_id": third, **key}),
        "unknown option in a plan": task("procure_offer", {"plan": {**low, "fast": True}, **key}),
        # One of each error_class
        "auth": task("offer_info", {"spec": GPU, "api_token": "wrong-token"}),
        "not found": task("offer_status", {"offer_id": UNKNOWN_ID}),
        **{
            f"purchase answered {status}": task("procure_offer", {"offer_id": third, **key, **impatient})
            for status in (409, 410, 422, 429, 500)
        },
        "unavailable": task("resource_info", {"api_url": "http://127.0.0.1:9", "api_retries": 0}),
        "protocol": task("catalog_info", {"kind": "storage", "api_retries": 0}),
        # Templates in the API's answers are not evaluated, and secrets in them are masked.
        "a template": task("catalog_info", {"kind": "regions"}),
        "a secret": task("catalog_info", {"kind": "vendors"}),
    }


def part_of(scenarios: dict[str, Task], part: str) -> dict[str, Task]:
    """The scenarios that work, or the errors, which use no result of another scenario."""
    names = list(scenarios)
    begin = names.index("missing")
    return {name: scenarios[name] for name in (names[:begin] if part == RESULTS else names[begin:])}


def prepare(project: Project) -> None:
    """Add the API's answers for some of the errors."""
    faults = project.simulator.faults
    detail = [{"loc": ["body", "offer_id"], "msg": f"{TEMPLATE} is wrong", "type": "value_error"}]
    # A purchase without an answer is sent again in Ansible's process, but not by a module, whose process is new.
    for nth, status in enumerate((409, 410, 422, 429, 500, 500), start=1):
        faults.append(Fault("POST", "/procure_offer", nth=nth, status=status, body={"detail": detail}))
    faults.append(Fault("GET", "/available_storage", count=None, status=200, body="<html>"))
    faults.append(Fault("GET", "/available_regions", status=200, body=[TEMPLATE, {"a": TEMPLATE}, True, None, 1.5]))
    faults.append(Fault("GET", "/available_vendors", status=404, body={"detail": project.simulator.settings.token}))


def run_all(
    make_project: MakeProject, part: str, **environment: str
) -> tuple[dict[str, Task], dict[str, Any], Run, Project]:
    """Run the scenarios of this part. Return their tasks and their results by name, the run and the project."""
    project = make_project([Offer(gpu_price_per_hour=price) for price in (2.0, 2.5, 3.0)], provision_seconds=0)
    project.environment.update(environment)
    if part == ERRORS:
        prepare(project)
    tasks = part_of(scenarios(project), part)
    results, run = project.tasks(*tasks.values(), options=("-vvv",))
    return tasks, dict(zip(tasks, results, strict=True)), run, project


def comparable(results: Any, project: Project) -> Any:
    """The results with placeholders for what differs from run to run: ids, times, ports, folder, URL and key."""
    text = json.dumps(results, sort_keys=True).replace(str(project.folder), "FOLDER")
    # ansible-core 2.22 adds the first to results of modules, and the second to those of other actions in a loop.
    text = re.sub('"(?:ansible_parsed": true|failed": false), ', "", text)
    text = text.replace(project.simulator.url, "URL").replace(project.public_key, "KEY")
    text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)?", "TIME", text)
    for number, id_ in enumerate(dict.fromkeys(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", text))):
        text = text.replace(id_, f"ID{number}")
    text = re.sub(r"-p [0-9]{4,5}\b", "-p PORT", text)
    return json.loads(re.sub(r'("(?:ansible_port|ssh_port)"): [0-9]+', r'\1: "PORT"', text))


def without_additions(result: Any) -> Any:
    """The result without fields that ansible-core adds to results of modules, about a ``path`` or the interpreter."""
    added = {"exception", "ansible_facts", "owner", "group", "mode", "size", "state", "uid", "gid", "secontext"}
    return {name: value for name, value in result.items() if name not in added}


def run_both_ways(make_project: MakeProject, part: str) -> tuple[dict[str, Task], dict[str, Any], list[Run]]:
    """Run the scenarios of this part both ways, and assert that their results are the same.

    Return the tasks and the results by name, and both runs.
    """
    results_by_way, tasks, runs = [], {}, []
    for environment, way in ((IN_PROCESS, IN_ANSIBLE), (BY_MODULE, f"{AS_MODULE}: {SWITCH_IS_SET}")):
        tasks, results, run, project = run_all(make_project, part, **environment)
        without_way = "no plan" in tasks  # refused before the way is chosen
        assert len(re.findall(rf"{NAMES}[a-z_]+ {way}", run.output)) >= len(tasks) - without_way
        assert run.output.count("runs ") == len(re.findall(rf"{NAMES}[a-z_]+ {way}", run.output))
        assert "kept-between-us" not in run.said
        assert project.simulator.settings.token not in run.said
        results_by_way.append(comparable(results, project))
        runs.append(run)
        shutil.rmtree(project.folder)
    in_process, by_module = results_by_way
    for scenario, result in in_process.items():
        assert without_additions(result) == without_additions(by_module[scenario]), scenario
    return tasks, in_process, runs


@pytest.mark.first
def test_both_ways_give_the_same_results(make_project: MakeProject) -> None:
    tasks, _results, runs = run_both_ways(make_project, RESULTS)
    assert all("[WARNING]: cloud_init holds template marks" in run.text for run in runs)
    used = {name.removeprefix(NAMES) for task in tasks.values() for name in task if name.startswith(NAMES)}
    assert used == set(ACTIONS)


def test_both_ways_give_the_same_errors(make_project: MakeProject) -> None:
    _tasks, results, _runs = run_both_ways(make_project, ERRORS)
    classes = {result.get("error_class") for result in results.values() if result.get("failed")}
    assert classes == ERROR_CLASSES
    assert results["a plan"]["error_class"] == results["option next to a plan"]["error_class"] == "price"
    assert results["plan without a limit"]["outcome"] == "planned"
    assert results["no plan"]["msg"] == "plan must be a mapping of options. Nothing was sent."
    assert results["a template"]["catalog"] == [TEMPLATE, {"a": TEMPLATE}, True, None, 1.5]
    assert results["a secret"]["msg"].endswith(" 404: ********. Check api_url.")


def ways_taken(project: Project, *tasks: Task, **variables: Any) -> tuple[list[str], Run]:
    """Run tasks for a host that is this computer. Return each task's way, with the reason if it ran as a module."""
    project.declare(["gpu-1"], ansible_connection="local", **variables)
    steps = [{"name": "Ask", NAMES + "catalog_info": {"kind": "gpus"}, **task} for task in tasks]
    run = project.play(
        project.write({"hosts": "gpu", "gather_facts": False, "ignore_errors": True, "tasks": steps}), "-vvv"
    )
    return re.findall(rf"{NAMES}catalog_info runs (.*)\.$", run.output, re.MULTILINE), run


def test_task_runs_in_process_unless_host_python_or_keywords_prevent_it(project: Project) -> None:
    alias = project.folder / "python"
    alias.symlink_to(sys.executable)
    here = "in the process of Ansible"
    tasks: list[tuple[str, Task]] = [
        (here, {}),
        (here, {"vars": {"ansible_python_interpreter": "auto_silent"}}),
        (here, {"delegate_to": "localhost", "vars": {"ansible_connection": "local"}}),
        (here, {"environment": {"HTTPS_PROXY": "http://127.0.0.1:9", "no_proxy": "{{ 'x' }}"}}),
        ("as a module: the task has an environment", {"environment": [{"no_proxy": "x"}, {"LC_ALL": "C"}]}),
        ("as a module: the task is asynchronous", {"async": 60, "poll": 1}),
        ("as a module: the task has become", {"become": True, "become_method": "ansible.builtin.su"}),
        ("as a module: the host has another Python", {"vars": {"ansible_python_interpreter": str(alias)}}),
        (f"as a module: {SWITCH_IS_SET}", {"vars": {"compute_index_in_process": "no"}}),
        (
            "as a module: the connection is ssh",
            {"vars": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9}},
        ),
    ]
    taken, run = ways_taken(
        project, *(task for _way, task in tasks), ansible_python_interpreter="{{ ansible_playbook_python }}"
    )
    assert taken == [way for way, _task in tasks], run.output
    # No SSH server answers, and the Python at the other path may lack libraries.
    assert project.requests("GET", "/available_gpus") >= len(tasks) - 2


def test_delegated_task_uses_the_python_of_the_host_that_it_runs_on(project: Project) -> None:
    task = {"delegate_to": "control", "vars": {"ansible_connection": "local"}}
    for path, way in (
        (sys.executable, "in the process of Ansible"),
        ("/no/python", "as a module: the host has another Python"),
    ):
        project.declare_host("control", ansible_python_interpreter=path)
        project.declare(["gpu-1", "control"])
        taken, run = ways_taken(project, task, ansible_python_interpreter="/no/other")
        assert taken[:1] == [way], run.output


def test_proxy_of_a_task_environment_applies_to_that_task_only(project: Project) -> None:
    elsewhere = {"api_url": "https://supply-api.example.com", "api_token": "a-token", "api_retries": 0, "kind": "gpus"}
    proxied = {NAMES + "catalog_info": elsewhere, "environment": {"https_proxy": "http://127.0.0.1:9"}}
    (through, direct), _run = project.tasks(
        proxied, {NAMES + "catalog_info": {**elsewhere, "api_url": "https://127.0.0.1:9"}}
    )
    assert "proxy: Connection refused" in through["msg"]
    assert "proxy" not in direct["msg"]


def test_templates_in_results_survive_set_fact_unevaluated(project: Project) -> None:
    project.simulator.faults.append(Fault("GET", "/available_regions", status=200, body=[TEMPLATE]))
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {"name": "Ask", NAMES + "catalog_info": {"kind": "regions"}, "register": "regions"},
            {"name": "Keep", "ansible.builtin.set_fact": {"kept": "{{ regions.catalog }}"}},
            {"name": "Show", "ansible.builtin.debug": {"msg": "first: {{ kept[0] }}"}},
        ],
    }
    run = project.play(project.write(play))
    assert run.returncode == 0, run.output
    assert f"first: {TEMPLATE}" in run.output


def test_items_of_a_loop_share_a_connection(project: Project) -> None:
    (_result,), _run = project.tasks({NAMES + "catalog_info": {"kind": "gpus"}, "loop": [1, 2, 3]})
    assert project.requests("GET", "/available_gpus") == 3
    assert len({request.client for request in project.simulator.requests}) == 1
