# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of user data before a purchase. No message quotes the user data, which may contain secrets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._cloud_init import user_data
from ansible_collections.compute_index.supply.plugins.module_utils._cloud_init.user_data import (
    MOST_BYTES,
    check_user_data,
    completed,
)
from hypothesis import given
from hypothesis import strategies as st

LONGEST_SCRIPT = MOST_BYTES - len("#!/bin/sh\n")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("#cloud-config\npackages: [git]\n", id="mapping"),
        pytest.param("#cloud-config\n", id="header only"),
        pytest.param("#cloud-config", id="no line end"),
        pytest.param("#cloud-config\n---\n# a comment\n", id="comments only"),
        pytest.param("#cloud-config  \npackages: [git]\n", id="blanks after the header"),
        pytest.param("#cloud-config\nfinal_message: \U0001f600 \u00fc\n", id="non-ASCII"),
        pytest.param("#cloud-config\nswap: &x {size: 1G}\nntp: {<<: *x, size: 2G}\n", id="anchors"),
        pytest.param("#cloud-config\nbootcmd:\n  - echo {{ no template\n", id="half a template mark"),
        pytest.param("#!/bin/sh\necho ${name%}\necho {% }}\n", id="marks of no template"),
        pytest.param("#cloud-config\nmerge_how: &x [*x]\n", id="loop"),
        pytest.param("#!/bin/bash\necho 'unbalanced\n", id="script"),
        pytest.param("#!/bin/sh\nrun_cmd: 1\nruncmd: 1\nruncmd: 1\n", id="script that looks like YAML"),
        pytest.param("#!/usr/bin/env python3\nprint({1: 2})\n", id="Python script"),
        pytest.param("#!/bin/sh\n" + "x" * LONGEST_SCRIPT, id="largest size"),
    ],
)
def test_valid_user_data_is_accepted(text: str) -> None:
    assert check_user_data(text) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "must begin with", id="empty"),
        pytest.param(" \n", "must begin with", id="blank"),
        pytest.param("packages: [git]\n", "must begin with a line '#cloud-config' or with '#!/', and", id="no header"),
        pytest.param("\n#cloud-config\n", "must begin with", id="blank line before the header"),
        pytest.param(" #cloud-config\n", "must begin with", id="blank before the header"),
        pytest.param("\t#cloud-config\na: [", "must begin with", id="tab before the header"),
        pytest.param("\ufeff#cloud-config\n", "must begin with", id="BOM"),
        pytest.param(" #!/bin/sh\n", "must begin with", id="blank before a script"),
        pytest.param("#! /bin/sh\n", "must begin with", id="blank after #!"),
        pytest.param("#!bin/sh\n", "must begin with", id="relative interpreter"),
        pytest.param("#Cloud-Config\n", "must begin with", id="wrong case"),
        pytest.param("#cloud-configuration\n", "must begin with", id="longer word"),
        pytest.param("# cloud-config\n", "must begin with", id="comment"),
        pytest.param("#include https://example.com/x\n", "must begin with", id="include"),
        pytest.param("Content-Type: multipart/mixed\n", "must begin with", id="MIME"),
        pytest.param("## template: jinja\n#cloud-config\n", "must begin with", id="jinja"),
        pytest.param("#cloud-config-archive\n- {type: text/cloud-config, content: x}\n", "must begin", id="archive"),
        pytest.param(
            "#!/bin/sh\n" + "x" * (LONGEST_SCRIPT + 1), "is 65537 bytes long; .* at most 65536", id="one byte too large"
        ),
        pytest.param(
            "#!/bin/sh\n" + "\u00fc" * (LONGEST_SCRIPT // 2 + 1),
            "is 65538 bytes long",
            id="too large in bytes, not in characters",
        ),
        pytest.param("#cloud-config\n- a\n", "must be a YAML mapping", id="list"),
        pytest.param("#cloud-config\njust words\n", "must be a YAML mapping", id="text"),
        pytest.param("#cloud-config\nfalse\n", "must be a YAML mapping", id="boolean"),
        pytest.param("#cloud-config\na: [1,\n", r"is not valid YAML \(line \d, column \d\)", id="open bracket"),
        pytest.param("#cloud-config\na: b: c\n", r"is not valid YAML \(line 2, column 5\)", id="two colons"),
        pytest.param("#cloud-config\n\ta: b\n", "is not valid YAML", id="tab"),
        pytest.param("#cloud-config\na: !secret x\n", "is not valid YAML", id="unknown tag"),
        pytest.param("#cloud-config\na: *x\n", "is not valid YAML", id="unknown anchor"),
        pytest.param("#cloud-config\n---\na: 1\n---\nb: 2\n", "is not valid YAML", id="two documents"),
        pytest.param("#cloud-config\n{[a]: b}\n", "is not valid YAML", id="unhashable key"),
        pytest.param("#cloud-config\na: \x00\n", "is not valid YAML", id="control character"),
        pytest.param("#cloud-config\na: \ud800\n", "is not valid YAML", id="lone surrogate"),
        pytest.param("#cloud-config\na: 2026-99-99\n", "is not valid YAML", id="impossible date"),
        pytest.param("#cloud-config\na: " + "[" * 5000 + "]" * 5000, "is not valid YAML", id="nested too deeply"),
        pytest.param('#cloud-config\na: !!int ""\n', "is not valid YAML", id="empty number"),
        pytest.param('#cloud-config\na: !!float ""\n', "is not valid YAML", id="empty fraction"),
        pytest.param("#cloud-config\na: !!bool maybe\n", "is not valid YAML", id="invalid boolean"),
        pytest.param("#cloud-config\na: !!timestamp soon\n", "is not valid YAML", id="invalid timestamp"),
    ],
)
def test_invalid_user_data_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}"):
        check_user_data(text)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("#cloud-config\nhostname: '{{ name }}'\n", "holds template marks in line 2;"),
        ("#!/bin/sh\n\n\necho {{ a }} {{ b }}\n{{ c }}\n", "holds template marks in line 4;"),
        ("#!/bin/sh\n{% if x %}\n", "holds template marks in line 2;"),
        ("#cloud-config\n## template: jinja\nhostname: x{{ ds.x }}\n", "holds template marks in line 3;"),
    ],
)
def test_template_marks_cause_a_warning(text: str, warning: str) -> None:
    [message] = check_user_data(text)
    assert message.startswith("cloud_init ") and warning in message


