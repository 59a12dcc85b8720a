# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules without the roles, run by ansible-playbook, in its process and as modules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import GPU, PROCURE, UNKNOWN_ID, MakeProject, Project, core
from simulator import Fault, Offer

ROOT = Path(__file__).resolve().parents[2]
SECRET = "kept-between-us-4711"
USER_DATA = f"#cloud-config\nwrite_files:\n- path: /etc/secret\n  content: {SECRET}\n"


def procure(project: Project, **options: Any) -> dict[str, Any]:
    """A task that buys the simulator's only offer."""
    (offer_id,) = project.simulator.offers
    order = {"offer_id": offer_id, "ssh_public_key": project.public_key}
    return {"compute_index.supply.procure_offer": {**order, **options}}


def status(offer_id: str, **keywords: Any) -> dict[str, Any]:
    """A task that looks at an offer."""
    return {"compute_index.supply.offer_status": {"offer_id": offer_id}, **keywords}


@pytest.fixture
def shop(make_project: MakeProject) -> Project:
    """A project whose API has a single offer, at 2.50 USD per hour, ready at once."""
    project = make_project([Offer(gpu_price_per_hour=2.5)], provision_seconds=0)
    project.environment["COMPUTE_INDEX_IN_PROCESS"] = "1"
    return project


@pytest.fixture(params=[pytest.param("1", id="in-process", marks=pytest.mark.first), pytest.param("0", id="module")])
def each_way(shop: Project, request: pytest.FixtureRequest) -> Project:
    """The shop, once with tasks in Ansible's process, and once as modules. test_parity.py compares their results."""
    shop.environment["COMPUTE_INDEX_IN_PROCESS"] = request.param
    return shop


@pytest.mark.first
@core
def test_a_purchase_is_planned_made_and_found(shop: Project) -> None:
    (offer_id,) = shop.simulator.offers
    (planned, early, created, existing, ready), run = shop.tasks(
        {**procure(shop, resource_name="trainer", max_price_per_hour=2.5), "check_mode": True, "diff": True},
        status(offer_id, check_mode=True, until="result_1.terminal", retries=50, delay=5),
        procure(shop, resource_name="trainer", max_price_per_hour=2.5),
        procure(shop, resource_name="trainer"),
        status(offer_id),
    )

    assert (planned["changed"], planned["outcome"], planned["price_per_hour"]) == (True, "planned", 2.5)
    assert planned["diff"]["after"]["resource_name"] == "trainer"
    assert (early["terminal"], early["ready"], early["phase"]) == (True, False, "unbought")
    assert (created["changed"], created["outcome"]) == (True, "created")
    assert (existing["changed"], existing["outcome"]) == (False, "existing")
    (purchase,) = shop.simulator.purchases
    assert created["resource_ids"] == existing["resource_ids"] == ready["resource_ids"] == purchase.resource_ids
    assert ready["ready"] is True
    assert ready["instances"][0]["name"] == "trainer"
    assert shop.requests(*PROCURE) == 1
    assert "trainer" in run.output


@core
def test_secrets_are_in_no_output_at_any_verbosity(each_way: Project) -> None:
    token = each_way.simulator.settings.token
    each_way.environment.pop("COMPUTE_INDEX_API_TOKEN")
    echo = json.dumps({"detail": f"no {token} and no {SECRET} and not {USER_DATA}"}).encode()
    each_way.simulator.faults.append(Fault(path="/procure_offer", status=422, body=echo))
    results, run = each_way.tasks(
        procure(each_way, api_token=token, cloud_init=USER_DATA),
        procure(each_way, api_token=token, cloud_init=USER_DATA),
        options=("-vvvv", "--diff"),
    )
    assert [result.get("outcome") for result in results] == ["rejected", "created"]
    text = json.dumps(results) + run.said
    assert SECRET not in text
    assert token not in text
    assert each_way.simulator.purchases[0].request["cloud_init"] == USER_DATA


