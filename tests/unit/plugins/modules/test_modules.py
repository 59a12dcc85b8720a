# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules as Ansible runs them: their results and exit codes, hidden secrets, and their documentation."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ansible_collections.compute_index.supply.plugins.doc_fragments.api as fragment
import pytest
import yaml
from ansible.module_utils import basic
from ansible.module_utils.common import warnings
from ansible_collections.compute_index.supply.plugins.module_utils import _spec
from ansible_collections.compute_index.supply.plugins.module_utils._api import http
from ansible_collections.compute_index.supply.plugins.module_utils._machine import activity
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _files
from ansible_collections.compute_index.supply.plugins.modules import gpu_acceptance

from request_queue import RequestQueue
from samples import (
    BASE,
    KEY,
    NOT_FOUND,
    OFFER_ID,
    OFFER_PATH,
    PRIVATE_KEY,
    RESOURCE_ID,
    STATUS_PATH,
    TOKEN,
    instance,
    offer,
    procurement,
    resource,
    status,
)

try:
    from ansible.module_utils import _internal as internal
    from ansible.module_utils.testing import patch_module_args
except ImportError:  # ansible-core before 2.19
    internal = None

    @contextlib.contextmanager
    def patch_module_args(args: dict[str, Any]) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": args}).encode())
            yield


PACKAGE = "ansible_collections.compute_index.supply.plugins.modules"
ROOT = Path(__file__).parents[4]
MODULES = sorted(file.stem for file in (ROOT / "plugins" / "modules").glob("[a-z]*.py"))
SOURCES = {module: importlib.import_module(f"{PACKAGE}.{module}") for module in MODULES}
OPERATIONS = {name: getattr(source, name.upper()) for name, source in SOURCES.items() if hasattr(source, name.upper())}
SPECS = {
    **{name: operation.argument_spec for name, operation in OPERATIONS.items()},
    **{name: getattr(_spec, name.upper()) for name in MODULES if name.startswith("run_")},
    **{"wait_for_boot": _spec.WAIT_FOR_BOOT, "gpu_acceptance": gpu_acceptance.SPEC},
}
WITH_TOKEN = [name for name, operation in OPERATIONS.items() if "api_token" in operation.argument_spec]
COMMON = {"api_url": BASE, "api_token": TOKEN, "api_retries": 0}
USER_DATA = "#cloud-config\nchpasswd: {list: 'root:hunter22'}\n"


class Run:
    """The exit code and the printed result of a module."""

    def __init__(self, code: int, stdout: str) -> None:
        self.code = code
        self.result: dict[str, Any] = json.loads(stdout)
        # From ansible-core 2.22 on, a module tells Ansible in the same answer what to mask in all output.
        told = json.dumps({"_ansible_new_secrets": self.result.pop("_ansible_new_secrets", None)})[1:-1]
        self.stdout = stdout.replace(told, "")

    @property
    def warnings(self) -> list[str]:
        """The texts of the warnings; newer versions of ansible-core print objects."""
        found = self.result.get("warnings", [])
        return [item if isinstance(item, str) else item["event"]["msg"] for item in found]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """``run(module, check_mode=False, **options)`` runs a module's ``main``."""
    for name in ("_global_warnings", "_global_deprecations"):
        monkeypatch.setattr(warnings, name, type(getattr(warnings, name))())
    if internal:  # other tests import parts of Ansible that mark this process as the controller's
        monkeypatch.setattr(internal, "is_controller", False)

    def main(module: str, check_mode: bool = False, **options: Any) -> Run:
        common = {"_ansible_check_mode": check_mode, "_ansible_remote_tmp": os.environ["HOME"]}
        with patch_module_args({**options, **common}), pytest.raises(SystemExit) as caught:
            SOURCES[module].main()
        return Run(caught.value.code, capsys.readouterr().out)  # type: ignore[arg-type]

    return main


def documentation(module: str) -> dict[str, Any]:
    """The documentation of a module, with the fragments that it extends."""
    document: dict[str, Any] = yaml.safe_load(SOURCES[module].DOCUMENTATION)
    for name in document.get("extends_documentation_fragment", []):
        text = "ATTRIBUTES" if name.endswith(".attributes") else "DOCUMENTATION"
        document["options"] = {
            **yaml.safe_load(getattr(fragment.ModuleDocFragment, text))["options"],
            **document["options"],
        }
    return document


