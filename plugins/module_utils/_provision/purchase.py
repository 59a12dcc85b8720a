# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows in a purchase: the heart of "bought once".

The rules, from which all cells of the table in the test follow:

1. An offer can be sold once, so the only thing that is ever sent again is the same offer; and only while its status
   says that it is unbought.
2. A purchase whose answer never came may still be under way, whatever the status says. Until it is settled nothing
   frees the host but a failure of the offer, or its expiry that was seen long ago. Nor after one that was put off
   (429), if the offer is gone since: then it is rather sold to that very purchase than withdrawn.
3. A machine is ours if the registry noted the purchase as made, or if it has our name and a purchase of ours was not
   answered. If each was answered by a refusal, a machine of our name may be another project's, or the work of a gateway
   that sent twice: a person decides. Without a registry the name is the identity. If each was answered and no machine
   shows in all the time that a lost answer is asked after, another customer of the market was faster.
4. A machine of another name is somebody else's, unless a purchase of ours was not answered, or was put off:
   not every deployment of the API keeps names, so then nobody can tell. Nor after any other refusal, if this account
   has the machine: a gateway may have sent the request twice. Then only proof makes it another host's, which has noted
   it, or that the vendor keeps names. Where no name was asked for, only a machine that this account lists tells that
   the offer is ours.
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
from .entry import Entry
from .ownership import Machine, OwnershipClaim, id_of, is_named

# Whose the machines of an offer are, by their names
OURS = "ours"
THEIRS = "theirs"
UNSEEN = "unseen"  # none has a name to be seen yet

