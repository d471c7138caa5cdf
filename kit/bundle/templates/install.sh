#!/bin/sh
# Installs the course from this folder, without a network. Usage: sh install.sh [FOLDER]
# FOLDER (default: @TOP@ in your home) gets the course and its own environment. PYTHON=... selects a Python.
set -eu

fail() {
  printf 'install.sh: %s\n' "$1" >&2
  exit 2
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
[ ! -e "$here/UNFINISHED.txt" ] && [ -f "$here/SHA256SUMS" ] ||
  fail "this bundle is not finished: copy it again, or run kit bundle again on the machine that made it."

# Choose a Python that the bundle has wheels for.
ask='import platform, sys; print("%d.%d-%s-%s" % (*sys.version_info[:2], platform.system(), platform.machine()))'
python='' seen=''
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
  label=$("$candidate" -c "$ask" 2>/dev/null) || continue
  if [ -f "$here/for/$label.txt" ]; then
    python=$candidate
    break
  fi
  seen="$seen $label"
done
[ -n "$python" ] ||
  fail "this bundle is for @MACHINES@, and this machine has${seen:- no Python}: install a Python from the list, or ask for a bundle for this machine (kit bundle --python, --platform)."
list=$here/for/$label.txt

target=${1:-$HOME/@TOP@}
if [ -e "$target" ] && [ ! -d "$target" ]; then
  fail "$target is a file: choose another folder, sh install.sh FOLDER."
fi
if [ -d "$target" ] && [ ! -f "$target/.from-bundle" ] && [ -n "$(ls -A "$target")" ]; then
  fail "$target has other files: choose another folder, sh install.sh FOLDER."
fi
mkdir -p "$target" 2>/dev/null && [ -w "$target" ] || fail "$target cannot be made or written to: choose another folder, sh install.sh FOLDER."
target=$(CDPATH='' cd -- "$target" && pwd)
: >"$target/.from-bundle"
if [ -f "$target/.venv/.finished" ]; then
  printf 'The course is already installed. Next: cd %s && . .venv/bin/activate && kit lesson\n' "$target"
  exit 0
fi
free=$(df -Pk "$target" | awk 'NR == 2 {print $4}')
[ "$free" -ge @KILOBYTES@ ] || fail "the course takes @GIGABYTES@ GB in $target, and $((free / 1000000)) GB are free there: free some space, or choose another folder."

printf '1 of 3  Comparing checksums\n'
PYTHONDONTWRITEBYTECODE=1 "$python" - "$here" "$list" <<'END' || exit 2
import hashlib, pathlib, sys

here, listed = map(pathlib.Path, sys.argv[1:])
lines = (here / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
for name in ["course.tar.gz", "for/" + listed.name, *listed.read_text(encoding="utf-8").split()]:
    found = hashlib.sha256()
    try:
        with (here / name).open("rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    except OSError:
        sys.exit(f"install.sh: {name} is missing or cannot be read: copy the bundle again.")
    if found.hexdigest() != sums.get(name):
        sys.exit(f"install.sh: {name} is damaged: copy the bundle again.")
END

printf '2 of 3  Unpacking the course into %s\n' "$target"
# Never overwrite what a learner has written.
if [ ! -f "$target/.course-unpacked" ]; then
  tar -xzf "$here/course.tar.gz" -C "$target" --strip-components=1 || fail "the course could not be unpacked into $target."
  : >"$target/.course-unpacked"
fi

printf '3 of 3  Installing %s packages, which takes a few minutes\n' "$(grep -c . "$list")"
rm -rf "$target/.venv"
"$python" -m venv --without-pip "$target/.venv" || fail "$python cannot make an environment: install its venv module (on Debian and Ubuntu python3-venv)."
# The bundle has pip. No configuration of this machine may direct it to an index or a proxy.
for name in $(env | sed -n 's/^\(PIP_[A-Za-z_]*\)=.*/\1/p'); do unset "$name"; done
PIP_CONFIG_FILE=/dev/null
PIP_DISABLE_PIP_VERSION_CHECK=1
export PIP_CONFIG_FILE PIP_DISABLE_PIP_VERSION_CHECK
pip=$(grep '^wheels/pip-' "$list")
log=$target/install.log
extras=''
if grep -q '^wheels/libtpu-' "$list"; then extras='[tpu]'; fi
"$target/.venv/bin/python" "$here/$pip/pip" install --no-index --find-links "$here/wheels" --no-cache-dir \
  -c "$target/constraints.txt" pip -e "$target$extras" >"$log" 2>&1 ||
  fail "pip could not install the packages ($(grep '^ERROR' "$log" | tail -n 1)); its output is in $log."
"$target/.venv/bin/kit" --version >/dev/null || fail "the kit was installed and does not start; pip's output is in $log."
: >"$target/.venv/.finished"
printf 'Done. Next: cd %s && . .venv/bin/activate && kit lesson\n' "$target"
