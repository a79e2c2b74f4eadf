//! `mobilebert kernels`

use mobilebert::kernels::{OVERRIDE, Variant, variants};
use serde_json::json;

use crate::args::Global;
use crate::failure::Failure;
use crate::output::{Format, Output};

pub(super) fn run(global: &Global) -> Result<(), Failure> {
    let forced = std::env::var(OVERRIDE).ok().filter(|name| !name.is_empty());
    let picked = |v: &Variant| forced.as_ref().map_or(v.picked, |name| name == v.isa.name());
    let mut output = Output::stdout(global);
    for v in variants() {
        match output.format() {
            Format::Json => output.json(&json!({
                "name": v.name,
                "isa": v.isa.name(),
                "supported": v.supported,
                "picked": v.supported && picked(&v),
            }))?,
            Format::Human | Format::Table => {
                let state = match (v.supported, picked(&v)) {
                    (false, _) => "not on this processor",
                    (true, true) => "<- picked",
                    (true, false) => "",
                };
                output.line(format_args!("{:44} {state}", v.name))?;
            }
        }
    }
    output.flush()
}