def least_options(module: str) -> dict[str, Any]:
    """The fewest options with which a module runs."""
    values = {"offer_id": OFFER_ID, "offer_ids": [OFFER_ID], "resource_id": RESOURCE_ID, "kind": "gpus"}
    values["ssh_public_key"] = KEY
    operation = OPERATIONS[module]
    required = {name for name, option in operation.argument_spec.items() if option.get("required")}
    required.update(names[-1] for names in operation.rules.get("required_one_of", []))
    return {name: values[name] for name in required}


# Results


def test_procure_offer_returns_created_purchase(queue: RequestQueue, run: Any) -> None:
    queue.show(resource()).expect("GET", STATUS_PATH, status()).expect("GET", OFFER_PATH, offer())
    queue.expect("POST", "/procure_offer", procurement(), body={"offer_id": OFFER_ID, "ssh_public_key": KEY})
    done = run("procure_offer", offer_id=OFFER_ID, ssh_public_key=KEY, max_price_per_hour="2", **COMMON)
    assert (done.code, done.result["changed"], done.result["outcome"]) == (0, True, "created")
    assert done.result["resource_ids"] == [RESOURCE_ID]
    assert done.result["diff"]["after"]["price_per_hour"] == 2.0
    assert done.warnings == []


def test_procure_offer_plans_in_check_mode(queue: RequestQueue, run: Any) -> None:
    queue.expect("GET", STATUS_PATH, status()).expect("GET", OFFER_PATH, offer())
    done = run("procure_offer", True, offer_id=OFFER_ID, ssh_public_key=KEY, **COMMON)
    assert (done.code, done.result["changed"], done.result["outcome"]) == (0, True, "planned")


def test_procure_offer_failure_has_all_fields(queue: RequestQueue, run: Any) -> None:
    queue.expect("GET", STATUS_PATH, {"detail": "Offer not found"}, 404)
    done = run("procure_offer", offer_id=OFFER_ID, ssh_public_key=KEY, **COMMON)
    assert (done.code, done.result["failed"], done.result["outcome"]) == (1, True, "not_sent")
    assert (done.result["error_class"], done.result["status_code"]) == ("not_found", 404)
    assert done.result["resource_ids"] == []


def test_procure_offer_warns_of_template_marks_and_tokens(queue: RequestQueue, run: Any) -> None:
    queue.expect("GET", STATUS_PATH, status()).expect("GET", OFFER_PATH, offer())
    options = {"offer_id": OFFER_ID, "ssh_public_key": KEY, "cloud_init": "#!/bin/sh\necho {{ x }}\nhf_0123456789\n"}
    done = run("procure_offer", True, **options, **COMMON)
    assert ["template marks" in done.warnings[0], "a token" in done.warnings[1]] == [True, True]


def test_failure_returns_warnings(queue: RequestQueue, run: Any) -> None:
    queue.expect("GET", STATUS_PATH, NOT_FOUND, 404)
    done = run("procure_offer", offer_id=OFFER_ID, ssh_public_key=KEY, cloud_init="#!/bin/sh\n{{ x }}\n", **COMMON)
    assert (done.code, len(done.warnings)) == (1, 1)


def test_offer_status_returns_ready_offer(queue: RequestQueue, run: Any) -> None:
    queue.expect("GET", STATUS_PATH, status("ready", instances=[instance()]))
    queue.expect("GET", "/resources", [resource()], query={"offer_id": OFFER_ID})
    done = run("offer_status", offer_id=OFFER_ID, **COMMON)
    assert (done.code, done.result["ready"], done.result["terminal"]) == (0, True, True)


def test_offer_status_reports_503_as_transient(queue: RequestQueue, run: Any) -> None:
    queue.expect("GET", STATUS_PATH, {}, 503)
    done = run("offer_status", offer_id=OFFER_ID, **COMMON)
    assert (done.code, done.result["transient_error"], done.result["terminal"]) == (0, True, False)


def test_offer_status_without_token_is_terminal(run: Any) -> None:
    done = run("offer_status", offer_id=OFFER_ID, api_url=BASE)
    assert (done.code, done.result["failed"], done.result["terminal"], done.result["ready"]) == (1, True, True, False)
    assert "COMPUTE_INDEX_API_TOKEN" in done.result["msg"]


