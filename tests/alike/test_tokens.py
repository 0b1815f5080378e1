"""What is left of code and words when names and layout are taken away."""

import pytest

from checks.alike.tokens import CODE, WORDS, tokens


def words(kind: str, text: str) -> list[str]:
    return [word for word, _ in tokens(kind, text)]


PLAIN = "def hit(self, who):\n    times = self.seen[who]\n    return len(times) < 3 and times.append('x')\n"


@pytest.mark.parametrize(
    "other",
    [
        "def ok(me, key):\n    got = me.log[key]\n    return len(got) < 30 and got.append('who')\n",
        PLAIN.replace("\n", "  # a remark\n"),
        PLAIN.replace(":\n", ':\n    """What it does,\n    in two lines: "quoted"."""\n', 1),
        "def hit(\n    self,\n who\n):\n\n  times=self . seen [\n who]\n  return len(times)<3 and "
        'times.append(rb"""x""")',
        PLAIN.replace("\n", "\r\n"),
    ],
    ids=["names and values", "remarks", "docstring", "layout", "line ends"],
)
def test_what_can_be_changed_without_thought_is_not_compared(other):
    assert words(CODE, PLAIN) == words(CODE, other)


@pytest.mark.parametrize(
    "other",
    [
        PLAIN.replace("len", "sum"),
        PLAIN.replace("<", ">"),
        PLAIN.replace("and", "or"),
        PLAIN.replace("append", "pop"),
    ],
)
def test_what_the_code_does_is_compared(other):
    assert words(CODE, PLAIN) != words(CODE, other)


def test_each_token_knows_its_line():
    text = 'a = """one\ntwo"""\n\n# three\nb = (\n1)\n'
    assert [line for _, line in tokens(CODE, text)] == [1, 1, 1, 5, 5, 5, 6, 6]


def test_words_are_compared_without_capitals_and_punctuation():
    assert words(WORDS, "Größe zählt; sie WÄCHST!") == ["grösse", "zählt", "sie", "wächst"]


@pytest.mark.parametrize(
    "text",
    ["\0", '"', "'", '"""', '"\\N{', 'f"{a!', "\\", "'\\", "\t\\\n", "'''\\", "rb ", "\n'", '" """ '],
    ids=repr,
)
def test_no_text_takes_more_than_one_look_at_each_character(text):
    # a lexer that looks again and again at what is open takes minutes for these
    assert len(tokens(CODE, text * (100_000 // len(text)))) <= 100_000
