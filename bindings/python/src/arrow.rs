//! Columns of texts from table libraries, read in place through Arrow's C interface.
//!
//! The interface is three C structs that its specification fixes for good
//! (<https://arrow.apache.org/docs/format/CDataInterface.html>), handed over in capsules
//! (`__arrow_c_array__`, `__arrow_c_stream__`). No table library is imported, and none is compiled in.

#![allow(unsafe_code, reason = "the interface is memory of another library")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::input::{OnNull, null};

/// `struct ArrowSchema`.
#[repr(C)]
struct Schema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut Schema,
    dictionary: *mut Schema,
    release: Option<unsafe extern "C" fn(*mut Schema)>,
    private_data: *mut c_void,
}

/// `struct ArrowArray`.
#[repr(C)]
struct Array {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut Array,
    dictionary: *mut Array,
    release: Option<unsafe extern "C" fn(*mut Array)>,
    private_data: *mut c_void,
}

/// `struct ArrowArrayStream`.
#[repr(C)]
struct Stream {
    get_schema: Option<unsafe extern "C" fn(*mut Stream, *mut Schema) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut Stream, *mut Array) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut Stream) -> *const c_char>,
    release: Option<unsafe extern "C" fn(*mut Stream)>,
    private_data: *mut c_void,
}

/// A struct of the interface that this side owns. It is released once, when it is dropped.
struct Owned<T: Released>(T);

/// A struct that its producer frees.
trait Released: Sized {
    /// An empty struct, which a producer may fill.
    const EMPTY: Self;
    /// Takes the function that frees it, so that nobody else calls it.
    fn take_release(&mut self) -> Option<unsafe extern "C" fn(*mut Self)>;
    /// Puts it back.
    fn put_release(&mut self, release: Option<unsafe extern "C" fn(*mut Self)>);
}

macro_rules! released {
    ($($kind:ident { $($field:ident: $empty:expr),* })*) => {$(
        impl Released for $kind {
            const EMPTY: Self = Self { release: None, private_data: ptr::null_mut(), $($field: $empty),* };
            fn take_release(&mut self) -> Option<unsafe extern "C" fn(*mut Self)> {
                self.release.take()
            }
            fn put_release(&mut self, release: Option<unsafe extern "C" fn(*mut Self)>) {
                self.release = release;
            }
        }
    )*};
}

released! {
    Schema {
        format: ptr::null(), name: ptr::null(), metadata: ptr::null(), flags: 0, n_children: 0,
        children: ptr::null_mut(), dictionary: ptr::null_mut()
    }
    Array {
        length: 0, null_count: 0, offset: 0, n_buffers: 0, n_children: 0, buffers: ptr::null_mut(),
        children: ptr::null_mut(), dictionary: ptr::null_mut()
    }
    Stream { get_schema: None, get_next: None, get_last_error: None }
}

impl<T: Released> Owned<T> {
    /// Moves the struct out of a capsule. The capsule keeps an empty one, so it frees nothing later.
    fn take(capsule: &Bound<'_, PyAny>, name: &CStr) -> PyResult<Self> {
        let capsule = capsule.cast::<PyCapsule>()?;
        let from: NonNull<T> = capsule.pointer_checked(Some(name))?.cast();
        // SAFETY: a capsule of this name holds a pointer to a struct of this type, which its producer keeps
        // until the capsule is freed. The interpreter's lock is held, so nobody else moves it meanwhile. The
        // function that frees it stays with the copy alone.
        let mut taken = unsafe { ptr::read(from.as_ptr()) };
        let release = taken.take_release();
        // SAFETY: as above; the place is overwritten with a valid, released struct.
        unsafe { ptr::write(from.as_ptr(), T::EMPTY) };
        if release.is_none() {
            return Err(PyValueError::new_err("the Arrow data was already consumed; pass the column again"));
        }
        taken.put_release(release);
        Ok(Self(taken))
    }
}

impl<T: Released> Drop for Owned<T> {
    fn drop(&mut self) {
        if let Some(release) = self.0.take_release() {
            self.0.put_release(Some(release));
            // SAFETY: the struct is one that a producer filled, and only this owner calls its `release`,
            // once: it was taken out of its former place in `take` or written by the producer into this one.
            unsafe { release(&raw mut self.0) };
        }
    }
}

/// A column of texts.
pub(crate) struct Column {
    /// The texts that are not missing. They point into `_arrays`, which live as long as this struct, and
    /// leave it only with its lifetime.
    texts: Vec<&'static str>,
    /// The owners of the memory.
    _arrays: Vec<Owned<Array>>,
}

