// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier, TcbStatus, Tee} from "../interfaces/IAttestationVerifier.sol";
import {TcbInfoJson} from "./TcbInfoJson.sol";
import {TcbLevelsJson} from "./TcbLevelsJson.sol";

/// @title Security versions against Intel's levels
/// @notice The rules of Intel's verifier, on what `TcbInfoJson` and `QeIdentityJson` have packed. A
/// level is met if no component is below it; the first level that is met gives the status.
library Tcb {
    /// Every other byte of 16.
    uint256 private constant EVEN = 0x00ff00ff00ff00ff00ff00ff00ff00ff;
    /// One above the greatest byte, in each of 16 lanes of 16 bits.
    uint256 private constant GUARD =
        0x0100010001000100010001000100010001000100010001000100010001000100;
    /// The two components of a TD that a module's identity judges.
    uint256 private constant MODULE_COMPONENTS = 0xffff << 112;
    /// DEBUG in the attributes of an enclave.
    uint256 private constant DEBUG = 0x02 << 120;
    /// Where packed TCB information for TDX has the base module's digest, and the identities.
    uint256 private constant BASE_MODULE = 2;
    uint256 private constant MODULE_IDENTITIES = 34;
    /// Where the levels of a packed QE identity start.
    uint256 private constant QE_LEVELS = 74;

    /// @notice Status of a platform; for TDX together with its module's.
    /// @dev Reverts with `NoTcbLevel` or `NoTdxModuleLevel`.
    /// @param packed From `TcbInfoJson.parse`, for the same `tee`.
    /// @param teeTcbSvn Of the TD report. Its second byte is the module's version: unless that is
    /// zero, the first two bytes are left to the module's identity. Does not matter for SGX.
    function platform(
        bytes memory packed,
        Tee tee,
        bytes16 cpuSvn,
        uint16 pceSvn,
        bytes16 teeTcbSvn
    ) internal pure returns (TcbStatus) {
        bool tdx = tee == Tee.Tdx;
        uint256 td = uint128(teeTcbSvn);
        if (teeTcbSvn[1] != 0) td |= MODULE_COMPONENTS;
        (bool found, TcbStatus status) =
            platformLevel(packed, tdx, lanes(uint128(cpuSvn)), pceSvn, lanes(td));
        if (!found) revert IAttestationVerifier.NoTcbLevel(cpuSvn, pceSvn, teeTcbSvn);
        return tdx ? converge(status, moduleStatus(packed, teeTcbSvn)) : status;
    }

    /// @notice Checks that a TD runs on the TDX module that the TCB information names for its
    /// version.
    /// @dev Reverts with `WrongTdxModule` or `NoTdxModuleLevel`. Like Intel's verifier, this wants
    /// attribute bits outside the mask to be zero.
    /// @param packed From `TcbInfoJson.parse`, for TDX.
    /// @param teeTcbSvn Of the TD report.
    /// @param module MRSIGNERSEAM 48 ‖ SEAMATTRIBUTES 8 of the TD report: its bytes 64 to 120.
    function tdxModule(bytes memory packed, bytes16 teeTcbSvn, bytes calldata module)
        internal
        pure
    {
        bytes32 expected = bytes32(valueAt(packed, digestOf(packed, teeTcbSvn), 32));
        bytes32 got = keccak256(module);
        if (got != expected) revert IAttestationVerifier.WrongTdxModule(expected, got);
    }

    /// @notice Checks that a quoting enclave is the one Intel names, and gives its status.
    /// @dev Reverts with `WrongQuotingEnclave`, with masked values, or `NoQeLevel`. An enclave in
    /// debug mode has wrong attributes whatever the mask.
    /// @param packed From `QeIdentityJson.parse`.
    /// @param report The enclave's report, 384 bytes.
    function quotingEnclave(bytes memory packed, bytes calldata report)
        internal
        pure
        returns (TcbStatus)
    {
        identity(packed, report);
        uint256 isvSvn = littleEndian16(report, 258);
        (bool found, TcbStatus status) = isvLevel(packed, QE_LEVELS, packed.length, isvSvn);
        if (!found) revert IAttestationVerifier.NoQeLevel(isvSvn);
        return status;
    }

    /// @notice Status of a platform whose TDX module or quoting enclave has the status `component`.
    /// @dev Only `OutOfDate` and `Revoked` of a component matter.
    function converge(TcbStatus status, TcbStatus component) internal pure returns (TcbStatus) {
        if (component == TcbStatus.Revoked) return component;
        if (component != TcbStatus.OutOfDate) return status;
        if (status == TcbStatus.UpToDate || status == TcbStatus.SWHardeningNeeded) {
            return component;
        }
        if (
            status == TcbStatus.ConfigurationNeeded
                || status == TcbStatus.ConfigurationAndSWHardeningNeeded
        ) return TcbStatus.OutOfDateConfigurationNeeded;
        return status;
    }

    /// @notice Status of a TD 1.5 from that at its launch and that of the TCB it runs on now.
    /// @dev Refuse `Revoked` of either first: this does not.
    function relaunch(TcbStatus launch, TcbStatus current) internal pure returns (TcbStatus) {
        bool stale =
            launch == TcbStatus.OutOfDate || launch == TcbStatus.OutOfDateConfigurationNeeded;
        // UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded.
        bool renewed = current < TcbStatus.OutOfDate;
        if (!stale || !renewed) return launch;
        bool configuration = launch == TcbStatus.OutOfDateConfigurationNeeded
            || current == TcbStatus.ConfigurationNeeded
            || current == TcbStatus.ConfigurationAndSWHardeningNeeded;
        return configuration
            ? TcbStatus.TDRelaunchAdvisedConfigurationNeeded
            : TcbStatus.TDRelaunchAdvised;
    }

    /// @notice The 16 bytes of `svns` in lanes of 16 bits: all bytes of even places, then the rest.
    function lanes(uint256 svns) internal pure returns (uint256) {
        return (svns & EVEN) | ((svns >> 8 & EVEN) << 128);
    }

    /// @notice Whether no lane of `have` is below the same lane of `needed`; lanes hold bytes.
    function meets(uint256 have, uint256 needed) internal pure returns (bool) {
        unchecked {
            // A lane keeps its guard bit unless it is less. Nothing is borrowed from the next lane.
            return ((have | GUARD) - needed) & GUARD == GUARD;
        }
    }

    /// Status of the first level that is met; `cpu` and `td` in lanes.
    function platformLevel(bytes memory packed, bool tdx, uint256 cpu, uint256 pceSvn, uint256 td)
        private
        pure
        returns (bool, TcbStatus)
    {
        unchecked {
            uint256 size = tdx ? TcbInfoJson.TDX_LEVEL : TcbInfoJson.SGX_LEVEL;
            uint256 end = packed.length;
            for (uint256 level = levelsOf(packed); level < end; level += size) {
                uint256 svns = valueAt(packed, level, 18);
                if (pceSvn < svns & 0xffff || !meets(cpu, lanes(svns >> 16))) continue;
                if (tdx && !meets(td, lanes(valueAt(packed, level + 18, 16)))) continue;
                return (true, TcbStatus(valueAt(packed, level + size - 1, 1)));
            }
            return (false, TcbStatus.Revoked);
        }
    }

    /// Checks everything in the report of a quoting enclave that its identity fixes.
    function identity(bytes memory packed, bytes calldata report) private pure {
        uint256 got = uint256(bytes32(report[128:160]));
        same(IAttestationVerifier.QeField.MrSigner, valueAt(packed, 0, 32), got);
        got = uint128(bytes16(report[48:64]));
        same(IAttestationVerifier.QeField.Attributes, 0, got & DEBUG);
        uint256 mask = valueAt(packed, 48, 16);
        same(IAttestationVerifier.QeField.Attributes, valueAt(packed, 32, 16), got & mask);
        got = littleEndian16(report, 256);
        same(IAttestationVerifier.QeField.IsvProdId, valueAt(packed, 72, 2), got);
        got = uint32(bytes4(report[16:20])) & valueAt(packed, 68, 4);
        same(IAttestationVerifier.QeField.MiscSelect, valueAt(packed, 64, 4), got);
    }

    function same(IAttestationVerifier.QeField field, uint256 expected, uint256 got) private pure {
        if (got == expected) return;
        revert IAttestationVerifier.WrongQuotingEnclave(field, bytes32(expected), bytes32(got));
    }

    /// Status of the TDX module; `UpToDate`, which changes nothing, if it has no version.
    function moduleStatus(bytes memory packed, bytes16 teeTcbSvn) private pure returns (TcbStatus) {
        (uint256 isvSvn, uint256 version) = moduleOf(teeTcbSvn);
        if (version == 0) return TcbStatus.UpToDate;
        uint256 digestAt = digestOf(packed, teeTcbSvn);
        unchecked {
            uint256 start = digestAt + 32;
            uint256 end = start + valueAt(packed, digestAt - 1, 1) * TcbLevelsJson.ISV_LEVEL;
            (bool found, TcbStatus status) = isvLevel(packed, start, end, isvSvn);
            if (!found) revert IAttestationVerifier.NoTdxModuleLevel(version, isvSvn);
            return status;
        }
    }

    /// Where the digest of the TDX module of this version is: the base module has version zero.
    function digestOf(bytes memory packed, bytes16 teeTcbSvn) private pure returns (uint256) {
        (uint256 isvSvn, uint256 version) = moduleOf(teeTcbSvn);
        if (version == 0) return BASE_MODULE;
        uint256 end = levelsOf(packed);
        unchecked {
            for (uint256 offset = MODULE_IDENTITIES; offset < end;) {
                uint256 head = valueAt(packed, offset, 2);
                if (head >> 8 == version) return offset + 2;
                offset += TcbInfoJson.IDENTITY + (head & 0xff) * TcbLevelsJson.ISV_LEVEL;
            }
        }
        revert IAttestationVerifier.NoTdxModuleLevel(version, isvSvn);
    }

    /// ISV SVN and version of a TDX module: the first two bytes.
    function moduleOf(bytes16 teeTcbSvn) private pure returns (uint256 isvSvn, uint256 version) {
        return (uint8(teeTcbSvn[0]), uint8(teeTcbSvn[1]));
    }

    /// The first of the packed ISV levels from `start` to `end` that `isvSvn` is not below.
    function isvLevel(bytes memory packed, uint256 start, uint256 end, uint256 isvSvn)
        private
        pure
        returns (bool, TcbStatus)
    {
        unchecked {
            for (uint256 offset = start; offset < end; offset += TcbLevelsJson.ISV_LEVEL) {
                uint256 level = valueAt(packed, offset, TcbLevelsJson.ISV_LEVEL);
                if (isvSvn >= level >> 8) return (true, TcbStatus(level & 0xff));
            }
        }
        return (false, TcbStatus.Revoked);
    }

    /// Where the levels of packed TCB information start.
    function levelsOf(bytes memory packed) private pure returns (uint256) {
        return valueAt(packed, 0, 2);
    }

    /// The `length ≤ 32` bytes from `offset` on as a number.
    function valueAt(bytes memory packed, uint256 offset, uint256 length)
        private
        pure
        returns (uint256 value)
    {
        assembly ("memory-safe") {
            value := shr(sub(256, shl(3, length)), mload(add(add(packed, 0x20), offset)))
        }
    }

    /// Two bytes of a report, the lower one first.
    function littleEndian16(bytes calldata report, uint256 offset) private pure returns (uint256) {
        return uint256(uint8(report[offset])) | uint256(uint8(report[offset + 1])) << 8;
    }
}