@pytest.mark.first
def test_private_key_pasted_by_mistake_is_rejected_and_not_echoed(shop: Project) -> None:
    private_key = shop.key.read_text()
    (result,), run = shop.tasks(
        procure(shop, ssh_public_key="{{ lookup('ansible.builtin.file', path) }}") | {"vars": {"path": str(shop.key)}},
        options=("-vvvv",),
    )
    assert "ssh_public_key is a PRIVATE key" in result["msg"]
    assert private_key.splitlines()[2] not in run.output
    assert shop.simulator.requests == []


BAD_INPUT: dict[str, tuple[dict[str, Any], str]] = {
    "no-uuid": ({"offer_id": "abc-123"}, "offer_id must be a UUID"),
    "empty-key": ({"ssh_public_key": " "}, "ssh_public_key is empty"),
    "no-key": ({"ssh_public_key": "hello"}, "ssh_public_key must begin with the key's type"),
    "damaged-key": ({"ssh_public_key": "ssh-ed25519 AAAA"}, "ssh_public_key is damaged"),
    "no-header": ({"cloud_init": "packages: []"}, "cloud_init must begin with a line"),
    "too-large": ({"cloud_init": "#cloud-config\nx: " + "ä" * 32761}, "cloud_init is 65539 bytes long"),
    "bad-yaml": ({"cloud_init": "#cloud-config\nx: [1\n"}, "cloud_init is not valid YAML"),
    "ftp": ({"api_url": "ftp://127.0.0.1"}, "api_url must be an http(s) URL"),
    "plain-http": ({"api_url": "http://supply.example.com"}, "api_url is plain http"),
    "credentials": ({"api_url": "https://me:pw@supply.example.com"}, "api_url must not contain credentials"),
    "blank-token": ({"api_token": "two words"}, "api_token holds a space"),
    "ca-path": ({"ca_path": "/no/such/file"}, "ca_path: there is no file"),
    "ceiling": ({"max_price_per_hour": -1}, "max_price_per_hour must be"),
    "timeout": ({"procure_timeout": 0}, "procure_timeout must be"),
}


@pytest.mark.first
def test_bad_input_is_a_clear_error_before_any_request(shop: Project) -> None:
    results, _run = shop.tasks(*(procure(shop, **options) for options, _message in BAD_INPUT.values()))
    for name, result in zip(BAD_INPUT, results, strict=True):
        assert result["failed"] is True, name
        assert BAD_INPUT[name][1] in result["msg"], name
        error_class = "auth" if name == "blank-token" else "invalid"
        assert (result["error_class"], result["outcome"]) == (error_class, "not_sent"), name
    assert shop.simulator.requests == []


@pytest.mark.first
def test_a_missing_token_names_the_option_and_the_variable(shop: Project) -> None:
    shop.environment.pop("COMPUTE_INDEX_API_TOKEN")
    tasks = procure(shop), status(UNKNOWN_ID, until="result_1.terminal", retries=50, delay=5)
    results, _run = shop.tasks(*tasks, {"compute_index.supply.offer_info": {"spec": GPU}})
    for result in results:
        assert "api_token is missing" in result["msg"]
        assert "COMPUTE_INDEX_API_TOKEN" in result["msg"]
        assert result["error_class"] == "auth"
    assert shop.simulator.requests == []


@pytest.mark.first
@core
def test_the_common_options_can_be_set_for_the_group(shop: Project) -> None:
    token, url = shop.environment.pop("COMPUTE_INDEX_API_TOKEN"), shop.environment.pop("COMPUTE_INDEX_API_URL")
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "module_defaults": {"group/compute_index.supply.all": {"api_token": token, "api_url": url}},
        "tasks": [{"name": "Search", "compute_index.supply.offer_info": {"spec": GPU}}],
    }
    run = shop.play(shop.write(play))
    assert run.returncode == 0, run.output
    assert shop.requests("POST", "/get_offers") == 1


