//! Processor time and memory of a process, as the kernel counts them.

use std::fs;

use crate::stack::Failure;

/// Ticks of `/proc/PID/stat` in a second, on every Linux that we run on.
const TICKS_PER_S: f64 = 100.0;

/// Seconds of processor time, in the program and in the kernel for it.
pub(crate) fn cpu_s(pid: u32) -> Result<f64, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; fields 14 and 15 count from the first.
    let rest = stat.rsplit_once(')').ok_or("no name in /proc/PID/stat")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| -> Result<f64, Failure> {
        Ok(fields.get(at).ok_or("too few fields in /proc/PID/stat")?.parse()?)
    };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_S)
}

/// Resident memory, KiB.
pub(crate) fn memory_kib(pid: u32) -> Result<f64, Failure> {
    let resident = status(pid, "VmRSS").ok_or("no VmRSS in /proc/PID/status")?;
    let number = resident.split(' ').next().unwrap_or_default();
    Ok(number.parse()?)
}

/// The one child of this process with that name; the kernel cuts names to 15 bytes.
pub(crate) fn child(name: &str) -> Result<u32, Failure> {
    let this = std::process::id().to_string();
    let cut = &name[..name.len().min(15)];
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let is = |field: &str, expected: &str| status(pid, field).as_deref() == Some(expected);
        if is("PPid", &this) && is("Name", cut) {
            return Ok(pid);
        }
    }
    Err(format!("no process `{cut}` is a child of this one").into())
}

fn status(pid: u32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.map(|rest| rest.trim().to_owned())
}
