//! Weak entity tags on JSON, so that a client which has the state already gets 304.

use std::hash::{DefaultHasher, Hasher};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::reply::Reply;

/// Tags a JSON reply, and empties it where the client's copy is the same.
pub(super) fn revalidate(reply: Reply, method: &Method, request: &HeaderMap) -> Reply {
    if !reply.is_json() || reply.body.is_empty() {
        return reply;
    }
    let tag = tag(&reply.body);
    let reads = method == Method::GET || method == Method::HEAD;
    let unchanged = reads && reply.status == StatusCode::OK && holds(request, &tag);
    // The tag is made of hexadecimal digits and quotes.
    let Ok(value) = HeaderValue::from_str(&tag) else { return reply };
    let mut reply = reply.with(header::ETAG, value);
    if unchanged {
        reply.status = StatusCode::NOT_MODIFIED;
        reply.headers.remove(header::CONTENT_TYPE);
        reply.body.clear();
    }
    reply
}

/// Length and hash: the same on every node that runs the same version.
fn tag(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    format!("W/\"{:x}-{:016x}\"", body.len(), hasher.finish())
}

fn holds(request: &HeaderMap, tag: &str) -> bool {
    let text = |name| request.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if text(header::CACHE_CONTROL).is_some_and(|value| value.contains("no-cache")) {
        return false;
    }
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    text(header::IF_NONE_MATCH).is_some_and(|known| {
        known.split(',').any(|one| one.trim() == "*" || opaque(one) == opaque(tag))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> Reply {
        Reply::json(StatusCode::OK, &[1, 2, 3])
    }

    #[test]
    fn only_an_unchanged_read_is_answered_with_304() {
        let first = revalidate(reply(), &Method::GET, &HeaderMap::new());
        let tag = first.headers[header::ETAG].to_str().unwrap().to_owned();
        assert!(tag.starts_with("W/\"7-"), "{tag}");
        let table = [
            (Method::GET, tag.clone(), 304),
            (Method::HEAD, tag.clone(), 304),
            (Method::GET, tag.trim_start_matches("W/").to_owned(), 304),
            (Method::GET, format!("\"x\", {tag}"), 304),
            (Method::GET, String::from("*"), 304),
            (Method::GET, String::from("\"x\""), 200),
            (Method::POST, tag, 200),
        ];
        for (method, known, status) in table {
            let mut request = HeaderMap::new();
            request.insert(header::IF_NONE_MATCH, HeaderValue::from_str(&known).unwrap());
            let answer = revalidate(reply(), &method, &request);
            assert_eq!(answer.status.as_u16(), status, "{method} {known}");
            assert_eq!(answer.body.is_empty(), status == 304);
            request.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            assert_eq!(revalidate(reply(), &method, &request).status, StatusCode::OK);
        }
    }
}
