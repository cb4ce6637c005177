//! A pod whose worker computes nothing, and other processes beside it, as the benches of load need
//! them.

mod other;
mod pod;
pub(crate) mod process;

pub(crate) use self::other::{JOB, Load, begin, run};
pub(crate) use self::pod::{MODEL, ScriptedPod};
