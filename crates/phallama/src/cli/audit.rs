//! What can be typed about trust: verdicts, files of them, approvals.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `phallama verify`
#[derive(Args, Debug)]
pub struct Verify {
    /// Pod id (0x… of 32 bytes, or a unique beginning); every pod when absent.
    pub pod: Option<String>,
}

/// `phallama audit …`
#[derive(Subcommand, Debug)]
pub enum Audit {
    /// Verify a pod with everything that the verdict follows from, now or from a file. Needs no
    /// wallet; from a file, neither chain nor network.
    Pod(AuditPod),
    /// Check a receipt from a file: what `phallama --json receipts show` wrote. Needs no wallet and
    /// no network.
    Receipt {
        /// The file.
        file: PathBuf,
    },
}

/// `phallama audit pod`
#[derive(Args, Debug)]
pub struct AuditPod {
    /// Pod id (0x… of 32 bytes, or a unique beginning).
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    pub pod: Option<String>,
    /// Write quote, collateral, key bundle, chain record and verdict to this file.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub save: Option<PathBuf>,
    /// Judge this file instead: what `--save` or `verify --json` wrote.
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Judge for this time; the file's own when absent.
    #[arg(long, value_name = "UNIX_TIME", requires = "from", conflicts_with = "pod")]
    pub at: Option<u64>,
}

/// `phallama trust …`
#[derive(Subcommand, Debug)]
pub enum Trust {
    /// Approve an enclave program or a trust domain by its measurement.
    Approve {
        /// MRENCLAVE of an SGX enclave, or the digest of a TDX trust domain's measurement registers
        /// (spec/attestation.md): 64 hex digits.
        measurement: String,
        /// Policy digest it must run under (worker program, arguments, limits), 64 hex digits; any
        /// when absent.
        #[arg(long, value_name = "DIGEST")]
        policy: Option<String>,
        /// A name for it, e.g. the release.
        #[arg(long, default_value = "approved by hand")]
        label: String,
    },
    /// List what is approved.
    List,
}
