# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code of a run: what is left out, as git does it; its digest; and its way into the folder of the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._machine import code_files

from kills import kills

ODD = ["two words", "a\nb", "-x", "*", os.fsdecode(b"caf\xe9"), "é", "$(false)", "a\\b", "x" * 200]
PATHS = ("a", "b", "a.log", "out/a", "out/deep/a.log", "src/out/x", "src/a.py", "src/deep/er/b", "[x]", "a b")


def tree(folder: Path, paths: Sequence[str] = PATHS) -> Path:
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"content of {path!r}")
    return folder


def packed(folder: Path, exclude: list[str] | None = None) -> set[str]:
    """The files that are packed."""
    archive = str(folder.parent / "code.tar.gz")
    code_files.pack(str(folder), exclude or [], archive)
    with tarfile.open(archive, encoding="utf-8", errors="surrogateescape") as tar:
        return {member.name for member in tar if not member.isdir()}


def test_a_folder_of_a_repository_has_the_patterns_above_it(tmp_path: Path) -> None:
    """They may name secrets and data that must stay private. A nested repository has its own."""
    top = tmp_path / "top"
    folder = tree(top / "code" / "run", [*PATHS, "inner/a", "inner/b"])
    (top / ".gitignore").write_text("/code/run/a\n*.log\n", encoding="utf-8-sig")
    (top / "code" / ".gitignore").write_text("[[]x]\n!out/a.log\n")
    (folder / "inner" / ".gitignore").write_text("b\n")
    for place in (top, folder / "inner"):
        subprocess.run(["git", "init", "-q", str(place)], check=True)
    expected = {path for path in PATHS if not path.startswith("src/")} - {"a", "[x]", "a.log", "out/deep/a.log"}
    assert packed(folder, ["/src/"]) == {*expected, "inner/a", "inner/.gitignore"}


