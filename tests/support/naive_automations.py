"""A deliberately naive interpreter of automations: it sees the whole history at once.

It uses the JSON of a definition and shares no code with the real one. Time is an integer of
microseconds; an event is a dict with `sequence`, `name`, `payload` and `received`. It supports the
steps that decide a run's path; messages are sent in no time, with the statuses in `results`.

The rules, as documented:

- A run waits for the first event, in order of receipt, that matches. It must be received before the
  deadline, after the look-back begins, and after every event of its name that was used.
- An exit rule ends the run as soon as a matching event is received, while the run waits. A timer
  that is due at that very moment comes first.
- A run resumed by an event from before the wait continues at the time of the wait.
"""

from __future__ import annotations

from typing import Any

SECOND = 1_000_000
Event = dict[str, Any]
_ABSENT = object()


class Naive:
    """One run, from its beginning to its end or to a wait that never ends.

    Args:
        definition: JSON of the definition.
        trigger: the event that starts it.
        events: all events of the contact, in order of receipt.
        properties: of the contact; only the run changes them.
        results: step key -> `completed`, `skipped` or `failed`, for messages.
    """

    def __init__(
        self,
        definition: dict[str, Any],
        trigger: Event,
        events: list[Event],
        properties: dict[str, Any],
        results: dict[str, str],
    ) -> None:
        self.definition = definition
        self.trigger = trigger
        self.events = [event for event in events if event["sequence"] > trigger["sequence"]]
        self.all_events = events
        self.properties = dict(properties)
        self.results = results
        self.now: int = trigger["received"]
        self.used: dict[str, int] = {trigger["name"]: trigger["sequence"]}
        self.resumed: dict[str, Event] = {}
        #: `(step key, branch taken or None, time of leaving it)`, in order.
        self.path: list[tuple[str, str | None, int]] = []
        self.statuses: dict[str, str] = {}
        self.branches: dict[str, str] = {}
        self.effects: list[tuple[str, Any]] = []
        self.status = "running"
        self._run()

    def _run(self) -> None:
        key = self._target("trigger", "next")
        while key is not None:
            step = next(each for each in self.definition["steps"] if each["key"] == key)
            branch = getattr(self, f"_{step['type']}")(key, step["config"])
            if branch is None:
                return
            self.statuses.setdefault(key, "completed")
            self.branches[key] = branch
            self.path.append((key, branch, self.now))
            key = self._target(key, branch)
        self.status = "completed"

    def _target(self, source: str, branch: str) -> str | None:
        for each in self.definition["connections"]:
            if each["from"] == source and each["branch"] == branch:
                return str(each["to"])
        return None

    # Steps: each returns the branch, or None when the run ends in it.

    def _delay(self, key: str, config: dict[str, Any]) -> str | None:
        return self._rest(key, self.now + config["seconds"] * SECOND, None)

    def _wait_for_event(self, key: str, config: dict[str, Any]) -> str | None:
        begun = self.now
        deadline = begun + config["timeout_seconds"] * SECOND
        listed = config.get("events") or [{**config, "branch": "received"}]
        wanted = []
        for each in listed:
            fixed = {
                left: self._value(right, self.trigger)
                for left, right in each.get("correlate", {}).items()
            }
            wanted.append((each, fixed))
        for event in self.all_events:
            if event["received"] >= deadline:
                continue
            if event["sequence"] <= self._since(config, begun, event["name"]):
                continue
            for each, fixed in wanted:
                if self._fits(each, fixed, event):
                    return self._rest(key, deadline, (event, each.get("branch", "received")))
        return self._rest(key, deadline, None)

    def _since(self, config: dict[str, Any], begun: int, name: str) -> int:
        used = int(self.used.get(name, 0))
        look_back: Any = config.get("look_back", "run")
        if look_back == "run":
            return max(used, int(self.trigger["sequence"]))
        if look_back == "step":
            last = max([int(self.trigger["sequence"]), *self.used.values()])
            # A sequence consists of a millisecond and a counter.
            return max(used, last, (begun // 1000 << 21) - 1)
        earliest = (begun - int(look_back) * SECOND) // 1000
        return max(used, (earliest << 21) - 1)

    def _rest(self, key: str, due: int, found: tuple[Event, str] | None) -> str | None:
        """Wait until the event that was found, or the deadline, unless an exit comes first."""
        ends = due if found is None else found[0]["sequence"]
        for event in self.events:
            before = event["received"] < due if found is None else event["sequence"] <= ends
            if not before:
                break
            if self._is_exit(event):
                self._exit(key, event)
                return None
        if found is None:
            self.now = due
            waits = self._type(key) == "wait_for_event"
            return "timed_out" if waits else "next"
        event, branch = found
        self.now = max(self.now, event["received"])
        self.used[event["name"]] = event["sequence"]
        self.resumed[key] = event
        return branch

    def _type(self, key: str) -> str:
        return str(next(each["type"] for each in self.definition["steps"] if each["key"] == key))

    def _exit(self, key: str, event: Event) -> None:
        self.now = max(self.now, event["received"])
        self.statuses[key] = "cancelled"
        self.path.append((key, None, self.now))
        self.status = "exited"

    def _is_exit(self, event: Event) -> bool:
        for rule in self.definition.get("exit_on", []):
            fixed = {
                left: self._of_event(right.removeprefix("trigger."), self.trigger)
                for left, right in rule.get("correlate", {}).items()
            }
            if self._fits(rule, fixed, event):
                return True
        return False

    def _fits(self, wanted: dict[str, Any], fixed: dict[str, Any], event: Event) -> bool:
        if event["name"] != wanted["event_name"]:
            return False
        for left, value in fixed.items():
            if value is _ABSENT or not _same(self._of_event(left, event), value):
                return False
        return self._holds(wanted.get("filters", {}), event)

    def _condition(self, _: str, config: dict[str, Any]) -> str:
        if "filters" in config:
            return "true" if self._holds(config["filters"], self.trigger) else "false"
        for case in config["cases"]:
            if self._holds(case["filters"], self.trigger):
                return str(case["branch"])
        return "otherwise"

    def _send_push_template(self, key: str, _: dict[str, Any]) -> str | None:
        self.effects.append((key, "send"))
        result = self.results.get(key, "completed")
        self.statuses[key] = result
        if result == "completed":
            return "next"
        if self._target(key, result) is not None:
            return result
        if result == "skipped":
            return "next"
        self.path.append((key, None, self.now))
        self.status = "failed"
        return None

    def _contact_update(self, key: str, config: dict[str, Any]) -> str:
        ((field, value),) = config["set"].items()
        name = field.removeprefix("properties.")
        if isinstance(value, dict):
            value = self._value(value["from"], self.trigger)
        if value is _ABSENT or _same(self.properties.get(name, _ABSENT), value):
            self.statuses[key] = "skipped"
        else:
            self.properties[name] = value
            self.effects.append((key, {name: value}))
        return "next"

    def _emit_event(self, key: str, config: dict[str, Any]) -> str:
        payload = {}
        for name, value in config.get("payload", {}).items():
            found = self._value(value["from"], self.trigger) if isinstance(value, dict) else value
            if found is not _ABSENT:
                payload[name] = found
        self.effects.append((key, payload))
        return "next"

    # Values: the paths and operators that the generated definitions use.

    def _value(self, path: str, event: Event) -> Any:
        if path.startswith("trigger."):
            return self._of_event(path.removeprefix("trigger."), self.trigger)
        if path.startswith("contact.properties."):
            return self.properties.get(path.removeprefix("contact.properties."), _ABSENT)
        if path.startswith("steps."):
            _, key, what = path.split(".", 2)
            if what == "branch":
                return self.branches.get(key, _ABSENT)
            if what == "status":
                return self.statuses.get(key, _ABSENT)
            resumed = self.resumed.get(key)
            inside = what.removeprefix("event.")
            return _ABSENT if resumed is None else self._of_event(inside, resumed)
        return self._of_event(path, event)

    def _of_event(self, path: str, event: Event) -> Any:
        name = path.removeprefix("payload.")
        value = event["payload"].get(name)
        return _ABSENT if value is None else value

    def _holds(self, filters: dict[str, Any], event: Event) -> bool:
        for key, value in filters.items():
            if key == "any":
                holds = any(self._holds(each, event) for each in value)
            elif key == "not":
                holds = not self._holds(value, event)
            elif key.endswith("_gte"):
                found = self._value(key.removesuffix("_gte"), event)
                holds = type(found) is int and found >= value
            elif key.endswith("_ne"):
                holds = not _same(self._value(key.removesuffix("_ne"), event), value)
            else:
                holds = _same(self._value(key, event), value)
            if not holds:
                return False
        return True


def _same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and left == right
