"""Which two have most in common of what hardly anybody else has, and where."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType

import numpy as np

from checks.alike.tokens import CODE, PASSAGE, WORDS
from checks.alike.work import Work

KNOWN = 50  # places of one passage that are tried; some write the same line a thousand times
NONE: Mapping[str, str] = MappingProxyType({})
APART = 2  # lines between two passages that are shown as one


@dataclass(frozen=True)
class Alike:
    """Two students. weight: how many tokens begin a passage that both have, each as rare as it is: 1 where
    they alone have it, 0 where everybody has. shares: of what counts as their own, 0 to 1."""

    students: tuple[str, str]
    weight: float
    shares: tuple[float, float]


def pairs(
    works: dict[str, dict[str, Work]], least: float, most: int, groups: Mapping[str, str] = NONE
) -> list[Alike]:
    """The pairs of {student: {kind: work}} with at least this weight, the most alike first, at most so many.
    groups: {student: group}; who is in one group may work alike.

    All pairs of 300 are a product of one sparse matrix, a row a student and a column a passage: passages that
    only one has do not count, and others by the square of their inverse document frequency, as in a product
    of TF-IDF vectors. So the more students wrote the same, the less it says of any two of them.
    """
    students = sorted(works)
    common = np.zeros((len(students), len(students)))
    own = np.zeros(len(students))
    for kind in (CODE, WORDS):
        shared, alone = _common([works[student][kind].passages for student in students])
        common, own = common + shared, own + alone
    rows, columns = np.triu_indices(len(students), 1)
    weights = common[rows, columns]
    group = [groups.get(student) for student in students]
    apart = np.array(
        [not (group[a] and group[a] == group[b]) for a, b in zip(rows, columns, strict=True)], bool
    )
    order = np.lexsort((columns, rows, -weights.round(6)))
    order = order[(weights[order] >= least) & apart[order]][:most]
    return [
        Alike(
            (students[rows[at]], students[columns[at]]),
            float(weights[at]),
            (float(weights[at] / own[rows[at]]), float(weights[at] / own[columns[at]])),
        )
        for at in order
    ]


def _common(passages: list[list[str | None]]) -> tuple[np.ndarray, np.ndarray]:
    """The weights that each two of these have in common, and of all that each has alone or not."""
    sets = [set(filter(None, one)) for one in passages]
    if len(sets) < 2 or not any(sets):
        return np.zeros((len(sets), len(sets))), np.zeros(len(sets))
    from scipy.sparse import csr_array  # this takes a while: who has nothing to compare starts at once

    column = {one: number for number, one in enumerate(sorted(set().union(*sets)))}
    columns = [sorted(column[one] for one in each) for each in sets]
    ends = np.cumsum([0, *map(len, columns)])
    counts = csr_array((np.ones(ends[-1]), [*chain(*columns)], ends))
    students = counts.sum(axis=0)  # that have it
    rarity = np.log((len(sets) + 1) / students) / np.log((len(sets) + 1) / 2)
    weighted = counts.multiply(np.minimum(rarity, 1.0)).tocsr()
    return (weighted @ weighted.T).toarray(), weighted.multiply(weighted).sum(axis=1)


# ---- Where ---------------------------------------------------------------------------------------------


@dataclass
class Place:
    """Lines of a piece, from 1, both included; marked: those of them that the other has as well."""

    piece: int
    first: int
    last: int
    marked: set[int]


def places(left: Work, right: Work, kind: str) -> list[tuple[Place, Place]]:
    """Where two have the same, in the order of the left one: the longest run first wherever one begins."""
    where: dict[str, list[int]] = {}
    for at, passage in enumerate(right.passages):
        if passage:
            where.setdefault(passage, []).append(at)
    found: list[tuple[Place, Place]] = []
    at, end = 0, len(left.passages)
    while at < end:
        starts = where.get(left.passages[at] or "", [])[:KNOWN]
        if not starts:
            at += 1
            continue
        length, start = max((_run(left.passages, at, right.passages, one), -one) for one in starts)
        length += PASSAGE[kind] - 1
        pair = _place(left, at, length), _place(right, -start, length)
        if found and all(_next_to(*both) for both in zip(found[-1], pair, strict=True)):
            for old, new in zip(found[-1], pair, strict=True):
                old.last, old.marked = max(old.last, new.last), old.marked | new.marked
        else:
            found.append(pair)
        at += length
    return found


def _run(left: list, at: int, right: list, start: int) -> int:
    """How many passages from here on are the same; none is where a piece ends, so it ends there as well."""
    length = 0
    while left[at + length] and left[at + length] == right[start + length]:
        length += 1
    return length


def _place(work: Work, at: int, length: int) -> Place:
    lines = work.line[at : at + length]
    return Place(work.piece[at], lines[0], lines[-1], set(lines))


def _next_to(old: Place, new: Place) -> bool:
    return old.piece == new.piece and 0 <= new.first - old.last <= APART + 1


def lines_of(found: Iterable[tuple[Place, Place]]) -> int:
    """How many lines of the left one these are."""
    return len({(left.piece, line) for left, _ in found for line in left.marked})
