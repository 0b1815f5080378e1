"""Predictions that answer back: said before a cell is run, kept, and compared after it.

    predict("02.which-gate", "401", "422")   # buttons; without choices, a field for a word
    answered("02.which-gate", status)        # what you said, what it was, and why

What is right, and why, stands in predictions.toml, so that no cell gives it away above its own run. Where
a notebook is shown without buttons, `predict("02.which-gate", "401", "422", mine="422")` says the same.
"""

import functools
import html
import tomllib
from contextlib import suppress
from pathlib import Path

from record import Shown, remember, remembered

FILE = Path(__file__).with_name("predictions.toml")
COLOURS = {True: "--jp-success-color1", False: "--jp-warn-color1", None: "--jp-border-color1"}


class Question(Shown):
    """The choices as buttons, and as text where there are none."""

    def __init__(self, name: str, choices: tuple[str, ...]):
        ways = " · ".join(choices) or "(a word)"
        super().__init__(
            f'Your prediction: {ways}\nNo buttons here? Add mine="…" to this line, and run it again.'
        )
        self.name, self.choices = name, choices

    def _repr_mimebundle_(self, include=None, exclude=None):
        with suppress(ImportError):  # then the text will do
            self.data |= self.buttons()._repr_mimebundle_() | self.data
        return self.data, self.metadata

    def buttons(self):
        import ipywidgets  # a third of a second: only for those who are asked

        said = remembered()["predictions"].get(self.name)
        if self.choices:
            widget = ipywidgets.ToggleButtons(
                options=self.choices,
                value=said if said in self.choices else None,
                style={"button_width": "auto"},
            )
        else:
            widget = ipywidgets.Text(
                value=said or "",
                placeholder="your word, then Enter",
                continuous_update=False,
                layout={"width": "16em"},
            )
        widget.observe(lambda change: keep(self.name, change["new"]), "value")
        return widget


def predict(name: str, *choices: str, mine: str | None = None) -> Shown:
    """Ask for a prediction, such as "02.which-gate": one of the choices, or a word if there are none."""
    if mine is not None:
        keep(name, mine)
        return Shown(f'You say "{mine}".')
    return Question(name, choices)


def keep(name: str, said: str | None):
    remember(predictions={name: str(said or "").strip()})


def answered(name: str, seen=None) -> Shown:
    """Compare what was predicted with what is right, or with what was `seen` just now, and say why."""
    known = texts().get(name)
    if known is None:
        return Shown(f"nothing is known about the prediction {name!r}")
    said, right = remembered()["predictions"].get(name), known["right"]
    was = right if seen is None else str(seen)
    hit = was.casefold() == said.casefold() if said else None
    told = f'You said "{said}", {"and" if hit else "but"} it is' if said else "You made no prediction; it is"
    told += (
        f' "{was}"'
        + (": " if was == right else f' here, and "{right}" once all is right: ')
        + known["because"]
    )
    line = f"border-left: 4px solid var({COLOURS[hit]}); padding-left: 8px; margin: 4px 0"
    return Shown(told, text_html=f'<p style="{line}">{html.escape(told, quote=False)}</p>')


@functools.cache
def texts() -> dict[str, dict[str, str]]:
    """{"02.which-gate": {"right": …, "because": …}, …}, or nothing of a file that is not there."""
    try:
        labs = tomllib.loads(FILE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {f"{lab}.{name}": told for lab, names in labs.items() for name, told in names.items()}
