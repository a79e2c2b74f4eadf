//! `mobilebert kernels`

use crate::cli::args::Global;
use crate::cli::failure::Failure;

pub(super) fn run(_: &Global) -> Result<(), Failure> {
    Err(Failure::Usage("no kernels yet".to_owned()))
}
