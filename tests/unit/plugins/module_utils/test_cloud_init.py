# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""User data is checked before money is spent, and no message repeats any of it."""

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

FULL = MOST_BYTES - len("#!/bin/sh\n")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("#cloud-config\npackages: [git]\n", id="mapping"),
        pytest.param("#cloud-config\n", id="nothing below the header"),
        pytest.param("#cloud-config", id="no line end"),
        pytest.param("#cloud-config\n---\n# a comment\n", id="comments only"),
        pytest.param("#cloud-config  \npackages: [git]\n", id="blanks behind the header"),
        pytest.param("#cloud-config\nfinal_message: \U0001f600 \u00fc\n", id="non-ASCII"),
        pytest.param("#cloud-config\nswap: &x {size: 1G}\nntp: {<<: *x, size: 2G}\n", id="anchors"),
        pytest.param("#cloud-config\nbootcmd:\n  - echo {{ no template\n", id="half a template mark"),
        pytest.param("#cloud-config-archive\n- {type: text/cloud-config, content: x}\n", id="archive"),
        pytest.param("#cloud-config\nmerge_how: &x [*x]\n", id="loop"),
        pytest.param("#cloud-config-archive\n- x\n- {unknown_key: 1, runcmd: no list}\n", id="archive of other parts"),
        pytest.param("#!/bin/bash\necho 'unbalanced\n", id="script"),
        pytest.param("#!/bin/sh\nrun_cmd: 1\nruncmd: 1\nruncmd: 1\n", id="script that looks like YAML"),
        pytest.param("#!/usr/bin/env python3\nprint({1: 2})\n", id="script of another kind"),
        pytest.param("#!/bin/sh\n" + "x" * FULL, id="as large as it may be"),
    ],
)
def test_user_data_that_works(text: str) -> None:
    assert check_user_data(text) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "renders to nothing", id="empty"),
        pytest.param(" \n", "renders to nothing", id="blank"),
        pytest.param("packages: [git]\n", "must begin with a line '#cloud-config' or with '#!/'$", id="no header"),
        pytest.param("\n#cloud-config\n", "must begin with .*; there is white space", id="blank line before"),
        pytest.param(" #cloud-config\n", "must begin with .*; there is white space", id="blank before"),
        pytest.param("\t#cloud-config\na: [", "must begin with .*; there is white space", id="tab before"),
        pytest.param("\ufeff#cloud-config\n", "must begin with .*; there is white space or a byte order", id="BOM"),
        pytest.param(" #!/bin/sh\n", "must begin with .*; there is white space", id="blank before a script"),
        pytest.param("#! /bin/sh\n", "must begin with", id="blank in a script's header"),
        pytest.param("#!bin/sh\n", "must begin with", id="relative interpreter"),
        pytest.param("#Cloud-Config\n", "must begin with", id="wrong case"),
        pytest.param("#cloud-configuration\n", "must begin with", id="longer word"),
        pytest.param("# cloud-config\n", "must begin with", id="comment"),
        pytest.param("#include https://example.com/x\n", "must begin with", id="include"),
        pytest.param("Content-Type: multipart/mixed\n", "must begin with", id="MIME"),
        pytest.param("## template: jinja\n#cloud-config\n", "must begin with .* render it with Ansible", id="jinja"),
        pytest.param(
            "##Template:jinja\n#cloud-config\n", "must begin with .* render it with Ansible", id="jinja, terse"
        ),
        pytest.param("#!/bin/sh\n" + "x" * (FULL + 1), "is 65537 bytes long; .* at most 65536", id="a byte too large"),
        pytest.param("#!/bin/sh\n" + "\u00fc" * (FULL // 2 + 1), "is 65538 bytes long", id="bytes, not characters"),
        pytest.param("#cloud-config\n- a\n", "must be a YAML mapping", id="list"),
        pytest.param("#cloud-config\njust words\n", "must be a YAML mapping", id="text"),
        pytest.param("#cloud-config\nfalse\n", "must be a YAML mapping", id="boolean"),
        pytest.param("#cloud-config-archive\na: b\n", "must be a YAML list", id="archive that is a mapping"),
        pytest.param("#cloud-config\na: [1,\n", r"is no valid YAML: .* \(line \d, column \d\)", id="open bracket"),
        pytest.param("#cloud-config\na: b: c\n", r"is no valid YAML: .* \(line 2, column 5\)", id="two colons"),
        pytest.param("#cloud-config\n\ta: b\n", "is no valid YAML", id="tab"),
        pytest.param("#cloud-config\na: !secret x\n", "is no valid YAML", id="unknown tag"),
        pytest.param("#cloud-config\na: *x\n", "is no valid YAML", id="unknown anchor"),
        pytest.param("#cloud-config\n---\na: 1\n---\nb: 2\n", "is no valid YAML", id="two documents"),
        pytest.param("#cloud-config\n{[a]: b}\n", "is no valid YAML", id="unhashable key"),
        pytest.param("#cloud-config\na: \x00\n", "is no valid YAML", id="control character"),
        pytest.param("#cloud-config\na: \ud800\n", "is no valid YAML", id="half a character"),
        pytest.param("#cloud-config\na: 2026-99-99\n", "is no valid YAML", id="impossible date"),
        pytest.param("#cloud-config\na: " + "[" * 5000 + "]" * 5000, "is no valid YAML", id="nested too deeply"),
        pytest.param('#cloud-config\na: !!int ""\n', "is no valid YAML", id="empty number"),
        pytest.param('#cloud-config\na: !!float ""\n', "is no valid YAML", id="empty fraction"),
        pytest.param("#cloud-config\na: !!bool maybe\n", "is no valid YAML", id="no boolean"),
        pytest.param("#cloud-config\na: !!timestamp soon\n", "is no valid YAML", id="no time"),
    ],
)
def test_user_data_that_cannot_work(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}"):
        check_user_data(text)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("#cloud-config\nhostname: '{{ name }}'\n", "holds template marks in line 2;"),
        ("#!/bin/sh\n\n\necho {{ a }} {{ b }}\n{{ c }}\n", "holds template marks in line 4;"),
        ("#!/bin/sh\n{% if x %}\n", "holds template marks in line 2;"),
        ("#cloud-config\n## template: jinja\nhostname: x{{ ds.x }}\n", "holds template marks in line 3;"),
        ("#!/bin/sh\r\necho\r\n", "has Windows line ends"),
    ],
)
def test_user_data_that_may_be_meant_as_it_is(text: str, warning: str) -> None:
    [message] = check_user_data(text)
    assert message.startswith("cloud_init ") and warning in message


