# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows in a purchase: the heart of "bought once". And what follows it, once it has gone well or failed.

The rules of `next_step`, from which all cells of the table in the test follow:

1. An offer can be sold once, so the only thing that is ever sent again is the same offer; and only while its status
   says that it is unbought.
2. A purchase whose answer never came may still be under way, whatever the status says. Until it is settled nothing
   frees the host but a failure of the offer, or its expiry that was seen long ago. Nor after one that was put off
   (429), if the offer is gone since: then it is rather sold to that very purchase than withdrawn.
3. A machine is ours if the registry noted the purchase as made, or if it has our name and a purchase of ours was not
   answered. Without a registry the name is the identity. If each purchase was refused, a machine of our name may be
   another project's, or the work of a gateway that sent twice: a person decides.
4. A machine of another name is somebody else's, unless a purchase of ours was not answered, or was refused with other
   words than 404, 409 or 410, such as 429: not every deployment of the API keeps names. After one of these three it may
   be ours if this account has it, since a gateway may have sent the request twice. Then only proof makes it another
   host's, which has noted it, or that the vendor keeps names. If no machine shows in all the time that a lost answer is
   asked after, another customer of the market was faster.
5. What has ended for certain is billed no more, whosever it was.
6. A refusal is a fact only for the run that still holds the purchase: one that another run has taken over meanwhile
   stops. The other may have bought the offer, and even have ended its machine.

Pure: knows no Ansible, no HTTP, no clock.
"""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass, replace

from .. import _states
from .._text import QUOTA, is_quota
from .entry import Entry
from .ownership import Kind, Machine, OwnershipClaim, id_of, is_named, machines_among

# Whose the machines of an offer are, by their names
OURS = "ours"
THEIRS = "theirs"
UNSEEN = "unseen"  # none has a name to be seen yet

NOT_FOUND = "not_found"  # a phase beside those of `_states`: the API does not know the offer
PHASE_OF_ERROR = {"not_found": NOT_FOUND, "expired": _states.EXPIRED}  # by the class of a look's error
GONE = (_states.EXPIRED, NOT_FOUND)
_BOUGHT = (_states.GOING_ON, _states.READY, _states.ENDED)
# Refusals that speak of the offer: somebody else was faster, or a gateway has sent the same request twice. If the offer
# is sold after any other refusal, that was rather this very request than a stranger's.
_ABOUT_THE_OFFER = frozenset({404, 409, 410})
PUT_OFF = 429  # "come back later". A 503 says so as well, but is no refusal (`ApiError.refused`)
ANSWERED_NO = 200  # the "status" of a refusal in an answer that looks like a success
# Seconds that the purchase of a run that has died may be under way at the API: as long as an offer lives
LONGEST_POST = 1800.0


class Decision(enum.Enum):
    """What to do next. All but the first two are ends, and name the outcome."""

    SEND = "send"
    LOOK = "look"  # again, later
    CREATED = "created"
    EXISTING = "existing"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


class Reason(enum.Enum):
    """Why a purchase ends without a machine."""

    REFUSED = "refused"  # by the API, in its own words
    TAKEN = "taken"  # somebody else has it
    FAILED = "failed"
    EXPIRED = "expired"
    NOT_FOUND = "not_found"
    ENDED = "ended"  # bought, by whomever, and all of its machines are gone
    UNREADABLE = "unreadable"  # the offer's status or its machines could not be read
    SILENT = "silent"  # sent, not answered, and still called unbought
    LATELY = "lately"  # sent, not answered, and seen as gone for too short a time
    UNPROVEN = "unproven"  # bought, and nothing proves whose it is
    CONTRADICTED = "contradicted"  # known to be made, and the API says that it was not
    OVERTAKEN = "overtaken"  # another run has taken the purchase over since it was sent


@dataclass(frozen=True)
class NextStep:
    """What follows."""

    decision: Decision
    reason: Reason | None = None


@dataclass(frozen=True)
class History:
    """What is known of the purchases of this offer for this host.

    by_name: there is no registry, the name is the identity.
    named: a name was asked for, so that names can be compared.
    made: our purchase is known to be made, from the registry or from its own answer.
    unanswered: one of ours was sent, by this run or an earlier one, and may still be under way, whatever is seen.
    sends: how many this run has sent.
    refused: the HTTP status by which the newest one was refused, in this run or as an earlier one has noted it; of
        several refusals the one that proves least; None if it was not.
    busy: the newest answer asks to come back, and this run may.
    again: this run may send (once more).
    expired_long: that the offer is expired or gone was seen so long ago that nothing can be under way any more.
    overtaken: this run has sent one, and does not hold the purchase any more, or cannot find out whether it does.
    doubted: the account has, or had, machines of the offer although it was refused, and nothing proves whose they are.
    """

    by_name: bool = True
    named: bool = True
    made: bool = False
    unanswered: bool = False
    sends: int = 0
    refused: int | None = None
    busy: bool = False
    again: bool = True
    expired_long: bool = False
    overtaken: bool = False
    doubted: bool = False

    @property
    def was_sent(self) -> bool:
        """Whether a purchase of ours was sent, by whichever run."""
        return bool(self.sends or self.unanswered or self.refused)

    @property
    def may_have_bought(self) -> bool:
        """Whether a purchase of ours is known, whatever became of it."""
        return self.was_sent or self.made

    @property
    def noted_refusal(self) -> int | None:
        """The HTTP status that the registry keeps.

        None if nothing is certain, since an earlier purchase may be under way, or this one is in other hands.
        """
        return None if self.unanswered or self.overtaken else self.refused

    @property
    def may_be_ours(self) -> bool:
        """Whether a purchase of ours may have bought the offer, if that is sold: it had no answer that denies it."""
        return self.unanswered or (self.refused is not None and self.refused not in _ABOUT_THE_OFFER)

    @property
    def may_be_under_way(self) -> bool:
        """Whether that is so if the offer is gone: what was put off is then rather being made than to be sent again."""
        return self.unanswered or self.refused == PUT_OFF

    def noted(self, entry: Entry) -> History:
        """With what an earlier run has noted of its purchase."""
        known = replace(self, made=self.made or entry.is_made, unanswered=self.unanswered or entry.is_unanswered)
        return replace(known, refused=entry.refused_status) if entry.is_open and not self.sends else known


@dataclass(frozen=True)
class OfferLook:
    """What one look has shown.

    phase: of the offer, a word of `_states` or `NOT_FOUND`; None if it could not be read.
    whose: its machines, by their names.
    left: whether there are machines that may be billed; None if they could not be listed.
    shown: the list or their own pages show machines of it.
    of_others: it is proved that they are not ours; see `told_apart`.
    """

    phase: str | None
    whose: str = UNSEEN
    left: bool | None = False
    shown: bool = False
    of_others: bool = False

    @property
    def gone(self) -> bool:
        """Whether all machines of it have ended."""
        return self.shown and self.left is False


_LOOK = NextStep(Decision.LOOK)


def phase_in_words(status: t.Mapping[str, t.Any]) -> str:
    """What a look at the offer's status has shown, as a part of a sentence."""
    if status["phase"] == _states.UNBOUGHT:
        return "the API still calls it unbought"
    return f"the API calls it '{status['procurement_status'] or status['status']}'"


