# syntax=docker/dockerfile:1
FROM rust:1.95-slim-bookworm AS build
# SQLite and ring are C; nothing else is needed to build.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked && install -D target/release/wazap /out/wazap && install -d -m 0700 /out/data

FROM debian:bookworm-slim
# Trust roots of the system; the program carries its own as well.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/wazap /usr/local/bin/wazap
COPY --from=build --chown=10001:10001 /out/data /data
# Nothing is written outside /data: run it with a read-only root.
USER 10001:10001
WORKDIR /data
VOLUME /data
ENV WAZAP_DATA=/data WAZAP_LISTEN=0.0.0.0:3000
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:3000/health"]
ENTRYPOINT ["wazap"]
CMD ["run"]
