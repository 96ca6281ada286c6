//! The demo's volume: data that does not compress, with holes.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::PathBuf;

use anyhow::Context;

/// The volume is made in pieces of this length; every fourth is a hole.
const PIECE: u64 = 4 << 20;

/// Makes the file.
pub(super) async fn make(path: PathBuf, size: u64) -> anyhow::Result<()> {
    let made = tokio::task::spawn_blocking(move || {
        write(&path, size).with_context(|| format!("{} cannot be made", path.display()))
    });
    made.await.context("making the volume")?
}

fn write(path: &std::path::Path, size: u64) -> std::io::Result<()> {
    let file = File::create(path)?;
    file.set_len(size)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut at = 0;
    while at < size {
        let end = size.min(at + PIECE);
        let is_hole = at / PIECE % 4 == 3;
        if is_hole {
            out.seek(SeekFrom::Start(end))?;
        } else {
            for offset in (at..end).step_by(8) {
                let word = next(&mut state).to_le_bytes();
                let rest = usize::try_from(end - offset).unwrap_or(usize::MAX);
                out.write_all(&word[..rest.min(8)])?;
            }
        }
        at = end;
    }
    out.flush()
}

/// A xorshift generator: fast, and good enough to look like anything but zeroes.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_volume_has_its_size_data_and_holes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v");
        let size = 4 * PIECE + 13;
        make(path.clone(), size).await.unwrap();
        let content = std::fs::read(&path).unwrap();
        assert_eq!(content.len() as u64, size);
        let piece = usize::try_from(PIECE).unwrap();
        assert!(content[3 * piece..4 * piece].iter().all(|byte| *byte == 0));
        let zeroes = content[..3 * piece].iter().filter(|byte| **byte == 0).count();
        assert!(zeroes < piece / 16, "{zeroes}");
    }
}
