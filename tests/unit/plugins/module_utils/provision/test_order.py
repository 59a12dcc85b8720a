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
    answered,
    check_range,
    empty_limits,
    group_sizes,
    host_names_of,
    misplaced_order,
    misspelled_group,
    new_order_group,
    order_group_of,
    ordered_hosts,
    published_hosts,
    role_variables_of,
    sliced_template,
    why_ambiguous,
    why_misplaced,
    why_no_hosts,
    why_order_ignored,
    with_order_names,
    without_order_groups,
)
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import offer_id

X, Y = offer_id(1), offer_id(2)
H100 = {"gpu_type": "H100", "gpu_count": 1, "contract_type": "ondemand"}


@pytest.mark.parametrize(
    ("asked", "found"),
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
def test_names(asked: Any, found: list[str]) -> None:
    assert host_names_of(asked, "gpu") == found


@pytest.mark.parametrize(
    "asked",
    [
        *("a b", "-a", "{{ x }}", ["a", "b;c"], "a/b", "ü", -1, "a\tb", 0, "0", "00", "", " ", ",", "\n", []),
        *("1.5", " 2. ", "3,", "1,2", "10.0.0.7", "1000000", 1000000),  # mistyped numbers
    ],
)
def test_what_is_no_name(asked: Any) -> None:
    with pytest.raises(ValueError, match=r"^provision_hosts(=| must be )"):
        host_names_of(asked, "gpu")


def test_machines_of_an_earlier_job() -> None:
    made = {
        "a": {"ansible_host": "h", "ansible_port": 22, "ansible_user": "root", "resource_ids": ["r"], "price": 1},
        "no address": {"resource_ids": ["r"]},
        "odd": "text",
    }
    reached = {"ansible_host": "h", "ansible_port": 22, "ansible_user": "root", "provision_resource_ids": ["r"]}
    assert published_hosts(made) == {"a": reached}
    assert published_hosts("a, b") == published_hosts(3) == published_hosts(None) == {}


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ({}, {}),
        ({"order_gpu_type": "any"}, {}),
        ({"order_gpu_type": " H100 "}, {"provision_spec": {"compute": H100}}),
        ({"order_gpu_type": "H100", "order_contract_type": ""}, {"provision_spec": {"compute": H100}}),
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
        # A text says something, and the plan refuses it.
        ({"order_lease": "[]", "order_max_bill": "{}"}, {"provision_lease": "[]", "provision_max_bill": "{}"}),
    ],
)
def test_answers(answers: dict[str, Any], found: dict[str, Any]) -> None:
    assert role_variables_of(answers) == found


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        ({}, {}),
        ({"order_max_price_per_hour": 3, "order_names": "2"}, {"provision_max_price_per_hour": "3"}),
        ({"order_max_price_per_hour": 3, "provision_max_price_per_hour": 2}, {}),
    ],
)
def test_extra_variables_of_the_roles_own_names_beat_an_order(extra: dict[str, Any], found: dict[str, Any]) -> None:
    assert role_variables_of(extra) == found


@pytest.mark.parametrize(
    ("extra", "unused"),
    [
        ({"order_region": "US"}, "order_region must come with order_gpu_type"),
        ({"order_gpu_count": "8", "order_gpu_type": "any"}, "order_gpu_count must come with"),
        ({"order_contract_type": "any", "order_region": "EU"}, "order_contract_type, order_region must come with"),
        ({"order_gpu_count": 8, "provision_spec": {}}, "order_gpu_count must come with"),
        ({"order_gpu_count": "1", "order_contract_type": "ondemand", "order_region": "any", "order_lease": "8h"}, ""),
        ({"order_gpu_count": 8, "order_gpu_type": "L4"}, ""),
        ({"order_gpu_count": [8]}, "must be a text or a number"),
        ({"order_gpu_type": "L4", "order_gpu_count": "two"}, "order_gpu_count must be a whole number"),
    ],
)
def test_no_order_describes_a_machine_in_vain(extra: dict[str, Any], unused: str) -> None:
    if not unused:
        role_variables_of(extra)
        return
    with pytest.raises(ValueError, match=unused):
        role_variables_of(extra)


