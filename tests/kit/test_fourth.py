"""checks/kit/fourth.py and batch.py: what is sent to a fourth endpoint."""

import json
import subprocess

from checks.kit.batch import PICTURES
from checks.kit.fourth import shell_word


def test_the_curl_line_of_a_picture_is_short_and_writes_the_very_body():
    body = {"pictures": [{"pixels": PICTURES[2]}], "note": None, "certain": True, "of": 'a "7"'}
    word = shell_word(body)
    assert len(word) < 1000
    written = subprocess.run(
        ["bash", "-c", f"echo {word}"], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(written) == body
