# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Orders by extra variables and surveys."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.order import (
    ORDER_GROUP,
    OrderedHosts,
    answered,
    empty_limits,
    group_sizes,
    host_names_of,
    is_short_range,
    misplaced_order,
    misspelled_group,
    new_order_group,
    order_group_of,
    ordered_hosts,
    published_hosts,
    read_host_names,
    role_variables_of,
    sliced_template,
    why_ambiguous,
    why_misplaced,
    why_no_hosts,
    why_order_ignored,
    with_order_names,
    without_order_groups,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import Folder, SharedProject
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import offer_id

X, Y = offer_id(1), offer_id(2)
H100 = {"gpu_type": "H100", "gpu_count": 1, "contract_type": "ondemand"}


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, []),
        (3, ["gpu-1", "gpu-2", "gpu-3"]),
        (" 2 ", ["gpu-1", "gpu-2"]),
        ("a, b.c ,,d_e-1", ["a", "b.c", "d_e-1"]),
        ("a\nb,\r\n c\n", ["a", "b", "c"]),
        (["a", " b "], ["a", "b"]),
        (["101", "102"], ["101", "102"]),
        ({"a": {}, "7": {}}, ["a", "7"]),
    ],
)
def test_host_names_of_names_and_numbers(value: Any, names: list[str]) -> None:
    assert host_names_of(value, "gpu") == names