@pytest.mark.parametrize("name", ["all", "localhost", "Ungrouped", "supply", "gpu"])
def test_a_name_that_means_something_else(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a machine"):
        host_names_of(f"gpu-1,{name}", "gpu")


@pytest.mark.parametrize(
    ("template", "workflow", "found"),
    [
        ("GPU provision", "GPU provision", "GPU provision"),
        ("GPU provision", "GPU machines", ""),
        ("T", "", ""),
        ("", "", ""),
    ],
)
def test_a_slice_is_told_by_the_name_of_its_workflow(template: str, workflow: str, found: str) -> None:
    assert sliced_template({"awx_job_template_name": template, "awx_workflow_job_name": workflow}) == found


@pytest.mark.parametrize(
    ("extra", "word"),
    [
        ({"order_max_bill": 3}, "order_max_bill"),
        ({}, "provision_max_bill"),
        ({"order_max_bill": " ", "order_lease": "1h"}, "provision_max_bill"),
        ({"order_max_bill": "4", "provision_max_bill": 3}, "provision_max_bill"),
    ],
)
def test_what_a_person_reads_has_the_names_of_the_order_and_data_stay_what_they_are(
    extra: dict[str, Any], word: str
) -> None:
    told = "provision_max_bill, provision_max_bills, xprovision_max_bill"
    data = {"name": told, "path": f"/a/{told}", "price": 1.0}
    result = {"plans": [{"refusal": told, "offer": data, "attempts": [{"msg": told}]}], "refusals": {told: told}}
    said = f"{word}, provision_max_bills, xprovision_max_bill"
    assert with_order_names(result, extra) == {
        "plans": [{"refusal": said, "offer": data, "attempts": [{"msg": said}]}],
        "refusals": {told: said},
    }


REACHED = {"offer_id": X, "ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}


@pytest.mark.parametrize(
    ("variables", "added"),
    [
        ({"provision_hosts": "a,b"}, ["a", "b"]),
        ({"order_names": "2"}, ["gpu-1", "gpu-2"]),
        ({"provision_hosts": "a", "order_names": "b"}, ["a"]),
        (answered({"provision_hosts": "", "order_names": "b"}), ["b"]),
        (answered({"provision_hosts": {}, "order_names": ""}), []),  # a survey without an answer
        (answered({"provision_hosts": None, "order_names": None}), []),
        ({"provision_hosts": {"a": REACHED}}, ["a"]),
        # What an earlier job of a workflow has published, beside what this one is asked for
        ({"provision_hosts": {"a": REACHED}, "order_names": "b"}, ["b"]),
        ({"provision_hosts": {"a": REACHED, "c": REACHED}, "order_names": "a, b"}, ["a", "b"]),
        ({"plan": {"hosts": {"a": {}, "b": {}}}}, ["a", "b"]),
        ({"plan": {"hosts": {"a": {}, "b": {}}}, "order_names": "b"}, ["b"]),
        ({"plan": "no plan"}, []),
        ({"provision_hosts": "a,b,a"}, ["a", "b"]),
        ({}, []),
    ],
)
def test_the_hosts_of_an_order(variables: dict[str, Any], added: list[str]) -> None:
    order = ordered_hosts(variables, "gpu", {"gpu": 1})
    assert list(order.hosts) == added
    is_artifact = isinstance(variables.get("provision_hosts"), dict)
    assert [each["name"] for each in order.reached] == (["a"] if is_artifact and "a" in added else [])
    assert order.left_out == ()


@pytest.mark.parametrize(
    "variable",
    ["provision_lease", "provision_budget", "provision_max_bill", "order_max_price_per_hour", "provision_idle_after"],
)
def test_a_limit_that_was_typed_is_not_empty(variable: str) -> None:
    """Such as -e provision_lease=$UNSET, or null in a file: it would remove the inventory's lease."""
    for nothing in ("", " ", None):
        (wrong,) = empty_limits({variable: nothing, "order_region": "", "provision_cluster_name": ""})
        assert wrong.startswith(f"{variable} must not be empty")
    assert not any(empty_limits({variable: value}) for value in ("8h", "unlimited", "none", 0))


@pytest.mark.parametrize("variable", ["provision_hosts", "order_names"])
@pytest.mark.parametrize("nothing", ["", " ", ",", [], {}, None], ids=str)
def test_names_that_are_none_are_not_the_whole_group(variable: str, nothing: Any) -> None:
    """Such as -e provision_hosts=$UNSET, a list that a program has emptied, or null in a file of variables."""
    with pytest.raises(ValueError, match=rf"^{variable}=.* is for no host. For all of 'gpu', leave it out."):
        ordered_hosts({variable: nothing}, "gpu", {"gpu": 3})


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "There is no host in the group 'gpu'"),
        ({"provision_hosts": "all"}, "cannot name a machine"),
        ({"provision_hosts": "a", "awx_job_template_name": "job", "awx_workflow_job_name": "job"}, "slice"),
    ],
)
def test_an_order_for_nothing_is_refused(variables: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ordered_hosts(variables, "gpu", {})


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 50), st.floats(), st.text("a1-,. {", max_size=8)),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text("ab1", max_size=3), each, max_size=3),
)


