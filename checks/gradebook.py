"""Writes the pages of a graded class again, from its records: `python -m checks.gradebook GRADES`."""

import sys

from checks.classroom.gradebook import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
