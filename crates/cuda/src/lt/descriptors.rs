//! cuBLASLt's descriptors as values.

use std::{ffi::c_void, ptr::null_mut};

use cudarc::cublaslt::sys::{
    self, cublasLtMatmulDescAttributes_t as Attribute, cublasLtMatmulMatrixScale_t as Mode,
    cublasLtMatmulPreferenceAttributes_t as Wish, cudaDataType_t as Type,
};
use fp8lm_device::DType;

use super::{Factor, ScaleMode, check};
use crate::{
    MatmulPlan,
    error::Result,
    matmul::{Matrix, Scale},
};

/// What is computed.
pub(super) struct Description(sys::cublasLtMatmulDesc_t);

impl Description {
    /// Of a plan, whose factors of a and of b lie at these addresses.
    pub(super) fn new(plan: &MatmulPlan, scales: [Option<u64>; 2]) -> Result<Self> {
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let mut raw = null_mut();
        // SAFETY: the pointer is to a handle that lives through the call.
        let status =
            unsafe { sys::cublasLtMatmulDescCreate(&raw mut raw, compute, Type::CUDA_R_32F) };
        check("cublasLtMatmulDescCreate", status)?;
        let description = Self(raw);
        let operation = |matrix: &Matrix| i32::from(matrix.transposed);
        description.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, operation(&plan.a))?;
        description.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, operation(&plan.b))?;
        if plan.factor != Factor::One {
            let side = sys::cublasLtPointerMode_t::CUBLASLT_POINTER_MODE_DEVICE as i32;
            description.set(Attribute::CUBLASLT_MATMUL_DESC_POINTER_MODE, side)?;
        }
        if plan.a.dtype.bytes() == 1 {
            let fast = i8::from(plan.fast_accumulation);
            description.set(Attribute::CUBLASLT_MATMUL_DESC_FAST_ACCUM, fast)?;
        }
        let of_a = (
            Attribute::CUBLASLT_MATMUL_DESC_A_SCALE_POINTER,
            Attribute::CUBLASLT_MATMUL_DESC_A_SCALE_MODE,
        );
        let of_b = (
            Attribute::CUBLASLT_MATMUL_DESC_B_SCALE_POINTER,
            Attribute::CUBLASLT_MATMUL_DESC_B_SCALE_MODE,
        );
        description.scale(of_a, plan.a.scale, scales[0])?;
        description.scale(of_b, plan.b.scale, scales[1])?;
        Ok(description)
    }

    pub(super) fn raw(&self) -> sys::cublasLtMatmulDesc_t {
        self.0
    }

    fn scale(
        &self,
        (pointer, mode): (Attribute, Attribute),
        scale: Option<Scale>,
        address: Option<u64>,
    ) -> Result<()> {
        let (Some(scale), Some(address)) = (scale, address) else { return Ok(()) };
        self.set(pointer, address)?;
        match scale.mode {
            // What it is unless told otherwise.
            ScaleMode::Tensor => Ok(()),
            ScaleMode::Vec128 => {
                self.set(mode, Mode::CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F as i32)
            }
            ScaleMode::Block128 => {
                self.set(mode, Mode::CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F as i32)
            }
        }
    }

    fn set<T: Plain>(&self, attribute: Attribute, value: T) -> Result<()> {
        // SAFETY: the descriptor lives as long as the value; the library reads as many bytes as it is told.
        let status = unsafe {
            let value = (&raw const value).cast::<c_void>();
            sys::cublasLtMatmulDescSetAttribute(self.0, attribute, value, size_of::<T>())
        };
        check("cublasLtMatmulDescSetAttribute", status)
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: it was created for this value. Nobody is left to hear of an error.
        let _ = unsafe { sys::cublasLtMatmulDescDestroy(self.0) };
    }
}

/// How a matrix lies.
pub(super) struct Layout(sys::cublasLtMatrixLayout_t);

impl Layout {
    pub(super) fn new(matrix: &Matrix) -> Result<Self> {
        let Matrix { rows, cols, ld, .. } = *matrix;
        let ty = type_of(matrix.dtype);
        let ld = i64::try_from(ld).unwrap_or(i64::MAX);
        let mut raw = null_mut();
        // SAFETY: the pointer is to a handle that lives through the call.
        let status = unsafe { sys::cublasLtMatrixLayoutCreate(&raw mut raw, ty, rows, cols, ld) };
        check("cublasLtMatrixLayoutCreate", status)?;
        Ok(Self(raw))
    }

    pub(super) fn raw(&self) -> sys::cublasLtMatrixLayout_t {
        self.0
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: it was created for this value. Nobody is left to hear of an error.
        let _ = unsafe { sys::cublasLtMatrixLayoutDestroy(self.0) };
    }
}

/// What an algorithm may do.
pub(super) struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    /// Work in so many bytes, on matrices a, b and d at multiples of these, and sum all of k in one sequence.
    pub(super) fn new(workspace: usize, [a, b, d]: [u32; 3]) -> Result<Self> {
        let mut raw = null_mut();
        // SAFETY: the pointer is to a handle that lives through the call.
        let status = unsafe { sys::cublasLtMatmulPreferenceCreate(&raw mut raw) };
        check("cublasLtMatmulPreferenceCreate", status)?;
        let preference = Self(raw);
        let none = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_NONE as u32;
        preference.set(Wish::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace as u64)?;
        preference.set(Wish::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, none)?;
        preference.set(Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, a)?;
        preference.set(Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, b)?;
        preference.set(Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, d)?;
        preference.set(Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, d)?;
        Ok(preference)
    }

    pub(super) fn raw(&self) -> sys::cublasLtMatmulPreference_t {
        self.0
    }

    fn set<T: Plain>(&self, wish: Wish, value: T) -> Result<()> {
        // SAFETY: the descriptor lives as long as the value; the library reads as many bytes as it is told.
        let status = unsafe {
            let value = (&raw const value).cast::<c_void>();
            sys::cublasLtMatmulPreferenceSetAttribute(self.0, wish, value, size_of::<T>())
        };
        check("cublasLtMatmulPreferenceSetAttribute", status)
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: it was created for this value. Nobody is left to hear of an error.
        let _ = unsafe { sys::cublasLtMatmulPreferenceDestroy(self.0) };
    }
}

/// A number of the size that an attribute has.
trait Plain: Copy {}
impl Plain for i8 {}
impl Plain for i32 {}
impl Plain for u32 {}
impl Plain for u64 {}

/// Plans have no other types.
fn type_of(dtype: DType) -> Type {
    match dtype {
        DType::E4M3 => Type::CUDA_R_8F_E4M3,
        DType::E5M2 => Type::CUDA_R_8F_E5M2,
        DType::BF16 => Type::CUDA_R_16BF,
        DType::F16 => Type::CUDA_R_16F,
        _ => Type::CUDA_R_32F,
    }
}
