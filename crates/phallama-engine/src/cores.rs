//! How many threads compute (docs/decisions/011-all-cores-compute.md).

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZero;

/// Up to so many cores compute all. Where there are more, one of them matters less than that no
/// thread is made to wait for what the pod does beside it.
const SMALL_MACHINE_CORES: usize = 4;

/// A thread for each core that may be used, whatever number of threads the core shows.
pub(crate) fn computing_threads() -> u32 {
    let usable = std::thread::available_parallelism().map_or(1, NonZero::get);
    threads(usable, physical())
}

fn threads(usable: usize, physical: Option<usize>) -> u32 {
    let cores = physical.map_or(usable, |physical| physical.min(usable)).max(1);
    let spared = usize::from(cores > SMALL_MACHINE_CORES);
    u32::try_from(cores - spared).unwrap_or(u32::MAX)
}

/// Cores of the machine, as far as the system shows them.
fn physical() -> Option<usize> {
    let entries = fs::read_dir("/sys/devices/system/cpu").ok()?;
    let siblings = entries.filter_map(|entry| {
        fs::read_to_string(entry.ok()?.path().join("topology/thread_siblings_list")).ok()
    });
    let cores: BTreeSet<String> = siblings.collect();
    (!cores.is_empty()).then_some(cores.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_core_computes_until_there_are_enough_to_spare_one() {
        assert_eq!([1, 2, 4, 5, 16].map(|usable| threads(usable, None)), [1, 2, 4, 4, 15]);
    }

    #[test]
    fn two_threads_of_one_core_count_once() {
        assert_eq!(threads(16, Some(8)), 7);
        assert_eq!(threads(4, Some(2)), 2);
        assert_eq!(threads(3, Some(8)), 3, "a part of the machine");
        assert_eq!(threads(0, Some(0)), 1);
    }
}
