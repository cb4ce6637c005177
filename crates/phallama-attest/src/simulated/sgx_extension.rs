//! The SGX extension of PCK certificates (Intel, *SGX PCK Certificate and CRL Profile
//! Specification*, 1.5).

use super::authorities::PckCa;
use super::certificate::ExtensionSpec;
use super::der;
use super::platform::PlatformSpec;

const SGX_EXTENSION: [u32; 7] = [1, 2, 840, 113_741, 1, 13, 1];
/// SGX types: one processor, or several.
const STANDARD: u8 = 0;
const SCALABLE: u8 = 1;

/// The extension with the fields that certificates of the machine's CA have.
pub(super) fn sgx_extension(spec: &PlatformSpec) -> ExtensionSpec {
    let sgx_type = match spec.ca {
        PckCa::Platform => SCALABLE,
        PckCa::Processor => STANDARD,
    };
    let mut fields = vec![
        field(&[1], &der::octet_string(&spec.ppid)),
        field(&[2], &tcb(spec)),
        field(&[3], &der::octet_string(&spec.pce_id)),
        field(&[4], &der::octet_string(&spec.fmspc)),
        field(&[5], &der::enumerated(sgx_type)),
    ];
    if let Some(instance) = spec.instance() {
        let flag = |number| field(&[7, number], &der::boolean(false));
        fields.push(field(&[6], &der::octet_string(&instance)));
        fields.push(field(&[7], &der::sequence(&[&flag(1), &flag(2), &flag(3)])));
    }
    let value = der::tlv(0x30, &fields.concat());
    ExtensionSpec { oid: SGX_EXTENSION.to_vec(), critical: false, value }
}

fn tcb(spec: &PlatformSpec) -> Vec<u8> {
    let mut components: Vec<Vec<u8>> = (1..)
        .zip(spec.cpu_svn)
        .map(|(number, svn)| field(&[2, number], &der::integer(&[svn])))
        .collect();
    components.push(field(&[2, 17], &der::integer(&spec.pce_svn.to_be_bytes())));
    components.push(field(&[2, 18], &der::octet_string(&spec.cpu_svn)));
    der::tlv(0x30, &components.concat())
}

/// One field: its OID under the SGX extension, and its value.
fn field(arcs: &[u32], value: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::oid(&[&SGX_EXTENSION, arcs].concat()), value])
}
