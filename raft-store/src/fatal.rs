//! How the store says that it can go on no longer.
//!
//! After a write that failed, or whose outcome is unknown, what memory says and what the disk holds
//! may differ. The process must end; a restart reads what is really there.

use std::{fmt::Display, io, sync::Arc};

use tokio::sync::watch;

/// Tells whoever watches why the process must end; the first reason stays.
#[derive(Clone, Debug)]
pub(crate) struct FatalSignal(Arc<watch::Sender<Option<String>>>);

impl FatalSignal {
    pub(crate) fn new() -> (Self, watch::Receiver<Option<String>>) {
        let (sender, receiver) = watch::channel(None);
        (Self(Arc::new(sender)), receiver)
    }

    /// Raises it, and wraps it for openraft.
    pub(crate) fn raise(&self, doing: &'static str, reason: &impl Display) -> io::Error {
        let fatal = format!("cannot {doing}: {reason}");
        self.0.send_if_modified(|raised| {
            let first = raised.is_none();
            raised.get_or_insert_with(|| fatal.clone());
            first
        });
        io::Error::other(fatal)
    }

    /// The error for whatever is asked after the first one.
    pub(crate) fn raised(&self) -> Option<io::Error> {
        self.0.borrow().clone().map(io::Error::other)
    }
}
