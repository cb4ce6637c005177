//! Keeps the memory of this process out of files and away from debuggers.

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Turns core dumps off, for this process and the workers it starts, and refuses debuggers of the
/// same user: first thing in the program, before there is a key to protect.
///
/// Each step is tried whatever becomes of the other. Returns the steps that failed, for warnings;
/// on bare SGX the hardware already does more.
pub fn forbid_dumps() -> Vec<(&'static str, Errno)> {
    let no_core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let not_dumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let steps = [("the limit of core files", no_core), ("the dumpable flag", not_dumpable)];
    steps.into_iter().filter_map(|(what, done)| Some((what, done.err()?))).collect()
}

#[cfg(test)]
mod tests {
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;
    use crate::platform::simulated_measurement;

    #[test]
    fn a_process_without_dumps_can_still_measure_itself() {
        let before = simulated_measurement().unwrap();
        assert_eq!(forbid_dumps(), []);
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
        assert_eq!(getrlimit(Resource::Core).maximum, Some(0));
        assert_eq!(simulated_measurement().unwrap(), before);
    }
}