def test_offer_info_returns_found_offers(queue: RequestQueue, run: Any) -> None:
    spec = {"compute": {"gpu_type": "H100", "gpu_count": 1}}
    sent = {"compute": {**spec["compute"], "contract_type": "ondemand"}}
    queue.expect("POST", "/get_offers", {"offers": [offer()], "total_count": 1}, body=sent)
    done = run("offer_info", spec=spec, **COMMON)
    assert (done.code, done.result["changed"], done.result["total_count"]) == (0, False, 1)
    assert done.result["offers"][0]["price_per_hour"] == 2.0


@pytest.mark.parametrize(
    ("module", "options", "msg"),
    [
        ("offer_info", {}, "one of the following is required"),
        ("offer_info", {"spec": {"a": 1}, "offer_id": OFFER_ID}, "mutually exclusive"),
        ("offer_status", {}, "one of the following is required"),
        ("offer_status", {"offer_ids": [OFFER_ID], "offer_id": OFFER_ID}, "mutually exclusive"),
    ],
)
def test_exactly_one_of_two_options_is_required(run: Any, module: str, options: Any, msg: str) -> None:
    done = run(module, **options, **COMMON)
    assert (done.code, done.result["failed"]) == (1, True)
    assert msg in done.result["msg"]
    assert {*OPERATIONS[module].blank, "error_class", "status_code"} <= done.result.keys()


def test_offer_status_accepts_list_of_offers(queue: RequestQueue, run: Any) -> None:
    queue.expect("GET", STATUS_PATH, status("ready", instances=[instance()])).expect("GET", "/resources", [resource()])
    done = run("offer_status", offer_ids=[OFFER_ID], **COMMON)
    assert (done.code, done.result["ready"], done.result["terminal"]) == (0, True, True)
    assert done.result["offers"][OFFER_ID]["ready"] is True
    done = run("offer_status", offer_ids=[], **COMMON)
    assert (done.code, done.result["ready"], done.result["terminal"]) == (0, True, True)


def test_procure_offer_writes_registry_file(queue: RequestQueue, run: Any, tmp_path: Path) -> None:
    queue.show(resource()).expect("GET", STATUS_PATH, status()).expect("GET", OFFER_PATH, offer())
    queue.expect("POST", "/procure_offer", procurement())
    file = tmp_path / "trainer" / "compute_index_supply.yml"
    options = {"offer_id": OFFER_ID, "ssh_public_key": KEY, "registry_file": str(file), "note": {"provision_x": 1}}
    done = run("procure_offer", **options, **COMMON)
    assert (done.code, done.result["outcome"], done.result["registry"]) == (0, "created", str(file))
    entry = yaml.safe_load(file.read_text())
    assert (entry["provision_purchase"], entry["provision_resource_ids"]) == ("made", [RESOURCE_ID])
    assert entry["provision_x"] == 1


