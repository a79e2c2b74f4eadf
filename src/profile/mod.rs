//! Shows where the time of a forward pass goes. A backend records the spans of its operations, and they are
//! summed up afterwards.
//!
//! Recording ([`Profiler`], [`Event`]) is separate from presentation ([`Report`],
//! [`trace`](Profiler::trace_json), [`diff()`]). Without a profiler, recording costs a backend one branch per
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
