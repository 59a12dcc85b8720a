# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declaration of a host: its variables, evaluated by Ansible's templar."""

from __future__ import annotations

from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import ansible.template
import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible_collections.compute_index.supply.plugins.module_utils._provision.declaration import (
    Declaration,
    read_declaration,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import CONNECTION
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder
from ansible_collections.compute_index.supply.plugins.plugin_utils._declare import (
    check_names,
    declared,
    declared_end,
    registry_fingerprint,
)
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import SPEC, raw
from samples import AWX_JOB, KEY

IS_NEW = hasattr(ansible.template, "trust_as_template")  # ansible-core 2.19 or newer
ROLE = Path(__file__).resolve().parents[4] / "roles" / "provision"


def as_template(value: Any) -> Any:
    """A value as Ansible reads it from a file: since ansible-core 2.19, only trusted texts are evaluated."""
    trust = getattr(ansible.template, "trust_as_template", str)
    if isinstance(value, str):
        return trust(value)
    if isinstance(value, dict):
        return {key: as_template(part) for key, part in value.items()}
    return [as_template(part) for part in value] if isinstance(value, list) else value


def declaration_of(
    odd_names: dict[Any, Any] | None = None, extra: dict[str, Any] | None = None, **variables: Any
) -> dict[str, Any]:
    """The declaration of a host with the role's defaults and these variables; ``odd_names`` need not be texts."""
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    known = {"inventory_hostname": "gpu-1", "group_names": ["gpu"], "inventory_dir": "/inventory", **defaults}
    known.update({"provision_spec": SPEC, "provision_max_price_per_hour": 4, **variables, **(odd_names or {})})
    known = as_template(known)
    return declared(known, ansible.template.Templar(loader=DataLoader(), variables=known), extra or {})


def test_empty_limit_is_allowed_only_in_awx_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"provision_lease": "", "awx_job_id": 7}
    with pytest.raises(AnsibleActionFail, match="provision_lease must not be empty"):
        check_names(extra)
    for name, value in AWX_JOB.items():
        monkeypatch.setenv(name, value)
    check_names(extra)


def test_null_resource_name_means_the_default() -> None:
    assert declaration_of(provision_resource_name=None, provision_project="team")["name"] == "team-gpu-1"


@pytest.mark.parametrize(("inventory_dir", "expected_folder"), [("/inventory", "/inventory"), (None, "/other")])
def test_host_without_inventory_dir_uses_first_inventory_file(
    tmp_path: Path, inventory_dir: str | None, expected_folder: str
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "hosts.yml").touch()
    sources = ["gpu-9,", str(tmp_path / "other" / "hosts.yml")]
    found = declaration_of(
        provision_registry_dir="{{ inventory_dir }}/reg", inventory_dir=inventory_dir, ansible_inventory_sources=sources
    )
    assert found["registry_dir"] == f"{expected_folder.replace('/other', str(tmp_path / 'other'))}/reg"
    assert found["inventory_dir"] == inventory_dir


def test_infinite_number_is_refused_with_its_variable() -> None:
    for name in ("provision_max_attempts", "provision_poll_retries", "provision_idle_gpu_percent"):
        found = declaration_of(**{name: float("inf")})
        (objection,) = read_declaration(found, Folder("/inventory/host_vars")).objections
        assert objection.startswith(f"{name} must be a whole number")


def test_defaults_of_declaration_match_defaults_of_role() -> None:
    """A sealed plan compares with these defaults to find what a host declares differently."""
    found, plain = read_declaration(declaration_of(), Folder("/inventory/host_vars")), Declaration("", "")
    differing = {field.name for field in fields(plain) if getattr(found, field.name) != getattr(plain, field.name)}
    host_fields = {"host", "name", "choices", "declared_max_price_per_hour", "registry", "groups", "known"}
    assert differing == {*host_fields, "expected"}  # the expected hardware, here without any values


def test_declared_gathers_all_fields() -> None:
    found = declaration_of()
    # `pause` is for the task that waits for offers.
    assert set(found) == {*raw(), "id", "pause"}
    assert 600 <= found["pause"] <= 660
    assert 60 <= declaration_of(provision_wait="1h", provision_wait_delay="1m")["pause"] <= 66
    assert declaration_of(provision_wait="2099-01-01T00:00Z", provision_wait_delay=0)["pause"] >= 600, (
        "a delay of 0 is not used"
    )
    assert set(CONNECTION) < set(found["known"])
    assert read_declaration(found, Folder("/inventory/host_vars")).objections == ()
    assert found["invalid"] == []


