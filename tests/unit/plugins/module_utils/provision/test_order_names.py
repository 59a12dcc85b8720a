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
    PLAYBOOK_VARIABLES,
    RESULTS,
    RoleVariables,
    refused_of_playbook,
)
from ansible_collections.compute_index.supply.plugins.module_utils._text import nearest, plain_name
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[5]
SPECS = yaml.safe_load((ROOT / "roles" / "provision" / "meta" / "argument_specs.yml").read_text())["argument_specs"]
NAMES = RoleVariables(SPECS["main"]["options"])


@pytest.mark.parametrize(
    ("playbook", "name", "meant"),
    [
        ("order_", "order_max_total_price_per_hou", "order_max_total_price_per_hour"),
        ("order_", "odrer_gpu_type", "order_gpu_type"),
        ("order_", "order_max_total", "reserves"),
        ("order_", "order_hosts", "reserves"),
        ("order_", "order_id", "reserves"),
        ("order_", "order_", "reserves"),
        ("order_", "ORDER_GPU", "reserves"),
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
        ("audit_", "audit_fail_on_orphan", "audit_fail_on_orphans"),
        ("audit_", "order_max_total", ""),
        ("spend_", "spend_sinc", "spend_since"),
        ("spend_", "spend_csv", ""),
        ("reap_", "reap_by_names", "reap_by_name"),
        ("probe_", "probe_max_use", "probe_max_usd"),
        ("extend_", "extend_host", "extend_hosts"),
        ("decommission_", "decommission_coun", "decommission_count"),
        ("decommission_", "extend_host", ""),
    ],
)
def test_a_name_that_means_another_one_is_told(playbook: str, name: str, meant: str) -> None:
    told = refused_of_playbook([name, *PLAYBOOK_VARIABLES], playbook)
    assert len(told) == bool(meant)
    assert all(line.startswith(f"{name} is not a variable of this collection") and meant in line for line in told)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("order_ticket", ""), ("order_", ""), ("order_gpu_typ", "order_gpu_type"), ("Order_Lease", "order_lease")],
)
def test_the_inventorys_own_variables_are_refused_only_if_they_are_misspelled(name: str, meant: str) -> None:
    refusal = " ".join(refused_of_playbook([name], "order_", [name]))
    assert f"Did you mean {meant}?" in refusal if meant else refusal == ""


def test_the_names_are_those_of_the_guide_of_the_role_and_of_the_surveys() -> None:
    guide = (ROOT / "docs" / "playbooks.md").read_text()
    cells = [row.partition("|")[2].partition("|")[0] for row in guide.splitlines() if row.startswith("| `")]
    role = yaml.safe_load((ROOT / "roles" / "decommission" / "meta" / "argument_specs.yml").read_text())
    surveys = (ROOT / "playbooks" / "vars" / "awx" / "surveys.yml").read_text()
    names = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    names |= set(role["argument_specs"]["main"]["options"]) | set(re.findall(r"variable: (\w+)", surveys))
    own = {name for name in names if not name.startswith(("awx_", "provision_"))}
    assert own - {"plan", "quote_file"} == PLAYBOOK_VARIABLES


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
def test_no_variable_within_two_slips_of_the_roles_is_ignored(name: str, slips: list[tuple[str, int, str]]) -> None:
    """Wherever the two errors are, even in the prefix of the role's names."""
    slip = name
    for each in slips:
        slip = edited(slip, *each)
    found = NAMES.refusals([slip])
    is_own = slip.startswith("provision__") and plain_name(slip) not in NAMES.variables
    if slip in NAMES.variables | RESULTS or is_own:
        assert not found
    elif nearest(slip, sorted(NAMES.variables)):  # one letter that slips twice may be further
        assert len(found) == 1 and found[0].startswith(f"{slip} is not a variable of this collection")


@pytest.mark.parametrize(
    ("slip", "words"),
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
        ("PROVISION_MAX_USD", "reserves names that begin with provision_"),
        ("provision_bill", "reserves names that begin with provision_"),
        ("provision_dry_run", "reserves names that begin with provision_"),
        ("provision_team", "reserves names that begin with provision_"),
        ("Provision_Site", "reserves names that begin with provision_"),
        ("provision_price_", "reserves names that begin with provision_"),
    ],
)
def test_a_slip_in_the_beginning_that_all_names_share(slip: str, words: str) -> None:
    (found,) = NAMES.refusals([slip])
    assert words in found


