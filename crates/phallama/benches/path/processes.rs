//! The processes of the private side, as Linux shows them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::setting::Failure;

/// How a process was started.
pub(crate) struct CommandLine {
    pub(crate) program: PathBuf,
    arguments: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
}

impl CommandLine {
    fn of(process: u32) -> Result<Self, Failure> {
        let mut arguments = strings(std::fs::read(format!("/proc/{process}/cmdline"))?);
        if arguments.is_empty() {
            return Err("the worker has no command line".into());
        }
        let program = arguments.remove(0).into();
        let environment = strings(std::fs::read(format!("/proc/{process}/environ"))?);
        let environment = environment.into_iter().filter_map(|line| {
            let line = line.into_string().ok()?;
            let (name, value) = line.split_once('=')?;
            Some((name.into(), value.into()))
        });
        Ok(Self { program, arguments, environment: environment.collect() })
    }

    /// The arguments without this option and its value.
    pub(crate) fn arguments_but(&self, option: &str) -> Vec<OsString> {
        let mut kept = Vec::new();
        let mut all = self.arguments.iter();
        while let Some(argument) = all.next() {
            if argument == option {
                all.next();
            } else {
                kept.push(argument.clone());
            }
        }
        kept
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let environment = self
            .environment
            .iter()
            .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()));
        let arguments = self.arguments.iter().map(|it| it.to_string_lossy().into_owned());
        environment.chain(arguments).collect::<Vec<_>>().join(" ")
    }
}

fn strings(bytes: Vec<u8>) -> Vec<OsString> {
    let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    parts.map(|part| OsString::from_vec(part.to_vec())).collect()
}

/// The enclave program, which the host in this process has started.
pub(crate) fn enclave() -> Result<u32, Failure> {
    child(std::process::id(), "phallama-enclav")
}

/// How the enclave started its worker.
pub(crate) fn worker() -> Result<CommandLine, Failure> {
    CommandLine::of(child(enclave()?, "llama-server")?)
}

/// The child of a process whose name begins like this. The kernel cuts names to 15 bytes.
fn child(parent: u32, name: &str) -> Result<u32, Failure> {
    for entry in std::fs::read_dir("/proc")? {
        let Ok(process) = entry?.file_name().to_string_lossy().parse() else { continue };
        let is_child = field(process, "PPid") == Some(parent.to_string());
        if is_child && field(process, "Name").is_some_and(|it| it.starts_with(name)) {
            return Ok(process);
        }
    }
    Err(format!("process {parent} has no child `{name}`").into())
}

/// Most memory that a process has had at a time, MiB.
pub(crate) fn peak_mib(process: u32) -> Result<f64, Failure> {
    memory(process, "VmHWM")
}

/// Memory that it has now, MiB.
pub(crate) fn resident_mib(process: u32) -> Result<f64, Failure> {
    memory(process, "VmRSS")
}

fn memory(process: u32, which: &str) -> Result<f64, Failure> {
    let text = field(process, which).ok_or_else(|| format!("no {which} of {process}"))?;
    let kib: u32 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(f64::from(kib) / 1_024.0)
}

fn field(process: u32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}
