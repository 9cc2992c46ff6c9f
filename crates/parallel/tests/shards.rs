//! Shards of tensors on ranks against whole tensors on one: to the bit.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use fp8lm_collectives::{Algorithm, Composed};
use fp8lm_device::{Alone, Collectives, DType, Label, Queue, Result, Shape, Tensor};
use fp8lm_ops::ScaleRule;
use fp8lm_scaling::{
    Cast, Columns, Granularity, LINEAR, NAMES, Noise, Parameter, ParameterSpec, Pass, Precision,
    Quantizer, Rounded, Scaled, Scaling, Shard, Source, Stored, recipe,
};
use fp8lm_sim::{Emulator, Rank, World, WorldOptions};

/// Cut in rows, also of three tables, and in columns. The amax stands in one part alone.
#[test]
fn shards_of_a_parameter_are_cut_from_the_whole() {
    for name in NAMES {
        let precision = recipe(name).unwrap().linears;
        // Members share blocks, and so their factors, only where they have whole ones.
        let blocks = *name == "deepseek-v3";
        let shape = if blocks { [1536, 512] } else { [24, 20] };
        for (outer, dim) in [(1, 0), (3, 0), (shape[0], 1)] {
            for members in [2, 4] {
                let shard = |place| Shard { outer, place, members };
                compare(name, &precision, (shape, dim), &shard);
            }
        }
    }
}

/// Cut in rows, shards are rounded by the whole's own words.
#[test]
fn shards_in_rows_are_rounded_by_the_words_of_the_whole() {
    let mut precision = recipe("fp8lm-3").unwrap().linears;
    precision.stochastic = vec![Rounded::Working];
    compare("stochastic", &precision, ([24, 20], 0), &|place| Shard {
        outer: 1,
        place,
        members: 4,
    });
}

#[test]
fn rows_that_are_cast_apart_are_those_of_the_whole() {
    let rules = [ScaleRule::Exact, ScaleRule::Pow2];
    let tensors = rules.map(|rule| Cast::tensor(DType::E4M3, Scaling::JustInTime, rule));
    let delayed = Cast::tensor(DType::E5M2, Scaling::Delayed(2), ScaleRule::Pow2);
    let tiles = [Source::Codes, Source::E5m6].map(tiles);
    for cast in tensors.into_iter().chain([delayed]).chain(tiles) {
        for members in [2, 4] {
            compare_casts(cast, members);
        }
    }
}

fn compare(
    about: &str,
    precision: &Precision,
    (shape, dim): ([usize; 2], usize),
    shard: &(dyn Fn(usize) -> Shard + Sync),
) {
    let values = values(shape[0] * shape[1]);
    let queue = Queue::new(Arc::new(Emulator::default())).unwrap();
    let whole = spec(precision, Shard::WHOLE, shape.into());
    let alone: Arc<dyn Collectives> = Arc::new(Alone);
    let whole = Parameter::new(&queue, whole, &alone, &values).unwrap();
    let whole = tensors(&queue, &whole).unwrap();
    let members = shard(0).members;
    let parts = on_ranks(members, |queue, group| {
        let shard = shard(group.rank());
        let spec = spec(precision, shard, shard.local_shape(shape.into(), dim));
        let part = Parameter::new(queue, spec, &group, &shard.slice(&values))?;
        tensors(queue, &part)
    });
    for (tensor, (whole, is_cut)) in whole.iter().enumerate() {
        for (place, part) in parts.iter().enumerate() {
            let shard = shard(place);
            let expected = if *is_cut { shard.slice(whole) } else { whole.clone() };
            assert!(part[tensor].0 == expected, "{about}, {shard:?}, tensor {tensor}");
        }
    }
}

fn spec(precision: &Precision, shard: Shard, shape: Shape) -> ParameterSpec {
    ParameterSpec {
        name: "w".into(),
        shape,
        shard,
        precision: precision.clone(),
        labels: &LINEAR,
        decays: true,
        noise: Noise { seed: 7, tensor: 3, step: 0 },
    }
}

/// The bytes of master and working copy, and of their scales but factors of blocks, each with whether it is cut.
fn tensors(queue: &Queue, parameter: &Parameter) -> Result<Vec<(Vec<u8>, bool)>> {
    let Stored { values, scale, .. } = parameter.master();
    let mut tensors = vec![(values, true), (scale, false)];
    let replica = parameter.replica().into_iter().zip([true, false]);
    tensors.extend(replica.filter(|(tensor, is_cut)| *is_cut || tensor.elements() == 1));
    let tensors = tensors.into_iter();
    tensors.map(|(tensor, is_cut)| Ok((queue.download_bytes(tensor)?, is_cut))).collect()
}

