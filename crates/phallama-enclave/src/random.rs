//! The operating system's randomness.

use getrandom::SysRng;
use phallama_protocol::rand_core::UnwrapErr;

/// A generator that reads the operating system's randomness each time. It panics when there is
/// none: no key may exist without it.
pub fn os_rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}
