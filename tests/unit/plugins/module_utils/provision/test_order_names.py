# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Misspelled and reserved names of extra variables."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.splitter import parse_kv
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import (
    BOUGHT_BY,
    HELD_BY,
    read_entry,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import (
    ORDER_VARIABLES,
    PLAYBOOK_VARIABLES,
    RESULTS,
    RoleVariables,
    meant_as_plan,
    refused_of_playbook,
)
from ansible_collections.compute_index.supply.plugins.module_utils._text import nearest, plain_name
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[5]
SPECS = yaml.safe_load((ROOT / "roles" / "provision" / "meta" / "argument_specs.yml").read_text())["argument_specs"]
NAMES = RoleVariables(SPECS["main"]["options"])


@pytest.mark.parametrize(
    ("prefix", "name", "part"),
    [
        ("order_", "order_max_total_price_per_hou", "order_max_total_price_per_hour"),
        ("order_", "odrer_gpu_type", "order_gpu_type"),
        ("order_", "order_max_total", "Did you mean order_max_total_price_per_hour?"),
        ("order_", "order_max_price", "Did you mean order_max_price_per_hour?"),
        ("order_", "order_max", "mean order_max_bill or order_max_price_per_hour or order_max_total_price_per_hour?"),
        ("order_", "order_ma", "reserves"),
        ("quote_", "quote_fil", "Did you mean quote_file?"),
        ("run_", "run_result_dir", "Did you mean run_results_dir?"),
        ("order_", "order_hosts", "reserves"),
        ("order_", "order_id", "reserves"),
        ("order_", "order_", "reserves"),
        ("order_", "ORDER_GPU", "Did you mean order_gpu_count or order_gpu_type?"),
        ("decommission_", "decommission_dry_run", "reserves"),
        ("reap_", "reap_exclude_hosts", "reserves"),
        ("run_", "run_timeout", "reserves"),
        ("verify_", "verify_hosts", "reserves"),
        ("order_", "order__own", ""),
        ("order_", "orders_open", ""),
        ("order_", "my_order_id", ""),
        ("verify_", "provision_host", "provision_hosts"),
        ("audit_", "provison_group", "provision_group"),
        ("audit_", "order_vendor", ""),
        ("order_", "audit_name", ""),
        ("order_", "provision_hosts", ""),
        ("order_", "quota", ""),
        ("quote_", "quota", ""),
        ("audit_", "audit_fail_on_orphan", "audit_fail_on_orphans"),
        ("audit_", "order_max_total", ""),
        ("spend_", "spend_sinc", "spend_since"),
        ("spend_", "spend_csv", ""),
        ("reap_", "reap_by_names", "reap_by_name"),
        ("probe_", "probe_max_use", "probe_max_usd"),
        ("extend_", "extend_host", "extend_hosts"),
        ("decommission_", "decommission_coun", "decommission_count"),
        ("decommission_", "extend_host", ""),
        ("awx_", "awx_organisation", "Did you mean awx_organization?"),
        ("awx_", "awx_update_secret", "Did you mean awx_update_secrets?"),
        ("awx_", "awx_teams", "reserves"),
        ("awx_", "awx_job_template_name", ""),
        ("awx_", "awx_workflow_job_id", ""),
        ("awx_", "awx_user_name", ""),
        ("awx_", "awx_project_revision", ""),
        ("awx_", "awx_project_scm_branch", ""),
        ("order_", "awx_teams", ""),
    ],
)
def test_refused_of_playbook_names_similar_or_reserved_names(prefix: str, name: str, part: str) -> None:
    refusals = refused_of_playbook([name, *PLAYBOOK_VARIABLES], prefix)
    assert len(refusals) == bool(part)
    assert all(text.startswith(f"{name} is not a variable of this collection") and part in text for text in refusals)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("order_ticket", ""), ("order_", ""), ("order_gpu_typ", "order_gpu_type"), ("Order_Lease", "order_lease")],
)
def test_inventory_variable_is_refused_only_if_misspelled(name: str, meant: str) -> None:
    refusal = " ".join(refused_of_playbook([name], "order_", [name]))
    assert f"Did you mean {meant}?" in refusal if meant else refusal == ""


@pytest.mark.parametrize(
    "name",
    [
        *("plann", "pln", "plna", "lpan", "pllan", "Plan", "PLAN", "plans", "plan_", "plan_file", "planfile"),
        *("Plan-File", "plan_path", "plan_json", "quote_plan", "quote_file", "quote_fil", "qoute_file", "sealed_plan"),
    ],
)
def test_plan_under_another_name_is_noticed(name: str) -> None:
    """A purchase that ignored it would buy by search, and not what was quoted."""
    assert meant_as_plan({name: "sealed", "provision_hosts": 1}) == [name]


