//! NAMES -> TABLES: `select … from 'reviews/*.parquet'`, on this machine or in an object store.

#[cfg(feature = "object-stores")]
mod pieces;
mod stores;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::catalog::{DynamicFileCatalog, TableProvider, UrlTableFactory};
use datafusion::common::plan_datafusion_err;
use datafusion::datasource::file_format::FileFormatFactory;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt as _;
use url::Url;

pub use stores::{StoreError, Stores, environment};

/// Lets queries name files where they name tables.
pub(crate) fn name_tables_by_files(context: SessionContext) -> SessionContext {
    let files = Arc::new(Files::default());
    let tables = Arc::clone(context.state().catalog_list());
    let catalogs = DynamicFileCatalog::new(tables, Arc::clone(&files) as Arc<dyn UrlTableFactory>);
    let id = context.session_id();
    let builder = context.into_state_builder().with_session_id(id).with_catalog_list(Arc::new(catalogs));
    let context = SessionContext::from(builder.build());
    let state = context.state_weak_ref();
    // A strong reference would keep the session for ever: it has the catalogs, and they have this.
    let state: State = Box::new(move || state.upgrade().map(|state| state.read().clone()));
    // It was made just now, so it is empty.
    let _ = files.state.set(state);
    context
}

type State = Box<dyn Fn() -> Option<SessionState> + Send + Sync>;

/// Makes tables of files. DataFusion's own one says of a missing file, of a store that cannot be reached and of
/// a kind of file that it does not know that there is no such table.
#[derive(Default)]
struct Files {
    state: OnceLock<State>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Files")
    }
}

#[async_trait]
impl UrlTableFactory for Files {
    async fn try_new(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(state) = self.state.get().and_then(|state| state()) else { return Ok(None) };
        match table(&state, name).await {
            Ok(table) => Ok(Some(table)),
            // Anything may be the name of a table; what is meant to be a file has a dot, a slash or a star.
            Err(error) if name.contains(['.', '/', '\\', '*']) => Err(error),
            Err(_) => Ok(None),
        }
    }
}

/// Makes a table of the files that a name stands for.
async fn table(state: &SessionState, name: &str) -> Result<Arc<dyn TableProvider>> {
    let url = url(name)?;
    let store = state.runtime_env().object_store(&url)?;
    let mut files = url.list_all_files(state, store.as_ref(), "").await?;
    let (mut kind, mut others): (Option<Kind>, Option<String>) = (None, None);
    let is_here = url.scheme() == "file";
    while let Some(file) = files.try_next().await? {
        let path = file.location.as_ref();
        match (Kind::of(state, path), &kind) {
            (Some(found), None) => kind = Some(found),
            // Only one kind would be read, and nobody would know.
            (Some(found), Some(known)) if found != *known => {
                return Err(plan_datafusion_err!(
                    "`{name}` stands for files of two kinds, {known} and {found}; name one, as in `*{known}`"
                ));
            }
            (Some(_), Some(_)) => {}
            // The path of a file of this machine begins with its root.
            (None, _) => {
                others = others.or_else(|| Some(format!("{}{path}", if is_here { "/" } else { "" })))
            }
        }
    }
    drop(files);
    let kind = kind.ok_or_else(|| match others {
        Some(path) => plan_datafusion_err!(
            "`{path}` is no kind of file that is known by its ending; expected one of {}",
            Kind::all(state).join(", ")
        ),
        None => plan_datafusion_err!("no file is called `{name}`"),
    })?;
    let config = ListingTableConfig::new(url).with_listing_options(kind.options(state)?);
    let config = config.infer_partitions_from_path(state).await?.infer_schema(state).await?;
    Ok(Arc::new(ListingTable::try_new(config)?))
}

/// Reads a path or a URL, with stars in it or without. DataFusion itself takes the stars of URLs literally, and
/// finds nothing for stars in the names of folders.
fn url(name: &str) -> Result<ListingTableUrl> {
    let start = name.find("://").map_or(0, |colon| colon + "://".len());
    // A file may have a name that would be a pattern otherwise.
    if start == 0
        && name.contains(['*', '[', '?'])
        && let Ok(path) = std::path::absolute(name)
        && path.is_file()
        && let Ok(url) = Url::from_file_path(path)
    {
        return ListingTableUrl::try_new(url, None);
    }
    let Some(star) = name[start..].find(['*', '[']) else { return ListingTableUrl::parse(name) };
    let (before, after) = name.split_at(start + star);
    if after.contains('/') {
        return Err(plan_datafusion_err!(
            "`{name}` has stars in a folder; expected them after the last slash"
        ));
    }
    match before[start..].rfind('/') {
        Some(slash) if start > 0 => {
            let (folder, pattern) = name.split_at(start + slash + 1);
            ListingTableUrl::parse(folder)?.with_glob(pattern)
        }
        _ => ListingTableUrl::parse(name),
    }
}

/// Finds the reader of files with this ending.
fn format(state: &SessionState, ending: &str) -> Option<Arc<dyn FileFormatFactory>> {
    let lower = ending.to_ascii_lowercase();
    state.get_file_format_factory(if matches!(&*lower, "jsonl" | "ndjson") { "json" } else { &lower })
}

/// A kind of file, by the ending of its name.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    format: String,
    compression: Option<String>,
}

impl Kind {
    const COMPRESSIONS: [&'static str; 4] = ["gz", "bz2", "xz", "zst"];

    /// Returns the kind of a file, or `None` for one that is no table, such as `_SUCCESS`.
    fn of(state: &SessionState, path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?;
        if name.starts_with(['_', '.']) {
            return None;
        }
        let (rest, last) = name.rsplit_once('.')?;
        let (format, compression) = match Self::COMPRESSIONS.contains(&last) {
            true => (rest.rsplit_once('.')?.1, Some(last.to_owned())),
            false => (last, None),
        };
        self::format(state, format)?;
        Some(Self { format: format.to_owned(), compression })
    }

    fn all(state: &SessionState) -> Vec<&'static str> {
        let all = [".parquet", ".csv", ".json", ".jsonl", ".ndjson", ".arrow", ".avro"];
        all.into_iter().filter(|ending| format(state, &ending[1..]).is_some()).collect()
    }

    fn options(&self, state: &SessionState) -> Result<ListingOptions> {
        let known = format(state, &self.format);
        let known = known.ok_or_else(|| plan_datafusion_err!("no file has the ending {self}"))?;
        let compression = self.compression.clone().map(|kind| ("format.compression".to_owned(), kind));
        let format = known.create(state, &compression.into_iter().collect::<HashMap<_, _>>())?;
        Ok(ListingOptions::new(format).with_file_extension(self.to_string()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ".{}", self.format)?;
        self.compression.iter().try_for_each(|compression| write!(f, ".{compression}"))
    }
}
