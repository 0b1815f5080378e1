"""m3, keys and limits: who may ask, how often, and what the others are told."""

import math
import random
import re
from concurrent.futures import ThreadPoolExecutor

from checks.kit.core import (
    Failed,
    Gone,
    at_most,
    even_when_gone,
    hint,
    late,
    needs,
    only,
    points,
    there_are_several_addresses,
    waits,
)
from checks.kit.digits import blank
from checks.kit.expect import demand, expect
from checks.kit.limits import (
    CAME_BACK,
    admitted_until_429,
    after_a_window,
    each_client_gets,
    in_one_window,
    told,
    used_up,
)

COMPARE = "Compare the whole key, and in constant time: hmac.compare_digest(sent, expected)."


# ---- The key --------------------------------------------------------------------------------------------


@points(2)
@needs("m2.a digit is classified")
@hint(
    "Without the header X-API-Key nobody knows who is asking: 401. (A framework that validates "
    "headers may say 422.)"
)
def test_a_missing_key_is_refused(api, digits):
    """a request without a key gets 401 (or 422)"""
    each_client_gets((401, 422), "the header X-API-Key is missing", api, digits.one("1"), key=None)
    expect(api.classify(digits.one("1"), key=" "), (401, 422), "the header X-API-Key is empty")


@points(2)
@needs("m2.a digit is classified")
@hint("Is the check there at all, and does it run before the handler? Compare with SECRET_API_KEY of .env.")
def test_a_wrong_key_is_refused(api, digits):
    """a wrong key gets 401"""
    first, *others = random.sample(["wrong", "null", "x" * len(api.key)], 3)
    each_client_gets((401,), "the key is wrong", api, digits.one("2"), key=first)
    for wrong in others:
        expect(api.classify(digits.one("2"), key=wrong), 401, "the key is wrong")


