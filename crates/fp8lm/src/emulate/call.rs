//! One call of an operation, held against the table.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use anyhow::{Result, bail, ensure};
use fp8lm_device::{DType, Label, Queue, Tensor};
use fp8lm_sim::{Emulator, Isa};
use safetensors::Dtype;

use super::{
    file::HostTensor,
    keys::Keys,
    table::{Dim, Extents, Input, Need, Operation, joined},
};

/// Checked keys and tensors, and the machine to compute on.
pub(super) struct Call {
    pub(super) emulator: Arc<Emulator>,
    pub(super) queue: Queue,
    pub(super) isa: Isa,
    pub(super) keys: Keys,
    tensors: BTreeMap<String, HostTensor>,
    extents: BTreeMap<&'static str, usize>,
}

impl Call {
    /// Keys and the tensors of the file at `path`, if they are what the operation takes.
    pub(super) fn new(
        operation: &Operation,
        (emulator, isa): (Arc<Emulator>, Isa),
        keys: Keys,
        (path, tensors): (&Path, BTreeMap<String, HostTensor>),
    ) -> Result<Self> {
        let (queue, extents) = (Queue::new(emulator.clone())?, BTreeMap::new());
        let mut call = Self { emulator, queue, isa, keys, tensors, extents };
        let checked = call.check(operation);
        // Whatever is said of a tensor is about this file.
        checked.map_err(|error| match error.to_string().strip_prefix("tensor") {
            Some(rest) => anyhow::anyhow!("{}: tensor{rest}", path.display()),
            None => error,
        })?;
        Ok(call)
    }

    /// A tensor that is there.
    pub(super) fn tensor(&self, name: &str) -> &HostTensor {
        self.tensors.get(name).expect("the tensor was checked")
    }

    /// Whether an optional tensor is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// An extent that a required tensor set.
    pub(super) fn extent(&self, name: &str) -> usize {
        self.extents[name]
    }

    /// A required vector or matrix on the device, its elements read as `dtype`.
    pub(super) fn upload(&self, name: &str, dtype: DType) -> Result<Tensor> {
        let tensor = self.tensor(name);
        let device = match *tensor.shape {
            [rows, cols] => self.queue.alloc(dtype, [rows, cols], INPUTS)?,
            _ => self.queue.alloc(dtype, tensor.shape.iter().product::<usize>(), INPUTS)?,
        };
        self.queue.write_bytes(&tensor.bytes, &device)?;
        Ok(device)
    }

    /// A tensor of the device, in this shape.
    pub(super) fn download(&self, tensor: &Tensor, shape: &[usize]) -> Result<HostTensor> {
        let dtype = match tensor.dtype() {
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            _ => Dtype::U8,
        };
        let bytes = self.queue.download_bytes(tensor)?;
        Ok(HostTensor { dtype, shape: shape.to_vec(), bytes })
    }

    fn check(&mut self, operation: &Operation) -> Result<()> {
        self.check_names(operation)?;
        let required = |input: &&Input| matches!(input.need, Need::Always);
        operation.inputs.iter().filter(required).try_for_each(|input| self.check_input(input))?;
        (operation.rules)(self)?;
        operation.inputs.iter().try_for_each(|input| self.check_input(input))
    }

    fn check_names(&self, operation: &Operation) -> Result<()> {
        let inputs = operation.inputs;
        for name in self.tensors.keys() {
            if !inputs.iter().any(|input| input.name == name) {
                let names: Vec<_> = inputs.iter().map(|input| input.name).collect();
                bail!("tensor `{name}`: expected {} for {}", joined(&names, "or"), operation.name)
            }
        }
        inputs.iter().try_for_each(|input| self.check_need(input))
    }

    fn check_need(&self, input: &Input) -> Result<()> {
        let name = input.name;
        match (&input.need, self.tensors.contains_key(name)) {
            (Need::Always, false) => bail!("tensor `{name}`: expected {input}, got none"),
            (Need::Where(when), got) if got != self.keys.hold(when) => match got {
                false => bail!("tensor `{name}`: expected {input}, got none"),
                true => bail!(
                    "tensor `{name}`: expected only {when}, got it with {} = {}",
                    when.key,
                    self.keys.choice(when.key)
                ),
            },
            _ => Ok(()),
        }
    }

    fn check_input(&mut self, input: &Input) -> Result<()> {
        let Some(tensor) = self.tensors.get(input.name) else { return Ok(()) };
        check_extents(input, tensor)?;
        let mut extents = self.extents.clone();
        if input.types.contains(&tensor.dtype) && fits(&input.shape, &tensor.shape, &mut extents) {
            self.extents = extents;
            return Ok(());
        }
        let (name, types, shape) = (input.name, input.type_names(), &input.shape);
        let known = self.known(shape);
        bail!("tensor `{name}`: expected {types} {shape}{known}, got {tensor}")
    }

    /// Those extents of a shape that others set.
    fn known(&self, shape: &Extents) -> String {
        let Extents::Of(dims) = shape else { return String::new() };
        let mut names: Vec<_> =
            dims.iter().map(|(Dim::Is(name) | Dim::Blocks(name))| name).collect();
        names.dedup();
        let known = names.iter().filter_map(|name| {
            let extent = self.extents.get(**name)?;
            Some(format!("{name} = {extent}"))
        });
        let known: Vec<_> = known.collect();
        if known.is_empty() { String::new() } else { format!(" with {}", joined(&known, "and")) }
    }
}

/// Kernels count with 32 bits.
fn check_extents(input: &Input, tensor: &HostTensor) -> Result<()> {
    let counts = matches!(input.shape, Extents::Of(_));
    let fits = tensor.shape.iter().all(|extent| u32::try_from(*extent).is_ok());
    let name = input.name;
    ensure!(!counts || fits, "tensor `{name}`: expected extents below 2^32, got {tensor}");
    Ok(())
}

/// Whether a shape is the expected one; names that are new to `extents` are set.
fn fits(expected: &Extents, shape: &[usize], extents: &mut BTreeMap<&'static str, usize>) -> bool {
    let Extents::Of(dims) = expected else { return true };
    let mut fit = |(dim, got): (&Dim, &usize)| match dim {
        Dim::Is(name) => extents.entry(name).or_insert(*got) == got,
        Dim::Blocks(name) => extents.get(name).map(|extent| extent.div_ceil(128)) == Some(*got),
    };
    dims.len() == shape.len() && dims.iter().zip(shape).all(&mut fit)
}

/// The label of what a user brings.
pub(super) const INPUTS: Label = Label("inputs");
