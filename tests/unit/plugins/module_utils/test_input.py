# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of options before any request is sent. No message quotes a token or key."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._ansible import operation
from ansible_collections.compute_index.supply.plugins.module_utils._provision import declaration
from hypothesis import given
from hypothesis import strategies as st

from samples import KEY, OFFER_ID, PRIVATE_KEY, public_key

# Ids


@pytest.mark.parametrize(
    "value", [OFFER_ID, OFFER_ID.upper(), f"  {OFFER_ID}\n"], ids=["plain", "upper case", "blanks"]
)
def test_check_uuid_normalizes_ids(value: str) -> None:
    assert operation.check_uuid(value) == OFFER_ID


@pytest.mark.parametrize(
    "value",
    [
        "",
        "abc-123",
        OFFER_ID[:-1],
        OFFER_ID + "0",
        OFFER_ID.replace("-", ""),
        OFFER_ID.replace("5", "g"),
        f"{{{OFFER_ID}}}",
        f"urn:uuid:{OFFER_ID}",
        f"{OFFER_ID}/status",
        f"{OFFER_ID}\nx",
        "\u0661" + OFFER_ID[1:],
        "None",
    ],
)
def test_check_uuid_refuses_and_shows_other_texts(value: str) -> None:
    with pytest.raises(ValueError, match="must be a UUID") as caught:
        operation.check_uuid(value)
    shown = value.replace("\n", "\ufffd")  # control characters never reach a terminal
    assert f"'{shown}'" in str(caught.value)


def test_check_uuid_cuts_long_texts_in_its_message() -> None:
    with pytest.raises(ValueError, match="'" + "x" * 60 + "'$"):
        operation.check_uuid("x" * 60)
    with pytest.raises(ValueError) as caught:
        operation.check_uuid("x" * 1000)
    assert str(caught.value).endswith("'" + "x" * 60 + "...'")


# The token


@pytest.mark.parametrize("value", ["t0ken", " t0ken\n", '!~+/=.-_"\\'])
def test_check_token_strips_blanks(value: str) -> None:
    assert operation.check_token(value) == value.strip()


@pytest.mark.parametrize("value", [None, "", " \n"])
def test_missing_token_error_names_the_environment_variable(value: str | None) -> None:
    with pytest.raises(ValueError, match=r"is missing: .* COMPUTE_INDEX_API_TOKEN"):
        operation.check_token(value)


@pytest.mark.parametrize(
    "value", ["two words", "line1\nline2", "line1\r\nX-Evil: 1", "t\u00f6ken", "t\x00ken", "t\x7fken"]
)
def test_token_that_is_invalid_in_a_header_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ValueError, match="no HTTP header may carry") as caught:
        operation.check_token(value)
    assert value not in str(caught.value)


# Keys

