//! Random interleavings of everything a group can do, against a naive model.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::world::{QUEUES, TAGS, World};

/// One thing that happens. Numbers of seconds where there is a time, an index to choose a handle.
#[derive(Debug, Clone)]
enum Step {
    Append(u32, usize),
    Receive(usize, usize, u64, bool),
    Ack(Index),
    AckOld(Index),
    Change(Index, u64),
    Renew(Index),
    Release(Index),
    DeadLetter(Index),
    Pass(u64),
    /// To a queue, with a tag, in so many seconds.
    Delay(u32, usize, u64),
    Due,
    Recall(Index),
    Half(u32, usize),
    /// Commits or rolls back.
    End(Index, bool),
    /// Whether somebody is there to ask.
    Ask(bool),
    Tick,
    Reset(Index),
    Kill,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let filter = prop_oneof![4 => Just(0), 1 => Just(1), 1 => Just(2)];
    prop_oneof![
        30 => (0..QUEUES, 0..TAGS.len()).prop_map(|(queue, tag)| Step::Append(queue, tag)),
        30 => (1..8usize, filter, 1..30u64, any::<bool>())
            .prop_map(|(most, filter, seconds, auto_renew)| Step::Receive(most, filter, seconds, auto_renew)),
        30 => index().prop_map(Step::Ack),
        10 => index().prop_map(Step::AckOld),
        10 => (index(), 0..30u64).prop_map(|(which, seconds)| Step::Change(which, seconds)),
        10 => index().prop_map(Step::Renew),
        8 => index().prop_map(Step::Release),
        3 => index().prop_map(Step::DeadLetter),
        25 => (0..15u64).prop_map(Step::Pass),
        15 => (0..QUEUES, 0..TAGS.len(), 0..100u64)
            .prop_map(|(queue, tag, seconds)| Step::Delay(queue, tag, seconds)),
        15 => Just(Step::Due),
        6 => index().prop_map(Step::Recall),
        10 => (0..QUEUES, 0..TAGS.len()).prop_map(|(queue, tag)| Step::Half(queue, tag)),
        12 => (index(), any::<bool>()).prop_map(|(which, commit)| Step::End(which, commit)),
        8 => any::<bool>().prop_map(Step::Ask),
        6 => Just(Step::Tick),
        1 => index().prop_map(Step::Reset),
        1 => Just(Step::Kill),
        1 => Just(Step::Close),
    ]
}

fn run(mut world: World, step: &Step) -> World {
    match step {
        Step::Append(queue, tag) => world.append(*queue, *tag),
        Step::Receive(most, filter, seconds, auto_renew) => {
            world.receive(*most, *filter, Duration::from_secs(*seconds), *auto_renew);
        }
        Step::Ack(which) => world.ack(which),
        Step::AckOld(which) => world.ack_old(which),
        Step::Change(which, seconds) => world.change(which, Duration::from_secs(*seconds)),
        Step::Renew(which) => world.renew(which),
        Step::Release(which) => world.release(which),
        Step::DeadLetter(which) => world.dead_letter(which),
        Step::Pass(seconds) => world.f.pass(Duration::from_secs(*seconds)),
        Step::Delay(queue, tag, seconds) => world.delay(*queue, *tag, *seconds),
        Step::Due => world.deliver_due(),
        Step::Recall(which) => world.recall(which),
        Step::Half(queue, tag) => world.half(*queue, *tag),
        Step::End(which, commit) => world.end(which, *commit),
        Step::Ask(there) => world.ask(*there),
        Step::Tick => {
            world.f.groups.tick(world.f.now).unwrap();
            world.bury();
        }
        Step::Reset(to) => world.reset(to),
        Step::Kill => world.f = world.f.after_kill(),
        Step::Close => world.f = world.f.after_close(),
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn groups_do_as_the_model(steps in prop::collection::vec(step(), 50..300)) {
        let world = steps.iter().fold(World::new(), run);
        world.drain();
    }
}
