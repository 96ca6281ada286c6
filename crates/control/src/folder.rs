//! The folders that programs keep their records and volumes in.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Makes a folder, and those above it that are missing, each of them durable before anything is made
/// in it: what a program has promised in its records does not go with the folder that they lie in.
///
/// # Errors
/// When one cannot be made, or not be made durable.
pub fn make_durably(folder: &Path) -> io::Result<()> {
    make(folder, &mut |folder| fs::File::open(folder)?.sync_all())
}

fn make(folder: &Path, sync: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let Some(parent) = folder.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    if folder.is_dir() {
        // Whoever made it may have been cut off before it was durable.
        return sync(parent).or_else(is_of_no_concern);
    }
    make(parent, sync)?;
    match fs::create_dir(folder) {
        // Another program was faster.
        Err(_) if folder.is_dir() => {}
        made => made?,
    }
    sync(parent)
}

/// A folder that is there already may lie in one that this user cannot read, or that is never
/// written to.
fn is_of_no_concern(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::InvalidInput => {
            Ok(())
        }
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes it: the names of the folders that were synced, each with whether the wanted one was there
    /// by then.
    fn making(
        folder: &Path,
        answer: impl Fn() -> io::Result<()>,
    ) -> (Vec<(String, bool)>, io::Result<()>) {
        let mut synced = Vec::new();
        let made = make(folder, &mut |parent| {
            let name = parent.file_name().expect("a name").to_string_lossy().into_owned();
            synced.push((name, folder.is_dir()));
            answer()
        });
        (synced, made)
    }

    #[test]
    fn every_folder_is_durable_before_anything_is_made_in_it() {
        let scratch = tempfile::tempdir().expect("a folder");
        let root = scratch.path().join("root");
        fs::create_dir(&root).expect("a folder");
        let (synced, made) = making(&root.join("a").join("b"), || Ok(()));
        made.expect("made");
        let expected = [("root".to_owned(), false), ("a".to_owned(), true)];
        assert_eq!(synced[1..], expected, "the first has what was there");
    }

    #[test]
    fn a_folder_that_a_run_made_which_was_cut_off_is_durable_after_the_next() {
        let scratch = tempfile::tempdir().expect("a folder");
        let folder = scratch.path().join("a");
        fs::create_dir(&folder).expect("a folder");
        let (synced, made) = making(&folder, || Ok(()));
        made.expect("there already");
        let parent = scratch.path().file_name().expect("a name").to_string_lossy().into_owned();
        assert_eq!(synced, [(parent, true)]);
    }

    #[test]
    fn a_folder_that_cannot_be_made_durable_is_an_error_and_one_in_anothers_hands_is_none() {
        let scratch = tempfile::tempdir().expect("a folder");
        let refuse = |kind: ErrorKind| move || io::Result::Err(kind.into());
        let there = scratch.path();
        making(there, refuse(ErrorKind::PermissionDenied)).1.expect("somebody else's");
        making(there, refuse(ErrorKind::ReadOnlyFilesystem)).1.expect("never written to");
        making(there, refuse(ErrorKind::Other)).1.expect_err("a broken disk");
        let new = there.join("new");
        making(&new, refuse(ErrorKind::PermissionDenied))
            .1
            .expect_err("it may not outlive a crash");
    }
}
