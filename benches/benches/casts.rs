//! Casts of slices between f32 and FP8, against copying the f32 side:
//! `cargo bench -p fp8lm-benches --bench casts`.
#![allow(clippy::print_stdout, reason = "it reports")]

use std::{hint::black_box, io, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput};
use fp8lm_benches::{limit, pages::Pages};
use fp8lm_formats::{E4M3, Isa, Overflow};

/// Megabytes of f32: in the second-level cache, and in none.
const SIZES: [usize; 2] = [1, 64];

fn main() -> io::Result<()> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    for megabytes in SIZES {
        let mut buffers = Buffers::new(megabytes << 18)?;
        for isa in Isa::available() {
            let name = BenchmarkId::new(isa.name(), format!("{megabytes}MB"));
            buffers.measure(&mut criterion, "encode", name.clone(), |b| b.encode(isa));
            buffers.measure(&mut criterion, "decode", name, |b| b.decode(isa));
        }
        let name = BenchmarkId::new("float8", format!("{megabytes}MB"));
        buffers.measure(&mut criterion, "encode", name, Buffers::encode_by_float8);
    }
    criterion.final_summary();
    Ok(())
}

struct Buffers {
    x: Pages<f32>,
    y: Pages<f32>,
    codes: Pages<E4M3>,
}

impl Buffers {
    fn new(len: usize) -> io::Result<Self> {
        let mut x = Pages::<f32>::new(len)?;
        x.iter_mut().enumerate().for_each(|(i, x)| *x = (i * 37 % 1024) as f32 / 512.0 - 1.0);
        Ok(Self { x, y: Pages::new(len)?, codes: Pages::new(len)? })
    }

    fn encode(&mut self, isa: Isa) {
        let (x, codes) = (black_box(&*self.x), black_box(&mut *self.codes));
        E4M3::encode_slice_on(isa, x, 256.0, codes, Overflow::Saturate);
    }

    fn decode(&mut self, isa: Isa) {
        let (codes, y) = (black_box(&*self.codes), black_box(&mut *self.y));
        E4M3::decode_slice_on(isa, codes, 1.0 / 256.0, y);
    }

    /// The same cast by the crate `float8`.
    fn encode_by_float8(&mut self) {
        let (x, codes) = (black_box(&*self.x), black_box(&mut *self.codes));
        for (code, x) in codes.iter_mut().zip(x) {
            *code = E4M3::from_bits(float8::F8E4M3::from_f32(x * 256.0).to_bits());
        }
    }

    /// Measures a cast, and prints its speed as a share of that of a copy of the f32 side.
    fn measure(
        &mut self,
        criterion: &mut Criterion,
        group: &str,
        name: BenchmarkId,
        cast: impl Fn(&mut Self),
    ) {
        let bytes = size_of_val(&*self.x);
        let mut group = criterion.benchmark_group(group);
        group.throughput(Throughput::Bytes(bytes as u64));
        let mut ran = false;
        group.bench_function(name, |bencher| {
            ran = true;
            bencher.iter(|| cast(self));
        });
        // A filter may have left this one out.
        if ran {
            let copy = |buffers: &mut Self| limit::memcpy(&buffers.x, &mut buffers.y);
            let [cast, copy] = limit::alternate(self, bytes, cast, copy);
            println!(
                "fastest: {:.1} GB/s of f32, {:.2} of memcpy's {:.1}",
                bytes as f64 / cast / 1e9,
                copy / cast,
                bytes as f64 / copy / 1e9
            );
        }
    }
}
