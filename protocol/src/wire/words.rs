//! How single values of the domain are spelled in JSON: modes, instants, time-out rules.

use serde::{Deserialize, Serialize};

use crate::session::{OnTimeout, SyncMode};

/// Every mode with the word that clients use for it.
pub const MODES: [(SyncMode, &str); 5] = [
    (SyncMode::PerParticipant, "per_participant"),
    (SyncMode::PerCycle, "per_cycle"),
    (SyncMode::PerGroup, "per_group"),
    (SyncMode::Global, "global"),
    (SyncMode::CountUp, "count_up"),
];

/// The mode of this word; `None` where there is no such mode.
pub fn mode_from_word(word: &str) -> Option<SyncMode> {
    MODES.iter().find(|(_, spelled)| *spelled == word).map(|(mode, _)| *mode)
}

pub fn mode_word(mode: SyncMode) -> &'static str {
    match mode {
        SyncMode::PerParticipant => "per_participant",
        SyncMode::PerCycle => "per_cycle",
        SyncMode::PerGroup => "per_group",
        SyncMode::Global => "global",
        SyncMode::CountUp => "count_up",
    }
}

/// `on_timeout` as an object with `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TimeoutRule {
    Notify,
    SkipCycle,
    EndSession,
    AutoAction { action: String },
}

impl From<&OnTimeout> for TimeoutRule {
    fn from(rule: &OnTimeout) -> Self {
        match rule {
            OnTimeout::Notify => Self::Notify,
            OnTimeout::SkipCycle => Self::SkipCycle,
            OnTimeout::EndSession => Self::EndSession,
            OnTimeout::AutoAction { action } => Self::AutoAction { action: action.clone() },
        }
    }
}

impl From<TimeoutRule> for OnTimeout {
    fn from(rule: TimeoutRule) -> Self {
        match rule {
            TimeoutRule::Notify => Self::Notify,
            TimeoutRule::SkipCycle => Self::SkipCycle,
            TimeoutRule::EndSession => Self::EndSession,
            TimeoutRule::AutoAction { action } => Self::AutoAction { action },
        }
    }
}

/// For `#[serde(with)]`: a mode as its word.
pub(super) mod mode {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::session::SyncMode;

    pub(crate) fn serialize<S: Serializer>(
        mode: &SyncMode,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(super::mode_word(*mode))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SyncMode, D::Error> {
        let word = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        super::mode_from_word(&word)
            .ok_or_else(|| de::Error::custom(format!("unknown sync mode {word:?}")))
    }
}

/// For `#[serde(with)]`: an instant in ISO 8601.
pub(super) mod iso {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::time::Stamp;

    pub(crate) fn serialize<S: Serializer>(
        stamp: &Stamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&stamp.to_iso())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Stamp, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Stamp::from_iso(&text)
            .ok_or_else(|| de::Error::custom(format!("not an ISO 8601 instant: {text:?}")))
    }
}

/// For `#[serde(with)]`: an instant in ISO 8601, or null.
pub(super) mod iso_option {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::time::Stamp;

    pub(crate) fn serialize<S: Serializer>(
        stamp: &Option<Stamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match stamp {
            Some(stamp) => serializer.serialize_str(&stamp.to_iso()),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Stamp>, D::Error> {
        let Some(text) = Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let stamp = Stamp::from_iso(&text);
        stamp
            .map(Some)
            .ok_or_else(|| de::Error::custom(format!("not an ISO 8601 instant: {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_has_one_word() {
        for (mode, word) in MODES {
            assert_eq!(mode_word(mode), word);
            assert_eq!(mode_from_word(word), Some(mode));
        }
        assert_eq!(mode_from_word("Per_Cycle"), None);
    }
}
