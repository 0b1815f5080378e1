"""Windows of the rate limit, and the clients who use them up: what the checks of m3 share."""

import re
import time

from checks.kit.core import CannotCheck, Failed
from checks.kit.digits import blank
from checks.kit.expect import expect

TRIES = 3
CAME_BACK = "the answer to whoever waited as long as Retry-After says"


def admitted_until_429(api, document, most: int) -> tuple[int, object]:
    """Send the picture until a 429 comes, at most `most` times: how many were admitted, the last answer."""
    for count in range(most):
        answer = api.classify(document, patient=False)
        if answer.status == 429:
            return count, answer
    return most, answer


def used_up(api) -> object:
    """The 429 of a client whose budget is used up. Raises CannotCheck where none comes."""
    most = 3 * api.limit[0]  # a window may end amid them
    _, answer = admitted_until_429(api, blank(), most)
    if answer.status != 429:
        raise CannotCheck(f"no 429 came in {most} requests")
    return answer


def in_one_window(api, ask, plain: bool = False):
    """What `ask` returns: called in a fresh window (of 127.0.0.1, if plain), and again if a busy machine took
    longer than it lasts."""
    seconds = api.limit[1]
    for _ in range(TRIES):
        api.fresh_window(plain)
        began = time.monotonic()
        asked = ask()
        if time.monotonic() - began <= 0.9 * seconds:
            return asked
    raise CannotCheck(f"{TRIES} times, the requests took longer than the window of {seconds:g} s")


def told(admitted: int, answer) -> str:
    """How `admitted_until_429` ended."""
    if answer.status == 429:
        return f"{admitted} admitted, then 429"
    return f"{admitted} admitted, and no 429"


def each_client_gets(statuses: tuple[int, ...], because: str, api, document, **options) -> None:
    """Ask as one client after the other: a gate is for all. Raises Failed, which says what differed."""
    asked = []
    for _ in api.clients():
        answer = api.classify(document, **options)
        asked.append((answer, api.exchanges[-1]))
    for answer, exchange in asked:
        try:
            expect(answer, statuses, because)
        except Failed as problem:
            problem.exchange, exchange.times = exchange, 1
            for other, by in asked:
                if other.status in statuses:
                    exchange.source = exchange.client.split()[0]  # the curl line has to be this client
                    problem.received += f", from {exchange.client}; {other.status} from {by.client}"
            raise


def after_a_window(api):
    """The answer to a client when its window has just ended. Raises Failed unless it was refused until then.

    Meanwhile it asks in the moment that Retry-After names, and leaves the answer in api.known[CAME_BACK].
    """
    seconds = api.limit[1]
    for _ in range(TRIES):
        api.fresh_window()
        began = time.monotonic()  # the window opens between now and the first answer
        api.classify(blank(), patient=False)
        over = time.monotonic() + seconds + 0.05
        promise = used_up(api).header("Retry-After") or ""
        promised = time.monotonic() + (int(promise) if re.fullmatch(r"\d{1,6}", promise) else seconds) + 0.05
        promised, shortly_before = min(promised, over), began + seconds - min(2, 0.3 * seconds)
        late = False
        for moment in sorted({shortly_before, promised, over}):
            left = max(0, moment - time.monotonic())
            api.tell(f"waiting {left:.0f} s for a window of the rate limit to end")
            api.pause(left)
            answer = api.classify(blank(), patient=False)
            asked = time.monotonic() - began
            if moment == promised:
                api.known[CAME_BACK] = answer
            if asked < seconds:
                expect(answer, 429, f"the window of {seconds:g} s began {asked:.1f} s ago")
            late |= moment == shortly_before and asked >= seconds
        if not late:
            return answer
    raise CannotCheck(f"{TRIES} times, no answer came shortly before the window of {seconds:g} s ended")
