"""checks/editions/strip.py: bodies change, and no other byte."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks.editions import strip, tables

STUB = "raise HTTPError(501, 'yours')"
HEADS = (
    "def {name}():",
    "def {name}(a, b=1):  # a comment of the signature: it stays",
    "def {name}(\n{tab}a: int,  # a ( in a comment\n{tab}b=lambda x: {{1: x}},\n{indent}) -> dict[str, int]:",
    "async def {name}(*, ü=':') -> 'a: b':",
    "def {name}() -> lambda: 0:",
    "@decorate({{'a': 1}}, ':')\n{indent}@other\n{indent}def {name}(a=(1, [2], {{3: 4}}), /):",
    "def {name}(a: slice = x[1:2]) -> x[1:2]:  # ÄÖ",
)
DOCSTRINGS = (
    None,
    '"""One line."""',
    '"""Two lines,\n  with a # and def f():\n{indent}"""  # a comment behind it: it stays',
    "'ümlaut'",
    '("in parentheses")',
)
BODIES = (
    "return 1",
    "return 1  # a comment of the body",
    "# first a comment\n{indent}x = 1\n\n{indent}return x\n{indent}# and one at the end",
    "if a:\n{indent}{tab}return '''\ndef g():\n  # no comment\n'''\n{indent}return 2",
    "def inner(c):\n{indent}{tab}return c\n{indent}return inner(\n1)",
    "x = 1; return x",
    "x = 'ä' \\\n+ 'b'",
)
ONE_LINERS = (  # signature, docstring or nothing, what is left of the line
    ("def {name}():", " return 1"),
    ("def {name}(a={{1: 2}}) -> 'ä':", " return 1  # a comment of the body"),
    ("def {name}(): 'a docstring'", "; return 1"),
    ('def {name}(): "a docstring"', ""),
)
OUTSIDE = (
    "",
    "x = 1  # ü\n",
    "\n\n",
    "# a comment\n",
    "text = '''\n  def a():\n'''\n",
    "\f\n",
    "if x:\n\ty = 1\n",
)


@st.composite
def functions(draw, name: str, indent: str, tab: str):
    """(source, what it has to become once it is chosen), both as lines at this indentation."""
    more = indent + tab
    if draw(st.booleans()):
        head, rest = draw(st.sampled_from(ONE_LINERS))
        head = head.format(name=name)
        joint = "; " if "docstring" in head else " "
        return f"{indent}{head}{rest}\n", f"{indent}{head}{joint}{STUB}\n"
    head = indent + draw(st.sampled_from(HEADS)).format(name=name, indent=indent, tab=more) + "\n"
    docstring, body = draw(st.sampled_from(DOCSTRINGS)), draw(st.sampled_from(BODIES))
    if docstring:
        head += more + docstring.format(indent=more) + "\n"
    return head + more + body.format(indent=more, tab=tab) + "\n", head + more + STUB + "\n"


@st.composite
def modules(draw):
    """(source, names of all functions, names of the chosen ones, what the source has to become)"""
    tab, newline = draw(st.sampled_from(["    ", "\t", "  "])), draw(st.sampled_from(["\n", "\r\n"]))
    source = expected = draw(st.sampled_from(OUTSIDE))
    chosen = []
    for number in range(draw(st.integers(1, 5))):
        name, indent = f"f{number}", ""
        if draw(st.booleans()):
            name, indent = f"C{number}.f", tab
            for_both = f"class C{number}:\n{tab}'''A class.'''\n\n"
            source, expected = source + for_both, expected + for_both
        whole, stripped = draw(functions(name.rpartition(".")[2], indent, tab))
        if draw(st.booleans()):
            chosen.append(name)
        source, expected = source + whole, expected + (stripped if name in chosen else whole)
        after = draw(st.sampled_from(OUTSIDE))
        source, expected = source + after, expected + after
    return *(text.replace("\n", newline).encode() for text in (source, expected)), chosen


@given(modules())
def test_stripping_changes_the_bodies_of_the_chosen_functions_and_no_other_byte(module):
    source, expected, chosen = module
    ast.parse(source)
    stripped = strip.strip(source, dict.fromkeys(chosen, STUB))
    assert stripped == expected
    compile(stripped, "stripped", "exec")


def test_the_last_line_of_a_file_may_have_no_end():
    assert strip.strip(b"def f():\n  return 1", {"f": STUB}) == f"def f():\n  {STUB}".encode()
    assert strip.strip(b"def f():\n  'doc'", {"f": STUB}) == f"def f():\n  'doc'\n  {STUB}".encode()


def test_a_function_inside_a_chosen_one_goes_with_it():
    source = b"def f():\n  def g():\n    return 1\n  return g\n"
    assert strip.strip(source, {"f": STUB, "f.g": STUB}) == f"def f():\n  {STUB}\n".encode()
    assert strip.strip(source, {"f.g": STUB}) == source.replace(b"return 1", STUB.encode())


def test_a_comment_below_a_body_belongs_to_it_if_it_is_indented():
    source = b"def f():\n  return 1\n\n  # the answer\n\n# the next one\n"
    assert strip.strip(source, {"f": STUB}) == f"def f():\n  {STUB}\n\n# the next one\n".encode()


def test_a_function_that_is_not_there_is_an_error_with_its_name():
    with pytest.raises(tables.ReleaseError, match="C.g.*STUBS"):
        strip.strip(b"def g(): return 1\n", {"C.g": STUB})
