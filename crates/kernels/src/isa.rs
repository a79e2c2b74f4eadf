//! What the CPU can run: detection, proof tokens, and the choice between variants.
//!
//! Detection happens here and nowhere else. A token's constructor is the only way to one, so whoever holds a
//! token may execute the instructions of its tier.

use std::fmt;
#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

/// Environment variable that forces a variant, for tests and comparisons: a name that `mobilebert kernels`
/// lists.
pub const OVERRIDE: &str = "MOBILEBERT_KERNELS";

/// Hands the target features of a tier to another macro: `with_features!(Avx2, run!(x))` is `run! { ["avx2"
/// "fma"] x }`.
///
/// This is the one list of them. Detection, the trampolines around kernels and those around register tiles
/// all read it, so a token proves exactly what they enable.
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
    // The tiles are used in assembly, which needs no feature of the compiler's.
    (Amx, $($rest:tt)*) => { with_features! { Avx512Vnni, $($rest)* } };
    (Neon, $then:ident!($($rest:tt)*)) => { $then! { ["neon"] $($rest)* } };
    (NeonDot, $then:ident!($($rest:tt)*)) => { $then! { ["neon" "dotprod"] $($rest)* } };
    (WasmSimd128, $then:ident!($($rest:tt)*)) => { $then! { ["simd128"] $($rest)* } };
}
pub(crate) use with_features;

/// Hands the table of all tiers to another macro, least preferred first: documentation, token, name, and the
/// condition under which a build has it.
macro_rules! tiers {
    ($then:ident) => {
        $then! {
            /// Plain Rust, any CPU.
            Scalar "scalar" all();
            /// AVX2 and FMA: int8 widened to 16 bits, 256-bit registers.
            Avx2 "avx2" target_arch = "x86_64";
            /// AVX-VNNI: int8 dot products on 256-bit registers.
            AvxVnni "avxvnni" target_arch = "x86_64";
            /// AVX-512 F, BW, DQ and VL: int8 widened to 16 bits, 512-bit registers.
            Avx512 "avx512" target_arch = "x86_64";
            /// AVX-512 VNNI: int8 dot products on 512-bit registers.
            Avx512Vnni "avx512vnni" target_arch = "x86_64";
            /// AMX: int8 products of 16 x 64 tiles, and AVX-512 VNNI. Linux only, where a process has to ask
            /// for the tiles.
            Amx "amx" target_arch = "x86_64";
            /// NEON: int8 widened to 16 bits, 128-bit registers.
            Neon "neon" target_arch = "aarch64";
            /// NEON with dot products of int8 (FEAT_DotProd).
            NeonDot "neondot" target_arch = "aarch64";
            /// WebAssembly's simd128: int8 widened to 16 bits, 128-bit registers. A build has it or has not.
            WasmSimd128 "wasm-simd128" target_feature = "simd128";
        }
    };
}
pub(crate) use tiers;

macro_rules! isa {
    ($($(#[$doc:meta])* $token:ident $name:literal $condition:meta;)*) => {
        /// A tier of instructions. Later tiers are preferred.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Isa {
            $($(#[$doc])* $token,)*
        }

        impl Isa {
            /// Every tier of this architecture, in order of preference, least first.
            pub const ALL: [Self; [$(#[cfg($condition)] Self::$token),*].len()] =
                [$(#[cfg($condition)] Self::$token),*];

            /// The name that [`OVERRIDE`] takes and kernel names end in.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$token => $name,)*
                }
            }

            /// Whether this CPU, its operating system and this build can run it.
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

/// Plain Rust needs no proof.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scalar;

impl Scalar {
    pub(super) fn new() -> Option<&'static Self> {
        Some(&Self)
    }
}

/// Proof of simd128: WebAssembly cannot ask at run time, and a module with instructions that a runtime lacks
/// does not load.
#[cfg(target_feature = "simd128")]
#[derive(Debug, Clone, Copy)]
pub(super) struct WasmSimd128(());

#[cfg(target_feature = "simd128")]
impl WasmSimd128 {
    /// The proof: this code was compiled.
    pub(super) fn new() -> Option<&'static Self> {
        Some(&Self(()))
    }
}

/// A proof token: `new` detects the features that [`with_features`] lists for it.
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
            /// The proof, if this CPU and its operating system have the features.
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

/// Proof of [`Avx512Vnni`], AMX-TILE, AMX-INT8 and AMX-BF16, and that the kernel lets this process use the
/// tiles.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Amx(());

#[cfg(target_arch = "x86_64")]
impl Amx {
    /// The proof, if there is one.
    pub(super) fn new() -> Option<&'static Self> {
        static ALLOWED: OnceLock<bool> = OnceLock::new();
        let allowed = *ALLOWED.get_or_init(|| Avx512Vnni::new().is_some() && has_tiles() && may_use_tiles());
        allowed.then_some(&Self(()))
    }

    /// The proof of AVX-512 VNNI that this one includes.
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

/// Asks the kernel for the tile registers, for all threads of this process.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn may_use_tiles() -> bool {
    const SYS_ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: the call reads and writes no memory of ours; `syscall` overwrites rcx and r11.
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