@pytest.mark.parametrize(
    "value",
    [
        *("a b", "-a", "{{ x }}", ["a", "b;c"], "a/b", "ü", -1, "a\tb", 0, "0", "00", "", " ", ",", "\n", []),
        *("a" * 254, "1.5", " 2. ", "3,", "1,2", "10.0.0.7", "1000000", 1000000),  # too long, and mistyped numbers
        *(True, 1.5, [True], [1.5], [["gpu-1"]], [None], {1.5: {}}),
    ],
)
def test_host_names_of_rejects_other_values(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^provision_hosts(=| must be )"):
        host_names_of(value, "gpu")


@pytest.mark.parametrize(
    ("value", "names"), [(None, []), (7, ["7"]), ("a", ["a"]), (["a", 7], ["a", "7"]), (("a",), ["a"])]
)
def test_read_host_names_returns_texts(value: Any, names: list[str]) -> None:
    assert read_host_names("provision_hosts", value) == names


def test_published_hosts_have_addresses_and_ids() -> None:
    artifact = {
        "a": {"ansible_host": "h", "ansible_port": 22, "ansible_user": "root", "resource_ids": ["r"], "price": 1},
        "no address": {"resource_ids": ["r"]},
        "odd": "text",
    }
    address = {"ansible_host": "h", "ansible_port": 22, "ansible_user": "root", "provision_resource_ids": ["r"]}
    assert published_hosts(artifact) == {"a": address}
    assert published_hosts("a, b") == published_hosts(3) == published_hosts(None) == {}


@pytest.mark.parametrize(
    ("answers", "variables"),
    [
        ({}, {}),
        ({"order_gpu_type": "any"}, {}),
        ({"order_gpu_type": " H100 "}, {"provision_spec": {"compute": H100}}),
        ({"order_gpu_type": "H100", "order_contract_type": ""}, {"provision_spec": {"compute": H100}}),
        ({"order_gpu_type": "H100", "order_region": "EU"}, {"provision_spec": {"region": "EU", "compute": H100}}),
        (
            {"order_gpu_type": "H100", "order_contract_type": "spot"},
            {"provision_spec": {"compute": {**H100, "contract_type": "spot"}}},
        ),
        (
            {"order_gpu_type": "H100", "order_contract_type": "any", "order_gpu_count": 4},
            {"provision_spec": {"compute": {**H100, "gpu_count": 4, "contract_type": "any"}}},
        ),
        ({"order_max_price_per_hour": 0}, {"provision_max_price_per_hour": "0"}),
        (
            {"order_max_price_per_hour": "2.5", "order_max_total_price_per_hour": ""},
            {"provision_max_price_per_hour": "2.5"},
        ),
        ({"order_max_price_per_hour": None, "order_max_total_price_per_hour": "none"}, {}),
        # These texts count as answers; the plan refuses them.
        ({"order_lease": "[]", "order_max_bill": "{}"}, {"provision_lease": "[]", "provision_max_bill": "{}"}),
        ({"order_max_price_per_hour": 3, "order_names": "2"}, {"provision_max_price_per_hour": "3"}),
        # Of two ceilings, the lower one counts.
        ({"order_max_price_per_hour": 3, "provision_max_price_per_hour": 2}, {}),
        ({"order_max_price_per_hour": "unlimited", "provision_max_price_per_hour": 2}, {}),
        ({"order_max_price_per_hour": 3, "provision_max_price_per_hour": "{{ mine }}"}, {}),
        ({"order_lease": "3d", "provision_lease": " 3d"}, {}),
        ({"order_max_price_per_hour": 3, "provision_max_price_per_hour": "9.5"}, {"provision_max_price_per_hour": "3"}),
        ({"order_max_bill": "30", "provision_max_bill": "unlimited"}, {"provision_max_bill": "30"}),
        ({"order_max_bill": "30", "provision_max_bill": ""}, {"provision_max_bill": "30"}),  # a survey's empty answer
        ({"order_adopt": "yes"}, {"provision_adopt": "yes"}),
        ({"order_adopt": True}, {"provision_adopt": "True"}),
        ({"order_adopt": "no"}, {}),  # the inventory decides
    ],
)
def test_role_variables_of_answers(answers: dict[str, Any], variables: dict[str, Any]) -> None:
    assert role_variables_of(answers) == variables


@pytest.mark.parametrize(
    ("extra", "error"),
    [
        ({"order_region": "US"}, "order_region must come with order_gpu_type"),
        ({"order_gpu_count": "8", "order_gpu_type": "any"}, "order_gpu_count must come with"),
        ({"order_contract_type": "any", "order_region": "EU"}, "order_contract_type, order_region must come with"),
        ({"order_gpu_count": 8, "provision_spec": {}}, "order_gpu_count must come with"),
        ({"order_gpu_count": "1", "order_contract_type": "ondemand", "order_region": "any", "order_lease": "8h"}, ""),
        ({"order_gpu_count": 8, "order_gpu_type": "L4"}, ""),
        ({"order_gpu_count": [8]}, "must be text or a number"),
        ({"order_max_bill": True}, "order_max_bill must be text or a number"),
        ({"order_max_price_per_hour": True, "order_names": ["a"]}, "^order_max_price_per_hour must be text"),
        ({"order_lease": "8h", "order_names": ["a"]}, ""),
        # The role's own names
        ({"order_lease": "8h", "provision_lease": "3d"}, "^order_lease and provision_lease have different values"),
        ({"order_lease": "8h", "provision_lease": ""}, ""),  # a survey's empty answer
        ({"order_lease": "", "provision_lease": "8h"}, ""),
        ({"order_adopt": "yes", "provision_adopt": False}, "order_adopt and provision_adopt have different values"),
        ({"order_adopt": "no", "provision_adopt": True}, ""),
        ({"order_gpu_type": "L4", "provision_spec": {}}, "order_gpu_type and provision_spec have different values"),
        ({"order_gpu_type": "any", "provision_spec": {"compute": {"gpu_type": "L4"}}}, ""),
        ({"order_gpu_type": "L4", "order_gpu_count": "two"}, "order_gpu_count must be a whole number"),
    ],
)
def test_contradictory_answers_are_refused(extra: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error) if error else nullcontext():
        role_variables_of(extra)


@pytest.mark.parametrize("name", ["all", "localhost", "Ungrouped", "supply", "gpu", "true", "None"])
def test_reserved_name_cannot_name_a_machine(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a machine"):
        host_names_of(f"gpu-1,{name}", "gpu")


@pytest.mark.parametrize(
    ("template", "workflow", "sliced"),
    [
        ("GPU provision", "GPU provision", "GPU provision"),
        ("GPU provision", "GPU machines", ""),
        ("T", "", ""),
        ("", "", ""),
        (None, None, ""),
        ("None", None, ""),
    ],
)
def test_sliced_template_has_the_name_of_its_workflow(template: str | None, workflow: str | None, sliced: str) -> None:
    assert sliced_template({"awx_job_template_name": template, "awx_workflow_job_name": workflow}) == sliced


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"order_max_bill": 3}, "order_max_bill"),
        ({}, "provision_max_bill"),
        ({"order_max_bill": " ", "order_lease": "1h"}, "provision_max_bill"),
        ({"order_max_bill": "4", "provision_max_bill": 3}, "provision_max_bill"),
        ({"order_max_bill": "4", "provision_max_bill": 5}, "order_max_bill"),
    ],
)
def test_with_order_names_renames_only_in_texts_for_people(extra: dict[str, Any], named: str) -> None:
    text = "provision_max_bill, provision_max_bills, xprovision_max_bill"
    data = {"name": text, "path": f"/a/{text}", "price": 1.0}
    result = {"plans": [{"refusal": text, "offer": data, "attempts": [{"msg": text}]}], "refusals": {text: text}}
    renamed = f"{named}, provision_max_bills, xprovision_max_bill"
    assert with_order_names(result, extra) == {
        "plans": [{"refusal": renamed, "offer": data, "attempts": [{"msg": renamed}]}],
        "refusals": {text: renamed},
    }


