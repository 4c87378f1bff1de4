#!/usr/bin/env bash
# Decides whether a change lands, with one set of features: `bash check.sh tokio`. The workflow has the sets.
set -euo pipefail
cd "$(dirname "$0")"
features=(--no-default-features --features "${1-}")
export RUSTDOCFLAGS="-D warnings"

cargo fmt --check
cargo clippy "${features[@]}" --all-targets -- -D warnings
cargo test "${features[@]}"
cargo doc "${features[@]}" --no-deps
cargo run "${features[@]}" --example offset
