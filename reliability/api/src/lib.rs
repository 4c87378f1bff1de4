//! The public API of `ioloop` and its suite with all features, a line for each item, as rustdoc
//! sees it.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use public_api::Builder;

/// The toolchain whose rustdoc writes the JSON that the crate `public-api` reads; the format
/// changes with most releases.
pub const TOOLCHAIN: &str = "1.95.0";

/// Whether that toolchain is installed.
pub fn has_toolchain() -> bool {
    let version = Command::new("rustdoc").args([&format!("+{TOOLCHAIN}"), "--version"]).output();
    version.is_ok_and(|version| version.status.success())
}

/// The list of one package. Auto traits are in it, since losing `Send` breaks users too; blanket
/// impls are not, which all types have.
pub fn listing(package: &str) -> Result<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.join("../..");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let status = Command::new("cargo")
        .arg(format!("+{TOOLCHAIN}"))
        .args(["rustdoc", "--package", package, "--lib", "--all-features", "--quiet"])
        .arg("--manifest-path")
        .arg(root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .args(["--", "-Z", "unstable-options", "--output-format", "json"])
        .env("RUSTDOC", root.join(".ci/unstable-rustdoc"))
        // Those of the cargo that runs this, which may be another.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "cargo rustdoc ended with {status}");
    let api =
        Builder::from_rustdoc_json(target.join(format!("doc/{}.json", package.replace('-', "_"))))
            .omit_blanket_impls(true)
            .build()?;
    Ok(api.items().map(|item| format!("{item}\n")).collect())
}
