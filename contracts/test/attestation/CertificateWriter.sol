// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DerWriter} from "../DerWriter.sol";
import {vm} from "../Vm.sol";

/// Writes certificates as Intel issues them, with any one part changed.
library CertificateWriter {
    /// Who a certificate is about, or who signed it.
    struct Party {
        string name;
        uint256 scalar;
    }

    /// A certificate in the making. What is bytes is DER.
    struct Draft {
        bytes version;
        bytes serial;
        bytes algorithm;
        bytes issuer;
        bytes validity;
        bytes subject;
        bytes key;
        bytes authorityKeyId;
        bytes keyId;
        bytes keyUsage;
        bytes basicConstraints;
        bytes more;
        uint256 signer;
    }

    bytes internal constant CA_USAGE = hex"300e0603551d0f0101ff040403020106";
    bytes internal constant CA_CONSTRAINTS = hex"30120603551d130101ff040830060101ff020100";
    bytes internal constant LEAF_USAGE = hex"300e0603551d0f0101ff0404030206c0";
    bytes internal constant LEAF_CONSTRAINTS = hex"300c0603551d130101ff04023000";

    /// A good certificate of a CA.
    function ca(Party memory issuer, Party memory subject, uint256 start, uint256 end)
        internal
        pure
        returns (Draft memory draft)
    {
        draft.version = hex"a003020102";
        draft.serial = DerWriter.integer(serialOf(subject));
        draft.algorithm = hex"300a06082a8648ce3d040302";
        draft.issuer = nameOf(issuer);
        draft.validity = validity(start, end);
        draft.subject = nameOf(subject);
        draft.key = keyOf(subject);
        draft.authorityKeyId = authorityKeyIdOf(issuer);
        draft.keyId = extension(hex"0e", DerWriter.tlv(0x04, keyIdOf(subject)));
        draft.keyUsage = CA_USAGE;
        draft.basicConstraints = CA_CONSTRAINTS;
        draft.signer = issuer.scalar;
    }

    /// A good certificate of a signer.
    function signer(Party memory issuer, Party memory subject, uint256 start, uint256 end)
        internal
        pure
        returns (Draft memory draft)
    {
        draft = ca(issuer, subject, start, end);
        draft.keyUsage = LEAF_USAGE;
        draft.basicConstraints = LEAF_CONSTRAINTS;
    }

    function finish(Draft memory draft) internal pure returns (bytes memory) {
        return DerWriter.signed(signedPart(draft), draft.signer);
    }

    function signedPart(Draft memory draft) internal pure returns (bytes memory) {
        bytes memory body = bytes.concat(
            draft.version, draft.serial, draft.algorithm, draft.issuer, draft.validity
        );
        bytes memory extensions =
            bytes.concat(draft.authorityKeyId, draft.keyId, draft.keyUsage, draft.basicConstraints);
        extensions = DerWriter.tlv(0x30, bytes.concat(extensions, draft.more));
        return DerWriter.tlv(
            0x30, bytes.concat(body, draft.subject, draft.key, DerWriter.tlv(0xa3, extensions))
        );
    }

    /// An extension 2.5.29.`arc`, not critical.
    function extension(bytes memory arc, bytes memory value) internal pure returns (bytes memory) {
        return DerWriter.tlv(0x30, bytes.concat(hex"0603551d", arc, DerWriter.tlv(0x04, value)));
    }

    /// An extension 2.5.29.`arc`, critical.
    function criticalExtension(bytes memory arc, bytes memory value)
        internal
        pure
        returns (bytes memory)
    {
        return DerWriter.tlv(
            0x30, bytes.concat(hex"0603551d", arc, hex"0101ff", DerWriter.tlv(0x04, value))
        );
    }

    function authorityKeyIdOf(Party memory issuer) internal pure returns (bytes memory) {
        bytes memory value = DerWriter.tlv(0x30, DerWriter.tlv(0x80, keyIdOf(issuer)));
        return extension(hex"23", value);
    }

    function validity(uint256 start, uint256 end) internal pure returns (bytes memory) {
        return DerWriter.tlv(0x30, bytes.concat(DerWriter.utcTime(start), DerWriter.utcTime(end)));
    }

    function nameOf(Party memory party) internal pure returns (bytes memory) {
        bytes memory text = DerWriter.tlv(0x0c, bytes(party.name));
        bytes memory commonName = DerWriter.tlv(0x30, bytes.concat(hex"0603550403", text));
        return DerWriter.tlv(0x30, DerWriter.tlv(0x31, commonName));
    }

    function keyOf(Party memory party) internal pure returns (bytes memory) {
        (uint256 x, uint256 y) = vm.publicKeyP256(party.scalar);
        return abi.encodePacked(hex"3059301306072a8648ce3d020106082a8648ce3d03010703420004", x, y);
    }

    /// `keccak256(x ‖ y)`, by which the verifier knows a CA or signer.
    function idOf(Party memory party) internal pure returns (bytes32) {
        (uint256 x, uint256 y) = vm.publicKeyP256(party.scalar);
        return keccak256(abi.encodePacked(x, y));
    }

    function keyIdOf(Party memory party) internal pure returns (bytes memory) {
        return abi.encodePacked(bytes20(idOf(party)));
    }

    function serialOf(Party memory party) internal pure returns (bytes memory) {
        return abi.encodePacked(bytes20(keccak256(abi.encode(idOf(party)))));
    }
}
