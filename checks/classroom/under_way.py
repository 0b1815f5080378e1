"""The page of a class while it is graded: who is waiting, under way or done, and how long it may take.

It stands where the page of the class will stand in the end, from the first moment on. No server is needed:
the file is written anew every few seconds, and the page loads itself again. Of a grading that was killed,
what was written last stays, and says so by its age.
"""

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean

from checks.classroom.class_page import link
from checks.classroom.records import GRADED, is_graded, write
from checks.classroom.worker import LIVE
from checks.report.model import clean
from checks.report.pieces import Markup, Pieces, join, running

EVERY = 5  # seconds between two writings; the page looks as often
PATIENCE = 60  # seconds after which nobody writes any more: a busy machine may take a while
WAITING, NOW = "waiting", "under way"
STYLES = {WAITING: "waiting", NOW: "now", GRADED: "graded"}
PIECES = Pieces(Path(__file__).with_name("under_way.html"))


class UnderWay:
    """What is known of a grading while it runs. out: the folder of the grades, or None for no page; it is
    written when this is entered, and every few seconds until it is left."""

    def __init__(self, out: Path | None, names: Iterable[str]):
        self.out = out
        self.names = sorted(names)
        self.began: dict[str, float] = {}  # seconds since the epoch
        self.took: list[float] = []  # seconds of each that was graded
        self.most = 1  # that were under way at once
        self.done: dict[str, dict] = {}
        self.over = threading.Event()
        self.writer = threading.Thread(target=self._keep_writing, daemon=True)

    def __enter__(self):
        if self.out:
            self._write()
            self.writer.start()
        return self

    def __exit__(self, *problem):
        self.over.set()
        if self.out:
            self.writer.join()  # nothing is written after this

    def beginning(self, tasks: Iterable[dict]) -> Iterator[dict]:
        """The tasks; as each is taken, it is under way, on this machine or another."""
        for task in tasks:
            self.began[task["name"]] = time.time()
            self.most = max(self.most, len(self.began))
            yield task

    def finished(self, record: dict) -> None:
        """A record is on disk, of now or of a grading before."""
        if began := self.began.pop(record["name"], None):
            self.took.append(time.time() - began)
        self.done[record["name"]] = {
            "state": record["status"],
            "points": f"{record['report']['earned']:g} of {record['report']['points']:g}"
            if is_graded(record)
            else "",
            "at": record["why"] or ("is graded once more in the end" if record["doubtful"] else ""),
        }

    def left(self, now: float) -> float | None:
        """How many seconds it may take: as long as those before took, as many at once. None: nobody knows."""
        began = dict(self.began)
        waiting = len(set(self.names) - set(self.done) - set(began))
        if not (waiting or began):
            return 0.0
        if not self.took:
            return None
        each = fmean(self.took)
        rest = [max(0.0, began[name] + each - now) for name in began]
        return max([(waiting * each + sum(rest)) / self.most, *rest])

    def page(self, now: float) -> Markup:
        """The page at this time, in seconds since the epoch."""
        rows = [self._row(name, now) for name in self.names]
        order = [NOW, WAITING]
        rows.sort(key=lambda row: order.index(row["state"]) if row["state"] in order else len(order))
        count = {state: sum(row["state"] == state for row in rows) for state in (GRADED, NOW, WAITING)}
        others = len(rows) - sum(count.values())
        facts = {"graded": f"{count[GRADED]} of {len(rows)}", NOW: count[NOW], WAITING: count[WAITING]}
        facts |= {"could not be graded": others} if others else {}
        facts["time left"] = _told(self.left(now))
        script = PIECES.fill("script", seconds=f"{now:.0f}", patience=PATIENCE)
        html = PIECES.page(
            f"PixelWise: {len(self.done)} of {len(rows)} graded",
            count=len(rows),
            done=len(self.done),
            facts=join(PIECES.fill("fact", name=name, value=value) for name, value in facts.items()),
            written=time.strftime("%H:%M:%S", time.localtime(now)),
            rows=join(PIECES.fill("row", css=STYLES.get(row["state"], "could"), **row) for row in rows),
            script=script,
        )
        again = f'<meta http-equiv="refresh" content="{EVERY}">\n<title>'
        return running(Markup(html.replace("<title>", again, 1)), script)

    def _row(self, name: str, now: float) -> dict:
        if name in self.began:
            at = LIVE.get(name, {})  # empty where another machine grades
            minutes, seconds = divmod(int(now - self.began[name]), 60)
            return {
                "name": clean(name),
                "state": NOW,
                "points": f"{at['earned']:g} of {at['of']:g}" if "of" in at else "",
                "at": clean(", ".join(filter(None, (f"for {minutes}:{seconds:02} min", at.get("at"))))),
            }
        if name in self.done:
            told = self.done[name]
            return told | {"name": link(name), "at": clean(told["at"])}
        return {"name": clean(name), "state": WAITING, "points": "", "at": ""}

    def _keep_writing(self) -> None:
        while not self.over.wait(EVERY):
            self._write()

    def _write(self) -> None:
        # where there is no room for a page, there is none for a grade, and that is said
        with contextlib.suppress(OSError):
            write(self.out / "index.html", self.page(time.time()))


def _told(seconds: float | None) -> str:
    if seconds is None:
        return "not known yet"
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else "a minute or so"
