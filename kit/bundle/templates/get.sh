#!/bin/sh
# Fetches what this machine needs from a bundle that another machine serves, and installs it.
# Usage: sh get.sh ADDRESS [FOLDER]
set -eu

fail() {
  printf 'get.sh: %s\n' "$1" >&2
  exit 2
}

[ $# -ge 1 ] || fail "give the address of the machine that serves the bundle: sh get.sh ADDRESS [FOLDER]."
address=${1%/}
shift
copy=${TMPDIR:-/tmp}/@TOP@-bundle-$(id -u)
mkdir -p "$copy/for" "$copy/wheels"

download() {
  curl -fsS --retry 3 "$@" 2>"$copy/.error"
}

fetch() {
  # A file has another name until it is complete. An interrupted download is continued if the server supports that.
  if [ -f "$copy/$1.part" ]; then
    download -C - -o "$copy/$1.part" "$address/$1" || rm -f "$copy/$1.part"
  fi
  [ -f "$copy/$1.part" ] || download -o "$copy/$1.part" "$address/$1" ||
    fail "$1 could not be fetched from $address ($(tail -n 1 "$copy/.error")): run again; what was fetched is kept."
  mv "$copy/$1.part" "$copy/$1"
}

ask='import platform, sys; print("%d.%d-%s-%s" % (*sys.version_info[:2], platform.system(), platform.machine()))'
list=''
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
  label=$("$candidate" -c "$ask" 2>/dev/null) || continue
  if curl -fsS -o "$copy/for/$label.txt" "$address/for/$label.txt" 2>/dev/null; then
    list=$copy/for/$label.txt
    break
  fi
done
[ -n "$list" ] || fail "$address cannot be reached, or its bundle is for other machines: it is for @MACHINES@."
download -o "$copy/SHA256SUMS.new" "$address/SHA256SUMS" || fail "the bundle at $address is not finished."
# Files of another bundle are deleted.
if ! cmp -s "$copy/SHA256SUMS" "$copy/SHA256SUMS.new"; then
  rm -rf "$copy/wheels" "$copy/course.tar.gz" "$copy/install.sh"
  mkdir "$copy/wheels"
  mv "$copy/SHA256SUMS.new" "$copy/SHA256SUMS"
fi
fetch course.tar.gz
fetch install.sh
number=0
total=$(grep -c . "$list")
while read -r name; do
  number=$((number + 1))
  if [ ! -f "$copy/$name" ]; then
    printf '\r%s of %s wheels ' "$number" "$total"
    fetch "$name"
  fi
done <"$list"
printf '\n'
if ! sh "$copy/install.sh" "$@"; then
  fail "what was fetched is kept in $copy: fix that and run again, or delete it to fetch everything again."
fi
rm -rf "$copy"
