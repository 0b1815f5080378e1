"""m2, the contract: what goes in and comes out, for good pictures and for every kind of bad body."""

import json
import math
import random

from checks.kit.core import hint, needs, points
from checks.kit.digits import Body, blank, body, picture
from checks.kit.expect import demand, expect, json_object

DIGITS = set("0123456789")
TOLERANCE = 1e-6
NO_500 = "A bad body is the client's mistake: validate it before it reaches the model, and answer 422."


def classification(api, document) -> dict:
    """The answer to a picture as a dict. Raises Failed unless it is a 200 with an object."""
    answer = api.classify(document)
    because = "the picture is valid and the key is right"
    if answer.status in (401, 403):
        because = "the key is the SECRET_API_KEY that the server was given; does it take another one?"
    expect(answer, 200, because)
    return json_object(answer)


def scores_of(answered: dict) -> dict[str, float]:
    """The `scores`: an object of numbers. Raises Failed for anything else."""
    scores = answered.get("scores")
    demand(
        isinstance(scores, dict) and scores and all(map(is_number, scores.values())),
        f"scores: {short(scores)}",
        "scores: an object that gives every class a number",
    )
    return scores


def is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def short(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:59] + "…"


# ---- Good requests --------------------------------------------------------------------------------------


@points(1)
@needs("m1.answers are json")
@hint('The body is {"status": "ok", "model_version": "v1"}: two fields, both strings.')
def test_health_keeps_its_contract(api):
    """/health says {"status": "ok", "model_version": …} and nothing else"""
    document = json_object(api.get("/health"))
    version = document.get("model_version")
    demand(document.get("status") == "ok", f"status: {short(document.get('status'))}", 'status: "ok"')
    demand(
        isinstance(version, str) and version.strip(),
        f"model_version: {short(version)}",
        'model_version: a string such as "v1"',
    )
    undeclared = sorted(document.keys() - {"status", "model_version"})
    demand(not undeclared, f"a field that the contract does not know: {short(undeclared)}", "two fields")


@points(1)
@needs("m1.answers are json")
@hint(
    'Until there is a database, /results answers {"results": [], "note": "persistence not yet implemented"}.'
)
def test_results_is_the_stub(api):
    """/results is the stub of the contract: an empty list and the note"""
    answer = api.get("/results")
    stub = {"results": [], "note": "persistence not yet implemented"}
    demand(json_object(answer) == stub, str(answer), json.dumps(stub))


@points(3)
@needs("m1.answers come in time")
@hint(
    "Send a digit by hand and read the answer's status and detail. 401: is it the right key? 422: "
    "read loc and msg."
)
def test_a_digit_is_classified(api, digits):
    """a real digit, sent with the key, gets 200 and a JSON object"""
    classification(api, digits.one("7"))


@points(2)
@needs("a digit is classified")
@hint('A prediction is the name of a class, "7", not the number 7: JSON tells them apart, and so do clients.')
def test_the_prediction_is_a_string(api, digits):
    """the prediction is a string: one of the digits"""
    prediction = classification(api, digits.one("3")).get("prediction")
    demand(
        isinstance(prediction, str) and prediction in DIGITS,
        f"prediction: {short(prediction)}",
        'prediction: a string from "0" to "9"',
    )


@points(1)
@needs("a digit is classified")
@hint(
    "scores must have every class of the model: zip(classes, predict_proba(…)[0]), without leaving any out."
)
def test_scores_has_every_class(api, digits):
    """scores has every class of the model, the same ones for every picture"""
    seen = [set(scores_of(classification(api, digits.one(label)))) for label in ("1", "4", "8")]
    for names in seen:
        demand(
            DIGITS - {"0"} <= names <= DIGITS and names == seen[0],
            f"scores for {', '.join(sorted(names))}",
            'scores for "0" to "9" (or "1" to "9"), for every picture',
        )


