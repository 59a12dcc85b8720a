# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same sentences for who sits in front of AWX, where a survey has questions and a job is launched, or has ordered.

The names are those of the playbook awx_setup. This module util is private to the collection.
"""

from __future__ import annotations

import re
import typing as t

# The question of a survey, by its variable or by the one of a role that the answer becomes.
QUESTIONS = {
    "order_names": "Machines",
    "provision_hosts": "Machines",
    "provision_max_price_per_hour": "USD per hour for one machine, at the most",
    "provision_max_total_price_per_hour": "USD per hour for all machines, at the most",
    "provision_lease": "How long a machine may live",
    "provision_max_bill": "USD for the whole life of one machine, at the most",
    "provision_adopt": "Take machines that have these names",
    "decommission_hosts": "Machines to end",
    "decommission_count": "How many machines",
    "decommission_forget": "Ids that are gone for certain",
    "extend_hosts": "Machines that get more time",
    "extend_by": "How much more time",
    "extend_count": "How many machines get more time",
    "audit_names": "Machines that shall be there",
    "spend_since": "Since when",
    "end_resource_id": "Id of the machine",
    "end_reason": "Why it may end",
}
TEMPLATES = {
    "compute_index.supply.quote": "GPU quote",
    "compute_index.supply.provision": "GPU provision",
    "compute_index.supply.configure": "GPU configure",
    "compute_index.supply.decommission": "GPU decommission",
    "compute_index.supply.delete_resource": "GPU end by id",
    "compute_index.supply.end_by_id": "GPU end by id",
    "compute_index.supply.audit": "GPU audit",
    "compute_index.supply.resource_info": "GPU audit",
    "compute_index.supply.reap": "GPU reap",
    "compute_index.supply.extend": "GPU extend",
    "compute_index.supply.spend": "GPU spend",
}
# What a job that buys what was approved gets from the quote, and from no survey.
APPROVED = {
    "provision_offer_id": "the offer that was approved",
    "provision_max_price_per_hour": "the price that was approved",
}
# Results that a person reads, of whatever step; all others are data.
_READ = frozenset({"msg", "refusal", "refusals", "stop", "trouble", "warnings", "lines", "money"})
_ASKED = "|".join(QUESTIONS)
_STARTED = "|".join(map(re.escape, TEMPLATES))
_BY_ID = f"GPU end by id, '{QUESTIONS['end_resource_id']}': "
_Words = t.Union[str, t.Callable[[t.Match[str]], str]]
_WORDS: tuple[tuple[str, _Words], ...] = (
    # A machine that no host owns ends by its id alone.
    (
        r"(?:compute_index\.supply\.decommission )?-e decommission_hosts=\S+ -e decommission_resource_id=([\w<>-]+)"
        r"(?: \(or compute_index\.supply\.delete_resource\))?",
        rf"{_BY_ID}\1",
    ),
    (r"(?:ansible localhost -m )?compute_index\.supply\.delete_resource -a resource_id=(?=\S)", _BY_ID),
    (r"\bcompute_index\.supply\.audit with audit_settle: true", "GPU settle"),
    (r"\bdecommission with -e (?=decommission_forget=)", "GPU decommission, "),
    (r"\bprovision_adopt: true\b", f"'{QUESTIONS['provision_adopt']}': yes"),
    # Each organization has a project of its own, which no variable of a job may change.
    (r"\bSweep it, too: -e provision_project=\S+", "Launch GPU reap in the organization of that project."),
    (r": name the project, -e provision_project=\.\.\.", ": ask the organization of that project."),
    (r"-e provision_project=\S+ counts it\.", "GPU spend of its organization counts it."),
    # A command with its options: the first one follows the template's name.
    (rf"(?<=\w) -e (?=(?:{_ASKED})=)", ", "),
    (rf"-e (?=(?:{_ASKED})=)", ""),
    (rf"\b({_ASKED})=", lambda found: f"'{QUESTIONS[found[1]]}': "),
    (rf"\b({_ASKED})\b", lambda found: f"'{QUESTIONS[found[1]]}'"),
    (rf"\b({_STARTED})\b", lambda found: TEMPLATES[found[1]]),
    # GPU extend does not ask for it.
    (rf"'{QUESTIONS['provision_max_bill']}': <USD> allows more", "A larger provision_max_bill of the host allows more"),
    (r"-e ((?:provision|reap)_[a-z_]+)=", r"\1: "),
    (r"\bprovision_spec\b", "what was asked for"),
    (r"\bapi_token \(COMPUTE_INDEX_API_TOKEN\)", "the token in the API's credential"),
    (r"\bRun (?=(?:the same )?again\b)", "Launch "),
    (r"\brun (?=(?:the same )?again\b)", "launch "),
)
_VARIABLE = re.compile(r"\b(?:provision|reap)_[a-z_]+\b")
_ELSEWHERE = "Among the variables of the inventory in AWX: "


def in_awx(text: str, instead: t.Mapping[str, str] | None = None) -> str:
    """A sentence with the names of questions, job templates and buttons; one that has them already stays as it is.

    ``instead``: what this job calls variables that other jobs ask for by a question.
    """
    text = by_names(text, instead or {})
    for pattern, words in _WORDS:
        text = re.sub(pattern, words, text)
    others = [] if _ELSEWHERE in text else list(dict.fromkeys(_VARIABLE.findall(text)))
    return f"{text} {_ELSEWHERE}{', '.join(others)}." if others else text


def by_names(text: str, names: t.Mapping[str, str]) -> str:
    """A sentence with these names of variables, by those that it has."""
    return _VARIABLE.sub(lambda found: names.get(found[0], found[0]), text)


def shown(result: t.Any, words: t.Callable[[str], str], read: bool = False) -> t.Any:
    """A step's result with all that a person reads in other words; ``read``: this part of it is."""
    if isinstance(result, t.Mapping):
        return {name: shown(part, words, read or name in _READ) for name, part in result.items()}
    if isinstance(result, (list, tuple)):
        return [shown(part, words, read) for part in result]
    return words(result) if read and isinstance(result, str) else result
