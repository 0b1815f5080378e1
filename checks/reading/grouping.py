"""The order in which answers are read: equal ones once, similar ones near each other."""

from dataclasses import dataclass


@dataclass
class Group:
    """Students with the same answer, but for spaces. near: how similar it is to the one before it, 0 to 1."""

    text: str
    students: list[str]
    near: float


def grouped(answers: dict[str, str]) -> list[Group]:
    """Every student of {student: answer} in one group: first who wrote nothing, then neighbours together.

    Similar are answers that share rare pieces of words (TF-IDF of 3 to 5 letters, cosine), so that a typing
    error or another ending changes little. The order is that of the leaves of average linkage.
    """
    equal: dict[str, list[str]] = {}
    for student in sorted(answers):
        equal.setdefault(" ".join(answers[student].split()), []).append(student)
    nothing = equal.pop("", [])
    groups = [Group("", nothing, 0.0)] if nothing else []
    texts = sorted(equal)
    if not texts:
        return groups
    # these take a second: the page is there before its first answers are asked for
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True).fit_transform(texts)
    near = (vectors @ vectors.T).toarray().clip(0, 1)
    order = leaves_list(linkage(squareform(1 - near, checks=False), "average")) if len(texts) > 1 else [0]
    for place, this in enumerate(order):
        students = equal[texts[this]]
        before = near[this, order[place - 1]] if place else 0
        groups.append(Group(answers[students[0]], students, round(float(before), 2)))
    return groups
