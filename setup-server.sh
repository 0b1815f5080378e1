#!/usr/bin/env bash
# Sets PixelWise up on a Debian or Ubuntu machine, and runs it.
#
#   bash setup-server.sh          provision: packages, .venv, .env, model; then say what to do next
#   bash setup-server.sh serve    provision, then serve in the foreground (Ctrl-C stops it)
#   bash setup-server.sh labs     provision with the tools for the labs, then open JupyterLab on labs/
#   bash setup-server.sh test     provision with the tools for the tests, then pass all tests
#                                 (test --quick: those that are done in a minute, for daily work;
#                                 what else follows `test` goes to pytest: test -k limiter)
#   bash setup-server.sh key      print the API key as the server reads it, and do nothing else
#   bash setup-server.sh --socket on prod: provision, and let systemd listen on the port (no request is
#                                 refused during a restart, but `systemctl stop` alone stops nothing)
#
# Run it as often as you like, from any folder: it keeps what is in place, and never asks anything.
# It needs Python 3.11 to 3.13; a machine where the user `produser` exists is prod, any other is dev.
# On prod it also installs the service under systemd, or updates it; an update that fails leaves the old
# service running.
set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
VENV=$ROOT/.venv
UV=uv==0.13.9 # installs the many packages of labs and tests; where it cannot, pip does
PYTHON=$VENV/bin/python
ENV_FILE=$ROOT/.env
TEMPORARY=
TRIAL= # the process of a trial run, while there is one
TRIAL_URL= # and where it listens
KEPT= # that .venv can stay as it is
STEP=0
OLD_RUNS= # on prod, what a message of failure adds: that the old service keeps running
unset PYTHONDONTWRITEBYTECODE # pip compiles nothing here: what runs first does it for all that start after it

