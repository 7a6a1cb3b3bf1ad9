//! The store as pages: all tests, and the files of a directory.

use std::{
    fmt::Write,
    fs, io,
    path::{Component, Path, PathBuf},
};

use serde::Deserialize;

use super::{
    escape::{address, escape},
    headline::word,
    page,
};
use crate::{check::verdict::Validity, test::plan::Plan};

/// Tests lie at most so many directories deep.
const DEPTH: usize = 5;

/// A stored test.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its directory, relative to the store.
    pub path: PathBuf,
    pub name: String,
    pub seed: u64,
    /// `None` where nothing has judged it.
    pub valid: Option<Validity>,
    /// Checkers that were not content.
    pub because: Vec<String>,
}

/// The file that an address names, relative to the store; none where it names anything else.
pub fn path_of(address: &str) -> Option<PathBuf> {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let path = String::from_utf8(decode(path.strip_prefix('/')?)?).ok()?;
    if path.contains(['\0', '\\']) {
        return None;
    }
    let path = PathBuf::from(path);
    let is_plain = |component: Component<'_>| matches!(component, Component::Normal(_));
    let is_hidden = |component: Component<'_>| component.as_os_str().as_encoded_bytes()[0] == b'.';
    let plain = path.components().all(|component| is_plain(component) && !is_hidden(component));
    plain.then_some(path)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            decoded.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    Some(decoded)
}

