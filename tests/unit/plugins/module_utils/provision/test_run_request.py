# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The request for a run, and its mistakes."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import (
    run_request,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.run_request import Request
from hypothesis import given
from hypothesis import strategies as st

from run_samples import read_variables


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {"spec": {"compute": {"gpu_type": "H100", "gpu_count": 8}}, "max_bill": 200.0, "seconds": None}),
        ({"run_gpu": "8xH100"}, {"spec": {"compute": {"gpu_type": "H100", "gpu_count": 8}}}),
        ({"run_gpu": "8 H100"}, {"spec": {"compute": {"gpu_type": "H100", "gpu_count": 8}}}),
        ({"run_gpu": "2\u00d7A100 80GB"}, {"spec": {"compute": {"gpu_type": "A100 80GB", "gpu_count": 2}}}),
        ({"run_gpu": "4090 Ti"}, {"spec": {"compute": {"gpu_type": "4090 Ti", "gpu_count": 1}}}),
        ({"run_gpu": "RTX 4090"}, {"spec": {"compute": {"gpu_type": "RTX 4090", "gpu_count": 1}}}),
        ({"run_gpu": None, "run_spec": {"compute": {}}}, {"spec": {"compute": {}}}),
        ({"run_gpu": "", "run_spec": {"compute": {}}}, {"spec": {"compute": {}}}),
        ({"run_time": "8h"}, {"seconds": 28_800.0}),
        ({"run_time": "10m"}, {"seconds": 600.0}),
        ({"run_results": "out, *.csv"}, {"results": ("out", "*.csv")}),
        ({"run_results": ["out", "a b"], "run_exclude": "*.pt"}, {"results": ("out", "a b"), "exclude": ("*.pt",)}),
        ({"run_env": {"A": True, "B": True}}, {"environment": ("A", "B")}),
        ({}, {"environment": (), "results": (), "exclude": ()}),
        ({"run_follow": "no", "run_again": True}, {"follow": False, "again": True}),
        # Without these variables, nothing is bought that no sweep would end, nor for a job that has run.
        ({}, {"unswept": False, "again": False, "by_name": False, "keep": 0.0, "follow": True, "log_delay": 30.0}),
        ({"run_unswept": "true", "run_digest": "a"}, {"unswept": True, "by_name": True, "digest": "a"}),
        ({"run_keep": "2h", "run_log_delay": "0.1s"}, {"keep": 7200.0, "log_delay": 1.0}),
        ({"run_log_delay": "30d"}, {"log_delay": 3600.0}),
    ],
)
def test_request_is_read_from_variables(variables: dict[str, Any], expected: dict[str, Any]) -> None:
    request, mistakes = read_variables(**variables)
    assert not mistakes
    assert {name: getattr(request, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("variables", "remedy"),
    [
        ({"run_name": None}, "-e run_name=train"),
        ({"run_name": "../train"}, "run_name must be a word"),
        ({"run_command": " "}, "run_command must be the command to run"),
        ({"run_gpu": None}, 'run_gpu="8 x H100"'),
        ({"run_spec": {"compute": {}}}, "not both"),
        ({"run_gpu": None, "run_spec": "H100"}, "a mapping"),
        ({"run_gpu": "0 x {{ H100 }}"}, '"8 x H100"'),
        ({"run_max_bill": None}, "run_max_bill=200"),
        ({"run_max_bill": "unlimited"}, "run_max_bill=200"),
        ({"run_max_bill": "3,5"}, "a number, not '3,5': -e run_max_bill=200"),
        ({"run_max_bill": "200 USD"}, "a number, not '200 USD': -e run_max_bill=200"),
        ({"run_max_bill": True}, "a number, not 'True': -e run_max_bill=200"),
        ({"run_max_bill": 0}, "a number, not '0': -e run_max_bill=200"),
        ({"run_command": ["python", "train.py"]}, "run_command must be text"),
        ({"run_command": True}, "run_command must be text"),
        ({"run_setup": {"pip": "install"}, "run_files": ["."]}, "run_setup and run_files must be text"),
        ({"run_results_dir": ["a"]}, "run_results_dir must be text"),
        ({"run_time": "5m"}, "at least 10m, not '5m': -e run_time=8h"),
        ({"run_time": "8"}, "run_time must be a duration such as 8h, 90m or 3d, not '8'"),
        ({"run_keep": "2026-12-01T06:00Z"}, "run_keep must be a duration"),
        ({"run_results": "/etc"}, "not /etc"),
        ({"run_results": ["a/../../b"]}, "not a/../../b"),
        ({"run_results": "out/**/model"}, "not out/**/model"),
        ({"run_results": {"a": 1}}, "run_results must be a list"),
        ({"run_results": True}, "run_results must be a list"),
        ({"run_env": {"A B": True}}, "run_env must map"),
        ({"run_env": {"A": False}}, "run_env must map"),
        ({"run_env": ["A"]}, "run_env must map"),
        ({"run_env": "A=1"}, "run_env must map"),
        ({"run_follow": "maybe"}, "run_follow must be true or false"),
    ],
)
def test_mistake_is_reported_with_its_remedy(variables: dict[str, Any], remedy: str) -> None:
    _request, mistakes = read_variables(**variables)
    assert len(mistakes) == 1 and remedy in mistakes[0]


def test_all_mistakes_are_reported_together() -> None:
    mistakes: list[str] = []
    run_request.read_name({}, mistakes)
    run_request.read_request({}, mistakes)
    assert [text.split()[0] for text in mistakes] == ["run_name", "run_command", "run_gpu", "run_max_bill"]


@pytest.mark.parametrize(
    ("files", "is_refused"),
    [("/p", False), ("/p/runs", False), ("/p/runs/train.1", False), ("/p/runs/train", True), ("/p/runs/train/x", True)],
)
def test_code_inside_results_folder_is_refused(files: str, is_refused: bool) -> None:
    mistakes: list[str] = []
    assert run_request.with_files(Request(name="train", files="."), files, "/p/runs/train", mistakes).files == files
    assert bool(mistakes) is is_refused


@pytest.mark.parametrize(
    ("folder", "around", "by_job", "reason"),
    [
        ("/home/me/runs", "", False, ""),
        ("/runner/project/runs", "", True, "a job of AWX, which loses /runner/project/runs"),
        ("/runner/project/runs", "", False, ""),
        ("/data/runs", "", True, ""),
        ("/home/me/inventory/runs", "/home/me/inventory", False, "not be in the inventory folder /home/me/inventory:"),
        ("/runner/project/runs", "/runner/project", True, "not be in the inventory folder /runner/project:"),
    ],
)
def test_results_stay_outside_inventory_and_lost_folders(folder: str, around: str, by_job: bool, reason: str) -> None:
    found = run_request.why_not_kept(folder, around, by_job=by_job, folders=["/runner", "/tmp"])
    assert reason in found and bool(found) is bool(reason)


@pytest.mark.parametrize(
    ("files", "dest", "pattern"),
    [
        ("/p/code", "/p/runs/train", ()),
        ("/p/runs/train.1", "/p/runs/train", ()),
        ("/p", "/p/runs/train", ("/runs/",)),
        ("/p", "/p/a/runs/train", ("/a/runs/",)),
        ("/p", "/p/train", ("/train/",)),
        ("/p", "/p/..runs/train", ("/..runs/",)),
        ("/p", "/p/runs [old]*/train", (r"/runs \[old]\*/",)),
    ],
)
def test_results_folder_is_excluded_from_code(files: str, dest: str, pattern: tuple[str, ...]) -> None:
    request = run_request.with_files(Request(name="train", files=".", exclude=("!*.json",)), files, dest, [])
    assert request.exclude == ("!*.json", *pattern)


def test_objections_name_refused_variables_and_limit() -> None:
    assert run_request.objections(["run_name", "provision_max_attempts"], limited=False) == []
    lease_objection, limit_objection = run_request.objections(["provision_lease"], limited=True)
    assert "provision_lease itself" in lease_objection and "--limit" in limit_objection
    given = ["order_max_price_per_hour", "plan", "provision_hosts", "run_gpu"]
    (objection,) = run_request.objections(given, limited=False)
    assert "A run does not read order_max_price_per_hour, plan, provision_hosts: choose" in objection
    # It limits the purchase, and a run sets no such limit.
    assert not run_request.objections(["provision_max_price_per_hour", "provision_verify"], limited=False)


@pytest.mark.parametrize(
    "extra",
    [
        ["run_command", "_raw_params"],  # run_command=python train.py
        ["run_command", "--lr"],  # run_command=python --lr=0.1
    ],
)
def test_unquoted_command_is_refused(extra: list[str]) -> None:
    (objection,) = run_request.objections(extra, limited=False)
    assert "-e has words outside quotes, so" in objection and "-e 'run_command=\"python train.py\"'" in objection


@given(
    st.floats(1, 1e5),
    st.floats(0.01, 500),
    st.one_of(st.none(), st.floats(run_request.SHORTEST_JOB, 1e7)),
)
def test_lease_never_costs_more_than_bill(bill: float, price: float, seconds: float | None) -> None:
    request = Request(max_bill=bill, seconds=seconds)
    try:
        lease = run_request.lease_of(request, price)
    except ValueError as error:
        assert (
            seconds is None and price * (run_request.SHORTEST_JOB + run_request.RESULTS_SECONDS) / 3600 > bill * 0.999
        )
        assert "run_max_bill" in str(error)
        return
    assert lease >= run_request.SHORTEST_JOB + run_request.RESULTS_SECONDS and lease % 60 == 0
    if seconds is None:  # with a time the plan compares price and bill
        assert price * lease / 3600 <= bill * (1 + 1e-9)
    else:
        assert seconds + run_request.RESULTS_SECONDS - 60 <= lease <= seconds + run_request.RESULTS_SECONDS


def test_unknown_price_needs_run_time() -> None:
    with pytest.raises(ValueError, match="run_time"):
        run_request.lease_of(Request(max_bill=5), None)
    assert run_request.lease_of(Request(max_bill=5, seconds=7200.0), None) == 10_800.0
    with pytest.raises(ValueError, match=r"an hour for the results cost USD 2\.34 at"):
        run_request.lease_of(Request(max_bill=1), 2.0)
    shortest_leases = [
        run_request.lease_text(Request(seconds=seconds).least_lease) for seconds in (None, 7200.0, 7229.0)
    ]
    assert shortest_leases == ["70m", "3h", "3h"]  # rounded down
