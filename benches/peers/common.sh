# Functions for the run scripts of the peers. Sourced by them.
#
# Exit codes: 0 measured; 1 the peer failed or its rows are wrong; 2 wrong arguments; 3 cannot be measured here.

peers=$(cd "$(dirname "$0")/.." && pwd)
root=$(cd "$peers/../.." && pwd)
out=$root/target/peers
measuring=
scratch=

# Standard output is only for the result, one line.
exec 3>&1 1>&2

usage() {
  echo "usage: $1"
  exit 2
}

cannot() {
  echo "$1"
  exit 3
}

find_java() {
  java=${JAVA_HOME:+$JAVA_HOME/bin/}java
  version=$("$java" -version 2>&1) || cannot "Cannot be measured here: there is no java. Install a JDK, 17 or later."
  major=$(printf '%s\n' "$version" | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
  [ "${major:-0}" -ge 17 ] || cannot "Cannot be measured here: java is older than 17. Install a JDK, 17 or later."
}

# fetched NAME COMMAND...: runs the command unless it was run already and the folder NAME is unchanged.
fetched() {
  name=$1
  shift
  sources=$(cd "$peers/$name" && find . -type f ! -name README.md ! -name run -exec cksum {} + | sort)
  if [ "$(cat "$out/$name/sources" 2>/dev/null)" = "$sources" ]; then
    return
  fi
  command -v mvn >/dev/null || cannot "Cannot be measured here: there is no mvn. Install Maven, which fetches the peer."
  rm -rf "${out:?}/$name"
  mkdir -p "$out/$name"
  "$@" || cannot "Cannot be measured here: Maven could not fetch or compile $name; see above."
  printf '%s\n' "$sources" >"$out/$name/sources"
}

# maven NAME ARGUMENT...: Maven on the pom of the folder NAME, which writes into target/peers/NAME.
maven() {
  folder=$1
  shift
  mvn --quiet --batch-mode --file "$peers/$folder/pom.xml" "-Dpeers.out=$out/$folder" "$@"
}

clean_up() {
  # The measuring program ends the peer.
  [ -z "$measuring" ] || kill "$measuring" 2>/dev/null || true
  [ -z "$measuring" ] || wait "$measuring" 2>/dev/null || true
  [ -z "$scratch" ] || rm -rf "$scratch"
}

# measure ARGUMENT...: runs the measuring program, which prints the line.
measure() {
  # It must not compete with the peer: a small heap, a single-threaded collector, and only the fast compiler.
  "$java" -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$out/measure/libs/*" peers.Measure "$@" >&3 &
  measuring=$!
  code=0
  wait "$measuring" || code=$?
  measuring=
  return "$code"
}

prepare() {
  find_java
  scratch=$(mktemp -d)
  trap clean_up EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  mkdir -p "$out"
  fetched measure maven measure package
}
