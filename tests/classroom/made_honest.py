"""Ways to write the solution of an exercise that honest students have: those of honest/*.txt, which say what
else is right, and those below, which say the same as the instructor's in another form.
"""

# ruff: noqa: E501 (a form is easier to read in one line)

import ast
import re
import textwrap
from pathlib import Path

FOLDER = Path(__file__).with_name("honest")
NEXT_CELL = r"\r?\n\+\+\+\r?\n"  # a line of +++ stands between two cells of one answer

# What a student may have imported at the top of each lab
IMPORTS = """
import array, ast, asyncio, base64, binascii, bisect, collections, concurrent.futures, configparser, contextlib
import copy, dataclasses, decimal, email, enum, fractions, functools, hashlib, http.client, io, ipaddress
import itertools, json, os, random, re, secrets, string, subprocess, textwrap, time, types, urllib.request, uuid
from pathlib import Path
import httpx, numpy as np, requests
"""

FORMS = {  # {first} come the lines that it needs, then {name} is the name of the value, {value} an expression
    "remarks in other languages": "# Lösung: ответ, 答案 ✓\n{first}\n\n{name} = {value}  # fertig!\n# {name} = None\n",
    "printed, and shown": "{first}\n{name} = {value}\nprint('meine Antwort:', {name})\n{name}",
    "with a type": "{first}\n{name}: object = {value}\nassert {name} is not None, f'{{{name}!r}} ist nichts'",
    "a walrus": "{first}\nif ({name} := {value}) is not None: pass",
    "unpacked": "{first}\n[{name}, *_] = ({value}, None)",
    "under two names": "{first}\nanother = {name} = {value}; del another",
    "overwritten": "{first}\n{name} = 'no idea'\n{name} = {value}\n",
    "a function": "{first}\ndef answer_of_mine(help=None):\n    'Returns it.'\n    return {value}\n{name} = answer_of_mine()",
    "a function without a return": "{first}\ndef fill():\n    global {name}\n    {name} = {value}\nfill()",
    "a lambda": "{first}\n{name} = (lambda: {value})()",
    "a decorator": "{first}\n@lambda function: function()\ndef {name}():\n\treturn {value}",
    "a generator": "{first}\n{name} = next({value} for _ in 'x')",
    "a comprehension": "{first}\n{name} = [{value} for number in range(1)][0]",
    "a class": "{first}\nclass Mine:\n    @property\n    def value(self):\n        return {value}\n{name} = Mine().value",
    "a dataclass": "{first}\n@dataclasses.dataclass\nclass Kept:\n    value: object\n{name} = Kept(value={value}).value",
    "tried": "{first}\ntry:\n    {name} = {value}\nexcept ValueError as error:\n    print(error)\nelse:\n    print('ok')",
    "within a with": "{first}\nwith contextlib.suppress(KeyError), open(os.devnull):\n    {name} = {value}",
    "a loop that ends": "{first}\nwhile True:\n    {name} = {value}\n    break\n",
    "awaited": "{first}\nasync def soon():\n    await asyncio.sleep(0)\n    return {value}\n{name} = await soon()",
    "a thread": "{first}\nwith concurrent.futures.ThreadPoolExecutor() as pool:\n"
    "    {name} = pool.submit(lambda: {value}).result()",
    "timed": "%%time\n{first}\n{name} = {value}",
    "without its output": "%%capture told\n{first}\n{name} = {value}\nprint('told to nobody')",
    "shell lines beside": "%pwd\n!echo los\n{first}\n{name} = {value}\n!true",
    "an error after it": "{first}\n{name} = {value}\nprint(nme_with_a_slip)",
    "two cells": "{first}\nmine = {value}\n+++\n{name} = mine",
    "a helper, and lines of Windows": "def same(one):\r\n    return one\r\n+++\r\n{first}\r\n{name} = same({value})\r\n",
    "too much imported": "import math, sys, statistics as stats\nfrom typing import *\n{first}\n{name} = {value}",
}


def in_other_forms(name: str, solution: str) -> list[str]:
    """The forms of a solution, which gives the name its value."""
    tree = ast.parse(solution)
    *before, last = tree.body
    if isinstance(last, ast.Assign) and ast.unparse(last.targets[0]) == name:
        first, value = ast.unparse(ast.Module(before, [])), ast.unparse(last.value)
    else:
        inner = textwrap.indent(ast.unparse(tree), "    ")
        first, value = f"def found_out():\n{inner}\n    return {name}", "found_out()"
    return [form.format(first=first, name=name, value=value) for form in FORMS.values()]


def by_hand(lab: str) -> dict[str, list[str]]:
    """{exercise: [source]} of what honest/<lab>.txt has; one that begins with = is a value."""
    text = (FOLDER / f"{lab}.txt").read_text(encoding="utf-8")
    found = {}
    for part in re.split(r"(?m)^== ", text)[1:]:
        exercise, _, written = part.partition("\n")
        blocks = [re.split(r"\n(?== )", block) for block in re.split(r"\n{2,}", written.strip("\n"))]
        found[exercise] = [source for block in blocks for source in block]
    return found


def variants(exercise, cells: dict[str, dict]) -> list[list[str]]:
    """The cells of each variant of an exercise, the instructor's own solution last."""
    name = re.match(r"(?:def )?(\w*)", "".join(cells[exercise.name]["source"]))[1]
    solution = "".join(cells[f"{exercise.name}-solution"]["source"])
    made = [re.sub("^=", f"{name} =", source) for source in by_hand(exercise.lab)[exercise.name]]
    made += in_other_forms(name, solution) if name else []
    return [re.split(NEXT_CELL, source) for source in [*made, solution]]
