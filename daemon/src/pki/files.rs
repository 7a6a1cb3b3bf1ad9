//! Reading and writing the PEM files of certificates and keys.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::PkiError;

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// Everybody on the host.
    Public,
    /// Its owner.
    Private,
}

/// What a file's name ends with until it is whole.
pub(crate) const PARTIAL: &str = ".partial";

/// Writes a file that must not exist yet.
///
/// # Errors
/// [`PkiError::Exists`], or [`PkiError::Unwritable`].
pub(crate) fn create(path: &Path, content: &[u8], secrecy: Secrecy) -> Result<(), PkiError> {
    write_new(path, content, secrecy).map_err(|source| {
        if source.kind() == io::ErrorKind::AlreadyExists {
            PkiError::Exists { path: path.to_owned() }
        } else {
            PkiError::Unwritable { path: path.to_owned(), source }
        }
    })
}

/// Writes a file, or replaces it as a whole.
///
/// # Errors
/// [`PkiError::Unwritable`].
pub(crate) fn replace(path: &Path, content: &[u8], secrecy: Secrecy) -> Result<(), PkiError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(PARTIAL);
    let partial = Path::new(&partial);
    let written = match fs::remove_file(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => write_new(partial, content, secrecy),
    };
    written
        .and_then(|()| fs::rename(partial, path))
        .map_err(|source| PkiError::Unwritable { path: path.to_owned(), source })
}

fn write_new(path: &Path, content: &[u8], secrecy: Secrecy) -> io::Result<()> {
    let mode = match secrecy {
        Secrecy::Public => 0o644,
        Secrecy::Private => 0o600,
    };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// # Errors
/// [`PkiError::Missing`] or [`PkiError::Unreadable`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, PkiError> {
    fs::read(path).map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound {
            PkiError::Missing { path: path.to_owned() }
        } else {
            PkiError::Unreadable { path: path.to_owned(), source }
        }
    })
}

/// All certificates of a PEM file, at least one.
///
/// # Errors
/// [`PkiError`] says what is wrong with the file.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let not_pem = |reason: String| PkiError::NotPem {
        path: path.to_owned(),
        wanted: "a certificate",
        reason,
    };
    let pem = read(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| not_pem(error.to_string()))?;
    if certificates.is_empty() {
        return Err(not_pem(String::from("it holds none")));
    }
    Ok(certificates)
}

/// The private key of a PEM file.
///
/// # Errors
/// [`PkiError`] says what is wrong with the file.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, PkiError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| PkiError::NotPem {
        path: path.to_owned(),
        wanted: "a private key",
        reason: error.to_string(),
    })
}
