#!/usr/bin/env bash
# Sets PixelWise up on a Debian or Ubuntu machine, and runs it.
#
#   bash setup-server.sh          provision: packages, .venv, .env, model; then say what to do next
#   bash setup-server.sh serve    provision, then serve in the foreground (Ctrl-C stops it)
#   bash setup-server.sh labs     provision with the tools for the labs, then open JupyterLab on labs/
#   bash setup-server.sh test     provision with the tools for the tests, then pass all tests
#                                 (what follows `test` goes to pytest: test -k limiter)
#
# Run it as often as you like, from any folder: it keeps what is in place, and never asks anything.
# It needs Python 3.11 to 3.13; a machine where the user `produser` exists is prod, any other is dev.
set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
VENV=$ROOT/.venv
PYTHON=$VENV/bin/python
ENV_FILE=$ROOT/.env
TEMPORARY=
STEP=0

usage() { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

# step TITLE: a numbered heading;  say TEXT: what was done;  die TEXT: what went wrong, and the remedy
step() { STEP=$((STEP + 1)); printf '\n[%d/%d] %s\n' "$STEP" "$STEPS" "$1"; }
say() { printf '      %s\n' "$*"; }
die() { printf '\nsetup-server.sh: %s\n' "$*" >&2; exit 1; }

clean_up() { if [ -n "$TEMPORARY" ]; then rm -rf -- "$TEMPORARY"; fi; TEMPORARY=; }

is_prod() { id produser >/dev/null 2>&1; }

# setting KEY: its value from the environment, else from .env, else nothing
setting() {
  if [ -n "${!1+set}" ]; then
    printf '%s' "${!1}"
  elif [ -r "$ENV_FILE" ]; then
    sed -n "s/^$1=//p" "$ENV_FILE" | tail -n 1 | sed "s/^\([\"']\)\(.*\)\1\$/\2/" | tr -d '\r\n'
  fi
}

# ---- 1 Debian packages ------------------------------------------------------------------------------

# a Python that the pins are made for, and that can make a virtual environment; prints its path
find_python() {
  local name path
  for name in python3 python3.13 python3.12 python3.11; do
    path=$(command -v "$name") || continue
    if "$path" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
    then
      printf '%s' "$path"
      return
    fi
  done
  return 1
}

# the Debian packages that this mode needs and that are missing
missing_packages() {
  local pair
  if ! find_python >/dev/null; then
    if python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      echo python3-venv
    else
      printf '%s\n' python3 python3-venv
    fi
  fi
  local wanted=(git:git curl:curl)
  if [ "$1" = test ]; then
    wanted+=(chromium:chromium chromedriver:chromium-driver shellcheck:shellcheck wrk:wrk)
    wanted+=(systemd-analyze:systemd ssh:openssh-client)
  fi
  for pair in "${wanted[@]}"; do
    command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}"
  done
}

install_packages() {
  step "Debian packages"
  local packages sudo=()
  mapfile -t packages < <(missing_packages "$1")
  if [ "${#packages[@]}" -eq 0 ]; then
    say "nothing is missing"
    return
  fi
  local remedy="install by hand, then run this again: apt-get install ${packages[*]}"
  command -v apt-get >/dev/null || die "no apt-get here; $remedy"
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || die "this needs root, and sudo without a password does not work; $remedy"
    sudo=(sudo -n)
  fi
  say "installing ${packages[*]}"
  "${sudo[@]}" apt-get update -qq || die "apt-get update failed; $remedy"
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    "${packages[@]}" >/dev/null || die "apt-get install failed; $remedy"
  find_python >/dev/null || die "no Python 3.11 to 3.13 with venv here; install one, for example python3.12-venv"
}

# ---- 2 Python packages ------------------------------------------------------------------------------

