//! A pickle machine that works without Python. It builds dicts, lists, strings, numbers and tensor
//! descriptions, and refuses every other opcode and global by name.
//!
//! No input makes it loop or grow without bound. Each opcode consumes at least one byte and adds at most one
//! value to one place, strings are borrowed from the file, containers are referred to by index (so they may
//! contain themselves), and [`MAX_OPERATIONS`] bounds the whole.

use std::collections::HashMap;

use super::super::reader::Reader;
use super::objects::{Global, Storage, StoredTensor};
use super::value::Value;
use crate::error::{Error, Result};

/// The largest number of opcodes in one pickle. A state dict takes about 40 for each tensor.
pub(super) const MAX_OPERATIONS: usize = 1 << 20;

/// The machine and everything it has built.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    reader: Reader<'a>,
    /// The first byte of the current opcode. Errors about its meaning point here.
    at: Reader<'a>,
    stack: Vec<Value<'a>>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    sequences: Vec<Vec<Value<'a>>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    storages: Vec<Storage<'a>>,
    tensors: Vec<StoredTensor<'a>>,
}

impl<'a> Machine<'a> {
    /// Runs one pickle from `reader` up to its STOP. Returns what it built and the position after it.
    pub(super) fn run(reader: Reader<'a>) -> Result<(Self, Value<'a>, usize)> {
        let mut machine = Self {
            reader,
            at: reader,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            sequences: Vec::new(),
            dicts: Vec::new(),
            storages: Vec::new(),
            tensors: Vec::new(),
        };
        for _ in 0..MAX_OPERATIONS {
            machine.at = machine.reader;
            let opcode = machine.reader.u8("a pickle opcode")?;
            if opcode == b'.' {
                let root = machine.pop()?;
                let end = machine.reader.position();
                return Ok((machine, root, end));
            }
            machine.step(opcode)?;
        }
        Err(machine.reader.error(&format!("the end of the pickle within {MAX_OPERATIONS} opcodes"), "more"))
    }

    /// Returns the elements of a tuple or list.
    pub(super) fn sequence(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match value {
            Value::Tuple(id) | Value::List(id) => Some(&self.sequences[id]),
            _ => None,
        }
    }

    /// Returns the pairs of a dict in the order in which they were set. A later pair replaces an earlier one
    /// of the same key.
    pub(super) fn dict(&self, id: usize) -> &[(Value<'a>, Value<'a>)] {
        &self.dicts[id]
    }