NOT_FOUND = "not_found"  # a phase beside those of `_states`: the API does not know the offer
PHASE_OF_ERROR = {"not_found": NOT_FOUND, "expired": _states.EXPIRED}  # by the class of a look's error
GONE = (_states.EXPIRED, NOT_FOUND)
_BOUGHT = (_states.GOING_ON, _states.READY, _states.ENDED)
# Refusals that speak of the offer: somebody else was faster, perhaps while this run waited after a 429. The second of
# two equal requests is refused in the same way, if a gateway sent the first. After any other refusal nothing can have
# been bought, even where nobody can be asked afterwards.
_ABOUT_THE_OFFER = frozenset({404, 409, 410, 429})
# "Come back later": if the offer is sold by then, it may have been sold by this very request. A 503 says so as well,
# but is no refusal (`ApiError.refused`): it counts as not answered.
PUT_OFF = 429
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
    UNREADABLE = "unreadable"  # the status could not be read
    SILENT = "silent"  # sent, not answered, and still called unbought
    LATELY = "lately"  # sent, not answered or put off, and seen as expired for too short a time
    UNPROVEN = "unproven"  # a machine has our name, and no purchase of ours is open that could have made it
    ANOTHER = "another"  # a machine has another name, and a purchase of ours was not answered
    NAMELESS = "nameless"  # bought, and no machine shows its name
    CONTRADICTED = "contradicted"  # known to be made, and the API says that it was not
    UNLISTED = "unlisted"  # failed, and nobody can say what is left of it
    ENDED = "ended"  # bought, by whomever, and all of its machines are gone
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
    sent_before: an earlier run sent one, and its answer never came.
    lost: this run sent one, and its answer never came.
    sends: how many this run has sent.
    refused: the HTTP status by which the newest one of this run was refused, `ANSWERED_NO` in a success; None if it
        was not.
    busy: it was refused since the API asks to come back, and this run may.
    put_off: one of ours was refused like that, by this run or an earlier one.
    refused_before: an earlier run has noted that its purchase was refused, and not what came of the offer.
    again: this run may send (once more).
    expired_long: that the offer is expired or gone was seen so long ago that nothing can be under way any more.
    overtaken: this run has sent one, and does not hold the purchase any more, or cannot find out whether it does.
    """

    by_name: bool = True
    named: bool = True
    made: bool = False
    sent_before: bool = False
    lost: bool = False
    sends: int = 0
    refused: int | None = None
    busy: bool = False
    again: bool = True
    expired_long: bool = False
    put_off: bool = False
    refused_before: bool = False
    overtaken: bool = False

    @property
    def was_refused(self) -> bool:
        """Whether a purchase of ours was refused, by whichever run."""
        return self.refused is not None or self.refused_before

    @property
    def was_sent(self) -> bool:
        """Whether a purchase of ours was sent, by this run, or by an earlier one that never got its answer."""
        return bool(self.sends) or self.unanswered

    @property
    def may_have_bought(self) -> bool:
        """Whether a purchase of ours was sent, by whichever run, that may have bought the offer."""
        return self.was_sent or self.made or self.refused_before

    @property
    def noted_refusal(self) -> int | None:
        """The HTTP status that the registry keeps: of several refusals the one that proves least, for the next run.

        None if nothing is certain, since an earlier purchase may be under way, or this one is in other hands.
        """
        if self.unanswered or self.overtaken:
            return None
        return PUT_OFF if self.refused is not None and self.put_off else self.refused

    def noted(self, entry: Entry) -> History:
        """With what an earlier run has noted of its purchase."""
        refused_before = entry.is_open and entry.refused_status is not None
        put_off = self.put_off or (refused_before and entry.refused_status == PUT_OFF)
        known = replace(self, made=self.made or entry.is_made, sent_before=entry.is_unanswered)
        return replace(known, put_off=put_off, refused_before=refused_before)

    @property
    def unanswered(self) -> bool:
        """Whether a purchase of ours may still be under way, whatever is seen."""
        return self.sent_before or self.lost

    @property
    def may_be_under_way(self) -> bool:
        """Whether that is so if the offer is gone: what was put off is then rather being made than to be sent again."""
        return self.unanswered or self.put_off


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


def doubts_refusal(history: History, offer_look: OfferLook) -> bool:
    """Whether only a refusal says that machines which the account has are not ours, and no name of ours denies it."""
    refused = history.was_refused and not (history.unanswered or _refusal_proves_nothing(history))
    return (
        refused
        and offer_look.shown
        and offer_look.left is not False
        and not (history.named and offer_look.whose == OURS)
    )


def _refusal_proves_nothing(history: History) -> bool:
    """Whether a refusal says nothing of the offer, or put the purchase off.

    If the offer is sold in that very moment, it is rather ours, by a gateway that lied, than a stranger's.
    """
    return history.put_off or (history.refused is not None and history.refused not in _ABOUT_THE_OFFER)


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


def next_step(history: History, offer_look: OfferLook, patience: bool) -> NextStep:
    """What follows from this; ``patience`` says whether there is time for another look."""
    return unless_overtaken(history, _alone(history, offer_look, patience))


def ids_of_purchase(phase: str, named: t.Iterable[str], noted: t.Iterable[str]) -> list[str]:
    """The ids by which a purchase knows its machines: the status names them; of one that failed, also the registry."""
    return list(dict.fromkeys([*named, *(noted if phase == _states.FAILED else ())]))


def lists_machines(history: History, ids: t.Collection[str]) -> bool:
    """Whether the machines of an offer that is bought are listed: their names decide, or no id of them is known.

    Where neither a name nor a registry tells who has bought it, or a refusal alone does, that this account has any of
    them decides: the status may name ids to everybody.
    """
    is_found = history.was_refused or (history.by_name and not history.was_sent)
    return not ids or ((history.named or is_found) and not history.made)


def has_billed_machines(phase: str, billed: t.Collection[str], *, is_listed: bool) -> bool | None:
    """Whether machines of a bought offer may be billed; None if that is unknown, since they could not be listed.

    Then a machine of ours may be among them. Of an offer that has failed, those that are known are enough.
    """
    is_known = is_listed or (phase == _states.FAILED and billed)
    return bool(billed) if is_known else None


def asks_the_list(history: History, phase: str | None) -> bool:
    """Whether a refusal would free the host since the status, which may lag, does not call the offer bought either."""
    is_refused = history.refused is not None and not (history.unanswered or history.made or history.busy)
    return is_refused and phase in (_states.UNBOUGHT, *GONE)


def asks_the_clock(history: History, phase: str | None) -> bool:
    """Whether it counts for how long an offer has been seen as gone."""
    return phase in GONE and history.may_be_under_way and not history.overtaken


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
    if offer_look.phase == _states.UNBOUGHT:
        return _unbought(history, patience)
    return _gone(history, Reason.EXPIRED if offer_look.phase == _states.EXPIRED else Reason.NOT_FOUND, patience)


def _unreadable(history: History, patience: bool) -> NextStep:
    if not history.may_have_bought:
        return NextStep(Decision.NOT_SENT, Reason.UNREADABLE)
    if patience:
        return _LOOK
    spoken = history.refused not in (None, ANSWERED_NO) and history.refused not in _ABOUT_THE_OFFER
    if spoken and not history.unanswered and not history.made:
        return NextStep(Decision.REJECTED, Reason.REFUSED)
    return NextStep(Decision.UNKNOWN, Reason.UNREADABLE)


def _bought(history: History, offer_look: OfferLook, patience: bool) -> NextStep:
    if not (history.made or _is_ours(history, offer_look)):
        return _whose(history, offer_look, patience)
    return NextStep(Decision.CREATED if history.lost or history.refused == ANSWERED_NO else Decision.EXISTING)


def _failed(history: History, offer_look: OfferLook, patience: bool) -> NextStep:
    """The offer failed: what is left of it is billed to somebody, and who that is decides as with one that runs."""
    if offer_look.left is None and history.may_have_bought:
        return _LOOK if patience else NextStep(Decision.UNKNOWN, Reason.UNLISTED)
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
    if history.named and offer_look.whose == OURS:
        return NextStep(Decision.UNKNOWN, Reason.UNPROVEN)
    if history.named and offer_look.whose == THEIRS:
        return _named_otherwise(history, offer_look, patience)
    return _nameless(history, offer_look, patience)


def _may_be_ours(history: History) -> bool:
    """Whether a purchase of ours may have bought the offer, whatever it was answered."""
    return history.unanswered or _refusal_proves_nothing(history)


def _is_unproved(history: History, offer_look: OfferLook) -> bool:
    """Whether only a refusal says that machines are another host's, which may still note that it was faster."""
    return doubts_refusal(history, offer_look) and not offer_look.of_others