@pytest.mark.parametrize(
    "name",
    [
        *("plan", "quote", "play", "plane", "VLAN", "wlan", "lan", "plain", "planet", "plants", "place"),
        *("backup_plan", "plan_name", "plan_date", "plan_title", "plan_size", "span", "quote_date", "quota", "flag"),
    ],
)
def test_other_names_are_not_taken_for_a_plan(name: str) -> None:
    assert meant_as_plan({name: "sealed"}) == []


def test_quote_is_meant_as_a_plan_if_it_names_a_file_of_json() -> None:
    assert meant_as_plan({"quote": "quote.json"}) == ["quote"]


def test_no_variable_of_the_collection_or_ansible_is_taken_for_a_plan() -> None:
    magic = {"ansible_play_hosts_all", "groups", "hostvars", "inventory_hostname", "play_hosts", "role_path", "vars"}
    names = magic | PLAYBOOK_VARIABLES | ORDER_VARIABLES | RESULTS | NAMES.variables | {"ended", "provision__group"}
    assert meant_as_plan(dict.fromkeys(names)) == ["quote_file"], "only a quote takes it"


def test_playbook_variables_are_those_of_guide_role_and_surveys() -> None:
    guide = (ROOT / "docs" / "playbooks.md").read_text()
    cells = [row.partition("|")[2].partition("|")[0] for row in guide.splitlines() if row.startswith("| `")]
    role = yaml.safe_load((ROOT / "roles" / "decommission" / "meta" / "argument_specs.yml").read_text())
    surveys = (ROOT / "playbooks" / "vars" / "awx" / "surveys.yml").read_text()
    names = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    names |= set(role["argument_specs"]["main"]["options"]) | set(re.findall(r"variable: (\w+)", surveys))
    own = {name for name in names if not name.startswith("provision_")}
    assert own - {"plan"} == PLAYBOOK_VARIABLES


LETTERS = "abcdefghijklmnopqrstuvwxyz_"


def edited(word: str, kind: str, place: int, letter: str) -> str:
    """The word with one typing error at this place."""
    place %= len(word)
    if kind == "swap":
        return word[:place] + word[place : place + 2][::-1] + word[place + 2 :]
    return word[:place] + (letter if kind != "drop" else "") + word[place + (kind != "add") :]


@given(
    st.sampled_from(sorted(NAMES.variables)),
    st.lists(
        st.tuples(st.sampled_from(["swap", "drop", "add", "other"]), st.integers(0, 40), st.sampled_from(LETTERS)),
        min_size=1,
        max_size=2,
    ),
)
def test_name_within_two_typing_errors_of_a_variable_is_refused(name: str, errors: list[tuple[str, int, str]]) -> None:
    """The errors may be anywhere, even in the prefix of the role's names."""
    misspelled = name
    for each in errors:
        misspelled = edited(misspelled, *each)
    refusals = NAMES.refusals([misspelled])
    is_own = misspelled.startswith("provision__") and plain_name(misspelled) not in NAMES.variables
    if misspelled in NAMES.variables | RESULTS or is_own:
        assert not refusals
    elif nearest(misspelled, sorted(NAMES.variables)):  # two errors in one place may be further away
        assert len(refusals) == 1 and refusals[0].startswith(f"{misspelled} is not a variable of this collection")


@pytest.mark.parametrize(
    ("misspelled", "part"),
    [
        ("provison_max_price_per_hour", "Did you mean provision_max_price_per_hour?"),
        ("porvision_max_price_per_hour", "Did you mean provision_max_price_per_hour?"),
        ("Provision_lease", "Did you mean provision_lease?"),
        ("PROVISION_LEASE", "Did you mean provision_lease?"),
        ("PROVISION_LAESE", "Did you mean provision_lease?"),
        ("Provision-Max-Bil", "Did you mean provision_max_bill?"),
        ("provision__lease", "Did you mean provision_lease?"),
        ("provision___max_price_per_hour", "Did you mean provision_max_price_per_hour?"),
        ("provisionlease", "Did you mean provision_lease?"),
        ("provisoin_hosts", "Did you mean provision_hosts?"),
        ("provision_host", "Did you mean provision_hosts?"),
        ("provisioned_max_price_per_hour", "Did you mean provision_max_price_per_hour?"),
        ("revision_lease", "Did you mean provision_lease?"),
        ("provision_onfailure", "Did you mean provision_on_failure?"),
        ("provision_on_failrue", "Did you mean provision_on_failure?"),
        ("provision_max_price_perhour", "Did you mean provision_max_price_per_hour?"),
        ("provision_Max_price_per_hour", "Did you mean provision_max_price_per_hour?"),
        ("provision_max_price_per_hours", "Did you mean provision_max_price_per_hour?"),
        ("provision_specs", "Did you mean provision_spec?"),
        ("provision_all_or_nothng", "Did you mean provision_all_or_nothing?"),
        ("provision_adopts", "Did you mean provision_adopt?"),
        ("provision_ofer_ids", "Did you mean provision_offer_id?"),
        ("PROVISION_MAX_USD", "reserves names that begin with provision_"),
        ("provision_bill", "reserves names that begin with provision_"),
        ("provision_dry_run", "reserves names that begin with provision_"),
        ("provision_team", "reserves names that begin with provision_"),
        ("Provision_Site", "reserves names that begin with provision_"),
        ("provision_price_", "reserves names that begin with provision_"),
    ],
)
def test_misspelled_or_reserved_name_is_refused(misspelled: str, part: str) -> None:
    (refusal,) = NAMES.refusals([misspelled])
    assert refusal.startswith(f"{misspelled} is not a variable of this collection") and part in refusal