PUBLISHED = {"offer_id": X, "ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({"provision_hosts": "a,b"}, ["a", "b"]),
        ({"order_names": "2"}, ["gpu-1", "gpu-2"]),
        ({"provision_hosts": ["a"], "order_names": ["a"]}, ["a"]),
        (answered({"provision_hosts": "", "order_names": "b"}), ["b"]),
        (answered({"provision_hosts": {}, "order_names": ""}), []),  # an unanswered survey
        (answered({"provision_hosts": None, "order_names": None}), []),
        ({"provision_hosts": {"a": PUBLISHED}}, ["a"]),
        # An earlier job of the workflow has published hosts, and this one orders others.
        ({"provision_hosts": {"a": PUBLISHED}, "order_names": "b"}, ["b"]),
        ({"provision_hosts": {"a": PUBLISHED, "c": PUBLISHED}, "order_names": "a, b"}, ["a", "b"]),
        ({"plan": {"hosts": {"a": {}, "b": {}}}}, ["a", "b"]),
        ({"plan": {"hosts": {"a": {}, "b": {}}}, "order_names": "b"}, ["b"]),
        ({"plan": "no plan"}, []),
        ({"plan": {"hosts": "a"}}, []),
        ({"plan": {"hosts": ["a"]}}, []),
        ({"provision_hosts": "a,b,a"}, ["a", "b"]),
        ({}, []),
    ],
)
def test_ordered_hosts_by_name_number_artifact_or_plan(variables: dict[str, Any], names: list[str]) -> None:
    order = ordered_hosts(variables, "gpu", {"gpu": 1})
    assert list(order.hosts) == names
    is_artifact = isinstance(variables.get("provision_hosts"), dict)
    assert [each["name"] for each in order.reached] == (["a"] if is_artifact and "a" in names else [])
    assert order.left_out == ()


@pytest.mark.parametrize(
    "variable",
    ["provision_lease", "provision_budget", "provision_max_bill", "order_max_price_per_hour", "provision_idle_after"],
)
def test_empty_limit_is_refused(variable: str) -> None:
    """For example -e provision_lease=$UNSET, or null in a file: it would remove the inventory's lease."""
    for empty in ("", " ", None):
        (refusal,) = empty_limits({variable: empty, "order_region": "", "provision_cluster_name": ""})
        assert refusal.startswith(f"{variable} must not be empty")
    assert not any(empty_limits({variable: value}) for value in ("8h", "unlimited", "none", 0))
    assert not empty_limits({f"my_{variable}": "", "max_price": None}), "variables of the user"