usage() { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

# step TITLE: a numbered heading;  say TEXT: what was done;  die TEXT: what went wrong, and the remedy
step() { STEP=$((STEP + 1)); printf '\n[%d/%d] %s\n' "$STEP" "$STEPS" "$1"; }
say() { printf '      %s\n' "$*"; }
die() { printf '\nsetup-server.sh: %s\n' "$*$OLD_RUNS" >&2; exit 1; }

clean_up() {
  if [ -n "$TRIAL" ]; then kill "$TRIAL" 2>/dev/null || true; fi
  if [ -n "$TEMPORARY" ]; then rm -rf -- "$TEMPORARY"; fi
  TRIAL='' TEMPORARY=''
}

is_prod() { id produser >/dev/null 2>&1; }

# read_env: what .env says, to be kept in SAID, for a Python takes its time to start. For server.py and systemd, quotes,
# the ends of lines and a byte order mark are no part of a value; so dotenv reads it here too.
declare -A SAID
read_env() {
  local line
  SAID=()
  [ -e "$ENV_FILE" ] || return 0
  while IFS= read -r -d '' line; do SAID[${line%%=*}]=${line#*=}; done < <("$PYTHON" -c 'import logging, sys, dotenv
logging.disable()  # of a line that is none, the server tells
with open(sys.argv[1], encoding="utf-8-sig", errors="replace") as lines:
    for key, value in dotenv.dotenv_values(stream=lines, interpolate=False).items():
        if key.isidentifier():
            print(key, value or "", sep="=", end="\0")' "$ENV_FILE")
  wait $!
}

# setting KEY: its value from the environment, else from .env, else nothing
setting() {
  if [ -n "${!1+set}" ]; then printf '%s' "${!1}"; else printf '%s' "${SAID[$1]-}"; fi
}

# what an earlier run as another user left (root, where it was sudo's), and this one cannot use
refuse_what_is_anothers() {
  local path me
  [ "$(id -u)" -ne 0 ] || return 0
  if [ ! -w "$ROOT" ]; then
    path=$ROOT
  elif [ -e "$ENV_FILE" ] && [ ! -O "$ENV_FILE" ] && [ ! -r "$ENV_FILE" ]; then
    path=$ENV_FILE
  else
    path=$(find "$VENV" ! -user "$(id -u)" ! -writable -print -quit 2>/dev/null) || true
  fi
  me=$(id -un 2>/dev/null) || me=$(id -u)
  [ -z "$path" ] || die "$path belongs to $(stat -c %U -- "$path"), and $me cannot use it (did this run with sudo before?);" \
    "give the folder back with \`sudo chown -R $me $(printf %q "$ROOT")\`, then run this again"
}

# ---- 1 Debian packages ------------------------------------------------------------------------------

# fits PYTHON MODULES: it is of a version that the pins are made for, and has these modules
fits() { "$1" -c "import sys, $2; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))" 2>/dev/null; }

# a Python that fits, and that can make a virtual environment; prints its path
find_python() {
  local name path
  for name in python3 python3.13 python3.12 python3.11; do
    path=$(command -v "$name") || continue
    if fits "$path" "venv, ensurepip"; then
      printf '%s' "$path"
      return
    fi
  done
  return 1
}

# .venv can be used: its programs (pip, jupyter …) name the folder that they were made in, so after a move or a copy of
# the kit they would run what is there, or nothing
venv_is_good() {
  local pip
  fits "$PYTHON" pip && { pip=$(<"$VENV/bin/pip"); } 2>/dev/null && [[ $pip == *[\"\ !]"$VENV/bin/"* ]]
}

# the Debian packages that this mode needs and that are missing
missing_packages() {
  local pair
  if [ -z "$KEPT" ] && ! find_python >/dev/null; then
    if fits python3 os; then echo python3-venv; else printf '%s\n' python3 python3-venv; fi
  fi
  local wanted=(git:git curl:curl)
  if [ "$1" = test ] && [ ! -d "$ROOT/tests" ]; then
    wanted+=(systemd-analyze:systemd) # for the check of the unit file
  elif [ "$1" = test ]; then
    wanted+=(chromium:chromium chromedriver:chromium-driver shellcheck:shellcheck wrk:wrk)
    wanted+=(systemd-analyze:systemd ssh:openssh-client)
    wanted+=(systemd-nspawn:systemd-container debootstrap:debootstrap ip:iproute2) # deploy/box
    wanted+=(bwrap:bubblewrap) # checks/classroom/sandbox.py
    compgen -G '/usr/lib/*/libarchive.so.13' >/dev/null || echo libarchive13 # checks/classroom/archives.py
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || echo debian-archive-keyring
  fi
  for pair in "${wanted[@]}"; do
    command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}"
  done
}

install_packages() {
  step "Debian packages"
  local packages sudo=() version
  if venv_is_good; then KEPT=yes; fi
  if [ -z "$KEPT" ] && ! find_python >/dev/null && ! fits python3 os &&
    version=$(python3 -c 'import platform; print(platform.python_version())' 2>/dev/null); then
    die "this needs Python 3.11 to 3.13, and python3 is $version: install one of those beside it, then run this again"
  fi
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
  [ -n "$KEPT" ] || find_python >/dev/null || die "no Python 3.11 to 3.13 with venv here; install one, for example python3.12-venv"
}

# ---- 2 Python packages ------------------------------------------------------------------------------

# run_pip WORDS…: pip in .venv, wherever else this machine's own settings of pip would install. What pip warns of goes by
# on every run on some machines, so it is shown only when pip fails, and then without the places where it found nothing.
run_pip() {
  local said
  {
    said=$(cd "$ROOT" && env -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT -u PIP_PYTHON PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 \
      "$PYTHON" -m pip "$@" --disable-pip-version-check 2>&1 >&3)
  } 3>&1 || {
    grep -v "^WARNING: Location '.*' is ignored" <<<"$said" >&2
    return 1
  }
}

# settings_for_uv: what pip is told on this machine, as uv reads it: lines of NAME=VALUE. Fails where that is anything
# that is not in this table, for then uv might install something else.
settings_for_uv() {
  run_pip config list | "$PYTHON" -c 'import ast, sys
UV = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS",
      "constraint": "UV_CONSTRAINT", "trusted-host": "UV_INSECURE_HOST", "cert": "SSL_CERT_FILE", "proxy": "ALL_PROXY",
      "timeout": "UV_HTTP_TIMEOUT", "default-timeout": "UV_HTTP_TIMEOUT", "no-cache-dir": "UV_NO_CACHE"}
NOTHING = {"user", "target", "prefix", "root", "python", "require-virtualenv", "config-file", "compile", "no-compile",
           "disable-pip-version-check", "no-python-version-warning", "break-system-packages", "root-user-action",
           "no-warn-script-location", "no-input", "no-color", "progress-bar", "quiet", "verbose", "retries"}
said = {}
lines = [line.split("=", 1) for line in sys.stdin]
for place in ("global.", "install.", ":env:."):  # what comes later counts
    said |= {name.removeprefix(place): ast.literal_eval(value) for name, value in lines if name.startswith(place)}
if odd := said.keys() - UV - NOTHING:
    sys.exit(f"uv knows no {odd}")
# as pip: no settings but these, all indexes are alike, and who edits a file in .venv edits none in a cache
print("UV_NO_CONFIG=1", "UV_INDEX_STRATEGY=unsafe-best-match", "UV_LINK_MODE=copy", sep="\n")
for name in said.keys() & UV:
    print(UV[name], ("," if name == "find-links" else " ").join(said[name].split()), sep="=")'
}

# install_with_uv FILE: what pip would install, in half its time. Fails where uv is not to be had, or does not manage.
install_with_uv() {
  local settings name log=/dev/null quiet=(--quiet)
  if [ -t 1 ]; then log=/dev/stderr quiet=(); fi
  {
    settings=$(settings_for_uv) && run_pip install --no-compile --quiet --only-binary :all: "$UV"
  } 2>/dev/null || return
  mapfile -t settings <<<"$settings"
  (
    cd "$ROOT"
    for name in "${!UV_@}"; do if [ "$name" != UV_CACHE_DIR ]; then unset "$name"; fi; done
    env "${settings[@]}" "$PYTHON" -m uv pip install "${quiet[@]}" --python "$PYTHON" -r "$1" 2>"$log"
  )
}

install_python_packages() {
  step "Python packages in .venv"
  local files=(requirements.txt) stamp wanted
  if [ "$1" != serve ]; then files+=(requirements-dev.txt); fi
  if [ -z "$KEPT" ]; then
    local python
    python=$(find_python)
    say "making .venv with $("$python" --version)"
    rm -rf -- "$VENV"
    "$python" -m venv "$VENV"
  fi
  # the stamp of an installation names the files that it was made from, so the next run can skip it
  stamp=$VENV/.installed-${files[-1]}
  wanted=$(cd "$ROOT" && sha256sum -- "${files[@]}")
  if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    say "already there"
    return
  fi
  if is_prod && [ -e "$stamp" ]; then
    # the service runs on these packages: touch them only once all the new ones have arrived
    TEMPORARY=$(mktemp -d "$ROOT/.setup.XXXXXX")
    say "fetching the packages that ${files[-1]} now names"
    run_pip download --quiet -d "$TEMPORARY" -r "${files[-1]}" ||
      die "pip could not fetch ${files[-1]}: read its last lines, and run this again; nothing was changed"
    clean_up
  fi
  local quiet=()
  if [ ! -t 1 ]; then quiet=(--quiet); fi
  say "installing ${files[-1]} (a minute or two the first time)"
  # what is used is compiled when it is first used: all of it takes three times as long, and most is never used
  if [ "$1" = serve ] || ! install_with_uv "${files[-1]}"; then
    run_pip install --no-compile "${quiet[@]}" -r "${files[-1]}" ||
      die "pip could not install ${files[-1]}: read its last lines, check the network, and run this again"
  fi
  rm -f -- "$VENV"/.installed-*
  printf '%s\n' "$wanted" >"$stamp"
  if [ "$1" != serve ]; then (cd "$ROOT" && sha256sum requirements.txt) >"$VENV/.installed-requirements.txt"; fi
  say "installed"
}

# ---- 3 Settings -------------------------------------------------------------------------------------

# replace_env: $TEMPORARY/env takes the place of .env, and stays its owner's
replace_env() {
  chown --reference="$ENV_FILE" -- "$TEMPORARY/env"
  mv -f -- "$TEMPORARY/env" "$ENV_FILE"
}

seed_settings() {
  step "Settings in .env"
  if [ -e "$ENV_FILE" ]; then
    if LC_ALL=C grep -q $'^\xef\xbb\xbf\|\r$' "$ENV_FILE"; then
      # systemd would take the mark for a part of the first key
      TEMPORARY=$(mktemp -d "$ROOT/.setup.XXXXXX")
      (umask 077 && LC_ALL=C sed $'1s/^\xef\xbb\xbf//; s/\r$//' "$ENV_FILE" >"$TEMPORARY/env")
      replace_env
      clean_up
      say "kept, without the byte order mark or the CRLF line ends that an editor on Windows had put in"
    elif [ -O "$ENV_FILE" ] && [ "$(stat -c %a "$ENV_FILE")" != 600 ]; then
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
  replace_env
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
  read_env
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
  # one thread, as in the server: more wait for each other for longer than they work
  OPENBLAS_NUM_THREADS=1 MODEL_PATH=${path:-models/digit_classifier_v1.pkl} MODEL_SHA256=$digest \
    "$PYTHON" "$ROOT/models/predict.py" | sed 's/^/      /'
}

# ---- 6, 7 The service, on prod ------------------------------------------------------------------------

UNITS=/etc/systemd/system

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi; }

# a machine with produser that systemd runs; elsewhere there is no service to install
runs_service() { is_prod && [ -d /run/systemd/system ]; }

# start what is here now on a port of its own, and leave it running: TRIAL is its process, TRIAL_URL where it listens
start_trial() {
  local log tries
  TRIAL_URL=
  TEMPORARY=$(mktemp -d "$ROOT/.setup.XXXXXX")
  log=$TEMPORARY/log
  : >"$log"
  (cd "$ROOT" && HOST=127.0.0.1 PORT=0 exec "$PYTHON" server.py >"$log" 2>&1 </dev/null) &
  TRIAL=$!
  for ((tries = 0; tries < 100; tries++)); do
    TRIAL_URL=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$log")
    if [ -n "$TRIAL_URL" ] || ! kill -0 "$TRIAL" 2>/dev/null; then break; fi
    sleep 0.2
  done
  [ -n "$TRIAL_URL" ] || trial_failed
}

trial_failed() {
  sed 's/^/      /' "$TEMPORARY/log" >&2
  die "the server of this folder does not work; read the lines above"
}

# ask what is here now, beside the running service
try_service() {
  step "Trial run beside the service"
  start_trial
  curl -fsS --noproxy '*' --max-time 10 -o /dev/null "$TRIAL_URL/health" || trial_failed
  kill "$TRIAL"
  wait "$TRIAL" || die "the server of this folder does not stop cleanly"
  TRIAL=
  clean_up
  say "it answers and stops as it should"
}

# grade what is here now with checks/, in the student edition: there are no tests of the kit itself
grade_own() {
  local graded=0
  step "Your server, graded"
  start_trial
  # of pytest's plugins the checks use none, and most of the start would be theirs
  SECRET_API_KEY=$(setting SECRET_API_KEY) PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 \
    "$PYTHON" -m pytest "$ROOT/checks" --url "$TRIAL_URL" \
    --limit "$(limit=$(setting RATE_LIMIT); printf '%s' "${limit:-30/minute}")" \
    --unit "$ROOT/deploy/pixelwise.service" "$@" || graded=$?
  show_tracebacks "$TEMPORARY/log"
  return "$graded"
}

# show_tracebacks LOG: each exception that the server logged, once, the most frequent first
show_tracebacks() {
  sed -n 's/^[^ ]* [^ ]* ERROR //p' "$1" | awk '
    /^request [0-9a-f]+ failed$/ { if (text) seen[text]++; text = ""; next }
    /^Traceback/ { inside = 1 }
    /^  File / { ours = !/site-packages/ }
    /^[^ ]/ { ours = 1 }
    / 500 [0-9.]+ms / { inside = 0 }
    inside && ours { text = text "      " $0 "\n" }
    END { if (text) seen[text]++; for (one in seen) printf "%d\t%s%c", seen[one], one, 0 }' |
    sort -z -n -r | head -z -n 3 | while IFS=$'\t' read -r -d '' count text; do
      printf '\nYour server answered 500 to %s request(s), because of:\n\n%s' "$count" "$text"
    done
}

# install_unit FILE: copy it to systemd's folder if it changed; true when it did
install_unit() {
  local target=$UNITS/${1##*/}
  if cmp -s -- "$1" "$target"; then
    say "${1##*/} is in place"
    return 1
  fi
  if [ -e "$target" ]; then as_root cp -- "$target" "$target.before"; fi
  as_root install -m 644 -- "$1" "$target"
  say "${1##*/} copied to $UNITS"
}

# wait_for_health PORT: until the service answers where it listens, which HOST, a drop-in or a socket may have said
wait_for_health() {
  local tries address
  for ((tries = 0; tries < 75; tries++)); do
    for address in $(ss -Hltn "sport = :$1" | awk '{ print $4 }' |
      sed 's/^\(0\.0\.0\.0\|\*\):/127.0.0.1:/; s/^\[::\]:/[::1]:/'); do
      if curl -fs --noproxy '*' --max-time 2 -o /dev/null "http://$address/health"; then return; fi
    done
    sleep 0.2
  done
  return 1
}

start_service() {
  step "Service under systemd"
  local port unit=$UNITS/pixelwise.service changed=
  port=$(setting PORT) port=${port:-8000}
  case $(setting HOST) in 127.* | localhost | ::1)
    say "note: HOST in .env lets only this machine ask; remove that line, and the unit sets 0.0.0.0" ;;
  esac
  if install_unit "$ROOT/deploy/pixelwise.service"; then changed=yes; fi
  if [ "$1" = socket ]; then install_unit "$ROOT/deploy/pixelwise.socket" || true; fi
  # this has systemd read its units again, too
  as_root systemctl --quiet enable pixelwise
  if [ "$1" = socket ] && ! systemctl --quiet is-active pixelwise.socket; then
    as_root systemctl stop pixelwise # it holds the port
    as_root systemctl --quiet enable --now pixelwise.socket
    say "systemd listens on the port; to keep the service down, stop pixelwise.socket as well"
  fi
  as_root systemctl reset-failed pixelwise 2>/dev/null || true
  OLD_RUNS=
  if ! as_root systemctl restart pixelwise || ! wait_for_health "$port"; then
    as_root journalctl -u pixelwise -n 15 --no-pager -o cat >&2 || true
    if [ -n "$changed" ] && [ -e "$unit.before" ]; then
      as_root mv -f -- "$unit.before" "$unit"
      as_root systemctl daemon-reload
      as_root systemctl restart pixelwise || true
      wait_for_health "$port" && die "the service does not start with the new unit: the old unit is back, and it runs"
    fi
    die "the service does not answer on port $port: read the lines above, and journalctl -u pixelwise"
  fi
  say "it answers on port $port"
  systemctl status pixelwise --no-pager --lines=4 | sed 's/^/      /' || true
}

# url HOST PORT: with the brackets of an IPv6 address
url() { case $1 in *:*) printf 'http://[%s]:%s' "$@" ;; *) printf 'http://%s:%s' "$@" ;; esac; }

