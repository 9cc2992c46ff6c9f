//! Reads a corpus, prints what it holds and the first row of a training batch.
//!
//! ```text
//! cargo run -p fp8lm-data --example batches -- gpt2 my-text.txt
//! ```

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use fp8lm_data::{Batch, Batches, Corpus, Sampling, Split, Tokenizer, Validation};
use std::{env, error::Error, path::PathBuf, sync::Arc, time::Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let tokenizer: Tokenizer = args.next().as_deref().unwrap_or("bytes").parse()?;
    let files: Vec<PathBuf> = args.map(PathBuf::from).collect();

    let begin = Instant::now();
    let corpus = Arc::new(match files.is_empty() {
        true => Corpus::king_james(tokenizer)?,
        false => Corpus::from_files(&files, tokenizer)?,
    });
    println!("{}, read in {:.1?}", corpus.name(), begin.elapsed());
    println!("tokens           {} of {:.2} bytes", corpus.len(), corpus.bytes_per_token());
    println!("fingerprint      {:016x}", corpus.fingerprint());

    let split = Split::new(corpus.len(), 0.05)?;
    let sampling = Sampling { seed: 1, batch: 8, micro_batches: 1, context: 64 };
    let batches = Batches::new(&corpus, &split, sampling)?;
    let validation = Validation::new(&corpus, &split, 8, 64)?;
    println!("training         {} windows an epoch", batches.windows_per_epoch());
    println!("validation       {} batches", validation.count());

    let mut batch = Batch::new(8, 64);
    batches.fill(0, 0, &mut batch)?;
    let text = tokenizer.decode(&batch.inputs[..64])?;
    println!("step 0, row 0    {:?}", String::from_utf8_lossy(&text));
    Ok(())
}
