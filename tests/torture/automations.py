"""Kills workers while automations run, and compares what is left with what was to happen.

    python -m tests.torture.automations --runs 10000

Each person starts one run: a delay, a mail, a wait, and then either a change of the contact or a
second mail. The worker is killed at random moments, at fail points, and in the moment in which the
relay takes a mail. At the end each run must have taken its path, and each effect have happened
once. A mail whose outcome is unknown after a kill is settled by what the relay has counted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from headrace.domain.access.api_keys import Scope, issue_key
from headrace.domain.contacts.topics import TopicFields
from headrace.domain.events.event import Status
from headrace.domain.messages.requests import TemplateFields
from headrace.store.contract.messages import VersionContent
from headrace.stores import open_store
from tests.faults.shared import own_place
from tests.support.mail_sink import MailSink, mail_sink
from tests.support.server import clean_environment
from tests.torture.rows import PostgresRows, Rows, SqliteRows
from tests.torture.server import ServerProcess

#: With this fail point a mail whose attempt had begun is sent again after a kill.
UNGUARDED = "message_sent_again"
POINTS = (
    "automation_inside_commit",
    "automation_committed",
    "message_claimed",
    "message_started",
    "message_recorded",
    "inside_commit",
    "before_commit",
)
#: A fail point is armed for one of its first passes, a kill by the relay for one of its next mails.
PASSES_MAX = 12
MAILS_MAX = 8
#: A random kill comes so long after the worker has started; other kills are waited for longer.
SECONDS_OF_A_LIFE = (0.02, 1.2)
SECONDS_TO_A_POINT_MAX = 3.0
#: For the last worker, which is not killed.
SECONDS_TO_FINISH = 120.0
SECONDS_PER_RUN = 0.1
START_SECONDS_MAX = 60.0
POLL_SECONDS = 0.02
BATCH = 500
RECEIVERS = 50
DOMAIN = "mail.example.com"
FIRST, SECOND = "Reminder", "Last reminder"
#: In turns: the awaited event comes at once, much later, with the wrong number, never.
KINDS = ("early", "patient", "other", "never")
#: Lives between the start of a patient person's run and the awaited event.
PATIENCE = 3
DEFINITION: dict[str, Any] = {
    "trigger": {"event_name": "begin", "reentry": {"mode": "once"}},
    "steps": [
        {"key": "rest", "type": "delay", "config": {"seconds": 1}},
        {
            "key": "mail",
            "type": "send_email_template",
            "config": {"template": FIRST, "domain": DOMAIN, "topic": "News"},
        },
        {"key": "kind", "type": "condition", "config": {"filters": {"payload.kind": "patient"}}},
        {
            "key": "long",
            "type": "wait_for_event",
            "config": {"event_name": "paid", "timeout_seconds": 86400},
        },
        {
            "key": "short",
            "type": "wait_for_event",
            "config": {
                "event_name": "paid",
                "timeout_seconds": 1,
                "correlate": {"payload.n": "trigger.payload.n"},
            },
        },
        {
            "key": "mark",
            "type": "contact_update",
            "config": {"set": {"properties.paid": {"from": "trigger.payload.n"}}},
        },
        {
            "key": "thank",
            "type": "emit_event",
            "config": {"event_name": "thanked", "payload": {"n": {"from": "trigger.payload.n"}}},
        },
        {
            "key": "again",
            "type": "send_email_template",
            "config": {"template": SECOND, "domain": DOMAIN, "topic": "News"},
        },
        {
            "key": "miss",
            "type": "emit_event",
            "config": {"event_name": "missed", "payload": {"n": {"from": "trigger.payload.n"}}},
        },
    ],
    "connections": [
        {"from": "trigger", "to": "rest"},
        {"from": "rest", "to": "mail"},
        {"from": "mail", "to": "kind"},
        {"from": "kind", "to": "long", "branch": "true"},
        {"from": "kind", "to": "short", "branch": "false"},
        {"from": "long", "to": "mark", "branch": "received"},
        {"from": "short", "to": "mark", "branch": "received"},
        {"from": "mark", "to": "thank"},
        {"from": "short", "to": "again", "branch": "timed_out"},
        {"from": "again", "to": "miss"},
    ],
}
#: Tables that show what became of a run.
EVIDENCE = (
    *("automation_runs", "automation_notes", "automation_inbox", "rejected_starts"),
    *("messages", "message_attempts", "events", "event_queue", "dead_letters"),
)
_BEGUN = [["rest", "next"], ["mail", "next"]]
_PAID = [["mark", "next"], ["thank", "next"]]
_MISSED = [
    ["kind", "false"],
    ["short", "timed_out"],
    ["again", "next"],
    ["miss", "next"],
]
#: What is to happen: steps with branches.
PATHS: dict[str, list[list[str]]] = {
    "early": [*_BEGUN, ["kind", "false"], ["short", "received"], *_PAID],
    "patient": [*_BEGUN, ["kind", "true"], ["long", "received"], *_PAID],
    "other": [*_BEGUN, *_MISSED],
    "never": [*_BEGUN, *_MISSED],
}


class Report(msgspec.Struct, kw_only=True):
    """Outcome of one kill test."""

    seed: int
    runs: int
    seconds: float = 0.0
    #: By the moment of the kill.
    kills: dict[str, int] = {}
    mails_taken: int = 0
    #: Mails of which a kill left unknown whether the relay had them, and how many it had.
    unknown: int = 0
    unknown_taken: int = 0
    #: Events that three workers held when they died, and that were replayed.
    replayed: int = 0
    #: Runs whose wait had timed out before such an event was replayed.
    missed: int = 0
    #: Given up since three workers died while they held the mail; their runs have failed.
    poisoned: int = 0
    #: Mails that the relay has taken more than once.
    mails_twice: int = 0
    #: Everything else that differs from what was to happen.
    faults: list[str] = []

    @property
    def clean(self) -> bool:
        """Whether everything happened once."""
        return not self.faults and not self.mails_twice


def kind_of(number: int) -> str:
    """What happens to this person."""
    return KINDS[number % len(KINDS)]


def address_of(number: int) -> str:
    """Each person has one; many domains, so that no receiver is paced."""
    return f"p{number}@r{number % RECEIVERS}.example"


class AutomationTorture:
    """One kill test on one store.

    Args:
        url: of an empty store.
        rows: reads it.
        runs: how many people start one.
        seed: of everything that is drawn; what the operating system does is not repeatable.
        guarded: False switches off that a mail is never sent again once its attempt has begun.
    """

    def __init__(
        self, folder: Path, url: str, rows: Rows, *, runs: int, seed: int, guarded: bool = True
    ) -> None:
        self._folder = folder
        self._url = url
        self._rows = rows
        self._runs = runs
        self._rng = random.Random(seed)
        self._guarded = guarded
        self._key = ""
        self._port = 0
        self._log = folder / "worker.log"
        self._starts = 0
        self._patient: list[int] = []
        #: Addresses of people whose awaited event was a dead letter.
        self._late: set[str] = set()
        #: Those of them whose wait had timed out by then.
        self._missed: set[int] = set()
        self._kills: Counter[str] = Counter()
        self.report = Report(seed=seed, runs=runs)
        # Of the sink: the worker that it kills, after how many mails.
        self._at_work: subprocess.Popen[bytes] | None = None
        self._mails_left = 0

    def run(self, kills: int) -> Report:
        """Kill so often, then let one worker finish, and compare."""
        started = time.monotonic()
        self._key = asyncio.run(self._prepare())
        with mail_sink(self._taken) as sink:
            asyncio.run(self._serve(sink, kills))
        self.report.seconds = round(time.monotonic() - started, 1)
        self.report.kills = dict(self._kills)
        return self.report

    async def _prepare(self) -> str:
        store = await open_store(self._url, serve=True)
        try:
            now_us = store.clock_us()
            project = await store.projects.create("torture", now_us, actor="test")
            messages = store.messages
            await messages.domains.create(
                project.id, DOMAIN, now_us, dkim=("x", ""), verified_by="test", actor="test"
            )
            for name in (FIRST, SECOND):
                fields = TemplateFields(
                    name=name, channel="email", subject_template=name, rendered_text="x"
                )
                template = await messages.templates.create(project.id, fields, now_us)
                content = VersionContent(subject=name, text="Your order waits.")
                await messages.templates.publish(template, content, now_us, actor="test")
            topic = TopicFields(name="News", default_subscribed=True)
            await store.topics.create(project.id, topic, now_us)
            issued = issue_key(project.id, frozenset(Scope), name="torture", now_us=now_us)
            await store.projects.add_key(issued.key, actor="test")
            return issued.text
        finally:
            await store.close()

    async def _serve(self, sink: MailSink, kills: int) -> None:
        server = ServerProcess(
            self._folder / "api.db", command="api", environment={"HEADRACE_STORE": self._url}
        )
        await server.start()
        self._port = server.port
        try:
            await asyncio.to_thread(self._kill_and_finish, sink, kills)
        finally:
            status = await server.stop()
        if status != 0:
            self.report.faults.append(f"the server ended with {status}")

    def _kill_and_finish(self, sink: MailSink, kills: int) -> None:
        made = self._ask("/automations", {"name": "Kills", "definition": DEFINITION})["data"]
        self._ask(f"/automations/{made['id']}/publish", {})
        # The last lives only have what was left over.
        share = -(-self._runs // max(1, kills - kills // 4))
        begun = 0
        for life in range(kills):
            self._pay(begun - PATIENCE * share)
            self._begin(range(begun, min(self._runs, begun + share)))
            begun = min(self._runs, begun + share)
            self._live(sink, life)
        self._begin(range(begun, self._runs))
        self._pay(self._runs)
        with self._worker(sink) as worker:
            self._wait(worker, self._at_rest, "every run has ended or its mail is unknown")
            if self._guarded:
                self._settle(sink)
                self._wait(worker, self._ended, "every run has ended")
            worker.terminate()
            if worker.wait(START_SECONDS_MAX) != 0:
                self.report.faults.append(f"the last worker ended with {worker.returncode}")
        self._compare(sink)

    # Load.

    def _ask(self, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
            return json.load(answer)

    def _send(self, events: Sequence[dict[str, Any]]) -> None:
        for start in range(0, len(events), BATCH):
            part = events[start : start + BATCH]
            answer = self._ask("/events/batch", {"events": part})
            assert answer["accepted"] == len(part), answer

    def _begin(self, numbers: range) -> None:
        """Start runs, with the awaited events that come at once, or with another number."""
        events = []
        for number in numbers:
            kind, who = kind_of(number), {"email": address_of(number)}
            payload = {"n": number, "kind": kind}
            events.append({"event": "begin", **who, "payload": payload})
            if kind == "patient":
                self._patient.append(number)
            elif kind != "never":
                paid = {"n": number if kind == "early" else number + 1}
                events.append({"event": "paid", **who, "payload": paid})
        self._send(events)
        if 0 in numbers:
            self._take_for_dead(0)

    def _take_for_dead(self, number: int) -> None:
        """Let the third worker that holds a person's awaited event be dead: a dead letter follows.

        Kills do so seldom.
        """
        row = "sequence = (SELECT sequence FROM events WHERE event = 'paid' AND email = ?)"
        lease = "" if self._url.startswith("postgres") else "lease_until_us = 1, "
        self._rows.select(
            f"UPDATE event_queue SET {lease}owner = 'dead/1:1:1', attempt = 3, crashes = 2 "
            f"WHERE {row}",
            address_of(number),
        )

    def _pay(self, below: int) -> None:
        """Send the awaited events of patient people, up to this one."""
        due = [number for number in self._patient if number < below]
        self._patient = [number for number in self._patient if number >= below]
        self._send([{"event": "paid", "email": address_of(n), "payload": {"n": n}} for n in due])

    # Workers.

    @contextmanager
    def _worker(self, sink: MailSink, point: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """A worker that has started, or has reached its fail point before."""
        env = {
            "HEADRACE_MAIL_RELAY": f"smtp://127.0.0.1:{sink.port}",
            "HEADRACE_LOG_FORMAT": "json",
            "HEADRACE_FAIL_POINT": point if self._guarded else UNGUARDED,
        }
        with self._log.open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "headrace", "worker", "--store", self._url],
                env=clean_environment(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._starts += 1
        try:
            yield worker
        finally:
            self._at_work = None
            worker.kill()
            worker.wait()

    def _wait(self, worker: subprocess.Popen[bytes], found: Callable[[], bool], what: str) -> None:
        """Ask now and then, so that the worker has the machine for itself."""
        give_up = time.monotonic() + SECONDS_TO_FINISH + self._runs * SECONDS_PER_RUN
        while not found():
            if time.monotonic() > give_up:
                self.report.faults.append(f"never happened: {what}")
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(POLL_SECONDS)
                raise AssertionError(f"the last worker died; see {self._log}")

    def _wait_until_started(self, worker: subprocess.Popen[bytes], before: int) -> None:
        give_up = time.monotonic() + START_SECONDS_MAX
        while worker.poll() is None and self._count_started() <= before:
            assert time.monotonic() < give_up, "the worker does not start"
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(POLL_SECONDS)

    def _count_started(self) -> int:
        return self._log.read_bytes().count(b"worker.started") if self._log.exists() else 0

    def _live(self, sink: MailSink, life: int) -> None:
        """One worker until its kill."""
        how = ("random", "point", "relay")[life % 3]
        if not self._guarded:
            how = "relay"
        point = ""
        if how == "point":
            name = POINTS[life // 3 % len(POINTS)]
            point = f"{name}:kill:{self._rng.randint(1, PASSES_MAX)}"
        before = self._count_started()
        with self._worker(sink, point) as worker:
            if how == "relay":
                self._mails_left = self._rng.randint(1, MAILS_MAX)
                self._at_work = worker
            self._wait_until_started(worker, before)
            seconds = SECONDS_TO_A_POINT_MAX
            if how == "random":
                seconds = self._rng.uniform(*SECONDS_OF_A_LIFE)
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(seconds)
            reached = worker.poll() is not None
        self._kills[how if reached or how == "random" else "random"] += 1

    def _taken(self, _: int) -> str:
        """Reply to a mail that is complete; the sink's thread calls this."""
        self._mails_left -= 1
        worker = self._at_work
        if self._mails_left == 0 and worker is not None:
            worker.kill()
        return "250 2.0.0 Ok"

    # What is left.

    def _number(self, sql: str, *values: Any) -> int:
        return int(self._rows.select(sql, *values)[0][0] or 0)

    def _at_rest(self) -> bool:
        """Whether only runs are open whose mail is unknown.

        An event that three workers held when they died is a dead letter; it is replayed, as a
        person would. A wait of its person did not wait for it.
        """
        unknown = self._number("SELECT count(*) FROM messages WHERE state = 'unknown'")
        if self._open() != unknown or self._number("SELECT count(*) FROM event_queue"):
            return False
        dead = self._rows.select(
            "SELECT event, email FROM events WHERE status = ?", int(Status.DEAD_LETTERED)
        )
        self._late.update(email for name, email in dead if name == "paid")
        if dead:
            for letter in self._ask("/dead-letters?kind=processing")["data"]:
                self._ask(f"/dead-letters/{letter['id']}/replay", {})
                self.report.replayed += 1
            return False
        return self._number("SELECT count(*) FROM automation_runs") >= self._runs

    def _open(self) -> int:
        return self._number("SELECT count(*) FROM automation_runs WHERE due_us IS NOT NULL")

    def _ended(self) -> bool:
        return not self._open() and not self._number("SELECT count(*) FROM event_queue")

    def _settle(self, sink: MailSink) -> None:
        """Settle unknown mails as a person would who can ask the relay."""
        taken = counts_of(sink)
        while True:
            rows = self._rows.select(
                "SELECT id, address, subject FROM messages WHERE state = 'unknown'"
            )
            if not rows:
                return
            for message_id, address, subject in rows:
                was_taken = taken[address, subject] > 0
                self.report.unknown += 1
                self.report.unknown_taken += was_taken
                outcome = "sent" if was_taken else "retry"
                self._ask(f"/messages/{message_id}/settle", {"outcome": outcome})

    def _compare(self, sink: MailSink) -> None:
        report = self.report
        self._compare_runs()
        expected = {(address_of(n), FIRST) for n in range(self._runs)}
        expected |= {
            (address_of(n), SECOND)
            for n in range(self._runs)
            if self._kind_of(n) in {"other", "never"} and n not in self._poisoned
        }
        taken = counts_of(sink)
        report.mails_taken = taken.total()
        report.mails_twice = sum(count > 1 for count in taken.values())
        report.poisoned = len(self._poisoned)
        report.missed = len(self._missed)
        missing = [one for one in expected if not taken[one]]
        missing = [one for one in missing if one not in self._given_up]
        self._fault(missing, "mails were not sent")
        self._fault([one for one in taken if one not in expected], "mails nobody was to get")
        states = self._rows.select("SELECT state, count(*) FROM messages GROUP BY state")
        fine = {"sent", "failed"}
        self._fault([row for row in states if row[0] not in fine], "states of messages")
        for name, kinds in (("thanked", {"early", "patient"}), ("missed", {"other", "never"})):
            found = Counter(
                int(json.loads(row[0])["n"])
                for row in self._rows.select("SELECT payload FROM events WHERE event = ?", name)
            )
            wanted = {
                n
                for n in range(self._runs)
                if self._kind_of(n) in kinds and n not in self._poisoned
            }
            self._fault(sorted(wanted - found.keys()), f"people without {name}")
            self._fault(sorted(found.keys() - wanted), f"people with {name} for no reason")
            self._fault([n for n, count in found.items() if count > 1], f"people with two {name}")
        updated = self._rows.select(
            "SELECT payload FROM events WHERE event = 'sendrealm.contact.updated'"
        )
        changes = sum("caused_by" in json.loads(row[0]) for row in updated)
        paid = sum(
            self._kind_of(n) in {"early", "patient"} and n not in self._poisoned
            for n in range(self._runs)
        )
        if changes != paid:
            report.faults.append(f"{changes} changes of contacts instead of {paid}")
        left = self._rows.select("SELECT sequence, attempt, error FROM automation_inbox")
        self._fault(left, "events were left in the inbox")
        rejected = self._rows.select("SELECT event_id, reason, at_us FROM rejected_starts")
        self._fault(rejected, "starts were rejected")
        statuses = self._rows.select("SELECT status, count(*) FROM events GROUP BY status")
        self._fault([row for row in statuses if row[0] != Status.PROCESSED], "states of events")

    def _kind_of(self, number: int) -> str:
        """What has happened to this person."""
        return "other" if number in self._missed else kind_of(number)

    def _compare_runs(self) -> None:
        """Each person has one run, and it has taken its path."""
        self._given_up = {
            (address, subject)
            for address, subject in self._rows.select(
                "SELECT m.address, t.name FROM messages m "
                "JOIN template_versions v ON v.id = m.template_version_id "
                "JOIN templates t ON t.id = v.template_id "
                "WHERE m.state = 'failed' AND m.reason = 'poison'"
            )
        }
        self._poisoned: set[int] = set()
        people: Counter[int] = Counter()
        wrong: list[Any] = []
        for status, state in self._rows.select("SELECT status, state FROM automation_runs"):
            stored = json.loads(state)
            number = int(json.loads(stored["payloads"]["trigger"])["n"])
            people[number] += 1
            path = [[step["key"], step.get("branch")] for step in stored["run"]["steps"]]
            if address_of(number) in self._late and path[3:4] == [["short", "timed_out"]]:
                self._missed.add(number)
            if status == "completed" and path == PATHS[self._kind_of(number)]:
                continue
            name = SECOND if path and path[-1][0] == "again" else FIRST
            if status == "failed" and (address_of(number), name) in self._given_up:
                self._poisoned.add(number)
            else:
                wrong.append((number, status, path))
        self._fault(wrong, "runs took another path")
        self._fault([n for n in range(self._runs) if people[n] != 1], "people without one run")

    def _fault(self, found: Sequence[Any], what: str) -> None:
        if found:
            self.report.faults.append(f"{len(found)} {what}, such as {list(found)[:3]}")