@pytest.mark.parametrize(("named", "hosts"), [((), ["b", "c"]), (("a",), ["a"]), (("b",), ["b"])])
def test_registries_are_searched_for_named_hosts_or_else_for_all(named: tuple[str, ...], hosts: list[str]) -> None:
    assert list(OrderedHosts(named).to_find([{"host": "b"}, {"host": "c"}])) == hosts


def test_published_addresses_of_a_shared_registry_are_left_out() -> None:
    rows = tuple({"name": name, "ansible_host": "192.0.2.1"} for name in ("a", "b", "c"))
    places = {"a": SharedProject("red"), "b": Folder("/inventory/host_vars")}
    assert OrderedHosts(("a", "b", "c"), rows).published(places) == [*rows[1:]]


@pytest.mark.parametrize("variables", [{}, {"provision_hosts": {"a": {}}}])
def test_slice_may_order_its_own_group_or_published_hosts(variables: dict[str, Any]) -> None:
    slice_of = {"awx_job_template_name": "job", "awx_workflow_job_name": "job"}
    assert ordered_hosts({**slice_of, **variables}, "gpu", {"gpu": 2}).hosts == tuple(*variables.values())


@pytest.mark.parametrize("variable", ["provision_hosts", "order_names"])
@pytest.mark.parametrize("empty", ["", " ", ",", [], {}, None], ids=str)
def test_empty_names_do_not_mean_the_whole_group(variable: str, empty: Any) -> None:
    """For example -e provision_hosts=$UNSET, a list that a program has emptied, or null in a file."""
    with pytest.raises(ValueError, match=rf"^{variable}=.* names no host. For all of 'gpu', leave it out."):
        ordered_hosts({variable: empty}, "gpu", {"gpu": 3})


@pytest.mark.parametrize(
    ("variables", "error"),
    [
        ({}, "The group 'gpu' has no hosts"),
        ({"provision_hosts": "all"}, "cannot name a machine"),
        ({"provision_hosts": "a", "order_names": "b"}, "provision_hosts and order_names name different hosts"),
        ({"provision_hosts": "a", "awx_job_template_name": "job", "awx_workflow_job_name": "job"}, "slice"),
    ],
)
def test_order_without_hosts_or_in_a_slice_is_refused(variables: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        ordered_hosts(variables, "gpu", {})


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 50), st.floats(), st.text("a1-,. {", max_size=8)),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text("ab1", max_size=3), each, max_size=3),
)


@pytest.mark.parametrize("variable", ["provision_hosts", "order_names"])
@given(value=ANYTHING)
def test_any_value_becomes_names_or_an_error_with_the_variable(variable: str, value: Any) -> None:
    try:
        names = ordered_hosts({variable: value}, "gpu", {}).hosts
    except ValueError as error:
        assert variable in str(error) or "cannot name a machine" in str(error) or "no host in the group" in str(error)
        return
    assert names and all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) for name in names)
    parts = value if isinstance(value, (list, dict)) else [value]
    assert all(isinstance(part, (str, int)) and not isinstance(part, bool) for part in parts)


@given(st.sampled_from(["order_gpu_type", "order_gpu_count", "order_max_price_per_hour", "order_lease"]), ANYTHING)
def test_any_answer_is_read_or_refused_with_its_name(name: str, value: Any) -> None:
    try:
        role_variables_of({"order_gpu_type": "L4", name: value})
    except ValueError as error:
        assert name in str(error)
    else:
        assert not isinstance(value, (bool, list, dict))


NAMES = st.lists(st.sampled_from(["a", "b", "gpu-1", "gpu-2", "web"]), max_size=4)


@given(NAMES, st.none() | NAMES, st.integers(0, 2))
def test_order_covers_named_hosts_within_the_limit(names: list[str], limited: list[str] | None, members: int) -> None:
    covered = [name for name in dict.fromkeys(names) if limited is None or name in limited]
    try:
        order = ordered_hosts({"provision_hosts": names}, "gpu", {"gpu": members}, limited)
    except ValueError as error:
        assert not covered
        assert all(name in str(error) for name in names)
    else:
        assert list(order.hosts) == covered
        assert {*order.hosts, *order.left_out} == {*names}


