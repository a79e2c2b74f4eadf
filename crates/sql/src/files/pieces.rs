//! Reads objects piece by piece, because a model reads slowly.
//!
//! The client of a store gives a request 30 seconds, and the store itself hangs up on those who do not read. A
//! CSV file is read as its rows are computed, which may take hours. So it is asked for in pieces, each of which
//! is fetched at once. All pieces have to be of the same version of the object.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::object_store::path::Path;
use datafusion::object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use futures::stream::{self, BoxStream, StreamExt as _};

/// The bytes of a piece. At most one is in memory for each file that is read.
const PIECE: u64 = 4 << 20;

/// A store that is read in pieces.
#[derive(Debug)]
pub(super) struct Pieces<S> {
    inner: Arc<S>,
}

impl<S> Pieces<S> {
    pub(super) fn new(store: S) -> Self {
        Self { inner: Arc::new(store) }
    }
}

impl<S: fmt::Display> fmt::Display for Pieces<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Returns the first piece of a range.
fn first(range: &Range<u64>) -> Range<u64> {
    range.start..range.end.min(range.start.saturating_add(PIECE))
}

impl<S: ObjectStore> Pieces<S> {
    /// Reads the bytes of a range one piece after another. Those of `options` hold for each.
    fn stream(
        &self,
        location: &Path,
        options: GetOptions,
        range: Range<u64>,
    ) -> BoxStream<'static, Result<bytes::Bytes>> {
        let (store, location) = (Arc::clone(&self.inner), location.clone());
        let pieces = stream::try_unfold(range, move |rest| {
            let (store, location, mut options) = (Arc::clone(&store), location.clone(), options.clone());
            async move {
                if rest.is_empty() {
                    return Ok::<_, Error>(None);
                }
                let piece = first(&rest);
                options.range = Some(GetRange::Bounded(piece.clone()));
                let bytes = store.get_opts(&location, options).await?.bytes().await?;
                Ok(Some((bytes, piece.end..rest.end)))
            }
        });
        pieces.boxed()
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Pieces<S> {
    async fn get_opts(&self, location: &Path, mut options: GetOptions) -> Result<GetResult> {
        let is_small = matches!(&options.range, Some(GetRange::Bounded(range)) if first(range) == *range);
        if options.head || is_small {
            return self.inner.get_opts(location, options).await;
        }
        let asked = GetOptions { head: true, range: None, ..options.clone() };
        let GetResult { meta, attributes, .. } = self.inner.get_opts(location, asked).await?;
        // An empty object has no range.
        let whole = GetRange::Offset(0);
        if meta.size == 0 {
            return self.inner.get_opts(location, options).await;
        }
        let Ok(range) = options.range.as_ref().unwrap_or(&whole).as_range(meta.size) else {
            // The store says better what is wrong with it.
            return self.inner.get_opts(location, options).await;
        };
        // A weak tag, which begins with W/, never matches.
        let tag = meta.e_tag.clone().filter(|tag| !tag.starts_with("W/"));
        options.if_match = options.if_match.or(tag);
        let payload = GetResultPayload::Stream(self.stream(location, options, range.clone()));
        Ok(GetResult { payload, meta, range, attributes })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
