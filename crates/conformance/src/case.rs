//! Launches with their inputs.

use fp8lm_device::{DType, Label, Launch, Queue, Result, Tensor};

use crate::Data;

/// One launch with its inputs, or several that are enqueued at once.
#[derive(Clone, Debug)]
pub struct Case {
    kernel: &'static str,
    about: String,
    args: Vec<Argument>,
    others: Vec<Case>,
}

/// What a case writes through one argument.
#[derive(Clone, Debug)]
pub(crate) struct Written<'a> {
    /// The launch.
    pub(crate) of: &'a Case,
    /// Its number among those of the case.
    pub(crate) launch: usize,
    /// The argument.
    pub(crate) arg: usize,
    pub(crate) bytes: Vec<u8>,
}

/// One argument with its content.
#[derive(Clone, Debug)]
pub enum Argument {
    /// Memory that is read.
    Read(Data),
    /// So many elements of a type that are written.
    Write(DType, usize),
    /// Memory that is read and written.
    Update(Data),
    /// A 32-bit extent or choice.
    U32(u32),
    /// A 64-bit count.
    U64(u64),
    /// A number.
    F32(f32),
}

impl Case {
    /// A launch of `kernel` without arguments; `about` tells it from others.
    pub fn new(kernel: &'static str, about: impl Into<String>) -> Self {
        Self { kernel, about: about.into(), args: Vec::new(), others: Vec::new() }
    }

    /// The kernel's name.
    pub fn kernel(&self) -> &'static str {
        self.kernel
    }

    /// What tells the case from others of its kernel.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// The arguments, in the order of the table of kernels.
    pub fn args(&self) -> &[Argument] {
        &self.args
    }

    /// Appends memory that is read.
    pub fn read(self, data: Data) -> Self {
        self.arg(Argument::Read(data))
    }

    /// Appends memory that is written.
    pub fn write(self, dtype: DType, elements: usize) -> Self {
        self.arg(Argument::Write(dtype, elements))
    }

    /// Appends memory that is read and written.
    pub fn update(self, data: Data) -> Self {
        self.arg(Argument::Update(data))
    }

    /// Appends an extent or a choice.
    ///
    /// # Panics
    /// If it does not fit 32 bits.
    pub fn u32(self, value: usize) -> Self {
        self.arg(Argument::U32(value.try_into().expect("an extent fits 32 bits")))
    }

    /// Appends a 64-bit count.
    pub fn u64(self, value: u64) -> Self {
        self.arg(Argument::U64(value))
    }

    /// Appends a number.
    pub fn f32(self, value: f32) -> Self {
        self.arg(Argument::F32(value))
    }

    /// Appends launches that are enqueued at once with it, behind it.
    pub fn with(mut self, others: impl IntoIterator<Item = Case>) -> Self {
        self.others.extend(others);
        self
    }

    /// The same, told from others by `about`.
    pub(crate) fn renamed(self, about: String) -> Self {
        Self { about, ..self }
    }

    /// The same with so many elements as argument `index`, all bits 0: a launch that may be refused.
    pub(crate) fn resized(mut self, index: usize, elements: usize) -> Self {
        match &mut self.args[index] {
            Argument::Read(data) | Argument::Update(data) => {
                data.bytes = vec![0; elements * data.dtype.bytes()];
            }
            Argument::Write(_, length) => *length = elements,
            Argument::U32(_) | Argument::U64(_) | Argument::F32(_) => {}
        }
        self
    }

    fn arg(mut self, arg: Argument) -> Self {
        self.args.push(arg);
        self
    }

    /// Runs it on a device; what it writes.
    pub(crate) fn run(&self, queue: &Queue) -> Result<Vec<Written<'_>>> {
        let cases: Vec<_> = std::iter::once(self).chain(&self.others).collect();
        let tensors = cases.iter().map(|case| case.tensors(queue)).collect::<Result<Vec<_>>>()?;
        let launches = cases.iter().zip(&tensors).map(|(case, tensors)| case.launch(tensors));
        queue.launch_all(&launches.collect::<Vec<_>>())?;
        let mut written = Vec::new();
        for (launch, (of, tensors)) in cases.into_iter().zip(&tensors).enumerate() {
            for (arg, (argument, tensor)) in of.args.iter().zip(tensors).enumerate() {
                if let Some(tensor) = tensor.as_ref().filter(|_| argument.is_written()) {
                    let bytes = queue.download_bytes(tensor)?;
                    written.push(Written { of, launch, arg, bytes });
                }
            }
        }
        queue.synchronize()?;
        Ok(written)
    }

    fn tensors(&self, queue: &Queue) -> Result<Vec<Option<Tensor>>> {
        self.args.iter().map(|arg| arg.tensor(queue)).collect()
    }

    pub(crate) fn launch(&self, tensors: &[Option<Tensor>]) -> Launch {
        let launch = Launch::new(self.kernel);
        self.args.iter().zip(tensors).fold(launch, |launch, (arg, tensor)| match (arg, tensor) {
            (Argument::Read(_), Some(tensor)) => launch.read(tensor),
            (Argument::Write(..), Some(tensor)) => launch.write(tensor),
            (Argument::Update(_), Some(tensor)) => launch.update(tensor),
            (Argument::U32(value), _) => launch.u32(*value),
            (Argument::U64(value), _) => launch.u64(*value),
            (Argument::F32(value), _) => launch.f32(*value),
            (Argument::Read(_) | Argument::Write(..) | Argument::Update(_), None) => launch,
        })
    }
}

impl Argument {
    /// The type of its elements, if it is memory.
    pub(crate) fn dtype(&self) -> Option<DType> {
        match self {
            Argument::Read(data) | Argument::Update(data) => Some(data.dtype),
            Argument::Write(dtype, _) => Some(*dtype),
            Argument::U32(_) | Argument::U64(_) | Argument::F32(_) => None,
        }
    }

    fn is_written(&self) -> bool {
        matches!(self, Argument::Write(..) | Argument::Update(_))
    }

    /// Memory with the content; what is to be written holds a pattern, so that what is not shows.
    pub(crate) fn tensor(&self, queue: &Queue) -> Result<Option<Tensor>> {
        let (dtype, bytes) = match self {
            Argument::Read(data) | Argument::Update(data) => (data.dtype, data.bytes.clone()),
            Argument::Write(dtype, elements) => (*dtype, vec![UNWRITTEN; elements * dtype.bytes()]),
            Argument::U32(_) | Argument::U64(_) | Argument::F32(_) => return Ok(None),
        };
        let tensor = queue.alloc(dtype, bytes.len() / dtype.bytes(), Label("conformance"))?;
        queue.write_bytes(&bytes, &tensor)?;
        Ok(Some(tensor))
    }
}

const UNWRITTEN: u8 = 0xA5;
