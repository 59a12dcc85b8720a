# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host gathers of its variables, by the templar of Ansible."""

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
from ansible_collections.compute_index.supply.plugins.plugin_utils._declare import check_names, declared, declared_end
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import SPEC, raw
from samples import AWX_JOB

IS_NEW = hasattr(ansible.template, "trust_as_template")  # ansible-core 2.19 or newer
ROLE = Path(__file__).resolve().parents[4] / "roles" / "provision"


def as_template(value: Any) -> Any:
    """A value as Ansible reads it from a file: since ansible-core 2.19 only what is trusted is evaluated."""
    trust = getattr(ansible.template, "trust_as_template", str)
    if isinstance(value, str):
        return trust(value)
    if isinstance(value, dict):
        return {key: as_template(part) for key, part in value.items()}
    return [as_template(part) for part in value] if isinstance(value, list) else value


def gathered(
    odd: dict[Any, Any] | None = None, extra: dict[str, Any] | None = None, **variables: Any
) -> dict[str, Any]:
    """The declaration of a host with the defaults of the role and these variables; ``odd`` names need not be texts."""
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    known = {"inventory_hostname": "gpu-1", "group_names": ["gpu"], "inventory_dir": "/inventory", **defaults}
    known.update({"provision_spec": SPEC, "provision_max_price_per_hour": 4, **variables, **(odd or {})})
    known = as_template(known)
    return declared(known, ansible.template.Templar(loader=DataLoader(), variables=known), extra or {})


def test_an_empty_limit_is_an_unanswered_question_only_in_a_job_of_awx(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"provision_lease": "", "awx_job_id": 7}
    with pytest.raises(AnsibleActionFail, match="provision_lease must not be empty"):
        check_names(extra)
    for name, value in AWX_JOB.items():
        monkeypatch.setenv(name, value)
    check_names(extra)


def test_a_name_without_a_value_is_the_usual_one() -> None:
    assert gathered(provision_resource_name=None, provision_project="team")["name"] == "team-gpu-1"


@pytest.mark.parametrize(("own", "beside"), [("/inventory", "/inventory"), (None, "/other")])
def test_a_host_that_a_play_has_added_is_beside_the_first_inventory(
    tmp_path: Path, own: str | None, beside: str
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "hosts.yml").touch()
    sources = ["gpu-9,", str(tmp_path / "other" / "hosts.yml")]
    found = gathered(
        provision_registry_dir="{{ inventory_dir }}/reg", inventory_dir=own, ansible_inventory_sources=sources
    )
    assert found["registry_dir"] == f"{beside.replace('/other', str(tmp_path / 'other'))}/reg"
    assert found["inventory_dir"] == own


def test_a_number_without_end_is_refused_by_its_name() -> None:
    for name in ("provision_max_attempts", "provision_poll_retries", "provision_idle_gpu_percent"):
        found = gathered(**{name: float("inf")})
        (objection,) = read_declaration(found, Folder("/inventory/host_vars")).objections
        assert objection.startswith(f"{name} must be a whole number")


def test_a_declaration_has_the_defaults_of_the_role() -> None:
    """By which a sealed plan tells what was declared otherwise."""
    found, plain = read_declaration(gathered(), Folder("/inventory/host_vars")), Declaration("", "")
    differing = {field.name for field in fields(plain) if getattr(found, field.name) != getattr(plain, field.name)}
    of_the_host = {"host", "name", "choices", "declared_max_price_per_hour", "registry", "groups", "known"}
    assert differing == {*of_the_host, "expected"}, "the last has its parts, of which none was given"


def test_all_is_gathered_that_is_read() -> None:
    found = gathered()
    # The last one is for the task that waits for offers.
    assert set(found) == {*raw(), "id", "pause"}
    assert 600 <= found["pause"] <= 660
    assert 60 <= gathered(provision_wait="1h", provision_wait_delay="1m")["pause"] <= 66
    assert gathered(provision_wait="2099-01-01T00:00Z", provision_wait_delay=0)["pause"] >= 600, "others may wait"
    assert set(CONNECTION) < set(found["known"])
    assert read_declaration(found, Folder("/inventory/host_vars")).objections == ()
    assert found["invalid"] == []


