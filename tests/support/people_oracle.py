"""A naive model of people: the expected result of contacts, merges, consent and erasure.

It uses plain lists and dictionaries and answers each question by scanning all of them. Contacts,
merges, topics and audiences are small numbers in the order of creation; there are no tables.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import Any

#: Matches data of a test's people; nothing else in a store has this form.
TRACE = re.compile(r"xid-\d+-k|mail\d+@kanari\.example|val-\d+-k", re.IGNORECASE)
#: Rank of a request among changes of the same time.
REQUEST = 2**63 - 1
IDENTIFIERS = ("external_id", "email")
#: Label of nobody: replaces an erased merge.
GONE = 0

#: Value, time, rank at that time, whether it was set once.
Held = tuple[Any, int, int, bool]


@dataclass
class Person:
    """A contact."""

    label: int
    created_us: int
    external_id: str | None = None
    #: Normalized, and original.
    email: str | None = None
    original: str | None = None
    #: When an identifier was set or cleared.
    since: dict[str, int] = field(default_factory=dict)
    #: By name; the value of a removed one is None.
    held: dict[str, Held] = field(default_factory=dict)
    #: Topic -> choice and its time.
    choices: dict[int, tuple[bool, int]] = field(default_factory=dict)
    opted_out_us: int | None = None
    #: Audience -> time of entry.
    audiences: dict[int, int] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """Fields, as in system events."""
        fields: dict[str, Any] = {"external_id": self.external_id, "email": self.original}
        fields |= {f"properties.{name}": held[0] for name, held in self.held.items()}
        return {name: value for name, value in fields.items() if value is not None}

    def put(self, name: str, value: Any, at_us: int, order: int, *, once: bool = False) -> None:
        """Write a property, unless the current value is newer."""
        new = (value, at_us, order, once)
        if name not in self.held or wins(new, self.held[name]):
            self.held[name] = new

    def identify(self, name: str, value: str | None, original: str | None, at_us: int) -> None:
        """Set or clear an identifier."""
        setattr(self, name, value)
        if name == "email":
            self.original = original
        self.since[name] = at_us


def wins(new: Held, old: Held) -> bool:
    """Whether a new property value replaces the old one."""
    (_, at_us, order, once), (_, old_us, old_order, old_once) = new, old
    if once != old_once:
        return old_once
    if once:
        return (at_us, order) < (old_us, old_order)
    return (at_us, order) >= (old_us, old_order)


@dataclass
class Event:
    """A customer event."""

    number: int
    contact: int | None
    external_id: str | None
    email: str | None
    original: str | None
    sets: dict[str, Any]
    once: dict[str, Any]
    happened_us: int
    #: Contact it was resolved to.
    person: int | None = None


@dataclass
class Merge:
    """A merge, with both sides as they were, while it can be undone."""

    own: int
    other: int
    undone: bool = False
    #: Survivor before and after, the other, identifiers that led to the other.
    sides: tuple[Person, Person, Person, list[tuple[str, Any]]] | None = None
    #: Pairs that it resolved.
    resolved: list[frozenset[int]] = field(default_factory=list)


@dataclass
class Pair:
    """Two contacts that events identify as one person."""

    fields: set[str] = field(default_factory=set)
    events: set[int] = field(default_factory=set)
    resolved: bool = False
    dismissed: str | None = None


class Refused(Exception):
    """Nothing was changed; the argument is the reason."""


class Oracle:
    """All people of one project."""

    def __init__(self) -> None:
        self.people: list[Person] = []
        #: `(kind, value)` -> label; kind `id` for contacts that were merged.
        self.leads: dict[tuple[str, Any], int] = {}
        self.labels = 0
        self.events: list[Event] = []
        self.waiting: list[Event] = []
        self.merges: list[Merge] = []
        self.pairs: dict[frozenset[int], Pair] = {}
        #: Topic -> default; None when it is deleted.
        self.topics: list[bool | None] = []
        self.audiences = 0
        #: `(label, change)` of each system event.
        self.told: list[tuple[int, Any]] = []
        #: Groups of labels erased together.
        self.erased: list[set[int]] = []

    # Finding

    def find(self, label: int) -> Person | None:
        """The contact with an id, or the one it was merged into."""
        label = self.leads.get(("id", label), label)
        return next((person for person in self.people if person.label == label), None)

    def owner(self, kind: str, value: str | None) -> Person | None:
        """The contact with an identifier."""
        label = self.leads.get((kind, value))
        return None if label is None else self.find(label)

    def _need(self, label: int) -> Person:
        person = self.find(label)
        if person is None:
            raise Refused("not_found")
        return person

    def ids(self, label: int) -> set[int]:
        """All ids that resolve to a contact."""
        return {label} | {
            value for (kind, value), owner in self.leads.items() if kind == "id" and owner == label
        }

    # Writing

    def _changed(self, before: Person, after: Person) -> None:
        """Record the identifiers of a contact and its system event."""
        for name in IDENTIFIERS:
            old, new = getattr(before, name), getattr(after, name)
            if old != new and old is not None and self.leads.get((name, old)) == after.label:
                del self.leads[name, old]
            if new is not None:
                self.leads[name, new] = after.label
        was, now = before.shown(), after.shown()
        changes = {n: (was.get(n), now.get(n)) for n in was | now if was.get(n) != now.get(n)}
        if changes:
            self.told.append((after.label, changes))

    def _new(self, at_us: int) -> Person:
        self.labels += 1
        return Person(self.labels, at_us)

    def _refuse_clash(self, write: dict[str, Any], own: Person | None) -> None:
        given = {name: _plain(write[name]) for name in IDENTIFIERS if write.get(name) is not None}
        taken = [
            name for name, value in given.items() if self.owner(name, value) not in (None, own)
        ]
        if taken:
            raise Refused(*taken)

    def _apply(self, person: Person, write: dict[str, Any], now_us: int) -> None:
        before = copy.deepcopy(person)
        happened_us = write.get("occurred_us")
        properties = write.get("properties", {})
        at_us = min(now_us, happened_us) if happened_us is not None else now_us
        if happened_us is None:
            at_us = max([at_us, *(person.held[n][1] for n in properties if n in person.held)])
        for name, value in properties.items():
            person.put(name, value, at_us, REQUEST)
        for name in IDENTIFIERS:
            if name in write:
                self._request_identifier(person, name, write[name], now_us, happened_us)
        self._changed(before, person)

    @staticmethod
    def _request_identifier(
        person: Person, name: str, value: str | None, now_us: int, happened_us: int | None
    ) -> None:
        since_us = person.since.get(name, 0)
        if happened_us is None:
            at_us = max(now_us, since_us)
        else:
            at_us = min(now_us, happened_us)
            if at_us < since_us:
                return
        person.identify(name, _plain(value), value, at_us)

    def create(self, write: dict[str, Any], now_us: int) -> int:
        self._refuse_clash(write, None)
        person = self._new(now_us)
        self.people.append(person)
        self.told.append((person.label, "created"))
        told = len(self.told)
        self._apply(person, write, now_us)
        # Identifiers given at creation have no change event.
        del self.told[told:]
        return person.label

    def upsert(self, write: dict[str, Any], now_us: int, *, link: bool) -> int:
        kind = next(name for name in IDENTIFIERS if write.get(name))
        person = self.owner(kind, _plain(write[kind]))
        if person is None and kind == "external_id" and write.get("email") and link:
            linked = self.owner("email", _plain(write["email"]))
            if linked is not None and _joins(linked, write.get("occurred_us", REQUEST)):
                person = linked
        if person is None:
            return self.create(write, now_us)
        write = {
            name: value
            for name, value in write.items()
            if name not in IDENTIFIERS
            or getattr(person, name) is None
            or self.owner(name, _plain(value)) is not person
            or getattr(person, name) == _plain(value)
        }
        self._refuse_clash(write, person)
        self._apply(person, write, now_us)
        return person.label

    def update(self, label: int, write: dict[str, Any], now_us: int) -> int | None:
        person = self.find(label)
        if person is None:
            return None
        self._refuse_clash(write, person)
        self._apply(person, write, now_us)
        return person.label

    def delete(self, label: int) -> bool:
        person = self.find(label)
        if person is None:
            return False
        ids = self.ids(person.label)
        self.people.remove(person)
        self.told.append((person.label, "deleted"))
        self.leads = {key: owner for key, owner in self.leads.items() if owner != person.label}
        for merge in self.merges:
            if {merge.own, merge.other} & ids:
                merge.sides = None
        self.pairs = {labels: pair for labels, pair in self.pairs.items() if not labels & ids}
        return True

    # Events

    def process(self, event: Event) -> None:
        """What the worker does with one event."""
        person = self._meant(event)
        if person is None and event.contact is not None:
            return
        created = person is None
        if person is None:
            person = self._new(event.happened_us)
            self.people.append(person)
        before = copy.deepcopy(person)
        conflicts = self._fill(event, person)
        self._write_payload(event, person, conflicts)
        if created:
            self.told.append((person.label, "created"))
        told = len(self.told)
        self._changed(before, person)
        if created:
            del self.told[told:]
        event.person = person.label
        for name, other in conflicts.items():
            pair = self.pairs.setdefault(frozenset((person.label, other)), Pair())
            pair.fields.add(name)
            pair.events.add(event.number)

    def _meant(self, event: Event) -> Person | None:
        """The contact of the first identifier, or the one that an unknown identifier joins."""
        if event.contact is not None:
            return self.find(event.contact)
        if event.external_id is None:
            return self.owner("email", event.email)
        person = self.owner("external_id", event.external_id)
        linked = self.owner("email", event.email)
        if person is None and linked is not None and _joins(linked, event.happened_us):
            return linked
        return person

    def _fill(self, event: Event, person: Person) -> dict[str, int]:
        """Fill empty identifiers; returns those of other contacts, by name."""
        conflicts: dict[str, int] = {}
        for name in IDENTIFIERS:
            value = getattr(event, name)
            owner = self.owner(name, value)
            if value is None:
                continue
            if owner is not None and owner is not person:
                conflicts[name] = owner.label
            elif (
                owner is None
                and getattr(person, name) is None
                and person.since.get(name, -1) < event.happened_us
            ):
                person.identify(name, value, event.original, event.happened_us)
        return conflicts

    def _write_payload(self, event: Event, person: Person, conflicts: dict[str, int]) -> None:
        at_us = event.happened_us
        for once, values in ((False, event.sets), (True, event.once)):
            for name, value in values.items():
                if name != "email" and not (once and value is None):
                    person.put(name, value, at_us, event.number, once=once)
        for once, values in ((False, event.sets), (True, event.once)):
            if "email" not in values or (once and values["email"] is None):
                continue
            given = values["email"]
            owner = self.owner("email", _plain(given))
            # Identifiers filled just now do not resolve to a contact yet.
            if given is not None and owner is not None and owner is not person:
                conflicts.setdefault("email", owner.label)
                continue
            since_us = person.since.get("email", 0)
            if once and (person.email is not None or since_us >= at_us):
                continue
            if at_us >= since_us:
                person.identify("email", _plain(given), given, at_us)

    # Merges

    def merge(self, own_label: int, other_label: int, now_us: int) -> int:
        own, other = self._need(own_label), self._need(other_label)
        if own is other:
            raise Refused("same_contact")
        before, gone = copy.deepcopy(own), copy.deepcopy(other)
        everybody = self.ids(own.label) | self.ids(other.label)
        led = [key for key, label in self.leads.items() if label == other.label]
        aliases = [
            (kind, value) for kind, value in led if kind == "id" or getattr(other, kind) != value
        ]
        self.people.remove(other)
        self.told.append((other.label, "deleted"))
        for key in led:
            self.leads[key] = own.label
        self.leads["id", other.label] = own.label
        for name in IDENTIFIERS:
            if getattr(own, name) is None and getattr(other, name) is not None:
                own.identify(name, getattr(other, name), other.original, other.since[name])
        for name, held in other.held.items():
            # At the same time the survivor's value stays.
            if name not in own.held or own.held[name][1:] != held[1:]:
                own.put(name, *held[:3], once=held[3])
        self._join_consent(own, other, now_us)
        self._changed(before, own)
        merge = Merge(own.label, other.label)
        merge.sides = (before, copy.deepcopy(own), gone, aliases)
        for labels, pair in self.pairs.items():
            if labels <= everybody and not pair.resolved:
                pair.resolved = True
                merge.resolved.append(labels)
        self.merges.append(merge)
        return len(self.merges) - 1

    @staticmethod
    def _join_consent(own: Person, other: Person, now_us: int) -> None:
        """Keep each topic's latest choice; unsubscribing from everything is one for all topics."""
        both: dict[int, list[tuple[int, bool, bool]]] = {}
        for first, second in ((own, other), (other, own)):
            for topic, (wanted, at_us) in first.choices.items():
                words = both.setdefault(topic, [])
                words.append((at_us, first is own, wanted))
                out_us = second.opted_out_us
                if out_us is not None and wanted and out_us > at_us:
                    words.append((out_us, first is own, False))
        own.choices = {
            topic: (wanted, at_us)
            for topic, words in both.items()
            for at_us, _, wanted in (max(words),)
        }
        outs = [p.opted_out_us for p in (own, other) if p.opted_out_us is not None]
        own.opted_out_us = max(outs, default=None)
        own.audiences = dict.fromkeys(other.audiences, now_us) | own.audiences

    def undo(self, number: int) -> None:
        merge = self.merges[number]
        person = self._undoable(number)
        assert merge.sides is not None
        before, after, other, aliases = merge.sides
        parted = _parted(person, before, after, other)
        for holder in (parted, other):
            for name in IDENTIFIERS:
                if self.owner(name, getattr(holder, name)) not in (None, person):
                    raise Refused("identifier_taken")
        for name in IDENTIFIERS:
            self.leads.pop((name, getattr(other, name)), None)
        self.people[self.people.index(person)] = parted
        self._changed(person, parted)
        self._bring_back(copy.deepcopy(other), parted, aliases)
        for labels in merge.resolved:
            if labels in self.pairs:
                self.pairs[labels].resolved = False
        merge.undone, merge.sides = True, None

    def _undoable(self, number: int) -> Person:
        """The survivor of a merge that can be undone."""
        merge = self.merges[number]
        if merge.own == GONE:
            raise Refused("no_such_merge")
        if merge.undone:
            raise Refused("undone_before")
        if merge.sides is None:
            raise Refused("contact_gone")
        for later in self.merges[number + 1 :]:
            if not later.undone and later.sides and merge.own in (later.own, later.other):
                raise Refused("not_the_last")
        person = self.find(merge.own)
        if person is None or person.label != merge.own:
            raise Refused("contact_gone")
        return person

    def _bring_back(self, back: Person, parted: Person, aliases: list[tuple[str, Any]]) -> None:
        del self.leads["id", back.label]
        for key in aliases:
            if self.leads.get(key) == parted.label:
                self.leads[key] = back.label
        for name in IDENTIFIERS:
            if getattr(back, name) is not None:
                self.leads[name, getattr(back, name)] = back.label
        self.people.append(back)
        self.people.sort(key=lambda each: each.label)
        self.told.append((back.label, "created"))

    # Consent

    def subscribed(self, person: Person, topic: int) -> bool:
        """Whether a contact is subscribed to an existing topic."""
        if topic in person.choices:
            return person.choices[topic][0]
        return bool(self.topics[topic]) and person.opted_out_us is None

    def live_topics(self) -> list[int]:
        return [topic for topic, default in enumerate(self.topics) if default is not None]

    def subscribe(self, label: int, topic: int, now_us: int, *, wanted: bool) -> bool | None:
        person = self.find(label)
        if person is None or self.topics[topic] is None:
            return None
        chosen = topic in person.choices or person.opted_out_us is not None
        if self.subscribed(person, topic) is not wanted or not chosen:
            person.choices[topic] = (wanted, now_us)
        return self.subscribed(person, topic)

    def opt_out(self, label: int, now_us: int) -> bool | None:
        person = self.find(label)
        if person is None:
            return None
        subscribed = [topic for topic in self.live_topics() if self.subscribed(person, topic)]
        for topic in subscribed:
            person.choices[topic] = (False, now_us)
        if subscribed or person.opted_out_us is None:
            person.opted_out_us = now_us
        return True

    # Erasure

    def erase(self, label: int, *, told_is_left: bool) -> bool:
        """Erase a person; returns whether there was one to erase.

        Args:
            told_is_left: the assumption when only system events of the contact may remain. They may
                already be erased with another contact that it was merged into.
        """
        person = self.find(label)
        names: set[tuple[str, Any]] = set()
        if person is not None:
            ids = self.ids(person.label)
            names = {key for key, owner in self.leads.items() if owner == person.label}
            self.delete(person.label)
        else:
            ids = self._ids_by_merges(label)
            about = {event.contact for event in self.events} | {e.person for e in self.events}
            known = any(each in ids for group in self.erased for each in group)
            if not known and told_is_left:
                about |= {told for told, _ in self.told}
            if not ids & about:
                return known
        self.erased.append(set(ids))
        forgotten = Merge(GONE, GONE, undone=True)
        self.merges = [
            forgotten if {merge.own, merge.other} & ids else merge for merge in self.merges
        ]
        self._forget_events(ids, names)
        self.told = [(about, what) for about, what in self.told if about not in ids]
        return True

    def _forget_events(self, ids: set[int], names: set[tuple[str, Any]]) -> None:
        """Remove events of a person, and add to `ids` the former contacts that they lead to."""
        found = [event for event in self.events if _is_of(event, ids, names)]
        for event in found:
            decided = (
                ("external_id", event.external_id) if event.external_id else ("email", event.email)
            )
            former = event.person
            if event.contact is None and decided in names and former and self.find(former) is None:
                ids.add(former)
        self.events = [event for event in self.events if event not in found]
        self.waiting = [event for event in self.waiting if event not in found]
        if found:
            self._forget_events(ids, names)

    def _ids_by_merges(self, label: int) -> set[int]:
        """All contacts that a removed one was joined with, by merges and by erasures."""
        ids, size = {label}, 0
        while len(ids) > size:
            size = len(ids)
            groups = [{m.own, m.other} for m in self.merges if not m.undone] + self.erased
            ids = ids.union(*(group for group in groups if group & ids))
        return ids

    def strings(self) -> set[str]:
        """All data of people that may still be readable somewhere.

        System events of others are assumed to stay, though some are erased with the person.
        """
        undoable = [merge.sides for merge in self.merges]
        kept = (self.people, self.leads, self.events, self.told, undoable, self.pairs)
        return {found.lower() for found in TRACE.findall(repr(kept))}

    def open_pairs(self, *, dismissed: bool) -> list[tuple[list[int], list[str], int]]:
        """Conflicts in the list."""
        return sorted(
            (sorted(labels), sorted(pair.fields), len(pair.events))
            for labels, pair in self.pairs.items()
            if not pair.resolved and (pair.dismissed is not None) is dismissed
        )


