//! What the files of a folder hold: as programs see them, and as the medium has them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::random::Random;

/// Bytes that a medium writes wholly or not at all, and those at a multiple of it.
const SECTOR: usize = 512;

/// A file, whatever its name is.
pub(super) type FileId = u64;

/// A change of a file's content.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Bytes at an offset.
    Bytes(usize, Rc<[u8]>),
    /// A length.
    Length(usize),
}

/// A change of a name.
#[derive(Clone, Debug)]
pub(super) enum Naming {
    /// A new file.
    Create(PathBuf, FileId),
    /// Another name for a file.
    Rename(PathBuf, PathBuf),
    /// A name less.
    Remove(PathBuf),
}

/// One step of a program.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A file's content, in the cache.
    Content(FileId, Content),
    /// A file's content reaches the medium.
    Sync(FileId),
    /// Only this of it does, since the sync failed; the cache may take the rest for written.
    FailedSync(FileId, Vec<Content>, bool),
    /// A name, in the cache.
    Name(Naming),
    /// The names reach the medium.
    SyncNames,
}

#[derive(Clone, Debug, Default)]
struct File {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// What of it has not been handed to the medium, in the order of the writes.
    unsynced: Vec<Content>,
}

/// The files of a folder.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    seen: BTreeMap<PathBuf, FileId>,
    durable: BTreeMap<PathBuf, FileId>,
    unsynced: Vec<Naming>,
    files: BTreeMap<FileId, Rc<File>>,
}

impl State {
    /// The file of the name, as programs see it.
    pub(super) fn find(&self, path: &Path) -> Option<FileId> {
        self.seen.get(path).copied()
    }

    /// A number that no file has.
    pub(super) fn next_id(&self) -> FileId {
        self.files.keys().next_back().map_or(0, |last| last + 1)
    }

    /// A file's content, as programs see it; nothing of a file that nobody can find any more.
    pub(super) fn content(&self, id: FileId) -> &[u8] {
        self.files.get(&id).map_or(&[], |file| &file.seen)
    }

    /// What of a file would arrive if the power failed now.
    pub(super) fn torn(&self, id: FileId, random: &mut Random) -> Vec<Content> {
        self.files.get(&id).map_or_else(Vec::new, |file| torn(&file.unsynced, random))
    }

    /// A program's step.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Content(id, content) => {
                self.with(*id, |file| {
                    put(&mut file.seen, content);
                    file.unsynced.push(content.clone());
                });
            }
            Change::Sync(id) => self.with(*id, |file| {
                let File { durable, unsynced, .. } = file;
                unsynced.drain(..).for_each(|content| put(durable, &content));
            }),
            Change::FailedSync(id, arrived, written_off) => self.with(*id, |file| {
                arrived.iter().for_each(|content| put(&mut file.durable, content));
                if *written_off {
                    file.unsynced.clear();
                }
            }),
            Change::Name(naming) => {
                if let Naming::Create(_, id) = naming {
                    self.files.insert(*id, Rc::default());
                }
                name(&mut self.seen, naming);
                self.unsynced.push(naming.clone());
            }
            Change::SyncNames => {
                self.unsynced.clear();
                self.durable = self.seen.clone();
                self.drop_nameless();
            }
        }
    }

    fn with(&mut self, id: FileId, change: impl FnOnce(&mut File)) {
        if let Some(file) = self.files.get_mut(&id) {
            change(Rc::make_mut(file));
        }
    }

    /// The power fails. Of each file's unsynced content some arrives; of the unsynced names the first
    /// ones do, as a journaling file system has it.
    pub(super) fn lose_power(&mut self, random: &mut Random) {
        for file in self.files.values_mut() {
            let file = Rc::make_mut(file);
            let arrived = torn(&file.unsynced, random);
            arrived.iter().for_each(|content| put(&mut file.durable, content));
            file.unsynced.clear();
            file.seen.clone_from(&file.durable);
        }
        let arrived = random.between(0, self.unsynced.len() as u64) as usize;
        self.unsynced.drain(..).take(arrived).for_each(|naming| name(&mut self.durable, &naming));
        self.seen.clone_from(&self.durable);
        self.drop_nameless();
    }

    fn drop_nameless(&mut self) {
        let named: BTreeSet<_> = self.seen.values().chain(self.durable.values()).copied().collect();
        self.files.retain(|id, _| named.contains(id));
    }
}

