# Both stages use the same Debian release: the binary is linked with the OpenSSL of the first stage and runs with that of the
# second.
ARG DEBIAN=bookworm

FROM rust:1.95-slim-${DEBIAN} AS build
# build-essential compiles the C sources of librdkafka, SQLite and zstd. libssl-dev and pkg-config are for the feature
# kafka-tls: TLS and SASL/SCRAM for Kafka.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential libssl-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# Requires BuildKit. The registry and the target folder are caches of the builder and not layers of the image, so a change of
# the sources recompiles only the changed crates. The binary is copied out of the cache, which is not mounted after this step.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --package readcast-service --bin readcast --features kafka-tls \
    && cp target/release/readcast /usr/local/bin/readcast

FROM debian:${DEBIAN}-slim
# libssl3: see above. ca-certificates: the trusted authorities for Kafka, and for Postgres with sslmode=verify-full.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libssl3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/readcast /usr/local/bin/readcast
# A numeric user, so that an orchestrator can verify that it is not root.
USER 65532:65532
# The program reads a readcast.toml and the files of projections that are mounted here. It writes no files, so the root file system may be read-only.
WORKDIR /etc/readcast
# The admin server: /livez, /readyz, /metrics. It listens on loopback unless READCAST_ADMIN_LISTEN and READCAST_ADMIN_TOKEN are
# set.
EXPOSE 8088
# No HEALTHCHECK: the image has no HTTP client, and orchestrators probe /livez and /readyz.
# The program handles SIGTERM as process 1 and starts no other processes, so it needs no init.
ENTRYPOINT ["/usr/local/bin/readcast"]
CMD ["run"]