// SAFETY: the memory of an array does not change once it is handed over, and the specification lets any
// thread read and release it.
unsafe impl Send for Column {}
// SAFETY: as above; sharing allows only reading.
unsafe impl Sync for Column {}

impl Column {
    /// Returns the texts.
    pub(crate) fn texts(&self) -> &[&str] {
        &self.texts
    }

    /// Keeps the texts for which `keep` is true.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.texts.retain(|text| keep(text));
    }

    /// Reads the column, if the object offers Arrow's interface. Beside it are the rows that have a text, if
    /// others are to be skipped, and the number of all rows.
    pub(crate) fn read(
        given: &Bound<'_, PyAny>,
        what: &str,
        on_null: OnNull,
    ) -> PyResult<Option<(Self, Vec<usize>, usize)>> {
        let (py, mut column) = (given.py(), Self { texts: Vec::new(), _arrays: Vec::new() });
        let (mut rows, mut kept) = (0, Vec::new());
        let mut add = |schema: &Owned<Schema>, array: Owned<Array>| {
            column._arrays.push(array);
            let Some(array) = column._arrays.last() else { return Ok(()) };
            // SAFETY: the array and the schema were handed over together and are alive; the array stays
            // beside the texts, and fields are dropped in their order.
            let texts = unsafe { texts_of(&schema.0, &array.0) }?;
            for text in texts {
                match text {
                    Some(text) => {
                        column.texts.push(text);
                        if on_null == OnNull::Skip {
                            kept.push(rows);
                        }
                    }
                    None if on_null == OnNull::Error => return Err(null(py, what, rows)),
                    None => {}
                }
                rows += 1;
            }
            Ok(())
        };
        if given.hasattr("__arrow_c_stream__")? {
            let capsule = given.call_method0("__arrow_c_stream__")?;
            let mut stream = Owned::<Stream>::take(&capsule, c"arrow_array_stream")?;
            let schema = stream.schema()?;
            // A stream may have no arrays, and then nothing else looks at its type.
            // SAFETY: the schema is alive.
            unsafe { format_of(&schema.0) }?;
            while let Some(array) = stream.next()? {
                add(&schema, array)?;
            }
        } else if given.hasattr("__arrow_c_array__")? {
            let pair = given.call_method0("__arrow_c_array__")?;
            let pair = pair.cast::<PyTuple>()?;
            let schema = Owned::<Schema>::take(&pair.get_item(0)?, c"arrow_schema")?;
            add(&schema, Owned::<Array>::take(&pair.get_item(1)?, c"arrow_array")?)?;
        } else {
            return Ok(None);
        }
        if on_null == OnNull::Error {
            kept = (0..rows).collect();
        }
        Ok(Some((column, kept, rows)))
    }
}

impl Owned<Stream> {
    fn schema(&mut self) -> PyResult<Owned<Schema>> {
        let mut schema = Owned(Schema::EMPTY);
        let Some(get) = self.0.get_schema else { return Err(malformed("a stream without a schema")) };
        // SAFETY: the stream is alive and this is its own function; it fills the empty struct or fails.
        let code = unsafe { get(&raw mut self.0, &raw mut schema.0) };
        self.check(code)?;
        Ok(schema)
    }

    /// Returns the next array, or `None` at the end.
    fn next(&mut self) -> PyResult<Option<Owned<Array>>> {
        let mut array = Owned(Array::EMPTY);
        let Some(get) = self.0.get_next else { return Err(malformed("a stream without arrays")) };
        // SAFETY: as in `schema`.
        let code = unsafe { get(&raw mut self.0, &raw mut array.0) };
        self.check(code)?;
        Ok(array.0.release.is_some().then_some(array))
    }

    fn check(&mut self, code: c_int) -> PyResult<()> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: the stream is alive, this is its own function, and its result is null or a C string that
        // is valid until the next call.
        let message = unsafe {
            let text = self.0.get_last_error.map_or(ptr::null(), |get| get(&raw mut self.0));
            NonNull::new(text.cast_mut())
                .map(|text| CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned())
        };
        let message = message.unwrap_or_else(|| format!("error {code}"));
        Err(PyValueError::new_err(format!("the Arrow stream failed: {message}")))
    }
}

fn malformed(problem: &str) -> PyErr {
    PyValueError::new_err(format!("the Arrow data is malformed: {problem}"))
}

