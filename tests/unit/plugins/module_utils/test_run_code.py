# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code of a run: which files are packed (by git's rules), its digest, and unpacking."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._machine import code_files
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _files

from kills import kills

ODD = ["two words", "a\nb", "-x", "*", os.fsdecode(b"caf\xe9"), "é", "$(false)", "a\\b", "x" * 200]
PATHS = ("a", "b", "a.log", "out/a", "out/deep/a.log", "src/out/x", "src/a.py", "src/deep/er/b", "[x]", "a b")


def make_tree(folder: Path, paths: Sequence[str] = PATHS) -> Path:
    """Create these files in the folder, and return it."""
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"content of {path!r}")
    return folder


def packed_files(folder: Path, exclude: list[str] | None = None) -> set[str]:
    """The files in the archive of the folder."""
    archive = str(folder.parent / "code.tar.gz")
    code_files.pack(str(folder), exclude or [], archive)
    with tarfile.open(archive, encoding="utf-8", errors="surrogateescape") as tar:
        return {member.name for member in tar if not member.isdir()}


def test_gitignore_of_parent_folders_and_nested_repositories_applies(tmp_path: Path) -> None:
    """Its patterns may name secrets and data that must stay private."""
    top = tmp_path / "top"
    folder = make_tree(top / "code" / "run", [*PATHS, "inner/a", "inner/b"])
    (top / ".gitignore").write_text("/code/run/a\n*.log\n", encoding="utf-8-sig")
    (top / "code" / ".gitignore").write_text("[[]x]\n!out/a.log\n")
    (folder / "inner" / ".gitignore").write_text("b\n")
    for place in (top, folder / "inner"):
        subprocess.run(["git", "init", "-q", str(place)], check=True)
    expected = {path for path in PATHS if not path.startswith("src/")} - {"a", "[x]", "a.log", "out/deep/a.log"}
    assert packed_files(folder, ["/src/"]) == {*expected, "inner/a", "inner/.gitignore"}


def test_git_environment_variables_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A git hook, which has such variables, may start a play."""
    folder = make_tree(tmp_path / "code")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert packed_files(folder) == set(PATHS)


def test_folder_that_is_ignored_completely_is_refused(tmp_path: Path) -> None:
    folder = make_tree(tmp_path / "code")
    (folder / ".gitignore").write_text("*\n")
    with pytest.raises(ValueError, match=r"^.* has no files to pack: .*excludes all of it\.$"):
        code_files.pack(str(folder), [])


def test_missing_git_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_tree(tmp_path / "code")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"^Install git on this computer"):
        code_files.pack(str(folder), [])


def test_exclude_option_overrides_gitignore(tmp_path: Path) -> None:
    folder = make_tree(tmp_path / "code")
    (folder / "src" / ".gitignore").write_text("!a.py\n")
    assert packed_files(folder, ["*.py", "/out/"]) == {*PATHS, "src/.gitignore"} - {
        "out/a",
        "out/deep/a.log",
        "src/a.py",
    }


def test_git_folder_and_registry_are_never_packed(tmp_path: Path) -> None:
    registry = ["host_vars/gpu-1/compute_index_supply.yml", "host_vars/.compute_index_supply.ledger"]
    folder = make_tree(tmp_path / "code", ["a", *registry])
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / ".gitignore").write_text("!.git\n!compute_index_supply.yml\n")
    before = code_files.pack(str(folder), [])
    assert packed_files(folder, ["!.git", "!*.ledger"]) == {"a", ".gitignore"}
    (folder / registry[0]).write_text("changed by a purchase")
    assert code_files.pack(str(folder), []) == before


def fail(*_given: object) -> None:
    raise OSError


def test_files_of_a_purchase_do_not_change_the_digest(tmp_path: Path) -> None:
    """Without an inventory, the code is in the inventory folder, where a purchase makes folders and files.

    With another digest the same command would be another job: once the run is over, it would buy a machine again.
    """
    folder = make_tree(tmp_path / "code", ["a.py"])
    before = code_files.pack(str(folder), [])
    make_tree(folder / "host_vars", [".ssh_config", ".compute_index_supply.ledger", "run-train/.known_hosts"])
    make_tree(folder / "host_vars" / "run-train", ["compute_index_supply.yml"])
    make_tree(folder / "host_vars" / ".evidence", ["run-train-1.json"])  # of a machine that failed its test
    with pytest.MonkeyPatch.context() as killed, pytest.raises(OSError):
        killed.setattr(os, "replace", fail)
        killed.setattr(os, "unlink", fail)
        _files.write_durably(str(folder / "host_vars" / "run-train" / "compute_index_supply.yml"), "never read")
    assert code_files.pack(str(folder), []) == before and packed_files(folder) == {"a.py"}


# The digest


def test_digest_depends_on_paths_modes_and_contents(tmp_path: Path) -> None:
    folder = make_tree(tmp_path / "code")
    digests = {code_files.pack(str(folder), [])}

    def assert_new_digest() -> None:
        digest = code_files.pack(str(folder), [])
        assert digest not in digests
        digests.add(digest)

    os.utime(folder / "a", (1, 1))
    os.chmod(folder / "b", 0o600)
    assert code_files.pack(str(folder), []) in digests
    (folder / "a").write_text("another")
    assert_new_digest()
    (folder / "b").rename(folder / "c")
    assert_new_digest()
    (folder / "c").chmod(0o755)
    assert_new_digest()
    (folder / "link").symlink_to("a")
    assert_new_digest()
    (folder / "link").unlink()
    (folder / "link").symlink_to("/etc/passwd")
    assert_new_digest()


def test_owner_of_files_does_not_change_the_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the same command of a colleague, with a shared registry, would be another job."""
    folder = make_tree(tmp_path / "code")
    digest, described = code_files.pack(str(folder), []), tarfile.TarFile.gettarinfo

    def of_a_colleague(*given: str) -> tarfile.TarInfo:
        member = described(*given)
        member.uid, member.gid, member.uname, member.gname = 4711, 4712, "alice", "staff"
        return member

    monkeypatch.setattr(tarfile.TarFile, "gettarinfo", of_a_colleague)
    assert code_files.pack(str(folder), []) == digest


