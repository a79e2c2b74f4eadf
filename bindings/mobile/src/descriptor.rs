//! Files that another part of the program has opened, such as the assets of an Android package.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

/// Returns a file of its own for a descriptor that the caller owns and may close afterwards.
///
/// # Errors
/// `InvalidInput` for a negative number, and the error of the system if no file is open under the number.
#[cfg(unix)]
pub(crate) fn duplicate(descriptor: i32) -> io::Result<File> {
    use std::os::fd::BorrowedFd;

    if descriptor < 0 {
        let problem = format!("{descriptor} is not the number of an open file");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    // SAFETY: the number is not -1 by the check above. The borrow ends with this statement, in which it is
    // only handed to the system to be duplicated; the system refuses the number of a file that is not open.
    // The caller keeps its file open until then, as Kotlin's `addDescriptor` asks, so that the number does not
    // come to mean another file. If it did, that file would be duplicated, mapped, and refused as a model.
    let owned = unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()?;
    Ok(owned.into())
}

/// Fails: descriptors are of Unix.
///
/// # Errors
/// Always.
#[cfg(not(unix))]
pub(crate) fn duplicate(_: i32) -> io::Result<File> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no file descriptors"))
}
