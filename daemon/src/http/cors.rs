//! Which web pages may call, and the answer to a browser that asks first.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::reply::Reply;

const METHODS: &str = "GET,HEAD,PUT,PATCH,POST,DELETE";

/// Adds what every answer carries.
pub(super) fn apply(headers: &mut HeaderMap, origin: &str) {
    // An origin that is no header value was refused when the configuration was read, or allows
    // nobody.
    if let Ok(value) = HeaderValue::from_str(origin) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
    }
    if origin != "*" {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
}

/// The answer to `OPTIONS`, whatever the path.
pub(super) fn preflight(request: &HeaderMap) -> Reply {
    let mut reply = Reply::empty(StatusCode::NO_CONTENT)
        .with(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS))
        .with(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"))
        .with(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    if let Some(wanted) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        reply.headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_origin_varies_and_a_star_does_not() {
        for (origin, varies) in [("*", false), ("https://play.example", true)] {
            let mut headers = HeaderMap::new();
            apply(&mut headers, origin);
            assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], origin);
            assert_eq!(headers.contains_key(header::VARY), varies);
        }
    }

    #[test]
    fn a_preflight_echoes_the_headers_that_were_asked_for() {
        let mut request = HeaderMap::new();
        request.insert(
            header::ACCESS_CONTROL_REQUEST_HEADERS,
            HeaderValue::from_static("content-type,x-request-id"),
        );
        let reply = preflight(&request);
        assert_eq!(reply.status, StatusCode::NO_CONTENT);
        assert_eq!(
            reply.headers[header::ACCESS_CONTROL_ALLOW_HEADERS],
            "content-type,x-request-id"
        );
        assert!(
            !preflight(&HeaderMap::new())
                .headers
                .contains_key(header::ACCESS_CONTROL_ALLOW_HEADERS)
        );
    }
}
