//! What the CPU can run: detection, proof tokens, and the choice between variants.
//!
//! Detection happens here and nowhere else. A token's constructor is the only way to one, so whoever holds a token may
//! execute the instructions of its tier.

use std::fmt;

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
    /// AMX int8: products of 16 by 64 tiles; everything else as AVX-512. Linux only, where a process has to ask for it.
    Amx,
}

impl Isa {
    /// Every tier, in order of preference, least first.
    pub const ALL: [Self; 6] =
        [Self::Scalar, Self::Avx2, Self::AvxVnni, Self::Avx512, Self::Avx512Vnni, Self::Amx];

    /// The name that [`OVERRIDE`] takes and kernel names end in.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512vnni",
            Self::Amx => "amx",
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
            #[cfg(not(target_arch = "x86_64"))]
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

/// A proof token: `new` detects what the trampolines of `registry.rs` enable; the two lists have to agree.
macro_rules! token {
    ($name:ident, $doc:literal, $($feature:tt),*) => {
        #[doc = $doc]
        #[cfg(target_arch = "x86_64")]
        #[derive(Debug, Clone, Copy)]
        pub(super) struct $name(());

        #[cfg(target_arch = "x86_64")]
        impl $name {
            /// The proof, if this CPU and its operating system have the features.
            pub(super) fn new() -> Option<&'static Self> {
                ($(std::arch::is_x86_feature_detected!($feature))&&*).then_some(&Self(()))
            }
        }
    };
}

token!(Avx2, "Proof of AVX2 and FMA.", "avx2", "fma");
token!(AvxVnni, "Proof of AVX2, FMA and AVX-VNNI.", "avx2", "fma", "avxvnni");
token!(
    Avx512,
    "Proof of AVX-512 F, BW, DQ, VL.",
    "avx512f",
    "avx512bw",
    "avx512dq",
    "avx512vl",
    "avx2",
    "fma"
);
token!(
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

/// Proof of [`Avx512Vnni`]'s features and of AMX tiles with int8 products, which the operating system has granted.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Amx(());

#[cfg(target_arch = "x86_64")]
impl Amx {
    /// The proof, if the CPU has the features and the operating system lets this process use them.
    pub(super) fn new() -> Option<&'static Self> {
        static GRANTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        let granted = GRANTED.get_or_init(|| Avx512Vnni::new().is_some() && amx::cpu_has_it() && amx::ask());
        granted.then_some(&Self(()))
    }
}

#[cfg(target_arch = "x86_64")]
mod amx {
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    /// AMX-TILE and AMX-INT8. (`is_x86_feature_detected!` does not know them on stable Rust.)
    pub(super) fn cpu_has_it() -> bool {
        const TILE: u32 = 1 << 24;
        const INT8: u32 = 1 << 25;
        __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & (TILE | INT8) == (TILE | INT8)
    }

    /// Asks the kernel for the tiles' part of the register state; without it the first tile instruction is a SIGILL. The
    /// kernel refuses if it does not know AMX or did not enable it, so there is no need to read XCR0.
    #[cfg(target_os = "linux")]
    pub(super) fn ask() -> bool {
        const ARCH_PRCTL: i64 = 158;
        const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
        const XFEATURE_XTILEDATA: i64 = 18;
        let result: i64;
        // SAFETY: the system call takes two integers, touches no memory of this process, and clobbers rcx and r11.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => result,
                in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") XFEATURE_XTILEDATA,
                out("rcx") _,
                out("r11") _,
                options(nostack),
            );
        }
        result == 0
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn ask() -> bool {
        false
    }
}
