//! Writes the Kotlin that calls the library of `bindings/mobile`: `mobile-bindings LIBRARY CONFIG FOLDER`.
//!
//! What there is to call stands in the library itself, put there by the macros of UniFFI.

use std::env;
use std::process::ExitCode;

use uniffi_bindgen::bindings::{GenerateOptions, TargetLanguage, generate};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [library, config, folder] = arguments.as_slice() else {
        eprintln!("expected: mobile-bindings LIBRARY CONFIG FOLDER");
        return ExitCode::from(2);
    };
    let options = GenerateOptions {
        languages: vec![TargetLanguage::Kotlin],
        source: library.into(),
        out_dir: folder.into(),
        config_override: Some(config.into()),
        ..GenerateOptions::default()
    };
    match generate(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{library}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
