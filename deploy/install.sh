#!/usr/bin/env bash
# Sets up a checkout: the system packages that are missing, and .venv from the hashed lock.
#
#   deploy/install.sh run     what the service and its workers need
#   deploy/install.sh check   the same and the linters, type checker and test tools
#   deploy/install.sh test    the same, a browser, a C compiler and rpmlint
#   deploy/install.sh lock    resolve the dependencies again and write both locks
#
# A second call with nothing to do needs no network and takes a fraction of a second.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$PWD/.venv
resolve=(--universal --generate-hashes --no-header --no-annotate --python-version 3.11 --quiet)
extras=(--extra web --extra worker --extra koji --extra forge --extra embedded --extra install)

say() { printf 'install: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# The package that gives a command, by the distribution's own name.
package_for() {
  if have apt-get; then
    case $1 in
      rpmbuild) echo rpm ;;
      compiler) echo gcc libc6-dev binutils ;;
      venv) echo python3-venv ;;
      *) echo "$1" ;;
    esac
  else
    case $1 in
      rpmbuild) echo rpm-build ;;
      compiler) echo gcc glibc-devel binutils ;;
      venv) echo python3 ;;
      *) echo "$1" ;;
    esac
  fi
}

install_packages() {
  [ $# -gt 0 ] || return 0
  local command
  if have apt-get; then
    command="apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $*"
  elif have dnf; then
    command="dnf install -y --setopt=install_weak_deps=False $*"
  else
    fail "these are missing and neither apt-get nor dnf is here: $*"
  fi
  if [ "$(id -u)" -ne 0 ]; then
    fail "system packages are missing; run this and try again:  sudo sh -c '$command'"
  fi
  say "installing system packages: $*"
  sh -c "$command" >&2 || fail "the package manager could not install: $*"
}

find_browser() {
  local name
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    have "$name" && return 0
  done
  return 1
}

# A compiler, a linker and the C library's headers: the rules' proofs link real programs.
can_compile() { have gcc && have ld && echo '#include <stdlib.h>' | gcc -E - >/dev/null 2>&1; }

# Prints the first interpreter that is new enough and can make a virtual environment.  A name on PATH is
# not enough: version switchers put shims there that refuse to run.
find_python() {
  local name
  for name in python3.13 python3.12 python3.11 python3; do
    if have "$name" && "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      "$name" -c 'import sys; print(sys.executable)'
      return 0
    fi
  done
  return 1
}

install_system() {
  local missing=() compiler
  have rpmbuild && have rpmspec || missing+=("$(package_for rpmbuild)")
  if [ ! -x "$venv/bin/python" ] && ! find_python >/dev/null; then
    missing+=("$(package_for venv)")
  fi
  if [ "$1" = test ] && ! find_browser; then
    missing+=("$(package_for chromium)")
  fi
  if [ "$1" = test ] && ! have rpmlint; then
    missing+=("$(package_for rpmlint)")
  fi
  if [ "$1" = test ] && ! can_compile; then
    # Several words, each a package.
    read -ra compiler <<< "$(package_for compiler)"
    missing+=("${compiler[@]}")
  fi
  install_packages "${missing[@]}"
}

# What a stamp must say for its environment to be current.  Scripts in a virtual environment hold absolute
# paths, so the place of the checkout counts too.
fingerprint() { { printf '%s\n' "$PWD"; cat "$1" pyproject.toml; } | sha256sum | cut -d' ' -f1; }

make_environment() {
  if [ -e "$venv" ]; then
    local place
    place=$(sed -n 's/^#!\(.*\)\/bin\/python[0-9.]*$/\1/p' "$venv/bin/pip" 2>/dev/null | head -n 1)
    if [ "$place" = "$venv" ] && "$venv/bin/python" -c 'import pip' 2>/dev/null; then
      return 0
    fi
    say "the virtual environment was moved or its Python is gone; making it again"
    rm -rf "$venv"
  fi
  local python
  python=$(find_python) || fail "Python 3.11 or newer with its venv module is needed"
  say "virtual environment with $("$python" --version)"
  "$python" -m venv "$venv"
}

# uv installs the lock several times faster than pip, and is itself installed by its hash from the lock.
# It does not read pip's configuration (mirrors, certificates), so pip stays the second way.
install_lock() {
  local lock=$1 uv_only
  if [ ! -x "$venv/bin/uv" ]; then
    uv_only=$(mktemp)
    awk '/^[a-z]/ {on = /^uv==/} on' "$lock" > "$uv_only"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$uv_only" \
      || fail "pip could not install uv; is a package index reachable?"
    rm -f "$uv_only"
  fi
  VIRTUAL_ENV=$venv "$venv/bin/uv" pip install --quiet --compile-bytecode --require-hashes --no-deps -r "$lock" \
    || { say "uv could not install the lock; trying pip";
         "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$lock"; } \
    || fail "$lock could not be installed"
  VIRTUAL_ENV=$venv "$venv/bin/uv" pip install --quiet --offline --no-deps --no-build-isolation --editable . \
    || fail "the project itself could not be installed"
}

install_python() {
  local lock=$1 stamp=$2 want
  want=$(fingerprint "$lock")
  if [ -x "$venv/bin/cryopack" ] && [ "$(cat "$venv/$stamp" 2>/dev/null)" = "$want" ] \
     && "$venv/bin/python" -c '' 2>/dev/null; then
    return 0
  fi
  make_environment
  say "installing $lock"
  install_lock "$lock"
  printf '%s\n' "$want" > "$venv/$stamp"
}

write_locks() {
  "$venv/bin/uv" pip compile pyproject.toml "${extras[@]}" "${resolve[@]}" --output-file requirements.lock
  "$venv/bin/uv" pip compile pyproject.toml "${extras[@]}" --extra test "${resolve[@]}" \
    --constraint requirements.lock --output-file requirements-test.lock
}

mkdir -p .install
exec 9> .install/lock
have flock && flock 9

case ${1:-} in
  run) install_system run; install_python requirements.lock .installed-run ;;
  check) install_system check; install_python requirements-test.lock .installed-test ;;
  test) install_system test; install_python requirements-test.lock .installed-test ;;
  lock) install_system run; install_python requirements.lock .installed-run; write_locks ;;
  *) fail "usage: deploy/install.sh run|check|test|lock" ;;
esac
