//! A rank that is slower than the others is named in the metrics, with what it is slow in.

use std::{sync::Arc, sync::atomic::AtomicUsize, thread::sleep, time::Duration};

use fp8lm_device::{Device, Event, Label, Launch, Memory, Properties, Result, Stream, View};
use fp8lm_sim::{Emulator, Rank, World, WorldOptions};
use fp8lm_trainer::{
    Config, Place, Plan, Session,
    run::metrics::{Phase, Straggler},
};
use tempfile::tempdir;

use crate::program::{metrics, succeed, train};

#[test]
fn a_slow_rank_is_named_with_its_phase() {
    for mesh in [&["parallel.data=4"][..], &["parallel.data=2", "parallel.tensor=2"]] {
        // AdamW is one call for all tensors, and products are dozens.
        for (kernels, millis, slow) in [("gemm", 20, Phase::Passes), ("adamw", 500, Phase::Update)]
        {
            let delay = Delay { kernels, time: Duration::from_millis(millis) };
            for straggler in stragglers(mesh, Some((2, delay))) {
                let Straggler { rank, phase, seconds, median, waited } = straggler.unwrap();
                assert_eq!((rank, phase), (2, slow), "{mesh:?}: {seconds}, {median}");
                assert!(seconds > median && waited > 0.0, "{seconds}, {median}, {waited}");
            }
        }
    }
}

#[test]
fn one_rank_waits_for_nobody() {
    assert_eq!(stragglers(&[], None), [None; 3]);
}

/// A step that is told of where its time goes has the bits of one that is not.
#[test]
fn watching_changes_no_bit() {
    let folder = tempdir().unwrap();
    let losses = |every: &str| {
        let run = folder.path().join(every);
        let every = format!("run.log_every={every}");
        let sets = ["--ranks", "4", "--quiet", "--set", &every, "--set", "run.evaluate_every=20"];
        succeed(train(&run).args(sets).args(["--adversarial", "5"]));
        (metrics(&run).pop(), crate::program::checkpoint(&run, 20))
    };
    assert!(losses("1") == losses("20"), "records or checkpoints differ");
}

/// Of three steps of `tiny`, in which the launches of some kernels take longer on one rank.
fn stragglers(mesh: &[&str], slow: Option<(usize, Delay)>) -> Vec<Option<Straggler>> {
    let sets: Vec<_> = ["run.steps=3"].iter().chain(mesh).map(|set| (*set).to_owned()).collect();
    let plan = Plan::new(Config::load("tiny", None, &sets).unwrap()).unwrap();
    let folder = tempdir().unwrap();
    let run = folder.path().join("run");
    let options = WorldOptions { ranks: plan.ranks(), ..Default::default() };
    let ends = World::new(&Emulator::default(), options).run(|Rank { device, link }| {
        let device: Arc<dyn Device> = match slow {
            Some((rank, delay)) if rank == link.rank() => Arc::new(Slow(device, delay)),
            _ => device,
        };
        let place = Place { device, link: Some(link) };
        let mut told = Vec::new();
        let mut session = Session::create(&run, &place, plan.clone())?;
        session.run(&AtomicUsize::new(0), &mut |record| told.push(record.timing.straggler))?;
        Ok::<_, fp8lm_trainer::Error>(told)
    });
    ends.unwrap().swap_remove(0)
}

/// What launches of kernels with such names take longer.
#[derive(Clone, Copy, Debug)]
struct Delay {
    kernels: &'static str,
    time: Duration,
}

/// A device that takes longer for some launches.
#[derive(Debug)]
struct Slow(Arc<dyn Device>, Delay);

impl Device for Slow {
    fn properties(&self) -> &Properties {
        self.0.properties()
    }

    fn stream(&self) -> Result<Stream> {
        self.0.stream()
    }

    fn alloc(&self, stream: Stream, bytes: usize, label: Label) -> Result<Arc<dyn Memory>> {
        self.0.alloc(stream, bytes, label)
    }

    fn launch(&self, stream: Stream, launches: &[Launch]) -> Result<()> {
        if launches.iter().any(|launch| launch.kernel().starts_with(self.1.kernels)) {
            sleep(self.1.time);
        }
        self.0.launch(stream, launches)
    }

    fn copy(&self, stream: Stream, from: &View, to: &View) -> Result<()> {
        self.0.copy(stream, from, to)
    }

    fn upload(&self, stream: Stream, from: &[u8], to: &View) -> Result<()> {
        self.0.upload(stream, from, to)
    }

    fn download(&self, stream: Stream, from: &View, to: &mut [u8]) -> Result<()> {
        self.0.download(stream, from, to)
    }

    fn record(&self, stream: Stream) -> Result<Event> {
        self.0.record(stream)
    }

    fn wait(&self, stream: Stream, event: &Event) -> Result<()> {
        self.0.wait(stream, event)
    }

    fn synchronize(&self, stream: Stream) -> Result<()> {
        self.0.synchronize(stream)
    }
}
