"""Windows of the rate limit, and the clients who use them up: what the checks of m3 share."""

import contextlib
import re
import time

from checks.kit.core import CannotCheck, Failed
from checks.kit.digits import blank
from checks.kit.expect import NAMES, expect

TRIES = 3
CAME_BACK = "the answer to whoever waited as long as Retry-After says"
ANOTHER = "another client that was refused at the same time"


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


class Refused:
    """A client that has just used up its budget, and what it gets while its window ends. Raises CannotCheck
    where no 429 comes."""

    def __init__(self, api):
        seconds = api.limit[1]
        api.fresh_window()
        self.source, self.seconds = api.source, seconds
        self.began = time.monotonic()  # the window opens between now and the first answer
        api.classify(blank(), patient=False)
        over = time.monotonic() + seconds + 0.05
        promise = used_up(api).header("Retry-After") or ""
        promised = time.monotonic() + (int(promise) if re.fullmatch(r"\d{1,6}", promise) else seconds) + 0.05
        self.promised, self.shortly_before = min(promised, over), self.began + seconds - min(2, 0.3 * seconds)
        self.moments = {self.shortly_before, self.promised, over}
        self.asked: list[tuple] = []  # (seconds since its window began, the answer, the exchange)
        self.late = False  # whether nobody asked shortly before the end
        self.came_back = None  # the answer in the moment that Retry-After names

    def ask(self, api, moment: float) -> None:
        api.source = self.source
        answer = api.classify(blank(), patient=False)
        self.asked.append((time.monotonic() - self.began, answer, api.exchanges[-1]))
        if moment == self.promised:
            self.came_back = answer
        self.late |= moment == self.shortly_before and self.asked[-1][0] >= self.seconds

    def last_answer(self, api):
        """The answer when the window has ended. Raises Failed unless it was refused until then."""
        for asked, answer, exchange in self.asked:
            if asked < self.seconds and answer.status != 429:
                because = f"the window of {self.seconds:g} s began {asked:.1f} s ago"
                raise Failed(str(answer), f"{NAMES[429]}: {because}", exchange)
        api.exchanges.append(exchange)  # the evidence, if that is not what it should be
        return answer


def after_a_window(api):
    """The answer to a client when its window has just ended. Raises Failed unless it was refused until then.

    Meanwhile it asks in the moment that Retry-After names, and leaves the answer in api.known[CAME_BACK].
    Another client does the same beside it: if the check fails, it runs again, and finds what that one got.
    """
    if another := api.known.pop(ANOTHER, None):
        return another.last_answer(api)
    for _ in range(TRIES):
        clients = [Refused(api)]
        if api.own_addresses and not api.shared_budget:
            with contextlib.suppress(CannotCheck):
                clients.append(Refused(api))
        moments = sorted((moment, n) for n, client in enumerate(clients) for moment in client.moments)
        for moment, n in moments:
            left = moment - time.monotonic()
            if left > 0:
                api.tell(f"waiting {left:.0f} s for a window of the rate limit to end")
                api.pause(left)
            clients[n].ask(api, moment)
        first, *others = [client for client in clients if not client.late] or [None]
        if first:
            api.known[CAME_BACK], api.known[ANOTHER] = first.came_back, next(iter(others), None)
            return first.last_answer(api)
    seconds = api.limit[1]
    raise CannotCheck(f"{TRIES} times, no answer came shortly before the window of {seconds:g} s ended")
