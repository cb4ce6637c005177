// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Certificate, Certificates} from "./Certificates.sol";

/// @title Reads certificates of roots, CAs and signers for a verifier
/// @notice Apart from the verifier for two reasons: a constructor has no calldata to read from, and
/// the verifier's code has no room for what runs once in years. Nothing is stored here.
contract CertificateReader {
    /// @notice See `Certificates.parse`.
    function read(bytes calldata der) external view returns (Certificate memory) {
        return Certificates.parse(der);
    }
}
