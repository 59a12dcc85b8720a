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
from hypothesis import given, settings
from hypothesis import strategies as st

from kills import kills

ODD = ["two words", "a\nb", "-x", "*", os.fsdecode(b"caf\xe9"), "é", "$(false)", "a\\b", "x" * 200]
PATHS = ("a", "b", "a.log", "out/a", "out/deep/a.log", "src/out/x", "src/a.py", "src/deep/er/b", "[x]", "a b")
PATTERNS = [
    *("a", "*.log", "/a", "out/", "out", "/out/", "src/out", "src/**", "**/deep", "**/deep/", "src/**/b", "a/**", "?"),
    *(
        "!a.log",
        "!out/a",
        "# a",
        "\\#a",
        "",
        "  ",
        "a ",
        "a\\ b",
        "[ab]",
        "[!a]",
        "[^a]",
        "\\[x\\]",
        "[z-a]",
        "*",
        "!*/",
    ),
    *("src/*", "!src/a.py", "**", "/**", "**/x", "deep/er", "[a-", "s*c/deep", "*/*.log", "a**b", "/", "!", "d??p"),
]


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


def of_git(folder: Path) -> set[str]:
    """The files that git would add."""
    if not any((place / ".git").exists() for place in (folder, *folder.parents)):
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
    command = ["git", "-C", str(folder), "ls-files", "-z", "--others", "--exclude-standard"]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    return set(filter(None, os.fsdecode(output).split("\0")))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_means_what_it_means_to_git(tmp_path: Path, pattern: str) -> None:
    folder = tree(tmp_path / "code")
    (folder / ".gitignore").write_text(f"{pattern}\n")
    assert packed(folder) == of_git(folder)


@settings(max_examples=40)
@given(st.lists(st.sampled_from(PATTERNS), max_size=5), st.lists(st.sampled_from(PATTERNS), max_size=3))
def test_several_files_of_patterns_mean_what_they_mean_to_git(
    tmp_path_factory: pytest.TempPathFactory, above: list[str], below: list[str]
) -> None:
    folder = tree(tmp_path_factory.mktemp("git") / "code")
    (folder / ".gitignore").write_text("\n".join(above))
    (folder / "src" / ".gitignore").write_text("\r\n".join(below).replace("\r", ""))
    assert packed(folder) == of_git(folder)


@settings(max_examples=40)
@given(st.lists(st.sampled_from(PATTERNS), max_size=4), st.lists(st.sampled_from(PATTERNS), max_size=3))
def test_a_folder_of_a_repository_has_the_patterns_above_it(
    tmp_path_factory: pytest.TempPathFactory, above: list[str], below: list[str]
) -> None:
    """It may name secrets and data that belong nowhere else; not if it leaves out what a person has named."""
    top = tmp_path_factory.mktemp("git") / "top"
    folder = tree(top / "code" / "run")
    (top / ".gitignore").write_text("\n".join(["/code/run/a", *above]), encoding="utf-8-sig")
    (top / "code" / ".gitignore").write_text("\n".join(below))
    if not (top / ".git").exists():
        subprocess.run(["git", "init", "-q", str(top)], check=True)
    assert packed(folder, ["/src/"]) == {path for path in of_git(folder) or PATHS if not path.startswith("src/")}


def test_what_a_user_excludes_beats_all_files(tmp_path: Path) -> None:
    folder = tree(tmp_path / "code")
    (folder / "src" / ".gitignore").write_text("!a.py\n")
    assert packed(folder, ["*.py", "/out/"]) == {*PATHS, "src/.gitignore"} - {"out/a", "out/deep/a.log", "src/a.py"}


def test_git_and_the_registry_stay_at_home(tmp_path: Path) -> None:
    registry = ["host_vars/gpu-1/compute_index_supply.yml", "host_vars/.compute_index_supply.ledger"]
    folder = tree(tmp_path / "code", ["a", ".git/config", *registry])
    (folder / ".gitignore").write_text("!.git\n!compute_index_supply.yml\n")
    before = code_files.scan(str(folder), [])
    assert packed(folder, ["!.git", "!*.ledger"]) == {"a", ".gitignore"}
    (folder / registry[0]).write_text("bought meanwhile")
    assert code_files.scan(str(folder), []) == before


def test_a_purchase_beside_the_code_makes_no_other_code_of_it(tmp_path: Path) -> None:
    """The code is in the folder of the inventory, as it is without one: a purchase makes folders and files there."""
    folder = tree(tmp_path / "code", ["a.py"])
    before = code_files.scan(str(folder))
    tree(folder / "host_vars", [".ssh_config", ".compute_index_supply.ledger", "run-train/.known_hosts"])
    tree(folder / "host_vars" / "run-train", ["compute_index_supply.yml"])
    assert code_files.scan(str(folder)) == before and packed(folder) == {"a.py"}
    # What a person has there is code.
    (folder / "empty").mkdir()
    with_empty = code_files.scan(str(folder))
    assert with_empty != before
    tree(folder / "host_vars", ["all.yml"])
    assert packed(folder) == {"a.py", "host_vars/all.yml"} and code_files.scan(str(folder)) != with_empty


def test_rules_have_no_files() -> None:
    rules = code_files.rules_of(["*.log", "!keep.log", "tmp/"])
    table = {("a.log", False): True, ("x/a.log", False): True, ("keep.log", False): False, ("tmp", False): False}
    assert {key: code_files.is_ignored(*key, rules) for key in table} == table
    assert code_files.is_ignored("x/tmp", True, rules)


