//! The program, built from a checkout of Headwater for another machine than this one.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::Architecture;
use super::program::LibraryVersion;
use crate::failure::{Exit, Failure, Result};

/// What the program's package is called.
const PACKAGE: &str = "headwater";

/// How the whole program is optimized at its end; a value that is set already holds.
const LTO: &str = "CARGO_PROFILE_DEPLOY_LTO";

/// The nearest checkout, upward from the current folder or from this program.
pub(crate) fn find_checkout() -> Option<PathBuf> {
    let starts = [env::current_dir(), env::current_exe()];
    let mut folders = starts.iter().flatten().flat_map(|start| start.ancestors());
    folders.find(|folder| is_checkout(folder)).map(Path::to_owned)
}

fn is_checkout(folder: &Path) -> bool {
    ["Cargo.lock", "cli/Cargo.toml", "shared/core/Cargo.toml"].into_iter().all(|file| folder.join(file).is_file())
}

/// Builds the program with `cargo zigbuild`, which links it against a chosen version of the GNU C library. What
/// Cargo says of its progress goes to standard error.
///
/// # Errors
/// `Invalid` when there is no such checkout or no Cargo; `Failed` when the build fails.
pub(crate) fn build(checkout: &Path, architecture: Architecture, library: LibraryVersion) -> Result<PathBuf> {
    if !is_checkout(checkout) {
        let message = format!("{} is no checkout of Headwater", checkout.display());
        return Err(Failure::invalid(message, "give the folder that holds its Cargo.lock, or a program by --binary"));
    }
    let target = format!("{}.{library}", architecture.target());
    let mut cargo = Command::new(env::var_os("CARGO").as_deref().unwrap_or(OsStr::new("cargo")));
    cargo.args(["zigbuild", "--locked", "--profile", "deploy", "--package", PACKAGE, "--target", &target]);
    cargo.args(["--message-format", "json-render-diagnostics"]).current_dir(checkout).stdout(Stdio::piped());
    // All at once it takes more than 28 GB for Arm, where x86_64 takes 12.
    if architecture == Architecture::Arm64 && env::var_os(LTO).is_none() {
        cargo.env(LTO, "thin");
    }
    let failed = |what: &str| Failure::Message {
        exit: Exit::Failed,
        message: format!("the program could not be built: {what}"),
        help: Some(format!(
            "it needs `pip install ziglang cargo-zigbuild` and `rustup target add {}`; or give a program by --binary",
            architecture.target()
        )),
    };
    let mut running = cargo.spawn().map_err(|error| failed(&format!("can't start cargo: {error}")))?;
    let program = built(&mut running);
    let status = running.wait().map_err(|error| failed(&error.to_string()))?;
    match program {
        Some(program) if status.success() => Ok(program),
        Some(_) | None => Err(failed(&format!("cargo zigbuild ended with {status}"))),
    }
}

/// The program, as Cargo's messages name it.
fn built(cargo: &mut Child) -> Option<PathBuf> {
    let messages = BufReader::new(cargo.stdout.take()?);
    let programs = messages.lines().map_while(std::io::Result::ok).filter_map(|line| program(&line));
    programs.last()
}

fn program(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_ours = message["reason"] == "compiler-artifact" && message["target"]["name"] == PACKAGE;
    message["executable"].as_str().filter(|_| is_ours).map(PathBuf::from)
}