@points(1)
@needs("a wrong key is refused")
@hint(f"{COMPARE} Of text outside ASCII it wants the bytes: sent.encode().")
def test_a_nearly_right_key_is_refused(api, digits):
    """a key that is nearly right gets 401: cut, prolonged, in other letters, with one character changed"""
    key = api.key
    changed = key[:-1] + ("x" if key[-1] != "x" else "y")
    near = [key[:-1], key[: len(key) // 2], key[1:], key + key, changed, changed[::-1]]
    near.append(key[:-1] + "ä")  # hmac.compare_digest raises TypeError for text outside ASCII: a 500
    near += [other for other in (key.upper(), key.lower(), key.swapcase()) if other != key]
    for wrong in random.sample(near, len(near)):
        answer = api.classify(digits.one("3"), key=wrong)
        if answer.status != 401:
            api.exchanges[-1].secrets.insert(0, wrong)
        expect(answer, 401, "the key is not quite the right one")
    each_client_gets((401,), "the key is not quite the right one", api, digits.one("3"), key=key + "x")


@points(1)
@needs("a missing key is refused")
@hint("An address ends up in logs and histories; a header does not. Read the key from X-API-Key alone.")
def test_a_key_in_the_address_does_not_count(api, digits):
    """the right key in the query, instead of the header, gets 401 (or 422)"""
    first, *others = random.sample(["key", "api_key", "apikey", "x_api_key", "X-API-Key"], 5)
    options = {"key": None, "path": f"/classify?{first}={api.key}"}
    each_client_gets((401, 422), "a key belongs into the header", api, digits.one("4"), **options)
    for name in others:
        path = f"/classify?{name}={api.key}"
        expect(
            api.classify(digits.one("4"), key=None, path=path), (401, 422), "a key belongs into the header"
        )


@points(1)
@needs("m2.a digit is classified")
@hint("An error that repeats the key hands it to whoever reads the screen, or the log.")
def test_no_answer_holds_the_key(api, digits):
    """no answer holds the key: neither the right one nor a wrong one that was sent"""
    wrong = api.key[::-1] + "0123456789"
    answers = [
        api.classify(digits.one("5")),
        api.classify({}, curl_body="{}"),
        api.classify(digits.one("5"), key=wrong),
        api.classify(digits.one("5"), key=None),
        api.get("/health", headers={"X-API-Key": api.key}),
        api.get("/no/such/path", headers={"X-API-Key": api.key}),
    ]
    for answer in answers:
        whole = answer.body + repr(answer.headers).encode()
        for secret in (api.key, wrong):
            demand(
                secret.encode() not in whole,
                f"the key in an answer with the status {answer.status}",
                "no key in any answer",
            )


@points(1, stretch=True)
@needs("a missing key is refused", "a wrong key is refused")
@hint("First who, then what: without a key the body is not even parsed, so nobody can probe the parser.")
def test_without_a_key_the_body_is_not_judged(api):
    """a broken body without a key gets 401, not 422: the key comes first"""
    each_client_gets((401,), "the key comes before the body", api, b"{", key=None)
    expect(api.classify({"pixels": 1}, key="wrong", curl_body="{}"), 401, "the key comes before the body")


@points(1, stretch=True)
@needs("a missing key is refused", "a wrong key is refused")
@hint('RFC 9110 demands it with every 401: WWW-Authenticate: ApiKey realm="pixelwise".')
def test_401_says_what_it_wants(api):
    """missing and wrong keys get the same 401, with the header WWW-Authenticate"""
    answers = [api.classify(blank(), key=None), api.classify(blank(), key="wrong")]
    for answer in answers:
        expect(answer, 401, "there is no right key")
        demand(
            answer.header("WWW-Authenticate"),
            "no header WWW-Authenticate",
            'WWW-Authenticate: ApiKey realm="pixelwise"',
        )
    demand(
        answers[0].body == answers[1].body,
        f"different bodies: {answers[0]}, and {answers[1]}",
        "one body: a stranger must not learn which it was",
    )


# ---- The limit ------------------------------------------------------------------------------------------


@points(2)
@late
@at_most(60)
@needs("m2.a digit is classified")
@hint(
    "Count per client and per window; a limit that several processes keep apart admits several times as many."
)
def test_exactly_the_limit_is_admitted(api):
    """one client gets exactly as many answers as the limit allows, and then 429"""
    count, _ = api.limit

    def ask():
        return admitted_until_429(api, blank(), 2 * count + 5)

    admitted, answer = in_one_window(api, ask)
    if not api.shared_budget and api.shares_budget(blank()) and admitted != count:
        admitted, answer = in_one_window(api, ask)  # other clients had used up a part of it
    demand(admitted == count, told(admitted, answer), f"{count} admitted, then 429")


@points(1)
@late
@at_most(60)
@needs("exactly the limit is admitted", "m1.results answers")
@hint("Monitors ask /health all day: attach the limit to /classify alone.")
def test_health_and_results_are_never_limited(api):
    """/health and /results are not limited, also for a client whose budget is used up"""
    count, _ = api.limit
    used_up(api)
    for path in ("/health", "/results"):
        for _ in range(count + 5):
            expect(api.get(path), 200, f"{path} is never limited")


@points(1)
@late
@needs("exactly the limit is admitted")
@only(there_are_several_addresses)
@hint("One budget for everybody lets a single noisy client lock all others out: keep a count per address.")
def test_every_client_has_a_budget_of_its_own(api):
    """while one client is refused, another one is served"""
    used_up(api)
    first = api.source
    api.move()
    answer = api.classify(blank(), patient=False)
    expect(answer, 200, f"{first} used up its budget, {api.source} did not")


@points(1, stretch=True)
@late
@needs("exactly the limit is admitted")
@hint("Retry-After: whole seconds until the window ends, at least 1 and never more than the window.")
def test_429_says_when_to_come_back(api):
    """429 is JSON with a detail, and carries Retry-After in whole seconds"""
    answer = used_up(api)
    seconds, window = answer.header("Retry-After"), math.ceil(api.limit[1])
    demand(
        re.fullmatch(r"\d{1,6}", seconds or "") and 1 <= int(seconds) <= window,
        f"Retry-After: {seconds}" if seconds else "no header Retry-After",
        f"Retry-After: a whole number from 1 to {window}",
    )
    document = answer.json()
    demand(isinstance(document, dict) and document.get("detail"), str(answer), '{"detail": "a sentence"}')


@points(2, stretch=True)
@late
@at_most(20)
@needs("429 says when to come back", "a window lasts as long as the limit says")
@hint("Compute it when the request comes: the end of the window minus now, rounded up.")
def test_retry_after_is_true(api):
    """whoever waits as long as Retry-After says is served again"""
    answer = api.known.pop(CAME_BACK, None)  # somebody has just waited for that very window
    if answer is None:
        seconds = int(used_up(api).header("Retry-After"))
        api.tell(f"waiting {seconds} s, as Retry-After says")
        api.pause(seconds + 0.05)
        answer = api.classify(blank(), patient=False)
    expect(answer, 200, "as many seconds as Retry-After said are over")


@points(1, stretch=True)
@late
@at_most(60)
@needs("exactly the limit is admitted", "a wrong key is refused")
@hint(
    "Let the limiter be the first gate: then every attempt counts, and nobody guesses keys at the "
    "speed of the line."
)
def test_wrong_keys_use_up_the_budget_too(api):
    """requests with a wrong key count as well, and get 429 when the budget is used up"""
    count, _ = api.limit

    def ask():
        for _ in range(count + 1):
            guess = api.classify(blank(), key="a guess", patient=False)
        return guess, guess.status == 429 and api.classify(blank(), patient=False)

    last_guess, with_the_key = in_one_window(api, ask)
    demand(last_guess.status == 429, f"{last_guess.status} to wrong key number {count + 1}", "429")
    expect(with_the_key, 429, "the budget is used up, whatever the key")


@points(1, stretch=True)
@late
@at_most(60)
@needs("exactly the limit is admitted")
@hint(
    'RateLimit-Policy: "default";q=30;w=60 and RateLimit: "default";r=<left>;t=<seconds>, on every '
    "answer of /classify."
)
def test_the_budget_is_shown(api):
    """every answer of /classify shows the budget: RateLimit-Policy, and RateLimit, which counts down"""
    count, seconds = api.limit
    answers = in_one_window(api, lambda: [api.classify(blank(), patient=False) for _ in range(2)])
    for left, answer in zip((count - 1, count - 2), answers, strict=True):
        policy, budget = answer.header("RateLimit-Policy") or "", answer.header("RateLimit") or ""
        demand(
            f"q={count}" in policy and f"w={seconds:g}" in policy,
            f"RateLimit-Policy: {policy}" if policy else "no header RateLimit-Policy",
            f'RateLimit-Policy: "default";q={count};w={seconds:g}',
        )
        demand(
            re.search(rf"\br={left}\b", budget),
            f"RateLimit: {budget}" if budget else "no header RateLimit",
            f'RateLimit: "default";r={left};t=…',
        )
    shown = used_up(api).header("RateLimit") or ""
    demand(
        re.search(r"\br=0\b", shown),
        f"RateLimit: {shown} with a 429" if shown else "no header RateLimit with a 429",
        'RateLimit: "default";r=0;t=…, for nothing is left, and never less than that',
    )


@points(1, stretch=True)
@late
@at_most(60)
@needs("exactly the limit is admitted")
@hint("Anybody can write X-Forwarded-For: believe it only from a proxy that you named.")
def test_a_forged_address_does_not_help(api):
    """a client does not get a new budget by claiming another address in X-Forwarded-For"""

    def ask():
        used_up(api)
        for claimed in ("203.0.113.7", "127.0.0.1"):
            forged = {"X-Forwarded-For": claimed, "X-Real-IP": claimed}
            answer = api.classify(blank(), patient=False, headers=forged)
            if answer.status != 429:
                break
        return answer

    answer = ask()
    if answer.status != 429:  # unless a window has just ended
        answer = in_one_window(api, ask)
    expect(answer, 429, "the budget is used up, whatever X-Forwarded-For says")


@points(2, stretch=True)
@late
@at_most(60)
@needs("exactly the limit is admitted")
@hint("Look and count in one step, under a lock: between the two, another thread may have looked as well.")
def test_the_limit_holds_for_requests_at_the_same_time(api):
    """of many requests at the same time, exactly as many as the limit allows are admitted"""
    count, _ = api.limit
    document, total = blank(), 2 * count

    def ask():
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda _: api.classify(document, patient=False).status, range(total)))

    statuses = in_one_window(api, ask)
    admitted = total - statuses.count(429)
    demand(admitted == count, f"{admitted} of {total} admitted", f"{count} admitted")


