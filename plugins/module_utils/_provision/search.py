# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A search: its keys and typos of them, its contract, what the API has made of it, and whether an offer matches it.

The keys are those of the API pages "yaml spec", "get offers" and "storage".
"""

from __future__ import annotations

import difflib
import re
import typing as t

from .._text import LONGEST_NAME, applying, letters_of, mapping_of, nearest, nodes_of, number_of, printable

Spec = t.Mapping[t.Any, t.Any]
Offer = t.Mapping[str, t.Any]  # an offer as the tolerant reader returns it
_NOTHING: tuple[t.Any, ...] = (None, "", [], {})
_SHOWN = 12  # names of GPUs in a sentence
_LIMITS = "max_"  # what the names of limits begin with
_OF_PRODUCT = ("vendor", "vendor_region", "region", "gpu_type", "gpu_count", "contract_type", "node_count")
_COMPARED = (*_OF_PRODUCT, "gpu_family")
_OF_GPU = ("gpu_type", "gpu_family")
# Contracts that a user may ask for. The last one is ours: the API then gets none.
ON_DEMAND, SPOT, ANY = "ondemand", "spot", "any"
# The keys of each section that the API documents; tests/tools/spec_page.py explains them in docs/spec.md.
DOCUMENTED: t.Mapping[str, tuple[str, ...]] = {
    "": ("region", "vendor", "max_procure_time_seconds", "compute", "storage", "network"),
    "compute": ("gpu_type", "gpu_count", "type", "contract_type", "max_price_per_gpu_hour", "min_boot_disk_gb"),
    "storage": ("type", "class", "size", "persistent"),
    "network": ("supports_cilium",),
}
CEILING = "max_price_per_hour"  # of one choice: what the role itself reads of each search, and the API never gets


# The keys of a search


def check_spec(spec: dict[str, t.Any]) -> dict[str, t.Any]:
    """The search, if it has a section that the API needs (page "yaml spec"); the API checks what is in it.

    Raises ValueError, also for a typo of a documented key: an API that ignores the key sells something else.
    """
    contract = contract_of(spec)
    near = nearest(contract, (ON_DEMAND, SPOT, ANY))
    faults = {
        "needs a section 'compute' (at least gpu_type and gpu_count) or 'storage'": (
            not spec.get("compute") and not spec.get("storage")
        ),
        **dict.fromkeys(misspelled_keys(spec), True),
        f"has compute.contract_type '{contract}': did you mean '{near}'?": near,
    }
    for fault in applying(faults):
        raise ValueError(fault)
    return spec


def undocumented_keys(spec: Spec) -> list[str]:
    """A warning about keys that no page documents: whether the API refuses or ignores them is unknown."""
    paths = (path_of(section, name) for section, name in _keys_of(spec) if name not in DOCUMENTED[section])
    unknown = ", ".join(dict.fromkeys(paths))
    return [f"spec has {unknown}, which no page of the API documents: it may be ignored."] if unknown else []


def misspelled_in(variable: str, spec: Spec) -> list[str]:
    """A sentence for each misspelled key of a search that this variable gives."""
    return [f"{variable} {slip}" for slip in misspelled_keys(spec, (CEILING,))]


def misspelled_keys(spec: Spec, further: t.Sequence[str] = ()) -> list[str]:
    """A sentence for each key that is a slip of a documented one, or a limit in the wrong section: neither would count.

    ``further``: what the search may have at the top beside what the API documents.
    """
    known = {**DOCUMENTED, "": (*DOCUMENTED[""], *further)}
    meant = {path_of(section, name): _meant(section, name, known) for section, name in _keys_of(spec)}
    return [
        f"has '{path}', which the API does not document: did you mean '{key}'?" for path, key in meant.items() if key
    ]


def _meant(section: str, name: str, known: t.Mapping[str, t.Collection[str]]) -> str:
    """The key that an unknown one means; empty if it is known, or means none. ``known``: the keys of each section."""
    if name in known[section]:
        return ""
    if near := nearest(name, sorted(known[section])):
        return path_of(section, near)
    # A limit of another section
    others = (path_of(other, name) for other, names in known.items() if name in names)
    return next(others, "") if name.startswith(_LIMITS) else ""


def _keys_of(spec: Spec) -> t.Iterator[tuple[str, str]]:
    """The keys of a search: the section that each stands in, and its name."""
    storage = spec.get("storage")
    volumes = storage if isinstance(storage, list) else [storage]
    for section, part in (
        ("", spec),
        ("compute", spec.get("compute")),
        *(("storage", volume) for volume in volumes),
        ("network", spec.get("network")),
    ):
        for name in part if isinstance(part, t.Mapping) else ():
            yield section, str(name)


def path_of(section: str, name: str) -> str:
    """A key as messages name it."""
    return f"{section}.{name}" if section else name


# Its contract


def contract_of(spec: Spec) -> str:
    """The contract that a search is for: on-demand, unless it names another, or ``any``.

    A vendor may take a spot machine away at any time, so a user must ask for one. Empty for storage alone.
    """
    compute = compute_of(spec)
    return (str(compute.get("contract_type") or "").strip().lower() or ON_DEMAND) if compute else ""


def as_sent(spec: Spec) -> dict[str, t.Any]:
    """The search as the API takes it, which offers every contract if the search names none."""
    contract = contract_of(spec)
    if not contract:
        return dict(spec)
    rest = {name: value for name, value in spec["compute"].items() if name != "contract_type"}
    return {**spec, "compute": rest if contract == ANY else {**rest, "contract_type": contract}}


# What the API made of it


def unapplied(spec: Spec, filters: t.Any) -> list[str]:
    """A warning about keys of a search that the API's ``filters_applied`` lacks; none if that names nothing.

    No page shows its form, so a key counts as applied if any text there, or any name with a value, contains it.
    """
    names = list(filter(None, map(letters_of, _names_in(filters))))
    lost = [label for label, key in _requested(spec) if not any(letters_of(key) in name for name in names)]
    if not names or not lost:
        return []
    return [f"The API lists the filters that it applied, without {', '.join(lost)}: it may have ignored that."]


def _requested(spec: Spec) -> t.Iterator[tuple[str, str]]:
    """What a search asks for: each key as a person writes it, and its last part. All volumes count as one key."""
    for key, value in spec.items():
        if key in ("compute", "network") and isinstance(value, dict):
            yield from ((f"{key}.{inner}", str(inner)) for inner, item in value.items() if item not in _NOTHING)
        elif value not in _NOTHING:
            yield str(key), str(key)


def _names_in(filters: t.Any) -> t.Iterator[str]:
    """The names that have a value, and the texts of lists, at any depth."""
    if isinstance(filters, dict):
        for key, value in filters.items():
            if value not in _NOTHING:
                yield str(key)
                yield from _names_in(value) if isinstance(value, (dict, list)) else ()
    elif isinstance(filters, list):
        for item in filters:
            yield from _names_in(item)
    elif isinstance(filters, str):
        yield filters


def may_mistype_gpu(spec: Spec, offers: t.Sized) -> bool:
    """Whether a search may name a GPU that does not exist: it found no offer, which is how some servers say that."""
    return not offers and bool(_gpu_types(spec))


def unlisted_gpus(spec: Spec, catalog: t.Any) -> list[str]:
    """A sentence for each GPU of a search that is not in the API's catalogue (GET /available_gpus), with similar names.

    The API's names are case-sensitive. No sentence if the catalogue has another form than the documented one.
    """
    names = _listed(catalog)
    return [_unlisted(gpu_type, names) for gpu_type in _gpu_types(spec) if names and gpu_type not in names]


def _unlisted(gpu_type: str, names: t.Sequence[str]) -> str:
    """With one name that differs only in case and punctuation, or else up to two that are spelled nearly like it."""
    spelled, plain = {letters_of(name): name for name in names}, letters_of(gpu_type)
    near = [plain] if plain in spelled else difflib.get_close_matches(plain, spelled, n=2, cutoff=0.7)
    similar = " or ".join(spelled[item] for item in near)
    hint = f"Did you mean {similar}?" if near else f"It lists {', '.join(names[:_SHOWN])}."
    return f"The API lists no GPU '{printable(gpu_type, 60)}'. {hint}"


def _gpu_types(spec: Spec) -> list[str]:
    """The GPUs that a search names, with pipes between them."""
    return [part for part in map(str.strip, str(compute_of(spec).get("gpu_type") or "").split("|")) if part]


def _listed(catalog: t.Any) -> list[str]:
    """The families of a catalogue of GPUs, and the full names in them."""
    families = {family: members for family, members in mapping_of(catalog).items() if isinstance(members, list)}
    names = [*families, *(name for members in families.values() for name in members)]
    return [printable(name, LONGEST_NAME) for name in names if isinstance(name, str)]


# What an offer sells


def mismatch(spec: t.Mapping[str, t.Any], offer: Offer) -> str:
    """In what an offer or a machine is not what the search asks for (API page "yaml spec"), empty if it is.

    What one of them does not say is passed over: without a contract, that of a machine which runs already does not
    matter.
    """
    wanted = compute_of(spec)
    contract = wanted.get("contract_type")
    counts = [number_of(count) for count in (wanted.get("gpu_count"), offer.get("gpu_count"))]
    pairs = [
        ("region", spec.get("region"), offer.get("region")),
        ("vendor", spec.get("vendor"), offer.get("vendor")),
        ("contract_type", None if contract == ANY else contract, offer.get("contract_type")),
        ("gpu_count", *(None if count is None else f"{count:g}" for count in counts)),
    ]
    differences = [f"{name} {has} instead of {asked}" for name, asked, has in pairs if differ(asked, has)]
    return ", ".join(filter(None, [_other_gpu(spec, offer), *differences]))


def compute_of(spec: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
    """What a search asks of the machine; empty where it does not."""
    return mapping_of(spec.get("compute"))


def _other_gpu(spec: Spec, offer: Offer) -> str:
    kinds = [kind.lower() for kind in _gpu_types(spec)]
    names = [str(offer.get(key) or "").lower() for key in _OF_GPU]
    # h100 is the family of nvidia-h100-sxm5-80gb, or a part of its name (C8, C15).
    is_one = any(kind in names or f"-{'-'.join(kind.split())}-" in f"-{names[0]}-" for kind in kinds)
    if not kinds or not any(names) or is_one:
        return ""
    return f"gpu_type {offer.get('gpu_type') or offer.get('gpu_family')} instead of {compute_of(spec)['gpu_type']}"


def differ(asked: t.Any, has: t.Any) -> bool:
    """Whether one is not the other; what one of them does not say is passed over."""
    return asked not in (None, "") and has not in (None, "") and str(asked).strip().lower() != str(has).strip().lower()


def other_than_planned(planned: Offer, page: Offer) -> str:
    """In what an offer's own page sells something else than the offer was ``planned`` as, empty if it does not.

    What one of them does not say is passed over. On-demand instead of spot is no loss. Names of a GPU may differ in
    length (C8): it is another one if each name has a word that the other one lacks. Whether the GPUs of a cluster are
    counted for each machine or for all is inferred only, and the page has no number of machines: either count counts.
    """
    parts = []
    for name in _COMPARED:
        was, now = (_plain(offer.get(name)) for offer in (planned, page))
        if was and now and _is_other(name, was, now, planned, page):
            # As they came: in small letters, a secret that a server echoes would not be found any more.
            shown = [printable(str(offer[name]).strip(), LONGEST_NAME) for offer in (page, planned)]
            parts.append(f"{name} {' instead of '.join(shown)}")
    return ", ".join(parts)


def _is_other(name: str, was: str, now: str, planned: Offer, page: Offer) -> bool:
    """Whether one thing that both offers say, in plain texts, makes them another; see `other_than_planned`."""
    if name == "contract_type":
        return now == SPOT != was
    if name in _OF_GPU:
        words, words_now = (set(re.findall("[a-z0-9]+", text)) for text in (was, now))
        return not (words <= words_now or words_now <= words)
    if name == "gpu_count":
        nodes = nodes_of(planned) or nodes_of(page) or 1
        few, many = sorted(number_of(offer.get(name)) or 0 for offer in (planned, page))
        return many not in (few, few * nodes)
    return was != now


def _plain(value: t.Any) -> str:
    """A text or a number as it is compared; empty for what says nothing."""
    number = number_of(value)
    if number is not None:
        return f"{number:g}" if number else ""
    return value.strip().lower() if isinstance(value, str) else ""


def product_of(offer: Offer) -> dict[str, t.Any]:
    """What an offer sells, as far as it says so, to be compared later."""
    return {name: offer[name] for name in _COMPARED if offer.get(name) is not None}


def product(offer: Offer, price_per_hour: float | None) -> str:
    """What an offer sells, at which price (USD per hour): a later search may list it again under another id."""
    return " ".join(str(offer.get(name) or "-") for name in _OF_PRODUCT) + f" {price_per_hour}"
