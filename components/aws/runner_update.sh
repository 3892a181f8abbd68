# Brings one bundle of Falaj to this machine; run as root, as often as one likes.
#
# FALAJ_DIGEST  sha256 of the bundle, in hexadecimal
# FALAJ_BUCKET  where it lies, as bundles/<digest>.tar.gz
# FALAJ_REGION  of the bucket
# FALAJ_BASE    where it goes, /opt/falaj unless told
#
# A bundle gets a folder of its own, and a link is moved to it only when all is done: who works in
# an older one is not disturbed. Unpacking and installing is done by the user falaj, not by root.
set -eu
umask 022
: "${FALAJ_DIGEST:?}" "${FALAJ_BUCKET:?}" "${FALAJ_REGION:?}"
base=${FALAJ_BASE:-/opt/falaj}
target=$base/$FALAJ_DIGEST
file=$base/incoming/$FALAJ_DIGEST.tar.gz

fail() {
  echo "falaj: $1" >&2
  exit 1
}

# what a person types could be anything; root is about to remove a folder of this name
case $FALAJ_DIGEST in *[!0-9a-f]*) fail "not a digest: $FALAJ_DIGEST" ;; esac
[ "${#FALAJ_DIGEST}" -eq 64 ] || fail "not a digest: $FALAJ_DIGEST"

arrived() {
  [ -f "$file" ] && echo "$FALAJ_DIGEST  $file" | sha256sum --check --status
}

fetch() {
  rm -f -- "$file"
  aws s3 cp --only-show-errors --region "$FALAJ_REGION" \
    "s3://$FALAJ_BUCKET/bundles/$FALAJ_DIGEST.tar.gz" "$file" ||
    fail "the bundle could not be fetched from $FALAJ_BUCKET"
  arrived || {
    rm -f -- "$file"
    fail "what was fetched does not have the digest $FALAJ_DIGEST"
  }
}

install_bundle() {
  id falaj >/dev/null 2>&1 || useradd --system --create-home --shell /bin/bash falaj
  command -v python3.12 >/dev/null 2>&1 || dnf install --assumeyes --quiet python3.12 ||
    fail "Python 3.12 could not be installed from the repositories of Amazon Linux"
  arrived || fetch
  rm -rf -- "$target"
  install -d -m 0750 -o falaj -g falaj "$target"
  runuser -u falaj -- tar -xzf - -C "$target" <"$file"
  (cd "$target" && runuser -u falaj -- env HOME="$target" python3.12 -B -m tools.unbundle) ||
    fail "the bundle could not be installed"
  touch "$target.complete"
  rm -f -- "$file"
}

switch() {
  before=$(readlink "$base/current" 2>/dev/null || true)
  [ "$before" != "$target" ] || return 0
  if [ -n "$before" ]; then
    ln -sfn "$before" "$base/.previous"
    mv -fT "$base/.previous" "$base/previous"
  fi
  ln -sfn "$target" "$base/.current"
  mv -fT "$base/.current" "$base/current"
  echo "falaj: this runner now has $FALAJ_DIGEST"
}

in_use() {
  for cwd in /proc/[0-9]*/cwd; do
    case $(readlink "$cwd" 2>/dev/null || true) in "$1" | "$1"/*) return 0 ;; esac
  done
  return 1
}

prune() {
  previous=$(readlink "$base/previous" 2>/dev/null || true)
  for old in "$base"/*; do
    name=${old##*/}
    case $name in *[!0-9a-f]*) continue ;; esac
    [ "${#name}" -eq 64 ] || continue
    [ "$old" != "$target" ] && [ "$old" != "$previous" ] || continue
    ! in_use "$old" || continue
    rm -f -- "$old.complete"
    rm -rf -- "$old"
  done
  for old in "$base"/incoming/*; do
    [ "$old" = "$file" ] || rm -f -- "$old"
  done
}

mkdir -p "$base/incoming"
exec 9>"$base/.lock"
flock --nonblock 9 || {
  echo "falaj: another update is running"
  exit 0
}
[ -f "$target.complete" ] || install_bundle
switch
prune