@pytest.mark.parametrize("variable", ["provision_hosts", "order_names"])
@given(asked=ANYTHING)
def test_whatever_is_asked_for_becomes_names_or_is_told_with_the_variable(variable: str, asked: Any) -> None:
    try:
        found = ordered_hosts({variable: asked}, "gpu", {}).hosts
    except ValueError as error:
        assert variable in str(error) or "cannot name a machine" in str(error) or "no host in the group" in str(error)
        return
    assert found and all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) for name in found)
    given_texts = asked if isinstance(asked, (list, dict)) else [asked]
    assert all(isinstance(each, (str, int)) and not isinstance(each, bool) for each in given_texts)


@pytest.mark.parametrize("asked", [True, 1.5, [True], [1.5], [["gpu-1"]], [None], "true", "None", {1.5: {}}], ids=str)
def test_no_machine_is_called_by_a_slip_of_the_type(asked: Any) -> None:
    with pytest.raises(ValueError, match=r"^provision_hosts must be |cannot name a machine"):
        ordered_hosts({"provision_hosts": asked}, "gpu", {"gpu": 1})


@given(st.sampled_from(["order_gpu_type", "order_gpu_count", "order_max_price_per_hour", "order_lease"]), ANYTHING)
def test_whatever_an_order_says_is_read_or_refused_with_its_name(name: str, value: Any) -> None:
    try:
        role_variables_of({"order_gpu_type": "L4", name: value})
    except ValueError as error:
        assert name in str(error)
    else:
        assert not isinstance(value, (bool, list, dict))


NAMES = st.lists(st.sampled_from(["a", "b", "gpu-1", "gpu-2", "web"]), max_size=4)


@given(NAMES, st.none() | NAMES, st.integers(0, 2))
def test_an_order_covers_what_it_names_within_the_limit(
    asked: list[str], limited: list[str] | None, has_members: int
) -> None:
    wanted = [name for name in dict.fromkeys(asked) if limited is None or name in limited]
    try:
        order = ordered_hosts({"provision_hosts": asked}, "gpu", {"gpu": has_members}, limited)
    except ValueError as error:
        assert not wanted
        assert all(name in str(error) for name in asked)
    else:
        assert list(order.hosts) == wanted
        assert {*order.hosts, *order.left_out} == {*asked}