def test_templates_are_evaluated_and_nothing_else_is_changed() -> None:
    spec = {"compute": {"gpu_type": "{{ kind }}", "gpu_count": 1}}
    found = gathered(provision_spec=spec, kind="L4", provision_project="research", provision_boot_timeout=600)
    assert found["spec"] == {"compute": {"gpu_type": "L4", "gpu_count": 1}}
    assert (found["name"], found["boot_timeout"]) == ("research-gpu-1", "600")
    assert {type(found["spec"]), type(found["spec"]["compute"]["gpu_type"])} == {dict, str}


@pytest.mark.parametrize("project", ["default", "", None, False, 0, "research", 7, "{{ 'of-' ~ inventory_hostname }}"])
@pytest.mark.parametrize("variable", ["provision_resource_name", "provision_hostname"])
def test_names_by_default_are_those_of_the_defaults(project: Any, variable: str) -> None:
    """They are told without their templates, which another text that says the same has evaluated."""
    default = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())[variable]
    by_template = gathered(provision_project=project, **{variable: default.replace("}}", " }}")})
    assert gathered(provision_project=project)["name"] == by_template["name"]
    assert gathered(provision_project=project)["invalid"] == by_template["invalid"]


def test_only_variables_that_the_role_does_not_know_are_told_of() -> None:
    assert gathered({8080: "web"}, provision_spec=SPEC, provision__own=1)["slips"] == []
    for registered in ({"changed": False, "ready": True}, {"failed": True, "msg": "undefined"}):
        assert gathered(provision_spec=SPEC, provision_poll=registered)["slips"] == []
    (slip,) = gathered(provision_max_prize=2, provision_offer={})["slips"]
    assert slip.startswith("provision_max_prize is not a variable of this collection")


@pytest.mark.parametrize(
    ("variables", "slips"),
    [
        ({"decommission_storge": "end"}, ["decommission_storge"]),
        ({"decommission_storage": "end", "decommission_hosts": "gpu", "decommission_count": 1}, []),
        ({"decommission_reports": [], "decommission__storge": "", "decomission": 1}, []),
        ({"Decommission_Storge": "end"}, ["Decommission_Storge"]),
        # Of the play, perhaps: only the variables of the inventory are read where hosts are described.
        ({"provision_protec": True}, ["provision_protec"]),
        ({"PROVISION_PROTECT": True}, ["PROVISION_PROTECT"]),
        ({"provision_protec": True, "provision_protect": False}, []),
        # Its lease is over, and whatever else is wrong, it must end.
        ({"decommission_storge": "end", "decommission__reaped": {"why": "lease"}}, []),
    ],
)
def test_a_misspelled_variable_of_an_end_is_refused(variables: dict[str, Any], slips: list[str]) -> None:
    defaults = yaml.safe_load((ROLE.parent / "decommission" / "defaults" / "main.yml").read_text())
    known = as_template({"inventory_hostname": "gpu-1", "inventory_dir": "/inventory", **defaults, **variables})
    templar = ansible.template.Templar(loader=DataLoader(), variables=known)
    assert [fault.split()[0] for fault in declared_end(known, templar, check_mode=False)["invalid"]] == slips


def test_each_declaration_is_another_one() -> None:
    assert gathered()["id"] != gathered()["id"]


@pytest.mark.parametrize(
    "value",
    ["{{ nowhere }}", "{{ 1 / 0 }}", "{{ 'no JSON' | from_json }}", "{{ lookup('file', '/no/such') }}", {date.min: 1}],
)
@pytest.mark.parametrize("name", ["provision_spec", "provision_users", "provision_max_price_per_hour"])
def test_what_cannot_be_evaluated_is_named(name: str, value: Any) -> None:
    with pytest.raises(AnsibleActionFail, match=f"{name} cannot be evaluated") as caught:
        gathered(**{name: value})
    assert str(caught.value).count("undefined") < 2, "said twice"


