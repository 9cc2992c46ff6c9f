//! Several launches of one kernel as one: which may run at once, and what their device code is handed.
//!
//! A backend takes its launches run by run. It binds the memory of a [`Run`], cuts it into [`Part`]s by the addresses,
//! and launches what each part packs to. A launch alone is a part as well, and needs no table.

use std::{borrow::Cow, collections::BTreeMap, ops::Range};

use fp8lm_device::{Launch, Result};

use crate::{Code, Cuda, Extents, Kernel, abi::Packed, check};

/// Consecutive launches of one kernel, all checked; several only if its entries take several at once.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    kernel: &'static Kernel,
    launches: &'a [Launch],
}

/// Cuts launches into runs. A launch that fails its checks is an error in its place, and the last item.
pub fn runs(launches: &[Launch]) -> impl Iterator<Item = Result<Run<'_>>> {
    let mut rest = launches;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let run = checked(first).map(|kernel| {
            let length = 1 + likewise(kernel, &rest[1..]);
            let (launches, behind) = rest.split_at(length);
            rest = behind;
            Run { kernel, launches }
        });
        if run.is_err() {
            rest = &[];
        }
        Some(run)
    })
}

/// How many launches come first that may be of one run with another one of `kernel`.
fn likewise(kernel: &Kernel, launches: &[Launch]) -> usize {
    let joins = |launch: &&Launch| launch.kernel() == kernel.name && checked(launch).is_ok();
    if kernel.many().is_none() { 0 } else { launches.iter().take_while(joins).count() }
}

/// The kernel of a launch, if the table's check and the kernel's own find nothing wrong.
fn checked(launch: &Launch) -> Result<&'static Kernel> {
    let kernel = check(launch)?;
    if let Code::Cuda(cuda) = &kernel.code {
        (cuda.check)(&Extents::new(kernel, launch))?;
    }
    Ok(kernel)
}

impl<'a> Run<'a> {
    /// The kernel.
    pub fn kernel(&self) -> &'static Kernel {
        self.kernel
    }

    /// The launches, in order.
    pub fn launches(&self) -> &'a [Launch] {
        self.launches
    }

    /// Cuts it into parts whose launches may run at once: none touches what another one writes, and their blocks fit
    /// one grid. `cuda` is the kernel's device code; `addresses` has those of each launch's arguments.
    pub fn parts<'b>(
        &self,
        cuda: &'static Cuda,
        addresses: &'b [Vec<u64>],
    ) -> impl Iterator<Item = Part<'b>>
    where
        'a: 'b,
    {
        let Self { kernel, launches } = *self;
        let mut first = 0;
        std::iter::from_fn(move || {
            let (launches, addresses) = (launches.get(first..)?, addresses.get(first..)?);
            let mut together = Together::new(cuda);
            let joins = |(launch, addresses): &(&Launch, &Vec<u64>)| {
                together.take(&Extents::new(kernel, launch), launch, addresses)
            };
            let length = launches.iter().zip(addresses).take_while(joins).count();
            first += length;
            let (launches, addresses) = (&launches[..length], &addresses[..length]);
            (length > 0).then_some(Part { kernel, cuda, launches, addresses })
        })
    }
}

/// What the launches of a part have together.
struct Together {
    cuda: &'static Cuda,
    /// For each entry.
    blocks: Vec<usize>,
    touched: Ranges,
    written: Ranges,
    is_empty: bool,
}

impl Together {
    fn new(cuda: &'static Cuda) -> Self {
        let (touched, written) = Default::default();
        Self { cuda, blocks: vec![0; cuda.entries.len()], touched, written, is_empty: true }
    }

    /// Adds a launch, if it may run at once with the others; the first may in any case.
    fn take(&mut self, extents: &Extents<'_>, launch: &Launch, addresses: &[u64]) -> bool {
        let entries = self.cuda.entries.iter().zip(&self.blocks);
        let blocks: Vec<_> =
            entries.map(|(entry, before)| before.saturating_add((entry.grid)(extents))).collect();
        let fits =
            blocks.iter().all(|blocks| *blocks <= MOST_BLOCKS) && !self.meets(launch, addresses);
        if !fits && !self.is_empty {
            return false;
        }
        self.blocks = blocks;
        self.is_empty = false;
        for (is_written, range) in memory(launch, addresses) {
            self.touched.insert(range.clone());
            if is_written {
                self.written.insert(range);
            }
        }
        true
    }

    /// Whether a launch touches what is written, or writes what is touched.
    fn meets(&self, launch: &Launch, addresses: &[u64]) -> bool {
        memory(launch, addresses).any(|(is_written, range)| {
            let others = if is_written { &self.touched } else { &self.written };
            others.meets(&range)
        })
    }
}

/// The addresses of each argument that is memory, and whether it is written.
fn memory<'a>(
    launch: &'a Launch,
    addresses: &'a [u64],
) -> impl Iterator<Item = (bool, Range<u64>)> + 'a {
    let views = launch.args().iter().zip(addresses);
    let ranges = views.filter_map(|(arg, start)| {
        let bytes = arg.view()?.bytes() as u64;
        Some((arg.is_written(), *start..start + bytes))
    });
    ranges.filter(|(_, range)| !range.is_empty())
}

