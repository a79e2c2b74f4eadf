//! Finds words for `[MASK]` with your own model:
//! `cargo run --release --example fill_mask -- MODEL_FOLDER "Paris is the [MASK] of France."`

use mobilebert::{FillMask, Result};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(model), Some(text)) = (args.next(), args.next()) else {
        eprintln!("usage: fill_mask MODEL_FOLDER TEXT");
        std::process::exit(2);
    };
    for fill in FillMask::open(&model)?.fill(&text)?.iter().flatten() {
        println!("{:.3}  {}", fill.score, fill.sequence);
    }
    Ok(())
}
