//! TDX trust domains and their reports (Intel, *TDX DCAP Quote Generation Library*, appendix A.3).

use crate::digests::td_measurement;

/// TD attribute: the TD can be debugged, so nothing in it is secret.
pub const TD_DEBUG_BIT: u64 = 1;
/// TD attribute: the report has a hash of the service TDs' extended binding.
pub const TD_SERVTD_EXT_BIT: u64 = 1 << 17;
/// TD attribute: no #VE on access to pending pages. Every sound TD sets it.
pub const SEPT_VE_DISABLE_BIT: u64 = 1 << 28;
/// TD attribute: the TD can be moved to another machine.
pub const TD_MIGRATABLE_BIT: u64 = 1 << 29;

/// TEE TCB SVN of a current machine: security version and version of the TDX module, microcode.
pub(super) const TEE_TCB_SVN: [u8; 16] = [5, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// How a trust domain is quoted: the quote's version and the shape of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TdReport {
    /// Quote v4, TD 1.0: 584 bytes.
    V4,
    /// Quote v5, body type 2, TD 1.0: 584 bytes.
    V5Td10,
    /// Quote v5, body type 3, TD 1.5: 648 bytes.
    V5Td15,
    /// Quote v5, body type 4, TD 1.5 with extensions: 885 bytes.
    V5Td15Ex,
}

impl TdReport {
    /// All shapes.
    pub const ALL: [Self; 4] = [Self::V4, Self::V5Td10, Self::V5Td15, Self::V5Td15Ex];

    /// Version of the quote.
    pub fn quote_version(self) -> u16 {
        if self == Self::V4 { 4 } else { 5 }
    }

    /// Body type, which quotes v5 have.
    fn body_type(self) -> Option<u16> {
        match self {
            Self::V4 => None,
            Self::V5Td10 => Some(2),
            Self::V5Td15 => Some(3),
            Self::V5Td15Ex => Some(4),
        }
    }
}

/// The trust domain that a quote describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustDomainSpec {
    /// How it is quoted.
    pub report: TdReport,
    /// Security versions of the TDX module and its loader at launch.
    pub tee_tcb_svn: [u8; 16],
    /// Measurement of the TDX module.
    pub mr_seam: [u8; 48],
    /// Signer of the TDX module; zero for Intel's own.
    pub mr_signer_seam: [u8; 48],
    /// Attributes of the TDX module.
    pub seam_attributes: [u8; 8],
    /// Attributes of the trust domain; bit n is bit n of the little-endian bytes in the report.
    pub td_attributes: u64,
    /// Extended features that the trust domain may use.
    pub xfam: [u8; 8],
    /// Measurement of the initial contents.
    pub mr_td: [u8; 48],
    /// Configuration, chosen by the owner.
    pub mr_config_id: [u8; 48],
    /// Owner.
    pub mr_owner: [u8; 48],
    /// Configuration, chosen by the owner.
    pub mr_owner_config: [u8; 48],
    /// Measurements at run time: firmware, boot loader, kernel, applications.
    pub rt_mr: [[u8; 48]; 4],
    /// The 64 bytes the trust domain chose; see [`report_data`](crate::report_data).
    pub report_data: [u8; 64],
    /// TD 1.5: the security versions now, which differ from those at launch after an update.
    pub tee_tcb_svn2: [u8; 16],
    /// TD 1.5: hash of the service trust domains.
    pub mr_service_td: [u8; 48],
    /// TD 1.5ex: everything after `mr_service_td`.
    pub extension: [u8; 237],
}

impl TrustDomainSpec {
    /// A production trust domain with this initial measurement and report data.
    pub fn new(report: TdReport, mr_td: [u8; 48], report_data: [u8; 64]) -> Self {
        Self {
            report,
            tee_tcb_svn: TEE_TCB_SVN,
            mr_seam: [0x5e; 48],
            mr_signer_seam: [0; 48],
            seam_attributes: [0; 8],
            td_attributes: SEPT_VE_DISABLE_BIT,
            xfam: [0xe7, 0, 0, 0, 0, 0, 0, 0],
            mr_td,
            mr_config_id: [0; 48],
            mr_owner: [0; 48],
            mr_owner_config: [0; 48],
            rt_mr: [[0xa0; 48], [0xa1; 48], [0xa2; 48], [0xa3; 48]],
            report_data,
            tee_tcb_svn2: TEE_TCB_SVN,
            mr_service_td: [0; 48],
            extension: [0; 237],
        }
    }

    /// What a policy must list to accept the trust domain.
    pub fn measurement(&self) -> [u8; 32] {
        let [firmware, boot_loader, kernel, applications] = self.rt_mr;
        td_measurement(&[
            self.mr_td,
            self.mr_config_id,
            self.mr_owner,
            self.mr_owner_config,
            firmware,
            boot_loader,
            kernel,
            applications,
        ])
    }

    /// The body: in quotes v5 with its type and size before it.
    pub(super) fn body(&self) -> Vec<u8> {
        let report = self.report_bytes();
        let mut out = Vec::new();
        if let Some(body_type) = self.report.body_type() {
            out.extend(body_type.to_le_bytes());
            out.extend((report.len() as u32).to_le_bytes());
        }
        out.extend(report);
        out
    }

    fn report_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.tee_tcb_svn);
        out.extend(self.mr_seam);
        out.extend(self.mr_signer_seam);
        out.extend(self.seam_attributes);
        out.extend(self.td_attributes.to_le_bytes());
        out.extend(self.xfam);
        out.extend(self.mr_td);
        out.extend(self.mr_config_id);
        out.extend(self.mr_owner);
        out.extend(self.mr_owner_config);
        out.extend(self.rt_mr.as_flattened());
        out.extend(self.report_data);
        if matches!(self.report, TdReport::V5Td15 | TdReport::V5Td15Ex) {
            out.extend(self.tee_tcb_svn2);
            out.extend(self.mr_service_td);
        }
        if self.report == TdReport::V5Td15Ex {
            out.extend(self.extension);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_lengths_that_the_contract_expects_after_the_header() {
        for (report, bytes) in TdReport::ALL.into_iter().zip([584, 590, 654, 891]) {
            let td = TrustDomainSpec::new(report, [1; 48], [2; 64]);
            assert_eq!(td.body().len(), bytes);
        }
    }
}
