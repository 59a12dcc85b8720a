# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code of a run is packed as it is at one moment; and each module of a run documents the options that it takes."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.action import run_files
from ansible_collections.compute_index.supply.plugins.module_utils import _spec
from ansible_collections.compute_index.supply.plugins.module_utils._machine import code_files
from ansible_collections.compute_index.supply.plugins.plugin_utils._on_machine import unless_failed


@pytest.mark.parametrize(("changes", "good"), [(0, True), (1, True), (2, True), (3, False), (9, False)])
def test_a_folder_in_which_somebody_works_is_packed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: int, good: bool
) -> None:
    (tmp_path / "code").mkdir()
    file = tmp_path / "code" / "a"
    file.write_text("before")
    before, archive = code_files.scan(str(tmp_path / "code"), []), str(tmp_path / "code.tar.gz")
    pack, packed = code_files.pack, list[str]()

    def change_first(src: str, exclude: list[str], archive: str) -> code_files.Code:
        packed.append(archive)
        if len(packed) <= changes:
            file.write_text(f"change {len(packed)}")
        return pack(src, exclude, archive)

    monkeypatch.setattr(code_files, "pack", change_first)
    if good:
        code = run_files._packed(str(tmp_path / "code"), [], archive, before)
        assert code == code_files.scan(str(tmp_path / "code"), [])
    else:
        with pytest.raises(ValueError, match="change while they are packed"):
            run_files._packed(str(tmp_path / "code"), [], archive, before)
    assert len(packed) == min(changes + 1, 3)


def test_what_a_module_says_of_its_failure_is_kept() -> None:
    assert unless_failed({"changed": False, "has": True})["has"] is True
    for answer, words in (
        ({"failed": True, "msg": "No room."}, r"^No room\.$"),
        ({"failed": True, "msg": "MODULE FAILURE", "module_stderr": "python3: not found"}, "^MODULE FAILURE python3"),
        ({"unreachable": True}, r"^The machine does not answer\.$"),
    ):
        with pytest.raises(ValueError, match=words):
            unless_failed(answer)


@pytest.mark.parametrize("name", ["run_files", "run_job", "run_info", "run_results"])
def test_a_module_of_a_run_documents_its_options(name: str) -> None:
    module = importlib.import_module(f"ansible_collections.compute_index.supply.plugins.modules.{name}")
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    spec = getattr(_spec, name.upper())
    assert documented.keys() == spec.keys()
    for option, given in spec.items():
        said = {
            key: documented[option][key]
            for key in ("type", "elements", "required", "default")
            if key in documented[option]
        }
        assert said == {key: value for key, value in given.items() if key != "no_log"}, option