def counts_of(sink: MailSink) -> Counter[tuple[str, str]]:
    """How often each mail was taken: recipient and subject."""
    return Counter(
        (recipient, str(mail["Subject"]))
        for (recipient, _), mail in zip(list(sink.mails), sink.parsed(), strict=False)
    )


def write_evidence(folder: Path, rows: Rows) -> None:
    """Write the rows of a run that found faults as JSON, also of a database that is removed."""
    for table in EVIDENCE:
        with (folder / f"{table}.json").open("w", encoding="utf-8") as file:
            for row in rows.select(f"SELECT * FROM {table}"):
                file.write(json.dumps(list(row), default=str) + "\n")


def text_of(report: Report) -> str:
    """The report for a terminal."""
    kills = ", ".join(f"{count} {how}" for how, count in sorted(report.kills.items()))
    lines = [
        f"runs                   {report.runs}",
        f"kills                  {sum(report.kills.values())} ({kills})",
        f"seconds                {report.seconds}",
        f"mails taken            {report.mails_taken}",
        f"taken twice            {report.mails_twice}",
        f"unknown after a kill   {report.unknown} ({report.unknown_taken} had been taken)",
        f"events replayed        {report.replayed} (three workers died while they held them)",
        f"of these too late      {report.missed} (the wait for them had timed out)",
        f"given up               {report.poisoned} (three workers died while they held the mail)",
        *(f"fault                  {fault}" for fault in report.faults),
        f"seed                   {report.seed}",
    ]
    return "\n".join(lines)


