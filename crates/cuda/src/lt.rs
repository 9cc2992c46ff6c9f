//! cuBLASLt: plans of matrix products, executed.

use std::{
    collections::HashMap,
    ffi::c_void,
    fmt,
    mem::MaybeUninit,
    ptr::{null_mut, without_provenance},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cudarc::cublaslt::sys::{
    self, cublasLtMatmulAlgo_t as Algorithm, cublasLtMatmulHeuristicResult_t as Proposal,
};

use self::descriptors::{Description, Layout, Preference};
use crate::{
    Error, MatmulPlan,
    driver::{Context, Stream},
    error::{Result, Version},
    matmul::{Factor, ScaleMode},
};

mod descriptors;

/// The CUDA that the library is of. Whoever calls has seen that it is there.
pub(crate) fn version() -> Version {
    // SAFETY: it takes no arguments and needs no GPU.
    Version::of_cublaslt(unsafe { sys::cublasLtGetVersion() })
}

/// The library on one GPU.
pub(crate) struct Lt {
    handle: sys::cublasLtHandle_t,
    version: Version,
    /// Choosing an algorithm takes longer than small products do.
    algorithms: Mutex<HashMap<Key, Algorithm>>,
    context: Arc<Context>,
}

// SAFETY: the library says that a handle may be used from any thread, and by several at once.
unsafe impl Send for Lt {}
// SAFETY: as above.
unsafe impl Sync for Lt {}

/// What an algorithm is chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    plan: MatmulPlan,
    /// Of the addresses of a, b and d, in bytes.
    alignments: [u32; 3],
}

/// Addresses on the GPU, in the roles of a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) a: u64,
    pub(crate) b: u64,
    pub(crate) d: u64,
    /// Of the factors of a and of b, laid as the plan says.
    pub(crate) scales: [Option<u64>; 2],
    /// Of what multiplies sums, if the plan has that.
    pub(crate) factor: Option<u64>,
    /// Of [`WORKSPACE`] bytes.
    pub(crate) workspace: u64,
}

impl Lt {
    /// A handle for the GPU of `context`.
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self> {
        context.bind()?;
        let mut handle = null_mut();
        // SAFETY: the pointer is to a handle that lives through the call.
        check("cublasLtCreate", unsafe { sys::cublasLtCreate(&raw mut handle) })?;
        Ok(Self {
            handle,
            version: version(),
            algorithms: Mutex::default(),
            context: context.clone(),
        })
    }

    /// Enqueues the product of a plan.
    ///
    /// # Safety
    /// The addresses are of memory of the GPU as long as the plan says, in which only d is written and overlaps
    /// nothing else; it is freed after this stream.
    pub(crate) unsafe fn multiply(
        &self,
        stream: &Stream,
        plan: &MatmulPlan,
        at: &Addresses,
    ) -> Result<()> {
        let raw = stream.enter()?.cast();
        self.expect_version(plan)?;
        let call = Call::new(plan, at)?;
        let algorithm = self.algorithm(plan, at, &call)?;
        let (one, zero) = (1.0f32, 0.0f32);
        let start = if plan.from_d { &one } else { &zero };
        let host = [&raw const one, std::ptr::from_ref(start)].map(<*const f32>::cast::<c_void>);
        let [alpha, beta] = at.factor.map_or(host, |factor| [pointer(factor); 2]);
        // SAFETY: descriptors and handle live through the call. The addresses are the caller's word, alpha and beta
        // are on the side that the description says; the call reads those of the host before it returns.
        let status = unsafe {
            sys::cublasLtMatmul(
                self.handle,
                call.description.raw(),
                alpha,
                pointer(at.a),
                call.a.raw(),
                pointer(at.b),
                call.b.raw(),
                beta,
                pointer(at.d),
                call.d.raw(),
                pointer(at.d).cast_mut(),
                call.d.raw(),
                &raw const algorithm,
                pointer(at.workspace).cast_mut(),
                WORKSPACE,
                raw,
            )
        };
        check("cublasLtMatmul", status)
    }

    /// Factors of blocks came with 12.9.
    fn expect_version(&self, plan: &MatmulPlan) -> Result<()> {
        let scale = plan.a.scale.filter(|scale| scale.mode != ScaleMode::Tensor);
        if scale.is_none() || self.version >= WITH_BLOCKS {
            return Ok(());
        }
        Err(Error::Version {
            what: "cuBLASLt (libcublasLt)",
            got: self.version,
            needed: WITH_BLOCKS,
            because: " for factors of blocks".into(),
        })
    }

