//! How far the log was acknowledged, in a file that is not RocksDB's.
//!
//! RocksDB forgives an end of its newest file that cannot be read, because a crash in the middle of
//! a write leaves one. It cannot know whether such an end was written only in part or damaged later;
//! this mark does, because it follows every synced write before anybody hears of it.
//!
//! What is compared is the number of the database's last write. Every write raises it, also one
//! that shortens the log, and also one by a release that does not know the mark. So a mark may be
//! late, and is then only weaker, but it can never ask for more than was acknowledged: it needs no
//! sync of its own, and nothing has to be undone before the log is truncated or purged. A process
//! that is killed leaves an exact one, because the system keeps what was written; after a power
//! failure it may be as old as the system's last write-back.

use std::{cmp::Ordering, fmt, fs, io, os::unix::fs::FileExt};

use crate::{
    error::OpenError,
    layout::{self, Layout},
    log_index::next_index,
    raft_types::{LogId, Vote},
    wire::{LogIdV1, VoteV1},
};

/// The mark is written to two places in turn, so that one is whole while the other is written. Each
/// is a page, and written as one, so that the system need not read what it replaces.
const SLOT_BYTES: usize = 4096;
const MAGIC: [u8; 8] = *b"SKMARK\r\n";
/// A change of the form is a higher number here and a reader for both.
const FORMAT: u16 = 1;
const WORDS: usize = 7;
const HASH_BYTES: usize = blake3::OUT_LEN;
/// What a slot begins with: the magic bytes, the words of the form, and the hash of both.
pub(crate) const FORM_BYTES: usize = MAGIC.len() + 8 * WORDS + HASH_BYTES;
const WHAT: &str = "the mark of what this node acknowledged";

const HAS_LAST: u64 = 1;
const HAS_VOTE: u64 = 2;
const VOTE_IS_COMMITTED: u64 = 4;

/// A state of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Number of the database's last write.
    pub(crate) sequence: u64,
    pub(crate) last: Option<LogId>,
    pub(crate) vote: Option<Vote>,
}

impl Mark {
    /// Whether a log that is found like this holds everything that was acknowledged.
    pub(crate) fn is_kept_by(&self, found: &Self) -> bool {
        // After later writes the log may end earlier: it was truncated. A vote never goes back.
        let same_end = self.sequence < found.sequence || self.last == found.last;
        self.sequence <= found.sequence && same_end && is_kept(self.vote, found.vote)
    }

    pub(crate) fn encode(&self) -> [u8; FORM_BYTES] {
        let last = self.last.as_ref().map(LogIdV1::from);
        let vote = self.vote.as_ref().map(VoteV1::from);
        let has = [
            (HAS_LAST, last.is_some()),
            (HAS_VOTE, vote.is_some()),
            (VOTE_IS_COMMITTED, vote.is_some_and(|vote| vote.committed)),
        ];
        let words: [u64; WORDS] = [
            u64::from(FORMAT),
            self.sequence,
            has.iter().filter(|(_, has)| *has).map(|(bit, _)| bit).sum(),
            last.map_or(0, |last| last.term),
            last.map_or(0, |last| last.index),
            vote.map_or(0, |vote| vote.term),
            vote.map_or(0, |vote| vote.voted_for),
        ];
        let mut form = [0; FORM_BYTES];
        let (content, hash) = form.split_at_mut(FORM_BYTES - HASH_BYTES);
        let (magic, rest) = content.split_at_mut(MAGIC.len());
        magic.copy_from_slice(&MAGIC);
        for (place, word) in rest.as_chunks_mut().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        hash.copy_from_slice(blake3::hash(content).as_bytes());
        form
    }

    fn decode(form: &[u8; FORM_BYTES]) -> Result<Self, SlotError> {
        let (content, hash) = form.split_at(FORM_BYTES - HASH_BYTES);
        let Some(rest) = content.strip_prefix(&MAGIC) else { return Err(SlotError::NotAMark) };
        if blake3::hash(content).as_bytes() != hash {
            return Err(SlotError::Damaged);
        }
        let mut words: [u64; WORDS] = [0; WORDS];
        for (word, place) in words.iter_mut().zip(rest.as_chunks().0) {
            *word = u64::from_le_bytes(*place);
        }
        let [format, sequence, has, last_term, last_index, vote_term, voted_for] = words;
        if format != u64::from(FORMAT) {
            return Err(SlotError::OtherFormat(format));
        }
        let last = LogIdV1 { term: last_term, index: last_index };
        let committed = has & VOTE_IS_COMMITTED != 0;
        let vote = VoteV1 { term: vote_term, voted_for, committed };
        Ok(Self {
            sequence,
            last: (has & HAS_LAST != 0).then(|| last.into()),
            vote: (has & HAS_VOTE != 0).then(|| vote.into()),
        })
    }
}

