//! The JSON forms, described once more for readers. Tests hold them against the real ones.
#![allow(dead_code, reason = "the types are descriptions and never made")]

use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

#[derive(OpenApi)]
#[openapi(components(schemas(
    CreateSessionRequest,
    CreateParticipant,
    GroupBank,
    TimeoutRule,
    SwitchCycleRequest,
    CommandRequest,
    BatchRequest,
    BatchCommand,
    BatchResponse,
    BatchResults,
    SessionResponse,
    SessionListResponse,
    SyncState,
    SyncParticipant,
    SwitchCycleResponse,
    SwitchCycleResult,
    TimeResponse,
    NodeResponse,
    ClusterStatusResponse,
    ClusterNode,
    ClusterNodesResponse,
    ClusterMember,
    HealthResponse,
    ReadyResponse,
    NotReadyResponse,
    ErrorResponse,
    ErrorBody,
)))]
pub(super) struct Forms;

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum SyncMode {
    PerParticipant,
    PerCycle,
    PerGroup,
    Global,
    CountUp,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum Status {
    Pending,
    Running,
    Paused,
    Expired,
    Completed,
}

#[derive(ToSchema)]
struct CreateSessionRequest {
    #[schema(format = "uuid")]
    session_id: String,
    #[schema(inline)]
    sync_mode: SyncMode,
    #[schema(min_items = 1, max_items = 1_000)]
    participants: Vec<CreateParticipant>,
    #[schema(minimum = 1_000, maximum = 86_400_000)]
    total_time_ms: u64,
    #[schema(minimum = 1_000, maximum = 86_400_000)]
    time_per_cycle_ms: Option<u64>,
    #[schema(maximum = 60_000)]
    increment_ms: Option<u64>,
    #[schema(minimum = 1_000, maximum = 86_400_000)]
    max_time_ms: Option<u64>,
    /// Kept and returned; at most 16 KiB.
    metadata: Option<Value>,
    /// Banks of groups, in `per_group`.
    groups: Option<Vec<GroupBank>>,
    on_timeout: Option<TimeoutRule>,
    auto_advance: Option<bool>,
    /// Up to 8 thresholds of the running clock that are announced when it crosses them.
    #[schema(max_items = 8)]
    warnings_ms: Option<Vec<u64>>,
    /// Who starts; the first participant where absent.
    #[schema(format = "uuid")]
    active_participant_id: Option<String>,
    /// What an outage of the whole cluster does to the running clock; `charge` where absent.
    #[schema(inline)]
    on_outage: Option<OnOutage>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum OnOutage {
    Charge,
    Freeze,
}

#[derive(ToSchema)]
struct CreateParticipant {
    #[schema(format = "uuid")]
    participant_id: String,
    participant_index: u64,
    #[schema(minimum = 1_000, maximum = 86_400_000)]
    total_time_ms: u64,
    #[schema(format = "uuid")]
    group_id: Option<String>,
}

#[derive(ToSchema)]
struct GroupBank {
    #[schema(format = "uuid")]
    group_id: String,
    total_time_ms: u64,
}

/// What happens when the running clock falls due.
#[derive(ToSchema)]
struct TimeoutRule {
    /// `notify`, `skip_cycle`, `end_session` or `auto_action`
    r#type: String,
    /// With `auto_action`: the word that the event carries.
    action: Option<String>,
}

#[derive(ToSchema)]
struct SwitchCycleRequest {
    #[schema(format = "uuid")]
    next_participant_id: Option<String>,
    /// Refused with 409 where somebody else is active.
    #[schema(format = "uuid")]
    current_participant_id: Option<String>,
    /// Refused with 409 where the session is at another version.
    #[schema(minimum = 1)]
    expected_version: Option<u64>,
}

#[derive(ToSchema)]
struct CommandRequest {
    /// Refused with 409 where the session is at another version.
    #[schema(minimum = 1)]
    expected_version: Option<u64>,
}

/// All of the commands take effect, in their order, or none does.
#[derive(ToSchema)]
struct BatchRequest {
    #[schema(min_items = 1, max_items = 100)]
    commands: Vec<BatchCommand>,
}

/// The fields of the body that the action's own route takes come beside these.
#[derive(ToSchema)]
struct BatchCommand {
    /// `create`, `start`, `switch`, `pause`, `resume`, `complete` or `delete`
    action: String,
    #[schema(format = "uuid")]
    session_id: String,
    #[schema(minimum = 1)]
    expected_version: Option<u64>,
}

#[derive(ToSchema)]
struct BatchResponse {
    data: BatchResults,
}

#[derive(ToSchema)]
struct BatchResults {
    /// For each command what its own route has as `data`; null for a delete.
    results: Vec<Option<Value>>,
}

#[derive(ToSchema)]
struct SessionResponse {
    data: SyncState,
}

#[derive(ToSchema)]
struct SessionListResponse {
    data: Vec<SyncState>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

#[derive(ToSchema)]
struct SyncState {
    session_id: String,
    #[schema(inline)]
    sync_mode: SyncMode,
    #[schema(inline)]
    status: Status,
    version: u64,
    participants: Vec<SyncParticipant>,
    active_participant_id: Option<String>,
    total_time_ms: u64,
    time_per_cycle_ms: Option<u64>,
    /// Start of the stretch that is not charged yet.
    cycle_started_at: Option<String>,
    session_started_at: Option<String>,
    session_completed_at: Option<String>,
    increment_ms: u64,
    max_time_ms: Option<u64>,
    created_at: String,
    updated_at: String,
    groups: Option<Vec<GroupBank>>,
    on_timeout: Option<TimeoutRule>,
    auto_advance: Option<bool>,
    /// `freeze`, or absent.
    #[schema(inline)]
    on_outage: Option<OnOutage>,
    warnings_ms: Option<Vec<u64>>,
    metadata: Option<Value>,
    /// What the running clock had left at the last change.
    time_remaining_ms: Option<u64>,
    /// Time that the session had run at the last change.
    elapsed_ms: u64,
    /// When the running clock falls due, in milliseconds since the Unix epoch.
    deadline_ms: Option<u64>,
    expired_at: Option<String>,
}

#[derive(ToSchema)]
struct SyncParticipant {
    participant_id: String,
    participant_index: u64,
    /// The bank that is left as of the last change.
    total_time_ms: u64,
    time_used_ms: u64,
    time_remaining_ms: u64,
    cycle_count: u64,
    is_active: bool,
    has_expired: bool,
    group_id: Option<String>,
    expired_at: Option<String>,
}

#[derive(ToSchema)]
struct SwitchCycleResponse {
    data: SwitchCycleResult,
}

#[derive(ToSchema)]
struct SwitchCycleResult {
    session_id: String,
    active_participant_id: Option<String>,
    cycle_started_at: Option<String>,
    participants: Vec<SyncParticipant>,
    #[schema(inline)]
    status: Status,
    expired_participant_id: Option<String>,
    version: u64,
}

#[derive(ToSchema)]
struct TimeResponse {
    timestamp_ms: u64,
    server_version: String,
    drift_tolerance_ms: u64,
}

#[derive(ToSchema)]
struct NodeResponse {
    node_id: u64,
    role: String,
    term: u64,
    leader_id: Option<u64>,
    leader_http: Option<String>,
    last_log: u64,
    applied: u64,
    version: String,
}

#[derive(ToSchema)]
struct ClusterStatusResponse {
    cluster_id: String,
    /// The node that answers.
    asked: u64,
    /// `cluster`, or `some_nodes` or `this_node_only` where no majority answered.
    view: String,
    /// `HEALTHY`, `DEGRADED` or `NO_QUORUM`
    health: String,
    /// How many more voters may fail, whichever they are.
    tolerates: u64,
    summary: String,
    leader: Option<u64>,
    term: u64,
    level: u16,
    sessions: u64,
    cluster_time_ms: u64,
    warnings: Vec<String>,
    nodes: Vec<ClusterNode>,
}

/// The fields from `term` on are absent where the node did not answer.
#[derive(ToSchema)]
struct ClusterNode {
    id: u64,
    peer: String,
    http: String,
    voter: bool,
    reached: bool,
    /// Does it count for the majority?
    well: bool,
    role: String,
    warnings: Vec<String>,
    term: Option<u64>,
    last_log: Option<u64>,
    applied: Option<u64>,
    lag_entries: Option<u64>,
    last_contact_ms: Option<u64>,
    round_trip_ms: Option<u64>,
    wall_offset_ms: Option<i64>,
    cluster_time_ahead_ms: Option<i64>,
    disk_free_bytes: Option<u64>,
    disk_total_bytes: Option<u64>,
    /// `enough`, `low` or `exhausted`
    disk_room: Option<String>,
    sessions: Option<u64>,
    version: Option<String>,
    level_newest: Option<u16>,
    protocol_newest: Option<u16>,
    certificate_days_left: Option<u64>,
}

#[derive(ToSchema)]
struct ClusterNodesResponse {
    cluster_id: String,
    /// Ordered by id.
    nodes: Vec<ClusterMember>,
    leader: Option<u64>,
    /// Of two answers, that with the higher one is newer.
    membership_revision: u64,
}

#[derive(ToSchema)]
struct ClusterMember {
    id: u64,
    /// `host:port`
    http: String,
    voter: bool,
}

#[derive(ToSchema)]
struct HealthResponse {
    /// `ok`
    status: String,
}

#[derive(ToSchema)]
struct ReadyResponse {
    /// `ready`
    status: String,
}

#[derive(ToSchema)]
struct NotReadyResponse {
    /// `not_ready`
    status: String,
    error: String,
}

#[derive(ToSchema)]
struct ErrorResponse {
    error: ErrorBody,
}

#[derive(ToSchema)]
struct ErrorBody {
    code: String,
    message: String,
    /// Broken rules by field, or the two versions of a conflict.
    details: Option<Value>,
    /// On 429 only.
    retry_after_seconds: Option<u64>,
    retryable: bool,
    kind: String,
    context: Value,
    /// `none` or `unknown`: may the request have taken effect all the same?
    effect: String,
}
