//! The caller's memory: pointers become slices, structs and files here, and nowhere else.
//!
//! The functions are safe to call inside of this crate although they follow pointers that only the caller can
//! vouch for. Such pointers come from C alone, and the header says what each of them has to point to. A C
//! program that breaks this contract has undefined behaviour, as with any C library; nothing here could check
//! it. What can be checked is: NULL, sizes, and whether a text is UTF-8.

#![allow(unsafe_code, reason = "the interface is memory of the caller")]

use std::ffi::{CStr, c_char};
use std::mem::{MaybeUninit, align_of, size_of};
use std::ptr;
use std::slice;

use mobilebert_bindings::{Failure, Result, from_utf8};

use crate::abi::answer::{MobilebertAnswer, MobilebertAnswerOptions, MobilebertAnswers};
use crate::abi::cancel::MobilebertCancel;
use crate::abi::classify::{MobilebertClassifyOptions, MobilebertLabels};
use crate::abi::embed::{MobilebertEmbedOptions, MobilebertEmbeddings, MobilebertStates};
use crate::abi::error::MobilebertError;
use crate::abi::files::MobilebertFiles;
use crate::abi::fill::{MobilebertFillOptions, MobilebertFills};
use crate::abi::model::{MobilebertModel, MobilebertOpenOptions};
use crate::abi::tag::{MobilebertEntities, MobilebertTagOptions};
use crate::abi::text::{MobilebertText, MobilebertUtf8};

/// The code of a pointer that must not be NULL, and is.
pub(crate) const NULL_ARGUMENT: &str = "null_argument";

/// The largest size of options that is believed. A caller that forgot to set `struct_size` has more.
const MAX_OPTIONS: usize = 4096;

/// Makes the failure of an argument that is NULL.
pub(crate) fn null(what: &str) -> Failure {
    Failure::new(NULL_ARGUMENT, what, format!("{what} is NULL; expected a pointer that is not"))
}

/// Returns what an argument points to.
pub(crate) fn required<'a, T>(argument: Option<&'a T>, what: &str) -> Result<&'a T> {
    argument.ok_or_else(|| null(what))
}

/// Returns the elements of an array. It may be NULL if it is empty.
pub(crate) fn array<'a, T>(data: *const T, count: usize, what: &str) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(null(what));
    }
    if !data.is_aligned() {
        return Err(Failure::input(what, "its address is not a multiple of its element's alignment"));
    }
    if count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(Failure::input(what, format!("it has {count} elements, which no memory can hold")));
    }
    // SAFETY: the pointer is neither NULL nor misaligned, and the size fits `isize`. The header asks callers
    // for `count` initialised elements that do not change until the call returns, which is as long as the
    // slice is used: results hold copies.
    Ok(unsafe { slice::from_raw_parts(data, count) })
}

/// Changes the elements of an array of the caller, unless `change` fails. It may be NULL if it is empty.
pub(crate) fn change<T: Copy>(
    data: *mut T,
    count: usize,
    what: &str,
    change: impl FnOnce(&mut [T]) -> Result<()>,
) -> Result<()> {
    let mut copy = array(data.cast_const(), count, what)?.to_vec();
    change(&mut copy)?;
    if !copy.is_empty() {
        // SAFETY: `array` has checked that the pointer is neither NULL nor misaligned, and `copy` has `count`
        // elements. The header asks callers for memory that may be written and that nobody else uses before
        // the call returns. Both do not overlap, because `copy` is memory of its own.
        unsafe { ptr::copy_nonoverlapping(copy.as_ptr(), data, copy.len()) };
    }
    Ok(())
}

/// Returns a text.
pub(crate) fn text<'a>(given: MobilebertText, what: &str) -> Result<&'a str> {
    from_utf8(what, array(given.data.cast::<u8>(), given.size, what)?)
}

/// Returns the bytes of a name or path that ends with NUL, or `None` if it is NULL.
pub(crate) fn name_bytes<'a>(given: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the pointer is not NULL, and the header asks callers for a string that ends with NUL and does
    // not change until the call returns.
    (!given.is_null()).then(|| unsafe { CStr::from_ptr(given) }.to_bytes())
}

/// Returns a name that ends with NUL, or `None` if it is NULL.
pub(crate) fn name<'a>(given: *const c_char, what: &str) -> Result<Option<&'a str>> {
    name_bytes(given).map(|bytes| from_utf8(what, bytes)).transpose()
}

/// Returns a number, or `None` if the pointer is NULL.
pub(crate) fn number(given: *const f32) -> Option<f32> {
    // SAFETY: the header asks callers for NULL or a pointer to a number that does not change until the call
    // returns. The read needs no alignment.
    (!given.is_null()).then(|| unsafe { given.read_unaligned() })
}

