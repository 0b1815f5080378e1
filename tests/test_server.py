"""server.py from the inside: settings, its validator against another, the limiter, the answers."""

import functools
import gc
import io
import json
import re
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from unittest.mock import Mock

import jsonschema
import jsonschema_rs
import numpy as np
import pytest
from bottle import HTTPError
from hypothesis import example, given, settings
from hypothesis import strategies as st

import server
from deploy import journal, serving, systemd

ROOT = server.ROOT
DIGIT = server.SCHEMAS["classify.request"]["examples"][0]
KEY = "k" * 40
SCORES = {"3": 0.25, "7": 0.75}
JUDGE = jsonschema.Draft202012Validator(server.SCHEMAS["classify.request"])


@pytest.fixture(autouse=True)
def own_stderr():
    """Where the log goes is asked anew, as capfd puts another descriptor in its place."""
    journal.sender.cache_clear()
    yield
    journal.sender.cache_clear()


def read(**environ) -> server.Settings:
    return server.read_settings({"SECRET_API_KEY": KEY} | environ)


class FakeModel:
    """Answers what it is told to, and counts."""

    def __init__(self, answer=None):
        usual = {"prediction": "7", "confidence": 0.75, "scores": SCORES}
        self.answer = usual if answer is None else answer
        self.calls = 0

    def classify_batch(self, images):
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer for _ in images]


def call(app, method="GET", path="/health", body=b"", **environ) -> SimpleNamespace:
    """Ask a WSGI application; returns status, headers and body."""
    answer = SimpleNamespace()

    def start_response(status, headers, exc_info=None):
        answer.status, answer.headers = int(status[:3]), dict(headers)

    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path.partition("?")[0],
        "QUERY_STRING": path.partition("?")[2],
        "REQUEST_URI": path,
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/json",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
    } | environ
    answer.text = b"".join(app(environ, start_response)).decode()
    answer.json = json.loads(answer.text) if answer.text else None
    return answer


def classify(app, document=DIGIT, **environ) -> SimpleNamespace:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return call(app, "POST", "/classify", body, **{"HTTP_X_API_KEY": KEY} | environ)


def picture(at=(0, 0), value=0) -> dict:
    rows = [[0] * 28 for _ in range(28)]
    rows[at[0]][at[1]] = value
    return {"pixels": rows}


# ---- Settings -------------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_contract():
    assert read()._asdict() == {
        "secret_api_key": KEY,
        "debug": False,
        "model_repo": "",
        "model_version": "",
        "model_path": "models/digit_classifier_v1.pkl",
        "model_sha256": "",
        "host": "127.0.0.1",
        "port": 8000,
        "rate_limit": (30, 60),
        "trusted_proxy": "",
    }


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("DEBUG", "TRUE", True),
        ("PORT", "0", 0),
        ("PORT", "65535", 65535),
        ("RATE_LIMIT", "5/second", (5, 1)),
        ("RATE_LIMIT", "100/hour", (100, 3600)),
        ("RATE_LIMIT", "off", None),
        ("TRUSTED_PROXY", "::0001", "::1"),
        ("TRUSTED_PROXY", "::ffff:10.0.0.1", "10.0.0.1"),
        ("MODEL_SHA256", "aB" * 32, "aB" * 32),
    ],
)
def test_good_values_are_read(key, text, value):
    assert getattr(read(**{key: text}), key.lower()) == value


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("SECRET_API_KEY", ""),
        ("SECRET_API_KEY", "two words"),
        ("SECRET_API_KEY", "schlüssel"),
        ("SECRET_API_KEY", "line\nbreak"),
        ("DEBUG", "1"),
        ("DEBUG", ""),
        ("MODEL_PATH", ""),
        ("MODEL_SHA256", "abc"),
        ("HOST", ""),
        ("HOST", "two words"),
        ("PORT", ""),
        ("PORT", "-1"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("PORT", "8_000"),
        ("PORT", " 80 "),
        ("RATE_LIMIT", ""),
        ("RATE_LIMIT", "0/minute"),
        ("RATE_LIMIT", "30/day"),
        ("RATE_LIMIT", "30"),
        ("RATE_LIMIT", "30/minute\n"),
        ("RATE_LIMIT", "OFF"),
        ("TRUSTED_PROXY", "localhost"),
        ("TRUSTED_PROXY", " 10.0.0.1"),
        ("TRUSTED_PROXY", "10.0.0.0/8"),
    ],
)
def test_bad_values_are_refused_by_name_with_the_remedy(key, text):
    with pytest.raises(server.SettingError) as refused:
        read(**{key: text})
    message = str(refused.value)
    remedy = next(row[3] for row in server.SETTINGS if row[0] == key)
    assert message.startswith(f"{key}: ")
    assert message.endswith(remedy)
    assert "\n" not in message
    if key == "SECRET_API_KEY" and text:
        assert text not in message


