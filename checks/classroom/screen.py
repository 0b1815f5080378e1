"""What is seen while a class is graded: a line a submission, and on a terminal what is under way."""

import time

from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from checks.classroom.records import GRADED
from checks.classroom.worker import LIVE
from checks.report.model import clean


class Plain:
    """A line for every submission that is finished: for logs and pipes."""

    def __init__(self, console, total: int, done: int):
        self.console, self.total, self.done = console, total, done

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        pass

    def finished(self, record: dict) -> None:
        self.done += 1
        self.say(f"[{self.done}/{self.total}] {line_of(record)}")

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Live(Plain):
    """A progress bar, and a table of what is under way, for a terminal."""

    def __enter__(self):
        from rich.live import Live as Screen
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self.bar = Progress(
            TextColumn("grading"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
        )
        self.bar_task = self.bar.add_task("", total=self.total, completed=self.done)
        self.screen = Screen(
            get_renderable=self.picture, console=self.console, refresh_per_second=4, transient=True
        )
        self.screen.start()
        return self

    def __exit__(self, *problem):
        self.screen.stop()

    def finished(self, record: dict) -> None:
        super().finished(record)
        self.bar.update(self.bar_task, completed=self.done)

    def picture(self):
        table = Table(
            "under way", Column("points", justify="right"), Column("s", justify="right"), "at", box=None
        )
        rows = sorted(LIVE.copy().items(), key=lambda pair: pair[1]["began"])
        room = max(3, self.console.height - 8)
        for name, told in rows[:room]:
            points = f"{told['earned']:g} of {told['of']:g}" if "of" in told else ""
            seconds = f"{time.monotonic() - told['began']:.0f}"
            table.add_row(Text(clean(name)), points, seconds, Text(clean(told["at"])))
        more = Text(f"and {len(rows) - room} more", "dim") if len(rows) > room else ""
        return Group(self.bar, table, more)


def line_of(record: dict) -> str:
    """What came of a submission, in a line."""
    name, seconds = clean(record["name"]), record["seconds"].get("total", 0)
    if record["status"] != GRADED:
        return f"{name}: could not be graded: {clean(record['why'])}"
    return (
        f"{name}: {record['report']['earned']:g} of {record['report']['points']:g} points ({seconds:.0f} s)"
    )


def tell_changes(console, changes: dict[str, list]) -> None:
    """What differs from the grades before, a line each."""
    if changes:
        table = Table("changed", "what", "old", "new")
        for name, differing in sorted(changes.items()):
            for one_of_them in differing:
                table.add_row(*(Text(clean(text)) for text in (name, *one_of_them)))
        console.print(table)
