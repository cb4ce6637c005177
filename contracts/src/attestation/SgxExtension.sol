// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier as V, Pck} from "../interfaces/IAttestationVerifier.sol";
import {Der} from "./Der.sol";

/// @title Intel's SGX extension of PCK certificates
/// @notice 1.2.840.113741.1.13.1, with its fields in the order in which Intel's specification lists
/// them and Intel's CAs issue them (*SGX PCK Certificate and CRL Profile Specification*, 1.5). Any
/// other order is refused.
/// @dev Each field is `SEQUENCE {OBJECT IDENTIFIER, value}`. The constants are the 16 bytes before a
/// value, tag and length of the value included; the last two arcs number the field.
library SgxExtension {
    uint256 private constant PPID = 0x301e060a2a864886f84d010d01010410;
    uint256 private constant PCE_ID = 0x3010060a2a864886f84d010d01030402;
    uint256 private constant FMSPC = 0x3014060a2a864886f84d010d01040406;
    uint256 private constant SGX_TYPE = 0x300f060a2a864886f84d010d01050a01;
    uint256 private constant INSTANCE = 0x301e060a2a864886f84d010d01060410;
    uint256 private constant HEAD = 16;

    // Object identifiers of the two fields that are sequences themselves.
    uint256 private constant TCB = 0x060a2a864886f84d010d0102;
    uint256 private constant CONFIGURATION = 0x060a2a864886f84d010d0107;

    // The last two fields of the TCB; object identifiers are one byte longer in it.
    uint256 private constant PCE_SVN = 0x300f060b2a864886f84d010d0102110200;
    uint256 private constant PCE_SVN_LENGTHS = 1 << 120 | 1;
    uint256 private constant CPU_SVN = 0x301f060b2a864886f84d010d0102120410;
    uint256 private constant CPU_SVN_BYTES = 33;
    // Sixteen components of 18 bytes or more, and the PCE SVN.
    uint256 private constant OTHER_FIELDS_BYTES = 17 * 18;

    /// @notice Reads the value of the extension, which begins at `cursor` and ends at `end`.
    function read(uint256 cursor, uint256 end, Pck memory pck) internal pure {
        uint256 next;
        (cursor, next) = Der.open(cursor, end, Der.SEQUENCE);
        Der.done(next, end);
        pck.machine = _machine(_fixed(cursor, PPID));
        cursor = _tcb(cursor + HEAD + 16, end, pck);
        pck.pceId = bytes2(_fixed(cursor, PCE_ID));
        pck.fmspc = bytes6(_fixed(cursor + HEAD + 2, FMSPC));
        cursor += HEAD + 2 + HEAD + 6;
        _fixed(cursor, SGX_TYPE);
        cursor += HEAD + 1;
        // The last two are in certificates of the Platform CA only.
        if (cursor != end) {
            pck.instance = _fixed(cursor, INSTANCE);
            (, cursor) = _sequence(cursor + HEAD + 16, end, CONFIGURATION);
        }
        Der.done(cursor, end);
    }

    /// @dev The sixteen components are passed by: the CPU SVN repeats them. The two fields that are
    /// read end the sequence.
    function _tcb(uint256 cursor, uint256 end, Pck memory pck) private pure returns (uint256 next) {
        (cursor, next) = _sequence(cursor, end, TCB);
        bool long = next - cursor >= OTHER_FIELDS_BYTES + CPU_SVN_BYTES;
        require(long, V.BadCertificate(V.CertificateFault.SgxField));
        cursor = next - CPU_SVN_BYTES;
        pck.pceSvn = _pceSvn(cursor);
        bool known = Der.word(cursor) >> 120 == CPU_SVN;
        require(known, V.BadCertificate(V.CertificateFault.SgxField));
        pck.cpuSvn = bytes16(bytes32(Der.word(cursor + 17)));
    }

    /// @dev From an INTEGER of one, two or three bytes that ends at `end`.
    function _pceSvn(uint256 end) private pure returns (uint16 value) {
        uint256 size;
        assembly ("memory-safe") {
            let tail := calldataload(sub(end, 0x20))
            for { let i := 1 } lt(i, 4) { i := add(i, 1) } {
                let head := and(shr(shl(3, i), tail), 0xffffffffffffffffffffffffffffffffff)
                if eq(head, add(PCE_SVN, mul(PCE_SVN_LENGTHS, i))) { size := i }
            }
            // Not negative, no leading zero byte but for the sign's sake, below 2^16.
            let all := and(tail, sub(shl(shl(3, size), 1), 1))
            let least := mul(gt(size, 1), shl(sub(shl(3, size), 9), 1))
            let bad := or(lt(all, least), shr(sub(shl(3, size), 1), all))
            if or(bad, gt(all, 0xffff)) { size := 0 }
            value := all
        }
        require(size != 0, V.BadCertificate(V.CertificateFault.SgxField));
    }

    /// @dev A field with the object identifier `oid` and a SEQUENCE as its value.
    function _sequence(uint256 cursor, uint256 end, uint256 oid)
        private
        pure
        returns (uint256 content, uint256 next)
    {
        (content, next) = Der.open(cursor, end, Der.SEQUENCE);
        require(Der.word(content) >> 160 == oid, V.BadCertificate(V.CertificateFault.SgxField));
        (content, cursor) = Der.open(content + 12, next, Der.SEQUENCE);
        Der.done(cursor, next);
    }

    /// @dev The bytes behind `head`. Whether they are inside the extension shows when it ends.
    function _fixed(uint256 cursor, uint256 head) private pure returns (bytes16 value) {
        uint256 word = Der.word(cursor);
        require(word >> 128 == head, V.BadCertificate(V.CertificateFault.SgxField));
        return bytes16(uint128(word));
    }

    function _machine(bytes16 ppid) private pure returns (bytes32) {
        return sha256(abi.encodePacked("phallama/1 machine", bytes1(0), ppid));
    }
}