@pytest.mark.first
@core
def test_until_ends_at_permanent_errors(shop: Project) -> None:
    wrong = {"compute_index.supply.offer_status": {"offer_id": UNKNOWN_ID, "api_token": "wrong"}}
    endless = {"retries": 50, "delay": 5}
    (refused, unknown), _run = shop.tasks(
        {**wrong, "until": "result_0.terminal", **endless}, status(UNKNOWN_ID, until="result_1.terminal", **endless)
    )
    assert (refused["error_class"], refused["terminal"], refused["failed"]) == ("auth", True, True)
    assert (unknown["error_class"], unknown["terminal"], unknown["failed"]) == ("not_found", True, True)


@pytest.mark.first
@core
def test_rescue_can_distinguish_errors_by_error_class(shop: Project) -> None:
    task = {
        "block": [procure(shop, max_price_per_hour=1)],
        "rescue": [
            {
                "name": "Show",
                "ansible.builtin.debug": {"msg": "class={{ ansible_failed_result.error_class }}"},
            }
        ],
    }
    run = shop.play(shop.write({"hosts": "localhost", "gather_facts": False, "tasks": [task]}))
    assert run.returncode == 0, run.output
    assert "class=price" in run.output


@core
def test_retries_without_until_buy_once(each_way: Project) -> None:
    # With these keywords, ansible-core runs a failing task three times.
    each_way.simulator.faults.append(Fault(path="/procure_offer", process=True, status=500))
    each_way.simulator.faults.append(Fault(path="/offers/[^/]+/status", nth=2, status=500))
    (result,), _run = each_way.tasks({**procure(each_way, settle_timeout=0, api_retries=0), "retries": 2, "delay": 0})
    assert result["outcome"] == "existing"
    assert each_way.requests(*PROCURE) == 1


@core
def test_a_purchase_that_the_tasks_timeout_cuts_off_is_found_again(each_way: Project) -> None:
    each_way.simulator.settings.procure_seconds = 6
    (cut, found), _run = each_way.tasks({**procure(each_way), "timeout": 3}, procure(each_way))
    assert cut["failed"] is True and "outcome" not in cut
    assert (found["outcome"], found["changed"]) == ("existing", False)
    assert found["resource_ids"] == each_way.simulator.purchases[0].resource_ids
    assert each_way.requests(*PROCURE) == 1


# In the order of a run
RUN_MODULES = ("run_files", "run_job", "run_follow", "run_info", "run_results")
MODULES = sorted({file.stem for file in (ROOT / "plugins" / "modules").glob("[a-z]*.py")} - {*RUN_MODULES})


@core
def test_examples_of_the_documentation_run_unchanged(make_project: MakeProject) -> None:
    project = make_project(provision_seconds=0)
    project.declare(["gpu-1"], ansible_connection="local", ansible_python_interpreter="{{ ansible_playbook_python }}")
    project.environment["COMPUTE_INDEX_RUN_DIR"] = str(project.folder / "on-the-machine")
    (project.folder / "training").mkdir()
    (project.folder / "training" / "requirements.txt").touch()
    (project.folder / "training" / "train.py").write_text("import os\nos.mkdir('out')\nopen('out/a', 'w').close()\n")
    names = [f"compute_index.supply.{module}" for module in (*MODULES, *RUN_MODULES)]
    docs = project.run("ansible-doc", "--json", *names)
    assert docs.returncode == 0, docs.output
    documents = json.loads(docs.output[docs.output.index("{") :])
    for name in names:
        (project.folder / f"{name}.yml").write_text(documents[name]["examples"])
    # The examples need the ids of a bought offer, and of a machine of another offer.
    offer_id, other = list(project.simulator.offers)[:2]
    orders = [{"offer_id": each, "ssh_public_key": project.public_key} for each in (offer_id, other)]
    (_bought, ended), _run = project.tasks(*({"compute_index.supply.procure_offer": order} for order in orders))
    variables = {"offer_id": offer_id, "offer_ids": [offer_id], "resource_id": ended["resource_ids"][0]}
    run = project.play(*(f"{name}.yml" for name in names), "-e", json.dumps(variables))
    assert run.returncode == 0, run.output
    assert run.output.count("PLAY [") == sum(documents[name]["examples"].count("hosts: ") for name in names)
    assert "no hosts matched" not in run.output
    assert (project.folder / "runs" / "train" / "files" / "out" / "a").exists()