def test_catalog_info_returns_catalog_of_known_kind(queue: RequestQueue, run: Any) -> None:
    queue.expect("GET", "/available_gpus", {"H100": ["nvidia-h100-sxm5-80gb"]})
    done = run("catalog_info", kind="gpus", **COMMON)
    assert (done.code, done.result["catalog"]) == (0, {"H100": ["nvidia-h100-sxm5-80gb"]})
    done = run("catalog_info", kind="offers", **COMMON)
    assert (done.code, "value of kind must be one of" in done.result["msg"]) == (1, True)


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("procure_offer", {"offer_id": OFFER_ID, **COMMON}),
        ("procure_offer", {"ssh_public_key": KEY, **COMMON}),
        ("delete_resource", COMMON),
        ("catalog_info", COMMON),
        ("registry_entry", {"variables": {"a": 1}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_missing_required_option_fails(run: Any, module: str, options: Any) -> None:
    done = run(module, **options)
    assert (done.code, done.result["failed"]) == (1, True)
    assert "missing required arguments" in done.result["msg"]
    assert {*OPERATIONS[module].blank, "error_class", "status_code"} <= done.result.keys()


@pytest.mark.parametrize("module", WITH_TOKEN)
def test_missing_library_is_named(run: Any, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setattr(http, "REQUESTS_IMPORT_ERROR", "Traceback: no requests")
    done = run(module, **least_options(module), **COMMON)
    assert done.code == 1
    assert "The Python library requests is missing: run" in done.result["msg"]
    assert (done.result["error_class"], done.result["status_code"]) == ("invalid", None)
    assert OPERATIONS[module].blank.keys() <= done.result.keys()
    assert done.result.get("terminal", True) is True and done.result.get("outcome", "not_sent") == "not_sent"


@pytest.mark.parametrize("module", WITH_TOKEN)
@pytest.mark.parametrize("check_mode", [False, True])
def test_invalid_token_fails_with_common_fields(queue: RequestQueue, run: Any, module: str, check_mode: bool) -> None:
    done = run(module, check_mode, **least_options(module), **{**COMMON, "api_token": "two words"})
    assert (done.code, done.result["failed"], done.result["changed"]) == (1, True, False)
    assert done.result["msg"].startswith("api_token holds a space")
    assert (done.result["error_class"], done.result["status_code"]) == ("auth", None)
    assert OPERATIONS[module].blank.keys() <= done.result.keys()
    assert queue.calls == []


# Options


def test_token_and_url_come_from_the_environment(
    queue: RequestQueue, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPUTE_INDEX_API_TOKEN", f"{TOKEN}\n")
    monkeypatch.setenv("COMPUTE_INDEX_API_URL", BASE)
    queue.expect("GET", STATUS_PATH, {"detail": f"{TOKEN} is bad"}, 401)
    done = run("offer_status", offer_id=OFFER_ID)
    assert queue.calls[0].headers["Authorization"] == f"Bearer {TOKEN}"
    assert done.result["error_class"] == "auth"
    assert TOKEN not in done.stdout


def test_options_take_precedence_over_environment(
    queue: RequestQueue, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPUTE_INDEX_API_TOKEN", "another-token")
    monkeypatch.setenv("COMPUTE_INDEX_API_URL", "https://another.example.com")
    queue.expect("GET", STATUS_PATH, status())
    run("offer_status", offer_id=OFFER_ID, **COMMON)
    assert queue.calls[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_default_url_is_the_documented_one(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    urls: list[str] = []

    class Client(http.HttpClient):
        def __init__(self, base_url: str, *args: Any, **options: Any) -> None:
            urls.append(base_url)
            super().__init__("https://127.0.0.1:9", *args, **{**options, "retries": 0})

    monkeypatch.setattr(http, "HttpClient", Client)
    run("offer_status", offer_id=OFFER_ID, api_token=TOKEN)
    assert urls == ["https://supply-api.compute-index.com"]


# Secrets


@pytest.mark.parametrize("code", [200, 401, 422, 500])
def test_secrets_echoed_by_server_are_hidden(queue: RequestQueue, run: Any, code: int) -> None:
    echoed = f"{TOKEN} | {USER_DATA} | {USER_DATA.splitlines()[1]}"
    queue.expect("GET", STATUS_PATH, status(progress=echoed, extra=echoed))
    queue.expect("GET", OFFER_PATH, offer(note=f"Bearer {TOKEN}", echo={"deep": [USER_DATA, KEY]}))
    echo = {"status": "failed", "error": echoed, "detail": [{"loc": ["body"], "msg": echoed, "input": echoed}]}
    queue.expect("POST", "/procure_offer", echo, code, headers={"X-Echo": TOKEN})
    queue.expect("GET", STATUS_PATH, status("failed", failure_reason=echoed))
    queue.expect("GET", "/resources", [], query={"offer_id": OFFER_ID})
    options = {"offer_id": OFFER_ID, "ssh_public_key": KEY, "cloud_init": USER_DATA, "settle_timeout": 0}
    done = run("procure_offer", **options, **COMMON)
    assert done.code == 1
    assert TOKEN not in done.stdout
    assert "hunter22" not in done.stdout
    assert KEY not in done.stdout


@pytest.mark.parametrize("key", [PRIVATE_KEY, PRIVATE_KEY.replace("\n", " "), PRIVATE_KEY.splitlines()[1]])
def test_private_key_given_as_public_key_is_hidden(run: Any, key: str) -> None:
    done = run("procure_offer", offer_id=OFFER_ID, ssh_public_key=key, **COMMON)
    assert (done.code, done.result["outcome"]) == (1, "not_sent")
    assert PRIVATE_KEY.splitlines()[1] not in done.stdout


def test_invalid_user_data_is_hidden(run: Any) -> None:
    done = run(
        "procure_offer", offer_id=OFFER_ID, ssh_public_key=KEY, cloud_init="#cloud-config\nhunter22: [", **COMMON
    )
    assert done.result["msg"].startswith("cloud_init is not valid YAML")
    assert "hunter22" not in done.stdout


def test_unexpected_exception_shows_no_secret(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(*_args: Any, **_options: Any) -> None:
        raise RuntimeError(f"{TOKEN} {USER_DATA}")

    monkeypatch.setattr(http.HttpClient, "exchange", burst)
    done = run("procure_offer", offer_id=OFFER_ID, ssh_public_key=KEY, cloud_init=USER_DATA, **COMMON)
    assert (done.code, done.result["outcome"], done.result["changed"]) == (1, "unknown", True)
    assert TOKEN not in done.stdout and "hunter22" not in done.stdout


@pytest.mark.parametrize("token", ["t", "ok"])
def test_short_token_does_not_garble_result(queue: RequestQueue, run: Any, token: str) -> None:
    queue.expect("GET", STATUS_PATH, status())
    done = run("offer_status", offer_id=OFFER_ID, **{**COMMON, "api_token": token})
    assert done.result["procurement_status"] == "available"
    assert done.result["msg"] == f"Offer {OFFER_ID} is not bought (yet): the API says 'available'."


@pytest.mark.parametrize("depth", [100, 900, 5000, 200_000])
def test_deeply_nested_answer_is_handled(queue: RequestQueue, run: Any, depth: int) -> None:
    body = json.dumps(offer()).replace('"gpu_family"', '"x": ' + "[" * depth + "]" * depth + ', "gpu_family"')
    queue.expect("GET", OFFER_PATH, body.encode())
    done = run("offer_info", offer_id=OFFER_ID, **COMMON)
    assert "offers" in done.result or done.result["error_class"]
    assert "bug" not in done.result.get("msg", "")


# The registry


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    return tmp_path / "host_vars" / "trainer" / "machine.yml"


def test_unchanged_entry_is_written_once(run: Any, entry: Path) -> None:
    variables = {"ansible_host": "203.0.113.7", "ansible_port": 22}
    created = run("registry_entry", path=str(entry), variables=variables)
    assert (created.code, created.result["changed"], created.result["path"]) == (0, True, str(entry))
    assert yaml.safe_load(entry.read_text()) == variables
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    assert created.result["diff"]["before"] == "" and created.result["diff"]["after"] == entry.read_text()
    written = entry.stat()
    repeated = run("registry_entry", path=str(entry), variables=variables)
    assert (repeated.code, repeated.result["changed"]) == (0, False)
    assert (entry.stat().st_ino, entry.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    assert repeated.result["diff"]["before"] == repeated.result["diff"]["after"]


def test_new_variables_replace_entry(run: Any, entry: Path) -> None:
    run("registry_entry", path=str(entry), variables={"a": 1})
    done = run("registry_entry", path=str(entry), variables={"b": 2})
    assert done.result["changed"]
    assert yaml.safe_load(entry.read_text()) == {"b": 2}


def test_state_absent_removes_entry(run: Any, entry: Path) -> None:
    run("registry_entry", path=str(entry), variables={"a": 1})
    text = entry.read_text()
    planned = run("registry_entry", True, path=str(entry), state="absent")
    assert (planned.result["changed"], entry.read_text()) == (True, text)
    done = run("registry_entry", path=str(entry), state="absent")
    assert (done.code, done.result["changed"]) == (0, True)
    assert (done.result["diff"]["before"], done.result["diff"]["after"]) == (text, "")
    assert not entry.parent.exists()
    repeated = run("registry_entry", path=str(entry), state="absent")
    assert (repeated.code, repeated.result["changed"]) == (0, False)


def test_check_mode_writes_no_entry(run: Any, entry: Path) -> None:
    done = run("registry_entry", True, path=str(entry), variables={"a": 1})
    assert (done.code, done.result["changed"]) == (0, True)
    assert "a: 1" in done.result["diff"]["after"]
    assert not entry.parent.exists()


def test_entry_with_template_marks_is_refused(run: Any, entry: Path) -> None:
    done = run("registry_entry", path=str(entry), variables={"a": "{{ x }}"})
    assert (done.code, done.result["error_class"], done.result["path"]) == (1, "invalid", str(entry))
    assert "holds template marks" in done.result["msg"]
    assert not entry.exists()


def test_folder_in_place_of_entry_fails(run: Any, tmp_path: Path) -> None:
    done = run("registry_entry", path=str(tmp_path), variables={"a": 1})
    assert (done.code, done.result["msg"]) == (1, f"The registry file {tmp_path} cannot be written: Is a directory.")


def test_binary_file_is_not_replaced_by_entry(run: Any, entry: Path) -> None:
    entry.parent.mkdir(parents=True)
    entry.write_bytes(b"\xff")
    done = run("registry_entry", path=str(entry), variables={"a": 1})
    assert (done.code, done.result["error_class"]) == (1, "invalid")
    assert entry.read_bytes() == b"\xff"


def test_full_disk_keeps_old_entry(run: Any, entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("registry_entry", path=str(entry), variables={"a": 1})

    def refuse(*_args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    done = run("registry_entry", path=str(entry), variables={"b": 2})
    assert (done.code, done.result["error_class"]) == (1, "invalid")
    assert done.result["msg"].endswith("cannot be written: No space left on device.")
    assert yaml.safe_load(entry.read_text()) == {"a": 1}


def test_missing_pyyaml_is_named(run: Any, entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "HAS_YAML", False)
    done = run("registry_entry", path=str(entry), variables={"a": 1})
    assert done.code == 1
    assert "This Python has no PyYAML" in done.result["msg"]


# Documentation


def test_action_group_lists_modules_with_api_options() -> None:
    group = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]["all"]
    with_api_options = [
        module
        for module in MODULES
        if "compute_index.supply.api" in documentation(module)["extends_documentation_fragment"]
    ]
    assert group == with_api_options


@pytest.mark.parametrize("module", MODULES)
def test_documentation_names_action_group_of_module(module: str) -> None:
    group = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]["all"]
    document = documentation(module)
    assert ("compute_index.supply.api.module" in document["extends_documentation_fragment"]) is (module in group)
    assert "action_group" not in document["attributes"]


@pytest.mark.parametrize("module", SPECS)
def test_documentation_matches_argument_spec(module: str) -> None:
    facts = ("type", "elements", "default", "required", "choices")
    documented = {
        name: {fact: option.get(fact) for fact in facts} for name, option in documentation(module)["options"].items()
    }
    assert documented == {name: {fact: option.get(fact) for fact in facts} for name, option in SPECS[module].items()}


@pytest.mark.parametrize("module", OPERATIONS)
def test_fields_of_result_are_documented(module: str) -> None:
    documented = yaml.safe_load(SOURCES[module].RETURN).keys()
    assert OPERATIONS[module].blank.keys() - {"changed", "msg"} <= documented
    assert {"error_class", "status_code"} <= documented


def test_secret_options_have_no_log() -> None:
    specs = [operation.argument_spec for operation in OPERATIONS.values()]
    marked = {name for spec in specs for name, option in spec.items() if option.get("no_log")}
    assert marked == {"api_token", "cloud_init", "registry_url", "ssh_public_key"}


@pytest.mark.parametrize("module", MODULES)
def test_module_has_documentation_and_example(module: str) -> None:
    source = SOURCES[module]
    assert documentation(module)["module"] == module
    assert f"compute_index.supply.{module}:" in source.EXAMPLES
    assert yaml.safe_load(source.EXAMPLES) and yaml.safe_load(source.RETURN)


def test_required_python_is_the_one_in_the_readme() -> None:
    (python,) = yaml.safe_load(fragment.ModuleDocFragment.ATTRIBUTES)["requirements"]
    oldest = re.findall(r"[0-9.]+", python)[0]
    assert f"a Python ({oldest} or newer)" in (ROOT / "README.md").read_text()


def test_activity_of_foreign_computer_is_unknown(run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("activity_info", check_mode=True)
    documented = yaml.safe_load(SOURCES["activity_info"].RETURN).keys()
    assert (done.code, done.result["changed"], done.result["state"]) == (0, False, "unknown")
    # The controller adds `asked_at`, by its own clock.
    assert done.result.keys() - {"changed", "invocation"} == documented - {"asked_at"}

    monkeypatch.setattr(activity, "read_activity", partial(activity.read_activity, "/nowhere"))
    done = run("activity_info")
    assert (done.code, done.result["state"], done.result["since"]) == (0, "unknown", None)
    assert done.result["evidence"] == "the machine's uptime or boot id cannot be read"
