//! Refusals as statuses of gRPC.

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::error::{Kind, Refusal};

/// The most bytes of a message, which travels in a header.
const MOST_BYTES: usize = 1024;

/// Returns the status of a refusal.
pub(super) fn status(refusal: &Refusal) -> Status {
    let mut metadata = MetadataMap::new();
    if let Some(wait) = refusal.retry_after {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).clamp(1, 3_600_000);
        metadata.insert("grpc-retry-pushback-ms", MetadataValue::from(millis));
    }
    metadata.insert("x-error-code", MetadataValue::from_static(refusal.code));
    let end = refusal.message.floor_char_boundary(MOST_BYTES);
    Status::with_metadata(code(refusal.kind), &refusal.message[..end], metadata)
}

fn code(kind: Kind) -> Code {
    match kind {
        Kind::Malformed | Kind::Invalid | Kind::TooLarge => Code::InvalidArgument,
        Kind::Unauthorized => Code::Unauthenticated,
        Kind::WrongHost => Code::PermissionDenied,
        Kind::NotFound | Kind::NoModel => Code::NotFound,
        Kind::WrongMethod | Kind::WrongType => Code::Unimplemented,
        Kind::Overloaded => Code::ResourceExhausted,
        Kind::Internal => Code::Internal,
        Kind::Unavailable => Code::Unavailable,
        Kind::SlowBody | Kind::Late => Code::DeadlineExceeded,
    }
}