def test_all_warnings_are_returned() -> None:
    assert len(check_user_data(f"#!/bin/sh\n{{{{ a }}}}\nhf_{'a' * 34}\n")) == 2


@pytest.mark.parametrize(
    ("key", "shown", "nearest"),
    [
        ("write_file", " write_file", "write_files"),
        ("run_cmd", " run_cmd", "runcmd"),
        ("write-files", "", "write_files"),
        ("Packages", "", "packages"),
        ("ca_cert", " ca_cert", "ca_certs"),
        ("network", " network", ""),
        ("my2", "", ""),
        ("'a key'", "", ""),
        ("1", "", ""),
        ("x" * 41, "", ""),
    ],
)
def test_unknown_key_causes_a_warning(key: str, shown: str, nearest: str) -> None:
    [message] = check_user_data(f"#cloud-config\npackages: [git]\n\n{key}: [x]\n")
    hint = f"; did you mean {nearest}?" if nearest else "."
    assert message == f"cloud_init holds the key{shown}, which cloud-init does not know and ignores{hint}"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("write_files: /etc/motd", "write_files must be a list"),
        ("runcmd: ls", "runcmd must be a list"),
        ("bootcmd:", "bootcmd must be a list"),
        ("ssh_authorized_keys: ssh-ed25519 A", "ssh_authorized_keys must be a list"),
        ("chpasswd: [a]", "chpasswd must be a mapping"),
        ("ntp: true", "ntp must be a mapping"),
        ("hostname: 7", "hostname must be text"),
        ("timezone: [UTC]", "timezone must be text"),
        ("packages: git", "packages should be a list"),
        ("users: 5", "users should be a list, a mapping or text"),
        ("swap: 4G", "swap should be a mapping"),
        ("fqdn: 1.5", "fqdn should be text"),
        ("locale: 7", "locale should be text, true or false"),
        ("package_update: 'yes'", "package_update should be true or false"),
        ("disable_root: 1", "disable_root should be true or false"),
    ],
)
def test_wrong_type_is_refused_or_causes_a_warning(line: str, fault: str) -> None:
    """A type that would stop cloud-init is refused."""
    text = f"#cloud-config\n{line}\n"
    if " must " in fault:
        with pytest.raises(ValueError, match=f"^{fault}$"):
            check_user_data(text)
    else:
        assert check_user_data(text) == [f"cloud_init may not work as intended: {fault}."]