install_python_packages() {
  step "Python packages in .venv"
  local files=(requirements.txt) stamp wanted
  if [ "$1" != serve ]; then files+=(requirements-dev.txt); fi
  if ! "$PYTHON" -c 'import sys, pip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
    say "making .venv with $("$(find_python)" --version)"
    rm -rf -- "$VENV"
    "$(find_python)" -m venv "$VENV"
  fi
  # the stamp of an installation names the files that it was made from, so the next run can skip it
  stamp=$VENV/.installed-${files[-1]}
  wanted=$(cd "$ROOT" && sha256sum -- "${files[@]}")
  if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    say "already there"
    return
  fi
  local quiet=()
  if [ ! -t 1 ]; then quiet=(--quiet); fi
  say "installing ${files[-1]} (a minute or two the first time)"
  (cd "$ROOT" && "$PYTHON" -m pip install --disable-pip-version-check "${quiet[@]}" -r "${files[-1]}") ||
    die "pip could not install ${files[-1]}: read its last lines, check the network, and run this again"
  rm -f -- "$VENV"/.installed-*
  printf '%s\n' "$wanted" >"$stamp"
  if [ "$1" != serve ]; then (cd "$ROOT" && sha256sum requirements.txt) >"$VENV/.installed-requirements.txt"; fi
  say "installed"
}

# ---- 3 Settings -------------------------------------------------------------------------------------

seed_settings() {
  step "Settings in .env"
  if [ -e "$ENV_FILE" ]; then
    if [ -O "$ENV_FILE" ] && [ "$(stat -c %a "$ENV_FILE")" != 600 ]; then
      chmod 600 "$ENV_FILE"
      say "kept; others could read it, so its mode is now 600"
    else
      say "kept as it is"
    fi
    return
  fi
  local key debug=true
  if is_prod; then debug=false; fi
  key=$("$PYTHON" -c 'import secrets; print(secrets.token_hex(24))')
  TEMPORARY=$(mktemp -d "$ROOT/.setup.XXXXXX")
  # the script reaches sed on its standard input, so that the key shows up in no list of processes
  printf 's/^SECRET_API_KEY=.*/SECRET_API_KEY=%s/\ns/^DEBUG=.*/DEBUG=%s/\n' "$key" "$debug" |
    (umask 077 && sed -f - "$ROOT/.env.example" >"$TEMPORARY/env")
  ln -- "$TEMPORARY/env" "$ENV_FILE" || die ".env appeared in the meantime; run this again"
  clean_up
  say "made from .env.example with a fresh random SECRET_API_KEY and DEBUG=$debug, mode 600"
}

# ---- 4 Model release --------------------------------------------------------------------------------

digest_of() { sha256sum -- "$1" | cut -d ' ' -f 1; }

# remember in .env which digest the release has: a comment that names the release, then MODEL_SHA256
pin_digest() {
  local release=$1 digest=$2
  (
    umask 077
    sed -e '/^# release /d' -e '/^MODEL_SHA256=/d' "$ENV_FILE" >"$TEMPORARY/env"
    printf '# release %s\nMODEL_SHA256=%s\n' "$release" "$digest" >>"$TEMPORARY/env"
  )
  mv -f -- "$TEMPORARY/env" "$ENV_FILE"
}