# The digest


def test_the_digest_is_that_of_paths_modes_and_contents(tmp_path: Path) -> None:
    folder = tree(tmp_path / "code")
    digests = {code_files.scan(str(folder), []).digest}

    def differs() -> None:
        digest = code_files.scan(str(folder), []).digest
        assert digest not in digests
        digests.add(digest)

    os.utime(folder / "a", (1, 1))
    os.chmod(folder / "b", 0o600)
    assert code_files.scan(str(folder), []).digest in digests
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
    (folder / "empty").mkdir()
    differs()


def test_a_copy_elsewhere_has_the_same_digest(tmp_path: Path) -> None:
    folder = tree(tmp_path / "code", [*PATHS, *ODD])
    shutil.copytree(folder, tmp_path / "other", symlinks=True)
    code = code_files.scan(str(folder), [])
    assert code_files.scan(str(tmp_path / "other"), []) == code
    assert code.files == len(PATHS) + len(ODD)
    assert code.bytes == sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("missing", ["nowhere", "file"])
def test_what_is_no_folder_is_said(tmp_path: Path, missing: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"is not a folder\.$"):
        code_files.scan(str(tmp_path / missing), [])


# The way to the machine


def bring(folder: Path, run: Path) -> str:
    """Pack a folder here, and unpack it there; its digest."""
    archive = str(run.parent / "code.tar.gz")
    code = code_files.pack(str(folder), [], archive)
    run.mkdir(exist_ok=True)
    code_files.unpack(archive, code_files.digest_of_file(archive), code.digest, str(run))
    return code.digest


def test_all_arrives_as_it_was(tmp_path: Path) -> None:
    folder = tree(tmp_path / "code", [*PATHS, *ODD])
    (folder / "a").chmod(0o755)
    os.link(folder / "b", folder / "second")
    for name, target in (("in", "src/a.py"), ("out of it", "/etc/passwd"), ("up", "../.."), ("dangling", "nix")):
        (folder / name).symlink_to(target)
    (folder / "empty" / "deep").mkdir(parents=True)
    os.mkfifo(folder / "pipe")
    digest = bring(folder, tmp_path / "run")
    assert digest == code_files.scan(str(folder), []).digest == code_files.digest_at(str(tmp_path / "run"))
    (folder / "pipe").unlink()
    assert code_files.scan(str(tmp_path / "run" / "work"), []).digest == digest
    assert (tmp_path / "run" / "work" / "second").read_text() == (folder / "b").read_text()
    assert os.stat(tmp_path / "run" / "work" / "b").st_mtime == int(os.stat(folder / "b").st_mtime)


def test_new_code_takes_the_place_of_the_old(tmp_path: Path) -> None:
    folder, run = tree(tmp_path / "code"), tmp_path / "run"
    first = bring(folder, run)
    (folder / "a").unlink()
    second = bring(folder, run)
    assert first != second == code_files.digest_at(str(run))
    assert not (run / "work" / "a").exists()
    assert sorted(os.listdir(run)) == [f"code-{second}", "work"]


def test_a_damaged_archive_changes_nothing(tmp_path: Path) -> None:
    folder, run = tree(tmp_path / "code"), tmp_path / "run"
    first = bring(folder, run)
    with pytest.raises(ValueError, match="damaged on its way"):
        code_files.unpack(str(tmp_path / "code.tar.gz"), "0" * 64, "1" * 64, str(run))
    assert code_files.digest_at(str(run)) == first


@pytest.mark.parametrize("name", ["/tmp/x", "../x", "a/../../x"])
def test_no_name_leads_out(tmp_path: Path, name: str) -> None:
    archive, run = str(tmp_path / "code.tar.gz"), tmp_path / "run"
    run.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(ValueError, match="leads out"):
        code_files.unpack(archive, code_files.digest_of_file(archive), "1" * 64, str(run))
    assert code_files.digest_at(str(run)) == ""


def test_a_kill_leaves_the_old_code_or_the_new_and_the_next_run_completes_it(tmp_path: Path) -> None:
    old, new, run = tree(tmp_path / "old", ["a", "b"]), tree(tmp_path / "new", ["a", "c/d"]), tmp_path / "run"
    digests = {code_files.scan(str(folder), []).digest for folder in (old, new)}
    bring(old, run)
    for _number in kills([code_files], lambda: bring(new, run)):
        now = code_files.digest_at(str(run))
        assert now in digests
        assert code_files.scan(str(run / "work"), []).digest == now
        bring(old, run)
        assert sorted(os.listdir(run)) == [f"code-{code_files.scan(str(old), []).digest}", "work"]
    assert code_files.scan(str(run / "work"), []) == code_files.scan(str(new), [])


def test_a_file_that_changes_while_it_is_packed_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was packed has its own digest, so it is compared with that of before."""
    folder = tree(tmp_path / "code", ["a", "b"])
    before = code_files.scan(str(folder), [])
    add = code_files._add

    def change(tar: tarfile.TarFile, item: code_files._Item) -> str:
        digest = add(tar, item)
        (folder / "b").write_text("grown meanwhile, and rather long")
        return digest

    monkeypatch.setattr(code_files, "_add", change)
    code = code_files.pack(str(folder), [], str(tmp_path / "code.tar.gz"))
    assert code.digest != before.digest
    monkeypatch.undo()
    assert code.digest == code_files.scan(str(folder), []).digest
