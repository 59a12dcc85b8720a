# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a canary into each secret input, and search for it wherever an input may end up."""

from __future__ import annotations

import importlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ansible_collections.compute_index.supply.plugins.doc_fragments.api as fragment
import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.compute_index.supply.plugins.inventory import resources
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import steps

import postgresql
from conftest import GPU, MakeProject, Project, Run, core
from simulator import Fault, Offer
from test_parity import scenarios

ROOT = Path(__file__).resolve().parents[2]
NAMES = "compute_index.supply."


def canary(name: str) -> str:
    """A word that occurs nowhere else."""
    return f"canary-{name}-53f"


# The secret options of modules, with canaries. A variable with the same secret has a name that ends with the option's.
URL = f"postgresql://nobody:{canary('password')}@127.0.0.1:1/registry"
PASTED = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{canary('key')}\n-----END OPENSSH PRIVATE KEY-----"
OPTIONS: dict[str, Any] = {
    "api_token": canary("token"),
    "cloud_init": f"#cloud-config\nwrite_files:\n- path: /etc/canary\n  content: {canary('user-data')}\n",
    "env": {"WANDB_API_KEY": canary("env")},
    "orders": None,  # of the playbook quote: contains the user data of the variables below
    "registry_url": URL,
    "ssh_public_key": PASTED,
}
# The variables that become user data; provision_files reads its secret from the environment.
USER_DATA: dict[str, Any] = {
    "provision_cloud_init": {"write_files": [{"path": "/etc/more", "content": canary("cloud-init")}]},
    "provision_commands": [f"login --password {canary('command')}"],
    "provision_files": [{"path": "/etc/canary", "content": "{{ lookup('env', 'SUPPLY_SECRET') }} {{ vaulted_word }}"}],
    "provision_mounts": [["/dev/vdb", "/data", "cifs", f"password={canary('mount')}"]],
    "provision_packages": [canary("package")],
    "provision_users": [{"name": "ada", "passwd": canary("user")}],
}
# The variables of playbooks and roles that `is_secret` recognizes
VARIABLES = {
    "provision_cloud_init",
    "provision_registry_url",
    "provision_ssh_public_key",
    "run_env",
    "awx_api_token",  # this one and the next are in tests/awx/test_setup.py
    "awx_registry_url",
}
PLAIN_USER_DATA = {
    *("provision_docker", "provision_hostname", "provision_idle_after", "provision_nvidia_container_toolkit"),
    "provision_timezone",
}
SWITCHES = {"awx_update_secrets", "probe_wrong_token", "wrong_token"}
TOKEN = OPTIONS["api_token"]
VAULTED = "oven"  # a vaulted word so short that it occurs in words that we print
VAULT_PASSWORD = canary("vault")
FILE = canary("file")
CANARY = re.compile(canary("[a-z-]+"))
# A third-party callback that writes down all results and statistics
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
        self._keep([result._task.action, result._result])

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._keep([result._task.action, result._result])

    v2_runner_item_on_ok = v2_runner_item_on_failed = v2_runner_retry = v2_runner_on_ok

    def v2_playbook_on_stats(self, stats):
        self._keep(stats.custom)
