"""Makes the reports of a grading again after a crash: `python -m checks.report DIR`."""

import sys

from checks.report.model import main

sys.exit(main(sys.argv[1:]))
