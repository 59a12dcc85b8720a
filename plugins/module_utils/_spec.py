# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The argument specs of the modules."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import env_fallback

from ._states import KINDS

DEFAULT_URL = "https://supply-api.compute-index.com"
REGISTRY_URL = "COMPUTE_INDEX_REGISTRY_URL"  # an environment variable

Spec = dict[str, dict[str, t.Any]]

API: Spec = {
    "api_token": {"type": "str", "no_log": True, "fallback": (env_fallback, ["COMPUTE_INDEX_API_TOKEN"])},
    "api_url": {"type": "str", "default": DEFAULT_URL, "fallback": (env_fallback, ["COMPUTE_INDEX_API_URL"])},
    "api_timeout": {"type": "float", "default": 60},
    "api_retries": {"type": "int", "default": 5},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
}

PROCURE_OFFER: Spec = {
    "offer_id": {"type": "str", "required": True},
    # A public key is not secret, but a private key that someone pastes here must not appear in a log.
    "ssh_public_key": {"type": "str", "required": True, "no_log": True},
    "cloud_init": {"type": "str", "no_log": True},
    "resource_name": {"type": "str"},
    "cluster_name": {"type": "str"},
    "price_per_hour": {"type": "float"},
    "max_price_per_hour": {"type": "float"},
    "procure_timeout": {"type": "float", "default": 600},
    "settle_timeout": {"type": "float", "default": 30},
    "registry_file": {"type": "path"},
    "registry_url": {"type": "str", "no_log": True, "fallback": (env_fallback, [REGISTRY_URL])},
    "account_name": {"type": "str", "default": "", "fallback": (env_fallback, ["COMPUTE_INDEX_ACCOUNT"])},
    "max_total_price_per_hour": {"type": "float"},
    "max_account_price_per_hour": {"type": "float"},
    "project": {"type": "str", "default": "default"},
    "host": {"type": "str"},
    "note": {"type": "dict", "default": {}},
    "account": {"type": "str"},
    "listed_before": {"type": "list", "elements": "str", "default": []},
    "sealed": {"type": "dict", "default": {}},
    "plan": {"type": "dict"},  # the action plugin turns it into options
}

OFFER_STATUS: Spec = {
    "offer_id": {"type": "str"},
    "offer_ids": {"type": "list", "elements": "str"},
}

RESOURCE_INFO: Spec = {
    "resource_id": {"type": "str"},
    "offer_id": {"type": "str"},
    "name": {"type": "str"},
    "states": {"type": "list", "elements": "str"},
    "kinds": {"type": "list", "elements": "str", "choices": list(KINDS)},
    "force_refresh": {"type": "bool", "default": False},
}

CATALOG_INFO: Spec = {
    "kind": {"type": "str", "required": True, "choices": ["gpus", "vendors", "regions", "contracts", "storage"]},
}

DELETE_RESOURCE: Spec = {
    "resource_id": {"type": "str", "required": True},
    "force": {"type": "bool", "default": False},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "float", "default": 300},
    "accepted": {"type": "bool", "default": False},
}

OFFER_INFO: Spec = {
    "spec": {"type": "dict"},
    "offer_id": {"type": "str"},
    "limit": {"type": "int"},
}

REGISTRY_ENTRY: Spec = {
    "path": {"type": "path", "required": True},
    "variables": {"type": "dict", "default": {}},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}

WAIT_FOR_BOOT: Spec = {
    "connect_timeout": {"type": "float", "default": 600},
    "boot_timeout": {"type": "str", "default": "30m"},
    "seeded": {"type": "bool", "default": False},
    "marked": {"type": "bool", "default": False},
}


RUN_FOLLOW: Spec = {
    "name": {"type": "str", "required": True},
    "follow": {"type": "bool", "default": True},
    "delay": {"type": "float", "default": 30},
}
# Modules of a run; an action plugin sends requests to its own module with ``step``.

RUN_FILES: Spec = {
    "name": {"type": "str", "required": True},
    "src": {"type": "path", "required": True},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "step": {"type": "dict"},
}

RUN_JOB: Spec = {
    "name": {"type": "str", "required": True},
    "command": {"type": "str", "required": True},
    "setup": {"type": "str", "default": ""},
    "env": {"type": "dict", "default": {}, "no_log": True},
    "digest": {"type": "str", "required": True},
    "time": {"type": "float", "default": 0},
    "results": {"type": "list", "elements": "str", "default": []},
    "again": {"type": "bool", "default": False},
}

RUN_INFO: Spec = {
    "name": {"type": "str", "required": True},
    "lines": {"type": "int", "default": 20},
}

RUN_RESULTS: Spec = {
    "name": {"type": "str", "required": True},
    "paths": {"type": "list", "elements": "str", "default": []},
    "dest": {"type": "path", "required": True},
    "part_size": {"type": "int", "default": 64_000_000},
    "step": {"type": "dict"},
}
