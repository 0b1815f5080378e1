"""Grades one submission, or a class of them: `python -m checks.grade PATH`, see README.md."""

import sys

from checks.classroom.grade import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
