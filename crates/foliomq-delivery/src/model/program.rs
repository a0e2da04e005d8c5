//! Programs: random interleavings of everything that can be done.

use std::time::Duration;

use foliomq_delivery::Order;
use proptest::prelude::*;
use proptest::sample::Index;

use super::fixture::Fixture;
use super::hidden::HiddenStep;
use super::ordered::OrderedStep;
use super::world::{QUEUES, TAGS, World};

/// Most steps of one.
const LONGEST: usize = 1000;

#[derive(Debug, Clone)]
pub struct Program {
    /// How the ordered group is held.
    pub order: Order,
    pub steps: Vec<Step>,
}

pub fn program() -> impl Strategy<Value = Program> {
    let order = prop_oneof![Just(Order::Queue), Just(Order::MessageGroup)];
    let steps = prop::collection::vec(step(), 1..=LONGEST);
    (order, steps).prop_map(|(order, steps)| Program { order, steps })
}

/// One thing that happens.
#[derive(Debug, Clone)]
pub enum Step {
    Plain(PlainStep),
    Hidden(HiddenStep),
    Ordered(OrderedStep),
    /// So many seconds.
    Pass(u64),
    Tick,
    Grow,
    Empty,
    Kill,
    Close,
}

/// To the group that is held to no order. Numbers of seconds where there is a time, an index to choose a handle.
#[derive(Debug, Clone)]
pub enum PlainStep {
    Append(u32, usize),
    Receive(usize, usize, u64, bool),
    Ack(Index),
    AckOld(Index),
    AckAll(Vec<Index>),
    Change(Index, u64),
    Renew(Index),
    Release(Index),
    DeadLetter(Index),
    Reset(Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        132 => plain().prop_map(Step::Plain),
        66 => HiddenStep::any().prop_map(Step::Hidden),
        75 => OrderedStep::any().prop_map(Step::Ordered),
        25 => (0..15u64).prop_map(Step::Pass),
        6 => Just(Step::Tick),
        2 => Just(Step::Grow),
        1 => Just(Step::Empty),
        2 => Just(Step::Kill),
        2 => Just(Step::Close),
    ]
}

fn plain() -> impl Strategy<Value = PlainStep> {
    use PlainStep::*;
    let index = any::<Index>;
    let filter = prop_oneof![4 => Just(0), 1 => Just(1), 1 => Just(2)];
    prop_oneof![
        30 => (0..QUEUES, 0..TAGS.len()).prop_map(|(queue, tag)| Append(queue, tag)),
        30 => (1..8usize, filter, 1..30u64, any::<bool>())
            .prop_map(|(most, filter, seconds, auto_renew)| Receive(most, filter, seconds, auto_renew)),
        30 => index().prop_map(Ack),
        10 => index().prop_map(AckOld),
        10 => prop::collection::vec(index(), 1..9).prop_map(AckAll),
        10 => (index(), 0..30u64).prop_map(|(which, seconds)| Change(which, seconds)),
        10 => index().prop_map(Renew),
        8 => index().prop_map(Release),
        3 => index().prop_map(DeadLetter),
        1 => index().prop_map(Reset),
    ]
}

impl Step {
    pub fn take(&self, mut world: World) -> World {
        match self {
            Self::Plain(step) => step.take(&mut world),
            Self::Hidden(step) => step.take(&mut world),
            Self::Ordered(step) => world.take_ordered(step),
            Self::Pass(seconds) => world.f.pass(Duration::from_secs(*seconds)),
            Self::Tick => world.tick(),
            Self::Grow => world.grow(),
            Self::Empty => world.empty(),
            Self::Kill => return world.restart("kill", Fixture::after_kill),
            Self::Close => return world.restart("stop", Fixture::after_close),
        }
        world
    }
}

impl PlainStep {
    fn take(&self, world: &mut World) {
        let time = Duration::from_secs;
        match self {
            Self::Append(queue, tag) => world.append(*queue, *tag),
            Self::Receive(most, filter, seconds, auto_renew) => {
                world.receive(*most, *filter, time(*seconds), *auto_renew);
            }
            Self::Ack(which) => world.ack(which),
            Self::AckOld(which) => world.ack_old(which),
            Self::AckAll(which) => world.ack_all(which),
            Self::Change(which, seconds) => world.change(which, time(*seconds)),
            Self::Renew(which) => world.renew(which),
            Self::Release(which) => world.release(which),
            Self::DeadLetter(which) => world.dead_letter(which),
            Self::Reset(to) => world.reset(to),
        }
    }
}