fn put(bytes: &mut Vec<u8>, content: &Content) {
    match content {
        Content::Length(length) => bytes.resize(*length, 0),
        Content::Bytes(offset, new) => {
            let end = offset + new.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*offset..end].copy_from_slice(new);
        }
    }
}

fn name(names: &mut BTreeMap<PathBuf, FileId>, naming: &Naming) {
    match naming {
        Naming::Create(path, id) => drop(names.insert(path.clone(), *id)),
        Naming::Remove(path) => drop(names.remove(path)),
        Naming::Rename(from, to) => {
            if let Some(id) = names.remove(from) {
                names.insert(to.clone(), id);
            }
        }
    }
}

/// What arrives of unsynced changes: all, none, a beginning, or any of their sectors and lengths.
fn torn(unsynced: &[Content], random: &mut Random) -> Vec<Content> {
    if unsynced.is_empty() {
        return Vec::new();
    }
    match random.below(4) {
        0 => Vec::new(),
        1 => unsynced.to_vec(),
        2 => {
            let whole = random.below(unsynced.len() as u64) as usize;
            let mut arrived = unsynced[..whole].to_vec();
            arrived.extend(beginning(&unsynced[whole], random));
            arrived
        }
        _ => unsynced.iter().flat_map(|content| sectors(content, random)).collect(),
    }
}

/// A write that was cut off.
pub(super) fn beginning(content: &Content, random: &mut Random) -> Option<Content> {
    let Content::Bytes(offset, bytes) = content else { return None };
    let kept = random.between(0, bytes.len() as u64) as usize;
    (kept > 0).then(|| Content::Bytes(*offset, bytes[..kept].into()))
}

/// Some sectors of a write; the file may have become as long as all of them would have made it.
fn sectors(content: &Content, random: &mut Random) -> Vec<Content> {
    let Content::Bytes(offset, bytes) = content else {
        return if random.one_in(2) { vec![content.clone()] } else { Vec::new() };
    };
    let mut arrived = Vec::new();
    let (mut at, end) = (*offset, offset + bytes.len());
    while at < end {
        let next = ((at / SECTOR + 1) * SECTOR).min(end);
        if random.one_in(2) {
            arrived.push(Content::Bytes(at, bytes[at - offset..next - offset].into()));
        } else if random.one_in(2) {
            // Room was made for it, and nothing was written there.
            arrived.push(Content::Bytes(next, [].into()));
        }
        at = next;
    }
    arrived
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(offset: usize, bytes: &[u8]) -> Change {
        Change::Content(0, Content::Bytes(offset, bytes.into()))
    }

    fn created() -> State {
        let mut state = State::default();
        state.apply(&Change::Name(Naming::Create("a".into(), 0)));
        state
    }

    #[test]
    fn what_was_synced_survives_the_power_and_what_was_not_may_be_gone() {
        let (mut kept, mut lost) = (0, 0);
        for seed in 0..100 {
            let mut state = created();
            state.apply(&bytes(0, b"old"));
            state.apply(&Change::Sync(0));
            state.apply(&Change::SyncNames);
            state.apply(&bytes(3, b"new"));
            state.lose_power(&mut Random::new(seed));
            let id = state.find(Path::new("a")).expect("a synced name");
            assert!(state.content(id).starts_with(b"old"));
            kept += u64::from(state.content(id) == b"oldnew");
            lost += u64::from(state.content(id) == b"old");
        }
        assert!(kept > 10 && lost > 10, "{kept} {lost}");
    }

    #[test]
    fn a_name_that_was_not_synced_may_be_gone() {
        let found = (0..100).filter(|seed| {
            let mut state = created();
            state.apply(&Change::Sync(0));
            state.lose_power(&mut Random::new(*seed));
            state.find(Path::new("a")).is_some()
        });
        assert!((10..90).contains(&found.count()));
    }

    #[test]
    fn what_a_failed_sync_has_written_off_is_seen_until_the_power_fails() {
        let mut state = created();
        state.apply(&Change::SyncNames);
        state.apply(&bytes(0, b"lost"));
        state.apply(&Change::FailedSync(0, Vec::new(), true));
        state.apply(&Change::Sync(0));
        assert_eq!(state.content(0), b"lost");
        state.lose_power(&mut Random::new(1));
        assert_eq!(state.content(0), b"");
    }
}
