// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DateTimeLib} from "solady/utils/DateTimeLib.sol";
import {DynamicBufferLib} from "solady/utils/DynamicBufferLib.sol";
import {LibBytes} from "solady/utils/LibBytes.sol";
import {vm} from "./Vm.sol";

/// Writes the DER that tests need and no vector has: revocation lists, certificates signed anew.
library DerWriter {
    using DynamicBufferLib for DynamicBufferLib.DynamicBuffer;
    using LibBytes for bytes;

    bytes private constant ECDSA_SHA256 = hex"300a06082a8648ce3d040302";

    /// A revocation list as Intel issues them: each serial with a reason, a number, a key id.
    struct Crl {
        bytes issuer;
        bytes keyId;
        uint256 number;
        uint256 thisUpdate;
        uint256 nextUpdate;
        bytes[] serials;
    }

    function crl(Crl memory list, uint256 scalar) internal pure returns (bytes memory) {
        bytes memory date = utcTime(list.thisUpdate);
        bytes memory reason = hex"300c300a0603551d1504030a0101";
        DynamicBufferLib.DynamicBuffer memory buffer;
        for (uint256 i; i < list.serials.length; ++i) {
            buffer.p(tlv(0x30, bytes.concat(integer(list.serials[i]), date, reason)));
        }
        bytes memory entries = buffer.data;
        if (entries.length != 0) entries = tlv(0x30, entries);
        bytes memory body = bytes.concat(hex"020101", ECDSA_SHA256, list.issuer, date);
        body = bytes.concat(body, utcTime(list.nextUpdate), entries, extensionsOf(list));
        return signed(tlv(0x30, body), scalar);
    }

    /// CRL number and authority key id.
    function extensionsOf(Crl memory list) private pure returns (bytes memory) {
        bytes memory number = tlv(0x04, integer(abi.encodePacked(list.number)));
        bytes memory keyId = tlv(0x04, tlv(0x30, tlv(0x80, list.keyId)));
        number = tlv(0x30, bytes.concat(hex"0603551d14", number));
        keyId = tlv(0x30, bytes.concat(hex"0603551d23", keyId));
        return tlv(0xa0, tlv(0x30, bytes.concat(number, keyId)));
    }

    /// A certificate or a list: its signed part, and a signature over it.
    function signed(bytes memory tbs, uint256 scalar) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 s) = vm.signP256(scalar, sha256(tbs));
        bytes memory signature =
            tlv(0x30, bytes.concat(integer(abi.encodePacked(r)), integer(abi.encodePacked(s))));
        bytes memory bits = tlv(0x03, bytes.concat(hex"00", signature));
        return tlv(0x30, bytes.concat(tbs, ECDSA_SHA256, bits));
    }

    /// `data` with the one `part` in it replaced by another of the same length.
    function replaced(bytes memory data, bytes memory part, bytes memory other)
        internal
        pure
        returns (bytes memory)
    {
        require(part.length == other.length && data.indexOf(part) != LibBytes.NOT_FOUND, "part");
        return data.replace(part, other);
    }

    /// The signed part of a certificate or a list.
    function signedPart(bytes memory der) internal pure returns (bytes memory) {
        (uint256 content,) = header(der, 0);
        (uint256 inner, uint256 size) = header(der, content);
        return der.slice(content, inner + size);
    }

    /// The subject's Name of a certificate, in DER.
    function subject(bytes memory certificate) internal pure returns (bytes memory) {
        (uint256 offset,) = header(certificate, 0);
        (offset,) = header(certificate, offset);
        // Version, serial, algorithm, issuer, validity.
        for (uint256 i; i < 5; ++i) {
            offset = next(certificate, offset);
        }
        return certificate.slice(offset, next(certificate, offset));
    }

    /// Where the element after the one at `offset` begins.
    function next(bytes memory der, uint256 offset) internal pure returns (uint256) {
        (uint256 content, uint256 size) = header(der, offset);
        return content + size;
    }

    /// Where the content of the element at `offset` begins, and its size.
    function header(bytes memory der, uint256 offset)
        internal
        pure
        returns (uint256 content, uint256 size)
    {
        size = uint8(der[offset + 1]);
        content = offset + 2;
        if (size < 0x80) return (content, size);
        uint256 digits = size - 0x80;
        size = 0;
        for (uint256 i; i < digits; ++i) {
            size = size << 8 | uint8(der[content++]);
        }
    }

    /// A non-negative INTEGER from big-endian bytes.
    function integer(bytes memory digits) internal pure returns (bytes memory) {
        uint256 zeros;
        while (zeros + 1 < digits.length && digits[zeros] == 0) ++zeros;
        digits = digits.slice(zeros);
        if (uint8(digits[0]) > 0x7f) digits = bytes.concat(hex"00", digits);
        return tlv(0x02, digits);
    }

    function utcTime(uint256 unix) internal pure returns (bytes memory) {
        (uint256 year, uint256 month, uint256 day, uint256 hour, uint256 minute, uint256 second) =
            DateTimeLib.timestampToDateTime(unix);
        return tlv(
            0x17,
            bytes.concat(
                two(year % 100), two(month), two(day), two(hour), two(minute), two(second), "Z"
            )
        );
    }

    /// As in Intel's JSON: `2026-11-23T00:00:00Z`.
    function iso8601(uint256 unix) internal pure returns (string memory) {
        (uint256 year, uint256 month, uint256 day, uint256 hour, uint256 minute, uint256 second) =
            DateTimeLib.timestampToDateTime(unix);
        bytes memory date =
            bytes.concat(two(year / 100), two(year % 100), "-", two(month), "-", two(day), "T");
        return string(bytes.concat(date, two(hour), ":", two(minute), ":", two(second), "Z"));
    }

    function tlv(uint8 tag, bytes memory content) internal pure returns (bytes memory) {
        uint256 size = content.length;
        if (size < 0x80) return abi.encodePacked(tag, uint8(size), content);
        if (size < 0x100) return abi.encodePacked(tag, hex"81", uint8(size), content);
        if (size < 0x10000) return abi.encodePacked(tag, hex"82", uint16(size), content);
        return abi.encodePacked(tag, hex"83", uint24(size), content);
    }

    function two(uint256 value) internal pure returns (bytes memory) {
        return abi.encodePacked(uint8(0x30 + value / 10), uint8(0x30 + value % 10));
    }
}
