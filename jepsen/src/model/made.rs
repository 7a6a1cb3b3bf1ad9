//! A session as its creator asked for it, and as a client was shown it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Bank, Mode, Seat, Session, Status};
use crate::check::state::stamp_ms;

impl Session {
    /// The session that this body of `POST /v1/sessions` makes at `now_ms`.
    pub fn made(request: &Value, now_ms: u64) -> Option<Self> {
        let mode = mode(request)?;
        let seats: Vec<Seat> =
            request["participants"].as_array()?.iter().map(seat).collect::<Option<_>>()?;
        let begins = request["active_participant_id"].as_str();
        let first = seats.iter().position(|seat| Some(seat.id.as_str()) == begins).unwrap_or(0);
        let given = |field: &str| request.get(field).filter(|value| !value.is_null()).cloned();
        Some(Self {
            id: request["session_id"].as_str()?.to_owned(),
            mode,
            version: 1,
            status: Status::Pending,
            groups: if mode == Mode::PerGroup { banks(request, &seats) } else { Vec::new() },
            seats,
            active: None,
            since_ms: None,
            first,
            total_ms: request["total_time_ms"].as_u64()?,
            per_cycle_ms: request["time_per_cycle_ms"].as_u64(),
            increment_ms: request["increment_ms"].as_u64().unwrap_or(0),
            max_ms: request["max_time_ms"].as_u64(),
            on_timeout: given("on_timeout").or_else(|| given("action_on_timeout")),
            auto_advance: request["auto_advance"].as_bool(),
            freeze: request["on_outage"] == "freeze",
            warnings_ms: numbers(&request["warnings_ms"]),
            metadata: given("metadata"),
            elapsed_ms: 0,
            cycle_ms: 0,
            created_ms: now_ms,
            updated_ms: now_ms,
            started_ms: None,
            completed_ms: None,
            expired_ms: None,
        })
    }

    /// The session that looks like this. `None` where that does not say everything.
    pub fn seen(state: &Value) -> Option<Self> {
        let request = state;
        let mut session = Self::made(request, point(state, "created_at")?)?;
        for (seat, shown) in session.seats.iter_mut().zip(state["participants"].as_array()?) {
            seat.used_ms = shown["time_used_ms"].as_u64()?;
            seat.cycles = shown["cycle_count"].as_u64()?;
            seat.expired_ms = point(shown, "expired_at");
        }
        session.version = state["version"].as_u64()?;
        session.status = match state["status"].as_str()? {
            "pending" => Status::Pending,
            "running" => Status::Running,
            "paused" => Status::Paused,
            "expired" => Status::Expired,
            "completed" => Status::Completed,
            _ => return None,
        };
        let active = state["active_participant_id"].as_str();
        session.active = session.seats.iter().position(|seat| Some(seat.id.as_str()) == active);
        session.since_ms = point(state, "cycle_started_at");
        session.elapsed_ms = state["elapsed_ms"].as_u64()?;
        let limit = session.per_cycle_ms.unwrap_or(session.total_ms);
        let left = state["time_remaining_ms"].as_u64();
        session.cycle_ms = left.map_or(0, |left| limit.saturating_sub(left));
        session.updated_ms = point(state, "updated_at")?;
        session.started_ms = point(state, "session_started_at");
        session.completed_ms = point(state, "session_completed_at");
        session.expired_ms = point(state, "expired_at");
        Some(session)
    }
}

fn mode(request: &Value) -> Option<Mode> {
    match request["sync_mode"].as_str()? {
        "per_participant" => Some(Mode::PerParticipant),
        "per_cycle" => Some(Mode::PerCycle),
        "per_group" => Some(Mode::PerGroup),
        "global" => Some(Mode::Global),
        "count_up" => Some(Mode::CountUp),
        _ => None,
    }
}

fn seat(request: &Value) -> Option<Seat> {
    Some(Seat {
        id: request["participant_id"].as_str()?.to_owned(),
        index: request["participant_index"].as_u64()?,
        group: request["group_id"].as_str().map(str::to_owned),
        bank_ms: request["total_time_ms"].as_u64()?,
        used_ms: 0,
        cycles: 0,
        expired_ms: None,
    })
}

/// As listed; a group that is not has the sum of what its members have.
fn banks(request: &Value, seats: &[Seat]) -> Vec<Bank> {
    let mut banks: BTreeMap<String, u64> = BTreeMap::new();
    for seat in seats {
        if let Some(group) = &seat.group {
            *banks.entry(group.clone()).or_default() += seat.bank_ms;
        }
    }
    for listed in request["groups"].as_array().into_iter().flatten() {
        if let (Some(group), Some(time)) =
            (listed["group_id"].as_str(), listed["total_time_ms"].as_u64())
        {
            banks.insert(group.to_owned(), time);
        }
    }
    banks.into_iter().map(|(group, left_ms)| Bank { group, left_ms }).collect()
}

fn numbers(list: &Value) -> Vec<u64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
}

fn point(state: &Value, field: &str) -> Option<u64> {
    stamp_ms(state, field).and_then(|stamp| u64::try_from(stamp).ok())
}