def whose_by_name(machines: t.Iterable[Machine], names: t.Collection[str]) -> str:
    """Ours if one is called as was asked for, theirs if all that have a name are called otherwise."""
    shown = [machine for machine in machines if machine["name"]]
    if any(_is_called(shown, asked) for asked in names):
        return OURS
    return THEIRS if shown and names else UNSEEN


def _is_called(machines: t.Iterable[Machine], asked: str) -> bool:
    """Whether one is called as was ``asked``.

    One with a number after the name is rather another host's, unless there are several of them.
    """
    numbered = [item for item in machines if is_named(item, asked, numbered=True)]
    return len(numbered) > 1 or any(is_named(item, asked) for item in numbered)


def namesakes_without_offer(
    history: History,
    resources: t.Iterable[Kind],
    names: t.Collection[str],
    listed_before: t.Collection[str],
) -> list[Kind]:
    """The listed machines that a refused purchase may have bought: they have its name, and name no offer.

    ``listed_before``: the ids of resources that were listed before the purchase, which cannot have bought them.
    """
    if history.refused is None:
        return []
    new = [item for item in machines_among(resources) if not item["offer_id"] and id_of(item) not in listed_before]
    return [item for item in new if whose_by_name([item], names) == OURS]


def doubts_refusal(history: History, offer_look: OfferLook) -> bool:
    """Whether only a refusal says that machines which the account has are not ours, and no name of ours denies it."""
    is_shown = offer_look.shown and offer_look.left is not False
    is_ours = history.named and offer_look.whose == OURS
    return is_shown and not is_ours and history.refused is not None and not history.may_be_ours