def test_the_variables_of_a_repository_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A play may be started by a git hook."""
    folder = tree(tmp_path / "code")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert packed(folder) == set(PATHS)


def test_a_folder_that_git_ignores_is_refused(tmp_path: Path) -> None:
    folder = tree(tmp_path / "code")
    (folder / ".gitignore").write_text("*\n")
    with pytest.raises(ValueError, match=r"^.* has no files to pack: .*excludes all of it\.$"):
        code_files.pack(str(folder), [])


def test_without_git_nothing_is_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tree(tmp_path / "code")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"^Install git on this computer"):
        code_files.pack(str(folder), [])


def test_what_a_user_excludes_beats_all_files(tmp_path: Path) -> None:
    folder = tree(tmp_path / "code")
    (folder / "src" / ".gitignore").write_text("!a.py\n")
    assert packed(folder, ["*.py", "/out/"]) == {*PATHS, "src/.gitignore"} - {"out/a", "out/deep/a.log", "src/a.py"}


def test_git_and_the_registry_stay_at_home(tmp_path: Path) -> None:
    registry = ["host_vars/gpu-1/compute_index_supply.yml", "host_vars/.compute_index_supply.ledger"]
    folder = tree(tmp_path / "code", ["a", *registry])
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / ".gitignore").write_text("!.git\n!compute_index_supply.yml\n")
    before = code_files.pack(str(folder), [])
    assert packed(folder, ["!.git", "!*.ledger"]) == {"a", ".gitignore"}
    (folder / registry[0]).write_text("bought meanwhile")
    assert code_files.pack(str(folder), []) == before


def test_a_purchase_beside_the_code_makes_no_other_code_of_it(tmp_path: Path) -> None:
    """Without an inventory, the code is in the inventory folder, where a purchase makes folders and files."""
    folder = tree(tmp_path / "code", ["a.py"])
    before = code_files.pack(str(folder), [])
    tree(folder / "host_vars", [".ssh_config", ".compute_index_supply.ledger", "run-train/.known_hosts"])
    tree(folder / "host_vars" / "run-train", ["compute_index_supply.yml"])
    assert code_files.pack(str(folder), []) == before and packed(folder) == {"a.py"}


# The digest


def test_the_digest_is_that_of_paths_modes_and_contents(tmp_path: Path) -> None:
    folder = tree(tmp_path / "code")
    digests = {code_files.pack(str(folder), [])}

    def differs() -> None:
        digest = code_files.pack(str(folder), [])
        assert digest not in digests
        digests.add(digest)

    os.utime(folder / "a", (1, 1))
    os.chmod(folder / "b", 0o600)
    assert code_files.pack(str(folder), []) in digests
    (folder / "a").write_text("another")
    differs()
    (folder / "b").rename(folder / "c")
    differs()
    (folder / "c").chmod(0o755)
    differs()
    (folder / "link").symlink_to("a")
    differs()
    (folder / "link").unlink()
    (folder / "link").symlink_to("/etc/passwd")
    differs()


def test_a_copy_elsewhere_has_the_same_digest(tmp_path: Path) -> None:
    folder = tree(tmp_path / "code", [*PATHS, *ODD])
    shutil.copytree(folder, tmp_path / "other", symlinks=True)
    assert code_files.pack(str(tmp_path / "other"), []) == code_files.pack(str(folder), [])
    assert packed(folder) == {*PATHS, *ODD}


@pytest.mark.parametrize("missing", ["nowhere", "file"])
def test_what_is_no_folder_is_said(tmp_path: Path, missing: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"is not a folder\.$"):
        code_files.pack(str(tmp_path / missing), [])


# The way to the machine


def bring(folder: Path, run: Path) -> str:
    """Pack a folder here, and unpack it there; its digest."""
    archive = str(run.parent / "code.tar.gz")
    digest = code_files.pack(str(folder), [], archive)
    run.mkdir(exist_ok=True)
    code_files.unpack(archive, digest, str(run))
    return digest


def test_all_arrives_as_it_was(tmp_path: Path) -> None:
    folder = tree(tmp_path / "code", [*PATHS, *ODD])
    (folder / "a").chmod(0o755)
    os.link(folder / "b", folder / "second")
    for name, target in (("in", "src/a.py"), ("out of it", "/etc/passwd"), ("up", "../.."), ("dangling", "nix")):
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe")
    digest = bring(folder, tmp_path / "run")
    assert digest == code_files.pack(str(folder), []) == code_files.digest_at(str(tmp_path / "run"))
    assert code_files.pack(str(tmp_path / "run" / "work"), []) == digest
    assert (tmp_path / "run" / "work" / "second").read_text() == (folder / "b").read_text()


def test_new_code_takes_the_place_of_the_old(tmp_path: Path) -> None:
    folder, run = tree(tmp_path / "code"), tmp_path / "run"
    first = bring(folder, run)
    (folder / "a").unlink()
    second = bring(folder, run)
    assert first != second == code_files.digest_at(str(run))
    assert not (run / "work" / "a").exists()
    assert sorted(os.listdir(run)) == ["code.sha256", "work"]


def test_a_damaged_archive_changes_nothing(tmp_path: Path) -> None:
    folder, run = tree(tmp_path / "code"), tmp_path / "run"
    first = bring(folder, run)
    archive = tmp_path / "code.tar.gz"
    whole = archive.read_bytes()
    for damaged in (whole[:-20], whole[:99] + bytes([whole[99] ^ 1]) + whole[100:], b"", b"no archive"):
        archive.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged on its way"):
            code_files.unpack(str(archive), "1" * 64, str(run))
    assert code_files.digest_at(str(run)) == first


def test_a_kill_leaves_code_with_its_own_digest_or_none_and_the_next_run_completes_it(tmp_path: Path) -> None:
    old, new, run = tree(tmp_path / "old", ["a", "b"]), tree(tmp_path / "new", ["a", "c/d"]), tmp_path / "run"
    bring(old, run)
    for _number in kills([code_files], lambda: bring(new, run)):
        if digest := code_files.digest_at(str(run)):
            assert code_files.pack(str(run / "work"), []) == digest
        bring(old, run)
        assert sorted(os.listdir(run)) == ["code.sha256", "work"]
    bring(new, run)
    assert code_files.pack(str(run / "work"), []) == code_files.pack(str(new), [])