/// Bytes by their addresses: disjoint ranges, the end of each by its start.
#[derive(Debug, Default)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    fn meets(&self, range: &Range<u64>) -> bool {
        self.first_met(range).is_some()
    }

    /// Of the ranges that begin before the end of `range`, the last also ends last.
    fn first_met(&self, range: &Range<u64>) -> Option<Range<u64>> {
        let (start, end) = self.0.range(..range.end).next_back()?;
        (*end > range.start).then_some(*start..*end)
    }

    fn insert(&mut self, mut range: Range<u64>) {
        while let Some(met) = self.first_met(&range) {
            self.0.remove(&met.start);
            range = range.start.min(met.start)..range.end.max(met.end);
        }
        self.0.insert(range.start, range.end);
    }
}

/// Launches that may run at once.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    kernel: &'static Kernel,
    cuda: &'static Cuda,
    launches: &'a [Launch],
    addresses: &'a [Vec<u64>],
}

impl<'a> Part<'a> {
    /// The launches.
    pub fn launches(&self) -> &'a [Launch] {
        self.launches
    }

    /// The addresses of each launch's arguments.
    pub fn addresses(&self) -> &'a [Vec<u64>] {
        self.addresses
    }

    /// The same with its memory elsewhere.
    pub fn at<'b>(&self, addresses: &'b [Vec<u64>]) -> Part<'b>
    where
        'a: 'b,
    {
        Part { addresses, ..*self }
    }

    /// Bytes of working memory that its entries ask for.
    pub fn scratch_bytes(&self) -> Option<usize> {
        let bytes = self.cuda.scratch?;
        Some(self.extents().map(|extents| spaced(bytes(&extents))).sum())
    }

    /// What is to be launched, with working memory at `scratch`, of as many bytes as it asks for.
    pub fn pack(&self, scratch: Option<u64>) -> Pack {
        let launches = self.packed(scratch);
        let count = launches.len() as u32;
        let mut pack = Pack { launches, count, ..Pack::default() };
        let names = self.kernel.many().filter(|_| count > 1);
        if names.is_some() {
            pack.table = pack.launches.iter().flat_map(|launch| launch.words()).copied().collect();
        }
        for (index, entry) in self.cuda.entries.iter().enumerate() {
            let grids: Vec<_> = self.extents().map(|extents| (entry.grid)(&extents)).collect();
            let name = names.map_or(entry.name, |names| names[index]);
            let first_blocks = names.map(|_| pack.push_first_blocks(&grids));
            let grid = grids.iter().sum();
            pack.entries.push(PackedEntry { name, block: entry.block, grid, first_blocks });
        }
        pack
    }

    fn packed(&self, mut scratch: Option<u64>) -> Vec<Packed> {
        let launches = self.launches.iter().zip(self.addresses).zip(self.extents());
        let packed = launches.map(|((launch, addresses), extents)| {
            let own = scratch;
            let bytes = self.cuda.scratch.map_or(0, |bytes| spaced(bytes(&extents)));
            scratch = scratch.map(|address| address + bytes as u64);
            Packed::new(launch, addresses, own)
        });
        packed.collect()
    }

    fn extents(&self) -> impl Iterator<Item = Extents<'a>> {
        let kernel = self.kernel;
        self.launches.iter().map(move |launch| Extents::new(kernel, launch))
    }
}

/// A part as device code takes it: a table, which must lie in memory that it can read, and what is to be launched.
#[derive(Clone, Debug, Default)]
pub struct Pack {
    /// The arguments of all launches, then the numbers of their first blocks for each entry.
    table: Vec<u64>,
    launches: Vec<Packed>,
    count: u32,
    entries: Vec<PackedEntry>,
}

#[derive(Clone, Debug)]
struct PackedEntry {
    name: &'static str,
    block: u32,
    grid: usize,
    /// Where in the table its first blocks are, in bytes, if it takes several launches.
    first_blocks: Option<u64>,
}

/// One function to launch.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Its name.
    pub name: &'static str,
    /// Threads in a block.
    pub block: u32,
    /// Blocks, one at least.
    pub grid: usize,
    /// Its arguments.
    pub args: Cow<'a, Packed>,
}

impl Pack {
    /// The table, at a multiple of 8 bytes; empty if there is one launch.
    pub fn table(&self) -> &[u8] {
        bytemuck::cast_slice(&self.table)
    }

    /// What to launch, one after another, with the table at this address.
    pub fn calls(&self, table: u64) -> impl Iterator<Item = Call<'_>> {
        self.entries.iter().filter(|entry| entry.grid > 0).map(move |entry| {
            let PackedEntry { name, block, grid, first_blocks } = *entry;
            let args = match first_blocks {
                None => Cow::Borrowed(&self.launches[0]),
                Some(at) => Cow::Owned(Packed::many(table, table + at, self.count)),
            };
            Call { name, block, grid, args }
        })
    }

    /// Appends the number of each launch's first block; where in the table they are.
    fn push_first_blocks(&mut self, grids: &[usize]) -> u64 {
        let at = self.table.len() as u64 * 8;
        let firsts = grids.iter().scan(0, |next, grid| {
            let first = *next;
            *next += *grid as u32;
            Some(first)
        });
        let firsts: Vec<u32> = firsts.collect();
        let pairs = firsts.chunks(2).map(|pair| [pair[0], pair.get(1).copied().unwrap_or(0)]);
        self.table.extend(pairs.map(bytemuck::cast::<[u32; 2], u64>));
        at
    }
}

/// Bytes from one launch's working memory to the next one's.
fn spaced(bytes: usize) -> usize {
    bytes.next_multiple_of(256)
}

/// The most blocks of a grid.
const MOST_BLOCKS: usize = i32::MAX as usize;

#[cfg(test)]
mod tests;