def test_several_warnings_may_come_together() -> None:
    assert len(check_user_data("#!/bin/sh\r\n{{ a }}\r\n")) == 2


@pytest.mark.parametrize(
    ("key", "named", "nearest"),
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
def test_a_key_that_cloud_init_does_not_know(key: str, named: str, nearest: str) -> None:
    [message] = check_user_data(f"#cloud-config\npackages: [git]\n\n{key}: [x]\n")
    hint = f"; did you mean {nearest}?" if nearest else "."
    assert message == f"cloud_init holds the key{named} in line 4, which cloud-init does not know and ignores{hint}"


def test_all_unknown_keys_are_named_but_only_those_of_the_top() -> None:
    messages = check_user_data("#cloud-config\nfoo: 1\nswap: {bar: 1}\n<<: {baz: 1}\nqux: 1\n")
    assert ["foo in line 2" in messages[0], "qux in line 5" in messages[1], len(messages)] == [True, True, 2]


@pytest.mark.parametrize("key", ["launch-index", "ca-certs", "merge_how", "vendor_data", "rpi_userconf", "apt_sources"])
def test_keys_that_cloud_init_knows(key: str) -> None:
    assert check_user_data(f"#cloud-config\n{key}: {{}}\n") == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("runcmd: [a]\nruncmd: [b]\n", "the key runcmd in line 3"),
        ("runcmd: [a]\n'runcmd': [b]\n", "the key runcmd in line 3"),
        ("write_files:\n- path: /a\n  path: /b\n", "the key path in line 4"),
        ("ntp: {x2: {}, x2: {}}\n", "the key in line 2"),
        ("runcmd: [a]\n? runcmd\n: [b]\n", "the key runcmd in line 3"),
    ],
)
def test_a_key_that_comes_twice(text: str, place: str) -> None:
    assert check_user_data(f"#cloud-config\n{text}") == [
        f"cloud_init holds {place}, a second time; only the last one counts."
    ]


