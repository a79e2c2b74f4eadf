//! PREDICTIONS -> SCORES, by the definitions of the official scripts. This module sees only numbers and
//! texts, no files and no models.
//!
//! Scores agree with the official implementations to the last bit, or to 1e-12 where those add in another
//! order. `eval/reference/make_metric_goldens.py` records the scores of the originals.

pub mod classification;
pub mod entities;
pub mod interval;
pub mod squad;