def test_the_example_key_is_refused_in_production_only():
    example = re.search(r"^SECRET_API_KEY=(.*)$", (ROOT / ".env.example").read_text(), re.M)[1]
    assert example == server.EXAMPLE_KEY
    with pytest.raises(server.SettingError, match="SECRET_API_KEY: this is the example's"):
        read(SECRET_API_KEY=example)
    assert read(SECRET_API_KEY=example, DEBUG="true").debug


def test_the_example_file_holds_every_setting_with_its_default(tmp_path):
    text = (ROOT / ".env.example").read_text().replace("# HOST=", "HOST=")  # which the unit on prod sets
    (tmp_path / ".env").write_text(text)
    lines = systemd.read_environment_file(tmp_path / ".env")
    defaults = {key: default for key, default, *_ in server.SETTINGS} | {"SECRET_API_KEY": server.EXAMPLE_KEY}
    assert lines == defaults


def test_the_environment_wins_over_the_file(tmp_path):
    file = tmp_path / ".env"
    file.write_text(f"# mine\n\nSECRET_API_KEY={KEY}\nPORT=1\nHOST='::1'\nRATE_LIMIT=\"9/hour\"\nOTHER=x\n")
    found = server.read_settings({"PORT": "2"}, file)
    assert (found.secret_api_key, found.port, found.host, found.rate_limit) == (KEY, 2, "::1", (9, 3600))
    assert server.read_settings({"SECRET_API_KEY": KEY}, tmp_path / "none") == read()


def test_a_file_that_cannot_be_used_is_refused_with_the_remedy(tmp_path, monkeypatch):
    file = tmp_path / ".env"
    with pytest.raises(server.SettingError, match="^SECRET_API_KEY: missing; there is no .env here: run"):
        server.read_settings({}, file)
    file.write_text("PORT = 1\n")
    with pytest.raises(server.SettingError, match=r"\.env line 1: write KEY=value"):
        server.read_settings({}, file)
    monkeypatch.setattr(systemd, "read_environment_file", Mock(side_effect=PermissionError(13, "no")))
    with pytest.raises(server.SettingError, match="^SECRET_API_KEY: missing; .* another user's: sudo chown"):
        server.read_settings({}, file)
    assert server.read_settings({"SECRET_API_KEY": KEY}, file) == read()  # as under systemd


# ---- Contract: the server's validator and another -------------------------------------------------------


def verdict(body: bytes):
    """What the server makes of a body: the pixels, or the `detail` of the 422."""
    try:
        return server.accepted_pixels(body)
    except HTTPError as error:
        assert error.status_code == 422
        return error.body


def strict_json(body: bytes):
    """An independent strict parser: (True, document) or (False, None)."""

    def pairs(items):
        names = [name for name, _ in items]
        if len(set(names)) != len(names):
            raise ValueError
        return dict(items)

    def number(text):
        if float(text) in (float("inf"), float("-inf")) or text == "NaN":
            raise ValueError
        return float(text)

    try:
        return True, json.loads(
            body.decode("utf-8"), object_pairs_hook=pairs, parse_float=number, parse_constant=number
        )
    except (ValueError, RecursionError):
        return False, None


PIXELS = st.one_of(
    st.integers(0, 255),
    st.integers(-2, 258),
    st.sampled_from(
        [7.0, -0.0, 1e2, 0.5, True, False, None, "5", "", [], [1], {}, {"a": 1}, 10**30, 255.0, 256.0]
    ),
)


