//! What was answered to requests with an idempotency key, so that a repeat gets the same answer.
//!
//! Records are numbered in the order of their commands and go in that order, when they are older
//! than [`limits::ANSWERED_KEPT`] or when newer ones need the room. So they are one unbroken range
//! of numbers, and what changed since a number is what lies beyond it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, Kind},
    command::RequestKey,
    event::Answer,
    limits,
    reject::Reject,
    time::Stamp,
};

/// Format of an answer within a record.
const ANSWER_FORMAT: u16 = 1;
/// A record takes about this much beside its key and its answer.
const RECORD_BYTES: usize = 160;

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub key: RequestKey,
    pub at: Stamp,
    /// The encoded answer: a quarter of what the answer itself takes in memory.
    pub answer: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// The number of the oldest record.
    first: u64,
    records: VecDeque<Arc<Record>>,
    numbers: BTreeMap<String, u64>,
    bytes: usize,
}

impl Answered {
    /// The records as they were stored, numbered from `first`.
    pub fn restore(first: u64, records: impl IntoIterator<Item = Record>) -> Self {
        let mut answered = Self { first, ..Self::default() };
        for record in records {
            answered.push(record);
        }
        answered
    }

    /// The numbers of the records that are kept.
    pub fn range(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.records.len() as u64
    }

    /// The record of this number.
    pub fn record(&self, number: u64) -> Option<&Arc<Record>> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.records.get(index)
    }

    /// What was answered to this request; `None` where it is new.
    pub(crate) fn answer(&self, request: &RequestKey) -> Option<Result<Answer, Reject>> {
        let record = self.record(*self.numbers.get(&request.key)?)?;
        if record.key.digest != request.digest {
            return Some(Err(Reject::KeyReused { key: request.key.clone() }));
        }
        // What this machine encoded, or loaded with its checksum, it can read.
        codec::decode(Kind::AnsweredRow, ANSWER_FORMAT, &record.answer).ok()
    }

    pub(crate) fn remember(&mut self, key: RequestKey, at: Stamp, answer: &Result<Answer, Reject>) {
        // An answer is far below the bound of an envelope.
        let Ok(answer) = codec::encode(Kind::AnsweredRow, ANSWER_FORMAT, answer) else { return };
        self.push(Record { key, at, answer });
        while limits::ANSWERED_MAX < self.records.len() || limits::ANSWERED_BYTES_MAX < self.bytes {
            self.forget_oldest();
        }
    }

    /// Forgets what is too old at `now`.
    pub(crate) fn expire(&mut self, now: Stamp) {
        while let Some(oldest) = self.records.front()
            && oldest.at.after(limits::ANSWERED_KEPT) <= now
        {
            self.forget_oldest();
        }
    }

    fn push(&mut self, record: Record) {
        self.bytes += bytes_of(&record);
        self.numbers.insert(record.key.key.clone(), self.range().end);
        self.records.push_back(Arc::new(record));
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.records.pop_front() else { return };
        self.bytes = self.bytes.saturating_sub(bytes_of(&oldest));
        self.numbers.remove(&oldest.key.key);
        self.first += 1;
    }
}

fn bytes_of(record: &Record) -> usize {
    RECORD_BYTES + 2 * record.key.key.len() + record.answer.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &str) -> RequestKey {
        RequestKey { key: key.to_owned(), digest: [7; 32] }
    }

    fn at(millis: u64) -> Stamp {
        Stamp::from_unix_millis(millis)
    }

    #[test]
    fn the_first_answer_is_given_again_to_the_same_request_only() {
        let mut answered = Answered::default();
        assert_eq!(answered.answer(&request("a")), None);
        answered.remember(request("a"), at(1), &Ok(Answer::Deleted));
        answered.remember(request("b"), at(1), &Err(Reject::TokenUnknown));
        assert_eq!(answered.answer(&request("a")), Some(Ok(Answer::Deleted)));
        assert_eq!(answered.answer(&request("b")), Some(Err(Reject::TokenUnknown)));
        let other = RequestKey { digest: [8; 32], ..request("a") };
        assert_eq!(answered.answer(&other), Some(Err(Reject::KeyReused { key: "a".to_owned() })));
    }

    #[test]
    fn answers_are_kept_for_a_day() {
        let mut answered = Answered::default();
        answered.remember(request("a"), at(5), &Ok(Answer::Done));
        answered.remember(request("b"), at(6), &Ok(Answer::Done));
        answered.expire(at(4).after(limits::ANSWERED_KEPT));
        assert_eq!(answered.range(), 0..2);
        answered.expire(at(5).after(limits::ANSWERED_KEPT));
        assert_eq!(answered.range(), 1..2);
        assert_eq!(answered.answer(&request("a")), None);
        assert!(answered.answer(&request("b")).is_some());
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut answered = Answered::default();
        let count = limits::ANSWERED_MAX as u64 + 10;
        for number in 0..count {
            answered.remember(request(&number.to_string()), at(1), &Ok(Answer::Done));
        }
        assert_eq!(answered.range(), 10..count);
        assert_eq!(answered.answer(&request("9")), None);
        assert!(answered.answer(&request("10")).is_some());
        let kept = answered.range().map(|number| (**answered.record(number).unwrap()).clone());
        assert_eq!(Answered::restore(10, kept), answered);
    }
}