@pytest.mark.parametrize(
    ("sizes", "advice"),
    [
        ({}, "Add some to the inventory, or give provision_hosts"),
        ({"all": 2, "train": 2, "gpu": 0}, "hosts in train: add -e provision_group=..., or give provision_hosts"),
        ({"all": 9, "a": 1, "b": 3}, "hosts in a, b: add"),
        ({"supply": 3, "localhost": 1, f"{ORDER_GROUP}12ab": 1}, "Add some to the inventory"),
    ],
)
def test_why_no_hosts_names_groups_with_hosts(sizes: dict[str, int], advice: str) -> None:
    refusal = why_no_hosts("gpu", sizes)
    assert refusal.startswith("The group 'gpu' has no hosts. ") and advice in refusal
    with pytest.raises(ValueError, match=re.escape(advice)):
        ordered_hosts({}, "gpu", sizes)


def test_why_ambiguous_if_a_group_and_a_host_share_a_name() -> None:
    groups = {"all": ["gpu", "gpu-1"], "gpu": ["gpu-1"], "supply": ["gpu", "gpu-1"]}
    assert "'gpu' is both a group and a host" in why_ambiguous("gpu", groups)
    assert why_ambiguous("gpu", {"all": ["gpu", "gpu-1"], "gpu": ["gpu", "gpu-1"]})
    for name in ("gpu-1", "supply", "all", "none", ""):
        assert why_ambiguous(name, groups) == ""
    assert why_ambiguous("gpu", {"all": ["gpu"], "gpu": ["gpu"]}) == "", "the group has only this host"


@pytest.mark.parametrize(
    ("group", "similar"),
    [("gpus", "gpu"), ("gup", "gpu"), ("trian", "train"), ("gpu", ""), ("train", ""), ("web", ""), ("alle", "")],
)
def test_given_group_similar_to_one_of_the_inventory_is_refused(group: str, similar: str) -> None:
    refusal = misspelled_group(group, {"all": ["a"], "gpu": [], "train": ["a"], "supply": ["a"]}, ["a"], is_given=True)
    assert bool(refusal) is bool(similar)
    assert not similar or f"Did you mean {similar}" in refusal


@pytest.mark.parametrize(
    ("name", "is_similar"),
    [("gpus", True), ("GPU", True), ("GPUs", True), ("gpu", False), ("cpu", False), ("app", False), ("gpu_l4", False)],
)
def test_default_group_resembles_only_its_plural_and_capitals(name: str, is_similar: bool) -> None:
    groups = {"all": ["a", "b"], name: ["a", "b"], "ungrouped": []}
    for new in ([], ["c"], ["a", "gpu-1"]):
        refusal = misspelled_group("gpu", groups, new, is_given=False)
        assert (f"Did you mean {name}? Then give -e provision_group={name}; to use gpu, add a" in refusal) is is_similar
    assert not misspelled_group("gpu", groups, ["b", "a"], is_given=False), "known hosts keep their own ceilings"
    assert not misspelled_group("gpu", {**groups, "gpu": []}, ["c"], is_given=False)


def test_group_sizes_leave_out_localhost_and_runs() -> None:
    assert group_sizes({"all": ["localhost", "a"], "ungrouped": ["localhost"]}) == {"all": 1, "ungrouped": 0}
    groups = {"gpu": ["a", "run-b"], "cpu": ["run-b"], "supply_run": ["run-b"], f"{ORDER_GROUP}12345678": ["run-b"]}
    assert list(group_sizes(groups).values()) == [1, 0, 1, 1]
    assert list(group_sizes(groups, "run-b").values()) == [2, 1, 1, 1]
    with pytest.raises(ValueError, match=r"no hosts except those of runs\. The inventory has hosts in gpu: add"):
        ordered_hosts({}, "cpu", group_sizes(groups))


