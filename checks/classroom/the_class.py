"""Grades a class side by side, or one submission alone; what is finished is on disk, and never lost."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from checks.classroom.box import with_box
from checks.classroom.bytecode import compile_what_servers_import
from checks.classroom.gradebook import students_of, write_class
from checks.classroom.handed_in import HandedIn, Usage, find_submissions, is_clutter, pack, unreadable
from checks.classroom.outdated import grader_digests, seed_of_class
from checks.classroom.records import GRADED, NOT_GRADED, NOT_YET, grade_of, is_graded, load, save
from checks.classroom.screen import Live, Plain, tell_changes
from checks.classroom.turns import ASKED_PER_CORE, cores, default_jobs
from checks.classroom.under_way import UnderWay
from checks.classroom.worker import STOP, grade, task_for
from checks.course import attempts
from checks.course.overrides import course_of
from checks.course.tables import Unclear
from checks.kit import core
from checks.report import files
from checks.report.files import cannot_write
from checks.report.model import clean
from checks.report.terminal import explanation, line, table


class Unwritten(Exception):
    """A grade that could not be kept. The message is a sentence with the remedy."""


def keep(folder: Path, record: dict) -> list:
    """`records.save`. Raises Unwritten."""
    try:
        return save(folder, record)
    except OSError as problem:
        STOP.set()
        raise Unwritten(cannot_write(problem, folder)) from None
    except Unclear as problem:  # it was plain when the grading began
        STOP.set()
        raise Unwritten(f"{problem}") from None


def note(folder: Path, record: dict, handed_in: HandedIn, given) -> None:
    """Keep the attempt with its time, whatever another one earns later. Raises Unwritten."""
    if record["doubtful"] or record["again"]:  # it says nothing yet
        return
    paths = [path for _, path in handed_in.parts]
    try:
        when = attempts.received(paths, given and given(record["name"]), handed_in.dated)
        attempts.keep(folder, grade_of(record), when)
    except OSError as problem:
        STOP.set()
        raise Unwritten(cannot_write(problem, folder)) from None


def prepare(folder: Path) -> None:
    """Make the folder of the grades, and try it before hours of work depend on it. Raises Usage."""
    try:
        files.prepare(folder)
    except OSError as problem:
        raise Usage(cannot_write(problem, folder)) from None


def keep_seed(folders: tuple[Path, ...], asked: int | None) -> int:
    """`seed_of_class`. Raises Usage."""
    try:
        return seed_of_class(folders, asked)
    except OSError as problem:
        raise Usage(cannot_write(problem, folders[0])) from None


def run_all(tasks: list[dict], jobs: int, dask: str, page: UnderWay) -> Iterator[dict]:
    """The records of the tasks as they are finished, in any order; after STOP, no more of them. The page
    hears of each as it is taken."""
    import joblib

    if not tasks:
        return

    with contextlib.ExitStack() as using:
        if dask:
            from distributed import Client

            using.enter_context(Client(dask, timeout=10, set_as_default=True))
            backend = {"backend": "dask"}
            waiting = map(packed, page.beginning(tasks))
        else:  # threads: each only waits for a process, which does the work
            backend, waiting = (
                {"backend": "threading", "n_jobs": min(jobs, len(tasks))},
                page.beginning(tasks),
            )
        using.enter_context(joblib.parallel_config(**backend))
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")
        do = with_box if any(task["options"].get("box") for task in tasks) else grade
        for record in parallel(joblib.delayed(do)(task) for task in waiting):
            if record:
                yield record


def packed(task: dict) -> dict:
    """The task with all that was handed in, for another machine."""
    try:
        return task | {"packed": [(name, pack(Path(path))) for name, path in task["parts"]]}
    except OSError as problem:
        return task | {"why": unreadable(problem)}


def looked_at(handed_in: HandedIn) -> tuple[HandedIn, str]:
    """What was handed in, with why it cannot be graded if it cannot be read; and its digest."""
    try:
        return handed_in, handed_in.digest()
    except OSError as problem:
        handed_in = HandedIn(handed_in.parts, unreadable(problem))
        return handed_in, handed_in.digest()


def grade_class(
    submissions: dict[str, HandedIn], folders: dict[str, Path], options, arguments, page: UnderWay
) -> dict[str, list]:
    """Grade what must be graded of these submissions; returns {student: what differs from before}.

    folders: where each one's record goes; page: hears what becomes of each. After STOP it returns early; what
    was finished is on disk.
    """
    console = Console(highlight=False)
    grader = grader_digests(options)
    tasks, kept = [], 0
    for name, handed_in in submissions.items():
        old = None if arguments.fresh else load(folders[name])
        task = task_for(name, *looked_at(handed_in), old, options, grader, arguments.seconds)
        if task["milestones"]:
            tasks.append(task)
        else:
            kept += 1
            page.finished(old)
            note(folders[name], old, handed_in, arguments.received)
    changes = {}
    show = (Live if console.is_terminal else Plain)(console, len(submissions), kept)
    if kept:
        show.say(
            f"{kept} of {len(submissions)} are graded already and have not changed (--fresh grades them anew)"
        )
    jobs = arguments.jobs or default_jobs()
    if len(tasks) > 1:
        reason = "as --jobs says" if arguments.jobs else "as memory allows"
        few = ASKED_PER_CORE * cores()
        show.say(
            f"{len(tasks)} to grade, at most {jobs} under way at once, {reason}: {few} of them are started "
            "or asked, and the others wait for windows of the rate limit to end"
        )
    if tasks:
        compile_what_servers_import()
    doubtful = set()
    with show:
        for record in run_all(tasks, jobs, arguments.dask, page):
            name = record["name"]
            changes[name] = keep(folders[name], record)
            page.finished(record)
            note(folders[name], record, submissions[name], arguments.received)
            if record["doubtful"]:
                doubtful.add(name)
                show.say(f"{clean(name)}: was slow or unstable, and is graded again when there is time")
            else:
                show.finished(record)
        # alone, or nearly: what is slow now is not slow because of others
        again = [task | {"alone": True} for task in tasks if task["name"] in doubtful]
        for record in run_all(again, min(jobs, cores()), arguments.dask, page):
            name = record["name"]
            changes[name] = keep(folders[name], record) or changes[name]
            page.finished(record)
            note(folders[name], record, submissions[name], arguments.received)
            show.finished(record)
    return {name: changed for name, changed in changes.items() if changed}


def tell_who_is_new(out: Path, submissions) -> None:
    """Say who came and who went, if both did: one may be the other, under another name."""
    before = students_of(out)
    new, gone = sorted(set(submissions) - set(before)), sorted(set(before) - set(submissions))
    if new and gone:
        Plain(Console(highlight=False), 0, 0).say(
            f"new: {clean(', '.join(new))}; gone: {clean(', '.join(gone))}. Who only handed in under another "
            "name: give it the old name, and the same line compares the two grades"
        )


def tell_whose_time_is_unknown(submissions: dict[str, HandedIn], folders: dict[str, Path]) -> None:
    """Say of whom nobody knows when they handed in, although a term is kept."""
    kept = {name: attempts.kept(folders[name]) for name in submissions}
    if unknown := [name for name, found in kept.items() if found and not all(one["at"] for one in found)]:
        Plain(Console(highlight=False), 0, 0).say(
            "nobody knows when this was handed in, so that it is late for nothing: "
            f"{clean(', '.join(unknown))}. A download of Moodle or Canvas does not say it: --received does"
        )


def command_class(path: Path, asked, options: dict) -> int:
    """Grade a class, write its pages, and say what came of it; returns the exit status."""
    if not asked.out:
        raise Usage("a class needs a folder for its grades: --out GRADES")
    if path.resolve() in (asked.out.resolve(), *asked.out.resolve().parents):
        raise Usage(f"{asked.out} lies among the submissions: name a folder elsewhere with --out")
    submissions = find_submissions(path)
    if clutter := sorted(found.name for found in path.iterdir() if is_clutter(found.name)):
        Plain(Console(highlight=False), 0, 0).say(
            f"passed over, as systems leave it behind: {clean(', '.join(clutter))}"
        )
    folders = {name: asked.out / name for name in submissions}
    prepare(asked.out)
    try:
        roster, _ = course_of(asked.out)
    except Unclear as problem:
        raise Usage(f"{problem}") from None
    options["seed"] = keep_seed((asked.out,), asked.seed)
    tell_who_is_new(asked.out, submissions)
    with UnderWay(asked.out, submissions) as page:
        changes = grade_class(submissions, folders, options, asked, page)
    try:
        grades = write_class(asked.out, submissions)
    except OSError as problem:
        raise Unwritten(cannot_write(problem, asked.out)) from None
    console = Console(highlight=False)
    tell_changes(console, changes)
    if roster:
        tell_whose_time_is_unknown(submissions, folders)
    count = {status: [g for g in grades if g["status"] == status] for status in (GRADED, NOT_GRADED, NOT_YET)}
    console.print(
        f"{len(count[GRADED])} graded, {len(count[NOT_GRADED])} could not be graded: "
        f"{asked.out / 'index.html'} and {asked.out / 'gradebook.csv'}",
        markup=False,
        soft_wrap=True,
    )
    if STOP.is_set():
        kept = len(grades) - len(count[NOT_YET])
        console.print(
            f"interrupted: {kept} of {len(grades)} are finished and kept; the same line goes on from there",
            markup=False,
            soft_wrap=True,
        )
        return 130
    return 1 if len(count[GRADED]) < len(grades) else 0


def command_one(path: Path, name: str, asked, options: dict, folder: Path) -> int:
    """Grade one submission and show its report; returns the exit status."""
    prepare(folder)
    options["seed"] = keep_seed((folder, folder.parent), asked.seed)  # the latter's, where it is a class
    alone = {name: HandedIn((("", path),))}
    changes = grade_class(alone, {name: folder}, options, asked, UnderWay(None, alone))
    record = load(folder)
    console = Console(highlight=False)
    if STOP.is_set() or record is None:
        console.print("interrupted: nothing is kept; the same line again starts anew", markup=False)
        return 130
    for result in (core.Result(**told) for told in record["report"]["results"]):
        console.print(line(result), soft_wrap=True)
        if result.status != core.PASSED and is_graded(record):
            console.print(explanation(result), soft_wrap=True)
    console.print(table(record["report"]))
    about = "not all was graded" if is_graded(record) else "could not be graded"
    for text in filter(None, (record["why"] and f"{about}: {record['why']}", record["detail"])):
        console.print(Text(clean(text), "bold red"), soft_wrap=True)
    tell_changes(console, changes)
    if asked.out:
        console.print(f"reports: {asked.out}", markup=False, soft_wrap=True)
    return 0 if is_graded(record) else 1
