//! The OpenAPI description of the client port: which operations there are, and what they answer.

mod forms;

use http::Method;
use utoipa::{
    OpenApi,
    openapi::{
        Content, Info, OpenApi as Document, Ref, Required,
        path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        response::ResponseBuilder,
    },
};

use super::route::{Command, Route};
use forms::Forms;

/// What is written about an operation.
struct Described {
    route: Route<'static>,
    method: Method,
    summary: &'static str,
    query: &'static [(&'static str, &'static str)],
    body: Option<&'static str>,
    /// Status, and the form of the answer.
    success: (&'static str, &'static str),
    failures: &'static [&'static str],
}

const ID: &str = "id";
const READ: &[&str] = &["400", "404", "429", "503"];
const CHANGE: &[&str] = &["400", "404", "409", "413", "422", "429", "503", "504"];

const CONSISTENCY: (&str, &str) = (
    "consistency",
    "linearizable, the default: the latest state; stale: what this node has, at once, with \
     revision, as_of_ms and leader_heard_ms, which say how old that may be",
);
const LIST: &[(&str, &str)] = &[
    ("status", "pending, running, paused, expired or completed; all of them where absent"),
    ("limit", "Sessions on the page, 1 to 200; 50 where absent"),
    ("cursor", "next_cursor of the page before"),
    CONSISTENCY,
];
const SINCE: &[(&str, &str)] = &[(
    "since",
    "The last version that was seen: every update after it comes first. A client that comes back \
     sends the last event's id as Last-Event-ID instead",
)];
const IDEMPOTENCY_KEY: &str = "Up to 255 characters of visible ASCII. Within 24 hours the same request with the same key has \
     one effect and gets the first answer again; another request with it is refused with 422";

const fn command(command: Command, summary: &'static str) -> Described {
    Described {
        route: Route::Command(ID, command),
        method: Method::POST,
        summary,
        query: &[],
        body: Some("CommandRequest"),
        success: ("200", "SessionResponse"),
        failures: CHANGE,
    }
}

const fn read(route: Route<'static>, summary: &'static str, form: &'static str) -> Described {
    Described {
        route,
        method: Method::GET,
        summary,
        query: &[],
        body: None,
        success: ("200", form),
        failures: &[],
    }
}

fn operations() -> [Described; 17] {
    [
        Described {
            route: Route::Sessions,
            method: Method::POST,
            summary: "Create a session",
            query: &[],
            body: Some("CreateSessionRequest"),
            success: ("201", "SessionResponse"),
            failures: &["400", "409", "413", "422", "429", "503", "504"],
        },
        Described {
            query: LIST,
            failures: &["400", "429", "503"],
            ..read(Route::Sessions, "List sessions, ordered by id", "SessionListResponse")
        },
        Described {
            query: &[CONSISTENCY],
            failures: READ,
            ..read(Route::Session(ID), "Read a session, linearizably", "SessionResponse")
        },
        Described {
            route: Route::Batch,
            body: Some("BatchRequest"),
            success: ("200", "BatchResponse"),
            ..command(Command::Start, "Take several commands together, or none of them")
        },
        Described {
            failures: READ,
            query: SINCE,
            ..read(Route::Events(ID), "Follow a session: its state, then every update", "")
        },
        Described {
            route: Route::Session(ID),
            method: Method::DELETE,
            summary: "Delete a session, whether or not it exists",
            query: &[],
            body: None,
            success: ("204", ""),
            failures: &["400", "422", "429", "503", "504"],
        },
        command(Command::Start, "Start a pending session"),
        Described {
            body: Some("SwitchCycleRequest"),
            success: ("200", "SwitchCycleResponse"),
            ..command(Command::Switch, "End the active participant's cycle")
        },
        command(Command::Pause, "Pause a running session"),
        command(Command::Resume, "Resume a paused session"),
        command(Command::Complete, "Complete a session"),
        Described {
            failures: &["429"],
            ..read(Route::Time, "Cluster time, to correct a client's clock by", "TimeResponse")
        },
        read(Route::Node, "This node's place in the cluster", "NodeResponse"),
        read(
            Route::ClusterStatus,
            "How the cluster is, as this node can tell",
            "ClusterStatusResponse",
        ),
        read(
            Route::ClusterNodes,
            "The members of the cluster and where they answer clients",
            "ClusterNodesResponse",
        ),
        read(Route::Health, "Is the process up?", "HealthResponse"),
        Described {
            failures: &["503"],
            ..read(Route::Ready, "Can this node serve?", "ReadyResponse")
        },
    ]
}

