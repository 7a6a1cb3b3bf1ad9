//! An answer before it is put on the wire: small, whole and in memory.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    pub(super) fn json<T: Serialize>(status: StatusCode, form: &T) -> Self {
        let body = serde_json::to_vec(form).expect("forms have string keys and finite numbers");
        Self::typed(status, HeaderValue::from_static(JSON), body)
    }

    pub(super) fn typed(
        status: StatusCode,
        content_type: HeaderValue,
        body: impl Into<Bytes>,
    ) -> Self {
        let mut reply = Self::empty(status);
        reply.headers.insert(header::CONTENT_TYPE, content_type);
        reply.body = body.into();
        reply
    }

    #[must_use]
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(super) fn is_json(&self) -> bool {
        self.headers.get(header::CONTENT_TYPE).is_some_and(|value| value == JSON)
    }

    /// The response; the answer to `HEAD` keeps its length and loses its body.
    pub(super) fn into_response(self, to_head: bool) -> Response<Body> {
        let length = self.body.len();
        let body = if to_head { Body::empty() } else { Body::from(self.body) };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        if to_head && length != 0 {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        response
    }
}

const JSON: &str = "application/json; charset=utf-8";
