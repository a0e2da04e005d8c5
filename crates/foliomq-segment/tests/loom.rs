//! The slot ring under every interleaving that loom finds.

#[path = "../src/ring.rs"]
mod ring;

/// Loom's atomics. Loom takes a sequentially consistent access for an acquire or release one, and orders its fences only:
/// so such an access is given a fence, which is somewhat stronger: it also orders what is weaker beside it.
mod sync {
    pub(crate) use loom::sync::atomic::Ordering;
    use loom::sync::atomic::{self, fence};

    #[derive(Debug, Default)]
    pub(crate) struct AtomicU64(atomic::AtomicU64);

    impl AtomicU64 {
        pub(crate) fn load(&self, order: Ordering) -> u64 {
            ordered(order);
            self.0.load(order)
        }

        pub(crate) fn store(&self, value: u64, order: Ordering) {
            self.0.store(value, order);
            ordered(order);
        }

        pub(crate) fn compare_exchange(
            &self,
            from: u64,
            to: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            ordered(success);
            let result = self.0.compare_exchange(from, to, success, failure);
            ordered(success);
            result
        }
    }

    fn ordered(order: Ordering) {
        if order == Ordering::SeqCst {
            fence(order);
        }
    }
}

use loom::sync::Arc;
use loom::thread;
use ring::Ring;

/// Two neighbours, published at once: one of the two threads passes the last.
#[test]
fn no_slot_is_left_behind() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let ring = Arc::new(Ring::new(2));
        let other = ring.clone();
        let second = thread::spawn(move || other.publish(1, 20));
        let first = ring.publish(0, 10);
        let second = second.join().unwrap();
        assert_eq!(ring.oldest(), 2);
        assert_eq!(first.max(second), Some(20));
    });
}