@pytest.mark.parametrize(
    "name",
    [
        *("provisioned_teams", "provisioner_name", "provisonal_price", "provisionmax_price", "provison_max_usd"),
        *("vision_wait", "version_price", "decision_files", "commission_price", "precision", "supervision_lease"),
        *("provider_max_price", "provide_lease", "permission_files", "division_max_bill", "prometheus_version"),
        *("provision__declared", "ansible_provision", "42", "provision_waiting"),
    ],
)
def test_other_peoples_names_are_theirs_whatever_they_look_like(name: str) -> None:
    assert NAMES.refusals([name]) == []


def test_a_result_of_the_role_is_no_extra_variable() -> None:
    """The registry may set it on a host, but as an extra variable it would have no effect."""
    names = ["provision_plan", "provision_price_per_hour", "provision_ends_at", "provision_groups"]
    told = NAMES.refusals(names, [*names, "provision_hosts", "provision_group", "provision_lease"])
    assert told == [f"{name} is a result of the role: leave it out." for name in sorted(names)]


@pytest.mark.parametrize(
    "slips",
    [
        NAMES.refusals,
        *(partial(refused_of_playbook, prefix=name) for name in ("order_", "reap_", "decommission_")),
    ],
)
def test_words_that_ansible_leaves_out_are_told(slips: Callable[[list[str]], list[str]]) -> None:
    """For example those of ``-e "provision_budget= 9"``, which sets no budget."""
    left = sorted(parse_kv("provision_budget= 9"))
    assert left == ["_raw_params", "provision_budget"]
    (told,) = slips(left)
    assert "Words of -e stand outside quotes" in told and "no space after an equals sign" in told
    assert slips(["provision_budget"]) == []


def test_names_of_other_roles_and_of_ansible_are_no_slips() -> None:
    roles = [path for path in (ROOT / "roles").iterdir() if path.name != "provision"]
    names = {each for role in roles for each in yaml.safe_load((role / "defaults" / "main.yml").read_text())}
    magic = {"ansible_play_hosts_all", "groups", "hostvars", "inventory_hostname", "play_hosts", "role_path", "vars"}
    assert NAMES.refusals(names | PLAYBOOK_VARIABLES | magic | RESULTS | NAMES.variables) == []


def test_names_cost_little_for_each_host() -> None:
    """For 500 hosts with 200 variables each, in the single process that declares for all hosts."""
    names = [
        f"{word}_{number}" for number in range(25) for word in ("ansible", "my", "app", "disk", "net", "gpu", "os")
    ]
    names += [f"provision_extra_{number}" for number in range(25)]
    role = RoleVariables(NAMES.variables)
    begin = time.process_time()
    for _host in range(500):
        assert len(role.refusals(names)) == 25
    assert time.process_time() - begin < 2.0  # it takes a tenth of that


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("provision_onfailure", "provision_on_failure"),
        ("provision_on_failrue", "provision_on_failure"),
        ("provision_max_price_perhour", "provision_max_price_per_hour"),
        ("provision_Max_price_per_hour", "provision_max_price_per_hour"),
        ("provision_max_price_per_hours", "provision_max_price_per_hour"),
        ("provision_specs", "provision_spec"),
        ("provision_all_or_nothng", "provision_all_or_nothing"),
        ("provision_adopts", "provision_adopt"),
        ("provision_ofer_ids", "provision_offer_id"),
    ],
)
def test_a_mistyped_name_is_no_variable_at_all(name: str, meant: str) -> None:
    assert f"{name} is not a variable of this collection. Did you mean {meant}?" in " ".join(NAMES.refusals([name]))


def test_the_roles_own_names_are_no_slips() -> None:
    assert NAMES.refusals(NAMES.variables | RESULTS) == []


def test_what_an_entry_says_is_no_slip() -> None:
    """Ansible reads entries in files as variables of the host."""
    asked: set[str] = set()

    class Entry(dict[str, Any]):
        def get(self, name: str, default: Any = None) -> Any:
            asked.add(name)
            return default

    read_entry(Entry(known=True))
    ours = {name for name in asked if name.startswith("provision_")}
    assert len(ours) > 25 and ours - {HELD_BY, BOUGHT_BY} <= NAMES.variables | RESULTS, ours


def test_a_variable_is_not_given_by_the_role_too() -> None:
    assert not NAMES.variables & RESULTS


def test_what_the_role_gives_to_hosts_is_known() -> None:
    given_names = set()
    for file in (ROOT / "roles" / "provision" / "tasks").glob("*.yml"):
        for task in yaml.safe_load(file.read_text()):
            given_names |= set(task.get("ansible.builtin.set_fact") or {})
    public = {name for name in given_names if name.startswith("provision_") and not name.startswith("provision__")}
    assert public, "the role sets facts"
    assert public <= RESULTS