# YAML below the header, and what the message says; the position is where the value is.
WRONG = [
    ("apt: [x]", "apt must be a mapping"),
    ("bootcmd: echo", "bootcmd must be a list"),
    ("runcmd: echo", "runcmd must be a list"),
    ("runcmd:", "runcmd must be a list"),
    ("runcmd: {a: b}", "runcmd must be a list"),
    ("runcmd: [a, [b], 3]", "runcmd[2] must be text or a list"),
    ("runcmd: [a, echo b: c]", "runcmd[1] must be text or a list (quote a text that holds ': ')"),
    ("ca_certs: x", "ca_certs must be a mapping"),
    ("ca-certs: x", "ca-certs must be a mapping"),
    ("chpasswd: x", "chpasswd must be a mapping"),
    ("chpasswd: {list: 5}", "chpasswd.list must be text or a list"),
    ("chpasswd: {list: [5]}", "chpasswd.list[0] must be text"),
    ("chpasswd: {users: [{name: x}, {type: RANDOM}]}", "chpasswd.users[1].name must be text"),
    ("chpasswd: {users: [x]}", "chpasswd.users[0] must be a mapping"),
    ("groups: 5", "groups must be text or a list or a mapping"),
    ("groups: [a, 5]", "groups[1] must be text or a mapping"),
    ("hostname: 5", "hostname must be text"),
    ("hostname: 2026-01-01", "hostname must be text"),
    ("mounts: /data", "mounts must be a list"),
    ("ntp: x", "ntp must be a mapping"),
    ("packages: [a, 5]", "packages[1] must be text or a list or a mapping"),
    ("snap: []", "snap must be a mapping"),
    ("ssh_authorized_keys: ssh-ed25519 x", "ssh_authorized_keys must be a list"),
    ("ssh_authorized_keys:", "ssh_authorized_keys must be a list"),
    ("ssh_authorized_keys: [{a: b}]", "ssh_authorized_keys[0] must be text (quote a text that holds ': ')"),
    ("ssh_keys: [x]", "ssh_keys must be a mapping"),
    ("timezone: 5", "timezone must be text"),
    ("users: [default, 5]", "users[1] must be text or a list or a mapping"),
    ("users: [{name: 5}]", "users[0].name must be text"),
    ("users: [{name: x, ssh_authorized_keys: }]", "users[0].ssh_authorized_keys must be a list"),
    ("write_files: {path: /x}", "write_files must be a list"),
    ("write_files: [/x]", "write_files[0] must be a mapping"),
    ("write_files: [{path: /x}, {path: /y}, {path: z}]", "write_files[2].path must be an absolute path"),
    ("write_files: [{path: ~/x}]", "write_files[0].path must be an absolute path"),
    ("write_files: [{path: 5}]", "write_files[0].path must be an absolute path"),
    ("write_files: [{content: x}]", "write_files[0].path must be an absolute path"),
    (
        "write_files: [{path: /x, content: {a: 1}}]",
        "write_files[0].content must be text (quote a text that holds ': ')",
    ),
    ("write_files: [{path: /x, content: 5}]", "write_files[0].content must be text"),
    ("write_files: [{path: /x, owner: 0}]", "write_files[0].owner must be text"),
    ("write_files: [{path: /x, source: x}]", "write_files[0].source must be a mapping"),
    ("x: &x {runcmd: 1}\n<<: *x", "runcmd must be a list"),
]


