//! Text from a trained model, token by token.

use std::{path::Path, sync::Arc};

use fp8lm_data::Tokenizer;
use fp8lm_device::{DType, Device, Label, Queue};
use fp8lm_formats::philox::philox4x32_10;
use fp8lm_model::Gpt;
use fp8lm_ops as ops;

use crate::{
    Config, Error, Plan, Result,
    run::checkpoint,
    snapshot::{expect_identity, load, model_identity},
};

/// How text is drawn from a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Generation {
    /// Tokens to write.
    pub tokens: usize,
    /// What logits are divided by; 0 always takes the likeliest token.
    pub temperature: f64,
    /// The seed of the draws.
    pub seed: u64,
}

/// A trained model that writes text.
#[derive(Debug)]
pub struct Generator {
    queue: Queue,
    gpt: Gpt,
    tokenizer: Tokenizer,
}

impl Generator {
    /// The model of a run's newest checkpoint. What it was trained on is not needed.
    pub fn of_run(folder: &Path, device: Arc<dyn Device>) -> Result<Self> {
        let plan = Plan::new(Config::of_run(folder, &[], None)?)?;
        let newest = checkpoint::latest(&folder.join("checkpoints"))?;
        let newest = newest.ok_or_else(|| Error::NoCheckpoint { path: folder.to_owned() })?;
        let checkpoint = checkpoint::load(&newest)?;
        expect_identity(&newest, &checkpoint, model_identity(&plan))?;
        let queue = Queue::new(device)?;
        let mut gpt = Gpt::new(&queue, plan.model(), plan.recipe(), plan.config().run.seed)?;
        load(&queue, &newest, &checkpoint, &gpt.state())?;
        gpt.restore(&queue, checkpoint.step)?;
        Ok(Self { queue, gpt, tokenizer: plan.config().data.tokenizer })
    }

    /// Continues `prompt`, and hands the bytes of each token to `emit` as it is drawn, until
    /// `emit` returns false. Of what was written, the model sees as much as fits its context.
    pub fn generate(
        &mut self,
        prompt: &str,
        generation: Generation,
        emit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<()> {
        let mut tokens = self.tokenizer.encode(prompt)?;
        if tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        for index in 0..generation.tokens {
            let logits = self.next_logits(&tokens)?;
            // A head padded beyond the vocabulary has rows that stand for no token.
            let known = &logits[..self.tokenizer.vocabulary().min(logits.len())];
            let token = draw(known, generation, index as u64);
            tokens.push(token);
            if !emit(&self.tokenizer.decode(&[token])?) {
                break;
            }
        }
        Ok(())
    }

    fn next_logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let seen = &tokens[tokens.len().saturating_sub(self.gpt.config().context)..];
        let seen = self.queue.upload(seen, seen.len(), Label("batch"))?;
        let logits = self.gpt.logits(&self.queue, &seen)?;
        let logits = ops::cast(&self.queue, &logits, DType::F32)?;
        let values = self.queue.download::<f32>(&logits)?;
        Ok(values[values.len() - logits.cols()..].to_vec())
    }
}

/// A token by its probability: the inverse of the cumulative distribution, in f64.
fn draw(logits: &[f32], generation: Generation, index: u64) -> u32 {
    let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap_or(0);
    if generation.temperature == 0.0 {
        return best as u32;
    }
    let weight = |&x: &f32| (f64::from(x - logits[best]) / generation.temperature).exp();
    let weights = logits.iter().map(weight).collect::<Vec<_>>();
    let mut left = uniform(generation.seed, index) * weights.iter().sum::<f64>();
    for (token, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return token as u32;
        }
    }
    best as u32
}

/// A number in [0, 1).
fn uniform(seed: u64, index: u64) -> f64 {
    let counter = [index as u32, (index >> 32) as u32, 0, u32::MAX - 1];
    let [word, ..] = philox4x32_10(counter, [seed as u32, (seed >> 32) as u32]);
    f64::from(word) / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 4] = [0.0, 2.0, 1.0, -1.0];

    #[test]
    fn temperature_zero_takes_the_likeliest_token() {
        let generation = Generation { tokens: 1, temperature: 0.0, seed: 1 };
        assert_eq!(draw(&LOGITS, generation, 0), 1);
    }

    #[test]
    fn tokens_come_as_often_as_their_probability_says() {
        let generation = Generation { tokens: 1, temperature: 1.0, seed: 1 };
        let draws = 20_000;
        let mut counts = [0u32; 4];
        (0..draws).for_each(|index| counts[draw(&LOGITS, generation, index) as usize] += 1);
        let total: f64 = LOGITS.iter().map(|&x| f64::from(x).exp()).sum();
        for (token, &count) in counts.iter().enumerate() {
            let p = f64::from(LOGITS[token]).exp() / total;
            let deviation = (p * (1.0 - p) / draws as f64).sqrt();
            let rate = f64::from(count) / draws as f64;
            assert!((rate - p).abs() < 5.0 * deviation, "token {token}: {rate}, expected {p}");
        }
    }
}
