//! `serve`: stored tests in a browser.

use std::{
    convert::Infallible,
    ffi::OsStr,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use clap::Args;
use futures_util::stream;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{fs::File, io::AsyncReadExt, net::TcpListener};

use super::{CliError, Ended, print};
use crate::report::browse;

#[derive(Args)]
pub(super) struct Serve {
    /// The port on the loopback interface
    #[arg(short, long, default_value_t = 8080)]
    port: u16,
    /// Where histories are kept
    #[arg(long, value_name = "DIR", default_value = "store")]
    store: PathBuf,
}

type Body = BoxBody<Bytes, io::Error>;

/// What is read of a file at once.
const CHUNK: usize = 64 * 1024;
/// Pages are made of what tests wrote, so nothing in them may run.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl Serve {
    pub(super) fn run(self) -> Result<Ended, CliError> {
        if !self.store.is_dir() {
            let store = self.store.display();
            return Err(CliError::Usage(format!("--store {store}: there is no such directory")));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let ended = runtime.block_on(async {
            // Nobody else's business: the loopback interface, and no other.
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await?;
            print::line(&format!("http://{}/", listener.local_addr()?))?;
            tokio::select! {
                () = accept(listener, self.store) => Ok(()),
                interrupted = tokio::signal::ctrl_c() => interrupted,
            }
        });
        runtime.shutdown_background();
        ended?;
        Ok(Ended::Done)
    }
}

async fn accept(listener: TcpListener, store: PathBuf) {
    let store: Arc<Path> = store.into();
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            // Too many open files, most likely: some will be closed.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let store = Arc::clone(&store);
                async move { Ok::<_, Infallible>(answer(&store, &request).await) }
            });
            // A browser that went away is no matter.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer<B>(store: &Path, request: &Request<B>) -> Response<Body> {
    if !is_meant_for_us(request) {
        return refusal(StatusCode::FORBIDDEN, "ask for localhost");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return refusal(StatusCode::METHOD_NOT_ALLOWED, "nothing here can be changed");
    }
    let address = request.uri().path();
    let Some(path) = browse::path_of(address) else {
        return refusal(StatusCode::NOT_FOUND, "there is no such page");
    };
    let mut response = match show(store, &path, address).await {
        Ok(response) => response,
        Err(_) => refusal(StatusCode::NOT_FOUND, "there is no such page"),
    };
    if request.method() == Method::HEAD {
        *response.body_mut() = full(String::new());
    }
    response
}

/// A page of somebody else must not read ours by giving our address another name.
fn is_meant_for_us<B>(request: &Request<B>) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    host.is_some_and(|host| match host.parse::<SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_) => {
            let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
            name == "localhost" || name == "127.0.0.1"
        }
    })
}

async fn show(store: &Path, path: &Path, address: &str) -> io::Result<Response<Body>> {
    if path == Path::new("") {
        return Ok(page(browse::index(&browse::tests(store)?)));
    }
    let file = browse::within(store, path)?;
    if !file.is_dir() {
        return contents(&file).await;
    }
    if !address.ends_with('/') {
        let mut response = refusal(StatusCode::PERMANENT_REDIRECT, "a directory ends with a slash");
        let to = HeaderValue::from_str(&format!("{address}/")).map_err(io::Error::other)?;
        response.headers_mut().insert(header::LOCATION, to);
        return Ok(response);
    }
    let own = file.join("index.html");
    if own.is_file() && browse::within(store, &path.join("index.html")).is_ok() {
        return contents(&own).await;
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&file)? {
        let entry = entry?;
        let slash = if entry.path().is_dir() { "/" } else { "" };
        names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    Ok(page(browse::directory(path, &names)))
}

/// Regular files only: whoever opened a pipe would wait.
async fn contents(path: &Path) -> io::Result<Response<Body>> {
    if !path.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let file = File::open(path).await?;
    let chunks = stream::try_unfold(file, |mut file| async move {
        let mut chunk = vec![0; CHUNK];
        let length = file.read(&mut chunk).await?;
        chunk.truncate(length);
        Ok((0 < length).then(|| (Frame::data(Bytes::from(chunk)), file)))
    });
    Ok(response(StatusCode::OK, kind(path), BodyExt::boxed(StreamBody::new(chunks))))
}

fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(OsStr::to_str) {
        Some("html") => "text/html; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        Some("txt" | "log" | "jsonl" | "edn" | "sh" | "toml" | "crt") => {
            "text/plain; charset=utf-8"
        }
        _ => "application/octet-stream",
    }
}

fn page(html: String) -> Response<Body> {
    response(StatusCode::OK, "text/html; charset=utf-8", full(html))
}

fn refusal(status: StatusCode, why: &str) -> Response<Body> {
    response(status, "text/plain; charset=utf-8", full(format!("{why}\n")))
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed()
}

fn response(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(store: &Path, method: Method, host: &str, path: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).header("host", host).body(());
        let response = answer(store, &request.unwrap()).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn it_shows_files_and_nothing_else() {
        let store = tempfile::tempdir().unwrap();
        let test = store.path().join("a+b/t");
        std::fs::create_dir_all(&test).unwrap();
        std::fs::write(test.join("index.html"), "<p>mine</p>").unwrap();
        std::fs::write(test.join("long.txt"), "x".repeat(3 * CHUNK + 1)).unwrap();
        std::os::unix::fs::symlink("/etc", store.path().join("etc")).unwrap();
        let at = "127.0.0.1:8080";
        let cases = [
            (Method::GET, at, "/a%2Bb/t/", 200, "<p>mine</p>"),
            (Method::HEAD, at, "/a%2Bb/t/", 200, ""),
            (Method::GET, "localhost:8080", "/a+b/t/index.html", 200, "<p>mine</p>"),
            (Method::GET, "[::1]:8080", "/a%2Bb/t", 308, "a directory ends with a slash\n"),
            (Method::GET, at, "/etc/passwd", 404, "there is no such page\n"),
            (Method::GET, at, "/a%2Bb/../../etc/passwd", 404, "there is no such page\n"),
            (Method::GET, at, "/%2e%2e/", 404, "there is no such page\n"),
            (Method::GET, "evil.example:8080", "/", 403, "ask for localhost\n"),
            (Method::GET, "10.0.0.1:8080", "/", 403, "ask for localhost\n"),
            (Method::POST, at, "/", 405, "nothing here can be changed\n"),
        ];
        for (method, host, path, status, body) in cases {
            let told = ask(store.path(), method, host, path).await;
            assert_eq!(told, (status, body.to_owned()), "{host}{path}");
        }
        let (_, long) = ask(store.path(), Method::GET, at, "/a%2Bb/t/long.txt").await;
        assert_eq!(long.len(), 3 * CHUNK + 1);
        let (_, listing) = ask(store.path(), Method::GET, at, "/a%2Bb/").await;
        assert!(listing.contains("href=\"./t/\""), "{listing}");
        let (_, index) = ask(store.path(), Method::GET, at, "/").await;
        assert!(index.contains("There is none."), "{index}");
    }
}
