"""Code and words as the tokens that are left when names and layout are taken away, each with its line.

A scanner of its own, for what students hand in need not be Python: over broken code the standard library's
`tokenize` stops, and what somebody wrote on purpose (60,000 times a zero byte, an open quote in each of a
thousand f-strings) keeps Pygments' and tree-sitter's lexers busy for minutes. This one reads each character
once.
"""

import builtins
import keyword
import re

CODE, WORDS = "code", "words"
PASSAGE = {
    CODE: 14,
    WORDS: 5,
}  # tokens in a row that must be equal to count: about two lines; half a sentence
NAME, STRING, NUMBER = "name", "string", "number"  # what stands for every one of these

# Names that nobody can change, and that a disguise leaves as they are.
FIXED = {
    *keyword.kwlist,
    *(name for kind in (builtins, str, bytes, list, dict, set) for name in dir(kind) if name[0] != "_"),
}
TOKEN = re.compile(
    r"""
    (?P<comment>\#[^\n]*)
    | (?P<string>(?:\b[rRbBuUfFtT]{1,2})?
        (?: '{3}(?:[^\\']|\\.|'(?!''))*(?:'{3})? | "{3}(?:[^\\"]|\\.|"(?!""))*(?:"{3})?
          | '(?:[^\\'\n]|\\.)*'? | "(?:[^\\"\n]|\\.)*"? ))
    | (?P<number>\d[\w.]*)
    | (?P<name>[^\W\d]\w*)
    | (?P<sign>\S)
    """,
    re.VERBOSE | re.DOTALL,
)
Token = tuple[str, int]  # as it is compared, and its line, from 1


def tokens(kind: str, text: str) -> list[Token]:
    """The tokens of a text of this kind. Of code: what its names, texts and numbers are called is gone, with
    comments, docstrings and layout; of words: capitals and punctuation."""
    if kind == WORDS:
        matches, told = re.finditer(r"\w+", text), lambda match, first: match[0].casefold()
    else:
        matches, told = TOKEN.finditer(text), _of_code
    line, end, found = 1, 0, []
    for match in matches:
        breaks = text.count("\n", end, match.start())
        word = told(match, breaks > 0 or not end)
        line += breaks
        if word:
            found.append((word, line))
        end = match.end()
        line += match[0].count("\n")
    return found


def _of_code(match: re.Match, first: bool) -> str:
    """What a piece of code is compared as; nothing, where it is a remark, or a text that begins a line."""
    kind, text = match.lastgroup, match[0]
    if kind == "sign":
        return text
    if kind == "name":
        return text if text in FIXED else NAME
    return "" if kind == "comment" or (kind == STRING and first) else kind
