//! A plain HTTP client: what it sends is what is written, what it shows is what came.

use std::{net::SocketAddr, time::Duration};

use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};

/// Far beyond what any request may take.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20);

thread_local! {
    /// Connections are driven by the runtime that opened them: each test has its own.
    static CLIENT: reqwest::Client = reqwest::Client::builder()
        .timeout(GIVE_UP_AFTER)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .expect("a client without TLS can always be made");
}

/// One node's client port.
#[derive(Clone, Debug)]
pub struct Http {
    base: String,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Http {
    pub fn new(address: SocketAddr) -> Self {
        Self { base: format!("http://{address}") }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        CLIENT.with(|client| client.request(method, format!("{}{path}", self.base)))
    }

    /// # Panics
    /// Where no answer comes.
    pub async fn get(&self, path: &str) -> Answer {
        must(self.request(Method::GET, path)).await
    }

    /// # Panics
    /// Where no answer comes.
    pub async fn delete(&self, path: &str) -> Answer {
        must(self.request(Method::DELETE, path)).await
    }

    /// Without a body.
    ///
    /// # Panics
    /// Where no answer comes.
    pub async fn post(&self, path: &str) -> Answer {
        must(self.request(Method::POST, path)).await
    }

    /// # Panics
    /// Where no answer comes.
    pub async fn post_json(&self, path: &str, body: &Value) -> Answer {
        must(self.request(Method::POST, path).json(body)).await
    }

    /// # Panics
    /// Where no answer comes.
    pub async fn create(&self, body: &Value) -> Answer {
        self.post_json("/v1/sessions", body).await
    }

    /// A POST under an idempotency key, with a body where it is not null, where there may be nobody
    /// to answer.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn try_post_keyed(
        &self,
        path: &str,
        body: &Value,
        key: &str,
    ) -> reqwest::Result<Answer> {
        let request = self.request(Method::POST, path).header("idempotency-key", key);
        send(if body.is_null() { request } else { request.json(body) }).await
    }

    /// As `try_post_keyed`, where there is somebody.
    ///
    /// # Panics
    /// Where no answer comes.
    pub async fn post_keyed(&self, path: &str, body: &Value, key: &str) -> Answer {
        let answer = self.try_post_keyed(path, body, key).await;
        answer.unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    /// `start`, `switch`, `pause`, `resume` or `complete`, without a body.
    ///
    /// # Panics
    /// Where no answer comes.
    pub async fn command(&self, session: &str, verb: &str) -> Answer {
        self.post(&format!("/v1/sessions/{session}/{verb}")).await
    }

    /// # Panics
    /// Where no answer comes.
    pub async fn switch_to(&self, session: &str, next: &str) -> Answer {
        let body = json!({ "next_participant_id": next });
        self.post_json(&format!("/v1/sessions/{session}/switch"), &body).await
    }

    /// As `command`, where there may be nobody to answer.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn try_command(&self, session: &str, verb: &str) -> reqwest::Result<Answer> {
        send(self.request(Method::POST, &format!("/v1/sessions/{session}/{verb}"))).await
    }

    /// # Errors
    /// Why there is no answer.
    pub async fn try_get(&self, path: &str) -> reqwest::Result<Answer> {
        send(self.request(Method::GET, path)).await
    }

    /// # Panics
    /// Where no answer comes.
    pub async fn session(&self, id: &str) -> Answer {
        self.get(&format!("/v1/sessions/{id}")).await
    }

    /// The state of a session that exists.
    ///
    /// # Panics
    /// Where the answer is not 200.
    pub async fn state(&self, id: &str) -> Value {
        self.session(id).await.expect(200).data()
    }

    /// `GET /v1/node`.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn node(&self) -> Result<Value, String> {
        let answer = self.try_get("/v1/node").await.map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(answer.json()) } else { Err(answer.text) }
    }

    /// The sum of a metric over its labels; zero where it has never been counted.
    ///
    /// # Panics
    /// Where the metrics cannot be read.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.expect(200).text;
        text.lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with(['{', ' ']))
            .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

/// # Panics
/// Where no answer comes.
pub async fn must(request: RequestBuilder) -> Answer {
    send(request).await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
}

/// # Errors
/// Why there is no answer.
pub async fn send(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, text: response.text().await? })
}

impl Answer {
    /// # Panics
    /// Where it is another status.
    #[must_use]
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// # Panics
    /// Where the body is not JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.text);
        parsed.unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }

    /// What is in the envelope.
    ///
    /// # Panics
    /// Where there is none.
    #[track_caller]
    pub fn data(&self) -> Value {
        let data = self.json().get("data").cloned();
        data.unwrap_or_else(|| panic!("no data in {}", self.text))
    }

    /// # Panics
    /// Where there is none.
    #[track_caller]
    pub fn error(&self) -> Value {
        let error = self.json().get("error").cloned();
        error.unwrap_or_else(|| panic!("no error in {}", self.text))
    }

    /// v3's word for the error.
    pub fn kind(&self) -> String {
        let body: Option<Value> = serde_json::from_str(&self.text).ok();
        body.and_then(|body| Some(body.get("error")?.get("kind")?.as_str()?.to_owned()))
            .unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
