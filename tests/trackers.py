"""A tracker that keeps everything in memory, and fails where a test wants it to."""

from collections import defaultdict

from deepchest_cli.training.tracking.base import Tracker
from deepchest_cli.training.tracking.registry import TRACKERS


def install(monkeypatch, name):
    """Let a tracker that keeps its records in memory, without any, stand for another one."""
    Memory.reset()
    monkeypatch.setitem(TRACKERS, name, Memory)
    return Memory


class Memory(Tracker):
    """What was logged, by identifier, for all records of a test; `fail` is called in each step."""

    title = "Memory"
    has_parents = True
    # set by `reset`: stores (records by place and identifier), place_now, opened, fail

    def __init__(self, subject, destinations, record):
        self.fail("open")
        self.place = self.place_now
        known = self.stores[self.place]
        self.identifier = record.identifier if record else f"{subject.kind}-{len(known) + 1}"
        self.step = record.step if record and record.identifier in known else 0
        self.opened.append(subject.name)
        self.logged = known.setdefault(
            self.identifier,
            {"subject": subject, "metrics": [], "files": [], "texts": {}, "outcomes": []},
        )

    @classmethod
    def reset(cls):
        cls.stores = defaultdict(dict)
        cls.place_now, cls.opened, cls.fail = "here", [], staticmethod(lambda what: None)

    @classmethod
    def only(cls):
        ((_, record),) = cls.stores[cls.place_now].items()
        return record

    @classmethod
    def check(cls, destinations, record=None):
        cls.fail("check")

    @staticmethod
    def store(destinations, record):
        return Memory.place_now

    @staticmethod
    def hint(folder, destinations, record):
        return f"look at {folder}"

    def log_metrics(self, step, metrics):
        self.fail("metrics")
        self.logged["metrics"].append((step, dict(metrics)))

    def log_texts(self, texts):
        self.fail("texts")
        self.logged["texts"].update(texts)

    def log_files(self, step, files):
        self.fail("files")
        self.logged["files"] += [file.name for file in files]

    def close(self, outcome):
        self.fail("close")
        self.logged["outcomes"].append(outcome)


Memory.reset()
