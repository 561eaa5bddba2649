#!/usr/bin/env bash
# Installs the Debian packages that are missing for: build, test, peers. Says what it installs and why.
#
# Servers among them must not become servers of this machine: they are installed without being
# started or configured, and switched off for the next boot where systemd runs.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# What tests and benches need stands with them: a word for whom, a package.
list=$here/../tests/packages.txt

case ${1:-} in
build)
  why="to compile (RocksDB, AWS-LC, zstd and jemalloc are C and C++)"
  packages="g++ libclang-dev make pkg-config ca-certificates"
  ;;
test)
  why="to test with (real mail clients and servers)"
  packages=$(awk '$1 == "test" { print $2 }' "$list")
  ;;
peers)
  why="to compare with"
  packages=$(awk '$1 == "peers" { print $2 }' "$list")
  ;;
*)
  echo "usage: $0 build|test|peers" >&2
  exit 2
  ;;
esac

missing=""
for package in $packages; do
  state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
  case $state in
  ii* | hi*) ;;
  *) missing="$missing $package" ;;
  esac
done
if [ -n "$missing" ]; then
  if ! command -v apt-get >/dev/null; then
    echo "Please install what is needed $why:$missing" >&2
    exit 1
  fi
  as_root=""
  if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "Please run as root: apt-get install$missing (needed $why)" >&2
      exit 1
    fi
    as_root=sudo
  fi
  echo "Installing Debian packages $why:$missing" >&2
  $as_root env MISSING="$missing" bash -euo pipefail -c '
    export DEBIAN_FRONTEND=noninteractive
    policy=/usr/sbin/policy-rc.d
    # 101: "do not start it"; asked by every package that brings a daemon.
    if [ ! -e $policy ]; then
      printf "#!/bin/sh\nexit 101\n" >$policy
      chmod 755 $policy
      trap "rm -f $policy" EXIT
    fi
    case " $MISSING " in
    *" postfix "*)
      echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
      ;;
    esac
    options="-q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300"
    apt-get $options update >/dev/null
    apt-get $options install -y --no-install-recommends $MISSING >/dev/null
    if [ -d /run/systemd/system ]; then
      for daemon in postfix dovecot etcd; do
        case "$MISSING " in
        *" $daemon"*) systemctl disable --now $daemon >/dev/null 2>&1 || true ;;
        esac
      done
    fi
  '
fi

if [ "$1" = build ] && ! command -v cargo >/dev/null; then
  echo "Rust is missing: install 1.91 or newer by rustup (Debian's own is too old), see https://rustup.rs" >&2
  exit 1
fi
if [ "$1" = test ]; then
  for tool in fmt clippy; do
    if ! cargo $tool --version >/dev/null 2>&1; then
      echo "Adding cargo $tool" >&2
      rustup component add "${tool/fmt/rustfmt}"
    fi
  done
fi
