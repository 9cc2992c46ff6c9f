//! Instruction sets: the same Rust compiled for several, chosen at run time.
//!
//! Every twin is plain Rust over slices. [`Isa::run`] inlines it into a function that may use
//! the instruction set, where the compiler vectorises it; since each operation is IEEE and none
//! is reordered, the bits are the same. Functions that are called from there must be
//! `#[inline(always)]`, or they are compiled for the baseline and `mul_add` becomes a call.

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Isa {
    /// What every machine of this architecture has.
    pub fn portable() -> Self {
        Self(Kind::Portable)
    }

    /// The instruction sets of this machine, the fastest last.
    pub fn available() -> Vec<Self> {
        let mut sets = vec![Self::portable()];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("bmi2")
        {
            sets.push(Self(Kind::Avx2));
        }
        sets
    }

    /// The fastest instruction set of this machine.
    pub fn best() -> Self {
        Self::available().pop().unwrap_or_else(Self::portable)
    }

    /// Runs `work`, compiled for the instruction set as far as it is inlined.
    #[inline(always)]
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        match self.0 {
            Kind::Portable => work(),
            // SAFETY: this variant is made in `available` alone, after the features were detected.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { avx2(work) },
        }
    }
}

impl Default for Isa {
    fn default() -> Self {
        Self::best()
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi2")]
fn avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}
