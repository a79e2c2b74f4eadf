//! Detects the instruction sets of the CPU, and gives out proof tokens for them.
//!
//! Detection happens here and nowhere else. The only way to a token is its constructor, so a function that
//! holds one may execute the instructions of its tier.

#[cfg(target_feature = "relaxed-simd")]
mod relaxed;

use std::fmt;
#[cfg(any(target_arch = "x86_64", target_feature = "simd128"))]
use std::sync::OnceLock;

#[cfg(target_feature = "relaxed-simd")]
pub(super) use relaxed::{WasmDot, WasmFma};

/// The environment variable that forces a tier by name, for tests and comparisons. `mobilebert kernels` lists
/// the names.
pub const OVERRIDE: &str = "MOBILEBERT_KERNELS";

/// Hands the target features of a tier to another macro: `with_features!(Avx2, run!(x))` is
/// `run! { ["avx2" "fma"] x }`.
///
/// This is the only list of them. Detection, the trampolines around kernels and those around register tiles
/// all read it, so a token proves exactly the features that they enable.
macro_rules! with_features {
    (Scalar, $then:ident!($($rest:tt)*)) => { $then! { [] $($rest)* } };
    (Avx2, $then:ident!($($rest:tt)*)) => { $then! { ["avx2" "fma"] $($rest)* } };
    (AvxVnni, $then:ident!($($rest:tt)*)) => { $then! { ["avx2" "fma" "avxvnni"] $($rest)* } };
    (Avx512, $then:ident!($($rest:tt)*)) => {
        $then! { ["avx512f" "avx512bw" "avx512dq" "avx512vl" "avx2" "fma"] $($rest)* }
    };
    (Avx512Vnni, $then:ident!($($rest:tt)*)) => {
        $then! { ["avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512vnni" "avx2" "fma"] $($rest)* }
    };
    (Avx512Bf16, $then:ident!($($rest:tt)*)) => { $then! { ["avx512f" "avx512bf16"] $($rest)* } };
    // The tiles are used in assembly, for which the compiler needs no feature.
    (Amx, $($rest:tt)*) => { with_features! { Avx512Vnni, $($rest)* } };
    (Neon, $then:ident!($($rest:tt)*)) => { $then! { ["neon"] $($rest)* } };
    (NeonDot, $then:ident!($($rest:tt)*)) => { $then! { ["neon" "dotprod"] $($rest)* } };
    (NeonI8mm, $then:ident!($($rest:tt)*)) => { $then! { ["neon" "i8mm"] $($rest)* } };
    (WasmSimd128, $then:ident!($($rest:tt)*)) => { $then! { ["simd128"] $($rest)* } };
    (WasmFma, $then:ident!($($rest:tt)*)) => { $then! { ["simd128" "relaxed-simd"] $($rest)* } };
    (WasmDot, $($rest:tt)*) => { with_features! { WasmFma, $($rest)* } };
}
pub(crate) use with_features;

/// Hands the table of all tiers to another macro, least preferred first. Each has documentation, a token, a
/// name, and the condition under which a build includes it.
macro_rules! tiers {
    ($then:ident) => {
        $then! {
            /// Plain Rust, for any CPU.
            Scalar "scalar" all();
            /// AVX2 and FMA: int8 widened to 16 bits, 256-bit registers.
            Avx2 "avx2" target_arch = "x86_64";
            /// AVX-VNNI: int8 dot products on 256-bit registers.
            AvxVnni "avxvnni" target_arch = "x86_64";
            /// AVX-512 F, BW, DQ and VL: int8 widened to 16 bits, 512-bit registers.
            Avx512 "avx512" target_arch = "x86_64";
            /// AVX-512 VNNI: int8 dot products on 512-bit registers.
            Avx512Vnni "avx512vnni" target_arch = "x86_64";
            /// AMX: int8 products of 16 x 64 tiles, and AVX-512 VNNI. It is supported on Linux only, where a
            /// process has to ask for the tiles.
            Amx "amx" target_arch = "x86_64";
            /// NEON: int8 products in 16 bits, 128-bit registers.
            Neon "neon" target_arch = "aarch64";
            /// NEON with dot products of int8 (FEAT_DotProd).
            NeonDot "neondot" target_arch = "aarch64";
            /// NEON with int8 products of matrices (FEAT_I8MM).
            NeonI8mm "neoni8mm" target_arch = "aarch64";
            /// WebAssembly's simd128: int8 widened to 16 bits, 128-bit registers. The build decides whether
            /// it is there.
            WasmSimd128 "wasm-simd128" target_feature = "simd128";
            /// WebAssembly's relaxed SIMD on runtimes that round its multiply-add once: int8 widened to 16
            /// bits. The build decides whether it is there, and then the runtime.
            WasmFma "wasm-fma" target_feature = "relaxed-simd";
            /// The same on runtimes that also compute its dot product of bytes exactly.
            WasmDot "wasm-dot" target_feature = "relaxed-simd";
        }
    };
}
pub(crate) use tiers;

