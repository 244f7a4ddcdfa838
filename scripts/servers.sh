# Sourced by the scripts that need a PostgreSQL and a Kafka, from the root of the repository. On Debian, as root, what is
# missing is installed. Elsewhere it is named.

missing=()

# need SENTENCE PACKAGE…: installs the Debian packages, or notes the sentence for those who install by other means.
need() {
  local sentence=$1
  shift
  if [[ -e /etc/debian_version && $(id -u) == 0 ]]; then
    [[ -n ${updated:-} ]] || apt-get update --quiet --quiet
    updated=yes
    # Debian's own PostgreSQL cluster is not needed, and RUNLEVEL=1 keeps its package from starting one.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends "$@"
  else
    missing+=("$sentence")
  fi
}

has_postgres() {
  { command -v initdb && command -v postgres; } || compgen -G '/usr/lib/postgresql/*/bin/initdb'
}

has_pgbouncer() {
  command -v pgbouncer || [[ -x /usr/sbin/pgbouncer ]]
}

has_java_17() {
  local version
  version=$("${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1) || return 1
  [[ $version =~ version\ \"([0-9]+) ]] && ((BASH_REMATCH[1] >= 17))
}

# The broker and all that it needs, in one folder. It is whole or not there at all, and renewed when the pom changes.
fetch_kafka() {
  cmp --silent scripts/kafka.pom.xml target/kafka/pom.xml && return
  rm -rf target/kafka
  mvn --quiet --batch-mode --file scripts/kafka.pom.xml dependency:copy-dependencies \
    -DoutputDirectory="$PWD/target/kafka/libs"
  cp scripts/kafka.pom.xml target/kafka/pom.xml
}

# What the program and its tests are built with. SQLite, zstd and librdkafka are compiled from their C sources.
need_compilers() {
  command -v cc >/dev/null || need "Install a C compiler, such as gcc or clang." build-essential
  command -v make >/dev/null || need "Install make." make
}

# What the harness starts servers from, where none are named in READCAST_TEST_POSTGRES_URL and READCAST_TEST_KAFKA.
need_servers() {
  if [[ -z ${READCAST_TEST_POSTGRES_URL:-} ]]; then
    has_postgres >/dev/null || need "Install the PostgreSQL server, 15 or later." postgresql
  fi
  if [[ -z ${READCAST_TEST_KAFKA:-} ]]; then
    has_java_17 || need "Install Java 17 or later; a headless runtime will do." default-jre-headless
    if [[ -z ${READCAST_KAFKA_LIBS:-} ]]; then
      command -v mvn >/dev/null || need "Install Maven, which fetches Kafka's jars." maven
    fi
  fi
}

# give_up_if_missing SENTENCE…: says what is missing, and what would do instead.
give_up_if_missing() {
  if ((${#missing[@]})); then
    printf '%s\n' "${missing[@]}" "$@" >&2
    exit 1
  fi
}

# Kafka's jars, where a broker of our own will be needed and can be had.
prepare_kafka() {
  if [[ -z ${READCAST_TEST_KAFKA:-}${READCAST_KAFKA_LIBS:-} ]] && has_java_17 && command -v mvn >/dev/null; then
    fetch_kafka
  fi
}
