#!/usr/bin/env bash
#
# Makes the image of the autograder: Gradescope runs this once, as root, with the zip unpacked in /autograder/source.

set -euo pipefail

readonly SOURCE=/autograder/source VENV=/autograder/venv
export DEBIAN_FRONTEND=noninteractive

# print the first Python of 3.13, 3.12 and 3.11 that is here or that apt has, and can make a venv
find_python() {
  local python
  for python in python3.13 python3.12 python3.11; do
    if "$python" -c 'import ensurepip, venv' 2>/dev/null ||
      apt-get install -y --no-install-recommends "$python" "$python-venv" >&2; then
      printf '%s\n' "$python"
      return
    fi
  done
  echo "this image has no Python 3.11 to 3.13: choose a newer base image in the settings of the autograder" >&2
  return 1
}

main() {
  local python
  apt-get update
  apt-get install -y --no-install-recommends libarchive13 systemd util-linux
  python=$(find_python)
  "$python" -m venv "$VENV"
  "$VENV/bin/pip" install --no-cache-dir -r "$SOURCE/requirements-autograder.txt"
  # a submission runs as another user: neither checks nor their secret are for it
  chmod -R go= "$SOURCE"
}

main "$@"