def test_templates_are_evaluated_and_other_values_kept() -> None:
    spec = {"compute": {"gpu_type": "{{ kind }}", "gpu_count": 1}}
    found = declaration_of(provision_spec=spec, kind="L4", provision_project="research", provision_boot_timeout=600)
    assert found["spec"] == {"compute": {"gpu_type": "L4", "gpu_count": 1}}
    assert (found["name"], found["boot_timeout"]) == ("research-gpu-1", "600")
    assert {type(found["spec"]), type(found["spec"]["compute"]["gpu_type"])} == {dict, str}


@pytest.mark.parametrize("project", ["default", "", None, False, 0, "research", 7, "{{ 'of-' ~ inventory_hostname }}"])
@pytest.mark.parametrize("variable", ["provision_resource_name", "provision_hostname"])
def test_default_names_match_templates_of_role_defaults(project: Any, variable: str) -> None:
    """Default names are computed without evaluating the role's templates. A template with another text is evaluated."""
    default = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())[variable]
    by_template = declaration_of(provision_project=project, **{variable: default.replace("}}", " }}")})
    assert declaration_of(provision_project=project)["name"] == by_template["name"]
    assert declaration_of(provision_project=project)["invalid"] == by_template["invalid"]


def test_slips_are_unknown_variables_with_prefix_of_role() -> None:
    assert declaration_of({8080: "web"}, provision_spec=SPEC, provision__own=1)["slips"] == []
    for registered in ({"changed": False, "ready": True}, {"failed": True, "msg": "undefined"}):
        assert declaration_of(provision_spec=SPEC, provision_poll=registered)["slips"] == []
    (slip,) = declaration_of(provision_max_prize=2, provision_offer={})["slips"]
    assert slip.startswith("provision_max_prize is not a variable of this collection")


@pytest.mark.parametrize(
    ("variables", "slips"),
    [
        ({"decommission_storge": "end"}, ["decommission_storge"]),
        ({"decommission_storage": "end", "decommission_hosts": "gpu", "decommission_count": 1}, []),
        ({"decommission_reports": [], "decommission__storge": "", "decomission": 1}, []),
        ({"Decommission_Storge": "end"}, ["Decommission_Storge"]),
        # It may be a variable of the play, which the check of the inventory does not see.
        ({"provision_protec": True}, ["provision_protec"]),
        ({"PROVISION_PROTECT": True}, ["PROVISION_PROTECT"]),
        ({"provision_protec": True, "provision_protect": False}, []),
        # In a sweep a host whose lease is over must end despite misspelled variables.
        ({"decommission_storge": "end", "decommission__reaped": {"why": "lease"}}, []),
    ],
)
def test_misspelled_variable_of_an_end_is_refused(variables: dict[str, Any], slips: list[str]) -> None:
    assert [fault.split()[0] for fault in end_declaration_of(**variables)["invalid"]] == slips


def end_declaration_of(**variables: Any) -> dict[str, Any]:
    """The declaration for the end of a host with the role's defaults and these variables."""
    defaults = yaml.safe_load((ROLE.parent / "decommission" / "defaults" / "main.yml").read_text())
    known = as_template({"inventory_hostname": "gpu-1", "inventory_dir": "/inventory", **defaults, **variables})
    templar = ansible.template.Templar(loader=DataLoader(), variables=known)
    return declared_end(known, templar, check_mode=False)


