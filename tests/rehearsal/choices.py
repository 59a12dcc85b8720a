# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The questions that the documentation leaves open, and the choices of this stand-in, noted while it was written."""

from __future__ import annotations

from typing import NamedTuple


class Choice(NamedTuple):
    """A question to the API's documentation, and the most plausible answer."""

    question: str
    chosen: str
    why: str


CHOICES = {
    # Access.
    "no token": Choice(
        "Which status has a request without a token?",
        "401 with WWW-Authenticate",
        "what FastAPI's HTTPBearer has answered since 2025",
    ),
    "wrong token": Choice("And one with a wrong token?", "401, a sentence in `detail`", "the same as without a token"),
    "discovery": Choice("Do discovery endpoints need a token?", "yes", "every page's sample sends it"),
    # Searches.
    "bad YAML": Choice("How is a body refused that is no YAML?", "400, a sentence", "the body is parsed by hand"),
    "quoted YAML": Choice(
        "Is a JSON string with YAML inside accepted, as in the generated sample?",
        "no: 400, not a mapping",
        "the page demands raw YAML",
    ),
    "bad search": Choice(
        "How is a search refused that has a wrong value?",
        "422, pydantic's list, whose `loc` begins with the key itself",
        "a parsed body is checked by a model, outside FastAPI's own check, which would begin with `body`",
    ),
    "unknown key": Choice("What becomes of an unknown key of a search?", "it is ignored", "pydantic's default"),
    "unknown GPU": Choice(
        "What does a search for an unknown GPU get?", "400, a sentence", "names are looked up to become canonical ones"
    ),
    "no GPU count": Choice("Which number of GPUs is meant without `gpu_count`?", "1", "one page says so"),
    "storage only": Choice(
        "Can one search for storage without a GPU?", "no: 422", "one page requires `compute.gpu_type` without exception"
    ),
    "no match": Choice("What does a search without a match get?", "200 and an empty list", "it is no error"),
    "again": Choice(
        "Does the same search return the same offers again?",
        "no: each search makes new offers with new ids",
        "offers are made from a live query of all vendors and expire 30 minutes after their creation",
    ),
    "order": Choice("How are offers sorted?", "by price of a GPU, cheapest first", "`sorted by price`"),
    "nulls": Choice(
        "Are fields without a value left out?",
        "no: null",
        "FastAPI writes every field of a response model",
    ),
    "filters": Choice(
        "What does `filters_applied` contain?", "the parsed search with its defaults", "the simplest thing to return"
    ),
    "arithmetic": Choice(
        "Are prices rounded?", "no: products of floats, such as 19.919999999999998", "nothing says that they are"
    ),
    "list fields": Choice("Does an offer of a search have a status?", "no", "the sample has none"),
    "storage price": Choice(
        "Does `total_price_per_hour` include storage?", "yes", "there would be no other reason for the field"
    ),
    "clusters": Choice("How does one search for a cluster?", "one cannot", "no key for it is documented"),
    "deployment": Choice("Which words has `deployment_type`?", "`single_node`", "the others speak of nodes"),
    # Offers.
    "times": Choice("Which form have times?", "microseconds and `Z`", "pydantic's form of a time with a zone"),
    "offer id": Choice("What does an id get that is no UUID?", "422, FastAPI's list", "path parameters are UUIDs"),
    "unknown offer": Choice("An unknown offer?", "404, `Offer not found`", "the usual"),
    "expired offer": Choice("Can an expired offer be read?", "yes: its status is `expired`", "there is such a status"),
    "offer status": Choice(
        "What is an offer's status while its machine is made?", "`procured`", "it is no longer available"
    ),
    "ended offer": Choice("And after its machine was deleted?", "`procured`", "there is no other word"),
    "words": Choice(
        "Which of its two vocabularies does `procurement_status` use?",
        "`pending`, `provisioning`, `ready`, `failed`",
        "the generated schema is closest to the code",
    ),
    "status of unbought": Choice("What is it of an offer that was not bought?", "`pending`", "the first word"),
    "status ids": Choice("Which field has the ids of an offer's resources?", "`resource_ids`", "as in a purchase"),
    "progress": Choice("Which field has the text `2/4 instances running`?", "`progress`", "what the text is"),
    "instance fields": Choice(
        "Which fields has an instance?",
        "the three that the prose names, and `resource_id`",
        "a cluster's instances must be told apart",
    ),
    "early instances": Choice(
        "Is an instance listed before it is ready?",
        "yes, with null addresses, once the vendor has made it",
        "`empty until procurement starts`",
    ),
    "status when gone": Choice(
        "What is the status of an offer with a deleted machine?",
        "`ready`, and its instance says `deleted`",
        "procurement did succeed; the instances are what is checked live",
    ),
    # Purchases.
    "answer": Choice(
        "Does a purchase wait for the machine?",
        "no: it answers at once, with `provisioning_in_progress`",
        "the prose calls it asynchronous",
    ),
    "answer ids": Choice(
        "Does that answer have ids?", "no: null", "they are documented for `procured` only, and none exist yet"
    ),
    "twice": Choice("What does a second purchase of an offer get?", "409, a sentence", "the usual"),
    "name": Choice("Is `resource_name` kept?", "yes, as the resource's `name`", "the table of optional fields has it"),
    "no name": Choice("Which name has a machine without one?", "`<vendor>-<first 8 of its id>`", "it needs one"),
    "same name": Choice("May two machines have one name?", "yes", "nothing says otherwise"),
    "bytes": Choice("What do 64 KB of cloud-init mean?", "65,536 characters", "`max_length` of pydantic"),
    "capacity": Choice(
        "How does an offer fail that its vendor no longer has?",
        "the purchase is accepted; later its status is `failed`, with a reason, and no resource exists",
        "the vendor is asked after the answer",
    ),
    "failed again": Choice("May a failed offer be bought again?", "no: 409", "its status is `failed`, not `available`"),
    # Resources.
    "list": Choice(
        "Which envelope has the list of resources?",
        "`resources` and `total_count`",
        "the search's answer has `offers` and `total_count`",
    ),
    "list of ended": Choice("Does it have deleted resources?", "yes", "`marks as deleted`: the row stays"),
    "list order": Choice("In which order?", "newest first", "the usual"),
    "list sync": Choice(
        "Does the list look at the vendors?", "no: it says what was last seen", "only the single read speaks of that"
    ),
    "types": Choice(
        "Which words has `resource_type`?",
        "those of a search: `vm`, `container`, `block_disk`, `filesystem`",
        "the only documented ones for these things",
    ),
    "states": Choice("Which states has a resource?", "provisioning, running, deleting, deleted", "the usual"),
    "access": Choice("What is `access` before the machine runs?", "null", "there is nothing to say"),
    "kept": Choice(
        "How long can a deleted resource be read?", "for ever", "the documentation asks clients to poll for `deleted`"
    ),
    "history": Choice(
        "Which words has `offer_history`?",
        "`offer_type` is the resource's type, `role` is `provisioned_by`",
        "there are none in the documentation; these say what is meant",
    ),
    "links": Choice("Which words has `link_type`?", "`attached`", "storage is attached"),
    "unasked links": Choice("Which storage is a resource?", "only persistent storage", "the guide says so"),
    "validity": Choice(
        "What are `valid_from` and `valid_to`?", "when billing began and ended", "nothing else has both"
    ),
    "own price": Choice(
        "What does `pricing_total_hourly` of a machine include?",
        "its GPUs, and storage that ends with it",
        "persistent storage has a price of its own",
    ),
    # Ends.
    "delete": Choice("What does a deletion answer?", "`deleting`, at once", "it is asynchronous"),
    "delete again": Choice("And a second while the first goes on?", "the same once more", "409 is for `deleted`"),
    "delete early": Choice(
        "Can a machine be deleted before it runs?",
        "only with `force`: 409 without",
        "it is the plainest meaning of `force`",
    ),
    "delete disk": Choice("And a disk that is attached?", "only with `force`: 409 without", "the same"),
    "disk stays": Choice("Does persistent storage end with its machine?", "no, not even with `force`", "its own life"),
    # Discovery.
    "GPUs": Choice("What does `/available_gpus` return?", "an object: family -> names", "it is documented"),
    "vendors": Choice("`/available_vendors`?", "`{vendors: [...]}`", "an object as for GPUs, with the key's name"),
    "regions": Choice("`/available_regions`?", "`{regions: [...]}`", "the same"),
    "contracts": Choice("`/available_contracts`?", "`{contract_types: [...]}`", "the offers' word"),
    "storages": Choice(
        "`/available_storage`?",
        "an object: vendor -> region -> list of classes with prices",
        "`classes per vendor and region, with pricing`",
    ),
    # HTTP.
    "no such path": Choice("Which body has a path that does not exist?", "`{detail: Not Found}`", "FastAPI"),
    "limits": Choice("Are requests limited?", "no", "no page speaks of it"),
    "paging": Choice("Are lists paged?", "no", "no page speaks of it"),
}
