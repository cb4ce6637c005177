// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier as V, Quote} from "../interfaces/IAttestationVerifier.sol";

/// @title Quotes and reports of SGX and TDX
/// @notice Layouts: Intel, SGX ECDSA QuoteGenReference (appendix A.4) and TDX DCAP Quote Generation
/// Library (appendix A.3). Integers inside are little-endian.
/// @dev Fields are read where they lie: a report is named by its offset in calldata, and only what
/// is hashed is copied. `open` checks all lengths that the other functions rely on.
library Quotes {
    uint256 private constant HEADER_BYTES = 48;
    uint256 private constant HEADER_V5_BYTES = 54;
    uint256 private constant AUTH_BYTES = 608;

    uint256 private constant SGX_REPORT_BYTES = 384;
    uint256 private constant TD_REPORT_10_BYTES = 584;
    uint256 private constant TD_REPORT_15_BYTES = 648;
    uint256 private constant TD_REPORT_15_EX_BYTES = 885;

    // How a header begins: version 2 | key type 2 (ECDSA over P-256) | TEE type 4.
    uint256 private constant SGX_V3 = 0x0300020000000000;
    uint256 private constant TDX_V4 = 0x0400020081000000;
    uint256 private constant TDX_V5 = 0x0500020081000000;
    uint256 private constant INTEL_VENDOR = 0x939a7233f79c4ca9940a0db3957f0607;
    // Body descriptors of version 5: type 2 | size 4.
    uint256 private constant TD_10 = 0x020048020000;
    uint256 private constant TD_15 = 0x030088020000;
    uint256 private constant TD_15_EX = 0x040075030000;

    // ATTRIBUTES.FLAGS of an enclave: DEBUG, PROVISION_KEY, EINITTOKEN_KEY (Intel SDM volume 3D,
    // 34.7.1).
    uint256 private constant SGX_FORBIDDEN = 0x32;
    // ATTRIBUTES of a trust domain (Intel TDX Module ABI Specification 348551-008US, table 3.23).
    // Forbidden: debug and profiling (bits 0 to 7), reserved (8 to 15, 23 to 26, 32 to 61),
    // SERVTD_EXT (17), MIGRATABLE (29). Required: SEPT_VE_DISABLE (28).
    uint256 private constant TD_FORBIDDEN = 0x3fffffff2782ffff;
    uint256 private constant TD_REQUIRED = 0x10000000;

    /// @notice Where the parts of an opened quote lie in calldata.
    /// @param signed Header and body.
    /// @param signedBytes Their length.
    /// @param auth Signatures, attestation key and QE report.
    /// @param report The report of the enclave or the trust domain.
    /// @param size Its length, which says what it is; see `isSgx` and `isTd15`.
    struct Layout {
        uint256 signed;
        uint256 signedBytes;
        uint256 auth;
        uint256 report;
        uint256 size;
    }

    /// @notice SHA-256 of header and body (what the attestation key signed), of the QE report (what
    /// the PCK signed), and `Verdict.evidence`.
    struct Digests {
        bytes32 signed;
        bytes32 qeReport;
        bytes32 evidence;
    }

    /// @notice Checks lengths and header.
    function open(Quote calldata quote) internal pure returns (Layout memory q) {
        (uint256 signed, uint256 length) = _locate(q, quote);
        require(length >= HEADER_V5_BYTES, V.BadLength(V.QuotePart.Signed, length));
        uint256 headerBytes = HEADER_BYTES;
        uint256 size;
        uint256 head = _word(signed) >> 192;
        if (head == SGX_V3) {
            size = SGX_REPORT_BYTES;
        } else if (head == TDX_V4) {
            size = TD_REPORT_10_BYTES;
        } else {
            if (head != TDX_V5) _refuseHead(signed);
            size = _sizeInV5(signed);
            headerBytes = HEADER_V5_BYTES;
        }
        uint256 vendor = _word(signed + 12) >> 128;
        require(vendor == INTEL_VENDOR, V.UnsupportedQuote(V.QuotePart.Vendor, vendor));
        require(length == headerBytes + size, V.BadLength(V.QuotePart.Signed, length));
        (q.report, q.size) = (signed + headerBytes, size);
    }

    /// @notice Whether the quote is an enclave's; otherwise it is a trust domain's.
    function isSgx(Layout memory q) internal pure returns (bool) {
        return q.size == SGX_REPORT_BYTES;
    }

    /// @notice Whether the report is of TD 1.5, so that a second TCB is in it: the current one,
    /// after that of the launch.
    function isTd15(Layout memory q) internal pure returns (bool) {
        return q.size >= TD_REPORT_15_BYTES;
    }

    /// @notice TEE_TCB_SVN of a trust domain, at launch.
    function teeTcbSvn(Layout memory q) internal pure returns (bytes16) {
        return bytes16(_load(q.report));
    }

    /// @notice TEE_TCB_SVN2 of TD 1.5, now.
    function teeTcbSvn2(Layout memory q) internal pure returns (bytes16) {
        return bytes16(_load(q.report + 584));
    }

    /// @notice MRSIGNERSEAM and SEAMATTRIBUTES of a trust domain.
    function tdxModule(Layout memory q) internal pure returns (bytes calldata) {
        return _slice(q.report + 64, 56);
    }

    /// @notice Report of the quoting enclave.
    function qeReport(Layout memory q) internal pure returns (bytes calldata) {
        return _slice(q.auth + 128, SGX_REPORT_BYTES);
    }

    /// @notice The PCK's signature over the QE report.
    function qeSignature(Layout memory q) internal pure returns (bytes32 r, bytes32 s) {
        uint256 auth = q.auth;
        return (_load(auth + 512), _load(auth + 544));
    }

    /// @notice The attestation key's signature over header and body, and that key.
    function signature(Layout memory q)
        internal
        pure
        returns (bytes32 r, bytes32 s, bytes32 x, bytes32 y)
    {
        uint256 auth = q.auth;
        return (_load(auth), _load(auth + 32), _load(auth + 64), _load(auth + 96));
    }

    /// @notice Hashes a quote with a PCK certificate's `tbsHash`.
    function digests(Layout memory q, bytes32 tbsHash)
        internal
        view
        returns (Digests memory result)
    {
        uint256 length = q.signedBytes;
        uint256 start = _copy(q.signed, length, 0);
        _copy(q.auth + 128, SGX_REPORT_BYTES, length);
        assembly ("memory-safe") {
            mstore(add(start, add(length, SGX_REPORT_BYTES)), tbsHash)
        }
        result.signed = _sha256(start, length);
        result.qeReport = _sha256(start + length, SGX_REPORT_BYTES);
        result.evidence = _sha256(start, length + SGX_REPORT_BYTES + 32);
    }

    /// @notice `Verdict.evidence` of anything that has the lengths of a quote.
    function evidence(Quote calldata quote, bytes32 tbsHash) internal view returns (bytes32) {
        Layout memory q;
        _locate(q, quote);
        return digests(q, tbsHash).evidence;
    }

    /// @notice The QE report commits to the attestation key and the QE's authentication data.
    function requireKeyBound(Layout memory q) internal view {
        uint256 auth = q.auth;
        uint256 start = _copy(auth + 64, 64, 0);
        _copy(auth + 576, 32, 64);
        bytes32 expected = _sha256(start, 96);
        bytes32 got = _load(auth + 448);
        bool bound = got == expected && _load(auth + 480) == 0;
        require(bound, V.AttestationKeyNotBound(expected, got));
    }

    /// @notice No attribute gives others access to the enclave or the trust domain.
    function requireAttributes(Layout memory q) internal pure {
        uint256 report = q.report;
        if (isSgx(q)) {
            uint256 flags = _integer(report + 48, 8);
            uint256 set = flags & SGX_FORBIDDEN;
            require(set == 0, V.ForbiddenAttributes(flags, set));
            return;
        }
        uint256 attributes = _integer(report + 120, 8);
        uint256 wrong = (attributes ^ TD_REQUIRED) & (TD_REQUIRED | TD_FORBIDDEN);
        require(wrong == 0, V.ForbiddenAttributes(attributes, wrong));
        // MRSERVICETD, 48 bytes.
        bool free = !isTd15(q) || _load(report + 600) | _load(report + 616) == 0;
        require(free, V.BoundToServiceTd());
    }

    /// @notice `Verdict.measurement`.
    function measurement(Layout memory q) internal view returns (bytes32) {
        if (isSgx(q)) return _load(q.report + 64);
        // MRTD to RTMR3 lie in the order in which they are hashed.
        bytes memory tag = "phallama/1 td measurement\x00";
        uint256 start = _copy(q.report + 136, 384, tag.length);
        assembly ("memory-safe") {
            mcopy(start, add(tag, 0x20), mload(tag))
        }
        return _sha256(start, tag.length + 384);
    }

    /// @notice Both halves of the report data.
    function reportData(Layout memory q) internal pure returns (bytes32 data, bytes32 nonce) {
        uint256 offset = q.report + (isSgx(q) ? 320 : 520);
        return (_load(offset), _load(offset + 32));
    }

    /// Finds both parts, and checks the length of the second.
    function _locate(Layout memory q, Quote calldata quote)
        private
        pure
        returns (uint256 signed, uint256 length)
    {
        bytes calldata part = quote.auth;
        require(part.length == AUTH_BYTES, V.BadLength(V.QuotePart.Auth, part.length));
        uint256 auth;
        assembly ("memory-safe") {
            auth := part.offset
        }
        part = quote.signed;
        length = part.length;
        assembly ("memory-safe") {
            signed := part.offset
        }
        (q.signed, q.signedBytes, q.auth) = (signed, length, auth);
    }

    /// Says what is wrong in the first 8 bytes of a header.
    function _refuseHead(uint256 header) private pure {
        uint256 version = _integer(header, 2);
        require(version >= 3 && version <= 5, V.UnsupportedQuote(V.QuotePart.Version, version));
        uint256 keyType = _integer(header + 2, 2);
        require(keyType == 2, V.UnsupportedQuote(V.QuotePart.KeyType, keyType));
        revert V.UnsupportedQuote(V.QuotePart.TeeType, _integer(header + 4, 4));
    }

    function _sizeInV5(uint256 header) private pure returns (uint256) {
        uint256 descriptor = _word(header + HEADER_BYTES) >> 208;
        if (descriptor == TD_10) return TD_REPORT_10_BYTES;
        if (descriptor == TD_15) return TD_REPORT_15_BYTES;
        if (descriptor == TD_15_EX) return TD_REPORT_15_EX_BYTES;
        uint256 kind = _integer(header + HEADER_BYTES, 2);
        require(kind >= 2 && kind <= 4, V.UnsupportedQuote(V.QuotePart.BodyType, kind));
        uint256 size = _integer(header + HEADER_BYTES + 2, 4);
        revert V.UnsupportedQuote(V.QuotePart.BodySize, size);
    }

    /// Little-endian integer of at most 8 bytes in calldata.
    function _integer(uint256 offset, uint256 size) private pure returns (uint256 value) {
        unchecked {
            value = _word(offset) >> (256 - 8 * size) << (64 - 8 * size);
        }
        value = (value & 0x00ff00ff00ff00ff) << 8 | (value >> 8) & 0x00ff00ff00ff00ff;
        value = (value & 0x0000ffff0000ffff) << 16 | (value >> 16) & 0x0000ffff0000ffff;
        value = (value & 0xffffffff) << 32 | value >> 32;
    }

    function _load(uint256 offset) private pure returns (bytes32) {
        return bytes32(_word(offset));
    }

    function _word(uint256 offset) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(offset)
        }
    }

    function _slice(uint256 offset, uint256 size) private pure returns (bytes calldata part) {
        assembly ("memory-safe") {
            part.offset := offset
            part.length := size
        }
    }

    /// Copies calldata into free memory, `gap` bytes after its start; the memory stays free.
    function _copy(uint256 offset, uint256 size, uint256 gap) private pure returns (uint256 start) {
        assembly ("memory-safe") {
            start := mload(0x40)
            calldatacopy(add(start, gap), offset, size)
        }
    }

    function _sha256(uint256 start, uint256 size) private view returns (bytes32 digest) {
        assembly ("memory-safe") {
            // The precompile fails only for lack of gas, and then nothing may go on.
            if iszero(staticcall(gas(), 2, start, size, 0x00, 0x20)) { revert(0, 0) }
            digest := mload(0x00)
        }
    }
}
