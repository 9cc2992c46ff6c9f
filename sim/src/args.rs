//! A launch's arguments as slices, for the duration of the launch.

use std::{marker::PhantomData, sync::Arc};

use fp8lm_device::{Arg, DType, Element, Error, Launch, Memory, Result, View};
use fp8lm_formats::Isa;
use fp8lm_kernels::Kernel;

use crate::{
    floats::{Floats, FloatsMut},
    memory::{Pool, SimMemory},
    states::{Slice, SliceMut, States, StatesMut},
};

/// The arguments of one launch that was checked against the table.
#[derive(Debug)]
pub(crate) struct Args<'a> {
    kernel: &'static Kernel,
    slots: Vec<Slot>,
    isa: Isa,
    launch: PhantomData<&'a Launch>,
}

#[derive(Debug)]
enum Slot {
    Shared(Raw),
    Exclusive(Raw),
    /// A written argument whose slice a twin has taken.
    Taken,
    U32(u32),
    U64(u64),
    F32(f32),
}

#[derive(Clone, Copy, Debug)]
struct Raw {
    base: *mut u8,
    dtype: DType,
    elements: usize,
}

impl<'a> Args<'a> {
    /// Binds the arguments to memory of `pool`, to be read and written with the instructions of
    /// `isa`.
    ///
    /// # Safety
    /// Nothing else accesses the pool's memory while the value lives.
    pub(crate) unsafe fn bind(
        kernel: &'static Kernel,
        launch: &'a Launch,
        pool: &Arc<Pool>,
        isa: Isa,
    ) -> Result<Self> {
        let slots = launch.args().iter().map(|arg| bind(arg, kernel.name, pool));
        let slots = slots.collect::<Result<Vec<_>>>()?;
        refuse_overlap(kernel, &slots)?;
        Ok(Self { kernel, slots, isa, launch: PhantomData })
    }

    /// The element type of argument `index`.
    pub(crate) fn dtype(&self, index: usize) -> DType {
        self.raw(index).dtype
    }

    /// The number of elements of argument `index`.
    pub(crate) fn elements(&self, index: usize) -> usize {
        self.raw(index).elements
    }

    /// Argument `index`, which is read and must have `elements` elements.
    pub(crate) fn read<T: Element>(&self, index: usize, elements: usize) -> Result<&'a [T]> {
        self.expect(index, elements)?;
        let Slot::Shared(raw) = self.slots[index] else { self.misuse(index) };
        Ok(self.shared(index, raw))
    }

    /// Argument `index`, which is written or updated and must have `elements` elements. Its
    /// slice can be taken once.
    pub(crate) fn write<T: Element>(
        &mut self,
        index: usize,
        elements: usize,
    ) -> Result<&'a mut [T]> {
        self.expect(index, elements)?;
        let slot = std::mem::replace(&mut self.slots[index], Slot::Taken);
        let Slot::Exclusive(raw) = slot else { self.misuse(index) };
        assert_eq!(raw.dtype, T::DTYPE, "{}: the type of argument {index}", self.kernel.name);
        // SAFETY: the view lies within live memory, aligned for its type; all bit patterns of an
        // `Element` are valid; `bind` refused arguments that overlap it, and by its contract no
        // other access does; the slot is taken, so this is its only slice.
        Ok(unsafe { std::slice::from_raw_parts_mut(raw.base.cast(), raw.elements) })
    }

    /// Argument `index`, read as f32 or BF16.
    pub(crate) fn floats(&self, index: usize, elements: usize) -> Result<Floats<'a>> {
        Ok(match self.dtype(index) {
            DType::BF16 => Floats::BF16(self.read(index, elements)?),
            _ => Floats::F32(self.read(index, elements)?),
        })
    }

    /// Argument `index`, written as f32 or BF16.
    pub(crate) fn floats_mut(&mut self, index: usize, elements: usize) -> Result<FloatsMut<'a>> {
        Ok(match self.dtype(index) {
            DType::BF16 => FloatsMut::BF16(self.write(index, elements)?),
            _ => FloatsMut::F32(self.write(index, elements)?),
        })
    }

    /// Argument `index`, read in any format of a state.
    pub(crate) fn states(&self, index: usize, elements: usize) -> Result<States<'a>> {
        let slice = match self.dtype(index) {
            DType::BF16 => Slice::BF16(self.read(index, elements)?),
            DType::F16 => Slice::F16(self.read(index, elements)?),
            DType::E4M3 => Slice::E4M3(self.read(index, elements)?),
            DType::E5M2 => Slice::E5M2(self.read(index, elements)?),
            _ => Slice::F32(self.read(index, elements)?),
        };
        Ok(States { isa: self.isa, slice })
    }

    /// Argument `index`, written in any format of a state.
    pub(crate) fn states_mut(&mut self, index: usize, elements: usize) -> Result<StatesMut<'a>> {
        let slice = match self.dtype(index) {
            DType::BF16 => SliceMut::BF16(self.write(index, elements)?),
            DType::F16 => SliceMut::F16(self.write(index, elements)?),
            DType::E4M3 => SliceMut::E4M3(self.write(index, elements)?),
            DType::E5M2 => SliceMut::E5M2(self.write(index, elements)?),
            _ => SliceMut::F32(self.write(index, elements)?),
        };
        Ok(StatesMut { isa: self.isa, slice })
    }

    /// The extent or choice at `index`.
    pub(crate) fn extent(&self, index: usize) -> usize {
        match self.slots[index] {
            Slot::U32(value) => value as usize,
            _ => self.misuse(index),
        }
    }

    /// The 64-bit count at `index`.
    pub(crate) fn u64(&self, index: usize) -> u64 {
        match self.slots[index] {
            Slot::U64(value) => value,
            _ => self.misuse(index),
        }
    }

    /// The number at `index`.
    pub(crate) fn f32(&self, index: usize) -> f32 {
        match self.slots[index] {
            Slot::F32(value) => value,
            _ => self.misuse(index),
        }
    }

    /// The address of every argument, 0 for a number.
    pub(crate) fn addresses(&self) -> Vec<u64> {
        let address = |slot: &Slot| match slot {
            Slot::Shared(raw) | Slot::Exclusive(raw) => raw.base.expose_provenance() as u64,
            _ => 0,
        };
        self.slots.iter().map(address).collect()
    }

    /// The error of an argument whose value does not fit.
    pub(crate) fn invalid(&self, index: usize, expected: String, got: String) -> Error {
        let name = self.kernel.params[index].name;
        Error::Argument { kernel: self.kernel.name, index, name, expected, got }
    }

    fn expect(&self, index: usize, elements: usize) -> Result<()> {
        let got = self.elements(index);
        if got == elements {
            return Ok(());
        }
        Err(self.invalid(index, format!("{elements} elements"), got.to_string()))
    }

    fn shared<T: Element>(&self, index: usize, raw: Raw) -> &'a [T] {
        assert_eq!(raw.dtype, T::DTYPE, "{}: the type of argument {index}", self.kernel.name);
        // SAFETY: the view lies within live memory, aligned for its type; all bit patterns of an
        // `Element` are valid; `bind` refused arguments that overlap it and are written, and by
        // its contract nothing else writes it meanwhile.
        unsafe { std::slice::from_raw_parts(raw.base.cast(), raw.elements) }
    }

    fn raw(&self, index: usize) -> Raw {
        match self.slots[index] {
            Slot::Shared(raw) | Slot::Exclusive(raw) => raw,
            _ => self.misuse(index),
        }
    }

    /// The table was checked, so a twin that asks for the wrong kind is itself wrong.
    fn misuse(&self, index: usize) -> ! {
        panic!("the twin of `{}` misuses its argument {index}", self.kernel.name)
    }
}

