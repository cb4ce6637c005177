//! What can be typed about a development chain.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Subcommand;

/// `phallama chain …`
#[derive(Subcommand, Debug)]
pub enum Chain {
    /// Run the embedded chain, deploy the contracts, and write the configuration.
    Up {
        /// Address of the JSON-RPC endpoint.
        #[arg(long, default_value = "127.0.0.1:8545", value_name = "ADDR")]
        listen: SocketAddr,
    },
    /// Deploy the contracts with a test token to any endpoint, and write the configuration.
    Deploy {
        /// JSON-RPC endpoint; the first of several is used to deploy.
        #[arg(long, value_name = "URL", required = true)]
        rpc_url: Vec<String>,
        /// File with the deployer's secret key, hex.
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
        /// The one root certificate whose machines may back pods, DER, e.g. Intel's SGX root. The
        /// development root when absent: anybody can make quotes under it.
        #[arg(long, value_name = "FILE")]
        root_certificate: Option<PathBuf>,
    },
}
