// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {RevokedSerials} from "../../src/attestation/RevokedSerials.sol";
import {IAttestationVerifier as V} from "../../src/interfaces/IAttestationVerifier.sol";
import {deployVerifier} from "../Deploy.sol";
import {DerWriter} from "../DerWriter.sol";
import {vm} from "../Vm.sol";
import {Authorities} from "./Authorities.sol";
import {CertificateWriter as Writer} from "./CertificateWriter.sol";

/// Certificates and lists, one thing wrong at a time.
contract CollateralTest is Authorities {
    using Writer for Writer.Draft;

    // The root.

    function test_constructor_pinsTheRoot() public view {
        vm.assertEq(verifier.ROOT(), Writer.idOf(rootParty()), "id");
        vm.assertEq(verifier.ROOT_CERTIFICATE_SHA256(), sha256(rootCertificate), "hash");
    }

    function test_constructor_refusesWhatIsNoRoot() public {
        Writer.Party memory root = Writer.Party("Root", 1);
        Writer.Draft memory draft = Writer.ca(root, root, ISSUED, EXPIRY);
        deployVerifier(draft.finish());
        draft.basicConstraints = Writer.LEAF_CONSTRAINTS;
        rootRefused(draft.finish(), badCertificate(V.CertificateFault.NotACa));
        draft = Writer.ca(root, root, ISSUED, EXPIRY);
        draft.issuer = Writer.nameOf(otherCa());
        rootRefused(draft.finish(), wrongIssuer(draft.subject, draft.issuer));
        draft = Writer.ca(root, root, ISSUED, EXPIRY);
        draft.signer = 2;
        rootRefused(draft.finish(), badSignatureOf(V.Signed.Root));
    }

    // Admission of CAs.

    function test_admitCa() public {
        Writer.Party memory subject = otherCa();
        bytes memory der = caDraft(subject).finish();
        bytes32 id = Writer.idOf(subject);
        vm.expectEmit(address(verifier));
        emit V.CaAdmitted(id, numberOf(Writer.serialOf(subject)), uint40(EXPIRY));
        vm.assertEq(verifier.admitCa(der), id, "id");
        caIs(id, EXPIRY, 0, 0, false);
    }

    function test_ca_isAllZeroUnlessAdmitted() public view {
        caIs(Writer.idOf(otherCa()), 0, 0, 0, false);
    }

    function test_admitCa_needsACurrentRootList() public {
        Writer.Draft memory draft = caDraft(otherCa());
        verifier = deployVerifier(rootCertificate);
        caRefused(
            draft, abi.encodeWithSelector(V.Missing.selector, V.Signed.RootCrl, verifier.ROOT())
        );
        uint256 start = block.timestamp;
        upsert(verifier.ROOT(), rootList(), rootScalar());
        vm.warp(start + COLLATERAL_LIFE);
        caRefused(draft, notValidNow(V.Signed.RootCrl, start, start + COLLATERAL_LIFE));
        vm.warp(start + COLLATERAL_LIFE - 1);
        verifier.admitCa(draft.finish());
    }

    function test_admitCa_needsTheRootsSignature() public {
        Writer.Draft memory draft = caDraft(otherCa());
        draft.signer = 2;
        caRefused(draft, badSignatureOf(V.Signed.Ca));
        draft = caDraft(otherCa());
        draft.issuer = Writer.nameOf(otherCa());
        caRefused(draft, wrongIssuer(DerWriter.subject(rootCertificate), draft.issuer));
        draft = caDraft(otherCa());
        draft.authorityKeyId = Writer.authorityKeyIdOf(otherCa());
        caRefused(draft, wrongIssuer(keyIdOf(rootScalar()), Writer.keyIdOf(otherCa())));
        draft.authorityKeyId = "";
        bytes32 expected = keccak256(keyIdOf(rootScalar()));
        caRefused(draft, abi.encodeWithSelector(V.WrongIssuer.selector, expected, bytes32(0)));
    }

    /// A CA under an admitted CA is none of the root's.
    function test_admitCa_refusesACaOfACa() public {
        verifier.admitCa(caDraft(otherCa()).finish());
        Writer.Draft memory draft = Writer.ca(otherCa(), party("CA", 1), ISSUED, EXPIRY);
        caRefused(draft, wrongIssuer(DerWriter.subject(rootCertificate), draft.issuer));
    }

    function test_admitCa_needsACa() public {
        caRefused(signerDraft(otherCa()), badCertificate(V.CertificateFault.NotACa));
        Writer.Draft memory draft = caDraft(otherCa());
        draft.keyUsage = Writer.LEAF_USAGE;
        caRefused(draft, badCertificate(V.CertificateFault.KeyUsage));
    }

    function test_admitCa_needsACertificateThatIsValidNow() public {
        upsertLongRootList();
        Writer.Draft memory draft = caDraft(otherCa());
        draft.validity = Writer.validity(START + 10, START + 20);
        vm.warp(START + 9);
        caRefused(draft, notValidNow(V.Signed.Ca, START + 10, START + 20));
        vm.warp(START + 20);
        caRefused(draft, notValidNow(V.Signed.Ca, START + 10, START + 20));
        vm.warp(START + 10);
        uint256 state = vm.snapshotState();
        verifier.admitCa(draft.finish());
        vm.revertToState(state);
        vm.warp(START + 19);
        verifier.admitCa(draft.finish());
    }

    function test_admitCa_refusesACertificateOnTheRootsList() public {
        bytes memory serial = Writer.serialOf(otherCa());
        bringRootCrl(one(serial));
        caRefused(caDraft(otherCa()), revokedError(V.Signed.Ca, serial));
        vm.warp(START + 2);
        bringRootCrl(new bytes[](0));
        verifier.admitCa(caDraft(otherCa()).finish());
    }

    function test_admitCa_takesSixteen() public {
        for (uint256 i = 1; i < 16; ++i) {
            verifier.admitCa(caDraft(party("CA", i)).finish());
        }
        caRefused(
            caDraft(party("CA", 16)),
            abi.encodeWithSelector(V.TooMany.selector, V.Signed.Ca, uint256(16))
        );
        // The last one has its own bit on the root's list, and no other one's.
        bringRootCrl(one(Writer.serialOf(party("CA", 15))));
        caIs(Writer.idOf(party("CA", 15)), EXPIRY, 0, 0, true);
        caIs(Writer.idOf(party("CA", 14)), EXPIRY, 0, 0, false);
        bringRootCrlLater(one(Writer.serialOf(party("CA", 1))));
        caIs(Writer.idOf(party("CA", 15)), EXPIRY, 0, 0, false);
        caIs(Writer.idOf(party("CA", 1)), EXPIRY, 0, 0, true);
    }

    function test_admitCa_takesARenewalThatEndsLater() public {
        bytes memory der = caDraft(otherCa()).finish();
        bytes32 id = verifier.admitCa(der);
        caRefusedDer(der, notNewer(V.Signed.Ca, EXPIRY, EXPIRY));
        upsert(id, listOf(otherCa()), otherCa().scalar);
        Writer.Draft memory draft = caDraft(otherCa());
        draft.serial = hex"020105";
        draft.validity = Writer.validity(ISSUED, EXPIRY + 1);
        vm.expectEmit(address(verifier));
        emit V.CaAdmitted(id, 5, uint40(EXPIRY + 1));
        vm.assertEq(verifier.admitCa(draft.finish()), id, "id");
        // The list is kept.
        caIs(id, EXPIRY + 1, block.timestamp + COLLATERAL_LIFE, 100, false);
        caRefusedDer(der, notNewer(V.Signed.Ca, EXPIRY + 1, EXPIRY));
        // The new serial counts, the old one does not.
        bringRootCrl(one(Writer.serialOf(otherCa())));
        caIs(id, EXPIRY + 1, block.timestamp + COLLATERAL_LIFE, 100, false);
        bringRootCrlLater(one(hex"05"));
        (,,, bool revoked) = verifier.ca(id);
        vm.assertEq(revoked, true, "revoked");
    }

    function test_admitCa_aRenewalIsNotRevokedWithTheOldCertificate() public {
        bytes32 id = verifier.admitCa(caDraft(otherCa()).finish());
        bringRootCrl(one(Writer.serialOf(otherCa())));
        caIs(id, EXPIRY, 0, 0, true);
        Writer.Draft memory draft = caDraft(otherCa());
        draft.serial = hex"020105";
        draft.validity = Writer.validity(ISSUED, EXPIRY + 1);
        verifier.admitCa(draft.finish());
        caIs(id, EXPIRY + 1, 0, 0, false);
    }

    function test_admitCa_takesAnyCertificateInPlaceOfARevokedOne() public {
        bytes32 id = verifier.admitCa(caDraft(otherCa()).finish());
        bringRootCrl(one(Writer.serialOf(otherCa())));
        Writer.Draft memory draft = caDraft(otherCa());
        draft.serial = hex"020105";
        draft.validity = Writer.validity(ISSUED, EXPIRY - 1);
        verifier.admitCa(draft.finish());
        caIs(id, EXPIRY - 1, 0, 0, false);
    }

    function test_admitCa_refusesTheRootItself() public {
        bytes32 root = verifier.ROOT();
        caRefusedDer(rootCertificate, abi.encodeWithSelector(V.UnknownCa.selector, root));
    }

    function test_admitCa_refusesARenewalUnderAnotherName() public {
        verifier.admitCa(caDraft(otherCa()).finish());
        Writer.Draft memory draft = caDraft(otherCa());
        draft.validity = Writer.validity(ISSUED, EXPIRY + 1);
        draft.subject = Writer.nameOf(party("CA", 1));
        caRefused(draft, wrongIssuer(Writer.nameOf(otherCa()), draft.subject));
        draft.subject = Writer.nameOf(otherCa());
        draft.keyId = Writer.extension(hex"0e", hex"0402aabb");
        caRefused(draft, wrongIssuer(Writer.keyIdOf(otherCa()), hex"aabb"));
    }

    /// Certificates name their CA by its key identifier alone.
    function test_admitCa_refusesAKeyIdentifierThatAnotherCaHas() public {
        verifier.admitCa(caDraft(otherCa()).finish());
        Writer.Draft memory draft = caDraft(party("CA", 1));
        draft.keyId = caDraft(otherCa()).keyId;
        caRefused(draft, badCertificate(V.CertificateFault.NoKeyIdentifier));
    }

    // Admission of signers.

    function test_admitSigner() public {
        Writer.Party memory subject = otherSigner();
        bytes memory der = signerDraft(subject).finish();
        bytes32 id = Writer.idOf(subject);
        signerIs(id, false, 0);
        vm.expectEmit(address(verifier));
        emit V.SignerAdmitted(id, numberOf(Writer.serialOf(subject)), uint40(EXPIRY));
        vm.assertEq(verifier.admitSigner(der), id, "id");
        signerIs(id, true, EXPIRY);
    }

    function test_admitSigner_needsWhatACaNeedsButTheRole() public {
        Writer.Draft memory draft = signerDraft(otherSigner());
        draft.signer = 2;
        signerRefused(draft, badSignatureOf(V.Signed.Signer));
        draft = signerDraft(otherSigner());
        draft.issuer = Writer.nameOf(otherCa());
        signerRefused(draft, wrongIssuer(DerWriter.subject(rootCertificate), draft.issuer));
        signerRefused(caDraft(otherSigner()), badCertificate(V.CertificateFault.IsACa));
        draft = signerDraft(otherSigner());
        draft.keyUsage = Writer.CA_USAGE;
        signerRefused(draft, badCertificate(V.CertificateFault.KeyUsage));
        draft = signerDraft(otherSigner());
        draft.validity = Writer.validity(ISSUED, START + 1);
        signerRefused(draft, notValidNow(V.Signed.Signer, ISSUED, START + 1));
    }

    /// A PCK certificate is no signer: a CA issued it, not the root.
    function test_admitSigner_refusesAPckCertificate() public {
        bytes memory why =
            wrongIssuer(DerWriter.subject(rootCertificate), DerWriter.subject(caCertificate));
        vm.expectRevert(why);
        verifier.admitSigner(leaf);
    }

    function test_admitSigner_refusesACertificateOnTheRootsList() public {
        bytes memory serial = Writer.serialOf(otherSigner());
        bringRootCrl(one(serial));
        signerRefused(signerDraft(otherSigner()), revokedError(V.Signed.Signer, serial));
    }

    function test_admitSigner_takesSixteen() public {
        for (uint256 i = 1; i < 16; ++i) {
            verifier.admitSigner(signerDraft(party("signer", i)).finish());
        }
        signerRefused(
            signerDraft(party("signer", 16)),
            abi.encodeWithSelector(V.TooMany.selector, V.Signed.Signer, uint256(16))
        );
        bringRootCrl(one(Writer.serialOf(party("signer", 15))));
        signerIs(Writer.idOf(party("signer", 15)), false, EXPIRY);
        signerIs(Writer.idOf(party("signer", 14)), true, EXPIRY);
    }

    function test_admitSigner_takesARenewalThatEndsLater() public {
        bytes memory der = signerDraft(otherSigner()).finish();
        bytes32 id = verifier.admitSigner(der);
        vm.expectRevert(notNewer(V.Signed.Signer, EXPIRY, EXPIRY));
        verifier.admitSigner(der);
        bringRootCrl(one(Writer.serialOf(otherSigner())));
        signerIs(id, false, EXPIRY);
        Writer.Draft memory draft = signerDraft(otherSigner());
        draft.serial = hex"020105";
        draft.validity = Writer.validity(ISSUED, EXPIRY + 1);
        vm.assertEq(verifier.admitSigner(draft.finish()), id, "id");
        signerIs(id, true, EXPIRY + 1);
        bringRootCrlLater(one(hex"05"));
        signerIs(id, false, EXPIRY + 1);
    }

    // Lists.

    function test_upsertCrl_ofACa() public {
        DerWriter.Crl memory list = caList();
        list.serials = one(serialAt(1, 1));
        bytes memory der = DerWriter.crl(list, caScalar());
        vm.expectEmit(address(verifier));
        emit V.CrlUpserted(platformCa, 100, uint40(list.thisUpdate), uint40(list.nextUpdate), 1);
        verifier.upsertCrl(platformCa, der);
        (, uint40 nextUpdate, uint256 number,) = verifier.ca(platformCa);
        vm.assertEq(nextUpdate, list.nextUpdate, "next update");
        vm.assertEq(number, 100, "number");
    }

    function test_upsertCrl_ofTheRoot() public {
        DerWriter.Crl memory list = rootList();
        list.serials = one(serialAt(1, 1));
        bytes memory der = DerWriter.crl(list, rootScalar());
        bytes32 root = verifier.ROOT();
        vm.expectEmit(address(verifier));
        emit V.CrlUpserted(root, 100, uint40(list.thisUpdate), uint40(list.nextUpdate), 1);
        verifier.upsertCrl(root, der);
        (uint40 nextUpdate, uint256 number) = verifier.rootCrl();
        vm.assertEq(nextUpdate, list.nextUpdate, "next update");
        vm.assertEq(number, 100, "number");
    }

    function test_upsertCrl_needsAnAdmittedIssuer() public {
        bytes32 id = Writer.idOf(otherCa());
        bytes memory why = abi.encodeWithSelector(V.UnknownCa.selector, id);
        upsertRefused(id, listOf(otherCa()), otherCa().scalar, why);
        // A signer issues no lists.
        why = abi.encodeWithSelector(V.UnknownCa.selector, signer);
        upsertRefused(signer, caList(), signerScalar(), why);
    }

    /// The list of one CA for another, and the root's list for a CA.
    function test_negative_crlOfAnotherCa() public {
        bytes32 id = verifier.admitCa(caDraft(otherCa()).finish());
        bytes memory why = wrongIssuer(DerWriter.subject(caCertificate), Writer.nameOf(otherCa()));
        upsertRefused(platformCa, listOf(otherCa()), otherCa().scalar, why);
        why = wrongIssuer(Writer.nameOf(otherCa()), DerWriter.subject(caCertificate));
        upsertRefused(id, caList(), caScalar(), why);
        why = wrongIssuer(DerWriter.subject(caCertificate), DerWriter.subject(rootCertificate));
        upsertRefused(platformCa, rootList(), rootScalar(), why);
        bytes32 root = verifier.ROOT();
        why = wrongIssuer(DerWriter.subject(rootCertificate), DerWriter.subject(caCertificate));
        upsertRefused(root, caList(), caScalar(), why);
    }

    /// Two CAs of one name: the key identifier tells their lists apart.
    function test_negative_crlNotBoundToItsCa() public {
        Writer.Party memory twin = Writer.Party(otherCa().name, 2003);
        bytes32 id = verifier.admitCa(caDraft(otherCa()).finish());
        verifier.admitCa(caDraft(twin).finish());
        bytes memory why = wrongIssuer(Writer.keyIdOf(otherCa()), Writer.keyIdOf(twin));
        upsertRefused(id, listOf(twin), twin.scalar, why);
        DerWriter.Crl memory list = listOf(otherCa());
        upsertRefused(id, list, twin.scalar, badSignatureOf(V.Signed.PckCrl));
        upsert(id, list, otherCa().scalar);
    }

    function test_upsertCrl_needsTheIssuersSignature() public {
        upsertRefused(platformCa, caList(), rootScalar(), badSignatureOf(V.Signed.PckCrl));
        bytes32 root = verifier.ROOT();
        upsertRefused(root, rootList(), caScalar(), badSignatureOf(V.Signed.RootCrl));
    }

    function test_upsertCrl_needsAListThatIsValidNow() public {
        DerWriter.Crl memory list = caList();
        (list.thisUpdate, list.nextUpdate) = (START + 10, START + 20);
        vm.warp(START + 9);
        bytes memory why = notValidNow(V.Signed.PckCrl, START + 10, START + 20);
        upsertRefused(platformCa, list, caScalar(), why);
        vm.warp(START + 20);
        why = notValidNow(V.Signed.PckCrl, START + 10, START + 20);
        upsertRefused(platformCa, list, caScalar(), why);
        vm.warp(START + 19);
        upsert(platformCa, list, caScalar());
    }

    function test_negative_rollbackOfLists() public {
        bytes32 root = verifier.ROOT();
        vm.warp(START + 10);
        upsert(platformCa, caList(), caScalar());
        upsert(root, rootList(), rootScalar());
        vm.warp(START + 20);
        for (uint256 back; back < 2; ++back) {
            DerWriter.Crl memory list = caList();
            list.number = 101;
            list.thisUpdate = START + 10 - back;
            bytes memory why = notNewer(V.Signed.PckCrl, START + 10, START + 10 - back);
            upsertRefused(platformCa, list, caScalar(), why);
            list = rootList();
            list.number = 101;
            list.thisUpdate = START + 10 - back;
            why = notNewer(V.Signed.RootCrl, START + 10, START + 10 - back);
            upsertRefused(root, list, rootScalar(), why);
        }
        // A later date with a lower number.
        DerWriter.Crl memory lower = caList();
        lower.number = 99;
        upsertRefused(platformCa, lower, caScalar(), notNewer(V.Signed.PckCrl, 100, 99));
        lower = rootList();
        lower.number = 99;
        upsertRefused(root, lower, rootScalar(), notNewer(V.Signed.RootCrl, 100, 99));
        // A later date with the same number, as Intel does it.
        upsert(platformCa, caList(), caScalar());
        upsert(root, rootList(), rootScalar());
    }

    function test_upsertCrl_refusesMoreSerialsThanFit() public {
        bytes memory der = longList(RevokedSerials.MAX + 1, 1);
        vm.expectRevert(
            abi.encodeWithSelector(V.TooMany.selector, V.Signed.PckCrl, RevokedSerials.MAX)
        );
        verifier.upsertCrl(platformCa, der);
        verifier.upsertCrl(platformCa, longList(RevokedSerials.MAX, 1));
    }

    // Revocation.

    /// A serial counts on the list of the certificate's own issuer, and on no other.
    function test_negative_serialOnTheListOfAnotherIssuer() public {
        bytes memory ofLeaf = abi.encodePacked(bytes20(uint160(pck.serial)));
        bytes memory ofCa = serialOf(caScalar());
        bringRootCrl(one(ofLeaf));
        bringCaCrl(one(ofCa));
        verifier.admitPck(leaf);
        vm.warp(START + 2);
        bringCaCrl(one(ofLeaf));
        leafRefused(revokedError(V.Signed.Pck, ofLeaf));
        vm.warp(START + 3);
        bringCaCrl(new bytes[](0));
        verifier.admitPck(leaf);
        bringRootCrl(one(ofCa));
        leafRefused(revokedError(V.Signed.Ca, ofCa));
        bringRootCrlLater(new bytes[](0));
        verifier.admitPck(leaf);
    }

    function test_rootOnItsOwnList_endsEverything() public {
        bytes memory serial = serialOf(rootScalar());
        bringRootCrl(one(serial));
        leafRefused(revokedError(V.Signed.Root, serial));
        caRefused(caDraft(otherCa()), revokedError(V.Signed.Root, serial));
        signerRefused(signerDraft(otherSigner()), revokedError(V.Signed.Root, serial));
    }

    // Dates of what is stored.

    function test_pck_needsTheListOfItsCa() public {
        verifier = deployVerifier(rootCertificate);
        upsert(verifier.ROOT(), rootList(), rootScalar());
        leafRefused(abi.encodeWithSelector(V.UnknownCa.selector, keccak256(keyIdOf(caScalar()))));
        verifier.admitCa(caCertificate);
        leafRefused(abi.encodeWithSelector(V.Missing.selector, V.Signed.PckCrl, platformCa));
        upsert(platformCa, caList(), caScalar());
        verifier.admitPck(leaf);
    }

    function test_pck_needsCurrentLists() public {
        upsertLongRootList();
        uint256 start = START + 5;
        vm.warp(start);
        upsert(platformCa, caList(), caScalar());
        uint256 end = start + COLLATERAL_LIFE;
        vm.warp(end);
        leafRefused(notValidNow(V.Signed.PckCrl, start, end));
        vm.warp(end - 1);
        verifier.admitPck(leaf);
        vm.warp(START + 1 + 300 days);
        leafRefused(notValidNow(V.Signed.RootCrl, START + 1, START + 1 + 300 days));
    }

    function test_pck_needsACurrentRoot() public {
        upsertLongRootList();
        (uint40 notAfter,,,) = verifier.ca(platformCa);
        vm.warp(notAfter - 10);
        upsert(verifier.ROOT(), rootList(), rootScalar());
        upsert(platformCa, caList(), caScalar());
        vm.warp(notAfter);
        // Root, CA and leaf of the vectors end together, and the root comes first.
        leafRefused(notValidNow(V.Signed.Root, 1_577_836_800, notAfter));
    }

    function test_ca_endsBeforeItsList() public {
        Writer.Draft memory draft = caDraft(otherCa());
        draft.validity = Writer.validity(ISSUED, START + 100);
        bytes32 id = verifier.admitCa(draft.finish());
        upsert(id, listOf(otherCa()), otherCa().scalar);
        draft = Writer.signer(otherCa(), party("PCK", 1), ISSUED, EXPIRY);
        draft.more = sgxExtensionOf(leaf);
        leaf = draft.finish();
        vm.warp(START + 99);
        verifier.admitPck(leaf);
        vm.warp(START + 100);
        leafRefused(notValidNow(V.Signed.Ca, ISSUED, START + 100));
    }

    // Short forms.

    /// The SGX extension, which is the last one in the certificates of the vectors.
    function sgxExtensionOf(bytes memory der) private pure returns (bytes memory) {
        bytes memory signedPart = DerWriter.signedPart(der);
        for (uint256 i; i + 15 < signedPart.length; ++i) {
            bytes memory head = slice(signedPart, i, i + 15);
            if (keccak256(slice(head, 4, 15)) == keccak256(hex"06092a864886f84d010d01")) {
                return slice(signedPart, i, signedPart.length);
            }
        }
        revert("no SGX extension");
    }

    function bringRootCrlLater(bytes[] memory serials) private {
        vm.warp(block.timestamp + 1);
        bringRootCrl(serials);
    }

    function upsertLongRootList() private {
        DerWriter.Crl memory list = rootList();
        list.nextUpdate = block.timestamp + 300 days;
        upsert(verifier.ROOT(), list, rootScalar());
    }

    function badCertificate(V.CertificateFault fault) private pure returns (bytes memory) {
        return abi.encodeWithSelector(V.BadCertificate.selector, fault);
    }

    function rootRefused(bytes memory der, bytes memory why) private {
        vm.expectRevert(why);
        deployVerifier(der);
    }

    function caRefused(Writer.Draft memory draft, bytes memory why) private {
        caRefusedDer(draft.finish(), why);
    }

    function caRefusedDer(bytes memory der, bytes memory why) private {
        vm.expectRevert(why);
        verifier.admitCa(der);
    }

    function signerRefused(Writer.Draft memory draft, bytes memory why) private {
        bytes memory der = draft.finish();
        vm.expectRevert(why);
        verifier.admitSigner(der);
    }

    function leafRefused(bytes memory why) private {
        vm.expectRevert(why);
        verifier.admitPck(leaf);
    }

    function caIs(bytes32 id, uint256 end, uint256 listEnd, uint256 number, bool revoked)
        private
        view
    {
        (uint40 notAfter, uint40 nextUpdate, uint256 crlNumber, bool isRevoked) = verifier.ca(id);
        vm.assertEq(notAfter, end, "end");
        vm.assertEq(nextUpdate, listEnd, "next update");
        vm.assertEq(crlNumber, number, "number");
        vm.assertEq(isRevoked, revoked, "revoked");
    }

    function signerIs(bytes32 id, bool expected, uint256 end) private view {
        (bool good, uint40 notAfter) = verifier.signer(id);
        vm.assertEq(good, expected, "good");
        vm.assertEq(notAfter, end, "end");
    }
}
