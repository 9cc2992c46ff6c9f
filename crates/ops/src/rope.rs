//! Rotary position embedding, on queries and keys in place.

use fp8lm_device::{Launch, Queue, Result, Tensor};

use crate::{ACTIVATIONS, Heads, expect};

/// Cosines and sines of every position and pair, f32 [context, head_dim / 2].
#[derive(Clone, Debug)]
pub struct RopeTables {
    /// The cosines.
    pub cos: Tensor,
    /// The sines.
    pub sin: Tensor,
}

impl RopeTables {
    /// Tables for `context` positions: position p turns pair j by p * theta^(-2j / head_dim).
    ///
    /// They are computed on the host in f64, by the same code on every machine, and rounded once.
    pub fn new(queue: &Queue, context: usize, head_dim: usize, theta: f64) -> Result<Self> {
        let half = head_dim / 2;
        let table = |function: fn(f64) -> f64| {
            let angles = (0..context * half).map(|i| angle(i / half, i % half, head_dim, theta));
            let values: Vec<f32> = angles.map(|angle| function(angle) as f32).collect();
            queue.upload(&values, [context, half], ACTIVATIONS)
        };
        Ok(Self { cos: table(libm::cos)?, sin: table(libm::sin)? })
    }
}

/// Turns the queries and keys of `qkv` [tokens, 3 * heads * head_dim] in place, each by its
/// position within its context: kernel `rope`. `inverse` turns back, which is the backward pass.
///
/// Arithmetic in f32, one rounding a step, then one to qkv's type. Tables for more positions than
/// `heads.context` serve as well. Shapes that do not fit, and an odd head_dim, are an error.
pub fn rope(
    queue: &Queue,
    qkv: &Tensor,
    tables: &RopeTables,
    heads: &Heads,
    inverse: bool,
) -> Result<()> {
    expect::shape("rope", "qkv", qkv, [heads.tokens(), 3 * heads.width()])?;
    let (cos, sin) = (positions(&tables.cos, "cos", heads)?, positions(&tables.sin, "sin", heads)?);
    let launch = Launch::new("rope").update(qkv).read(&cos).read(&sin);
    let launch = launch.extent(heads.tokens()).extent(heads.context);
    queue.launch(launch.extent(heads.heads).extent(heads.head_dim).u32(inverse.into()))
}

fn angle(position: usize, pair: usize, head_dim: usize, theta: f64) -> f64 {
    position as f64 * libm::pow(theta, -2.0 * pair as f64 / head_dim as f64)
}

/// The first `heads.context` rows of a table.
fn positions(table: &Tensor, name: &'static str, heads: &Heads) -> Result<Tensor> {
    let Heads { context, head_dim, .. } = *heads;
    let fits = 2 * table.cols() == head_dim && table.rows() >= context;
    expect::that(fits, "rope", name, table, || format!("[{context} or more, {head_dim} / 2]"))?;
    Ok(Tensor::new(table.view().slice(0, context * table.cols()), [context, table.cols()].into()))
}
