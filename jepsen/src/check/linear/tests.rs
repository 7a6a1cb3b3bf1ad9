//! Histories that must be refused, and some that must not be.

use super::*;

#[test]
fn generated() {
    let run = generate::run(generate::Shape { seed: 1, operations: 300, clients: 5, unknown: 0.1 });
    let verdict = check(&run);
    assert_eq!(verdict.valid, Validity::Valid, "{:?}", verdict);
}
