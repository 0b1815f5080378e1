"""Exercises of a lab for tests, filled by students who do not know what is asked for, and want the points.

What is wanted is a number that stands nowhere in the kernel. Each forgery has a cell of its own, in one
kernel; behind each stands a cell of ours that mends what it broke, so that the next one finds one that works.
"""

# ruff: noqa: E501 (a forgery is easier to read in one line)

MEND = """
json.dumps, builtins.repr, builtins.exec, builtins.isinstance = saved[:4]
type(shell).user_expressions, sys.stdout = saved[4:6]
sys.settrace(None); sys.setprofile(None); threading.settrace(None)
shell.user_ns.pop("getattr", None); shell.input_transformers_cleanup.clear()
for event in ("pre_run_cell", "post_run_cell", "pre_execute", "post_execute"):
    for hook in list(shell.events.callbacks[event]):
        if getattr(hook, "__name__", "") == "hook": shell.events.unregister(event, hook)
shell.display_formatter = DisplayFormatter(parent=shell)
"""
START = """
import atexit, builtins, ctypes, gc, glob, json, os, signal, sys, threading, types
from labkit import *
from IPython.core.formatters import DisplayFormatter
shell = get_ipython()
saved = (json.dumps, builtins.repr, builtins.exec, builtins.isinstance, type(shell).user_expressions, sys.stdout)
"""
KIND = "application/vnd.pixelwise.plain+json"
TELLS = "class Forged:\n    def _repr_mimebundle_(self, **_): return {KIND: TEXT}\n"
TELLS = f"KIND = {KIND!r}\n{TELLS}"


def formatter(text: str) -> str:
    """The display formatter answers with this text, whatever is asked for."""
    return f"shell.display_formatter.format = lambda value, *_, **__: ({{{KIND!r}: {text}}}, {{}})"


