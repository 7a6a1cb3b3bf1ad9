//! The documentation page: Swagger UI from the program itself, so that it needs no internet.

use std::sync::{Arc, LazyLock};

use http::{HeaderValue, StatusCode, header};
use synckairos_protocol::error::Kind;
use utoipa_swagger_ui::Config;

use super::{error::ApiError, openapi, reply::Reply};

static CONFIG: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("/api-docs.json")));

/// Rendered once; it is the same for the life of the program.
static SPECIFICATION: LazyLock<Reply> =
    LazyLock::new(|| Reply::json(StatusCode::OK, &openapi::specification()));

pub(super) fn specification() -> Reply {
    SPECIFICATION.clone()
}

/// Sends a browser to where the page's relative links work.
pub(super) fn redirect() -> Reply {
    Reply::empty(StatusCode::MOVED_PERMANENTLY)
        .with(header::LOCATION, HeaderValue::from_static("/api-docs/"))
}

/// A file of the page; the page itself for the empty name.
pub(super) fn file(name: &str) -> Reply {
    match utoipa_swagger_ui::serve(name, Arc::clone(&CONFIG)) {
        Ok(Some(file)) => {
            let charset =
                if file.content_type.starts_with("text/") { "; charset=utf-8" } else { "" };
            let content_type = HeaderValue::from_str(&format!("{}{charset}", file.content_type))
                .unwrap_or(HeaderValue::from_static("application/octet-stream"));
            let reply = Reply::typed(StatusCode::OK, content_type, file.bytes.into_owned());
            if file.gzpipped {
                reply.with(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))
            } else {
                reply
            }
        }
        Ok(None) => ApiError::new(Kind::NotFound, "no such file of the documentation page").into(),
        Err(error) => {
            tracing::error!(%error, "a file of the documentation page cannot be served");
            ApiError::new(Kind::Internal, "Internal server error").into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_and_its_parts_come_from_the_program() {
        for name in ["", "index.html", "swagger-ui.css", "swagger-ui-bundle.js"] {
            let reply = file(name);
            assert_eq!(reply.status, StatusCode::OK, "{name}");
            assert!(!reply.body.is_empty(), "{name}");
        }
        let page = file("");
        assert_eq!(page.headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(file("../secret").status, StatusCode::NOT_FOUND);
        let start = file("swagger-initializer.js");
        assert!(String::from_utf8_lossy(&start.body).contains("/api-docs.json"));
    }
}