what_next_on_prod() {
  local host port sign
  host=$(setting HOST) port=$(setting PORT)
  case $host in '' | 0.0.0.0 | ::)
    if [ "$host" = :: ]; then sign=:; else sign=.; fi # the first of the machine's addresses that is of this kind
    host=$(hostname -I 2>/dev/null | tr ' ' '\n' | grep -m 1 -F "$sign") || host=$(hostname) ;;
  esac
  cat <<END

Next: from the dev machine, ask it; here, read its journal:

  curl --noproxy '*' $(url "$host" "${port:-8000}")/health
  journalctl -u pixelwise -f

END
}

what_next() {
  local port host script body
  script=$(printf %q "$ROOT/setup-server.sh") body=$(printf %q "@$ROOT/models/sample.json")
  host=$(setting HOST) port=$(setting PORT)
  case $host in '' | 0.0.0.0) host=127.0.0.1 ;; ::) host=::1 ;; esac
  printf '\nNext: %s\n\n' "$1"
  cat <<END
  curl -H "X-API-Key: \$(bash $script key)" -H "Content-Type: application/json" \\
    -d $body --noproxy '*' $(url "$host" "${port:-8000}")/classify

END
}

# the key for a client, from wherever the server takes it
print_key() {
  local key
  refuse_what_is_anothers
  [ -x "$PYTHON" ] || die "there is no .venv: run bash setup-server.sh"
  read_env
  key=$(setting SECRET_API_KEY)
  [ -n "$key" ] || die "there is no SECRET_API_KEY in .env: run bash setup-server.sh"
  printf '%s\n' "$key"
}

