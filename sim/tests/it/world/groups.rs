//! Groups within groups.

use super::*;

#[test]
fn groups_keep_their_messages_apart() {
    let ends = world(6).run(|rank| {
        let whole = Actor::new(rank)?;
        let own = whole.link.rank();
        let members: Vec<_> = (0..6).filter(|other| other % 2 == own % 2).rev().collect();
        let half = Actor { queue: whole.queue.clone(), link: whole.link.split(&members)? };
        assert_eq!((half.link.rank(), half.link.size()), (2 - own / 2, 3));
        // The new rank 0 is the old 4 or 5, and whoever comes before it in the ring is two above.
        let from_half = half.shift(0, &[own as u8])?;
        Ok::<_, Error>([from_half, whole.shift(0, &[own as u8])?].concat())
    });
    assert_eq!(ends.unwrap(), [[2, 5], [3, 0], [4, 1], [5, 2], [0, 3], [1, 4]]);
}

#[test]
fn a_group_splits_again_and_again() {
    let ends = world(8).run(|rank| {
        let mut actor = Actor::new(rank)?;
        let own = actor.link.rank() as u8;
        let mut heard = Vec::new();
        while actor.link.size() > 1 {
            let half = actor.link.size() / 2;
            let first = if actor.link.rank() < half { 0 } else { half };
            let members: Vec<_> = (first..first + half).collect();
            // The same split twice makes two links.
            let links = [actor.link.split(&members)?, actor.link.split(&members)?];
            let [one, two] = links.map(|link| Actor { queue: actor.queue.clone(), link });
            heard.push([two.shift(9, &[own])?[0], one.shift(8, &[own + 10])?[0]]);
            actor = one;
        }
        Ok::<_, Error>(heard)
    });
    let ends = ends.unwrap();
    assert_eq!(ends[0], [[3, 13], [1, 11], [0, 10]]);
    assert_eq!(ends[6], [[5, 15], [7, 17], [6, 16]]);
}

#[test]
fn a_group_that_makes_no_sense_is_refused() {
    let ends = world(2).run(|rank| {
        let split = |members: &[usize]| rank.link.split(members).unwrap_err().to_string();
        Ok::<_, Error>([split(&[0, 1, 0]), split(&[0, 2]), split(&[1 - rank.link.rank()])])
    });
    let expected = [
        "split: rank 0 is in [0, 1, 0] twice",
        "split: there is no rank 2 among 2",
        "split: rank 1 is not in [0]",
    ];
    assert_eq!(ends.unwrap()[1], expected);
}

#[test]
fn ranks_that_disagree_on_a_group_hear_of_it() {
    let errors = world(3).run(|rank| {
        let members = if rank.link.rank() == 2 { vec![1, 2] } else { vec![0, 1] };
        let group = rank.link.split(&members)?;
        Actor { link: group, ..Actor::new(rank)? }.shift(0, &[1])
    });
    let Err(RunError::Failed { error, .. }) = errors else { panic!("{errors:?}") };
    let LinkError::Split { members, .. } = link_error(error) else { panic!() };
    assert!(members.contains(&vec![0, 1]) && members.contains(&vec![1, 2]), "{members:?}");
}

#[test]
fn errors_in_a_group_name_ranks_of_the_world() {
    let errors = world(4).run(|rank| {
        let own = rank.link.rank();
        let members = if own < 2 { [0, 1] } else { [2, 3] };
        let actor = Actor { link: rank.link.split(&members)?, ..Actor::new(rank)? };
        let error = if own == 3 { Ok(vec![]) } else { actor.shift(0, &[1]) };
        Ok::<_, Error>(error.err().map(|error| error.to_string()))
    });
    let text = "no rank can go on: rank 0 has ended; rank 1 has ended; \
                rank 2 does shift of e4m3, number 0, and waits for [3]; rank 3 has ended";
    assert_eq!(errors.unwrap(), [None, None, Some(text.to_owned()), None]);
}
