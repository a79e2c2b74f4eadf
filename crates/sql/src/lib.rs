//! SQL over texts: the tasks of the BERT engine as scalar functions of DataFusion.
//!
//! ```
//! use mobilebert_sql::{Session, Settings};
//!
//! # #[tokio::main(flavor = "multi_thread")]
//! # async fn main() -> datafusion::error::Result<()> {
//! let session = Session::new(&Settings::default())?;
//! let batches = session.collect("select classify('a joy to watch')['label'] as label").await?;
//! assert_eq!(batches[0].num_rows(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! A program that has a `SessionContext` of its own registers the functions with [`register`].

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod copy;
mod files;
mod function;
mod options;
mod order;
mod registry;
mod session;
pub mod shell;

pub use copy::NoPartialFiles;
pub use files::{StoreError, Stores, environment};
pub use function::{Named, Pinned};
pub use mobilebert_sql_core as core;
pub use options::ModelOptions;
pub use order::CheapFiltersFirst;
pub use registry::{Registry, register};
pub use session::{Session, Settings};

/// The most threads of a program.
pub const MOST_THREADS: usize = 512;

/// Makes the runtime that queries run on. It has a thread more than queries have partitions, which goes on
/// with what waits for files and networks while the others compute. Deep plans need deep stacks.
///
/// # Errors
/// Those of the operating system, and `InvalidInput` for more than [`MOST_THREADS`].
pub fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    const STACK: usize = 32 << 20;
    if threads > MOST_THREADS {
        let problem = format!("expected at most {MOST_THREADS} threads; found {threads}");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, problem));
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.saturating_add(1))
        .thread_stack_size(STACK)
        .enable_all()
        .build()
}
