"""checks/kit/core.py and grading.py: how a session runs, and the checks as they are written."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_checks import check, failing, session

from checks.kit import client, core, grading
from checks.report import model as report

ROOT = Path(__file__).resolve().parents[2]


# ---- The session ----------------------------------------------------------------------------------------


def test_a_check_that_returns_has_passed_and_earns_its_points():
    result = session(check("m1.a", lambda: None)).run("m1.a")
    assert (result.status, result.earned, result.hint) == (core.PASSED, 2, "")


def test_a_check_that_fails_twice_has_failed_and_says_what_it_saw():
    result = session(check("m1.a", failing)).run("m1.a")
    assert (result.status, result.earned) == (core.FAILED, 0)
    assert (result.received, result.expected, result.hint) == ("this", "that", "look")


def test_a_check_whose_two_runs_disagree_is_unstable_and_earns_nothing():
    runs = []

    def moody():
        runs.append(1)
        if len(runs) == 1:
            failing()

    result = session(check("m1.a", moody)).run("m1.a")
    assert (result.status, result.earned, len(runs)) == (core.UNSTABLE, 0, 2)
    assert "does not always do the same" in result.reason


def test_a_failure_that_could_not_be_tried_again_is_unstable_too():
    runs = []

    def dying():
        runs.append(1)
        if len(runs) == 1:
            failing()
        raise core.Gone("refused")

    result = session(check("m1.a", dying)).run("m1.a")
    assert (result.status, result.earned) == (core.UNSTABLE, 0)
    assert result.reason == "it failed, and could not be run again: the server is gone: refused"


def test_what_a_check_needs_runs_first_and_only_once():
    order = []
    first = check("m1.first", lambda: order.append("first"))
    second = check("m1.second", lambda: order.append("second"), "m1.first")
    run = session(second, first)
    run.run("m1.second")
    run.run("m1.first")
    assert order == ["first", "second"]


def test_what_needs_a_failed_check_could_not_be_checked_and_is_not_run():
    run = session(check("m1.first", failing), check("m1.second", lambda: pytest.fail("it ran"), "m1.first"))
    result = run.run("m1.second")
    assert result.status == core.UNCHECKED
    assert result.reason == 'it needs "the sentence of m1.first", which failed'


def test_when_the_server_is_gone_nothing_else_is_asked_and_nothing_is_graded_as_wrong():
    def gone():
        raise core.Gone("refused")

    last = check("m1.last", failing, last=True)
    run = session(check("m1.first", gone), check("m1.second", lambda api: pytest.fail("it ran")), last)
    run.given["api"] = client.Api("http://127.0.0.1:1")
    assert run.run("m1.first").reason == "the server is gone: refused"
    assert run.run("m1.second").status == core.UNCHECKED
    assert run.run("m1.second").reason == "the server is gone: refused"
    assert run.run("m1.last").status == core.FAILED
    run = session(check("m1.first", gone), check("m4.file", lambda: None))
    run.run("m1.first")
    assert run.run("m4.file").status == core.PASSED  # it asks no server


def test_a_check_that_breaks_has_found_out_nothing():
    result = session(check("m1.a", lambda: 1 / 0)).run("m1.a")
    assert result.status == core.UNCHECKED
    assert "the check itself broke (ZeroDivisionError" in result.reason


def test_a_check_whose_argument_is_missing_says_which_option_gives_it():
    result = session(check("m1.a", lambda prod: None)).run("m1.a")
    assert result.reason == "it needs the production machine: --prod ssh://produser@…"


def test_every_result_is_published_as_it_comes():
    seen = []
    run = core.Session([check("m1.a", failing), check("m1.b", lambda: None, "m1.a")], {}, 1, seen.append)
    run.run("m1.b")
    assert [result.name for result in seen] == ["m1.a", "m1.b"]


# ---- The checks as they are written ---------------------------------------------------------------------


def test_every_check_has_a_sentence_points_a_hint_and_known_needs():
    checks = {one.name: one for one in grading.all_checks()}
    numbers = [one.number for one in checks.values()]
    assert numbers == sorted(set(numbers))
    for one in checks.values():
        assert one.sentence and "\n" not in one.sentence and not one.sentence.endswith("."), one.name
        assert len(one.hint) > 20, one.name
        assert one.points > 0
        assert set(one.needs) <= checks.keys(), (one.name, one.needs)


def test_the_readme_says_what_each_milestone_is_worth():
    rows = (ROOT / "checks/README.md").read_text().split("<!-- worth -->")[1].split("<!-- /worth -->")[0]
    told = {row.split()[1]: tuple(row.split("|")[2:4]) for row in rows.splitlines() if row.startswith("| m")}
    worth = {name: [0, 0] for name in report.TITLES}
    for one in grading.all_checks():
        worth[one.milestone][0] += one.points
        worth[one.milestone][1] += one.points * one.stretch
    del told["milestone"]
    assert {name: [int(cell) for cell in cells] for name, cells in told.items()} == worth


def test_no_server_learns_the_order_and_what_uses_up_a_budget_comes_late():
    checks = [check for check in grading.all_checks() if check.milestone in ("m1", "m2", "m3")]
    one, other = (core.in_any_order(checks, seed) for seed in (1, 2))
    assert one == core.in_any_order(checks, 1) != other
    for order in (one, other):
        assert [check.late for check in order] == [False] * (len(order) - 10) + [True] * 9 + [False]
        assert order[-1].last
        assert {"m3.exactly the limit is admitted", "m3.retry after is true"} < {
            one.name for one in order[-10:]
        }
        assert sorted(order, key=checks.index) == checks != order


def test_who_waits_for_a_window_does_so_early_and_never_first():
    checks = [check for check in grading.all_checks() if check.milestone in ("m1", "m2", "m3")]
    for seed in range(12):
        waits = [check.waits for check in core.in_any_order(checks, seed)]
        assert sum(waits) == 1 and 0 < waits.index(True) < len(checks) / 2, seed


def test_no_check_needs_itself_in_a_circle():
    checks = {one.name: one for one in grading.all_checks()}

    def depth(name: str, above: tuple = ()) -> int:
        assert name not in above, above
        return 1 + max((depth(other, (*above, name)) for other in checks[name].needs), default=0)

    assert max(map(depth, checks)) < 12


def test_nothing_in_checks_imports_the_server_or_the_model():
    for file in (ROOT / "checks").rglob("*.py"):
        for line in file.read_text().splitlines():
            assert not line.strip().startswith(
                ("import server", "from server", "import models", "from models")
            ), file


def test_a_check_is_found_by_its_words():
    assert grading.find("m3.a wrong key is refused").name == "m3.a wrong key is refused"
    assert grading.find("m3.wrong key refused").name == "m3.a wrong key is refused"
    with pytest.raises(
        LookupError, match="is more than one check; there are: m3.a missing key is refused, m3"
    ):
        grading.find("m3.key")
    with pytest.raises(LookupError, match="'m7.x' is no check; there are: m1.health answers, "):
        grading.find("m7.x")


@pytest.mark.parametrize(
    "text, limit",
    [("30/minute", (30, 60)), ("5/second", (5, 1)), ("100/hour", (100, 3600)), ("12/2.5", (12, 2.5))],
)
def test_a_limit_is_requests_and_seconds(text, limit):
    assert grading.parse_limit(text) == limit


@given(st.text(max_size=20))
def test_any_other_limit_is_refused_with_the_remedy(text):
    try:
        count, seconds = grading.parse_limit(text)
        assert count > 0 and seconds > 0
    except ValueError as error:
        assert "write N/second" in str(error)
