"""What lab 00 needs beside labkit: a dev machine on which nothing of yours can be lost.

    dev_machine = Practice()                 # a home folder of its own, with ~/pixelwise at v0.2
    dev_machine.run("git status")            # lines of shell in its ~/pixelwise
    dev_machine.incident(1)                  # breaks something, and shows what the proof says then
    %%practice                               # a cell of shell lines for it

All of it is under the folder for temporary files, and goes with the kernel. `git` finds no other repository
from there, no setting of yours has a say, and nothing needs a network: `origin` is a folder, too.
"""

import io
import re
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import labkit
from IPython import get_ipython

SETTINGS = ("SECRET_API_KEY", "DEBUG", "HOST", "PORT", "RATE_LIMIT", "TRUSTED_PROXY")
OF_BLOCK_3 = ("setup-server.sh", "requirements.txt", ".gitignore")

HISTORY = """set -e
git init -q -b main && echo "models/*.pkl" >> .gitignore
git add . && git reset -q -- server.py schemas models deploy
git commit -qm "the end of block 3" && git tag v0.2
git clone -q "$PWD" ~/pixelwise
echo SECRET_API_KEY=the-key-that-your-clients-know > ~/pixelwise/.env && echo DEBUG=true >> ~/pixelwise/.env
mkdir ~/pixelwise/models && cp -r models/.prepared ~/pixelwise/models 2>/dev/null || true  # saves seconds
mv ~/next.env.example .env.example && echo "PixelWise, at the end of block 4" > README.md
mkdir ~/digit-models && cp models/SHA256SUMS ~/digit-models && mv models/*.pkl ~/digit-models
git add . && git commit -qm "the end of block 4" && git tag v0.3
cd ~/digit-models && git init -q -b main && git add . && git commit -qm "the first model" && git tag v1
"""
IN_ORDER = """git fetch -q origin --tags; git reset -q --hard v0.3; cp ~/digit-models/*.pkl models
sed 's/^SECRET_API_KEY=.*/SECRET_API_KEY=the-key-that-your-clients-know/' .env.example > .env
"""
ARTEFACT = "models/digit_classifier_v1.pkl"
INCIDENTS = (  # what happens to a machine in order, and the line that notices
    ("rm models/classifier.py", "python models/predict.py 2>&1 | tail -n 1"),
    (f"head -c 300000 ~/digit-models/*.pkl > {ARTEFACT}", "python models/predict.py"),
    ("sed -i 's/^PORT=.*/PORT=eighty/' .env", "python server.py --check"),
)


class Practice:
    """A dev machine for practice: a home folder with a clone at v0.2, and a release of the model."""

    current = None  # %%practice means it

    def __init__(self):
        folder = labkit.copy_of_the_server().resolve()
        files = {labkit.SERVER.name: "server.py"}
        self.home, self.origin = folder / "home", folder / "origin"
        copied = list(folder.iterdir())
        self.home.mkdir()
        self.origin.mkdir()
        for path in copied:
            path.rename(self.origin / files.get(path.name, path.name))
        for name in OF_BLOCK_3:
            shutil.copy(labkit.REPO / name, self.origin)
        shutil.copy(labkit.REPO / ".env.example", self.home / "next.env.example")
        (self.origin / ".env.example").write_text("SECRET_API_KEY=change-me\nDEBUG=true\n", encoding="utf-8")
        (self.origin / "README.md").write_text("PixelWise, at the end of block 3\n", encoding="utf-8")
        if self.status_of(HISTORY, seconds=60, folder=self.origin) == 0:
            Practice.current = self
            print("a dev machine for practice is ready: ~/pixelwise is at v0.2")
        else:
            Practice.current = None
            print("✗ the dev machine for practice is not ready. Is git there? sudo apt-get install git")

    @property
    def repo(self) -> Path:
        return self.home / "pixelwise"

    def run(self, lines: str | None):
        """Run lines of shell in its ~/pixelwise, and print what they print."""
        self.status_of(lines)

    def status_of(self, lines: str | None, seconds: int = 60, folder: Path | None = None) -> int:
        """The same (or in `folder`), and the exit status."""
        folder = folder or self.repo
        if not lines or not folder.is_dir():
            print("there is nothing to run yet")
            return 1
        with redirect_stdout(io.StringIO()) as printed:
            status = labkit.run(["bash", "-c", lines], lines, seconds, cwd=folder, env=self.environ())
        print(self.masked(printed.getvalue()), end="")
        return status

    def environ(self) -> dict:
        """Yours, without what git and the server would read in it; with another home."""
        plain = labkit.plain_environment()
        names = [name for name in plain if not name.startswith(("GIT_", "MODEL_", "XDG_"))]
        environ = {name: plain[name] for name in names if name not in SETTINGS}
        for role in ("AUTHOR", "COMMITTER"):
            environ |= {f"GIT_{role}_NAME": "Ada", f"GIT_{role}_EMAIL": "ada@example.org"}
        return environ | {
            "HOME": str(self.home),
            "GIT_CEILING_DIRECTORIES": str(self.home.parent),
            "GIT_CONFIG_NOSYSTEM": "1",
            **{
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "advice.detachedHead",
                "GIT_CONFIG_VALUE_0": "false",
            },
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def masked(self, text: str) -> str:
        """What differs from run to run, by its name: its folders, hashes of commits, and times in a log."""
        text = text.replace(str(self.home), "~").replace(str(self.origin), "$ORIGIN")
        text = re.sub(r"\b[0-9a-f]{7,}\.\.[0-9a-f]{7,}\b", "<old>..<new>", text)
        text = re.sub(r"(?<=HEAD is now at )[0-9a-f]+", "<commit>", text)
        text = re.sub(r"(?m)^\S*(?=python: can't open file)", "", text)  # some Pythons name their folder
        return re.sub(r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<time>", text)

    def incident(self, number: int):
        """Bring the machine in order, let something happen to it, and show what is noticed."""
        happens, notices = INCIDENTS[number - 1]
        if self.status_of(IN_ORDER + happens) == 0:
            self.run(notices)

    def works(self) -> bool:
        """Whether the settings, the artefact and the code pass both proofs."""
        with redirect_stdout(io.StringIO()):
            return self.status_of("python server.py --check && python models/predict.py") == 0


def practice(line: str, cell: str):
    """%%practice: run the cell's lines in bash, in ~/pixelwise of the dev machine for practice."""
    if Practice.current:
        Practice.current.status_of(cell, int(line or 60))
    else:
        print("✗ there is no dev machine for practice yet: run the cell with Practice() first")


if shell := get_ipython():
    shell.register_magic_function(practice, "cell")