@pytest.mark.parametrize(("text", "reason"), WRONG)
def test_what_cloud_init_stumbles_over(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_user_data(f"#cloud-config\n{text}\n")
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("text", "misfit"),
    [
        *((f"{key}: 'yes'", f"{key} should be true or false") for key in ("package_update", "package_upgrade")),
        *((f"{key}: 1", f"{key} should be true or false") for key in ("apt_update", "apt_upgrade", "disable_root")),
        ("package_reboot_if_required: 1", "package_reboot_if_required should be true or false"),
        ("preserve_hostname:", "preserve_hostname should be true or false"),
        ("bootcmd: [[a, 5]]", "bootcmd[0][1] should be text"),
        ("runcmd: [[echo, yes]]", "runcmd[0][1] should be text"),
        ("fqdn: 5", "fqdn should be text"),
        ("final_message: [x]", "final_message should be text"),
        ("growpart: off", "growpart should be a mapping"),
        ("locale: 5", "locale should be text or true or false"),
        ("mounts: [x]", "mounts[0] should be a list"),
        ("packages: git", "packages should be a list"),
        ("packages: [[a, 5]]", "packages[0][1] should be text"),
        ("power_state: {mode: restart}", "power_state.mode should be poweroff, reboot or halt"),
        ("power_state: {delay: 5}", "power_state.mode should be poweroff, reboot or halt"),
        ("ssh_import_id: gh:x", "ssh_import_id should be a list"),
        ("ssh_pwauth: 5", "ssh_pwauth should be text or true or false"),
        ("swap: 8G", "swap should be a mapping"),
        ("user: [x]", "user should be text or a mapping"),
        ("users: 5", "users should be text or a list or a mapping"),
        ("users: [{shell: /bin/sh}]", "users[0].name should be text"),
        ("users: [{name: x, lock_passwd: 'no'}]", "users[0].lock_passwd should be true or false"),
        ("users: [{name: x, ssh_authorized_keys: y}]", "users[0].ssh_authorized_keys should be a list"),
        ("write_files: [{path: /x, append: 'no'}]", "write_files[0].append should be true or false"),
        ("write_files: [{path: /x, defer: 1}]", "write_files[0].defer should be true or false"),
        (
            "write_files: [{path: /x, encoding: base-64}]",
            "write_files[0].encoding should be b64, gz, gz+b64 or text/plain",
        ),
        *(
            (
                f"write_files: [{{path: /x, permissions: {value}}}]",
                "write_files[0].permissions should be octal digits in quotes, such as '0644'",
            )
            for value in ("0644", "644", "'0888'", "rw-r--r--")
        ),
    ],
)
def test_what_cloud_init_ignores_or_takes_for_something_else(text: str, misfit: str) -> None:
    assert check_user_data(f"#cloud-config\n{text}\n") == [f"cloud_init may not do what it is meant to: {misfit}."]


@pytest.mark.parametrize(
    "text",
    [
        "runcmd: [a, [b, c], ]",
        "runcmd:\n- # nothing but a comment\n- ls",
        "packages: [a, [b, '1.0'], {apt: [c, [d, '1']], snap: [e, [f, --edge]]}]",
        "users: default",
        "users: a,b",
        "users: {a: true, b: {}}",
        "users: [default, [a, b], {name: c, sudo: false, groups: [d], ssh_authorized_keys: [e], lock_passwd: true}]",
        "groups: [a, {b: [c]}]",
        "groups: {a: b}",
        "groups: a,b",
        "ssh_pwauth: unchanged",
        "locale: false",
        "ntp:",
        "power_state: {mode: reboot, delay: +5, condition: true}",
        "mounts: [[/dev/sdb, /data, ext4, defaults, 0, 2], [swap, null]]",
        "swap: {filename: /swap, size: auto, maxsize: 1000}",
        "chpasswd: {expire: false, users: [{name: a, type: RANDOM}], list: ['a:R']}",
        "write_files: [{path: /x}, {path: /y, content: , permissions: '0644', owner: 'a:b', append: true}]",
        "write_files: [{path: /x, defer: false}]",
        "write_files: [{path: /x, content: !!binary YQ==, encoding: GZ+B64, permissions: 0o755}]",
        "write_files: [{path: /x, source: {uri: 'https://example.com'}, encoding: text/plain}]",
    ],
)
def test_types_that_cloud_init_takes(text: str) -> None:
    assert check_user_data(f"#cloud-config\n{text}\n") == []


