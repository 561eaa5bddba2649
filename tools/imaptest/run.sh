#!/usr/bin/env bash
# Dovecot's imaptest against a demo server: its scripted tests, then its stress modes, then `check`.
#
#   IMAPTEST=<binary> IMAPTEST_TESTS=<its src/tests> tools/imaptest/run.sh <pillarbox> [seconds]
#
# What imaptest expects otherwise than we answer stands in expected.txt with the paragraph that
# makes us right; anything else that it finds is printed and fails the run. Messages for the stress
# modes are generated, or come from the mbox file IMAPTEST_MBOX.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
pillarbox=${1:?usage: $0 <pillarbox> [seconds]}
seconds=${2:-60}
if [ -z "${IMAPTEST:-}" ] || [ -z "${IMAPTEST_TESTS:-}" ]; then
  echo "set IMAPTEST to an imaptest binary and IMAPTEST_TESTS to its src/tests: both come from" \
    "github.com/dovecot/imaptest, which is built against Dovecot (Debian: dovecot-dev)" >&2
  exit 2
fi

work=$(mktemp -d)
server=
finish() {
  if [ -n "$server" ]; then
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  if [ "${failed:-1}" = 0 ]; then rm -rf "$work"; else echo "logs: $work"; fi
}
trap finish EXIT
failed=0
trouble() {
  echo "imaptest: $*"
  failed=1
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A number that, added to the standard ports, gives none that is in use.
free_base() {
  local base port
  for _ in $(seq 50); do
    base=$((20000 + RANDOM % 20000))
    for port in 24 25 110 143 993 995; do
      if answers $((base + port)); then continue 2; fi
    done
    echo "$base"
    return
  done
  echo "no free ports" >&2
  exit 1
}

# start NAME: a new demo store.
start() {
  store=$work/$1
  base=$(free_base)
  "$pillarbox" demo "$store" --port-base "$base" >"$store.log" 2>&1 &
  server=$!
  for _ in $(seq 200); do
    if answers $((base + 143)); then return; fi
    sleep 0.1
  done
  echo "the server did not start" >&2
  cat "$store.log" >&2
  exit 1
}

# stop: the store is sound, and nobody complained in the log.
stop() {
  kill -INT "$server"
  wait "$server" || trouble "$(basename "$store"): the server ended with $?"
  server=
  "$pillarbox" check --data "$store" >"$store.check" 2>&1 ||
    trouble "$(basename "$store"): check found: $(tail -n 5 "$store.check")"
  if grep -E ' (WARN|ERROR) |panicked' "$store.log"; then
    trouble "$(basename "$store"): the log has complaints"
  fi
}

imaptest() {
  # It writes raw logs into the folder in which it runs; HOME keeps it from anybody's settings.
  (cd "$work" && HOME=$work timeout $((seconds + 300)) "$IMAPTEST" host=127.0.0.1 \
    port=$((base + 143)) user=demo@example.org pass=demo "$@")
}

# Messages of several shapes: plain, threaded, with an attachment.
messages() {
  awk 'BEGIN {
    srand(7)
    for (n = 0; n < 400; n++) {
      print "From user@example.org  Fri Feb 22 17:06:23 2008"
      printf "From: User %d <user%d@example.org>\nTo: to%d@example.org\n", n % 13, n % 13, n % 5
      printf "Date: Sat, %d Mar 2007 23:00:00 +0200\nSubject: subject %d\n", 1 + n % 28, n % 31
      printf "Message-ID: <m%d@example.org>\n", n
      if (n % 3 == 0) printf "References: <m%d@example.org>\n", int(n / 2)
      lines = 1 + int(rand() * 250)
      if (n % 4 == 0) {
        print "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b\"\n\n--b\n\nhello\n"
        print "--b\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n"
        for (i = 0; i < lines; i++) print "QUJDREVGR0hJSktMTU5PQUJDREVGR0hJSktMTU5P"
        print "\n--b--\n"
      } else {
        print ""
        for (i = 0; i < lines; i++) printf "word%d and a line of text\n", int(rand() * 99999)
        print ""
      }
    }
  }'
}

scripted() {
  start scripted
  local found=$store.found
  imaptest test="$IMAPTEST_TESTS" mbox="$IMAPTEST_TESTS/default.mbox" >"$found" 2>&1 || true
  # Blocks end with an empty line; the first line names test and line of the command.
  awk -v expected="$here/expected.txt" -v seen="$store.seen" '
    BEGIN {
      while ((getline line < expected) > 0)
        if (line !~ /^#/) { split(line, word, " "); known[word[1] " " word[2]] = 1 }
      RS = ""; FS = "\n"
    }
    /^\*\*\* Test / {
      split($1, word, " "); place = word[7]; sub(/\)/, "", place)
      key = word[3] " " place
      if (key in known) { print key > seen; next }
    }
    /^[0-9]+ test groups/ { next }
    { print $0 "\n"; bad = 1 }
    END { exit bad }' "$found" || trouble "scripted tests: the above was not expected"
  tail -n 3 "$found"
  touch "$store.seen"
  grep -v '^#' "$here/expected.txt" | while read -r test line _; do
    grep -qx "$test $line" "$store.seen" ||
      echo "note: $test line $line passes or was not run, though expected.txt lists it"
  done
  stop
}

# stress NAME PARAMETERS…
stress() {
  local name=$1
  shift
  start "$name"
  local attempt status
  for attempt in 1 2 3; do
    status=0
    imaptest mbox="$mbox" secs="$seconds" clients=20 msgs=100 "$@" >"$store.found" 2>&1 ||
      status=$?
    # It fails assertions of its own now and then, as when it uses a message that EXISTS told of
    # before any FETCH did. What we did wrong would show again.
    grep -m 1 '^Panic: file ' "$store.found" || break
    echo "$name: attempt $attempt ended with the above"
  done
  [ "$status" = 0 ] || trouble "$name: imaptest ended with $status"
  if grep -m 20 -iE 'error|fatal|panic|stalled for|unexpected' "$store.found"; then
    trouble "$name: the above was not expected"
  fi
  # How often each command was sent.
  tail -n 4 "$store.found"
  stop
}

mbox=${IMAPTEST_MBOX:-$work/messages.mbox}
if [ -z "${IMAPTEST_MBOX:-}" ]; then messages >"$mbox"; fi
scripted
stress defaults checkpoint=5
stress everything checkpoint=5 qresync search=40 sort=20 thread=20 move=20 copy=30,5 \
  copybox=Archive noop=20 uidfetch=50 logout=10
# Not with checkpoints, in which imaptest fails an assertion of its own when it begins to compress,
# and not pipelined, where it waits for ever if the answer comes in one piece with another.
stress compressed compress=50 uidfetch=50 noop=20 no_pipelining
stress own_msgs own_msgs expunge=5 logout=1
stress own_flags own_flags expunge=5 logout=1
exit "$failed"
