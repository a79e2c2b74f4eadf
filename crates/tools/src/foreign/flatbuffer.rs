//! A reader of FlatBuffers, which are tables whose fields are found through offsets. Every offset is checked
//! against the buffer, so that a table can lie anywhere and overlap anything without harm.

use mobilebert::Result;
use mobilebert::format::format_error;

/// A buffer and its name in errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buffer<'a> {
    pub(super) label: &'a str,
    pub(super) bytes: &'a [u8],
}

/// A table, given by the position that its fields are relative to and by its list of fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    buffer: Buffer<'a>,
    pub(super) position: usize,
    vtable: usize,
    /// The length of the list of fields in bytes.
    fields: usize,
}

/// A list of elements, given by the position of the first one and their number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vector<'a> {
    buffer: Buffer<'a>,
    pub(super) start: usize,
    pub(super) length: usize,
}

impl<'a> Buffer<'a> {
    /// Returns the root table of the buffer.
    pub(super) fn root(self) -> Result<Table<'a>> {
        self.table(0)
    }

    /// Returns `N` bytes at a position.
    fn array<const N: usize>(self, at: usize) -> Result<[u8; N]> {
        let bytes = at.checked_add(N).and_then(|end| self.bytes.get(at..end));
        match bytes.and_then(|bytes| bytes.first_chunk()) {
            Some(bytes) => Ok(*bytes),
            None => Err(format_error(
                self.label,
                at,
                &format!("{N} bytes"),
                format!("the end of the file at {}", self.bytes.len()),
            )),
        }
    }

    fn u32(self, at: usize) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(at)?))
    }

    /// Returns the position that an offset leads to.
    fn follow(self, at: usize) -> Result<usize> {
        let target = at.checked_add(self.u32(at)? as usize);
        match target.filter(|&target| target < self.bytes.len()) {
            Some(target) => Ok(target),
            None => Err(format_error(self.label, at, "an offset inside the file", "one beyond it")),
        }
    }

    /// Returns the table that the offset at a position leads to.
    fn table(self, at: usize) -> Result<Table<'a>> {
        let position = self.follow(at)?;
        let back = i64::from(i32::from_le_bytes(self.array(position)?));
        let vtable = usize::try_from(position as i64 - back).ok().filter(|&v| v < self.bytes.len());
        let Some(vtable) = vtable else {
            return Err(format_error(
                self.label,
                position,
                "a list of fields inside the file",
                format!("{back}"),
            ));
        };
        let fields = usize::from(u16::from_le_bytes(self.array(vtable)?));
        Ok(Table { buffer: self, position, vtable, fields })
    }

    fn vector(self, at: usize, element: usize) -> Result<Vector<'a>> {
        let start = self.follow(at)?;
        let length = self.u32(start)? as usize;
        let start = start + 4;
        let end = length.checked_mul(element).and_then(|bytes| bytes.checked_add(start));
        match end.filter(|&end| end <= self.bytes.len()) {
            Some(_) => Ok(Vector { buffer: self, start, length }),
            None => {
                let expected = format!("a list inside the file of {} bytes", self.bytes.len());
                Err(format_error(self.label, start - 4, &expected, format!("{length} elements")))
            }
        }
    }
}

impl<'a> Table<'a> {
    /// Returns the position of a field's value, if the table has it.
    fn field(&self, index: usize) -> Result<Option<usize>> {
        let slot = 4 + 2 * index;
        if slot + 2 > self.fields {
            return Ok(None);
        }
        let offset = u16::from_le_bytes(self.buffer.array(self.vtable + slot)?);
        Ok((offset != 0).then(|| self.position + usize::from(offset)))
    }

    pub(super) fn u8(&self, index: usize) -> Result<u8> {
        Ok(self.field(index)?.map(|at| self.buffer.array::<1>(at)).transpose()?.map_or(0, |[byte]| byte))
    }

    pub(super) fn u32(&self, index: usize) -> Result<u32> {
        Ok(self.field(index)?.map(|at| self.buffer.u32(at)).transpose()?.unwrap_or(0))
    }

    pub(super) fn u64(&self, index: usize) -> Result<u64> {
        let bytes = self.field(index)?.map(|at| self.buffer.array(at)).transpose()?;
        Ok(bytes.map_or(0, u64::from_le_bytes))
    }

    pub(super) fn table(&self, index: usize) -> Result<Option<Table<'a>>> {
        self.field(index)?.map(|at| self.buffer.table(at)).transpose()
    }

    /// Returns a list of elements of `size` bytes, which is empty if the table has none.
    pub(super) fn vector(&self, index: usize, size: usize) -> Result<Vector<'a>> {
        match self.field(index)? {
            Some(at) => self.buffer.vector(at, size),
            None => Ok(Vector { buffer: self.buffer, start: 0, length: 0 }),
        }
    }

    pub(super) fn text(&self, index: usize) -> Result<String> {
        Ok(String::from_utf8_lossy(self.vector(index, 1)?.bytes()).into_owned())
    }

    pub(super) fn i32s(&self, index: usize) -> Result<Vec<i32>> {
        let (chunks, _) = self.vector(index, 4)?.elements(4).as_chunks::<4>();
        Ok(chunks.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect())
    }

    pub(super) fn f32s(&self, index: usize) -> Result<Vec<f32>> {
        let (chunks, _) = self.vector(index, 4)?.elements(4).as_chunks::<4>();
        Ok(chunks.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    }

    pub(super) fn i64s(&self, index: usize) -> Result<Vec<i64>> {
        let (chunks, _) = self.vector(index, 8)?.elements(8).as_chunks::<8>();
        Ok(chunks.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect())
    }
}

impl<'a> Vector<'a> {
    /// Returns the bytes of a list that was read with elements of one byte.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.elements(1)
    }

    /// Returns the bytes of all elements, which have `size` bytes each, as when the list was read.
    fn elements(&self, size: usize) -> &'a [u8] {
        self.buffer.bytes.get(self.start..self.start + size * self.length).unwrap_or(&[])
    }

    /// Returns an element of a list of tables, which was read with elements of 4 bytes.
    pub(super) fn table(&self, index: usize) -> Result<Table<'a>> {
        self.buffer.table(self.start + 4 * index)
    }
}
