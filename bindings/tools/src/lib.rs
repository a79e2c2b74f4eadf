//! Nothing: the package is its programs, each behind a feature.
