//! Writes the Kotlin or Swift that calls the library of `bindings/mobile`: `mobile-bindings LANGUAGE LIBRARY CONFIG
//! FOLDER`.
//!
//! What there is to call stands in the library itself, put there by the macros of UniFFI.

use std::env;
use std::process::ExitCode;

use uniffi_bindgen::bindings::{GenerateOptions, TargetLanguage, generate};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let usage = || {
        eprintln!("expected: mobile-bindings kotlin|swift LIBRARY CONFIG FOLDER");
        ExitCode::from(2)
    };
    let [language, library, config, folder] = arguments.as_slice() else {
        return usage();
    };
    let language = match language.as_str() {
        "kotlin" => TargetLanguage::Kotlin,
        "swift" => TargetLanguage::Swift,
        _ => return usage(),
    };
    let options = GenerateOptions {
        languages: vec![language],
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