# ---- In the end -----------------------------------------------------------------------------------------


@points(1)
@even_when_gone
@needs("m1.health answers")
@hint("Something in this grading stopped the server: its log has the last request, and perhaps a traceback.")
def test_the_server_is_still_there(api):
    """after all that was asked, the server still answers"""
    try:
        expect(api.get("/health"), 200, "the server answered when the grading began")
    except Gone as problem:
        raise Failed(str(problem), "200 (OK): the server answered when the grading began") from None


@points(1)
@waits
@at_most(60)
@needs("exactly the limit is admitted")
@hint(
    "30/minute is 30 requests in 60 seconds, which begin with a client's first one: no second, and no hour. "
    "Count for every address, also for 127.0.0.1."
)
def test_a_window_lasts_as_long_as_the_limit_says(api):
    """a client is refused until its window ends, and then served; 127.0.0.1 is a client like any other"""
    count, seconds = api.limit
    expect(after_a_window(api), 200, f"the window of {seconds:g} s is over")
    if api.own_addresses and not api.shared_budget:
        most = 2 * count + 5
        admitted, answer = in_one_window(api, lambda: admitted_until_429(api, blank(), most), plain=True)
        # fewer is right: whoever tries the server by hand asks from there as well
        demand(
            admitted <= count, f"{told(admitted, answer)}, from {api.source}", f"{count} admitted, then 429"
        )