"""


@contextmanager
def command_lines() -> Iterator[set[str]]:
    """Collect the command lines of all processes that start within the context."""
    lines: set[str] = set()
    over = threading.Event()
    others = set(os.listdir("/proc"))

    def watch() -> None:
        while not over.wait(0.02):
            for name in set(os.listdir("/proc")) - others:
                try:
                    lines.add(Path("/proc", name, "cmdline").read_bytes().decode(errors="replace"))
                except OSError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lines
    finally:
        over.set()
        watcher.join()


def enable_callback(project: Project) -> Path:
    """Enable the callback, with injected invocations, and return the file that it writes."""
    callback_file, plugins = project.folder / "seen.jsonl", project.folder / "callbacks"
    plugins.mkdir()
    (plugins / "seen.py").write_text(CALLBACK.format(file=str(callback_file)))
    project.environment.update(
        ANSIBLE_CALLBACK_PLUGINS=str(plugins),
        ANSIBLE_CALLBACKS_ENABLED="seen",
        ANSIBLE_INJECT_INVOCATION="1",
        ANSIBLE_SHOW_CUSTOM_STATS="1",
    )
    return callback_file


def canaries_in(texts: dict[str, str]) -> dict[str, list[str]]:
    """The canaries found, by place; ``texts``: by place, the text to search."""
    matches = {place: sorted(set(CANARY.findall(text))) for place, text in texts.items()}
    return {place: canaries for place, canaries in matches.items() if canaries}


# Secret options and variables


def argument_spec_of(module: str) -> dict[str, Any]:
    """The options of a module; for `decide`, the options of all its steps."""
    source = importlib.import_module(f"ansible_collections.compute_index.supply.plugins.modules.{module}")
    if not hasattr(source, "main"):
        return {
            name: option for spec in vars(steps).values() if isinstance(spec, dict) for name, option in spec.items()
        }
    specs: list[dict[str, Any]] = []

    def read(_module: AnsibleModule, argument_spec: dict[str, Any], **_rules: Any) -> None:
        specs.append(argument_spec)
        raise InterruptedError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(AnsibleModule, "__init__", read)
        source.main()
    return specs[0]


def secret_options() -> dict[str, set[str]]:
    """The secret options by module, without modules that have none."""
    modules = [file.stem for file in (ROOT / "plugins" / "modules").glob("[a-z]*.py")]
    secrets = {
        module: {name for name, option in argument_spec_of(module).items() if is_secret(name, option)}
        for module in modules
    }
    return {module: options for module, options in secrets.items() if options}


def is_secret(name: str, option: Any = None) -> bool:
    """Whether an option or a variable is marked as secret, or has a name like a secret."""
    marked = isinstance(option, dict) and (option.get("no_log") or option.get("secret"))
    word = re.search(r"(token|passphrase|password|secret)s?$", name) and name not in SWITCHES
    return bool(marked or word) or name.endswith(tuple(f"_{option}" for option in OPTIONS))


def variables() -> dict[str, Any]:
    """All variables of roles and playbooks, with their specs; None for those without one."""
    files = [yaml.safe_load(file.read_text()) for file in ROOT.glob("roles/*/meta/argument_specs.yml")]
    texts = [file.read_text() for file in (ROOT / "playbooks").glob("*.yml")]
    lines = re.findall(r"^# - (`.*?`) \(", "\n".join(texts), re.MULTILINE)
    options = [spec["options"] for file in files for spec in file["argument_specs"].values()]
    return {
        **dict.fromkeys(re.findall("[a-z_]+", " ".join(lines))),
        **{name: option for spec in options for name, option in spec.items()},
    }


def user_data_variables() -> set[str]:
    """The variables of the role `provision` that its user data templates read."""
    templates = [file.read_text() for file in (ROOT / "roles" / "provision" / "templates").glob("*.j2")]
    return {name for name in variables() if re.search(rf"\b{name}\b", "\n".join(templates))}


@core
def test_every_secret_input_has_a_canary() -> None:
    """A new secret input must be added to the tables above and to a test below."""
    assert set().union(*secret_options().values()) == OPTIONS.keys()
    assert {name for name, option in variables().items() if is_secret(name, option)} == VARIABLES
    assert user_data_variables() == USER_DATA.keys() | PLAIN_USER_DATA


# Some scenarios of each module with a secret, in their order, since some use results of earlier ones
BY_MODULE = (
    *(
        "search",
        "search with a date",
        "an offer",
        "numbers as text",
        "catalogue",
        "planned",
        "above the ceiling",
        "bought",
    ),
    *("ready", "resources", "deleted", "entry"),
)


@pytest.mark.parametrize("way", [pytest.param("1", id="in-process", marks=core), pytest.param("0", id="module")])
def test_modules_leak_no_secret(make_project: MakeProject, way: str) -> None:
    project = make_project([Offer(gpu_price_per_hour=2.5) for _number in range(3)], provision_seconds=0, token=TOKEN)
    callback_file = enable_callback(project)
    project.environment.update(COMPUTE_INDEX_IN_PROCESS=way)
    tasks = scenarios(project)
    if way == "0":
        # test_parity.py compares the results of all tasks in both ways.
        tasks = {name: tasks[name] for name in BY_MODULE}
    pasted = {"offer_id": list(project.simulator.offers)[-1], "ssh_public_key": PASTED}
    job = {"name": "train", "command": "true", "digest": "1", "env": OPTIONS["env"]}
    tasks["pasted"] = {NAMES + "procure_offer": pasted}
    tasks["job"] = {NAMES + "run_job": job, "check_mode": True}
    for name, task in tasks.items():
        ((module, options),) = ((name, value) for name, value in task.items() if name.startswith(NAMES))
        if module.endswith("procure_offer"):
            options |= {name: OPTIONS[name] for name in ("cloud_init", "api_token")}
            if name == "above the ceiling":  # its connection to the registry is refused
                options["registry_url"] = URL
    # The server echoes secrets.
    echo = json.dumps({"detail": [{"msg": f"no {TOKEN}", "input": OPTIONS["cloud_init"]}]}).encode()
    project.simulator.faults.append(Fault(path="/procure_offer", nth=1, status=422, body=echo))
    with command_lines() as lines:
        results, run = project.tasks(*tasks.values(), options=("-vvvvv", "--diff"))
    texts = {
        "registered results": json.dumps(results),
        "callback": callback_file.read_text(),
        "output": run.said,
        "processes": "\n".join(lines),
    }
    assert len(results) == len(tasks) and "invocation" in texts["callback"]
    # Only roles and playbooks run decide.
    assert secret_options().keys() - modules_in(callback_file) == {"decide"}
    assert canaries_in(texts) == {}


def modules_in(callback_file: Path) -> set[str]:
    """The modules of the collection whose results the callback received."""
    actions = (row[0] for row in map(json.loads, callback_file.read_text().splitlines()) if isinstance(row, list))
    return {action.removeprefix(NAMES) for action in actions if action.startswith(NAMES)}


def playbooks(project: Project) -> Iterator[tuple[str, Run]]:
    """Run the inventory plugin and all playbooks but reap_timer and awx_setup, which have tests of their own."""
    always = ("-vvvvv", "--diff", "-e", "@vaulted.yml")
    job = {"run_name": "train", "run_spec": GPU, "run_max_bill": 20, "run_command": "true", "run_unswept": True}
    (project.folder / "job.json").write_text(json.dumps({**job, "run_env": OPTIONS["env"]}))
    nothing = "end_resource_id=00000000-0000-4000-8000-000000000000 end_reason=canaries"
    sealed = ("-e", f"quote_file={project.folder}/plan.json"), ("-e", f"plan={project.folder}/plan.json")
    for playbook, *words in (
        ("registry",),
        ("offers",),
        ("quote", *sealed[0]),
        ("provision", *sealed[1], "--check"),
        ("provision", *sealed[1]),
        ("configure", *sealed[1]),
        ("verify", *sealed[1], "-e", "verify_level=specs"),
        ("run", "-e", "@job.json"),
        ("runs",),
        ("audit",),
        ("spend",),
        ("extend", "-e", "extend_hosts=gpu-1", "-e", "extend_by=1h"),
        ("reap",),
        ("probe", "-e", f"probe_recording={project.folder}/recording.json"),
        ("end_by_id", "-e", nothing),
        ("decommission", "-e", "decommission_hosts=gpu-1,gpu-2"),
    ):
        yield f"{playbook} {' '.join(words)[:40]}", project.play(NAMES + playbook, *words, *always)
        if playbook == "configure":
            yield "inventory", project.run("ansible-inventory", "-i", "all.supply.yml", "--list", "-vvvvv")


@core
def test_playbooks_leak_no_secret(make_project: MakeProject, registry: str) -> None:
    project = make_project(provision_seconds=0, token=TOKEN)
    callback_file = enable_callback(project)
    url = registry.replace("postgres:@", f"postgres:{canary('password')}@", 1)
    assert canary("password") in url
    project.environment.update(
        COMPUTE_INDEX_REGISTRY_URL=url, SUPPLY_SECRET=FILE, ANSIBLE_VAULT_PASSWORD_FILE="vault.txt"
    )
    (project.folder / "vault.txt").write_text(VAULT_PASSWORD)
    (project.folder / "word.txt").write_text(VAULTED)
    hidden = project.run("ansible-vault", "encrypt_string", "--name", "vaulted_word", VAULTED)
    assert hidden.returncode == 0, hidden.output
    (project.folder / "vaulted.yml").write_text(
        hidden.output[hidden.output.index("vaulted_word") :].split("\nEncryp")[0]
    )
    project.declare(
        ["gpu-1", "gpu-2"], **USER_DATA, provision_lease="2h", provision_project=VAULTED, provision_verify="none"
    )
    inventory = {"plugin": f"{NAMES}resources", "registry_url": url, "api_token": TOKEN, "project": VAULTED}
    documented = [
        yaml.safe_load(text)["options"] for text in (resources.DOCUMENTATION, fragment.ModuleDocFragment.DOCUMENTATION)
    ]
    assert {name for options in documented for name in options if name in OPTIONS} <= inventory.keys()
    (project.folder / "all.supply.yml").write_text(yaml.safe_dump(inventory))
    with command_lines() as lines:
        runs = dict(playbooks(project))
    failed = {command: run.output[-3000:] for command, run in runs.items() if run.returncode}
    assert {command.split()[0] for command in failed} == {"end_by_id"}, failed  # no machine has that id
    tried = {command.split()[0] for command in runs} | {"reap_timer", "awx_setup"}
    assert {file.stem for file in (ROOT / "playbooks").glob("*.yml")} == tried - {"inventory"}
    assert {"decide", "run_job"} <= modules_in(callback_file)
    texts = {command: run.said for command, run in runs.items()}
    texts["callback"] = callback_file.read_text()
    texts["processes"] = "\n".join(lines)
    tables = postgresql.execute(
        registry, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'compute_index_supply'"
    )
    for (table,) in tables:
        texts[table] = str(postgresql.execute(registry, f"SELECT t::text FROM compute_index_supply.{table} t"))
    given = {"own.yml", "all.supply.yml", "job.json", "vault.txt", "word.txt", "vaulted.yml", "hosts.yml"}
    for file in project.folder.rglob("*"):
        if file.is_file() and file.name not in given and "simulator" not in str(file):
            texts[str(file.relative_to(project.folder))] = file.read_bytes().decode(errors="replace")
    assert {"plan.json", "recording.json"} <= texts.keys()
    # All of them have reached a machine, so none is missing only because it was lost on the way.
    arrived = str([item.request["cloud_init"] for item in project.simulator.purchases])
    assert set(CANARY.findall(arrived)) >= set(CANARY.findall(json.dumps(USER_DATA))) | {FILE}
    # Parts of words that equal the short vaulted word are not masked, so names and plans stay intact.
    assert f"{VAULTED}-gpu-1" in {item.request["resource_name"] for item in project.simulator.purchases}
    assert any("gpu-1" in texts[table] for (table,) in tables)
    assert canaries_in(texts) == {}
