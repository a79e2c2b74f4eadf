//! What the CPU can run: detection, proof tokens, and the choice between variants.
//!
//! Detection happens here and nowhere else. A token's constructor is the only way to one, so whoever holds a token may
//! execute the instructions of its tier.

use std::fmt;
#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

/// Environment variable that forces a variant, for tests and comparisons: a name that `mobilebert kernels` lists.
pub const OVERRIDE: &str = "MOBILEBERT_KERNELS";

/// A tier of instructions. Later tiers are preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust, any CPU.
    Scalar,
    /// AVX2 and FMA: int8 widened to 16 bits, 256-bit registers.
    Avx2,
    /// AVX-VNNI: int8 dot products on 256-bit registers.
    AvxVnni,
    /// AVX-512 F, BW, DQ and VL: int8 widened to 16 bits, 512-bit registers.
    Avx512,
    /// AVX-512 VNNI: int8 dot products on 512-bit registers.
    Avx512Vnni,
    /// AMX: int8 products of 16 x 64 tiles, and AVX-512 VNNI. Linux only, where a process has to ask for the tiles.
    Amx,
    /// NEON: int8 widened to 16 bits, 128-bit registers.
    Neon,
    /// NEON with dot products of int8 (FEAT_DotProd).
    NeonDot,
    /// WebAssembly's simd128: int8 widened to 16 bits, 128-bit registers. A build has it or has not.
    WasmSimd128,
}

impl Isa {
    /// Every tier of this architecture, in order of preference, least first.
    #[cfg(target_arch = "x86_64")]
    pub const ALL: [Self; 6] =
        [Self::Scalar, Self::Avx2, Self::AvxVnni, Self::Avx512, Self::Avx512Vnni, Self::Amx];
    /// Every tier of this architecture, in order of preference, least first.
    #[cfg(target_arch = "aarch64")]
    pub const ALL: [Self; 3] = [Self::Scalar, Self::Neon, Self::NeonDot];
    /// Every tier of this architecture, in order of preference, least first.
    #[cfg(target_feature = "simd128")]
    pub const ALL: [Self; 2] = [Self::Scalar, Self::WasmSimd128];
    /// Every tier of this architecture, in order of preference, least first.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_feature = "simd128")))]
    pub const ALL: [Self; 1] = [Self::Scalar];

    /// The name that [`OVERRIDE`] takes and kernel names end in.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512vnni",
            Self::Amx => "amx",
            Self::Neon => "neon",
            Self::NeonDot => "neondot",
            Self::WasmSimd128 => "wasm-simd128",
        }
    }

    /// Whether this CPU, its operating system and this build can run it.
    pub fn is_supported(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => AvxVnni::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => Avx512Vnni::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => Amx::new().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Neon::new().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => NeonDot::new().is_some(),
            #[cfg(target_feature = "simd128")]
            Self::WasmSimd128 => WasmSimd128::new().is_some(),
            _ => false,
        }
    }
}

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

/// Proof of simd128: WebAssembly cannot ask at run time, and a module with instructions that a runtime lacks does not load.
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

/// A proof token: `new` detects what the trampolines of `registry.rs` enable; the two lists have to agree.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! token {
    ($detected:ident, $name:ident, $doc:literal, $($feature:tt),*) => {
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
token!(is_x86_feature_detected, Avx2, "Proof of AVX2 and FMA.", "avx2", "fma");
#[cfg(target_arch = "x86_64")]
token!(is_x86_feature_detected, AvxVnni, "Proof of AVX2, FMA and AVX-VNNI.", "avx2", "fma", "avxvnni");
#[cfg(target_arch = "x86_64")]
token!(
    is_x86_feature_detected,
    Avx512,
    "Proof of AVX-512 F, BW, DQ, VL.",
    "avx512f",
    "avx512bw",
    "avx512dq",
    "avx512vl",
    "avx2",
    "fma"
);
#[cfg(target_arch = "x86_64")]
token!(
    is_x86_feature_detected,
    Avx512Vnni,
    "Proof of AVX-512 F, BW, DQ, VL, VNNI.",
    "avx512f",
    "avx512bw",
    "avx512dq",
    "avx512vl",
    "avx512vnni",
    "avx2",
    "fma"
);
#[cfg(target_arch = "x86_64")]
token!(
    is_x86_feature_detected,
    Avx512Bf16,
    "Proof of AVX-512 F and BF16: no tier of its own, since only bf16 products differ.",
    "avx512f",
    "avx512bf16"
);
#[cfg(target_arch = "aarch64")]
token!(is_aarch64_feature_detected, Neon, "Proof of NEON.", "neon");
#[cfg(target_arch = "aarch64")]
token!(is_aarch64_feature_detected, NeonDot, "Proof of NEON and its dot products.", "neon", "dotprod");

/// Proof of [`Avx512Vnni`], AMX-TILE, AMX-INT8 and AMX-BF16, and that the kernel lets this process use the tiles.
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

    /// What it proves besides.
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