macro_rules! isa {
    ($($(#[$doc:meta])* $token:ident $name:literal $condition:meta;)*) => {
        /// A tier: the instructions that a set of kernels uses. Later tiers are preferred.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Isa {
            $($(#[$doc])* $token,)*
        }

        impl Isa {
            /// Every tier of this architecture, least preferred first.
            pub const ALL: [Self; [$(#[cfg($condition)] Self::$token),*].len()] =
                [$(#[cfg($condition)] Self::$token),*];

            /// The name, which [`OVERRIDE`] takes and in which the names of kernels end.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$token => $name,)*
                }
            }

            /// Whether this CPU, its operating system and this build can run the tier.
            pub fn is_supported(self) -> bool {
                match self {
                    $(#[cfg($condition)] Self::$token => $token::new().is_some(),)*
                    _ => false,
                }
            }
        }
    };
}
tiers!(isa);

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The token of plain Rust, which needs no proof.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scalar;

impl Scalar {
    pub(super) fn new() -> Option<&'static Self> {
        Some(&Self)
    }
}

/// Proof of simd128. A WebAssembly module cannot detect it at run time, but a runtime without SIMD does not
/// load a module that contains it.
#[cfg(target_feature = "simd128")]
#[derive(Debug, Clone, Copy)]
pub(super) struct WasmSimd128 {
    zero: usize,
}

#[cfg(target_feature = "simd128")]
impl WasmSimd128 {
    /// Always a proof, because this code is compiled only with simd128.
    pub(super) fn new() -> Option<&'static Self> {
        static PROOF: OnceLock<WasmSimd128> = OnceLock::new();
        Some(PROOF.get_or_init(|| Self { zero: std::hint::black_box(0) }))
    }

    /// 0, which the compiler does not know.
    pub(super) fn zero(self) -> usize {
        self.zero
    }
}

/// Declares a proof token, whose `new` detects the features that [`with_features`] lists for it.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! token {
    ($name:ident, $detected:ident, $doc:literal) => {
        with_features!($name, token!($name, $detected, $doc));
    };
    ([$($feature:tt)*] $name:ident, $detected:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Copy)]
        pub(super) struct $name(());

        impl $name {
            /// A proof, if this CPU and its operating system have the features.
            pub(super) fn new() -> Option<&'static Self> {
                ($(std::arch::$detected!($feature))&&*).then_some(&Self(()))
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
token!(Avx2, is_x86_feature_detected, "Proof of AVX2 and FMA.");
#[cfg(target_arch = "x86_64")]
token!(AvxVnni, is_x86_feature_detected, "Proof of AVX2, FMA and AVX-VNNI.");
#[cfg(target_arch = "x86_64")]
token!(Avx512, is_x86_feature_detected, "Proof of AVX-512 F, BW, DQ, VL.");
#[cfg(target_arch = "x86_64")]
token!(Avx512Vnni, is_x86_feature_detected, "Proof of AVX-512 F, BW, DQ, VL, VNNI.");
#[cfg(target_arch = "x86_64")]
token!(
    Avx512Bf16,
    is_x86_feature_detected,
    "Proof of AVX-512 F and BF16: no tier of its own, since only bf16 products differ."
);
#[cfg(target_arch = "aarch64")]
token!(Neon, is_aarch64_feature_detected, "Proof of NEON.");
#[cfg(target_arch = "aarch64")]
token!(NeonDot, is_aarch64_feature_detected, "Proof of NEON and its dot products.");
#[cfg(target_arch = "aarch64")]
token!(NeonI8mm, is_aarch64_feature_detected, "Proof of NEON and its int8 products of matrices.");

/// Proof of [`Avx512Vnni`], AMX-TILE, AMX-INT8 and AMX-BF16, and that Linux lets this process use the tiles.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Amx(());

#[cfg(target_arch = "x86_64")]
impl Amx {
    /// A proof, if this CPU has the features and Linux grants the tiles.
    pub(super) fn new() -> Option<&'static Self> {
        static ALLOWED: OnceLock<bool> = OnceLock::new();
        let allowed = *ALLOWED.get_or_init(|| Avx512Vnni::new().is_some() && has_tiles() && may_use_tiles());
        allowed.then_some(&Self(()))
    }

    /// The proof of AVX-512 VNNI that this proof includes.
    pub(super) fn vnni(self) -> Avx512Vnni {
        Avx512Vnni(())
    }
}

/// Whether the CPU has AMX-TILE, AMX-INT8 and AMX-BF16 and the operating system saves the tiles.
#[cfg(target_arch = "x86_64")]
fn has_tiles() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    const TILE_INT8_BF16: u32 = 1 << 24 | 1 << 25 | 1 << 22;
    const OSXSAVE: u32 = 1 << 27;
    const XCR0_TILES: u64 = 1 << 17 | 1 << 18;
    #[target_feature(enable = "xsave")]
    fn xcr0() -> u64 {
        // SAFETY: the feature that `xgetbv` needs is enabled here.
        unsafe { _xgetbv(0) }
    }
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    // SAFETY: OSXSAVE says that `xgetbv` can be executed.
    __cpuid_count(7, 0).edx & TILE_INT8_BF16 == TILE_INT8_BF16 && unsafe { xcr0() } & XCR0_TILES == XCR0_TILES
}

/// Asks Linux for the tile registers, for all threads of this process.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn may_use_tiles() -> bool {
    const SYS_ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: the system call reads and writes no memory of this process; `syscall` overwrites rcx and r11.
    unsafe {
        std::arch::asm!(
            "syscall",
            inout("rax") SYS_ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn may_use_tiles() -> bool {
    false
}
