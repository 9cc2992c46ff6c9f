//! Launches, from the table to the GPU.

use std::sync::Arc;

use fp8lm_device::{Arg, DType, Error, Label, Launch, Result, Tensor, View};
use fp8lm_kernels::{Call, Code, Extents, Kernel, Part, Run, runs};

use crate::{
    MatmulPlan,
    device::{CudaDevice, Lane},
    driver::{Block, Context},
    error::failed,
    lt::Addresses,
    matmul::{Factor, Lay, Scale, ScaleMode},
    memory::{Bound, CudaMemory, bind},
};

impl CudaDevice {
    /// Enqueues launches, checked; those that may run at once as one.
    pub(crate) fn run(&self, lane: &Lane, launches: &[Launch]) -> Result<()> {
        runs(launches).try_for_each(|run| self.run_alike(lane, &run?))
    }

    fn run_alike(&self, lane: &Lane, run: &Run<'_>) -> Result<()> {
        let kernel = run.kernel();
        let args = |launch| Args::new(kernel, launch, self.context());
        let args = run.launches().iter().map(args).collect::<Result<Vec<_>>>()?;
        match &kernel.code {
            Code::Cuda(cuda) => {
                args.iter().try_for_each(|args| args.visit(lane, kernel))?;
                let addresses: Vec<_> = args.iter().map(Args::addresses).collect();
                run.parts(cuda, &addresses).try_for_each(|part| self.run_part(lane, kernel, &part))
            }
            Code::Library => args.iter().try_for_each(|args| self.run_library(lane, kernel, args)),
        }
    }

    fn run_library(&self, lane: &Lane, kernel: &'static Kernel, args: &Args<'_>) -> Result<()> {
        let extents = Extents::new(kernel, args.launch);
        let Some(plan) = MatmulPlan::new(kernel, &extents)? else { return Ok(()) };
        args.visit(lane, kernel)?;
        self.multiply(lane, kernel, &plan, args)
    }

    /// Scratch and the table of several launches are freed on the stream, behind the work.
    fn run_part(&self, lane: &Lane, kernel: &'static Kernel, part: &Part<'_>) -> Result<()> {
        let scratch = part.scratch_bytes().map(|bytes| self.block(lane, bytes, SCRATCH));
        let scratch = scratch.transpose()?;
        let pack = part.pack(scratch.as_ref().map(Block::address));
        let table = self.table(lane, kernel, pack.table())?;
        let address = table.as_ref().map_or(0, Block::address);
        pack.calls(address).try_for_each(|call| self.call(lane, kernel, &call))
    }