def _named_otherwise(history: History, offer_look: OfferLook, patience: bool) -> NextStep:
    """What follows if all machines that have a name are called otherwise than was asked for."""
    if _may_be_ours(history):
        return NextStep(Decision.UNKNOWN, Reason.ANOTHER)
    if not _is_unproved(history, offer_look):
        return _over(history, Reason.TAKEN)
    return _LOOK if patience else NextStep(Decision.UNKNOWN, Reason.ANOTHER)


def _nameless(history: History, offer_look: OfferLook, patience: bool) -> NextStep:
    """What follows if no name says who has bought the machines."""
    may_be_ours = _may_hold_ours(history, offer_look)
    # Nothing of ours can be there, since nothing was sent; without a registry nobody knows that.
    if not (may_be_ours or history.sends or history.refused_before or history.by_name):
        return _over(history, Reason.TAKEN)
    if patience:
        return _LOOK
    # Other customers of the market buy, too, and their machines are on no list of ours.
    return NextStep(Decision.UNKNOWN, Reason.NAMELESS) if may_be_ours else _over(history, Reason.TAKEN)


def _may_hold_ours(history: History, offer_look: OfferLook) -> bool:
    """Whether machines without a name may be ours, or could not be listed."""
    is_anonymous = history.by_name and not history.named
    is_anybodys = is_anonymous and not offer_look.of_others and (history.refused is not None or not history.sends)
    return _may_be_ours(history) or _is_unproved(history, offer_look) or offer_look.left is None or is_anybodys


def _unbought(history: History, patience: bool) -> NextStep:
    if history.made:
        return _LOOK if patience else NextStep(Decision.UNKNOWN, Reason.CONTRADICTED)
    if history.busy and history.again:
        return NextStep(Decision.SEND)
    if history.unanswered:
        return _LOOK if patience else _after_silence(history)
    if history.refused is None:
        return NextStep(Decision.SEND)
    return _refused_but_free(history, patience)


def _refused_but_free(history: History, patience: bool) -> NextStep:
    """What follows a refusal if the offer is free."""
    # A conflict over an offer that is free: the status lags behind, or what had it lets go of it. And what was put off
    # may have been bought a moment ago.
    if patience and (history.refused == 409 or history.put_off):
        return _LOOK
    # What was put off may also be what the next refusal speaks of.
    is_own = history.put_off and history.refused in (404, 409, 410)
    return NextStep(Decision.UNKNOWN, Reason.SILENT) if is_own else NextStep(Decision.REJECTED, Reason.REFUSED)


def _after_silence(history: History) -> NextStep:
    """What follows a purchase without an answer if the offer has stayed free."""
    # What follows a lost one was answered: the lost one may still be under way.
    return (
        NextStep(Decision.SEND)
        if history.again and history.refused is None
        else NextStep(Decision.UNKNOWN, Reason.SILENT)
    )


def _gone(history: History, reason: Reason, patience: bool) -> NextStep:
    if history.made:
        return _LOOK if patience else NextStep(Decision.UNKNOWN, Reason.CONTRADICTED)
    if history.may_be_under_way:
        if history.expired_long:
            return NextStep(Decision.REJECTED, reason)
        return _LOOK if patience else NextStep(Decision.UNKNOWN, Reason.LATELY)
    if not history.sends:
        return NextStep(Decision.NOT_SENT, reason)
    return _LOOK if patience and history.refused == 409 else NextStep(Decision.REJECTED, Reason.REFUSED)


def _over(history: History, reason: Reason) -> NextStep:
    """Nothing of ours will come of this offer."""
    return NextStep(Decision.REJECTED if history.was_sent else Decision.NOT_SENT, reason)
