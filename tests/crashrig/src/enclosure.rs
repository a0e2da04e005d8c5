//! Where the rig runs: in a mount namespace of its own with a file system in memory. The kernel takes mounts and loop
//! devices back when the last process in it ends, however it ends.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// Names the rig's folder, for the processes inside.
const FOLDER: &str = "CRASHRIG_FOLDER";
/// Most bytes of memory that recordings and images may take, MiB.
const MEMORY_MIB: u64 = 3072;

/// Makes a folder, becomes its first argument, and removes the folder.
const SCRIPT: &str = r#"
set -eu
folder=$(mktemp -d)
trap 'umount -l "$folder" 2>/dev/null; rmdir "$folder"' EXIT
trap 'exit 130' INT TERM
mount -t tmpfs -o size="$1"m crashrig "$folder"
shift
CRASHRIG_FOLDER="$folder" "$@"
"#;

/// The rig's folder, if this process runs inside.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Runs this program again, inside. Returns only if that fails.
pub fn enter() -> Result<std::convert::Infallible> {
    let program = std::env::current_exe().context("where this program is")?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let error = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            SCRIPT,
            "sh",
        ])
        .arg(MEMORY_MIB.to_string())
        .arg(program)
        .args(arguments)
        .exec();
    Err(error).context("entering a mount namespace")
}

/// What is missing to run the rig at all.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it takes root, for mounts and loop devices".to_owned());
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if !Path::new(device).exists() {
            return Some(format!("there is no {device}"));
        }
    }
    let programs = ["unshare", "sh", "mount", "mkfs.ext4"];
    if let Some(program) = programs.iter().find(|program| !runs(program)) {
        return Some(format!("there is no {program}"));
    }
    refused().map(|reason| format!("mounts are refused: {reason}"))
}

fn runs(program: &str) -> bool {
    let script = format!("command -v {program}");
    let found = Command::new("sh").args(["-c", &script]).output();
    found.is_ok_and(|output| output.status.success())
}

/// Tries what can only be found out by trying: a namespace, a loop device with an ext4, and FUSE.
fn refused() -> Option<String> {
    const TRY: &str = r#"
set -e
mount -t tmpfs none /tmp
truncate -s 8M /tmp/image
mkfs.ext4 -q -F /tmp/image
mkdir /tmp/on
mount -o loop /tmp/image /tmp/on
mkdir /tmp/fuse
exec 3<>/dev/fuse
mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 crashrig /tmp/fuse
"#;
    let attempt = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", TRY])
        .output();
    match attempt {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    }
}
