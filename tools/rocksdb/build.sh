#!/usr/bin/env bash
# Prints the folder that holds librocksdb.a, compiling it first where this machine has none yet.
#
# RocksDB is two thirds of a cold build. The archive depends on the crate's version, its features,
# the compiler and the CPU flags, so all of them are in the folder's name; everything else
# (profiles, clones, branches) shares it through ROCKSDB_LIB_DIR.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${PILLARBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pillarbox}

flags=""
if [ "$(uname -m)" = x86_64 ]; then
  # Hardware CRC32C; every x86-64 server since 2010 has it.
  flags="-C target-feature=+sse4.2,+pclmulqdq"
fi
identity=$( { cat "$here/Cargo.toml" "$here/Cargo.lock"; c++ --version | head -1; uname -m; echo "$flags"; } | sha256sum | cut -c1-16)
folder=$cache/rocksdb-$identity
if [ ! -f "$folder/librocksdb.a" ]; then
  mkdir -p "$cache"
  exec 9>"$cache/rocksdb.lock"
  flock 9
  if [ ! -f "$folder/librocksdb.a" ]; then
    echo "Compiling RocksDB once for this machine (about 15 minutes on two cores) ..." >&2
    build=$cache/rocksdb-build-$identity
    env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC RUSTFLAGS="$flags" CARGO_TARGET_DIR="$build" \
      cargo build --quiet --locked --release --manifest-path "$here/Cargo.toml" >&2
    archive=$(find "$build/release/build" -name librocksdb.a | head -1)
    [ -n "$archive" ] || { echo "RocksDB was compiled but librocksdb.a was not found below $build" >&2; exit 1; }
    mkdir -p "$folder.new"
    cp "$archive" "$folder.new/"
    rm -rf "$folder"
    mv "$folder.new" "$folder"
    rm -rf "$build"
  fi
fi
echo "$folder"
