//! Keeps the memory of this process out of files and away from debuggers.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Turns core dumps off, for this process and the workers it starts, and refuses debuggers of the
/// same user.
///
/// Afterwards `/proc/self` belongs to root: measure the executable before. Returns what could not
/// be done, for a warning; on bare SGX the hardware already does more.
pub fn forbid_dumps() -> Result<(), rustix::io::Errno> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}