/// Reads the texts of an array, `None` for those that are missing.
///
/// # Safety
/// Both are alive structs that a producer handed over together, and the texts are not used when the array has
/// been released.
unsafe fn texts_of(schema: &Schema, array: &Array) -> PyResult<Vec<Option<&'static str>>> {
    let (Ok(length), Ok(offset)) = (usize::try_from(array.length), usize::try_from(array.offset)) else {
        return Err(malformed("a negative length"));
    };
    // SAFETY: the caller vouches for the schema.
    let format = unsafe { format_of(schema) }?;
    if format == b"n" {
        // Such an array has no buffers, so its length may be anything.
        let mut none = Vec::new();
        none.try_reserve_exact(length).map_err(|_| malformed("more rows than fit the memory"))?;
        none.resize(length, None);
        return Ok(none);
    }
    if array.dictionary.is_null() != schema.dictionary.is_null() {
        return Err(malformed("a dictionary without its schema, or a schema without its dictionary"));
    }
    if length == 0 {
        return Ok(Vec::new());
    }
    let Some(end) = offset.checked_add(length) else { return Err(malformed("a length out of range")) };
    // SAFETY: the caller vouches for the structs.
    let buffers = unsafe { Buffers::of(array) }?;
    let is_valid = |row: usize| match buffers.get(0) {
        None => true,
        // SAFETY: the validity buffer has a bit for each row up to the end of the array.
        Some(bits) => unsafe { bits.as_ptr().cast::<u8>().add(row / 8).read() >> (row % 8) & 1 == 1 },
    };
    let rows = offset..end;
    // SAFETY: the dictionary pointers are null or alive with their parents.
    let dictionary = unsafe { (array.dictionary.as_ref(), schema.dictionary.as_ref()) };
    if let (Some(values), Some(dictionary)) = dictionary {
        // SAFETY: a dictionary and its schema belong together as their parents do.
        let values = unsafe { texts_of(dictionary, values) }?;
        let one = |row: usize| {
            if !is_valid(row) {
                return Ok(None);
            }
            // SAFETY: the index buffer has a number of this format for each row.
            let index = unsafe { buffers.index(format, row) }?;
            let value = index.and_then(|index| values.get(index).copied());
            value.ok_or_else(|| malformed("an index behind the dictionary"))
        };
        return rows.map(one).collect();
    }
    let read = |row: usize| {
        if !is_valid(row) {
            return Ok(None);
        }
        // SAFETY: the buffers have the layout of this format, with an entry for each row.
        let bytes = unsafe {
            match format {
                b"u" => buffers.between::<i32>(row),
                b"U" => buffers.between::<i64>(row),
                b"vu" => buffers.view(row),
                other => Err(not_texts(other)),
            }
        }?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| malformed("a text that is not UTF-8"))
    };
    rows.map(read).collect()
}

/// Returns the format of a schema, if it is one of texts, of dictionaries or of nothing but nulls.
///
/// # Safety
/// The schema is alive, and the format is not used when it has been released.
unsafe fn format_of(schema: &Schema) -> PyResult<&'static [u8]> {
    if schema.format.is_null() {
        return Err(malformed("a schema without a format"));
    }
    // SAFETY: the format of a schema that is alive is a C string.
    let format = unsafe { CStr::from_ptr(schema.format) }.to_bytes();
    match format {
        b"n" | b"u" | b"U" | b"vu" => Ok(format),
        _ if !schema.dictionary.is_null() => Ok(format),
        other => Err(not_texts(other)),
    }
}

fn not_texts(format: &[u8]) -> PyErr {
    let found = match format {
        b"+s" => "a table; pass one column of it".to_owned(),
        b"z" | b"Z" | b"vz" => "binary data; cast it to strings".to_owned(),
        other => format!("Arrow's type `{}`", String::from_utf8_lossy(other)),
    };
    PyTypeError::new_err(format!("expected a column of strings, found {found}"))
}

/// The buffers of an array.
struct Buffers<'a>(&'a [*const c_void]);

