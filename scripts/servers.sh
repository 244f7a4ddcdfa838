# Sourced from the root of the repository by scripts that need a PostgreSQL and a Kafka. As root on Debian, missing packages are
# installed; elsewhere they are named.

missing=()

# need SENTENCE PACKAGE…: installs the Debian packages, or records the sentence for other systems.
need() {
  local sentence=$1
  shift
  if [[ -e /etc/debian_version && $(id -u) == 0 ]]; then
    [[ -n ${updated:-} ]] || apt-get update --quiet --quiet
    updated=yes
    # RUNLEVEL=1 prevents Debian's package from starting a PostgreSQL cluster, which is not needed.
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

# fetch_jars NAME: downloads what scripts/NAME.pom.xml declares into target/NAME/libs, and again when the pom changes. The pom is
# copied last, so that an incomplete download is repeated.
fetch_jars() {
  cmp --silent "scripts/$1.pom.xml" "target/$1/pom.xml" && return
  rm -rf "target/$1"
  mvn --quiet --batch-mode --file "scripts/$1.pom.xml" dependency:copy-dependencies -DoutputDirectory="$PWD/target/$1/libs"
  cp "scripts/$1.pom.xml" "target/$1/pom.xml"
}

# Downloads the schema registry, which is an archive and no jar. This version of the plugin does not ask for its parent.
fetch_registry() {
  local version=3.0.9
  [[ -e target/apicurio/$version ]] && return
  rm -rf target/apicurio
  mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:2.8:copy \
    -Dartifact="io.apicurio:apicurio-registry-app:$version:tar.gz:all" -DoutputDirectory="$PWD/target/apicurio"
  tar --extract --gzip --directory target/apicurio --file "target/apicurio/apicurio-registry-app-$version-all.tar.gz"
  rm target/apicurio/*.tar.gz
  touch "target/apicurio/$version"
}

# Installs the clients of other languages, and Debezium's transform, whose records the tests read, and again when their list changes.
prepare_clients() {
  fetch_jars debezium
  [[ -z ${READCAST_TEST_PYTHON:-} ]] || return 0
  cmp --silent tests/foreign/requirements.txt target/clients/requirements.txt && return
  rm -rf target/clients
  python3 -m venv target/clients
  target/clients/bin/pip install --quiet --disable-pip-version-check --requirement tests/foreign/requirements.txt
  cp tests/foreign/requirements.txt target/clients/requirements.txt
}

# Whether Java can run a source file.
has_java_compiler() {
  "${JAVA_HOME:+$JAVA_HOME/bin/}java" --list-modules 2>/dev/null | grep --quiet '^jdk.compiler'
}

has_python() {
  python3 -c 'import ensurepip, venv' 2>/dev/null
}

# The build tools. SQLite, zstd and librdkafka are compiled from their C sources.
need_compilers() {
  command -v cc >/dev/null || need "Install a C compiler, such as gcc or clang." build-essential
  command -v make >/dev/null || need "Install make." make
}

# The programs from which the test harness starts servers, unless READCAST_TEST_POSTGRES_URL and READCAST_TEST_KAFKA name some.
need_servers() {
  if [[ -z ${READCAST_TEST_POSTGRES_URL:-} ]]; then
    has_postgres >/dev/null || need "Install the PostgreSQL server, 15 or later." postgresql
  fi
  if [[ -z ${READCAST_TEST_KAFKA:-} ]]; then
    has_java_17 || need "Install Java 17 or later; a headless runtime is sufficient." default-jre-headless
    if [[ -z ${READCAST_KAFKA_LIBS:-} ]]; then
      command -v mvn >/dev/null || need "Install Maven, which fetches Kafka's jars." maven
    fi
  fi
  if [[ -z ${READCAST_TEST_REGISTRY:-} ]]; then
    has_java_17 || need "Install Java 17 or later; a headless runtime is sufficient." default-jre-headless
    command -v mvn >/dev/null || need "Install Maven, which fetches the schema registry." maven
  fi
}

# fail_if_missing SENTENCE…: prints what is missing and the alternatives, and exits.
fail_if_missing() {
  if ((${#missing[@]})); then
    printf '%s\n' "${missing[@]}" "$@" >&2
    exit 1
  fi
}

# Downloads Kafka's jars if the tests will start a broker from them.
prepare_kafka() {
  if [[ -z ${READCAST_TEST_KAFKA:-}${READCAST_KAFKA_LIBS:-} ]] && has_java_17 && command -v mvn >/dev/null; then
    fetch_jars kafka
  fi
}

# Downloads the schema registry if the tests will start one.
prepare_registry() {
  if [[ -z ${READCAST_TEST_REGISTRY:-} ]] && has_java_17 && command -v mvn >/dev/null; then
    fetch_registry
  fi
}
