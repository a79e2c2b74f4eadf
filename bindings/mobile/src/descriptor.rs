//! Files that another part of the program has opened, such as the assets of an Android package.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

/// Returns a file of its own for a descriptor that the caller owns and may close afterwards.
///
/// Nothing here can see whether the number still means the file that the caller has in mind. If it means
/// another one, that file is duplicated, and then refused because there is no model in it.
///
/// # Errors
/// `InvalidInput` for a negative number, and the error of the system if no file is open under the number.
#[cfg(unix)]
pub(crate) fn duplicate(descriptor: i32) -> io::Result<File> {
    use std::os::fd::{FromRawFd, OwnedFd};

    if descriptor < 0 {
        let problem = format!("{descriptor} is not the number of an open file");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    // SAFETY: this command of `fcntl` takes any two numbers, and touches no memory of this process. It fails
    // for the number of a file that is not open.
    let duplicated = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0) };
    if duplicated < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system has just opened this number, and nobody else has been told of it.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicated) }.into())
}

/// Fails: descriptors are of Unix.
///
/// # Errors
/// Always.
#[cfg(not(unix))]
pub(crate) fn duplicate(_: i32) -> io::Result<File> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no file descriptors"))
}
