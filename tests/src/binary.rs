//! Where the programs under test are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Names the `foliomq` binary explicitly.
pub const BINARY_VARIABLE: &str = "FOLIOMQ_BIN";

/// The folder of this crate, which holds the drivers' sources and installed clients.
pub fn tests_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The `foliomq` binary: the one that `FOLIOMQ_BIN` names, else the newer one of the release and
/// the debug build.
///
/// # Errors
/// If there is none; the text says how to build it.
pub fn foliomq() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(BINARY_VARIABLE) {
        let path = PathBuf::from(named);
        return path.canonicalize().with_context(|| {
            format!(
                "{BINARY_VARIABLE} names {}, which is not there",
                path.display()
            )
        });
    }
    let built = ["release", "debug"]
        .map(|profile| target_folder().join(profile).join("foliomq"))
        .into_iter()
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .max();
    match built {
        Some((_, path)) => Ok(path),
        None => bail!("there is no foliomq binary: run `cargo build -p foliomq` (or `make test`)"),
    }
}

fn target_folder() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => tests_folder().join("../target"),
    }
}
