# syntax=docker/dockerfile:1
# The image of bindery: `docker build --tag REGISTRY/bindery:TAG .`. For several platforms at a time, see docs/install.md.
#
# The program links the C library, which distroless's `cc` has. Both stages are Debian 12, so the versions agree.
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src ./src
# Cargo wants the files and the packages that the manifest names, but builds no benchmark, example or test.
COPY benches ./benches
COPY examples/service.rs ./examples/service.rs
COPY tests/support ./tests/support
# 28 MB instead of 30: relative relocations are packed, which needs glibc 2.36, and lld, with which Rust links on x86_64, folds
# identical functions.
RUN if [ "$(uname -m)" = x86_64 ]; then fold="-C link-arg=-Wl,--icf=all"; fi; \
    RUSTFLAGS="-C link-arg=-Wl,-z,pack-relative-relocs $fold" cargo build --release --locked --bin bindery

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/bindery /usr/bin/bindery
# The chart's user.
USER 65532:65532
ENTRYPOINT ["/usr/bin/bindery"]