    /// What several launches find their arguments in, if there are several.
    fn table(&self, lane: &Lane, kernel: &Kernel, bytes: &[u8]) -> Result<Option<Block>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let block = self.block(lane, bytes.len(), SCRATCH)?;
        self.staging().upload(&lane.stream, bytes, &block, 0).map_err(failed(kernel.name))?;
        Ok(Some(block))
    }

    fn call(&self, lane: &Lane, kernel: &'static Kernel, call: &Call<'_>) -> Result<()> {
        let grid = grid(kernel, call.grid)?;
        let function = self.functions().get(call.name).map_err(failed(kernel.name))?;
        let function = function.ok_or(Error::UnknownKernel { kernel: kernel.name })?;
        // SAFETY: the arguments are those of the function, and of a kernel whose launches `runs` has checked. Their
        // memory was seen to be this GPU's, and told of this stream; of launches that run at once none writes what
        // another touches. Table and scratch are freed on the stream. A test holds declarations against the table.
        let launched = unsafe { lane.stream.launch(&function, grid, call.block, &call.args) };
        launched.map_err(failed(kernel.name))
    }

    fn multiply(
        &self,
        lane: &Lane,
        kernel: &'static Kernel,
        plan: &MatmulPlan,
        args: &Args<'_>,
    ) -> Result<()> {
        let address = |arg: usize| args.bound(arg).map(|bound| bound.address());
        let (Some(a), Some(b), Some(d)) =
            (address(plan.a.arg), address(plan.b.arg), address(plan.d.arg))
        else {
            return Err(Error::UnknownKernel { kernel: kernel.name });
        };
        // What is laid anew lives until the product is enqueued, and is freed behind it.
        let laid = [plan.a.scale, plan.b.scale]
            .map(|scale| scale.map(|scale| self.lay(lane, kernel, scale, args)).transpose());
        let [a_scale, b_scale] = laid;
        let (a_scale, b_scale) = (a_scale?, b_scale?);
        let factor = self.factor(lane, plan.factor, args)?;
        let workspace = self.workspace(lane)?;
        let at = Addresses {
            a,
            b,
            d,
            scales: [&a_scale, &b_scale].map(|scale| scale.as_ref().map(Laid::address)),
            factor: factor.as_ref().map(|factor| factor.address),
            workspace: workspace.address(),
        };
        // SAFETY: the plan has found the memory of a, b, d and the factors to be as long as it says; all of it is this
        // GPU's and was told of this stream, and what is written overlaps nothing else. What was laid anew and the
        // workspace are freed on this stream.
        let multiplied = unsafe { self.lt().multiply(&lane.stream, plan, &at) };
        multiplied.map_err(failed(kernel.name))
    }

    /// Factors as cuBLASLt wants them to lie.
    fn lay(
        &self,
        lane: &Lane,
        kernel: &'static Kernel,
        scale: Scale,
        args: &Args<'_>,
    ) -> Result<Laid> {
        let (bound, view) = args.memory(scale.arg, kernel)?;
        let is_aligned = scale.mode == ScaleMode::Tensor || bound.address().is_multiple_of(16);
        match scale.lay {
            Lay::AsTheyAre if is_aligned => Ok(Laid::There(bound.address())),
            Lay::AsTheyAre => self.spread(lane, kernel, bound, view.bytes(), view.bytes()),
            Lay::Turned { rows, cols } => self.turn(lane, view, rows, cols),
            Lay::Spread { cols, pitch, .. } => {
                let [width, pitch] = [cols, pitch].map(|count| count as usize * FACTOR);
                self.spread(lane, kernel, bound, width, pitch)
            }
        }
    }

    /// Rows of `width` bytes, to begin every `pitch`, zeros between them.
    fn spread(
        &self,
        lane: &Lane,
        kernel: &'static Kernel,
        from: &Bound<'_>,
        width: usize,
        pitch: usize,
    ) -> Result<Laid> {
        let rows = from.bytes().checked_div(width).unwrap_or(0);
        let block = self.block(lane, rows * pitch, SCRATCH)?;
        let to = block.part(0..rows * pitch);
        let laid = lane.stream.clear(to);
        let laid = laid.and_then(|()| lane.stream.spread(from.part(), to, width, pitch));
        laid.map_err(failed(kernel.name))?;
        Ok(Laid::Anew(Scratch { address: block.address(), _memory: self.memory(block) }))
    }

    /// Turned by the kernel of that name.
    fn turn(&self, lane: &Lane, view: &View, rows: u32, cols: u32) -> Result<Laid> {
        let (scratch, turned) = self.scratch(lane, view.elements())?;
        let from = Tensor::new(view.clone(), view.elements().into());
        let launch = Launch::new("transpose").read(&from).write(&turned);
        self.run(lane, &[launch.u32(rows).u32(cols)])?;
        Ok(Laid::Anew(scratch))
    }

    /// The product of two factors, by the kernel `scale`.
    fn factor(&self, lane: &Lane, factor: Factor, args: &Args<'_>) -> Result<Option<Scratch>> {
        let Factor::Product(a, b) = factor else { return Ok(None) };
        let [a, b] = [a, b].map(|arg| args.launch.args().get(arg).and_then(Arg::view));
        let (Some(a), Some(b)) = (a, b) else { return Ok(None) };
        let [a, b] = [a, b].map(|view| Tensor::new(view.clone(), view.elements().into()));
        let (scratch, product) = self.scratch(lane, 1)?;
        self.run(lane, &[Launch::new("scale").read(&a).read(&b).write(&product)])?;
        Ok(Some(scratch))
    }

    /// Memory for so many factors.
    fn scratch(&self, lane: &Lane, elements: usize) -> Result<(Scratch, Tensor)> {
        let block = self.block(lane, elements * FACTOR, SCRATCH)?;
        let address = block.address();
        let memory = self.memory(block);
        let view = View::new(memory.clone(), DType::F32, elements);
        Ok((Scratch { address, _memory: memory }, Tensor::new(view, elements.into())))
    }
}