def test_copied_folder_has_the_same_digest(tmp_path: Path) -> None:
    folder = make_tree(tmp_path / "code", [*PATHS, *ODD])
    shutil.copytree(folder, tmp_path / "other", symlinks=True)
    assert code_files.pack(str(tmp_path / "other"), []) == code_files.pack(str(folder), [])
    assert packed_files(folder) == {*PATHS, *ODD}


@pytest.mark.parametrize("missing", ["nowhere", "file"])
def test_path_that_is_no_folder_is_refused(tmp_path: Path, missing: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"is not a folder\.$"):
        code_files.pack(str(tmp_path / missing), [])


# Unpacking


def pack_and_unpack(folder: Path, run: Path) -> str:
    """Pack a folder, unpack it in the folder of a run, and return its digest."""
    archive = str(run.parent / "code.tar.gz")
    digest = code_files.pack(str(folder), [], archive)
    run.mkdir(exist_ok=True)
    code_files.unpack(archive, digest, str(run))
    return digest


def test_unpacked_code_equals_packed_code(tmp_path: Path) -> None:
    folder = make_tree(tmp_path / "code", [*PATHS, *ODD])
    (folder / "a").chmod(0o755)
    os.link(folder / "b", folder / "second")
    for name, target in (("in", "src/a.py"), ("out of it", "/etc/passwd"), ("up", "../.."), ("dangling", "nix")):
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe")
    digest = pack_and_unpack(folder, tmp_path / "run")
    assert digest == code_files.pack(str(folder), []) == code_files.digest_at(str(tmp_path / "run"))
    assert code_files.pack(str(tmp_path / "run" / "work"), []) == digest
    assert (tmp_path / "run" / "work" / "second").read_text() == (folder / "b").read_text()


def test_new_code_replaces_old_code(tmp_path: Path) -> None:
    folder, run = make_tree(tmp_path / "code"), tmp_path / "run"
    first = pack_and_unpack(folder, run)
    (folder / "a").unlink()
    second = pack_and_unpack(folder, run)
    assert first != second == code_files.digest_at(str(run))
    assert not (run / "work" / "a").exists()
    assert sorted(os.listdir(run)) == ["code.sha256", "work"]


def test_damaged_archive_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    folder, run = make_tree(tmp_path / "code"), tmp_path / "run"
    first = pack_and_unpack(folder, run)
    archive = tmp_path / "code.tar.gz"
    whole = archive.read_bytes()
    for damaged in (whole[:-20], whole[:99] + bytes([whole[99] ^ 1]) + whole[100:], b"", b"no archive"):
        archive.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged on its way"):
            code_files.unpack(str(archive), "1" * 64, str(run))
    assert code_files.digest_at(str(run)) == first


def test_killed_unpacking_leaves_matching_digest_or_none(tmp_path: Path) -> None:
    old, new, run = make_tree(tmp_path / "old", ["a", "b"]), make_tree(tmp_path / "new", ["a", "c/d"]), tmp_path / "run"
    pack_and_unpack(old, run)
    for _number in kills([code_files], lambda: pack_and_unpack(new, run)):
        if digest := code_files.digest_at(str(run)):
            assert code_files.pack(str(run / "work"), []) == digest
        pack_and_unpack(old, run)
        assert sorted(os.listdir(run)) == ["code.sha256", "work"]
    pack_and_unpack(new, run)
    assert code_files.pack(str(run / "work"), []) == code_files.pack(str(new), [])
