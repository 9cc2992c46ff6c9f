//! `fp8lm rendezvous`.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::{self, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fp8lm_rendezvous::{Identity, Ranks, Store};
use fp8lm_sim::Options;
use fp8lm_trainer::text::align;
use nccl_rs::Nccl;
use xxhash_rust::xxh3::xxh3_64;

use crate::{backend::Backend, cli::RendezvousArgs, exit::Exit, job};

/// Meets the other ranks. The first prints who has come, and what they have.
pub(crate) fn run(args: &RendezvousArgs) -> Result<ExitCode> {
    let start = Instant::now();
    let identity = job::identity()?;
    let store = job::join(&identity, Duration::from_secs(args.timeout))?;
    let seconds = start.elapsed().as_secs_f64();
    let gpu = gpu(&identity, args);
    let nccl = Nccl::load().map_err(|error| error.to_string());
    let unique_id = exchange(&store, &nccl)?;
    let card = Card::new(&identity, gpu, &nccl, &unique_id);
    store.set(&key(store.rank()), card.to_text().as_bytes())?;
    let met =
        format!("{} ranks of {} met in {seconds:.2} s", identity.world_size, identity.launcher);
    let outcome = if store.rank() == 0 { report(&store, &met) } else { Ok(()) };
    store.leave()?;
    outcome.map(|()| Exit::Done.into())
}

/// The GPU of the rank, by its name. Whoever looks for it opens what the folders hold, NCCL's library too.
fn gpu(identity: &Identity, args: &RendezvousArgs) -> String {
    let gpu = Backend::Cuda(Some(identity.local_rank));
    let gpu = gpu.open(Options::default(), &args.libraries.folders);
    gpu.map_or("none".into(), |gpu| gpu.properties().name.clone())
}

/// The bytes of a unique id that the first rank has made, where it has NCCL.
fn exchange(store: &Store, nccl: &Result<Nccl, String>) -> Result<Vec<u8>> {
    if store.rank() == 0 {
        let id = match nccl {
            Ok(nccl) => nccl.unique_id()?.to_bytes().to_vec(),
            Err(_) => Vec::new(),
        };
        store.set(UNIQUE_ID, &id)?;
    }
    Ok(store.get(UNIQUE_ID)?)
}

/// What a rank tells of itself.
struct Card {
    host: String,
    process: String,
    local_rank: String,
    gpu: String,
    /// The version of NCCL; or nothing, and why.
    nccl: String,
    why_not: String,
    /// What came of the unique id.
    hash: String,
}

impl Card {
    fn new(identity: &Identity, gpu: String, nccl: &Result<Nccl, String>, id: &[u8]) -> Self {
        let found = nccl.as_ref();
        Self {
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            process: process::id().to_string(),
            local_rank: identity.local_rank.to_string(),
            gpu,
            nccl: found.map_or("none".into(), |nccl| nccl.version().to_string()),
            why_not: found.err().cloned().unwrap_or_default(),
            hash: if id.is_empty() { "-".into() } else { format!("{:016x}", xxh3_64(id)) },
        }
    }

    /// A line each; no text has more than one.
    fn to_text(&self) -> String {
        let Self { host, process, local_rank, gpu, nccl, why_not, hash } = self;
        let lines = [host, process, local_rank, gpu, nccl, why_not, hash];
        lines.map(|line| line.replace(['\n', '\r'], " ")).join("\n")
    }

    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<_> = text.split('\n').map(str::to_owned).collect();
        let [host, process, local_rank, gpu, nccl, why_not, hash] = lines.try_into().ok()?;
        Some(Self { host, process, local_rank, gpu, nccl, why_not, hash })
    }

    fn row(&self, rank: usize) -> [String; 7] {
        let Self { host, process, local_rank, gpu, nccl, hash, .. } = self;
        [&rank.to_string(), host, process, local_rank, gpu, nccl, hash].map(Clone::clone)
    }
}

/// Prints all ranks, and says what does not fit.
fn report(store: &Store, met: &str) -> Result<()> {
    let cards =
        (0..store.world_size()).map(|rank| card(store, rank)).collect::<Result<Vec<_>>>()?;
    let heading = ["rank", "host", "process", "local rank", "GPU", "NCCL", "unique id"];
    let mut rows = vec![heading.map(String::from)];
    rows.extend(cards.iter().enumerate().map(|(rank, card)| card.row(rank)));
    let mut out = io::stdout().lock();
    write!(out, "{}", align(&rows))?;
    for (why_not, ranks) in group(&cards, |card| &card.why_not) {
        if !why_not.is_empty() {
            writeln!(out, "{ranks}: {why_not}")?;
        }
    }
    writeln!(out, "{met}")?;
    expect_one("NCCL", group(&cards, |card| &card.nccl))?;
    expect_one("NCCL's unique id", group(&cards, |card| &card.hash))
}

fn card(store: &Store, rank: usize) -> Result<Card> {
    let text = String::from_utf8(store.get(&key(rank))?).ok();
    let card = text.and_then(|text| Card::parse(&text));
    card.with_context(|| {
        format!("rank {rank} tells nothing of itself: it runs another version of fp8lm")
    })
}

/// The ranks by what they say.
fn group(cards: &[Card], what: impl Fn(&Card) -> &String) -> BTreeMap<&String, Ranks> {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for (rank, card) in cards.iter().enumerate() {
        groups.entry(what(card)).or_default().push(rank);
    }
    groups.into_iter().map(|(text, ranks)| (text, Ranks::new(ranks))).collect()
}

/// An error if ranks differ in it that have it.
fn expect_one(what: &str, mut groups: BTreeMap<&String, Ranks>) -> Result<()> {
    groups.retain(|text, _| *text != "none");
    let texts: Vec<_> = groups.iter().map(|(text, ranks)| format!("{text} on {ranks}")).collect();
    ensure!(texts.len() < 2, "ranks differ in {what}: {}", texts.join(", "));
    Ok(())
}

fn key(rank: usize) -> String {
    format!("rank {rank}")
}

const UNIQUE_ID: &str = "NCCL's unique id";
