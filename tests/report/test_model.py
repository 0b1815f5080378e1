"""checks/report/model.py: what a report says of results."""

import re

import pytest
from made_reports import FORMATS, built, failure, result

from checks.kit.core import FAILED, PASSED, UNCHECKED, UNSTABLE
from checks.report import markdown, model


def test_the_points_are_summed_by_milestone_and_in_all():
    report = built(result(1.01, points=0.5), failure(1.02, points=1.5), result(2.01, points=0.5))
    first, second = report["milestones"]
    assert (first["name"], first["title"], first["earned"], first["points"]) == ("m1", "HTTP", 0.5, 2)
    assert (second["title"], second["earned"], second["points"]) == ("the contract", 0.5, 0.5)
    assert (report["earned"], report["points"]) == (1, 2.5)


def test_many_small_points_sum_to_what_a_student_expects():
    report = built(*(result(1 + place / 100, points=0.1) for place in range(1, 31)))
    assert report["earned"] == report["points"] == report["milestones"][0]["points"] == 3


def test_a_stretch_check_is_not_needed_to_pass_the_milestone_but_counts_points():
    report = built(result(1.01), failure(1.02, stretch=True, points=1))
    milestone = report["milestones"][0]
    assert milestone["passed"] and milestone["earned"] == 2
    assert milestone["worth"] == "3 points, 1 of them for stretch checks"


@pytest.mark.parametrize("status", [FAILED, UNSTABLE, UNCHECKED])
def test_a_required_check_that_did_not_pass_keeps_the_milestone_from_passing(status):
    milestone = built(result(1.01), result(1.02, status))["milestones"][0]
    assert not milestone["passed"]
    assert milestone["counts"] == dict.fromkeys(model.MARKS, 0) | {PASSED: 1, status: 1}


def test_a_milestone_of_stretch_checks_alone_is_passed_only_when_they_pass():
    assert built(result(5.01, stretch=True))["milestones"][0]["passed"]
    assert not built(result(5.01, UNCHECKED, stretch=True))["milestones"][0]["passed"]


def test_results_stand_in_the_order_of_their_numbers_whatever_the_order_in_which_they_ran():
    report = built(result(2.1), result(1.02), result(2.02), result(1.01))
    assert [one["number"] for one in report["results"]] == [1.01, 1.02, 2.02, 2.1]
    assert [milestone["name"] for milestone in report["milestones"]] == ["m1", "m2"]
    assert "2.10" in markdown.markdown(report)


def test_on_a_dead_server_nothing_is_called_failed_in_any_format():
    gone = [result(number, UNCHECKED, reason="the server is gone") for number in (1.01, 1.02, 2.01)]
    report = built(*gone)
    for name, write in FORMATS.items():
        text = write(report).replace('"failed": 0', "").replace('failures="0"', "")
        text = re.sub(r"<style>.*</style>", "", text, flags=re.S)
        assert "fail" not in text.lower(), name
        assert "the server is gone" in text, name
    assert markdown.markdown(report).count("the server is gone") == 2, "the reason is said once a milestone"


def test_the_bonus_comes_on_top_and_never_lowers_the_share():
    without = built(result(1.01, points=9), failure(1.02, points=1))
    with_bonus = built(result(1.01, points=9), failure(1.02, points=1), result(5.01), failure(5.02, points=7))
    assert (without["earned"], without["points"]) == (9, 10)
    assert (with_bonus["earned"], with_bonus["points"]) == (11, 10)
    assert with_bonus["milestones"][1]["worth"] == "9 points, on top of all others"
    alone = built(result(5.01), failure(5.02))
    assert (alone["earned"], alone["points"]) == (2, 4)


def test_what_to_start_with_is_what_most_points_wait_for():
    def waits(number, sentence, **more):
        return result(number, UNCHECKED, reason=f'it needs "{sentence}", which failed', **more)

    first, second = failure(1.01, points=3), failure(2.01, points=1)
    chain = [waits(2.02, "sentence 2.01"), waits(3.01, "sentence 2.02"), waits(3.02, "sentence 3.01")]
    report = built(first, second, *chain, result(3.03, UNCHECKED, reason="ssh is missing", points=9))
    assert model.first_to_mend(report["results"])["number"] == 2.01
    assert model.first_to_mend(built(first, second)["results"])["number"] == 1.01
    assert model.first_to_mend(built(first, failure(1.02, points=3))["results"])["number"] == 1.01
    assert model.first_to_mend(built(result(1.01))["results"]) is None
