"""Equal answers are read once, and similar ones near each other."""

from hypothesis import given, settings
from hypothesis import strategies as st
from made_class import ALIKE, SAME, STUDENTS, answer_of

from checks.reading.grouping import grouped


def test_who_wrote_the_same_is_read_once_whatever_the_spaces():
    groups = grouped({name: answer_of(number, 1) for number, name in enumerate(STUDENTS)})
    assert groups[0].text == "" and groups[0].students == STUDENTS[10:20]
    same = next(group for group in groups if group.text.split() == SAME.split())
    assert same.students == STUDENTS[:10]


def test_similar_answers_stand_together():
    groups = grouped({name: answer_of(number, 1) for number, name in enumerate(STUDENTS)})
    start, end = ALIKE.split("{}")
    alike = [place for place, group in enumerate(groups) if group.text.startswith(start)]
    assert len(alike) == 20 and alike[-1] - alike[0] == 19
    assert all(groups[place].near > 0.8 for place in alike[1:])


def test_a_typing_error_stays_beside_what_was_meant():
    texts = ["The journal keeps it.", "A key costs years of guessing.", "The jurnal keeps it."]
    groups = grouped(dict(zip("abc", texts)))
    places = {group.students[0]: place for place, group in enumerate(groups)}
    assert abs(places["a"] - places["c"]) == 1


@settings(deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1), st.text(max_size=30), max_size=12))
def test_every_student_is_in_one_group_whatever_was_written(answers):
    groups = grouped(answers)
    assert sorted(name for group in groups for name in group.students) == sorted(answers)
    for group in groups:
        assert {" ".join(answers[name].split()) for name in group.students} == {" ".join(group.text.split())}
        assert 0 <= group.near <= 1
