# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator's switches: one for each contradiction or gap in the API's documentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class Settings:
    """All switches. They are read at every request, so a test may change them while the simulator runs.

    Durations are seconds. A purchase keeps the ``provision_seconds`` of the moment in which it was made.
    """

    token: str = "demo-token"
    """The only accepted bearer token (section 0)."""
    auth_failure_status: Literal[401, 403] = 401
    """Answer to a missing or wrong token; which of the two is unknown (section 0)."""

    clock_ahead: float = 0
    """Seconds by which the API's clock is ahead of this computer's."""

    offer_seconds: float = 1800
    """Life of an offer (section 7: 30 minutes)."""
    reissue: bool = True
    """A search lists an offer again, under a new id, if it expired unbought or its machines were all deleted."""
    gpu_count_required: bool = False
    """C4: a search without ``compute.gpu_count`` is invalid (True) or means 1 (False)."""
    lists_clusters: bool = True
    """A search also lists clusters of such machines (section 10.4: unknown), or only if it names ``node_count``."""
    total_price: bool = True
    """Whether offers carry ``total_price_per_hour`` (C13)."""

    procure_seconds: float = 0
    """How long POST /procure_offer blocks (C6: "long-running")."""
    purchase_at: Literal["start", "end"] = "start"
    """When in ``procure_seconds`` the purchase happens, and so when the status first shows it."""
    procure_answer: Literal["procured", "provisioning_in_progress"] = "procured"
    """``status`` in the answer to a purchase (section 3.3)."""
    procure_returns_ids: bool = True
    """Whether the answer to a purchase has ``resource_ids`` (section 2.4), or null."""
    second_purchase_status: int = 409
    """Answer to buying a bought offer again (unknown, section 2.4); 200 repeats the first purchase's answer."""
    keeps_name: bool = True
    """Whether ``resource_name`` and ``cluster_name`` become the resource's name (C3), or a generated one does."""

    provision_seconds: float = 0
    """From purchase to ready. 0: the machines are up before the purchase is answered. Machine i of n is up after
    i/n of it."""
    vocabulary: Literal["A", "B"] = "A"
    """The words of ``procurement_status`` (C1, section 3.2)."""
    odd_word: str | None = None
    """An undocumented ``procurement_status``, shown after the first third of the provisioning."""
    status_resources: Literal["resource_ids", "resources", "resource_objects"] | None = "resource_ids"
    """How the status names the resources (section 2.3): a list of ids called ``resource_ids`` or
    ``resources``, a list of objects called ``resources``, or nowhere (None)."""
    progress_field: str = "progress"
    """Name of the status answer's progress text (unknown, section 2.3)."""

    address_in: Literal["both", "ssh_command", "access"] = "both"
    """Which field has the SSH port (C18). ``ssh_command``: only there, ``access.ssh_port`` is null. ``access``: only
    in the resource's ``access.ssh_port``; instances carry ``external_ip`` and a null ``ssh_command``."""
    ssh_command: str = "ssh root@{ip} -p {port}"
    """Form of every ``ssh_command``; e.g. ``ssh -p {port} root@{ip}``, or ``ssh root@{ip}`` that hides the port."""
    ssh_delay_seconds: float = 0
    """How long a ready machine still refuses SSH connections."""
    runs_user_data: bool = True
    """Whether machines run their user data (unknown for containers, section 10.14). Simulated machines only write the
    mark by which the collection finds out."""

    sync_seconds: float = 30
    """Age after which GET /resources/{id} looks at the machine again; ``force_refresh=true`` always does (2.6)."""
    list_envelope: Literal["resources", "items", "data", "results"] | None = None
    """GET /resources answers a bare list (None) or an object with the list in this field (section 2.5)."""
    page_size: int | None = None
    """The number of resources on a page of GET /resources (``?page=``, from 1), in an envelope (``resources`` unless
    ``list_envelope`` names another) with ``total_count`` and ``next``, the link to the next page, or null.
    None: all resources at once (paging is unknown, section 10.1)."""
    page_links: bool = True
    """Whether such a page has a ``next``; without it, only ``total_count`` shows that there are more."""
    offer_history: Literal["primary", "other_words", "missing"] = "primary"
    """The role of the purchase's offer in a resource's ``offer_history``: ``primary`` (a word that the documentation
    lacks, section 2.6.3) or another word; or the history is null, and the resource names no offer."""
    spec_known: bool = True
    """Whether a resource's ``spec`` describes the machine; it is documented as free-form, with the sample ``{}``."""
    storage_shown: Literal["ids", "list", "links"] = "ids"
    """Where the API shows persistent storage, which has its own id and page (section 4.3). ``ids``: like the machine in
    the answer to the purchase, in the offer's status, and in the list; and in the machine's ``linked_resources``.
    ``list``: in the list alone. ``links``: in ``linked_resources`` alone."""
    storage_word: str = "block_disk"
    """Its ``resource_type``, e.g. ``storage``, ``filesystem``, ``volume`` (vocabulary unknown, section 10.3)."""
    storage_names_offer: bool = True
    """Whether storage names the offer of its purchase, as the machine does; else its history is null."""
    storage_price: bool = True
    """Whether storage has a ``pricing_total_hourly``, or null; the machine's price never includes it."""
    storage_after_machine: Literal["stays", "ends", "hidden"] = "stays"
    """What happens to storage when the last machine of its purchase is deleted. It stays until it is deleted by its id;
    it is deleted as well; or the API no longer shows it, although it is still billed."""
    discovery_envelope: bool = False
    """The discovery endpoints other than /available_gpus answer ``{"vendors": [...]}``, not bare lists (2.8)."""

    delete_seconds: float = 0
    """From DELETE to ``deleted`` (section 2.7)."""
    delete_again_status: Literal[200, 409] = 409
    """Answer to a DELETE while the resource is still ``deleting`` (unknown, section 10.8)."""
    deleted_readable: bool = True
    """A deleted resource is read as ``deleted`` (True) or is a 404 (section 2.6)."""
    deleted_listed: bool = False
    """Whether GET /resources lists deleted resources (section 2.5)."""

    timestamps: Literal["Z", "offset", "naive"] = "Z"
    """End of a date-time: ``Z``, ``+00:00`` or nothing (section 7)."""