# The newer versions leave it out of lists and mappings.
@pytest.mark.parametrize("value", ["{{ omit }}", *([] if IS_NEW else [["{{ omit }}"], {"region": "{{ omit }}"}])])
@pytest.mark.parametrize("name", ["provision_registry_dir", "provision_resource_name", "provision_spec"])
def test_what_is_omitted_is_refused(name: str, value: Any) -> None:
    """For the older versions it is a text that differs from run to run: a registry there is never found again."""
    with pytest.raises(AnsibleActionFail, match=f"{name} cannot be "):
        gathered(**{name: value}, **({} if IS_NEW else {"omit": "__omit_place_holder__7b1f"}))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"provision_on_failure": "drop"}, "provision_on_failure must be one of"),
        ({"provision_host_key_trust": "no"}, "provision_host_key_trust must be one of"),
        ({"provision_spec_order": "dearest"}, "provision_spec_order must be one of"),
        ({"provision_reach": "perhaps"}, "provision_reach"),
        ({"provision_users": 7}, "provision_users"),
    ],
)
def test_values_that_the_argument_specs_refuse(variables: dict[str, Any], said: str) -> None:
    found = gathered(**variables)
    assert len(found["invalid"]) == 1
    assert said in found["invalid"][0]


def test_texts_where_lists_belong() -> None:
    found = gathered(provision_users="me", provision_packages=["htop"], provision_commands="reboot")
    assert found["texts"] == ["provision_users", "provision_commands"]
    assert gathered(provision_mounts=[["/dev/vdb", "/data"]])["texts"] == []
    assert gathered(provision_mounts=["/dev/vdb /data"])["texts"] == ["provision_mounts"]


@pytest.mark.parametrize("project", ["", "default", None])
def test_a_project_without_a_name_is_the_usual_one(project: str | None) -> None:
    found = gathered(provision_project=project)
    assert (found["project"], found["name"]) == ("default", "gpu-1"), "ends and sweeps look for this"


def test_a_key_or_cloud_config_is_told_of_but_not_repeated() -> None:
    found = gathered(provision_ssh_public_key="ssh-ed25519 AAAA", provision_cloud_init={"runcmd": ["secret"]})
    assert found["has_ssh_public_key"] and found["has_cloud_init"]
    assert "secret" not in str(found) and "AAAA" not in str(found)


@pytest.mark.parametrize(
    ("said", "path"),
    [("keys/a.pub", "/plays/keys/a.pub"), ("/k/a.pub", "/k/a.pub"), ("~/a.pub", "/somebody/a.pub")],
)
def test_a_key_is_looked_for_from_the_playbook(monkeypatch: pytest.MonkeyPatch, said: str, path: str) -> None:
    """Wherever Ansible was started."""
    monkeypatch.setenv("HOME", "/somebody")
    found = gathered(provision_ssh_public_key_file=said, playbook_dir="/plays")
    assert found["ssh_public_key_file"] == path


def test_a_playbooks_host_declares_what_was_ordered_for_it() -> None:
    order = {"order_gpu_type": "A100", "order_max_price_per_hour": "2"}
    assert (gathered(extra=order)["spec"], gathered(extra=order)["max_price_per_hour"]) == (SPEC, 4)
    found = gathered(extra=order, provision__group="gpu")
    assert found["spec"] == {"compute": {"gpu_type": "A100", "gpu_count": 1, "contract_type": "ondemand"}}
    assert (found["max_price_per_hour"], found["refused"]) == ("2", "")


def test_a_host_that_stands_for_an_empty_group_is_refused() -> None:
    assert "There is no host in the group 'nobody'" in gathered(provision__group="nobody")["refused"]
    elsewhere = gathered(provision__group="gpu", group_names=["train"], groups={"train": ["gpu-1"], "gpu": []})
    assert "hosts in train: add -e provision_group=..." in elsewhere["refused"]


