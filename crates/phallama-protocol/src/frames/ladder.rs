//! The ladder of total frame counts: an answer's length is only known up to a rung.

/// Lowest rung, frames.
pub const FIRST_RUNG: u64 = 8;

/// The smallest rung that is at least `frames`: 8, 10, 13, 17, 22, 28, …, each
/// `ceil(1.25 × previous)`.
pub fn next_rung(frames: u64) -> u64 {
    let mut rung = FIRST_RUNG;
    while rung < frames {
        // A quarter, rounded up, is ceil(1.25 × rung) − rung.
        rung = rung.saturating_add(rung.div_ceil(4));
    }
    rung
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_grow_by_a_quarter_rounded_up() {
        let mut rungs = vec![next_rung(0)];
        while rungs.len() < 12 {
            rungs.push(next_rung(rungs[rungs.len() - 1] + 1));
        }
        assert_eq!(rungs, [8, 10, 13, 17, 22, 28, 35, 44, 55, 69, 87, 109]);
    }

    #[test]
    fn rung_is_its_own_next_rung_and_the_end_of_u64_terminates() {
        assert_eq!(next_rung(8), 8);
        assert_eq!(next_rung(9), 10);
        assert_eq!(next_rung(u64::MAX), u64::MAX);
    }
}