@pytest.mark.parametrize(
    ("sizes", "instead"),
    [
        ({}, "Add some to the inventory, or give provision_hosts"),
        ({"all": 2, "train": 2, "gpu": 0}, "hosts in train: add -e provision_group=..., or give provision_hosts"),
        ({"all": 9, "a": 1, "b": 3}, "hosts in a, b: add"),
        ({"supply": 3, "localhost": 1, f"{ORDER_GROUP}12ab": 1}, "Add some to the inventory"),
    ],
)
def test_a_play_without_hosts_says_where_the_hosts_are(sizes: dict[str, int], instead: str) -> None:
    refusal = why_no_hosts("gpu", sizes)
    assert refusal.startswith("There is no host in the group 'gpu'. ") and instead in refusal
    with pytest.raises(ValueError, match=re.escape(instead)):
        ordered_hosts({}, "gpu", sizes)


def test_a_group_with_a_hosts_name_is_not_meant_by_it() -> None:
    groups = {"all": ["gpu", "gpu-1"], "gpu": ["gpu-1"], "supply": ["gpu", "gpu-1"]}
    assert "'gpu' names a group and a host" in why_ambiguous("gpu", groups)
    assert why_ambiguous("gpu", {"all": ["gpu", "gpu-1"], "gpu": ["gpu", "gpu-1"]})
    for name in ("gpu-1", "supply", "all", "none", ""):
        assert why_ambiguous(name, groups) == ""
    assert why_ambiguous("gpu", {"all": ["gpu"], "gpu": ["gpu"]}) == "", "both are the same"


@pytest.mark.parametrize(
    ("group", "meant"),
    [("gpus", "gpu"), ("gup", "gpu"), ("trian", "train"), ("gpu", ""), ("train", ""), ("web", ""), ("alle", "")],
)
def test_a_group_that_is_nearly_one_of_the_inventory_is_a_slip(group: str, meant: str) -> None:
    found = misspelled_group(group, {"all": ["a"], "gpu": [], "train": ["a"], "supply": ["a"]}, ["a"], is_given=True)
    assert bool(found) is bool(meant) and f"Did you mean {meant}" in (found or "Did you mean ")


@pytest.mark.parametrize(
    ("name", "is_meant"),
    [("gpus", True), ("GPU", True), ("GPUs", True), ("gpu", False), ("cpu", False), ("app", False), ("gpu_l4", False)],
)
def test_the_usual_group_is_a_slip_only_of_its_plural_and_of_capitals(name: str, is_meant: bool) -> None:
    groups = {"all": ["a", "b"], name: ["a", "b"], "ungrouped": []}
    for new in ([], ["c"], ["a", "gpu-1"]):
        found = misspelled_group("gpu", groups, new, is_given=False)
        assert (f"Did you mean {name}? Then give -e provision_group={name}; to use gpu, add a" in found) is is_meant
    assert not misspelled_group("gpu", groups, ["b", "a"], is_given=False), "they keep their own ceilings"
    assert not misspelled_group("gpu", {**groups, "gpu": []}, ["c"], is_given=False)


def test_this_computer_is_none_of_the_hosts_of_a_group() -> None:
    assert group_sizes({"all": ["localhost", "a"], "ungrouped": ["localhost"]}) == {"all": 1, "ungrouped": 0}


@pytest.mark.parametrize(
    ("extra", "unread"),
    [
        ({}, ""),
        ({"provision_hosts": 2}, "provision_hosts"),
        ({"provision_hosts": "2"}, "provision_hosts"),
        ({"provision_hosts": "gpu-2, gpu-3"}, "provision_hosts"),
        ({"provision_hosts": ["gpu-2"]}, "provision_hosts"),
        ({"provision_hosts": "gpu-2, gpu-1"}, ""),  # what hosts: "{{ provision_hosts }}" makes of it
        ({"provision_hosts": ["gpu-1"]}, ""),
        ({"order_names": "gpu-2"}, "order_names"),
        ({"provision_hosts": "none"}, "provision_hosts"),
        ({"order_max_price_per_hour": 1, "order_gpu_type": "L4"}, "order_gpu_type, order_max_price_per_hour"),
        ({"plan": "plan.json"}, "plan"),
        ({"quote": {"hosts": {"gpu-1": {}}}}, "quote"),
        # A survey that was not answered, and what is the user's own
        ({"provision_hosts": "", "order_lease": "", "order_region": "any", "plan": {}}, ""),
        ({"order_number": 7, "provision_spec": {"compute": {"gpu_type": "L4"}}}, ""),
        # An earlier job of the workflow has carried it out.
        ({"provision_hosts": {"gpu-1": {}}, "plan": {"hosts": {"gpu-1": {}}}, "order_lease": "8h"}, ""),
    ],
)
def test_a_play_of_the_users_own_refuses_an_order(extra: dict[str, Any], unread: str) -> None:
    refusal = why_order_ignored("gpu-1", ["gpu"], extra)
    assert refusal.startswith(f"Only the collection's playbooks take {unread}." if unread else "")
    assert bool(refusal) == bool(unread)
    assert not unread or ("--limit" in refusal and "compute_index.supply.provision" in refusal)
    assert why_order_ignored("gpu-1", ["gpu", f"{ORDER_GROUP}12ab"], extra) == "", "carried out by an earlier play"