def told_apart(
    history: History,
    offer_look: OfferLook,
    of_offer: tuple[str, t.Collection[str]],
    noted: t.Callable[[], t.Iterable[OwnershipClaim]],
    account: t.Callable[[], t.Collection[Machine]],
) -> OfferLook:
    """The same with what proves that machines are another host's, where a refusal of ours alone says so.

    A host holds one of them, or has bought the offer, which is sold once. Or their vendor keeps names, as the machine
    of a host shows: then they have the name that they were bought under. ``of_offer``: the offer's id, and those of its
    machines. ``noted``: what registries note. ``account``: answers all of its machines. Both are asked only if they can
    decide.
    """
    if not doubts_refusal(history, offer_look):
        return offer_look
    (offer_id, ids), names = of_offer, dict[str, str]()
    for claim in noted():
        if not claim.resource_ids.isdisjoint(ids) or (claim.bought and claim.offer_id == offer_id):
            return replace(offer_look, of_others=True)
        names.update(dict.fromkeys(claim.resource_ids, claim.name))
    return replace(offer_look, of_others=bool(names) and _have_kept_names(account(), ids, names))


def _have_kept_names(machines: t.Collection[Machine], ids: t.Collection[str], names: t.Mapping[str, str]) -> bool:
    """Whether all machines with these ids have a name, and vendors that keep ``names``, those of hosts by the id."""
    keep_names = {
        machine["vendor"] for machine in machines if is_named(machine, names.get(id_of(machine), ""), numbered=True)
    }
    of_offer = [machine for machine in machines if id_of(machine) in ids]
    return bool(of_offer) and all(item["name"] and item["vendor"] in keep_names for item in of_offer)


def lists_machines(history: History, ids: t.Collection[str]) -> bool:
    """Whether the machines of an offer that is bought are listed: their names decide, or no id of them is known.

    Where neither a name nor a registry tells who has bought it, or a refusal alone does, that this account has any of
    them decides: the status may name ids to everybody.
    """
    is_found = history.refused is not None or (history.by_name and not history.was_sent)
    return not ids or ((history.named or is_found) and not history.made)


def asks_the_list(history: History, phase: str | None) -> bool:
    """Whether a refusal would free the host since the status, which may lag, does not call the offer bought either."""
    is_refused = history.refused is not None and not (history.unanswered or history.made)
    return is_refused and phase in (_states.UNBOUGHT, *GONE)


def phase_by_list(phase: str | None, error: object | None) -> str | None:
    """The phase, or None if an ``error`` kept the account's machines from being listed.

    A list that could not be read, or not to its end, confirms no refusal.
    """
    return phase if error is None else None


def asks_the_clock(history: History, phase: str | None) -> bool:
    """Whether it counts for how long an offer has been seen as gone."""
    return phase in GONE and history.may_be_under_way and not history.overtaken


def after_look(history: History, offer_look: OfferLook) -> History:
    """The history with what a look has shown beside a refusal: a later one may not see it any more."""
    is_shown = offer_look.shown and offer_look.left is not False and not offer_look.of_others
    return replace(history, doubted=True) if is_shown and history.refused is not None else history


def next_step(history: History, offer_look: OfferLook, patience: bool) -> NextStep:
    """What follows from this; ``patience`` says whether there is time for another look."""
    step = _alone(history, offer_look, patience)
    if step.decision is Decision.REJECTED and history.doubted and not offer_look.shown:
        step = _unless_settled(patience, Reason.UNPROVEN)
    return unless_overtaken(history, step)


def unless_overtaken(history: History, step: NextStep) -> NextStep:
    """The step, if this run may take it: one that holds the purchase no more neither sends again nor frees the host."""
    goes_on = step.decision in (Decision.LOOK, Decision.CREATED, Decision.EXISTING)
    return step if goes_on or not history.overtaken else NextStep(Decision.UNKNOWN, Reason.OVERTAKEN)


def _alone(history: History, offer_look: OfferLook, patience: bool) -> NextStep:
    """The same where no other run has a part in it."""
    if offer_look.phase is None:
        return _unreadable(history, patience)
    if offer_look.phase in _BOUGHT or (
        asks_the_list(history, offer_look.phase) and offer_look.shown and offer_look.left
    ):
        return _bought(history, offer_look, patience)
    if offer_look.phase == _states.FAILED:
        return _failed(history, offer_look, patience)
    if history.made:
        return _unless_settled(patience, Reason.CONTRADICTED)
    if offer_look.phase == _states.UNBOUGHT:
        return _unbought(history, patience)
    return _gone(history, Reason.EXPIRED if offer_look.phase == _states.EXPIRED else Reason.NOT_FOUND, patience)