/// For whoever reads why a node does not start.
impl fmt::Display for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last.as_ref().map(LogIdV1::from) {
            Some(LogIdV1 { term, index }) => write!(formatter, "entry {index} of term {term}")?,
            None => write!(formatter, "no entry")?,
        }
        match self.vote.as_ref().map(VoteV1::from) {
            Some(VoteV1 { term, voted_for, committed }) => {
                let committed = if committed { "committed " } else { "" };
                write!(formatter, ", {committed}vote of term {term} for node {voted_for}")?;
            }
            None => write!(formatter, ", no vote")?,
        }
        write!(formatter, ", write {}", self.sequence)
    }
}

/// In one term a node votes once, and may then learn who was elected.
fn is_kept(vote: Option<Vote>, found: Option<Vote>) -> bool {
    let rank = |vote: &VoteV1| (vote.term, vote.committed);
    let (vote, found) = (vote.as_ref().map(VoteV1::from), found.as_ref().map(VoteV1::from));
    match vote.as_ref().map(rank).cmp(&found.as_ref().map(rank)) {
        Ordering::Less => true,
        Ordering::Equal => vote == found,
        Ordering::Greater => false,
    }
}

/// What is in one of the two places cannot be read.
#[derive(Debug, thiserror::Error)]
enum SlotError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("does not begin as a mark does")]
    NotAMark,
    #[error("the bytes were damaged")]
    Damaged,
    #[error("format {0}")]
    OtherFormat(u64),
}

/// The file with the mark; the log's writer has it.
pub(super) struct MarkFile {
    file: fs::File,
    mark: Mark,
    /// Where the next mark goes: 0 or 1.
    slot: u64,
    page: Box<[u8; SLOT_BYTES]>,
}

impl MarkFile {
    /// The file with what it says; `None` where there is none.
    pub(super) fn open(layout: &Layout) -> Result<Option<Self>, OpenError> {
        let path = layout.acknowledged();
        let file = match fs::File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::io("open", &path)(error)),
        };
        let (mark, slot) = match (read(&file, 0), read(&file, 1)) {
            (Ok(first), Ok(second)) if first.sequence < second.sequence => (second, 0),
            (Ok(first), Ok(_)) => (first, 1),
            (Err(SlotError::OtherFormat(found)), _) | (_, Err(SlotError::OtherFormat(found))) => {
                let found = u16::try_from(found).unwrap_or(u16::MAX);
                return Err(OpenError::NewerFormat { what: WHAT, found, newest: FORMAT });
            }
            (Ok(whole), Err(error)) => (whole, half(1, &error)),
            (Err(error), Ok(whole)) => (whole, half(0, &error)),
            (Err(first), Err(second)) => {
                let reason = format!("{}: {first}; {second}", path.display());
                return Err(OpenError::CorruptMeta { what: WHAT, reason });
            }
        };
        Ok(Some(Self { file, mark, slot, page: Box::new([0; SLOT_BYTES]) }))
    }

    /// The first mark of a directory: from now on there has to be one.
    pub(super) fn create(layout: &Layout, mark: Mark) -> Result<Self, OpenError> {
        let path = layout.acknowledged();
        let mut content = [0; 2 * SLOT_BYTES];
        for slot in content.as_chunks_mut::<SLOT_BYTES>().0 {
            slot[..FORM_BYTES].copy_from_slice(&mark.encode());
        }
        layout::replace_file(&path, &content).map_err(OpenError::io("write", &path))?;
        let file = fs::File::options().read(true).write(true).open(&path);
        let file = file.map_err(OpenError::io("open", &path))?;
        Ok(Self { file, mark, slot: 0, page: Box::new([0; SLOT_BYTES]) })
    }

    pub(super) fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Marks a state that was found on the disk.
    pub(super) fn raise(&mut self, found: Mark) -> io::Result<()> {
        self.mark = found;
        self.acknowledge(found.sequence)?;
        self.sync()
    }

    /// The log ends here once what is being written is acknowledged.
    pub(super) fn ends_at(&mut self, last: Option<LogId>) {
        self.mark.last = last;
    }

    /// The log begins after this, and then ends there if it did so before.
    pub(super) fn begins_after(&mut self, purged: LogId) {
        if next_index(self.mark.last) <= next_index(Some(purged)) {
            self.mark.last = Some(purged);
        }
    }

    pub(super) fn votes(&mut self, vote: Vote) {
        self.mark.vote = Some(vote);
    }

    /// Everything up to this write is on disk and about to be acknowledged. Not synced: it takes
    /// microseconds.
    pub(super) fn acknowledge(&mut self, sequence: u64) -> io::Result<()> {
        self.mark.sequence = sequence;
        self.page[..FORM_BYTES].copy_from_slice(&self.mark.encode());
        self.file.write_all_at(&*self.page, self.slot * SLOT_BYTES as u64)?;
        self.slot = 1 - self.slot;
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn read(file: &fs::File, slot: u64) -> Result<Mark, SlotError> {
    let mut form = [0; FORM_BYTES];
    file.read_exact_at(&mut form, slot * SLOT_BYTES as u64)?;
    Mark::decode(&form)
}

/// One place is enough: a power failure may have come while the other was written. It comes next.
fn half(slot: u64, error: &SlotError) -> u64 {
    tracing::warn!(slot, %error, "one of the two marks of what was acknowledged cannot be read");
    slot
}
