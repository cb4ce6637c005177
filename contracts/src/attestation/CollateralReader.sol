// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Certificate, Certificates} from "./Certificates.sol";
import {Crl, Crls} from "./Crl.sol";
import {QeIdentityJson} from "./QeIdentityJson.sol";
import {CollateralHeader, TcbInfoJson} from "./TcbInfoJson.sol";

/// @title Reads what a verifier stores
/// @notice A contract apart from the verifier, which creates it, for two reasons: the verifier's
/// code has no room for what runs once a month, and a constructor has no calldata to read a root
/// certificate from. It stores nothing, trusts nothing and checks no signature.
contract CollateralReader {
    /// @notice See `Certificates.parse`.
    function certificate(bytes calldata der) external view returns (Certificate memory) {
        return Certificates.parse(der);
    }

    /// @notice See `Crls.parse`.
    function crl(bytes calldata der) external view returns (Crl memory) {
        return Crls.parse(der);
    }

    /// @notice See `TcbInfoJson.parse`.
    function tcbInfo(bytes calldata json)
        external
        pure
        returns (CollateralHeader memory, bytes memory)
    {
        return TcbInfoJson.parse(json);
    }

    /// @notice See `QeIdentityJson.parse`.
    function qeIdentity(bytes calldata json)
        external
        pure
        returns (CollateralHeader memory, bytes memory)
    {
        return QeIdentityJson.parse(json);
    }
}