@points(2)
@needs("scores has every class")
@hint("Scores are probabilities: predict_proba, not decision_function, and no rounding before they are sent.")
def test_the_scores_sum_to_one(api, digits):
    """the scores are probabilities: between 0 and 1, and their sum is 1"""
    for label in ("2", "9"):
        values = scores_of(classification(api, digits.one(label))).values()
        demand(
            all(0 <= value <= 1 for value in values) and abs(sum(values) - 1) <= TOLERANCE,
            f"scores from {min(values):.6g} to {max(values):.6g} with a sum of {sum(values):.9g}",
            "scores from 0 to 1 with a sum of 1",
        )


@points(2)
@needs("the prediction is a string", "scores has every class")
@hint("The prediction is the class with the highest score: classes[argmax(scores)].")
def test_the_prediction_has_the_best_score(api, digits):
    """the prediction is the class with the best score"""
    for label in ("2", "6", "7"):
        answered = classification(api, digits.one(label))
        scores, prediction = scores_of(answered), answered.get("prediction")
        best = max(scores, key=scores.get)
        demand(
            scores.get(prediction) == scores[best],
            f'prediction "{prediction}" although the best score is that of "{best}"',
            f'prediction "{best}"',
        )


@points(2)
@needs("the prediction is a string", "scores has every class")
@hint('confidence is the score of the prediction, as a number: scores["7"] where the prediction is "7".')
def test_the_confidence_is_the_score_of_the_prediction(api, digits):
    """the confidence is a number: the score of the prediction"""
    for label in ("1", "5"):
        answered = classification(api, digits.one(label))
        confidence, score = answered.get("confidence"), scores_of(answered).get(answered.get("prediction"))
        demand(
            is_number(confidence) and score is not None and abs(confidence - score) <= TOLERANCE,
            f"confidence: {short(confidence)}",
            f"confidence: {short(score)}",
        )


@points(1)
@needs("a digit is classified")
@hint("Only what the response schema declares may leave: an undeclared field is how internal state leaks.")
def test_no_undeclared_field_leaves(api, digits):
    """a classification has the three fields of the contract and no other"""
    fields = classification(api, digits.one("4")).keys()
    undeclared, missing = (
        fields - {"prediction", "confidence", "scores"},
        {"prediction", "confidence", "scores"} - fields,
    )
    demand(
        not undeclared and not missing,
        f"the fields {short(sorted(fields))}",
        "the fields prediction, confidence and scores",
    )


@points(3)
@needs("the prediction is a string", "scores has every class")
@hint(
    "Is the picture the right way round (rows first, ink bright), binarised above 128, and does its "
    "own model answer?"
)
def test_real_digits_are_recognised(api, digits):
    """of ten clean handwritten digits, at least nine are recognised"""
    classes = scores_of(classification(api, digits.one("1"))).keys()
    labels = [label for label in sorted(DIGITS) if label in classes]
    labels += ["1"] * (10 - len(labels))  # a model without "0"
    answers = [classification(api, digits.one(label)).get("prediction") for label in labels]
    wrong = [f'a {label} taken for "{answer}"' for label, answer in zip(labels, answers) if answer != label]
    demand(len(wrong) <= 1, f"{10 - len(wrong)} of 10 right ({', '.join(wrong[:3])}…)", "9 or 10 right")


@points(1)
@needs("a digit is classified")
@hint(
    "The service keeps nothing between two requests: the same picture has the same answer, whatever "
    "came in between."
)
def test_the_same_picture_gets_the_same_answer(api, digits):
    """the same picture gets the same answer, also after others"""
    document = digits.one("8")
    first = classification(api, document)
    classification(api, digits.one("2"))
    second = classification(api, document)
    demand(first == second, f"{short(first)}, then {short(second)}", "the same answer twice")


# ---- Bad bodies: the required ones ----------------------------------------------------------------------


def refused(api, document, because: str, legal=422):
    answer = api.classify(document)
    expect(answer, legal, because)
    return answer


