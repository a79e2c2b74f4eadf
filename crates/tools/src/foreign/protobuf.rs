//! A reader of protocol buffers on the wire, which are numbered fields, without a schema. Every length is
//! checked against the bytes at hand.

use mobilebert::Result;
use mobilebert::format::format_error;

/// A message with its bytes and their place in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) label: &'a str,
    pub(super) bytes: &'a [u8],
    /// The offset of `bytes` in the file.
    pub(super) start: usize,
}

/// The value of a field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64,
    Bytes(Message<'a>),
    Fixed32([u8; 4]),
}

impl<'a> Message<'a> {
    pub(super) fn new(label: &'a str, bytes: &'a [u8], start: usize) -> Self {
        Self { label, bytes, start }
    }

    /// Calls `field` with each field's number and value, in the order of the file.
    pub(super) fn fields(&self, mut field: impl FnMut(u64, Value<'a>) -> Result<()>) -> Result<()> {
        let mut rest = *self;
        while !rest.bytes.is_empty() {
            let at = rest.start;
            let key = rest.varint()?;
            let value = match key & 7 {
                0 => Value::Varint(rest.varint()?),
                1 => {
                    rest.array::<8>()?;
                    Value::Fixed64
                }
                2 => {
                    let length = rest.varint()?;
                    Value::Bytes(rest.take(length)?)
                }
                5 => Value::Fixed32(rest.array()?),
                wire => {
                    let expected = "a field of wire type 0, 1, 2 or 5";
                    return Err(format_error(self.label, at, expected, format!("wire type {wire}")));
                }
            };
            if key >> 3 == 0 {
                return Err(format_error(self.label, at, "a field number of at least 1", "0"));
            }
            field(key >> 3, value)?;
        }
        Ok(())
    }

    /// Reads the next base-128 number, whose lowest group comes first.
    pub(super) fn varint(&mut self) -> Result<u64> {
        const GROUPS: usize = 10;
        let mut number = 0u64;
        for i in 0..GROUPS {
            let Some(&byte) = self.bytes.get(i) else { break };
            number |= u64::from(byte & 0x7f).checked_shl(7 * i as u32).unwrap_or(0);
            if byte & 0x80 == 0 {
                self.skip(i + 1);
                return Ok(number);
            }
        }
        Err(format_error(self.label, self.start, "a number of at most 10 bytes", "no end of it"))
    }

    pub(super) fn take(&mut self, length: u64) -> Result<Message<'a>> {
        let taken = usize::try_from(length).ok().and_then(|n| self.bytes.get(..n));
        let Some(bytes) = taken else {
            let expected = format!("{length} bytes");
            let found = format!("{} bytes before the end", self.bytes.len());
            return Err(format_error(self.label, self.start, &expected, found));
        };
        let message = Message { bytes, ..*self };
        self.skip(bytes.len());
        Ok(message)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((array, _)) = self.bytes.split_first_chunk::<N>() else {
            let found = format!("{} bytes before the end", self.bytes.len());
            return Err(format_error(self.label, self.start, &format!("{N} bytes"), found));
        };
        let array = *array;
        self.skip(N);
        Ok(array)
    }

    fn skip(&mut self, bytes: usize) {
        self.bytes = &self.bytes[bytes..];
        self.start += bytes;
    }

    /// Returns the bytes as text.
    pub(super) fn text(&self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes).map_err(|e| {
            let at = self.start + e.valid_up_to();
            format_error(self.label, at, "UTF-8", "a byte that is not")
        })
    }

    /// Returns a value that has to be a number.
    pub(super) fn number(&self, value: Value<'_>) -> Result<u64> {
        match value {
            Value::Varint(number) => Ok(number),
            other => Err(self.wrong("a number", other)),
        }
    }

    /// Returns a value that has to be bytes, text or a message.
    pub(super) fn message(&self, value: Value<'a>) -> Result<Message<'a>> {
        match value {
            Value::Bytes(message) => Ok(message),
            other => Err(self.wrong("bytes with a length", other)),
        }
    }

    /// Appends the numbers of a repeated field, which may be packed or stand one by one.
    pub(super) fn numbers(&self, value: Value<'a>, into: &mut Vec<u64>) -> Result<()> {
        match value {
            Value::Varint(number) => into.push(number),
            other => {
                let mut packed = self.message(other)?;
                while !packed.bytes.is_empty() {
                    into.push(packed.varint()?);
                }
            }
        }
        Ok(())
    }

    fn wrong(&self, expected: &str, found: Value<'_>) -> mobilebert::Error {
        let found = match found {
            Value::Varint(_) => "a number",
            Value::Fixed64 => "8 bytes",
            Value::Bytes(_) => "bytes with a length",
            Value::Fixed32(_) => "4 bytes",
        };
        format_error(self.label, self.start, expected, found)
    }
}