@st.composite
def bodies(draw):
    """Bodies around the border between valid and not: a good picture with a few things done to it."""
    rows = [[draw(st.integers(0, 255))] * 28 for _ in range(28)]
    document = {"pixels": rows}
    for _ in range(draw(st.integers(0, 2))):
        row = draw(st.integers(0, 27).filter(lambda row: isinstance(rows[row], list)))
        match draw(st.integers(0, 5)):
            case 0:
                rows[row] = rows[row][: draw(st.integers(0, 27))]
            case 1:
                rows[row] = [*rows[row], draw(PIXELS)]
            case 2 if rows[row]:
                rows[row] = [draw(PIXELS), *rows[row][1:]]
            case 3:
                rows[row] = draw(PIXELS)
            case 4:
                document[draw(st.sampled_from(["pixel", "pixels ", "x", "true"]))] = draw(PIXELS)
            case 5:
                document["pixels"] = draw(st.one_of(PIXELS, st.just(rows[:27]), st.just([*rows, rows[0]])))
    text = json.dumps(document, separators=draw(st.sampled_from([(",", ":"), (" , ", "\n:\t")])))
    match draw(st.integers(0, 9)):
        case 0:
            text = text.replace(
                "0", draw(st.sampled_from(["0.0", "-0", "0e5", "00", "NaN", "1e400", "9" * 5000])), 1
            )
        case 1:
            text = text.replace(
                "pixels", draw(st.sampled_from(["pi\\u0078els", "p\\u0069xels", "PIXELS"])), 1
            )
        case 2:
            text = text[:-1] + ',"pixels":' + draw(st.sampled_from(["1", json.dumps(rows)])) + "}"
        case 3:
            text = "\ufeff" + text
        case 4:
            text = text[: draw(st.integers(0, len(text)))]
    return text.encode()


@settings(max_examples=400, deadline=None)
@given(st.one_of(bodies(), st.binary(max_size=40)))
@example(json.dumps(DIGIT).encode())
@example(json.dumps(picture(value=True)).encode())
@example(json.dumps(picture(value=7.0)).encode())
@example(
    b'{"pixels":'
    + json.dumps(DIGIT["pixels"]).encode()
    + b',"pixels":'
    + json.dumps(DIGIT["pixels"]).encode()
    + b"}"
)
def test_both_validators_agree_on_every_body(body):
    """jsonschema is written in Python by others than jsonschema_rs, which the server asks, is in Rust."""
    parsed, document = strict_json(body)
    valid = parsed and JUDGE.is_valid(document)
    got = verdict(body)
    assert isinstance(got, np.ndarray) == valid
    if valid:
        assert got.dtype == np.uint8
        assert got.shape == (1, 28, 28)
        assert got[0].tolist() == document["pixels"]


def test_an_edited_schema_is_obeyed(monkeypatch):
    edited = json.loads(json.dumps(server.SCHEMAS["classify.request"]))
    edited["properties"]["pixels"]["items"]["items"]["maximum"] = 16
    monkeypatch.setitem(server.SCHEMAS, "classify.request", edited)
    monkeypatch.setattr(server, "validator", functools.cache(server.validator.__wrapped__))
    assert isinstance(verdict(json.dumps(picture(value=16)).encode()), np.ndarray)
    assert verdict(json.dumps(picture(value=17)).encode())[0]["msg"] == "17 is greater than the maximum of 16"


ROW = [0] * 28
TOO_LONG = "an array of 29 is too long: 28 items are needed"