    pub(super) fn tensor(&self, id: usize) -> &StoredTensor<'a> {
        &self.tensors[id]
    }

    pub(super) fn storage(&self, id: usize) -> Storage<'a> {
        self.storages[id]
    }

    pub(super) fn storages(&self) -> &[Storage<'a>] {
        &self.storages
    }

    /// Returns an error that points at the current opcode.
    pub(super) fn error(&self, expected: &str, found: impl Into<String>) -> Error {
        self.at.error(expected, found)
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            0x80 => self.protocol(),
            // FRAME is a hint about buffering and can be skipped.
            0x95 => self.reader.u64("a frame length").map(drop),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => {
                let mark = self.mark()?;
                self.stack.truncate(mark);
                Ok(())
            }
            b'2' => {
                let top = self.top()?;
                self.push(top)
            }
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'J' => {
                let bytes = self.reader.array("a 4-byte int")?;
                self.push(Value::Int(i32::from_le_bytes(bytes).into()))
            }
            b'K' => {
                let value = self.reader.u8("a 1-byte int")?;
                self.push(Value::Int(value.into()))
            }
            b'M' => {
                let value = self.reader.u16("a 2-byte int")?;
                self.push(Value::Int(value.into()))
            }
            0x8a => {
                let length = self.reader.u8("the length of an int")?;
                self.long(length.into())
            }
            0x8b => {
                let length = self.length()?;
                self.long(length)
            }
            b'G' => {
                self.reader.take(8, "a float")?;
                self.push(Value::Float)
            }
            0x8c | b'U' => {
                let length = self.reader.u8("the length of a string")?;
                self.text(length.into())
            }
            b'X' | b'T' => {
                let length = self.length()?;
                self.text(length)
            }
            0x8d => {
                let length = self.reader.size("the length of a string")?;
                self.text(length)
            }
            b')' => self.tuple(0),
            0x85..=0x87 => self.tuple(usize::from(opcode - 0x84)),
            b't' => {
                let mark = self.mark()?;
                self.tuple(self.stack.len() - mark)
            }
            b']' => self.list(self.stack.len()),
            b'l' => {
                let mark = self.mark()?;
                self.list(mark)
            }
            b'a' => {
                self.require(1)?;
                self.append(self.stack.len() - 1)
            }
            b'e' => {
                let mark = self.mark()?;
                self.append(mark)
            }
            b'}' => self.new_dict(),
            b'd' => {
                let mark = self.mark()?;
                let items = self.stack.split_off(mark);
                self.new_dict()?;
                self.set_items(&items)
            }
            b's' => {
                self.require(2)?;
                let items = self.stack.split_off(self.stack.len() - 2);
                self.set_items(&items)
            }
            b'u' => {
                let mark = self.mark()?;
                let items = self.stack.split_off(mark);
                self.set_items(&items)
            }
            b'q' => {
                let key = self.reader.u8("a memo key")?;
                self.put(key.into())
            }
            b'r' => {
                let key = self.reader.u32("a memo key")?;
                self.put(key)
            }
            0x94 => self.put(self.memo.len() as u32),
            b'h' => {
                let key = self.reader.u8("a memo key")?;
                self.get(key.into())
            }
            b'j' => {
                let key = self.reader.u32("a memo key")?;
                self.get(key)
            }
            b'c' => {
                let module = self.reader.line("the module of a global")?;
                let name = self.reader.line("the name of a global")?;
                self.global(module, name)
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => self.global(module, name),
                (name, module) => Err(self
                    .error("two strings that name a global", format!("{}, {}", module.kind(), name.kind()))),
            },
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let result = self.call(function, arguments)?;
                self.push(result)
            }
            b'b' => self.build(),
            b'Q' => {
                let id = self.pop()?;
                let storage = self.persistent_storage(id)?;
                self.storages.push(storage);
                self.push(Value::Storage(self.storages.len() - 1))
            }
            _ => {
                let found = format!("opcode {opcode:#04x} ({:?})", char::from(opcode));
                Err(self.error("an opcode that state dicts need", found))
            }
        }
    }

    fn protocol(&mut self) -> Result<()> {
        match self.reader.u8("a protocol number")? {
            2..=5 => Ok(()),
            other => Err(self.error("pickle protocol 2 to 5", other.to_string())),
        }
    }

    fn push(&mut self, value: Value<'a>) -> Result<()> {
        self.stack.push(value);
        Ok(())
    }

    /// Fails unless at least `count` values lie above the last mark.
    fn require(&self, count: usize) -> Result<()> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(floor) {
            Some(n) if n >= count => Ok(()),
            _ => Err(self.error(&format!("{count} values on the stack"), "fewer")),
        }
    }

    fn pop(&mut self) -> Result<Value<'a>> {
        self.require(1)?;
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn top(&self) -> Result<Value<'a>> {
        self.stack.last().copied().ok_or_else(|| self.error("a value on the stack", "none"))
    }

    /// Removes the last mark, and returns the height that the stack had when it was set.
    fn mark(&mut self) -> Result<usize> {
        let mark = self.marks.pop().ok_or_else(|| self.error("a mark on the stack", "none"))?;
        if mark > self.stack.len() {
            return Err(self.error("the values above a mark", "a stack below it"));
        }
        Ok(mark)
    }

    fn length(&mut self) -> Result<usize> {
        Ok(self.reader.u32("a length")? as usize)
    }

    fn long(&mut self, length: usize) -> Result<()> {
        let bytes = self.reader.take(length, "an int")?;
        let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
        let mut extended = [if negative { 0xff } else { 0 }; 8];
        self.push(match extended.get_mut(..bytes.len()) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(extended))
            }
            None => Value::Long,
        })
    }

    fn text(&mut self, length: usize) -> Result<()> {
        let bytes = self.reader.take(length, "a string")?;
        match str::from_utf8(bytes) {
            Ok(text) => self.push(Value::Text(text)),
            Err(_) => Err(self.error("a string in UTF-8", "other bytes")),
        }
    }

    fn tuple(&mut self, length: usize) -> Result<()> {
        self.require(length)?;
        let items = self.stack.split_off(self.stack.len() - length);
        self.sequences.push(items);
        self.push(Value::Tuple(self.sequences.len() - 1))
    }

    fn list(&mut self, start: usize) -> Result<()> {
        let items = self.stack.split_off(start);
        self.sequences.push(items);
        self.push(Value::List(self.sequences.len() - 1))
    }

    fn append(&mut self, start: usize) -> Result<()> {
        let items = self.stack.split_off(start);
        match self.top()? {
            Value::List(id) => {
                self.sequences[id].extend(items);
                Ok(())
            }
            other => Err(self.error("a list to append to", other.kind())),
        }
    }

    pub(super) fn empty_dict(&mut self) -> Value<'a> {
        self.dicts.push(Vec::new());
        Value::Dict(self.dicts.len() - 1)
    }

    fn new_dict(&mut self) -> Result<()> {
        let dict = self.empty_dict();
        self.push(dict)
    }

    fn set_items(&mut self, items: &[Value<'a>]) -> Result<()> {
        let (pairs, rest) = items.as_chunks::<2>();
        match self.top()? {
            Value::Dict(id) if rest.is_empty() => {
                self.dicts[id].extend(pairs.iter().map(|&[key, value]| (key, value)));
                Ok(())
            }
            Value::Dict(_) => Err(self.error("a value for each key", "a key without one")),
            other => Err(self.error("a dict to set items of", other.kind())),
        }
    }

    fn put(&mut self, key: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn get(&mut self, key: u32) -> Result<()> {
        match self.memo.get(&key) {
            Some(&value) => self.push(value),
            None => Err(self.error("a memo key that was set before", key.to_string())),
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        match Global::find(module, name) {
            Some(global) => self.push(Value::Global(global)),
            None => {
                let found: String = format!("{module}.{name}").chars().take(200).collect();
                Err(self.error(
                    "a global that state dicts need (an OrderedDict, tensors, storages); no other code is run",
                    format!("`{}`", found.escape_debug()),
                ))
            }
        }
    }

    /// Runs `__setstate__`. State dicts carry `_metadata` (module versions) as an attribute, which the
    /// weights do not need.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        match (self.top()?, state) {
            (Value::Dict(_), Value::Dict(_)) => Ok(()),
            (object, state) => {
                let found = format!("{} for {}", state.kind(), object.kind());
                Err(self.error("the attributes of a state dict", found))
            }
        }
    }

    /// Adds a tensor description.
    pub(super) fn add_tensor(&mut self, tensor: StoredTensor<'a>) -> Value<'a> {
        self.tensors.push(tensor);
        Value::Tensor(self.tensors.len() - 1)
    }

    /// Returns the number of tensor descriptions.
    pub(super) fn tensor_count(&self) -> usize {
        self.tensors.len()
    }
}