SWEPT = {"decommission__reaped": {"why": "x"}}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {"name": "gpu-1", "resource_id": "", "listed_id": "", "storage": "keep", "force": False, "reaped": {}}),
        ({"decommission_resource_id": "R"}, {"resource_id": "R"}),
        ({"supply_resource_id": "S"}, {"listed_id": "S", "resource_id": ""}),
        # The name of a group means its hosts, not a machine that the inventory plugin lists under this name.
        ({"supply_resource_id": "S", "groups": {"gpu-1": ["a"], "all": ["a", "gpu-1"]}}, {"listed_id": ""}),
        ({"supply_resource_id": "S", "groups": {"gpu": ["gpu-1"], "all": ["gpu-1"]}}, {"listed_id": "S"}),
        ({"provision_project": "team"}, {"name": "team-gpu-1", "project": "team"}),
        ({"provision_resource_name": "own"}, {"name": "own"}),
        ({"decommission_resource_name": "other", "provision_resource_name": "own"}, {"name": "other"}),
        ({"decommission_force": "yes"}, {"force": True}),
        ({"decommission_force": "perhaps"}, {"force": False}),
        ({"provision_storage_on_end": "end"}, {"storage": "end"}),
        ({"decommission_storage": "end"}, {"storage": "end"}),
        ({"decommission_storage": "keep", "provision_storage_on_end": "end"}, {"storage": "keep"}),
        # A sweep follows only the host's own variable.
        ({"decommission_storage": "end", **SWEPT}, {"storage": "keep", "reaped": {"why": "x"}}),
        ({"provision_storage_on_end": "end", **SWEPT}, {"storage": "end"}),
        # The step reports what cannot be evaluated, and a sweep goes on.
        ({"provision_protect": "{{ nothing }}"}, {"protect": None}),
        ({"provision_protect": True}, {"protect": True}),
        ({"decommission_resorce_id": "R", **SWEPT}, {"invalid": []}),
    ],
    ids=str,
)
def test_end_declares_machine_and_storage(variables: dict[str, Any], expected: dict[str, Any]) -> None:
    found = end_declaration_of(**variables)
    assert {name: found[name] for name in expected} == expected


def test_end_without_evaluated_id_is_refused() -> None:
    """Else it would end the host's own machine."""
    with pytest.raises(AnsibleActionFail, match="decommission_resource_id cannot be evaluated"):
        end_declaration_of(decommission_resource_id="{{ nothing }}")


def test_registry_fingerprint_tells_registries_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (registry_fingerprint(f"postgresql://db/{name}") for name in ("a", "b"))
    assert "" != first != second != "" and first == registry_fingerprint("postgresql://db/a")
    assert registry_fingerprint(None) == registry_fingerprint("") == ""
    monkeypatch.setenv("COMPUTE_INDEX_REGISTRY_URL", "postgresql://db/a")
    assert (registry_fingerprint(""), registry_fingerprint("postgresql://db/b")) == (first, second)


def test_each_declaration_has_its_own_id() -> None:
    assert declaration_of()["id"] != declaration_of()["id"]


@pytest.mark.parametrize(
    "value",
    ["{{ nowhere }}", "{{ 1 / 0 }}", "{{ 'no JSON' | from_json }}", "{{ lookup('file', '/no/such') }}", {date.min: 1}],
)
@pytest.mark.parametrize("name", ["provision_spec", "provision_users", "provision_max_price_per_hour"])
def test_variable_that_cannot_be_evaluated_is_named(name: str, value: Any) -> None:
    with pytest.raises(AnsibleActionFail, match=f"{name} cannot be evaluated") as caught:
        declaration_of(**{name: value})
    assert str(caught.value).count("undefined") < 2, "the reason is repeated"


# Since ansible-core 2.19, omitted items of lists and mappings are left out.
@pytest.mark.parametrize("value", ["{{ omit }}", *([] if IS_NEW else [["{{ omit }}"], {"region": "{{ omit }}"}])])
@pytest.mark.parametrize("name", ["provision_registry_dir", "provision_resource_name", "provision_spec"])
def test_omitted_variable_is_refused(name: str, value: Any) -> None:
    """Before ansible-core 2.19 it is a text that changes with each run: the registry would not be found again."""
    with pytest.raises(AnsibleActionFail, match=f"{name} cannot be "):
        declaration_of(**{name: value}, **({} if IS_NEW else {"omit": "__omit_place_holder__7b1f"}))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"provision_on_failure": "drop"}, "provision_on_failure must be one of"),
        ({"provision_host_key_trust": "no"}, "provision_host_key_trust must be one of"),
        ({"provision_spec_order": "dearest"}, "provision_spec_order must be one of"),
        ({"provision_reach": "perhaps"}, "provision_reach"),
        ({"provision_users": 7}, "provision_users"),
    ],
)
def test_values_outside_argument_specs_are_invalid(variables: dict[str, Any], message: str) -> None:
    found = declaration_of(**variables)
    assert len(found["invalid"]) == 1
    assert message in found["invalid"][0]


