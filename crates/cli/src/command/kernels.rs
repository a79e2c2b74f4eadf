//! `mobilebert kernels`

use mobilebert::kernels::{OVERRIDE, Variant, variants};
use serde_json::json;

use crate::args::Global;
use crate::failure::Failure;
use crate::output::{Format, Output};

pub(super) fn run(global: &Global) -> Result<(), Failure> {
    let forced = std::env::var(OVERRIDE).ok().filter(|name| !name.is_empty());
    let picked = |v: &Variant| forced.as_ref().map_or(v.picked, |name| name == v.isa.name());
    let variants = variants();
    let mut supported: Vec<&str> = variants.iter().filter(|v| v.supported).map(|v| v.isa.name()).collect();
    supported.dedup();
    if let Some(name) = forced.as_ref().filter(|name| !supported.contains(&name.as_str())) {
        let names: Vec<String> = supported.iter().map(|name| format!("`{name}`")).collect();
        let expected = names.join(", ");
        return Err(Failure::Usage(format!(
            "{OVERRIDE} is `{name}`; expected one that this CPU has: {expected}"
        )));
    }
    let mut output = Output::stdout(global);
    for v in variants {
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