/// Returns the flag that cancels a call, or `None` if there is none.
pub(crate) fn cancel<'a>(given: *const MobilebertCancel) -> Option<&'a MobilebertCancel> {
    // SAFETY: the header asks callers for NULL or a flag that `mobilebert_cancel_new` made and that is not
    // freed before the call returns. Other threads change it through its atomic alone.
    unsafe { given.as_ref() }
}

// SAFETY: the struct is plain data, and its pointer is followed here alone, where each function says what its
// caller has promised, or by C. In results it points to bytes that the same result owns and never changes.
unsafe impl Send for MobilebertText {}
// SAFETY: as above.
unsafe impl Sync for MobilebertText {}
// SAFETY: the pointer to other places points to a list that the same result owns and never changes. Nothing in
// this library follows it.
unsafe impl Send for MobilebertAnswer {}
// SAFETY: as above.
unsafe impl Sync for MobilebertAnswer {}

/// Proves that handles may be used by several threads at once, and freed by another, as the header says.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<MobilebertModel>();
    shared::<MobilebertFiles>();
    shared::<MobilebertCancel>();
    shared::<MobilebertError>();
    shared::<MobilebertUtf8>();
    shared::<MobilebertAnswers>();
    shared::<MobilebertLabels>();
    shared::<MobilebertEntities>();
    shared::<MobilebertFills>();
    shared::<MobilebertEmbeddings>();
    shared::<MobilebertStates>();
};

/// Options as C passes them: a struct whose first field is its size as the caller knows it.
///
/// # Safety
/// The type is `repr(C)` and begins with a `usize`. It is valid for any bytes.
pub(crate) unsafe trait Options: Copy {
    /// The sizes that the struct had in all versions of the interface, from the first to this one. It has
    /// only grown.
    const SIZES: &'static [usize] = &[size_of::<Self>()];
}

// SAFETY: the struct is `repr(C)`, begins with `struct_size: usize`, and has only fields that are numbers or raw
// pointers, which are valid for any bytes.
unsafe impl Options for MobilebertOpenOptions {}
// SAFETY: as above.
unsafe impl Options for MobilebertAnswerOptions {}
// SAFETY: as above.
unsafe impl Options for MobilebertClassifyOptions {}
// SAFETY: as above.
unsafe impl Options for MobilebertTagOptions {}
// SAFETY: as above.
unsafe impl Options for MobilebertFillOptions {}
// SAFETY: as above.
unsafe impl Options for MobilebertEmbedOptions {}

/// Returns a copy of the options of a caller. Options that are NULL, and fields that a caller of an older
/// version does not know, are zero, which means the default. Fields that only a newer version knows have to
/// be zero.
pub(crate) fn options<T: Options>(given: *const T) -> Result<T> {
    let mut copy = MaybeUninit::<T>::zeroed();
    if !given.is_null() {
        // SAFETY: the header asks callers for options that begin with their size. The read needs no
        // alignment.
        let found = unsafe { given.cast::<usize>().read_unaligned() };
        // A later version's struct is larger than any known here, and as aligned. A size in between is
        // that of no version, and would cut a field.
        let is_later = (size_of::<T>() + 1..=MAX_OPTIONS).contains(&found) && found % align_of::<T>() == 0;
        if !is_later && !T::SIZES.contains(&found) {
            let expected = format!("the size of the struct, {} bytes", size_of::<T>());
            return Err(Failure::option("struct_size", expected, found));
        }
        let known = found.min(size_of::<T>());
        let bytes = given.cast::<u8>();
        // SAFETY: the caller says that `found` bytes are readable, of which these are the last ones, and none
        // of them is changed until the call returns.
        let unknown = unsafe { slice::from_raw_parts(bytes.add(known), found - known) };
        if unknown.iter().any(|&byte| byte != 0) {
            let expected = format!("zeros behind the {known} bytes that this version of the library knows");
            return Err(Failure::option(
                "struct_size",
                expected,
                format!("{found}, with an option set there"),
            ));
        }
        // SAFETY: `known` bytes are readable by the caller's word and writable because `copy` is as large.
        unsafe { ptr::copy_nonoverlapping(bytes, copy.as_mut_ptr().cast::<u8>(), known) };
    }
    // SAFETY: the type is valid for any bytes, and all of them were set to zero or copied.
    Ok(unsafe { copy.assume_init() })
}