def test_a_play_of_the_users_own_hears_no_order() -> None:
    refused = read_declaration(gathered(extra={"provision_hosts": 2}), Folder("/inventory/host_vars")).objections
    assert len(refused) == 1 and refused[0].startswith("Only the collection's playbooks take provision_hosts.")
    assert gathered(extra={"provision_hosts": "gpu-1"})["refused"] == ""


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
def test_whatever_a_variable_holds_what_is_wrong_is_told_with_its_name(name: str, value: Any) -> None:
    """No value is a fault of the collection's, and none of a wrong type is taken."""
    try:
        found = gathered(**{name: value})
    except AnsibleActionFail as error:
        assert str(error).startswith(f"{name} ")
        return
    objections = read_declaration(found, Folder("/inventory/host_vars"), now=1.8e9).objections
    assert all("provision_" in said for said in objections)
    if SPECS[name]["type"] == "str" and isinstance(value, (bool, list, dict)):
        assert any(name in said for said in objections)
    if name == "provision_registry_url":
        assert "hunter2" not in " ".join(objections)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"provision_project": ["a"]}, "provision_project must be a text, not a list"),
        ({"provision_registry_dir": False}, "provision_registry_dir must be a text, not true or false"),
        ({"provision_registry_url": {"password": "hunter2"}}, "provision_registry_url must be a text, not a mapping"),
        ({"provision_poll_delay": "soon"}, "provision_poll_delay must be a number of seconds, or a duration such as"),
        ({"provision_poll_delay": "3 minutes"}, "provision_poll_delay must be a number of seconds, or"),
        ({"provision_poll_delay": -1}, "provision_poll_delay must be"),
        ({"provision_boot_timeout": True}, "provision_boot_timeout must be"),
        ({"provision_verify": "perhaps"}, "provision_verify"),
    ],
)
def test_a_wrong_type_is_told_with_the_variable(variables: dict[str, Any], words: str) -> None:
    (said,) = read_declaration(gathered(**variables), Folder("/inventory/host_vars")).objections
    assert words in said and "hunter2" not in said


@pytest.mark.parametrize(("said", "seconds"), [(15, 15), ("15", 15), ("15s", 15), ("1m", 60), ("0.5s", 1), (0, 0)])
def test_a_pause_between_looks_has_a_unit_or_is_seconds(said: Any, seconds: int) -> None:
    known = read_declaration(gathered(provision_poll_delay=said), Folder("/inventory/host_vars"))
    assert (known.poll_delay, known.objections) == (seconds, ())


@pytest.mark.parametrize(
    "value", ["postgresql://a:hunter2@{{ db }}/x", "postgresql://a:hunter2@{{ 1 / 0 }}", "hunter2 {{"]
)
def test_what_cannot_be_evaluated_repeats_no_password(value: str) -> None:
    for name in ("provision_registry_url", "provision_commands", "provision_cloud_init"):
        with pytest.raises(AnsibleActionFail) as caught:
            gathered(**{name: value if name == "provision_registry_url" else [value]})
        assert str(caught.value).startswith(f"{name} cannot be evaluated") and "hunter2" not in str(caught.value)


def test_a_slip_of_what_is_ordered_is_refused_whatever_else_was_ordered() -> None:
    found = gathered(provision__group="gpu", extra={"odrer_max_price_per_hour": 2})
    assert "Did you mean order_max_price_per_hour?" in found["refused"]
    assert gathered(extra={"odrer_max_price_per_hour": 2})["refused"] == ""  # of a play of somebody else's


@pytest.mark.parametrize(
    ("name", "is_of_host", "refused"),
    [
        ("order_ticket", True, ""),
        ("order_ticket", False, "order_ticket is not a variable of this collection"),
        ("order_leas", True, "Did you mean order_lease?"),
    ],
)
def test_a_hosts_own_variable_may_begin_like_one_of_an_order(name: str, is_of_host: bool, refused: str) -> None:
    hostvars = Mock(raw_get={"gpu-1": {name: "A-17"} if is_of_host else {}}.get)
    found = gathered(provision__group="gpu", hostvars=hostvars, **{name: "A-17"})["refused"]
    assert refused in found if refused else found == ""
    given = gathered(provision__group="gpu", hostvars=hostvars, extra={name: "A-17"}, **{name: "A-17"})["refused"]
    assert given.startswith(f"{name} is not a variable of this collection")
