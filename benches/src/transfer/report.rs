//! stub
use crate::results::Results;
pub fn figures(_: &Results) -> Vec<(String, foliomq_benches::plot::Figure)> {
    Vec::new()
}
pub fn page(_: &Results) -> String {
    String::new()
}