# JupyterLab without its question about news, and without looking for updates; overrides.json is left to its user
quiet_jupyter() {
  local share=$VENV/share/jupyter startup=$VENV/etc/ipython/startup
  mkdir -p -- "$share/lab/settings/overrides.d" "$share/labextensions/pixelwise-labs" "$startup"
  cp -- "$ROOT/labs/jupyter/overrides.json" "$share/lab/settings/overrides.d/pixelwise.json"
  cp -- "$ROOT"/labs/jupyter/{package.json,remoteEntry.js} "$share/labextensions/pixelwise-labs"
  # a kernel that started anew says which cell to run
  printf '%s\n' 'with __import__("contextlib").suppress(ImportError):' '    import lost as _lost' >"$startup/pixelwise.py"
}

# what JupyterLab is started with: it opens on the progress page, and lists the labs without what they import
lab_options() {
  local glob
  echo --LabApp.default_url=/lab/tree/PROGRESS.md
  for glob in __pycache__ '*~' '*.py' '*.toml' '*.cfg' '*.js' '*.json' AUTHORING.md jupyter pictures; do
    echo "--ContentsManager.hide_globs=$glob"
  done
}

# side_by_side WORKERS WORDS…: most tests wait (for a window of the limit, for a machine to boot), so there are five
# workers a core, and two a core for those that measure a server by the clock
side_by_side() { "$PYTHON" -m pytest --numprocesses "$1" --dist loadscope --no-loadscope-reorder "${@:2}"; }

