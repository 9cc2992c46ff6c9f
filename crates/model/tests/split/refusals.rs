//! What cannot be shared is told before any work.

use fp8lm_model::{Build, Error, Gpt, ModelConfig, Part, Sequences};
use fp8lm_scaling::{Pass, recipe};
use fp8lm_sim::Streams;

use crate::common::{Sharing, TEST, together};

fn config() -> ModelConfig {
    let (layers, width, heads, mlp, context) = (1, 32, 4, 48, 6);
    ModelConfig { layers, width, heads, mlp, context, ..Default::default() }
}

fn told(config: ModelConfig, members: usize) -> Vec<String> {
    let sharing = Sharing { members, sequence: true, streams: Streams::InOrder };
    together(sharing, |member| {
        let part = Part::whole(&config);
        let build = Build { seed: 1, part, split: member.split.clone() };
        let gpt = Gpt::build(&member.queue, &config, &recipe("fp32").unwrap(), build);
        gpt.unwrap_err().to_string()
    })
}

#[test]
fn extents_that_members_cannot_share() {
    let cases = [
        (ModelConfig { heads: 2, ..config() }, "heads", 2),
        (ModelConfig { mlp: 50, ..config() }, "mlp", 50),
        (ModelConfig { vocabulary: 250, ..config() }, "vocabulary", 250),
    ];
    for (config, key, value) in cases {
        let expected =
            format!("model.{key}: 4 members share it; expected a multiple of 4, got {value}");
        assert_eq!(told(config, 4), vec![expected; 4]);
    }
}

#[test]
fn rows_that_members_cannot_share_and_logits_that_nobody_has() {
    let sharing = Sharing { members: 4, sequence: true, streams: Streams::InOrder };
    together(sharing, |member| {
        let (queue, config) = (&member.queue, config());
        let part = Part::whole(&config);
        let build = Build { seed: 1, part, split: member.split.clone() };
        let mut gpt = Gpt::build(queue, &config, &recipe("fp32").unwrap(), build).unwrap();
        let tokens = queue.upload(&[1u32; 6], 6, TEST).unwrap();
        let sequences = Sequences { targets: tokens.clone(), tokens, context: 6 };
        let forward = gpt.forward(queue, &sequences, 1.0, Pass::Train);
        assert!(matches!(forward, Err(Error::Rows { tokens: 6, members: 4 })));
        let logits = gpt.logits(queue, &sequences.tokens);
        assert!(matches!(logits, Err(Error::Shared { members: 4 })));
    });
}
