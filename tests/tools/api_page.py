# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/api.md, the assumptions about the API, from the docstrings of the probe's rules.

Run ``python tests/tools/api_page.py`` with the collection on the path. A rule's docstring has the form ``assumption.
Source: pages. If not: what the collection does.``
"""

from __future__ import annotations

from pathlib import Path

from ansible_collections.compute_index.supply.plugins.module_utils._probe.assumptions import ASSUMPTIONS
from ansible_collections.compute_index.supply.plugins.module_utils._states import (
    _JOINS,
    _OF_MACHINES,
    _OF_OTHER,
    _OF_STORAGE,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
BEGIN = """\
<!-- Made by tests/tools/api_page.py from the rules of plugins/module_utils/_probe. -->

# Assumptions about the API

The API's public pages sometimes contradict each other or say nothing. Each line below is an assumption, its source,
and what the collection does if it is wrong. The playbook [`probe`](playbooks.md#probe) checks each one by reads and,
if you allow it, by a purchase. It can write a recording: `make sandbox ARGS='--like recording.json'` then behaves in
the same way.

*Source* is a page of the API's documentation, or *inferred*: on no page, but deduced from them.
"""
# What stands above an assumption.
BEFORE = {
    "host": "## What reads tell\n\n### Token, clock and errors",
    "gpus": "### The market",
    "vocabulary": "### Purchases and machines",
    "post-time": """\
`names`, `deleted-listed` and `deleted-read` need the registry of machines that this collection bought or ended. The
rows about machines need a running one, `odd-words` and `progress` one that is starting.

## What a purchase tells

With [`probe_buy`](playbooks.md#probe) the playbook buys one machine, follows it and ends it. Times are accurate to a
few seconds.""",
}
HEAD = "| id | assumption | source | if it is wrong |\n|---|---|---|---|\n"
# What no read and no purchase shows, by the simulator's switch for other behaviour; by a word with hyphens if there is
# none, since the collection does the same in either case.
UNSEEN = {
    "second_purchase_status": (
        "an offer can be sold once; a second purchase gets 409. Trying it might buy another machine"
    ),
    "delete_again_status": "a second DELETE gets 409. A machine that is ending is only read",
    "runs_user_data": "machines run user data, containers too; see [did it run?](cloud-init.md#did-it-run)",
    "reissue": "unsold machines are offered again under another id, which nothing connects with the first",
    "storage_shown": (
        "persistent storage is shown like its machine: by the answer to the purchase, the status, the list "
        "and the machine's `linked_resources`. That it has an id of its own, and outlives the machine, is "
        "documented (guide to storage)"
    ),
    "storage_word": "its `resource_type` has one of [the words for storage](#words-for-a-resource)",
    "storage_names_offer": "it names the offer that it was bought with, as a machine does",
    "storage_price": "it has a price of its own, which is not part of its machine's",
    "storage_after_machine": "it stays as it is when its machine ends, and is billed until it is deleted by its own id",
    "failed-leaves": "a purchase that failed may have left machines, which are looked for, and billed until they end",
    "force": (
        "what runs or is under way can be deleted without `force`. If it gets 409, `decommission` fails with the API's "
        "sentence and says what is billed; `decommission_force` sends `force`"
    ),
    "search-storage": "a search for storage alone is valid. It finds no machine, so nothing is bought",
    "size": "64 KB of user data are 65,536 bytes, not characters. More is refused before anything is sent",
    "words": "`link_type`, `offer_type` and `deployment_type` may be any words. They decide nothing",
}
END = """\
## What no check tells

Names of the simulator's settings are its switches for other behaviour. Without one both are the same to the collection.

| question | assumption |
|---|---|
{unseen}

### Words for a resource

No page lists the values of `resource_type`. Capitals, separators and the plural do not matter. What follows {joins}
says nothing of the kind, nor does "optimized" with the word before it.

| words | kind |
|---|---|
| {machines} | `machine`: it can be a host |
| {storage}, as the last word or without a word for a machine | `storage`: never a host |
| one of these before a word for a machine (`storage_instance`) | `machine` if it has a login or GPUs, else `storage` |
| `nfs`, `ssd`, `drive`, `objectstore` and their like, last | `machine` if it has a login or GPUs, else `storage` |
| at the end: {other} | `other`: never a host |
| any other word | `machine`: it counts and ends as one, but is never logged in to |
| none | `machine`: its address decides whether it can be logged in to |
"""


def page() -> str:
    """The whole page."""
    written = BEGIN
    for assumption in ASSUMPTIONS:
        if assumption.id in BEFORE:
            written += f"\n{BEFORE[assumption.id]}\n\n{HEAD}"
        assert assumption.statement[1], assumption.rule.__doc__
        written += f"| `{assumption.id}` | {' | '.join(assumption.statement)} |\n"
    unseen = "\n".join(f"| `{switch}` | {meaning} |" for switch, meaning in UNSEEN.items())
    words = {
        "storage": _OF_STORAGE,
        "other": sorted(_OF_OTHER),
        "machines": sorted(_OF_MACHINES),
        "joins": sorted(_JOINS),
    }
    filled = {name: ", ".join(f"`{word}`" for word in listed) for name, listed in words.items()}
    return f"{written}\n{END.format(unseen=unseen, **filled)}"


if __name__ == "__main__":
    PAGE.write_text(page())
