//! The client crate under test: it retries by itself, and each of its calls must still have one
//! effect and one answer. The only place where the suite uses code of SyncKairos.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use synckairos_client::{
    client::{Client, Config, SettingsError},
    error::ClientError,
};
use synckairos_protocol::wire::create::{parse_create, parse_switch};

use crate::{
    client::outcome::Completion,
    generator::Step,
    history::op::{F, Failure, Kind},
};

/// A call may take as long as a leader's loss does, and not much longer.
const DEADLINE: Duration = Duration::from_secs(8);

pub struct CrateClient {
    client: Client,
}

impl CrateClient {
    /// # Errors
    /// Where an address is none.
    pub fn new(addresses: impl IntoIterator<Item = String>) -> Result<Self, SettingsError> {
        let nodes = addresses.into_iter().map(|address| format!("http://{address}"));
        let config = Config { deadline: DEADLINE, ..Config::new(nodes) };
        Ok(Self { client: Client::new(config)? })
    }

    /// Carries a step out; `None` for steps that the crate has no call for.
    pub async fn perform(&self, step: &Step) -> Option<Completion> {
        let session = step.key.as_ref()?.parse().ok()?;
        let version = step.request["expected_version"].as_u64();
        let client = &self.client;
        Some(match step.f {
            F::Create => {
                let (new, on_outage) = parse_create(&step.request).ok()?;
                completion(step.f, client.create_with(&new, on_outage).await)
            }
            F::Start => completion(step.f, client.start(session, version).await),
            F::Switch => {
                let body = match &step.request {
                    Value::Null => serde_json::json!({}),
                    body => body.clone(),
                };
                completion(step.f, client.switch(session, parse_switch(&body).ok()?).await)
            }
            F::Pause => completion(step.f, client.pause(session, version).await),
            F::Resume => completion(step.f, client.resume(session, version).await),
            F::Complete => completion(step.f, client.complete(session, version).await),
            F::Delete => completion(step.f, client.delete(session).await),
            F::Read => completion(step.f, client.get(session).await),
            F::StaleRead => completion(step.f, client.get_stale(session).await),
            F::List | F::Batch | F::Time => return None,
        })
    }
}

fn completion<T: Serialize>(f: F, result: Result<T, ClientError>) -> Completion {
    match result {
        Ok(value) => {
            let value = serde_json::to_value(value).unwrap_or(Value::Null);
            Completion { kind: Kind::Ok, status: Some(200), value, error: None }
        }
        Err(error) => {
            let word = |effect| serde_json::to_value(effect).ok();
            let effect = word(error.effect()).and_then(|effect| effect.as_str().map(str::to_owned));
            let effect = effect.unwrap_or_default();
            let problem = error.problem().and_then(|problem| serde_json::to_value(problem).ok());
            let problem = problem.unwrap_or_default();
            let failure = Failure {
                kind: String::from(error.kind().as_str()),
                message: error.to_string(),
                context: problem["context"].clone(),
                details: problem["details"].clone(),
                retryable: error.is_retryable(),
                effect: effect.clone(),
            };
            let kind = if f.writes() && effect != "none" { Kind::Info } else { Kind::Fail };
            Completion { kind, status: error.status(), value: Value::Null, error: Some(failure) }
        }
    }
}
