"""The checks of m5 judged: correct servers get full marks, and the checks that name a fault see it."""

import json

import pytest
from correct.fourth_endpoints import serving_fastapi
from faulty import fourth as servers
from faulty import fourth_faults as names
from faulty.fourth import KEY, Reply, Site, document_of, serving
from faulty.fourth_faults import FAULTS

from checks import test_m5_fourth_endpoint as m5
from checks.kit import core
from checks.kit.client import Api

CHECKS = core.checks_of(m5)
NAMES = [check.name.removeprefix("m5.") for check in CHECKS]
OF_ALL = {names.DOCUMENTED, names.PROMISES, names.ANSWERS, names.METHOD, names.RESULTS}
CONCERNS = {  # which checks concern an endpoint that is correct
    "/version": OF_ALL | {names.TWICE, names.VERSIONS},
    "/feedback": OF_ALL | {names.REFUSES, names.GUARDED, names.NOTHING},
    "/classify/batch": OF_ALL | {names.REFUSES, names.GUARDED, names.EVERY, names.AGREES, names.TOO_LARGE},
}


def grade(url: str, key: str = KEY) -> dict[str, core.Result]:
    """The results of all checks of m5 by the name of the check, run as in production."""
    session = core.Session(CHECKS, {"api": Api(url, key, seed=1)}, seed=1, publish=lambda result: None)
    return {name: session.run(f"m5.{name}") for name in NAMES}


def with_status(results: dict[str, core.Result], *statuses: str) -> set[str]:
    return {name for name, result in results.items() if result.status in statuses}


def graded(site: Site) -> dict[str, core.Result]:
    with serving(site) as url:
        return grade(url)


# ---- Correct servers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONCERNS)
def test_a_correct_server_gets_full_marks(path):
    results = graded(Site(path))
    assert with_status(results, core.PASSED) == CONCERNS[path]
    assert with_status(results, core.UNCHECKED) == set(NAMES) - CONCERNS[path]


def test_fastapi_with_all_three_gets_full_marks():
    with serving_fastapi() as url:
        results = grade(url)
    assert {name: result for name, result in results.items() if result.status != core.PASSED} == {}


@pytest.mark.parametrize("path", CONCERNS)
def test_a_document_of_openapi_3_0_will_do(path):
    site = Site(path)
    site.document["openapi"] = "3.0.3"
    assert with_status(graded(site), core.PASSED) == CONCERNS[path]


def test_a_path_that_ends_with_a_slash_will_do():
    site = Site("/version")
    site.document["paths"]["/version/"] = site.document["paths"].pop("/version")
    site.path = "/version/"
    assert with_status(graded(site), core.PASSED) == CONCERNS["/version"]


@pytest.mark.parametrize("wrap", [list, lambda answers: {"predictions": answers, "count": 4}])
def test_a_batch_may_be_a_bare_list_of_rows_and_answer_only_predictions(wrap):
    site = Site("/classify/batch")
    schemas = site.document["components"]["schemas"]
    schemas["Batch"] = {"type": "array", "maxItems": 6, "items": {"$ref": "#/components/schemas/Picture"}}
    schemas["Answers"] = {"type": ["array", "object"]}
    correct = site.batch

    def batch(body):
        pictures = [{"pixels": rows} for rows in body] if isinstance(body, list) else body
        reply = correct({"pictures": pictures}) if pictures != [] else Reply(200, {"answers": []})
        if reply.status == 200:
            reply.value = wrap([answer["prediction"] for answer in reply.value["answers"]])
        return reply

    site.batch = batch
    assert with_status(graded(site), core.PASSED) == CONCERNS["/classify/batch"]


def test_a_rate_limit_is_waited_out():
    site, asked = Site("/classify/batch"), []
    correct = site.fourth

    def fourth(request):
        asked.append(request.method)
        limited = request.method == "POST" and len(asked) % 2
        return Reply(429, {"detail": "wait"}, headers={"Retry-After": "1"}) if limited else correct(request)

    site.fourth = fourth
    assert with_status(graded(site), core.FAILED, core.UNSTABLE) == set()
    assert len(asked) > 20


def test_feedback_may_answer_204_with_nothing():
    site = Site("/feedback")
    site.document["paths"]["/feedback"]["post"]["responses"]["204"] = {"description": "Taken."}
    site.receipt = lambda: Reply(204)
    assert with_status(graded(site), core.PASSED) == CONCERNS["/feedback"]


def test_an_example_in_the_document_is_sent_as_it_is():
    site, seen = Site("/feedback"), []
    body = {"predicted": "3", "correct": "8"}
    media = site.document["paths"]["/feedback"]["post"]["requestBody"]["content"]["application/json"]
    media["examples"] = {"a mistake": {"value": {"predicted": 3}}, "good": {"value": body}}
    correct = site.feedback
    site.feedback = lambda body: seen.append(body) or correct(body)
    graded(site)
    assert seen[0] == body


# ---- Nothing to check -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply, reason",
    [
        (Reply(200, document_of()), "m5 is optional"),
        (Reply(404, {"detail": "nothing"}), "DEBUG=true"),
    ],
)
def test_without_a_fourth_endpoint_nothing_is_graded(reply, reason):
    site = Site("/version")
    site.documentation = lambda: reply
    results = graded(site)
    assert with_status(results, core.UNCHECKED) == set(NAMES)
    assert reason in results[names.DOCUMENTED].reason


def test_a_dead_server_is_not_graded():
    with serving(Site("/version")) as url:
        pass
    assert with_status(grade(url), core.UNCHECKED) == set(NAMES)


def test_without_the_key_what_needs_it_is_not_graded():
    with serving(Site("/feedback")) as url:
        results = grade(url, key="")
    assert "--key" in results[names.ANSWERS].reason
    assert with_status(results, core.FAILED) == set()


@pytest.mark.parametrize("status", [404, 409])
def test_feedback_that_knows_no_such_prediction_asks_for_an_example(status):
    site = Site("/feedback")
    site.document["paths"]["/feedback"]["post"]["responses"][str(status)] = servers.in_json(
        "Error", "Unknown."
    )
    site.receipt = lambda: servers.error(status, "no such prediction")
    results = graded(site)
    assert "example" in results[names.ANSWERS].reason
    assert with_status(results, core.FAILED) == set()


def test_a_batch_without_max_items_and_a_model_that_sees_one_thing_are_not_graded_as_wrong(monkeypatch):
    monkeypatch.setattr(
        servers, "classify", lambda picture: {"prediction": "7", "confidence": 1, "scores": {"7": 1}}
    )
    site = Site("/classify/batch")
    del site.document["components"]["schemas"]["Batch"]["properties"]["pictures"]["maxItems"]
    results = graded(site)
    assert with_status(results, core.FAILED) == set()
    assert "maxItems" in results[names.TOO_LARGE].reason
    assert "order" in results[names.AGREES].reason


# ---- Faults ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.path} {fault.name}")
def test_a_fault_is_seen_by_the_checks_that_name_it(fault):
    site = Site(fault.path)
    fault.spoil(site)
    results = graded(site)
    assert with_status(results, core.FAILED, core.UNSTABLE) == fault.checks
    for name in fault.checks:
        assert results[name].received and results[name].expected and results[name].hint
        assert results[name].curl.count("curl -i") == 1
        assert KEY not in json.dumps([results[name].received, results[name].curl, results[name].evidence])


def test_every_check_sees_a_fault():
    assert set().union(*(fault.checks for fault in FAULTS)) == set(NAMES)