def test_texts_names_lists_that_are_given_as_text() -> None:
    found = declaration_of(provision_users="me", provision_packages=["htop"], provision_commands="reboot")
    assert found["texts"] == ["provision_users", "provision_commands"]
    assert declaration_of(provision_mounts=[["/dev/vdb", "/data"]])["texts"] == []
    assert declaration_of(provision_mounts=["/dev/vdb /data"])["texts"] == ["provision_mounts"]


@pytest.mark.parametrize("project", ["", "default", None])
def test_empty_project_means_default(project: str | None) -> None:
    found = declaration_of(provision_project=project)
    assert (found["project"], found["name"]) == ("default", "gpu-1"), "ends and sweeps look for this name"


def test_ssh_key_and_cloud_config_are_not_in_the_declaration() -> None:
    found = declaration_of(provision_ssh_public_key="ssh-ed25519 AAAA", provision_cloud_init={"runcmd": ["secret"]})
    assert found["has_ssh_public_key"] and found["has_cloud_init"]
    assert "secret" not in str(found) and "AAAA" not in str(found)


@pytest.mark.parametrize(
    ("key", "fingerprint", "fault"), [(KEY, "SHA256:", ""), ("ssh-ed25519 ?", "", "is "), (None, "", "is empty")]
)
def test_declaration_has_fingerprint_and_fault_of_ssh_key(key: Any, fingerprint: str, fault: str) -> None:
    found = declaration_of(provision_ssh_public_key=key)
    assert (found["ssh_fingerprint"][:7], found["has_ssh_public_key"]) == (fingerprint, bool(key))
    assert fault in found["ssh_key_fault"] and bool(found["ssh_key_fault"]) is bool(fault)


@pytest.mark.parametrize(
    ("is_of_a_run", "given", "limit"),
    [(True, "", "unlimited"), (True, None, "unlimited"), (True, 3, 3), (False, "", ""), (False, 3, 3)],
)
def test_only_a_run_needs_no_ceiling(is_of_a_run: bool, given: Any, limit: Any) -> None:
    """The cap on its bill limits the price."""
    found = declaration_of(provision_max_price_per_hour=given, run__is_of_a_run=is_of_a_run)
    assert found["max_price_per_hour"] == limit


@pytest.mark.parametrize(
    ("file", "path"),
    [("keys/a.pub", "/plays/keys/a.pub"), ("/k/a.pub", "/k/a.pub"), ("~/a.pub", "/somebody/a.pub")],
)
def test_ssh_key_file_is_relative_to_the_playbook(monkeypatch: pytest.MonkeyPatch, file: str, path: str) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    found = declaration_of(provision_ssh_public_key_file=file, playbook_dir="/plays")
    assert found["ssh_public_key_file"] == path


def test_order_changes_declaration_only_in_playbooks() -> None:
    order = {"order_gpu_type": "A100", "order_max_price_per_hour": "2"}
    assert (declaration_of(extra=order)["spec"], declaration_of(extra=order)["max_price_per_hour"]) == (SPEC, 4)
    found = declaration_of(extra=order, provision__group="gpu")
    assert found["spec"] == {"compute": {"gpu_type": "A100", "gpu_count": 1, "contract_type": "ondemand"}}
    assert (found["max_price_per_hour"], found["refused"]) == ("2", "")


def test_order_in_inventory_is_refused() -> None:
    """It would have no effect, so something else would be bought."""
    refused = declaration_of(provision__group="gpu", provision_hosts=2)["refused"]
    assert refused.startswith("Orders must be extra variables, so provision_hosts would have no effect.")
    assert declaration_of(provision_hosts=2)["refused"].startswith(
        "Only the collection's playbooks take provision_hosts"
    )


def test_empty_group_of_playbook_is_refused() -> None:
    assert "The group 'empty' has no hosts" in declaration_of(provision__group="empty")["refused"]
    elsewhere = declaration_of(provision__group="gpu", group_names=["train"], groups={"train": ["gpu-1"], "gpu": []})
    assert "hosts in train: add -e provision_group=..." in elsewhere["refused"]


def test_order_of_hosts_is_refused_in_plays_of_users() -> None:
    refused = read_declaration(declaration_of(extra={"provision_hosts": 2}), Folder("/inventory/host_vars")).objections
    assert len(refused) == 1 and refused[0].startswith("Only the collection's playbooks take provision_hosts.")
    assert declaration_of(extra={"provision_hosts": "gpu-1"})["refused"] == ""


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text("a0-:/.{}%'\n ", max_size=12),
    st.just("secret-hunter2"),
)
VALUES = st.recursive(
    PLAIN, lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text("ab0", max_size=3), each, max_size=3)
)
SPECS = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]


