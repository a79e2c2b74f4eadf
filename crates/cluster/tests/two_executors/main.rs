//! A scheduler and two executors, each a process: the rows and bits of one machine, also when an executor is
//! killed.

mod losses;
mod results;
mod support;
