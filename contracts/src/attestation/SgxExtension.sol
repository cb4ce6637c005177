// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier as V, Pck} from "../interfaces/IAttestationVerifier.sol";
import {Der} from "./Der.sol";

/// @title Intel's SGX extension of PCK certificates
/// @notice 1.2.840.113741.1.13.1, with its fields in the order in which Intel's specification lists
/// them and Intel's CAs issue them (*SGX PCK Certificate and CRL Profile Specification*, 1.5). Any
/// other order is refused.
/// @dev Each field is `SEQUENCE {OBJECT IDENTIFIER, value}`. Constants are the DER up to a value,
/// its tag and length included; lengths that vary are zero in them and checked against each other.
library SgxExtension {
    // SEQUENCE {OBJECT IDENTIFIER, OCTET STRING {SEQUENCE; the three have more than 255 bytes.
    uint256 private constant HEAD = 0x3082000006092a864886f84d010d010482000030820000;
    uint256 private constant HEAD_MASK = 0xffff0000ffffffffffffffffffffffffff0000ffff0000;
    uint256 private constant HEAD_BYTES = 23;

    // SEQUENCE {.2, SEQUENCE; both have more than 255 bytes.
    uint256 private constant TCB = 0x0030820000060a2a864886f84d010d010230820000;
    uint256 private constant TCB_MASK = 0x00ffff0000ffffffffffffffffffffffffffff0000;

    // Fields with 16 bytes before the value: the last arc of the object identifier is the last
    // byte but two, and a value has as many bytes as the last byte says.
    uint256 private constant PPID = 0x301e060a2a864886f84d010d01010410;
    uint256 private constant PCE_ID = 0x3010060a2a864886f84d010d01030402;
    uint256 private constant FMSPC = 0x3014060a2a864886f84d010d01040406;
    uint256 private constant SGX_TYPE = 0x300f060a2a864886f84d010d01050a01;
    uint256 private constant INSTANCE = 0x301e060a2a864886f84d010d01060410;
    // The value is a sequence.
    uint256 private constant CONFIGURATION = 0x3000060a2a864886f84d010d01073000;
    uint256 private constant CONFIGURATION_MASK = 0xff80ffffffffffffffffffffffffff80;

    // The last two fields of the TCB; object identifiers are one byte longer in it.
    uint256 private constant PCE_SVN = 0x300f060b2a864886f84d010d0102110200;
    uint256 private constant PCE_SVN_LENGTHS = 1 << 120 | 1;
    uint256 private constant CPU_SVN = 0x301f060b2a864886f84d010d0102120410;
    uint256 private constant CPU_SVN_BYTES = 33;
    // Sixteen components of 18 bytes or more, and the PCE SVN.
    uint256 private constant OTHER_FIELDS_BYTES = 17 * 18;

    uint256 private constant MACHINE_TAG_BYTES = 19;

    /// @notice Whether the extension begins at `cursor`.
    function isAt(uint256 cursor) internal pure returns (bool) {
        return Der.word(cursor) >> 72 & HEAD_MASK == HEAD;
    }

    /// @notice Reads the extension at `cursor`; `isAt` must have said yes.
    /// @return next Where it ends. If that is inside the certificate, all that was read was.
    function read(uint256 cursor, Pck memory pck) internal view returns (uint256 next) {
        bool good;
        assembly ("memory-safe") {
            let head := calldataload(cursor)
            let outer := and(shr(224, head), 0xffff)
            let octets := and(shr(104, head), 0xffff)
            let inner := and(shr(72, head), 0xffff)
            good := and(eq(outer, add(octets, 15)), eq(octets, add(inner, 4)))
            next := add(add(cursor, 4), outer)
        }
        cursor += HEAD_BYTES;
        good = good && Der.word(cursor) >> 128 == PPID;
        require(good, V.BadCertificate(V.CertificateFault.SgxField));
        pck.machine = _machine(Der.word(cursor) << 128);
        cursor = _platform(_tcb(cursor + 32, pck), pck);
        // The last two are in certificates of the Platform CA only.
        if (cursor != next) cursor = _instance(cursor, pck);
        require(cursor == next, V.BadCertificate(V.CertificateFault.SgxField));
    }

    /// @dev The sixteen components are passed by: the CPU SVN repeats them. The two fields that are
    /// read end the sequence.
    function _tcb(uint256 cursor, Pck memory pck) private pure returns (uint256 next) {
        bool good;
        assembly ("memory-safe") {
            let head := calldataload(cursor)
            let outer := and(shr(224, head), 0xffff)
            let inner := and(shr(96, head), 0xffff)
            good := eq(and(shr(96, head), TCB_MASK), TCB)
            good := and(good, eq(outer, add(inner, 16)))
            good := and(good, gt(inner, add(OTHER_FIELDS_BYTES, sub(CPU_SVN_BYTES, 1))))
            next := add(add(cursor, 4), outer)
            cursor := sub(next, CPU_SVN_BYTES)
            good := and(good, eq(shr(120, calldataload(cursor)), CPU_SVN))
        }
        require(good, V.BadCertificate(V.CertificateFault.SgxField));
        pck.cpuSvn = bytes16(bytes32(Der.word(next - 16)));
        pck.pceSvn = _pceSvn(cursor);
    }

    /// @dev From an INTEGER of one, two or three bytes that ends at `end`.
    function _pceSvn(uint256 end) private pure returns (uint16 value) {
        bool good;
        assembly ("memory-safe") {
            let tail := calldataload(sub(end, 0x20))
            let size := 1
            for {} lt(size, 4) { size := add(size, 1) } {
                let head := and(shr(shl(3, size), tail), 0xffffffffffffffffffffffffffffffffff)
                good := eq(head, add(PCE_SVN, mul(PCE_SVN_LENGTHS, size)))
                if good { break }
            }
            tail := and(tail, sub(shl(shl(3, size), 1), 1))
            // Not negative, no leading zero byte but for the sign's sake, below 2^16.
            good := and(good, iszero(shr(sub(shl(3, size), 1), tail)))
            if gt(size, 1) { good := and(good, gt(shr(sub(shl(3, size), 9), tail), 0)) }
            good := and(good, lt(tail, 0x10000))
            value := tail
        }
        require(good, V.BadCertificate(V.CertificateFault.SgxField));
    }

    /// @dev PCE id, FMSPC and SGX type.
    function _platform(uint256 cursor, Pck memory pck) private pure returns (uint256 next) {
        bytes2 pceId;
        bytes6 fmspc;
        bool good;
        assembly ("memory-safe") {
            good := eq(shr(128, calldataload(cursor)), PCE_ID)
            pceId := calldataload(add(cursor, 16))
            cursor := add(cursor, 18)
            good := and(good, eq(shr(128, calldataload(cursor)), FMSPC))
            fmspc := calldataload(add(cursor, 16))
            cursor := add(cursor, 22)
            good := and(good, eq(shr(128, calldataload(cursor)), SGX_TYPE))
            next := add(cursor, 17)
        }
        require(good, V.BadCertificate(V.CertificateFault.SgxField));
        (pck.pceId, pck.fmspc) = (pceId, fmspc);
    }

    /// @dev Platform instance and configuration. Nothing of the configuration is needed.
    function _instance(uint256 cursor, Pck memory pck) private pure returns (uint256 next) {
        bool good;
        assembly ("memory-safe") {
            good := eq(shr(128, calldataload(cursor)), INSTANCE)
            let head := calldataload(add(cursor, 32))
            good := and(good, eq(and(shr(128, head), CONFIGURATION_MASK), CONFIGURATION))
            good := and(good, eq(byte(1, head), add(byte(15, head), 14)))
            next := add(add(cursor, 34), byte(1, head))
        }
        require(good, V.BadCertificate(V.CertificateFault.SgxField));
        pck.instance = bytes16(bytes32(Der.word(cursor + 16)));
    }

    /// @dev SHA-256("phallama/1 machine" ‖ 0 ‖ PPID), with the PPID in the upper half of the word.
    function _machine(uint256 ppid) private view returns (bytes32 digest) {
        assembly ("memory-safe") {
            mstore(0x00, "phallama/1 machine")
            mstore(MACHINE_TAG_BYTES, ppid)
            // The precompile fails only for lack of gas, and then nothing may go on.
            if iszero(staticcall(gas(), 2, 0x00, add(MACHINE_TAG_BYTES, 16), 0x00, 0x20)) {
                revert(0x00, 0x00)
            }
            digest := mload(0x00)
        }
    }
}