fn bind(arg: &Arg, operation: &'static str, pool: &Arc<Pool>) -> Result<Slot> {
    Ok(match arg {
        Arg::Read(view) => Slot::Shared(raw(view, operation, pool)?),
        Arg::Write(view) | Arg::Update(view) => Slot::Exclusive(raw(view, operation, pool)?),
        Arg::U32(value) => Slot::U32(*value),
        Arg::U64(value) => Slot::U64(*value),
        Arg::F32(value) => Slot::F32(*value),
    })
}

/// By addresses: two handles of one block are seen to be one.
fn refuse_overlap(kernel: &Kernel, slots: &[Slot]) -> Result<()> {
    for (written, slot) in slots.iter().enumerate() {
        let Slot::Exclusive(raw) = slot else { continue };
        for (other, slot) in slots.iter().enumerate() {
            let (Slot::Shared(another) | Slot::Exclusive(another)) = slot else { continue };
            if written != other && raw.overlaps(another) {
                return Err(Error::Overlap { kernel: kernel.name, written, other });
            }
        }
    }
    Ok(())
}

fn raw(view: &View, operation: &'static str, pool: &Arc<Pool>) -> Result<Raw> {
    let base = address(view, operation, pool)?;
    Ok(Raw { base, dtype: view.dtype(), elements: view.elements() })
}

impl Raw {
    fn overlaps(&self, other: &Raw) -> bool {
        let bytes = |raw: &Raw| raw.base.addr()..raw.base.addr() + raw.elements * raw.dtype.bytes();
        let (left, right) = (bytes(self), bytes(other));
        left.start < right.end && right.start < left.end
    }
}

/// The address of a view's first byte, if its memory belongs to `pool` and holds all of it: a
/// wrapper of memory may claim more than there is.
pub(crate) fn address(view: &View, operation: &'static str, pool: &Arc<Pool>) -> Result<*mut u8> {
    let memory = view.memory().as_any().downcast_ref::<SimMemory>();
    let holds = |memory: &&SimMemory| view.offset() + view.bytes() <= memory.bytes();
    match memory.filter(|memory| memory.is_of(pool)).filter(holds) {
        Some(memory) => Ok(memory.base().wrapping_add(view.offset())),
        None => Err(Error::ForeignMemory { operation }),
    }
}