@pytest.mark.parametrize(
    ("variables", "extra_variables", "said"),
    [
        ({"provision_hosts": "gpu-1", "order_lease": "8h"}, {}, "order_lease, provision_hosts"),
        ({"plan": "plan.json"}, {}, "plan"),
        ({"order_names": "no", "order_adopt": "no"}, {}, "order_names"),
        ({"plan": {"hosts": {}}}, {}, "plan"),
        # An extra variable is heard. An inventory may have a plan of its own.
        ({"provision_hosts": "gpu-1", "plan": "plan.json"}, {"provision_hosts": 2, "plan": "other.json"}, ""),
        ({"plan": "business", "quote": "Q-17", "order_number": 7, "order_region": ""}, {}, ""),
    ],
)
def test_an_order_that_is_no_extra_variable_is_refused(
    variables: dict[str, Any], extra_variables: dict[str, Any], said: str
) -> None:
    refusal = why_misplaced(misplaced_order(variables, extra_variables))
    assert f"so {said} would have no effect" in refusal if said else refusal == ""


def test_the_group_of_a_run_is_in_no_registry() -> None:
    assert without_order_groups(["gpu", f"{ORDER_GROUP}12ab", "all"]) == ["gpu", "all"]


@pytest.mark.parametrize(
    ("groups", "group"),
    [
        ([], "gpu"),
        (["all", "gpu", f"{ORDER_GROUP}12ab"], "gpu"),
        ([f"{ORDER_GROUP}12345678", "gpu", f"{ORDER_GROUP}9abcdef0", "all"], f"{ORDER_GROUP}9abcdef0"),
    ],
)
def test_plays_are_for_the_newest_group_of_an_order(groups: list[str], group: str) -> None:
    assert order_group_of(groups, "gpu") == group


@pytest.mark.parametrize(
    ("part", "is_range"),
    [
        *(("gpu-1", True), ("gpu-[1:500]", True), ("gpu-[001:9999]", True), ("gpu-[a:c]", True)),
        *(("gpu-[1:10000]", False), ("a[1:2]b[1:2]", False), ("[a:z][a:z][a:z]", False)),
    ],
)
def test_a_range_that_may_be_too_long_is_never_written_out(part: str, is_range: bool) -> None:
    with nullcontext() if is_range else pytest.raises(ValueError, match="Nothing was sent"):
        check_range(part)


def test_who_does_not_take_machines_by_their_names_leaves_it_to_the_inventory() -> None:
    assert role_variables_of({"order_adopt": "yes"}) == {"provision_adopt": "yes"}
    assert role_variables_of({"order_adopt": "no"}) == {}
    assert role_variables_of({"order_adopt": True}) == {"provision_adopt": "True"}


@pytest.mark.parametrize("number", [0, 0xAB, 2**32 - 1])
def test_the_group_that_was_made_for_an_order_is_found(number: int) -> None:
    assert order_group_of(["gpu", new_order_group(number), "all"], "gpu") == new_order_group(number)
    assert without_order_groups([new_order_group(number), "gpu"]) == ["gpu"]