LETTERS = "Abcdefghij0123456789Abcdefghij0123456789"
HEX = "0123456789abcdef0123456789abcdef01234567"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (KEY, "a private key"),
        ("-----BEGIN PRIVATE KEY-----", "a private key"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----", "a private key"),
        *((f"git clone https://x:gh{kind}_{LETTERS}@github.com/x", "a GitHub token") for kind in "oprsu"),
        (f"x=github_pat_{LETTERS}", "a GitHub token"),
        (f"x=glpat-{LETTERS}", "a GitLab token"),
        (f"x=hf_{LETTERS}", "a Hugging Face token"),
        ("x=AKIA0123456789ABCDEF", "an AWS access key"),
        ("x=xoxb-123456789012", "a Slack token"),
        (f"x=sk-{LETTERS}", "an API key (sk-)"),
        (f"x=sk-proj-{LETTERS}", "an API key (sk-)"),
        (f"export WANDB_API_KEY={HEX}", "a W&B key"),
        (f"wandb login '{HEX}'", "a W&B key"),
        (f"tailscale up --auth-key=tskey-auth-{LETTERS}", "a Tailscale key"),
        (f"# {KEY}", "a private key"),
        ("password: hunter22", "a password in plain text"),
        ("  - {name: x, password: 'hunter22'}", "a password in plain text"),
        ('{"password":"hunter22"}', "a password in plain text"),
        ("passwd: hunter22", "a password in plain text"),
        ("plain_text_passwd: hunter22", "a password in plain text"),
        ("plain-text-passwd: |", "a password in plain text"),
        ("echo root:hunter22 | chpasswd", "a password in plain text"),
        ("echo 'root:hunter22'|sudo chpasswd", "a password in plain text"),
        ("chpasswd: {list: 'root:hunter22'}", "a password in plain text"),
    ],
)
def test_what_looks_like_a_secret(line: str, kind: str) -> None:
    for text, number in ((f"#!/bin/sh\n\n{line}\n{line}\n", 3), (f"#cloud-config-archive\n- |\n  x\n  {line}\n", 4)):
        if line.startswith("chpasswd:") and number == 4:
            continue  # a section counts only at the top of a cloud-config
        assert check_user_data(text) == [
            f"cloud_init seems to hold {kind} (line {number}). User data can be read by every process on the machine,"
            " and by the vendor."
        ]


@pytest.mark.parametrize(
    "line",
    [
        "-----BEGIN PUBLIC KEY-----",
        "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t x",
        "sk-ecdsa-sha2-nistp256@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2g x",
        f"mkfs /dev/disk-{LETTERS}",
        f"git checkout {HEX}",
        f"pip install wandb@{HEX}0",
        "hf_transfer",
        "lock_passwd: true",
        "hashed_passwd: hunter22",
        "passwd: $6$salt$hash",
        "passwd: '!'",
        "passwd: '*'",
        "password: RANDOM",
        "password: ''",
        "password:",
        "password: # none",
        "# password: hunter22",
        "passwd:         files systemd",
        'echo "root:$PASSWORD" | chpasswd',
        "echo 'root:abc' | chpasswd -e",
        "chpasswd < /etc/list",
    ],
)
def test_what_is_no_secret(line: str) -> None:
    assert check_user_data(f"#!/bin/sh\n{line}\n") == []


@pytest.mark.parametrize(
    ("entry", "secret"),
    [
        ("    root:hunter22", True),
        ("    root:R", False),
        ("    root:RANDOM", False),
        ("    root:$6$salt$hash", False),
        ("    # root:hunter22", False),
    ],
)
def test_passwords_in_the_list_of_chpasswd(entry: str, secret: bool) -> None:
    for end in ("", "hostname: gpu\n"):
        messages = check_user_data(f"#cloud-config\nchpasswd:\n  expire: false\n  list: |\n{entry}\n{end}")
        assert ["a password in plain text (line 5)" in message for message in messages] == [True] * secret


