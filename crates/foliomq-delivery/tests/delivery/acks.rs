//! Acks of many deliveries at once.

use std::time::Duration;

use crate::fixture::{Fixture, INVISIBLE};

#[test]
fn what_is_acked_together_stays_done_and_each_handle_has_its_own_result() {
    let f = Fixture::new(3);
    for queue in 0..3 {
        f.append_bodies(queue, &["a", "b", "c"]);
    }
    let deliveries = f.receive(32);
    assert_eq!(deliveries.len(), 9);
    let mut handles: Vec<String> = deliveries.into_iter().map(|one| one.handle).collect();
    let kept = handles.remove(4);
    let other = handles.remove(0);
    let moved = f.change(&other, INVISIBLE).unwrap();
    // Void, done in the same call, and nobody's.
    handles.extend([other, handles[0].clone(), "nonsense".to_owned()]);
    let refused: Vec<bool> = f
        .ack_all(&handles.iter().collect::<Vec<_>>())
        .iter()
        .map(Result::is_err)
        .collect();
    let expected = [[false; 7].as_slice(), &[true, false, true]].concat();
    assert_eq!(refused, expected);
    let mut f = f.after_kill();
    f.pass(INVISIBLE + Duration::from_secs(1));
    let again = f.receive(32);
    assert_eq!(again.len(), 2, "{kept} and {moved}");
    assert!(again.iter().all(|delivery| delivery.attempt == 2));
}