@pytest.mark.parametrize(
    "line", ["ntp:", "users: default", "groups: {a: [b]}", "ssh_pwauth: unchanged", "locale: false", "mounts: []"]
)
def test_values_of_accepted_types_cause_no_warning(line: str) -> None:
    assert check_user_data(f"#cloud-config\n{line}\n") == []


def test_keys_with_checked_types_are_known_and_unique() -> None:
    keys = [key for _demand, _kinds, names in user_data._KINDS for key in names.split()]
    assert len(keys) == len(set(keys)) and user_data.KEYS.issuperset(keys)


PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\n    x\n\n    -----END OPENSSH PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"#!/bin/sh\ncat > key << END\n{PEM}\nEND\n", 3),
        (f"#cloud-config\nwrite_files:\n- path: /k\n  content: |\n    {PEM}\n", 5),
        (f"#cloud-config\nssh_keys:\n  rsa_private: |\n    {PEM}\nfinal_message: {PEM[:35]}\n", 8),
        (f"#cloud-config\nssh_keys:\n  rsa_private: |\n    {PEM}\n", None),
        ('#cloud-config\n"ssh_keys": {"rsa_private": "-----BEGIN RSA PRIVATE KEY-----"}\n', None),
        ("#!/bin/sh\n# -----BEGIN PUBLIC KEY-----\n", None),
    ],
)
def test_private_key_outside_ssh_keys_causes_a_warning(text: str, line: int | None) -> None:
    warning = (
        "cloud_init seems to hold a private key in line {}. Every process of the machine, and the vendor, can read it."
    )
    assert check_user_data(text) == ([] if line is None else [warning.format(line)])


def test_only_unknown_keys_at_the_top_cause_warnings() -> None:
    messages = check_user_data("#cloud-config\nfoo: 1\nswap: {bar: 1}\nqux: 1\n")
    assert ["key foo," in messages[0], "key qux," in messages[1], len(messages)] == [True, True, 2]


@pytest.mark.parametrize("key", ["launch-index", "ca-certs", "merge_how", "vendor_data", "rpi_userconf", "apt_sources"])
def test_known_keys_cause_no_warning(key: str) -> None:
    assert check_user_data(f"#cloud-config\n{key}: {{}}\n") == []


LETTERS = "Abcdefghij0123456789Abcdefghij0123456789"
TOKENS = [
    *(f"git clone https://x:gh{kind}_{LETTERS}@github.com/x" for kind in "oprsu"),
    f"x=github_pat_{LETTERS}",
    f"x=glpat-{LETTERS}",
    f"# x=hf_{LETTERS}",
    "x=AKIA0123456789ABCDEF",
    "x=xoxb-123456789012",
    f"tailscale up --auth-key=tskey-auth-{LETTERS}",
]


@pytest.mark.parametrize("line", TOKENS)
def test_token_causes_a_warning(line: str) -> None:
    assert check_user_data(f"#!/bin/sh\n\n{line}\n{line}\n") == [
        "cloud_init seems to hold a token in line 3. Every process of the machine, and the vendor, can read it."
    ]


@pytest.mark.parametrize("line", ["hf_transfer", f"mkfs /dev/disk-{LETTERS}", "gh_x", "AKIA", "password: RANDOM"])
def test_other_words_are_not_taken_for_tokens(line: str) -> None:
    assert check_user_data(f"#!/bin/sh\n{line}\n") == []


@pytest.mark.parametrize("piece", ["{{", "{%", ":a", "password:", "wandb", "a|chpasswd ", "sk-", "-----BEGIN ", " "])
def test_check_of_any_text_takes_less_than_a_second(piece: str) -> None:
    before = time.process_time()
    check_user_data("#!/bin/sh\n" + (piece * LONGEST_SCRIPT)[:LONGEST_SCRIPT])
    assert time.process_time() - before < 1


def test_yaml_is_not_checked_without_pyyaml(import_without: Callable[..., Any]) -> None:
    bare = import_without(user_data, "yaml")
    assert bare.check_user_data("#cloud-config\na: [\n") == []
    assert bare.check_user_data("#cloud-config\nrun_cmd: 1\n") == []
    with pytest.raises(ValueError, match="must begin with"):
        bare.check_user_data("a: [\n")