@pytest.mark.parametrize(
    ("document", "kind", "loc", "msg"),
    [
        (picture((3, 17), 300), "maximum", ["pixels", 3, 17], "300 is greater than the maximum of 255"),
        (picture((27, 27), -1), "minimum", ["pixels", 27, 27], "-1 is less than the minimum of 0"),
        (picture((0, 1), "5"), "type", ["pixels", 0, 1], '"5" is not of type integer'),
        (picture((0, 1), True), "type", ["pixels", 0, 1], "true is not of type integer"),
        (picture((0, 1), 0.5), "type", ["pixels", 0, 1], "0.5 is not of type integer"),
        (picture((0, 1), None), "type", ["pixels", 0, 1], "null is not of type integer"),
        (picture((0, 1), [1, 2]), "type", ["pixels", 0, 1], "an array of 2 is not of type integer"),
        ({"pixels": [[0]]}, "minItems", ["pixels"], "an array of 1 is too short: 28 items are needed"),
        ({"pixels": [ROW] * 29}, "maxItems", ["pixels"], TOO_LONG),
        ({"pixels": [ROW] * 27 + [[*ROW, 0]]}, "maxItems", ["pixels", 27], TOO_LONG),
        ({"pixels": {}}, "type", ["pixels"], "an object is not of type array"),
        ({}, "required", ["pixels"], "this field is missing"),
        (DIGIT | {"colour": 1}, "additionalProperties", ["colour"], "there is no such field"),
        ([], "type", [], "an array of 0 is not of type object"),
        ("x" * 500, "type", [], '"' + "x" * 38 + "… is not of type object"),
        (picture((0, 0), 10**300), "maximum", ["pixels", 0, 0], "1e+300 is greater than the maximum of 255"),
        (picture((0, 0), "y" * 500), "type", ["pixels", 0, 0], '"' + "y" * 38 + "… is not of type integer"),
        (DIGIT | {"y" * 500: 1}, "additionalProperties", ["y" * 40], "there is no such field"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)  # fmt: skip
def test_a_refusal_says_what_is_wrong_and_where(document, kind, loc, msg):
    detail = verdict(json.dumps(document).encode())
    assert detail[0] == {"type": kind, "loc": ["body", *loc], "msg": msg}
    jsonschema.validate({"detail": detail}, server.SCHEMAS["error"])


@pytest.mark.parametrize(
    ("body", "msg"),
    [
        (b"", "unexpected text at line 1, column 1"),
        (b'{"pixels": ', "unexpected text at line 1, column 12"),
        (b"{\n]", "unexpected text at line 2, column 1"),
        (b"\xff", "it is not plain UTF-8 at line 1, column 1"),
        (b"\xef\xbb\xbf{}", "it is not plain UTF-8 at line 1, column 1"),
        (b'{"a": NaN}', "unexpected text at line 1, column 7"),
        (b"-Infinity", "unexpected text at line 1, column 2"),
        (b"1e400", "a number is too large at line 1, column 1"),
        (b"9" * 5000, "a number is too large at line 1, column 1"),
        (b'{"a": 1, "\\u0061": 1}', "a key stands twice in one object"),
        (b'{"a": 1, "b": [{"c": 1, "c": 2}]}', "a key stands twice in one object"),
        (b"[" * 50_000, "it is nested deeper than 32 levels"),
        (b"[" * 33 + b"]" * 33, "it is nested deeper than 32 levels"),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else "",
)
def test_what_is_not_json_is_named(body, msg):
    [one] = verdict(body)
    assert one["type"] == "json_invalid"
    assert one["loc"][0] == "body"
    assert one["msg"] == f"not JSON: {msg}"


def test_32_levels_are_judged_by_the_schema_and_brackets_in_a_text_are_none():
    assert verdict(b"[" * 32 + b"]" * 32)[0]["type"] == "type"
    assert verdict(b'{"pixels":"' + b"[" * 500 + b'\\"]"}')[0]["type"] == "type"


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.one_of(st.none(), st.integers(), st.text('[]{}"\\,:ab')),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text('[]{}"\\'), inner, max_size=3)
        ),
    )
)
def test_the_depth_is_that_of_the_document(document):
    def levels(value) -> int:
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inside is None else 1 + max(map(levels, inside), default=0)

    assert server.depth(server.STRING.sub(b"", json.dumps(document).encode())) == levels(document)


def test_a_refusal_names_the_first_problem_alone():
    [one] = verdict(json.dumps({"pixels": [[300] * 28] * 28}).encode())
    assert one["loc"] == ["body", "pixels", 0, 0]
    [one] = verdict(json.dumps({"pixels": [[300] * 29] * 29}).encode())
    assert (one["type"], one["loc"]) == ("maxItems", ["body", "pixels"])  # sizes before their items


# ---- Contract: what leaves ------------------------------------------------------------------------------


GOOD = {"prediction": "7", "confidence": 0.75, "scores": SCORES}


def test_undeclared_fields_are_dropped():
    app = server.build_app(read(), FakeModel(GOOD | {"weights": [1, 2], "debug": "x"}))
    assert classify(app).json == GOOD


