//! What can be chosen for a communicator.

use std::{
    ffi::{CString, c_char, c_int, c_uint},
    mem::{offset_of, size_of},
    ptr,
};

use crate::Version;

/// What can be chosen for a communicator; NCCL decides what is `None`.
///
/// An NCCL that is too old for a choice ignores it.
///
/// ```
/// let config = nccl_rs::Config { blocking: Some(false), ..Default::default() };
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Whether calls wait until they are done; NCCL's own choice is that they do. Since NCCL 2.14.
    pub blocking: Option<bool>,
    /// Thread blocks in a cluster, on GPUs that have clusters. Since NCCL 2.17.
    pub cga_cluster_size: Option<u16>,
    /// Thread blocks that an operation takes at least; NCCL refuses it without `max_ctas`. Since NCCL 2.17.
    pub min_ctas: Option<u16>,
    /// Thread blocks that an operation takes at most. Since NCCL 2.17.
    pub max_ctas: Option<u16>,
    /// The network to use, as `Socket` or `IB`. Since NCCL 2.17.
    pub net_name: Option<CString>,
    /// Whether those split off share this one's resources. Since NCCL 2.18.
    pub split_share: Option<bool>,
}

impl Config {
    /// The form that NCCL reads; it points into this value.
    pub(crate) fn to_raw(&self) -> RawConfig {
        RawConfig {
            blocking: or_undefined(self.blocking),
            cga_cluster_size: or_undefined(self.cga_cluster_size),
            min_ctas: or_undefined(self.min_ctas),
            max_ctas: or_undefined(self.max_ctas),
            net_name: self.net_name.as_ref().map_or(ptr::null(), |name| name.as_ptr()),
            split_share: or_undefined(self.split_share),
            ..UNDEFINED
        }
    }
}

/// `ncclConfig_t` as of NCCL 2.27. Later versions only append, and every version reads what both sides
/// know, by `size` and `version`.
#[repr(C)]
pub(crate) struct RawConfig {
    size: usize,
    magic: c_uint,
    version: c_uint,
    blocking: c_int,
    cga_cluster_size: c_int,
    min_ctas: c_int,
    max_ctas: c_int,
    net_name: *const c_char,
    split_share: c_int,
    traffic_class: c_int,
    comm_name: *const c_char,
    collnet_enable: c_int,
    cta_policy: c_int,
    shrink_share: c_int,
    nvls_ctas: c_int,
}

fn or_undefined(choice: Option<impl Into<c_int>>) -> c_int {
    choice.map_or(UNDEFINED_INT, Into::into)
}

const UNDEFINED_INT: c_int = c_int::MIN;

const UNDEFINED: RawConfig = RawConfig {
    size: size_of::<RawConfig>(),
    magic: 0xCAFE_BEEF,
    version: Version::new(2, 27, 0).code(),
    blocking: UNDEFINED_INT,
    cga_cluster_size: UNDEFINED_INT,
    min_ctas: UNDEFINED_INT,
    max_ctas: UNDEFINED_INT,
    net_name: ptr::null(),
    split_share: UNDEFINED_INT,
    traffic_class: UNDEFINED_INT,
    comm_name: ptr::null(),
    collnet_enable: UNDEFINED_INT,
    cta_policy: UNDEFINED_INT,
    shrink_share: UNDEFINED_INT,
    nvls_ctas: UNDEFINED_INT,
};

/// The layout that NCCL's own header gives on 64-bit machines.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<RawConfig>() == 72);
    assert!(offset_of!(RawConfig, magic) == 8);
    assert!(offset_of!(RawConfig, blocking) == 16);
    assert!(offset_of!(RawConfig, net_name) == 32);
    assert!(offset_of!(RawConfig, split_share) == 40);
    assert!(offset_of!(RawConfig, comm_name) == 48);
    assert!(offset_of!(RawConfig, nvls_ctas) == 68);
};
