//! The nodes of a cluster and which of them answered last.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::client::SettingsError;

/// Base URLs in the order given, without a slash at the end.
#[derive(Debug)]
pub(crate) struct Nodes {
    urls: Vec<String>,
    preferred: AtomicUsize,
}

impl Nodes {
    pub(crate) fn new(given: &[String]) -> Result<Self, SettingsError> {
        if given.is_empty() {
            return Err(SettingsError::NoNodes);
        }
        let urls = given.iter().map(|url| base_url(url)).collect::<Result<_, _>>()?;
        Ok(Self { urls, preferred: AtomicUsize::new(0) })
    }

    pub(crate) fn count(&self) -> usize {
        self.urls.len()
    }

    pub(crate) fn urls(&self) -> &[String] {
        &self.urls
    }

    pub(crate) fn url(&self, index: usize) -> &str {
        &self.urls[index % self.urls.len()]
    }

    /// The node to ask first.
    pub(crate) fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    pub(crate) fn after(&self, index: usize) -> usize {
        (index + 1) % self.urls.len()
    }

    pub(crate) fn worked(&self, index: usize) {
        self.preferred.store(index, Ordering::Relaxed);
    }

    /// Of many requests that fail at one node at once, the first moves everybody on.
    pub(crate) fn failed(&self, index: usize) {
        let next = self.after(index);
        let _ = self.preferred.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn base_url(given: &str) -> Result<String, SettingsError> {
    let invalid = |reason: String| SettingsError::InvalidUrl { url: given.to_owned(), reason };
    let url = reqwest::Url::parse(given).map_err(|error| invalid(error.to_string()))?;
    let reason = if url.scheme() != "http" {
        "the scheme must be http"
    } else if !url.has_host() {
        "there is no host"
    } else if url.query().is_some() || url.fragment().is_some() {
        "a base URL has no query and no fragment"
    } else {
        return Ok(url.as_str().trim_end_matches('/').to_owned());
    };
    Err(invalid(reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_checked_and_trimmed() {
        let table = [
            ("http://127.0.0.1:3000", Some("http://127.0.0.1:3000")),
            ("http://127.0.0.1:3000/", Some("http://127.0.0.1:3000")),
            ("http://Example.org/kairos/", Some("http://example.org/kairos")),
            ("https://example.org", None),
            ("127.0.0.1:3000", None),
            ("http://example.org/?a=b", None),
            ("", None),
        ];
        for (given, expected) in table {
            assert_eq!(base_url(given).ok().as_deref(), expected, "{given}");
        }
        assert!(matches!(Nodes::new(&[]), Err(SettingsError::NoNodes)));
    }

    #[test]
    fn one_failure_moves_on_by_one_node() {
        let given = ["http://a", "http://b", "http://c"].map(String::from);
        let nodes = Nodes::new(&given).unwrap();
        nodes.failed(0);
        nodes.failed(0);
        assert_eq!(nodes.preferred(), 1);
        nodes.worked(2);
        nodes.failed(1);
        assert_eq!(nodes.preferred(), 2);
        nodes.failed(2);
        assert_eq!(nodes.url(nodes.preferred()), "http://a");
    }
}