main() {
  local mode=${1:-provision} socket=
  case $mode in
    --socket)
      mode=provision socket=socket
      runs_service || die "--socket is for prod: a machine with the user produser, and systemd"
      ;;
    provision | serve | labs | test) ;;
    key) print_key; exit ;;
    -h | --help | help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  trap clean_up EXIT
  STEPS=5
  if [ "$mode" = test ] && [ ! -d "$ROOT/tests" ]; then STEPS=6; fi
  if [ "$mode" = provision ] && runs_service; then
    STEPS=7
    if systemctl --quiet is-active pixelwise; then OLD_RUNS="; the old service keeps running"; fi
  fi
  refuse_what_is_anothers
  install_packages "$mode"
  case $mode in
    labs | test) install_python_packages "$mode" ;;
    *) install_python_packages serve ;;
  esac
  seed_settings
  read_env
  pull_release
  prove_model
  cd "$ROOT"
  case $mode in
    provision)
      if runs_service; then
        try_service
        start_service "$socket"
        what_next_on_prod
        return
      fi
      if is_prod; then say "systemd does not run this machine: the service is not installed"; fi
      what_next "start the server with \`bash setup-server.sh serve\`; from another terminal, ask it:"
      ;;
    serve)
      what_next "from another terminal, ask it (Ctrl-C here stops the server):"
      exec "$PYTHON" server.py
      ;;
    labs)
      printf '\nNext: JupyterLab opens on your progress. Begin with lab 00; each lab starts the server that it asks,\n'
      printf 'and server.for_terminal() there prints what a terminal needs to ask it, too.\n\n'
      local root=() options
      if [ "$(id -u)" -eq 0 ]; then root=(--allow-root); fi
      quiet_jupyter
      "$PYTHON" labs/record.py
      mapfile -t options < <(lab_options)
      exec "$VENV/bin/jupyter" lab "${root[@]}" "${options[@]}" labs
      ;;
    test)
      if [ ! -d "$ROOT/tests" ]; then
        grade_own "${@:2}"
      elif [ "${2:-}" = --quick ]; then
        side_by_side $((2 * $(nproc))) -m 'not alone' "${@:2}"
      elif [ $# -gt 1 ]; then
        "$PYTHON" -m pytest "${@:2}"
      else
        say "running them all, on $(nproc) cores (some ten minutes on two, and more the first time)"
        side_by_side $((5 * $(nproc))) -m 'not alone' --cov --cov-report=
        say "and, with little beside them, those that measure a server by the clock"
        side_by_side $((2 * $(nproc))) -m alone
        "$PYTHON" -m coverage report --include="$ROOT/server.py,$ROOT/deploy/*" --fail-under=95
        "$PYTHON" -m coverage report --include="$ROOT/models/classifier.py" --fail-under=95
      fi
      what_next "start the server with \`bash setup-server.sh serve\`; from another terminal, ask it:"
      ;;
  esac
}

main "$@"