@given(st.sampled_from(sorted(SPECS)), VALUES)
def test_any_invalid_value_is_reported_with_its_variable(name: str, value: Any) -> None:
    """No value may cause an unexpected exception, and no value of a wrong type is accepted."""
    try:
        found = declaration_of(**{name: value})
    except AnsibleActionFail as error:
        assert str(error).startswith(f"{name} ")
        return
    objections = read_declaration(found, Folder("/inventory/host_vars"), now=1.8e9).objections
    assert all("provision_" in objection for objection in objections)
    if SPECS[name]["type"] == "str" and isinstance(value, (bool, list, dict)):
        assert any(name in objection for objection in objections)
    if name == "provision_registry_url":
        assert "hunter2" not in " ".join(objections)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"provision_project": ["a"]}, "provision_project must be text, not a list"),
        ({"provision_registry_dir": False}, "provision_registry_dir must be text, not true or false"),
        ({"provision_registry_url": {"password": "hunter2"}}, "provision_registry_url must be text, not a mapping"),
        ({"provision_poll_delay": "soon"}, "provision_poll_delay must be a number of seconds, or a duration such as"),
        ({"provision_poll_delay": "3 minutes"}, "provision_poll_delay must be a number of seconds, or"),
        ({"provision_poll_delay": -1}, "provision_poll_delay must be"),
        ({"provision_boot_timeout": True}, "provision_boot_timeout must be"),
        ({"provision_verify": "perhaps"}, "provision_verify"),
    ],
)
def test_wrong_type_is_reported_with_its_variable(variables: dict[str, Any], words: str) -> None:
    (objection,) = read_declaration(declaration_of(**variables), Folder("/inventory/host_vars")).objections
    assert words in objection and "hunter2" not in objection


@pytest.mark.parametrize(("delay", "seconds"), [(15, 15), ("15", 15), ("15s", 15), ("1m", 60), ("0.5s", 1), (0, 0)])
def test_poll_delay_accepts_seconds_and_durations(delay: Any, seconds: int) -> None:
    declaration = read_declaration(declaration_of(provision_poll_delay=delay), Folder("/inventory/host_vars"))
    assert (declaration.poll_delay, declaration.objections) == (seconds, ())


@pytest.mark.parametrize(
    "value", ["postgresql://a:hunter2@{{ db }}/x", "postgresql://a:hunter2@{{ 1 / 0 }}", "hunter2 {{"]
)
def test_evaluation_error_hides_password(value: str) -> None:
    for name in ("provision_registry_url", "provision_commands", "provision_cloud_init"):
        with pytest.raises(AnsibleActionFail) as caught:
            declaration_of(**{name: value if name == "provision_registry_url" else [value]})
        assert str(caught.value).startswith(f"{name} cannot be evaluated") and "hunter2" not in str(caught.value)


def test_misspelled_order_variable_is_refused_only_in_playbooks() -> None:
    found = declaration_of(provision__group="gpu", extra={"odrer_max_price_per_hour": 2})
    assert "Did you mean order_max_price_per_hour?" in found["refused"]
    assert declaration_of(extra={"odrer_max_price_per_hour": 2})["refused"] == ""  # in another play


@pytest.mark.parametrize(
    ("name", "is_of_host", "refused"),
    [
        ("order_ticket", True, ""),
        ("order_ticket", False, "order_ticket is not a variable of this collection"),
        ("order_leas", True, "Did you mean order_lease?"),
    ],
)
def test_host_may_have_its_own_variable_with_prefix_of_orders(name: str, is_of_host: bool, refused: str) -> None:
    hostvars = Mock(raw_get={"gpu-1": {name: "A-17"} if is_of_host else {}}.get)
    found = declaration_of(provision__group="gpu", hostvars=hostvars, **{name: "A-17"})["refused"]
    assert refused in found if refused else found == ""
    refusal = declaration_of(provision__group="gpu", hostvars=hostvars, extra={name: "A-17"}, **{name: "A-17"})[
        "refused"
    ]
    assert refusal.startswith(f"{name} is not a variable of this collection")