pull_release() {
  step "Model release"
  local repo version path target release pinned digest source sums
  repo=$(setting MODEL_REPO) version=$(setting MODEL_VERSION) path=$(setting MODEL_PATH)
  path=${path:-models/digit_classifier_v1.pkl}
  case $path in /*) target=$path ;; *) target=$ROOT/$path ;; esac
  if [ -z "$repo" ] || [ -z "$version" ]; then
    say "MODEL_REPO and MODEL_VERSION are empty: the artefact in place is used ($path)"
    return
  fi
  release="$repo $version"
  pinned=$(setting MODEL_SHA256)
  if [ -n "$pinned" ] && [ -f "$target" ] && grep -qxF "# release $release" "$ENV_FILE" 2>/dev/null &&
    [ "$(digest_of "$target")" = "$pinned" ]; then
    say "$version is already in place ($path)"
    return
  fi
  local stays="; the artefact in place stays as it was"
  TEMPORARY=$(mktemp -d "$ROOT/.setup.XXXXXX")
  say "pulling $version from $repo"
  GIT_TERMINAL_PROMPT=0 GIT_SSH_COMMAND="${GIT_SSH_COMMAND:-ssh -o BatchMode=yes}" \
    git clone --quiet --depth 1 --branch "$version" -c advice.detachedHead=false -- \
    "$repo" "$TEMPORARY/release" </dev/null || die "cannot pull $version from $repo: check both settings$stays"
  source=$(find "$TEMPORARY/release" -name .git -prune -o -type f -name "${path##*/}" -print | sort | head -n 1)
  [ -n "$source" ] || die "the release $version holds no file ${path##*/}: set MODEL_PATH to a name that it has$stays"
  digest=$(digest_of "$source")
  # whose word counts: MODEL_SHA256 of the same release, else the release's own SHA256SUMS, else first use
  if [ -n "$pinned" ] && { ! grep -q '^# release ' "$ENV_FILE" || grep -qxF "# release $release" "$ENV_FILE"; }; then
    [ "$digest" = "${pinned,,}" ] ||
      die "${path##*/} of $version has not the digest that MODEL_SHA256 names: ask its publisher; empty it to accept the file$stays"
    say "its digest is the one in MODEL_SHA256"
  elif sums=$(cat "$(dirname "$source")/SHA256SUMS" "$TEMPORARY/release/SHA256SUMS" 2>/dev/null); [ -n "$sums" ]; then
    grep -qE "^$digest [ *](.*/)?${path##*/}\$" <<<"$sums" ||
      die "${path##*/} of $version has not the digest in the release's SHA256SUMS: ask its publisher$stays"
    say "its digest is the one in the release's SHA256SUMS"
  else
    say "the release has no SHA256SUMS: its digest is pinned on first use, in .env (MODEL_SHA256)"
  fi
  MODEL_PATH=$source MODEL_SHA256=$digest "$PYTHON" "$ROOT/server.py" --check ||
    die "the artefact of $version does not load$stays"
  mkdir -p -- "$(dirname "$target")"
  install -m 644 -- "$source" "$target.new"
  mv -f -- "$target.new" "$target"
  pin_digest "$release" "$digest"
  clean_up
  say "$version is now in place ($path)"
}

# ---- 5 Proof ----------------------------------------------------------------------------------------

prove_model() {
  step "Proof without HTTP"
  local path digest
  path=$(setting MODEL_PATH) digest=$(setting MODEL_SHA256)
  (cd "$ROOT" && "$PYTHON" server.py --check) || die "the server would not start: the line above says why"
  say "the settings are good; the artefact has the digest that was promised, and is prepared"
  MODEL_PATH=${path:-models/digit_classifier_v1.pkl} MODEL_SHA256=$digest "$PYTHON" "$ROOT/models/predict.py" |
    sed 's/^/      /'
}

what_next() {
  local port host env_file body
  env_file=$(printf %q "$ENV_FILE") body=$(printf %q "@$ROOT/models/sample.json")
  host=$(setting HOST) port=$(setting PORT)
  case $host in '' | 0.0.0.0 | '::') host=127.0.0.1 ;; esac
  printf '\nNext: %s\n\n' "$1"
  cat <<END
  curl -H "X-API-Key: \$(sed -n 's/^SECRET_API_KEY=//p' $env_file)" -H "Content-Type: application/json" \\
    -d $body http://$host:${port:-8000}/classify

END
}

main() {
  local mode=${1:-provision}
  case $mode in
    provision | serve | labs | test) ;;
    -h | --help | help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  trap clean_up EXIT
  STEPS=5
  install_packages "$mode"
  case $mode in
    labs | test) install_python_packages "$mode" ;;
    *) install_python_packages serve ;;
  esac
  seed_settings
  pull_release
  prove_model
  cd "$ROOT"
  case $mode in
    provision) what_next "start the server with \`bash setup-server.sh serve\`; from another terminal, ask it:" ;;
    serve)
      what_next "from another terminal, ask it (Ctrl-C here stops the server):"
      exec "$PYTHON" server.py
      ;;
    labs)
      what_next "JupyterLab opens labs/; once a lab has started the server, you can ask it by hand:"
      local root=()
      if [ "$(id -u)" -eq 0 ]; then root=(--allow-root); fi
      exec "$VENV/bin/jupyter" lab "${root[@]}" labs
      ;;
    test)
      if [ $# -gt 1 ]; then
        "$PYTHON" -m pytest "${@:2}"
      else
        "$PYTHON" -m pytest --cov --cov-report=
        "$PYTHON" -m coverage report --include="$ROOT/server.py" --fail-under=95
        "$PYTHON" -m coverage report --include="$ROOT/models/classifier.py" --fail-under=95
      fi
      what_next "start the server with \`bash setup-server.sh serve\`; from another terminal, ask it:"
      ;;
  esac
}

main "$@"
