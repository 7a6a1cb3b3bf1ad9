//! Writes a test's history down while it happens.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde::Serialize;

use super::{op::Event, tape::Frame};

/// The runner's clock and pens. Cheap to clone; all clones write to the same files.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

struct Shared {
    began: Instant,
    directory: PathBuf,
    pens: Mutex<Pens>,
}

struct Pens {
    next: u64,
    history: BufWriter<File>,
    samples: BufWriter<File>,
    subscribers: BTreeMap<String, BufWriter<File>>,
    /// The first error: a history with holes must not be judged.
    failed: Option<io::Error>,
}

impl Recorder {
    /// # Errors
    /// Where the files cannot be made.
    pub fn new(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory.join("ws"))?;
        let create = |name: &str| File::create(directory.join(name)).map(BufWriter::new);
        let pens = Pens {
            next: 0,
            history: create("history.jsonl")?,
            samples: create("samples.jsonl")?,
            subscribers: BTreeMap::new(),
            failed: None,
        };
        let shared = Shared {
            began: Instant::now(),
            directory: directory.to_owned(),
            pens: Mutex::new(pens),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Nanoseconds since the test began.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.shared.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Writes an event down with its index and its time, which is now.
    pub fn event(&self, mut event: Event) -> Event {
        let mut pens = self.pens();
        event.index = pens.next;
        pens.next += 1;
        event.time = self.now_ns();
        let Pens { history, failed, .. } = &mut *pens;
        keep(failed, line(history, &event));
        event
    }

    /// Writes what a subscriber saw down; its time is now.
    pub fn frame(&self, mut frame: Frame) {
        let mut pens = self.pens();
        frame.time = self.now_ns();
        let Pens { subscribers, failed, .. } = &mut *pens;
        if !subscribers.contains_key(&frame.subscriber) {
            let path = self.shared.directory.join("ws").join(format!("{}.jsonl", frame.subscriber));
            match File::create(path) {
                Ok(file) => {
                    subscribers.insert(frame.subscriber.clone(), BufWriter::new(file));
                }
                Err(error) => return keep(failed, Err(error)),
            }
        }
        if let Some(pen) = subscribers.get_mut(&frame.subscriber) {
            keep(failed, line(pen, &frame));
        }
    }

    /// Writes a line of `samples.jsonl`.
    pub fn sample(&self, sample: &impl Serialize) {
        let Pens { samples, failed, .. } = &mut *self.pens();
        keep(failed, line(samples, sample));
    }

    /// Everything is on disk.
    ///
    /// # Errors
    /// The first write that failed.
    pub fn finish(&self) -> io::Result<()> {
        let mut pens = self.pens();
        if let Some(error) = pens.failed.take() {
            return Err(error);
        }
        let Pens { history, samples, subscribers, .. } = &mut *pens;
        for pen in [history, samples].into_iter().chain(subscribers.values_mut()) {
            pen.flush()?;
            pen.get_ref().sync_all()?;
        }
        Ok(())
    }

    fn pens(&self) -> MutexGuard<'_, Pens> {
        self.shared.pens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep(failed: &mut Option<io::Error>, result: io::Result<()>) {
    if let Err(error) = result {
        failed.get_or_insert(error);
    }
}

fn line(pen: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *pen, value)?;
    pen.write_all(b"\n")
}
