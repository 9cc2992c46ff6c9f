//! What goes together, and what it packs to.

use std::{any::Any, sync::Arc};

use fp8lm_device::{DType, Memory, Tensor, View};

use super::*;

/// Memory that nothing reads.
#[derive(Debug)]
struct Bytes(usize);

impl Memory for Bytes {
    fn bytes(&self) -> usize {
        self.0
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn tensor(dtype: DType, elements: usize) -> Tensor {
    let memory = Arc::new(Bytes(elements * dtype.bytes()));
    Tensor::new(View::new(memory, dtype, elements), elements.into())
}

/// A step over `n` elements of master and moments in f32, or in F16 by a rule that asks for their largest magnitudes.
fn step(n: usize, dtype: DType) -> Launch {
    let one = || tensor(DType::F32, 1);
    let rule = u32::from(dtype == DType::F16);
    let launch = Launch::new("adamw").read(&tensor(DType::F32, n)).read(&one()).read(&one());
    let launch = launch.read(&tensor(DType::F32, 2)).read(&tensor(DType::U32, 1));
    let launch = (0..3).fold(launch, |launch, _| launch.update(&tensor(dtype, n)).update(&one()));
    let launch = (0..3).fold(launch, |launch, _| launch.u32(rule));
    let launch = (0..5).fold(launch, |launch, _| launch.f32(0.5));
    launch.update(&tensor(DType::F32, 3)).u32(3)
}

fn scale(n: usize) -> Launch {
    let (x, scale, y) = (tensor(DType::F32, n), tensor(DType::F32, 1), tensor(DType::E4M3, n));
    Launch::new("scale").read(&x).read(&scale).write(&y)
}

/// Addresses at which no two arguments meet.
fn apart(launches: &[Launch]) -> Vec<Vec<u64>> {
    let address = |launch: usize, arg: usize| ((launch * 32 + arg) as u64 + 1) << 32;
    let each = launches.iter().enumerate();
    each.map(|(i, launch)| (0..launch.args().len()).map(|arg| address(i, arg)).collect()).collect()
}

fn lengths(launches: &[Launch]) -> Vec<std::result::Result<usize, String>> {
    let length = |run: Result<Run<'_>>| match run {
        Ok(run) => Ok(run.launches().len()),
        Err(error) => Err(error.to_string()),
    };
    runs(launches).map(length).collect()
}

/// The numbers of launches in the parts of a run.
fn parts(launches: &[Launch], addresses: &[Vec<u64>]) -> Vec<usize> {
    let run = runs(launches).next().unwrap().unwrap();
    let Code::Cuda(cuda) = &run.kernel().code else { panic!("it has device code") };
    run.parts(cuda, addresses).map(|part| part.launches().len()).collect()
}

#[test]
fn runs_are_of_one_kernel_that_takes_several_launches() {
    let f32 = |n| step(n, DType::F32);
    let launches = [f32(3), f32(0), f32(9), scale(4), scale(4), f32(1)];
    assert_eq!(lengths(&launches), [3, 1, 1, 1].map(Ok));
    assert_eq!(lengths(&[]), []);
}

#[test]
fn a_launch_that_is_refused_is_the_last() {
    let one = tensor(DType::F32, 1);
    let wrong = Launch::new("adamw").read(&one);
    let launches = [step(3, DType::F32), wrong, step(3, DType::F32)];
    let lengths = lengths(&launches);
    assert_eq!(lengths[0], Ok(1));
    let error = lengths[1].as_ref().unwrap_err();
    assert!(error.contains("expected 21 arguments, got 1"), "{error}");
    assert_eq!(lengths.len(), 2);
}

#[test]
fn launches_that_share_what_they_read_are_one_part() {
    let launches = [1, 2, 3].map(|n| step(n, DType::F32));
    let mut addresses = apart(&launches);
    for launch in 1..3 {
        for read in [1, 2, 3, 4] {
            addresses[launch][read] = addresses[0][read];
        }
    }
    assert_eq!(parts(&launches, &addresses), [3]);
}

#[test]
fn launches_that_depend_on_one_another_are_parts_of_their_own() {
    let launches = [8, 8, 8].map(|n| step(n, DType::F32));
    // One byte of a master: written by the first, read, or written, by the second or the third.
    for (launch, arg) in [(1, 0), (1, 5), (2, 0), (2, 9)] {
        let mut addresses = apart(&launches);
        addresses[launch][arg] = addresses[0][5] + 31;
        let (before, behind) = (launch, 3 - launch);
        assert_eq!(parts(&launches, &addresses), [before, behind], "{launch}, {arg}");
        addresses[launch][arg] += 1;
        assert_eq!(parts(&launches, &addresses), [3], "{launch}, {arg}: beside it");
    }
    // Read by the first, written by the second.
    let mut addresses = apart(&launches);
    addresses[1][7] = addresses[0][0];
    assert_eq!(parts(&launches, &addresses), [1, 2]);
}

#[test]
fn empty_arguments_meet_nothing() {
    let launches = [8, 0, 8].map(|n| step(n, DType::F32));
    let mut addresses = apart(&launches);
    addresses[1][5] = addresses[0][5] + 4;
    assert_eq!(parts(&launches, &addresses), [3]);
}

#[test]
fn blocks_of_a_part_fit_one_grid() {
    // 2^30 blocks each of `adamw_store`: two are one too many.
    let launches = [1 << 41, 1 << 41, 8].map(|n| step(n, DType::F32));
    let addresses: Vec<Vec<u64>> =
        (0..3u64).map(|i| (0..21).map(|arg| (i * 21 + arg) << 44).collect()).collect();
    assert_eq!(parts(&launches, &addresses), [1, 2]);
}

#[test]
fn ranges_meet_where_they_share_a_byte() {
    let mut ranges = Ranges::default();
    [8..16, 32..40, 14..20, 16..33].into_iter().for_each(|range| ranges.insert(range));
    assert_eq!(ranges.0, BTreeMap::from([(8, 40)]));
    ranges.insert(0..4);
    let met = |range| ranges.meets(&range);
    assert_eq!(
        [met(4..8), met(3..4), met(7..9), met(39..90), met(40..41)],
        [false, true, true, true, false]
    );
}

#[test]
fn a_launch_alone_needs_no_table() {
    let launches = [step(4096, DType::F16)];
    let addresses = apart(&launches);
    let run = runs(&launches).next().unwrap().unwrap();
    let Code::Cuda(cuda) = &run.kernel().code else { panic!("it has device code") };
    let part = run.parts(cuda, &addresses).next().unwrap();
    assert_eq!(part.scratch_bytes(), Some(256));
    let pack = part.pack(Some(77));
    assert!(pack.table().is_empty());
    let calls: Vec<_> = pack.calls(0).collect();
    let functions: Vec<_> = calls.iter().map(|call| (call.name, call.block, call.grid)).collect();
    assert_eq!(
        functions,
        [("adamw_begin", 32, 1), ("adamw_amax", 256, 1), ("adamw_store", 256, 2)]
    );
    let own = Packed::new(&launches[0], &addresses[0], Some(77));
    assert!(calls.iter().all(|call| *call.args == own));
}

#[test]
fn a_table_has_arguments_and_first_blocks() {
    // No amax is asked for in f32; empty tensors take a block that writes scales, and none that looks for maxima.
    let launches = [
        step(9000, DType::F16),
        step(5000, DType::F32),
        step(0, DType::F16),
        step(10_000, DType::F16),
    ];
    let addresses = apart(&launches);
    let run = runs(&launches).next().unwrap().unwrap();
    let Code::Cuda(cuda) = &run.kernel().code else { panic!("it has device code") };
    let part = run.parts(cuda, &addresses).next().unwrap();
    assert_eq!(part.scratch_bytes(), Some(4 * 256));
    let pack = part.pack(Some(4096));

    let words: &[u64] = bytemuck::cast_slice(pack.table());
    let (args, first_blocks) = words.split_at(4 * ARGS);
    for (index, args) in args.chunks(ARGS).enumerate() {
        let scratch = 4096 + 256 * index as u64;
        let own = Packed::new(&launches[index], &addresses[index], Some(scratch));
        assert_eq!(args, own.words(), "launch {index}");
    }
    let first_blocks: &[u32] = bytemuck::cast_slice(first_blocks);
    assert_eq!(first_blocks, [[0, 1, 1, 2], [0, 2, 2, 2], [0, 5, 8, 9]].concat());

    let table = 1 << 20;
    let first = |entry: u64| table + 8 * 4 * ARGS as u64 + 16 * entry;
    let calls: Vec<_> = pack.calls(table).map(|call| (call.name, call.grid, call.args)).collect();
    let expected = [("adamw_begin_many", 3), ("adamw_amax_many", 4), ("adamw_store_many", 14)];
    for (entry, (name, grid)) in (0..).zip(expected) {
        let args = Packed::many(table, first(entry), 4);
        assert_eq!(calls[entry as usize], (name, grid, Cow::Owned(args)));
    }
}

#[test]
fn entries_without_blocks_are_not_called() {
    let launches = [step(7, DType::F32), step(8, DType::F32), step(9, DType::F32)];
    let addresses = apart(&launches);
    let run = runs(&launches).next().unwrap().unwrap();
    let Code::Cuda(cuda) = &run.kernel().code else { panic!("it has device code") };
    let pack = run.parts(cuda, &addresses).next().unwrap().pack(Some(0));
    let names: Vec<_> = pack.calls(0).map(|call| call.name).collect();
    assert_eq!(names, ["adamw_store_many"]);
    // An odd number of first blocks is filled up to 8 bytes.
    assert_eq!(pack.table().len(), 8 * (3 * ARGS + 3 * 2));
}

/// Words of the arguments of `adamw`: 12 views, 9 numbers, scratch.
const ARGS: usize = 12 * 3 + 9 + 1;
