//! How much one caller may ask of this node: v2's two limiters. Counters are this node's own.

mod window;

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use synckairos_protocol::{ids::SessionId, time::Millis};

use window::FixedWindows;
pub(crate) use window::Verdict;

use crate::http::settings::{HttpSettings, NodeEnv};

const GENERAL_WINDOW: Millis = Millis::new(60_000);
const SWITCH_WINDOW: Millis = Millis::new(1_000);

/// Callers that one generation of a limiter remembers, about 100 bytes each. Beyond it, the
/// oldest are forgotten, which is in their favour.
const KEYS_MAX: usize = 50_000;

/// Who is counted by the general limiter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Caller {
    Address(IpAddr),
    /// In tests and development: the session in the path, so that parallel tests do not share.
    Session(String),
}

/// The limiters of one node. Their time is an argument, in milliseconds since [`Limits::new`].
#[derive(Clone)]
pub(crate) struct Limits {
    began: Instant,
    general: Option<Arc<Mutex<FixedWindows<Caller>>>>,
    switch: Option<Arc<Mutex<FixedWindows<SessionId>>>>,
    by_session: bool,
}

impl Limits {
    /// The limiters as configured; a limit of 0 switches one off.
    pub(crate) fn new(settings: &HttpSettings) -> Self {
        fn limiter<K: std::hash::Hash + Eq>(
            limit: u32,
            window: Millis,
        ) -> Option<Arc<Mutex<FixedWindows<K>>>> {
            (limit != 0).then(|| Arc::new(Mutex::new(FixedWindows::new(limit, window, KEYS_MAX))))
        }
        Self {
            began: Instant::now(),
            general: limiter(settings.rate_limit_general, GENERAL_WINDOW),
            switch: limiter(settings.rate_limit_switch, SWITCH_WINDOW),
            by_session: match settings.node_env {
                NodeEnv::Production => false,
                NodeEnv::Development | NodeEnv::Test => true,
            },
        }
    }

    /// The time that the limiters count in, now.
    pub(crate) fn now(&self) -> Millis {
        Millis::new(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Counts a request from `address`; `session` is the text in its path that names one. `None`
    /// where the limiter is off.
    pub(crate) fn general(
        &self,
        address: IpAddr,
        session: Option<&str>,
        now: Millis,
    ) -> Option<Verdict> {
        let caller = match session {
            Some(session) if self.by_session => Caller::Session(session.to_owned()),
            Some(_) | None => Caller::Address(subscriber_line(address)),
        };
        hit(self.general.as_deref()?, caller, now)
    }

    /// Counts a switch of `session`. `None` where the limiter is off.
    pub(crate) fn switch(&self, session: SessionId, now: Millis) -> Option<Verdict> {
        hit(self.switch.as_deref()?, session, now)
    }
}

// Returns an option to be the tail of its two callers.
fn hit<K: std::hash::Hash + Eq>(
    limiter: &Mutex<FixedWindows<K>>,
    key: K,
    now: Millis,
) -> Option<Verdict> {
    // Counters stay usable whatever happened to who held the lock.
    Some(limiter.lock().unwrap_or_else(PoisonError::into_inner).hit(key, now))
}

/// The part of an address that belongs to one line: IPv6 users have 2^64 addresses each.
fn subscriber_line(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis::new(0);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_limit_of_zero_is_off() {
        let off =
            HttpSettings { rate_limit_general: 0, rate_limit_switch: 0, ..HttpSettings::default() };
        let limits = Limits::new(&off);
        assert_eq!(limits.general(address("10.0.0.1"), None, NOW), None);
        assert_eq!(limits.switch(SessionId::from_bits(1), NOW), None);
    }

    #[test]
    fn callers_are_told_apart_by_their_line() {
        let table = [
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("2001:db8::1", "2001:db8::ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ];
        for (one, other, same) in table {
            assert_eq!(
                subscriber_line(address(one)) == subscriber_line(address(other)),
                same,
                "{one} {other}"
            );
        }
    }

    #[test]
    fn sessions_in_the_path_count_in_tests_only() {
        for (node_env, remaining) in [(NodeEnv::Test, 99), (NodeEnv::Production, 98)] {
            let limits = Limits::new(&HttpSettings { node_env, ..HttpSettings::default() });
            limits.general(address("10.0.0.1"), Some("a"), NOW).unwrap();
            let verdict = limits.general(address("10.0.0.1"), Some("b"), NOW).unwrap();
            assert_eq!(verdict.remaining, remaining);
        }
    }
}