def _plain(email: str | None) -> str | None:
    """The normalized form of an e-mail address; external ids are lower case already."""
    return None if email is None else email.lower()


def _is_of(event: Event, ids: set[int], names: set[tuple[str, Any]]) -> bool:
    """Whether an event names a person by an id or identifier, or was resolved to that person."""
    return bool(
        {event.person, event.contact} & ids
        or {("external_id", event.external_id), ("email", event.email)} & names
    )


def _joins(person: Person, happened_us: int) -> bool:
    return person.external_id is None and person.since.get("external_id", -1) < happened_us


def _parted(person: Person, before: Person, after: Person, other: Person) -> Person:
    """The survivor without what a merge added; later writes stay."""
    parted = copy.deepcopy(person)
    for name in IDENTIFIERS:
        value, since_us = getattr(person, name), person.since.get(name)
        untouched = (value, since_us) == (getattr(after, name), after.since.get(name))
        if untouched or (value is not None and value == getattr(other, name)):
            parted.identify(name, getattr(before, name), before.original, 0)
            parted.since.pop(name)
            if name in before.since:
                parted.since[name] = before.since[name]
    for mine in ("held", "choices"):
        now, then, was = (getattr(each, mine) for each in (parted, after, before))
        for key in {*then, *was}:
            if now.get(key) == then.get(key):
                now.pop(key, None)
                if key in was:
                    now[key] = was[key]
    if person.opted_out_us == after.opted_out_us:
        parted.opted_out_us = before.opted_out_us
    parted.audiences = {
        audience: at_us
        for audience, at_us in person.audiences.items()
        if audience in before.audiences or after.audiences.get(audience) != at_us
    }
    return parted
