//! Quantisation that rounds up or down at random, and what the random words are drawn from.

use fp8lm_device::{Launch, Queue, Result, Tensor};
pub use fp8lm_formats::philox::{StochasticStream, Use};

use crate::quantize::expect_quantized;

/// What the random words of a tensor in a step follow from: nothing else, so that they are the
/// same in a resumed run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// The seed of the run.
    pub seed: u64,
    /// The number of the tensor.
    pub tensor: u32,
    /// The step, from 0.
    pub step: u64,
}

impl Noise {
    /// The words for one of the roundings of the tensor in the step.
    pub fn stream(self, purpose: Use) -> StochasticStream {
        let draw = StochasticStream::draw(self.step, purpose);
        StochasticStream { seed: self.seed, tensor: self.tensor, draw }
    }
}

/// As [`quantize`](crate::quantize), with each value rounded to one of its two neighbours, the
/// nearer the likelier: kernel `quantize_stochastic`.
///
/// Element i takes the word of element first + i of the stream, for `words` = (stream, first).
pub fn quantize_stochastic(
    queue: &Queue,
    x: &Tensor,
    scale: &Tensor,
    code: &Tensor,
    amax: &Tensor,
    counts: &Tensor,
    words: (StochasticStream, u64),
) -> Result<()> {
    let operation = "quantize_stochastic";
    expect_quantized(operation, x, scale, code, amax, counts)?;
    let launch = Launch::new(operation).read(x).read(scale).write(code);
    let (stream, first) = words;
    let launch = launch.update(amax).update(counts).u64(stream.seed);
    queue.launch(launch.u32(stream.tensor).u32(stream.draw).u64(first))
}
