"""checks/classroom/outdated.py: what is graded again, and what is not."""

from checks.classroom import outdated, records
from checks.kit import grading


def test_a_changed_check_grades_again_what_it_affects(tmp_path, monkeypatch):
    old = {
        "submission": "s",
        "status": records.GRADED,
        "again": False,
        "doubtful": False,
        "limit": 600,
        "why": "",
    }
    names = ("all", "m1", "m2", "m3", "m4", "m5", "labs")
    old["grader"] = dict.fromkeys(names, "old")

    def again(*changed, **more):
        return outdated.outdated(old | more, "s", old["grader"] | dict.fromkeys(changed, "new"), 600)

    assert again() == set()
    assert again("m4") == {"m4"} and again("labs") == {"labs"}
    assert again("m3") == {"m3"}
    assert again("m1") >= {"m1", "m2", "m3"} and "m4" not in again("m1")
    assert again("all") == set(names[1:])
    assert again(submission="t") == again(again=True) == again(doubtful=True) == set(names[1:])
    assert again("m4", status=records.NOT_GRADED) == set(names[1:])
    assert outdated.outdated(old | {"status": records.NOT_GRADED}, "s", old["grader"], 900) == set(names[1:])
    assert outdated.outdated(old | {"why": "over its time limit"}, "s", old["grader"], 900) == set(names[1:])
    assert outdated.outdated(None, "s", old["grader"], 600) == set(names[1:])


def test_the_limit_and_the_seed_count_and_the_jobs_do_not():
    one = outdated.grader_digests({"limit": "30/minute", "milestone": "", "seed": 0})
    assert one != outdated.grader_digests({"limit": "20/minute", "milestone": "", "seed": 0})
    assert one != outdated.grader_digests({"limit": "30/minute", "milestone": "", "seed": 1})


def test_seeds_differ_between_students_submissions_and_classes_and_not_between_runs():
    told = [("ada", "one", 0), ("ben", "one", 0), ("ada", "two", 0), ("ada", "one", 1)]
    assert [outdated.seed_of(*one) for one in told] == [outdated.seed_of(*one) for one in told]
    assert len({outdated.seed_of(*one) for one in told}) == 4


def test_the_seed_of_a_class_is_a_secret_that_is_kept_with_its_grades(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    seed = outdated.seed_of_class([one], None)
    assert seed == outdated.seed_of_class([one], None) != outdated.seed_of_class([other], None)
    assert seed == outdated.seed_of_class([other / "ada", one], None)
    assert (one / "seed.txt").stat().st_mode & 0o077 == 0
    assert outdated.seed_of_class([one], 7) == outdated.seed_of_class([one], None) == 7


def test_every_milestone_has_a_digest_of_its_own():
    digests = outdated.grader_digests({})
    assert set(digests) == {"all", "labs", *(name[:2] for name in grading.MILESTONES)}
    assert len(set(digests.values())) == len(digests)