@pytest.mark.parametrize(
    "wrong",
    [
        {"prediction": 7},
        {"confidence": "0.75"},
        {"confidence": 1.5},
        {"confidence": -0.1},
        {"confidence": float("nan")},
        {"confidence": True},
        {"scores": {"7": "high"}},
        {"scores": {"7": float("inf")}},
        {"scores": [0.75]},
        {"scores": None},
        {"prediction": None},
    ],
    ids=repr,
)
def test_an_answer_against_the_schema_is_a_500_and_never_leaves(wrong, caplog):
    answer = classify(server.build_app(read(), FakeModel(GOOD | wrong)))
    assert answer.status == 500
    assert answer.json == {"detail": server.SENTENCES[500]}
    assert answer.headers["X-Request-ID"] in caplog.text


@pytest.mark.parametrize("field", ["prediction", "confidence", "scores"])
def test_an_answer_without_a_field_is_a_500(field):
    left = {key: value for key, value in GOOD.items() if key != field}
    assert classify(server.build_app(read(), FakeModel(left))).status == 500


def test_whole_numbers_are_scores_too():
    scores = {"3": 0, "7": 1}
    app = server.build_app(read(), FakeModel({"prediction": "7", "confidence": 1, "scores": scores}))
    assert classify(app).json["scores"] == scores


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.floats(-0.5, 1.5), st.sampled_from(["", "ok", "7"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("abc"), inner)),
    max_leaves=6,
)
LEAVES = [
    True,
    False,
    {"type": "string"},
    {"type": "string", "enum": ["ok"]},
    {"type": "string", "maxLength": 0},
    {"type": "integer"},
    {"type": "number", "minimum": 0, "maximum": 1},
    {"type": "number", "exclusiveMaximum": 1},
    {"type": "array", "maxItems": 0},
    {"type": "array", "minItems": 1},
    {"enum": ["ok", "7"]},
    {"const": "ok"},
]
OTHERS = [
    {},
    {"additionalProperties": False},
    {"additionalProperties": {"type": "string"}},
    {"minProperties": 1},
]


def object_schemas(fields):
    return st.builds(
        lambda fields, required, others: (
            {"type": "object", "properties": fields, "required": required} | others
        ),
        st.dictionaries(st.sampled_from("abc"), fields),
        st.lists(st.sampled_from("abc"), max_size=2, unique=True),
        st.sampled_from(OTHERS),
    )


SUBSCHEMAS = st.recursive(st.sampled_from(LEAVES), object_schemas, max_leaves=5)


@settings(max_examples=400, deadline=None)
@given(VALUES, SUBSCHEMAS)
@example("7", {"type": "string", "enum": ["ok"]})
@example([], {"type": "array", "minItems": 1})
@example({}, {"type": "object", "minProperties": 1})
@example({"a": 1.0}, {"type": "object", "additionalProperties": False})
@example(1.0, {"type": "number", "exclusiveMaximum": 1})
def test_both_validators_agree_on_every_schema(value, schema):
    ours = jsonschema_rs.Draft202012Validator(schema).is_valid(value)
    assert ours == jsonschema.Draft202012Validator(schema).is_valid(value)


@settings(max_examples=200, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "prediction": SCALARS,
            "confidence": SCALARS,
            "scores": st.one_of(SCALARS, st.dictionaries(st.sampled_from("0123456789"), SCALARS)),
            "more": SCALARS,
        },
    )
)
@example(GOOD)
def test_both_validators_agree_on_every_answer(body):
    declared = {field: value for field, value in body.items() if field != "more"}
    valid = jsonschema.Draft202012Validator(server.SCHEMAS["classify.response"]).is_valid(declared)
    answer = classify(server.build_app(read(RATE_LIMIT="off"), FakeModel(body)))
    assert (answer.status, answer.json) == (200, declared) if valid else answer.status == 500


def test_every_schema_is_a_valid_2020_12_schema():
    assert set(server.SCHEMAS) == {
        "classify.request", "classify.response", "results.response", "health.response", "error",
    }  # fmt: skip
    for name, schema in server.SCHEMAS.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        for instance in schema.get("examples", []):
            jsonschema.validate(instance, schema)
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema", name


