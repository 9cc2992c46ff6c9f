//! What goes wrong between GPUs, and how every rank hears of it in time.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc, Barrier,
        mpsc::{self, Sender},
    },
    time::{Duration, Instant},
};

use fp8lm_collectives::{Algorithm, Collectives};
use fp8lm_cuda::{NcclLink, NcclOptions, Seat};
use fp8lm_device::{DType, Error, Link, LinkError, Reduction, Waiting};

use super::{End, Gpus, Member};
use crate::{Result, say};

/// All of it.
pub(crate) fn run(gpus: &Gpus) -> Result<()> {
    a_rank_that_never_comes(gpus)?;
    a_rank_that_never_joins(gpus)?;
    lengths_that_differ(gpus)?;
    what_nccl_reports(gpus)?;
    an_abort(gpus)?;
    a_rank_that_hangs(gpus)?;
    fp8_over_many(gpus)?;
    say("ranks that fail, stay away or hang end in time, with a sentence that names them");
    Ok(())
}

fn impatient() -> NcclOptions {
    let (timeout, grace) = (Duration::from_millis(400), Duration::from_millis(300));
    NcclOptions { timeout, grace, give_up: None }
}

/// An all-reduce whose result is read.
fn summed(member: &Member, elements: usize) -> End<Vec<f32>> {
    let x = member.queue.upload(&vec![1.0f32; elements], elements, super::LABEL)?;
    member.group.all_reduce(&member.queue, x.view(), Reduction::Sum)?.wait(&member.queue)?;
    member.queue.download(&x)
}

/// Rank 1 is alive, and does nothing. Rank 0 waits on the GPU, and gets no garbage.
fn a_rank_that_never_comes(gpus: &Gpus) -> Result<()> {
    let begun = Instant::now();
    let stays = Barrier::new(2);
    let ends = gpus.run(2, &impatient(), |rank| {
        let member = Member::new(rank, Algorithm::NcclRing)?;
        // Connections are there, and the clock runs for this sum alone.
        summed(&member, 1)?;
        let sum = if member.rank == 0 { summed(&member, 3).map(drop) } else { Ok(()) };
        stays.wait();
        let again = if member.rank == 0 { summed(&member, 3).map(drop) } else { Ok(()) };
        Ok((sum, again))
    })?;
    let (sum, again) = ends.into_iter().next().ok_or("rank 0")??;
    let error = link_error(sum)?;
    let LinkError::TimedOut { rank: 0, waited, waiting } = &error else {
        return Err(format!("a rank that never comes: {error}").into());
    };
    let [Waiting::Exchange { rank: 0, tag, peers }] = &waiting[..] else {
        return Err(format!("nobody waits: {error}").into());
    };
    expect(*waited >= impatient().timeout, &format!("the time was not up: {error}"))?;
    expect(peers[..] == [1], &format!("it waits for rank 1: {error}"))?;
    expect(tag.to_string().starts_with("all_reduce (sum) of f32[3]"), &error.to_string())?;
    expect(link_error(again)? == error, "the next call has the same error")?;
    expect(begun.elapsed() < Duration::from_secs(20), "it ends in time")
}

fn a_rank_that_never_joins(gpus: &Gpus) -> Result<()> {
    let (device, unique_id) = (gpus.device(0)?, gpus.unique_id()?);
    let seat = Seat { unique_id, rank: 0, size: 2 };
    let joined = NcclLink::join(gpus.nccl(), &device, &seat, impatient());
    let error = link_error(joined)?;
    let expected = "rank 0 does connecting ranks of u8[2], number 0, and waits for [1]";
    expect(error.to_string().ends_with(expected), &error.to_string())
}

/// NCCL does not see that ranks disagree: they wait for one another.
fn lengths_that_differ(gpus: &Gpus) -> Result<()> {
    let ends = gpus.run(2, &impatient(), |rank| {
        let member = Member::new(rank, Algorithm::NcclRing)?;
        summed(&member, 3 + member.rank)
    })?;
    ends.into_iter().try_for_each(|end| {
        let error = link_error(end)?;
        expect(matches!(error, LinkError::TimedOut { .. }), &error.to_string())
    })
}