    fn algorithm(&self, plan: &MatmulPlan, at: &Addresses, call: &Call) -> Result<Algorithm> {
        let alignments = [at.a, at.b, at.d].map(alignment);
        let key = Key { plan: *plan, alignments };
        if let Some(algorithm) = self.lock().get(&key) {
            return Ok(*algorithm);
        }
        let preference = Preference::new(WORKSPACE, alignments)?;
        let proposals = self.propose(call, &preference)?;
        let whole = proposals.iter().find(|proposal| is_whole(proposal));
        let Some(proposal) = whole else {
            return Err(Error::NoAlgorithm { version: self.version, plan: plan.to_string() });
        };
        self.lock().insert(key, proposal.algo);
        Ok(proposal.algo)
    }

    /// What the library proposes, the fastest first.
    fn propose(&self, call: &Call, preference: &Preference) -> Result<Vec<Proposal>> {
        let mut proposals = [const { MaybeUninit::<Proposal>::zeroed() }; PROPOSALS];
        let mut count = 0;
        // SAFETY: descriptors and handle live through the call, which writes at most as many proposals as there is
        // room for.
        let status = unsafe {
            sys::cublasLtMatmulAlgoGetHeuristic(
                self.handle,
                call.description.raw(),
                call.a.raw(),
                call.b.raw(),
                call.d.raw(),
                call.d.raw(),
                preference.raw(),
                PROPOSALS as i32,
                proposals.as_mut_ptr().cast(),
                &raw mut count,
            )
        };
        match status {
            sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED => return Ok(Vec::new()),
            status => check("cublasLtMatmulAlgoGetHeuristic", status)?,
        }
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: the library has written that many, and what it has not written is zero, which is a proposal as well.
        let written = |proposal: &MaybeUninit<Proposal>| unsafe { proposal.assume_init() };
        Ok(proposals.iter().take(count).map(written).collect())
    }

    /// The map stays whole after a panic elsewhere: each operation on it is one call.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Algorithm>> {
        self.algorithms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lt {
    fn drop(&mut self) {
        // Nobody is left to hear of an error.
        let _ = self.context.bind();
        // SAFETY: the handle was made for this value.
        let _ = unsafe { sys::cublasLtDestroy(self.handle) };
    }
}

impl fmt::Debug for Lt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lt(cuBLASLt of CUDA {})", self.version)
    }
}

/// The descriptors of one product.
struct Call {
    description: Description,
    a: Layout,
    b: Layout,
    d: Layout,
}

impl Call {
    fn new(plan: &MatmulPlan, at: &Addresses) -> Result<Self> {
        Ok(Self {
            description: Description::new(plan, at.scales)?,
            a: Layout::new(&plan.a)?,
            b: Layout::new(&plan.b)?,
            d: Layout::new(&plan.d)?,
        })
    }
}

/// Whether a proposal fits, and sums all of k in one sequence: parts that are summed later have other bits.
fn is_whole(proposal: &Proposal) -> bool {
    if proposal.state != sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS {
        return false;
    }
    let (mut parts, mut written) = (0i32, 0usize);
    let attribute = sys::cublasLtMatmulAlgoConfigAttributes_t::CUBLASLT_ALGO_CONFIG_SPLITK_NUM;
    // SAFETY: the algorithm is the library's, and the attribute a number of 32 bits that lives through the call.
    let status = unsafe {
        sys::cublasLtMatmulAlgoConfigGetAttribute(
            &raw const proposal.algo,
            attribute,
            (&raw mut parts).cast(),
            size_of::<i32>(),
            &raw mut written,
        )
    };
    let is_known = status == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS;
    is_known && (0..=1).contains(&parts) && proposal.workspaceSize <= WORKSPACE
}

/// What an address is a multiple of, at most what allocations are.
fn alignment(address: u64) -> u32 {
    1 << address.trailing_zeros().min(8)
}

fn pointer(address: u64) -> *const c_void {
    without_provenance(address as usize)
}

fn check(call: &'static str, status: sys::cublasStatus_t) -> Result<()> {
    match status {
        sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS => Ok(()),
        status => Err(Error::Cublaslt { call, status: format!("{status:?}") }),
    }
}

/// Bytes that an algorithm may work in: what cuBLAS takes for itself on Hopper.
pub(crate) const WORKSPACE: usize = 32 << 20;
/// How many proposals are looked at.
const PROPOSALS: usize = 16;
const WITH_BLOCKS: Version = Version::new(12, 9);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_aligned_to_its_lowest_bit() {
        assert_eq!(alignment(0x1000), 256);
        assert_eq!(alignment(0x1010), 16);
        assert_eq!(alignment(0x1001), 1);
        assert_eq!(alignment(0), 256);
    }
}