/// Returns a file of its own for a descriptor of the caller, who keeps the descriptor.
#[cfg(unix)]
pub(crate) fn file(descriptor: i32) -> std::io::Result<std::fs::File> {
    use std::os::fd::BorrowedFd;
    if descriptor < 0 {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidInput));
    }
    // SAFETY: what the type needs is that the number is not -1, which was checked. Its contract also asks for
    // a descriptor that is open, and for that there is only the caller's word: the header asks for one that
    // stays open until the call returns. A number without an open file is harmless all the same, because the
    // borrow ends with the next statement, which only hands it to the system to be duplicated, and the system
    // refuses it. Nothing is read from, written to or closed through the number itself.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    Ok(borrowed.try_clone_to_owned()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Old {
        struct_size: usize,
        top_k: usize,
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct New {
        struct_size: usize,
        top_k: usize,
        added: usize,
        last: usize,
    }

    // SAFETY: `repr(C)`, begins with its size, numbers only.
    unsafe impl Options for Old {}
    // SAFETY: as above.
    unsafe impl Options for New {
        const SIZES: &'static [usize] = &[size_of::<Old>(), size_of::<Self>()];
    }

    fn read<T: Options, G>(given: &G) -> Result<T> {
        options(ptr::from_ref(given).cast::<T>())
    }

    #[test]
    fn options_of_older_and_newer_callers_are_read() {
        let old = Old { struct_size: size_of::<Old>(), top_k: 3 };
        let new = read::<New, _>(&old).unwrap();
        assert_eq!((new.top_k, new.added), (3, 0));
        let mut new = New { struct_size: size_of::<New>(), top_k: 4, added: 0, last: 0 };
        assert_eq!(read::<Old, _>(&new).unwrap().top_k, 4);
        new.added = 1;
        assert_eq!(read::<Old, _>(&new).err().unwrap().place(), Some("struct_size"));
        assert_eq!(read::<New, _>(&new).unwrap().added, 1);
        assert_eq!(options::<New>(ptr::null()).unwrap().added, 0);
    }

    /// A struct that gets a field has to state its `SIZES`, of which the first stays: programs that were
    /// compiled before the field existed pass that size.
    #[cfg(target_pointer_width = "64")]
    #[test]
    fn structs_keep_the_size_of_their_first_version() {
        fn check<T: Options>(first: usize) {
            assert_eq!((T::SIZES.first(), T::SIZES.last()), (Some(&first), Some(&size_of::<T>())));
            assert!(T::SIZES.is_sorted());
        }
        check::<MobilebertOpenOptions>(48);
        check::<MobilebertAnswerOptions>(96);
        check::<MobilebertClassifyOptions>(96);
        check::<MobilebertTagOptions>(72);
        check::<MobilebertFillOptions>(56);
        check::<MobilebertEmbedOptions>(56);
    }

    #[test]
    fn sizes_that_no_version_has_are_refused() {
        for struct_size in [0, 1, size_of::<Old>() - 1, MAX_OPTIONS + 1, usize::MAX] {
            let failure = read::<Old, _>(&Old { struct_size, top_k: 0 }).err().unwrap();
            assert_eq!((failure.code(), failure.place()), ("option", Some("struct_size")));
        }
        // Between two versions, and behind this one but not as aligned as any.
        let (first, last) = (size_of::<Old>(), size_of::<New>());
        for (struct_size, is_known) in [
            (first, true),
            (first + 1, false),
            (first + size_of::<usize>(), false),
            (last - 1, false),
            (last, true),
            (last + 1, false),
            (last + size_of::<usize>(), true),
        ] {
            // A later version's struct is the first one with what stands behind it.
            let mut given = [New { struct_size, top_k: 3, added: 0, last: 0 }; 2];
            given[1].struct_size = 0;
            assert_eq!(read::<New, _>(&given).is_ok(), is_known, "{struct_size}");
        }
    }

    #[test]
    fn arrays_are_checked_before_they_are_read() {
        assert_eq!(array::<u32>(ptr::null(), 0, "x").unwrap(), &[] as &[u32]);
        assert_eq!(array::<u32>(ptr::null(), 1, "x").unwrap_err().code(), NULL_ARGUMENT);
        let numbers = [1_u32, 2];
        assert_eq!(array(numbers.as_ptr(), 2, "x").unwrap(), numbers);
        assert_eq!(array(numbers.as_ptr(), usize::MAX, "x").unwrap_err().code(), "input");
        let skewed = numbers.as_ptr().cast::<u8>().wrapping_add(1).cast::<u32>();
        assert_eq!(array(skewed, 1, "x").unwrap_err().code(), "input");
    }
}