@points(1)
@needs("a digit is classified")
@hint(NO_500)
def test_broken_json_is_refused(api):
    """a body that is not JSON gets 422 (or 400)"""
    for broken in (b"", b'{"pixels": [[0, 1', b"pixels=1"):
        refused(api, broken, "this is not JSON", (422, 400))


@points(1)
@needs("a digit is classified")
@hint(NO_500)
def test_a_body_without_pixels_is_refused(api):
    """a body without pixels gets 422"""
    for wrong in ({}, [], None, {"pixel": [[0]]}):
        refused(api, wrong, "the field pixels is missing")


@points(1)
@needs("a digit is classified")
@hint(NO_500)
def test_pixels_that_are_no_rows_are_refused(api):
    """pixels that are no list of lists get 422"""
    for wrong in ("a picture", 7, None, {"0": [0]}, [0] * 784):
        refused(api, body(wrong), "pixels must be 28 rows of 28 integers")


@points(1)
@needs("a digit is classified")
@hint(NO_500)
def test_a_word_among_the_pixels_is_refused(api):
    """a picture with a word, or null, among its pixels gets 422"""
    for wrong in ("white", None, [0]):
        refused(api, picture(wrong), f"{json.dumps(wrong)} is not an integer")


@points(1)
@needs("a digit is classified")
@hint(NO_500)
def test_a_fraction_is_refused(api):
    """a picture with a pixel of 0.5 gets 422"""
    refused(api, picture(0.5), "0.5 is not an integer")


@points(2)
@needs("a word among the pixels is refused", "a body without pixels is refused")
@hint(
    'detail is a list; each entry has loc, the way to the value: ["body", "pixels", row, column], '
    "and msg, the reason."
)
def test_422_names_the_place_and_the_reason(api):
    """422 says where and why: detail[0] has the loc of the first bad value and a msg"""
    row, column = random.randrange(28), random.randrange(28)
    for wrong, place, *others in (
        (picture("white", at=(row, column)), ["body", "pixels", row, column]),
        (Body(), ["body", "pixels"], ["body"]),  # where it should be, or the object that lacks it
    ):
        answer = refused(api, wrong, "the body is not valid")
        detail = json_object(answer).get("detail")
        entry = detail[0] if isinstance(detail, list) and detail and isinstance(detail[0], dict) else {}
        demand(
            entry.get("loc") in (place, *others),
            f"loc: {short(entry.get('loc'))} ({answer})",
            f"loc: {json.dumps(place)}",
        )
        told = entry.get("msg")
        demand(
            isinstance(told, str) and told.strip(), f"msg: {short(told)}", "msg: a sentence with the reason"
        )


@points(1)
@needs("a digit is classified")
@hint("The header Content-Type says how to read the body; without application/json it may be anything.")
def test_another_media_type_is_refused(api, digits):
    """a body that is not announced as application/json gets 415 (or 422)"""
    answer = api.classify(digits.one("5"), headers={"Content-Type": "text/plain"})
    expect(answer, (415, 422), "text/plain is not application/json")


# ---- Bad bodies: stretch, since the course's own listing does not refuse them all -----------------------


@points(1, stretch=True)
@needs("a digit is classified")
@hint("A uint8 holds 0 to 255: check the range before the numbers become an array.")
def test_a_pixel_out_of_range_is_refused(api):
    """a picture with a pixel of 256, or of -1, gets 422"""
    refused(api, picture(256), "256 is over the maximum of 255")
    refused(api, picture(-1), "-1 is under the minimum of 0")
    refused(api, picture(10**30), "the number is over the maximum of 255")


@points(1, stretch=True)
@needs("a digit is classified")
@hint("The schema can count: 28 rows, each of 28 items. The model would fail, or guess.")
def test_a_picture_of_another_size_is_refused(api, digits):
    """a picture that is not 28 by 28, such as [[0]], gets 422"""
    refused(api, body([[0]]), "[[0]] is one pixel, not 28 by 28")
    for rows, columns in random.sample([(27, 28), (28, 29), (29, 28), (14, 56)], 4):
        refused(api, blank(rows, columns), f"{rows} by {columns} is not 28 by 28")
    pixels = [[*row, 0] for row in digits.one("3")["pixels"]]  # cropped in silence, it would be recognised
    refused(api, body([*pixels, [0] * 29]), "29 by 29 is not 28 by 28")


