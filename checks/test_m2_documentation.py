"""m2, the contract as the service documents it: there with DEBUG=true, and true; hidden in production."""

from checks.kit.core import (
    CannotCheck,
    Failed,
    documentation_is_off,
    documentation_is_on,
    hint,
    needs,
    only,
    points,
)
from checks.kit.expect import demand, expect, json_object
from checks.kit.openapi import BadDocument, Document


@points(2)
@needs("m1.answers come in time")
@only(documentation_is_on)
@hint("With DEBUG=true, /openapi.json is the contract for machines; frameworks write it, or you do, by hand.")
def test_openapi_describes_the_three_routes(api):
    """with DEBUG=true, /openapi.json describes the three routes with their verbs and answers"""
    answer = api.get("/openapi.json")
    expect(answer, 200, "DEBUG=true shows it")
    try:
        operations = {
            (one.method.upper(), one.path): one for one in Document(json_object(answer)).operations()
        }
    except BadDocument as problem:
        raise Failed(f"a document that is no OpenAPI: {problem}", "an OpenAPI 3 document") from None
    for method, path, statuses in (
        ("GET", "/health", {"200"}),
        ("GET", "/results", {"200"}),
        ("POST", "/classify", {"200", "422"}),
    ):
        demand((method, path) in operations, f"no {method} {path} in it", f"{method} {path} described")
        documented = set(map(str, operations[method, path].responses))
        missing = ", ".join(sorted(statuses - documented))
        demand(
            not missing,
            f"{method} {path} without the answer {missing}",
            f"the answers {', '.join(sorted(statuses))}",
        )


@points(1)
@needs("openapi describes the three routes", "a digit is classified")
@only(documentation_is_on)
@hint(
    "A contract that drifted: what /classify really answers does not fit the schema that "
    "/openapi.json gives for it."
)
def test_openapi_tells_the_truth(api, digits):
    """what /classify, /health and /results answer fits the schemas in /openapi.json"""
    document = Document(json_object(api.get("/openapi.json")))
    operations = {(one.method.upper(), one.path): one for one in document.operations()}
    for method, path in (("GET", "/health"), ("GET", "/results"), ("POST", "/classify")):
        answered = api.classify(digits.one("0")) if method == "POST" else api.get(path)
        try:
            problem = operations[method, path].mismatch("200", answered.json())
        except BadDocument as bad:
            raise CannotCheck(f"the schema of {path} cannot be read: {bad}") from None
        demand(
            not problem,
            f"{path} answers what its schema refuses: {problem}",
            "an answer that fits its own schema",
        )


@points(1)
@needs("m1.answers come in time")
@only(documentation_is_on)
@hint("Swagger UI at /docs and ReDoc at /redoc: two ways to look at the same /openapi.json.")
def test_the_documentation_pages_are_there(api):
    """with DEBUG=true, /docs and /redoc are HTML pages"""
    for path in ("/docs", "/redoc"):
        answer = api.get(path)
        expect(answer, 200, "DEBUG=true shows it")
        demand(answer.kind == "HTML", f"{answer.kind} at {path}", "a page in HTML")


@points(1, stretch=True)
@needs("openapi describes the three routes")
@only(documentation_is_on)
@hint(
    "A client that reads only /openapi.json must learn of 401 and 429, and where the key goes (an "
    "apiKey scheme)."
)
def test_openapi_documents_the_key_and_its_errors(api):
    """/openapi.json documents 401 and 429 of /classify, and the key as a security scheme"""
    document = Document(json_object(api.get("/openapi.json")))
    operation = next(
        one for one in document.operations() if (one.method.upper(), one.path) == ("POST", "/classify")
    )
    missing = sorted({"401", "429"} - set(map(str, operation.responses)))
    demand(not missing, f"no answer {', '.join(missing)} in it", "401 and 429 among the answers")
    demand(
        operation.security, "no security scheme for /classify", "an apiKey scheme, in the header X-API-Key"
    )


@points(1, stretch=True)
@needs("m1.answers come in time")
@only(documentation_is_off)
@hint("Silent in production: with DEBUG=false the three documentation routes are 404, like any unknown path.")
def test_the_documentation_is_hidden(api):
    """with DEBUG=false, /openapi.json, /docs and /redoc are 404"""
    for path in ("/openapi.json", "/docs", "/redoc"):
        expect(api.get(path), 404, "DEBUG=false hides it")