# ---- Filter ---------------------------------------------------------------------------------------------


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_window_opens_with_the_first_request_and_is_fixed():
    clock = Clock()
    limiter = server.RateLimiter(2, 60, clock=clock)
    assert limiter.hit("a", cost=0) == (True, 2, 60)
    clock.now += 7
    assert limiter.hit("a") == (True, 1, 60)
    clock.now += 58.5
    assert limiter.hit("a") == (True, 0, 2)
    assert limiter.hit("a") == (False, 0, 2)
    assert limiter.hit("b") == (True, 1, 60)
    clock.now += 1.4
    assert limiter.hit("a") == (False, 0, 1)
    clock.now += 0.1
    assert limiter.hit("a") == (True, 1, 60)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 4), st.booleans()), max_size=60),
    st.integers(3, 20),
)
def test_the_limiter_does_what_a_list_of_all_requests_would(count, requests, capacity):
    """Against a model that remembers everything; the capacity is never reached here."""
    clock, windows = Clock(), {}
    limiter = server.RateLimiter(count, 10, capacity, clock)
    for client, pause, counted in requests:
        clock.now += pause
        begin, used = windows.get(client, (None, 0))
        if begin is None or clock.now >= begin + 10:
            begin, used = clock.now, 0
        expected = used + counted <= count
        used += counted and expected
        if counted:
            windows[client] = (begin, used)
        admitted, left, seconds = limiter.hit(client, cost=int(counted))
        assert admitted == expected
        assert left == count - used
        assert -1e-6 < seconds - (begin + 10 - clock.now) < 1 or seconds == 1
        assert len(limiter.windows) <= capacity


def test_retry_after_is_true():
    """A request after exactly so many seconds is admitted, and one second earlier it was not."""
    clock = Clock()
    limiter = server.RateLimiter(1, 3, clock=clock)
    for fraction in np.linspace(0, 2.99, 50):
        limiter.windows.clear()
        limiter.hit("a")
        clock.now += fraction
        admitted, _, seconds = limiter.hit("a")
        assert not admitted
        clock.now += seconds
        assert limiter.hit("a")[0]


def test_exactly_as_many_as_allowed_pass_under_threads():
    class SlowDict(dict):
        """Lets another thread run between looking a client up and writing it down."""

        def get(self, *args):
            found = super().get(*args)
            time.sleep(0.0001)
            return found

    limiter = server.RateLimiter(100, 3600)
    limiter.windows = SlowDict()
    start, admitted = threading.Barrier(16), []

    def ask():
        start.wait()
        admitted.append(sum(limiter.hit("a")[0] for _ in range(20)))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(admitted) == 100


def test_ten_times_as_many_addresses_as_it_holds_do_not_fill_the_table():
    limiter = server.RateLimiter(30, 60)
    largest = 0
    for number in range(10 * limiter.capacity):
        limiter.hit(str(number))
        if number % 1000 == 0:
            largest = max(largest, len(limiter.windows))
    assert largest <= limiter.capacity
    assert len(limiter.windows) <= limiter.capacity
    assert str(number) in limiter.windows  # the latest is among those that are remembered


def test_a_full_table_forgets_the_oldest_windows_first():
    clock = Clock()
    limiter = server.RateLimiter(1, 60, capacity=11, clock=clock)
    for name in "abcdefghij":
        clock.now += 1
        limiter.hit(name)
    clock.now += 51.5  # the window of "a" is over, and opens again: it is the youngest now
    limiter.hit("a")
    for name in ("k", "l", "m"):
        limiter.hit(name)
    assert list(limiter.windows) == [*"defghij", "a", *"klm"]
    assert not limiter.hit("a")[0]