@pytest.mark.parametrize(
    "ssh_keys",
    [
        f"ssh_keys:\n  ed25519_private: |\n    {KEY}\n    x\n  ed25519_public: x\n",
        f"ssh_keys:\n    ed25519_private: '{KEY}\n\n        x\n\n        '\n",
        f'"ssh_keys":\n# a comment\n  rsa_private: "{KEY}\\nx"\n',
        f'{{"ssh_keys": {{"rsa_private": "{KEY}\\nx"}}}}\n',
    ],
)
def test_host_keys_are_meant_to_be_there(import_without: Callable[..., Any], ssh_keys: str) -> None:
    for module in (user_data, import_without(user_data, "yaml")):
        assert module.check_user_data(f"#cloud-config\n{ssh_keys}") == []


def test_other_private_keys_are_not() -> None:
    text = f"#cloud-config\nssh_keys:\n  rsa_private: '{KEY}'\nwrite_files:\n- path: /x\n  content: |\n    {KEY}\n"
    [message] = check_user_data(text)
    assert "a private key (line 7)" in message
    [message] = check_user_data(f"#cloud-config\nssh_keys:\n  rsa_private: hf_{LETTERS}\n")
    assert "a Hugging Face token (line 3)" in message


def test_secrets_share_a_warning_and_each_kind_is_named_once() -> None:
    [message] = check_user_data(f"#!/bin/sh\n{KEY}\n{KEY}\nx=hf_{LETTERS}; y=AKIA0123456789ABCDEF\n")
    assert "a private key (line 2), a Hugging Face token (line 4), an AWS access key (line 4). User" in message


@pytest.mark.parametrize("piece", ["{{", "{%", ":a", "password:", "wandb", "a|chpasswd ", "sk-", "-----BEGIN ", " "])
def test_no_text_takes_long(piece: str) -> None:
    before = time.process_time()
    check_user_data("#!/bin/sh\n" + (piece * FULL)[:FULL])
    assert time.process_time() - before < 1


def test_yaml_is_not_checked_without_pyyaml(import_without: Callable[..., Any]) -> None:
    bare = import_without(user_data, "yaml")
    assert bare.check_user_data("#cloud-config\na: [\n") == []
    assert bare.check_user_data("#cloud-config\nrun_cmd: 1\nruncmd: 1\n") == []
    assert len(bare.check_user_data("#cloud-config\npassword: hunter22\n")) == 1
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
def test_any_text_is_accepted_or_refused_without_repeating_it(header: str, rest: str) -> None:
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
def test_a_message_never_repeats_the_user_data(line: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_user_data(f"#cloud-config\n{line}\n")
    assert SECRET not in str(caught.value)


def written(*files: Any, mounts: Any = ()) -> Any:
    """Whether each of these files is written late."""
    found = completed({"write_files": files, "mounts": mounts})
    return [file.get("defer") for file in found["write_files"]]


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
def test_a_cloud_config_is_completed_and_what_is_empty_is_left_out(config: Any, complete: Any) -> None:
    assert completed(config) == complete


def test_files_of_users_and_on_mounts_are_written_late() -> None:
    owned = [{"path": "/a", "owner": owner} for owner in ("root", "root:root", "ml:ml", "root:adm", "rooted")]
    assert written({"path": "/a"}, *owned) == [None, None, None, True, True, True]
    mounts = [["/dev/vdb", "/data"], ["/dev/vdc", "/sr.v", "xfs"], ["swap"], ["ephemeral0", None]]
    paths = [{"path": path} for path in ("/data/x", "/database/x", "/data", "/sr.v/x", "/srXv/x", "/home/data/x")]
    assert written(*paths, mounts=mounts) == [True, None, None, True, None, None]
    assert written({"path": "/data/x", "defer": False}, mounts=mounts) == [False], "who says it gets it"
