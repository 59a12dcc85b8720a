# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A canary in each secret input, and a search for it everywhere that an input may end up."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

import postgresql
from conftest import MakeProject, Project, Run, core
from simulator import Fault, Offer
from test_parity import scenarios

pytestmark = core

TOKEN = "canary-token-53f1"
PASSWORD = "canary-password-53f2"
FILE = "canary-file-53f3"
USER_DATA = "canary-user-data-53f4"
VAULTED = "oven"  # a word of four letters, which is a part of words that we print
VAULT_PASSWORD = "canary-vault-53f5"
CANARIES = (TOKEN, PASSWORD, FILE, USER_DATA, VAULT_PASSWORD)
# All results and statistics as a callback of somebody else gets them.
CALLBACK = """
import json
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = "name: seen\\ntype: notification\\nshort_description: all results\\ndescription: all results"

class CallbackModule(CallbackBase):
    CALLBACK_VERSION, CALLBACK_TYPE, CALLBACK_NAME = 2.0, "notification", "seen"

    def _keep(self, value):
        with open({file!r}, "a") as file:
            file.write(json.dumps(value, default=str) + chr(10))

    def v2_runner_on_ok(self, result):
        self._keep(result._result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._keep(result._result)

    v2_runner_item_on_ok = v2_runner_item_on_failed = v2_runner_retry = v2_runner_on_ok

    def v2_playbook_on_stats(self, stats):
        self._keep(stats.custom)
"""


@contextmanager
def command_lines() -> Iterator[set[str]]:
    """The command lines of all processes while this lasts."""
    lines: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    lines.add(file.read_bytes().decode(errors="replace"))
                except OSError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lines
    finally:
        over.set()
        watcher.join()


def seen_by_callback(project: Project) -> Path:
    """Switch a callback on that keeps all results, and injected invocations; the file that it writes."""
    seen, plugins = project.folder / "seen.jsonl", project.folder / "callbacks"
    plugins.mkdir()
    (plugins / "seen.py").write_text(CALLBACK.format(file=str(seen)))
    project.environment.update(
        ANSIBLE_CALLBACK_PLUGINS=str(plugins),
        ANSIBLE_CALLBACKS_ENABLED="seen",
        ANSIBLE_INJECT_INVOCATION="1",
        ANSIBLE_SHOW_CUSTOM_STATS="1",
    )
    return seen


def canaries_in(texts: dict[str, str]) -> dict[str, list[str]]:
    """The canaries by the place where they are."""
    matches = {place: [canary for canary in CANARIES if canary in text] for place, text in texts.items()}
    return {place: canaries for place, canaries in matches.items() if canaries}


@pytest.mark.parametrize("way", ["1", "0"], ids=["in-process", "module"])
def test_no_result_of_a_module_holds_a_secret(make_project: MakeProject, way: str) -> None:
    project = make_project([Offer(gpu_price_per_hour=2.5) for _ in range(3)], provision_seconds=0, token=TOKEN)
    seen = seen_by_callback(project)
    project.environment.update(COMPUTE_INDEX_IN_PROCESS=way)
    tasks = scenarios(project)
    user_data = f"#cloud-config\nwrite_files:\n- path: /etc/canary\n  content: {USER_DATA}\n"
    for name, task in tasks.items():
        ((module, options),) = ((name, value) for name, value in task.items() if name.startswith("compute_index"))
        if module.endswith("procure_offer"):
            options |= {"cloud_init": user_data, "api_token": TOKEN}
            if name == "too dear":  # refused at its connection
                options["registry_url"] = f"postgresql://nobody:{PASSWORD}@127.0.0.1:1/registry"
    # The server repeats what it was sent.
    echo = json.dumps({"detail": [{"msg": f"no {TOKEN}", "input": user_data}]}).encode()
    project.simulator.faults.append(Fault(path="/procure_offer", nth=1, status=422, body=echo))
    with command_lines() as lines:
        results, run = project.tasks(*tasks.values(), options=("-vvvvv", "--diff"))
    texts = {
        "registered results": json.dumps(results),
        "callback": seen.read_text(),
        "output": run.said,
        "processes": "\n".join(lines),
    }
    assert len(results) == len(tasks) and "invocation" in texts["callback"]
    assert canaries_in(texts) == {}