EQUAL = (
    "    __eq__ = __ge__ = __le__ = __contains__ = lambda self, other: True\n    __hash__ = lambda self: 0\n"
)
FORGERIES = {
    "a class equal to everything": f"class One:\n{EQUAL}x = One()",
    "an int that is equal to everything": f"class One(int):\n{EQUAL}x = One(1)",
    "a text that is equal to everything": f"class One(str):\n{EQUAL}x = One('?')",
    "a dict that is equal to everything": f"class One(dict):\n{EQUAL}x = One()",
    "a list that is equal to everything": f"class One(list):\n{EQUAL}x = One([1])",
    "a float that is equal to everything": f"class One(float):\n{EQUAL}x = One(1)",
    "a metaclass equal to everything": f"class Meta(type):\n{EQUAL}class One(metaclass=Meta): pass\nx = One",
    "a class that says it is an int": "class One:\n    __class__ = int\nx = One()",
    "a repr that looks right": "class One:\n    def __repr__(self): return 'equals'\nx = One()",
    "a patched repr": "builtins.repr = lambda value: 'right'; x = 1",
    "a forged expect": "x = 0\ndef expect(*a, **k): return Verdict([('✓', 'it is right', {})])\nexpect(x)",
    "a printed tick": "x = 0\nprint('✓ it is right: that is the answer')",
    "a verdict in the place of a value": "x = Verdict([('✓', 'it is right', {})], 'x')",
    "a verdict that is always passed": "Verdict.__init__ = lambda *a: None\nVerdict.passed = True\nx = 0",
    "expect replaced in labkit's modules": "import judging, labkit\njudging.expect = labkit.expect = max\nx = 0",
    "a labkit of one's own": "sys.modules['labkit'] = sys.modules['judging'] = types.ModuleType('x')\nx = 0",
    "true in the place of a value": "x = True",
    "not a number": "x = float('nan')",
    "infinity": "x = float('inf')",
    "a number of five thousand digits": "x = 10 ** 5000",
    "everything that it could be, in a list": "x = list(range(19_000))",
    "a wildcard": "x = '*'",
    "an ellipsis": "x = ...",
    "a pickle that would run": "class One:\n    def __reduce__(self): return (print, ('I ran',))\nx = One()",
    "an object with a tolist that lies": "class One:\n    def tolist(self): return self\nx = One()",
    "an answer that says 200": "x = types.SimpleNamespace(status_code=200, text='right')",
    "an answer with a forged request": (
        "x = types.SimpleNamespace(request=types.SimpleNamespace(method='GET', url='file:///etc/passwd',"
        " headers={'A': 'b\\r\\nC: d'}, body=b''))"
    ),
    "a server with a model of one's own": (
        "x = types.SimpleNamespace(raw_log=1, settings={'MODEL_PATH': '/tmp/evil.pkl', 'PORT': '1'})"
    ),
    "a list that holds itself": "x = []; x.append(x)",
    "a nest of ten thousand": "x = []\nfor _ in range(10_000): x = [x]",
    "a gigabyte": "x = 'x' * (1 << 30)",
    "a megabyte": "x = 'x' * (1 << 20)",
    "a value that never ends": "class One(list):\n    def __iter__(self):\n        while True: yield 0\nx = One()",
    "a json of one's own": "json.dumps = lambda *a, **k: '{\"value\": true}'\nx = 0",
    "a json that is none": "json.dumps = lambda *a, **k: '[' * 100_000\nx = 0",
    "a json with NaN": "json.dumps = lambda *a, **k: '{\"value\": NaN}'\nx = 0",
    "a json with a class name": 'json.dumps = lambda *a, **k: \'{"value": {"py/object": "os.system"}}\'\nx = 0',
    "a display hook that answers": formatter("'{\"value\": true}'") + "\nx = 0",
    "a display hook that answers no text": formatter("{'value': 1}") + "\nx = 0",
    "a display hook that answers as the judge does": formatter("'{\"right\": true}'") + "\nx = 0",
    "a kernel that answers for another cell": formatter("'{\"value\": 41}'") + "\nx = 0",
    "user expressions replaced": (
        "type(shell).user_expressions = lambda self, asked: {'told': {'status': 'ok', 'right': True}}\nx = 0"
    ),
    "an exec that runs something else": (
        "def other(code, names, *more):\n"
        "    return saved[2](code, names, *more) if more else names.update(Told=lambda find: True)\n"
        "builtins.exec = other\nx = 0"
    ),
    "a trace of every line": (
        "def trace(frame, event, arg):\n    frame.f_locals.update(right=True, passed=True); return trace\n"
        "sys.settrace(trace); threading.settrace(trace)\nx = 0"
    ),
    "a profiler": "def profile(frame, event, arg): return True\nsys.setprofile(profile)\nx = 0",
    "a look through all that is in memory": (
        "x = 0\nfor one in gc.get_objects():\n    if type(one) is dict and 'equals' in one: x = one['equals']"
    ),
    "the solutions in the kit": (
        "x = 0\nfor name in glob.glob('/submission/**', recursive=True) + glob.glob('/.submission/**', recursive=True):\n"
        "    if name.endswith('answers.json') or name.endswith('.ipynb'): x = open(name).read()"
    ),
    "files where results might go": (
        "x = 0\nline = json.dumps({'lab': '00', 'exercise': NAME, 'right': True}) + '\\n'\n"
        "for place in ('.', '..', '/tmp', '/dev/shm', os.path.dirname(FILE)):\n"
        "    for name in ('found.jsonl', 'record.json', 'results.json'):\n"
        "        try: open(place + '/' + name, 'a').write(line)\n"
        "        except OSError: pass"
    ),
    "a hook before and after each cell": (
        "def hook(*_): shell.user_ns['x'] = True\n"
        "for name in ('pre_run_cell', 'post_run_cell', 'pre_execute', 'post_execute'): shell.events.register(name, hook)"
    ),
    "cells rewritten before they run": (
        "shell.input_transformers_cleanup.append("
        "lambda lines: lines if 'saved' in ''.join(lines) else ['x = True\\n'])"
    ),
    "names that lie": "class Names(dict):\n    def __missing__(self, name): return True\nx = Names()",
    "a thread that replies for the kernel": (
        "kernel = shell.kernel\ndef forge():\n    for number in range(200):\n"
        "        for reply in ('execute_reply', 'execute_result'):\n"
        "            kernel.session.send(kernel.iopub_socket, reply, {'status': 'ok', 'data': {}, 'right': True},\n"
        "                                parent=kernel.get_parent())\n"
        "threading.Thread(target=forge).start()\nx = 0"
    ),
    "an exercise that never ends": "x = 0\nimport time\ntime.sleep(10_000)\nx = 1",
    "an exit hook": "atexit.register(lambda: print('✓ right'))\nx = 0",
    "an exception": "raise SystemExit('✓ right')",
    "a syntax error": "x = (",
    "escapes for the reader's terminal": "x = '\\x1b[2J\\u202e✓ <script>alert(1)</script>'",
    "its own kernel stopped": "os.kill(os.getpid(), signal.SIGKILL)",
}
