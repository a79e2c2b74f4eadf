//! Defines the Python objects that state dicts are made of, and the few functions that rebuild them.

use super::super::checkpoint::ElementType;
use super::machine::Machine;
use super::value::Value;
use crate::error::Result;

/// The largest number of tensors in one file. MobileBERT has 1,100.
const MAX_TENSORS: usize = 1 << 16;

/// The largest number of dimensions of a tensor. BERT uses two.
const MAX_RANK: usize = 8;

/// A number type of PyTorch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Dtype {
    /// The name that safetensors gives the type.
    pub(super) name: &'static str,
    /// The number of bytes of one element.
    pub(super) size: usize,
    /// The type of this crate, if weights may have it.
    pub(super) element: Option<ElementType>,
}

impl Dtype {
    const fn read(element: ElementType, name: &'static str, size: usize) -> Self {
        Self { name, size, element: Some(element) }
    }

    const fn other(name: &'static str, size: usize) -> Self {
        Self { name, size, element: None }
    }
}

/// The storage class, the dtype name and the number type of each type.
const DTYPES: [(&str, &str, Dtype); 12] = [
    ("FloatStorage", "float32", Dtype::read(ElementType::F32, "F32", 4)),
    ("HalfStorage", "float16", Dtype::read(ElementType::F16, "F16", 2)),
    ("BFloat16Storage", "bfloat16", Dtype::read(ElementType::Bf16, "BF16", 2)),
    ("DoubleStorage", "float64", Dtype::read(ElementType::F64, "F64", 8)),
    ("CharStorage", "int8", Dtype::read(ElementType::I8, "I8", 1)),
    ("LongStorage", "int64", Dtype::read(ElementType::I64, "I64", 8)),
    ("ByteStorage", "uint8", Dtype::other("U8", 1)),
    ("UntypedStorage", "", Dtype::other("U8", 1)),
    ("BoolStorage", "bool", Dtype::other("BOOL", 1)),
    ("ShortStorage", "int16", Dtype::other("I16", 2)),
    ("IntStorage", "int32", Dtype::other("I32", 4)),
    ("", "uint16", Dtype::other("U16", 2)),
];

/// A class or function that a state dict may name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Global {
    OrderedDict,
    /// `torch.Size`, a tuple.
    Size,
    /// `torch.FloatStorage` and similar classes.
    StorageClass(Dtype),
    /// `torch.float32` and similar constants.
    Dtype(Dtype),
    RebuildTensor,
    RebuildTypedTensor,
    RebuildParameter,
}

impl Global {
    pub(super) fn find(module: &str, name: &str) -> Option<Self> {
        let dtype = |is: fn(&(&str, &str, Dtype), &str) -> bool| {
            DTYPES.iter().find(|row| !name.is_empty() && is(row, name)).map(|row| row.2)
        };
        match (module, name) {
            ("collections", "OrderedDict") => Some(Global::OrderedDict),
            ("torch", "Size") => Some(Global::Size),
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Global::RebuildTensor),
            ("torch._utils", "_rebuild_tensor_v3") => Some(Global::RebuildTypedTensor),
            // The second function also gets the attributes that a program gave the parameter. They come last
            // and are not used here.
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Some(Global::RebuildParameter)
            }
            ("torch" | "torch.storage", _) => dtype(|row, name| row.0 == name)
                .map(Global::StorageClass)
                .or_else(|| dtype(|row, name| row.1 == name).map(Global::Dtype)),
            _ => None,
        }
    }
}

/// A run of raw elements, found under its key in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storage<'a> {
    pub(super) key: &'a str,
    pub(super) dtype: Dtype,
    pub(super) elements: usize,
}

/// A tensor, which is a window on a storage.
#[derive(Debug)]
pub(super) struct StoredTensor<'a> {
    pub(super) storage: Storage<'a>,
    /// The number type of the tensor. It may differ from that of an untyped storage.
    pub(super) dtype: Dtype,
    /// The position of the first element, counted in elements.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

impl StoredTensor<'_> {
    /// Returns the number of elements from the first one to the end of the last one, or `None` if that
    /// overflows.
    pub(super) fn span(&self) -> Option<usize> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        let mut steps = self.shape.iter().zip(&self.strides);
        steps.try_fold(1usize, |span, (&d, &stride)| span.checked_add((d - 1).checked_mul(stride)?))
    }

    /// Returns true if the elements lie row by row without gaps.
    pub(super) fn is_contiguous(&self) -> bool {
        let mut expected = Some(1usize);
        self.shape.contains(&0)
            || self.shape.iter().zip(&self.strides).rev().all(|(&d, &stride)| {
                let fits = d == 1 || expected == Some(stride);
                expected = expected.and_then(|e| e.checked_mul(d));
                fits
            })
    }
}