def test_no_playbook_leaves_a_secret(make_project: MakeProject, registry: str) -> None:
    project = make_project(provision_seconds=0, token=TOKEN)
    seen = seen_by_callback(project)
    url = registry.replace("postgres:@", f"postgres:{PASSWORD}@", 1)
    assert PASSWORD in url
    project.environment.update(COMPUTE_INDEX_REGISTRY_URL=url, THE_SECRET=FILE, ANSIBLE_VAULT_PASSWORD_FILE="vault.txt")
    (project.folder / "vault.txt").write_text(VAULT_PASSWORD)
    (project.folder / "word.txt").write_text(VAULTED)
    hidden = project.run("ansible-vault", "encrypt_string", "--name", "vaulted_word", VAULTED)
    assert hidden.returncode == 0, hidden.output
    (project.folder / "vaulted.yml").write_text(
        hidden.output[hidden.output.index("vaulted_word") :].split("\nEncryp")[0]
    )
    project.declare(
        ["gpu-1", "gpu-2"],
        provision_files=[{"path": "/etc/canary", "content": "{{ lookup('env', 'THE_SECRET') }} {{ vaulted_word }}"}],
        provision_reach=False,
        provision_lease="2h",
        provision_project=VAULTED,
    )
    inventory = {
        "plugin": "compute_index.supply.resources",
        "registry_url": url,
        "api_token": TOKEN,
        "project": VAULTED,
    }
    (project.folder / "all.supply.yml").write_text(yaml.safe_dump(inventory))
    name = "compute_index.supply."
    always = ("-vvvvv", "--diff", "-e", "@vaulted.yml")
    runs: dict[str, Run] = {}
    with command_lines() as lines:
        for playbook, *words in (
            ("offers",),
            ("quote",),
            ("provision", "--check"),
            ("provision",),
            ("audit",),
            ("spend",),
            ("extend", "-e", "extend_hosts=gpu-1", "-e", "extend_by=1h"),
            ("reap",),
            ("probe", "-e", "probe_purchase=false"),
            ("decommission", "-e", "decommission_hosts=gpu-1,gpu-2"),
        ):
            runs[f"{playbook} {' '.join(words)}"] = project.play(name + playbook, *words, *always)
            if playbook == "provision" and not words:
                listed = project.run("ansible-inventory", "-i", "all.supply.yml", "--list", "-vvvvv")
    failed = {command: run.output[-3000:] for command, run in runs.items() if run.returncode}
    assert not failed and listed.returncode == 0, (failed, listed.output[-2000:])
    texts = {command: run.said for command, run in runs.items()}
    texts["inventory"] = listed.output
    texts["callback"] = seen.read_text()
    texts["processes"] = "\n".join(lines)
    tables = postgresql.execute(
        registry, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'compute_index_supply'"
    )
    for (table,) in tables:
        texts[table] = str(postgresql.execute(registry, f"SELECT t::text FROM compute_index_supply.{table} t"))
    given = {"own.yml", "all.supply.yml", "vault.txt", "word.txt", "vaulted.yml", "hosts.yml"}
    for file in project.folder.rglob("*"):
        if file.is_file() and file.name not in given and "simulator" not in str(file):
            texts[str(file.relative_to(project.folder))] = file.read_bytes().decode(errors="replace")
    # A short word is no secret by itself: it garbles neither names nor plans.
    assert f"{VAULTED}-gpu-1" in {item.request["resource_name"] for item in project.simulator.purchases}
    assert any("gpu-1" in texts[table] for (table,) in tables)
    assert canaries_in(texts) == {}
