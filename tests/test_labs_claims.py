"""Each lab notices when what it claims is no longer true, at the cell that claims it.

Lab 04 needs a production machine: its claims are in test_lab04.py.
"""

import pytest
from test_labs import code_cells, failing_cells, start_nbval
from tree import changed_kit

CATCH_UP = "00_catch_up.ipynb"
HTTP = "01_http_rest_and_curl.ipynb"
CONTRACT = "02_the_contract_and_the_server.ipynb"
KEYS = "03_keys_and_limits.ipynb"
REFLECT = "05_answer_for_it.ipynb"
FOURTH = "06_a_fourth_endpoint.ipynb"
REQUEST = "schemas/classify.request.json"
DELETE = '"/results", ["GET", "HEAD", "DELETE"]'
# A lab, and claims of it in the order of its cells: file, what stands there, what makes the claim false, the
# cell that notices (and those that show the same). A run takes far longer than a cell, so claims that leave
# each other alone are made false at once; one that breaks much of what comes after it is the last of its run.
RUNS = [
    (
        CATCH_UP,
        (".gitignore", ".env\n", "", "ignored mess"),
        (
            "models/classifier.py",
            "cannot read the artefact",
            "there is no artefact",
            "proof-code settings-check",
        ),
        (".env.example", "RATE_LIMIT=30/minute", "", "settings-new"),
        ("server.py", "== EXAMPLE_KEY and not settings.debug", "is None", "settings-copy"),
        ("setup-server.sh", 'step "Model release"', 'step "Model"', "artefact-steps"),
        ("models/classifier.py", "if digest != sha256.lower():", "if False:", "incident-artefact"),
    ),
    (HTTP, ("labs/running.py", '"Serving on"', '"Hidden at"', "start")),
    (HTTP, ("server.py", '"/classify", ["POST"]', '"/classify", ["PUT"]', "pick-verb-try")),
    (
        HTTP,
        ("server.py", '"/results", ["GET", "HEAD"]', DELETE, "wrong-verb wrong-verb-check"),
        ("server.py", '404: "there is nothing', '404: "there is something', "status-ours"),
        ("models/classifier.py", ": scores[best],", ": os.getpid() / 1e9,", "stateless-many"),
    ),
    (CONTRACT, (REQUEST, '"maximum": 255', '"maximum": 127', "schema-read")),
    (CONTRACT, ("server.py", '"ok" if ok else', '"fine" if ok else', "health")),
    (
        CONTRACT,
        (REQUEST, '"additionalProperties": false', '"additionalProperties": true', "judge-more"),
        ("server.py", "{status} {took:.1f}ms", "{took:.1f}ms", "log"),
        ("server.py", 'for path in ("/docs", "/redoc")', 'for path in ("/docs",)', "docs docs-check"),
        ("server.py", '"minItems": f"{shown} is too short', '"minItems": f"{shown} is', "wrong-shape"),
        ("server.py", '"type": "json_invalid"', '"type": "broken"', "python-is-not-json"),
        ("models/classifier.py", '"confidence": scores[best]', '"confidence": 1.0', "json-text-send"),
    ),
    (
        CONTRACT,
        ("schemas/openapi.json", '"health.response.json"', '"error.json"', "docs-check"),
        ("server.py", "is greater than the maximum of", "is over", "refused-show"),
        ("server.py", "if settings.debug:\n", "if True:\n", "quiet"),
    ),
    (
        KEYS,
        (
            "server.py",
            "raise HTTPError(401, detail",
            "raise HTTPError(403, detail",
            "yours-authenticate-check",
        ),
    ),
    (KEYS, ("server.py", "max(1, math.ceil(end - now))", "math.floor(end - now)", "yours-hit-check")),
    (KEYS, ("server.py", "return int(count), {", "return min(int(count), 20), {", "order-server")),
    (
        KEYS,
        (
            "server.py",
            '.partition("?")[0][:200]',
            '.partition("!")[0][:200]',
            "query chatty-change found-check",
        ),
        ("server.py", '"RATE_LIMIT", "30/minute"', '"RATE_LIMIT", "20/minute"', "forty-default"),
        ("server.py", "r={left};", "r={left - 1};", "budget"),
    ),
    (
        REFLECT,
        ("server.py", '"note": "persistence not yet implemented"', '"note": "soon"', "memory"),
        ("server.py", "used += cost", "used += cost + 1", "memory-restart memory-restart-answer"),
        ("server.py", "if settings.trusted_proxy and", "if peer or", "forged proxy-server"),
        ("server.py", "it is nested deeper than", "it is deeper than", "nested"),
    ),
    (FOURTH, ("schemas/health.response.json", '"enum": ["ok",', '"enum": ["fine",', "route-check")),
]


@pytest.mark.parametrize(
    ("lab", "claims"),
    [(lab, claims) for lab, *claims in RUNS],
    ids=[f"{lab[:2]}-{'-and-'.join(cells.split()[0] for *_, cells in claims)}" for lab, *claims in RUNS],
)
def test_a_lab_whose_claims_are_false_fails_at_these_claims_and_nowhere_before(
    lab, claims, tmp_path, warm_python
):
    root = changed_kit(tmp_path / "kit", [claim[:3] for claim in claims])
    order = [cell.id for cell in code_cells(root / "labs" / lab)]
    noticed = sorted((cell for *_, cells in claims for cell in cells.split()), key=order.index)
    output, _ = start_nbval(warm_python, [lab], root, f"--maxfail={len(noticed)}").communicate(timeout=1800)
    assert failing_cells(output, root / "labs") == noticed, output[-3000:]
