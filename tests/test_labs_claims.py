"""Each lab notices when what it claims is no longer true, at the cell that claims it.

Lab 04 needs a production machine: its claims are in test_lab04.py.
"""

import pytest
from test_labs import failing_cells, start_nbval
from tree import copy_of_the_kit

CATCH_UP = "00_catch_up.ipynb"
HTTP = "01_http_rest_and_curl.ipynb"
CONTRACT = "02_the_contract_and_the_server.ipynb"
KEYS = "03_keys_and_limits.ipynb"
REFLECT = "05_answer_for_it.ipynb"
FOURTH = "06_a_fourth_endpoint.ipynb"
REQUEST = "schemas/classify.request.json"
CLAIMS = [  # lab, file, what stands there, what makes a claim of the lab false, the first cell that notices
    (CATCH_UP, ".gitignore", ".env\n", "", "ignored"),
    (CATCH_UP, "models/classifier.py", "cannot read the artefact", "there is no artefact", "proof-code"),
    (CATCH_UP, ".env.example", "RATE_LIMIT=30/minute", "", "settings-new"),
    (CATCH_UP, "server.py", "== EXAMPLE_KEY and not settings.debug", "is None", "settings-copy"),
    (CATCH_UP, "setup-server.sh", 'step "Model release"', 'step "Model"', "artefact-steps"),
    (CATCH_UP, "models/classifier.py", "if digest != sha256.lower():", "if False:", "incident-artefact"),
    (HTTP, "labs/running.py", '"Serving on"', '"Hidden at"', "start"),
    (HTTP, "server.py", '"/classify", ["POST"]', '"/classify", ["PUT"]', "pick-verb-try"),
    (HTTP, "server.py", '"/results", ["GET", "HEAD"]', '"/results", ["GET", "HEAD", "DELETE"]', "wrong-verb"),
    (HTTP, "server.py", '404: "there is nothing', '404: "there is something', "status-ours"),
    (HTTP, "models/classifier.py", ": scores[best],", ": os.getpid() / 1e9,", "stateless-many"),
    (CONTRACT, REQUEST, '"maximum": 255', '"maximum": 127', "schema-read"),
    (CONTRACT, REQUEST, '"additionalProperties": false', '"additionalProperties": true', "judge-more"),
    (CONTRACT, "server.py", '"ok" if ok else', '"fine" if ok else', "health"),
    (CONTRACT, "server.py", "{status} {took:.1f}ms", "{took:.1f}ms", "log"),
    (CONTRACT, "server.py", 'for path in ("/docs", "/redoc")', 'for path in ("/docs",)', "docs"),
    (CONTRACT, "schemas/openapi.json", '"health.response.json"', '"error.json"', "docs-check"),
    (CONTRACT, "server.py", '"minItems": f"{shown} is too short', '"minItems": f"{shown} is', "wrong-shape"),
    (CONTRACT, "server.py", '"type": "json_invalid"', '"type": "broken"', "python-is-not-json"),
    (CONTRACT, "server.py", "is greater than the maximum of", "is over", "refused-show"),
    (CONTRACT, "models/classifier.py", '"confidence": scores[best]', '"confidence": 1.0', "json-text-send"),
    (CONTRACT, "server.py", "if settings.debug:\n", "if True:\n", "quiet"),
    (
        KEYS,
        "server.py",
        "raise HTTPError(401, detail",
        "raise HTTPError(403, detail",
        "yours-authenticate-check",
    ),
    (KEYS, "server.py", "r={left};", "r={left - 1};", "budget"),
    (KEYS, "server.py", "return int(count), {", "return min(int(count), 20), {", "order-server"),
    (KEYS, "server.py", '.partition("?")[0][:200]', '.partition("!")[0][:200]', "query"),
    (KEYS, "server.py", '"RATE_LIMIT", "30/minute"', '"RATE_LIMIT", "20/minute"', "forty-default"),
    (KEYS, "server.py", "max(1, math.ceil(end - now))", "math.floor(end - now)", "yours-hit-check"),
    (REFLECT, "server.py", "if settings.trusted_proxy and", "if peer or", "forged"),
    (REFLECT, "server.py", '"note": "persistence not yet implemented"', '"note": "soon"', "memory"),
    (REFLECT, "server.py", "used += cost", "used += cost + 1", "memory-restart"),
    (REFLECT, "server.py", "it is nested deeper than", "it is deeper than", "nested"),
    (FOURTH, "schemas/health.response.json", '"enum": ["ok",', '"enum": ["fine",', "route-check"),
]


@pytest.mark.parametrize(
    ("lab", "file", "old", "new", "cell"), CLAIMS, ids=[f"{claim[0][:2]}-{claim[4]}" for claim in CLAIMS]
)
def test_a_lab_whose_claim_is_false_fails_at_that_claim(lab, file, old, new, cell, tmp_path):
    root = copy_of_the_kit(tmp_path / "kit")
    text = (root / file).read_text(encoding="utf-8")
    assert old in text, f"{file} no longer has {old!r}"
    (root / file).write_text(text.replace(old, new), encoding="utf-8")
    output, _ = start_nbval([lab], root, "-x").communicate(timeout=600)
    assert failing_cells(output, root / "labs") == [cell], output[-3000:]