SECRET = "hunter22"
TAGS = ["!!int ", "!!bool ", "!!timestamp ", "!!binary ", "!!set ", "!"]
SCALARS = ["2026-01-99", "0x", "1:2", ".inf", "~", '""', SECRET]
KEYS = [
    "runcmd:",
    "write_files: ",
    "users: ",
    "path: ",
    "password: ",
    "chpasswd: ",
    "ssh_keys: ",
    f"hf_{'a' * 34}",
    "sk-",
]
LINES = ["\n", "\r\n", "\n  ", "\n- ", "\na: ", "---\n", "...\n", "a: ", "- ", "? ", ": ", "<<: "]
CHARACTERS = [*"[]{}'\"&*|>%@`\\\t\x00\x07\u2028", "\ud800", "{{", "}}", "{%", "%}"]
PIECES = st.sampled_from([*TAGS, *SCALARS, *LINES, *KEYS, *CHARACTERS])


@given(
    st.sampled_from(["", "#cloud-config\n", "#cloud-config-archive\n", "#!/bin/sh\n", " #cloud-config\n", "\ufeff#!/"]),
    st.text() | st.lists(PIECES, max_size=12).map("".join),
)
def test_messages_about_any_text_do_not_quote_it(header: str, rest: str) -> None:
    try:
        messages = check_user_data(header + rest)
    except ValueError as error:
        messages = [str(error)]
    assert SECRET not in " ".join(messages)


@pytest.mark.parametrize(
    "line",
    [
        f"a: {{{SECRET}",
        f"{SECRET}: [",
        f"a: !{SECRET} b",
        f"a: !it's-{SECRET} b",
        f"a: !%22it's%22{SECRET} b",
        f"a: *{SECRET}",
        f"a: &{SECRET} [",
        f"a: %{SECRET}",
        f"a: '{SECRET}",
        f'a: "\\q{SECRET}"',
        f"a: |{SECRET}",
        f"a: @{SECRET}",
        f"a: 1\n%{SECRET}",
        f"%TAG {SECRET}",
        f"a: !!bool {SECRET}",
        f"a: !!binary \u00fc{SECRET}",
        f"? {SECRET}\n? {SECRET}\n- x",
        f"- {SECRET}",
        SECRET,
    ],
)
def test_messages_about_invalid_yaml_do_not_quote_it(line: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_user_data(f"#cloud-config\n{line}\n")
    assert SECRET not in str(caught.value)


def defer_values(*files: Any, mounts: Any = ()) -> Any:
    """The key `defer` of each of these files in the completed cloud-config."""
    return [file.get("defer") for file in completed({"write_files": files, "mounts": mounts})["write_files"]]


@pytest.mark.parametrize(
    ("config", "complete"),
    [
        ({"hostname": "", "packages": [], "users": [], "write_files": [], "mounts": [], "ssh_keys": {}}, {}),
        ({"hostname": None}, {}),
        ({"hostname": 7}, {"hostname": "7"}),
        ({"packages": ["git"]}, {"package_update": True, "packages": ["git"]}),
        ({"users": [{"name": "ml"}]}, {"users": ["default", {"name": "ml"}]}),
        ({"runcmd": ["a", ["b"]], "timezone": "UTC"}, {"runcmd": ["a", ["b"]], "timezone": "UTC"}),
    ],
)
def test_completed_adds_required_keys_and_drops_empty_values(config: Any, complete: Any) -> None:
    assert completed(config) == complete


def test_completed_defers_files_of_users_and_on_mounts() -> None:
    owned = [{"path": "/a", "owner": owner} for owner in ("root", "root:root", "ml:ml", "root:adm", "rooted")]
    assert defer_values({"path": "/a"}, *owned) == [None, None, None, True, True, True]
    mounts = [["/dev/vdb", "/data"], ["/dev/vdc", "/sr.v", "xfs"], ["swap"], ["ephemeral0", None]]
    paths = [{"path": path} for path in ("/data/x", "/database/x", "/data", "/sr.v/x", "/srXv/x", "/home/data/x")]
    assert defer_values(*paths, mounts=mounts) == [True, None, None, True, None, None]
    assert defer_values({"path": "/data/x", "defer": False}, mounts=mounts) == [False]
