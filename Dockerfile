# The image of tokenbeat: one binary on glibc and a CA bundle; no shell, no package manager, no root.
#
#   docker build --tag tokenbeat:0.1.0 .
#   docker run --rm --publish 127.0.0.1:9464:9464 tokenbeat:0.1.0 demo --web.listen-address=0.0.0.0:9464
#
# Both base images are pinned by digest (of the index, so that it works for each platform). The compiler is that of
# `rust-version`. Both stages use the same release of Debian, because a binary needs the glibc that it was linked with.

FROM rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY src src
# Not built, but Cargo requires the files that the manifest names.
COPY benches benches
# For `--version` and `tokenbeat_build_info`, because the image has no Git. The linter takes `TOKEN` for a secret.
# hadolint ignore=DL3064
ARG TOKENBEAT_REVISION SOURCE_DATE_EPOCH
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin tokenbeat \
    && install -D --strip --mode=0555 target/release/tokenbeat /out/tokenbeat

FROM gcr.io/distroless/cc-debian12:nonroot@sha256:66aa873a4a14fb164aa01296058efd8253744606d72715e45acface073359faa
LABEL org.opencontainers.image.title="tokenbeat" \
      org.opencontainers.image.description="Plays LLM traffic on a schedule, measures every streamed chunk, exports what it saw" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/tokenbeat /usr/local/bin/tokenbeat
COPY LICENSE /usr/share/doc/tokenbeat/LICENSE
# A number, because Kubernetes cannot check whether a name is root.
USER 65532:65532
EXPOSE 9464
ENTRYPOINT ["/usr/local/bin/tokenbeat"]
# Mount the config at /etc/tokenbeat; every *.yaml in it is read.
CMD ["serve", "--config.file=/etc/tokenbeat", "--web.listen-address=0.0.0.0:9464"]