/// The document that `/api-docs.json` serves.
pub(super) fn specification() -> Document {
    let mut document = Forms::openapi();
    document.info = Info::new("SyncKairos", env!("CARGO_PKG_VERSION"));
    document.info.description =
        Some(String::from("Session clocks that every participant agrees on."));
    for described in &operations() {
        let path = described.route.pattern().replace(":id", "{id}");
        let methods = match described.method {
            Method::POST => vec![HttpMethod::Post],
            Method::DELETE => vec![HttpMethod::Delete],
            _ => vec![HttpMethod::Get],
        };
        document.paths.add_path_operation(path, methods, operation(described));
    }
    document
}

fn operation(described: &Described) -> OperationBuilder {
    let mut operation = OperationBuilder::new().summary(Some(described.summary));
    if described.route.session().is_some() {
        operation = operation.parameter(
            ParameterBuilder::new()
                .name("id")
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some("Session id, a UUID; its spelling counts"))
                .schema(Some(<String as utoipa::PartialSchema>::schema())),
        );
    }
    for (name, description) in described.query {
        operation = operation.parameter(text_parameter(name, ParameterIn::Query, description));
    }
    if described.method != Method::GET {
        let parameter =
            text_parameter(super::idempotency::NAME, ParameterIn::Header, IDEMPOTENCY_KEY);
        operation = operation.parameter(parameter);
    }
    if let Some(form) = described.body {
        let body = RequestBodyBuilder::new()
            .content("application/json", content(form))
            .required(Some(match form {
                "CreateSessionRequest" | "BatchRequest" => Required::True,
                _ => Required::False,
            }))
            .build();
        operation = operation.request_body(Some(body));
    }
    let (status, form) = described.success;
    let mut success = ResponseBuilder::new().description(described.summary);
    if !form.is_empty() {
        success = success.content("application/json", content(form));
    }
    if let Route::Events(_) = described.route {
        let events = Content::new(Some(<String as utoipa::PartialSchema>::schema()));
        success = success.content("text/event-stream", events);
    }
    operation = operation.response(status, success.build());
    for status in described.failures {
        let form = match (described.route, *status) {
            (Route::Ready, _) => "NotReadyResponse",
            _ => "ErrorResponse",
        };
        let failure = ResponseBuilder::new()
            .description("Why not, whether to retry, and what may have happened")
            .content("application/json", content(form));
        operation = operation.response(*status, failure.build());
    }
    operation
}

fn text_parameter(name: &str, place: ParameterIn, description: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(<String as utoipa::PartialSchema>::schema()))
}

fn content(form: &str) -> Content {
    Content::new(Some(Ref::from_schema_name(form)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn document() -> Value {
        serde_json::to_value(specification()).unwrap()
    }

    fn keys(value: &Value) -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn every_route_of_the_contract_is_described() {
        let document = document();
        assert!(document["openapi"].as_str().unwrap().starts_with("3."));
        for described in &operations() {
            let path = described.route.pattern().replace(":id", "{id}");
            let method = described.method.as_str().to_lowercase();
            let operation = &document["paths"][&path][&method];
            assert_eq!(operation["summary"], described.summary, "{method} {path}");
            assert!(described.route.methods().contains(&described.method), "{method} {path}");
        }
    }

    #[test]
    fn described_forms_have_the_keys_of_the_real_ones() {
        let document = document();
        let golden = [
            (
                "SyncState",
                "/data",
                include_str!("../../../../protocol/golden/wire/session_with_everything.json"),
            ),
            (
                "SyncParticipant",
                "/data/participants/0",
                include_str!("../../../../protocol/golden/wire/session_with_everything.json"),
            ),
            ("SessionListResponse", "", include_str!("../../../../protocol/golden/wire/list.json")),
            ("BatchResults", "/data", include_str!("../../../../protocol/golden/wire/batch.json")),
            (
                "SwitchCycleResult",
                "/data",
                include_str!("../../../../protocol/golden/wire/switch.json"),
            ),
            ("TimeResponse", "", include_str!("../../../../protocol/golden/wire/time.json")),
            (
                "ClusterNodesResponse",
                "",
                include_str!("../../../../protocol/golden/wire/nodes.json"),
            ),
            (
                "ClusterMember",
                "/nodes/0",
                include_str!("../../../../protocol/golden/wire/nodes.json"),
            ),
            ("NodeResponse", "", include_str!("../../../../protocol/golden/wire/node.json")),
        ];
        for (form, pointer, text) in golden {
            let real: Value = serde_json::from_str(text).unwrap();
            let described = &document["components"]["schemas"][form]["properties"];
            assert_eq!(keys(described), keys(real.pointer(pointer).unwrap()), "{form}");
        }
    }

    #[test]
    fn nothing_refers_to_a_form_that_is_not_there() {
        let document = document();
        let text = document.to_string();
        let forms = keys(&document["components"]["schemas"]);
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(forms.contains(name), "{name}");
        }
    }
}