def _unless_settled(patience: bool, reason: Reason) -> NextStep:
    """Another look, or in the end that nobody knows."""
    return _LOOK if patience else NextStep(Decision.UNKNOWN, reason)


def _over(history: History, reason: Reason) -> NextStep:
    """Nothing of ours will come of this offer."""
    return NextStep(Decision.REJECTED if history.was_sent else Decision.NOT_SENT, reason)


def _unreadable(history: History, patience: bool) -> NextStep:
    if not history.may_have_bought:
        return NextStep(Decision.NOT_SENT, Reason.UNREADABLE)
    is_vague = history.refused in (None, PUT_OFF, ANSWERED_NO, *_ABOUT_THE_OFFER)
    if not (patience or is_vague or history.unanswered or history.made):  # as with a token that may not read either
        return NextStep(Decision.REJECTED, Reason.REFUSED)
    return _unless_settled(patience, Reason.UNREADABLE)


def _bought(history: History, offer_look: OfferLook, patience: bool) -> NextStep:
    if not (history.made or _is_ours(history, offer_look)):
        return _whose(history, offer_look, patience)
    return NextStep(Decision.CREATED if history.sends and history.may_be_ours else Decision.EXISTING)


def _failed(history: History, offer_look: OfferLook, patience: bool) -> NextStep:
    """The offer failed: what is left of it is billed to somebody, and who that is decides as with one that runs."""
    if offer_look.left is None and history.may_have_bought:
        return _unless_settled(patience, Reason.UNREADABLE)
    if not offer_look.left or history.made or _is_ours(history, offer_look):
        return _over(history, Reason.FAILED)
    return _whose(history, offer_look, patience)


def _is_ours(history: History, offer_look: OfferLook) -> bool:
    """Whether the name proves that it is ours: rules 2 and 3."""
    # Of an offer that is being provisioned a machine may be shown later.
    is_shown = bool(offer_look.left) if history.was_sent else offer_look.shown or offer_look.phase != _states.READY
    called = offer_look.whose == OURS if history.named else is_shown
    # Without a name either, what a purchase of ours was refused for may be anybody's.
    is_identity = history.by_name and (history.named or history.refused is None)
    return called and (is_identity or history.unanswered or history.refused == ANSWERED_NO)


def _whose(history: History, offer_look: OfferLook, patience: bool) -> NextStep:
    """What the names say of machines that are not proved to be ours: rules 3 to 5."""
    if offer_look.gone:
        return _over(history, Reason.ENDED)
    whose = offer_look.whose if history.named else UNSEEN
    if whose == OURS or history.may_be_ours or (doubts_refusal(history, offer_look) and not offer_look.of_others):
        return _unless_settled(patience, Reason.UNPROVEN)
    is_anonymous = history.by_name and not (history.named or offer_look.of_others)
    if whose == UNSEEN and (offer_look.left is None or is_anonymous):
        return _unless_settled(patience, Reason.UNPROVEN)
    # Nothing of ours can be there if nothing was sent; without a registry nobody knows that.
    waits = whose == UNSEEN and (history.was_sent or history.by_name)
    return _LOOK if patience and waits else _over(history, Reason.TAKEN)


def _unbought(history: History, patience: bool) -> NextStep:
    if history.again and (history.busy or not history.was_sent):
        return NextStep(Decision.SEND)
    if not history.unanswered:
        return _refused(history, patience)
    may_send = history.again and history.refused is None and not patience
    return NextStep(Decision.SEND) if may_send else _unless_settled(patience, Reason.SILENT)


def _gone(history: History, reason: Reason, patience: bool) -> NextStep:
    if not history.may_be_under_way:
        return _over(history, reason) if history.refused is None else _refused(history, patience)
    return _over(history, reason) if history.expired_long else _unless_settled(patience, Reason.LATELY)


def _refused(history: History, patience: bool) -> NextStep:
    """What follows a refusal if the offer is free, or gone."""
    # Of a conflict the status lags behind, or what had the offer lets go of it. What was put off may have bought it.
    waits = patience and history.refused in (409, PUT_OFF)
    return _LOOK if waits else NextStep(Decision.REJECTED, Reason.REFUSED)


