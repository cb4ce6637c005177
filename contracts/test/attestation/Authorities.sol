// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LibBytes} from "solady/utils/LibBytes.sol";
import {IAttestationVerifier as V} from "../../src/interfaces/IAttestationVerifier.sol";
import {DerWriter} from "../DerWriter.sol";
import {Simulation} from "../Simulation.sol";
import {vm} from "../Vm.sol";
import {CertificateWriter as Writer} from "./CertificateWriter.sol";

/// The simulated world with more CAs and signers under its root, and lists of any form.
abstract contract Authorities is Simulation {
    using LibBytes for bytes;
    using Writer for Writer.Draft;

    uint256 internal constant START = 1_800_000_000;
    /// Dates of certificates that tests issue.
    uint256 internal constant ISSUED = START - 1 days;
    uint256 internal constant EXPIRY = START + 400 days;

    function setUp() public virtual {
        vm.warp(START);
        startVerifier();
        // Lists and information are replaced by newer ones only.
        vm.warp(START + 1);
    }

    // Certificates.

    function otherCa() internal pure returns (Writer.Party memory) {
        return Writer.Party("Another CA", 2001);
    }

    function otherSigner() internal pure returns (Writer.Party memory) {
        return Writer.Party("Another signer", 2002);
    }

    function party(string memory name, uint256 number) internal pure returns (Writer.Party memory) {
        return Writer.Party(string.concat(name, " ", vm.toString(number)), 3000 + number);
    }

    function caDraft(Writer.Party memory subject) internal view returns (Writer.Draft memory) {
        return underRoot(Writer.ca(rootParty(), subject, ISSUED, EXPIRY));
    }

    function signerDraft(Writer.Party memory subject) internal view returns (Writer.Draft memory) {
        return underRoot(Writer.signer(rootParty(), subject, ISSUED, EXPIRY));
    }

    function rootParty() internal pure returns (Writer.Party memory) {
        return Writer.Party("", rootScalar());
    }

    function underRoot(Writer.Draft memory draft) private view returns (Writer.Draft memory) {
        draft.issuer = DerWriter.subject(rootCertificate);
        bytes memory keyId = DerWriter.tlv(0x80, keyIdOf(rootScalar()));
        draft.authorityKeyId = Writer.extension(hex"23", DerWriter.tlv(0x30, keyId));
        return draft;
    }

    function numberOf(bytes memory serial) internal pure returns (uint256 number) {
        for (uint256 i; i < serial.length; ++i) {
            number = number << 8 | uint8(serial[i]);
        }
    }

    function one(bytes memory serial) internal pure returns (bytes[] memory serials) {
        serials = new bytes[](1);
        serials[0] = serial;
    }

    // Lists.

    function listOf(bytes memory issuer, bytes memory keyId)
        internal
        view
        returns (DerWriter.Crl memory list)
    {
        list.issuer = issuer;
        list.keyId = keyId;
        list.number = 100;
        list.thisUpdate = block.timestamp;
        list.nextUpdate = block.timestamp + COLLATERAL_LIFE;
    }

    function rootList() internal view returns (DerWriter.Crl memory) {
        return listOf(DerWriter.subject(rootCertificate), keyIdOf(rootScalar()));
    }

    function caList() internal view returns (DerWriter.Crl memory) {
        return listOf(DerWriter.subject(caCertificate), keyIdOf(caScalar()));
    }

    function listOf(Writer.Party memory issuer) internal view returns (DerWriter.Crl memory) {
        return listOf(Writer.nameOf(issuer), Writer.keyIdOf(issuer));
    }

    /// The list of the CA with `count` serials, as Intel would write it.
    function longList(uint256 count, uint256 seed) internal view returns (bytes memory) {
        bytes memory tail =
            bytes.concat(DerWriter.utcTime(block.timestamp), hex"300c300a0603551d1504030a0101");
        // In blocks of 40, so that not everything is copied for each entry.
        bytes memory entries;
        for (uint256 i; i < count;) {
            bytes memory block_;
            for (uint256 end = i + 40; i < end && i < count; ++i) {
                block_ = bytes.concat(block_, hex"30330214", serialAt(seed, i), tail);
            }
            entries = bytes.concat(entries, block_);
        }
        DerWriter.Crl memory list = caList();
        bytes memory empty = DerWriter.signedPart(DerWriter.crl(list, caScalar()));
        (uint256 content,) = DerWriter.header(empty, 0);
        // Version, algorithm, issuer and two dates come before the entries.
        uint256 before = content + 3 + 12 + list.issuer.length + 30;
        bytes memory body = bytes.concat(
            empty.slice(content, before), DerWriter.tlv(0x30, entries), empty.slice(before)
        );
        return DerWriter.signed(DerWriter.tlv(0x30, body), caScalar());
    }

    /// Serials of 20 bytes, positive and as short as they can be.
    function serialAt(uint256 seed, uint256 i) internal pure returns (bytes memory) {
        bytes20 random = bytes20(keccak256(abi.encode(seed, i)));
        return bytes.concat(random & ~bytes20(bytes1(0x80)) | bytes20(bytes1(0x40)));
    }

    function upsert(bytes32 issuer, DerWriter.Crl memory list, uint256 scalar) internal {
        bytes memory der = DerWriter.crl(list, scalar);
        verifier.upsertCrl(issuer, der);
    }

    function upsertRefused(
        bytes32 issuer,
        DerWriter.Crl memory list,
        uint256 scalar,
        bytes memory why
    ) internal {
        bytes memory der = DerWriter.crl(list, scalar);
        vm.expectRevert(why);
        verifier.upsertCrl(issuer, der);
    }

    // Errors.

    function notValidNow(V.Signed what, uint256 start, uint256 end)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeWithSelector(V.NotValidNow.selector, what, start, end, block.timestamp);
    }

    function notNewer(V.Signed what, uint256 stored, uint256 offered)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodeWithSelector(V.NotNewer.selector, what, stored, offered);
    }

    function revokedError(V.Signed what, bytes memory serial) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(V.Revoked.selector, what, numberOf(serial));
    }

    function wrongIssuer(bytes memory expected, bytes memory got)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodeWithSelector(V.WrongIssuer.selector, keccak256(expected), keccak256(got));
    }

    function badSignatureOf(V.Signed what) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(V.BadSignature.selector, what);
    }
}
