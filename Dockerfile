# The same Debian in both stages: the binary is linked with the OpenSSL of the first and runs with that of the second.
ARG DEBIAN=bookworm

FROM rust:1.95-slim-${DEBIAN} AS build
# build-essential: librdkafka, SQLite and zstd are compiled from their C sources. libssl-dev and pkg-config: TLS and
# SASL/SCRAM towards Kafka, the feature kafka-tls.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential libssl-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# Needs BuildKit. The registry and the target folder are caches of the builder, not layers of the image: after a change
# of the sources only what changed is compiled. The binary is copied out, because a cache is gone when the step ends.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --package readcast-service --bin readcast --features kafka-tls \
    && cp target/release/readcast /usr/local/bin/readcast

FROM debian:${DEBIAN}-slim
# libssl3: see above. ca-certificates: whom to trust, for Kafka and for a Postgres with sslmode=verify-full.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libssl3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/readcast /usr/local/bin/readcast
# A number, so that an orchestrator can tell that it is not root without looking into the image.
USER 65532:65532
# Where a readcast.toml is found when one is mounted. Nothing is written here, or anywhere: the root file system may be
# read-only.
WORKDIR /etc/readcast
# The admin server: /livez, /readyz, /metrics. It listens on loopback until READCAST_ADMIN_LISTEN and READCAST_ADMIN_TOKEN
# say otherwise.
EXPOSE 8088
# No HEALTHCHECK: the image has no HTTP client, and orchestrators ask /livez and /readyz themselves.
# The program handles SIGTERM as process 1 and starts no others, so it needs no init.
ENTRYPOINT ["/usr/local/bin/readcast"]
CMD ["run"]