/// Memory that a launch takes for itself.
struct Scratch {
    address: u64,
    _memory: Arc<CudaMemory>,
}

/// Factors, as they are to lie.
enum Laid {
    /// Where the launch has them.
    There(u64),
    /// In memory of their own.
    Anew(Scratch),
}

impl Laid {
    fn address(&self) -> u64 {
        match self {
            Self::There(address) => *address,
            Self::Anew(scratch) => scratch.address,
        }
    }
}

/// The arguments of a launch, those that are memory bound to a GPU's.
struct Args<'a> {
    launch: &'a Launch,
    bound: Vec<Option<Bound<'a>>>,
}

impl<'a> Args<'a> {
    /// Refuses memory of other devices, and what is written and overlaps something else.
    fn new(kernel: &Kernel, launch: &'a Launch, context: &Arc<Context>) -> Result<Self> {
        let bind = |arg: &'a Arg| arg.view().map(|view| bind(view, kernel.name, context));
        let bound = launch.args().iter().map(|arg| bind(arg).transpose());
        let args = Self { launch, bound: bound.collect::<Result<_>>()? };
        args.refuse_overlap(kernel)?;
        Ok(args)
    }

    fn refuse_overlap(&self, kernel: &Kernel) -> Result<()> {
        let is_written = |index: &usize| self.launch.args()[*index].is_written();
        for written in (0..self.bound.len()).filter(is_written) {
            for other in (0..self.bound.len()).filter(|other| *other != written) {
                let overlap = match (&self.bound[written], &self.bound[other]) {
                    (Some(a), Some(b)) => a.overlaps(b),
                    _ => false,
                };
                if overlap {
                    return Err(Error::Overlap { kernel: kernel.name, written, other });
                }
            }
        }
        Ok(())
    }

    /// Tells all memory of work on a stream.
    fn visit(&self, lane: &Lane, kernel: &Kernel) -> Result<()> {
        let mut bound = self.bound.iter().flatten();
        bound.try_for_each(|bound| bound.visit(&lane.stream)).map_err(failed(kernel.name))
    }

    /// The address of every argument, 0 for a number.
    fn addresses(&self) -> Vec<u64> {
        self.bound.iter().map(|bound| bound.as_ref().map_or(0, Bound::address)).collect()
    }

    fn bound(&self, arg: usize) -> Option<&Bound<'a>> {
        self.bound.get(arg)?.as_ref()
    }

    /// An argument that the table says is memory.
    fn memory(&self, arg: usize, kernel: &Kernel) -> Result<(&Bound<'a>, &'a View)> {
        let view = self.launch.args().get(arg).and_then(Arg::view);
        self.bound(arg).zip(view).ok_or(Error::UnknownKernel { kernel: kernel.name })
    }
}

/// Blocks of a grid, which the GPU counts in 31 bits.
fn grid(kernel: &Kernel, blocks: usize) -> Result<u32> {
    let grid = u32::try_from(blocks).ok().filter(|blocks| *blocks <= i32::MAX as u32);
    grid.ok_or_else(|| Error::Argument {
        kernel: kernel.name,
        index: 0,
        name: "all",
        expected: format!("work for at most {} blocks", i32::MAX),
        got: blocks.to_string(),
    })
}

/// Bytes of a factor.
const FACTOR: usize = 4;
/// What kernels work in.
const SCRATCH: Label = Label("scratch");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_has_at_most_31_bits() {
        let kernel = fp8lm_kernels::find("scale").unwrap();
        assert_eq!(grid(kernel, 0).unwrap(), 0);
        assert_eq!(grid(kernel, (1 << 31) - 1).unwrap(), (1 << 31) - 1);
        let error = grid(kernel, 1 << 31).unwrap_err().to_string();
        assert!(error.contains("at most 2147483647 blocks, got 2147483648"), "{error}");
    }
}