/// A communicator reports an error of its own accord, while a rank waits in it and while none does.
fn what_nccl_reports(gpus: &Gpus) -> Result<()> {
    for waits in [true, false] {
        let (unique_id, device) = (gpus.unique_id()?, gpus.device(0)?);
        let peer = gpus.device(1)?;
        let join = |rank, device| {
            let seat = Seat { unique_id, rank, size: 2 };
            let options = NcclOptions { timeout: Duration::from_secs(60), ..impatient() };
            NcclLink::join(gpus.nccl(), device, &seat, options)
        };
        let error = std::thread::scope(|scope| -> Result<LinkError> {
            let other = scope.spawn(|| join(1, &peer));
            let link: Arc<dyn Link> = Arc::new(join(0, &device)?);
            let _other = other.join().map_err(|_| "a rank panicked")??;
            let rank = fp8lm_sim::Rank { device: device.clone(), link: link.clone() };
            let member = Member::new(rank, Algorithm::NcclRing)?;
            let (report, path) = (|path: PathBuf| fs::write(path, "6"), meeting(&unique_id));
            if waits {
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(100));
                    report(path)
                });
                return link_error(summed(&member, 3));
            }
            report(path)?;
            let deadline = Instant::now() + Duration::from_secs(20);
            while Instant::now() < deadline {
                if let Err(Error::Link(error)) = member.queue.synchronize() {
                    return Ok(error);
                }
            }
            Err("the watchdog does not look".into())
        })?;
        let LinkError::Transport { rank: 0 | 1, doing, reason } = &error else {
            return Err(error.to_string().into());
        };
        expect(reason.contains("remote process exited"), &error.to_string())?;
        let about =
            if waits { "all_reduce (sum) of f32[3]" } else { "no operation with ranks [0, 1]" };
        expect(doing.starts_with(about), &error.to_string())?;
    }
    Ok(())
}

/// Where the stand-in's ranks meet: the unique id is the folder's path.
fn meeting(unique_id: &nccl_rs::UniqueId) -> PathBuf {
    let bytes = unique_id.to_bytes();
    let path: Vec<_> = bytes.iter().copied().take_while(|byte| *byte != 0).collect();
    PathBuf::from(String::from_utf8_lossy(&path).into_owned()).join("error")
}

/// The rank that aborts, and the one that waits for it, each by its own clock.
fn an_abort(gpus: &Gpus) -> Result<()> {
    let own = LinkError::RankFailed { rank: 1, reason: "no more data".into() };
    let ends = gpus.run(2, &impatient(), |rank| {
        let link = rank.link.clone();
        let member = Member::new(rank, Algorithm::RoundOnce)?;
        if member.rank == 1 {
            link.abort(own.clone());
        }
        summed(&member, 3)
    })?;
    let errors = ends.into_iter().map(link_error).collect::<Result<Vec<_>>>()?;
    expect(errors[1] == own, &errors[1].to_string())?;
    expect(matches!(errors[0], LinkError::TimedOut { rank: 0, .. }), &errors[0].to_string())
}

/// A rank that holds on to its link after a failure is given up.
fn a_rank_that_hangs(gpus: &Gpus) -> Result<()> {
    let (tell, told) = mpsc::channel();
    let give_up = |tell: Sender<String>| {
        move |error: &LinkError| {
            let _ = tell.send(error.to_string());
        }
    };
    let options = NcclOptions { give_up: Some(Arc::new(give_up(tell))), ..impatient() };
    let told = std::sync::Mutex::new(told);
    let ends = gpus.run(1, &options, |rank| {
        rank.link.abort(LinkError::RankFailed { rank: 0, reason: "lost".into() });
        let told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(told.recv_timeout(Duration::from_secs(20)).ok())
    })?;
    let end = ends.into_iter().next().ok_or("a rank")??;
    expect(end.as_deref() == Some("rank 0 failed: lost"), &format!("given up: {end:?}"))
}

fn fp8_over_many(gpus: &Gpus) -> Result<()> {
    let ends = gpus.run(2, &super::patient(), |rank| {
        let member = Member::new(rank, Algorithm::NcclRing)?;
        let x = member.tensor(DType::E4M3, &[0x38; 5])?;
        let few = member.group.with_fp8_ring_ranks(1);
        let refused = few.all_reduce(&member.queue, x.view(), Reduction::Sum);
        let refused = refused.map(drop).err().map(|error| error.to_string());
        member.group.all_reduce(&member.queue, x.view(), Reduction::Sum)?.wait(&member.queue)?;
        Ok((refused, member.queue.download_bytes(&x)?))
    })?;
    for end in ends {
        let (refused, sum) = end?;
        let refused = refused.ok_or("FP8 was summed over too many ranks")?;
        expect(refused.contains("nccl-ring would round a sum of e4m3"), &refused)?;
        expect(sum == [0x40; 5], &format!("1 + 1 is 2: {sum:x?}"))?;
    }
    Ok(())
}

fn link_error<T>(end: End<T>) -> Result<LinkError> {
    match end {
        Err(Error::Link(error)) => Ok(error),
        Err(other) => Err(format!("no error of the link: {other}").into()),
        Ok(_) => Err("no error at all".into()),
    }
}

fn expect(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(what.into()) }
}
