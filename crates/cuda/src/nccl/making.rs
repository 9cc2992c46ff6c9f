//! Communicators for groups of a link's ranks.

use std::sync::Arc;

use fp8lm_device::{DType, Device, Link, Result, Tag, Transfer, View, expect_members};
use nccl_rs::Communicator;

use super::{
    comm::Comm,
    link::{COMMUNICATION, NcclLink},
    operation::Operation,
};
use crate::error::failed;

impl NcclLink {
    /// A communicator among `members`, ranks of this link. All ranks of the link make theirs at the same time.
    pub(super) fn split_comm(&self, from: &Arc<Comm>, members: &[usize]) -> Result<Arc<Comm>> {
        let place = expect_members(self, members)?;
        // Groups are disjoint, so each has another lowest rank.
        let color = members.iter().min().copied();
        let shared = self.shared();
        shared.check()?;
        let world_members: Vec<_> = members.iter().map(|member| from.members()[*member]).collect();
        let operation = Operation::making(&world_members);
        self.device().context().bind().map_err(failed("split"))?;
        let new = match from.with(|communicator| communicator.split(color, place, None)) {
            Some(Ok(Some(new))) => shared.add(new, world_members),
            Some(Err(error)) => {
                return Err(shared.fail(operation.refused(shared.rank, &error)));
            }
            Some(Ok(None)) | None => {
                shared.check()?;
                return Err(shared.fail(operation.failed(shared.rank, GONE.into())));
            }
        };
        // The new one comes into being when the old one is ready.
        shared.settle(from, &operation, from.with(Communicator::async_error))?;
        shared.settle(&new, &operation, new.with(Communicator::async_error))?;
        Ok(new)
    }

    /// NCCL connects two ranks at their first transfer, and then one waits for the other. For messages that must not
    /// be, so all exchange a byte now.
    pub(super) fn connect(&self) -> Result<()> {
        let (device, size) = (self.device(), self.size());
        let stream = device.stream()?;
        let memory = device.alloc(stream, size, COMMUNICATION)?;
        let bytes = View::new(memory, DType::U8, size);
        let making = Operation::making(self.comm().members());
        for from in 0..size {
            let byte = |rank| bytes.slice(rank, 1);
            let transfers = match from == self.rank {
                true => {
                    let send = |peer| Transfer::Send { peer, from: byte(peer) };
                    self.others().into_iter().map(send).collect()
                }
                false => vec![Transfer::Receive { peer: from, to: byte(from) }],
            };
            let number = from as u64;
            self.exchange(stream, Tag { number, ..making.tag }, &transfers)?;
        }
        Ok(())
    }
}

const GONE: &str = "its communicator is gone";