@pytest.mark.parametrize(
    ("proxy", "peer", "forwarded", "client"),
    [
        ("", "10.0.0.1", "1.2.3.4", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.2", "1.2.3.4", "10.0.0.2"),
        ("10.0.0.1", "10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "::ffff:10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("::ffff:10.0.0.1", "10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "10.0.0.1", "9.9.9.9, 1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "10.0.0.1", "9.9.9.9,  2001:DB8::1 ", "2001:db8::1"),
        ("10.0.0.1", "10.0.0.1", "1.2.3.4, unknown", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1", "1.2.3.4:80", "1.2.3.4"),
        ("10.0.0.1", "10.0.0.1", "[2001:db8::1]:80", "2001:db8::1"),
        ("10.0.0.1", "10.0.0.1", "fe80::1%eth0", "fe80::1"),
        ("10.0.0.1", "10.0.0.1", "", "10.0.0.1"),
        ("::1", "::1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "", "1.2.3.4", ""),
    ],
)
def test_the_client_is_the_sockets_address_unless_a_trusted_proxy_says_otherwise(
    proxy, peer, forwarded, client
):
    environ = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}
    assert server.client_address(environ, read(TRUSTED_PROXY=proxy)) == client


def test_nothing_behind_the_stage_that_objects_runs():
    model = FakeModel()
    app = server.build_app(read(RATE_LIMIT="3/hour"), model)
    huge = b" " * (server.MAX_BODY + 1)
    assert classify(app, huge, HTTP_X_API_KEY="wrong", CONTENT_TYPE="text/plain").status == 401
    assert classify(app, huge, CONTENT_TYPE="text/plain").status == 413
    assert classify(app, b"{", CONTENT_TYPE="text/plain").status == 415
    assert classify(app, huge, HTTP_X_API_KEY="wrong", CONTENT_TYPE="text/plain").status == 429
    assert model.calls == 0


def test_the_body_is_not_read_for_a_caller_without_the_key():
    class Unread:
        def read(self, *_):
            raise AssertionError("read")

    app = server.build_app(read(), FakeModel())
    for key in ("", KEY[:-1], KEY + "k", KEY.upper(), "ÿ"):
        answer = classify(app, **{"wsgi.input": Unread(), "HTTP_X_API_KEY": key})
        assert (answer.status, answer.headers["Www-Authenticate"]) == (401, 'ApiKey realm="pixelwise"')


def test_a_body_of_exactly_64_kib_is_read():
    body = json.dumps(DIGIT).encode()
    app = server.build_app(read(), FakeModel())
    assert classify(app, body + b" " * (server.MAX_BODY - len(body))).status == 200
    assert classify(app, body + b" " * (server.MAX_BODY - len(body) + 1)).status == 413


# ---- Routes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("models/digit_classifier_v1.pkl", "v1"),
        ("digit_classifier_v1_1.pkl", "v1.1"),
        ("/a_v9/digit_classifier_v2_0_13.pkl", "v2.0.13"),
        ("some_model.pkl", "some_model"),
    ],
)
def test_the_model_version_comes_from_the_file_name(path, version):
    app = server.build_app(read(MODEL_PATH=path), FakeModel())
    assert call(app).json == {"status": "ok", "model_version": version}


def test_health_classifies_in_that_very_call_and_says_503_while_the_model_cannot(caplog):
    model = FakeModel()
    app = server.build_app(read(), model)
    assert (call(app).status, model.calls) == (200, 1)
    assert (call(app).status, model.calls) == (200, 2)
    model.answer = RuntimeError("broken")
    answer = call(app)
    assert (answer.status, answer.json) == (503, {"status": "unavailable", "model_version": "v1"})
    assert "cannot classify a blank picture" in caplog.text
    model.answer = GOOD
    assert call(app).status == 200


def test_health_says_503_while_draining():
    draining = threading.Event()
    app = server.build_app(read(), FakeModel(), draining)
    assert call(app).status == 200
    draining.set()
    assert (call(app).status, call(app).json["status"]) == (503, "unavailable")
    assert classify(app).status == 200  # what was accepted is finished


def test_a_fault_of_the_model_is_a_500_with_no_word_of_it(caplog):
    answer = classify(server.build_app(read(), FakeModel(RuntimeError("/opt/secret/path"))))
    assert (answer.status, answer.json) == (500, {"detail": server.SENTENCES[500]})
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "RateLimit" in answer.headers
    assert "RuntimeError" in caplog.text


def test_the_addresses_of_an_ipv6_line_share_a_budget():
    app = server.build_app(read(RATE_LIMIT="2/hour"), FakeModel())
    addresses = ("2001:db8:1:2::1", "2001:db8:1:2:ffff::2", "2001:db8:1:2::3", "2001:db8:1:3::1")
    assert [classify(app, REMOTE_ADDR=address).status for address in addresses] == [200, 200, 429, 200]


def test_a_refused_body_is_not_kept_until_the_collector_comes():
    app = server.build_app(read(RATE_LIMIT="off"), FakeModel())
    body = b'{"pixels":[' + b'{"a":{}},' * 5000 + b"1]}"
    assert [classify(app, body).status for _ in range(3)] == [422] * 3
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        classify(app, body)
        assert len(gc.get_objects()) - before < 1000
    finally:
        gc.enable()


def test_two_apps_have_budgets_of_their_own():
    first, second = (server.build_app(read(RATE_LIMIT="1/hour"), FakeModel()) for _ in range(2))
    assert [classify(first).status for _ in range(2)] == [200, 429]
    assert classify(second).status == 200


def test_a_request_that_waitress_could_not_read_gets_json_and_a_line(capfd):
    app = server.with_request_log(serving.answer_broken, read(), None)
    for code, sentence in serving.SENTENCES.items():
        answer = call(app, **{"serving.error": f"{code} Reason"})
        assert (answer.status, answer.json) == (code, {"detail": sentence})
        assert answer.headers["X-Request-ID"] and answer.headers["X-Content-Type-Options"] == "nosniff"
        line = rf" WARNING \S+ GET /health {code} \S+ {answer.headers['X-Request-ID']} {sentence}$"
        assert re.search(line, capfd.readouterr().err)


def test_a_function_that_is_still_to_be_written_says_so_to_the_client(monkeypatch):
    def unwritten(*_, **__):
        raise HTTPError(501, "authenticate is yours to write")

    monkeypatch.setattr(server, "authenticate", unwritten)
    answer = classify(server.build_app(read(), FakeModel()))
    assert (answer.status, answer.json) == (501, {"detail": "authenticate is yours to write"})
    assert "RateLimit" in answer.headers


@pytest.mark.parametrize("problem", [HTTPError(501, "hit is yours to write"), ZeroDivisionError()])
def test_a_limiter_that_fails_takes_no_answer_down_with_it(problem, monkeypatch):
    monkeypatch.setattr(server.RateLimiter, "hit", Mock(side_effect=problem))
    app = server.build_app(read(), FakeModel())
    status = getattr(problem, "status_code", 500)
    detail = getattr(problem, "body", server.SENTENCES[500])
    for answer, expected in ((classify(app), status), (call(app, path="/classify"), 405)):
        assert answer.status == expected
        assert "RateLimit" not in answer.headers and "X-Request-ID" in answer.headers
    assert classify(app).json == {"detail": detail}


# ---- Logging --------------------------------------------------------------------------------------------


def test_the_line_of_a_request(capfd):
    def last_line():
        return capfd.readouterr().err.splitlines()[-1]

    app = server.build_app(read(RATE_LIMIT="3/hour"), FakeModel())
    number = call(app, path=f"/results?key={KEY}").headers["X-Request-ID"]
    assert re.fullmatch(rf"\S+ \S+ INFO 127\.0\.0\.1 GET /results 200 \d+\.\dms {number}", last_line())
    number = classify(app, DIGIT | {KEY: 1}).headers["X-Request-ID"]
    line = last_line()
    assert re.search(
        rf" WARNING 127\.0\.0\.1 POST /classify 422 \d+\.\dms {number} additionalProperties at body$", line
    )
    number = classify(app, HTTP_X_API_KEY=KEY[1:]).headers["X-Request-ID"]
    line = last_line()
    assert line.endswith(f"{number} send the API key of this service in the header X-API-Key")
    assert KEY[1:] not in line
    classify(app)
    assert last_line().split()[2:7:4] == ["INFO", "200"]
    classify(app)
    assert re.search(r"WARNING .* 429 .*used up: try again in \d+ seconds$", last_line())
    failing = server.build_app(read(), FakeModel(RuntimeError("broken")))
    number = classify(failing).headers["X-Request-ID"]
    assert re.search(
        rf"ERROR 127\.0\.0\.1 POST /classify 500 \S+ {number} {server.SENTENCES[500]}$", last_line()
    )


# ---- Start and stop -------------------------------------------------------------------------------------


SLOW_PACKAGES = {"sklearn", "scipy", "joblib", "jsonschema", "referencing", "asyncio", "offapi"}


def test_importing_starts_nothing_and_leaves_the_slow_packages_alone():
    code = (
        "import threading, sys, server; print(threading.active_count(),"
        f" sorted({SLOW_PACKAGES} & sys.modules.keys()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env={}
    )
    assert (ran.stdout, ran.stderr) == ("1 []\n", "")


def test_the_first_refusal_imports_nothing():
    code = (
        "import sys, server\nbefore = set(sys.modules)\ntry: server.accepted_pixels(b'{}')\n"
        "except server.HTTPError as refused: print(refused.status_code, sorted(set(sys.modules) - before))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "422 []\n"
