//! TLS: the certificate and its key, read from files, and read again.

use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;

/// A chain of certificates is small; a larger file is something else.
const MOST_BYTES: u64 = 1 << 20;

/// What is spoken over TLS, which client and server agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    #[cfg(feature = "grpc")]
    Grpc,
}

/// The certificate of the server, in the form that connections take.
pub(crate) struct Tls {
    files: TlsFiles,
    current: RwLock<Arc<Acceptors>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

struct Acceptors {
    http: TlsAcceptor,
    #[cfg(feature = "grpc")]
    grpc: TlsAcceptor,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A message that names the file and what is wrong, or what the processor lacks.
    pub(crate) fn read(files: &TlsFiles) -> Result<Self, String> {
        check_processor()?;
        let current = RwLock::new(Arc::new(Acceptors::read(files)?));
        Ok(Self { files: files.clone(), current })
    }

    /// Reads the files again. Connections that are open keep what they began with. What fails leaves the old
    /// certificate in place.
    ///
    /// # Errors
    /// A message that names the file and what is wrong.
    pub(crate) fn read_again(&self) -> Result<(), String> {
        let read = Acceptors::read(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
        Ok(())
    }

    /// Returns what does the handshakes of this moment.
    pub(crate) fn acceptor(&self, protocol: Protocol) -> TlsAcceptor {
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        match protocol {
            Protocol::Http => current.http.clone(),
            #[cfg(feature = "grpc")]
            Protocol::Grpc => current.grpc.clone(),
        }
    }
}

impl Acceptors {
    fn read(TlsFiles { cert, key }: &TlsFiles) -> Result<Self, String> {
        let of = |path: &Path, problem: String| format!("{}: {problem}", path.display());
        let pem = bytes(cert).map_err(|error| of(cert, error))?;
        let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| of(cert, format!("expected certificates in PEM: {error}")))?;
        if chain.is_empty() {
            return Err(of(
                cert,
                "it holds no certificate; expected PEM, the server's own one first".to_owned(),
            ));
        }
        let pem = bytes(key).map_err(|error| of(key, error))?;
        let secret = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|error| of(key, format!("expected a private key in PEM: {error}")))?;
        let config = ServerConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
            .map_err(|error| format!("{} and {}: {error}", cert.display(), key.display()))?;
        let speaking = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsAcceptor::from(Arc::new(config))
        };
        Ok(Self {
            http: speaking(b"http/1.1"),
            #[cfg(feature = "grpc")]
            grpc: speaking(b"h2"),
        })
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    match bytes.len() as u64 > MOST_BYTES {
        true => Err(format!("it has more than {MOST_BYTES} bytes; expected PEM")),
        false => Ok(bytes),
    }
}

/// Checks for what the cryptography takes for granted and would panic without.
fn check_processor() -> Result<(), String> {
    missing(&features()).map_or(Ok(()), |missing| {
        Err(format!(
            "TLS needs a processor with {missing}, which this one lacks; leave --tls-cert away and put a proxy in \
             front"
        ))
    })
}

fn missing(features: &[(&str, bool)]) -> Option<String> {
    let missing: Vec<&str> = features.iter().filter(|(_, found)| !found).map(|(name, _)| *name).collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<(&'static str, bool)> {
    macro_rules! found {
        ($($name:tt),+) => { vec![$(($name, std::arch::is_x86_feature_detected!($name))),+] };
    }
    found!("aes", "pclmulqdq", "bmi1", "adx", "avx", "avx2")
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<(&'static str, bool)> {
    macro_rules! found {
        ($($name:tt),+) => { vec![$(($name, std::arch::is_aarch64_feature_detected!($name))),+] };
    }
    found!("neon", "aes", "pmull", "sha2")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<(&'static str, bool)> {
    vec![("x86-64 or AArch64 instructions", false)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_processor_lacks_is_named() {
        assert_eq!(missing(&[("aes", true), ("avx2", true)]), None);
        assert_eq!(missing(&[("aes", false), ("avx", true), ("avx2", false)]), Some("aes, avx2".to_owned()));
    }
}
