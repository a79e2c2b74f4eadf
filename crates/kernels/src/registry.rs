//! The table of all variants. Dispatch, tests, benches and `mobilebert kernels` iterate over it.

use std::fmt;

use super::aligned::Line;
use super::attention::{Attention, KeyScales};
use super::embedding::PositionAndType;
use super::gemm::{FloatRows, Gemm, Tiles};
use super::isa::{self, Isa, Scalar, tiers, with_features};
use super::norm::LayerNorm;
use super::quantize::QuantizedRowsMut;

/// All kernels of one instruction set.
///
/// Every method checks the lengths of its slices and panics if they are too short. No method allocates.
pub trait Kernels: Send + Sync + fmt::Debug {
    /// The instruction set.
    fn isa(&self) -> Isa;

    /// Does at least `macs` multiply-adds of a kernel as fast as the CPU can, from registers or the L1 cache,
    /// and returns how many it did.
    fn peak(&self, kernel: Kernel, macs: u64) -> u64;

    /// Computes a linear layer; see [`super::reference::gemm`].
    fn gemm(&self, arguments: Gemm<'_>);

    /// Computes the attention of one head; see [`super::reference::attention`].
    fn attention(&self, arguments: Attention<'_>);

    /// Quantises `rows` rows of `width` numbers; see [`super::reference::quantize`].
    fn quantize(&self, rows: usize, width: usize, x: FloatRows<'_>, to: QuantizedRowsMut<'_>);

    /// Normalises rows of `width` numbers in place; see [`super::reference::norm`].
    fn normalize(&self, width: usize, x: &mut [f32], norm: LayerNorm<'_>);

    /// Adds position and segment embeddings, and applies the norm that follows.
    fn position_and_type(&self, arguments: PositionAndType<'_>);

    /// Packs int8 keys of `(tokens, head_size)`, starting at a multiple of sixteen tokens.
    fn pack_keys(
        &self,
        size: (usize, usize),
        x: FloatRows<'_>,
        keys: &mut [Line<[i8; 64]>],
        scales: &mut [KeyScales],
    );

    /// Computes the scales of the int8 values of `(tokens, head_size)`, starting at a multiple of sixteen
    /// tokens.
    fn value_scales(&self, size: (usize, usize), x: FloatRows<'_>, scales: &mut [Line<[f32; 16]>]);

    /// Packs int8 values of `(tokens, columns)` with up to sixteen columns, starting at a multiple of sixteen
    /// tokens.
    fn pack_values(
        &self,
        size: (usize, usize),
        x: FloatRows<'_>,
        scales: &[Line<[f32; 16]>],
        values: &mut [Line<[i8; 64]>],
    );
}

/// Implements [`Kernels`] for a token. Each method is a trampoline that enables the token's features around
/// the generic body.
macro_rules! kernels {
    ([$($feature:tt)*] $token:ident) => {
        impl Kernels for isa::$token {
            fn isa(&self) -> Isa {
                Isa::$token
            }

            fn peak(&self, kernel: Kernel, macs: u64) -> u64 {
                let mut done = 0;
                let to = &mut done;
                kernels!(@call [$($feature)*] $token, self, peak::peak(kernel: Kernel, macs: u64, to: &mut u64));
                done
            }

            fn gemm(&self, arguments: Gemm<'_>) {
                arguments.check();
                kernels!(@call [$($feature)*] $token, self, gemm::gemm(arguments: Gemm<'_>))
            }

            fn attention(&self, arguments: Attention<'_>) {
                arguments.check();
                kernels!(@call [$($feature)*] $token, self, attention::attention(arguments: Attention<'_>))
            }

            fn quantize(&self, rows: usize, width: usize, x: FloatRows<'_>, to: QuantizedRowsMut<'_>) {
                kernels!(@call [$($feature)*] $token, self, quantize::quantize_rows(
                    rows: usize, width: usize, x: FloatRows<'_>, to: QuantizedRowsMut<'_>
                ))
            }

            fn normalize(&self, width: usize, x: &mut [f32], norm: LayerNorm<'_>) {
                norm.check(width);
                kernels!(@call [$($feature)*] $token, self, norm::normalize_rows(
                    width: usize, x: &mut [f32], norm: LayerNorm<'_>
                ))
            }

            fn position_and_type(&self, arguments: PositionAndType<'_>) {
                arguments.check();
                kernels!(@call [$($feature)*] $token, self, embedding::position_and_type(
                    arguments: PositionAndType<'_>
                ))
            }

            fn pack_keys(
                &self,
                size: (usize, usize),
                x: FloatRows<'_>,
                keys: &mut [Line<[i8; 64]>],
                scales: &mut [KeyScales],
            ) {
                kernels!(@call [$($feature)*] $token, self, pack_heads::pack_keys(
                    size: (usize, usize), x: FloatRows<'_>, keys: &mut [Line<[i8; 64]>], scales: &mut [KeyScales]
                ))
            }

            fn value_scales(&self, size: (usize, usize), x: FloatRows<'_>, scales: &mut [Line<[f32; 16]>]) {
                kernels!(@call [$($feature)*] $token, self, pack_heads::value_scales(
                    size: (usize, usize), x: FloatRows<'_>, scales: &mut [Line<[f32; 16]>]
                ))
            }

            fn pack_values(
                &self,
                size: (usize, usize),
                x: FloatRows<'_>,
                scales: &[Line<[f32; 16]>],
                values: &mut [Line<[i8; 64]>],
            ) {
                kernels!(@call [$($feature)*] $token, self, pack_heads::pack_values(
                    size: (usize, usize), x: FloatRows<'_>, scales: &[Line<[f32; 16]>], values: &mut [Line<[i8; 64]>]
                ))
            }
        }
    };
    (@call [$($feature:tt)*] $token:ident, $self:ident, $module:ident::$body:ident($($name:ident: $type:ty),*)) => {{
        $(#[target_feature(enable = $feature)])*
        fn run(s: isa::$token, $($name: $type),*) {
            super::$module::$body(s, $($name),*);
        }
        // SAFETY: the token proves that the CPU has the features that `run` enables, because its detection
        // and this macro read the same list. (The scalar variant enables none.)
        #[allow(unused_unsafe)]
        unsafe {
            run(*$self, $($name),*)
        }
    }};
}

/// Implements what depends on the list of tiers.
macro_rules! registry {
    ($($(#[$doc:meta])* $token:ident $name:literal $condition:meta;)*) => {
        $(
            #[cfg($condition)]
            with_features!($token, kernels!($token));
        )*

        /// The kernels of a tier, if this CPU can run it.
        pub fn of(isa: Isa) -> Option<&'static dyn Kernels> {
            fn any<K: Kernels>(token: Option<&'static K>) -> Option<&'static dyn Kernels> {
                token.map(|k| k as _)
            }
            match isa {
                $(#[cfg($condition)] Isa::$token => any(isa::$token::new()),)*
                _ => None,
            }
        }

        /// Rows and columns of the int8, the bf16 and the f32 register tile.
        fn tiles(isa: Isa) -> [(usize, usize); 3] {
            fn of<S: Tiles>() -> [(usize, usize); 3] {
                [
                    (S::REGISTER_ROWS_I8, 16 * S::STRIPS_I8),
                    (S::ROWS_BF16, 16 * S::STRIPS_BF16),
                    (S::ROWS_F32, 16 * S::STRIPS_F32),
                ]
            }
            match isa {
                $(#[cfg($condition)] Isa::$token => of::<isa::$token>(),)*
                _ => of::<Scalar>(),
            }
        }
    };
}
tiers!(registry);

/// The kernels of every tier that this CPU can run, least preferred first.
pub fn supported() -> impl Iterator<Item = &'static dyn Kernels> {
    Isa::ALL.into_iter().filter_map(of)
}

/// The kernels of the most preferred tier that this CPU can run.
pub fn best() -> &'static dyn Kernels {
    supported().last().unwrap_or(&Scalar)
}

/// The kernels of the tier of this name; `None` if there is no such tier or this CPU cannot run it.
pub fn by_name(name: &str) -> Option<&'static dyn Kernels> {
    Isa::ALL.into_iter().find(|isa| isa.name() == name).and_then(of)
}

/// One kernel on one tier: a row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// The name, which states operation, types, tile and instruction set. The grammar is in
    /// `docs/kernels.md`.
    pub name: String,
    /// The instruction set.
    pub isa: Isa,
    /// Whether this CPU can run it.
    pub supported: bool,
    /// Whether it is used unless another one is forced.
    pub picked: bool,
}

/// The kernels that every tier has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kernel {
    /// A linear on 8-bit rows and int8 weights.
    GemmInt8,
    /// A linear on bf16 rows and bf16 weights.
    GemmBf16,
    /// A linear in f32.
    GemmF32,
    /// Attention on 8-bit queries, int8 keys and values.
    AttentionInt8,
    /// Attention in f32.
    AttentionF32,
    /// Quantisation of f32 rows to 8 bits.
    Quantize,
    /// Packing of int8 keys in the order of the attention.
    PackKeys,
    /// Packing of int8 values in the order of the attention.
    PackValues,
    /// LayerNorm and NoNorm.
    Norm,
    /// Position and segment embeddings and the norm that follows.
    PositionAndType,
}

impl Kernel {
    /// All kernels.
    pub const ALL: [Self; 10] = [
        Self::GemmInt8,
        Self::GemmBf16,
        Self::GemmF32,
        Self::AttentionInt8,
        Self::AttentionF32,
        Self::Quantize,
        Self::PackKeys,
        Self::PackValues,
        Self::Norm,
        Self::PositionAndType,
    ];

    /// The name of this kernel on a tier; the grammar is in `docs/kernels.md`.
    pub fn name(self, isa: Isa) -> String {
        let [int8, bf16, f32] = tiles(isa).map(|(rows, columns)| format!("{rows}x{columns}"));
        match self {
            Self::GemmInt8 => format!("gemm_qu8_qc8w_f32_{int8}__{isa}"),
            Self::GemmBf16 => format!("gemm_bf16_f32_{bf16}__{isa}"),
            Self::GemmF32 => format!("gemm_f32_{f32}__{isa}"),
            Self::AttentionInt8 => format!("attention_qu8_qs8_f32_{int8}__{isa}"),
            Self::AttentionF32 => format!("attention_f32_{f32}__{isa}"),
            Self::Quantize => format!("quantize_f32_qu8__{isa}"),
            Self::PackKeys => format!("pack_keys_f32_qs8__{isa}"),
            Self::PackValues => format!("pack_values_f32_qs8__{isa}"),
            Self::Norm => format!("norm_f32__{isa}"),
            Self::PositionAndType => format!("position_and_type_f32__{isa}"),
        }
    }
}

/// The whole table: every kernel on every tier of this architecture, also on those that this CPU cannot run.
pub fn variants() -> Vec<Variant> {
    let picked = best().isa();
    let row = |isa: Isa, kernel: Kernel| Variant {
        name: kernel.name(isa),
        isa,
        supported: isa.is_supported(),
        picked: isa == picked,
    };
    Isa::ALL.into_iter().flat_map(|isa| Kernel::ALL.map(|kernel| row(isa, kernel))).collect()
}
