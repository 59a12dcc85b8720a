# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""User data is checked before money is spent, and no message repeats any of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils import _cloud_init
from ansible_collections.compute_index.supply.plugins.module_utils._cloud_init import MOST_BYTES, check_user_data
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
        pytest.param("#cloud-config\nname: \U0001f600 \u00fc\n", id="non-ASCII"),
        pytest.param("#cloud-config\na: &x {b: 1}\nc: {<<: *x}\n", id="anchors"),
        pytest.param("#cloud-config\nbootcmd:\n  - echo {{ no template\n", id="half a template mark"),
        pytest.param("#cloud-config-archive\n- {type: text/cloud-config, content: x}\n", id="archive"),
        pytest.param("#!/bin/bash\necho 'unbalanced\n", id="script"),
        pytest.param("#!/usr/bin/env python3\nprint({1: 2})\n", id="script of another kind"),
        pytest.param("#!/bin/sh\n" + "x" * FULL, id="as large as it may be"),
    ],
)
def test_user_data_that_works(text: str) -> None:
    assert check_user_data(text) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "must begin with .*; it is empty$", id="empty"),
        pytest.param(" \n", "must begin with .*; it is empty$", id="blank"),
        pytest.param("packages: [git]\n", "must begin with a line '#cloud-config' or with '#!/'$", id="no header"),
        pytest.param("\n#cloud-config\n", "must begin with .*; there is a blank", id="blank line before"),
        pytest.param(" #cloud-config\n", "must begin with .*; there is a blank", id="blank before"),
        pytest.param("\t#cloud-config\na: [", "must begin with .*; there is a blank", id="tab before"),
        pytest.param("\ufeff#cloud-config\n", "must begin with .*; there is a blank or a byte order mark", id="BOM"),
        pytest.param(" #!/bin/sh\n", "must begin with .*; there is a blank", id="blank before a script"),
        pytest.param("#! /bin/sh\n", "must begin with", id="blank in a script's header"),
        pytest.param("#!bin/sh\n", "must begin with", id="relative interpreter"),
        pytest.param("#Cloud-Config\n", "must begin with", id="wrong case"),
        pytest.param("#cloud-configuration\n", "must begin with", id="longer word"),
        pytest.param("# cloud-config\n", "must begin with", id="comment"),
        pytest.param("#include https://example.com/x\n", "must begin with", id="include"),
        pytest.param("Content-Type: multipart/mixed\n", "must begin with", id="MIME"),
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
        ("#cloud-config\na: '{{ name }}'\n", "holds template marks in line 2;"),
        ("#!/bin/sh\n\n\necho {{ a }} {{ b }}\n{{ c }}\n", "holds template marks in line 4;"),
        ("#!/bin/sh\n{% if x %}\n", "holds template marks in line 2;"),
        ("#!/bin/sh\r\necho\r\n", "has Windows line ends"),
    ],
)
def test_user_data_that_may_be_meant_as_it_is(text: str, warning: str) -> None:
    [message] = check_user_data(text)
    assert message.startswith("cloud_init ") and warning in message


def test_several_warnings_may_come_together() -> None:
    assert len(check_user_data("#!/bin/sh\r\n{{ a }}\r\n")) == 2


def test_yaml_is_not_checked_without_pyyaml(import_without: Callable[..., Any]) -> None:
    bare = import_without(_cloud_init, "yaml")
    assert bare.check_user_data("#cloud-config\na: [\n") == []
    with pytest.raises(ValueError, match="must begin with"):
        bare.check_user_data("a: [\n")


SECRET = "hunter22"
TAGS = ["!!int ", "!!bool ", "!!timestamp ", "!!binary ", "!!set ", "!"]
SCALARS = ["2026-01-99", "0x", "1:2", ".inf", "~", '""', SECRET]
LINES = ["\n", "\r\n", "\n  ", "\n- ", "\na: ", "---\n", "...\n", "a: ", "- ", "? ", ": ", "<<: "]
CHARACTERS = [*"[]{}'\"&*|>%@`\\\t\x00\x07\u2028", "\ud800", "{{", "}}", "{%", "%}"]
PIECES = st.sampled_from([*TAGS, *SCALARS, *LINES, *CHARACTERS])


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
