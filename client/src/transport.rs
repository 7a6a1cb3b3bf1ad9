//! One request to one node, and what became of it.

use std::time::Duration;

use reqwest::{
    Method, Response,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use synckairos_protocol::wire::problem::Problem;

use crate::{
    client::{Config, SettingsError},
    error::Failure,
};

/// A session of 1000 participants with all the metadata it may have is a quarter of a megabyte, and
/// a batch answers with a hundred of them at most.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

#[derive(Clone, Debug)]
pub(crate) struct Transport {
    http: reqwest::Client,
}

/// A request, whichever node it goes to.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// JSON.
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) nature: Nature,
    /// The same for every time that the request is sent.
    pub(crate) key: Option<String>,
}

/// What sending a request twice does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// It changes nothing.
    Read,
    /// It has a key: the cluster does it once, and gives the first answer again.
    Keyed,
    /// Done twice is done once.
    Repeatable,
    /// Each arrival may do something.
    Once,
}

/// By which a node says that the members have changed.
const MEMBERSHIP: &str = "synckairos-membership";
/// Under which the cluster knows a request again.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Status and body as they came.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    retry_after: Option<Duration>,
    /// Revision of the cluster's membership, as far as the node knows.
    pub(crate) membership: Option<u64>,
}

impl Call {
    pub(crate) fn read(path: String) -> Self {
        Self { method: Method::GET, path, body: None, nature: Nature::Read, key: None }
    }

    /// With a key that no other request has.
    #[must_use]
    pub(crate) fn keyed(self) -> Self {
        let key = Some(uuid::Uuid::now_v7().to_string());
        Self { nature: Nature::Keyed, key, ..self }
    }
}

impl Transport {
    pub(crate) fn new(config: &Config) -> Result<Self, SettingsError> {
        // Whatever repeats or redirects a request behind our back would make "sent once" a lie.
        let http = reqwest::Client::builder()
            .connect_timeout(config.connect_timeout)
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .build()
            .map_err(SettingsError::Transport)?;
        Ok(Self { http })
    }

    /// The answer of one node, whatever its status.
    pub(crate) async fn send(
        &self,
        base: &str,
        call: &Call,
        timeout: Duration,
    ) -> Result<RawAnswer, Failure> {
        let url = format!("{base}{}", call.path);
        let mut request = self.http.request(call.method.clone(), url).timeout(timeout);
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        if let Some(key) = &call.key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let response = request.send().await.map_err(Failure::of_transport)?;
        let status = response.status().as_u16();
        // Whole seconds; the form with a date is not used by us.
        let retry_after = number(&response, RETRY_AFTER.as_str()).map(Duration::from_secs);
        let membership = number(&response, MEMBERSHIP);
        let body = read_body(response).await?;
        Ok(RawAnswer { status, body, retry_after, membership })
    }
}

impl RawAnswer {
    /// The value of a success, or what the error answer says.
    pub(crate) fn into_value<T>(
        self,
        decode: fn(&[u8]) -> serde_json::Result<T>,
    ) -> Result<T, Failure> {
        let Self { status, body, retry_after, .. } = self;
        let unreadable = |what: &str, error: serde_json::Error| Failure::Unreadable {
            status,
            reason: format!("its body is no {what}: {error}"),
        };
        if matches!(status, 200..300) {
            return decode(&body).map_err(|error| unreadable("answer of ours", error));
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(Problem { error }) => {
                Err(Failure::Refused { status, problem: Box::new(error), retry_after })
            }
            Err(error) => Err(unreadable("error of ours", error)),
        }
    }
}

async fn read_body(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Failure::of_transport)? {
        if ANSWER_BYTES_MAX < body.len() + chunk.len() {
            return Err(Failure::Unreadable {
                status: response.status().as_u16(),
                reason: format!("more than {ANSWER_BYTES_MAX} bytes"),
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn number(response: &Response, header: &str) -> Option<u64> {
    response.headers().get(header)?.to_str().ok()?.parse().ok()
}
