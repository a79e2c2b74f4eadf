//! Writes the JavaScript half of a WebAssembly module: `web-module MODULE.wasm FOLDER NAME`.
//!
//! The folder gets `NAME_bg.wasm` and `NAME.js`. The version of the generator has to be that of the crate
//! `wasm-bindgen` in the module, which the lock file sees to.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, folder, name] = arguments.as_slice() else {
        eprintln!("usage: web-module MODULE.wasm FOLDER NAME");
        return ExitCode::from(2);
    };
    match write(module, folder, name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{module}: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn write(module: &str, folder: &str, name: &str) -> Result<(), String> {
    let mut bindgen = Bindgen::new();
    bindgen.input_path(module).out_name(name).typescript(true);
    // The form for `<script type="module">`, which bundlers and Node read too.
    bindgen.web(true).map_err(|problem| format!("{problem:#}"))?;
    // Names of functions make a quarter of the module, and show in no message.
    bindgen.remove_name_section(true).remove_producers_section(true);
    bindgen.generate(folder).map_err(|problem| format!("{problem:#}"))
}
