# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations in Ansible's process or in a child process: when each is used, and a child that ends without a result."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest
from ansible.module_utils.basic import env_fallback
from ansible.utils import display
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import operation
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import (
    AS_MODULE,
    Operation,
    folded_warning,
)
from ansible_collections.compute_index.supply.plugins.plugin_utils._task import InProcessAction
from hypothesis import given
from hypothesis import strategies as st

BLANK = {"changed": False, "outcome": "", "offer_id": None}


def report_process(params: Any, check_mode: bool) -> dict[str, Any]:
    """An operation that returns facts about its process."""
    return {
        "pid": os.getpid(),
        "folder": os.getcwd(),
        "variables": [os.environ.get(name) for name in ("HTTPS_PROXY", "SECOND")],
        "is_apart": bool(params.get(AS_MODULE)),
        "token": params["token"],
        "text": "x" * 300_000,
    }


def action(function: Any, folder: Path, environment: dict[str, str], **args: Any) -> InProcessAction:
    spec = {"file": {"type": "path"}, "token": {"type": "str", "fallback": (env_fallback, ["SECOND"])}}
    made = InProcessAction(
        Mock(args=args, check_mode=False), Mock(), Mock(), Mock(get_basedir=lambda: str(folder)), Mock(), Mock()
    )
    made.operation = Operation(function, spec, BLANK, doubt="It may be billed.")  # type: ignore[misc]
    made._environment = environment
    return made


@pytest.mark.parametrize(
    ("environment", "file", "is_apart"),
    [
        ({}, None, False),
        ({}, "/entries/a.yml", False),
        ({}, "~/a.yml", False),
        ({}, "$HOME/a.yml", False),
        ({}, "entries/a.yml", True),
        ({"HTTPS_PROXY": "http://127.0.0.1:9"}, None, True),
        ({"SECOND": "2"}, "entries/a.yml", True),
    ],
)
def test_other_environment_or_folder_needs_a_child_process(
    tmp_path: Path, environment: dict[str, str], file: str | None, is_apart: bool
) -> None:
    before = dict(os.environ), os.getcwd()
    found = action(report_process, tmp_path, environment, **({"file": file} if file else {})).perform("gpu-1")
    assert (dict(os.environ), os.getcwd()) == before
    assert (found["pid"] != os.getpid()) == found["is_apart"] == is_apart
    assert found["folder"] == (str(tmp_path) if is_apart else before[1])
    assert found["variables"] == [environment.get("HTTPS_PROXY"), environment.get("SECOND")]
    assert found["token"] == environment.get("SECOND") and len(found["text"]) == 300_000
    if "invocation" in found:  # newer versions of ansible-core show it on request only
        assert os.path.basename(found["invocation"]["module_args"]["file"] or "") == os.path.basename(file or "")


def test_relative_path_in_current_folder_needs_no_child_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert action(report_process, tmp_path, {}, file="a.yml").perform("gpu-1")["pid"] == os.getpid()


def killed(_params: Any, _check_mode: bool) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def not_serializable(_params: Any, _check_mode: bool) -> dict[str, Any]:
    return {"changed": object}


def exiting(_params: Any, _check_mode: bool) -> dict[str, Any]:
    raise SystemExit


@pytest.mark.parametrize("function", [killed, not_serializable, exiting])
def test_child_process_without_result_leaves_unknown_outcome(tmp_path: Path, function: Any) -> None:
    found = action(function, tmp_path, {"A": "b"}).perform("gpu-1")
    assert found["failed"] and found["changed"] and found["outcome"] == "unknown" and found["offer_id"] is None
    assert found["error_class"] == "unknown_outcome"
    assert function.__name__ in found["msg"] and found["msg"].endswith("without a result. It may be billed.")


@given(st.text("ab c.,-/\n", max_size=400))
def test_folded_warning_fits_the_screen_and_keeps_its_words(text: str) -> None:
    words = ["First", *(word for word in text.split() if len(word) <= 60)]
    with patch.object(operation, "_FOLDS_WARNINGS", False):
        lines = f"[WARNING]: {folded_warning(' '.join(words))}".split("\n")
    assert max(map(len, lines)) <= 80 and all(line.startswith("    ") for line in lines[1:])
    assert " ".join(lines).split() == ["[WARNING]:", *words]


@pytest.mark.skipif(not hasattr(display, "textwrap"), reason="needs ansible-core before 2.19, which folds warnings")
def test_warning_folded_by_ansible_has_single_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    text = f"The file {'folder/' * 14}.ssh_config cannot be written: Is a directory."
    display.Display().warning(folded_warning(text))
    assert "  " not in capsys.readouterr().err.replace("\n", " ")