@points(1, stretch=True)
@needs("a digit is classified")
@hint(
    "One row shorter than the others makes an array of objects, or an exception: count the items of "
    "every row."
)
def test_a_ragged_picture_is_refused(api):
    """a picture with a row that is too short, or too long, gets 422"""
    for length in (27, 29):
        ragged, row = [[0] * 28 for _ in range(28)], random.randrange(28)
        ragged[row] = [0] * length
        refused(api, body(ragged), f"row {row} has {length} pixels")


@points(1, stretch=True)
@needs("a digit is classified")
@hint('true and "5" are no integers in JSON, even where a language would make integers of them.')
def test_true_and_text_are_no_pixels(api):
    """a picture with true, or with the text "5", among its pixels gets 422"""
    for wrong in (True, "5"):
        refused(api, picture(wrong), f"{json.dumps(wrong)} is not an integer")


@points(1, stretch=True)
@needs("a digit is classified")
@hint(
    'A strict schema refuses what it does not know ("additionalProperties": false): a typo must not '
    "be ignored."
)
def test_an_unknown_field_is_refused(api, digits):
    """a body with a field that the contract does not know gets 422"""
    wrong = Body(digits.one("6") | {"colour": "blue"})
    refused(api, wrong, "colour is no field of the contract")


@points(1, stretch=True)
@needs("a digit is classified")
@hint("NaN is no JSON, though Python's json module reads it; 7.0 is the integer 7, as JSON Schema says.")
def test_numbers_are_read_as_json_says(api):
    """NaN gets 422 (or 400), and 7.0 is as good as 7"""
    text = json.dumps(picture(987654321))
    refused(api, text.replace("987654321", "NaN").encode(), "NaN is not JSON", (422, 400))
    expect(api.classify(text.replace("987654321", "7.0").encode()), 200, "7.0 is the integer 7")


@points(1, stretch=True)
@needs("a digit is classified")
@hint(
    "Think of what a parser may choke on: bytes that are no UTF-8, 100,000 brackets, a number of "
    "5000 digits, a key twice."
)
def test_hostile_json_is_refused(api, digits):
    """JSON made to hurt a parser gets 422 (or 400), never a 500"""
    good = json.dumps(digits.one("9")).encode()
    hostile = {
        "the body is not UTF-8": good[:-1] + b', "\xff\xfe": 0}',
        "it is nested 20,000 deep": b'{"pixels": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        "it holds a number of 5000 digits": json.dumps(picture(0)).encode().replace(b"0", b"9" * 5000, 1),
        "the key pixels stands twice": good[:-1] + b', "pixels": []}',
    }
    for because, wrong in hostile.items():
        refused(api, wrong, because, (422, 400))


@points(1, stretch=True)
@needs("a digit is classified")
@hint("A picture has a few kilobytes: look at Content-Length first and refuse what is far larger, unread.")
def test_a_huge_body_is_refused(api):
    """a body of over 64 KiB gets 413"""
    answer = api.classify(b'{"pixels": [' + b" " * 70_000 + b"]}", curl_body='"$(printf %70000s)"')
    expect(answer, 413, "the body is over 64 KiB")


@points(1, stretch=True)
@needs("a word among the pixels is refused")
@hint(
    "What a client sent may be long, or secret: an error says where it is and what is wrong, not what it was."
)
def test_an_error_does_not_repeat_the_body(api):
    """an error repeats no value of the body that is longer than 80 characters"""
    long_word = "never repeat this " * 10
    answer = api.classify(picture(long_word))
    demand(
        long_word[:81].encode() not in answer.body,
        f"the value, repeated: {answer}",
        "its place and the reason",
    )