@contextmanager
def _store(kind: str, folder: Path) -> Iterator[tuple[str, Rows]]:
    if kind == "sqlite":
        path = folder / "headrace.db"
        yield f"sqlite:///{path}", SqliteRows(path)
        return
    with own_place() as place:
        yield place.url, PostgresRows(place)


def main() -> int:
    """Run, then the control run; the exit status shows whether anything was found."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture.automations",
        description="Kills workers while automations run.",
    )
    parser.add_argument("--runs", type=int, default=10_000, help="runs (default: 10000)")
    parser.add_argument("--kills", type=int, help="SIGKILLs (default: one for 25 runs)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    arguments = parser.parse_args()
    kills = arguments.kills or max(12, arguments.runs // 25)
    # On the disk of the working directory: the usual place for temporary files is often memory.
    room = Path("build/torture")
    room.mkdir(parents=True, exist_ok=True)
    reports = []
    for guarded, runs, count in ((True, arguments.runs, kills), (False, 100, 5)):
        folder = Path(tempfile.mkdtemp(dir=room)).resolve()
        with _store(arguments.store, folder) as (url, rows):
            torture = AutomationTorture(
                folder, url, rows, runs=runs, seed=arguments.seed, guarded=guarded
            )
            reports.append(torture.run(count))
            if reports[-1].faults:
                write_evidence(folder, rows)
        print(text_of(reports[-1]))
        if reports[-1].faults and guarded:
            print(f"kept for a look        {folder}")
        else:
            shutil.rmtree(folder)
        print()
    tested, control = reports
    detects = control.mails_twice > 0
    print("control run            " + ("shows mails sent twice" if detects else "SHOWS NOTHING"))
    print("result                 " + ("clean" if tested.clean and detects else "FAULTS FOUND"))
    return 0 if tested.clean and detects else 1


if __name__ == "__main__":
    sys.exit(main())