@pytest.mark.parametrize(
    "name",
    [
        *("provisioned_teams", "provisioner_name", "provisonal_price", "provisionmax_price", "provison_max_usd"),
        *("vision_wait", "version_price", "decision_files", "commission_price", "precision", "supervision_lease"),
        *("provider_max_price", "provide_lease", "permission_files", "division_max_bill", "prometheus_version"),
        *("provision__declared", "ansible_provision", "42", "provision_waiting"),
    ],
)
def test_similar_names_of_others_are_accepted(name: str) -> None:
    assert NAMES.refusals([name]) == []


def test_result_of_the_role_is_refused_as_extra_variable() -> None:
    """The registry may set it on a host, but as an extra variable it would have no effect."""
    names = ["provision_plan", "provision_price_per_hour", "provision_ends_at", "provision_groups"]
    refusals = NAMES.refusals(names, [*names, "provision_hosts", "provision_group", "provision_lease"])
    assert refusals == [f"{name} is a result of the role: leave it out." for name in sorted(names)]


@pytest.mark.parametrize(
    "refusals_of",
    [
        NAMES.refusals,
        *(partial(refused_of_playbook, prefix=name) for name in ("order_", "reap_", "decommission_")),
    ],
)
def test_words_lost_by_ansible_are_refused(refusals_of: Callable[[list[str]], list[str]]) -> None:
    """For example ``-e "provision_budget= 9"`` would set no budget."""
    names = sorted(parse_kv("provision_budget= 9"))
    assert names == ["_raw_params", "provision_budget"]
    (refusal,) = refusals_of(names)
    assert "-e has words outside quotes" in refusal and "no space after an equals sign" in refusal
    assert refusals_of(["provision_budget"]) == []


def test_names_of_roles_and_ansible_are_accepted() -> None:
    roles = [path for path in (ROOT / "roles").iterdir() if path.name != "provision"]
    names = {each for role in roles for each in yaml.safe_load((role / "defaults" / "main.yml").read_text())}
    magic = {"ansible_play_hosts_all", "groups", "hostvars", "inventory_hostname", "play_hosts", "role_path", "vars"}
    assert NAMES.refusals(names | PLAYBOOK_VARIABLES | magic | RESULTS | NAMES.variables) == []


def test_refusals_for_500_hosts_are_fast() -> None:
    """One process declares for all hosts: here 500 with 200 variables each."""
    names = [
        f"{word}_{number}" for number in range(25) for word in ("ansible", "my", "app", "disk", "net", "gpu", "os")
    ]
    names += [f"provision_extra_{number}" for number in range(25)]
    role = RoleVariables(NAMES.variables)
    begin = time.process_time()
    for _host in range(500):
        assert len(role.refusals(names)) == 25
    assert time.process_time() - begin < 2.0  # a tenth of this is usual


def test_variables_of_registry_entries_are_accepted() -> None:
    """Ansible reads entries in files as variables of the host."""
    read_names: set[str] = set()

    class Entry(dict[str, Any]):
        def get(self, name: str, default: Any = None) -> Any:
            read_names.add(name)
            return default

    read_entry(Entry(known=True))
    role_names = {name for name in read_names if name.startswith("provision_")}
    assert len(role_names) > 25 and role_names - {HELD_BY, BOUGHT_BY} <= NAMES.variables | RESULTS, role_names


def test_variables_and_results_of_the_role_are_disjoint() -> None:
    assert not NAMES.variables & RESULTS


def test_facts_set_by_the_role_are_results() -> None:
    given_names = set()
    for file in (ROOT / "roles" / "provision" / "tasks").glob("*.yml"):
        for task in yaml.safe_load(file.read_text()):
            given_names |= set(task.get("ansible.builtin.set_fact") or {})
    public = {name for name in given_names if name.startswith("provision_") and not name.startswith("provision__")}
    assert public, "the role sets facts"
    assert public <= RESULTS
