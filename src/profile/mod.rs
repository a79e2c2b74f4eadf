//! Where the time goes: spans of operations, recorded by a backend and folded afterwards.
//!
//! Recording is data first ([`Profiler`], [`Event`]), presentation second ([`Report`],
//! [`trace`](Profiler::trace_json), [`diff`]). A backend that is not given a profiler pays one branch per
//! operation.

mod diff;
pub mod machine;
mod recorder;
mod report;
mod statistics;

pub use diff::{Change, Diff, diff};
pub use recorder::{Event, OpInfo, OpKind, Profiler};
pub use report::{OpProfile, Profile, Report, Row};
pub use statistics::{Summary, summarize};
