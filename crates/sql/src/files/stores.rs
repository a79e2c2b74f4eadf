//! URLS -> STORES: the files of this machine and, with the feature `object-stores`, those of object stores.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::object_store::ObjectStore;
use url::Url;

/// Makes what queries run in: the stores of files, and a folder for what does not fit into memory, a temporary
/// one unless it is given.
///
/// # Errors
/// Those of the folder.
pub fn environment(stores: &Arc<Stores>, folder: Option<&Path>) -> Result<Arc<RuntimeEnv>> {
    let stores: Arc<dyn ObjectStoreRegistry> = Arc::clone(stores) as _;
    let builder = RuntimeEnvBuilder::new().with_object_store_registry(stores);
    match folder {
        Some(folder) => builder.with_temp_file_path(folder).build_arc(),
        None => builder.build_arc(),
    }
}

/// The stores that queries have named. Each is opened once, with the settings of the environment.
#[derive(Debug, Default)]
pub struct Stores {
    known: DefaultObjectStoreRegistry,
}

impl ObjectStoreRegistry for Stores {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        self.known.register_store(url, store)
    }

    fn deregister_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        self.known.deregister_store(url)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        if let Ok(store) = self.known.get_store(url) {
            return Ok(store);
        }
        let store = open(url).map_err(|error| DataFusionError::External(Box::new(error)))?;
        self.known.register_store(url, Arc::clone(&store));
        Ok(store)
    }
}

/// Why the store of a URL cannot be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The program was built without the clients of object stores.
    NotBuilt {
        /// The URL, without what may be a secret.
        url: String,
    },
    /// There is no client for this kind of URL.
    Unknown {
        /// The URL, without what may be a secret.
        url: String,
    },
    /// The settings do not suffice or do not fit.
    #[cfg(feature = "object-stores")]
    Settings {
        /// The URL, without what may be a secret.
        url: String,
        /// What the client says.
        source: datafusion::object_store::Error,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuilt { url } => write!(
                f,
                "cannot read `{url}`: this build lacks object stores; build with --features object-stores"
            ),
            Self::Unknown { url } => write!(
                f,
                "cannot read `{url}`: expected a path or a URL that begins with file, s3, gs, az, http or https"
            ),
            #[cfg(feature = "object-stores")]
            Self::Settings { url, source } => write!(f, "cannot open the store of `{url}`: {source}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            #[cfg(feature = "object-stores")]
            Self::Settings { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The kinds of stores, by the first word of their URLs.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Amazon,
    Google,
    Azure,
    Http,
}

impl Kind {
    fn of(url: &Url) -> Option<Self> {
        match url.scheme() {
            "s3" | "s3a" => Some(Self::Amazon),
            "gs" => Some(Self::Google),
            "az" | "adl" | "azure" | "abfs" | "abfss" => Some(Self::Azure),
            "http" | "https" => Some(Self::Http),
            _ => None,
        }
    }
}

/// Returns a URL without its password and its query.
fn shown(url: &Url) -> String {
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    format!("{}://{host}{}", url.scheme(), url.path())
}

fn open(url: &Url) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let kind = Kind::of(url).ok_or_else(|| StoreError::Unknown { url: shown(url) })?;
    client(kind, url)
}

#[cfg(not(feature = "object-stores"))]
fn client(_: Kind, url: &Url) -> Result<Arc<dyn ObjectStore>, StoreError> {
    Err(StoreError::NotBuilt { url: shown(url) })
}

/// Makes a client. Each reads the variables of its kind: `AWS_…`, `GOOGLE_…`, `AZURE_…`.
#[cfg(feature = "object-stores")]
fn client(kind: Kind, url: &Url) -> Result<Arc<dyn ObjectStore>, StoreError> {
    use datafusion::object_store as stores;
    use stores::{ClientOptions, RetryConfig};

    use super::pieces::Pieces;

    // The client's own ten times take three minutes, in which nothing tells why a query does not begin.
    let retry = RetryConfig {
        max_retries: 5,
        retry_timeout: std::time::Duration::from_secs(30),
        ..RetryConfig::default()
    };
    let whole = url.as_str();
    let base = &url[..url::Position::BeforePath];
    let made: Result<Arc<dyn ObjectStore>, stores::Error> = match kind {
        Kind::Amazon => {
            let builder = stores::aws::AmazonS3Builder::from_env().with_url(whole).with_retry(retry);
            builder.build().map(|store| Arc::new(Pieces::new(store)) as _)
        }
        Kind::Google => {
            let builder = stores::gcp::GoogleCloudStorageBuilder::from_env().with_url(whole);
            builder.with_retry(retry).build().map(|store| Arc::new(Pieces::new(store)) as _)
        }
        Kind::Azure => {
            let builder = stores::azure::MicrosoftAzureBuilder::from_env().with_url(whole);
            builder.with_retry(retry).build().map(|store| Arc::new(Pieces::new(store)) as _)
        }
        Kind::Http => {
            // A URL that says http means it.
            let options = ClientOptions::new().with_allow_http(url.scheme() == "http");
            let builder = stores::http::HttpBuilder::new().with_url(base).with_client_options(options);
            builder.with_retry(retry).build().map(|store| Arc::new(Pieces::new(store)) as _)
        }
    };
    made.map_err(|source| StoreError::Settings { url: shown(url), source })
}
