//! Files that stand for a device's bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

/// Bytes copied at once.
const CHUNK: usize = 1 << 20;

/// Makes a range read as zeros, and gives its blocks back.
pub fn punch(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, flags, offset, len)?)
}

/// Copies `source` to a new file, holes as holes.
pub fn copy_sparse(source: &File, path: &Path) -> io::Result<File> {
    let copy = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(path)?;
    copy.set_len(source.metadata()?.len())?;
    let mut buffer = vec![0; CHUNK];
    let mut end = 0;
    loop {
        let mut offset = match seek(source, SeekFrom::Data(end)) {
            Err(Errno::NXIO) => return Ok(copy),
            other => other?,
        };
        end = seek(source, SeekFrom::Hole(offset))?;
        while offset < end {
            let step = (end - offset).min(CHUNK as u64) as usize;
            source.read_exact_at(&mut buffer[..step], offset)?;
            copy.write_all_at(&buffer[..step], offset)?;
            offset += step as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_equal() {
        let dir = tempfile::tempdir().unwrap();
        let source = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(dir.path().join("source"))
            .unwrap();
        source.set_len(8 << 20).unwrap();
        source.write_all_at(b"one", 5).unwrap();
        source.write_all_at(&vec![7; 3 << 20], 4 << 20).unwrap();
        punch(&source, 5 << 20, 64 << 10).unwrap();
        copy_sparse(&source, &dir.path().join("copy")).unwrap();
        let read = |name| std::fs::read(dir.path().join(name)).unwrap();
        assert!(read("source") == read("copy"));
    }
}
