//! Instruction sets: the same Rust compiled for several, chosen at run time.
//!
//! Loops over slices are plain Rust. [`Isa::run`] inlines them into a function that may use the instruction set,
//! where the compiler vectorises them; since each operation is IEEE and none is reordered, the bits are the same.
//! Functions that are called from there must be `#[inline(always)]`, or they are compiled for the baseline and
//! `mul_add` becomes a call.

/// An instruction set that this machine has.
///
/// ```
/// use fp8lm_formats::Isa;
///
/// let double = |x: &mut [f32]| x.iter_mut().for_each(|x| *x += *x);
/// for isa in Isa::available() {
///     let mut x = [1.5, -0.0];
///     isa.run(|| double(&mut x));
///     assert_eq!(x, [3.0, -0.0], "{}", isa.name());
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Isa(Kind);

/// Each has what the ones before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

impl Isa {
    /// What every machine of this architecture has.
    #[must_use]
    pub const fn portable() -> Self {
        Self(Kind::Portable)
    }

    /// The instruction sets of this machine, the fastest last. Without the feature `std` none but the portable one is
    /// looked for.
    pub fn available() -> impl Iterator<Item = Self> {
        let all = [
            Kind::Portable,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Bf16,
        ];
        all.into_iter().take_while(|kind| kind.is_detected()).map(Self)
    }

    /// The fastest instruction set of this machine.
    pub fn best() -> Self {
        Self::available().last().unwrap_or_else(Self::portable)
    }

    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Bf16 => "avx512-bf16",
        }
    }

    /// Whether it has AVX-512 with the subsets F, BW, CD, DQ, VL and VBMI, as every core since Ice Lake and Zen 4.
    #[must_use]
    pub const fn has_avx512(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 | Kind::Avx512Bf16 => true,
            _ => false,
        }
    }

    /// Whether it has the dot products of AVX512-BF16 beside AVX-512.
    #[must_use]
    pub const fn has_avx512_bf16(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Bf16 => true,
            _ => false,
        }
    }

    /// Runs `work`, compiled for the instruction set as far as it is inlined.
    #[inline(always)]
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        match self.0 {
            Kind::Portable => work(),
            // SAFETY: this variant is made in `available` alone, after its features were detected.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { avx2(work) },
            // SAFETY: as above, and `Avx512Bf16` has all that `Avx512` has.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 | Kind::Avx512Bf16 => unsafe { avx512(work) },
        }
    }
}

impl Default for Isa {
    fn default() -> Self {
        Self::best()
    }
}

impl Kind {
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    fn is_detected(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        match self {
            Self::Portable => true,
            Self::Avx2 => has!("avx2") && has!("fma") && has!("f16c") && has!("bmi2"),
            Self::Avx512 => {
                let foundation = has!("avx512f") && has!("avx512bw") && has!("avx512cd");
                foundation && has!("avx512dq") && has!("avx512vl") && has!("avx512vbmi")
            }
            Self::Avx512Bf16 => has!("avx512bf16"),
        }
    }

    #[cfg(not(all(feature = "std", target_arch = "x86_64")))]
    fn is_detected(self) -> bool {
        matches!(self, Self::Portable)
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi2")]
fn avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(
    enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,avx2,fma,f16c,bmi2"
)]
fn avx512<R>(work: impl FnOnce() -> R) -> R {
    work()
}