@pytest.mark.parametrize(
    ("extra", "ignored"),
    [
        ({}, ""),
        ({"provision_hosts": 2}, "provision_hosts"),
        ({"provision_hosts": "2"}, "provision_hosts"),
        ({"provision_hosts": "gpu-2, gpu-3"}, "provision_hosts"),
        ({"provision_hosts": ["gpu-2"]}, "provision_hosts"),
        ({"provision_hosts": "gpu-2, gpu-1"}, ""),  # as in hosts: "{{ provision_hosts }}"
        ({"provision_hosts": ["gpu-1"]}, ""),
        ({"order_names": "gpu-2"}, "order_names"),
        ({"provision_hosts": "none"}, "provision_hosts"),
        ({"order_max_price_per_hour": 1, "order_gpu_type": "L4"}, "order_gpu_type, order_max_price_per_hour"),
        ({"plan": "plan.json"}, "plan"),
        ({"quote": {"hosts": {"gpu-1": {}}}}, "quote"),
        # An unanswered survey, and the user's own variables
        ({"provision_hosts": "", "order_lease": "", "order_region": "any", "plan": {}}, ""),
        ({"order_number": 7, "provision_spec": {"compute": {"gpu_type": "L4"}}}, ""),
        # An earlier job of the workflow has carried out the order.
        ({"provision_hosts": {"gpu-1": {}}, "plan": {"hosts": {"gpu-1": {}}}, "order_lease": "8h"}, ""),
    ],
)
def test_own_play_refuses_an_order(extra: dict[str, Any], ignored: str) -> None:
    refusal = why_order_ignored("gpu-1", ["gpu"], extra)
    assert refusal.startswith(f"Only the collection's playbooks take {ignored}." if ignored else "")
    assert bool(refusal) == bool(ignored)
    assert not ignored or ("--limit" in refusal and "compute_index.supply.provision" in refusal)
    assert why_order_ignored("gpu-1", ["gpu", f"{ORDER_GROUP}12ab"], extra) == "", "carried out by an earlier play"


@pytest.mark.parametrize(
    ("variables", "extra_variables", "misplaced"),
    [
        ({"provision_hosts": "gpu-1", "order_lease": "8h"}, {}, "order_lease, provision_hosts"),
        ({"plan": "plan.json"}, {}, "plan"),
        ({"order_names": "no", "order_adopt": "no"}, {}, "order_names"),
        ({"plan": {"hosts": {}}}, {}, "plan"),
        # Extra variables take effect. An inventory may have a variable "plan" of its own.
        ({"provision_hosts": "gpu-1", "plan": "plan.json"}, {"provision_hosts": 2, "plan": "other.json"}, ""),
        ({"plan": "business", "quote": "Q-17", "order_number": 7, "order_region": ""}, {}, ""),
    ],
)
def test_misplaced_order_is_refused(variables: dict[str, Any], extra_variables: dict[str, Any], misplaced: str) -> None:
    refusal = why_misplaced(misplaced_order(variables, extra_variables))
    assert f"so {misplaced} would have no effect" in refusal if misplaced else refusal == ""


@pytest.mark.parametrize(
    ("groups", "group"),
    [
        ([], "gpu"),
        (["all", "gpu", f"{ORDER_GROUP}12ab"], "gpu"),
        ([f"{ORDER_GROUP}12345678", "gpu", f"{ORDER_GROUP}9abcdef0", "all"], f"{ORDER_GROUP}9abcdef0"),
    ],
)
def test_order_group_of_is_the_newest_one(groups: list[str], group: str) -> None:
    assert order_group_of(groups, "gpu") == group


@pytest.mark.parametrize(
    ("part", "is_range"),
    [
        *(("gpu-[1:500]", True), ("gpu-[001:9999]", True), ("gpu-[a:c]", True)),
        *(("gpu-[1:10000]", False), ("a[1:2]b[1:2]", False), ("[a:z][a:z][a:z]", False)),
    ],
)
def test_is_short_range_rejects_long_ranges(part: str, is_range: bool) -> None:
    assert is_short_range(part) is is_range


@pytest.mark.parametrize("number", [0, 0xAB, 2**32 - 1])
def test_new_order_group_is_recognized(number: int) -> None:
    assert order_group_of(["gpu", new_order_group(number), "all"], "gpu") == new_order_group(number)
    assert without_order_groups([new_order_group(number), "gpu"]) == ["gpu"]
