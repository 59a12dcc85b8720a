# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the registry are replaced atomically, private to their owner, and read back unchanged by Ansible."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _files, _stores
from ansible_collections.compute_index.supply.plugins.module_utils._registry._protocol import RegistryError
from hypothesis import given
from hypothesis import strategies as st

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


def refuse(*_args: Any, **_options: Any) -> None:
    raise NO_SPACE


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An existing registry file."""
    path = tmp_path / "host_vars" / "trainer" / "machine.yml"
    path.parent.mkdir(parents=True)
    path.write_text("old")
    return path


# Paths


@pytest.mark.parametrize("source", ["file.yml", "folder"])
def test_registry_dir_is_next_to_the_link_of_a_linked_inventory(tmp_path: Path, source: str) -> None:
    """All hosts use the same folder, also those that a play has added, and those with another spelling of the path."""
    (tmp_path / "real" / "folder").mkdir(parents=True)
    (tmp_path / "real" / "file.yml").touch()
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / source).symlink_to(tmp_path / "real" / source)
    folder = tmp_path / "project" / (source if source == "folder" else "")
    places = {
        _stores.registry_dir(None, inventory_dir, ["gpu-9,", f"project/{source}"], str(tmp_path))
        for inventory_dir in (
            None,
            str(folder),
            f"{tmp_path}/project/../project/{folder.relative_to(tmp_path / 'project')}",
        )
    }
    assert places == {str(folder / "host_vars")}


# The text


VARIABLES = {
    "provision_procured_offer_id": "5b1f3c1e-7a53-4b0e-9d0c-2f6f0d4a9c11",
    "provision_resource_ids": ["0e4f6f35-8a52-4f4e-a7ab-3b1b2bd2a2c4"],
    "provision_price_per_hour": 2.0,
    "ansible_port": 22022,
    "ansible_host": "2001:db8::1",
}


def read_back(text: str, path: Path) -> Any:
    path.write_text(text, encoding="utf-8")
    return DataLoader().load_from_file(str(path))


def kinds(value: Any) -> Any:
    """A value with the plain type of each part, since Ansible returns subclasses."""
    if isinstance(value, dict):
        return {str(key): kinds(item) for key, item in value.items()}
    if isinstance(value, list):
        return [kinds(item) for item in value]
    plain = next(kind for kind in (bool, int, float, str, type(None)) if isinstance(value, kind))
    return plain.__name__, repr(value) if plain is float else value


def test_entry_begins_with_its_origin_and_a_note_on_billing() -> None:
    text = _files.entry_text(VARIABLES)
    assert text.startswith("---\n# Written by compute_index.supply: ")
    assert "billed" in text.splitlines()[1]


def test_variables_keep_their_order() -> None:
    assert [line.partition(":")[0] for line in _files.entry_text({"b": 1, "a": 2}).splitlines()[2:]] == ["b", "a"]


TRICKY = [
    "no",
    "1:30",
    "0o17",
    "012",
    "1e3",
    "1_000",
    "~",
    "=",
    "<<",
    "!x",
    "*x",
    "&x",
    "#x",
    "- x",
    "a: b",
    "2026-01-31",
]


@pytest.mark.parametrize(
    "variables",
    [
        VARIABLES,
        {},
        {"empty": {}, "none": None, "list": [], "text": "", "true": True, "float": 1e300, "negative": -1},
        {"tricky": TRICKY},
        {"lines": "a\nb\n\n", "blank": " a ", "tab": "\t", "quote": 'it\'s "x"', "long": "word " * 500},
        {"unicode": "\u00fc \U0001f600 \x07 \ufeff", "brace": "{ {", "percent": "% {"},
        {"line ends of Unicode": "a\x85b\u2028c\u2029d"},
        dict.fromkeys(TRICKY, 1),
        {"nested": [{"a": [{"b": {"c": [1, 2.5, None]}}]}]},
    ],
)
def test_ansible_reads_back_tricky_values(variables: dict[str, Any], tmp_path: Path) -> None:
    assert kinds(read_back(_files.entry_text(variables), tmp_path / "machine.yml")) == kinds(variables)


TEXTS = st.text(st.characters(exclude_characters="\x85\u2028\u2029"), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


@given(variables=st.dictionaries(TEXTS, VALUES, max_size=3))
def test_ansible_reads_back_arbitrary_values(variables: dict[str, Any]) -> None:
    try:
        text = _files.entry_text(variables)
    except ValueError:
        assert any(mark in repr(variables) for mark in ("{{", "{%", "{#", "#jinja2:", "\\ud"))
        return
    assert kinds(DataLoader().load(text)) == kinds(variables)


@pytest.mark.parametrize("mark", ["{{ x }}", "{% x %}", "{# x #}", "a{{", "{%raw", "#jinja2: x\n[[ x ]]"])
@pytest.mark.parametrize(
    "place",
    [
        lambda mark: {"a": mark},
        lambda mark: {mark: "a"},
        lambda mark: {"a": [{"b": mark}]},
        lambda mark: {"a": f"two\nlines {mark}"},
        lambda mark: {"a": f"\x07{mark}"},
        lambda mark: {"a": "\u2028" * 2000 + mark},
    ],
    ids=["value", "key", "nested", "lines", "escaped", "long"],
)
def test_template_marks_are_refused(place: Any, mark: str) -> None:
    with pytest.raises(ValueError, match="holds template marks"):
        _files.entry_text(place(mark))


def test_has_yaml_is_false_without_pyyaml(import_without: Callable[..., Any]) -> None:
    assert (_files.HAS_YAML, import_without(_files, "yaml").HAS_YAML) == (True, False)


# The file


def test_missing_file_has_no_text(tmp_path: Path) -> None:
    assert _files.read_text(str(tmp_path / "x")) is None
    assert _files.read_text(str(tmp_path / "no folder" / "x")) is None


def test_reading_a_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        _files.read_text(str(tmp_path))


def test_file_is_utf_8_and_private_to_its_owner(file: Path) -> None:
    file.chmod(0o644)
    _files.write_durably(str(file), "n\u00e4me\n")
    assert file.read_bytes() == "n\u00e4me\n".encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert _files.read_text(str(file)) == "n\u00e4me\n"


def test_mode_does_not_depend_on_umask(file: Path) -> None:
    old = os.umask(0)
    try:
        _files.write_durably(str(file), "new")
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_missing_folders_are_created(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "machine.yml"
    _files.write_durably(str(path), "new")
    assert path.read_text() == "new"


def test_write_or_remove_without_text_removes_the_file(file: Path) -> None:
    _files.write_or_remove(str(file), "new")
    assert file.read_text() == "new"
    _files.write_or_remove(str(file), None)
    assert not file.exists()
    _files.write_or_remove(str(file), None)


def test_failed_removal_raises(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_args: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "unlink", forbid)
    with pytest.raises(PermissionError):
        _files.write_or_remove(str(file), None)


def test_removal_is_synced_to_disk(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(file.exists()))
    _files.write_or_remove(str(file), None)
    assert synced == [False]


@pytest.mark.parametrize("other", [None, "main.yml"])
def test_folder_is_removed_with_its_last_file(tmp_path: Path, other: str | None) -> None:
    file = tmp_path / "host" / "machine.yml"
    _files.write_or_remove(str(file), "a\n")
    if other:
        file.with_name(other).touch()
    with _files.locked(str(file)):
        _files.write_or_remove(str(file), None)
    assert file.parent.exists() is bool(other) and tmp_path.exists()


def test_link_stays_a_link(tmp_path: Path) -> None:
    file, link = tmp_path / "there" / "machine.yml", tmp_path / "machine.yml"
    _files.write_or_remove(str(file), "a\n")
    link.symlink_to(file)
    _files.write_or_remove(str(link), "b\n")
    assert link.is_symlink() and file.read_text() == "b\n"


@pytest.mark.parametrize("link", ["", "gpu-1", "gpu-1/compute_index_supply.yml", ".compute_index_supply.ledger"])
def test_link_to_a_disk_that_is_not_mounted_hides_no_purchase(tmp_path: Path, link: str) -> None:
    """Otherwise its host would look free, and a report complete."""
    folder = tmp_path / "host_vars"
    lost = folder / link
    lost.parent.mkdir(parents=True, exist_ok=True)
    lost.symlink_to(tmp_path / "not mounted")
    trouble = ""
    try:
        trouble = " ".join(_stores.ledger(str(folder)).warnings)
    except RegistryError as error:
        trouble = str(error)
    assert f"cannot be read: the link {lost} leads to nothing." in trouble


def test_special_file_is_not_replaced(tmp_path: Path) -> None:
    """Else root, with -e quote_file=/dev/null, would replace that device for every program."""
    (tmp_path / "link").symlink_to(tmp_path / "device")
    os.mkfifo(tmp_path / "device")
    for name in ("device", "link"):
        with pytest.raises(OSError, match="it is not a regular file"):
            _files.write_durably(str(tmp_path / name), "new")
    assert stat.S_ISFIFO((tmp_path / "device").stat().st_mode) and not list(tmp_path.glob(".*.tmp"))


def test_bare_file_name_is_in_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _files.write_durably("machine.yml", "new")
    assert (tmp_path / "machine.yml").read_text() == "new"


def test_no_temporary_file_stays(file: Path) -> None:
    _files.write_durably(str(file), "new")
    assert os.listdir(file.parent) == ["machine.yml"]


def test_ansible_ignores_the_temporary_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[str] = []
    monkeypatch.setattr(os, "replace", lambda source, target: sources.append(source))
    _files.write_durably(str(file), "new")
    assert Path(sources[0]).parent == file.parent
    assert Path(sources[0]).name.startswith(".") and not sources[0].endswith((".yml", ".yaml", ".json"))


@pytest.mark.parametrize("step", ["fsync", "replace", "fdopen"])
def test_failed_step_leaves_only_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(OSError, match="No space left"):
        _files.write_durably(str(file), "new")
    assert file.read_text() == "old"
    assert os.listdir(file.parent) == ["machine.yml"]


def test_full_disk_leaves_only_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fdopen

    def full(handle: int, *args: Any, **options: Any) -> Any:
        stream = real(handle, *args, **options)
        stream.write = refuse
        return stream

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OSError, match="No space left"):
        _files.write_durably(str(file), "new")
    assert file.read_text() == "old"
    assert os.listdir(file.parent) == ["machine.yml"]


def test_interruption_leaves_only_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _files.write_durably(str(file), "new")
    assert file.read_text() == "old"
    assert os.listdir(file.parent) == ["machine.yml"]


def test_file_is_synced_before_rename_and_folder_after_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync, replace = os.fsync, os.replace

    def note_sync(handle: int) -> None:
        folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        order.append("sync folder" if folder else f"sync {os.fstat(handle).st_size} bytes")
        sync(handle)

    def note_replace(source: str, target: str) -> None:
        order.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    _files.write_durably(str(file), "new!")
    assert order == ["sync 4 bytes", "replace", "sync folder"]


def test_file_system_that_cannot_sync_folders_is_accepted(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def sync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", sync)
    _files.write_durably(str(file), "new")
    assert file.read_text() == "new"