impl Buffers<'_> {
    /// # Safety
    /// The array is alive.
    unsafe fn of(array: &Array) -> PyResult<Self> {
        match usize::try_from(array.n_buffers) {
            Ok(0) => Ok(Self(&[])),
            Ok(count) if !array.buffers.is_null() => {
                // SAFETY: an array has a list of as many buffers as it says.
                Ok(Self(unsafe { std::slice::from_raw_parts(array.buffers, count) }))
            }
            _ => Err(malformed("no buffers")),
        }
    }

    fn get(&self, index: usize) -> Option<NonNull<c_void>> {
        self.0.get(index).and_then(|buffer| NonNull::new(buffer.cast_mut()))
    }

    /// Returns the number of a buffer.
    ///
    /// # Safety
    /// The buffer is missing, or has `index + 1` numbers of this type.
    unsafe fn number<T: Copy>(&self, buffer: usize, index: usize) -> PyResult<T> {
        let numbers = self.get(buffer).ok_or_else(|| malformed("a missing buffer"))?;
        // SAFETY: the caller vouches for the number; buffers need not be aligned.
        Ok(unsafe { numbers.cast::<T>().as_ptr().add(index).read_unaligned() })
    }

    /// Returns the bytes between two offsets.
    ///
    /// # Safety
    /// These are the buffers of a string type whose offsets are of this type, with an offset behind `row`.
    unsafe fn between<T: Copy + TryInto<usize>>(&self, row: usize) -> PyResult<&'static [u8]> {
        // SAFETY: strings of `n` rows have `n + 1` offsets.
        let (start, end) = unsafe { (self.number::<T>(1, row)?, self.number::<T>(1, row + 1)?) };
        match (start.try_into(), end.try_into()) {
            (Ok(start), Ok(end)) if start == end => Ok(&[]),
            (Ok(start), Ok(end)) if start < end => {
                let data = self.get(2).ok_or_else(|| malformed("a missing buffer"))?;
                // SAFETY: offsets that are in order lie within the data.
                Ok(unsafe { std::slice::from_raw_parts(data.cast::<u8>().as_ptr().add(start), end - start) })
            }
            _ => Err(malformed("offsets that are not in order")),
        }
    }

    /// Returns the bytes of a string view.
    ///
    /// # Safety
    /// These are the buffers of an array of string views with this row.
    unsafe fn view(&self, row: usize) -> PyResult<&'static [u8]> {
        const SIZE: usize = 16;
        const INLINE: usize = 12;
        let views = self.get(1).ok_or_else(|| malformed("a missing buffer"))?;
        // SAFETY: there is a view of 16 bytes for each row.
        let view = unsafe { views.cast::<u8>().as_ptr().cast_const().add(row * SIZE) };
        // SAFETY: a view is four numbers of 4 bytes.
        let word = |index: usize| unsafe { view.cast::<i32>().add(index).read_unaligned() };
        let length = usize::try_from(word(0)).map_err(|_| malformed("a negative length"))?;
        if length <= INLINE {
            // SAFETY: short texts stand in the view itself, behind their length.
            return Ok(unsafe { std::slice::from_raw_parts(view.add(4), length) });
        }
        let (Ok(buffer), Ok(start)) = (usize::try_from(word(2)), usize::try_from(word(3))) else {
            return Err(malformed("a view outside of its buffers"));
        };
        // The data buffers stand behind validity and views, and in front of a list of their lengths.
        let lengths = self.0.len().checked_sub(1).filter(|&last| buffer < last.saturating_sub(2));
        let lengths = lengths.ok_or_else(|| malformed("a view outside of its buffers"))?;
        // SAFETY: the last buffer has a length for each data buffer.
        let size = unsafe { self.number::<i64>(lengths, buffer) }?;
        let inside =
            start.checked_add(length).and_then(|end| i64::try_from(end).ok()).is_some_and(|end| end <= size);
        match self.get(2 + buffer) {
            Some(data) if inside => {
                // SAFETY: the text lies within the buffer's length.
                Ok(unsafe { std::slice::from_raw_parts(data.cast::<u8>().as_ptr().add(start), length) })
            }
            _ => Err(malformed("a view outside of its buffers")),
        }
    }

    /// Returns an index into a dictionary, or `None` if it is negative.
    ///
    /// # Safety
    /// Buffer 1 has a number of this format for the row.
    unsafe fn index(&self, format: &[u8], row: usize) -> PyResult<Option<usize>> {
        // SAFETY: the caller vouches for the number.
        unsafe {
            Ok(match format {
                b"c" => usize::try_from(self.number::<i8>(1, row)?).ok(),
                b"C" => Some(self.number::<u8>(1, row)?.into()),
                b"s" => usize::try_from(self.number::<i16>(1, row)?).ok(),
                b"S" => Some(self.number::<u16>(1, row)?.into()),
                b"i" => usize::try_from(self.number::<i32>(1, row)?).ok(),
                b"I" => usize::try_from(self.number::<u32>(1, row)?).ok(),
                b"l" => usize::try_from(self.number::<i64>(1, row)?).ok(),
                b"L" => usize::try_from(self.number::<u64>(1, row)?).ok(),
                _ => return Err(malformed("indices that are not whole numbers")),
            })
        }
    }
}