/// The file itself, where it is one of the store's: no link leads out of it.
///
/// # Errors
/// Where there is no such file, or none within the store.
pub fn within(store: &Path, path: &Path) -> io::Result<PathBuf> {
    let store = store.canonicalize()?;
    let file = store.join(path).canonicalize()?;
    if file.starts_with(&store) { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// All tests, the latest first.
///
/// # Errors
/// Where the store cannot be read.
pub fn tests(store: &Path) -> io::Result<Vec<Stored>> {
    let mut found = Vec::new();
    look(store, Path::new(""), DEPTH, &mut found)?;
    // Directories are named by when they began.
    found.sort_by(|a, b| (b.path.file_name(), &b.path).cmp(&(a.path.file_name(), &a.path)));
    Ok(found)
}

fn look(store: &Path, path: &Path, depth: usize, found: &mut Vec<Stored>) -> io::Result<()> {
    let directory = store.join(path);
    if directory.join("test.json").is_file() {
        found.push(stored(&directory, path));
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Links, such as `latest`, name what is found anyway.
        if entry.file_type()?.is_dir() {
            look(store, &path.join(entry.file_name()), depth - 1, found)?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Results {
    #[serde(rename = "valid?")]
    valid: Validity,
    checkers: Vec<Judged>,
}

#[derive(Deserialize)]
struct Judged {
    checker: String,
    #[serde(rename = "valid?")]
    valid: Validity,
}

fn stored(directory: &Path, path: &Path) -> Stored {
    let text = |file: &str| fs::read(directory.join(file)).ok();
    let plan: Option<Plan> = text("test.json").and_then(|text| serde_json::from_slice(&text).ok());
    let results: Option<Results> =
        text("results.json").and_then(|text| serde_json::from_slice(&text).ok());
    let checkers = results.iter().flat_map(|results| &results.checkers);
    let because = checkers.filter(|judged| judged.valid != Validity::Valid);
    Stored {
        path: path.to_owned(),
        name: plan.as_ref().map_or_else(|| path.display().to_string(), |plan| plan.name.clone()),
        seed: plan.map_or(0, |plan| plan.seed),
        because: because.map(|judged| judged.checker.clone()).collect(),
        valid: results.map(|results| results.valid),
    }
}

/// The page of all tests.
pub fn index(tests: &[Stored]) -> String {
    let mut body = String::from("<h1>Stored tests</h1>\n");
    if tests.is_empty() {
        body.push_str("<p class=\"dim\">There is none.</p>\n");
        return page::html("Stored tests", "", &body);
    }
    body.push_str(
        "<table><thead><tr><th>began</th><th>test</th><th>seed</th><th>verdict</th>\
         <th>because of</th></tr></thead><tbody>\n",
    );
    for test in tests {
        let began = test.path.file_name().unwrap_or_default().to_string_lossy();
        let (class, verdict) = match test.valid {
            Some(valid) => (word(valid).to_lowercase(), word(valid)),
            None => (String::from("dim"), "not judged"),
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            body,
            "<tr><td><a href=\"/{}/\">{}</a></td><td>{}</td><td>{}</td>\
             <td class=\"{class}\">{verdict}</td><td>{}</td></tr>",
            address(&test.path.to_string_lossy()),
            escape(&moment(&began)),
            escape(&test.name),
            test.seed,
            escape(&test.because.join(", "))
        );
    }
    page::html("Stored tests", "", &(body + "</tbody></table>\n"))
}

/// `20261126T163729Z-7` as `2026-11-26 16:37:29`; anything else as it is.
fn moment(name: &str) -> String {
    let digits: Vec<char> = name.chars().filter(char::is_ascii_digit).take(14).collect();
    let is_stamp =
        digits.len() == 14 && name.get(8..9) == Some("T") && name.get(15..16) == Some("Z");
    if !is_stamp {
        return name.to_owned();
    }
    let part = |from: usize, to: usize| digits[from..to].iter().collect::<String>();
    let date = [part(0, 4), part(4, 6), part(6, 8)].join("-");
    format!("{date} {}", [part(8, 10), part(10, 12), part(12, 14)].join(":"))
}

/// The page of a directory; names of directories end with a slash.
pub fn directory(path: &Path, names: &[String]) -> String {
    let title = format!("/{}", path.display());
    let mut body = format!("<p><a href=\"/\">All tests</a></p>\n<h1>{}</h1>\n<ul>", escape(&title));
    for name in names {
        let _ = writeln!(body, "<li><a href=\"./{}\">{}</a></li>", address(name), escape(name));
    }
    page::html(&title, "", &(body + "</ul>\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::example::Example, report::wellformed};

    #[test]
    fn addresses_name_files_of_the_store_only() {
        let good = [
            ("/", ""),
            ("/a/b.svg", "a/b.svg"),
            ("/soak%2Bkill,pause/x/?files#y", "soak+kill,pause/x/"),
            ("/a..b/c", "a..b/c"),
            ("/%C3%A9", "é"),
        ];
        for (address, path) in good {
            assert_eq!(path_of(address), Some(PathBuf::from(path)), "{address}");
        }
        let bad = [
            "",
            "a",
            "/..",
            "/../etc/passwd",
            "/a/../../b",
            "/%2e%2e/x",
            "/a/%2E%2E",
            "//etc/passwd",
            "/%2Fetc/passwd",
            "/a%00b",
            "/a\\..\\b",
            "/%ff",
            "/%4",
            "/%zz",
            "/.git/config",
            "/a/.ssh",
        ];
        for address in bad {
            assert_eq!(path_of(address), None, "{address}");
        }
    }

    #[test]
    fn links_do_not_lead_out_of_the_store() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        let store = tempfile::tempdir().unwrap();
        fs::create_dir(store.path().join("a")).unwrap();
        fs::write(store.path().join("a/b"), "x").unwrap();
        let link = std::os::unix::fs::symlink::<PathBuf, PathBuf>;
        link(store.path().join("a"), store.path().join("latest")).unwrap();
        link(outside.path().to_owned(), store.path().join("out")).unwrap();
        link(outside.path().join("secret"), store.path().join("a/secret")).unwrap();
        assert!(within(store.path(), Path::new("latest/b")).is_ok());
        for path in ["out/secret", "a/secret", "out", "nothing"] {
            assert!(within(store.path(), Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn all_tests_are_listed_with_their_verdict() {
        let store = tempfile::tempdir().unwrap();
        let mut plan = Example::new().run().plan;
        let results = "{\"valid?\": \"invalid\", \"checkers\": [\
                       {\"checker\": \"stream\", \"valid?\": \"invalid\"}, \
                       {\"checker\": \"lists\", \"valid?\": \"valid\"}]}";
        for (path, judged) in
            [("a/20261126T163729Z-7", true), ("selfcheck/x/b+c/20261127T000000Z-8", false)]
        {
            let directory = store.path().join(path);
            fs::create_dir_all(&directory).unwrap();
            plan.name = format!("<{path}>");
            fs::write(directory.join("test.json"), serde_json::to_vec(&plan).unwrap()).unwrap();
            if judged {
                fs::write(directory.join("results.json"), results).unwrap();
            }
        }
        std::os::unix::fs::symlink(store.path().join("a"), store.path().join("latest")).unwrap();
        let tests = tests(store.path()).unwrap();
        assert_eq!(tests.len(), 2, "the link is none");
        assert_eq!((tests[0].valid, tests[1].valid), (None, Some(Validity::Invalid)));
        assert_eq!(tests[1].because, ["stream"]);
        let page = index(&tests);
        wellformed::check(&page).unwrap();
        assert!(page.contains("href=\"/selfcheck/x/b%2Bc/20261127T000000Z-8/\""));
        assert!(page.contains("2026-11-26 16:37:29") && page.contains("&lt;a/"));
        wellformed::check(&index(&[])).unwrap();
        let names = [String::from("<b>/"), String::from("a:b")];
        wellformed::check(&directory(Path::new("<a>"), &names)).unwrap();
    }
}