fn tiles(from: Source) -> Cast {
    let columns = Some(Columns { format: DType::E4M3, from });
    let cast = Cast::tensor(DType::E4M3, Scaling::JustInTime, ScaleRule::Exact);
    Cast { granularity: Granularity::Tile, columns, ..cast }
}

fn compare_casts(cast: Cast, members: usize) {
    let (rows, cols) = (128, 256);
    let values = values(rows * cols);
    let queue = Queue::new(Arc::new(Emulator::default())).unwrap();
    let mut quantizer = Quantizer::new(&queue, cast).unwrap();
    let (codes, kept) = keep(&queue, &mut quantizer, &values, [rows, cols].into()).unwrap();
    let columns = bytes(&queue, &quantizer.columns(&queue, &kept).unwrap()).unwrap();
    let expected = bytes(&queue, &codes).unwrap();
    let ends = on_ranks(members, |queue, group| {
        let own = Shard { outer: 1, place: group.rank(), members };
        let mut quantizer = Quantizer::new(queue, cast)?.over(group.as_ref()).keep_rows();
        let own_values = own.slice(&values);
        let shape = own.local_shape([rows, cols].into(), 0);
        let (codes, kept) = keep(queue, &mut quantizer, &own_values, shape)?;
        let kept = gather(queue, group.as_ref(), &kept)?;
        Ok((bytes(queue, &codes)?, bytes(queue, &quantizer.columns(queue, &kept)?)?))
    });
    for (place, (codes, turned)) in ends.into_iter().enumerate() {
        let about = format!("{cast:?}, place {place} of {members}");
        let own = Shard { outer: 1, place, members };
        assert_eq!(codes[0], own.slice(&expected[0]), "{about}");
        let factors = if cast.granularity == Granularity::Tensor { Shard::WHOLE } else { own };
        assert_eq!(codes[1], factors.slice(&expected[1]), "{about}");
        assert_eq!(turned, columns, "{about}");
    }
}

fn keep(
    queue: &Queue,
    quantizer: &mut Quantizer,
    values: &[f32],
    shape: Shape,
) -> Result<(Scaled, Scaled)> {
    let x = queue.upload(values, shape, TEST)?;
    quantizer.quantize_and_keep(queue, &x, Pass::Train)
}

/// The rows of all members.
fn gather(queue: &Queue, group: &dyn Collectives, part: &Scaled) -> Result<Scaled> {
    let gather = |part: &Tensor| {
        let (rows, n) = (part.rows(), part.elements());
        let whole = queue.alloc(part.dtype(), [rows * group.size(), part.cols()], TEST)?;
        let parts: Vec<_> =
            (0..group.size()).map(|place| whole.view().slice(place * n, n)).collect();
        queue.copy_view(part.view(), &parts[group.rank()])?;
        group.all_gather(queue, &parts)?.wait(queue)?;
        Ok::<_, fp8lm_device::Error>(whole)
    };
    let is_tensor = part.scale_inv.elements() == 1;
    let scale_inv = if is_tensor { part.scale_inv.clone() } else { gather(&part.scale_inv)? };
    Ok(Scaled { values: gather(&part.values)?, scale_inv })
}

fn bytes(queue: &Queue, scaled: &Scaled) -> Result<[Vec<u8>; 2]> {
    Ok([queue.download_bytes(&scaled.values)?, queue.download_bytes(&scaled.scale_inv)?])
}

fn on_ranks<T: Send>(
    ranks: usize,
    run: impl Fn(&Queue, Arc<dyn Collectives>) -> Result<T> + Sync,
) -> Vec<T> {
    let world = World::new(&Emulator::default(), WorldOptions { ranks, ..Default::default() });
    let run = |Rank { device, link }: Rank| {
        let queue = Queue::new(device)?;
        let group = Composed::new(link, &queue, Algorithm::RoundOnce)?;
        run(&queue, Arc::new(group))
    };
    world.run(run).unwrap()
}

fn values(elements: usize) -> Vec<f32> {
    (0..elements).map(|i| (i as f32 * 0.7).sin() * (1.0 + i as f32)).collect()
}

const TEST: Label = Label("test");