impl<'a> Machine<'a> {
    /// Calls `function(*arguments)` for the functions of [`Global`].
    pub(super) fn call(&mut self, function: Value<'a>, arguments: Value<'a>) -> Result<Value<'a>> {
        let (Value::Global(function), Some(arguments)) = (function, self.sequence(arguments)) else {
            let found = format!("{} called with {}", function.kind(), arguments.kind());
            return Err(self.error("a function and a tuple of arguments", found));
        };
        match (function, arguments) {
            (Global::OrderedDict, []) => Ok(self.empty_dict()),
            (Global::Size, &[shape @ Value::Tuple(_)]) => Ok(shape),
            (Global::RebuildParameter, &[tensor @ Value::Tensor(_), ..]) => Ok(tensor),
            (Global::RebuildTensor, &[Value::Storage(storage), offset, shape, strides, ..]) => {
                let storage = self.storage(storage);
                self.rebuild(storage, storage.dtype, offset, shape, strides)
            }
            (
                Global::RebuildTypedTensor,
                &[
                    Value::Storage(storage),
                    offset,
                    shape,
                    strides,
                    _,
                    _,
                    Value::Global(Global::Dtype(dtype)),
                    ..,
                ],
            ) => self.rebuild(self.storage(storage), dtype, offset, shape, strides),
            (_, arguments) => {
                let kinds: Vec<_> = arguments.iter().take(8).map(Value::kind).collect();
                let found = format!("{function:?} called with ({})", kinds.join(", "));
                Err(self.error(
                    "a call that rebuilds a tensor, a parameter, a size or an empty OrderedDict",
                    found,
                ))
            }
        }
    }

    /// Reads `("storage", class, key, device, elements[, view])`.
    pub(super) fn persistent_storage(&self, id: Value<'a>) -> Result<Storage<'a>> {
        match self.sequence(id) {
            Some(
                &[
                    Value::Text("storage"),
                    Value::Global(Global::StorageClass(dtype)),
                    Value::Text(key),
                    Value::Text(_),
                    elements,
                    ref view @ ..,
                ],
            ) if matches!(view, [] | [Value::None]) => {
                Ok(Storage { key, dtype, elements: self.size(elements)? })
            }
            Some(fields) => {
                let kinds: Vec<_> = fields.iter().take(8).map(Value::kind).collect();
                let expected = "a persistent id (\"storage\", class, key, device, size)";
                Err(self.error(expected, format!("({})", kinds.join(", "))))
            }
            None => Err(self.error("a tuple as persistent id", id.kind())),
        }
    }

    fn rebuild(
        &mut self,
        storage: Storage<'a>,
        dtype: Dtype,
        offset: Value<'a>,
        shape: Value<'a>,
        strides: Value<'a>,
    ) -> Result<Value<'a>> {
        let (offset, shape, strides) = (self.size(offset)?, self.sizes(shape)?, self.sizes(strides)?);
        if shape.len() != strides.len() {
            let found = format!("shape {shape:?} and strides {strides:?}");
            return Err(self.error("a stride for each dimension", found));
        }
        if self.tensor_count() == MAX_TENSORS {
            return Err(self.error(&format!("at most {MAX_TENSORS} tensors"), "more"));
        }
        Ok(self.add_tensor(StoredTensor { storage, dtype, offset, shape, strides }))
    }

    fn size(&self, value: Value<'a>) -> Result<usize> {
        match value {
            Value::Int(n) => {
                usize::try_from(n).map_err(|_| self.error("a size of at least 0", n.to_string()))
            }
            other => Err(self.error("a size", other.kind())),
        }
    }

    fn sizes(&self, value: Value<'a>) -> Result<Vec<usize>> {
        match self.sequence(value) {
            Some(items) if items.len() <= MAX_RANK => items.iter().map(|&v| self.size(v)).collect(),
            Some(items) => {
                Err(self.error(&format!("at most {MAX_RANK} dimensions"), items.len().to_string()))
            }
            None => Err(self.error("a tuple of sizes", value.kind())),
        }
    }
}