# What follows an attempt: the machine is registered, the next offer is tried, it is given back, or the host stops. This
# is the rule to change for another way of failing over: `what_follows`, a table in its test

# Failures that are the offer's: another one may fare better. All others would be the next offer's, too. A quota may be
# the account's or the vendor's, so after one only the offers of other vendors are tried.
OF_THE_OFFER = frozenset({"not_found", "conflict", "expired", QUOTA})
# Outcomes of a purchase that was answered with yes; empty where it was made before this run.
ANSWERED_YES = ("created", "existing", "")


def class_of(reason: str | None) -> str:
    """The error class of an offer that was not sold or has failed, by the API's reason."""
    return QUOTA if is_quota(reason) else "conflict"


class Verdict(enum.Enum):
    """What becomes of the host."""

    READY = "ready"
    AGAIN = "again"  # nothing is left of this attempt, and another offer may be tried
    RELEASE = "release"  # end what was bought; then the attempt is judged once more
    STOP = "stop"


@dataclass(frozen=True)
class Attempt:
    """How an attempt at one offer has gone.

    ``outcome``: what procure_offer answered; empty if the host had its purchase before. ``phase``: the offer's, as last
    seen; empty if nobody looked. ``billed``: something of it is or may be billed. ``wanted``: the user named this very
    offer. ``unused``: this purchase never had a machine that was registered as ready. ``attempts_left``: offers that
    may still be tried. ``unclear``: the API names machines as bought by it that cannot be, or that it does not show.
    ``doubled``: another purchase has machines of this name, too; ``later``: this one is the later of the two.
    ``overtaken``: by the registry, somebody has ended it meanwhile, or has begun to, or another run has bought for the
    host.
    """

    outcome: str
    error_class: str = ""
    phase: str = ""
    ready: bool = False
    billed: bool = False
    wanted: bool = False
    unused: bool = True
    released: bool = False
    release: bool = False
    attempts_left: int = 0
    unclear: bool = False
    doubled: bool = False
    later: bool = False
    unsound: bool = False  # its machine did not pass its test
    overtaken: bool = False

    @property
    def is_left(self) -> bool:
        """Whether something of it is or may be billed, and was not ended again."""
        return self.billed and not self.released


def what_follows(attempt: Attempt) -> Verdict:
    """The verdict. Whatever may be billed is never replaced by another offer."""
    if attempt.outcome in ("unknown", "claimed") or attempt.unclear:
        return Verdict.STOP
    if _runs(attempt) and not attempt.doubled:
        return Verdict.READY
    if attempt.is_left:
        return Verdict.RELEASE if _gives_back(attempt) else Verdict.STOP
    is_over = attempt.wanted or attempt.overtaken or attempt.doubled
    may_try_another = not is_over and attempt.attempts_left > 0
    return Verdict.AGAIN if may_try_another and _was_the_offers_fault(attempt) else Verdict.STOP


def _runs(attempt: Attempt) -> bool:
    """Whether the machine is the host's and can be used; one of a refused purchase would be somebody else's."""
    return attempt.ready and attempt.outcome in ANSWERED_YES and not attempt.released


def _gives_back(attempt: Attempt) -> bool:
    """Whether what was bought ends again. Of two machines of one name that run the later one does."""
    # Bought for certain, and the last look showed it: one that was refused shows no failed machine.
    is_certain = attempt.outcome == "rejected" or (attempt.outcome in ANSWERED_YES and attempt.phase != "")
    return attempt.release and attempt.unused and (attempt.later if _runs(attempt) else is_certain)


def _was_the_offers_fault(attempt: Attempt) -> bool:
    if attempt.outcome in ("rejected", "not_sent"):
        return attempt.error_class in OF_THE_OFFER
    return attempt.unsound or attempt.phase == _states.FAILED


def needs_another(attempt: Attempt) -> bool:
    """Whether nothing is left of the attempt, and only another offer or another price can do."""
    gone = _was_the_offers_fault(attempt) or attempt.error_class == "price"
    return gone and leaves_nothing(attempt)


def leaves_nothing(attempt: Attempt) -> bool:
    """Whether the registry may forget the attempt: certainly nothing of it is billed."""
    if attempt.outcome in ("unknown", "claimed") or attempt.unclear or _runs(attempt):
        return False
    return not attempt.is_left