ECDSA = b"nistp256", b"\x04" + bytes(64)
KEYS = {
    "ssh-ed25519": (bytes(range(32)),),
    "ssh-rsa": (b"\x01\x00\x01", b"\x00" + b"\xab" * 256),
    "ecdsa-sha2-nistp256": ECDSA,
    "ecdsa-sha2-nistp384": (b"nistp384", b"\x04" + bytes(96)),
    "ecdsa-sha2-nistp521": (b"nistp521", b"\x04" + bytes(132)),
    "sk-ssh-ed25519@openssh.com": (bytes(range(32)), b"ssh:"),
    "sk-ecdsa-sha2-nistp256@openssh.com": (*ECDSA, b"ssh:"),
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("comment", ["", " me@example.com", " a comment of words"])
def test_public_keys_of_all_types_are_accepted(kind: str, comment: str) -> None:
    key = public_key(kind, *KEYS[kind], comment=comment)
    assert declaration.check_ssh_public_key(f" {key}\n") == key


def test_repeated_blanks_in_a_public_key_are_accepted() -> None:
    assert declaration.check_ssh_public_key(KEY.replace(" ", "  "))


def blob_of(key: str) -> str:
    return key.split(" ")[1]


def encoded(blob: bytes) -> str:
    return base64.b64encode(blob).decode()


RSA = base64.b64decode(blob_of(public_key("ssh-rsa", *KEYS["ssh-rsa"])))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param("", "is empty", id="empty"),
        pytest.param(" \n", "is empty", id="blank"),
        pytest.param(PRIVATE_KEY, "is a PRIVATE key", id="OpenSSH private"),
        pytest.param(PRIVATE_KEY.replace("OPENSSH", "RSA"), "is a PRIVATE key", id="RSA private"),
        pytest.param(PRIVATE_KEY.replace("OPENSSH ", ""), "is a PRIVATE key", id="PKCS 8 private"),
        pytest.param(PRIVATE_KEY.replace("\n", " "), "is a PRIVATE key", id="private on one line"),
        pytest.param("PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\n", "is a PRIVATE key", id="PuTTY private"),
        pytest.param(f"{KEY}\n{KEY}", "must be one key on one line", id="two keys"),
        pytest.param(f"{KEY}\r{KEY}", "must be one key on one line", id="two keys separated by a carriage return"),
        pytest.param(
            "\n".join(PRIVATE_KEY.splitlines()[1:2]), "must begin with the key's type", id="private without header"
        ),
        pytest.param(blob_of(KEY), "must begin with the key's type", id="no type"),
        pytest.param(public_key("ssh-dss"), "must begin with the key's type", id="dss"),
        pytest.param(
            public_key("ssh-ed25519-cert-v01@openssh.com"), "must begin with the key's type", id="certificate"
        ),
        pytest.param(f'from="10.0.0.0/8" {KEY}', "must begin with the key's type", id="with options"),
        pytest.param("ssh-ed25519\t" + blob_of(KEY), "must begin with the key's type", id="tab"),
        pytest.param("~/.ssh/id_ed25519.pub", "must begin with the key's type", id="path"),
        pytest.param("{{ key }}", "must begin with the key's type", id="template"),
        pytest.param("ssh-ed25519", "is damaged", id="type alone"),
        pytest.param("ssh-ed25519 me@example.com", "is damaged", id="no blob"),
        pytest.param(f"ssh-ed25519 {blob_of(KEY)[:-1]}", "is damaged", id="last character missing"),
        pytest.param(f"ssh-ed25519 {blob_of(KEY)[:20]}", "is damaged", id="type name only"),
        pytest.param(f"ssh-ed25519 {blob_of(KEY)[:-8]}", "is damaged", id="cut"),
        pytest.param(f"ssh-ed25519 {blob_of(KEY)[:40]}...", "is damaged", id="abbreviated"),
        pytest.param(f"ssh-rsa {blob_of(KEY)}", "is damaged", id="another type in the blob"),
        pytest.param(f"ssh-ed25519 {base64.b64encode(b'x' * 51).decode()}", "is damaged", id="not a key blob"),
        pytest.param("ssh-ed25519 \u00fcber", "is damaged", id="non-ASCII"),
        pytest.param(f"ssh-rsa {encoded(RSA[:-3])}", "is damaged", id="cut RSA key"),
        pytest.param(f"ssh-rsa {encoded(RSA + bytes(1))}", "is damaged", id="cut length of zero"),
        pytest.param(f"ssh-rsa {encoded(RSA + bytes([0, 1]))}", "is damaged", id="cut length"),
        pytest.param(public_key("ssh-ed25519", b""), "is damaged", id="empty key"),
        pytest.param(public_key("ssh-rsa", b"\x03", b""), "is damaged", id="empty modulus"),
        pytest.param(public_key("ssh-ed25519", bytes(31)), "is damaged", id="too short for ed25519"),
        pytest.param(
            public_key("sk-ssh-ed25519@openssh.com", bytes(33), b"ssh:"), "is damaged", id="too long for a security key"
        ),
        pytest.param(f"ssh-ed25519 {blob_of(KEY)[:40]}!{blob_of(KEY)[40:]}", "is damaged", id="character inserted"),
    ],
)
def test_invalid_public_key_is_refused_and_not_shown(value: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}") as caught:
        declaration.check_ssh_public_key(value)
    message = str(caught.value)
    assert not [word for word in value.split() if len(word) > 40 and word in message]


# Seconds


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (operation.check_seconds, 0),
        (operation.check_seconds, 0.5),
        (operation.check_timeout, 1),
        (operation.check_timeout, 3600),
    ],
)
def test_valid_seconds_are_accepted(check: Callable[[float], float], value: float) -> None:
    assert check(value) == value


@pytest.mark.parametrize("check", [operation.check_seconds, operation.check_timeout])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), float("-inf")])
def test_negative_and_infinite_seconds_are_refused(check: Callable[[float], float], value: float) -> None:
    with pytest.raises(ValueError, match="must be a number of seconds"):
        check(value)


@pytest.mark.parametrize("value", [0, 0.99])
def test_timeout_below_one_second_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        operation.check_timeout(value)


@pytest.mark.parametrize("value", [1e10, 1e300])
def test_timeout_too_large_for_a_socket_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="must be a number of seconds"):
        operation.check_timeout(value)


@pytest.mark.parametrize("check", [operation.check_uuid, operation.check_token, declaration.check_ssh_public_key])
@given(value=st.text() | st.text(max_size=30).map(lambda text: f"ssh-ed25519 {text}"))
def test_checks_accept_or_refuse_any_text(check: Callable[[str], Any], value: str) -> None:
    try:
        assert check(value)
    except ValueError as error:
        assert str(error)
