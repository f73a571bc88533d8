"""A script in the making, and the words in which stories are told."""

from __future__ import annotations

from random import Random

from ._script import LEASE, TIMEOUT, Step


class Draft:
    """A script in the making; the time goes on from story to story."""

    def __init__(self, random: Random) -> None:
        self.random: Random = random
        self.steps: list[Step] = []
        self.now: float = 0.0
        self.faithful: bool = False
        """Whether feeds report whatever they lose, and producers live: then nobody has to check."""

        self.wires: tuple[str, ...] = ("records", "records", "sse", "text")
        """What a client that joins is given, each as likely as the others."""

    def at(self, delay: float, do: str, *arguments: object) -> None:
        """Add a step, some seconds from now."""
        self.steps.append(Step(round(self.now + delay, 2), do, arguments))

    def pick(self, *choices: object) -> object:
        """Return one of the choices."""
        return self.random.choice(choices)

    def seconds(self, low: float, high: float) -> float:
        """Return a number of seconds."""
        return round(self.random.uniform(low, high), 2)

    def start(self, process: object, on_lost: str | None = None, delay: float = 0.0) -> None:
        """Start a producer, of any pace and outcome."""
        count = self.random.choice([0, 1, 5, 12, 30, 60])
        pace = self.random.choice([0.0, 0.05, 0.2, 0.2, 0.7, 1.5 * LEASE])
        outcome = self.random.choice(["done", "done", "failed", "", ""])
        on_lost = on_lost or self.random.choice(["continue", "continue", "refuse", "restart"])
        self.at(delay, "start", process, on_lost, count, pace, outcome)

    def write(self, process: object = None, delay: float = 0.0) -> None:
        """Let some messages be published to a channel."""
        process = self.random.randrange(3) if process is None else process
        count, pace = self.random.choice([1, 5, 12, 30]), self.random.choice([0.0, 0.05, 0.2, 0.7])
        self.at(delay, "write", process, count, pace)

    def join(self, delay: float) -> None:
        """Let a client come."""
        wire = self.pick(*self.wires)
        position = self.pick("beginning", "beginning", "beginning", "live")
        self.at(delay, "join", self.random.randrange(3), wire, position)

    def calls(self, process: object, lane: str, fate: str, number: int = 1) -> None:
        """Let the next calls in a lane meet a fate; a faithful feed loses nothing."""
        if lane == "feed" and fate == "lost" and self.faithful:
            fate = "late"
        seconds = self.seconds(0.1, 3 * TIMEOUT) if fate in {"late", "repeated"} else 0.0
        self.at(0.0, "calls", process, lane, fate, number, seconds)

    def noise(self, at: float) -> None:
        """Add some small thing that may happen at any time."""
        now, self.now = self.now, at
        lane = str(self.pick("write", "renew", "read", "page", "feed", "feed"))
        fates = ["lost", "late", "repeated"] if lane == "feed" else ["lost", "unanswered", "late"]
        match self.random.randrange(5):
            case 0 | 1:
                number = self.random.randint(1, 3)
                self.calls(self.pick(0, 1, "producer"), lane, self.random.choice(fates), number)
            case 2:
                self.at(0.0, "leave", self.random.randrange(6))
            case 3:
                self.join(0.0)
            case _:
                self.at(0.0, "interrupt", self.pick(0, 1, "other"), self.seconds(0.1, 3.0))
        self.now = now

    def later(self, low: float, high: float) -> None:
        """Let some time pass."""
        self.now = round(self.now + self.random.uniform(low, high), 2)
